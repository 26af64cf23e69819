/* hf_config.c - Hugging Face's config.json: read strictly, written with every key it came with.
 *
 * Both spellings of the rotary options are known (rope_theta and rope_scaling; rope_parameters). What lathe does not
 * implement is refused by name: a model that computes something else silently is worse than none. */
#include "data/json.h"
#include "models/model.h"

#include <stdio.h>
#include <string.h>

typedef struct reader {
    lt_ctx *ctx;
    const char *path;
    const json_t *json;
} reader;

static lt_status bad(const reader *r, const char *key, const char *wanted)
{
    const json_t *value = json_object_get(r->json, key);
    return lti_fail(r->ctx, LT_EFORMAT, "%s: '%s' is %s; %s is needed", r->path, key, lti_json_kind(value), wanted);
}

/* A missing or null key leaves *value as it is, unless it is required. */
static lt_status read_count(const reader *r, const char *key, bool required, int64_t *value)
{
    const json_t *v = json_object_get(r->json, key);
    if (!required && (!v || json_is_null(v))) return LT_OK;
    if (!json_is_integer(v) || json_integer_value(v) < 1) return bad(r, key, "a whole number of at least 1");
    *value = json_integer_value(v);
    return LT_OK;
}

static lt_status read_number(const reader *r, const char *key, double *value)
{
    const json_t *v = json_object_get(r->json, key);
    if (!v || json_is_null(v)) return LT_OK;
    if (!json_is_number(v)) return bad(r, key, "a number");
    *value = json_number_value(v);
    return LT_OK;
}

static lt_status read_bool(const reader *r, const char *key, bool *value)
{
    const json_t *v = json_object_get(r->json, key);
    if (!v || json_is_null(v)) return LT_OK;
    if (!json_is_boolean(v)) return bad(r, key, "true or false");
    *value = json_is_true(v);
    return LT_OK;
}

/* The key must be absent, null, or equal to the only value lathe implements. */
static lt_status only_false(const reader *r, const char *key)
{
    bool value = false;
    LTI_TRY(read_bool(r, key, &value));
    if (!value) return LT_OK;
    return lti_fail(r->ctx, LT_EUNSUPPORTED, "%s: '%s' is true, which lathe does not implement for this family",
                    r->path, key);
}

static lt_status only_text(const reader *r, const char *key, const char *wanted)
{
    const json_t *v = json_object_get(r->json, key);
    if (!v || json_is_null(v)) return LT_OK;
    if (!json_is_string(v)) return bad(r, key, "a text");
    if (strcmp(json_string_value(v), wanted) == 0) return LT_OK;
    return lti_fail(r->ctx, LT_EUNSUPPORTED, "%s: '%s' is \"%s\"; lathe implements \"%s\" for this family", r->path,
                    key, json_string_value(v), wanted);
}

static lt_status only_absent(const reader *r, const char *key)
{
    const json_t *v = json_object_get(r->json, key);
    if (!v || json_is_null(v)) return LT_OK;
    return lti_fail(r->ctx, LT_EUNSUPPORTED, "%s: '%s' is set, which lathe does not implement", r->path, key);
}

/* rope_scaling or rope_parameters: only the default type, whose frequencies are theta alone. */
static lt_status read_rope(const reader *r, const char *key, double *theta)
{
    const json_t *v = json_object_get(r->json, key);
    if (!v || json_is_null(v)) return LT_OK;
    if (!json_is_object(v)) return bad(r, key, "an object");
    reader inner = {r->ctx, r->path, v};
    LTI_TRY(only_text(&inner, "rope_type", "default"));
    LTI_TRY(only_text(&inner, "type", "default"));
    return read_number(&inner, "rope_theta", theta);
}

static lt_status refuse_unknown(const reader *r)
{
    const json_t *type = json_object_get(r->json, "model_type");
    if (!json_is_string(type)) return bad(r, "model_type", "a text");
    if (strcmp(json_string_value(type), "llama"))
        return lti_fail(r->ctx, LT_EUNSUPPORTED, "%s: model_type \"%s\" is not implemented; \"llama\" is", r->path,
                        json_string_value(type));
    LTI_TRY(only_text(r, "hidden_act", "silu"));
    LTI_TRY(only_false(r, "attention_bias"));
    LTI_TRY(only_false(r, "mlp_bias"));
    return only_absent(r, "quantization_config");
}

lt_status lti_config_from_json(lt_ctx *ctx, const char *path, const json_t *json, lt_llama_config *c)
{
    reader r = {ctx, path, json};
    lt_llama_config_init(c);
    c->tied = false;
    LTI_TRY(refuse_unknown(&r));
    LTI_TRY(read_count(&r, "vocab_size", true, &c->vocab));
    LTI_TRY(read_count(&r, "hidden_size", true, &c->dim));
    LTI_TRY(read_count(&r, "intermediate_size", true, &c->hidden));
    LTI_TRY(read_count(&r, "num_hidden_layers", true, &c->layers));
    LTI_TRY(read_count(&r, "num_attention_heads", true, &c->heads));
    c->kv_heads = c->heads;
    LTI_TRY(read_count(&r, "num_key_value_heads", false, &c->kv_heads));
    LTI_TRY(read_count(&r, "head_dim", false, &c->head_dim));
    LTI_TRY(read_count(&r, "max_position_embeddings", false, &c->context));
    LTI_TRY(read_number(&r, "rms_norm_eps", &c->norm_eps));
    LTI_TRY(read_number(&r, "rope_theta", &c->rope_theta));
    LTI_TRY(read_rope(&r, "rope_scaling", &c->rope_theta));
    LTI_TRY(read_rope(&r, "rope_parameters", &c->rope_theta));
    LTI_TRY(read_bool(&r, "tie_word_embeddings", &c->tied));
    if (lti_llama_check(ctx, c) == LT_OK) return LT_OK;
    char why[256]; /* a copy: the message cannot be written over itself */
    snprintf(why, sizeof why, "%s", lt_ctx_message(ctx));
    return lti_fail(ctx, LT_EFORMAT, "%s: %s", path, why);
}

static int set_rope(json_t *json, const lt_llama_config *c)
{
    json_t *rope = json_object_get(json, "rope_parameters");
    if (json_is_object(rope)) return json_object_set_new(rope, "rope_theta", json_real(c->rope_theta));
    return json_object_set_new(json, "rope_theta", json_real(c->rope_theta));
}

json_t *lti_config_to_json(const lt_llama_config *c, const json_t *base, const char *dtype)
{
    json_t *json = base ? json_deep_copy(base)
                        : json_pack("{s:[s],s:s}", "architectures", "LlamaForCausalLM", "model_type", "llama");
    if (!json) return NULL;
    const struct {
        const char *key;
        int64_t value;
    } counts[] = {{"vocab_size", c->vocab},
                  {"hidden_size", c->dim},
                  {"intermediate_size", c->hidden},
                  {"num_hidden_layers", c->layers},
                  {"num_attention_heads", c->heads},
                  {"num_key_value_heads", c->kv_heads},
                  {"head_dim", c->head_dim ? c->head_dim : c->dim / c->heads},
                  {"max_position_embeddings", c->context}};
    int failed = 0;
    for (int i = 0; i < LTI_COUNT(counts); i++)
        failed |= json_object_set_new(json, counts[i].key, json_integer(counts[i].value));
    failed |= json_object_set_new(json, "rms_norm_eps", json_real(c->norm_eps));
    failed |= set_rope(json, c);
    failed |= json_object_set_new(json, "hidden_act", json_string("silu"));
    failed |= json_object_set_new(json, "attention_bias", json_false());
    failed |= json_object_set_new(json, "mlp_bias", json_false());
    failed |= json_object_set_new(json, "tie_word_embeddings", json_boolean(c->tied));
    const char *key = json_object_get(json, "torch_dtype") ? "torch_dtype" : "dtype";
    failed |= json_object_set_new(json, key, json_string(dtype));
    if (!failed) return json;
    json_decref(json);
    return NULL;
}
