/* div.c - y = a / b, broadcasting; da = dy / b, db = -dy y / b, each summed over what was repeated. */
#include "autograd/ops/broadcast.h"
#include "autograd/ops/elementwise.h"

static void div_vjp(lti_vjp *v)
{
    if (!v->need[0] && !v->need[1]) return;
    lt_t q = lt_div(v->dy[0], v->in[1]);
    if (v->need[0]) v->dx[0] = lti_reduce_to(q, v->in[0]);
    if (v->need[1]) v->dx[1] = lt_scale(lti_reduce_to(lt_mul(q, v->out[0]), v->in[1]), -1);
}

static lt_status div_run(lti_step *step)
{
    return lti_binary_run(step, lti_k()->div);
}

const lti_op lti_op_div = {
    .name = "div",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .in_place = {1 | 2},
    .shape = lti_binary_shape,
    .vjp = div_vjp,
    .prepare = lti_binary_prepare,
    .run = div_run,
    .release = lti_state_free,
};

lt_t lt_div(lt_t a, lt_t b)
{
    return lti_emit(&lti_op_div, 2, (lt_t[]){a, b}, NULL, 0);
}
