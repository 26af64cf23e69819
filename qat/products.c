/* products.c - which products a policy makes sums of integers, from names and shapes of params.
 *
 * A product is that of the types of its factors (lti_igemm_takes): those of activations are of the policy and the
 * weight's grid, those of weights are what the weight hook leaves. The sites are those that the models record: each
 * matrix but an embedding that is looked up alone. Counting nodes of a recorded graph would need inputs of every kind of
 * model; the tests do it for some (tests/test_products.c). */
#include "qat/products.h"

#include "data/formats/type_mix.h"
#include "kernels/integer.h"
#include "qat/hooks.h"
#include "qat/policy.h"

#include <stdio.h>
#include <string.h>

static const char *const embedding_name = "token_embd.weight";

/* A tied head multiplies by the embedding, which is looked up alone where there is another head, and in encoders. */
static bool is_head(const lt_params *params, const lt_param *p)
{
    static const char *const others[] = {"output.weight", "cls.output.weight", "head.weight", "token_types.weight"};
    const char *name = lt_param_name(p);
    if (strcmp(name, others[0]) == 0 || strcmp(name, others[1]) == 0) return true;
    bool tied = strcmp(name, embedding_name) == 0;
    for (int i = 0; tied && i < LTI_COUNT(others); i++) tied = !lt_params_find(params, others[i]);
    return tied;
}

/* The site whose input meets the parameter; false: there is none that activations are rounded at. */
static bool site_of(const lt_params *params, const lt_quant_policy *policy, lt_param *p, lt_site *site)
{
    const char *name = lt_param_name(p);
    bool matrix = lt_param_rank(p) == 2 && lti_ends_with(name, ".weight") && !lti_mix_leaves(name);
    *site = (lt_site){.kind = LT_SITE_LINEAR, .param = p};
    if (lt_param_role(p) != LT_WEIGHT) return false;
    if (lt_param_rank(p) == 2 && lti_ends_with(name, ".weight_ih")) site->kind = LT_SITE_RNN;
    if (is_head(params, p)) site->kind = LT_SITE_HEAD;
    if (lt_param_rank(p) == 4 && lti_ends_with(name, ".weight")) site->kind = LT_SITE_CONV;
    if (site->kind == LT_SITE_CONV) return policy->activations == LT_ACT_INT8_STATIC;
    return site->kind == LT_SITE_RNN || (matrix && (site->kind == LT_SITE_HEAD || strcmp(name, embedding_name)));
}

/* Numbers on static grids meet those of an integer grid with a scale a row (matmul_static.c): in linear layers, where the
 * product is one of lt_matmul's. */
static bool static_rows(const lt_quant_policy *policy, const lt_site *site)
{
    lt_scheme s = lt_quant_scheme(policy, site->param);
    bool scale = policy->scale == LT_SCALE_DYNAMIC || policy->scale == LT_SCALE_MSE || policy->scale == LT_SCALE_LSQ;
    bool made = !policy->on_grid && scale && policy->gradient != LT_ROUND_PROX;
    return site->kind != LT_SITE_HEAD && lt_param_rank(site->param) == 2 && made && s.kind == LT_SCHEME_INT &&
           s.per == LT_PER_CHANNEL && !s.asymmetric && !s.half_scales;
}

static bool in_integers(const lt_quant_policy *policy, const lt_site *site, lt_dtype activations)
{
    if (policy->activations == LT_ACT_INT8_STATIC) return static_rows(policy, site);
    return lti_igemm_takes(activations, lti_qat_product_type(policy, site));
}

static void add_site(lti_products *n, const lt_quant_policy *policy, const lt_site *site)
{
    lt_scheme s = lt_quant_scheme(policy, site->param);
    lt_dtype type = lti_qat_input_type(policy, site, lt_param_shape(site->param)[lt_param_rank(site->param) - 1]);
    bool rounded = type != LT_F32, integer = rounded && in_integers(policy, site, type);
    n->integer += integer;
    n->simulated += rounded && !integer;
    if (!n->lattice && s.kind == LT_SCHEME_TYPE && lt_dtype_is_lattice(s.type)) n->lattice = site->param;
    if (site->kind == LT_SITE_HEAD) return;
    n->layers++;
    n->rounded += rounded;
    if (rounded) return;
    if (!n->rests) n->rests = site->param;
    if (!n->unpaired && policy->activations == LT_ACT_RUNTIME && !lt_scheme_is_float(&s)) n->unpaired = site->param;
}

lti_products lti_products_of(const lt_params *params, const lt_quant_policy *policy)
{
    lti_products n = {.layers = 0};
    for (int i = 0; i < lt_params_count(params); i++) {
        lt_site site;
        if (site_of(params, policy, lt_params_at(params, i), &site)) add_site(&n, policy, &site);
    }
    return n;
}

void lti_products_rest(const lti_products *n, const lt_quant_policy *policy, char *text, size_t size)
{
    char name[LT_SCHEME_TEXT];
    int at = snprintf(text, size, "activations are rounded at %d of %d linear layers", n->rounded, n->layers);
    if (at < 0 || (size_t)at >= size || !n->rests) return;
    lt_scheme s = lt_quant_scheme(policy, n->unpaired ? n->unpaired : n->rests);
    if (n->unpaired)
        snprintf(text + at, size - (size_t)at, "; no runtime type is paired with %s", lt_scheme_name(&s, name));
    else
        snprintf(text + at, size - (size_t)at, "; '%.100s' is %s", lt_param_name(n->rests), lt_scheme_name(&s, name));
}

void lti_products_describe(const lt_params *params, const lt_quant_policy *policy, lti_text *text)
{
    if (policy->activations == LT_ACT_NONE) return;
    lti_products n = lti_products_of(params, policy);
    char rest[256];
    bool is_static = policy->activations == LT_ACT_INT8_STATIC; /* codes of 0 .. 255 do not fit int8 rows */
    lti_text_format(text, "products: %d in integers%s, %d simulated in f32\n", n.integer,
                    is_static && n.integer ? " (where something negative is seen)" : "", n.simulated);
    if (n.rounded == n.layers) return;
    lti_products_rest(&n, policy, rest, sizeof rest);
    lti_text_format(text, "%s\n", rest);
}
