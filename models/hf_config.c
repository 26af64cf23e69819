/* hf_config.c - Hugging Face's config.json: read strictly, written with every key it came with.
 *
 * What is common to all families stands here: which family it is, helpers to read keys, the vocabulary and the type. A
 * family's own keys are read by its read_json. What lathe does not implement is refused by name: a model that computes
 * something else silently is worse than none. */
#include "autograd/ops/rope_frequencies.h"
#include "data/json.h"
#include "models/model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- Helpers ---- */

lt_status lti_config_bad(const lti_config_reader *r, const char *key, const char *wanted)
{
    const json_t *value = json_object_get(r->json, key);
    return lti_fail(r->ctx, LT_EFORMAT, "%s: '%s' is %s; %s is needed", r->path, key, lti_json_kind(value), wanted);
}

static const json_t *present(const lti_config_reader *r, const char *key)
{
    const json_t *v = json_object_get(r->json, key);
    return json_is_null(v) ? NULL : v;
}

lt_status lti_config_count(const lti_config_reader *r, const char *key, bool required, int64_t *value)
{
    const json_t *v = present(r, key);
    if (!required && !v) return LT_OK;
    if (!json_is_integer(v) || json_integer_value(v) < 1) return lti_config_bad(r, key, "a whole number of at least 1");
    *value = json_integer_value(v);
    return LT_OK;
}

lt_status lti_config_number(const lti_config_reader *r, const char *key, double *value)
{
    const json_t *v = present(r, key);
    if (!v) return LT_OK;
    if (!json_is_number(v)) return lti_config_bad(r, key, "a number");
    *value = json_number_value(v);
    return LT_OK;
}

lt_status lti_config_bool(const lti_config_reader *r, const char *key, bool *value)
{
    const json_t *v = present(r, key);
    if (!v) return LT_OK;
    if (!json_is_boolean(v)) return lti_config_bad(r, key, "true or false");
    *value = json_is_true(v);
    return LT_OK;
}

lt_status lti_config_only_bool(const lti_config_reader *r, const char *key, bool wanted)
{
    bool value = wanted;
    LTI_TRY(lti_config_bool(r, key, &value));
    if (value == wanted) return LT_OK;
    return lti_fail(r->ctx, LT_EUNSUPPORTED, "%s: '%s' is %s, which lathe does not implement for this family", r->path,
                    key, value ? "true" : "false");
}

lt_status lti_config_only_text(const lti_config_reader *r, const char *key, const char *wanted)
{
    const json_t *v = present(r, key);
    if (!v) return LT_OK;
    if (!json_is_string(v)) return lti_config_bad(r, key, "a text");
    if (strcmp(json_string_value(v), wanted) == 0) return LT_OK;
    return lti_fail(r->ctx, LT_EUNSUPPORTED, "%s: '%s' is \"%s\"; lathe implements \"%s\" for this family", r->path,
                    key, json_string_value(v), wanted);
}

lt_status lti_config_only_absent(const lti_config_reader *r, const char *key)
{
    if (!present(r, key)) return LT_OK;
    return lti_fail(r->ctx, LT_EUNSUPPORTED, "%s: '%s' is set, which lathe does not implement", r->path, key);
}

static const struct {
    const char *name;
    lt_activation kind;
} activations[] = {
    {"silu", LT_SILU},
    {"swish", LT_SILU},
    {"gelu", LT_GELU},
    {"gelu_new", LT_GELU_TANH},
    {"gelu_pytorch_tanh", LT_GELU_TANH},
    {"relu", LT_RELU},
    {"relu2", LT_RELU2},
};

lt_status lti_config_activation(const lti_config_reader *r, const char *key, lt_activation *value)
{
    const json_t *v = present(r, key);
    if (!v) return LT_OK;
    if (!json_is_string(v)) return lti_config_bad(r, key, "a text");
    for (int i = 0; i < LTI_COUNT(activations); i++)
        if (!strcmp(activations[i].name, json_string_value(v))) {
            *value = activations[i].kind;
            return LT_OK;
        }
    return lti_fail(r->ctx, LT_EUNSUPPORTED,
                    "%s: '%s' is \"%s\"; lathe implements silu, gelu, gelu_new, gelu_pytorch_tanh, relu and relu2",
                    r->path, key, json_string_value(v));
}

const char *lti_activation_name(lt_activation kind, const char *tanh_spelling)
{
    if (kind == LT_GELU_TANH) return tanh_spelling;
    return kind == LT_SILU ? "silu" : kind == LT_GELU ? "gelu" : kind == LT_RELU ? "relu" : "relu2";
}

/* ---- Reading ---- */

/* The object with the model's keys: the root, or its text_config for the text half of a model that also sees. */
static const json_t *text_part(const json_t *json)
{
    const json_t *type = json_object_get(json, "model_type"), *text = json_object_get(json, "text_config");
    bool gemma = json_is_string(type) && !strcmp(json_string_value(type), "gemma3");
    return gemma && json_is_object(text) ? text : json;
}

static lt_status find_family(const lti_config_reader *r, const lti_family **family)
{
    const json_t *type = json_object_get(r->json, "model_type");
    if (!json_is_string(type)) return lti_config_bad(r, "model_type", "a text");
    *family = lti_family_of_model_type(json_string_value(type));
    if (*family) return LT_OK;
    const lti_network *network = lti_network_of_model_type(json_string_value(type));
    if (network)
        return lti_fail(r->ctx, LT_EUNSUPPORTED,
                        "%s: it is a %s of lathe's own; this is possible for transformers only", r->path,
                        network->name);
    return lti_fail(r->ctx, LT_EUNSUPPORTED,
                    "%s: model_type \"%s\" is not implemented; llama, mistral, qwen2, qwen3, gemma3_text, gpt2, "
                    "bert and bitnet are",
                    r->path, json_string_value(type));
}

lt_status lti_config_sizes(lt_ctx *ctx, const char *path, const lt_transformer_config *c)
{
    if (lti_transformer_check(ctx, c) == LT_OK) return LT_OK;
    char why[256]; /* a copy: the message cannot be written over itself */
    snprintf(why, sizeof why, "%s", lt_ctx_message(ctx));
    return lti_fail(ctx, LT_EFORMAT, "%s: %s", path, why);
}

lt_status lti_config_from_json(lt_ctx *ctx, const char *path, const json_t *json, lt_transformer_config *c)
{
    const lti_config_reader r = {ctx, path, text_part(json)}, root = {ctx, path, json};
    const lti_family *family;
    LTI_TRY(find_family(&r, &family));
    lt_transformer_config_init(c, family->id);
    LTI_TRY(lti_config_only_absent(&r, "quantization_config"));
    LTI_TRY(lti_config_only_absent(&root, "quantization_config"));
    if (!family->encoder) LTI_TRY(lti_config_only_bool(&r, "is_causal", true));
    LTI_TRY(family->read_json(&r, c));
    LTI_TRY(lti_config_count(&r, "vocab_size", c->vocab == 0, &c->vocab));
    if (root.json != r.json) { /* the whole decides, not its text half */
        c->tied = true;
        LTI_TRY(lti_config_bool(&root, "tie_word_embeddings", &c->tied));
    }
    return lti_config_sizes(ctx, path, c);
}

/* ---- Writing ---- */

json_t *lti_config_to_json(const lt_transformer_config *c, const json_t *base, const char *dtype)
{
    const lti_family *family = lti_family_of(c->family);
    json_t *json =
        base ? json_deep_copy(base)
             : json_pack("{s:[s],s:s}", "architectures", family->architecture, "model_type", family->model_type);
    if (!json) return NULL;
    json_t *text = (json_t *)text_part(json);
    int failed = json_object_set_new(text, "vocab_size", json_integer(c->vocab));
    failed |= family->write_json(text, c);
    const char *key = json_object_get(json, "torch_dtype") ? "torch_dtype" : "dtype";
    failed |= json_object_set_new(json, key, json_string(dtype));
    if (!failed) return json;
    json_decref(json);
    return NULL;
}

/* Real numbers that came through a GGUF file were rounded to f32. */
static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-6 * fabs(b);
}

static double scale_of(const lt_transformer_config *c)
{
    return c->attention_scale > 0 ? c->attention_scale : 1 / sqrt((double)lti_head_dim(c));
}

/* Whether positions are rotated by the same angles, whatever the options are called. */
static bool same_rotation(const lt_transformer_config *a, const lt_transformer_config *b)
{
    double f[2][LTI_MAX_HEAD_DIM / 2], amplitude[2];
    if (lti_family_of(a->family)->learned_positions) return true;
    for (int i = 0; i < 2; i++) {
        const lt_transformer_config *c = i ? b : a;
        lt_rope_config rope;
        lt_rope_config_init(&rope);
        rope.theta = c->rope_theta;
        rope.scaling = c->rope_scaling;
        lti_rope_frequencies(&rope, lti_head_dim(c), f[i], &amplitude[i]);
    }
    for (int64_t i = 0; i < lti_head_dim(a) / 2; i++)
        if (!near(f[0][i], f[1][i])) return false;
    return near(amplitude[0], amplitude[1]);
}

/* What the two compute differently, or NULL. */
static const char *difference(const lt_transformer_config *a, const lt_transformer_config *b)
{
    bool windows = a->window == b->window, learned = lti_family_of(a->family)->learned_positions;
    if (a->window) windows &= a->window_first == b->window_first && a->window_pattern == b->window_pattern;
    const struct {
        const char *name;
        bool same;
    } rules[] = {
        {"family", a->family == b->family},
        {"sizes", a->vocab == b->vocab && a->dim == b->dim && a->hidden == b->hidden && a->layers == b->layers &&
                      a->heads == b->heads && a->kv_heads == b->kv_heads && lti_head_dim(a) == lti_head_dim(b) &&
                      a->context == b->context && a->types == b->types && a->classes == b->classes},
        {"tied embeddings", a->tied == b->tied},
        {"biases",
         learned || (a->qkv_bias == b->qkv_bias && a->output_bias == b->output_bias && a->mlp_bias == b->mlp_bias)},
        {"norms", (learned || a->qk_norm == b->qk_norm) && near(a->norm_eps, b->norm_eps)},
        {"activation", a->activation == b->activation},
        {"windows", windows && (!a->window || near(a->rope_theta_local, b->rope_theta_local))},
        {"scale of attention", near(scale_of(a), scale_of(b))},
        {"scale of embeddings", near(a->embedding_scale, b->embedding_scale)},
    };
    for (int i = 0; i < LTI_COUNT(rules); i++)
        if (!rules[i].same) return rules[i].name;
    return same_rotation(a, b) ? NULL : "rotary positions";
}

lt_status lti_config_check_written(lt_ctx *ctx, const lt_transformer_config *c, const json_t *json)
{
    lt_transformer_config told;
    LTI_TRY(lti_config_from_json(ctx, "config.json, as it would be written", json, &told));
    const char *what = difference(c, &told);
    if (!what) return LT_OK;
    return lti_fail(ctx, LT_EUNSUPPORTED,
                    "config.json has no words for the %s of this %s model: a Hugging Face directory would be another "
                    "model; use the file it came from, or convert it to another .gguf",
                    what, lt_family_name(c->family));
}
