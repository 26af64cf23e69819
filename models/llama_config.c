/* llama_config.c - config.json of Llama, Mistral, Qwen 2, Qwen 3, Gemma 3 and BitNet.
 *
 * Both spellings of the rotary options are known: rope_theta and rope_scaling (and rope_local_base_freq), or
 * rope_parameters, which Gemma nests by kind of layer. Which layers see a window is said by layer_types, or by older
 * keys; lathe keeps it as (first, pattern) and refuses lists that are neither. Options of training alone
 * (attention_dropout) are carried along. */
#include "models/llama_config.h"

#include "data/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- Rotary options ---- */

static lt_status read_kind(const lti_config_reader *r, lt_rope_scaling *s)
{
    const json_t *type = json_object_get(r->json, "rope_type");
    if (!type || json_is_null(type)) type = json_object_get(r->json, "type");
    if (!type || json_is_null(type)) return LT_OK;
    if (!json_is_string(type)) return lti_config_bad(r, "rope_type", "a text");
    static const char *const names[] = {"default", "linear", "llama3", "yarn"};
    for (int i = 0; i < LTI_COUNT(names); i++)
        if (!strcmp(names[i], json_string_value(type))) {
            s->kind = (lt_rope_scaling_kind)i;
            return LT_OK;
        }
    return lti_fail(r->ctx, LT_EUNSUPPORTED,
                    "%s: rotary scaling \"%s\" is not implemented; default, linear, llama3 and yarn are", r->path,
                    json_string_value(type));
}

/* Each kind of scaling Transformers adds comes with keys of its own. */
static lt_status refuse_unknown(const lti_config_reader *r, const char *where)
{
    static const char *const known[] = {"rope_type",        "type",
                                        "rope_theta",       "partial_rotary_factor",
                                        "factor",           "original_max_position_embeddings",
                                        "low_freq_factor",  "high_freq_factor",
                                        "beta_fast",        "beta_slow",
                                        "attention_factor", "mscale",
                                        "mscale_all_dim",   "truncate",
                                        "finetuned" /* changes nothing */};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)r->json, key, value)
    {
        bool found = json_is_null(value);
        for (int i = 0; i < LTI_COUNT(known) && !found; i++) found = !strcmp(known[i], key);
        if (!found)
            return lti_fail(r->ctx, LT_EUNSUPPORTED, "%s: '%s' has the option '%s', which lathe does not implement",
                            r->path, where, key);
    }
    return LT_OK;
}

static lt_status refuse_partial(const lti_config_reader *r)
{
    double partial = 1;
    LTI_TRY(lti_config_number(r, "partial_rotary_factor", &partial));
    if (partial == 1) return LT_OK;
    return lti_fail(r->ctx, LT_EUNSUPPORTED, "%s: partial_rotary_factor %g is not implemented; 1 is", r->path, partial);
}

/* One object of rotary options. `theta` may be there too. */
static lt_status read_scaling(const lti_config_reader *r, int64_t context, double *theta, lt_rope_scaling *s)
{
    LTI_TRY(read_kind(r, s));
    LTI_TRY(lti_config_number(r, "rope_theta", theta));
    LTI_TRY(refuse_partial(r));
    if (s->kind == LT_ROPE_PLAIN) return LT_OK;
    if (!json_is_number(json_object_get(r->json, "factor"))) return lti_config_bad(r, "factor", "a number");
    LTI_TRY(lti_config_number(r, "factor", &s->factor));
    s->original_context = context;
    LTI_TRY(lti_config_count(r, "original_max_position_embeddings", s->kind == LT_ROPE_LLAMA3, &s->original_context));
    s->low_freq_factor = 1, s->high_freq_factor = 4, s->beta_fast = 32, s->beta_slow = 1;
    LTI_TRY(lti_config_number(r, "low_freq_factor", &s->low_freq_factor));
    LTI_TRY(lti_config_number(r, "high_freq_factor", &s->high_freq_factor));
    LTI_TRY(lti_config_number(r, "beta_fast", &s->beta_fast));
    LTI_TRY(lti_config_number(r, "beta_slow", &s->beta_slow));
    LTI_TRY(lti_config_number(r, "attention_factor", &s->attention_factor));
    LTI_TRY(lti_config_only_absent(r, "mscale"));
    LTI_TRY(lti_config_only_absent(r, "mscale_all_dim"));
    return lti_config_only_bool(r, "truncate", true);
}

/* *object: NULL where the key is absent, null or {}. */
static lt_status find_object(const lti_config_reader *r, const char *key, const json_t **object)
{
    const json_t *v = json_object_get(r->json, key);
    *object = NULL;
    if (!v || json_is_null(v)) return LT_OK;
    if (!json_is_object(v)) return lti_config_bad(r, key, "an object");
    if (json_object_size(v)) *object = v;
    return LT_OK;
}

static lt_status read_rope(const lti_config_reader *r, const char *key, const json_t *object, double *theta,
                           lt_rope_scaling *scaling, int64_t context)
{
    const lti_config_reader inner = {r->ctx, r->path, object};
    LTI_TRY(refuse_unknown(&inner, key));
    return read_scaling(&inner, context, theta, scaling);
}

/* Gemma's rope_parameters: an object for each kind of layer. */
static lt_status read_nested(const lti_config_reader *r, const json_t *object, lt_transformer_config *c)
{
    const lti_config_reader inner = {r->ctx, r->path, object};
    const json_t *global, *local;
    lt_rope_scaling of_local = {0};
    LTI_TRY(find_object(&inner, "full_attention", &global));
    LTI_TRY(find_object(&inner, "sliding_attention", &local));
    if (!global && !local)
        return lti_fail(r->ctx, LT_EUNSUPPORTED,
                        "%s: 'rope_parameters' has neither full_attention nor sliding_attention, which this family "
                        "reads alone",
                        r->path);
    if (global) LTI_TRY(read_rope(r, "full_attention", global, &c->rope_theta, &c->rope_scaling, c->context));
    if (local) LTI_TRY(read_rope(r, "sliding_attention", local, &c->rope_theta_local, &of_local, c->context));
    if (of_local.kind == LT_ROPE_PLAIN) return LT_OK;
    return lti_fail(r->ctx, LT_EUNSUPPORTED, "%s: rotary scaling of layers with a window is not implemented", r->path);
}

/* The old spelling stands before the new one where both are there, as in Transformers; Gemma's is laid over it. */
static lt_status read_rotary(const lti_config_reader *r, lt_transformer_config *c)
{
    const json_t *old, *new;
    bool nests = c->family == LT_GEMMA3;
    LTI_TRY(refuse_partial(r));
    LTI_TRY(lti_config_number(r, "rope_theta", &c->rope_theta));
    if (nests) LTI_TRY(lti_config_number(r, "rope_local_base_freq", &c->rope_theta_local));
    LTI_TRY(find_object(r, "rope_scaling", &old));
    LTI_TRY(find_object(r, "rope_parameters", &new));
    if (new &&nests) LTI_TRY(read_nested(r, new, c));
    if (old) LTI_TRY(read_rope(r, "rope_scaling", old, &c->rope_theta, &c->rope_scaling, c->context));
    if (new && !nests && !old)
        LTI_TRY(read_rope(r, "rope_parameters", new, &c->rope_theta, &c->rope_scaling, c->context));
    if (nests || c->rope_scaling.kind == LT_ROPE_PLAIN) return LT_OK;
    return lti_config_count(r, "original_max_position_embeddings", false, &c->rope_scaling.original_context);
}

/* ---- Windows ---- */

static bool is_mistral(const lti_config_reader *r)
{
    const char *type = json_string_value(json_object_get(r->json, "model_type"));
    return type && !strcmp(type, "mistral");
}

/* layer_types as (first, pattern): layers before `first` are global, of the rest every pattern-th is. */
static lt_status read_layer_types(const lti_config_reader *r, const json_t *list, lt_transformer_config *c)
{
    int64_t n = (int64_t)json_array_size(list), first = 0, pattern = 0;
    if (n != c->layers) return lti_config_bad(r, "layer_types", "one name for each layer");
    bool local[1025] = {false};
    for (int64_t i = 0; i < n && i < 1024; i++) {
        const char *name = json_string_value(json_array_get(list, (size_t)i));
        if (!name || (strcmp(name, "full_attention") && strcmp(name, "sliding_attention")))
            return lti_fail(r->ctx, LT_EUNSUPPORTED,
                            "%s: layer_types[%lld] is '%s'; lathe implements full_attention and sliding_attention",
                            r->path, (long long)i, name ? name : "no text");
        local[i] = !strcmp(name, "sliding_attention");
    }
    while (first < n && !local[first]) first++;
    if (first == n) {
        c->window = 0;
        return LT_OK;
    }
    for (int64_t i = first; i < n && pattern == 0; i++)
        if (!local[i]) pattern = i + 1;
    if (first + 1 == pattern) first = 0;
    for (int64_t i = 0; i < n; i++)
        if (local[i] != (i >= first && (pattern == 0 || (i + 1) % pattern != 0)))
            return lti_fail(r->ctx, LT_EUNSUPPORTED,
                            "%s: layer_types follow no pattern lathe knows (layer %lld); every n-th layer, or all "
                            "from one on, may be local",
                            r->path, (long long)i);
    c->window_first = first;
    c->window_pattern = pattern;
    return LT_OK;
}

/* The classes differ: Mistral's layers are all local, Qwen's from one on when it is switched on, Gemma's by a pattern. */
static lt_status read_window(const lti_config_reader *r, lt_transformer_config *c)
{
    bool gemma = c->family == LT_GEMMA3, mistral = is_mistral(r), used = gemma || mistral;
    c->window = 0;
    if (c->family == LT_BITNET || (c->family == LT_LLAMA && !mistral)) return LT_OK;
    if (!used) LTI_TRY(lti_config_bool(r, "use_sliding_window", &used));
    if (!used || (!gemma && json_is_null(json_object_get(r->json, "sliding_window")))) return LT_OK;
    if (gemma && json_is_null(json_object_get(r->json, "sliding_window")))
        return lti_config_bad(r, "sliding_window", "a whole number of at least 1");
    c->window = 4096; /* what a missing key means to Hugging Face */
    LTI_TRY(lti_config_count(r, "sliding_window", false, &c->window));
    const json_t *list = json_object_get(r->json, "layer_types");
    if (list && !json_is_null(list)) {
        if (!json_is_array(list)) return lti_config_bad(r, "layer_types", "an array");
        LTI_TRY(read_layer_types(r, list, c));
        if (!mistral || (c->window && !c->window_first && !c->window_pattern)) return LT_OK;
        return lti_fail(r->ctx, LT_EUNSUPPORTED, "%s: layer_types with full_attention are not implemented for mistral",
                        r->path);
    }
    if (gemma) return lti_config_count(r, "sliding_window_pattern", false, &c->window_pattern);
    if (mistral) return LT_OK;
    const json_t *from = json_object_get(r->json, "max_window_layers");
    if (from && (!json_is_integer(from) || json_integer_value(from) < 0))
        return lti_config_bad(r, "max_window_layers", "a whole number of at least 0");
    c->window_first = from ? json_integer_value(from) : 28;
    return LT_OK;
}

/* ---- The whole ---- */

static lt_status read_gemma3(const lti_config_reader *r, lt_transformer_config *c)
{
    double scalar = 256;
    LTI_TRY(lti_config_number(r, "query_pre_attn_scalar", &scalar));
    if (!(scalar > 0)) return lti_config_bad(r, "query_pre_attn_scalar", "a number above 0");
    c->attention_scale = 1 / sqrt(scalar);
    c->embedding_scale = (double)sqrtf((float)c->dim);
    LTI_TRY(lti_config_only_absent(r, "attn_logit_softcapping"));
    LTI_TRY(lti_config_only_absent(r, "final_logit_softcapping"));
    return lti_config_only_bool(r, "use_bidirectional_attention", false);
}

/* The classes of Qwen 2 and Mistral have no such options. */
static lt_status read_biases(const lti_config_reader *r, lt_transformer_config *c)
{
    bool attention = false;
    if (c->family == LT_QWEN2 || is_mistral(r)) return LT_OK;
    LTI_TRY(lti_config_bool(r, "attention_bias", &attention));
    c->qkv_bias = c->output_bias = attention;
    return c->family == LT_LLAMA ? lti_config_bool(r, "mlp_bias", &c->mlp_bias) : LT_OK;
}

/* What a missing key means to the class; heads and vocabulary are left out by published Gemmas alone. */
static void missing_keys(const lti_config_reader *r, lt_transformer_config *c)
{
    bool gemma = c->family == LT_GEMMA3, mistral = is_mistral(r);
    c->tied = gemma;
    c->norm_eps = 1e-6;
    c->rope_theta = gemma ? 1e6 : 1e4;
    c->context = gemma || mistral ? 131072 : c->family == LT_LLAMA ? 2048 : 32768;
    if (gemma || c->family == LT_QWEN3) c->head_dim = gemma ? 256 : 128;
    if (gemma) c->vocab = 262208, c->heads = 8;
    if (c->family == LT_BITNET) c->norm_eps = 1e-5, c->rope_theta = 5e5, c->context = 2048, c->activation = LT_RELU2;
}

/* Absent it is the class's number, null means as many as heads. */
static lt_status read_kv_heads(const lti_config_reader *r, lt_transformer_config *c)
{
    c->kv_heads = c->heads;
    if (!json_object_get(r->json, "num_key_value_heads") && (c->family != LT_LLAMA || is_mistral(r)))
        c->kv_heads = c->family == LT_GEMMA3 ? 4 : c->family == LT_BITNET ? 5 : c->family == LT_LLAMA ? 8 : 32;
    return lti_config_count(r, "num_key_value_heads", false, &c->kv_heads);
}

lt_status lti_llama_read_json(const lti_config_reader *r, lt_transformer_config *c)
{
    bool gemma = c->family == LT_GEMMA3;
    missing_keys(r, c);
    LTI_TRY(lti_config_count(r, "hidden_size", true, &c->dim));
    LTI_TRY(lti_config_count(r, "intermediate_size", true, &c->hidden));
    LTI_TRY(lti_config_count(r, "num_hidden_layers", true, &c->layers));
    LTI_TRY(lti_config_count(r, "num_attention_heads", !gemma, &c->heads));
    LTI_TRY(read_kv_heads(r, c));
    LTI_TRY(lti_config_count(r, "head_dim", false, &c->head_dim));
    LTI_TRY(lti_config_count(r, "max_position_embeddings", false, &c->context));
    LTI_TRY(lti_config_number(r, "rms_norm_eps", &c->norm_eps));
    LTI_TRY(lti_config_activation(r, gemma ? "hidden_activation" : "hidden_act", &c->activation));
    LTI_TRY(read_biases(r, c));
    LTI_TRY(read_rotary(r, c));
    LTI_TRY(lti_config_bool(r, "tie_word_embeddings", &c->tied));
    if (gemma) LTI_TRY(read_gemma3(r, c));
    return read_window(r, c);
}

/* rope_scaling of a new file; an old one keeps what it says, for nothing in lathe changes it. */
static int write_scaling(json_t *json, const lt_transformer_config *c)
{
    const lt_rope_scaling *s = &c->rope_scaling;
    json_t *o = NULL;
    if (s->kind == LT_ROPE_LINEAR) o = json_pack("{s:s, s:f}", "rope_type", "linear", "factor", s->factor);
    if (s->kind == LT_ROPE_LLAMA3)
        o = json_pack("{s:s, s:f, s:f, s:f, s:I}", "rope_type", "llama3", "factor", s->factor, "low_freq_factor",
                      s->low_freq_factor, "high_freq_factor", s->high_freq_factor, "original_max_position_embeddings",
                      (json_int_t)s->original_context);
    if (s->kind == LT_ROPE_YARN)
        o = json_pack("{s:s, s:f, s:f, s:f, s:I}", "rope_type", "yarn", "factor", s->factor, "beta_fast", s->beta_fast,
                      "beta_slow", s->beta_slow, "original_max_position_embeddings", (json_int_t)s->original_context);
    if (!o && (s->kind == LT_ROPE_PLAIN || s->kind == LT_ROPE_FACTORS)) return 0; /* factors have no words */
    int failed = o == NULL;
    if (o && s->kind == LT_ROPE_YARN && s->attention_factor > 0)
        failed |= json_object_set_new(o, "attention_factor", json_real(s->attention_factor));
    return failed | json_object_set_new(json, "rope_scaling", o);
}

static int write_rope(json_t *json, const lt_transformer_config *c)
{
    if (json_object_get(json, "rope_parameters") || json_object_get(json, "rope_theta")) return 0;
    int failed = json_object_set_new(json, "rope_theta", json_real(c->rope_theta)) | write_scaling(json, c);
    if (c->family == LT_GEMMA3)
        failed |= json_object_set_new(json, "rope_local_base_freq", json_real(c->rope_theta_local));
    return failed;
}

static int write_window(json_t *json, const lt_transformer_config *c)
{
    if (json_object_get(json, "layer_types") || json_object_get(json, "sliding_window")) return 0;
    if (c->window == 0) return 0;
    int failed = json_object_set_new(json, "sliding_window", json_integer(c->window));
    if (c->family == LT_GEMMA3)
        return failed | json_object_set_new(json, "sliding_window_pattern", json_integer(c->window_pattern));
    if (c->family == LT_LLAMA) {
        failed |= json_object_set_new(json, "architectures", json_pack("[s]", "MistralForCausalLM"));
        return failed | json_object_set_new(json, "model_type", json_string("mistral"));
    }
    failed |= json_object_set_new(json, "use_sliding_window", json_true());
    return failed | json_object_set_new(json, "max_window_layers", json_integer(c->window_first));
}

int lti_llama_write_json(json_t *json, const lt_transformer_config *c)
{
    const struct {
        const char *key;
        int64_t value;
    } counts[] = {{"hidden_size", c->dim},
                  {"intermediate_size", c->hidden},
                  {"num_hidden_layers", c->layers},
                  {"num_attention_heads", c->heads},
                  {"num_key_value_heads", c->kv_heads},
                  {"head_dim", lti_head_dim(c)},
                  {"max_position_embeddings", c->context}};
    int failed = 0;
    for (int i = 0; i < LTI_COUNT(counts); i++)
        failed |= json_object_set_new(json, counts[i].key, json_integer(counts[i].value));
    failed |= json_object_set_new(json, "rms_norm_eps", json_real(c->norm_eps));
    failed |= write_rope(json, c) | write_window(json, c);
    failed |= json_object_set_new(json, "tie_word_embeddings", json_boolean(c->tied));
    const char *activation = lti_activation_name(c->activation, "gelu_pytorch_tanh");
    if (c->family == LT_GEMMA3) {
        double scalar =
            c->attention_scale > 0 ? 1 / (c->attention_scale * c->attention_scale) : (double)lti_head_dim(c);
        if (!json_object_get(json, "query_pre_attn_scalar"))
            failed |= json_object_set_new(json, "query_pre_attn_scalar", json_integer((json_int_t)round(scalar)));
        return failed | json_object_set_new(json, "hidden_activation", json_string(activation));
    }
    failed |= json_object_set_new(json, "hidden_act", json_string(activation));
    if (c->family == LT_QWEN2) return failed;
    failed |= json_object_set_new(json, "attention_bias", json_boolean(c->output_bias));
    if (c->family == LT_LLAMA) failed |= json_object_set_new(json, "mlp_bias", json_boolean(c->mlp_bias));
    return failed;
}
