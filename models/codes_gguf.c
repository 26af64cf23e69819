/* codes_gguf.c - see codes_gguf.h.
 *
 * Writing is the GGUF end of lt_convert with the codes in the place of a file: quantizing a file's values once more gives
 * other codes (through f16 for q8_0 and the K types, through bf16 for all), so blocks are moved as rows of bytes. The
 * proof goes the other way by other functions: the reader of GGUF files, and back into lathe's order of rows. */
#include "models/codes_gguf.h"

#include "kernels/lattice/lattice.h"
#include "models/convert_parts.h"

#include <string.h>

/* ---- Writing ---- */

typedef struct lister {
    const lti_codes_file *file;
    lti_conversion *c;
} lister;

static lt_status count_tensor(void *user, const lti_tensor *t)
{
    (void)t;
    ++*(int *)user;
    return LT_OK;
}

static lt_status find_code(const lti_codes_file *f, const lti_tensor *t, const lt_param **code)
{
    *code = lt_params_find(f->codes, t->name);
    if (*code) return LT_OK;
    return lti_fail(f->model->ctx, LT_EINVAL, "%s: the codes lack tensor '%s'", f->path, t->name);
}

static lt_status list_tensor(void *user, const lti_tensor *t)
{
    const lister *l = user;
    const lt_param *code;
    LTI_TRY(find_code(l->file, t, &code));
    lt_dtype type = lt_param_type(code);
    if (lti_dtype_gguf(type) < 0)
        return lti_fail(l->c->ctx, LT_EUNSUPPORTED,
                        "%s: tensor '%s' is %s, which GGUF has no number for; export to .safetensors, or train it on "
                        "another type",
                        l->file->path, t->name, lt_dtype_name(type));
    bool numbers = type == LT_F32; /* lt_real: 8 bytes in one build */
    lti_moving *m = &l->c->list[l->c->count++];
    *m = (lti_moving){.all = l->c, .t = *t, .type = type, .values = numbers ? lt_param_read(code) : NULL};
    m->w = (lti_weight){.name = lt_param_name(code),
                        .type_name = lt_dtype_name(type),
                        .usable = !numbers,
                        .type = type,
                        .rank = t->rank,
                        .shape = lt_param_shape(code),
                        .elements = lt_param_count(code),
                        .data = lt_param_read(code),
                        .bytes = lt_param_bytes(code)};
    snprintf(m->name, sizeof m->name, "%s", t->name);
    for (int k = 0; k < t->rank; k++) m->shape[k] = t->shape[k];
    return LT_OK;
}

static lt_status write_listed(const lti_codes_file *f, lti_conversion *c)
{
    const lt_transformer_config *config = &f->model->config;
    int count = 0;
    LTI_TRY(lti_transformer_each(config, count_tensor, &count));
    c->list = lti_alloc_array(c->ctx, (size_t)count, sizeof *c->list);
    if (!c->list) return LT_ENOMEM;
    LTI_TRY(lti_transformer_each(config, list_tensor, &(lister){f, c}));
    return lti_convert_to_gguf(c);
}

lt_status lti_codes_write(const lti_codes_file *f, lti_text *notes)
{
    const lt_model *m = f->model;
    if (m->network)
        return lti_fail(m->ctx, LT_EUNSUPPORTED,
                        "%s: a %s has no form in GGUF; export to a name that ends in .safetensors", f->path,
                        m->network->name);
    lti_conversion c = {.ctx = m->ctx,
                        .model = m,
                        .out = f->path,
                        .to_gguf = true,
                        .name = f->name ? f->name : "model",
                        .more = f->more,
                        .n_more = f->n_more,
                        .from = lti_side_params(&m->config),
                        .to = lti_side_gguf(&m->config),
                        .report = {m->ctx}};
    const lti_mix *mix = f->mix ? lti_mix_named(f->mix) : NULL;
    if (mix) c.mix = *mix;
    lt_status status = write_listed(f, &c);
    if (status == LT_OK && c.report.data && notes) lti_text_add(notes, c.report.data, c.report.length);
    lti_text_free(&c.report);
    lti_free(m->ctx, c.list);
    lti_free(m->ctx, c.buffer);
    lti_free(m->ctx, c.second);
    return status;
}

/* ---- The proof ---- */

typedef struct prover {
    const lti_codes_file *file;
    lt_ctx *ctx;
    lt_gguf *gguf;
    lti_side from, to;
    lti_codes_proof *proof;
    lt_real *read, *moved, *meant; /* of the tensor at hand */
    void *bytes;
} prover;

static lt_status differs(const prover *p, const char *tensor, const char *what, int64_t at)
{
    return lti_fail(p->ctx, LT_EIO,
                    "%s: tensor '%s' reads back differently from what was trained: %s %lld; the file is "
                    "not to be used, write it again",
                    p->file->path, tensor, what, (long long)at);
}

/* The stored bytes in lathe's order of rows against the codes. */
static lt_status compare_bytes(prover *p, const lti_tensor *t, const lt_gguf_tensor_info *info, const lt_param *code)
{
    size_t element = lt_dtype_is_lattice(info->type) ? 0 : lt_dtype_bytes(info->type);
    if (info->bytes != lt_param_bytes(code)) return differs(p, t->name, "bytes:", (int64_t)info->bytes);
    lti_layout_move(t, p->from, p->to, element, (size_t)info->bytes / (size_t)t->shape[0], info->data, p->bytes);
    const unsigned char *was = lt_param_read(code), *is = p->bytes;
    for (uint64_t i = 0; i < info->bytes; i++)
        if (was[i] != is[i]) return differs(p, t->name, "byte", (int64_t)i);
    return LT_OK;
}

/* The numbers: a norm's may have 1 added in the file, in f32. */
static lt_status compare_values(prover *p, const lti_tensor *t, int index, const lt_param *code)
{
    int64_t n = lt_param_count(code);
    size_t row = (size_t)n * sizeof(lt_real) / (size_t)t->shape[0];
    float shift = (float)lti_layout_shift(t, p->to, p->from);
    LTI_TRY(lt_gguf_load_real(p->gguf, index, p->read));
    lti_layout_move(t, p->from, p->to, sizeof *p->read, row, p->read, p->moved);
    lti_dequantize(lt_param_type(code), n, lt_param_read(code), p->meant);
    for (int64_t i = 0; i < n; i++) {
        lt_real meant = p->meant[i];
        if (lt_param_type(code) == LT_F32) meant = (lt_real)(shift != 0 ? (float)meant + shift : (float)meant);
        if (memcmp(&meant, &p->moved[i], sizeof meant)) return differs(p, t->name, "number", i);
    }
    return LT_OK;
}

static lt_status prove_buffered(prover *p, const lti_tensor *t, int index, const lt_param *code)
{
    const lt_gguf_tensor_info *info = lt_gguf_tensor(p->gguf, index);
    if (info->type != LT_F32) LTI_TRY(compare_bytes(p, t, info, code));
    LTI_TRY(compare_values(p, t, index, code));
    p->proof->tensors++;
    p->proof->weights += info->elements;
    p->proof->bytes += info->bytes;
    return LT_OK;
}

static lt_status prove_tensor(void *user, const lti_tensor *t)
{
    prover *p = user;
    const lt_param *code;
    LTI_TRY(find_code(p->file, t, &code));
    int index = lt_gguf_find(p->gguf, t->name);
    const lt_gguf_tensor_info *info = index >= 0 ? lt_gguf_tensor(p->gguf, index) : NULL;
    if (!info || !info->known || info->type != lt_param_type(code) || info->elements != lt_param_count(code))
        return differs(p, t->name, "type, or number of elements, of", lt_param_count(code));
    size_t n = (size_t)info->elements;
    p->read = lti_alloc_array(p->ctx, n, sizeof *p->read);
    p->moved = lti_alloc_array(p->ctx, n, sizeof *p->moved);
    p->meant = lti_alloc_array(p->ctx, n, sizeof *p->meant);
    p->bytes = lti_alloc(p->ctx, (size_t)info->bytes);
    lt_status status = p->read && p->moved && p->meant && p->bytes ? LT_OK : LT_ENOMEM;
    if (status == LT_OK) status = prove_buffered(p, t, index, code);
    lti_free(p->ctx, p->read);
    lti_free(p->ctx, p->moved);
    lti_free(p->ctx, p->meant);
    lti_free(p->ctx, p->bytes);
    return status;
}

lt_status lti_codes_prove(const lti_codes_file *f, lti_codes_proof *proof)
{
    const lt_transformer_config *config = &f->model->config;
    *proof = (lti_codes_proof){0};
    prover p = {
        .file = f, .ctx = f->model->ctx, .from = lti_side_gguf(config), .to = lti_side_params(config), .proof = proof};
    LTI_TRY(lt_gguf_open(p.ctx, f->path, &p.gguf));
    lt_status status = lti_transformer_each(config, prove_tensor, &p);
    lt_gguf_close(p.gguf);
    return status;
}
