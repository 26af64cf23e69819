/* norm_layers.c - batch and group norm, whose weight passes the site's hooks. */
#include "nn/sites.h"

#include "autograd/op.h"

/* The layer's own parameter `suffix`; NULL, and the graph holds the error, without it. */
static lt_param *own_param(const lt_site *site, const char *suffix)
{
    const char *name = lt_scoped(site->graph, suffix);
    lt_param *param = name ? lt_params_find(lt_graph_params(site->graph), name) : NULL;
    if (name && !param) lti_graph_fail(site->graph, LT_EINVAL, "the model has no parameter '%s'", name);
    return param;
}

/* A layer that somebody froze would otherwise go on changing: its averages move without an optimizer. */
static bool is_frozen(const lt_param *weight, const lt_param *bias)
{
    return !lt_param_trainable(weight) && !lt_param_trainable(bias);
}

lt_t lt_nn_batch_norm(lt_t x, const char *name, const lt_batch_norm_config *config)
{
    lt_batch_norm_config how;
    lt_batch_norm_config_init(&how);
    if (config && config->size == sizeof how)
        how = *config;
    else if (config)
        how.size = config->size; /* to be refused behind */
    if (!x.graph || lt_graph_status(x.graph) != LT_OK) return x;
    lt_site site = lti_open_site(x, name, LT_SITE_NORM, NULL);
    lt_param *bias = site.param ? own_param(&site, "bias") : NULL;
    lt_param *mean = bias ? own_param(&site, "running_mean") : NULL;
    lt_param *var = mean ? own_param(&site, "running_var") : NULL;
    lt_t y = lt_nil(x.graph);
    if (var) {
        how.frozen = how.frozen || is_frozen(site.param, bias);
        y = lt_batch_norm(x, lt_site_weight(&site), lti_own(&site, "bias"), mean, var, &how);
    }
    lt_scope_end(x.graph);
    return y;
}

lt_t lt_nn_group_norm(lt_t x, const char *name, int64_t groups, double eps)
{
    if (!x.graph || lt_graph_status(x.graph) != LT_OK) return x;
    lt_site site = lti_open_site(x, name, LT_SITE_NORM, NULL);
    lt_t y = lt_nil(x.graph);
    if (site.param && own_param(&site, "bias"))
        y = lt_group_norm(x, lt_site_weight(&site), lti_own(&site, "bias"), groups, eps);
    lt_scope_end(x.graph);
    return y;
}
