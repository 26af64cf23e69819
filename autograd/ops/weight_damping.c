/* weight_damping.c - weights are drawn to their grid while the loss is minimised (Nagel et al. 2022, oscillation dampening).
 *
 *     y = y (a view);  dy passes;  dx = 2 c (x - y)
 *
 * the gradient of c |x - y|^2 with y taken as constant, which is added to the gradient alone: the loss that is reported
 * stays the task's. c is a run-time number, so that it can grow, and be 0 in all but one micro-batch of a step. */
#include "autograd/ops/elementwise.h"
#include "autograd/ops/lattice_clip.h"

extern const lti_op lti_op_weight_damping;

static bool damping_shape(lti_shaper *s)
{
    char a[LTI_DIMS_TEXT], b[LTI_DIMS_TEXT];
    const lti_value *y = s->in[0], *x = s->in[1];
    if (!lti_f32_inputs(s, 1, 3)) return false;
    if (lti_value_count(y) != lti_value_count(x) || lti_value_count(s->in[2]) != 1)
        return lti_shape_fail(s, "y %s with x %s; they are to be equal, and the factor one number", lti_dims(y, a),
                              lti_dims(x, b));
    lti_value_set(&s->out[0], y->type, y->rank, y->dim);
    return true;
}

static void damping_vjp(lti_vjp *v)
{
    lt_t y = v->in[0];
    if (v->need[0]) v->dx[0] = v->dy[0];
    if (!v->need[1]) return;
    if (lt_dtype_is_lattice(lt_type(y))) y = lt_dequantize(y);
    v->dx[1] = lt_mul(lt_sub(v->in[1], y), lt_scale(v->in[2], 2));
}

const lti_op lti_op_weight_damping = {
    .name = "weight_damping",
    .min_in = 3,
    .max_in = 3,
    .n_out = 1,
    .flags = LTI_VIEW | LTI_CHEAP,
    .shape = damping_shape,
    .vjp = damping_vjp,
};

lt_t lti_weight_damping(lt_t y, lt_t x, lt_t number)
{
    return lti_emit(&lti_op_weight_damping, 3, (lt_t[]){y, x, number}, NULL, 0);
}
