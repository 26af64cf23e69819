/* ref_convert.c - rows to and from the 16-bit float types, in plain C. The double build rounds to float on the way.
 * Rows to widen may lie anywhere in a mapped file: halves are read at odd addresses too. */
#include "base/half.h"
#include "kernels/kernels.h"

void lti_k_to_bf16_ref(int64_t n, const R *x, uint16_t *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = lti_f32_to_bf16((float)x[i]);
}

void lti_k_from_bf16_ref(int64_t n, const uint16_t *x, R *y)
{
    for (int64_t i = 0; i < n; i++) {
        uint16_t half;
        memcpy(&half, (const char *)x + 2 * i, sizeof half);
        y[i] = lti_bf16_to_f32(half);
    }
}

void lti_k_to_f16_ref(int64_t n, const R *x, uint16_t *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = lti_f32_to_f16((float)x[i]);
}

void lti_k_from_f16_ref(int64_t n, const uint16_t *x, R *y)
{
    for (int64_t i = 0; i < n; i++) {
        uint16_t half;
        memcpy(&half, (const char *)x + 2 * i, sizeof half);
        y[i] = lti_f16_to_f32(half);
    }
}

void lti_k_from_i8_ref(int64_t n, const int8_t *x, R scale, R *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = (R)x[i] * scale;
}
