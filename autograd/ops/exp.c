/* exp.c - y = e^x; dx = dy y. */
#include "autograd/ops/elementwise.h"

static void exp_vjp(lti_vjp *v)
{
    v->dx[0] = lt_mul(v->dy[0], v->out[0]);
}

static lt_status exp_run(lti_step *step)
{
    return lti_map1_run(step, lti_k()->exp);
}

const lti_op lti_op_exp = {
    .name = "exp",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .flags = LTI_CHEAP,
    .in_place = {1},
    .shape = lti_map_shape,
    .vjp = exp_vjp,
    .run = exp_run,
};

lt_t lt_exp(lt_t x)
{
    return lti_emit(&lti_op_exp, 1, &x, NULL, 0);
}
