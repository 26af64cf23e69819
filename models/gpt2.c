/* gpt2.c - GPT-2 (Radford et al. 2019).
 *
 *     x = E[token] + P[position]
 *     x += W_o attention(q, k, v) + b,  [q k v] = W n(x) + b;    x += W_d gelu(W_u n(x) + b) + b
 *
 * with LayerNorms n. Queries, keys and values are one product, as in the files: cutting it into three would make three
 * tensors of one, and the cut of the result costs a copy of [B, T, 3C] only. Hugging Face keeps matrices as [in, out]
 * (LTI_CONV1D). What its config says of dropout (attn_pdrop, embd_pdrop, resid_pdrop, summary_*) is carried along and
 * not applied: it is no part of what the model computes. Its other switches change the numbers and are refused. */
#include "autograd/op.h"
#include "lathe/nn.h"
#include "models/learned.h"

#include <math.h>

/* ---- Tensors ---- */

static lt_status each_of_block(const lt_transformer_config *c, int64_t layer, lti_tensor_visitor visit, void *user)
{
    int64_t C = c->dim, F = c->hidden, Q = c->heads * lti_head_dim(c), K = c->kv_heads * lti_head_dim(c);
    double back = 0.02 / sqrt(2.0 * (double)c->layers); /* into the residual stream */
    const lti_tensor rows[] = {
        {"attn_norm.weight", "h.%lld.ln_1.weight", false, 1, {C}, 0, 1},
        {"attn_norm.bias", "h.%lld.ln_1.bias", false, 1, {C}},
        {"attn_qkv.weight", "h.%lld.attn.c_attn.weight", false, 2, {Q + 2 * K, C}, 0.02, 0, LTI_CONV1D},
        {"attn_qkv.bias", "h.%lld.attn.c_attn.bias", false, 1, {Q + 2 * K}},
        {"attn_output.weight", "h.%lld.attn.c_proj.weight", false, 2, {C, Q}, back, 0, LTI_CONV1D},
        {"attn_output.bias", "h.%lld.attn.c_proj.bias", false, 1, {C}},
        {"ffn_norm.weight", "h.%lld.ln_2.weight", false, 1, {C}, 0, 1},
        {"ffn_norm.bias", "h.%lld.ln_2.bias", false, 1, {C}},
        {"ffn_up.weight", "h.%lld.mlp.c_fc.weight", false, 2, {F, C}, 0.02, 0, LTI_CONV1D},
        {"ffn_up.bias", "h.%lld.mlp.c_fc.bias", false, 1, {F}},
        {"ffn_down.weight", "h.%lld.mlp.c_proj.weight", false, 2, {C, F}, back, 0, LTI_CONV1D},
        {"ffn_down.bias", "h.%lld.mlp.c_proj.bias", false, 1, {C}},
    };
    return lti_visit_rows(rows, LTI_COUNT(rows), layer, visit, user);
}

static lt_status each(const lt_transformer_config *c, lti_tensor_visitor visit, void *user)
{
    int64_t C = c->dim;
    const lti_tensor before[] = {
        {"token_embd.weight", "wte.weight", false, 2, {c->vocab, C}, 0.02},
        {"position_embd.weight", "wpe.weight", false, 2, {c->context, C}, 0.02},
    };
    const lti_tensor after[] = {
        {"output_norm.weight", "ln_f.weight", false, 1, {C}, 0, 1},
        {"output_norm.bias", "ln_f.bias", false, 1, {C}},
        {"output.weight", "lm_head.weight", true, 2, {c->vocab, C}, 0.02},
    };
    LTI_TRY(lti_visit_rows(before, LTI_COUNT(before), -1, visit, user));
    for (int64_t layer = 0; layer < c->layers; layer++) LTI_TRY(each_of_block(c, layer, visit, user));
    return lti_visit_rows(after, LTI_COUNT(after) - c->tied, -1, visit, user);
}

/* ---- The network. B batch, T positions, C dim, H heads, G key/value heads, D head dimension ---- */

static lt_t attention(const lt_transformer_config *c, lt_t x, const lt_model_input *in)
{
    int64_t B = lt_dim(x, 0), T = lt_dim(x, 1), H = c->heads, G = c->kv_heads, D = lti_head_dim(c);
    lt_attention_config how;
    lt_attention_config_init(&how);
    how.scale = c->attention_scale;
    how.spans = in->spans;
    lt_t qkv = lt_nn_linear(x, "attn_qkv"); /* [B, T, (H + 2G) D] */
    lt_t q = lt_reshape(lt_slice(qkv, 2, 0, H * D), 4, (int64_t[]){B, T, H, D});
    lt_t k = lt_reshape(lt_slice(qkv, 2, H * D, (H + G) * D), 4, (int64_t[]){B, T, G, D});
    lt_t v = lt_reshape(lt_slice(qkv, 2, (H + G) * D, (H + 2 * G) * D), 4, (int64_t[]){B, T, G, D});
    k = lti_through_cache(k, "cache_k", in->first); /* [B, S, G, D] */
    v = lti_through_cache(v, "cache_v", in->first);
    lt_t o = lt_attention(q, k, v, in->first, &how); /* [B, T, H, D] */
    return lt_nn_linear(lt_reshape(o, 3, (int64_t[]){B, T, H * D}), "attn_output");
}

static lt_t block(const lt_transformer_config *c, lt_t x, const lt_model_input *in)
{
    x = lt_add(x, attention(c, lt_nn_layer_norm(x, "attn_norm", c->norm_eps), in));
    lt_t h = lti_activation(lt_nn_linear(lt_nn_layer_norm(x, "ffn_norm", c->norm_eps), "ffn_up"), c->activation);
    return lt_add(x, lt_nn_linear(h, "ffn_down"));
}

static lt_t hidden(lt_graph *g, const lt_transformer_config *c, const lt_model_input *in)
{
    bool again = c->checkpoint && !lti_given(in->first); /* caches are written once: no segment around them */
    lt_t x = lt_nn_embedding(in->tokens, "token_embd");  /* [B, T, C] */
    x = lt_add(x, lti_learned_positions(g, c, in));
    for (int64_t layer = 0; layer < c->layers; layer++) {
        lt_scope(g, "blk.%lld", (long long)layer);
        if (again) lt_checkpoint_begin(g);
        x = block(c, x, in);
        if (again) lt_checkpoint_end(g);
        lt_tap(x, "out");
        lt_scope_end(g);
    }
    return lt_nn_layer_norm(x, "output_norm", c->norm_eps);
}

/* ---- config.json ---- */

static lt_status read_json(const lti_config_reader *r, lt_transformer_config *c)
{
    c->context = 1024; /* what a missing key means to Hugging Face */
    c->tied = true;
    LTI_TRY(lti_config_count(r, "n_embd", true, &c->dim));
    LTI_TRY(lti_config_count(r, "n_layer", true, &c->layers));
    LTI_TRY(lti_config_count(r, "n_head", true, &c->heads));
    c->kv_heads = c->heads;
    if (__builtin_mul_overflow(c->dim, 4, &c->hidden)) c->hidden = INT64_MAX; /* refused with the other sizes */
    LTI_TRY(lti_config_count(r, "n_inner", false, &c->hidden));
    LTI_TRY(lti_config_count(r, "n_ctx", false, &c->context));
    LTI_TRY(lti_config_count(r, "n_positions", false, &c->context));
    LTI_TRY(lti_config_activation(r, "activation_function", &c->activation));
    LTI_TRY(lti_config_number(r, "layer_norm_epsilon", &c->norm_eps));
    LTI_TRY(lti_config_bool(r, "tie_word_embeddings", &c->tied));
    LTI_TRY(lti_config_only_bool(r, "scale_attn_weights", true));
    LTI_TRY(lti_config_only_bool(r, "scale_attn_by_inverse_layer_idx", false));
    LTI_TRY(lti_config_only_bool(r, "reorder_and_upcast_attn", false));
    return lti_config_only_bool(r, "add_cross_attention", false);
}

static int write_json(json_t *json, const lt_transformer_config *c)
{
    const struct {
        const char *key;
        int64_t value;
    } counts[] = {{"n_embd", c->dim}, {"n_layer", c->layers}, {"n_head", c->heads}, {"n_positions", c->context}};
    int failed = 0;
    for (int i = 0; i < LTI_COUNT(counts); i++)
        failed |= json_object_set_new(json, counts[i].key, json_integer(counts[i].value));
    if (json_object_get(json, "n_ctx")) failed |= json_object_set_new(json, "n_ctx", json_integer(c->context));
    json_t *inner = c->hidden == 4 * c->dim ? json_null() : json_integer(c->hidden);
    failed |= json_object_set_new(json, "n_inner", inner);
    failed |= json_object_set_new(json, "layer_norm_epsilon", json_real(c->norm_eps));
    failed |=
        json_object_set_new(json, "activation_function", json_string(lti_activation_name(c->activation, "gelu_new")));
    return failed | json_object_set_new(json, "tie_word_embeddings", json_boolean(c->tied));
}

static void defaults(lt_transformer_config *c)
{
    c->context = 1024;
    c->activation = LT_GELU_TANH;
    c->qkv_bias = c->output_bias = c->mlp_bias = true;
}

const lti_family lti_family_gpt2 = {
    .id = LT_GPT2,
    .name = "gpt2",
    .model_types = "|gpt2|",
    .model_type = "gpt2",
    .architecture = "GPT2LMHeadModel",
    .prefixes = {"transformer.", ""},
    .learned_positions = true,
    .defaults = defaults,
    .read_json = read_json,
    .write_json = write_json,
    .each = each,
    .hidden = hidden,
};
