/* policy.c - which grid each parameter is deployed on.
 *
 * A rule of the user's comes first, then the mix (llama-quantize's choice, data/formats/type_mix.h), then one grid for
 * linear layers and one for the embedding and the head: a tied matrix has one for both uses. Where rows are no whole
 * blocks the type falls back as llama-quantize has it. Only matrices named *.weight are meant, and neither norms nor
 * positions. What has a type already keeps it. */
#include "qat/policy.h"

#include "autograd/ops/lattice_convert.h"
#include "autograd/param.h"
#include "base/text.h"
#include "data/formats/type_mix.h"
#include "lathe/ops.h"
#include "qat/products.h"

#include <string.h>

void lt_quant_policy_init(lt_quant_policy *policy)
{
    *policy = (lt_quant_policy){.size = sizeof *policy};
}

bool lt_quant_policy_empty(const lt_quant_policy *p)
{
    return lti_quant_weights_stay(p) && p->activations == LT_ACT_NONE;
}

bool lti_quant_weights_stay(const lt_quant_policy *p)
{
    return lt_scheme_is_float(&p->weights) && lt_scheme_is_float(&p->embedding) && !p->mix && p->n_rules == 0;
}

/* ---- What can be followed ---- */

static lt_status check_scheme(lt_ctx *ctx, const lt_scheme *scheme, const char *what)
{
    lt_dtype type = scheme->type;
    if (scheme->kind != LT_SCHEME_TYPE || type == LT_F32 || lti_converts(type)) return LT_OK;
    return lti_fail(ctx, LT_EINVAL,
                    "quantization: %s is no type to deploy weights in; f32, f16, bf16 and the lattices are (%s)",
                    lt_dtype_name(type), what);
}

static bool on_integers(const lt_scheme *s)
{
    return s->kind == LT_SCHEME_INT || s->kind == LT_SCHEME_TERNARY;
}

/* Scales that training has a word in are those of integer grids: a lattice's are in its blocks. */
static lt_status check_scales(lt_ctx *ctx, const lt_quant_policy *p)
{
    bool integers = on_integers(&p->weights) || on_integers(&p->embedding);
    for (int i = 0; i < p->n_rules; i++) integers |= on_integers(&p->rules[i].scheme);
    if (p->scale == LT_SCALE_PACT)
        return lti_fail(ctx, LT_EINVAL,
                        "quantization: pact learns a bound of what is never negative, activations; for weights take "
                        "dynamic, mse, lsq, lsq+ or range");
    if (p->scale == LT_SCALE_DYNAMIC || integers) return LT_OK;
    return lti_fail(ctx, LT_EINVAL,
                    "quantization: the scales of lattices are made of the weights, not %s; take dynamic, or an integer "
                    "grid like int4:g32",
                    lt_scale_rule_name(p->scale));
}

lt_dtype lti_quant_pair(const lt_scheme *s)
{
    if (s->kind == LT_SCHEME_TERNARY) return lt_activation_type(LT_TQ2_0);
    return s->kind == LT_SCHEME_TYPE ? lt_activation_type(s->type) : LT_F32;
}

static bool has_pair(const lt_scheme *s)
{
    return lti_quant_pair(s) != LT_F32;
}

static lt_status check_activations(lt_ctx *ctx, const lt_quant_policy *p)
{
    if (p->activations == LT_ACT_INT8_STATIC &&
        (p->mix || (p->weights.kind == LT_SCHEME_TYPE && p->weights.type != LT_F32)))
        return lti_fail(ctx, LT_EINVAL,
                        "quantization: int8_static activations go with weights on an integer grid (int8, int4); no "
                        "runtime pairs them with a lattice: take runtime or int8_token");
    if (p->activations == LT_ACT_RUNTIME && p->weights.kind != LT_SCHEME_TYPE && !has_pair(&p->weights) && !p->mix &&
        p->n_rules == 0)
        return lti_fail(
            ctx, LT_EINVAL,
            "quantization: activations 'runtime' are those llama.cpp pairs with a lattice, and the weights' "
            "grid is none; take int8_token");
    bool paired = p->mix || p->n_rules || has_pair(&p->weights) || has_pair(&p->embedding) || lti_quant_weights_stay(p);
    if (p->activations == LT_ACT_RUNTIME && !paired)
        return lti_fail(
            ctx, LT_EINVAL,
            "quantization: activations 'runtime' are those llama.cpp pairs with a lattice, and it pairs none "
            "with %s; leave them out, or take int8_token",
            lt_dtype_name(p->weights.type));
    return LT_OK;
}

static lt_status check_steps(lt_ctx *ctx, const lt_quant_policy *p)
{
    if (p->scale_every < 0 || p->scale_every > 1000000000)
        return lti_fail(ctx, LT_EINVAL, "quantization: scale_every is %lld; it must be in 0 to 1e9",
                        (long long)p->scale_every);
    if (!p->integer_backward || p->activations != LT_ACT_NONE) return LT_OK;
    return lti_fail(ctx, LT_EINVAL,
                    "quantization: an integer backward belongs to integer products, and activations '%s' make none; "
                    "take runtime or int8_token, or leave it out",
                    lt_activations_name(p->activations));
}

lt_status lti_quant_check(lt_ctx *ctx, const lt_quant_policy *policy)
{
    if (!policy) return LT_OK;
    if (policy->size != sizeof *policy)
        return lti_fail(ctx, LT_EINVAL, "quantization: call lt_quant_policy_init first");
    if (policy->mix && !lti_mix_named(policy->mix))
        return lti_fail(ctx, LT_EINVAL, "quantization: '%s' is no mix; %s are", policy->mix, lti_mix_names());
    LTI_TRY(check_scheme(ctx, &policy->weights, "of linear layers"));
    LTI_TRY(check_scheme(ctx, &policy->embedding, "of the embedding"));
    for (int i = 0; i < policy->n_rules; i++)
        LTI_TRY(check_scheme(ctx, &policy->rules[i].scheme, policy->rules[i].pattern));
    LTI_TRY(check_activations(ctx, policy));
    LTI_TRY(check_steps(ctx, policy));
    return check_scales(ctx, policy);
}

/* ---- The choice ---- */

static bool is_embedding(const char *name)
{
    return strcmp(name, "token_embd.weight") == 0 || strcmp(name, "output.weight") == 0;
}

/* A matrix that grids are for. */
static bool is_meant(const lt_param *p)
{
    return p->role == LT_WEIGHT && p->rank == 2 && lti_ends_with(p->name, ".weight") && !lti_mix_leaves(p->name);
}

/* Filters and the matrices of recurrent layers: for uniform grids alone. The lattices' files hold transformers, and
 * nine taps a channel are no whole blocks. */
static bool is_filter(const lt_param *p)
{
    bool recurrent = lti_ends_with(p->name, ".weight_ih") || lti_ends_with(p->name, ".weight_hh");
    return p->role == LT_WEIGHT && (p->rank == 4 ? lti_ends_with(p->name, ".weight") : p->rank == 2 && recurrent);
}

static lt_scheme of_mix(const char *name, const lt_param *param)
{
    const lti_mix *mix = lti_mix_named(name);
    lti_mix_facts facts = lti_mix_facts_new();
    for (int i = 0; i < lt_params_count(param->home); i++) {
        const lt_param *p = lt_params_at(param->home, i);
        if (is_meant(p)) lti_mix_count(&facts, p->name, p->shape[0]);
    }
    return lt_scheme_of(mix ? lti_mix_type(mix, &facts, param->name, param->shape[1]) : LT_F32);
}

static lt_scheme wanted(const lt_quant_policy *policy, const lt_param *param)
{
    for (int i = 0; i < policy->n_rules; i++)
        if (lt_glob(policy->rules[i].pattern, param->name)) return policy->rules[i].scheme;
    bool embedding = is_embedding(param->name);
    if (!embedding && policy->targets && !lt_glob(policy->targets, param->name)) return lt_scheme_of(LT_F32);
    if (policy->mix) return is_filter(param) ? lt_scheme_of(LT_F32) : of_mix(policy->mix, param);
    return embedding ? policy->embedding : policy->weights;
}

lt_scheme lti_quant_wanted(const lt_quant_policy *policy, const lt_param *param)
{
    bool filter = is_filter(param);
    if (!filter && !is_meant(param)) return lt_scheme_of(LT_F32);
    lt_scheme s = wanted(policy, param);
    return filter && s.kind == LT_SCHEME_TYPE ? lt_scheme_of(LT_F32) : s;
}

lt_scheme lt_quant_scheme(const lt_quant_policy *policy, const lt_param *param)
{
    if (param->type != LT_F32) return lt_scheme_of(param->type);
    lt_scheme s = lti_quant_wanted(policy, param);
    if (s.kind != LT_SCHEME_TYPE || !lt_dtype_is_lattice(s.type)) return s;
    lt_dtype fits = lti_type_that_fits(s.type, param->shape[1]);
    return fits == s.type ? s : lt_scheme_of(fits);
}

lt_dtype lt_quant_type(const lt_quant_policy *policy, const lt_param *param)
{
    lt_scheme s = lt_quant_scheme(policy, param);
    return s.kind == LT_SCHEME_TYPE ? s.type : LT_F32;
}

/* ---- Whether it can be followed with these params ---- */

/* A rule that changes nothing is a misspelt name, or a type where only uniform grids fit (filters). Rules for the embedding
 * and the head come with mixes; a tied model has but one of the two. */
static bool rule_counts(const lt_params *params, const lt_quant_rule *rule)
{
    if (is_embedding(rule->pattern)) return true;
    for (int i = 0; i < lt_params_count(params); i++) {
        const lt_param *p = lt_params_at(params, i);
        bool fits = is_meant(p) || (is_filter(p) && rule->scheme.kind != LT_SCHEME_TYPE);
        if (fits && lt_glob(rule->pattern, lt_param_name(p))) return true;
    }
    return false;
}

/* *kept: how many have a type already, as in a model opened as its file has it. */
static bool changes_a_weight(const lt_params *params, const lt_quant_policy *policy, int *kept)
{
    *kept = 0;
    for (int i = 0; i < lt_params_count(params); i++) {
        const lt_param *p = lt_params_at(params, i);
        lt_scheme s = lt_quant_scheme(policy, p);
        if (lt_scheme_is_float(&s)) continue;
        if (p->type == LT_F32 || policy->on_grid) return true;
        ++*kept;
    }
    return false;
}

static lt_status check_patterns(const lt_params *params, const lt_quant_policy *policy)
{
    lt_ctx *ctx = lt_params_ctx(params);
    for (int i = 0; i < policy->n_rules; i++)
        if (!rule_counts(params, &policy->rules[i]))
            return lti_fail(
                ctx, LT_EINVAL,
                "quantization: '%s' names no tensor that can be put on that grid; `lathe inspect` lists names "
                "(blk.0.ffn_up.weight), and filters go on integer grids (int8) alone",
                policy->rules[i].pattern);
    int kept;
    if (lti_quant_weights_stay(policy) || changes_a_weight(params, policy, &kept)) return LT_OK;
    if (kept)
        return lti_fail(ctx, LT_EINVAL,
                        "quantization: no weight of this model is put on the grid: %d are stored in another type than "
                        "f32, which they keep; open it by lt_model_open, which makes them f32",
                        kept);
    return lti_fail(
        ctx, LT_EINVAL,
        "quantization: no weight of this model is put on the grid%s%s; filters go on integer grids (int8) alone",
        policy->targets ? ": no name matches " : "", policy->targets ? policy->targets : "");
}

/* What products would make of it: nothing that was asked for may be passed over in silence. Codes are as they are. */
static lt_status check_products(const lt_params *params, const lt_quant_policy *policy)
{
    lt_ctx *ctx = lt_params_ctx(params);
    lti_products n = lti_products_of(params, policy);
    char name[LT_SCHEME_TEXT];
    if (policy->on_grid || !n.layers) return LT_OK;
    if (policy->activations == LT_ACT_INT8_STATIC && n.lattice)
        return lti_fail(
            ctx, LT_EINVAL,
            "quantization: '%s' would be %s, and int8_static activations go with weights on an integer grid "
            "(int8, int4); no runtime pairs them with a lattice: give it another type, or take runtime or "
            "int8_token",
            lt_param_name(n.lattice), lt_dtype_name(lt_quant_type(policy, n.lattice)));
    if (policy->activations == LT_ACT_RUNTIME && n.integer + n.simulated == 0) {
        lt_scheme s = lt_quant_scheme(policy, n.rests);
        return lti_fail(ctx, LT_EINVAL,
                        "quantization: activations 'runtime' are those llama.cpp pairs with a lattice, and no linear "
                        "layer is on one ('%s' is %s): nothing would be rounded; leave them out, or take int8_token",
                        lt_param_name(n.rests), lt_scheme_name(&s, name));
    }
    if (policy->integer_backward && n.integer == 0)
        return lti_fail(
            ctx, LT_EINVAL,
            "quantization: an integer backward belongs to products that are sums of integers, and none is: "
            "lattices (q4_0, q8_0) with runtime or int8_token make some, int8:channel with int8_static, and "
            "with int8_token, dynamic scales, the straight-through gradient and no damping; leave it out");
    return LT_OK;
}

lt_status lti_quant_check_params(const lt_params *params, const lt_quant_policy *policy)
{
    LTI_TRY(lti_quant_check(lt_params_ctx(params), policy));
    if (policy) LTI_TRY(check_patterns(params, policy));
    if (policy) LTI_TRY(check_products(params, policy));
    for (int i = 0; policy && i < lt_params_count(params); i++) {
        const lt_param *p = lt_params_at(params, i);
        lt_dtype type = lt_quant_type(policy, p);
        if (lt_param_type(p) == LT_F32 && lt_dtype_is_lattice(type) && !lti_converts(type))
            return lti_fail(
                lt_params_ctx(params), LT_EINVAL,
                "quantization: '%s' would be %s, which lathe cannot write; give it another type with a rule "
                "for its name",
                lt_param_name(p), lt_dtype_name(type));
    }
    return LT_OK;
}
