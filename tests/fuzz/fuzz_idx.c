/* fuzz_idx.c - IDX, in memory and, plain or gzip, as a file. */
#include "data/formats/arrays_file.h"
#include "tests/fuzz/fuzzing.h"

#include <string.h>

static void look(lt_ctx *ctx, lt_array *a)
{
    int64_t count = 1;
    FZ_CHECK(a->rank >= 0 && a->rank <= LT_MAX_RANK && !a->real != !a->ints, "rank %d", a->rank);
    for (int i = 0; i < a->rank; i++) count *= a->shape[i];
    FZ_CHECK(count == a->count, "%lld elements in a shape of %lld", (long long)a->count, (long long)count);
    volatile double sum = 0;
    for (int64_t i = 0; i < a->count; i++) sum = sum + (a->ints ? a->ints[i] : (double)a->real[i]);
    lt_array_free(ctx, a);
}

static void body(lt_ctx *ctx, const uint8_t *data, size_t size)
{
    lt_array array;
    lt_status direct = lti_idx_parse(ctx, "memory", data, size, &array);
    if (direct == LT_OK) look(ctx, &array);
    lt_status status = lt_idx_read(ctx, fz_file(data, size), &array);
    bool gzip = size >= 2 && data[0] == 0x1f && data[1] == 0x8b;
    FZ_CHECK(gzip || status == direct || status == LT_ENOMEM || direct == LT_ENOMEM, "%s in memory, %s as a file",
             lt_status_name(direct), lt_status_name(status));
    if (fz_accept(ctx, status)) look(ctx, &array);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fz_run(body, data, size);
}
