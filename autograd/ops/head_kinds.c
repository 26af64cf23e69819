/* head_kinds.c - the terms of a head loss that come with the engine (see head_kind.h for what a kind must give).
 *
 *     cross entropy: log sum_j exp z_j - z_t,                   dz = softmax(z) - onehot(t)
 *     smoothed by s: the same + s (z_t - mean z),               dz = the same + s (onehot(t) - 1 / V)
 *     kl:            T^2 KL(softmax(teacher / T) || softmax(z / T)), dz = T (softmax(z / T) - softmax(teacher / T))
 */
#include "autograd/ops/head_kind.h"
#include "autograd/ops/row_loss.h"

static bool lead_fits(const lti_value *x, const lti_value *input)
{
    for (int i = 0; i + 1 < x->rank; i++)
        if (input->dim[i] != x->dim[i]) return false;
    return true;
}

static bool cross_check(const lti_shaper *s, const lti_value *x, const lti_value *input, int64_t V)
{
    char a[LTI_DIMS_TEXT], b[LTI_DIMS_TEXT];
    if (input->type == LT_I32 && input->rank == x->rank - 1 && lead_fits(x, input)) return true;
    return lti_shape_fail(s, "x %s with %s targets %s; targets are i32, one a row of x", lti_dims(x, a),
                          lt_dtype_name(input->type), lti_dims(input, b));
}

static double cross_row(const lti_head_row *r)
{
    int64_t target = ((const int32_t *)r->input->data)[r->row];
    return lti_smooth_cross_entropy(r->smoothing, r->V, r->z, target, r->scale, r->dz);
}

static bool kl_check(const lti_shaper *s, const lti_value *x, const lti_value *input, int64_t V)
{
    char a[LTI_DIMS_TEXT], b[LTI_DIMS_TEXT];
    if (input->type == LT_F32 && input->rank == x->rank && lead_fits(x, input) && input->dim[input->rank - 1] == V)
        return true;
    return lti_shape_fail(s, "x %s with %s teacher logits %s; they are f32, %lld a row of x", lti_dims(x, a),
                          lt_dtype_name(input->type), lti_dims(input, b), (long long)V);
}

static double kl_row(const lti_head_row *r)
{
    const lt_real *teacher = (const lt_real *)r->input->data + r->row * r->V;
    return lti_kl_row(r->V, r->z, teacher, r->temperature, r->scale, r->dz, r->scratch);
}

static const lti_head_kind cross_kind = {
    .name = "cross_entropy",
    .targets = true,
    .check = cross_check,
    .row = cross_row,
};

static const lti_head_kind kl_kind = {
    .name = "kl",
    .check = kl_check,
    .scratch = lti_kl_scratch,
    .row = kl_row,
};

const struct lti_head_kind *lt_head_cross_entropy(void)
{
    return &cross_kind;
}

const struct lti_head_kind *lt_head_kl(void)
{
    return &kl_kind;
}

const char *lti_wrong_head_term(const lt_head_term *t)
{
    if (!t->kind) return "no kind";
    if (t->kind == lt_head_kl() && !(t->temperature > 0)) return "a temperature that is not above 0";
    if (!(t->smoothing >= 0 && t->smoothing < 1)) return "a smoothing that is not in [0, 1)";
    if (t->smoothing > 0 && !t->kind->targets) return "a smoothing, but no targets to smooth";
    return NULL;
}
