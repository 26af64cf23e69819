/* dequantize_rows.c - the numbers of int8 codes: y_r = s_r code_r. x: codes [.., K], s [rows]; dx = dy.
 *
 * lt_dequantize of LT_I8. The scales are no input of their own to the caller: they are found at the node that made the
 * codes (lti_codes_scale). */
#include "autograd/node.h"
#include "autograd/ops/integer_factors.h"
#include "autograd/ops/lattice_convert.h"

extern const lti_op lti_op_quantize_activations, lti_op_quantize_rows, lti_op_quantize_transposed;

static bool codes_shape(lti_shaper *s)
{
    const lti_value *x = s->in[0];
    if (x->type != LT_I8 || x->rank < 1)
        return lti_shape_fail(s, "the value is %s; int8 codes with scales are meant", lt_dtype_name(x->type));
    lti_value_set(&s->out[0], LT_F32, x->rank, x->dim);
    return true;
}

static void codes_vjp(lti_vjp *v)
{
    if (v->need[0]) v->dx[0] = v->dy[0];
}

static lt_status codes_run(lti_step *step)
{
    const lti_arg *x = &step->in[0];
    lti_decode_rows(lti_rows(x), lti_cols(x), LT_I8, x->data, step->in[1].data, LT_F32, step->out[0].data);
    return LT_OK;
}

const lti_op lti_op_dequantize_rows = {
    .name = "dequantize_rows",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .flags = LTI_CHEAP,
    .shape = codes_shape,
    .vjp = codes_vjp,
    .run = codes_run,
};

lt_t lti_codes_scale(lt_t x, const char *op)
{
    if (lt_is_nil(x)) return x;
    lt_t made = x;
    while (lti_node_of(made)->op->flags & LTI_VIEW && made.output == 0) {
        lti_ref in = lti_node_of(made)->in[0];
        made = (lt_t){x.graph, in.node, in.output};
    }
    const lti_op *by = lti_node_of(made)->op;
    bool known = by == &lti_op_quantize_activations || by == &lti_op_quantize_rows || by == &lti_op_quantize_transposed;
    if (known && made.output == 0 && lt_type(x) == LT_I8 && lt_dim(x, -1) == lt_dim(made, -1))
        return lti_output(made, 1);
    return lti_graph_fail(x.graph, LT_EINVAL,
                          "%s: the scales of int8 codes are not known; the value is to come from "
                          "lt_quantize_activations or lt_quantize_rows, with its rows whole",
                          op);
}

lt_t lti_dequantize_rows(lt_t codes)
{
    lt_t scale = lti_codes_scale(codes, "dequantize");
    if (lt_is_nil(scale)) return scale;
    return lti_emit(&lti_op_dequantize_rows, 2, (lt_t[]){codes, scale}, NULL, 0);
}
