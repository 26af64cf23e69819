/* convert_gguf.c - the GGUF end of lt_convert: keys of the model and its tokenizer, tensors, what is carried for the way
 * back. From GGUF to GGUF all keys are kept. */
#include "models/convert_parts.h"

#include "autograd/ops/rope_frequencies.h"
#include "data/tokenizer/gguf_tokenizer.h"

#include <stdlib.h>
#include <string.h>

/* ---- Carried ---- */

static lt_status carry_json(lti_pairs *p, const char *key, const json_t *json)
{
    if (!json) return LT_OK;
    char *text = json_dumps(json, JSON_COMPACT);
    lt_status status = text ? lti_pairs_text(p, key, text) : lti_fail(p->ctx, LT_ENOMEM, "out of memory for %s", key);
    free(text);
    return status;
}

/* The types the tensors have where they came from; where the caller chose one, that is what they come back as. */
static lt_status carry_types(const lti_conversion *c, lti_pairs *p)
{
    const char **names = lti_alloc_array(c->ctx, (size_t)c->count, sizeof *names);
    if (!names) return LT_ENOMEM;
    for (int i = 0; i < c->count; i++) {
        const lti_moving *m = &c->list[i];
        lt_dtype type = c->typed && m->type != LT_F32 ? m->type : m->w.type;
        names[i] = type == LT_F16 ? "F16" : type == LT_BF16 ? "BF16" : "F32";
    }
    lt_status status = lti_pairs_texts(p, LTI_CARRIED_TYPES, c->count, names);
    lti_free(c->ctx, names);
    return status;
}

/* Norms of which 1 + w loses bits: w itself. */
static lt_status carry_norm(const lti_conversion *c, const lti_moving *m, lti_pairs *p)
{
    size_t n = (size_t)m->w.elements;
    lt_real *w = lti_alloc_array(c->ctx, n, sizeof *w);
    float *exact = lti_alloc_array(c->ctx, n, sizeof *exact);
    lt_status status = w && exact ? lti_moving_values(m, w) : LT_ENOMEM;
    bool lost = false;
    for (size_t i = 0; status == LT_OK && i < n; i++) {
        exact[i] = (float)w[i];
        float back = (exact[i] + 1) - 1;
        lost |= memcmp(&back, &exact[i], sizeof back) != 0;
    }
    char key[128];
    snprintf(key, sizeof key, "%s%s", LTI_CARRIED_NORM, m->t.name);
    if (status == LT_OK && lost) status = lti_pairs_f32s(p, key, m->w.elements, exact);
    lti_free(c->ctx, exact);
    lti_free(c->ctx, w);
    return status;
}

static lt_status carry(const lti_conversion *c, lti_pairs *p)
{
    LTI_TRY(carry_json(p, LTI_CARRIED_CONFIG, c->model->json));
    LTI_TRY(carry_json(p, LTI_CARRIED_GENERATION, c->model->generation));
    LTI_TRY(lti_pairs_text(p, LTI_CARRIED_PREFIX, c->model->prefix));
    LTI_TRY(carry_types(c, p));
    for (int i = 0; i < c->count; i++)
        if (lti_layout_shift(&c->list[i].t, c->from, c->to)) LTI_TRY(carry_norm(c, &c->list[i], p));
    return LT_OK;
}

/* ---- Keys ---- */

/* The mix's number, or that of the type most weights have, as general.file_type has them. */
static uint32_t file_type(const lti_conversion *c)
{
    if (c->mix.number) return c->mix.number;
    int64_t elements[LT_DTYPE_COUNT] = {0};
    int most = LT_F32;
    for (int i = 0; i < c->count; i++) elements[c->list[i].type] += c->list[i].w.elements;
    for (int i = 0; i < LT_DTYPE_COUNT; i++)
        if (elements[i] > elements[most]) most = i;
    static const struct {
        lt_dtype type;
        uint32_t number;
    } numbers[] = {{LT_F32, 0},     {LT_F16, 1},   {LT_Q4_0, 2},   {LT_Q4_1, 3},   {LT_Q8_0, 7},  {LT_Q5_0, 8},
                   {LT_Q5_1, 9},    {LT_Q2_K, 10}, {LT_Q3_K, 12},  {LT_Q4_K, 15},  {LT_Q5_K, 17}, {LT_Q6_K, 18},
                   {LT_IQ4_NL, 25}, {LT_BF16, 32}, {LT_TQ1_0, 36}, {LT_TQ2_0, 37}, {LT_MXFP4, 38}};
    for (int i = 0; i < LTI_COUNT(numbers); i++)
        if (numbers[i].type == (lt_dtype)most) return numbers[i].number;
    return 0;
}

/* The name of the directory the weights lie in; "model" where that says nothing. */
static void directory_name(const char *path, char name[128])
{
    const char *end = strrchr(path, '/'), *begin = end;
    while (begin && begin > path && begin[-1] != '/') begin--;
    int length = begin ? (int)(end - begin < 127 ? end - begin : 127) : 0;
    snprintf(name, 128, "%.*s", length, begin ? begin : "");
    if (!*name || !strcmp(name, ".") || !strcmp(name, "..")) snprintf(name, 128, "model");
}

static lt_status general_keys(const lti_conversion *c, lti_pairs *p)
{
    char name[128];
    if (c->name)
        snprintf(name, sizeof name, "%s", c->name);
    else
        directory_name(lti_weights_path(&c->model->weights), name);
    LTI_TRY(lti_pairs_text(p, "general.architecture", lt_family_name(c->model->config.family)));
    LTI_TRY(lti_pairs_text(p, "general.type", "model"));
    LTI_TRY(lti_pairs_text(p, "general.name", name));
    LTI_TRY(lti_pairs_u32(p, "general.file_type", file_type(c)));
    for (int i = 0; i < c->n_more; i++) LTI_TRY(lti_pairs_add(p, &c->more[i]));
    return lti_pairs_u32(p, "general.quantization_version", 2);
}

static lt_status new_keys(lti_conversion *c, lti_pairs *p)
{
    LTI_TRY(general_keys(c, p));
    LTI_TRY(lti_gguf_keys(c->ctx, &c->model->config, p, &c->report));
    if (lt_transformer_is_encoder(&c->model->config) && c->model->config.classes > 0) {
        const char *labels[1024];
        int64_t n = c->model->config.classes < 1024 ? c->model->config.classes : 1024;
        bool all = true;
        for (int64_t i = 0; i < n; i++) all &= (labels[i] = lt_model_label(c->model, i)) != NULL;
        if (all) LTI_TRY(lti_pairs_texts(p, "bert.classifier.output_labels", n, labels));
    }
    return carry(c, p);
}

/* From GGUF: its keys, but for the type. */
static lt_status kept_keys(const lti_conversion *c, lti_pairs *p)
{
    const lt_gguf *gguf = c->model->weights.gguf;
    for (int i = 0; i < lt_gguf_pairs(gguf); i++) {
        const lt_gguf_pair *pair = lt_gguf_pair_at(gguf, i);
        if (strcmp(pair->key, "general.file_type") && strcmp(pair->key, "general.alignment"))
            LTI_TRY(lti_pairs_add(p, pair));
    }
    return lti_pairs_u32(p, "general.file_type", file_type(c));
}

/* ---- Tensors ---- */

/* rope_freqs: what plain frequencies are divided by, for scalings that GGUF keeps as a tensor. */
static lt_status factors_of(const lti_conversion *c, float factors[512], int64_t *count)
{
    const lt_transformer_config *config = &c->model->config;
    const lt_rope_scaling *s = &config->rope_scaling;
    *count = 0;
    if (s->kind != LT_ROPE_LLAMA3 && s->kind != LT_ROPE_FACTORS) return LT_OK;
    *count = lti_head_dim(config) / 2;
    int index = c->model->weights.gguf ? lt_gguf_find(c->model->weights.gguf, "rope_freqs.weight") : -1;
    if (index >= 0) {
        memcpy(factors, lt_gguf_tensor(c->model->weights.gguf, index)->data, (size_t)*count * sizeof *factors);
        return LT_OK;
    }
    double plain[512], scaled[512], amplitude;
    lt_rope_config rope;
    lt_rope_config_init(&rope);
    rope.theta = config->rope_theta;
    lti_rope_frequencies(&rope, 2 * *count, plain, &amplitude);
    rope.scaling = *s;
    lti_rope_frequencies(&rope, 2 * *count, scaled, &amplitude);
    for (int64_t i = 0; i < *count; i++) factors[i] = (float)(plain[i] / scaled[i]);
    return LT_OK;
}

static lt_status write_file(lti_conversion *c, const lti_pairs *p)
{
    float factors[512];
    int64_t count;
    LTI_TRY(factors_of(c, factors, &count));
    lt_gguf_entry *entries = lti_alloc_array(c->ctx, (size_t)c->count + 1, sizeof *entries);
    if (!entries) return LT_ENOMEM;
    int n = 0;
    if (count)
        entries[n++] =
            (lt_gguf_entry){.name = "rope_freqs.weight", .type = LT_F32, .rank = 1, .shape = {count}, .data = factors};
    for (int i = 0; i < c->count; i++) {
        lti_moving *m = &c->list[i];
        entries[n++] = (lt_gguf_entry){.name = m->name,
                                       .type = m->type,
                                       .rank = m->t.rank,
                                       .shape = {m->shape[0], m->shape[1]},
                                       .make = lti_move_tensor,
                                       .user = m};
    }
    lt_status status = lt_gguf_write(c->ctx, c->out, p->list, p->count, entries, n, NULL);
    lti_free(c->ctx, entries);
    return status;
}

/* A tokenizer that GGUF has no name for goes in whole: lathe reads it back, llama.cpp takes ids but no text. */
static lt_status whole_tokenizer(lti_conversion *c, lti_pairs *p)
{
    lti_text_format(&c->report, "note: %s; the file carries tokenizer.json whole: other programs get ids, not text\n",
                    lt_ctx_message(c->ctx));
    LTI_TRY(lti_pairs_text(p, "tokenizer.ggml.model", "none"));
    const lt_tokenizer *tok = c->model->tokenizer;
    for (int i = 0; i < lt_tokenizer_files(tok); i++) {
        const char *name;
        int64_t bytes;
        const char *text = lt_tokenizer_file(tok, i, &name, &bytes); /* a NUL follows */
        if (!strcmp(name, "tokenizer.json")) LTI_TRY(lti_pairs_text(p, LTI_WHOLE_KEY, text));
        if (!strcmp(name, "tokenizer_config.json")) LTI_TRY(lti_pairs_text(p, LTI_WHOLE_CONFIG_KEY, text));
    }
    return LT_OK;
}

static lt_status with_tokenizer(lti_conversion *c, lti_pairs *p)
{
    lt_gguf_pair *tokenizer = NULL;
    int count = 0;
    lt_status status =
        lti_tokenizer_gguf_pairs(c->ctx, c->model->tokenizer, c->model->config.vocab, &tokenizer, &count);
    if (status == LT_EUNSUPPORTED) status = whole_tokenizer(c, p);
    for (int i = 0; i < count && status == LT_OK; i++) status = lti_pairs_add(p, &tokenizer[i]);
    if (status == LT_OK && c->model->config.types)
        status = lti_pairs_u32(p, "tokenizer.ggml.token_type_count", (uint32_t)c->model->config.types);
    if (status == LT_OK) status = write_file(c, p);
    lti_gguf_pairs_free(c->ctx, tokenizer, count);
    return status;
}

lt_status lti_convert_to_gguf(lti_conversion *c)
{
    lti_pairs p = {.ctx = c->ctx};
    bool from_gguf = c->model->weights.gguf != NULL;
    lt_status status = from_gguf ? kept_keys(c, &p) : new_keys(c, &p);
    if (status == LT_OK) status = from_gguf ? write_file(c, &p) : with_tokenizer(c, &p);
    lti_pairs_free(&p);
    return status;
}
