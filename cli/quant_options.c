/* quant_options.c - from the words of --qat and --qat-embedding to a policy. */
#include "cli/cli.h"

#include <math.h>

bool cli_quant_policy(const cli_quant *quant, lt_quant_policy *policy)
{
    lt_quant_policy_init(policy);
    policy->type = policy->embedding = LT_F32;
    if (quant->type) lt_dtype_parse(quant->type, &policy->type);
    if (quant->embedding) lt_dtype_parse(quant->embedding, &policy->embedding);
    policy->targets = quant->targets;
    return policy->type != LT_F32 || policy->embedding != LT_F32;
}

json_t *cli_eval_json(const lt_eval_result *r)
{
    json_t *o =
        json_pack("{s:o, s:o, s:I, s:I, s:o, s:o, s:I, s:I, s:I, s:I}", "perplexity", cli_real(r->perplexity), "nll",
                  cli_real(r->nll), "tokens", (json_int_t)r->tokens, "documents", (json_int_t)r->documents, "seconds",
                  cli_real(r->seconds), "tokens_per_second", cli_real(r->tokens_per_second), "peak_rss_bytes",
                  (json_int_t)r->peak_rss_bytes, "model_bytes", (json_int_t)r->model_bytes, "parameters",
                  (json_int_t)r->parameters, "nonzero_parameters", (json_int_t)r->nonzero_parameters);
    if (o && isfinite(r->accuracy)) json_object_set_new(o, "accuracy", cli_real(r->accuracy));
    return o;
}
