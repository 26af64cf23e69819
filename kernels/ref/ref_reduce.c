/* ref_reduce.c - reductions over a row, in plain C: ascending order, accumulated in double. */
#include "kernels/kernels.h"

#include <math.h>

R lti_k_sum_ref(int64_t n, const R *x)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += (double)x[i];
    return (R)s;
}

R lti_k_max_ref(int64_t n, const R *x)
{
    R m = -INFINITY;
    for (int64_t i = 0; i < n; i++)
        if (x[i] > m || x[i] != x[i]) m = x[i]; /* once m is NaN nothing is greater */
    return m;
}

R lti_k_dot_ref(int64_t n, const R *a, const R *b)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += (double)a[i] * (double)b[i];
    return (R)s;
}

double lti_k_sum_squares_ref(int64_t n, const R *x)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += (double)x[i] * (double)x[i];
    return s;
}

int lti_k_all_finite_ref(int64_t n, const R *x)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i])) return 0;
    return 1;
}
