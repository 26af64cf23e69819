/* bert.c - BERT-style encoders (Devlin et al. 2018) with a classification head.
 *
 *     x = n(E[token] + P[position] + S[type])
 *     x = n(x + W_o attention(q, k, v) + b);  x = n(x + W_d gelu(W_u x + b) + b)
 *     logits = W_c tanh(W_p x_0 + b) + b
 *
 * with LayerNorms n after each sum, and attention in both directions within the spans: padding is kept out by a span
 * of the text's length, not by a mask of -inf. Only classification is a head here, and the pooler part of it: a file
 * with another one (masked words, next sentence) gives hidden states. What the config says of dropout
 * (hidden_dropout_prob, attention_probs_dropout_prob, classifier_dropout) is carried along and not applied: it is no
 * part of what the model computes. */
#include "autograd/op.h"
#include "base/text.h"
#include "lathe/nn.h"
#include "models/learned.h"

#include <stdio.h>

/* ---- Tensors ---- */

static lt_status each_of_block(const lt_transformer_config *c, int64_t layer, lti_tensor_visitor visit, void *user)
{
    int64_t C = c->dim, F = c->hidden, Q = c->heads * lti_head_dim(c), K = c->kv_heads * lti_head_dim(c);
    const lti_tensor rows[] = {
        {"attn_q.weight", "encoder.layer.%lld.attention.self.query.weight", false, 2, {Q, C}, 0.02},
        {"attn_q.bias", "encoder.layer.%lld.attention.self.query.bias", false, 1, {Q}},
        {"attn_k.weight", "encoder.layer.%lld.attention.self.key.weight", false, 2, {K, C}, 0.02},
        {"attn_k.bias", "encoder.layer.%lld.attention.self.key.bias", false, 1, {K}},
        {"attn_v.weight", "encoder.layer.%lld.attention.self.value.weight", false, 2, {K, C}, 0.02},
        {"attn_v.bias", "encoder.layer.%lld.attention.self.value.bias", false, 1, {K}},
        {"attn_output.weight", "encoder.layer.%lld.attention.output.dense.weight", false, 2, {C, Q}, 0.02},
        {"attn_output.bias", "encoder.layer.%lld.attention.output.dense.bias", false, 1, {C}},
        {"attn_output_norm.weight", "encoder.layer.%lld.attention.output.LayerNorm.weight", false, 1, {C}, 0, 1},
        {"attn_output_norm.bias", "encoder.layer.%lld.attention.output.LayerNorm.bias", false, 1, {C}},
        {"ffn_up.weight", "encoder.layer.%lld.intermediate.dense.weight", false, 2, {F, C}, 0.02},
        {"ffn_up.bias", "encoder.layer.%lld.intermediate.dense.bias", false, 1, {F}},
        {"ffn_down.weight", "encoder.layer.%lld.output.dense.weight", false, 2, {C, F}, 0.02},
        {"ffn_down.bias", "encoder.layer.%lld.output.dense.bias", false, 1, {C}},
        {"layer_output_norm.weight", "encoder.layer.%lld.output.LayerNorm.weight", false, 1, {C}, 0, 1},
        {"layer_output_norm.bias", "encoder.layer.%lld.output.LayerNorm.bias", false, 1, {C}},
    };
    return lti_visit_rows(rows, LTI_COUNT(rows), layer, visit, user);
}

static lt_status each(const lt_transformer_config *c, lti_tensor_visitor visit, void *user)
{
    int64_t C = c->dim;
    const lti_tensor types = {
        "token_types.weight", "embeddings.token_type_embeddings.weight", false, 2, {c->types, C}, 0.02};
    const lti_tensor embeddings[] = {
        {"token_embd.weight", "embeddings.word_embeddings.weight", false, 2, {c->vocab, C}, 0.02},
        {"position_embd.weight", "embeddings.position_embeddings.weight", false, 2, {c->context, C}, 0.02},
        {"token_embd_norm.weight", "embeddings.LayerNorm.weight", false, 1, {C}, 0, 1},
        {"token_embd_norm.bias", "embeddings.LayerNorm.bias", false, 1, {C}},
    };
    const lti_tensor head[] = {
        {"cls.weight", "pooler.dense.weight", false, 2, {C, C}, 0.02},
        {"cls.bias", "pooler.dense.bias", false, 1, {C}},
        {"cls.output.weight", "classifier.weight", true, 2, {c->classes, C}, 0.02},
        {"cls.output.bias", "classifier.bias", true, 1, {c->classes}},
    };
    LTI_TRY(lti_visit_rows(embeddings, LTI_COUNT(embeddings), -1, visit, user));
    LTI_TRY(lti_visit_rows(&types, c->types > 0, -1, visit, user));
    for (int64_t layer = 0; layer < c->layers; layer++) LTI_TRY(each_of_block(c, layer, visit, user));
    return lti_visit_rows(head, c->classes > 0 ? LTI_COUNT(head) : 0, -1, visit, user);
}

/* ---- The network. B batch, T positions, C dim, H heads, G key/value heads, D head dimension ---- */

static lt_t attention(const lt_transformer_config *c, lt_t x, const lt_model_input *in)
{
    int64_t B = lt_dim(x, 0), T = lt_dim(x, 1), H = c->heads, G = c->kv_heads, D = lti_head_dim(c);
    lt_attention_config how;
    lt_attention_config_init(&how);
    how.scale = c->attention_scale;
    how.causal = false;
    how.spans = in->spans;
    lt_t q = lt_reshape(lt_nn_linear(x, "attn_q"), 4, (int64_t[]){B, T, H, D});
    lt_t k = lt_reshape(lt_nn_linear(x, "attn_k"), 4, (int64_t[]){B, T, G, D});
    lt_t v = lt_reshape(lt_nn_linear(x, "attn_v"), 4, (int64_t[]){B, T, G, D});
    lt_t o = lt_attention(q, k, v, lt_nil(x.graph), &how); /* [B, T, H, D] */
    return lt_nn_linear(lt_reshape(o, 3, (int64_t[]){B, T, H * D}), "attn_output");
}

static lt_t block(const lt_transformer_config *c, lt_t x, const lt_model_input *in)
{
    x = lt_nn_layer_norm(lt_add(x, attention(c, x, in)), "attn_output_norm", c->norm_eps);
    lt_t h = lti_activation(lt_nn_linear(x, "ffn_up"), c->activation);
    return lt_nn_layer_norm(lt_add(x, lt_nn_linear(h, "ffn_down")), "layer_output_norm", c->norm_eps);
}

static lt_t embedded(lt_graph *g, const lt_transformer_config *c, const lt_model_input *in)
{
    lt_t x = lt_nn_embedding(in->tokens, "token_embd"); /* [B, T, C] */
    x = lt_add(x, lti_learned_positions(g, c, in));
    if (lti_given(in->types))
        x = lt_add(x, lt_nn_embedding(in->types, "token_types"));
    else if (c->types > 0)
        x = lt_add(x, lti_table_rows(g, "token_types", 0, 1)); /* [1, C] */
    return lt_nn_layer_norm(x, "token_embd_norm", c->norm_eps);
}

static lt_t hidden(lt_graph *g, const lt_transformer_config *c, const lt_model_input *in)
{
    if (lti_given(in->first))
        return lti_graph_fail(g, LT_EINVAL, "bert is an encoder: it reads whole texts, and takes no `first`");
    lt_t x = embedded(g, c, in);
    for (int64_t layer = 0; layer < c->layers; layer++) {
        lt_scope(g, "blk.%lld", (long long)layer);
        if (c->checkpoint) lt_checkpoint_begin(g);
        x = block(c, x, in);
        if (c->checkpoint) lt_checkpoint_end(g);
        lt_tap(x, "out");
        lt_scope_end(g);
    }
    return x;
}

/* hidden [B, T, C] -> [B, classes], from the first position. */
static lt_t head(lt_graph *g, const lt_transformer_config *c, lt_t x)
{
    if (c->classes == 0)
        return lti_graph_fail(g, LT_EINVAL,
                              "this bert has no classification head; open one whose architecture is "
                              "BertForSequenceClassification, or make one with classes=N");
    x = lt_reshape(lt_slice(x, 1, 0, 1), 2, (int64_t[]){lt_dim(x, 0), c->dim});
    return lt_nn_head(lt_tanh(lt_nn_linear(x, "cls")), "cls.output", "cls.output.weight");
}

/* ---- config.json ---- */

static bool classifies(const json_t *json)
{
    const json_t *list = json_object_get(json, "architectures");
    const char *name = json_string_value(json_array_get(list, 0));
    return name && lti_ends_with(name, "ForSequenceClassification");
}

/* As many as id2label names; without the key two, which Hugging Face leaves out when it writes. */
static lt_status read_classes(const lti_config_reader *r, lt_transformer_config *c)
{
    c->classes = 0;
    if (!classifies(r->json)) return LT_OK;
    const json_t *labels = json_object_get(r->json, "id2label");
    c->classes = 2;
    LTI_TRY(lti_config_count(r, "num_labels", false, &c->classes));
    if (labels && !json_is_null(labels)) {
        if (!json_is_object(labels)) return lti_config_bad(r, "id2label", "an object");
        c->classes = (int64_t)json_object_size(labels);
    }
    LTI_TRY(lti_config_only_text(r, "problem_type", "single_label_classification"));
    if (c->classes > 1) return LT_OK;
    return lti_fail(r->ctx, LT_EUNSUPPORTED,
                    "%s: 'id2label' has %lld label%s, which means regression; lathe implements two classes and more",
                    r->path, (long long)c->classes, c->classes == 1 ? "" : "s");
}

static lt_status read_json(const lti_config_reader *r, lt_transformer_config *c)
{
    c->context = 512; /* what missing keys mean to Hugging Face */
    c->types = 2;
    LTI_TRY(lti_config_count(r, "hidden_size", true, &c->dim));
    LTI_TRY(lti_config_count(r, "intermediate_size", true, &c->hidden));
    LTI_TRY(lti_config_count(r, "num_hidden_layers", true, &c->layers));
    LTI_TRY(lti_config_count(r, "num_attention_heads", true, &c->heads));
    c->kv_heads = c->heads;
    LTI_TRY(lti_config_count(r, "max_position_embeddings", false, &c->context));
    const json_t *types = json_object_get(r->json, "type_vocab_size");
    if (json_is_integer(types) && json_integer_value(types) == 0)
        c->types = 0; /* made without a table of types */
    else
        LTI_TRY(lti_config_count(r, "type_vocab_size", false, &c->types));
    LTI_TRY(lti_config_activation(r, "hidden_act", &c->activation));
    LTI_TRY(lti_config_number(r, "layer_norm_eps", &c->norm_eps));
    LTI_TRY(lti_config_only_text(r, "position_embedding_type", "absolute"));
    LTI_TRY(lti_config_only_bool(r, "is_decoder", false));
    LTI_TRY(lti_config_only_bool(r, "add_cross_attention", false));
    return read_classes(r, c);
}

/* The labels of a new model: LABEL_0, LABEL_1, ..., as Hugging Face calls them. Without classes it is no classifier. */
static int write_labels(json_t *json, const lt_transformer_config *c)
{
    if (c->classes == 0)
        return classifies(json) ? json_object_set_new(json, "architectures", json_pack("[s]", "BertModel")) : 0;
    if (json_object_get(json, "id2label")) return 0;
    json_t *names = json_object(), *numbers = json_object();
    int failed = !names || !numbers;
    for (int64_t i = 0; i < c->classes && !failed; i++) {
        char number[24], name[32];
        snprintf(number, sizeof number, "%lld", (long long)i);
        snprintf(name, sizeof name, "LABEL_%lld", (long long)i);
        failed |= json_object_set_new(names, number, json_string(name));
        failed |= json_object_set_new(numbers, name, json_integer(i));
    }
    failed |= json_object_set_new(json, "id2label", names);
    return failed | json_object_set_new(json, "label2id", numbers);
}

static int write_json(json_t *json, const lt_transformer_config *c)
{
    const struct {
        const char *key;
        int64_t value;
    } counts[] = {
        {"hidden_size", c->dim},           {"intermediate_size", c->hidden},        {"num_hidden_layers", c->layers},
        {"num_attention_heads", c->heads}, {"max_position_embeddings", c->context}, {"type_vocab_size", c->types}};
    int failed = 0;
    for (int i = 0; i < LTI_COUNT(counts); i++)
        failed |= json_object_set_new(json, counts[i].key, json_integer(counts[i].value));
    failed |= json_object_set_new(json, "layer_norm_eps", json_real(c->norm_eps));
    failed |= json_object_set_new(json, "hidden_act", json_string(lti_activation_name(c->activation, "gelu_new")));
    return failed | write_labels(json, c);
}

static void defaults(lt_transformer_config *c)
{
    c->context = 512;
    c->norm_eps = 1e-12;
    c->activation = LT_GELU;
    c->types = 2;
    c->qkv_bias = c->output_bias = c->mlp_bias = true;
}

const lti_family lti_family_bert = {
    .id = LT_BERT,
    .name = "bert",
    .model_types = "|bert|",
    .model_type = "bert",
    .architecture = "BertForSequenceClassification",
    .prefixes = {"bert.", ""},
    .encoder = true,
    .learned_positions = true,
    .defaults = defaults,
    .read_json = read_json,
    .write_json = write_json,
    .each = each,
    .hidden = hidden,
    .head = head,
};
