/* observers.c - observers as params of a site, and the hook's part of them: activations on the grid that was observed.
 *
 * A site's params are made when it is first recorded, or before by lt_qat_prepare for each weight that has one, so that
 * a checkpoint finds its place when it is read. Training observes; evaluation uses what was seen, unless the policy
 * says that it calibrates: then it observes as well. Where the scale is learned it is trainable, and so to be there
 * before the optimizer is made. */
#include "qat/observers.h"

#include "autograd/ops/observe_range.h"
#include "base/text.h"
#include "qat/policy.h"

#include <stdio.h>
#include <string.h>

static lt_observe_config config_of(const lt_quant_policy *policy)
{
    lt_observe_config c;
    lt_observe_config_init(&c);
    c.kind = policy->observer;
    if (policy->observe_rate > 0) c.rate = policy->observe_rate;
    return c;
}

/* ---- Before training ---- */

/* The site whose input meets the weight, into `site`; false: there is none. */
static bool site_of(const lt_params *params, const lt_param *w, char *site, size_t size)
{
    const char *name = lt_param_name(w);
    int length = (int)strlen(name);
    if (lti_ends_with(name, ".weight_ih")) return snprintf(site, size, "%.*s.ih", length - 10, name) < (int)size;
    if (strcmp(name, "token_embd.weight") == 0)
        return !lt_params_find(params, "output.weight") && snprintf(site, size, "output") < (int)size;
    if (!lti_ends_with(name, ".weight") || lt_param_rank(w) < 2) return false;
    return snprintf(site, size, "%.*s", length - 7, name) < (int)size;
}

lt_status lti_observers_prepare(lt_params *params, const lt_quant_policy *policy)
{
    if (policy->activations != LT_ACT_INT8_STATIC) return LT_OK;
    int n = lt_params_count(params); /* what is added stands behind */
    bool stay = lti_quant_weights_stay(policy);
    lt_observe_config c = config_of(policy);
    for (int i = 0; i < n; i++) {
        const lt_param *w = lt_params_at(params, i);
        char site[512];
        if (lt_param_role(w) != LT_WEIGHT || !site_of(params, w, site, sizeof site)) continue;
        lt_scheme s = lt_quant_scheme(policy, w);
        lt_param *scale, *range;
        if (stay || !lt_scheme_is_float(&s)) LTI_TRY(lt_observe_params(params, site, &c, &scale, &range));
    }
    return LT_OK;
}

/* ---- After updates ---- */

void lti_observers_after_update(lt_graph *graph, const lt_quant_policy *policy)
{
    lt_params *params = lt_graph_params(graph);
    lt_observe_config c = config_of(policy);
    if (policy->activations != LT_ACT_INT8_STATIC || !lti_observer_learns(c.kind)) return;
    for (int i = 0; i < lt_params_count(params) && lt_graph_status(graph) == LT_OK; i++) {
        lt_param *scale = lt_params_at(params, i);
        const char *name = lt_param_name(scale);
        char other[512];
        if (!lti_ends_with(name, ":act_scale") || !lt_param_trainable(scale)) continue;
        snprintf(other, sizeof other, "%.*srange", (int)strlen(name) - 5, name);
        lt_param *range = lt_params_find(params, other);
        snprintf(other, sizeof other, "%s:ema", name);
        if (range) lti_learned_grid(graph, scale, range, lt_params_find(params, other), c.warm_up);
    }
}

/* ---- The hook's part ---- */

lt_t lti_observed_input(lt_t x, const lt_site *site, const lt_quant_policy *policy)
{
    lt_graph *g = x.graph;
    lt_params *params = lt_graph_params(g);
    lt_observe_config c = config_of(policy);
    lt_param *scale, *range;
    lt_t on = lt_scalar(g, "act_quant", 1);
    if (!lt_is_training(g) && !policy->calibrate) {
        char name[512];
        snprintf(name, sizeof name, "%s:act_scale", site->name);
        scale = lt_params_find(params, name);
        if (scale) return lt_fake_quant_static(x, lt_param_value(g, scale), on);
        if (policy->on_grid) return x; /* codes have the grids of all sites that were meant */
        return lti_graph_fail(g, LT_EINVAL,
                              "int8_static: there is no '%s': the model was not trained or calibrated with static "
                              "activations; take int8_token",
                              name);
    }
    if (lt_observe_params(params, site->name, &c, &scale, &range) != LT_OK)
        return lti_graph_fail(g, lt_ctx_status(lt_params_ctx(params)), "%s", lt_ctx_message(lt_params_ctx(params)));
    c.is_signed = site->kind == LT_SITE_RNN;
    lt_t grid = lt_observe(x, scale, range, &c, lt_scalar(g, "act_observe", 1));
    return lt_fake_quant_learned(x, grid, on, c.kind);
}
