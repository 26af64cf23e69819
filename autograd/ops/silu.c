/* silu.c - y = x s with s = sigmoid(x); dx = dy s (1 + x (1 - s)). */
#include "autograd/ops/elementwise.h"

extern const lti_op lti_op_silu_grad;

static void silu_vjp(lti_vjp *v)
{
    v->dx[0] = lti_emit(&lti_op_silu_grad, 2, (lt_t[]){v->in[0], v->dy[0]}, NULL, 0);
}

static lt_status silu_run(lti_step *step)
{
    return lti_map1_run(step, lti_k()->silu);
}

static lt_status silu_grad_run(lti_step *step)
{
    return lti_map2_run(step, lti_k()->silu_grad);
}

const lti_op lti_op_silu = {
    .name = "silu",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .flags = LTI_CHEAP,
    .in_place = {1},
    .shape = lti_map_shape,
    .vjp = silu_vjp,
    .run = silu_run,
};

const lti_op lti_op_silu_grad = {
    .name = "silu_grad",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .in_place = {1 | 2},
    .shape = lti_map_shape,
    .run = silu_grad_run,
};

lt_t lt_silu(lt_t x)
{
    return lti_emit(&lti_op_silu, 1, &x, NULL, 0);
}
