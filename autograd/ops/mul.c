/* mul.c - y = a b, broadcasting; da = dy b, db = dy a, each summed over what was repeated. */
#include "autograd/ops/broadcast.h"
#include "autograd/ops/elementwise.h"

static void mul_vjp(lti_vjp *v)
{
    for (int i = 0; i < 2; i++)
        if (v->need[i]) v->dx[i] = lti_reduce_to(lt_mul(v->dy[0], v->in[1 - i]), v->in[i]);
}

static lt_status mul_run(lti_step *step)
{
    return lti_binary_run(step, lti_k()->mul);
}

const lti_op lti_op_mul = {
    .name = "mul",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .in_place = {1 | 2},
    .shape = lti_binary_shape,
    .vjp = mul_vjp,
    .prepare = lti_binary_prepare,
    .run = mul_run,
    .release = lti_state_free,
};

lt_t lt_mul(lt_t a, lt_t b)
{
    return lti_emit(&lti_op_mul, 2, (lt_t[]){a, b}, NULL, 0);
}
