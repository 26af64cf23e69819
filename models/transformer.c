/* transformer.c - what all families share: the list of families, checks, initial values, caches, loss; see family.h. */
#include "models/family.h"

#include "autograd/op.h"
#include "autograd/ops/rope_frequencies.h"
#include "lathe/nn.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const lti_family *const families[LT_FAMILY_COUNT] = {
    [LT_LLAMA] = &lti_family_llama,   [LT_QWEN2] = &lti_family_qwen2, [LT_QWEN3] = &lti_family_qwen3,
    [LT_GEMMA3] = &lti_family_gemma3, [LT_GPT2] = &lti_family_gpt2,   [LT_BERT] = &lti_family_bert,
    [LT_BITNET] = &lti_family_bitnet,
};

const lti_family *lti_family_of(lt_family id)
{
    return families[(unsigned)id < LT_FAMILY_COUNT ? id : LT_LLAMA];
}

const lti_family *lti_family_named(const char *name)
{
    for (int i = 0; i < LT_FAMILY_COUNT; i++)
        if (!strcmp(families[i]->name, name)) return families[i];
    return NULL;
}

const lti_family *lti_family_of_model_type(const char *type)
{
    char between[80];
    snprintf(between, sizeof between, "|%s|", type);
    for (int i = 0; i < LT_FAMILY_COUNT; i++)
        if (strstr(families[i]->model_types, between)) return families[i];
    return NULL;
}

const char *lti_family_names(void)
{
    return "llama, qwen2, qwen3, gemma3, gpt2, bert, bitnet";
}

const char *lt_family_name(lt_family family)
{
    return lti_family_of(family)->name;
}

void lt_transformer_config_init(lt_transformer_config *config, lt_family family)
{
    *config = (lt_transformer_config){.size = sizeof *config,
                                      .family = family,
                                      .context = 2048,
                                      .rope_theta = 10000,
                                      .norm_eps = 1e-5,
                                      .embedding_scale = 1,
                                      .tied = true};
    lti_family_of(family)->defaults(config);
}

bool lt_transformer_is_encoder(const lt_transformer_config *c)
{
    return lti_family_of(c->family)->encoder;
}

bool lt_transformer_learns_positions(const lt_transformer_config *c)
{
    return lti_family_of(c->family)->learned_positions;
}

int64_t lti_head_dim(const lt_transformer_config *c)
{
    return c->head_dim ? c->head_dim : c->heads ? c->dim / c->heads : 0;
}

/* ---- Checks ---- */

static bool in_range(int64_t value, int64_t limit)
{
    return value >= 1 && value <= limit;
}

static lt_status check_sizes(lt_ctx *ctx, const char *name, const lt_transformer_config *c)
{
    const struct {
        const char *name;
        int64_t value, limit;
    } bounds[] = {{"vocab", c->vocab, 1 << 22},    {"dim", c->dim, 1 << 20},  {"hidden", c->hidden, 1 << 22},
                  {"layers", c->layers, 1024},     {"heads", c->heads, 1024}, {"kv_heads", c->kv_heads, 1024},
                  {"context", c->context, 1 << 24}};
    for (int i = 0; i < LTI_COUNT(bounds); i++)
        if (!in_range(bounds[i].value, bounds[i].limit))
            return lti_fail(ctx, LT_EINVAL, "%s: %s is %lld; it must be in 1 to %lld", name, bounds[i].name,
                            (long long)bounds[i].value, (long long)bounds[i].limit);
    if (!c->head_dim && c->dim % c->heads)
        return lti_fail(ctx, LT_EINVAL, "%s: dim %lld is no multiple of heads %lld; change one or give head_dim", name,
                        (long long)c->dim, (long long)c->heads);
    if (c->heads % c->kv_heads)
        return lti_fail(ctx, LT_EINVAL, "%s: heads %lld is no multiple of kv_heads %lld", name, (long long)c->heads,
                        (long long)c->kv_heads);
    return LT_OK;
}

static lt_status check_numbers(lt_ctx *ctx, const char *name, const lt_transformer_config *c)
{
    const struct {
        const char *name;
        double value;
        bool zero; /* is allowed: a default */
    } numbers[] = {{"norm_eps", c->norm_eps, false},
                   {"embedding_scale", c->embedding_scale, false},
                   {"attention_scale", c->attention_scale, true},
                   {"rope_theta_local", c->rope_theta_local, true}};
    for (int i = 0; i < LTI_COUNT(numbers); i++)
        if (!isfinite(numbers[i].value) || !(numbers[i].value > 0 || (numbers[i].zero && numbers[i].value == 0)))
            return lti_fail(ctx, LT_EINVAL, "%s: %s is %g; it must be above 0 and finite", name, numbers[i].name,
                            numbers[i].value);
    const int64_t most = INT32_MAX;
    if (c->window < 0 || c->window_first < 0 || c->window_pattern < 0 || c->types < 0 || c->classes < 0 ||
        c->window > most || c->window_first > most || c->window_pattern > most || c->types > 1024 ||
        c->classes > 1 << 20)
        return lti_fail(ctx, LT_EINVAL,
                        "%s: window, its first layer and pattern must be in 0 to %lld, types in 0 to 1024, classes in "
                        "0 to %d",
                        name, (long long)most, 1 << 20);
    return LT_OK;
}

static lt_status check_rotary(lt_ctx *ctx, const char *name, const lt_transformer_config *c)
{
    char text[LTI_ROPE_TEXT];
    lt_rope_config rope;
    lt_rope_config_init(&rope);
    rope.theta = c->rope_theta;
    rope.scaling = c->rope_scaling;
    const char *problem = lti_rope_problem(&rope, lti_head_dim(c), text);
    if (problem) return lti_fail(ctx, LT_EINVAL, "%s: rotary positions: %s", name, problem);
    if (c->rope_scaling.original_context <= INT32_MAX) return LT_OK;
    return lti_fail(ctx, LT_EINVAL, "%s: rotary positions: original_context is %lld; up to %d is possible", name,
                    (long long)c->rope_scaling.original_context, INT32_MAX);
}

/* The norm of what attention gives has dim gains in every file, and no program knows windows of it. */
static lt_status check_bitnet(lt_ctx *ctx, const lt_transformer_config *c)
{
    if (c->family != LT_BITNET) return LT_OK;
    if (lti_head_dim(c) * c->heads != c->dim)
        return lti_fail(ctx, LT_EINVAL, "bitnet: %lld heads of %lld: heads times head_dim must be dim, which is %lld",
                        (long long)c->heads, (long long)lti_head_dim(c), (long long)c->dim);
    if (c->window == 0) return LT_OK;
    return lti_fail(ctx, LT_EINVAL, "bitnet: has no window; leave it out, or take llama or qwen2");
}

lt_status lti_transformer_check(lt_ctx *ctx, const lt_transformer_config *c)
{
    if (c->size != sizeof *c) return lti_fail(ctx, LT_EINVAL, "transformer: call lt_transformer_config_init first");
    const lti_family *family = lti_family_of(c->family);
    const char *name = family->name;
    LTI_TRY(check_sizes(ctx, name, c));
    if (!in_range(lti_head_dim(c), LTI_MAX_HEAD_DIM) || (!family->learned_positions && lti_head_dim(c) % 2))
        return lti_fail(ctx, LT_EINVAL, "%s: the head dimension is %lld; rotary positions need an even one up to 1024",
                        name, (long long)lti_head_dim(c));
    if (family->learned_positions && (c->kv_heads != c->heads || lti_head_dim(c) * c->heads != c->dim))
        return lti_fail(ctx, LT_EINVAL,
                        "%s: %lld heads of %lld with %lld kv_heads: heads times head_dim must be dim, and "
                        "every head has its own keys",
                        name, (long long)c->heads, (long long)lti_head_dim(c), (long long)c->kv_heads);
    LTI_TRY(check_bitnet(ctx, c));
    LTI_TRY(check_numbers(ctx, name, c));
    return family->learned_positions ? LT_OK : check_rotary(ctx, name, c);
}

/* ---- Tensors ---- */

lt_status lti_transformer_each(const lt_transformer_config *c, lti_tensor_visitor visit, void *user)
{
    return lti_family_of(c->family)->each(c, visit, user);
}

void lti_tensor_name(lti_tensor *t, int64_t layer, const char *name, const char *hf)
{
    snprintf(t->name, sizeof t->name, "blk.%lld.%s", (long long)layer, name);
    const char *number = strstr(hf, "%lld");
    if (!number)
        snprintf(t->hf, sizeof t->hf, "%s", hf);
    else
        snprintf(t->hf, sizeof t->hf, "%.*s%lld%s", (int)(number - hf), hf, (long long)layer, number + 4);
}

void lti_hf_name(const lti_tensor *t, const char *prefix, char *name, size_t size)
{
    snprintf(name, size, "%s%s", t->outside ? "" : prefix, t->hf);
}

lt_status lti_add_tensor(void *user, const lti_tensor *t)
{
    lti_adder *a = user;
    lt_param *param;
    LTI_TRY(lt_params_add(a->params, t->name, LT_F32, t->rank, t->shape, LT_WEIGHT, &param));
    if (t->bound > 0)
        lt_init_uniform(param, a->seed, t->bound);
    else if (t->std == 0)
        lt_init_constant(param, t->fill);
    else
        lt_init_normal(param, a->seed, t->std);
    if (t->fixed) lt_param_set_trainable(param, false);
    return LT_OK;
}

lt_status lt_transformer_params(lt_params *params, const lt_transformer_config *config, uint64_t seed)
{
    LTI_TRY(lti_transformer_check(lt_params_ctx(params), config));
    return lti_transformer_each(config, lti_add_tensor, &(lti_adder){params, seed});
}

/* ---- Recording ---- */

bool lti_given(lt_t x)
{
    return !lt_is_nil(x);
}

lt_t lti_through_cache(lt_t x, const char *name, lt_t first)
{
    if (!lti_given(first)) return x;
    const char *full = lt_scoped(x.graph, name);
    lt_param *cache = full ? lt_params_find(lt_graph_params(x.graph), full) : NULL;
    if (!cache) return lt_param_value(x.graph, NULL);
    return lt_cache_write(cache, x, first);
}

lt_t lti_activation(lt_t x, lt_activation kind)
{
    switch (kind) {
    case LT_GELU: return lt_gelu(x);
    case LT_GELU_TANH: return lt_gelu_tanh(x);
    case LT_RELU: return lt_relu(x);
    case LT_RELU2: return lt_square(lt_relu(x));
    case LT_SILU:
    default: return lt_silu(x);
    }
}

lt_t lt_transformer_hidden(lt_graph *g, const lt_transformer_config *c, const lt_model_input *input)
{
    lt_params *params = lt_graph_params(g);
    if (params && lti_transformer_check(lt_params_ctx(params), c) != LT_OK)
        return lti_graph_fail(g, LT_EINVAL, "%s", lt_ctx_message(lt_params_ctx(params)));
    lt_model_input in = *input; /* absent values become nil ones of this graph */
    lt_t *values[] = {&in.tokens, &in.first, &in.spans, &in.positions, &in.types};
    for (int i = 0; i < LTI_COUNT(values); i++)
        if (!values[i]->graph) *values[i] = lt_nil(g);
    return lti_family_of(c->family)->hidden(g, c, &in);
}

lt_status lt_transformer_caches(lt_params *params, const lt_transformer_config *c, int64_t batch, int64_t length)
{
    lt_ctx *ctx = lt_params_ctx(params);
    LTI_TRY(lti_transformer_check(ctx, c));
    if (lt_transformer_is_encoder(c))
        return lti_fail(ctx, LT_EINVAL, "%s is an encoder: it has no cache of keys", lt_family_name(c->family));
    int64_t shape[] = {batch, length, c->kv_heads, lti_head_dim(c)};
    for (int64_t layer = 0; layer < c->layers; layer++)
        for (int i = 0; i < 2; i++) {
            char name[64];
            snprintf(name, sizeof name, "blk.%lld.%s", (long long)layer, i ? "cache_v" : "cache_k");
            LTI_TRY(lt_params_add(params, name, LT_F32, 4, shape, LT_SCRATCH, NULL));
        }
    return LT_OK;
}

static const char *head_weight(const lt_transformer_config *c)
{
    return c->tied ? "token_embd.weight" : "output.weight";
}

lt_t lt_transformer_head(lt_graph *g, const lt_transformer_config *c, lt_t x)
{
    const lti_family *family = lti_family_of(c->family);
    return family->head ? family->head(g, c, x) : lt_nn_head(x, "output", head_weight(c));
}

lt_t lti_transformer_loss(lt_graph *g, const lt_transformer_config *c, const lt_model_input *input, lt_t targets,
                          lt_t norm, double smoothing)
{
    lt_t x = lt_transformer_hidden(g, c, input); /* [B, T, C] */
    if (lti_family_of(c->family)->head)
        return lt_cross_entropy_smooth(lt_transformer_head(g, c, x), targets, norm, smoothing);
    lt_head_term term = {.kind = lt_head_cross_entropy(), .weight = 1, .input = targets, .smoothing = smoothing};
    return lt_nn_head_loss(x, "output", head_weight(c), 1, &term, norm);
}

lt_t lt_transformer_loss(lt_graph *g, const lt_transformer_config *c, const lt_model_input *input, lt_t targets,
                         lt_t norm)
{
    return lti_transformer_loss(g, c, input, targets, norm, 0);
}
