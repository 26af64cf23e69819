/* grid_prox.c - weights drawn to a uniform grid little by little (PARQ: Jin et al. 2025, arXiv 2503.15748).
 *
 *     v = (x - offset) / s,  l = floor(v),  w = clip(l + 1/2 + (v - l - 1/2) / r, l, l + 1),  y = clip(w, lo, hi) s + base
 *     r = (h(t) - h(1)) / (h(0) - h(1)),  h(t) = 1 / (1 + exp(10 (t - 1/2)))
 *     dx = dy
 *
 * t is the progress of the run: r falls from 1 (w = v) to 0 (nearest code). The proximal map is applied to the latent
 * weights where they are used, each step anew, and the gradient found at y moves the latent weights: the very iteration of
 * the paper, without a second copy of the weights and without an effect in the update. */
#include "autograd/ops/grids.h"

#include <math.h>

extern const lti_op lti_op_grid_prox;

typedef struct prox_job {
    const lti_step *step;
    lti_groups groups;
    double inverse_slope;
} prox_job;

/* x, progress, scale, offset */
static bool prox_shape(lti_shaper *s)
{
    char a[LTI_DIMS_TEXT];
    const lti_value *x = s->in[0];
    if (!lti_f32_inputs(s, 0, s->n_in)) return false;
    lti_groups g = lti_groups_of(s->attr, x->rank, x->dim);
    for (int i = 1; i < s->n_in; i++)
        if (lti_value_count(s->in[i]) != (i == 1 ? 1 : g.count))
            return lti_shape_fail(s, "input %d is %s; it is to have %lld numbers", i, lti_dims(s->in[i], a),
                                  i == 1 ? 1LL : (long long)g.count);
    return lti_out_set(s, 0, LT_F32, x->rank, x->dim);
}

static void prox_vjp(lti_vjp *v)
{
    if (v->need[0]) v->dx[0] = v->dy[0];
}

static double falling(double t)
{
    return 1 / (1 + exp(10 * (t - 0.5)));
}

static double inverse_slope(double t)
{
    if (!(t > 0)) return 1;
    return t >= 1 ? 0 : (falling(t) - falling(1)) / (falling(0) - falling(1));
}

/* NaN passes. */
static lt_real within(lt_real x, lt_real lo, lt_real hi)
{
    x = x < lo ? lo : x;
    return x > hi ? hi : x;
}

static void prox_run_of(void *arg, int64_t group, int64_t first, int64_t n)
{
    const prox_job *j = arg;
    const lti_step *step = j->step;
    const lt_real *x = (const lt_real *)step->in[0].data + first, *offset = step->n_in > 3 ? step->in[3].data : NULL;
    lt_real *y = (lt_real *)step->out[0].data + first;
    lti_grid g = lti_grid_make(step->attr, ((const lt_real *)step->in[2].data)[group], offset ? offset[group] : 0);
    if (j->inverse_slope == 0) {
        lti_k()->fake_quant(n, x, &g, y);
        return;
    }
    lt_real slope = (lt_real)(1 / j->inverse_slope), half = (lt_real)0.5;
    for (int64_t i = 0; i < n; i++) {
        lt_real v = (x[i] - g.offset) * g.inverse, low = (lt_real)floor((double)v);
        lt_real w = within(low + half + (v - low - half) * slope, low, low + 1);
        y[i] = within(w, g.lo, g.hi) * g.scale + g.base;
    }
}

static void prox_range(void *arg, int64_t begin, int64_t end)
{
    lti_each_run(&((prox_job *)arg)->groups, begin, end, prox_run_of, arg);
}

static lt_status prox_run(lti_step *step)
{
    prox_job job = {.step = step, .groups = lti_groups_of(step->attr, step->in[0].rank, step->in[0].dim)};
    job.inverse_slope = inverse_slope((double)lti_number(&step->in[1]));
    lti_each(step->in[0].count, prox_range, &job);
    return LT_OK;
}

const lti_op lti_op_grid_prox = {
    .name = "grid_prox",
    .min_in = 3,
    .max_in = 4,
    .n_out = 1,
    .flags = LTI_CHEAP,
    .in_place = {1},
    .shape = prox_shape,
    .vjp = prox_vjp,
    .run = prox_run,
};
