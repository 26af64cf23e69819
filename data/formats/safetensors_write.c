/* safetensors_write.c - writing .safetensors files.
 *
 * Tensors go by element type, widest first, then by name: each is then aligned to its elements without padding, and
 * the same content gives the same bytes whatever order it was collected in. The header is padded with spaces to a
 * multiple of 8. Data streams from where it lies; conversion works through one small block. */
#include "base/text.h"
#include "data/files.h"
#include "data/formats/stored_real.h"
#include "data/utf8.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 4096 /* elements converted at a time */

static int order_entries(const void *a, const void *b)
{
    const lt_tensor_entry *x = *(const lt_tensor_entry *const *)a, *y = *(const lt_tensor_entry *const *)b;
    if (x->dtype != y->dtype) return x->dtype > y->dtype ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int64_t elements_of(const lt_tensor_entry *entry)
{
    int64_t n = 1;
    for (int i = 0; i < entry->rank; i++) n *= entry->shape[i];
    return n;
}

static uint64_t bytes_of(const lt_tensor_entry *entry)
{
    return (uint64_t)elements_of(entry) * (uint64_t)lt_stored_bits(entry->dtype) / 8;
}

static lt_status check_name(lt_ctx *ctx, const char *what, const char *name)
{
    if (!name || !*name) return lti_fail(ctx, LT_EINVAL, "safetensors: %s without a name", what);
    size_t n = strlen(name);
    if (lti_utf8_check((const unsigned char *)name, n) < n)
        return lti_fail(ctx, LT_EINVAL, "safetensors: the name of %s '%.200s' is not UTF-8", what, name);
    return LT_OK;
}

static lt_status check_entry(lt_ctx *ctx, const lt_tensor_entry *entry)
{
    LTI_TRY(check_name(ctx, "a tensor", entry->name));
    if (strcmp(entry->name, "__metadata__") == 0)
        return lti_fail(ctx, LT_EINVAL, "safetensors: a tensor may not be called __metadata__");
    if (lt_stored_bits(entry->dtype) == 0 || entry->rank < 0)
        return lti_fail(ctx, LT_EINVAL, "safetensors: tensor '%s': type %d, rank %d", entry->name, (int)entry->dtype,
                        entry->rank);
    int64_t n = 1, bits;
    bool over = false;
    for (int i = 0; i < entry->rank; i++) {
        if (entry->shape[i] < 0)
            return lti_fail(ctx, LT_EINVAL, "safetensors: tensor '%s': dimension %d is %" PRId64, entry->name, i,
                            entry->shape[i]);
        over |= __builtin_mul_overflow(n, entry->shape[i], &n);
    }
    over |= __builtin_mul_overflow(n, (int64_t)lt_stored_bits(entry->dtype), &bits);
    if (over || bits % 8)
        return lti_fail(ctx, LT_EINVAL, "safetensors: tensor '%s': %s", entry->name,
                        over ? "its shape overflows 64 bits" : "its elements do not fill whole bytes");
    bool real = entry->dtype == LT_STORED_F16 || entry->dtype == LT_STORED_BF16 || entry->dtype == LT_STORED_F32 ||
                entry->dtype == LT_STORED_F64;
    int sources = (entry->data != NULL) + (entry->real != NULL) + (entry->make != NULL);
    if (sources > 1 || (n > 0 && sources == 0) || (entry->real && !real))
        return lti_fail(ctx, LT_EINVAL,
                        "safetensors: tensor '%s': give either bytes, or what makes them, or real numbers for F16, "
                        "BF16, F32 or F64",
                        entry->name);
    return LT_OK;
}

static lt_status metadata_text(lt_ctx *ctx, const lt_pair *metadata, int pairs, lti_text *text)
{
    bool format = false;
    lti_text_format(text, "{\"__metadata__\":{");
    for (int i = 0; i < pairs; i++) {
        LTI_TRY(check_name(ctx, "metadata", metadata[i].key));
        if (*metadata[i].value) LTI_TRY(check_name(ctx, metadata[i].key, metadata[i].value));
        for (int k = 0; k < i; k++)
            if (strcmp(metadata[k].key, metadata[i].key) == 0)
                return lti_fail(ctx, LT_EINVAL, "safetensors: metadata '%s' is given twice", metadata[i].key);
        format |= strcmp(metadata[i].key, "format") == 0;
    }
    if (!format) lti_text_format(text, "\"format\":\"pt\"%s", pairs ? "," : "");
    for (int i = 0; i < pairs; i++) {
        lti_text_json(text, metadata[i].key);
        lti_text_format(text, ":");
        lti_text_json(text, metadata[i].value);
        if (i + 1 < pairs) lti_text_format(text, ",");
    }
    lti_text_format(text, "}");
    return LT_OK;
}

static lt_status header_text(lt_ctx *ctx, const lt_tensor_entry *const *order, int count, const lt_pair *metadata,
                             int pairs, lti_text *text)
{
    LTI_TRY(metadata_text(ctx, metadata, pairs, text));
    uint64_t begin = 0, end;
    for (int i = 0; i < count; i++) {
        const lt_tensor_entry *entry = order[i];
        if (__builtin_add_overflow(begin, bytes_of(entry), &end) || end > INT64_MAX)
            return lti_fail(ctx, LT_EINVAL, "safetensors: tensor '%s': the file would pass 2^63 bytes", entry->name);
        lti_text_format(text, ",");
        lti_text_json(text, entry->name);
        lti_text_format(text, ":{\"dtype\":\"%s\",\"shape\":[", lt_stored_name(entry->dtype));
        for (int k = 0; k < entry->rank; k++) lti_text_format(text, "%s%" PRId64, k ? "," : "", entry->shape[k]);
        lti_text_format(text, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", begin, end);
        begin = end;
    }
    lti_text_format(text, "}");
    while (!text->failed && text->length % 8) lti_text_add(text, " ", 1);
    if (text->failed) return LT_ENOMEM;
    if (text->length > 100000000)
        return lti_fail(ctx, LT_EINVAL, "safetensors: the header of %zu bytes passes the format's limit", text->length);
    return LT_OK;
}

static lt_status write_made(lt_ctx *ctx, lti_writer *writer, const lt_tensor_entry *entry)
{
    const void *bytes = NULL;
    if (elements_of(entry) == 0) return LT_OK;
    LTI_TRY(entry->make(entry->user, &bytes));
    if (!bytes) return lti_fail(ctx, LT_EINVAL, "safetensors: tensor '%s' was not made", entry->name);
    return lti_writer_add(writer, bytes, bytes_of(entry));
}

static lt_status write_entry(lt_ctx *ctx, lti_writer *writer, const lt_tensor_entry *entry)
{
    if (entry->make) return write_made(ctx, writer, entry);
    if (entry->data) return lti_writer_add(writer, entry->data, bytes_of(entry));
    char block[BLOCK * 8];
    size_t bytes = (size_t)lt_stored_bits(entry->dtype) / 8;
    int64_t n = elements_of(entry);
    for (int64_t i = 0; i < n; i += BLOCK) {
        int64_t count = n - i < BLOCK ? n - i : BLOCK;
        lti_real_to_stored(entry->dtype, count, entry->real + i, block);
        LTI_TRY(lti_writer_add(writer, block, (size_t)count * bytes));
    }
    return LT_OK;
}

static lt_status write_all(lt_ctx *ctx, lti_writer *writer, const lti_text *header, const lt_tensor_entry *const *order,
                           int count)
{
    unsigned char size[8];
    for (int i = 0; i < 8; i++) size[i] = (unsigned char)(header->length >> 8 * i);
    LTI_TRY(lti_writer_add(writer, size, sizeof size));
    LTI_TRY(lti_writer_add(writer, header->data, header->length));
    for (int i = 0; i < count; i++) LTI_TRY(write_entry(ctx, writer, order[i]));
    return LT_OK;
}

static int order_by_name(const void *a, const void *b)
{
    return strcmp((*(const lt_tensor_entry *const *)a)->name, (*(const lt_tensor_entry *const *)b)->name);
}

/* Checks every entry and puts them in the order of the file. */
static lt_status check_entries(lt_ctx *ctx, const lt_tensor_entry *entries, int count, const lt_tensor_entry **order)
{
    for (int i = 0; i < count; i++) {
        LTI_TRY(check_entry(ctx, &entries[i]));
        order[i] = &entries[i];
    }
    if (count <= 0) return LT_OK;
    qsort(order, (size_t)count, sizeof *order, order_by_name);
    for (int i = 1; i < count; i++)
        if (strcmp(order[i - 1]->name, order[i]->name) == 0)
            return lti_fail(ctx, LT_EINVAL, "safetensors: tensor '%s' is given twice", order[i]->name);
    qsort(order, (size_t)count, sizeof *order, order_entries);
    return LT_OK;
}

lt_status lt_tensors_write(lt_ctx *ctx, const char *path, const lt_tensor_entry *entries, int count,
                           const lt_pair *metadata, int pairs, char hash[33])
{
    const lt_tensor_entry **order = lti_alloc_array(ctx, (size_t)(count > 0 ? count : 0), sizeof *order);
    if (!order) return LT_ENOMEM;
    lti_text header = {.ctx = ctx};
    lti_writer *writer = NULL;
    lt_status status = check_entries(ctx, entries, count, order);
    if (status == LT_OK) status = header_text(ctx, order, count, metadata, pairs, &header);
    if (status == LT_OK) status = lti_writer_open(ctx, path, &writer);
    if (status == LT_OK) {
        status = write_all(ctx, writer, &header, order, count);
        if (status == LT_OK)
            status = lti_writer_commit(writer, hash);
        else
            lti_writer_discard(writer);
    }
    lti_text_free(&header);
    lti_free(ctx, order);
    return status;
}
