/* grids.c - groups, the grids that scales make, and the gradients of learned scales.
 *
 * Every scheme becomes a lti_grid (kernels/grid.h), so that the kernels know one formula:
 *
 *     symmetric     codes -Q .. Q, s = absmax / Q; full range: -Q-1 .. Q, s = absmax / (Q + 1/2)
 *     asymmetric    codes 0 .. L with zero point z = clip(round(-min / s)), s = (max - min) / L, 0 always within
 *     ternary       codes -1 .. 1, s = max(mean |x|, 1e-5)
 *     LSQ, LSQ+     s learned; LSQ+: round((x - b) / s) s + b. Codes 0 .. L without a zero point when asymmetric
 *     PACT          codes 0 .. L, s = a / L with a learned bound a; inside: 0 <= x < a
 *     range         s = range / L, zero point round(-low / s); symmetric: the learned number is the largest value
 *     half          s is rounded to f16 once it is known; zero points are those of s before
 *
 * and the gradients of what is learned, with sums over a group, factor 1/sqrt(N Q) for LSQ and LSQ+ (N: the numbers of a
 * whole group), 1 for the others:
 *
 *     LSQ(+)   ds = sum dy (y - x) / s inside + lo (sum dy below) + hi (sum dy above),  db = sum dy outside
 *     PACT     da = sum dy above
 *     range    dr = sum dy (y - x) / range inside + sum dy above + (lo / hi) (sum dy below, symmetric); dlow = outside
 *
 * 8-bit floats are no uniform grid: grids of codes up to the largest value of the type carry their scale alone. */
#include "autograd/ops/grids.h"

#include <float.h>
#include <math.h>

lti_grid_attr lti_grid_attr_of(const lt_scheme *s, lt_scale_rule rule)
{
    lti_grid_attr a = {.kind = s->kind, .bits = s->bits, .per = s->per, .rule = rule};
    a.asymmetric = s->asymmetric, a.full_range = s->full_range, a.e5m2 = s->e5m2, a.group = s->group;
    a.half = s->half_scales;
    return a;
}

/* ---- Groups ---- */

lti_groups lti_groups_of(const lti_grid_attr *a, int rank, const int64_t *dim)
{
    int64_t count = 1, last = rank ? dim[rank - 1] : 1;
    for (int i = 0; i < rank; i++) count *= dim[i];
    lti_groups g = {.rows = 1, .columns = count};
    if (a->per == LT_PER_GROUP) g.columns = last;
    if (a->per == LT_PER_CHANNEL && rank > 1) g.columns = dim[0] ? count / dim[0] : 0;
    if (g.columns > 0) g.rows = count / g.columns;
    g.size = a->per == LT_PER_GROUP && a->group < g.columns ? a->group : g.columns;
    if (g.size < 1) return (lti_groups){.size = 1};
    g.per_row = (g.columns - 1) / g.size + 1;
    g.count = count ? g.rows * g.per_row : 0;
    return g;
}

int64_t lti_group_at(const lti_groups *g, int64_t index, int64_t *first)
{
    int64_t row = index / g->per_row, column = index % g->per_row * g->size;
    *first = row * g->columns + column;
    return g->columns - column < g->size ? g->columns - column : g->size;
}

int64_t lti_piece_at(const lti_groups *g, int64_t index, int64_t piece, int64_t *first)
{
    int64_t n = lti_group_at(g, index, first) - piece * LTI_PIECE;
    *first += piece * LTI_PIECE;
    if (n <= 0) return 0;
    return n < LTI_PIECE ? n : LTI_PIECE;
}

void lti_each_run(const lti_groups *g, int64_t begin, int64_t end, lti_run_body body, void *arg)
{
    while (begin < end) {
        int64_t first, group = begin / g->columns * g->per_row + begin % g->columns / g->size;
        int64_t n = lti_group_at(g, group, &first), left = first + n - begin;
        if (left > end - begin) left = end - begin;
        body(arg, group, begin, left);
        begin += left;
    }
}

/* ---- Grids ---- */

bool lti_rule_learned(int64_t rule)
{
    return rule != LT_SCALE_DYNAMIC && rule != LT_SCALE_MSE;
}

bool lti_rule_has_offset(const lti_grid_attr *a)
{
    if (!lti_rule_learned(a->rule)) return a->asymmetric;
    return a->rule == LT_SCALE_LSQ_PLUS || (a->rule == LT_SCALE_RANGE && a->asymmetric);
}

static lt_real to_half(lt_real s)
{
    uint16_t half;
    lti_k()->to_f16(1, &s, &half);
    lti_k()->from_f16(1, &half, &s);
    return s;
}

/* The codes without a zero point. */
static void code_range(const lti_grid_attr *a, double *lo, double *hi)
{
    double q = a->kind == LT_SCHEME_INT ? (double)((1 << (a->bits - 1)) - 1) : 1;
    *hi = q;
    *lo = a->full_range ? -q - 1 : -q;
    if (a->kind == LT_SCHEME_FP8) *hi = a->e5m2 ? 57344 : 448, *lo = -*hi;
    if (a->asymmetric || a->rule == LT_SCALE_PACT) *lo = 0, *hi = (double)((1 << a->bits) - 1);
}

static lt_real reciprocal(lt_real s)
{
    return s >= FLT_MIN ? 1 / s : 0;
}

static void bounds(lti_grid *g, double first, double last)
{
    g->first = (lt_real)first;
    g->last = (lt_real)last;
}

static lti_grid range_grid(const lti_grid_attr *a, double lo, double hi, double learned, double low)
{
    double range = fabs(learned) + 1e-16;
    if (!a->asymmetric) low = range * lo / hi, range -= low;
    lt_real s = (lt_real)(range / (hi - lo));
    if (a->half) s = to_half(s);
    double zero = rint(-low / (range / (hi - lo)));
    lti_grid g = {.inverse = reciprocal(s), .scale = s, .lo = (lt_real)-zero, .hi = (lt_real)(hi - lo - zero)};
    g.offset = (lt_real)(a->asymmetric ? low + zero * (range / (hi - lo)) : 0); /* what the zero point misses low by */
    bounds(&g, low, low + range);
    return g;
}

/* The largest number below x > 0. */
static lt_real just_below(lt_real x)
{
    return sizeof(lt_real) == 8 ? (lt_real)nextafter((double)x, 0) : (lt_real)nextafterf((float)x, 0);
}

lti_grid lti_grid_make(const lti_grid_attr *a, lt_real scale, lt_real offset)
{
    double lo, hi;
    lt_real bound = scale;
    code_range(a, &lo, &hi);
    if (a->rule == LT_SCALE_RANGE) return range_grid(a, lo, hi, (double)scale, (double)offset);
    if (a->rule == LT_SCALE_PACT) scale /= (lt_real)hi;
    if (lti_rule_learned(a->rule) && !(scale >= (lt_real)LTI_LEAST_LEARNED) && scale == scale)
        scale = (lt_real)LTI_LEAST_LEARNED;
    if (a->half) scale = to_half(scale);
    lti_grid g = {.inverse = reciprocal(scale), .scale = scale, .lo = (lt_real)lo, .hi = (lt_real)hi};
    if (a->rule == LT_SCALE_LSQ_PLUS)
        g.offset = g.base = offset;
    else if (a->asymmetric && !lti_rule_learned(a->rule))
        g.lo -= offset, g.hi -= offset;
    g.first = g.lo * scale + g.base;
    g.last = g.hi * scale + g.base;
    if (a->rule == LT_SCALE_PACT) g.last = just_below(bound);
    if (!lti_rule_learned(a->rule)) { /* the largest number makes the scale: rounding must not put it outside */
        lt_real slack = (g.last - g.first) * (lt_real)(sizeof(lt_real) == 8 ? 4 * DBL_EPSILON : 4 * FLT_EPSILON);
        g.first -= slack, g.last += slack;
    }
    return g;
}

void lti_grid_gradients(const lti_grid_attr *a, const lti_groups *groups, lt_real scale, const lti_grid *g,
                        const double sums[3], double *dscale, double *doffset)
{
    double lo, hi, factor = a->factor, below = sums[1], above = sums[2];
    code_range(a, &lo, &hi);
    bool lsq = a->rule == LT_SCALE_LSQ || a->rule == LT_SCALE_LSQ_PLUS;
    if (factor == 0) factor = lsq ? 1 / sqrt((double)groups->size * hi) : 1;
    *doffset = factor * (below + above);
    if (lsq) {
        *dscale = factor * (sums[0] / (double)g->scale + lo * below + hi * above);
    } else if (a->rule == LT_SCALE_PACT) {
        *dscale = factor * above;
    } else {
        double range = (double)g->scale * (hi - lo);
        *dscale = factor * (sums[0] / range + above + (a->asymmetric ? 0 : lo / hi * below));
        if (scale < 0) *dscale = -*dscale;
    }
}

/* ---- Values ---- */

typedef struct grids_job {
    const lti_grid_attr *attr;
    const lti_groups *groups;
    const lt_real *x, *scale, *offset;
    lt_real *y;
} grids_job;

/* What the scaling leaves beyond the largest value becomes the largest. */
static void float8(const lti_grid_attr *a, int64_t n, const lt_real *x, const lti_grid *g, lt_real *y)
{
    uint8_t codes[256];
    for (int64_t i = 0; i < n; i += 256) {
        int64_t left = n - i < 256 ? n - i : 256;
        lti_k()->scale(left, g->inverse, x + i, y + i);
        (a->e5m2 ? lti_k()->to_e5m2 : lti_k()->to_e4m3)(left, y + i, codes);
        (a->e5m2 ? lti_k()->from_e5m2 : lti_k()->from_e4m3)(left, codes, y + i);
        lti_k()->scale(left, g->scale, y + i, y + i);
    }
}

static void values_run(void *arg, int64_t group, int64_t first, int64_t n)
{
    const grids_job *j = arg;
    lti_grid g = lti_grid_make(j->attr, j->scale[group], j->offset ? j->offset[group] : 0);
    if (j->attr->kind == LT_SCHEME_FP8)
        float8(j->attr, n, j->x + first, &g, j->y + first);
    else
        lti_k()->fake_quant(n, j->x + first, &g, j->y + first);
}

static void values_range(void *arg, int64_t begin, int64_t end)
{
    lti_each_run(((const grids_job *)arg)->groups, begin, end, values_run, arg);
}

void lti_on_grids(const lti_grid_attr *attr, const lti_groups *groups, const lt_real *x, const lt_real *scale,
                  const lt_real *offset, lt_real *y)
{
    grids_job job = {attr, groups, x, scale, lti_rule_has_offset(attr) ? offset : NULL, y};
    lti_each(groups->rows * groups->columns, values_range, &job);
}
