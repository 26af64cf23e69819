/* convert.c - lt_convert: lists the tensors of the table with where they come from and what they become, and moves one at
 * a time. The two directions (convert_gguf.c, convert_hf.c) add what stands around the tensors.
 *
 * Bytes whose type stays are moved without being looked at; only where the type or a norm's offset changes do they pass
 * through lt_real. */
#include "models/convert_parts.h"

#include "data/files.h"
#include "data/formats/stored_real.h"
#include "kernels/lattice/lattice.h"

#include <string.h>

void lt_convert_options_init(lt_convert_options *options)
{
    *options = (lt_convert_options){.size = sizeof *options};
}

/* ---- One tensor ---- */

/* Makes *buffer hold `bytes`; what was in it is lost. */
static lt_status reserve(lt_ctx *ctx, void **buffer, size_t *room, size_t bytes)
{
    if (bytes <= *room) return LT_OK;
    lti_free(ctx, *buffer);
    *room = 0;
    *buffer = lti_alloc(ctx, bytes);
    if (!*buffer) return LT_ENOMEM;
    *room = bytes;
    return LT_OK;
}

static size_t file_bytes(lt_dtype type, int64_t count)
{
    size_t bytes = 0;
    if (type == LT_F32) return (size_t)count * sizeof(float);
    return lti_dtype_size(type, count, &bytes) ? bytes : 0;
}

/* Bytes as they are, in the other side's order. */
static lt_status move_stored(lti_moving *m, const void **bytes)
{
    lti_conversion *c = m->all;
    *bytes = m->w.data;
    if (!lti_layout_differs(&m->t, c->from, c->to)) return LT_OK;
    LTI_TRY(reserve(c->ctx, &c->buffer, &c->room, (size_t)m->w.bytes));
    size_t element = lt_dtype_is_lattice(m->type) ? 0 : file_bytes(m->type, 1);
    lti_layout_move(&m->t, c->from, c->to, element, (size_t)m->w.bytes / (size_t)m->t.shape[0], m->w.data, c->buffer);
    *bytes = c->buffer;
    return LT_OK;
}

static void encode(lt_dtype type, int64_t n, const lt_real *x, void *dst)
{
    if (lt_dtype_is_lattice(type))
        lti_quantize(type, n, x, dst);
    else
        (void)lti_real_to_stored(type == LT_F16    ? LT_STORED_F16
                                 : type == LT_BF16 ? LT_STORED_BF16
                                                   : LT_STORED_F32,
                                 n, x, dst);
}

lt_status lti_moving_values(const lti_moving *m, lt_real *dst)
{
    const lt_model *model = m->all->model;
    if (m->packed) return lti_packed_read(&model->packed, &model->weights, &m->t, m->source, dst);
    if (!m->values) return lti_weights_real(&m->all->model->weights, &m->w, dst);
    memcpy(dst, m->values, (size_t)m->w.elements * sizeof *dst);
    return LT_OK;
}

/* By way of lt_real. The halves of `second` hold the values as they come and as they are wanted. */
static lt_status move_values(lti_moving *m, const void **bytes)
{
    lti_conversion *c = m->all;
    size_t n = (size_t)m->w.elements;
    LTI_TRY(reserve(c->ctx, &c->second, &c->second_room, 2 * n * sizeof(lt_real)));
    LTI_TRY(reserve(c->ctx, &c->buffer, &c->room, file_bytes(m->type, m->w.elements)));
    lt_real *read = c->second, *moved = read + n;
    if (m->own)
        (void)lti_stored_to_real(LT_STORED_F32, m->w.elements, m->own, moved);
    else
        LTI_TRY(lti_moving_values(m, read));
    if (!m->own) {
        lti_layout_move(&m->t, c->from, c->to, sizeof *read, n * sizeof *read / (size_t)m->t.shape[0], read, moved);
        float shift = (float)lti_layout_shift(&m->t, c->from, c->to);
        for (size_t i = 0; i < n && shift != 0; i++) moved[i] = (lt_real)((float)moved[i] + shift);
    }
    encode(m->type, m->w.elements, moved, c->buffer);
    *bytes = c->buffer;
    return LT_OK;
}

/* Codes and scales of another program, as blocks. */
static lt_status move_blocks(lti_moving *m, const void **bytes)
{
    lti_conversion *c = m->all;
    const lt_model *model = c->model;
    bool there, differs = lti_layout_differs(&m->t, c->from, c->to);
    size_t size = file_bytes(m->type, m->w.elements);
    LTI_TRY(reserve(c->ctx, &c->buffer, &c->room, size));
    if (differs) LTI_TRY(reserve(c->ctx, &c->second, &c->second_room, size));
    void *blocks = differs ? c->second : c->buffer;
    LTI_TRY(lti_packed_blocks(&model->packed, &model->weights, &m->t, m->source, m->type, blocks, &there));
    if (!there)
        return lti_fail(c->ctx, LT_EIO,
                        "%s: '%s' changed while it was converted: %s does not have its numbers any more; convert again",
                        lti_weights_path(&model->weights), m->source, lt_dtype_name(m->type));
    if (differs) lti_layout_move(&m->t, c->from, c->to, 0, size / (size_t)m->t.shape[0], blocks, c->buffer);
    *bytes = c->buffer;
    return LT_OK;
}

lt_status lti_move_tensor(void *user, const void **bytes)
{
    lti_moving *m = user;
    if (m->packed && m->type != LT_F32 && m->type == m->lattice) return move_blocks(m, bytes);
    bool shifted = lti_layout_shift(&m->t, m->all->from, m->all->to) != 0;
    if (m->own || shifted || !m->w.usable || m->w.type != m->type) return move_values(m, bytes);
    return move_stored(m, bytes);
}

/* ---- The list ---- */

/* A lattice that lathe has no encoder for becomes q8_0. */
static lt_dtype gguf_type(const lti_conversion *c, const lti_tensor *t, const lti_weight *w)
{
    if (!c->typed) return lti_always_f32(t) || !w->usable ? LT_F32 : w->type;
    lt_dtype type = lti_deployed_type(&c->mix, &c->facts, t);
    if (!lt_dtype_is_lattice(type) || lti_can_quantize(type)) return type;
    return t->shape[t->rank - 1] % lt_dtype_block(LT_Q8_0) ? LT_F16 : LT_Q8_0;
}

static lt_dtype hf_type(const lti_conversion *c, const lti_weight *w, int index)
{
    lt_dtype type = w->usable && !lt_dtype_is_lattice(w->type) ? w->type : LT_F32;
    const lt_gguf *gguf = c->model->weights.gguf;
    const lt_gguf_pair *carried = gguf ? lt_gguf_get(gguf, LTI_CARRIED_TYPES) : NULL;
    if (c->typed) return c->mix.base;
    if (!carried || carried->type != LT_GGUF_ARRAY || carried->item != LT_GGUF_STRING || index >= carried->count ||
        lt_dtype_is_lattice(w->type))
        return type;
    const lt_gguf_string *name = &carried->strings[index];
    const lt_dtype types[] = {LT_F32, LT_F16, LT_BF16};
    const char *const names[] = {"F32", "F16", "BF16"};
    for (int i = 0; i < LTI_COUNT(types); i++)
        if (name->bytes == (int64_t)strlen(names[i]) && !memcmp(name->text, names[i], (size_t)name->bytes))
            type = types[i];
    return type;
}

/* A norm's gain as it was before 1 was added, when the file carries it and it still fits what is stored. */
static const void *carried_norm(const lti_conversion *c, const lti_tensor *t, const lti_weight *w)
{
    char key[128];
    snprintf(key, sizeof key, "%s%s", LTI_CARRIED_NORM, t->name);
    const lt_gguf_pair *pair = c->model->weights.gguf ? lt_gguf_get(c->model->weights.gguf, key) : NULL;
    bool fits = pair && pair->type == LT_GGUF_ARRAY && pair->item == LT_GGUF_F32 && pair->count == w->elements &&
                w->type == LT_F32 && w->usable;
    for (int64_t i = 0; fits && i < w->elements; i++) {
        float own, stored;
        memcpy(&own, (const char *)pair->data + 4 * i, 4);
        memcpy(&stored, (const char *)w->data + 4 * i, 4);
        fits = own + 1 == stored;
    }
    return fits ? pair->data : NULL;
}

/* Whether ggml has a packed tensor's codes and scales as they are: in the type that was asked for, or in any. */
static lt_status find_lattice(const lti_conversion *c, lti_moving *m)
{
    const lt_model *model = c->model;
    bool there;
    if (!c->typed) {
        LTI_TRY(lti_packed_lattice(&model->packed, &model->weights, &m->t, m->source, &m->lattice));
        m->type = m->lattice;
        return LT_OK;
    }
    LTI_TRY(lti_packed_blocks(&model->packed, &model->weights, &m->t, m->source, m->type, NULL, &there));
    if (there) m->lattice = m->type;
    return LT_OK;
}

/* Where the tensor's numbers are. Packed ones are as many as its shape says; reading them checks the parts. */
static lt_status find_source(const lti_conversion *c, lti_moving *m)
{
    const lt_model *model = c->model;
    if (!model->weights.gguf && lti_packed_has(&model->packed, &model->weights, m->source)) {
        LTI_TRY(lti_packed_check(&model->packed, &model->weights, &m->t, m->source));
        m->packed = true;
        m->w = (lti_weight){.name = m->source, .type = LT_F32, .rank = m->t.rank, .shape = m->t.shape, .elements = 1};
        for (int k = 0; k < m->t.rank; k++) m->w.elements *= m->t.shape[k];
        return LT_OK;
    }
    if (!lti_weights_find(&model->weights, m->source, &m->w))
        return lti_fail(c->ctx, LT_EFORMAT, "%s: tensor '%s' is missing", lti_weights_path(&model->weights), m->source);
    return lti_weights_check(&model->weights, &m->w, &m->t, c->from.conv1d, "the config");
}

static lt_status list_tensor(void *user, const lti_tensor *t)
{
    lti_conversion *c = user;
    const lt_model *model = c->model;
    bool gguf = model->weights.gguf != NULL;
    lti_moving *m = &c->list[c->count];
    char hf[160];
    *m = (lti_moving){.all = c, .t = *t};
    lti_hf_name(t, model->prefix, hf, sizeof hf);
    snprintf(m->source, sizeof m->source, "%s", gguf ? t->name : hf);
    snprintf(m->name, sizeof m->name, "%s", c->to_gguf ? t->name : hf);
    LTI_TRY(find_source(c, m));
    bool reversed = c->to.conv1d && t->layout == LTI_CONV1D && t->rank == 2;
    for (int k = 0; k < t->rank; k++) m->shape[k] = t->shape[reversed ? t->rank - 1 - k : k];
    m->type = c->to_gguf ? gguf_type(c, t, &m->w) : hf_type(c, &m->w, c->count);
    if (c->to_gguf && m->packed) LTI_TRY(find_lattice(c, m));
    if (!c->to_gguf && lti_layout_shift(t, c->from, c->to)) m->own = carried_norm(c, t, &m->w);
    c->count++;
    return LT_OK;
}

static lt_status count_tensor(void *user, const lti_tensor *t)
{
    (void)t;
    ++*(int *)user;
    return LT_OK;
}

lt_status lti_conversion_list(lti_conversion *c)
{
    int count = 0;
    LTI_TRY(lti_transformer_each(&c->model->config, count_tensor, &count));
    c->list = lti_alloc_array(c->ctx, (size_t)count, sizeof *c->list);
    if (!c->list) return LT_ENOMEM;
    return lti_transformer_each(&c->model->config, list_tensor, c);
}

/* ---- The whole ---- */

static void describe(lti_conversion *c)
{
    int64_t tensors[LT_DTYPE_COUNT] = {0}, bytes[LT_DTYPE_COUNT] = {0};
    for (int i = 0; i < c->count; i++) {
        tensors[c->list[i].type]++;
        bytes[c->list[i].type] += (int64_t)file_bytes(c->list[i].type, c->list[i].w.elements);
    }
    for (int i = 0; i < LT_DTYPE_COUNT; i++)
        if (tensors[i])
            lti_text_format(&c->report, "%s: %lld tensors, %lld bytes\n", lt_dtype_name((lt_dtype)i),
                            (long long)tensors[i], (long long)bytes[i]);
    int kept = 0, packed = 0;
    for (int i = 0; i < c->count; i++) {
        const lti_moving *m = &c->list[i];
        bool same = m->packed && m->lattice != LT_F32 && m->type == m->lattice;
        kept += same, packed += m->packed && !same;
    }
    if (kept) lti_text_format(&c->report, "kept: %d quantized weights with the codes and scales they have\n", kept);
    if (packed)
        lti_text_format(&c->report, "unpacked: %d quantized weights to the numbers their codes stand for\n", packed);
    for (int i = 0; i < lti_weights_count(&c->model->weights); i++) {
        lti_weight w;
        lti_weights_at(&c->model->weights, i, &w);
        if (!c->model->weights.gguf && lti_ignorable(c->model, w.name))
            lti_text_format(&c->report, "left out: %s (a buffer, or the copy of a tied head)\n", w.name);
    }
}

static lt_status parse_type(lti_conversion *c, const char *type)
{
    if (!type) return LT_OK;
    c->typed = true;
    lt_dtype plain_type = LT_DTYPE_COUNT;
    const lti_mix *mix = lti_mix_named(type);
    bool known = lt_dtype_parse(type, &plain_type);
    bool plain = known && (plain_type == LT_F32 || plain_type == LT_F16 || plain_type == LT_BF16);
    bool block = known && c->to_gguf && lti_can_quantize(plain_type) && lti_dtype_gguf(plain_type) >= 0;
    if (mix && c->to_gguf && lti_can_quantize(mix->base))
        c->mix = *mix;
    else if (plain || block)
        c->mix = (lti_mix){type, plain_type, 0};
    else
        return lti_fail(c->ctx, LT_EINVAL, "convert: type '%s' is not possible here; f32, f16, bf16%s%s%s are", type,
                        c->to_gguf ? ", " : "", c->to_gguf ? lti_mix_names() : "", c->to_gguf ? ", mxfp4" : "");
    return lti_mix_facts_of(&c->model->config, &c->facts);
}

static lt_status convert(lti_conversion *c, const char *type)
{
    const lt_model *m = c->model;
    if (m->network)
        return lti_fail(c->ctx, LT_EUNSUPPORTED,
                        "convert: %s is a %s, which GGUF has no form for and Hugging Face no class; its directory is "
                        "its only form, and model.safetensors has the names and shapes that PyTorch's layers have",
                        lti_weights_path(&m->weights), m->network->name);
    LTI_TRY(parse_type(c, type));
    c->from = m->weights.gguf ? lti_side_gguf(&m->config) : lti_side_hf(&m->config);
    c->to = c->to_gguf ? lti_side_gguf(&m->config) : lti_side_hf(&m->config);
    LTI_TRY(lti_check_strangers(m, m->weights.gguf ? NULL : m->prefix));
    LTI_TRY(lti_conversion_list(c));
    describe(c);
    LTI_TRY(c->to_gguf ? lti_convert_to_gguf(c) : lti_convert_to_hf(c));
    return c->report.failed ? lti_fail(c->ctx, LT_ENOMEM, "out of memory for the report of a conversion") : LT_OK;
}

lt_status lt_convert(lt_ctx *ctx, const char *in, const char *out, const lt_convert_options *options, char **report)
{
    lt_model *model;
    if (report) *report = NULL;
    if (options && options->size != sizeof *options)
        return lti_fail(ctx, LT_EINVAL, "convert: call lt_convert_options_init first");
    if (!strcmp(in, out)) return lti_fail(ctx, LT_EINVAL, "convert: '%s' is both ends; name another output", in);
    LTI_TRY(lti_model_open_files(ctx, in, &model));
    lti_conversion c = {
        .ctx = ctx, .model = model, .out = out, .to_gguf = lti_ends_with(out, ".gguf"), .report = {ctx}};
    lt_status status = convert(&c, options ? options->type : NULL);
    lti_free(ctx, c.list);
    lti_free(ctx, c.buffer);
    lti_free(ctx, c.second);
    lt_model_free(model);
    if (status == LT_OK && report) {
        *report = c.report.data;
        c.report.data = NULL;
    }
    lti_text_free(&c.report);
    return status;
}
