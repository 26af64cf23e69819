/* ref_grid.c - numbers on a uniform grid (grid.h) and what its gradients are made of, in plain C. */
#include "kernels/kernels.h"

#include <math.h>

static R larger(R a, R b)
{
    return b > a || b != b ? b : a;
}

void lti_k_extremes_ref(int64_t n, const R *x, R *out)
{
    R least = -INFINITY, most = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        least = larger(least, -x[i]);
        most = larger(most, x[i]);
    }
    out[0] = -least;
    out[1] = most;
}

double lti_k_sum_abs_ref(int64_t n, const R *x)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += fabs((double)x[i]);
    return s;
}

static R round_code(R x, const lti_grid *g)
{
    return (R)rint((double)((x - g->offset) * g->inverse));
}

/* NaN passes. */
static R on_grid(R code, const lti_grid *g)
{
    code = code < g->lo ? g->lo : code;
    code = code > g->hi ? g->hi : code;
    return code * g->scale + g->base;
}

void lti_k_fake_quant_ref(int64_t n, const R *x, const lti_grid *g, R *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = on_grid(round_code(x[i], g), g);
}

double lti_k_fake_quant_error_ref(int64_t n, const R *x, const lti_grid *g)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) {
        R e = on_grid(round_code(x[i], g), g) - x[i];
        s += (double)e * (double)e;
    }
    return s;
}

/* -1 below, 1 above, 0 inside or NaN. */
static int side(R x, R code, const lti_grid *g, int by)
{
    if (by == LTI_BY_CODE) return code < g->lo ? -1 : code > g->hi;
    return x < g->first ? -1 : x > g->last;
}

void lti_k_fake_quant_mask_ref(int64_t n, const R *x, const lti_grid *g, int by, const R *dy, R *dx)
{
    for (int64_t i = 0; i < n; i++) dx[i] = side(x[i], round_code(x[i], g), g, by) ? 0 : dy[i];
}

void lti_k_fake_quant_sums_ref(int64_t n, const R *x, const lti_grid *g, int by, const R *dy, double *sums)
{
    for (int64_t i = 0; i < n; i++) {
        R code = round_code(x[i], g);
        int at = side(x[i], code, g, by);
        if (at)
            sums[at > 0 ? 2 : 1] += (double)dy[i];
        else
            sums[0] += (double)dy[i] * (double)(on_grid(code, g) - x[i]);
    }
}
