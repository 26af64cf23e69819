/* mlp.c - a multi-layer perceptron: y = W_n relu(... relu(W_1 x + b_1) ...) + b_n. */
#include "autograd/op.h"
#include "lathe/nn.h"
#include "models/network.h"

#include <math.h>
#include <stdio.h>

enum { MOST_INPUTS = 1 << 24, MOST_WIDTH = 1 << 20 };

void lt_mlp_config_init(lt_mlp_config *config)
{
    *config = (lt_mlp_config){.size = sizeof *config};
}

static int64_t width(const lt_mlp_config *c, int layer)
{
    return layer == 0 ? c->inputs : layer <= c->n_hidden ? c->hidden[layer - 1] : c->classes;
}

static lt_status check_mlp(lt_ctx *ctx, const lt_mlp_config *c)
{
    if (c->size != sizeof *c) return lti_fail(ctx, LT_EINVAL, "mlp: call lt_mlp_config_init first");
    if (c->n_hidden < 0 || c->n_hidden > LTI_COUNT(c->hidden))
        return lti_fail(ctx, LT_EINVAL, "mlp: %d hidden layers; 0 to %d are possible", c->n_hidden,
                        LTI_COUNT(c->hidden));
    LTI_TRY(lti_network_range(ctx, "mlp", "inputs", c->inputs, MOST_INPUTS));
    for (int layer = 0; layer <= c->n_hidden; layer++) {
        int64_t outputs = width(c, layer + 1);
        if (outputs < 1 || outputs > MOST_WIDTH)
            return lti_fail(ctx, LT_EINVAL, "mlp: layer %d has %lld inputs and %lld outputs; 1 to %d are possible",
                            layer + 1, (long long)width(c, layer), (long long)outputs, MOST_WIDTH);
    }
    return LT_OK;
}

static lt_status each_mlp(const lt_mlp_config *c, lti_tensor_visitor visit, void *user)
{
    for (int layer = 0; layer <= c->n_hidden; layer++) {
        int64_t shape[] = {width(c, layer + 1), width(c, layer)};
        const lti_tensor t = {.bound = 1 / sqrt((double)shape[1])};
        for (int i = 0; i < 2; i++) {
            char name[32];
            snprintf(name, sizeof name, "fc%d.%s", layer + 1, i ? "bias" : "weight");
            LTI_TRY(lti_visit_tensor(t, name, i ? 1 : 2, shape, visit, user));
        }
    }
    return LT_OK;
}

lt_status lt_mlp_params(lt_params *params, const lt_mlp_config *config, uint64_t seed)
{
    LTI_TRY(check_mlp(lt_params_ctx(params), config));
    return each_mlp(config, lti_add_tensor, &(lti_adder){params, seed});
}

/* ---- The network ---- */

static lt_t layer_of(lt_t x, int layer)
{
    char name[16];
    snprintf(name, sizeof name, "fc%d", layer + 1);
    return lt_nn_linear(x, name); /* [R, out] */
}

static lt_t hidden_of(const lt_mlp_config *c, lt_t x)
{
    for (int layer = 0; layer < c->n_hidden; layer++) x = lt_relu(layer_of(x, layer));
    return x;
}

lt_t lt_mlp_logits(lt_graph *graph, const lt_mlp_config *config, lt_t x)
{
    (void)graph;
    return layer_of(hidden_of(config, x), config->n_hidden);
}

/* ---- As a model ---- */

static void defaults(lti_network_config *c)
{
    lt_mlp_config_init(&c->mlp);
    c->mlp.n_hidden = 1;
    c->mlp.hidden[0] = 128;
}

static int keys_of(lti_network_config *c, lti_network_key keys[LTI_NETWORK_KEYS])
{
    keys[0] = (lti_network_key){"hidden", .widths = &c->mlp};
    keys[1] = (lti_network_key){"inputs", .count = &c->mlp.inputs};
    keys[2] = (lti_network_key){"classes", .count = &c->mlp.classes};
    return 3;
}

static lt_status take_rows(lt_ctx *ctx, lti_network_config *c, int rank, const int64_t *shape)
{
    int64_t count = 1;
    for (int k = 0; k < rank; k++) count *= shape[k];
    return lti_network_take(ctx, "mlp", "inputs", &c->mlp.inputs, count);
}

static lt_status check(lt_ctx *ctx, const lti_network_config *c)
{
    return check_mlp(ctx, &c->mlp);
}

static lti_network_facts facts(const lti_network_config *c)
{
    return (lti_network_facts){
        .reads = LT_DATA_NUMBERS, .classes = c->mlp.classes, .width = width(&c->mlp, c->mlp.n_hidden)};
}

static lt_status each(const lti_network_config *c, lti_tensor_visitor visit, void *user)
{
    return each_mlp(&c->mlp, visit, user);
}

static lt_status params_of(lt_params *params, const lti_network_config *c, uint64_t seed)
{
    return lt_mlp_params(params, &c->mlp, seed);
}

static lt_t hidden(lt_graph *g, const lti_network_config *c, const lt_model_input *in)
{
    (void)g;
    return hidden_of(&c->mlp, lt_reshape(in->x, 2, (int64_t[]){lt_dim(in->x, 0), c->mlp.inputs}));
}

static lt_t head(lt_graph *g, const lti_network_config *c, lt_t x, lt_t last)
{
    (void)g, (void)last;
    return layer_of(x, c->mlp.n_hidden);
}

const lti_network lti_network_mlp = {
    .name = "mlp",
    .model_type = "lathe-mlp",
    .defaults = defaults,
    .keys = keys_of,
    .take_rows = take_rows,
    .check = check,
    .facts = facts,
    .each = each,
    .params = params_of,
    .hidden = hidden,
    .head = head,
};
