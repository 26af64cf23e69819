/* llama.c - the Llama family: the network as the paper has it, and the names of its tensors.
 *
 * Names inside lathe are those of GGUF ("blk.3.attn_q.weight"); the table gives Hugging Face's beside them. The head
 * layout of q and k follows the file: Hugging Face keeps halves, GGUF interleaves (lt_llama_config.rope_interleaved). */
#include "models/family.h"

#include "autograd/op.h"
#include "base/ctx.h"
#include "lathe/nn.h"

#include <math.h>
#include <stdio.h>

void lt_llama_config_init(lt_llama_config *config)
{
    *config =
        (lt_llama_config){.size = sizeof *config, .context = 2048, .rope_theta = 10000, .norm_eps = 1e-5, .tied = true};
}

static int64_t head_dim(const lt_llama_config *c)
{
    return c->head_dim ? c->head_dim : c->dim / c->heads;
}

/* ---- Tensors ---- */

lt_status lti_llama_each(const lt_llama_config *c, lti_tensor_visitor visit, void *user)
{
    int64_t D = head_dim(c), C = c->dim, F = c->hidden, Q = c->heads * D, K = c->kv_heads * D;
    double back = 0.02 / sqrt(2.0 * (double)c->layers); /* into the residual stream */
    const struct {
        const char *name, *hf;
        int rank;
        int64_t shape[2];
        double std; /* 0: a norm's gain */
    } block[] = {
        {"attn_norm.weight", "input_layernorm.weight", 1, {C}, 0},
        {"attn_q.weight", "self_attn.q_proj.weight", 2, {Q, C}, 0.02},
        {"attn_k.weight", "self_attn.k_proj.weight", 2, {K, C}, 0.02},
        {"attn_v.weight", "self_attn.v_proj.weight", 2, {K, C}, 0.02},
        {"attn_output.weight", "self_attn.o_proj.weight", 2, {C, Q}, back},
        {"ffn_norm.weight", "post_attention_layernorm.weight", 1, {C}, 0},
        {"ffn_gate.weight", "mlp.gate_proj.weight", 2, {F, C}, 0.02},
        {"ffn_up.weight", "mlp.up_proj.weight", 2, {F, C}, 0.02},
        {"ffn_down.weight", "mlp.down_proj.weight", 2, {C, F}, back},
    };
    lti_tensor t = {"token_embd.weight", "model.embed_tokens.weight", 2, {c->vocab, C}, 0.02};
    LTI_TRY(visit(user, &t));
    for (int64_t layer = 0; layer < c->layers; layer++)
        for (int i = 0; i < LTI_COUNT(block); i++) {
            t = (lti_tensor){
                .rank = block[i].rank, .shape = {block[i].shape[0], block[i].shape[1]}, .std = block[i].std};
            snprintf(t.name, sizeof t.name, "blk.%lld.%s", (long long)layer, block[i].name);
            snprintf(t.hf, sizeof t.hf, "model.layers.%lld.%s", (long long)layer, block[i].hf);
            LTI_TRY(visit(user, &t));
        }
    t = (lti_tensor){"output_norm.weight", "model.norm.weight", 1, {C}, 0};
    LTI_TRY(visit(user, &t));
    t = (lti_tensor){"output.weight", "lm_head.weight", 2, {c->vocab, C}, 0.02};
    return c->tied ? LT_OK : visit(user, &t);
}

static bool in_range(int64_t value, int64_t limit)
{
    return value >= 1 && value <= limit;
}

lt_status lti_llama_check(lt_ctx *ctx, const lt_llama_config *c)
{
    if (c->size != sizeof *c) return lti_fail(ctx, LT_EINVAL, "llama: call lt_llama_config_init first");
    const struct {
        const char *name;
        int64_t value, limit;
    } bounds[] = {{"vocab", c->vocab, 1 << 22},    {"dim", c->dim, 1 << 20},  {"hidden", c->hidden, 1 << 22},
                  {"layers", c->layers, 1024},     {"heads", c->heads, 1024}, {"kv_heads", c->kv_heads, 1024},
                  {"context", c->context, 1 << 24}};
    for (int i = 0; i < LTI_COUNT(bounds); i++)
        if (!in_range(bounds[i].value, bounds[i].limit))
            return lti_fail(ctx, LT_EINVAL, "llama: %s is %lld; it must be in 1 to %lld", bounds[i].name,
                            (long long)bounds[i].value, (long long)bounds[i].limit);
    if (!c->head_dim && c->dim % c->heads)
        return lti_fail(ctx, LT_EINVAL, "llama: dim %lld is no multiple of heads %lld; change one or give head_dim",
                        (long long)c->dim, (long long)c->heads);
    if (c->heads % c->kv_heads)
        return lti_fail(ctx, LT_EINVAL, "llama: heads %lld is no multiple of kv_heads %lld", (long long)c->heads,
                        (long long)c->kv_heads);
    if (!in_range(head_dim(c), 1024) || head_dim(c) % 2)
        return lti_fail(ctx, LT_EINVAL,
                        "llama: the head dimension is %lld; rotary positions need an even one up to 1024",
                        (long long)head_dim(c));
    if (!(c->rope_theta > 0) || !(c->norm_eps > 0) || !isfinite(c->rope_theta) || !isfinite(c->norm_eps))
        return lti_fail(ctx, LT_EINVAL, "llama: rope_theta and norm_eps must be above 0 and finite, not %g and %g",
                        c->rope_theta, c->norm_eps);
    return LT_OK;
}

typedef struct adder {
    lt_params *params;
    uint64_t seed;
} adder;

static lt_status add_tensor(void *user, const lti_tensor *t)
{
    adder *a = user;
    lt_param *param;
    LTI_TRY(lt_params_add(a->params, t->name, LT_F32, t->rank, t->shape, LT_WEIGHT, &param));
    if (t->std == 0)
        lt_init_constant(param, 1);
    else
        lt_init_normal(param, a->seed, t->std);
    return LT_OK;
}

lt_status lt_llama_params(lt_params *params, const lt_llama_config *config, uint64_t seed)
{
    LTI_TRY(lti_llama_check(lt_params_ctx(params), config));
    return lti_llama_each(config, add_tensor, &(adder){params, seed});
}

/* ---- The network. B batch, T positions, C dim, H heads, G key/value heads, D head dimension ---- */

/* Keys or values so far: this step's rows written into the layer's cache, which is then read whole. */
static lt_t through_cache(lt_t x, const char *name, lt_t first)
{
    const char *full = lt_scoped(x.graph, name);
    lt_param *cache = full ? lt_params_find(lt_graph_params(x.graph), full) : NULL;
    if (!cache) return lt_param_value(x.graph, NULL);
    return lt_cache_write(cache, x, first);
}

static lt_t attention(const lt_llama_config *c, lt_t x, lt_t first)
{
    int64_t B = lt_dim(x, 0), T = lt_dim(x, 1), H = c->heads, G = c->kv_heads, D = head_dim(c);
    lt_rope_config rope;
    lt_rope_config_init(&rope);
    rope.theta = c->rope_theta;
    rope.interleaved = c->rope_interleaved;
    lt_t q = lt_reshape(lt_nn_linear(x, "attn_q"), 4, (int64_t[]){B, T, H, D});
    lt_t k = lt_reshape(lt_nn_linear(x, "attn_k"), 4, (int64_t[]){B, T, G, D});
    lt_t v = lt_reshape(lt_nn_linear(x, "attn_v"), 4, (int64_t[]){B, T, G, D});
    q = lt_rope(q, first, &rope);
    k = lt_rope(k, first, &rope);
    if (!lt_is_nil(first)) {
        k = through_cache(k, "cache_k", first); /* [B, S, G, D] */
        v = through_cache(v, "cache_v", first);
    }
    lt_t o = lt_attention(q, k, v, first, NULL); /* [B, T, H, D] */
    return lt_nn_linear(lt_reshape(o, 3, (int64_t[]){B, T, H * D}), "attn_output");
}

static lt_t feed_forward(lt_t x)
{
    return lt_nn_linear(lt_swiglu(lt_nn_linear(x, "ffn_gate"), lt_nn_linear(x, "ffn_up")), "ffn_down");
}

static lt_t hidden(lt_graph *g, const lt_llama_config *c, lt_t tokens, lt_t first)
{
    lt_params *params = lt_graph_params(g);
    if (params && lti_llama_check(lt_params_ctx(params), c) != LT_OK)
        return lti_graph_fail(g, LT_EINVAL, "%s", lt_ctx_message(lt_params_ctx(params)));
    bool again = c->checkpoint && lt_is_nil(first); /* caches are written once: no segment around them */
    lt_t x = lt_nn_embedding(tokens, "token_embd"); /* [B, T, C] */
    for (int64_t layer = 0; layer < c->layers; layer++) {
        lt_scope(g, "blk.%lld", (long long)layer);
        if (again) lt_checkpoint_begin(g);
        x = lt_add(x, attention(c, lt_nn_rms_norm(x, "attn_norm", c->norm_eps), first));
        x = lt_add(x, feed_forward(lt_nn_rms_norm(x, "ffn_norm", c->norm_eps)));
        if (again) lt_checkpoint_end(g);
        lt_tap(x, "out");
        lt_scope_end(g);
    }
    return lt_nn_rms_norm(x, "output_norm", c->norm_eps);
}

lt_t lt_llama_hidden(lt_graph *graph, const lt_llama_config *config, lt_t tokens)
{
    return hidden(graph, config, tokens, lt_nil(graph));
}

lt_t lt_llama_hidden_cached(lt_graph *graph, const lt_llama_config *config, lt_t tokens, lt_t first)
{
    return hidden(graph, config, tokens, first);
}

lt_status lt_llama_caches(lt_params *params, const lt_llama_config *config, int64_t batch, int64_t length)
{
    LTI_TRY(lti_llama_check(lt_params_ctx(params), config));
    int64_t shape[] = {batch, length, config->kv_heads, head_dim(config)};
    for (int64_t layer = 0; layer < config->layers; layer++)
        for (int i = 0; i < 2; i++) {
            char name[64];
            snprintf(name, sizeof name, "blk.%lld.%s", (long long)layer, i ? "cache_v" : "cache_k");
            LTI_TRY(lt_params_add(params, name, LT_F32, 4, shape, LT_SCRATCH, NULL));
        }
    return LT_OK;
}

static const char *head_weight(const lt_llama_config *c)
{
    return c->tied ? "token_embd.weight" : "output.weight";
}

lt_t lt_llama_head(lt_graph *graph, const lt_llama_config *config, lt_t x)
{
    (void)graph;
    return lt_nn_head(x, "output", head_weight(config));
}

lt_t lt_llama_loss(lt_graph *graph, const lt_llama_config *config, lt_t tokens, lt_t targets, lt_t norm)
{
    lt_t x = lt_llama_hidden(graph, config, tokens); /* [B, T, C] */
    lt_head_term term = {.kind = lt_head_cross_entropy(), .weight = 1, .input = targets};
    return lt_nn_head_loss(x, "output", head_weight(config), 1, &term, norm);
}
