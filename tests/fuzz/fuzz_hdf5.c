/* fuzz_hdf5.c - one HDF5 file, through the helper process: what is listed can be loaded or is refused with a sentence,
 * and what was loaded can be written and loaded again.
 *
 * libFuzzer does not see into the helper; what is tried here is that lathe outlives it. */
#include "lathe/formats.h"
#include "tests/fuzz/fuzzing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void write_again(lt_ctx *ctx, const lt_tensor_entry *entry)
{
    char path[600];
    lt_h5 *again;
    snprintf(path, sizeof path, "%s/again.h5", fz_directory());
    lt_status status = lt_h5_write(ctx, path, entry, 1, NULL, 0, NULL);
    FZ_CHECK(status == LT_OK || status == LT_EINVAL || status == LT_ENOMEM, "write: %s", lt_ctx_message(ctx));
    if (status != LT_OK || !fz_must(ctx, lt_h5_open(ctx, path, &again))) return;
    FZ_CHECK(lt_h5_count(again) == 1 && strcmp(lt_h5_name(again, 0), entry->name) == 0 &&
                 lt_h5_dtype(again, 0) == entry->dtype,
             "'%s' came back as something else: %s", entry->name, lt_h5_skipped(again));
    void *bytes = lti_alloc(ctx, lt_h5_bytes(again, 0));
    if (bytes && fz_must(ctx, lt_h5_load(again, 0, bytes)))
        FZ_CHECK(memcmp(bytes, entry->data, lt_h5_bytes(again, 0)) == 0, "'%s' came back different", entry->name);
    lti_free(ctx, bytes);
    lt_h5_close(again);
}

static void body(lt_ctx *ctx, const uint8_t *data, size_t size)
{
    lt_h5 *file;
    bool written = false;
    setenv("LT_H5_SECONDS", "5", 1);
    if (!fz_accept(ctx, lt_h5_open(ctx, fz_put("file.h5", data, size), &file))) return;
    FZ_CHECK(lt_h5_skipped(file) != NULL, "there is a text of what was skipped");
    for (int i = 0; i < lt_h5_count(file); i++) {
        uint64_t bytes = lt_h5_bytes(file, i);
        FZ_CHECK(lt_h5_find(file, lt_h5_name(file, i)) >= 0, "'%s' is not found", lt_h5_name(file, i));
        void *elements = lti_alloc(ctx, bytes);
        lt_status status = elements ? lt_h5_load(file, i, elements) : LT_ENOMEM;
        FZ_CHECK(status == LT_OK || lt_ctx_message(ctx)[0], "'%s' is refused without a word", lt_h5_name(file, i));
        lt_tensor_entry entry = {.name = lt_h5_name(file, i),
                                 .dtype = lt_h5_dtype(file, i),
                                 .rank = lt_h5_rank(file, i),
                                 .shape = lt_h5_shape(file, i),
                                 .data = elements};
        if (status == LT_OK && !written) write_again(ctx, &entry); /* one: each is two more processes */
        written = true;
        lti_free(ctx, elements);
    }
    lt_h5_close(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fz_run(body, data, size);
}
