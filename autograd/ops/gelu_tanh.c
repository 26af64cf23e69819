/* gelu_tanh.c - y = x (1 + t) / 2 with t = tanh(u), u = sqrt(2/pi) (x + 0.044715 x^3);
 * dx = dy ((1 + t) / 2 + x (1 - t^2) u' / 2). The approximation of Hendrycks and Gimpel 2016 that GPT-2 uses. */
#include "autograd/ops/elementwise.h"

extern const lti_op lti_op_gelu_tanh_grad;

static void gelu_tanh_vjp(lti_vjp *v)
{
    v->dx[0] = lti_emit(&lti_op_gelu_tanh_grad, 2, (lt_t[]){v->in[0], v->dy[0]}, NULL, 0);
}

static lt_status gelu_tanh_run(lti_step *step)
{
    return lti_map1_run(step, lti_k()->gelu_tanh);
}

static lt_status gelu_tanh_grad_run(lti_step *step)
{
    return lti_map2_run(step, lti_k()->gelu_tanh_grad);
}

const lti_op lti_op_gelu_tanh = {
    .name = "gelu_tanh",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .flags = LTI_CHEAP,
    .in_place = {1},
    .shape = lti_map_shape,
    .vjp = gelu_tanh_vjp,
    .run = gelu_tanh_run,
};

const lti_op lti_op_gelu_tanh_grad = {
    .name = "gelu_tanh_grad",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .in_place = {1 | 2},
    .shape = lti_map_shape,
    .run = gelu_tanh_grad_run,
};

lt_t lt_gelu_tanh(lt_t x)
{
    return lti_emit(&lti_op_gelu_tanh, 1, &x, NULL, 0);
}
