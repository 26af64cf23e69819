/* policy.c - which type each parameter is deployed in, and the hooks that put weights on that grid.
 *
 * The choice follows llama-quantize: matrices named *.weight but norms; rows that are no whole number of blocks fall
 * back to f16. The embedding and the head have a type of their own, and a tied matrix has one grid for both uses. */
#include "qat/policy.h"

#include "autograd/ops/lattice_convert.h"
#include "base/text.h"
#include "lathe/ops.h"

#include <string.h>

void lt_quant_policy_init(lt_quant_policy *policy)
{
    *policy = (lt_quant_policy){.size = sizeof *policy, .type = LT_F32, .embedding = LT_F32};
}

static bool is_embedding(const char *name)
{
    return strcmp(name, "token_embd.weight") == 0 || strcmp(name, "output.weight") == 0;
}

static lt_status check_type(lt_ctx *ctx, lt_dtype type, const char *what)
{
    if (type == LT_F32 || lti_converts(type)) return LT_OK;
    return lti_fail(ctx, LT_EINVAL,
                    "quantization: %s is no type to deploy weights in; f32, f16, bf16 and the lattices "
                    "are (%s)",
                    lt_dtype_name(type), what);
}

lt_status lti_quant_check(lt_ctx *ctx, const lt_quant_policy *policy)
{
    if (!policy) return LT_OK;
    if (policy->size != sizeof *policy)
        return lti_fail(ctx, LT_EINVAL, "quantization: call lt_quant_policy_init first");
    LTI_TRY(check_type(ctx, policy->type, "of linear layers"));
    return check_type(ctx, policy->embedding, "of the embedding");
}

lt_dtype lti_quant_wanted(const lt_quant_policy *policy, const lt_param *param)
{
    const char *name = lt_param_name(param);
    if (lt_param_role(param) != LT_WEIGHT || lt_param_rank(param) != 2 || !lti_ends_with(name, ".weight") ||
        lti_ends_with(name, "_norm.weight"))
        return LT_F32;
    if (is_embedding(name)) return policy->embedding;
    return policy->targets && !lt_glob(policy->targets, name) ? LT_F32 : policy->type;
}

lt_dtype lt_quant_type(const lt_quant_policy *policy, const lt_param *param)
{
    lt_dtype type = lti_quant_wanted(policy, param);
    return lt_dtype_is_lattice(type) && lt_param_shape(param)[1] % lt_dtype_block(type) ? LT_F16 : type;
}

/* w on its deployed grid; the gradient passes straight through. */
static lt_t on_grid(lt_t w, const lt_site *site, void *config)
{
    lt_dtype type = lt_quant_type(config, site->param);
    if (lt_type(w) != LT_F32 || type == LT_F32) return w;
    return lt_dtype_is_lattice(type) ? lt_quantize(w, type) : lt_cast(lt_cast(w, type), LT_F32);
}

void lt_qat_attach(lt_graph *graph, const lt_quant_policy *policy)
{
    lt_attachment a = {.size = sizeof a,
                       .kinds = LT_SITE_LINEAR | LT_SITE_EMBEDDING | LT_SITE_HEAD,
                       .weight = on_grid,
                       .config = (void *)(uintptr_t)policy};
    lt_attach(graph, &a);
}
