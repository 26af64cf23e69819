/* activations.c - the input hook: the activations that meet a quantized weight, on the grid that the policy pairs with it.
 *
 * What the hook returns is a quantized value, and lt_matmul and lt_head_loss do the rest: with a weight that they can
 * multiply in integers they do, and otherwise (weights fake-quantized in f32) with the numbers the codes stand for. So
 * training, evaluation and the deployed runtime round the same numbers the same way.
 *
 * runtime: the weight's type decides, as in llama.cpp; a weight that stays f32 or 16 bits wide leaves x as it is, and a
 * ternary one has what the types have that ternary weights are exported in.
 * int8_token: wherever the weight is on a grid, and in every linear layer when no weight is meant to be on one.
 * int8_static: the same sites, convolutions and recurrent layers among them, as f32 numbers on the grid that was
 * observed or learned (observers.c). lt_matmul finds the codes again where both factors have some (matmul_static.c). */
#include "base/ctx.h"
#include "lathe/ops.h"
#include "qat/hooks.h"
#include "qat/observers.h"
#include "qat/policy.h"

#include <string.h>

static const char *const names[] = {
    [LT_ACT_NONE] = "none",
    [LT_ACT_RUNTIME] = "runtime",
    [LT_ACT_INT8_TOKEN] = "int8_token",
    [LT_ACT_INT8_STATIC] = "int8_static",
};

const char *lt_activations_name(lt_activations activations)
{
    return (int)activations >= 0 && (int)activations < LTI_COUNT(names) ? names[activations] : "unknown";
}

bool lt_activations_parse(const char *name, lt_activations *activations)
{
    for (int i = 0; i < LTI_COUNT(names); i++)
        if (strcmp(names[i], name) == 0) {
            *activations = (lt_activations)i;
            return true;
        }
    return false;
}

lt_dtype lti_qat_input_type(const lt_quant_policy *policy, const lt_site *site, int64_t columns)
{
    lt_scheme scheme = lt_quant_scheme(policy, site->param);
    bool rounded = !lt_scheme_is_float(&scheme), stay = lti_quant_weights_stay(policy);
    lt_dtype type = LT_F32;
    switch (policy->activations) {
    case LT_ACT_RUNTIME: type = lti_quant_pair(&scheme); break;
    case LT_ACT_INT8_TOKEN: type = rounded || (stay && site->kind == LT_SITE_LINEAR) ? LT_I8 : LT_F32; break;
    case LT_ACT_INT8_STATIC: type = rounded || stay ? LT_I8 : LT_F32; break;
    default: break;
    }
    return columns % lt_dtype_block(type) ? LT_F32 : type;
}

lt_t lti_qat_input(lt_t x, const lt_site *site, void *config)
{
    const lt_quant_policy *policy = config;
    if (lt_type(x) != LT_F32 || lt_rank(x) < 1 || !site->param) return x;
    lt_dtype type = lti_qat_input_type(policy, site, lt_dim(x, -1));
    if (type == LT_F32) return x;
    if (policy->activations == LT_ACT_INT8_STATIC) return lti_observed_input(x, site, policy);
    return lt_quantize_activations(x, type);
}
