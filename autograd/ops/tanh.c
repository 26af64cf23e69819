/* tanh.c - y = tanh x; dx = dy (1 - y^2). */
#include "autograd/ops/elementwise.h"

extern const lti_op lti_op_tanh_grad;

static void tanh_vjp(lti_vjp *v)
{
    v->dx[0] = lti_emit(&lti_op_tanh_grad, 2, (lt_t[]){v->out[0], v->dy[0]}, NULL, 0);
}

static lt_status tanh_run(lti_step *step)
{
    return lti_map1_run(step, lti_k()->tanh);
}

static lt_status tanh_grad_run(lti_step *step)
{
    return lti_map2_run(step, lti_k()->tanh_grad);
}

const lti_op lti_op_tanh = {
    .name = "tanh",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .flags = LTI_CHEAP,
    .in_place = {1},
    .shape = lti_map_shape,
    .vjp = tanh_vjp,
    .run = tanh_run,
};

const lti_op lti_op_tanh_grad = {
    .name = "tanh_grad",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .in_place = {1 | 2},
    .shape = lti_map_shape,
    .run = tanh_grad_run,
};

lt_t lt_tanh(lt_t x)
{
    return lti_emit(&lti_op_tanh, 1, &x, NULL, 0);
}
