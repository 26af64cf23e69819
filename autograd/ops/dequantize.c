/* dequantize.c - the numbers that a lattice value stands for: y = decode(x), dx = dy (x's cotangent is f32). */
#include "autograd/ops/integer_factors.h"
#include "autograd/ops/lattice_convert.h"

static bool dequantize_shape(lti_shaper *s)
{
    const lti_value *x = s->in[0];
    if (!lt_dtype_is_lattice(x->type))
        return lti_shape_fail(s, "the value is %s, which is no block lattice", lt_dtype_name(x->type));
    lti_value_set(&s->out[0], LT_F32, x->rank, x->dim);
    return true;
}

static void dequantize_vjp(lti_vjp *v)
{
    if (v->need[0]) v->dx[0] = v->dy[0];
}

static lt_status dequantize_run(lti_step *step)
{
    lti_decode(step->in[0].count, step->in[0].type, step->in[0].data, step->out[0].data);
    return LT_OK;
}

const lti_op lti_op_dequantize = {
    .name = "dequantize",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .flags = LTI_CHEAP,
    .shape = dequantize_shape,
    .vjp = dequantize_vjp,
    .run = dequantize_run,
};

lt_t lt_dequantize(lt_t x)
{
    if (lt_type(x) == LT_I8) return lti_dequantize_rows(x);
    return lti_emit(&lti_op_dequantize, 1, &x, NULL, 0);
}
