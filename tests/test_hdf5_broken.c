/* test_hdf5_broken.c - HDF5: files that are damaged or something else, helpers that are missing or broken, no memory.
 *
 * Each answer is data or a sentence, and this process lives. What is read of a damaged file of our own is right: every
 * part of it lies under a checksum. */
#include "tests/hdf5_entries.h"

#include <sys/stat.h>

static lt_status try_open(lt_ctx *ctx, const char *path)
{
    lt_h5 *file;
    lt_status status = lt_h5_open(ctx, path, &file);
    lt_h5_close(file);
    return status;
}

static void not_hdf5(void)
{
    ts_place p = ts_open_place();
    lt_tensor_entry e = {.name = "a", .dtype = LT_STORED_U8, .rank = 1, .shape = ts_twelve, .data = ts_h5_noise};
    char helper[256], path[256];
    ts_find_h5_helper();
    TS_REFUSED(p.ctx, try_open(p.ctx, ts_put_text(&p, "t", "no HDF5 at all")), LT_EFORMAT, "not an HDF5 file");
    TS_REFUSED(p.ctx, try_open(p.ctx, ts_put(&p, "t", "", 0)), LT_EFORMAT, "is empty");
    TS_REFUSED(p.ctx, try_open(p.ctx, ts_put_text(&p, "t", "version https://git-lfs.github.com/spec/v1\n")), LT_EFORMAT,
               "git lfs pull");
    TS_REFUSED(p.ctx, try_open(p.ctx, ts_at(&p, "none")), LT_EIO, "No such file");
    TS_OK(p.ctx, lt_h5_write(p.ctx, ts_at(&p, "t.h5"), &e, 1, NULL, 0, NULL));
    snprintf(path, sizeof path, "%s", p.path);
    setenv("LT_H5_HELPER", "/none", 1);
    TS_REFUSED(p.ctx, try_open(p.ctx, path), LT_EIO, "LT_H5_HELPER=/none is not a program");
    TS_REFUSED(p.ctx, lt_h5_write(p.ctx, path, &e, 1, NULL, 0, NULL), LT_EIO, "LT_H5_HELPER=/none is not a program");
    static const struct {
        const char *script, *words;
        lt_status reading;
    } helpers[] = {
        {"#!/bin/sh\nexit 3\n", "gave up on 'the file' with code 3", LT_EFORMAT},
        {"#!/bin/sh\nkill -SEGV $$\n", "libhdf5 crashed on 'the file'", LT_EFORMAT},
        {"#!/bin/sh\nkill -ALRM $$\n", "took too long", LT_EFORMAT},
        {"#!/bin/sh\nread -n1 x <&4; echo >&5; exec sleep 3\n", "makes no sense", LT_EFORMAT},
        {"#!/bin/sh\nexec sleep 4\n", "has not answered for 2 s", LT_EIO},
    };
    setenv("LT_H5_SECONDS", "1", 1);
    snprintf(helper, sizeof helper, "%s", ts_at(&p, "helper"));
    for (int i = 0; i < LTI_COUNT(helpers); i++) {
        ts_put_text(&p, "helper", helpers[i].script);
        chmod(helper, 0700);
        setenv("LT_H5_HELPER", helper, 1);
        TS_REFUSED(p.ctx, try_open(p.ctx, path), helpers[i].reading, helpers[i].words);
    }
    ts_put_text(&p, "helper", helpers[1].script);
    TS_CHECK(lt_h5_write(p.ctx, ts_at(&p, "u.h5"), &e, 1, NULL, 0, NULL) == LT_EIO, "%s", lt_ctx_message(p.ctx));
    TS_CHECK(access(p.path, F_OK) != 0, "nothing was written");
    unsetenv("LT_H5_SECONDS");
    ts_find_h5_helper();
    TS_OK(p.ctx, try_open(p.ctx, path));
    ts_close_place(&p);
}

/* Opens a mutant and loads all of it; LT_OK only when every tensor came back with the right bytes. */
static lt_status read_mutant(lt_ctx *ctx, const char *path, const lt_tensor_entry *e, int n, bool *right)
{
    lt_h5 *file;
    *right = true;
    LTI_TRY(lt_h5_open(ctx, path, &file));
    lt_status status = lt_h5_count(file) == n ? LT_OK : LT_EFORMAT;
    *right = status == LT_OK;
    for (int i = 0; i < n && status == LT_OK; i++) {
        static char bytes[8192];
        int at = lt_h5_find(file, e[i].name);
        *right = at >= 0 && lt_h5_bytes(file, at) <= sizeof bytes && lt_h5_dtype(file, at) == e[i].dtype;
        if (!*right) break;
        uint64_t size = lt_h5_bytes(file, at);
        status = lt_h5_load(file, at, bytes);
        *right = status != LT_OK || size == 0 || memcmp(bytes, e[i].data, size) == 0;
        if (!*right) break;
    }
    lt_h5_close(file);
    return status;
}

/* Our own files are under checksums in every part: what opens is right, tensor by tensor. */
static void damaged(void)
{
    ts_place p = ts_open_place();
    lt_tensor_entry e[32];
    char *bytes, *copy;
    uint64_t size;
    int n = ts_h5_entries(e), refused = 0, rounds = 300;
    bool right;
    ts_find_h5_helper();
    TS_OK(p.ctx, lt_h5_write(p.ctx, ts_at(&p, "t.h5"), e, n, (lt_pair[]){{"k", "v"}}, 1, NULL));
    if (!TS_OK(p.ctx, lti_file_read(p.ctx, p.path, 1 << 20, &bytes, &size))) return;
    copy = lti_alloc(p.ctx, size);
    for (int i = 0; i < rounds; i++) {
        memcpy(copy, bytes, size);
        uint64_t at = (uint64_t)(ts_uniform("hdf5 place", i) * (double)size);
        int kind = i % 3;
        if (kind == 0) copy[at] ^= (char)(1 << i / 3 % 8);
        if (kind == 1) copy[at] = (char)(256 * ts_uniform("hdf5 byte", i));
        if (kind == 2) memset(copy + at, i % 2 ? 0 : 0xff, size - at < 16 ? size - at : 16);
        lt_status status = read_mutant(p.ctx, ts_put(&p, "mutant.h5", copy, size), e, n, &right);
        TS_CHECK(right, "mutation %d at byte %llu gives other data", i, (unsigned long long)at);
        TS_CHECK(status == LT_OK || lt_ctx_message(p.ctx)[0], "mutation %d: a sentence", i);
        refused += status != LT_OK;
    }
    for (int i = 0; i < 40; i++) {
        uint64_t cut = (uint64_t)(ts_uniform("hdf5 cut", i) * (double)(size - 1)) + 1;
        TS_CHECK(read_mutant(p.ctx, ts_put(&p, "cut.h5", bytes, cut), e, n, &right) == LT_EFORMAT, "cut at %llu: %s",
                 (unsigned long long)cut, lt_ctx_message(p.ctx));
    }
    printf("%d of %d mutations of %llu bytes are refused, the others change nothing\n", refused, rounds,
           (unsigned long long)size);
    lti_free(p.ctx, copy);
    lti_free(p.ctx, bytes);
    ts_close_place(&p);
}

/* Files of the old format have no checksums: any answer will do, as long as there is one. */
static void damaged_foreign(void)
{
    ts_place p = ts_open_place();
    char *bytes;
    uint64_t size;
    ts_find_h5_helper();
    if (!TS_OK(p.ctx, lti_file_read(p.ctx, "tests/golden/foreign.h5", 1 << 20, &bytes, &size))) return;
    for (int i = 0; i < 100; i++) {
        uint64_t at = (uint64_t)(ts_uniform("foreign place", i) * (double)size);
        char old = bytes[at];
        bytes[at] = (char)(256 * ts_uniform("foreign byte", i));
        lt_h5 *file;
        lt_status status = lt_h5_open(p.ctx, ts_put(&p, "mutant.h5", bytes, size), &file);
        for (int k = 0; status == LT_OK && k < lt_h5_count(file); k++) {
            char *data = lt_h5_bytes(file, k) < 1 << 28 ? lti_alloc(p.ctx, lt_h5_bytes(file, k)) : NULL;
            lt_status loaded = data ? lt_h5_load(file, k, data) : LT_EFORMAT;
            TS_CHECK(loaded == LT_OK || lt_ctx_message(p.ctx)[0], "a sentence");
            lti_free(p.ctx, data);
        }
        TS_CHECK(status == LT_OK || lt_ctx_message(p.ctx)[0], "byte %llu: a sentence", (unsigned long long)at);
        lt_h5_close(file);
        bytes[at] = old;
    }
    lti_free(p.ctx, bytes);
    ts_close_place(&p);
}

static lt_status write_and_load(lt_ctx *ctx, void *arg)
{
    const char *path = arg;
    static unsigned char bytes[12];
    lt_tensor_entry e = {.name = "g/a", .dtype = LT_STORED_U8, .rank = 1, .shape = ts_twelve, .data = ts_h5_noise};
    lt_h5 *file;
    lt_array array;
    LTI_TRY(lt_h5_write(ctx, path, &e, 1, (lt_pair[]){{"k", "v"}}, 1, NULL));
    LTI_TRY(lt_h5_open(ctx, path, &file));
    lt_status status = lt_h5_load(file, 0, bytes);
    lt_h5_close(file);
    if (status == LT_OK) status = lt_h5_read(ctx, path, "g/a", &array);
    if (status == LT_OK) lt_array_free(ctx, &array);
    return status;
}

static void memory(void)
{
    ts_place p = ts_open_place();
    char path[256];
    ts_find_h5_helper();
    snprintf(path, sizeof path, "%s", ts_at(&p, "t.h5"));
    ts_every_allocation_fails("HDF5", write_and_load, path);
    unlink(path);
    TS_CHECK(rmdir(p.dir) == 0 && mkdir(p.dir, 0700) == 0, "no temporary file stays");
    ts_close_place(&p);
}

int lti_suite_hdf5_broken(void)
{
    static const ts_test tests[] = {
        {"no HDF5, no helper, broken helpers", not_hdf5},
        {"mutations of our files never lie", damaged},
        {"mutations of an old-format file", damaged_foreign},
        {"every allocation fails", memory},
    };
    return ts_suite("hdf5_broken", LTI_COUNT(tests), tests);
}
