/* gguf_write.c - writing GGUF files.
 *
 * Keys and tensors keep the order they are given in: llama.cpp's own files put general.architecture first and tensors
 * by layer, and a reader on a disk profits from the order of use. The header is made whole in memory (a tokenizer is
 * the most of it); the data stream from where they lie, or from `make` one tensor at a time, so that a model may be
 * quantized or permuted into a file without a second copy of it. Whatever llama.cpp would refuse is refused here,
 * before the file is begun. */
#include "base/text.h"
#include "data/formats/gguf_file.h"
#include "data/utf8.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define KEY_LIMIT 65535        /* the specification's limit for a key */
#define ALIGNMENT_LIMIT 65536u /* more would be a mistake: llama.cpp itself never pads by more than 64 */

static lt_status check_name(lt_ctx *ctx, const char *what, const char *name, size_t limit)
{
    if (!name || !*name) return lti_fail(ctx, LT_EINVAL, "GGUF: %s without a name", what);
    size_t n = strlen(name);
    if (n > limit)
        return lti_fail(ctx, LT_EINVAL, "GGUF: the name of %s '%.80s...' has %zu bytes, the format allows %zu", what,
                        name, n, limit);
    if (lti_utf8_check((const unsigned char *)name, n) < n)
        return lti_fail(ctx, LT_EINVAL, "GGUF: the name of %s '%.200s' is not UTF-8", what, name);
    return LT_OK;
}

static lt_status check_strings(lt_ctx *ctx, const lt_gguf_pair *pair)
{
    for (int64_t i = 0; i < pair->count; i++) {
        const lt_gguf_string *s = &pair->strings[i];
        if (s->bytes < 0 || (uint64_t)s->bytes > LTI_GGUF_STRING || (s->bytes && !s->text))
            return lti_fail(ctx, LT_EINVAL, "GGUF: key '%s': string %" PRId64 " of %" PRId64 " bytes; 0 to 2^30 fit",
                            pair->key, i, s->bytes);
    }
    return LT_OK;
}

static lt_status check_pair(lt_ctx *ctx, const lt_gguf_pair *pair, uint64_t *alignment)
{
    LTI_TRY(check_name(ctx, "a key", pair->key, KEY_LIMIT));
    bool array = pair->type == LT_GGUF_ARRAY;
    lt_gguf_type item = array ? pair->item : pair->type;
    if (item != LT_GGUF_STRING && !lti_gguf_number_bytes(item))
        return lti_fail(ctx, LT_EINVAL, "GGUF: key '%s': %s", pair->key,
                        item == LT_GGUF_ARRAY ? "llama.cpp refuses arrays of arrays" : "its type is none of GGUF's");
    if (array ? pair->count < 0 || (uint64_t)pair->count > LTI_GGUF_ARRAY : pair->count != 1)
        return lti_fail(ctx, LT_EINVAL, "GGUF: key '%s': a count of %" PRId64 "; %s", pair->key, pair->count,
                        array ? "arrays hold 0 to 2^30 items" : "what is no array has 1");
    if (pair->count && (item == LT_GGUF_STRING ? !pair->strings : !pair->data))
        return lti_fail(ctx, LT_EINVAL, "GGUF: key '%s' has no value", pair->key);
    if (item == LT_GGUF_STRING) LTI_TRY(check_strings(ctx, pair));
    if (strcmp(pair->key, LTI_GGUF_ALIGNMENT_KEY) != 0) return LT_OK;
    uint32_t number = 0;
    if (pair->type == LT_GGUF_U32) memcpy(&number, pair->data, sizeof number);
    if (number < 8 || number > ALIGNMENT_LIMIT || (number & (number - 1)))
        return lti_fail(ctx, LT_EINVAL, "GGUF: " LTI_GGUF_ALIGNMENT_KEY " must be a u32, a power of two from 8 to %u",
                        ALIGNMENT_LIMIT);
    *alignment = number;
    return LT_OK;
}

/* `bytes` is how many are stored. */
static lt_status check_entry(lt_ctx *ctx, const lt_gguf_entry *entry, uint64_t *bytes)
{
    LTI_TRY(check_name(ctx, "a tensor", entry->name, LTI_GGUF_NAME));
    if (lti_dtype_gguf(entry->type) < 0 || entry->rank < 0 || entry->rank > LTI_GGUF_DIMS)
        return lti_fail(ctx, LT_EINVAL, "GGUF: tensor '%s': type %s, rank %d; GGUF has at most %d dimensions",
                        entry->name, lt_dtype_name(entry->type), entry->rank, LTI_GGUF_DIMS);
    int64_t product = 1, row = entry->rank > 0 ? entry->shape[entry->rank - 1] : 1;
    bool over = false, empty = false;
    for (int i = 0; i < entry->rank; i++) {
        int64_t n = entry->shape[i];
        if (n < 0) return lti_fail(ctx, LT_EINVAL, "GGUF: tensor '%s': dimension %d is %" PRId64, entry->name, i, n);
        empty |= n == 0;
        if (n) over |= __builtin_mul_overflow(product, n, &product);
    }
    int64_t block = lt_dtype_block(entry->type);
    if (row % block)
        return lti_fail(ctx, LT_EINVAL,
                        "GGUF: tensor '%s': rows of %" PRId64 " elements are not whole blocks of %s, which are of "
                        "%" PRId64 "; choose another type for it",
                        entry->name, row, lt_dtype_name(entry->type), block);
    uint64_t blocks = empty ? 0 : (uint64_t)(product / block);
    over |= product == INT64_MAX || __builtin_mul_overflow(blocks, lti_gguf_block_bytes(entry->type), bytes);
    if (over) return lti_fail(ctx, LT_EINVAL, "GGUF: tensor '%s': its shape overflows 64 bits", entry->name);
    if ((entry->data && entry->make) || (*bytes && !entry->data && !entry->make))
        return lti_fail(ctx, LT_EINVAL, "GGUF: tensor '%s': give either its bytes or what makes them", entry->name);
    return LT_OK;
}

static int order_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static lt_status refuse_twice(lt_ctx *ctx, const char *what, const char **names, int count)
{
    if (count) qsort(names, (size_t)count, sizeof *names, order_names);
    for (int i = 1; i < count; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            return lti_fail(ctx, LT_EINVAL, "GGUF: %s '%s' is given twice", what, names[i]);
    return LT_OK;
}

typedef struct file {
    lt_ctx *ctx;
    const lt_gguf_pair *pairs;
    const lt_gguf_entry *entries;
    int n_pairs, count;
    uint64_t alignment;
    uint64_t *bytes; /* [count] of each tensor */
    lti_text header;
} file;

static lt_status check_all(file *f, const char **names)
{
    for (int i = 0; i < f->n_pairs; i++) {
        LTI_TRY(check_pair(f->ctx, &f->pairs[i], &f->alignment));
        names[i] = f->pairs[i].key;
    }
    LTI_TRY(refuse_twice(f->ctx, "key", names, f->n_pairs));
    for (int i = 0; i < f->count; i++) {
        LTI_TRY(check_entry(f->ctx, &f->entries[i], &f->bytes[i]));
        names[i] = f->entries[i].name;
    }
    return refuse_twice(f->ctx, "tensor", names, f->count);
}

/* ---- The header ---- */

static void add_u32(lti_text *text, uint32_t number)
{
    lti_text_add(text, (const char *)&number, sizeof number);
}

static void add_u64(lti_text *text, uint64_t number)
{
    lti_text_add(text, (const char *)&number, sizeof number);
}

static void add_string(lti_text *text, const char *bytes, uint64_t count)
{
    add_u64(text, count);
    if (count) lti_text_add(text, bytes, count);
}

static void add_pair(lti_text *text, const lt_gguf_pair *pair)
{
    lt_gguf_type item = pair->type;
    add_string(text, pair->key, strlen(pair->key));
    add_u32(text, pair->type);
    if (pair->type == LT_GGUF_ARRAY) {
        item = pair->item;
        add_u32(text, item);
        add_u64(text, (uint64_t)pair->count);
    }
    if (item == LT_GGUF_STRING)
        for (int64_t i = 0; i < pair->count; i++)
            add_string(text, pair->strings[i].text, (uint64_t)pair->strings[i].bytes);
    else if (pair->count)
        lti_text_add(text, pair->data, (size_t)pair->count * lti_gguf_number_bytes(item));
}

static void add_entry(lti_text *text, const lt_gguf_entry *entry, uint64_t offset)
{
    add_string(text, entry->name, strlen(entry->name));
    add_u32(text, (uint32_t)entry->rank);
    for (int i = entry->rank - 1; i >= 0; i--) add_u64(text, (uint64_t)entry->shape[i]);
    add_u32(text, (uint32_t)lti_dtype_gguf(entry->type));
    add_u64(text, offset);
}

static lt_status make_header(file *f)
{
    static const char zeros[64];
    uint64_t offset = 0, size;
    lti_text_add(&f->header, "GGUF", 4);
    add_u32(&f->header, LTI_GGUF_VERSION);
    add_u64(&f->header, (uint64_t)f->count);
    add_u64(&f->header, (uint64_t)f->n_pairs);
    for (int i = 0; i < f->n_pairs; i++) add_pair(&f->header, &f->pairs[i]);
    for (int i = 0; i < f->count; i++) {
        add_entry(&f->header, &f->entries[i], offset);
        if (__builtin_add_overflow(offset, f->bytes[i], &offset) || offset > INT64_MAX ||
            !lti_gguf_pad(offset, f->alignment, &offset))
            return lti_fail(f->ctx, LT_EINVAL, "GGUF: tensor '%s': the file would pass 2^63 bytes", f->entries[i].name);
    }
    if (f->header.failed || !lti_gguf_pad(f->header.length, f->alignment, &size)) return LT_ENOMEM;
    while (f->count && !f->header.failed && f->header.length < size) {
        size_t more = size - f->header.length;
        lti_text_add(&f->header, zeros, more < sizeof zeros ? more : sizeof zeros);
    }
    return f->header.failed ? LT_ENOMEM : LT_OK;
}

/* ---- The data ---- */

static lt_status write_entry(const file *f, lti_writer *writer, int index)
{
    static const char zeros[64];
    const lt_gguf_entry *entry = &f->entries[index];
    const void *data = entry->data;
    uint64_t bytes = f->bytes[index], padded = 0;
    if (bytes && entry->make) {
        LTI_TRY(entry->make(entry->user, &data));
        if (!data) return lti_fail(f->ctx, LT_EINVAL, "GGUF: tensor '%s' was not made", entry->name);
    }
    if (bytes) LTI_TRY(lti_writer_add(writer, data, bytes));
    lti_gguf_pad(bytes, f->alignment, &padded); /* make_header has seen that it fits */
    for (uint64_t left = padded - bytes; left;) {
        uint64_t count = left < sizeof zeros ? left : sizeof zeros;
        LTI_TRY(lti_writer_add(writer, zeros, count));
        left -= count;
    }
    return LT_OK;
}

static lt_status write_file(file *f, const char *path, char hash[33])
{
    lti_writer *writer;
    LTI_TRY(make_header(f));
    LTI_TRY(lti_writer_open(f->ctx, path, &writer));
    lt_status status = lti_writer_add(writer, f->header.data, f->header.length);
    for (int i = 0; i < f->count && status == LT_OK; i++) status = write_entry(f, writer, i);
    if (status == LT_OK) return lti_writer_commit(writer, hash);
    lti_writer_discard(writer);
    return status;
}

lt_status lt_gguf_write(lt_ctx *ctx, const char *path, const lt_gguf_pair *pairs, int n_pairs,
                        const lt_gguf_entry *entries, int count, char hash[33])
{
    if (n_pairs < 0 || count < 0) return lti_fail(ctx, LT_EINVAL, "GGUF: %d keys, %d tensors", n_pairs, count);
    file f = {.ctx = ctx,
              .pairs = pairs,
              .entries = entries,
              .n_pairs = n_pairs,
              .count = count,
              .alignment = LTI_GGUF_ALIGNMENT,
              .header = {.ctx = ctx}};
    const char **names = lti_alloc_array(ctx, (size_t)(n_pairs > count ? n_pairs : count), sizeof *names);
    f.bytes = lti_alloc_array(ctx, (size_t)count, sizeof *f.bytes);
    lt_status status = names && f.bytes ? check_all(&f, names) : LT_ENOMEM;
    if (status == LT_OK) status = write_file(&f, path, hash);
    lti_text_free(&f.header);
    lti_free(ctx, f.bytes);
    lti_free(ctx, names);
    return status;
}
