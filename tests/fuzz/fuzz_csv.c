/* fuzz_csv.c - CSV in memory, and as a numeric data set of any kind but HDF5 (which another process reads). */
#include "data/formats/arrays_file.h"
#include "lathe/data.h"
#include "tests/fuzz/fuzzing.h"

#include <math.h>
#include <string.h>

static void look(const lt_arrays *a)
{
    for (int64_t i = 0; i < a->n; i++)
        FZ_CHECK(a->y[i] >= 0 && a->y[i] < a->classes, "class %d of %d", a->y[i], a->classes);
    for (int64_t i = 0; i < a->n * a->d; i++) FZ_CHECK(isfinite(a->x[i]), "number %lld is not finite", (long long)i);
}

static void parse(lt_ctx *ctx, const uint8_t *data, size_t size)
{
    char *text = lti_alloc(ctx, size + 1);
    if (!text) return;
    memcpy(text, data, size);
    lt_array x, y;
    if (lti_csv_parse(ctx, "memory", text, size, &x, &y) == LT_OK) {
        FZ_CHECK(x.shape[0] == y.shape[0] && x.count == x.shape[0] * x.shape[1], "shapes");
        lt_array_free(ctx, &x);
        lt_array_free(ctx, &y);
    }
    lti_free(ctx, text);
}

static void body(lt_ctx *ctx, const uint8_t *data, size_t size)
{
    lt_arrays *arrays, *train, *valid;
    if (size >= 8 && memcmp(data, "\x89HDF\r\n\x1a\n", 8) == 0) return;
    parse(ctx, data, size);
    if (!fz_accept(ctx, lt_arrays_open(ctx, fz_file(data, size), &arrays))) return;
    look(arrays);
    lt_status status = lt_arrays_split(ctx, arrays, 0.4, 1, &train, &valid);
    if (status == LT_OK) {
        FZ_CHECK(train->n + valid->n == arrays->n && train->n && valid->n, "the parts are not the whole");
        look(train);
        look(valid);
        lt_arrays_free(ctx, train);
        lt_arrays_free(ctx, valid);
    }
    FZ_CHECK(status == LT_OK || status == LT_ENOMEM || arrays->n < 2, "split: %s", lt_ctx_message(ctx));
    lt_arrays_free(ctx, arrays);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fz_run(body, data, size);
}
