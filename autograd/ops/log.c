/* log.c - y = ln x; dx = dy / x. */
#include "autograd/ops/elementwise.h"

static void log_vjp(lti_vjp *v)
{
    v->dx[0] = lt_div(v->dy[0], v->in[0]);
}

static lt_status log_run(lti_step *step)
{
    return lti_map1_run(step, lti_k()->log);
}

const lti_op lti_op_log = {
    .name = "log",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .flags = LTI_CHEAP,
    .in_place = {1},
    .shape = lti_map_shape,
    .vjp = log_vjp,
    .run = log_run,
};

lt_t lt_log(lt_t x)
{
    return lti_emit(&lti_op_log, 1, &x, NULL, 0);
}
