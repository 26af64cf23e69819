/* quantize_activations.c - x [.., K] as integer products take it: blocks of Q8_0, Q8_1 or Q8_K, or int8 codes by rows.
 *
 *     blocks: as llama.cpp's runtime rounds activations (kernels/integer.h), not as it encodes files
 *     LT_I8:  s_r = max |x_r| / 127, code = x / s_r to nearest even; s is output 1, [rows]
 *     dx = dy (straight through)
 *
 * What the backward keeps of x is this value, 1.06 to 1.14 bytes an element; in large graphs and checkpointed segments it
 * is made again (keep.c). The constructor gives equal requests the same node, so that q, k and v share one there, too:
 * clones are not merged. */
#include "autograd/node.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/integer_factors.h"
#include "kernels/integer.h"

extern const lti_op lti_op_quantize_activations;

typedef struct activations_attr {
    int64_t type;
} activations_attr;

static bool activations_shape(lti_shaper *s)
{
    char a[LTI_DIMS_TEXT];
    const lti_value *x = s->in[0];
    lt_dtype type = (lt_dtype)((const activations_attr *)s->attr)->type;
    if (!lti_f32_inputs(s, 0, 1)) return false;
    if (!lti_is_activations(type))
        return lti_shape_fail(s, "%s; activations become q8_0, q8_1, q8_k or i8", lt_dtype_name(type));
    int64_t block = lt_dtype_block(type), columns = x->rank ? x->dim[x->rank - 1] : 0;
    if (x->rank < 1 || columns < 1 || columns % block)
        return lti_shape_fail(s,
                              "x %s: its last axis is no multiple of the %lld elements of a %s block; choose i8, which "
                              "takes rows of any length, or leave these activations in f32",
                              lti_dims(x, a), (long long)block, lt_dtype_name(type));
    lti_value_set(&s->out[0], type, x->rank, x->dim);
    int64_t scales = type == LT_I8 ? lti_value_count(x) / columns : 0;
    lti_value_set(&s->out[1], LT_F32, 1, &scales);
    return true;
}

static void activations_vjp(lti_vjp *v)
{
    if (v->need[0]) v->dx[0] = v->dy[0];
}

/* Somebody may want the scales alone, or the codes. */
static lt_status activations_prepare(lti_step *step)
{
    const lti_arg *x = &step->in[0];
    bool rows = step->out[0].type == LT_I8;
    if (!step->out[0].data) step->scratch_bytes = (size_t)lti_bytes_of(step->out[0].type, x->count);
    if (rows && !step->out[1].data) step->scratch_bytes = (size_t)lti_rows(x) * sizeof(lt_real);
    return LT_OK;
}

static lt_status activations_run(lti_step *step)
{
    const lti_arg *x = &step->in[0];
    lt_dtype type = step->out[0].type;
    void *codes = step->out[0].data ? step->out[0].data : step->scratch;
    lt_real *scale = type != LT_I8 ? NULL : step->out[1].data ? step->out[1].data : step->scratch;
    lti_quantize_activations(type, lti_rows(x), lti_cols(x), x->data, codes, scale);
    return LT_OK;
}

const lti_op lti_op_quantize_activations = {
    .name = "quantize_activations",
    .min_in = 1,
    .max_in = 1,
    .n_out = 2,
    .flags = LTI_CHEAP,
    .shape = activations_shape,
    .vjp = activations_vjp,
    .prepare = activations_prepare,
    .run = activations_run,
};

/* A node that does the same and is computed and recomputed with what is being recorded; nil: none. */
static lt_t made_already(lt_t x, lt_dtype type)
{
    const lt_graph *g = x.graph;
    for (uint32_t i = g->count; i-- > x.node + 1;) {
        const lti_node *n = &g->node[i];
        if (n->op != &lti_op_quantize_activations || n->in[0].node != x.node || n->in[0].output != x.output) continue;
        if (n->out[0].type == type && n->segment == g->segment && n->phase == g->phase && !n->flags)
            return (lt_t){x.graph, i, 0};
    }
    return lt_nil(x.graph);
}

lt_t lt_quantize_activations(lt_t x, lt_dtype type)
{
    activations_attr attr = {.type = type};
    lt_t made = lt_is_nil(x) ? x : made_already(x, type);
    return lt_is_nil(made) ? lti_emit(&lti_op_quantize_activations, 1, &x, &attr, sizeof attr) : made;
}

lt_dtype lt_activation_type(lt_dtype lattice)
{
    return lti_activation_type(lattice);
}
