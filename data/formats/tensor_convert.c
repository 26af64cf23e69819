/* tensor_convert.c - files of tensors from one format to another: safetensors, HDF5, GGUF; one tensor at a time.
 *
 * Elements keep their types where the other format has them. Lattices of a GGUF file become f32 elsewhere; into a GGUF
 * file go the floating types and the integers of 8 and 32 bits, without keys: it is a file of tensors, not a model. */
#include "base/text.h"
#include "data/files.h"
#include "data/formats/stored_real.h"
#include "lathe/gguf.h"

#include <string.h>

typedef enum kind { SAFETENSORS, HDF5, GGUF } kind;

typedef struct source {
    lt_ctx *ctx;
    kind kind;
    lt_tensors *tensors;
    lt_h5 *h5;
    lt_gguf *gguf;
    void *buffer; /* of the tensor that passes */
    size_t room;
} source;

typedef struct passing {
    source *from;
    int index;
    const char *name;
    lt_stored type; /* it is written as */
    bool decoded;   /* a lattice, which becomes f32 */
    int rank;
    const int64_t *shape;
    int64_t elements;
} passing;

static bool kind_of(const char *path, kind *k)
{
    *k = lti_ends_with(path, ".h5") || lti_ends_with(path, ".hdf5") ? HDF5
         : lti_ends_with(path, ".gguf")                             ? GGUF
                                                                    : SAFETENSORS;
    return *k != SAFETENSORS || lti_ends_with(path, ".safetensors");
}

/* ---- Reading ---- */

static lt_status open_source(source *s, const char *path)
{
    if (s->kind == HDF5) return lt_h5_open(s->ctx, path, &s->h5);
    if (s->kind == GGUF) return lt_gguf_open(s->ctx, path, &s->gguf);
    return lt_tensors_open(s->ctx, path, &s->tensors);
}

static void close_source(source *s)
{
    lt_h5_close(s->h5);
    lt_gguf_close(s->gguf);
    lt_tensors_close(s->tensors);
    lti_free(s->ctx, s->buffer);
}

static int count_of(const source *s)
{
    return s->h5 ? lt_h5_count(s->h5) : s->gguf ? lt_gguf_tensors(s->gguf) : lt_tensors_count(s->tensors);
}

static lt_status describe_gguf(source *s, passing *p)
{
    const lt_gguf_tensor_info *t = lt_gguf_tensor(s->gguf, p->index);
    if (!t->known)
        return lti_fail(s->ctx, LT_EUNSUPPORTED, "%s: tensor '%s' is %s, which lathe cannot decode",
                        lt_gguf_path(s->gguf), t->name, t->type_name);
    p->name = t->name;
    p->decoded = lt_dtype_is_lattice(t->type);
    p->type = t->type == LT_F16    ? LT_STORED_F16
              : t->type == LT_BF16 ? LT_STORED_BF16
              : t->type == LT_I8   ? LT_STORED_I8
              : t->type == LT_I32  ? LT_STORED_I32
                                   : LT_STORED_F32;
    p->rank = t->rank;
    p->shape = t->shape;
    p->elements = t->elements;
    return LT_OK;
}

static lt_status describe(source *s, int index, passing *p)
{
    *p = (passing){.from = s, .index = index};
    if (s->gguf) return describe_gguf(s, p);
    if (s->h5) {
        p->name = lt_h5_name(s->h5, index);
        p->type = lt_h5_dtype(s->h5, index);
        p->rank = lt_h5_rank(s->h5, index);
        p->shape = lt_h5_shape(s->h5, index);
        p->elements = lt_h5_elements(s->h5, index);
        return LT_OK;
    }
    p->name = lt_tensors_name(s->tensors, index);
    p->type = lt_tensors_dtype(s->tensors, index);
    p->rank = lt_tensors_rank(s->tensors, index);
    p->shape = lt_tensors_shape(s->tensors, index);
    p->elements = lt_tensors_elements(s->tensors, index);
    return LT_OK;
}

static lt_status reserve(source *s, size_t bytes)
{
    if (bytes <= s->room) return LT_OK;
    lti_free(s->ctx, s->buffer);
    s->room = 0;
    s->buffer = lti_alloc(s->ctx, bytes);
    if (!s->buffer) return LT_ENOMEM;
    s->room = bytes;
    return LT_OK;
}

static lt_status pass(void *user, const void **bytes)
{
    passing *p = user;
    source *s = p->from;
    if (s->tensors) {
        *bytes = lt_tensors_data(s->tensors, p->index);
        return LT_OK;
    }
    if (s->gguf && !p->decoded) {
        *bytes = lt_gguf_tensor(s->gguf, p->index)->data;
        return LT_OK;
    }
    size_t size = s->h5 ? (size_t)lt_h5_bytes(s->h5, p->index) : (size_t)p->elements * sizeof(lt_real);
    LTI_TRY(reserve(s, size));
    *bytes = s->buffer;
    if (s->h5) return lt_h5_load(s->h5, p->index, s->buffer);
    LTI_TRY(lt_gguf_load_real(s->gguf, p->index, s->buffer));
    float *narrow = s->buffer; /* element i ends before element i + 1 of the wider type begins */
    for (int64_t i = 0; i < p->elements && sizeof(lt_real) != sizeof(float); i++) {
        lt_real wide;
        memcpy(&wide, (const char *)s->buffer + (size_t)i * sizeof wide, sizeof wide);
        narrow[i] = (float)wide;
    }
    return LT_OK;
}

/* ---- Writing ---- */

static bool gguf_type(lt_stored stored, lt_dtype *type)
{
    static const struct {
        lt_stored stored;
        lt_dtype type;
    } types[] = {{LT_STORED_F32, LT_F32},
                 {LT_STORED_F16, LT_F16},
                 {LT_STORED_BF16, LT_BF16},
                 {LT_STORED_I8, LT_I8},
                 {LT_STORED_I32, LT_I32}};
    for (int i = 0; i < LTI_COUNT(types); i++)
        if (types[i].stored == stored) {
            *type = types[i].type;
            return true;
        }
    return false;
}

static lt_status write_gguf(source *s, passing *list, int count, const char *out)
{
    lt_gguf_entry *entries = lti_alloc_array(s->ctx, (size_t)count + 1, sizeof *entries);
    if (!entries) return LT_ENOMEM;
    lt_status status = LT_OK;
    for (int i = 0; i < count && status == LT_OK; i++) {
        passing *p = &list[i];
        entries[i] = (lt_gguf_entry){.name = p->name, .rank = p->rank, .make = pass, .user = p};
        if (!gguf_type(p->type, &entries[i].type))
            status =
                lti_fail(s->ctx, LT_EUNSUPPORTED, "%s: tensor '%s' is %s; a GGUF file takes F32, F16, BF16, I8, I32",
                         out, p->name, lt_stored_name(p->type));
        else if (p->rank > 4)
            status = lti_fail(s->ctx, LT_EUNSUPPORTED, "%s: tensor '%s' has %d axes; a GGUF file takes 4", out, p->name,
                              p->rank);
        for (int k = 0; k < p->rank && status == LT_OK; k++) entries[i].shape[k] = p->shape[k];
    }
    if (status == LT_OK) status = lt_gguf_write(s->ctx, out, NULL, 0, entries, count, NULL);
    lti_free(s->ctx, entries);
    return status;
}

static lt_status write_entries(source *s, passing *list, int count, kind to, const char *out)
{
    if (to == GGUF) return write_gguf(s, list, count, out);
    lt_tensor_entry *entries = lti_alloc_array(s->ctx, (size_t)count + 1, sizeof *entries);
    if (!entries) return LT_ENOMEM;
    for (int i = 0; i < count; i++)
        entries[i] = (lt_tensor_entry){.name = list[i].name,
                                       .dtype = list[i].type,
                                       .rank = list[i].rank,
                                       .shape = list[i].shape,
                                       .make = pass,
                                       .user = &list[i]};
    lt_status status = to == HDF5 ? lt_h5_write(s->ctx, out, entries, count, NULL, 0, NULL)
                                  : lt_tensors_write(s->ctx, out, entries, count, NULL, 0, NULL);
    lti_free(s->ctx, entries);
    return status;
}

static lt_status convert(source *s, const char *in, kind to, const char *out, lti_text *report)
{
    LTI_TRY(open_source(s, in));
    int count = count_of(s);
    passing *list = lti_alloc_array(s->ctx, (size_t)count + 1, sizeof *list);
    if (!list) return LT_ENOMEM;
    lt_status status = LT_OK;
    int decoded = 0;
    for (int i = 0; i < count && status == LT_OK; i++) {
        status = describe(s, i, &list[i]);
        decoded += list[i].decoded;
    }
    if (status == LT_OK) status = write_entries(s, list, count, to, out);
    lti_text_format(report, "%d tensors\n", count);
    if (decoded) lti_text_format(report, "decoded to f32: %d tensors in lattices\n", decoded);
    if (s->gguf && lt_gguf_pairs(s->gguf))
        lti_text_format(report, "left out: %d keys, which only a model directory or another GGUF file keeps\n",
                        lt_gguf_pairs(s->gguf));
    lti_free(s->ctx, list);
    return status;
}

lt_status lt_tensors_convert(lt_ctx *ctx, const char *in, const char *out, char **report)
{
    source s = {.ctx = ctx};
    kind to;
    lti_text text = {ctx};
    if (report) *report = NULL;
    if (!kind_of(in, &s.kind) || !kind_of(out, &to))
        return lti_fail(ctx, LT_EINVAL, "convert: '%s' to '%s': files of tensors end in .safetensors, .h5 or .gguf", in,
                        out);
    if (!strcmp(in, out)) return lti_fail(ctx, LT_EINVAL, "convert: '%s' is both ends; name another output", in);
    lt_status status = convert(&s, in, to, out, &text);
    close_source(&s);
    if (status == LT_OK && text.failed) status = lti_fail(ctx, LT_ENOMEM, "out of memory for a report");
    if (status == LT_OK && report) {
        *report = text.data;
        text.data = NULL;
    }
    lti_text_free(&text);
    return status;
}
