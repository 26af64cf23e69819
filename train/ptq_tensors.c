/* ptq_tensors.c - files of tensors onto grids: no model is known, so each matrix is rounded by its own numbers.
 *
 * Numbers are read as lt_real whatever type they had; what is no matrix, or what no rule of the policy means, is written
 * as f32. Tensors that are not floats are refused: there is no telling what they are for. */
#include "autograd/op.h"
#include "base/text.h"
#include "data/files.h"
#include "lathe/gguf.h"
#include "train/export.h"
#include "train/ptq_parts.h"

#include <string.h>

typedef struct source {
    lt_ctx *ctx;
    const char *path;
    lt_tensors *tensors;
    lt_h5 *h5;
    lt_gguf *gguf;
    bool to_gguf;
} source;

static lt_status open_source(source *s)
{
    if (lti_ends_with(s->path, ".h5") || lti_ends_with(s->path, ".hdf5")) return lt_h5_open(s->ctx, s->path, &s->h5);
    if (lt_gguf_is(s->path)) return lt_gguf_open(s->ctx, s->path, &s->gguf);
    return lt_tensors_open(s->ctx, s->path, &s->tensors);
}

static void close_source(source *s)
{
    lt_h5_close(s->h5);
    lt_gguf_close(s->gguf);
    lt_tensors_close(s->tensors);
}

static int count_of(const source *s)
{
    return s->h5 ? lt_h5_count(s->h5) : s->gguf ? lt_gguf_tensors(s->gguf) : lt_tensors_count(s->tensors);
}

static const char *name_of(const source *s, int i)
{
    if (s->h5) return lt_h5_name(s->h5, i);
    return s->gguf ? lt_gguf_tensor(s->gguf, i)->name : lt_tensors_name(s->tensors, i);
}

static int rank_of(const source *s, int i, const int64_t **shape)
{
    *shape = s->h5     ? lt_h5_shape(s->h5, i)
             : s->gguf ? lt_gguf_tensor(s->gguf, i)->shape
                       : lt_tensors_shape(s->tensors, i);
    return s->h5 ? lt_h5_rank(s->h5, i) : s->gguf ? lt_gguf_tensor(s->gguf, i)->rank : lt_tensors_rank(s->tensors, i);
}

static lt_status load(const source *s, int i, lt_real *to)
{
    if (s->h5) return lt_h5_load_real(s->h5, i, to);
    return s->gguf ? lt_gguf_load_real(s->gguf, i, to) : lt_tensors_load_real(s->tensors, i, to);
}

/* ---- Tensors ---- */

/* A param under the name that policies go by. */
static lt_status add_floats(const source *s, int i, lt_params *floats, lt_param **p)
{
    const int64_t *shape;
    int rank = rank_of(s, i, &shape);
    lti_text name = {.ctx = s->ctx};
    if (rank > LT_MAX_RANK)
        return lti_fail(s->ctx, LT_EUNSUPPORTED, "%s: tensor '%s' has %d dimensions, and lathe takes %d", s->path,
                        name_of(s, i), rank, LT_MAX_RANK);
    lti_text_format(&name, "%s%s", name_of(s, i), lti_ends_with(name_of(s, i), ".weight") ? "" : ".weight");
    lt_status status = name.failed ? LT_ENOMEM : lt_params_add(floats, name.data, LT_F32, rank, shape, LT_WEIGHT, p);
    lti_text_free(&name);
    return status == LT_OK ? load(s, i, lt_param_data(*p)) : status;
}

static lt_status quantize_one(lt_ptq *p, const lt_ptq_config *c, lt_param *from, const lt_scheme *scheme,
                              lt_param *code)
{
    lti_ptq_matrix m = {.name = lt_param_name(code), .scheme = *scheme, .w = lt_param_read(from), .code = code};
    m.values = lti_alloc_array(p->ctx, (size_t)lt_param_count(from) + 1, sizeof *m.values);
    lt_status status = m.values ? lti_ptq_tensor(p, &m, c) : LT_ENOMEM;
    lti_free(p->ctx, m.values);
    return status;
}

static lt_status check_place(const source *s, const char *name, const lt_scheme *scheme)
{
    char word[LT_SCHEME_TEXT];
    if (!s->to_gguf || (scheme->kind == LT_SCHEME_TYPE && lti_dtype_gguf(scheme->type) >= 0)) return LT_OK;
    return lti_fail(
        s->ctx, LT_EINVAL,
        "GGUF has no type for %s, the grid of '%s'; write a .safetensors file, or take a type it has (q4_0, "
        "q8_0)",
        lt_scheme_name(scheme, word), name);
}

static lt_status quantize_tensor(const source *s, int i, const lt_quant_policy *policy, const lt_ptq_config *c,
                                 lt_ptq *p)
{
    lt_params *floats;
    lt_param *from, *code;
    LTI_TRY(lt_params_create(s->ctx, &floats));
    lt_status status = add_floats(s, i, floats, &from);
    lt_scheme scheme = status == LT_OK ? lt_quant_scheme(policy, from) : lt_scheme_of(LT_F32);
    lt_dtype type = scheme.kind == LT_SCHEME_TYPE ? scheme.type : LT_F32;
    if (status == LT_OK) status = check_place(s, name_of(s, i), &scheme);
    if (status == LT_OK)
        status =
            lt_params_add(p->codes, name_of(s, i), type, lt_param_rank(from), lt_param_shape(from), LT_WEIGHT, &code);
    if (status == LT_OK && lt_scheme_is_float(&scheme))
        memcpy(lt_param_data(code), lt_param_read(from), lt_param_bytes(from));
    if (status == LT_OK && !lt_scheme_is_float(&scheme)) status = quantize_one(p, c, from, &scheme, code);
    lt_params_free(floats);
    return status;
}

static lt_status quantize_all(const source *s, const lt_quant_policy *policy, const lt_ptq_config *c, lt_ptq *p)
{
    p->tensors = lti_alloc_array(s->ctx, (size_t)count_of(s) + 1, sizeof *p->tensors);
    if (!p->tensors) return LT_ENOMEM;
    LTI_TRY(lt_params_create(s->ctx, &p->codes));
    for (int i = 0; i < count_of(s); i++) LTI_TRY(quantize_tensor(s, i, policy, c, p));
    if (p->count) return LT_OK;
    return lti_fail(
        s->ctx, LT_EINVAL,
        "%s: the policy means none of its %d tensors; matrices are meant that are no norms, and the embedding "
        "only when it is given a type",
        s->path, count_of(s));
}

/* ---- The file ---- */

/* Four-byte floats of lt_real, in place: element i ends before element i + 1 of the wider type begins. */
static void narrow(lt_param *p)
{
    unsigned char *bytes = lt_param_data(p);
    for (int64_t i = 0; i < lt_param_count(p) && sizeof(lt_real) != sizeof(float); i++) {
        lt_real wide;
        memcpy(&wide, bytes + (size_t)i * sizeof wide, sizeof wide);
        float value = (float)wide;
        memcpy(bytes + (size_t)i * sizeof value, &value, sizeof value);
    }
}

static lt_status prove_gguf(lt_ctx *ctx, const char *path, const lt_gguf_entry *entries, int count)
{
    lt_gguf *g;
    LTI_TRY(lt_gguf_open(ctx, path, &g));
    lt_status status = LT_OK;
    for (int i = 0; i < count && status == LT_OK; i++) {
        int k = lt_gguf_find(g, entries[i].name);
        const lt_gguf_tensor_info *t = k >= 0 ? lt_gguf_tensor(g, k) : NULL;
        if (!t || t->type != entries[i].type || memcmp(t->data, entries[i].data, (size_t)t->bytes))
            status = lti_fail(ctx, LT_EIO, "%s: tensor '%s' reads back differently from what was written", path,
                              entries[i].name);
    }
    lt_gguf_close(g);
    return status;
}

static lt_status write_gguf(lt_ctx *ctx, lt_params *codes, const char *path, const lt_ptq_config *c)
{
    int count = lt_params_count(codes);
    lt_gguf_string words[] = {{lt_ptq_method_name(c->method), (int64_t)strlen(lt_ptq_method_name(c->method))}};
    lt_gguf_pair pair = {.key = "lathe.ptq.method", .type = LT_GGUF_STRING, .count = 1, .strings = words};
    lt_gguf_entry *entries = lti_alloc_array(ctx, (size_t)count + 1, sizeof *entries);
    if (!entries) return LT_ENOMEM;
    for (int i = 0; i < count; i++) {
        lt_param *p = lt_params_at(codes, i);
        if (lt_param_type(p) == LT_F32) narrow(p);
        entries[i] = (lt_gguf_entry){.name = lt_param_name(p), .type = lt_param_type(p), .rank = lt_param_rank(p)};
        for (int k = 0; k < lt_param_rank(p) && k < 4; k++) entries[i].shape[k] = lt_param_shape(p)[k];
        entries[i].data = lt_param_read(p);
    }
    lt_status status = lt_gguf_write(ctx, path, &pair, 1, entries, count, NULL);
    if (status == LT_OK) status = prove_gguf(ctx, path, entries, count);
    lti_free(ctx, entries);
    return status;
}

static lt_status check(lt_ctx *ctx, const char *out, const lt_quant_policy *policy, const lt_ptq_config *c)
{
    if (c->size != sizeof *c) return lti_fail(ctx, LT_EINVAL, "lt_ptq_tensors_file: call lt_ptq_config_init first");
    if (c->method != LT_PTQ_RTN && c->method != LT_PTQ_MSE)
        return lti_fail(
            ctx, LT_EINVAL,
            "%s asks what layers read, and a file of tensors has no layers; take rtn or mse, or give the whole "
            "model",
            lt_ptq_method_name(c->method));
    if (!lti_ends_with(out, ".gguf") && !lti_ends_with(out, ".safetensors"))
        return lti_fail(ctx, LT_EINVAL, "%s: quantized tensors go to a .gguf or .safetensors file", out);
    return lti_quant_check(ctx, policy);
}

lt_status lt_ptq_tensors_file(lt_ctx *ctx, const char *in, const char *out, const lt_quant_policy *policy,
                              const lt_ptq_config *config, lt_ptq **done)
{
    source s = {.ctx = ctx, .path = in, .to_gguf = lti_ends_with(out, ".gguf")};
    lti_codes_proof proof;
    *done = NULL;
    LTI_TRY(check(ctx, out, policy, config));
    LTI_TRY(open_source(&s));
    lt_ptq *p = lti_alloc(ctx, sizeof *p);
    if (p) p->ctx = ctx;
    lt_status status = p ? quantize_all(&s, policy, config, p) : LT_ENOMEM;
    lt_pair method = {"lathe.ptq.method", lt_ptq_method_name(config->method)};
    if (status == LT_OK && lti_ends_with(out, ".gguf"))
        status = write_gguf(ctx, p->codes, out, config);
    else if (status == LT_OK)
        status =
            lti_codes_file_pack(ctx, &(lti_packgrid_source){.rounded = p}, p->codes, out, &method, 1, NULL, &proof);
    close_source(&s);
    if (status == LT_OK)
        *done = p;
    else
        lt_ptq_free(p);
    return status;
}
