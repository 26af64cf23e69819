/* simd_fp8.c - rows to and from 8-bit floats: the plain loops over fp8.h, which the compiler turns into vectors of this
 * instruction set. */
#include "kernels/fp8.h"
#include "kernels/simd/vec.h"

void LTI_FN(to_e4m3)(int64_t n, const R *x, uint8_t *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = lti_f32_to_e4m3((float)x[i]);
}

void LTI_FN(from_e4m3)(int64_t n, const uint8_t *x, R *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = lti_e4m3_to_f32(x[i]);
}

void LTI_FN(to_e5m2)(int64_t n, const R *x, uint8_t *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = lti_f32_to_e5m2((float)x[i]);
}

void LTI_FN(from_e5m2)(int64_t n, const uint8_t *x, R *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = lti_e5m2_to_f32(x[i]);
}
