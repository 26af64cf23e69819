/* add.c - y = a + b, broadcasting; da = dy, db = dy, each summed over what was repeated. */
#include "autograd/ops/broadcast.h"
#include "autograd/ops/elementwise.h"

static void add_vjp(lti_vjp *v)
{
    for (int i = 0; i < 2; i++)
        if (v->need[i]) v->dx[i] = lti_reduce_to(v->dy[0], v->in[i]);
}

static lt_status add_run(lti_step *step)
{
    return lti_binary_run(step, lti_k()->add);
}

const lti_op lti_op_add = {
    .name = "add",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .in_place = {1 | 2},
    .shape = lti_binary_shape,
    .vjp = add_vjp,
    .prepare = lti_binary_prepare,
    .run = add_run,
    .release = lti_state_free,
};

lt_t lt_add(lt_t a, lt_t b)
{
    return lti_emit(&lti_op_add, 2, (lt_t[]){a, b}, NULL, 0);
}
