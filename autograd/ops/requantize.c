/* requantize.c - x on the grid of a block lattice whose scales were searched before.
 *
 *     y = kept with the codes of x: of each number the nearest under the scales of its block,  dx = dy
 *
 * `kept` is of y's type and shape and gives scales alone; where a scale is 0 no code means anything, and kept's stay. Of
 * K-quants the search for scales is most of the encoder's work, so training may do it every few steps
 * (qat/kept_scales.c) and this at each. */
#include "autograd/ops/elementwise.h"
#include "autograd/ops/lattice_clip.h"
#include "autograd/ops/lattice_convert.h"
#include "kernels/lattice/lattice.h"

static bool requantize_shape(lti_shaper *s)
{
    char a[LTI_DIMS_TEXT], b[LTI_DIMS_TEXT];
    const lti_value *x = s->in[0], *kept = s->in[1];
    if (!lti_f32_inputs(s, 0, 1)) return false;
    lti_value_set(&s->out[0], kept->type, x->rank, x->dim);
    if (lti_can_recode(kept->type) && lti_value_same(&s->out[0], kept)) return true;
    return lti_shape_fail(s, "x %s on the scales of %s %s; they are to be of one shape, and of q2_k .. q6_k",
                          lti_dims(x, a), lt_dtype_name(kept->type), lti_dims(kept, b));
}

static void requantize_vjp(lti_vjp *v)
{
    if (v->need[0]) v->dx[0] = v->dy[0];
}

static lt_status requantize_run(lti_step *step)
{
    const lti_arg *x = &step->in[0], *kept = &step->in[1];
    lti_encode_again(x->count, x->data, kept->type, kept->data, step->out[0].data);
    return LT_OK;
}

const lti_op lti_op_requantize = {
    .name = "requantize",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .flags = LTI_KEEP,
    .shape = requantize_shape,
    .vjp = requantize_vjp,
    .run = requantize_run,
};

lt_t lti_requantize(lt_t x, lt_t kept)
{
    return lti_emit(&lti_op_requantize, 2, (lt_t[]){x, kept}, NULL, 0);
}
