/* fake_quant_static.c - y = clip(round(x (1 / s)), lowest, highest) s, with a scale that was observed.
 *
 *     dx = dy where the rounded code lies within lowest .. highest, else 0 (PyTorch's fake quantization)
 *
 * The grid [2] = {s, lowest} and the switch are values, for they change while a plan lives; both are constants to the
 * gradient. Without a scale, and switched off, y = x: a training may begin before anything was seen. */
#include "autograd/ops/elementwise.h"
#include "lathe/observe.h"

extern const lti_op lti_op_fake_quant_static, lti_op_fake_quant_static_grad;

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
    return lti_out_set(s, 0, LT_F32, s->in[0]->rank, s->in[0]->dim);
}

static void static_vjp(lti_vjp *v)
{
    lt_t in[4] = {v->in[0], v->dy[0], v->in[1], v->in[2]};
    if (v->need[0]) v->dx[0] = lti_emit(&lti_op_fake_quant_static_grad, 4, in, NULL, 0);
}

typedef struct static_job {
    const lti_step *step;
    lti_grid grid;
    bool on;
} static_job;

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

static void mask(void *arg, int64_t begin, int64_t end)
{
    const static_job *j = arg;
    const lt_real *x = j->step->in[0].data, *dy = j->step->in[1].data;
    lt_real *dx = j->step->out[0].data;
    if (j->on)
        lti_k()->fake_quant_mask(end - begin, x + begin, &j->grid, LTI_BY_CODE, dy + begin, dx + begin);
    else
        copy(dy, dx, begin, end);
}

static lt_status grad_run(lti_step *step)
{
    static_job j = {.step = step};
    j.on = grid_now(step, 2, &j.grid);
    lti_each(step->in[0].count, mask, &j);
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
    .n_out = 1,
    .in_place = {2},
    .shape = static_shape,
    .run = grad_run,
};

lt_t lt_fake_quant_static(lt_t x, lt_t grid, lt_t on)
{
    return lti_emit(&lti_op_fake_quant_static, 3, (lt_t[]){x, grid, on}, NULL, 0);
}
