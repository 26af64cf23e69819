/* scale_search.c - the scale of numbers that count differently.
 *
 * From the scale that just holds all numbers down to a third of it; what is lost beyond the grid's ends is won in finer
 * steps. The best is then refined: for given codes the best scale of a symmetric grid is sum h x c / sum h c^2. Sums are
 * in double and in the order of the numbers. */
#include "qat/rounding.h"

#include <math.h>

enum { STEPS = 70, REFINEMENTS = 3 };

typedef struct numbers {
    const lti_grid_attr *attr;
    int64_t n;
    const lt_real *x, *h;
} numbers;

static double code_of(const lti_grid *g, double x)
{
    double c = rint((double)(((lt_real)x - g->offset) * g->inverse));
    return c < (double)g->lo ? (double)g->lo : c > (double)g->hi ? (double)g->hi : c;
}

/* The error; sums[0] gets sum h x c, sums[1] sum h c^2. */
static double error_of(const numbers *m, lt_real scale, lt_real offset, double sums[2])
{
    lti_grid g = lti_grid_make(m->attr, scale, offset);
    double error = 0;
    sums[0] = sums[1] = 0;
    for (int64_t i = 0; i < m->n; i++) {
        double x = (double)m->x[i], h = m->h ? (double)m->h[i] : 1, c = code_of(&g, x);
        double d = c * (double)g.scale - x;
        error += h * d * d;
        sums[0] += h * x * c;
        sums[1] += h * c * c;
    }
    return error;
}

/* The scale that holds the share f of the numbers' range, and its zero point. */
static void scale_at(const lti_grid_attr *a, double least, double most, double f, lt_real *scale, lt_real *offset)
{
    double q = a->kind == LT_SCHEME_INT ? (double)((1 << (a->bits - 1)) - 1) : 1;
    double largest = most > -least ? most : -least;
    *offset = 0;
    *scale = (lt_real)(f * largest / (a->full_range ? q + 0.5 : q));
    if (!a->asymmetric) return;
    double levels = (double)((1 << a->bits) - 1), low = least < 0 ? least : 0, high = most > 0 ? most : 0;
    *scale = (lt_real)(f * (high - low) / levels);
    double zero = *scale > 0 ? rint(-f * low / (double)*scale) : 0;
    *offset = (lt_real)(zero < 0 ? 0 : zero > levels ? levels : zero);
}

static void refine(const numbers *m, double best, lt_real *scale, lt_real offset)
{
    double sums[2], again[2];
    (void)error_of(m, *scale, offset, sums);
    for (int i = 0; i < REFINEMENTS && sums[1] > 0; i++) {
        lt_real fitted = (lt_real)(sums[0] / sums[1]);
        double error = fitted > 0 ? error_of(m, fitted, offset, again) : INFINITY;
        if (!(error < best)) return;
        best = error, *scale = fitted;
        sums[0] = again[0], sums[1] = again[1];
    }
}

void lti_search_scale(const lti_grid_attr *attr, int64_t n, const lt_real *x, const lt_real *h, lt_real *scale,
                      lt_real *offset)
{
    numbers m = {attr, n, x, h};
    double least = INFINITY, most = -INFINITY, best = INFINITY, sums[2];
    for (int64_t i = 0; i < n; i++) {
        if ((double)x[i] < least) least = (double)x[i];
        if ((double)x[i] > most) most = (double)x[i];
    }
    if (n == 0) least = most = 0;
    scale_at(attr, least, most, 1, scale, offset);
    for (int i = 0; i <= STEPS; i++) {
        lt_real s, z;
        scale_at(attr, least, most, 1 - 0.01 * i, &s, &z);
        double error = error_of(&m, s, z, sums);
        if (error < best) best = error, *scale = s, *offset = z;
    }
    refine(&m, best, scale, *offset);
}
