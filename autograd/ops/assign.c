/* assign.c - param = x: a copy into a durable array. */
#include "autograd/ops/param_value.h"

#include <string.h>

typedef struct assign_attr {
    lti_value param;
} assign_attr;

static bool assign_shape(lti_shaper *s)
{
    char a[LTI_DIMS_TEXT], b[LTI_DIMS_TEXT];
    const assign_attr *attr = s->attr;
    if (!lti_value_same(s->in[0], &attr->param))
        return lti_shape_fail(s, "x %s %s into a parameter %s %s; type and shape are to be equal",
                              lt_dtype_name(s->in[0]->type), lti_dims(s->in[0], a), lt_dtype_name(attr->param.type),
                              lti_dims(&attr->param, b));
    s->out[0] = attr->param;
    return true;
}

static lt_status assign_run(lti_step *step)
{
    if (step->out[0].data != step->in[0].data)
        memcpy(step->out[0].data, step->in[0].data, lt_param_bytes(step->param[0]));
    return LT_OK;
}

const lti_op lti_op_assign = {
    .name = "assign",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .flags = LTI_EFFECT,
    .shape = assign_shape,
    .run = assign_run,
};

lt_t lt_assign(lt_param *param, lt_t x)
{
    if (lt_is_nil(x)) return x;
    if (!param) return lti_graph_fail(x.graph, LT_EINVAL, "assign: there is no such parameter");
    assign_attr attr = {.param = lti_param_value(param)};
    return lti_emit_params(x.graph, &lti_op_assign, 1, &x, &attr, sizeof attr, 1, &param);
}
