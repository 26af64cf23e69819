/* ref_softmax.c - softmax, log-softmax and cross-entropy of one row, in plain C. The maximum is subtracted first: no
 * exponential overflows. */
#include "kernels/kernels.h"

#include <math.h>

/* log sum_i exp x_i, and the maximum on the side. */
static double log_sum_exp(int64_t n, const R *x, double *max)
{
    double m = (double)lti_k_max_ref(n, x), s = 0;
    for (int64_t i = 0; i < n; i++) s += exp((double)x[i] - m);
    *max = m;
    return m + log(s);
}

void lti_k_softmax_ref(int64_t n, const R *x, R *y)
{
    double m = (double)lti_k_max_ref(n, x), s = 0;
    for (int64_t i = 0; i < n; i++) s += exp((double)x[i] - m);
    for (int64_t i = 0; i < n; i++) y[i] = (R)(exp((double)x[i] - m) / s);
}

void lti_k_softmax_grad_ref(int64_t n, const R *y, const R *dy, R *dx)
{
    R s = lti_k_dot_ref(n, y, dy);
    for (int64_t i = 0; i < n; i++) dx[i] = y[i] * (dy[i] - s);
}

void lti_k_log_softmax_ref(int64_t n, const R *x, R *y)
{
    double m, lse = log_sum_exp(n, x, &m);
    for (int64_t i = 0; i < n; i++) y[i] = (R)((double)x[i] - lse);
}

double lti_k_cross_entropy_ref(int64_t n, const R *z, int64_t target, R scale, R *dz)
{
    double m, lse = log_sum_exp(n, z, &m), loss = lse - (double)z[target];
    if (!dz) return loss;
    for (int64_t i = 0; i < n; i++) {
        double p = exp((double)z[i] - lse);
        dz[i] = (R)((double)scale * (i == target ? p - 1 : p));
    }
    return loss;
}
