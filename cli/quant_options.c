/* quant_options.c - from the words of --qat and its companions to a policy. */
#include "cli/cli.h"
#include "qat/policy.h"
#include "qat/products.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void cli_quant_free(cli_quant *quant)
{
    for (int i = 0; i < quant->n_rules; i++) free(quant->texts[i]);
    free(quant->texts);
    free(quant->rules);
    quant->texts = NULL;
    quant->rules = NULL;
    quant->n_rules = 0;
}

static int no_memory(cli *c)
{
    return cli_fail(c, EXIT_MEMORY, "out of memory while reading the options");
}

/* One rule; `text` of `length` bytes is copied. */
static int add_rule(cli *c, cli_quant *q, const char *text, size_t length)
{
    size_t room = (size_t)q->n_rules + 1;
    lt_quant_rule *rules = realloc(q->rules, room * sizeof *rules);
    if (rules) q->rules = rules;
    char **texts = rules ? realloc(q->texts, room * sizeof *texts) : NULL;
    if (texts) q->texts = texts;
    char *copy = texts ? strndup(text, length) : NULL;
    if (!copy) return no_memory(c);
    q->texts[q->n_rules] = copy;
    if (lt_quant_rule_parse(c->ctx, copy, &q->rules[q->n_rules++]) == LT_OK) return EXIT_DONE;
    return cli_fail(c, EXIT_USAGE, "--tensor-type: %s", lt_ctx_message(c->ctx));
}

/* "a=x,b=y": a comma ends a rule when a '=' comes before the next one; types have commas, too. */
static int add_rules(cli *c, cli_quant *q, const char *text)
{
    int code = EXIT_DONE;
    while (*text && !code) {
        size_t n = strcspn(text, ",");
        while (text[n]) {
            const char *next = text + n + 1;
            if (memchr(next, '=', strcspn(next, ","))) break;
            n += 1 + strcspn(next, ",");
        }
        code = add_rule(c, q, text, n);
        text += n + (text[n] == ',');
    }
    return code;
}

/* In a mix the embedding has the mix's type: another one is a rule after the user's. */
static int set_embedding(cli *c, cli_quant *q, lt_quant_policy *policy)
{
    static const char *const names[] = {"token_embd.weight", "output.weight"};
    char text[128];
    int code = EXIT_DONE;
    if (!q->embedding) return code;
    if (lt_scheme_parse(c->ctx, q->embedding, &policy->embedding) != LT_OK)
        return cli_fail(c, EXIT_USAGE, "--qat-embedding: %s", lt_ctx_message(c->ctx));
    for (int i = 0; i < 2 && policy->mix && !code; i++) {
        int n = snprintf(text, sizeof text, "%s=%.64s", names[i], q->embedding);
        code = add_rule(c, q, text, (size_t)n);
    }
    return code;
}

int cli_quant_policy(cli *c, cli_quant *q, lt_quant_policy *policy, bool *given)
{
    lt_quant_policy_init(policy);
    *given = false;
    int code = EXIT_DONE;
    lt_activations activations = LT_ACT_NONE;
    bool chosen = q->activations && strcmp(q->activations, "auto"); /* w8a8 names some, unless others are chosen */
    if (chosen && !lt_activations_parse(q->activations, &activations))
        return cli_fail(c, EXIT_USAGE, "--qat-activations: '%s' is not known", q->activations);
    if (q->type && lt_quant_policy_parse(c->ctx, q->type, policy) != LT_OK)
        return cli_fail(c, EXIT_USAGE, "--qat: %s", lt_ctx_message(c->ctx));
    if (chosen) policy->activations = activations;
    if (q->scale && !lt_scale_rule_parse(q->scale, &policy->scale))
        return cli_fail(c, EXIT_USAGE, "--qat-scale: '%s' is not known", q->scale);
    if (q->gradient && !lt_round_gradient_parse(q->gradient, &policy->gradient))
        return cli_fail(c, EXIT_USAGE, "--qat-gradient: '%s' is not known", q->gradient);
    if (q->observer && !lt_observer_parse(q->observer, &policy->observer))
        return cli_fail(c, EXIT_USAGE, "--qat-observer: '%s' is not known", q->observer);
    policy->observe_rate = q->observe_rate;
    for (int i = 0; i < q->tensor_types.count && !code; i++) code = add_rules(c, q, q->tensor_types.items[i]);
    if (!code) code = set_embedding(c, q, policy);
    policy->targets = q->targets;
    policy->damping = q->damping;
    policy->freeze_threshold = q->freeze;
    policy->scale_every = q->scale_every;
    policy->integer_backward = q->backward && !strcmp(q->backward, "int8");
    policy->rules = q->rules;
    policy->n_rules = q->n_rules;
    *given = !lt_quant_policy_empty(policy);
    return code;
}

int cli_quant_scales(cli *c, lt_model *model, const char *path, lt_quant_policy *policy)
{
    lt_run_scales found;
    lt_status status = lt_model_take_scales(model, path, policy, &found);
    if (status != LT_OK) return cli_fail_status(c, status, status != LT_EINVAL);
    if (found == LT_RUN_SCALES_TAKEN) cli_say(c, "scales are those of %s's training", path);
    if (found == LT_RUN_SCALES_OTHER)
        cli_warn(c, "%s was trained with scales of its own for another grid; they are not read for this one", path);
    return EXIT_DONE;
}

int cli_quant_products(cli *c, const lt_model *model, const lt_quant_policy *policy)
{
    char text[256];
    const lt_params *params = lt_model_params(model);
    if (lt_quant_policy_empty(policy)) return EXIT_DONE;
    if (lti_quant_check_params(params, policy) != LT_OK) return cli_fail(c, EXIT_USAGE, "%s", lt_ctx_message(c->ctx));
    if (policy->activations != LT_ACT_RUNTIME) return EXIT_DONE;
    lti_products n = lti_products_of(params, policy);
    if (n.rounded == n.layers) return EXIT_DONE;
    lti_products_rest(&n, policy, text, sizeof text);
    cli_warn(c, "%s", text);
    return EXIT_DONE;
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
