/* cnn.c - convolutional networks: residual (He et al. 2015) and depthwise separable (Howard et al. 2017).
 *
 *     x = relu(bn(conv3x3(images)))                                  stem
 *     residual:   x = relu(bn(conv3x3(relu(bn(conv3x3(x))))) + s(x))   s: x, or bn(conv1x1(x)) where shapes differ
 *     depthwise:  x = relu(bn(conv1x1(relu(bn(depthwise3x3(x))))))
 *     logits = W mean over positions of x + b
 *
 * Stage s has filters 2^s channels and (but for the first) begins with a stride of 2. Both kinds call their layers the
 * same, so that one table and one loop serve them. A ReLU that follows a norm at once is computed with it; the one
 * after a sum is a pass of its own. Convolutions have no bias: the norm behind takes it away.
 *
 * Bottleneck blocks and squared-up stems were left out: they pay from a hundred layers and large images on. */
#include "lathe/nn.h"
#include "models/cnn_blocks.h"
#include "models/network.h"
#include "nn/sites.h"

#include "autograd/op.h"

#include <math.h>
#include <stdio.h>

enum { MOST_SIDE = 1 << 14, MOST_CHANNELS = 1 << 16, MOST_STAGES = 8, MOST_BLOCKS = 256, MOST_CLASSES = 1 << 20 };

void lt_cnn_config_init(lt_cnn_config *config)
{
    *config = (lt_cnn_config){
        .size = sizeof *config, .filters = 16, .stages = 3, .blocks = 1, .norm_eps = 1e-5, .norm_momentum = 0.1};
}

static lt_status check_cnn(lt_ctx *ctx, const lt_cnn_config *c)
{
    if (c->size != sizeof *c) return lti_fail(ctx, LT_EINVAL, "cnn: call lt_cnn_config_init first");
    const struct {
        const char *name;
        int64_t value, limit;
    } sizes[] = {{"height", c->height, MOST_SIDE},  {"width", c->width, MOST_SIDE},
                 {"channels", c->channels, 4096},   {"classes", c->classes, MOST_CLASSES},
                 {"filters", c->filters, 1 << 14},  {"stages", c->stages, MOST_STAGES},
                 {"blocks", c->blocks, MOST_BLOCKS}};
    for (int i = 0; i < LTI_COUNT(sizes); i++)
        LTI_TRY(lti_network_range(ctx, "cnn", sizes[i].name, sizes[i].value, sizes[i].limit));
    if (c->filters << (c->stages - 1) > MOST_CHANNELS)
        return lti_fail(ctx, LT_EINVAL, "cnn: %lld stages of %lld filters end with %lld channels; %d are possible",
                        (long long)c->stages, (long long)c->filters, (long long)c->filters << (c->stages - 1),
                        MOST_CHANNELS);
    if (!(c->norm_eps > 0) || !isfinite(c->norm_eps) || !(c->norm_momentum > 0 && c->norm_momentum <= 1))
        return lti_fail(ctx, LT_EINVAL, "cnn: norm_eps is %g and norm_momentum %g; above 0, and in 0 to 1, is possible",
                        c->norm_eps, c->norm_momentum);
    return LT_OK;
}

/* ---- Tensors ---- */

/* A folded one is an identity, and stays it. */
static lt_status visit_norm(const lt_cnn_config *c, const char *name, int64_t channels, lti_tensor_visitor visit,
                            void *user)
{
    const struct {
        const char *name;
        double fill;
        bool fixed;
    } parts[] = {{"weight", 1, c->folded},
                 {"bias", 0, c->folded},
                 {"running_mean", 0, true},
                 {"running_var", c->folded ? 1 - c->norm_eps : 1, true}};
    for (int i = 0; i < LTI_COUNT(parts); i++) {
        char full[96];
        snprintf(full, sizeof full, "%s.%s", name, parts[i].name);
        LTI_TRY(lti_visit_tensor((lti_tensor){.fill = parts[i].fill, .fixed = parts[i].fixed}, full, 1, &channels,
                                 visit, user));
    }
    return LT_OK;
}

/* Filters [outputs, inputs / groups, k, k] called <name><conv>.weight and the norm <name><norm> behind them. */
static lt_status visit_layer(const lt_cnn_config *c, const char *name, const char *conv, const char *norm,
                             const int64_t filters[4], int64_t groups, lti_tensor_visitor visit, void *user)
{
    char full[80];
    double fan_out = (double)(filters[0] * filters[2] * filters[3]) / (double)groups;
    snprintf(full, sizeof full, "%s%s.weight", name, conv);
    LTI_TRY(lti_visit_tensor((lti_tensor){.std = sqrt(2 / fan_out)}, full, 4, filters, visit, user));
    if (c->folded) {
        snprintf(full, sizeof full, "%s%s.bias", name, conv);
        LTI_TRY(lti_visit_tensor((lti_tensor){0}, full, 1, filters, visit, user));
    }
    snprintf(full, sizeof full, "%s%s", name, norm);
    return visit_norm(c, full, filters[0], visit, user);
}

lti_cnn_block lti_cnn_block_at(const lt_cnn_config *c, int64_t stage, int64_t block)
{
    int64_t outputs = c->filters << stage;
    bool halves = stage > 0 && block == 0;
    lti_cnn_block b = {.inputs = halves ? outputs / 2 : outputs, .outputs = outputs, .stride = halves ? 2 : 1};
    b.projects = c->kind == LT_CNN_RESIDUAL && halves;
    snprintf(b.name, sizeof b.name, "stage.%d.%d", (int)stage, (int)block);
    return b;
}

static lt_status visit_block(const lt_cnn_config *c, const lti_cnn_block *b, lti_tensor_visitor visit, void *user)
{
    char name[32];
    int64_t I = b->inputs, O = b->outputs;
    snprintf(name, sizeof name, "%s.", b->name);
    if (c->kind == LT_CNN_DEPTHWISE) {
        LTI_TRY(visit_layer(c, name, "conv1", "bn1", (int64_t[]){I, 1, 3, 3}, I, visit, user));
        return visit_layer(c, name, "conv2", "bn2", (int64_t[]){O, I, 1, 1}, 1, visit, user);
    }
    LTI_TRY(visit_layer(c, name, "conv1", "bn1", (int64_t[]){O, I, 3, 3}, 1, visit, user));
    LTI_TRY(visit_layer(c, name, "conv2", "bn2", (int64_t[]){O, O, 3, 3}, 1, visit, user));
    if (!b->projects) return LT_OK;
    return visit_layer(c, name, "shortcut.conv", "shortcut.bn", (int64_t[]){O, I, 1, 1}, 1, visit, user);
}

static lt_status each_cnn(const lt_cnn_config *c, lti_tensor_visitor visit, void *user)
{
    LTI_TRY(visit_layer(c, "stem.", "conv", "bn", (int64_t[]){c->filters, c->channels, 3, 3}, 1, visit, user));
    for (int64_t stage = 0; stage < c->stages; stage++)
        for (int64_t block = 0; block < c->blocks; block++) {
            lti_cnn_block b = lti_cnn_block_at(c, stage, block);
            LTI_TRY(visit_block(c, &b, visit, user));
        }
    int64_t features = c->filters << (c->stages - 1);
    const lti_tensor head = {.bound = 1 / sqrt((double)features)}; /* as torch.nn.Linear */
    LTI_TRY(lti_visit_tensor(head, "head.weight", 2, (int64_t[]){c->classes, features}, visit, user));
    return lti_visit_tensor(head, "head.bias", 1, &c->classes, visit, user);
}

lt_status lt_cnn_params(lt_params *params, const lt_cnn_config *config, uint64_t seed)
{
    LTI_TRY(check_cnn(lt_params_ctx(params), config));
    return each_cnn(config, lti_add_tensor, &(lti_adder){params, seed});
}

/* ---- The network. B images, H x W positions, C channels ---- */

/* A convolution that keeps the size at stride 1, and its norm. given: what the convolution was given; NULL. */
static lt_t conv_norm(const lt_cnn_config *c, lt_t x, const char *conv, const char *norm, int64_t kernel,
                      int64_t stride, int64_t groups, bool relu, lt_t *given)
{
    lt_t unused;
    lt_conv_config how;
    lt_conv_config_init(&how);
    how.stride[0] = how.stride[1] = stride;
    how.pad[0] = how.pad[1] = kernel / 2;
    how.groups = groups;
    lt_batch_norm_config bn;
    lt_batch_norm_config_init(&bn);
    bn.eps = c->norm_eps;
    bn.momentum = c->norm_momentum;
    bn.relu = relu;
    lt_t y = lti_conv2d_given(x, conv, &how, given ? given : &unused);
    return lt_nn_batch_norm(y, norm, &bn); /* [B, H/stride, W/stride, outputs] */
}

static lt_t record_block(const lt_cnn_config *c, const lti_cnn_block *b, lt_t x)
{
    lt_t y, given;
    lt_graph *g = x.graph;
    lt_scope(g, "%s", b->name);
    if (c->kind == LT_CNN_DEPTHWISE) {
        y = conv_norm(c, x, "conv1", "bn1", 3, b->stride, b->inputs, true, NULL);
        y = conv_norm(c, y, "conv2", "bn2", 1, 1, 1, true, NULL);
    } else {
        y = conv_norm(c, x, "conv1", "bn1", 3, b->stride, 1, true, &given);
        y = conv_norm(c, y, "conv2", "bn2", 3, 1, 1, false, NULL);
        if (b->projects) given = conv_norm(c, x, "shortcut.conv", "shortcut.bn", 1, b->stride, 1, false, NULL);
        y = lt_relu(lt_add(given, y));
    }
    lt_tap(y, "out");
    lt_scope_end(g);
    return y;
}

lt_t lt_cnn_features(lt_graph *g, const lt_cnn_config *c, lt_t x)
{
    lt_params *params = lt_graph_params(g);
    if (params && check_cnn(lt_params_ctx(params), c) != LT_OK)
        return lti_graph_fail(g, LT_EINVAL, "%s", lt_ctx_message(lt_params_ctx(params)));
    if (lt_graph_status(g) == LT_OK &&
        (lt_rank(x) != 4 || lt_dim(x, 1) != c->height || lt_dim(x, 2) != c->width || lt_dim(x, 3) != c->channels))
        return lti_graph_fail(g, LT_EINVAL, "cnn: images are to be [B, %lld, %lld, %lld]", (long long)c->height,
                              (long long)c->width, (long long)c->channels);
    x = conv_norm(c, x, "stem.conv", "stem.bn", 3, 1, 1, true, NULL);
    for (int64_t stage = 0; stage < c->stages; stage++)
        for (int64_t block = 0; block < c->blocks; block++) {
            lti_cnn_block b = lti_cnn_block_at(c, stage, block);
            x = record_block(c, &b, x);
        }
    return lt_global_avg_pool(x); /* [B, C] */
}

lt_t lt_cnn_logits(lt_graph *g, const lt_cnn_config *c, lt_t x)
{
    return lt_nn_linear(lt_cnn_features(g, c, x), "head");
}

/* ---- Folding ---- */

static lt_status freeze(lt_params *params, const char *norm, const char *part)
{
    char name[96];
    snprintf(name, sizeof name, "%s.%s", norm, part);
    lt_param *p = lt_params_find(params, name);
    if (!p) return lti_fail(lt_params_ctx(params), LT_EINVAL, "fold: the model has no parameter '%s'", name);
    lt_param_set_trainable(p, false);
    return LT_OK;
}

static lt_status fold_layer(lt_params *params, const lt_cnn_config *c, const char *prefix, const char *conv,
                            const char *norm)
{
    char first[64], second[64];
    snprintf(first, sizeof first, "%s%s", prefix, conv);
    snprintf(second, sizeof second, "%s%s", prefix, norm);
    LTI_TRY(lt_fold_batch_norm(params, first, second, c->norm_eps));
    LTI_TRY(freeze(params, second, "weight"));
    return freeze(params, second, "bias");
}

lt_status lt_cnn_fold(lt_params *params, const lt_cnn_config *c)
{
    LTI_TRY(check_cnn(lt_params_ctx(params), c));
    LTI_TRY(fold_layer(params, c, "stem.", "conv", "bn"));
    for (int64_t stage = 0; stage < c->stages; stage++)
        for (int64_t block = 0; block < c->blocks; block++) {
            lti_cnn_block b = lti_cnn_block_at(c, stage, block);
            char prefix[32];
            snprintf(prefix, sizeof prefix, "%s.", b.name);
            LTI_TRY(fold_layer(params, c, prefix, "conv1", "bn1"));
            LTI_TRY(fold_layer(params, c, prefix, "conv2", "bn2"));
            if (b.projects) LTI_TRY(fold_layer(params, c, prefix, "shortcut.conv", "shortcut.bn"));
        }
    return LT_OK;
}

/* ---- As a model ---- */

static void defaults(lti_network_config *c)
{
    lt_cnn_config_init(&c->cnn);
}

static int keys_of(lti_network_config *config, lti_network_key keys[LTI_NETWORK_KEYS])
{
    lt_cnn_config *c = &config->cnn;
    const lti_network_key own[] = {{"filters", .count = &c->filters},
                                   {"stages", .count = &c->stages},
                                   {"blocks", .count = &c->blocks},
                                   {"depthwise", .depthwise = &c->kind},
                                   {"height", .count = &c->height},
                                   {"width", .count = &c->width},
                                   {"channels", .count = &c->channels},
                                   {"classes", .count = &c->classes},
                                   {"norm_eps", .number = &c->norm_eps},
                                   {"norm_momentum", .number = &c->norm_momentum},
                                   {"folded", .flag = &c->folded, .optional = true}};
    for (int i = 0; i < LTI_COUNT(own); i++) keys[i] = own[i];
    return LTI_COUNT(own);
}

/* [H, W], [H, W, C], or [d] of an image whose height and width are known. */
static lt_status take_rows(lt_ctx *ctx, lti_network_config *config, int rank, const int64_t *shape)
{
    lt_cnn_config *c = &config->cnn;
    if (rank == 1 && c->height > 0 && c->width > 0 && c->height <= MOST_SIDE && c->width <= MOST_SIDE) {
        int64_t positions = c->height * c->width;
        if (shape[0] % positions == 0)
            return lti_network_take(ctx, "cnn", "channels", &c->channels, shape[0] / positions);
        return lti_fail(ctx, LT_EINVAL, "cnn: rows of %lld numbers are no images of %lld x %lld", (long long)shape[0],
                        (long long)c->height, (long long)c->width);
    }
    if (rank != 2 && rank != 3)
        return lti_fail(ctx, LT_EINVAL,
                        "cnn: rows of rank %d are no images; [height, width] and [height, width, channels] are, and "
                        "vectors when height=.. and width=.. are given",
                        rank);
    LTI_TRY(lti_network_take(ctx, "cnn", "height", &c->height, shape[0]));
    LTI_TRY(lti_network_take(ctx, "cnn", "width", &c->width, shape[1]));
    return lti_network_take(ctx, "cnn", "channels", &c->channels, rank == 3 ? shape[2] : 1);
}

static lt_status check(lt_ctx *ctx, const lti_network_config *c)
{
    return check_cnn(ctx, &c->cnn);
}

static lti_network_facts facts(const lti_network_config *c)
{
    bool sized = c->cnn.stages >= 1 && c->cnn.stages <= MOST_STAGES; /* else a check has still to say so */
    return (lti_network_facts){.reads = LT_DATA_NUMBERS,
                               .classes = c->cnn.classes,
                               .width = sized ? c->cnn.filters * (1 << (c->cnn.stages - 1)) : 0};
}

static lt_status each(const lti_network_config *c, lti_tensor_visitor visit, void *user)
{
    return each_cnn(&c->cnn, visit, user);
}

static lt_status params_of(lt_params *params, const lti_network_config *c, uint64_t seed)
{
    return lt_cnn_params(params, &c->cnn, seed);
}

static lt_t hidden(lt_graph *g, const lti_network_config *config, const lt_model_input *in)
{
    const lt_cnn_config *c = &config->cnn;
    int64_t shape[] = {lt_dim(in->x, 0), c->height, c->width, c->channels};
    return lt_cnn_features(g, c, lt_reshape(in->x, 4, shape));
}

static lt_t head(lt_graph *g, const lti_network_config *c, lt_t x, lt_t last)
{
    (void)g, (void)c, (void)last;
    return lt_nn_linear(x, "head");
}

const lti_network lti_network_cnn = {
    .name = "cnn",
    .model_type = "lathe-cnn",
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
