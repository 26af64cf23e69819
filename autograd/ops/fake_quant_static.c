/* fake_quant_static.c - y = clip(round(x (1 / s)), lowest, highest) s, with a scale that was observed, or is learned.
 *
 *     dx = dy where the rounded code lies within lowest .. highest, else 0 (PyTorch's fake quantization)
 *     LSQ:  ds = (sum of dy (y - x) / s inside + sum of dy, times the bound's code, outside) / sqrt(N highest)
 *     PACT: dx = dy where 0 <= x < a = 255 s, else 0; da = sum of dy where x >= a, ds = da / 255
 *
 * N is how many numbers x has: all of the batch, which is what a step moves s by. PACT's bound is kept as s, which is
 * what evaluation and integer networks read; with da / 255 a plain step of s moves a as a step of a would (255 da, the
 * derivative itself, moves it 65,025 times as far). Without a lowest code of 0 there is no such bound: then LSQ.
 *
 * The grid [2] = {s, lowest} and the switch are values, for they change while a plan lives; lowest and the switch are
 * constants to the gradient. Without a scale, and switched off, y = x: a training may begin before anything was seen.
 * Sums are made by pieces of one size, and added in their order: the same bits for any number of threads. */
#include "autograd/ops/elementwise.h"
#include "autograd/ops/observe_range.h"

#include <math.h>

extern const lti_op lti_op_fake_quant_static, lti_op_fake_quant_static_grad;

enum { PIECE = 65536 }; /* numbers that one task sums up */

typedef struct static_attr {
    int64_t rule; /* LT_OBSERVE_LSQ, LT_OBSERVE_PACT; else the scale is a constant */
} static_attr;

static bool is_learned(const void *attr)
{
    return lti_observer_learns((lt_observer)((const static_attr *)attr)->rule);
}

/* `first`: the input after x (and dy) where grid and switch begin. False: y = x. */
static bool grid_now(const lti_step *step, int first, lti_grid *grid)
{
    const lt_real *g = step->in[first].data;
    if (lti_number(&step->in[first + 1]) == 0 || !(g[0] > 0)) return false;
    *grid = (lti_grid){.inverse = 1 / g[0], .scale = g[0], .lo = g[1], .hi = g[1] < 0 ? 127 : 255};
    return true;
}

static bool static_shape(lti_shaper *s)
{
    int first = s->n_in - 2;
    char a[LTI_DIMS_TEXT];
    if (!lti_f32_inputs(s, 0, s->n_in)) return false;
    if (lti_value_count(s->in[first]) != 2 || lti_value_count(s->in[first + 1]) != 1)
        return lti_shape_fail(s, "grid %s: it is to be scale and lowest code, and the switch one number",
                              lti_dims(s->in[first], a));
    if (s->op->n_out > 1) lti_value_set(&s->out[1], LT_F32, s->in[first]->rank, s->in[first]->dim);
    return lti_out_set(s, 0, LT_F32, s->in[0]->rank, s->in[0]->dim);
}

static void static_vjp(lti_vjp *v)
{
    bool scale = is_learned(v->attr) && v->need[1];
    lt_t in[4] = {v->in[0], v->dy[0], v->in[1], v->in[2]};
    if (!v->need[0] && !scale) return;
    lt_t grad = lti_emit(&lti_op_fake_quant_static_grad, 4, in, v->attr, sizeof(static_attr));
    if (v->need[0]) v->dx[0] = grad;
    if (scale) v->dx[1] = lti_output(grad, 1);
}

typedef struct static_job {
    const lti_step *step;
    lti_grid grid;
    int by;
    bool on;
} static_job;

/* ---- Values ---- */

static void copy(const lt_real *from, lt_real *to, int64_t begin, int64_t end)
{
    for (int64_t i = begin; i < end && from != to; i++) to[i] = from[i];
}

static void values(void *arg, int64_t begin, int64_t end)
{
    const static_job *j = arg;
    const lt_real *x = j->step->in[0].data;
    lt_real *y = j->step->out[0].data;
    if (j->on)
        lti_k()->fake_quant(end - begin, x + begin, &j->grid, y + begin);
    else
        copy(x, y, begin, end);
}

static lt_status static_run(lti_step *step)
{
    static_job j = {.step = step};
    j.on = grid_now(step, 1, &j.grid);
    lti_each(step->in[0].count, values, &j);
    return LT_OK;
}

/* ---- Gradients ---- */

static int64_t pieces_of(int64_t n)
{
    return (n + PIECE - 1) / PIECE;
}

static lt_status grad_prepare(lti_step *step)
{
    if (step->out[1].data) step->scratch_bytes = (size_t)pieces_of(step->in[0].count) * 3 * sizeof(double);
    return LT_OK;
}

static void mask(void *arg, int64_t begin, int64_t end)
{
    const static_job *j = arg;
    const lt_real *x = j->step->in[0].data, *dy = j->step->in[1].data;
    lt_real *dx = j->step->out[0].data;
    if (j->on)
        lti_k()->fake_quant_mask(end - begin, x + begin, &j->grid, j->by, dy + begin, dx + begin);
    else
        copy(dy, dx, begin, end);
}

static void sums_task(void *arg, int64_t piece, int thread)
{
    const static_job *j = arg;
    int64_t begin = piece * PIECE, left = j->step->in[0].count - begin;
    double *sums = (double *)j->step->scratch + 3 * piece;
    const lt_real *x = j->step->in[0].data, *dy = j->step->in[1].data;
    (void)thread;
    sums[0] = sums[1] = sums[2] = 0;
    lti_k()->fake_quant_sums(left < PIECE ? left : PIECE, x + begin, &j->grid, j->by, dy + begin, sums);
}

static lt_real scale_gradient(static_job *j, bool pact)
{
    int64_t n = j->step->in[0].count, pieces = pieces_of(n);
    const double *part = j->step->scratch;
    double sums[3] = {0}, lo = (double)j->grid.lo, hi = (double)j->grid.hi;
    lti_par(pieces, sums_task, j);
    for (int64_t i = 0; i < 3 * pieces; i++) sums[i % 3] += part[i];
    if (n == 0) return 0;
    if (pact) return (lt_real)(sums[2] / hi);
    return (lt_real)((sums[0] / (double)j->grid.scale + lo * sums[1] + hi * sums[2]) / sqrt((double)n * hi));
}

static lt_status grad_run(lti_step *step)
{
    static_job j = {.step = step, .by = LTI_BY_CODE};
    lt_real *ds = step->out[1].data;
    j.on = grid_now(step, 2, &j.grid);
    bool pact = j.on && ((const static_attr *)step->attr)->rule == LT_OBSERVE_PACT && j.grid.lo >= 0;
    if (pact) {
        j.by = LTI_BY_X;
        double bound = (double)(j.grid.hi * j.grid.scale);
        j.grid.last = (lt_real)(sizeof(lt_real) == 4 ? (double)nextafterf((float)bound, 0) : nextafter(bound, 0));
    }
    if (ds) ds[0] = j.on ? scale_gradient(&j, pact) : 0, ds[1] = 0;
    if (step->out[0].data) lti_each(step->in[0].count, mask, &j); /* last: it may lie where dy lies */
    return LT_OK;
}

const lti_op lti_op_fake_quant_static = {
    .name = "fake_quant_static",
    .min_in = 3,
    .max_in = 3,
    .n_out = 1,
    .flags = LTI_CHEAP,
    .in_place = {1},
    .shape = static_shape,
    .vjp = static_vjp,
    .run = static_run,
};

const lti_op lti_op_fake_quant_static_grad = {
    .name = "fake_quant_static_grad",
    .min_in = 4,
    .max_in = 4,
    .n_out = 2,
    .in_place = {2},
    .shape = static_shape,
    .prepare = grad_prepare,
    .run = grad_run,
};

lt_t lt_fake_quant_learned(lt_t x, lt_t grid, lt_t on, lt_observer rule)
{
    static_attr attr = {.rule = lti_observer_learns(rule) ? (int64_t)rule : LT_OBSERVE_AVERAGE};
    return lti_emit(&lti_op_fake_quant_static, 3, (lt_t[]){x, grid, on}, &attr, sizeof attr);
}

lt_t lt_fake_quant_static(lt_t x, lt_t grid, lt_t on)
{
    return lt_fake_quant_learned(x, grid, on, LT_OBSERVE_AVERAGE);
}
