/* ref_elementwise.c - arithmetic on rows, in plain C: the meaning of the kernels, and the whole library where no SIMD
 * is built. Each line is the formula of kernels.def. */
#include "kernels/kernels.h"

#include <math.h>

void lti_k_add_ref(int64_t n, const R *a, int64_t sa, const R *b, int64_t sb, R *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = a[i * sa] + b[i * sb];
}

void lti_k_sub_ref(int64_t n, const R *a, int64_t sa, const R *b, int64_t sb, R *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = a[i * sa] - b[i * sb];
}

void lti_k_mul_ref(int64_t n, const R *a, int64_t sa, const R *b, int64_t sb, R *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = a[i * sa] * b[i * sb];
}

void lti_k_div_ref(int64_t n, const R *a, int64_t sa, const R *b, int64_t sb, R *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = a[i * sa] / b[i * sb];
}

void lti_k_scale_ref(int64_t n, R c, const R *x, R *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = c * x[i];
}

void lti_k_exp_ref(int64_t n, const R *x, R *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = (R)exp((double)x[i]);
}

void lti_k_log_ref(int64_t n, const R *x, R *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = (R)log((double)x[i]);
}

void lti_k_sqrt_ref(int64_t n, const R *x, R *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = (R)sqrt((double)x[i]);
}

void lti_k_dropout_ref(int64_t n, const lti_rng *rng, uint64_t first, double p, const R *x, R *y)
{
    R keep = (R)(1.0 / (1.0 - p));
    for (int64_t i = 0; i < n; i++) {
        uint32_t word = lti_rng_word(rng, first + (uint64_t)i);
        y[i] = (double)word >= p * 0x1p32 ? x[i] * keep : 0;
    }
}
