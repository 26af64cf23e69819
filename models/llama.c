/* llama.c - the Llama shape of network and its relatives: Llama, Qwen 2 and 3, Gemma 3, BitNet.
 *
 *     x += W_o attention(rope(q), rope(k), v),  q, k, v = W n(x);    x += W_down (act(W_gate n(x)) * W_up n(x))
 *
 * with root-mean-square norms n. Relatives add biases (Qwen 2), norms on q and k (Qwen 3, Gemma 3), a norm after each
 * half, embeddings times sqrt(dim) and layers that see a window (Gemma 3), norms of what enters W_o and W_down (BitNet):
 * config flags, so that one function reads as the papers do. Names inside lathe are those of GGUF; the table gives
 * Hugging Face's beside them. The head layout of q and k follows the file: Hugging Face keeps halves, GGUF's llama
 * neighbours (rope_interleaved). */
#include "models/family.h"

#include "autograd/op.h"
#include "lathe/nn.h"
#include "models/llama_config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- Tensors ---- */

typedef struct row {
    bool present;
    const char *name, *hf; /* the latter after "layers.N." */
    int rank;
    int64_t shape[2];
    double std, fill;
    lti_layout layout;
    int64_t heads;
} row;

static lt_status visit_rows(const row *rows, int count, int64_t layer, lti_tensor_visitor visit, void *user)
{
    for (int i = 0; i < count; i++) {
        const row *r = &rows[i];
        if (!r->present) continue;
        lti_tensor t = {.rank = r->rank,
                        .shape = {r->shape[0], r->shape[1]},
                        .std = r->std,
                        .fill = r->fill,
                        .layout = r->layout,
                        .heads = r->heads};
        char hf[96];
        snprintf(hf, sizeof hf, "layers.%%lld.%s", r->hf);
        lti_tensor_name(&t, layer, r->name, hf);
        LTI_TRY(visit(user, &t));
    }
    return LT_OK;
}

static lt_status each_of_block(const lt_transformer_config *c, int64_t layer, lti_tensor_visitor visit, void *user)
{
    int64_t D = lti_head_dim(c), C = c->dim, F = c->hidden, H = c->heads, G = c->kv_heads, Q = H * D, K = G * D;
    double back = 0.02 / sqrt(2.0 * (double)c->layers); /* into the residual stream */
    double gain = c->norm_plus_one ? 0 : 1;
    bool gemma = c->family == LT_GEMMA3, bitnet = c->family == LT_BITNET, qkv = c->qkv_bias, qk = c->qk_norm;
    const row rows[] = {
        {true, "attn_norm.weight", "input_layernorm.weight", 1, {C}, 0, gain, LTI_NORM},
        {true, "attn_q.weight", "self_attn.q_proj.weight", 2, {Q, C}, 0.02, 0, LTI_HEADS, H},
        {qkv, "attn_q.bias", "self_attn.q_proj.bias", 1, {Q}, 0, 0, LTI_HEADS, H},
        {true, "attn_k.weight", "self_attn.k_proj.weight", 2, {K, C}, 0.02, 0, LTI_HEADS, G},
        {qkv, "attn_k.bias", "self_attn.k_proj.bias", 1, {K}, 0, 0, LTI_HEADS, G},
        {true, "attn_v.weight", "self_attn.v_proj.weight", 2, {K, C}, 0.02},
        {qkv, "attn_v.bias", "self_attn.v_proj.bias", 1, {K}},
        {qk, "attn_q_norm.weight", "self_attn.q_norm.weight", 1, {D}, 0, gain, LTI_NORM},
        {qk, "attn_k_norm.weight", "self_attn.k_norm.weight", 1, {D}, 0, gain, LTI_NORM},
        {bitnet, "attn_sub_norm.weight", "self_attn.attn_sub_norm.weight", 1, {Q}, 0, gain, LTI_NORM},
        {true, "attn_output.weight", "self_attn.o_proj.weight", 2, {C, Q}, back},
        {c->output_bias, "attn_output.bias", "self_attn.o_proj.bias", 1, {C}},
        {gemma, "post_attention_norm.weight", "post_attention_layernorm.weight", 1, {C}, 0, gain, LTI_NORM},
        {true,
         "ffn_norm.weight",
         gemma ? "pre_feedforward_layernorm.weight" : "post_attention_layernorm.weight",
         1,
         {C},
         0,
         gain,
         LTI_NORM},
        {true, "ffn_gate.weight", "mlp.gate_proj.weight", 2, {F, C}, 0.02},
        {c->mlp_bias, "ffn_gate.bias", "mlp.gate_proj.bias", 1, {F}},
        {true, "ffn_up.weight", "mlp.up_proj.weight", 2, {F, C}, 0.02},
        {c->mlp_bias, "ffn_up.bias", "mlp.up_proj.bias", 1, {F}},
        {bitnet, "ffn_sub_norm.weight", "mlp.ffn_sub_norm.weight", 1, {F}, 0, gain, LTI_NORM},
        {true, "ffn_down.weight", "mlp.down_proj.weight", 2, {C, F}, back},
        {c->mlp_bias, "ffn_down.bias", "mlp.down_proj.bias", 1, {C}},
        {gemma, "post_ffw_norm.weight", "post_feedforward_layernorm.weight", 1, {C}, 0, gain, LTI_NORM},
    };
    return visit_rows(rows, LTI_COUNT(rows), layer, visit, user);
}

static lt_status each(const lt_transformer_config *c, lti_tensor_visitor visit, void *user)
{
    lti_tensor embedding = {
        .name = "token_embd.weight", .hf = "embed_tokens.weight", .rank = 2, .shape = {c->vocab, c->dim}, .std = 0.02};
    LTI_TRY(visit(user, &embedding));
    for (int64_t layer = 0; layer < c->layers; layer++) LTI_TRY(each_of_block(c, layer, visit, user));
    lti_tensor norm = {.name = "output_norm.weight",
                       .hf = "norm.weight",
                       .rank = 1,
                       .shape = {c->dim},
                       .fill = c->norm_plus_one ? 0 : 1,
                       .layout = LTI_NORM};
    LTI_TRY(visit(user, &norm));
    lti_tensor head = {.name = "output.weight",
                       .hf = "lm_head.weight",
                       .outside = true,
                       .rank = 2,
                       .shape = {c->vocab, c->dim},
                       .std = 0.02};
    return c->tied ? LT_OK : visit(user, &head);
}

/* ---- The network. B batch, T positions, C dim, H heads, G key/value heads, D head dimension ---- */

static bool is_local(const lt_transformer_config *c, int64_t layer)
{
    if (c->window == 0 || layer < c->window_first) return false;
    return c->window_pattern == 0 || (layer + 1) % c->window_pattern != 0;
}

static lt_t norm(const lt_transformer_config *c, lt_t x, const char *name)
{
    return c->norm_plus_one ? lt_nn_rms_norm_plus_one(x, name, c->norm_eps) : lt_nn_rms_norm(x, name, c->norm_eps);
}

static lt_rope_config rope_of(const lt_transformer_config *c, bool local)
{
    lt_rope_config rope;
    lt_rope_config_init(&rope);
    bool own = local && c->rope_theta_local > 0;
    rope.theta = own ? c->rope_theta_local : c->rope_theta;
    if (!own) rope.scaling = c->rope_scaling;
    return rope;
}

/* Neighbours that are rotated together become halves, so that the sums over a head run in one order whatever file the
 * weights are in: with activations rounded to int8 the last bit of a float tips codes, which is 5e-5 of a perplexity. */
static lt_t as_halves(lt_t x)
{
    int64_t B = lt_dim(x, 0), T = lt_dim(x, 1), n = lt_dim(x, 2), D = lt_dim(x, 3);
    lt_t pairs = lt_reshape(x, 5, (int64_t[]){B, T, n, D / 2, 2});
    return lt_reshape(lt_permute(pairs, (int[]){0, 1, 2, 4, 3}), 4, (int64_t[]){B, T, n, D});
}

/* x [B, T, n D] -> [B, T, n, D], normed over D where the family does so, then rotated. */
static lt_t rotated(const lt_transformer_config *c, lt_t x, int64_t n, const char *qk_norm, lt_t first,
                    const lt_rope_config *rope)
{
    x = lt_reshape(x, 4, (int64_t[]){lt_dim(x, 0), lt_dim(x, 1), n, lti_head_dim(c)});
    if (c->qk_norm) x = norm(c, x, qk_norm);
    if (c->rope_interleaved) x = as_halves(x);
    return lt_rope(x, first, rope);
}

static lt_t attention(const lt_transformer_config *c, lt_t x, const lt_model_input *in, int64_t layer)
{
    int64_t B = lt_dim(x, 0), T = lt_dim(x, 1), H = c->heads, G = c->kv_heads, D = lti_head_dim(c);
    bool local = is_local(c, layer);
    lt_rope_config rope = rope_of(c, local);
    lt_attention_config how;
    lt_attention_config_init(&how);
    how.scale = c->attention_scale;
    how.window = local ? c->window : 0;
    how.spans = in->spans;
    lt_t q = rotated(c, lt_nn_linear(x, "attn_q"), H, "attn_q_norm", in->first, &rope);
    lt_t k = rotated(c, lt_nn_linear(x, "attn_k"), G, "attn_k_norm", in->first, &rope);
    lt_t v = lt_reshape(lt_nn_linear(x, "attn_v"), 4, (int64_t[]){B, T, G, D});
    k = lti_through_cache(k, "cache_k", in->first); /* [B, S, G, D] */
    v = lti_through_cache(v, "cache_v", in->first);
    lt_t o = lt_reshape(lt_attention(q, k, v, in->first, &how), 3, (int64_t[]){B, T, H * D});
    if (c->family == LT_BITNET) o = norm(c, o, "attn_sub_norm");
    return lt_nn_linear(o, "attn_output");
}

static lt_t feed_forward(const lt_transformer_config *c, lt_t x)
{
    lt_t gate = lt_nn_linear(x, "ffn_gate"), up = lt_nn_linear(x, "ffn_up");
    lt_t h = c->activation == LT_SILU ? lt_swiglu(gate, up) : lt_mul(lti_activation(gate, c->activation), up);
    if (c->family == LT_BITNET) h = norm(c, h, "ffn_sub_norm");
    return lt_nn_linear(h, "ffn_down");
}

static lt_t block(const lt_transformer_config *c, lt_t x, const lt_model_input *in, int64_t layer)
{
    bool gemma = c->family == LT_GEMMA3;
    lt_t a = attention(c, norm(c, x, "attn_norm"), in, layer);
    x = lt_add(x, gemma ? norm(c, a, "post_attention_norm") : a);
    lt_t f = feed_forward(c, norm(c, x, "ffn_norm"));
    return lt_add(x, gemma ? norm(c, f, "post_ffw_norm") : f);
}

static lt_t hidden(lt_graph *g, const lt_transformer_config *c, const lt_model_input *in)
{
    bool again = c->checkpoint && !lti_given(in->first); /* caches are written once: no segment around them */
    lt_t x = lt_nn_embedding(in->tokens, "token_embd");  /* [B, T, C] */
    if (c->embedding_scale != 1) x = lt_scale(x, c->embedding_scale);
    for (int64_t layer = 0; layer < c->layers; layer++) {
        lt_scope(g, "blk.%lld", (long long)layer);
        if (again) lt_checkpoint_begin(g);
        x = block(c, x, in, layer);
        if (again) lt_checkpoint_end(g);
        lt_tap(x, "out");
        lt_scope_end(g);
    }
    return norm(c, x, "output_norm");
}

/* ---- The families ---- */

static void llama_defaults(lt_transformer_config *c)
{
    (void)c;
}

static void qwen2_defaults(lt_transformer_config *c)
{
    c->qkv_bias = true;
    c->rope_theta = 1e6;
    c->norm_eps = 1e-6;
}

static void qwen3_defaults(lt_transformer_config *c)
{
    c->qk_norm = true;
    c->rope_theta = 1e6;
    c->norm_eps = 1e-6;
}

static void gemma3_defaults(lt_transformer_config *c)
{
    c->qk_norm = c->norm_plus_one = true;
    c->rope_theta = 1e6;
    c->rope_theta_local = 1e4;
    c->norm_eps = 1e-6;
    c->activation = LT_GELU_TANH;
    c->window = 512;
    c->window_pattern = 6;
}

/* SiLU and a tied head are what llama.cpp's graph has; config.json of others may say relu2. */
static void bitnet_defaults(lt_transformer_config *c)
{
    c->rope_theta = 5e5;
}

const lti_family lti_family_llama = {
    .id = LT_LLAMA,
    .name = "llama",
    .model_types = "|llama|mistral|",
    .model_type = "llama",
    .architecture = "LlamaForCausalLM",
    .prefixes = {"model.", ""},
    .gguf_interleaves = true,
    .defaults = llama_defaults,
    .read_json = lti_llama_read_json,
    .write_json = lti_llama_write_json,
    .each = each,
    .hidden = hidden,
};

const lti_family lti_family_qwen2 = {
    .id = LT_QWEN2,
    .name = "qwen2",
    .model_types = "|qwen2|",
    .model_type = "qwen2",
    .architecture = "Qwen2ForCausalLM",
    .prefixes = {"model.", ""},
    .defaults = qwen2_defaults,
    .read_json = lti_llama_read_json,
    .write_json = lti_llama_write_json,
    .each = each,
    .hidden = hidden,
};

const lti_family lti_family_qwen3 = {
    .id = LT_QWEN3,
    .name = "qwen3",
    .model_types = "|qwen3|",
    .model_type = "qwen3",
    .architecture = "Qwen3ForCausalLM",
    .prefixes = {"model.", ""},
    .defaults = qwen3_defaults,
    .read_json = lti_llama_read_json,
    .write_json = lti_llama_write_json,
    .each = each,
    .hidden = hidden,
};

const lti_family lti_family_gemma3 = {
    .id = LT_GEMMA3,
    .name = "gemma3",
    .model_types = "|gemma3_text|",
    .model_type = "gemma3_text",
    .architecture = "Gemma3ForCausalLM",
    .prefixes = {"model.", "language_model.model.", "model.language_model.", ""},
    .defaults = gemma3_defaults,
    .read_json = lti_llama_read_json,
    .write_json = lti_llama_write_json,
    .each = each,
    .hidden = hidden,
};

const lti_family lti_family_bitnet = {
    .id = LT_BITNET,
    .name = "bitnet",
    .model_types = "|bitnet|",
    .model_type = "bitnet",
    .architecture = "BitNetForCausalLM",
    .prefixes = {"model.", ""},
    .defaults = bitnet_defaults,
    .read_json = lti_llama_read_json,
    .write_json = lti_llama_write_json,
    .each = each,
    .hidden = hidden,
};
