/* sub.c - y = a - b, broadcasting; da = dy, db = -dy, each summed over what was repeated. */
#include "autograd/ops/broadcast.h"
#include "autograd/ops/elementwise.h"

static void sub_vjp(lti_vjp *v)
{
    if (v->need[0]) v->dx[0] = lti_reduce_to(v->dy[0], v->in[0]);
    if (v->need[1]) v->dx[1] = lt_scale(lti_reduce_to(v->dy[0], v->in[1]), -1);
}

static lt_status sub_run(lti_step *step)
{
    return lti_binary_run(step, lti_k()->sub);
}

const lti_op lti_op_sub = {
    .name = "sub",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .in_place = {1 | 2},
    .shape = lti_binary_shape,
    .vjp = sub_vjp,
    .prepare = lti_binary_prepare,
    .run = sub_run,
    .release = lti_state_free,
};

lt_t lt_sub(lt_t a, lt_t b)
{
    return lti_emit(&lti_op_sub, 2, (lt_t[]){a, b}, NULL, 0);
}
