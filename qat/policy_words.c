/* policy_words.c - the words for policies: grids, mixes and names for both weights and activations.
 *
 * A type's plain name is pure: this type for all linear layers. Names that llama-quantize alone has (q4_k_m) are its
 * mixes; "mix:q4_0" is its choice under a name that is also a type's, which gives the head q6_k. */
#include "base/text.h"
#include "data/formats/type_mix.h"
#include "qat/policy.h"

#include <stdio.h>
#include <string.h>

static const char *const scale_names[] = {"dynamic", "mse", "lsq", "lsq+", "pact", "range"};
static const char *const gradient_names[] = {"ste", "clip", "clip_code", "prox"};

static int find(const char *const *names, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0) return i;
    return -1;
}

const char *lt_scale_rule_name(lt_scale_rule rule)
{
    return (unsigned)rule < LTI_COUNT(scale_names) ? scale_names[rule] : "?";
}

bool lt_scale_rule_parse(const char *name, lt_scale_rule *rule)
{
    int i = find(scale_names, LTI_COUNT(scale_names), name);
    if (i >= 0) *rule = (lt_scale_rule)i;
    return i >= 0;
}

const char *lt_round_gradient_name(lt_round_gradient gradient)
{
    return (unsigned)gradient < LTI_COUNT(gradient_names) ? gradient_names[gradient] : "?";
}

bool lt_round_gradient_parse(const char *name, lt_round_gradient *gradient)
{
    int i = find(gradient_names, LTI_COUNT(gradient_names), name);
    if (i >= 0) *gradient = (lt_round_gradient)i;
    return i >= 0;
}

/* The mix a word means, or NULL: those names that are no type's, and any after "mix:". */
static const lti_mix *mix_of(const char *text)
{
    lt_dtype type;
    if (strncmp(text, "mix:", 4) == 0) return lti_mix_named(text + 4);
    return lt_dtype_parse(text, &type) ? NULL : lti_mix_named(text);
}

lt_status lt_quant_policy_parse(lt_ctx *ctx, const char *text, lt_quant_policy *policy)
{
    const lti_mix *mix = mix_of(text);
    if (mix) {
        policy->mix = mix->name;
        return LT_OK;
    }
    if (strcmp(text, "w8a8") == 0) {
        policy->weights = (lt_scheme){.kind = LT_SCHEME_INT, .bits = 8, .per = LT_PER_CHANNEL};
        policy->activations = LT_ACT_INT8_TOKEN;
        return LT_OK;
    }
    if (strcmp(text, "w4a16") == 0) {
        policy->weights = (lt_scheme){.kind = LT_SCHEME_INT, .bits = 4, .per = LT_PER_GROUP, .group = 128};
        return LT_OK;
    }
    if (strncmp(text, "mix:", 4) == 0)
        return lti_fail(ctx, LT_EINVAL, "'%s': '%s' is no mix; %s are", text, text + 4, lti_mix_names());
    if (lt_scheme_parse(ctx, text, &policy->weights) == LT_OK) return LT_OK;
    char why[512];
    snprintf(why, sizeof why, "%s", lt_ctx_message(ctx));
    return lti_fail(ctx, LT_EINVAL,
                    "%s; or w8a8, w4a16, or a mix: q2_k_s, q3_k_s, q3_k_m, q3_k_l, q4_k_s, q4_k_m, "
                    "q5_k_s, q5_k_m, mix:q4_0, ..",
                    why);
}

const char *lt_quant_policy_name(const lt_quant_policy *policy, char *name)
{
    lt_dtype type;
    if (!policy->mix) return lt_scheme_name(&policy->weights, name);
    snprintf(name, LT_SCHEME_TEXT, "%s%s", lt_dtype_parse(policy->mix, &type) ? "mix:" : "", policy->mix);
    return name;
}

lt_status lt_quant_rule_parse(lt_ctx *ctx, char *text, lt_quant_rule *rule)
{
    char *equals = strrchr(text, '=');
    if (!equals || equals == text || !equals[1])
        return lti_fail(ctx, LT_EINVAL, "'%s' is no rule; write PATTERN=TYPE, as in '*.ffn_down.weight=q6_k'", text);
    LTI_TRY(lt_scheme_parse(ctx, equals + 1, &rule->scheme));
    *equals = 0;
    rule->pattern = text;
    return LT_OK;
}
