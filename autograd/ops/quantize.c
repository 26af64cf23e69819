/* quantize.c - x on the grid of a block lattice, as the bytes that a file would hold.
 *
 *     y = encode(x),  dx = dy (straight through: Bengio et al., 2013)
 *
 * The value has the lattice's type, so products can work on its codes; its cotangent is f32. Kept for the backward and
 * never made again: it is 0.56 or 1.06 bytes an element, and making it twice would cost a pass over the weights. */
#include "autograd/ops/lattice_convert.h"
#include "autograd/ops/rows.h"
#include "kernels/lattice/lattice.h"

typedef struct quantize_attr {
    int64_t type;
} quantize_attr;

static bool quantize_shape(lti_shaper *s)
{
    char a[LTI_DIMS_TEXT];
    const lti_value *x = s->in[0];
    lt_dtype type = (lt_dtype)((const quantize_attr *)s->attr)->type;
    if (!lti_f32_inputs(s, 0, 1)) return false;
    if (!lti_can_quantize(type))
        return lti_shape_fail(s, "%s %s; values can be put on %s", lt_dtype_name(type),
                              lt_dtype_is_lattice(type) ? "can be read but not made" : "is no block lattice",
                              lti_can_quantize_names());
    int64_t block = lt_dtype_block(type);
    if (x->rank < 1 || x->dim[x->rank - 1] % block)
        return lti_shape_fail(s,
                              "x %s: its last axis (%d) is no multiple of the %lld elements of a %s block; choose a "
                              "type with a smaller block, or leave this tensor in f32 or bf16",
                              lti_dims(x, a), x->rank - 1, (long long)block, lt_dtype_name(type));
    lti_value_set(&s->out[0], type, x->rank, x->dim);
    return true;
}

static void quantize_vjp(lti_vjp *v)
{
    if (v->need[0]) v->dx[0] = v->dy[0];
}

static lt_status quantize_run(lti_step *step)
{
    lti_encode(step->in[0].count, step->in[0].data, step->out[0].type, step->out[0].data);
    return LT_OK;
}

const lti_op lti_op_quantize = {
    .name = "quantize",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .flags = LTI_KEEP,
    .shape = quantize_shape,
    .vjp = quantize_vjp,
    .run = quantize_run,
};

lt_t lt_quantize(lt_t x, lt_dtype lattice)
{
    quantize_attr attr = {.type = lattice};
    return lti_emit(&lti_op_quantize, 1, &x, &attr, sizeof attr);
}
