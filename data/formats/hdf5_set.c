/* hdf5_set.c - lt_h5: all tensors of an HDF5 file.
 *
 * The list comes as one table of records, kept as it is: names and shapes point into it. Every record is checked
 * before it is believed. The helper stays for the loads; one that died over a damaged dataset is started again for the
 * next, so that the sound rest of a file can still be read. */
#include "base/text.h"
#include "data/formats/hdf5_session.h"
#include "data/utf8.h"

#include <stdlib.h>
#include <string.h>

struct lt_h5 {
    lt_ctx *ctx;
    char *path, *table;
    const lti_h5_record **tensors; /* by name */
    lt_pair *pairs;
    int count, pair_count;
    lti_text skipped;
    lti_h5_session session;
};

static const char *name_of(const lti_h5_record *record)
{
    return (const char *)(record + 1);
}

static const char *value_of(const lti_h5_record *record)
{
    return name_of(record) + record->name_bytes + 1;
}

static bool is_utf8(const char *text)
{
    uint64_t n = strlen(text);
    return lti_utf8_check((const unsigned char *)text, n) == n;
}

/* The record at `*at`, checked, and the place of the next; NULL when it makes no sense. */
static const lti_h5_record *next_record(const lt_h5 *file, uint64_t bytes, uint64_t *at)
{
    const lti_h5_record *record = (const lti_h5_record *)(file->table + *at);
    if (bytes - *at < sizeof *record) return NULL;
    uint64_t size = sizeof *record + (uint64_t)record->name_bytes + record->value_bytes + 2;
    size += (8 - size % 8) % 8;
    if (size > bytes - *at || strlen(name_of(record)) != record->name_bytes ||
        strlen(value_of(record)) != record->value_bytes)
        return NULL;
    *at += size;
    int64_t elements;
    uint64_t needed;
    if (record->kind != LTI_H5_TENSOR) return record;
    if (lti_h5_width((lt_stored)record->dtype) == 0 || record->name_bytes == 0 ||
        !lti_h5_measure((lt_stored)record->dtype, record->rank, record->shape, &elements, &needed) ||
        (uint64_t)elements != record->elements || needed != record->bytes)
        return NULL;
    return record;
}

/* Names of other encodings are shown with their odd bytes as '?'. */
static void skip(lt_h5 *file, const char *name, const char *reason)
{
    for (const char *c = name; *c; c++)
        lti_text_add(&file->skipped, (unsigned char)*c < 0x20 || (unsigned char)*c > 0x7e ? "?" : c, 1);
    lti_text_format(&file->skipped, ": %s\n", reason);
}

static lt_status sort_record(lt_h5 *file, const lti_h5_record *record)
{
    const char *name = name_of(record), *value = value_of(record);
    if (record->kind == LTI_H5_SKIPPED)
        skip(file, name, value);
    else if (!is_utf8(name) || !is_utf8(value))
        skip(file, name, "its name or text is not UTF-8");
    else if (record->kind == LTI_H5_TENSOR)
        file->tensors[file->count++] = record;
    else
        file->pairs[file->pair_count++] = (lt_pair){name, value};
    return file->skipped.failed ? LT_ENOMEM : LT_OK;
}

static int order_tensors(const void *a, const void *b)
{
    return strcmp(name_of(*(const lti_h5_record *const *)a), name_of(*(const lti_h5_record *const *)b));
}

static int order_pairs(const void *a, const void *b)
{
    return strcmp(((const lt_pair *)a)->key, ((const lt_pair *)b)->key);
}

static lt_status fail_list(const lt_h5 *file)
{
    return lti_fail(file->ctx, LT_EFORMAT, "%s is damaged: lathe-h5 returned a list that makes no sense", file->path);
}

static lt_status read_list(lt_h5 *file)
{
    uint64_t count = 0;
    LTI_TRY(lti_h5_ask(&file->session, LTI_H5_LIST, NULL));
    uint64_t bytes = file->session.message.bytes;
    if (bytes > LTI_H5_LIST_BYTES || bytes % 8) return fail_list(file);
    if (!(file->table = lti_alloc(file->ctx, bytes + 1))) return LT_ENOMEM; /* a NUL ends it whatever it holds */
    LTI_TRY(lti_h5_take(&file->session, 0, file->table, bytes));
    for (uint64_t at = 0; at < bytes; count++)
        if (!next_record(file, bytes, &at)) return fail_list(file);
    file->tensors = lti_alloc_array(file->ctx, count, sizeof *file->tensors);
    file->pairs = lti_alloc_array(file->ctx, count, sizeof *file->pairs);
    if (!file->tensors || !file->pairs) return LT_ENOMEM;
    for (uint64_t at = 0; at < bytes;) LTI_TRY(sort_record(file, next_record(file, bytes, &at)));
    if (file->count) qsort(file->tensors, (size_t)file->count, sizeof *file->tensors, order_tensors);
    if (file->pair_count) qsort(file->pairs, (size_t)file->pair_count, sizeof *file->pairs, order_pairs);
    return LT_OK;
}

lt_status lt_h5_open(lt_ctx *ctx, const char *path, lt_h5 **out)
{
    *out = NULL;
    lti_map probe; /* tells what is no file, empty or a pointer before a process is started */
    LTI_TRY(lti_file_map(ctx, path, &probe));
    lti_file_unmap(&probe);
    lt_h5 *file = lti_alloc(ctx, sizeof *file);
    if (!file) return LT_ENOMEM;
    file->ctx = ctx;
    file->skipped.ctx = ctx;
    lt_status status = (file->path = lti_strdup(ctx, path)) ? LT_OK : LT_ENOMEM;
    if (status == LT_OK) status = lti_h5_start(ctx, file->path, file->path, false, &file->session);
    if (status == LT_OK) status = read_list(file);
    if (status == LT_OK)
        *out = file;
    else
        lt_h5_close(file);
    return status;
}

void lt_h5_close(lt_h5 *file)
{
    if (!file) return;
    lti_h5_stop(&file->session);
    lti_text_free(&file->skipped);
    lti_free(file->ctx, file->pairs);
    lti_free(file->ctx, file->tensors);
    lti_free(file->ctx, file->table);
    lti_free(file->ctx, file->path);
    lti_free(file->ctx, file);
}

int lt_h5_count(const lt_h5 *file)
{
    return file->count;
}

int lt_h5_find(const lt_h5 *file, const char *name)
{
    int low = 0, high = file->count;
    while (low < high) {
        int middle = low + (high - low) / 2, order = strcmp(name_of(file->tensors[middle]), name);
        if (order == 0) return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

const char *lt_h5_name(const lt_h5 *file, int index)
{
    return name_of(file->tensors[index]);
}

lt_stored lt_h5_dtype(const lt_h5 *file, int index)
{
    return (lt_stored)file->tensors[index]->dtype;
}

int lt_h5_rank(const lt_h5 *file, int index)
{
    return (int)file->tensors[index]->rank;
}

const int64_t *lt_h5_shape(const lt_h5 *file, int index)
{
    return file->tensors[index]->shape;
}

int64_t lt_h5_elements(const lt_h5 *file, int index)
{
    return (int64_t)file->tensors[index]->elements;
}

uint64_t lt_h5_bytes(const lt_h5 *file, int index)
{
    return file->tensors[index]->bytes;
}

const char *lt_h5_skipped(const lt_h5 *file)
{
    return file->skipped.data ? file->skipped.data : "";
}

const lt_pair *lt_h5_metadata(const lt_h5 *file, int *pairs)
{
    *pairs = file->pair_count;
    return file->pairs;
}

/* ---- Loading ---- */

typedef struct destination {
    char *bytes;
    lt_real *real;
    lt_stored type;
} destination;

static lt_status keep(void *arg, int64_t first, int64_t count, const void *elements)
{
    const destination *d = arg;
    if (d->real)
        lti_stored_to_real(d->type, count, elements, d->real + first);
    else
        memcpy(d->bytes + first * lti_h5_width(d->type), elements, (size_t)(count * lti_h5_width(d->type)));
    return LT_OK;
}

static lt_status load(lt_h5 *file, int index, destination to)
{
    const lti_h5_record *record = file->tensors[index];
    const char *name = name_of(record);
    const lti_h5_message *message = &file->session.message;
    if (!file->session.child) LTI_TRY(lti_h5_start(file->ctx, file->path, file->path, false, &file->session));
    LTI_TRY(lti_h5_find(&file->session, name));
    if (message->dtype != record->dtype || message->rank != record->rank ||
        memcmp(message->shape, record->shape, record->rank * sizeof *record->shape) != 0)
        return lti_fail(file->ctx, LT_EIO, "%s: dataset '%s' is another one than when the file was opened", file->path,
                        name);
    return lti_h5_each_block(&file->session, name, keep, &to);
}

lt_status lt_h5_load(lt_h5 *file, int index, void *bytes)
{
    return load(file, index, (destination){.bytes = bytes, .type = lt_h5_dtype(file, index)});
}

lt_status lt_h5_load_real(lt_h5 *file, int index, lt_real *dst)
{
    lt_stored type = lt_h5_dtype(file, index);
    if (!lti_stored_to_real(type, 0, dst, dst))
        return lti_fail(file->ctx, LT_EUNSUPPORTED,
                        "%s: dataset '%s' has elements of type %s; F32, F16, BF16 and F64 are converted", file->path,
                        lt_h5_name(file, index), lt_stored_name(type));
    return load(file, index, (destination){.real = dst, .type = type});
}
