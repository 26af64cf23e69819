/* grid_scales.c - scales of a uniform grid from the numbers themselves: absmax, min and max, mean, least squared error.
 *
 *     x -> scale [groups], zero point [groups] (asymmetric grids; whole numbers)
 *
 * An op of its own, kept for the backward: it is a number in 32, while the values on the grid are made again there, and
 * a search for the best scale is not to be made twice. Constants for the gradient, as in torchao.
 *
 * The search tries 24 scales, from the one that absmax asks for down to 0.3 of it (ternary: from 2.2 down to 0.6 of the
 * mean, as a Gaussian's best is 1.53), and takes the first of the best. Groups of up to 65,536 numbers are one task's
 * affair; larger ones are cut into pieces whose sums are added in their order. */
#include "autograd/ops/grids.h"

#include <float.h>
#include <math.h>

extern const lti_op lti_op_grid_scales;

enum { TRIES = 24 };

/* Least and largest, or {0, sum of |x|} for ternary grids. */
typedef struct stats {
    lt_real least, most;
    double sum;
} stats;

typedef struct scales_job {
    const lti_grid_attr *attr;
    const lti_groups *groups;
    const lt_real *x;
    lt_real *scale, *offset;
    int64_t tasks, group; /* group: the one that pieces are of */
    stats all;            /* of that group */
    union {
        stats part;
        double error[TRIES];
    } * piece;
} scales_job;

static stats stats_of(const lti_grid_attr *a, int64_t n, const lt_real *x)
{
    lt_real out[2] = {0, 0};
    if (a->kind == LT_SCHEME_TERNARY) return (stats){.sum = lti_k()->sum_abs(n, x)};
    lti_k()->extremes(n, x, out);
    return (stats){.least = out[0], .most = out[1]};
}

static lt_real larger(lt_real a, lt_real b)
{
    return b > a || b != b ? b : a;
}

static void merge(stats *s, const stats *more)
{
    s->least = -larger(-s->least, -more->least);
    s->most = larger(s->most, more->most);
    s->sum += more->sum;
}

/* The scale when the range is taken `share` as wide; the zero point with it. */
static lt_real scale_at(const lti_grid_attr *a, const stats *s, int64_t n, double share, lt_real *zero)
{
    lt_real shrink = (lt_real)share, q = a->kind == LT_SCHEME_FP8 ? (a->e5m2 ? 57344 : 448) : 0;
    *zero = 0;
    if (a->kind == LT_SCHEME_TERNARY) {
        lt_real mean = (lt_real)(s->sum / (double)n);
        return (mean > (lt_real)LTI_LEAST_MEAN || mean != mean ? mean : (lt_real)LTI_LEAST_MEAN) * shrink;
    }
    if (!a->asymmetric) {
        if (q == 0) q = (lt_real)((1 << (a->bits - 1)) - 1) + (a->full_range ? (lt_real)0.5 : 0);
        return larger(-s->least, s->most) * shrink / q;
    }
    lt_real low = -larger(0, -s->least) * shrink, high = larger(0, s->most) * shrink,
            levels = (lt_real)((1 << a->bits) - 1);
    lt_real scale = (high - low) / levels;
    if (scale >= FLT_MIN) *zero = (lt_real)rint((double)(-low / scale));
    if (*zero > levels) *zero = levels;
    return scale;
}

static double share_at(const lti_grid_attr *a, int turn)
{
    double from = a->kind == LT_SCHEME_TERNARY ? 2.2 : 1, to = a->kind == LT_SCHEME_TERNARY ? 0.6 : 0.3;
    return from + (to - from) * turn / (TRIES - 1);
}

static double error_at(const scales_job *j, const stats *s, int64_t in_group, int turn, int64_t n, const lt_real *x)
{
    lt_real zero, scale = scale_at(j->attr, s, in_group, share_at(j->attr, turn), &zero);
    lti_grid grid = lti_grid_make(j->attr, scale, zero);
    return lti_k()->fake_quant_error(n, x, &grid);
}

/* The first of the least; NaN among them counts for nothing but is not hidden: the scale is NaN then anyway. */
static int best_of(const double *error)
{
    int best = 0;
    for (int i = 1; i < TRIES; i++)
        if (error[i] < error[best]) best = i;
    return best;
}

static void put(const scales_job *j, int64_t group, const stats *s, int64_t n, double share)
{
    lt_real zero;
    j->scale[group] = scale_at(j->attr, s, n, share, &zero);
    if (j->offset) j->offset[group] = zero;
}

static void whole_groups(void *arg, int64_t task, int thread)
{
    const scales_job *j = arg;
    int64_t begin, end, first;
    lti_row_range(j->groups->count, j->tasks, task, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        int64_t n = lti_group_at(j->groups, i, &first);
        stats s = stats_of(j->attr, n, j->x + first);
        double share = 1, error[TRIES];
        if (j->attr->rule == LT_SCALE_MSE) {
            for (int t = 0; t < TRIES; t++) error[t] = error_at(j, &s, n, t, n, j->x + first);
            share = share_at(j->attr, best_of(error));
        }
        put(j, i, &s, n, share);
    }
}

static void piece_stats(void *arg, int64_t piece, int thread)
{
    const scales_job *j = arg;
    int64_t first, n = lti_piece_at(j->groups, j->group, piece, &first);
    j->piece[piece].part = stats_of(j->attr, n, j->x + first);
}

static void piece_errors(void *arg, int64_t piece, int thread)
{
    const scales_job *j = arg;
    int64_t first, whole = lti_group_at(j->groups, j->group, &first),
                   n = lti_piece_at(j->groups, j->group, piece, &first);
    for (int t = 0; t < TRIES; t++) j->piece[piece].error[t] = error_at(j, &j->all, whole, t, n, j->x + first);
}

static void large_group(scales_job *j, int64_t group)
{
    int64_t first, n = lti_group_at(j->groups, group, &first), pieces = (n - 1) / LTI_PIECE + 1;
    double share = 1, error[TRIES] = {0};
    j->group = group;
    lti_par(pieces, piece_stats, j);
    j->all = j->piece[0].part;
    for (int64_t p = 1; p < pieces; p++) merge(&j->all, &j->piece[p].part);
    if (j->attr->rule == LT_SCALE_MSE) {
        lti_par(pieces, piece_errors, j);
        for (int64_t p = 0; p < pieces; p++)
            for (int t = 0; t < TRIES; t++) error[t] += j->piece[p].error[t];
        share = share_at(j->attr, best_of(error));
    }
    put(j, group, &j->all, n, share);
}

size_t lti_scales_scratch(const lti_grid_attr *attr, const lti_groups *groups)
{
    int64_t pieces = lti_pieces(groups);
    (void)attr;
    return pieces > 1 ? (size_t)pieces * sizeof *((scales_job *)0)->piece : 0;
}

void lti_scales_from(const lti_grid_attr *attr, const lti_groups *groups, const lt_real *x, lt_real *scale,
                     lt_real *offset, void *scratch)
{
    scales_job job = {.attr = attr, .groups = groups, .x = x, .scale = scale, .offset = offset, .piece = scratch};
    if (lti_pieces(groups) > 1) {
        for (int64_t i = 0; i < groups->count; i++) large_group(&job, i);
        return;
    }
    job.tasks = lti_row_tasks(groups->count, groups->size, 256);
    lti_par(job.tasks, whole_groups, &job);
}

/* ---- The op ---- */

static lti_groups groups_of(const lti_step *step)
{
    return lti_groups_of(step->attr, step->in[0].rank, step->in[0].dim);
}

static bool scales_shape(lti_shaper *s)
{
    const lti_value *x = s->in[0];
    if (!lti_f32_inputs(s, 0, 1)) return false;
    lti_groups g = lti_groups_of(s->attr, x->rank, x->dim);
    for (int k = 0; k < 2; k++)
        if (!lti_out_set(s, k, LT_F32, 1, &g.count)) return false;
    return true;
}

static void scales_vjp(lti_vjp *v)
{
    (void)v; /* constants */
}

static lt_status scales_prepare(lti_step *step)
{
    lti_groups g = groups_of(step);
    step->scratch_bytes = lti_round64(lti_scales_scratch(step->attr, &g));
    if (!step->out[0].data) step->scratch_bytes += (size_t)g.count * sizeof(lt_real);
    return LT_OK;
}

static lt_status scales_run(lti_step *step)
{
    lti_groups g = groups_of(step);
    size_t own = lti_round64(lti_scales_scratch(step->attr, &g));
    lt_real *scale = step->out[0].data ? step->out[0].data : (void *)((char *)step->scratch + own);
    lti_scales_from(step->attr, &g, step->in[0].data, scale, step->out[1].data, step->scratch);
    return LT_OK;
}

const lti_op lti_op_grid_scales = {
    .name = "grid_scales",
    .min_in = 1,
    .max_in = 1,
    .n_out = 2,
    .flags = LTI_KEEP,
    .shape = scales_shape,
    .vjp = scales_vjp,
    .prepare = scales_prepare,
    .run = scales_run,
};
