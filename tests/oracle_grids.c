/* oracle_grids.c - see oracle_grids.h. */
#include "tests/oracle_grids.h"

#include <float.h>
#include <math.h>
#include <string.h>

typedef lt_real R;

enum { TRIES = 24 };

/* The numbers of one group: rows r0 .. r1 - 1, columns c0 .. c1 - 1. */
typedef struct part {
    const ts_grid *g;
    int64_t r0, r1, c0, c1, index;
    R s, z;        /* scale and zero point, or learned scale and offset */
    double lo, hi; /* codes */
} part;

static int64_t groups_in_row(const ts_grid *g)
{
    return g->scheme.per == LT_PER_GROUP ? (g->columns + g->scheme.group - 1) / g->scheme.group : 1;
}

int64_t ts_grid_groups(const ts_grid *g)
{
    return g->scheme.per == LT_PER_TENSOR ? 1 : g->rows * groups_in_row(g);
}

static part part_at(const ts_grid *g, int64_t index)
{
    part p = {.g = g, .r1 = g->rows, .c1 = g->columns, .index = index};
    if (g->scheme.per != LT_PER_TENSOR) p.r0 = index / groups_in_row(g), p.r1 = p.r0 + 1;
    if (g->scheme.per == LT_PER_GROUP) {
        p.c0 = index % groups_in_row(g) * g->scheme.group;
        if (p.c0 + g->scheme.group < p.c1) p.c1 = p.c0 + g->scheme.group;
    }
    return p;
}

#define EACH(p, at)                                                                                                    \
    for (int64_t r_ = (p)->r0; r_ < (p)->r1; r_++)                                                                     \
        for (int64_t at = r_ * (p)->g->columns + (p)->c0; at < r_ * (p)->g->columns + (p)->c1; at++)

static double whole_group(const part *p)
{
    const lt_scheme *s = &p->g->scheme;
    if (s->per == LT_PER_TENSOR) return (double)(p->g->rows * p->g->columns);
    return (double)(s->per == LT_PER_GROUP && s->group < p->g->columns ? s->group : p->g->columns);
}

/* ---- Scales ---- */

static double levels(const lt_scheme *s)
{
    return pow(2, s->bits) - 1;
}

static double largest_code(const lt_scheme *s)
{
    return s->kind == LT_SCHEME_TERNARY ? 1 : pow(2, s->bits - 1) - 1;
}

/* By the numbers themselves, the range taken `share` as wide. */
static void dynamic_scale(part *p, const double *x, double share)
{
    const lt_scheme *s = &p->g->scheme;
    double least = 0, most = 0, sum = 0, n = 0;
    EACH(p, i)
    {
        least = fmin(least, x[i]), most = fmax(most, x[i]);
        sum += fabs(x[i]), n++;
    }
    p->z = 0;
    if (s->kind == LT_SCHEME_TERNARY) {
        R mean = (R)(sum / n);
        p->s = (mean > (R)1e-5 ? mean : (R)1e-5) * (R)share;
    } else if (!s->asymmetric) {
        R q = (R)(largest_code(s) + (s->full_range ? 0.5 : 0));
        p->s = (R)fmax(-least, most) * (R)share / q;
    } else {
        R low = (R)least * (R)share, high = (R)most * (R)share;
        p->s = (high - low) / (R)levels(s);
        if (p->s > 0) p->z = (R)fmin(rint((double)(-low / p->s)), levels(s));
    }
}

static double dynamic_value(const part *p, double x)
{
    const lt_scheme *s = &p->g->scheme;
    double q = largest_code(s), inverse = p->s > 0 ? (double)(1 / p->s) : 0;
    double code = rint((double)((R)x * (R)inverse)) + (s->asymmetric ? (double)p->z : 0);
    if (s->asymmetric)
        code = fmin(fmax(code, 0), levels(s)) - (double)p->z;
    else
        code = fmin(fmax(code, s->full_range ? -q - 1 : -q), q);
    return (double)((R)code * p->s);
}

static void mse_scale(part *p, const double *x)
{
    bool ternary = p->g->scheme.kind == LT_SCHEME_TERNARY;
    double best = INFINITY, chosen = 1, first = ternary ? 2.2 : 1, last = ternary ? 0.6 : 0.3;
    for (int t = 0; t < TRIES; t++) {
        double share = first + (last - first) * t / (TRIES - 1), error = 0;
        dynamic_scale(p, x, share);
        EACH(p, i)
        {
            R e = (R)dynamic_value(p, x[i]) - (R)x[i];
            error += (double)e * (double)e;
        }
        if (error < best) best = error, chosen = share;
    }
    dynamic_scale(p, x, chosen);
}

/* ---- Learned rules, from x, the scale and the offset; the unrounded code where the rule has one ---- */

static double lsq_code(const part *p, double x)
{
    R b = p->g->rule == LT_SCALE_LSQ_PLUS ? p->z : 0;
    return (double)(((R)x - b) * (1 / p->s));
}

static double lsq_value(const part *p, double x)
{
    R b = p->g->rule == LT_SCALE_LSQ_PLUS ? p->z : 0;
    return (double)((R)rint(fmin(fmax(lsq_code(p, x), p->lo), p->hi)) * p->s + b);
}

static double pact_value(const part *p, double x)
{
    R step = p->s / (R)p->hi, y = (R)fmin(fmax(x, 0), (double)p->s);
    return (double)((R)rint((double)(y * (1 / step))) * step);
}

/* Low end and width; symmetric: the learned number is the largest value. */
static void range_of(const part *p, double *low, double *range)
{
    bool asymmetric = p->g->scheme.asymmetric;
    double q = largest_code(&p->g->scheme), lo = p->g->scheme.full_range ? -q - 1 : -q;
    *low = asymmetric ? (double)p->z : (double)p->s * lo / q;
    *range = asymmetric ? (double)p->s : (double)p->s - *low;
}

static double range_code(const part *p, double x)
{
    double low, range;
    range_of(p, &low, &range);
    double per =
        (p->g->scheme.asymmetric || p->g->scheme.full_range ? levels(&p->g->scheme) : 2 * largest_code(&p->g->scheme)) /
        range;
    return (fmin(fmax(x, low), low + range) - low) * per - rint(-low * per);
}

static double range_value(const part *p, double x)
{
    double low, range;
    range_of(p, &low, &range);
    double count =
        p->g->scheme.asymmetric || p->g->scheme.full_range ? levels(&p->g->scheme) : 2 * largest_code(&p->g->scheme);
    return rint(range_code(p, x)) * range / count;
}

static void prepare(part *p, const double *x)
{
    const ts_grid *g = p->g;
    double q = largest_code(&g->scheme);
    p->lo = g->scheme.asymmetric ? 0 : g->scheme.full_range ? -q - 1 : -q;
    p->hi = g->scheme.asymmetric ? levels(&g->scheme) : q;
    if (g->rule == LT_SCALE_DYNAMIC) dynamic_scale(p, x, 1);
    if (g->rule == LT_SCALE_MSE) mse_scale(p, x);
    if (g->learned) p->s = (R)g->learned[p->index];
    if (g->offset) p->z = (R)g->offset[p->index];
}

static double value(const part *p, double x)
{
    switch (p->g->rule) {
    case LT_SCALE_LSQ:
    case LT_SCALE_LSQ_PLUS: return lsq_value(p, x);
    case LT_SCALE_PACT: return pact_value(p, x);
    case LT_SCALE_RANGE: return range_value(p, x);
    default: return dynamic_value(p, x);
    }
}

void ts_grid_values(const ts_grid *g, const double *x, double *y)
{
    for (int64_t k = 0; k < ts_grid_groups(g); k++) {
        part p = part_at(g, k);
        prepare(&p, x);
        EACH(&p, i)
        y[i] = value(&p, x[i]);
    }
}

/* ---- Gradients ---- */

/* -1 below, 1 above, 0 inside; `code`: the rounded code is asked instead of x. */
static int side(const part *p, double x, bool code)
{
    double low, range, v;
    switch (p->g->rule) {
    case LT_SCALE_PACT: return x < 0 ? -1 : x >= (double)p->s;
    case LT_SCALE_RANGE: range_of(p, &low, &range); return x < low ? -1 : x > low + range;
    case LT_SCALE_LSQ:
    case LT_SCALE_LSQ_PLUS: v = lsq_code(p, x); break;
    default:
        v = (double)((R)x * (1 / p->s)) + (p->g->scheme.asymmetric ? (double)p->z : 0);
        double ends =
            ts_tolerance(4 * DBL_EPSILON, 4 * FLT_EPSILON) * (p->hi - p->lo); /* what makes a scale is inside */
        if (!code) return v < p->lo - ends ? -1 : v > p->hi + ends;
    }
    if (code) v = rint(v);
    return v < p->lo ? -1 : v > p->hi;
}

static void scale_gradients(const part *p, const double *x, const double *dy, double *ds, double *db)
{
    const ts_grid *g = p->g;
    bool lsq = g->rule == LT_SCALE_LSQ || g->rule == LT_SCALE_LSQ_PLUS, asymmetric = g->scheme.asymmetric;
    double factor = g->factor != 0 ? g->factor : lsq ? 1 / sqrt(whole_group(p) * p->hi) : 1, low, range;
    double s = 0, b = 0;
    range_of(p, &low, &range);
    EACH(p, i)
    {
        int at = side(p, x[i], g->gradient == LT_ROUND_CLIP_CODE);
        if (at) b += dy[i];
        if (lsq) {
            double v = (x[i] - (g->rule == LT_SCALE_LSQ_PLUS ? (double)p->z : 0)) / (double)p->s;
            s += dy[i] * (at < 0 ? p->lo : at > 0 ? p->hi : rint(lsq_code(p, x[i])) - v);
        } else if (g->rule == LT_SCALE_PACT) {
            s += dy[i] * (at > 0);
        } else {
            s += dy[i] * (at > 0   ? 1
                          : at < 0 ? (asymmetric ? 0 : p->lo / p->hi)
                                   : (range_value(p, x[i]) - x[i]) / range);
        }
    }
    if (ds) ds[p->index] = factor * s;
    if (db) db[p->index] = factor * b;
}

void ts_grid_gradients(const ts_grid *g, const double *x, const double *dy, double *dx, double *ds, double *db)
{
    for (int64_t k = 0; k < ts_grid_groups(g); k++) {
        part p = part_at(g, k);
        prepare(&p, x);
        bool through = !g->learned && g->gradient == LT_ROUND_STE;
        EACH(&p, i)
        dx[i] = through || !side(&p, x[i], g->gradient == LT_ROUND_CLIP_CODE) ? dy[i] : 0;
        if (g->learned) scale_gradients(&p, x, dy, ds, db);
    }
}

void ts_grid_avoid_ties(const ts_grid *g, lt_real *x)
{
    for (int64_t k = 0; k < ts_grid_groups(g); k++) {
        part p = part_at(g, k);
        prepare(&p, NULL);
        double low, range, step = (double)p.s;
        range_of(&p, &low, &range);
        if (g->rule == LT_SCALE_PACT) step /= p.hi;
        if (g->rule == LT_SCALE_RANGE) step = range / (p.hi - p.lo);
        double shift = g->rule == LT_SCALE_RANGE      ? low + rint(-low / step) * step
                       : g->rule == LT_SCALE_LSQ_PLUS ? (double)p.z
                                                      : 0;
        EACH(&p, i)
        {
            double v = ((double)x[i] - shift) / step, half = 2 * v, edge = (double)x[i] - low;
            bool near = fabs(half - rint(half)) < 0.02 || fabs(edge) < 0.01 * step || fabs(edge - range) < 0.01 * step;
            if (near) x[i] = (R)((double)x[i] + 0.1 * step);
        }
    }
}
