/* fuzz_gguf.c - one GGUF file: what is accepted can be read in full, and written and read again. */
#include "lathe/gguf.h"
#include "tests/fuzz/fuzzing.h"

#include <stdio.h>
#include <string.h>

static volatile unsigned char sum;

static void touch(const void *data, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i++) sum = sum ^ ((const unsigned char *)data)[i];
}

static void look_at_pairs(const lt_gguf *g)
{
    for (int i = 0; i < lt_gguf_pairs(g); i++) {
        const lt_gguf_pair *pair = lt_gguf_pair_at(g, i);
        double real = 0;
        int64_t whole = 0;
        FZ_CHECK(lt_gguf_get(g, pair->key) == pair && pair->key[0], "key '%s' is not found", pair->key);
        FZ_CHECK(!pair->strings || !pair->data, "key '%s' is two things", pair->key);
        for (int64_t k = 0; k < pair->count; k++) {
            if (pair->strings) touch(pair->strings[k].text, (uint64_t)pair->strings[k].bytes);
            bool number = lt_gguf_item_real(pair, k, &real);
            number |= lt_gguf_item_int(pair, k, &whole);
            FZ_CHECK(number == !pair->strings, "item %lld of '%s'", (long long)k, pair->key);
        }
        FZ_CHECK(!lt_gguf_item_real(pair, pair->count, &real), "'%s' has too many items", pair->key);
    }
}

static void look_at_tensors(lt_ctx *ctx, const lt_gguf *g, size_t size)
{
    uint64_t end = 0;
    for (int i = 0; i < lt_gguf_tensors(g); i++) {
        const lt_gguf_tensor_info *t = lt_gguf_tensor(g, i);
        FZ_CHECK(t->offset <= size && t->bytes <= size - t->offset, "'%s' lies outside of the file", t->name);
        FZ_CHECK(t->offset >= end, "'%s' overlaps", t->name);
        FZ_CHECK(lt_gguf_find(g, t->name) == i, "'%s' is not found", t->name);
        end = t->offset + t->bytes;
        touch(t->data, t->bytes);
        lt_real *real = lti_alloc_array(ctx, (size_t)t->elements, sizeof *real);
        if (!real) continue;
        lt_status status = lt_gguf_load_real(g, i, real);
        FZ_CHECK(status == LT_OK || (status == LT_EUNSUPPORTED && (!t->known || t->type == LT_I8 || t->type == LT_I32)),
                 "load_real: %s", lt_ctx_message(ctx));
        lti_free(ctx, real);
    }
}

/* The same content through the writer. It is stricter: names, alignment, types lathe has. */
static void write_again(lt_ctx *ctx, const lt_gguf *g)
{
    int count = lt_gguf_tensors(g), n_pairs = lt_gguf_pairs(g);
    lt_gguf_pair *pairs = lti_alloc_array(ctx, (size_t)n_pairs, sizeof *pairs);
    lt_gguf_entry *entries = lti_alloc_array(ctx, (size_t)count, sizeof *entries);
    char path[600];
    snprintf(path, sizeof path, "%s/again", fz_directory());
    for (int i = 0; pairs && i < n_pairs; i++) pairs[i] = *lt_gguf_pair_at(g, i);
    for (int i = 0; entries && i < count; i++) {
        const lt_gguf_tensor_info *t = lt_gguf_tensor(g, i);
        entries[i] = (lt_gguf_entry){.name = t->name, .type = t->type, .rank = t->rank, .data = t->data};
        if (!t->known) entries[i].type = LT_DTYPE_COUNT;
        memcpy(entries[i].shape, t->shape, sizeof t->shape);
    }
    lt_status status = pairs && entries ? lt_gguf_write(ctx, path, pairs, n_pairs, entries, count, NULL) : LT_ENOMEM;
    lti_free(ctx, entries);
    lti_free(ctx, pairs);
    FZ_CHECK(status == LT_OK || status == LT_EINVAL || status == LT_ENOMEM, "write: %s", lt_ctx_message(ctx));
    lt_gguf *again;
    if (status != LT_OK || !fz_must(ctx, lt_gguf_open(ctx, path, &again))) return;
    FZ_CHECK(lt_gguf_tensors(again) == count && lt_gguf_pairs(again) == n_pairs, "another number came back");
    for (int i = 0; i < count; i++) {
        const lt_gguf_tensor_info *a = lt_gguf_tensor(g, i), *b = lt_gguf_tensor(again, i);
        FZ_CHECK(strcmp(a->name, b->name) == 0 && a->type == b->type && a->rank == b->rank && a->bytes == b->bytes &&
                     memcmp(a->shape, b->shape, sizeof a->shape) == 0 && memcmp(a->data, b->data, a->bytes) == 0,
                 "'%s' came back different", a->name);
    }
    lt_gguf_close(again);
}

static void body(lt_ctx *ctx, const uint8_t *data, size_t size)
{
    lt_gguf *g;
    if (!fz_accept(ctx, lt_gguf_open(ctx, fz_file(data, size), &g))) return;
    look_at_pairs(g);
    look_at_tensors(ctx, g, size);
    write_again(ctx, g);
    lt_gguf_close(g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fz_run(body, data, size);
}
