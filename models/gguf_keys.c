/* gguf_keys.c - a config as the keys of a GGUF file (the other way is gguf_config.c), and the list keys are gathered in.
 *
 * What GGUF has no key for is refused; what it has a key for that llama.cpp passes over is noted. */
#include "models/convert_parts.h"

#include <math.h>
#include <string.h>

/* ---- The list ---- */

void lti_pairs_free(lti_pairs *p)
{
    for (int i = 0; i < p->n_owned; i++) lti_free(p->ctx, p->owned[i]);
    lti_free(p->ctx, p->owned);
    lti_free(p->ctx, p->list);
    *p = (lti_pairs){.ctx = p->ctx};
}

lt_status lti_pairs_add(lti_pairs *p, const lt_gguf_pair *pair)
{
    if (p->count == p->room) {
        size_t wider = p->room ? 2 * (size_t)p->room : 64;
        lt_gguf_pair *grown = lti_realloc(p->ctx, p->list, (size_t)p->count * sizeof *grown, wider * sizeof *grown);
        if (!grown) return LT_ENOMEM;
        p->list = grown;
        p->room = (int)wider;
    }
    p->list[p->count++] = *pair;
    return LT_OK;
}

/* A block that lives as long as the list; NULL when memory is out. */
static void *own(lti_pairs *p, size_t bytes)
{
    if (p->n_owned == p->owned_room) {
        size_t wider = p->owned_room ? 2 * (size_t)p->owned_room : 64;
        void **grown = lti_realloc(p->ctx, p->owned, (size_t)p->n_owned * sizeof *grown, wider * sizeof *grown);
        if (!grown) return NULL;
        p->owned = grown;
        p->owned_room = (int)wider;
    }
    void *block = lti_alloc(p->ctx, bytes);
    if (block) p->owned[p->n_owned++] = block;
    return block;
}

static const char *own_text(lti_pairs *p, const char *text)
{
    char *copy = own(p, strlen(text) + 1);
    if (copy) memcpy(copy, text, strlen(text) + 1);
    return copy;
}

/* One number, or an array of them. */
static lt_status add_numbers(lti_pairs *p, const char *key, lt_gguf_type type, lt_gguf_type item, int64_t count,
                             const void *data, size_t bytes)
{
    const char *name = own_text(p, key);
    void *copy = name ? own(p, bytes) : NULL;
    if (!copy) return LT_ENOMEM;
    memcpy(copy, data, bytes);
    return lti_pairs_add(p, &(lt_gguf_pair){.key = name, .type = type, .item = item, .count = count, .data = copy});
}

lt_status lti_pairs_u32(lti_pairs *p, const char *key, uint32_t value)
{
    return add_numbers(p, key, LT_GGUF_U32, LT_GGUF_U32, 1, &value, sizeof value);
}

lt_status lti_pairs_f32(lti_pairs *p, const char *key, float value)
{
    return add_numbers(p, key, LT_GGUF_F32, LT_GGUF_F32, 1, &value, sizeof value);
}

lt_status lti_pairs_bool(lti_pairs *p, const char *key, bool value)
{
    uint8_t byte = value;
    return add_numbers(p, key, LT_GGUF_BOOL, LT_GGUF_BOOL, 1, &byte, sizeof byte);
}

lt_status lti_pairs_f32s(lti_pairs *p, const char *key, int64_t count, const float *values)
{
    return add_numbers(p, key, LT_GGUF_ARRAY, LT_GGUF_F32, count, values, (size_t)count * sizeof *values);
}

static lt_status add_texts(lti_pairs *p, const char *key, lt_gguf_type type, int64_t count, const char *const *texts)
{
    const char *name = own_text(p, key);
    lt_gguf_string *strings = name ? own(p, (size_t)count * sizeof *strings) : NULL;
    if (!strings) return LT_ENOMEM;
    for (int64_t i = 0; i < count; i++) {
        strings[i] = (lt_gguf_string){own_text(p, texts[i]), (int64_t)strlen(texts[i])};
        if (!strings[i].text) return LT_ENOMEM;
    }
    return lti_pairs_add(
        p, &(lt_gguf_pair){.key = name, .type = type, .item = LT_GGUF_STRING, .count = count, .strings = strings});
}

lt_status lti_pairs_text(lti_pairs *p, const char *key, const char *text)
{
    return add_texts(p, key, LT_GGUF_STRING, 1, &text);
}

lt_status lti_pairs_texts(lti_pairs *p, const char *key, int64_t count, const char *const *texts)
{
    return add_texts(p, key, LT_GGUF_ARRAY, count, texts);
}

/* ---- Keys of the architecture ---- */

typedef struct writer {
    lt_ctx *ctx;
    const lt_transformer_config *c;
    lti_pairs *p;
    lti_text *notes;
    const char *arch;
} writer;

static const char *full_key(const writer *w, const char *key, char text[128])
{
    snprintf(text, 128, "%s.%s", w->arch, key);
    return text;
}

static lt_status put_count(const writer *w, const char *key, int64_t value)
{
    char name[128];
    return lti_pairs_u32(w->p, full_key(w, key, name), (uint32_t)value);
}

static lt_status put_number(const writer *w, const char *key, double value)
{
    char name[128];
    return lti_pairs_f32(w->p, full_key(w, key, name), (float)value);
}

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-6 * fabs(b);
}

/* The scale llama.cpp computes attention with when no key says otherwise. */
static double usual_scale(const lt_transformer_config *c)
{
    bool of_27b = c->family == LT_GEMMA3 && c->layers == 62;
    return 1 / sqrt(of_27b ? (double)c->dim / (double)c->heads : (double)lti_head_dim(c));
}

/* What llama.cpp's graph of bitnet leaves no place for: it would not load the tensors. */
static lt_status check_bitnet(const writer *w)
{
    const lt_transformer_config *c = w->c;
    lt_rope_scaling_kind scaling = c->rope_scaling.kind;
    const char *what = !c->tied                        ? "a head of its own (tie_word_embeddings is false)"
                       : c->qkv_bias || c->output_bias ? "biases"
                       : scaling == LT_ROPE_LLAMA3 || scaling == LT_ROPE_FACTORS ? "factors of rotary positions"
                                                                                 : NULL;
    if (!what) return LT_OK;
    return lti_fail(w->ctx, LT_EUNSUPPORTED, "convert: GGUF's bitnet has no place for %s; other programs refuse it",
                    what);
}

static lt_status check(const writer *w)
{
    const lt_transformer_config *c = w->c;
    lt_activation activation = c->family == LT_GEMMA3 || c->family == LT_GPT2 ? LT_GELU_TANH
                               : c->family == LT_BERT                         ? LT_GELU
                                                                              : LT_SILU;
    if (c->activation != activation)
        return lti_fail(w->ctx, LT_EUNSUPPORTED,
                        "convert: GGUF has no key for the activation of %s that all programs read: %s would run as %s, "
                        "another model",
                        w->arch, lti_activation_name(c->activation, "gelu_new"),
                        lti_activation_name(activation, "gelu_new"));
    return c->family == LT_BITNET ? check_bitnet(w) : LT_OK;
}

/* Keys that exist but that llama.cpp does not read for the family: lathe does, and the report says so. */
static lt_status put_rare(const writer *w)
{
    const lt_transformer_config *c = w->c;
    if (c->attention_scale > 0 && !near(c->attention_scale, usual_scale(c))) {
        LTI_TRY(put_number(w, "attention.scale", c->attention_scale));
        lti_text_format(w->notes, "note: attention.scale is unusual for %s; llama.cpp may ignore it\n", w->arch);
    }
    if (c->window && c->family == LT_GEMMA3 && c->window_pattern != 6) {
        LTI_TRY(put_count(w, "attention.sliding_window_pattern", c->window_pattern));
        lti_text_format(w->notes, "note: a pattern of %lld layers is unusual for %s; llama.cpp may take 6\n",
                        (long long)c->window_pattern, w->arch);
    }
    if (!c->window || c->family == LT_GEMMA3) return LT_OK;
    lti_text_format(w->notes, "note: llama.cpp ignores the window of %lld positions for %s\n", (long long)c->window,
                    w->arch);
    if (c->window_pattern) LTI_TRY(put_count(w, "attention.sliding_window_pattern", c->window_pattern));
    return c->window_first ? put_count(w, "attention.sliding_window_first", c->window_first) : LT_OK;
}

static lt_status put_sizes(const writer *w)
{
    const lt_transformer_config *c = w->c;
    const struct {
        const char *key;
        int64_t value;
    } counts[] = {{"context_length", c->context},
                  {"embedding_length", c->dim},
                  {"block_count", c->layers},
                  {"feed_forward_length", c->hidden},
                  {"attention.head_count", c->heads}};
    for (int i = 0; i < LTI_COUNT(counts); i++) LTI_TRY(put_count(w, counts[i].key, counts[i].value));
    return LT_OK;
}

static lt_status put_scaling(const writer *w)
{
    const lt_rope_scaling *s = &w->c->rope_scaling;
    char name[128];
    if (s->kind != LT_ROPE_LINEAR && s->kind != LT_ROPE_YARN) return LT_OK; /* the others are a tensor */
    bool yarn = s->kind == LT_ROPE_YARN;
    LTI_TRY(lti_pairs_text(w->p, full_key(w, "rope.scaling.type", name), yarn ? "yarn" : "linear"));
    LTI_TRY(put_number(w, "rope.scaling.factor", s->factor));
    if (!yarn) return LT_OK;
    LTI_TRY(put_count(w, "rope.scaling.original_context_length", s->original_context));
    if (s->beta_fast != 32) LTI_TRY(put_number(w, "rope.scaling.yarn_beta_fast", s->beta_fast));
    if (s->beta_slow != 1) LTI_TRY(put_number(w, "rope.scaling.yarn_beta_slow", s->beta_slow));
    if (s->beta_fast != 32 || s->beta_slow != 1)
        lti_text_format(w->notes,
                        "note: llama.cpp takes YaRN's betas from the file for some families only; else run it with "
                        "--yarn-beta-fast %g --yarn-beta-slow %g\n",
                        s->beta_fast, s->beta_slow);
    double usual = 0.1 * log(s->factor) + 1; /* by which llama.cpp multiplies the key */
    if (s->attention_factor > 0 && !near(s->attention_factor, usual))
        return put_number(w, "rope.scaling.attn_factor", s->attention_factor / usual);
    return LT_OK;
}

static lt_status put_rotary(const writer *w)
{
    const lt_transformer_config *c = w->c;
    LTI_TRY(put_count(w, "attention.head_count_kv", c->kv_heads));
    LTI_TRY(put_number(w, "attention.layer_norm_rms_epsilon", c->norm_eps));
    LTI_TRY(put_number(w, "rope.freq_base", c->rope_theta));
    LTI_TRY(put_scaling(w));
    if (c->family == LT_LLAMA) {
        LTI_TRY(put_count(w, "vocab_size", c->vocab));
        LTI_TRY(put_count(w, "rope.dimension_count", lti_head_dim(c)));
    }
    if (c->family != LT_LLAMA || (c->head_dim && c->head_dim * c->heads != c->dim)) {
        LTI_TRY(put_count(w, "attention.key_length", lti_head_dim(c)));
        LTI_TRY(put_count(w, "attention.value_length", lti_head_dim(c)));
    }
    if (c->family == LT_GEMMA3) LTI_TRY(put_number(w, "rope.freq_base_swa", c->rope_theta_local));
    if (c->window) LTI_TRY(put_count(w, "attention.sliding_window", c->window));
    return put_rare(w);
}

lt_status lti_gguf_keys(lt_ctx *ctx, const lt_transformer_config *c, lti_pairs *p, lti_text *notes)
{
    writer w = {ctx, c, p, notes, lt_family_name(c->family)};
    LTI_TRY(check(&w));
    LTI_TRY(put_sizes(&w));
    if (!lt_transformer_learns_positions(c)) return put_rotary(&w);
    LTI_TRY(put_number(&w, "attention.layer_norm_epsilon", c->norm_eps));
    if (!lt_transformer_is_encoder(c)) return LT_OK;
    LTI_TRY(lti_pairs_bool(p, "bert.attention.causal", false));
    return put_count(&w, "pooling_type", c->classes ? 4 : 1);
}
