/* ref_fp8.c - rows to and from 8-bit floats (fp8.h), in plain C. The double build rounds to float on the way. */
#include "kernels/fp8.h"
#include "kernels/kernels.h"

void lti_k_to_e4m3_ref(int64_t n, const R *x, uint8_t *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = lti_f32_to_e4m3((float)x[i]);
}

void lti_k_from_e4m3_ref(int64_t n, const uint8_t *x, R *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = lti_e4m3_to_f32(x[i]);
}

void lti_k_to_e5m2_ref(int64_t n, const R *x, uint8_t *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = lti_f32_to_e5m2((float)x[i]);
}

void lti_k_from_e5m2_ref(int64_t n, const uint8_t *x, R *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = lti_e5m2_to_f32(x[i]);
}
