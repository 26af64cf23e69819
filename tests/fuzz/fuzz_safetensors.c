/* fuzz_safetensors.c - one .safetensors file: what is accepted can be read in full, and written and read again. */
#include "lathe/formats.h"
#include "tests/fuzz/fuzzing.h"

#include <stdio.h>
#include <string.h>

static void look(lt_ctx *ctx, const lt_tensors *t, size_t size)
{
    volatile unsigned char sum = 0;
    uint64_t end = 0;
    for (int i = 0; i < lt_tensors_count(t); i++) {
        const unsigned char *bytes = lt_tensors_data(t, i);
        uint64_t count = lt_tensors_bytes(t, i);
        FZ_CHECK(lt_tensors_offset(t, i) + count <= size, "'%s' lies outside of the file", lt_tensors_name(t, i));
        FZ_CHECK(lt_tensors_offset(t, i) >= end, "'%s' overlaps", lt_tensors_name(t, i));
        FZ_CHECK(lt_tensors_find(t, lt_tensors_name(t, i)) == i, "'%s' is not found", lt_tensors_name(t, i));
        end = lt_tensors_offset(t, i) + count;
        for (uint64_t k = 0; k < count; k++) sum = sum ^ bytes[k];
        lt_real *real = lti_alloc_array(ctx, (size_t)lt_tensors_elements(t, i), sizeof *real);
        if (!real) continue;
        lt_status status = lt_tensors_load_real(t, i, real);
        FZ_CHECK(status == LT_OK || status == LT_EUNSUPPORTED, "load_real: %s", lt_ctx_message(ctx));
        lti_free(ctx, real);
    }
    const char *format = lt_tensors_metadata(t, "format");
    if (format) sum = sum ^ (unsigned char)strlen(format);
}

/* The same tensors through the writer. It is stricter about names. */
static void write_again(lt_ctx *ctx, const lt_tensors *t)
{
    int count = lt_tensors_count(t);
    lt_tensor_entry *entries = lti_alloc_array(ctx, (size_t)count, sizeof *entries);
    char path[600];
    snprintf(path, sizeof path, "%s/again", fz_directory());
    for (int i = 0; entries && i < count; i++)
        entries[i] = (lt_tensor_entry){.name = lt_tensors_name(t, i),
                                       .dtype = lt_tensors_dtype(t, i),
                                       .rank = lt_tensors_rank(t, i),
                                       .shape = lt_tensors_shape(t, i),
                                       .data = lt_tensors_data(t, i)};
    lt_status status = entries ? lt_tensors_write(ctx, path, entries, count, NULL, 0, NULL) : LT_ENOMEM;
    lti_free(ctx, entries);
    FZ_CHECK(status == LT_OK || status == LT_EINVAL || status == LT_ENOMEM, "write: %s", lt_ctx_message(ctx));
    lt_tensors *again;
    if (status != LT_OK || !fz_must(ctx, lt_tensors_open(ctx, path, &again))) return;
    FZ_CHECK(lt_tensors_count(again) == count, "%d of %d tensors came back", lt_tensors_count(again), count);
    for (int i = 0; i < count; i++) {
        int k = lt_tensors_find(again, lt_tensors_name(t, i));
        FZ_CHECK(k >= 0 && lt_tensors_bytes(again, k) == lt_tensors_bytes(t, i) &&
                     memcmp(lt_tensors_data(again, k), lt_tensors_data(t, i), lt_tensors_bytes(t, i)) == 0,
                 "'%s' came back different", lt_tensors_name(t, i));
    }
    lt_tensors_close(again);
}

static void body(lt_ctx *ctx, const uint8_t *data, size_t size)
{
    lt_tensors *t;
    if (!fz_accept(ctx, lt_tensors_open(ctx, fz_file(data, size), &t))) return;
    look(ctx, t, size);
    write_again(ctx, t);
    lt_tensors_close(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fz_run(body, data, size);
}
