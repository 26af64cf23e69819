/* init.c - initial values. Every element is a function of (seed, parameter's name, index): adding a layer changes no
 * other layer's start. */
#include "base/rng.h"
#include "lathe/nn.h"

static lti_rng rng_of(const lt_param *param, uint64_t seed)
{
    return (lti_rng){.seed = seed, .stream = lti_rng_stream(lt_param_name(param))};
}

void lt_init_normal(lt_param *param, uint64_t seed, double std)
{
    lti_rng rng = rng_of(param, seed);
    lt_real *w = lt_param_data(param);
    for (int64_t i = 0; i < lt_param_count(param); i++) w[i] = (lt_real)(std * lti_rng_normal(&rng, (uint64_t)i));
    lt_param_touch(param);
}

void lt_init_uniform(lt_param *param, uint64_t seed, double bound)
{
    lti_rng rng = rng_of(param, seed);
    lt_real *w = lt_param_data(param);
    for (int64_t i = 0; i < lt_param_count(param); i++)
        w[i] = (lt_real)(bound * (2 * lti_rng_uniform(&rng, (uint64_t)i) - 1));
    lt_param_touch(param);
}

void lt_init_constant(lt_param *param, double value)
{
    lt_real *w = lt_param_data(param);
    for (int64_t i = 0; i < lt_param_count(param); i++) w[i] = (lt_real)value;
    lt_param_touch(param);
}
