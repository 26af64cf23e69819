/* double_scales.c - NF4 or FP4 blocks whose scales are 8-bit numbers themselves (QLoRA: Dettmers et al. 2023, section 3;
 * kernels/lattice/nested_scales.h has the formula).
 *
 *     y = the same codes under the scales that are shipped,  dx = dy
 *
 * The scales of a whole tensor share an offset, so this cannot be a part of the encoder of blocks. */
#include "autograd/ops/lattice_clip.h"
#include "autograd/ops/rows.h"
#include "kernels/lattice/nested_scales.h"

#include <string.h>

static bool double_shape(lti_shaper *s)
{
    const lti_value *x = s->in[0];
    if (x->type != LT_NF4 && x->type != LT_FP4)
        return lti_shape_fail(s, "%s has no scales to be quantized twice; nf4 and fp4 have", lt_dtype_name(x->type));
    lti_value_set(&s->out[0], x->type, x->rank, x->dim);
    return true;
}

static void double_vjp(lti_vjp *v)
{
    if (v->need[0]) v->dx[0] = v->dy[0];
}

static lt_status double_run(lti_step *step)
{
    const lti_arg *x = &step->in[0], *y = &step->out[0];
    int64_t blocks = x->count / lt_dtype_block(x->type);
    if (y->data != x->data) memcpy(y->data, x->data, (size_t)blocks * lt_dtype_bytes(x->type));
    lti_double_scales(blocks, y->data);
    return LT_OK;
}

const lti_op lti_op_double_scales = {
    .name = "double_scales",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .flags = LTI_KEEP,
    .in_place = {1},
    .shape = double_shape,
    .vjp = double_vjp,
    .run = double_run,
};

lt_t lti_quantize_type(lt_t x, const lt_scheme *scheme)
{
    lt_t codes = lt_quantize(x, scheme->type);
    return scheme->double_scales ? lti_emit(&lti_op_double_scales, 1, &codes, NULL, 0) : codes;
}
