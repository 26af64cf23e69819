/* sites.c - how a layer finds its parameters. */
#include "nn/sites.h"

#include "autograd/op.h"

lt_site lti_open_site(lt_t x, const char *name, lt_site_kind kind, const char *weight)
{
    lt_graph *g = x.graph;
    lt_scope(g, "%s", name);
    lt_site site = {.graph = g, .name = lt_scoped(g, ""), .kind = kind};
    if (!weight) weight = lt_scoped(g, "weight");
    lt_params *params = lt_graph_params(g);
    if (params && weight) site.param = lt_params_find(params, weight);
    if (weight && !site.param) lti_graph_fail(g, LT_EINVAL, "the model has no parameter '%s'", weight);
    if (!site.name) site.name = "";
    return site;
}

lt_t lti_own(const lt_site *site, const char *suffix)
{
    const char *name = lt_scoped(site->graph, suffix);
    lt_param *param = name ? lt_params_find(lt_graph_params(site->graph), name) : NULL;
    if (!param) return lt_nil(site->graph);
    lt_dtype type = lt_param_type(param);
    lt_t value = lt_param_value(site->graph, param);
    return type == LT_BF16 || type == LT_F16 ? lt_cast(value, LT_F32) : value;
}
