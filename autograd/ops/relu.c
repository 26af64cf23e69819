/* relu.c - y = max(x, 0); dx = dy where y > 0, else 0.
 *
 * y > 0 exactly where x > 0, and y is what the next product keeps anyway: the gradient reads y. */
#include "autograd/ops/elementwise.h"

extern const lti_op lti_op_relu_grad;

static void relu_vjp(lti_vjp *v)
{
    v->dx[0] = lti_emit(&lti_op_relu_grad, 2, (lt_t[]){v->out[0], v->dy[0]}, NULL, 0);
}

static lt_status relu_run(lti_step *step)
{
    return lti_map1_run(step, lti_k()->relu);
}

static lt_status relu_grad_run(lti_step *step)
{
    return lti_map2_run(step, lti_k()->relu_grad);
}

const lti_op lti_op_relu = {
    .name = "relu",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .flags = LTI_CHEAP,
    .in_place = {1},
    .shape = lti_map_shape,
    .vjp = relu_vjp,
    .run = relu_run,
};

const lti_op lti_op_relu_grad = {
    .name = "relu_grad",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .in_place = {1 | 2},
    .shape = lti_map_shape,
    .run = relu_grad_run,
};

lt_t lt_relu(lt_t x)
{
    return lti_emit(&lti_op_relu, 1, &x, NULL, 0);
}
