/* observer_params.c - kinds of observers by name; a site's params "<site>:act_scale" and "<site>:act_range". */
#include "autograd/ops/observe_range.h"

#include <stdio.h>
#include <string.h>

static const char *const names[] = {"average", "minmax", "percentile", "mse", "histogram", "lsq", "pact"};

const char *lt_observer_name(lt_observer kind)
{
    return (unsigned)kind < LTI_COUNT(names) ? names[kind] : "?";
}

bool lt_observer_parse(const char *name, lt_observer *kind)
{
    for (int i = 0; i < LTI_COUNT(names); i++)
        if (strcmp(names[i], name) == 0) {
            *kind = (lt_observer)i;
            return true;
        }
    return false;
}

void lt_observe_config_init(lt_observe_config *config)
{
    *config = (lt_observe_config){.size = sizeof *config, .rate = 0.01, .percentile = 99.99, .warm_up = 16};
}

static lt_status find_or_add(lt_params *params, const char *site, const char *what, int64_t count, bool learned,
                             lt_param **param)
{
    lt_ctx *ctx = lt_params_ctx(params);
    char name[512];
    int n = snprintf(name, sizeof name, "%s:%s", site, what);
    if (n < 0 || (size_t)n >= sizeof name)
        return lti_fail(ctx, LT_EINVAL, "the name of site '%.100s..' is too long for an observer", site);
    *param = lt_params_find(params, name);
    if (!*param) LTI_TRY(lt_params_add(params, name, LT_F32, 1, &count, LT_STATE, param));
    lt_param_set_trainable(*param, learned);
    if (lt_param_type(*param) == LT_F32 && lt_param_count(*param) == count) return LT_OK;
    return lti_fail(ctx, LT_EINVAL,
                    "'%s' has %lld numbers and this observer keeps %lld: it was made for another kind of observer",
                    name, (long long)lt_param_count(*param), (long long)count);
}

lt_status lt_observe_params(lt_params *params, const char *site, const lt_observe_config *config, lt_param **scale,
                            lt_param **range)
{
    if (config->size != sizeof *config || (unsigned)config->kind > LT_OBSERVE_PACT)
        return lti_fail(lt_params_ctx(params), LT_EINVAL, "observe: call lt_observe_config_init first");
    LTI_TRY(find_or_add(params, site, "act_scale", 2, lti_observer_learns(config->kind), scale));
    return find_or_add(params, site, "act_range", lti_range_size(config->kind), false, range);
}
