/* leaf.c - nodes whose bytes the plan provides: inputs, run-time scalars, constants, params; and lt_detach. */
#include "autograd/node.h"
#include "autograd/param.h"

static bool shape_number(lti_shaper *s)
{
    lti_value_set(&s->out[0], LT_F32, 0, NULL);
    return true;
}

static bool shape_param(lti_shaper *s)
{
    const lt_param *p = *(lt_param *const *)s->attr;
    lti_value_set(&s->out[0], p->type, p->rank, p->shape);
    return true;
}

/* An input's shape is set by lt_input, which knows it. */
const lti_op lti_op_input = {.name = "input", .n_out = 1, .flags = LTI_LEAF | LTI_NO_CSE, .shape = shape_number};
const lti_op lti_op_scalar = {.name = "scalar", .n_out = 1, .flags = LTI_LEAF | LTI_NO_CSE, .shape = shape_number};
const lti_op lti_op_constant = {.name = "constant", .n_out = 1, .flags = LTI_LEAF, .shape = shape_number};
const lti_op lti_op_param = {.name = "param", .n_out = 1, .flags = LTI_LEAF | LTI_NO_CSE, .shape = shape_param};

static bool shape_detach(lti_shaper *s)
{
    s->out[0] = *s->in[0];
    return true;
}

static void vjp_detach(lti_vjp *v)
{
    v->dx[0] = lt_nil(v->graph);
}

static const lti_op detach = {.name = "detach",
                              .min_in = 1,
                              .max_in = 1,
                              .n_out = 1,
                              .flags = LTI_VIEW,
                              .shape = shape_detach,
                              .vjp = vjp_detach};

lt_t lt_detach(lt_t x)
{
    return lti_emit(&detach, 1, &x, NULL, 0);
}
