/* policy.c - which type each parameter is deployed in, and the hooks that put weights on that grid.
 *
 * The choice follows llama-quantize: matrices named *.weight but norms; rows that are no whole number of blocks fall
 * back to f16. The embedding and the head have a type of their own, and a tied matrix has one grid for both uses. */
#include "lathe/ops.h"
#include "lathe/qat.h"

#include <string.h>

void lt_quant_policy_init(lt_quant_policy *policy)
{
    *policy = (lt_quant_policy){.size = sizeof *policy, .type = LT_F32, .embedding = LT_F32};
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static bool is_embedding(const char *name)
{
    return strcmp(name, "token_embd.weight") == 0 || strcmp(name, "output.weight") == 0;
}

lt_dtype lt_quant_type(const lt_quant_policy *policy, const lt_param *param)
{
    const char *name = lt_param_name(param);
    if (lt_param_role(param) != LT_WEIGHT || lt_param_rank(param) != 2 || !ends_with(name, ".weight") ||
        ends_with(name, "_norm.weight"))
        return LT_F32;
    lt_dtype type = policy->type;
    if (is_embedding(name))
        type = policy->embedding;
    else if (policy->targets && !lt_glob(policy->targets, name))
        return LT_F32;
    return lt_param_shape(param)[1] % lt_dtype_block(type) ? LT_F16 : type;
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
    lt_attachment a = {.size = sizeof a, .kinds = LT_SITE_LINEAR | LT_SITE_EMBEDDING | LT_SITE_HEAD, .weight = on_grid,
                       .config = (void *)(uintptr_t)policy};
    lt_attach(graph, &a);
}
