/* fuzz_shards.c - model.safetensors.index.json beside two shards: s1 with a and b, s2 with c. */
#include "lathe/formats.h"
#include "tests/fuzz/fuzzing.h"

#include <stdio.h>
#include <string.h>

static void write_shards(void)
{
    static bool done;
    if (done) return;
    const int64_t one[] = {1}, two[] = {2};
    const unsigned char bytes[] = {1, 2, 3};
    const lt_tensor_entry s1[] = {{"a", LT_STORED_U8, 1, one, bytes, NULL}, {"b", LT_STORED_U8, 1, two, bytes, NULL}};
    const lt_tensor_entry s2[] = {{"c", LT_STORED_U8, 1, one, bytes + 2, NULL}};
    char path[600];
    lt_ctx *ctx = lt_ctx_create(NULL);
    snprintf(path, sizeof path, "%s/s1", fz_directory());
    FZ_CHECK(lt_tensors_write(ctx, path, s1, 2, NULL, 0, NULL) == LT_OK, "%s", lt_ctx_message(ctx));
    path[strlen(path) - 1] = '2';
    FZ_CHECK(lt_tensors_write(ctx, path, s2, 1, NULL, 0, NULL) == LT_OK, "%s", lt_ctx_message(ctx));
    lt_ctx_free(ctx);
    done = true;
}

static void body(lt_ctx *ctx, const uint8_t *data, size_t size)
{
    write_shards();
    lt_tensors *t;
    if (!fz_accept(ctx, lt_tensors_open(ctx, fz_put("model.safetensors.index.json", data, size), &t))) return;
    for (int i = 0; i < lt_tensors_count(t); i++) {
        const char *name = lt_tensors_name(t, i), *slash = strrchr(lt_tensors_file(t, i), '/');
        FZ_CHECK(slash && strlen(slash) == 3 && slash[1] == 's', "'%s' is in %s", name, lt_tensors_file(t, i));
        FZ_CHECK(lt_tensors_find(t, name) == i, "'%s' is not found", name);
        FZ_CHECK(*(const unsigned char *)lt_tensors_data(t, i) == (*name == 'c' ? 3 : 1), "'%s' has other bytes", name);
    }
    lt_tensors_close(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fz_run(body, data, size);
}
