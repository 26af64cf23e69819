/* sigmoid.c - y = 1 / (1 + e^-x); dx = dy y (1 - y). */
#include "autograd/ops/elementwise.h"

extern const lti_op lti_op_sigmoid_grad;

static void sigmoid_vjp(lti_vjp *v)
{
    v->dx[0] = lti_emit(&lti_op_sigmoid_grad, 2, (lt_t[]){v->out[0], v->dy[0]}, NULL, 0);
}

static lt_status sigmoid_run(lti_step *step)
{
    return lti_map1_run(step, lti_k()->sigmoid);
}

static lt_status sigmoid_grad_run(lti_step *step)
{
    return lti_map2_run(step, lti_k()->sigmoid_grad);
}

const lti_op lti_op_sigmoid = {
    .name = "sigmoid",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .flags = LTI_CHEAP,
    .in_place = {1},
    .shape = lti_map_shape,
    .vjp = sigmoid_vjp,
    .run = sigmoid_run,
};

const lti_op lti_op_sigmoid_grad = {
    .name = "sigmoid_grad",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .in_place = {1 | 2},
    .shape = lti_map_shape,
    .run = sigmoid_grad_run,
};

lt_t lt_sigmoid(lt_t x)
{
    return lti_emit(&lti_op_sigmoid, 1, &x, NULL, 0);
}
