/* gguf_config.c - a model's config from the keys of a GGUF file.
 *
 * Sizes come from keys, what is tied or biased from the tensors that are there. Keys of the architecture that lathe
 * does not know are refused by name: each may change what the model computes. The scaling of rotary positions may be a
 * tensor of factors (rope_freqs); those of Llama 3 are recognised, so that the model can be written for others again. */
#include "autograd/ops/rope_frequencies.h"
#include "models/model.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct keys {
    lt_ctx *ctx;
    const lt_gguf *gguf;
    const char *path, *arch;
} keys;

static const char *full_key(const keys *k, const char *key, char text[128])
{
    snprintf(text, 128, "%s.%s", k->arch, key);
    return text;
}

static lt_status read_count(const keys *k, const char *key, bool required, int64_t *value)
{
    char name[128];
    uint64_t number;
    const lt_gguf_pair *pair = lt_gguf_get(k->gguf, full_key(k, key, name));
    if (!pair && !required) return LT_OK;
    if (!pair) return lti_fail(k->ctx, LT_EFORMAT, "%s: key '%s' is missing", k->path, name);
    if (!lt_gguf_uint(k->gguf, name, &number) || number > INT64_MAX)
        return lti_fail(k->ctx, LT_EFORMAT, "%s: key '%s' is %s; a whole number is needed", k->path, name,
                        lt_gguf_type_name(pair->type));
    *value = (int64_t)number;
    return LT_OK;
}

static lt_status read_number(const keys *k, const char *key, double *value)
{
    char name[128];
    const lt_gguf_pair *pair = lt_gguf_get(k->gguf, full_key(k, key, name));
    if (!pair || lt_gguf_real(k->gguf, name, value)) return LT_OK;
    return lti_fail(k->ctx, LT_EFORMAT, "%s: key '%s' is %s; a number is needed", k->path, name,
                    lt_gguf_type_name(pair->type));
}

/* A count that newer files give once a layer: all must be equal. */
static lt_status read_per_layer(const keys *k, const char *key, int64_t *value)
{
    char name[128];
    const lt_gguf_pair *pair = lt_gguf_get(k->gguf, full_key(k, key, name));
    if (!pair || pair->type != LT_GGUF_ARRAY) return read_count(k, key, false, value);
    for (int64_t i = 0; i < pair->count; i++) {
        int64_t number = 0;
        if (lt_gguf_item_int(pair, i, &number) && (i == 0 || number == *value)) {
            *value = number;
            continue;
        }
        return lti_fail(k->ctx, LT_EUNSUPPORTED, "%s: '%s' differs between layers, which lathe does not implement",
                        k->path, name);
    }
    return LT_OK;
}

/* Keys of the architecture, after its name, that are read here or change nothing. */
static const char *const known_keys[] = {
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "vocab_size",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.freq_base_swa",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.attn_factor",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "attention.scale",
    "attention.sliding_window_first",
    "rope.scaling.finetuned",
    "rope.scale_linear",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.layer_norm_rms_epsilon",
    "attention.layer_norm_epsilon",
    "attention.key_length",
    "attention.value_length",
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "attention.causal",
    "attention.key_length_swa",
    "attention.value_length_swa",
    "rope.dimension_count_swa",
    "tensor_data_layout",
    "pooling_type",
    "classifier.output_labels",
    "hidden_activation",
    "use_parallel_residual", /* written for other users of the same architecture name */
};

static lt_status refuse_unknown(const keys *k)
{
    size_t length = strlen(k->arch);
    for (int i = 0; i < lt_gguf_pairs(k->gguf); i++) {
        const char *key = lt_gguf_pair_at(k->gguf, i)->key;
        if (strncmp(key, k->arch, length) || key[length] != '.') continue;
        bool known = false;
        for (int j = 0; j < LTI_COUNT(known_keys) && !known; j++) known = !strcmp(key + length + 1, known_keys[j]);
        uint64_t number;
        double real;
        if (!known &&
            ((lt_gguf_uint(k->gguf, key, &number) && number == 0) || (lt_gguf_real(k->gguf, key, &real) && real == 0)))
            known = true; /* an option that is off: experts, soft caps */
        if (!known)
            return lti_fail(k->ctx, LT_EUNSUPPORTED, "%s: key '%s' is an option lathe does not implement", k->path,
                            key);
    }
    return LT_OK;
}

/* Keys that say what lathe computes anyway, or else ask for something else. */
static lt_status check_fixed(const keys *k, const lti_family *family, const lt_transformer_config *c)
{
    static const char *const lengths[] = {"attention.key_length_swa", "attention.value_length_swa",
                                          "rope.dimension_count_swa"};
    const struct {
        const char *key;
        bool wanted;
    } flags[] = {{"attention.causal", !family->encoder}, {"use_parallel_residual", false}};
    char name[128];
    for (int i = 0; i < LTI_COUNT(flags); i++) {
        bool value;
        if (lt_gguf_bool(k->gguf, full_key(k, flags[i].key, name), &value) && value != flags[i].wanted)
            return lti_fail(k->ctx, LT_EUNSUPPORTED, "%s: key '%s' is %s, which lathe does not implement", k->path,
                            name, value ? "true" : "false");
    }
    for (int i = 0; i < LTI_COUNT(lengths); i++) {
        int64_t length = lti_head_dim(c);
        LTI_TRY(read_count(k, lengths[i], false, &length));
        if (length != lti_head_dim(c))
            return lti_fail(k->ctx, LT_EUNSUPPORTED,
                            "%s: key '%s.%s' is %" PRId64 ", but other heads have %" PRId64
                            "; lathe implements heads of one length",
                            k->path, k->arch, lengths[i], length, lti_head_dim(c));
    }
    return LT_OK;
}

static lt_status read_sizes(const keys *k, lt_transformer_config *c)
{
    int i = lt_gguf_find(k->gguf, "token_embd.weight");
    if (i < 0)
        return lti_fail(k->ctx, LT_EFORMAT,
                        "%s: tensor 'token_embd.weight' is missing: this is no whole language model (a vocabulary, a "
                        "projector of images?); give the model's own file",
                        k->path);
    const lt_gguf_tensor_info *embedding = lt_gguf_tensor(k->gguf, i);
    c->vocab = embedding->rank == 2 ? embedding->shape[0] : 0;
    LTI_TRY(read_count(k, "context_length", true, &c->context));
    LTI_TRY(read_count(k, "embedding_length", true, &c->dim));
    LTI_TRY(read_count(k, "block_count", true, &c->layers));
    LTI_TRY(read_per_layer(k, "feed_forward_length", &c->hidden));
    LTI_TRY(read_per_layer(k, "attention.head_count", &c->heads));
    c->kv_heads = c->heads;
    LTI_TRY(read_per_layer(k, "attention.head_count_kv", &c->kv_heads));
    LTI_TRY(read_count(k, "attention.key_length", false, &c->head_dim));
    int64_t value_length = c->head_dim, rotated = lti_head_dim(c);
    LTI_TRY(read_count(k, "attention.value_length", false, &value_length));
    LTI_TRY(read_count(k, "rope.dimension_count", false, &rotated));
    if ((c->head_dim && value_length != c->head_dim) || rotated != lti_head_dim(c))
        return lti_fail(k->ctx, LT_EUNSUPPORTED,
                        "%s: heads of %" PRId64 " with values of %" PRId64 " and %" PRId64
                        " rotated: lathe implements heads of one length, rotated whole",
                        k->path, lti_head_dim(c), value_length, rotated);
    return LT_OK;
}

static void look_at_tensors(const keys *k, lt_transformer_config *c)
{
    const struct {
        const char *name;
        bool *there;
    } marks[] = {{"blk.0.attn_q.bias", &c->qkv_bias},
                 {"blk.0.attn_output.bias", &c->output_bias},
                 {"blk.0.ffn_gate.bias", &c->mlp_bias},
                 {"blk.0.attn_q_norm.weight", &c->qk_norm}};
    for (int i = 0; i < LTI_COUNT(marks); i++) *marks[i].there = lt_gguf_find(k->gguf, marks[i].name) >= 0;
    c->tied = lt_gguf_find(k->gguf, "output.weight") < 0;
    int types = lt_gguf_find(k->gguf, "token_types.weight"), classes = lt_gguf_find(k->gguf, "cls.output.weight");
    c->types = types >= 0 ? lt_gguf_tensor(k->gguf, types)->shape[0] : 0;
    if (classes >= 0) c->classes = lt_gguf_tensor(k->gguf, classes)->shape[0];
}

/* ---- Rotary scaling ---- */

static bool is_text(lt_gguf_string text, const char *word)
{
    return text.bytes == (int64_t)strlen(word) && !memcmp(text.text, word, strlen(word));
}

/* As llama.cpp reads the keys: without a type linear is meant, without a factor nothing, and YaRN's amplitude is
 * multiplied by one more. */
static lt_status read_scaling(const keys *k, lt_transformer_config *c)
{
    char name[128];
    lt_gguf_string type = {"linear", 6};
    double factor = 0, times = 1;
    lt_gguf_text(k->gguf, full_key(k, "rope.scaling.type", name), &type);
    bool linear = is_text(type, "linear"), yarn = is_text(type, "yarn");
    if (!linear && !yarn && !is_text(type, "none"))
        return lti_fail(k->ctx, LT_EUNSUPPORTED, "%s: '%s' is '%.*s'; lathe implements none, linear and yarn", k->path,
                        name, (int)(type.bytes < 40 ? type.bytes : 40), type.text);
    LTI_TRY(read_number(k, "rope.scale_linear", &factor)); /* the old name */
    LTI_TRY(read_number(k, "rope.scaling.factor", &factor));
    LTI_TRY(read_number(k, "rope.scaling.attn_factor", &times));
    if (!yarn && times != 1)
        return lti_fail(k->ctx, LT_EUNSUPPORTED,
                        "%s: '%s.rope.scaling.attn_factor' is %g; lathe implements it for yarn", k->path, k->arch,
                        times);
    if ((!linear && !yarn) || factor == 0 || (linear && factor == 1)) return LT_OK;
    lt_rope_scaling *s = &c->rope_scaling;
    *s = (lt_rope_scaling){.kind = linear ? LT_ROPE_LINEAR : LT_ROPE_YARN,
                           .factor = factor,
                           .beta_fast = 32,
                           .beta_slow = 1,
                           .original_context = c->context};
    LTI_TRY(read_count(k, "rope.scaling.original_context_length", false, &s->original_context));
    LTI_TRY(read_number(k, "rope.scaling.yarn_beta_fast", &s->beta_fast));
    LTI_TRY(read_number(k, "rope.scaling.yarn_beta_slow", &s->beta_slow));
    if (yarn && times != 1) s->attention_factor = times * (0.1 * log(s->factor) + 1);
    return LT_OK;
}

/* Whether the scaling divides plain frequencies by these factors. */
static bool makes_factors(const lt_transformer_config *c, const lt_rope_scaling *scaling, const float *factors)
{
    double plain[512], scaled[512], amplitude;
    int64_t D = lti_head_dim(c);
    lt_rope_config rope;
    lt_rope_config_init(&rope);
    rope.theta = c->rope_theta;
    lti_rope_frequencies(&rope, D, plain, &amplitude);
    rope.scaling = *scaling;
    lti_rope_frequencies(&rope, D, scaled, &amplitude);
    for (int64_t i = 0; i < D / 2; i++)
        if (!(fabs(plain[i] / scaled[i] - factors[i]) <= 2e-5 * factors[i])) return false;
    return true;
}

/* Llama 3's scaling with its usual numbers, when that gives these factors. */
static bool recognise_llama3(lt_transformer_config *c, int64_t half, const float *factors)
{
    float largest = 1;
    for (int64_t i = 0; i < half; i++) largest = factors[i] > largest ? factors[i] : largest;
    const lt_rope_scaling usual = {.kind = LT_ROPE_LLAMA3,
                                   .factor = largest,
                                   .low_freq_factor = 1,
                                   .high_freq_factor = 4,
                                   .original_context = 8192};
    if (!makes_factors(c, &usual, factors)) return false;
    c->rope_scaling = usual;
    return true;
}

void lti_adopt_scaling(const lt_transformer_config *told, lt_transformer_config *c)
{
    if (c->rope_scaling.kind == LT_ROPE_FACTORS && told->rope_scaling.kind == LT_ROPE_LLAMA3 &&
        lti_head_dim(told) == lti_head_dim(c) && makes_factors(c, &told->rope_scaling, c->rope_scaling.factors))
        c->rope_scaling = told->rope_scaling;
}

static lt_status read_factors(const keys *k, lt_transformer_config *c, float **factors)
{
    int index = lt_gguf_find(k->gguf, "rope_freqs.weight");
    if (index < 0) return LT_OK;
    const lt_gguf_tensor_info *t = lt_gguf_tensor(k->gguf, index);
    int64_t half = lti_head_dim(c) / 2;
    if (!t->known || t->type != LT_F32 || t->elements != half || half > 512)
        return lti_fail(k->ctx, LT_EFORMAT,
                        "%s: tensor 'rope_freqs.weight' is %s of %" PRId64 " elements, not f32 of %" PRId64, k->path,
                        t->type_name, t->elements, half);
    if (c->rope_scaling.kind != LT_ROPE_PLAIN)
        return lti_fail(k->ctx, LT_EUNSUPPORTED,
                        "%s: has both the tensor 'rope_freqs.weight' and keys %s.rope.scaling; lathe implements one of "
                        "them at a time",
                        k->path, k->arch);
    float *copy = lti_alloc_array(k->ctx, (size_t)half, sizeof *copy);
    if (!copy) return LT_ENOMEM;
    memcpy(copy, t->data, (size_t)half * sizeof *copy);
    for (int64_t i = 0; i < half; i++)
        if (!(copy[i] > 0) || !isfinite(copy[i])) {
            lti_free(k->ctx, copy);
            return lti_fail(k->ctx, LT_EFORMAT, "%s: 'rope_freqs.weight'[%" PRId64 "] is no factor above 0", k->path,
                            i);
        }
    if (recognise_llama3(c, half, copy)) {
        lti_free(k->ctx, copy);
        return LT_OK;
    }
    *factors = copy;
    c->rope_scaling = (lt_rope_scaling){.kind = LT_ROPE_FACTORS, .factors = copy};
    return LT_OK;
}

static lt_status read_gemma3(const keys *k, lt_transformer_config *c)
{
    c->norm_plus_one = false;
    c->embedding_scale = (double)sqrtf((float)c->dim);
    /* The 27B model alone is scaled by dim / heads; no key says so, llama.cpp goes by the layers too. */
    double scaled = c->layers == 62 ? (double)c->dim / (double)c->heads : (double)lti_head_dim(c);
    c->attention_scale = 1 / sqrt(scaled);
    return read_number(k, "rope.freq_base_swa", &c->rope_theta_local);
}

/* llama.cpp's bitnet is SiLU without the key, and in older versions with it. No other family has one. */
static lt_status read_activation(const keys *k, lt_transformer_config *c)
{
    char name[128];
    lt_gguf_string text = {"", 0};
    if (!lt_gguf_get(k->gguf, full_key(k, "hidden_activation", name))) return LT_OK;
    lt_gguf_text(k->gguf, name, &text);
    bool silu = is_text(text, "silu"), relu2 = is_text(text, "relu2");
    if (relu2) c->activation = LT_RELU2;
    if (c->family == LT_BITNET && (silu || relu2)) return LT_OK;
    return lti_fail(k->ctx, LT_EUNSUPPORTED, "%s: key '%s' is '%.*s', which lathe does not implement for %s", k->path,
                    name, (int)(text.bytes < 40 ? text.bytes : 40), text.text, k->arch);
}

/* Parts of a split file open alone, and would be half a model. */
static lt_status refuse_split(lt_ctx *ctx, const lt_gguf *gguf)
{
    uint64_t parts = 1;
    if (!lt_gguf_uint(gguf, "split.count", &parts) || parts < 2) return LT_OK;
    return lti_fail(ctx, LT_EUNSUPPORTED,
                    "%s: is one of %" PRIu64 " parts of a split model; join them with llama-gguf-split --merge",
                    lt_gguf_path(gguf), parts);
}

static lt_status find_arch(const lt_gguf *gguf, lt_ctx *ctx, char arch[64], const lti_family **family)
{
    lt_gguf_string text;
    if (!lt_gguf_text(gguf, "general.architecture", &text))
        return lti_fail(ctx, LT_EFORMAT, "%s: key 'general.architecture' is missing: this is no model",
                        lt_gguf_path(gguf));
    snprintf(arch, 64, "%.*s", (int)(text.bytes < 63 ? text.bytes : 63), text.text);
    *family = lti_family_named(arch);
    if (*family) return LT_OK;
    return lti_fail(ctx, LT_EUNSUPPORTED, "%s: architecture '%s' is not implemented; %s are", lt_gguf_path(gguf), arch,
                    lti_family_names());
}

static lt_status fill(const keys *k, const lti_family *family, lt_transformer_config *c, float **factors)
{
    LTI_TRY(refuse_unknown(k));
    lt_transformer_config_init(c, family->id);
    if (!family->learned_positions) c->rope_theta = 1e4; /* llama.cpp's default for a file without the key */
    LTI_TRY(read_sizes(k, c));
    LTI_TRY(check_fixed(k, family, c));
    look_at_tensors(k, c);
    c->rope_interleaved = family->gguf_interleaves;
    LTI_TRY(read_number(k, "attention.layer_norm_rms_epsilon", &c->norm_eps));
    LTI_TRY(read_number(k, "attention.layer_norm_epsilon", &c->norm_eps));
    c->window = 0;
    LTI_TRY(read_count(k, "attention.sliding_window", false, &c->window));
    LTI_TRY(read_activation(k, c));
    if (family->learned_positions) return LT_OK;
    LTI_TRY(read_number(k, "rope.freq_base", &c->rope_theta));
    LTI_TRY(read_scaling(k, c));
    if (family->id == LT_GEMMA3) LTI_TRY(read_gemma3(k, c));
    LTI_TRY(read_number(k, "attention.scale", &c->attention_scale));
    LTI_TRY(read_count(k, "attention.sliding_window_pattern", false, &c->window_pattern));
    LTI_TRY(read_count(k, "attention.sliding_window_first", false, &c->window_first));
    return read_factors(k, c, factors);
}

/* LoRA adapters carry the architecture of the model they were made for. */
static lt_status refuse_adapter(lt_ctx *ctx, const lt_gguf *gguf)
{
    lt_gguf_string type = {"", 0};
    lt_gguf_text(gguf, "general.type", &type);
    if (type.bytes != 7 || memcmp(type.text, "adapter", 7)) return LT_OK;
    return lti_fail(ctx, LT_EUNSUPPORTED,
                    "%s: is an adapter, changes to a model without the model; give the model it was made for",
                    lt_gguf_path(gguf));
}

lt_status lti_config_from_gguf(lt_ctx *ctx, const lt_gguf *gguf, lt_transformer_config *c, float **factors)
{
    char arch[64];
    const lti_family *family;
    *factors = NULL;
    LTI_TRY(refuse_split(ctx, gguf));
    LTI_TRY(refuse_adapter(ctx, gguf));
    LTI_TRY(find_arch(gguf, ctx, arch, &family));
    keys k = {ctx, gguf, lt_gguf_path(gguf), arch};
    LTI_TRY(fill(&k, family, c, factors));
    if (lti_config_sizes(ctx, k.path, c) == LT_OK) return LT_OK;
    lti_free(ctx, *factors);
    *factors = NULL;
    return lt_ctx_status(ctx);
}
