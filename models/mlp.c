/* mlp.c - a multi-layer perceptron: y = W_n relu(... relu(W_1 x + b_1) ...) + b_n. */
#include "base/ctx.h"
#include "lathe/models.h"
#include "lathe/nn.h"
#include "models/family.h"

#include <math.h>
#include <stdio.h>

void lt_mlp_config_init(lt_mlp_config *config)
{
    *config = (lt_mlp_config){.size = sizeof *config};
}

static int64_t width(const lt_mlp_config *c, int layer)
{
    return layer == 0 ? c->inputs : layer <= c->n_hidden ? c->hidden[layer - 1] : c->classes;
}

lt_status lt_mlp_params(lt_params *params, const lt_mlp_config *config, uint64_t seed)
{
    if (config->size != sizeof *config)
        return lti_fail(lt_params_ctx(params), LT_EINVAL, "mlp: call lt_mlp_config_init first");
    if (config->n_hidden < 0 || config->n_hidden > LTI_COUNT(config->hidden))
        return lti_fail(lt_params_ctx(params), LT_EINVAL, "mlp: %d hidden layers; 0 to %d are possible",
                        config->n_hidden, LTI_COUNT(config->hidden));
    for (int layer = 0; layer <= config->n_hidden; layer++) {
        int64_t in = width(config, layer), out = width(config, layer + 1);
        if (in < 1 || out < 1)
            return lti_fail(lt_params_ctx(params), LT_EINVAL, "mlp: layer %d has %lld inputs and %lld outputs",
                            layer + 1, (long long)in, (long long)out);
        for (int i = 0; i < 2; i++) {
            char name[32];
            lt_param *param;
            snprintf(name, sizeof name, "fc%d.%s", layer + 1, i ? "bias" : "weight");
            LTI_TRY(lt_params_add(params, name, LT_F32, i ? 1 : 2, (int64_t[]){out, in}, LT_WEIGHT, &param));
            lt_init_uniform(param, seed, 1 / sqrt((double)in));
        }
    }
    return LT_OK;
}

lt_t lt_mlp_logits(lt_graph *graph, const lt_mlp_config *config, lt_t x)
{
    (void)graph;
    for (int layer = 0; layer <= config->n_hidden; layer++) {
        char name[16];
        snprintf(name, sizeof name, "fc%d", layer + 1);
        x = lt_nn_linear(x, name); /* [R, out] */
        if (layer < config->n_hidden) x = lt_relu(x);
    }
    return x;
}
