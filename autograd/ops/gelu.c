/* gelu.c - y = x Phi(x), Phi the normal distribution; dx = dy (Phi(x) + x phi(x)), phi its density.
 *
 * Hendrycks and Gimpel 2016. */
#include "autograd/ops/elementwise.h"

extern const lti_op lti_op_gelu_grad;

static void gelu_vjp(lti_vjp *v)
{
    v->dx[0] = lti_emit(&lti_op_gelu_grad, 2, (lt_t[]){v->in[0], v->dy[0]}, NULL, 0);
}

static lt_status gelu_run(lti_step *step)
{
    return lti_map1_run(step, lti_k()->gelu);
}

static lt_status gelu_grad_run(lti_step *step)
{
    return lti_map2_run(step, lti_k()->gelu_grad);
}

const lti_op lti_op_gelu = {
    .name = "gelu",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .flags = LTI_CHEAP,
    .in_place = {1},
    .shape = lti_map_shape,
    .vjp = gelu_vjp,
    .run = gelu_run,
};

const lti_op lti_op_gelu_grad = {
    .name = "gelu_grad",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .in_place = {1 | 2},
    .shape = lti_map_shape,
    .run = gelu_grad_run,
};

lt_t lt_gelu(lt_t x)
{
    return lti_emit(&lti_op_gelu, 1, &x, NULL, 0);
}
