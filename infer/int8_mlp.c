/* int8_mlp.c - a perceptron in integers: each layer one product, whose ReLU and next layer's rounding are in it.
 *
 *     numbers -> codes -> fc1, relu -> codes -> .. -> logits
 *
 * Codes go from one buffer to the other and back. Behind a ReLU nothing is negative, so these grids begin at 0. */
#include "infer/int8_layers.h"

#include <stdio.h>

enum { P, Q, R, BUFFERS }; /* of a slot's memory. P, Q: codes; R: floats, numbers or logits */
enum { ROWS = 32, MOST_ROWS = 1024 };

typedef struct mlp_program {
    lti_int8_program base;
    lt_ctx *ctx;
    const lt_mlp_config *c;
    const lti_int8_layer *first;
    lti_conv_int8 **convs; /* a layer each */
    size_t at[BUFFERS + 1], scratch;
} mlp_program;

static int64_t width(const lt_mlp_config *c, int layer)
{
    return layer == 0 ? c->inputs : layer <= c->n_hidden ? c->hidden[layer - 1] : c->classes;
}

lt_status lti_int8_mlp_layers(lt_int8 *net, const lt_params *params, const lt_quant_policy *policy)
{
    for (int layer = 0; layer <= net->config.mlp.n_hidden; layer++) {
        char site[16], weight[32], bias[32];
        snprintf(site, sizeof site, "fc%d", layer + 1);
        snprintf(weight, sizeof weight, "%s.weight", site);
        snprintf(bias, sizeof bias, "%s.bias", site);
        LTI_TRY(lti_int8_take(&net->layers, params, policy, site, weight, (const char *const[2]){bias, NULL}, false));
    }
    return LT_OK;
}

/* ---- At work ---- */

static lt_status run_group(const lti_int8_program *base, lti_int8_slot slot, int64_t first, int64_t n, const void *x,
                           const int32_t *lengths, lt_real *logits)
{
    const mlp_program *p = (const mlp_program *)(const void *)base;
    char *m = slot.memory;
    float *reals = (float *)(void *)(m + p->at[R]);
    int64_t d = p->c->inputs, classes = p->c->classes;
    const lt_real *from = (const lt_real *)x + first * d;
    (void)lengths;
    for (int64_t i = 0; i < p->base.group * d; i++) reals[i] = i < n * d ? (float)from[i] : 0;
    lti_int8_codes(p->base.group * d, reals, p->first->x_scale, p->first->x_lowest, m + p->at[P]);
    for (int layer = 0; layer < p->base.n_convs; layer++) {
        int to = layer == p->c->n_hidden ? R : layer % 2 ? P : Q;
        const void *codes = m + p->at[layer % 2 ? Q : P];
        LTI_TRY(lti_conv_int8_run(p->convs[layer], slot.index, codes, NULL, m + p->at[to], m + p->at[BUFFERS]));
    }
    for (int64_t i = 0; i < n * classes; i++) logits[first * classes + i] = (lt_real)reals[i];
    return LT_OK;
}

static void free_program(lt_ctx *ctx, lti_int8_program *base)
{
    mlp_program *p = (mlp_program *)(void *)base;
    for (int i = 0; i < p->base.n_convs; i++) lti_conv_int8_free(ctx, p->convs[i]);
    lti_free(ctx, p->convs);
    lti_free(ctx, p);
}

/* ---- The program ---- */

static const lti_int8_layer *layer_at(const lt_int8 *net, int layer)
{
    char site[16];
    snprintf(site, sizeof site, "fc%d", layer + 1);
    return lti_int8_find(&net->layers, site);
}

static lt_status add_layer(mlp_program *p, const lt_int8 *net, int layer)
{
    const lt_mlp_config *c = p->c;
    bool last = layer == c->n_hidden;
    const lti_int8_layer *l = layer_at(net, layer), *next = last ? NULL : layer_at(net, layer + 1);
    if (!l || (!last && !next))
        return lti_fail(p->ctx, LT_EFORMAT, "int8: layer fc%d of the mlp is missing", layer + 1);
    if (next && next->x_lowest < 0)
        return lti_fail(p->ctx, LT_EFORMAT,
                        "int8: the grid of what enters '%s' goes below 0, behind a ReLU: it was observed elsewhere",
                        next->site);
    lti_conv_int8_shape s = {.relu = !last, .codes = !last};
    s.conv = (lti_conv_shape){.b = 1, .h = 1, .w = p->base.group, .i = width(c, layer), .o = width(c, layer + 1)};
    s.conv.oh = 1, s.conv.ow = p->base.group, s.conv.kh = s.conv.kw = s.conv.groups = 1;
    for (int k = 0; k < 2; k++) s.conv.stride[k] = s.conv.dilation[k] = 1;
    LTI_TRY(lti_int8_conv(p->ctx, l, s, next ? next->x_scale : 0, net->slots, &p->convs[layer]));
    p->base.n_convs++;
    size_t scratch = lti_conv_int8_scratch(p->convs[layer]);
    if (scratch > p->scratch) p->scratch = scratch;
    return LT_OK;
}

static void place_buffers(mlp_program *p)
{
    const lt_mlp_config *c = p->c;
    size_t G = (size_t)p->base.group, widest = (size_t)c->inputs, ends = (size_t)c->inputs;
    for (int layer = 0; layer < c->n_hidden; layer++)
        if ((size_t)c->hidden[layer] > widest) widest = (size_t)c->hidden[layer];
    if ((size_t)c->classes > ends) ends = (size_t)c->classes;
    const size_t bytes[BUFFERS] = {[P] = G * widest, [Q] = G * widest, [R] = G * ends * sizeof(float)};
    size_t at = 0;
    for (int i = 0; i < BUFFERS; i++) {
        p->at[i] = at;
        at += (bytes[i] + 127) / 64 * 64; /* 64 bytes behind: kernels read whole vectors */
    }
    p->at[BUFFERS] = at;
    p->base.slot_bytes = at + p->scratch;
}

lt_status lti_int8_mlp_program(lt_int8 *net)
{
    lt_ctx *ctx = net->ctx;
    mlp_program *p = lti_alloc(ctx, sizeof *p);
    if (!p) return LT_ENOMEM;
    net->program = &p->base;
    int64_t rows = net->size < 1 ? ROWS : net->size < MOST_ROWS ? net->size : MOST_ROWS;
    p->base = (lti_int8_program){.group = rows, .run = run_group, .free = free_program};
    p->ctx = ctx, p->c = &net->config.mlp, p->first = layer_at(net, 0);
    p->convs = lti_alloc_array(ctx, (size_t)p->c->n_hidden + 1, sizeof *p->convs);
    if (!p->convs) return LT_ENOMEM;
    p->base.convs = p->convs;
    for (int layer = 0; layer <= p->c->n_hidden; layer++) LTI_TRY(add_layer(p, net, layer));
    place_buffers(p);
    return LT_OK;
}
