/* sqrt.c - y = sqrt x; dx = dy / (2 y). */
#include "autograd/ops/elementwise.h"

static void sqrt_vjp(lti_vjp *v)
{
    v->dx[0] = lt_scale(lt_div(v->dy[0], v->out[0]), 0.5);
}

static lt_status sqrt_run(lti_step *step)
{
    return lti_map1_run(step, lti_k()->sqrt);
}

const lti_op lti_op_sqrt = {
    .name = "sqrt",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .flags = LTI_CHEAP,
    .in_place = {1},
    .shape = lti_map_shape,
    .vjp = sqrt_vjp,
    .run = sqrt_run,
};

lt_t lt_sqrt(lt_t x)
{
    return lti_emit(&lti_op_sqrt, 1, &x, NULL, 0);
}
