/* kept_scales.c - scales and minima of K-quants, searched every scale_every steps (lathe/qat.h).
 *
 * They are kept as whole blocks of the weight, LT_STATE, so that a checkpoint has them and the encoder's own bytes are
 * what the re-coder starts from; the codes in them are those of the last search. Keeping scales and minima as numbers
 * would take a second layout for each type. Everybody who needs the weight's codes takes them through here: products,
 * exports, the count of flips. */
#include "qat/kept_scales.h"

#include "autograd/ops/lattice_convert.h"
#include "kernels/lattice/lattice.h"
#include "qat/learned_scales.h"

#include <stdio.h>
#include <string.h>

static const char WHAT[] = "kept";

/* Whether the policy keeps scales of the weight, of which type. */
static bool is_kept(const lt_quant_policy *policy, const lt_param *w, lt_dtype *type)
{
    if (policy->scale_every <= 1 || lt_param_role(w) != LT_WEIGHT || lt_param_type(w) != LT_F32) return false;
    lt_scheme s = lt_quant_scheme(policy, w);
    *type = s.type;
    return s.kind == LT_SCHEME_TYPE && lti_can_recode(s.type);
}

static bool fits(const lt_param *kept, const lt_param *w, lt_dtype type)
{
    return lt_param_type(kept) == type && lt_param_count(kept) == lt_param_count(w);
}

lt_param *lti_kept_find(const lt_params *params, const lt_quant_policy *policy, const lt_param *w)
{
    lt_dtype type;
    if (!is_kept(policy, w, &type)) return NULL;
    lt_param *kept = lti_learned_find(params, w, WHAT);
    return kept && fits(kept, w, type) ? kept : NULL;
}

void lti_kept_encode(const lt_params *params, const lt_quant_policy *policy, const lt_param *w, lt_param *codes)
{
    lt_dtype type = lt_param_type(codes);
    int64_t n = lt_param_count(w);
    const lt_param *kept = lti_kept_find(params, policy, w);
    if (type == LT_F32)
        memcpy(lt_param_data(codes), lt_param_read(w), lt_param_bytes(w));
    else if (kept)
        lti_encode_again(n, lt_param_read(w), type, lt_param_read(kept), lt_param_data(codes));
    else
        lti_encode(n, lt_param_read(w), type, lt_param_data(codes));
    lt_param_touch(codes);
}

static void search(const lt_param *w, lt_param *kept)
{
    lti_encode(lt_param_count(w), lt_param_read(w), lt_param_type(kept), lt_param_data(kept));
    lt_param_touch(kept);
}

static lt_status prepare(lt_params *params, const lt_param *w, lt_dtype type)
{
    char name[512];
    lt_ctx *ctx = lt_params_ctx(params);
    lt_param *kept = lti_learned_find(params, w, WHAT);
    if (kept && fits(kept, w, type)) return LT_OK;
    if (kept)
        return lti_fail(ctx, LT_EINVAL,
                        "'%s' keeps scales of %s and the policy asks for %s: the model was trained under another; open "
                        "it anew",
                        lt_param_name(kept), lt_dtype_name(lt_param_type(kept)), lt_dtype_name(type));
    if (snprintf(name, sizeof name, "%s:%s", lt_param_name(w), WHAT) >= (int)sizeof name)
        return lti_fail(ctx, LT_EINVAL, "the name of '%.100s..' is too long for kept scales", lt_param_name(w));
    LTI_TRY(lt_params_add(params, name, type, lt_param_rank(w), lt_param_shape(w), LT_STATE, &kept));
    search(w, kept);
    return LT_OK;
}

lt_status lti_kept_prepare(lt_params *params, const lt_quant_policy *policy)
{
    int n = lt_params_count(params), found = 0; /* what is added stands behind and is no weight */
    for (int i = 0; i < n; i++) {
        lt_dtype type;
        const lt_param *w = lt_params_at(params, i);
        if (!is_kept(policy, w, &type)) continue;
        LTI_TRY(prepare(params, w, type));
        found++;
    }
    if (policy->scale_every <= 1 || found) return LT_OK;
    return lti_fail(lt_params_ctx(params), LT_EINVAL,
                    "scale_every %lld keeps scales of K-quants (q2_k .. q6_k), and no weight is put on one: leave it "
                    "out, or take such a type",
                    (long long)policy->scale_every);
}

void lti_kept_refresh(const lt_params *params, const lt_quant_policy *policy)
{
    for (int i = 0; i < lt_params_count(params); i++) {
        const lt_param *w = lt_params_at(params, i);
        lt_param *kept = lti_kept_find(params, policy, w);
        if (kept) search(w, kept);
    }
}
