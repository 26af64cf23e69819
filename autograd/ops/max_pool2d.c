/* max_pool2d.c - y = the largest x under each window; dx = the sum of the dy whose windows have their maximum there.
 *
 * The second output is which tap of the window that was (int32): of equal ones the first in row order, of NaNs the
 * last, as in PyTorch. The backward needs neither x nor y; when there is none, it is not written. */
#include "autograd/ops/pooling.h"

extern const lti_op lti_op_max_pool2d, lti_op_max_pool2d_grad;

static bool max_shape(lti_shaper *s)
{
    if (!lti_pool_shape(s)) return false;
    lti_value_set(&s->out[1], LT_I32, 4, s->out[0].dim);
    return true;
}

static void max_vjp(lti_vjp *v)
{
    if (lt_is_nil(v->dy[0])) return;
    v->dx[0] = lti_pool_grad(&lti_op_max_pool2d_grad, v, 2, (lt_t[]){v->out[1], v->dy[0]});
}

/* Scratch: a place for a y that nobody reads. */
static lt_status max_prepare(lti_step *step)
{
    step->scratch_bytes = step->out[0].data ? 0 : (size_t)step->out[0].count * sizeof(lt_real);
    return LT_OK;
}

static void max_rows(const lti_step *step, const lti_window *s, int64_t image)
{
    const lt_real *x = step->in[0].data;
    lt_real *y = step->out[0].data ? step->out[0].data : step->scratch;
    int32_t *index = step->out[1].data;
    int64_t at = lti_image_at(&step->out[0], image);
    lti_k()->max_pool(s, x + lti_image_at(&step->in[0], image), y + at, index ? index + at : NULL);
}

static lt_status max_run(lti_step *step)
{
    return lti_pool_run(step, false, max_rows);
}

/* The gradient: index, dy -> dx. */
static void grad_rows(const lti_step *step, const lti_window *s, int64_t image)
{
    const int32_t *index = step->in[0].data;
    const lt_real *dy = step->in[1].data;
    lt_real *dx = step->out[0].data;
    int64_t at = lti_image_at(&step->in[1], image);
    lti_k()->max_pool_grad(s, index + at, dy + at, dx + lti_image_at(&step->out[0], image));
}

static lt_status grad_run(lti_step *step)
{
    return lti_pool_run(step, true, grad_rows);
}

const lti_op lti_op_max_pool2d = {
    .name = "max_pool2d",
    .min_in = 1,
    .max_in = 1,
    .n_out = 2,
    .shape = max_shape,
    .vjp = max_vjp,
    .prepare = max_prepare,
    .run = max_run,
};

const lti_op lti_op_max_pool2d_grad = {
    .name = "max_pool2d_grad",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .shape = lti_pool_grad_shape,
    .run = grad_run,
};

lt_t lt_max_pool2d(lt_t x, const lt_pool_config *config)
{
    return lti_pool_emit(&lti_op_max_pool2d, x, config);
}
