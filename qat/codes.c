/* codes.c - weights in their deployed types and back. The kernels are those of training, so the codes written are the
 * codes trained. */
#include "autograd/op.h"
#include "autograd/ops/lattice_convert.h"
#include "base/text.h"
#include "kernels/integer.h"
#include "kernels/lattice/nested_scales.h"
#include "qat/kept_scales.h"
#include "qat/learned_scales.h"
#include "qat/policy.h"

#include <string.h>

static lt_status check_finite(lt_ctx *ctx, const lt_param *p)
{
    const lt_real *x = lt_param_read(p);
    if (lti_k()->all_finite(lt_param_count(p), x)) return LT_OK;
    return lti_fail(ctx, LT_ENONFINITE,
                    "cannot quantize '%s': it holds a NaN or an infinity; begin with a checkpoint from before that",
                    lt_param_name(p));
}

lt_status lti_quant_check_finite(const lt_params *params, const lt_quant_policy *policy)
{
    for (int i = 0; i < lt_params_count(params); i++) {
        const lt_param *p = lt_params_at(params, i);
        if (lt_param_role(p) != LT_WEIGHT || lt_param_type(p) != LT_F32) continue;
        lt_scheme s = policy ? lt_quant_scheme(policy, p) : lt_scheme_of(LT_F32);
        if (!policy || !lt_scheme_is_float(&s)) LTI_TRY(check_finite(lt_params_ctx(params), p));
    }
    return LT_OK;
}

/* The numbers of the int8 rows that products in integers read: their rounding is that of activations. */
static lt_status to_rows(lt_ctx *ctx, int64_t rows, int64_t columns, const lt_real *x, lt_real *y)
{
    int8_t *codes = lti_alloc_array(ctx, (size_t)rows, (size_t)columns);
    lt_real *scale = lti_alloc_array(ctx, (size_t)rows, sizeof *scale);
    if (codes && scale) {
        lti_quantize_activations(LT_I8, rows, columns, x, codes, scale);
        lti_decode_rows(rows, columns, LT_I8, codes, scale, LT_F32, y);
    }
    lti_free(ctx, codes);
    lti_free(ctx, scale);
    return codes && scale ? LT_OK : LT_ENOMEM;
}

/* dst (f32) = src on a grid that is no type: by learned scales, where the policy has them. */
static lt_status to_grid(const lt_params *params, const lt_quant_policy *policy, const lt_scheme *scheme,
                         const lt_param *src, lt_param *dst)
{
    lt_ctx *ctx = lt_params_ctx(params);
    const lt_real *x = lt_param_read(src);
    lt_real *y = lt_param_data(dst);
    int64_t rows = lt_param_shape(src)[0], columns = rows ? lt_param_count(src) / rows : 0;
    const lt_site site = {.kind = LT_SITE_LINEAR, .param = (lt_param *)src};
    lt_param_touch(dst);
    if (lti_qat_rows(policy, &site)) return to_rows(ctx, rows, columns, x, y);
    if (!lti_on_integers(scheme)) return lt_scheme_apply(ctx, scheme, LT_SCALE_DYNAMIC, rows, columns, x, y);
    lti_grid_now now;
    lt_status status = lti_grid_now_make(params, policy, scheme, src, 0, rows, &now);
    if (status == LT_OK) lti_on_grids(&now.attr, &now.groups, x, now.scale, now.offset, y);
    lti_grid_now_free(ctx, &now);
    return status;
}

/* dst (f32) = the values of src (any type). */
static void decode(const lt_param *src, lt_param *dst)
{
    if (lt_param_type(src) == LT_F32)
        memcpy(lt_param_data(dst), lt_param_read(src), lt_param_bytes(src));
    else
        lti_decode(lt_param_count(src), lt_param_type(src), lt_param_read(src), lt_param_data(dst));
    lt_param_touch(dst);
}

/* Grids of activations that were observed: as much of what ships as the weights' are. */
static lt_status copy_grid(const lt_quant_policy *policy, const lt_param *src, lt_params *to)
{
    lt_param *dst;
    bool meant = policy && policy->activations == LT_ACT_INT8_STATIC && lti_ends_with(lt_param_name(src), ":act_scale");
    if (!meant) return LT_OK;
    LTI_TRY(lt_params_add(to, lt_param_name(src), LT_F32, lt_param_rank(src), lt_param_shape(src), LT_STATE, &dst));
    memcpy(lt_param_data(dst), lt_param_read(src), lt_param_bytes(src));
    lt_param_set_trainable(dst, false);
    return LT_OK;
}

/* Every weight of `from`, in the policy's type (or f32 when policy is NULL), converted. */
static lt_status convert_all(const lt_params *from, const lt_quant_policy *policy, lt_params *to)
{
    lt_ctx *ctx = lt_params_ctx(from);
    for (int i = 0; i < lt_params_count(from); i++) {
        const lt_param *src = lt_params_at(from, i);
        if (lt_param_role(src) != LT_WEIGHT) {
            LTI_TRY(copy_grid(policy, src, to));
            continue;
        }
        lt_dtype type = policy ? lt_quant_type(policy, src) : LT_F32;
        lt_param *dst;
        if (policy) LTI_TRY(check_finite(ctx, src));
        LTI_TRY(lt_params_add(to, lt_param_name(src), type, lt_param_rank(src), lt_param_shape(src), LT_WEIGHT, &dst));
        lt_scheme scheme = policy ? lt_quant_scheme(policy, src) : lt_scheme_of(LT_F32);
        if (scheme.kind != LT_SCHEME_TYPE)
            LTI_TRY(to_grid(from, policy, &scheme, src, dst));
        else if (policy)
            lti_kept_encode(from, policy, src, dst);
        else
            decode(src, dst);
        if (scheme.double_scales) lti_double_scales(lt_param_count(dst) / lt_dtype_block(type), lt_param_data(dst));
    }
    return LT_OK;
}

static lt_status converted(const lt_params *from, const lt_quant_policy *policy, lt_params **to)
{
    *to = NULL;
    lt_params *made;
    LTI_TRY(lt_params_create(lt_params_ctx(from), &made));
    lt_status status = convert_all(from, policy, made);
    if (status == LT_OK)
        *to = made;
    else
        lt_params_free(made);
    return status;
}

lt_status lt_quantize_params(const lt_params *params, const lt_quant_policy *policy, lt_params **codes)
{
    LTI_TRY(lti_quant_check(lt_params_ctx(params), policy));
    for (int i = 0; i < lt_params_count(params); i++) {
        const lt_param *p = lt_params_at(params, i);
        if (lt_param_role(p) == LT_WEIGHT && lt_param_type(p) != LT_F32)
            return lti_fail(lt_params_ctx(params), LT_EINVAL, "cannot quantize '%s': it is %s already",
                            lt_param_name(p), lt_dtype_name(lt_param_type(p)));
    }
    return converted(params, policy, codes);
}

lt_status lt_dequantize_params(const lt_params *codes, lt_params **params)
{
    return converted(codes, NULL, params);
}
