/* test_hdf5.c - HDF5 files of tensors: written, listed, loaded.
 *
 * The oracle of the reader is tests/golden/foreign.h5, made by h5py (scripts/make_hdf5_golden.py), and the h5dump
 * texts of ../shared/data/formats/hdf5; of the writer the reader, and h5py by hand (the same script reads a file). */
#include "tests/hdf5_entries.h"

#include <sys/stat.h>
#include <time.h>

/* Whether tensor `index` is this one, bytes and all. */
static bool same_tensor(lt_ctx *ctx, lt_h5 *file, int index, const lt_tensor_entry *e)
{
    uint64_t bytes = lt_h5_bytes(file, index);
    bool same = lt_h5_dtype(file, index) == e->dtype && lt_h5_rank(file, index) == e->rank;
    for (int i = 0; i < e->rank && same; i++) same = lt_h5_shape(file, index)[i] == e->shape[i];
    char *read = lti_alloc(ctx, bytes);
    if (!same || !read || lt_h5_load(file, index, read) != LT_OK) same = false;
    same = same && (bytes == 0 || memcmp(read, e->data, bytes) == 0);
    lti_free(ctx, read);
    return same;
}

static void check_all(lt_ctx *ctx, lt_h5 *file, const lt_tensor_entry *e, int n)
{
    TS_CHECK(lt_h5_count(file) == n && lt_h5_skipped(file)[0] == 0, "%d tensors, skipped: %s", lt_h5_count(file),
             lt_h5_skipped(file));
    for (int i = 0; i < n; i++) {
        int at = lt_h5_find(file, e[i].name);
        TS_CHECK(at >= 0 && same_tensor(ctx, file, at, &e[i]), "%s comes back: %s", e[i].name, lt_ctx_message(ctx));
    }
    for (int i = 1; i < lt_h5_count(file); i++)
        TS_CHECK(strcmp(lt_h5_name(file, i - 1), lt_h5_name(file, i)) < 0, "names are sorted");
    TS_CHECK(lt_h5_find(file, "a.b") == -1 && lt_h5_find(file, "zz") == -1, "a group is no tensor");
}

static void round_trip(void)
{
    ts_place p = ts_open_place();
    lt_tensor_entry e[32];
    int n = ts_h5_entries(e), pairs;
    const lt_pair metadata[] = {{"format", "pt"}, {"empty", ""}, {"a \xc3\xa9", "line\nline"}};
    char hash[33], again[33];
    lt_h5 *file;
    ts_find_h5_helper();
    TS_OK(p.ctx, lt_h5_write(p.ctx, ts_at(&p, "t.h5"), e, n, metadata, 3, hash));
    TS_OK(p.ctx, lt_file_hash(p.ctx, p.path, again));
    TS_CHECK(strcmp(hash, again) == 0, "the hash is the file's");
    if (TS_OK(p.ctx, lt_h5_open(p.ctx, p.path, &file))) {
        check_all(p.ctx, file, e, n);
        const lt_pair *m = lt_h5_metadata(file, &pairs);
        TS_CHECK(pairs == 3 && strcmp(m[0].key, "a \xc3\xa9") == 0 && strcmp(m[0].value, "line\nline") == 0 &&
                     strcmp(m[1].key, "empty") == 0 && m[1].value[0] == 0 && strcmp(m[2].value, "pt") == 0,
                 "metadata");
        lt_h5_close(file);
    }
    sleep(1); /* a stored time would differ */
    lt_tensor_entry turned[32];
    for (int i = 0; i < n; i++) turned[i] = e[n - 1 - i];
    const lt_pair turned_metadata[] = {metadata[2], metadata[1], metadata[0]};
    TS_OK(p.ctx, lt_h5_write(p.ctx, ts_at(&p, "u.h5"), turned, n, turned_metadata, 3, again));
    TS_CHECK(strcmp(hash, again) == 0, "the bytes depend on the content alone");
    TS_OK(p.ctx, lt_h5_write(p.ctx, ts_at(&p, "none.h5"), NULL, 0, NULL, 0, NULL));
    if (TS_OK(p.ctx, lt_h5_open(p.ctx, p.path, &file))) {
        TS_CHECK(lt_h5_count(file) == 0 && (lt_h5_metadata(file, &pairs), pairs == 0), "a file of nothing");
        lt_h5_close(file);
    }
    ts_close_place(&p);
}

/* Tensors of many slabs and chunks, along different axes. */
static void large(void)
{
    ts_place p = ts_open_place();
    const int64_t flat[] = {9000001}, rows[] = {3000, 2999}, deep[] = {1, 1, 5000, 1700}, wide[] = {2, 4500000};
    uint16_t *data = lti_alloc_array(p.ctx, 9000001, sizeof *data);
    lt_h5 *file;
    ts_find_h5_helper();
    for (int64_t i = 0; i < 9000001; i++) data[i] = (uint16_t)(i * 40503 >> 4);
    const lt_tensor_entry e[] = {
        {.name = "flat", .dtype = LT_STORED_U16, .rank = 1, .shape = flat, .data = data},
        {.name = "rows", .dtype = LT_STORED_BF16, .rank = 2, .shape = rows, .data = data},
        {.name = "deep", .dtype = LT_STORED_I16, .rank = 4, .shape = deep, .data = data},
        {.name = "wide", .dtype = LT_STORED_F16, .rank = 2, .shape = wide, .data = data},
    };
    TS_OK(p.ctx, lt_h5_write(p.ctx, ts_at(&p, "t.h5"), e, LTI_COUNT(e), NULL, 0, NULL));
    struct stat st;
    TS_CHECK(stat(p.path, &st) == 0 && st.st_size < 4 * 18000002 * 21L / 20, "chunks waste little: %lld bytes",
             (long long)st.st_size);
    if (TS_OK(p.ctx, lt_h5_open(p.ctx, p.path, &file))) {
        check_all(p.ctx, file, e, LTI_COUNT(e));
        lt_h5_close(file);
    }
    lti_free(p.ctx, data);
    ts_close_place(&p);
}

typedef struct maker {
    uint16_t bytes[12];
    int calls;
    bool fails;
} maker;

static lt_status make(void *user, const void **bytes)
{
    maker *m = user;
    m->calls++;
    *bytes = m->bytes;
    return m->fails ? LT_EINTERRUPTED : LT_OK;
}

static void sources(void)
{
    ts_place p = ts_open_place();
    lt_real w[12], back[12];
    maker m = {.bytes = {7, 8}};
    lt_h5 *file;
    ts_find_h5_helper();
    for (int i = 0; i < 12; i++) w[i] = (lt_real)(1.5 - i);
    const lt_tensor_entry e[] = {
        {.name = "half", .dtype = LT_STORED_F16, .rank = 1, .shape = ts_twelve, .real = w},
        {.name = "brain", .dtype = LT_STORED_BF16, .rank = 1, .shape = ts_twelve, .real = w},
        {.name = "single", .dtype = LT_STORED_F32, .rank = 1, .shape = ts_twelve, .real = w},
        {.name = "double", .dtype = LT_STORED_F64, .rank = 1, .shape = ts_twelve, .real = w},
        {.name = "made", .dtype = LT_STORED_U16, .rank = 1, .shape = ts_twelve, .make = make, .user = &m},
    };
    TS_OK(p.ctx, lt_h5_write(p.ctx, ts_at(&p, "t.h5"), e, 5, NULL, 0, NULL));
    if (TS_OK(p.ctx, lt_h5_open(p.ctx, p.path, &file))) {
        for (int i = 0; i < 4; i++) {
            TS_OK(p.ctx, lt_h5_load_real(file, lt_h5_find(file, e[i].name), back));
            TS_CHECK(ts_same_bytes(sizeof w, w, back), "%s holds the numbers", e[i].name);
        }
        lt_tensor_entry made = e[4];
        made.data = m.bytes;
        TS_CHECK(m.calls == 1 && same_tensor(p.ctx, file, lt_h5_find(file, "made"), &made), "made once");
        TS_REFUSED(p.ctx, lt_h5_load_real(file, lt_h5_find(file, "made"), back), LT_EUNSUPPORTED, "type U16");
        lt_h5_close(file);
    }
    lt_array a;
    if (TS_OK(p.ctx, lt_h5_read(p.ctx, p.path, "brain", &a))) {
        TS_CHECK(a.rank == 1 && a.count == 12 && a.real && a.real[11] == (lt_real)-9.5, "lt_h5_read knows bfloat16");
        lt_array_free(p.ctx, &a);
    }
    m.fails = true;
    TS_CHECK(lt_h5_write(p.ctx, ts_at(&p, "u.h5"), e, 5, NULL, 0, NULL) == LT_EINTERRUPTED,
             "make's status is returned");
    TS_CHECK(access(p.path, F_OK) != 0, "and nothing is written");
    ts_close_place(&p);
}

static void check_old(lt_ctx *ctx, const char *path)
{
    char *bytes;
    uint64_t size;
    if (TS_OK(ctx, lti_file_read(ctx, path, 100, &bytes, &size))) {
        TS_CHECK(strcmp(bytes, "old") == 0, "the old file stays");
        lti_free(ctx, bytes);
    }
}

static void writer_refuses(void)
{
    ts_place p = ts_open_place();
    char path[256], *long_text = lti_alloc(p.ctx, 70000);
    const lt_tensor_entry good = {
        .name = "a", .dtype = LT_STORED_U8, .rank = 1, .shape = ts_twelve, .data = ts_h5_noise};
    const int64_t negative[] = {2, -3}, vast[] = {INT64_MAX, 4};
    const struct {
        lt_tensor_entry entry;
        lt_status status;
        const char *words;
    } cases[] = {
        {{"", LT_STORED_U8, 1, ts_twelve, ts_h5_noise}, LT_EINVAL, "without a name"},
        {{"\xff", LT_STORED_U8, 1, ts_twelve, ts_h5_noise}, LT_EINVAL, "not UTF-8"},
        {{"/a", LT_STORED_U8, 1, ts_twelve, ts_h5_noise}, LT_EINVAL, "empty or '.'"},
        {{"b//c", LT_STORED_U8, 1, ts_twelve, ts_h5_noise}, LT_EINVAL, "empty or '.'"},
        {{"b/.", LT_STORED_U8, 1, ts_twelve, ts_h5_noise}, LT_EINVAL, "empty or '.'"},
        {{"0/" TS_TEN TS_TEN TS_TEN "01/x", LT_STORED_U8, 1, ts_twelve, ts_h5_noise}, LT_EINVAL, "more than 32 parts"},
        {{"a", LT_STORED_U8, 1, ts_twelve, ts_h5_noise}, LT_EINVAL, "given twice"},
        {{"a/b", LT_STORED_U8, 1, ts_twelve, ts_h5_noise}, LT_EINVAL, "'a' is a tensor too"},
        {{"b", LT_STORED_F4, 1, ts_twelve, ts_h5_noise}, LT_EUNSUPPORTED, "no way to store F4"},
        {{"b", LT_STORED_C64, 1, ts_twelve, ts_h5_noise}, LT_EUNSUPPORTED, "no way to store C64"},
        {{"b", LT_STORED_U8, 33, ts_twelve, ts_h5_noise}, LT_EINVAL, "33 dimensions"},
        {{"b", LT_STORED_U8, 2, negative, ts_h5_noise}, LT_EINVAL, "negative or overflows"},
        {{"b", LT_STORED_U8, 2, vast, ts_h5_noise}, LT_EINVAL, "negative or overflows"},
        {{"b", LT_STORED_U8, 1, vast, ts_h5_noise}, LT_EINVAL, "negative or overflows"},
        {{"b", LT_STORED_U8, 1, ts_twelve}, LT_EINVAL, "give either bytes"},
        {{"b", LT_STORED_U8, 1, ts_twelve, NULL, (const lt_real *)ts_h5_noise}, LT_EINVAL, "give either bytes"},
    };
    ts_find_h5_helper();
    snprintf(path, sizeof path, "%s", ts_put_text(&p, "t.h5", "old"));
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        const lt_tensor_entry e[] = {good, cases[i].entry};
        TS_REFUSED(p.ctx, lt_h5_write(p.ctx, path, e, 2, NULL, 0, NULL), cases[i].status, cases[i].words);
    }
    memset(long_text, 'x', 69999);
    const lt_pair twice[] = {{"k", "1"}, {"k", "2"}}, wide[] = {{"k", long_text}}, foreign[] = {{"k", "\xff"}};
    TS_REFUSED(p.ctx, lt_h5_write(p.ctx, path, &good, 1, twice, 2, NULL), LT_EINVAL, "'k' is given twice");
    TS_REFUSED(p.ctx, lt_h5_write(p.ctx, path, &good, 1, wide, 1, NULL), LT_ELIMIT, "69999 bytes");
    TS_REFUSED(p.ctx, lt_h5_write(p.ctx, path, &good, 1, foreign, 1, NULL), LT_EINVAL, "not UTF-8");
    TS_REFUSED(p.ctx, lt_h5_write(p.ctx, p.dir, &good, 1, NULL, 0, NULL), LT_EIO, "is a directory");
    TS_REFUSED(p.ctx, lt_h5_write(p.ctx, ts_at(&p, "no/t.h5"), &good, 1, NULL, 0, NULL), LT_EIO, "No such file");
    long_text[64000] = 0; /* the longest that fits */
    TS_OK(p.ctx, lt_h5_write(p.ctx, ts_at(&p, "long.h5"), &good, 1, wide, 1, NULL));
    lt_h5 *file;
    if (TS_OK(p.ctx, lt_h5_open(p.ctx, p.path, &file))) {
        int pairs;
        const lt_pair *m = lt_h5_metadata(file, &pairs);
        TS_CHECK(pairs == 1 && strcmp(m[0].value, long_text) == 0, "a value of 64,000 bytes");
        lt_h5_close(file);
    }
    check_old(p.ctx, path);
    unlink(path);
    unlink(ts_at(&p, "long.h5"));
    TS_CHECK(rmdir(p.dir) == 0 && mkdir(p.dir, 0700) == 0, "no temporary file stays");
    lti_free(p.ctx, long_text);
    ts_close_place(&p);
}

static double seconds_since(const struct timespec *start)
{
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    return (double)(end.tv_sec - start->tv_sec) + 1e-9 * (double)(end.tv_nsec - start->tv_nsec);
}

static void many(void)
{
    enum { N = 2000 };
    ts_place p = ts_open_place();
    static char names[N][48];
    lt_tensor_entry *e = lti_alloc_array(p.ctx, N, sizeof *e);
    unsigned char bytes[12];
    bool same = true;
    ts_find_h5_helper();
    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "model.layers.%d.self_attn.weight", i);
        e[i] = (lt_tensor_entry){
            .name = names[i], .dtype = LT_STORED_U8, .rank = 1, .shape = ts_twelve, .data = ts_h5_noise + i % 200};
    }
    struct timespec start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    lt_h5 *file;
    TS_OK(p.ctx, lt_h5_write(p.ctx, ts_at(&p, "t.h5"), e, N, NULL, 0, NULL));
    if (TS_OK(p.ctx, lt_h5_open(p.ctx, p.path, &file))) {
        TS_CHECK(lt_h5_count(file) == N, "%d tensors", lt_h5_count(file));
        for (int i = 0; i < N && same; i++)
            same = lt_h5_load(file, lt_h5_find(file, names[i]), bytes) == LT_OK &&
                   memcmp(bytes, ts_h5_noise + i % 200, sizeof bytes) == 0;
        TS_CHECK(same, "all come back: %s", lt_ctx_message(p.ctx));
        lt_h5_close(file);
    }
    double seconds = seconds_since(&start);
    printf("%d tensors are written and read in %.2f s\n", N, seconds);
    TS_CHECK(seconds < 20, "%.1f s: something is quadratic", seconds);
    lti_free(p.ctx, e);
    ts_close_place(&p);
}

/* What h5py wrote, with everything it can put into a file: see scripts/make_hdf5_golden.py for the content. */
static void foreign(void)
{
    static const char *const skipped[] = {"compound: its elements",
                                          "text: its elements",
                                          "enumeration: its elements",
                                          "soft: it is a soft",
                                          "external: it is a",
                                          "elsewhere: its data lie in",
                                          "virtual: it is a virtual",
                                          "named: it is a named",
                                          "null: it has no elements",
                                          "groups/loop: it is a group that lies in itself",
                                          "lzf: it is packed by filter 32000",
                                          "numbers: it is an attribute"};
    static const struct {
        const char *name;
        lt_stored type;
    } tensors[] = {{"brain", LT_STORED_BF16},       {"chunked", LT_STORED_I32},       {"flags", LT_STORED_BOOL},
                   {"groups/again", LT_STORED_F64}, {"groups/deep/x", LT_STORED_F64}, {"half_big", LT_STORED_F16},
                   {"packed", LT_STORED_F32},       {"rank7", LT_STORED_U8},          {"scaled", LT_STORED_I16},
                   {"unwritten", LT_STORED_F32}};
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_h5 *file;
    ts_find_h5_helper();
    if (!TS_OK(ctx, lt_h5_open(ctx, "tests/golden/foreign.h5", &file))) return;
    TS_CHECK(lt_h5_count(file) == LTI_COUNT(tensors), "%d tensors", lt_h5_count(file));
    for (int i = 0; i < LTI_COUNT(tensors) && i < lt_h5_count(file); i++)
        TS_CHECK(strcmp(lt_h5_name(file, i), tensors[i].name) == 0 && lt_h5_dtype(file, i) == tensors[i].type,
                 "%d: %s is %s", i, lt_h5_name(file, i), lt_stored_name(lt_h5_dtype(file, i)));
    for (int i = 0; i < LTI_COUNT(skipped); i++)
        TS_CHECK(strstr(lt_h5_skipped(file), skipped[i]), "'%s' is not in:\n%s", skipped[i], lt_h5_skipped(file));
    int pairs;
    const lt_pair *m = lt_h5_metadata(file, &pairs);
    TS_CHECK(pairs == 2 && strcmp(m[0].key, "fixed") == 0 && strcmp(m[0].value, "abc") == 0 &&
                 strcmp(m[1].value, "caf\xc3\xa9") == 0,
             "metadata");
    const char *real[] = {"brain", "half_big", "packed", "groups/deep/x"};
    lt_real x[600];
    for (int k = 0; k < 4; k++) {
        int at = lt_h5_find(file, real[k]);
        if (at < 0 || !TS_OK(ctx, lt_h5_load_real(file, at, x))) continue;
        for (int64_t i = 0; i < lt_h5_elements(file, at); i++)
            TS_CHECK(x[i] == (lt_real)(i % 7 - 3) / 4, "%s[%d] = %g", real[k], (int)i, (double)x[i]);
    }
    int32_t whole[600];
    TS_OK(ctx, lt_h5_load(file, lt_h5_find(file, "chunked"), whole));
    for (int i = 0; i < 600; i++) TS_CHECK(whole[i] == 1000 * i - 5, "chunked[%d] = %d", i, whole[i]);
    signed char flags[5];
    TS_OK(ctx, lt_h5_load(file, lt_h5_find(file, "flags"), flags));
    TS_CHECK(memcmp(flags, "\1\0\1\1\0", 5) == 0, "booleans are bytes");
    lt_h5_close(file);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "nothing leaks");
    lt_ctx_free(ctx);
}

/* Names and values as the h5dump texts beside the files say. */
static void real_files(void)
{
    static const struct {
        const char *file, *names, *skipped;
    } cases[] = {
        {"attr_datatypes", "", "complex128_big: it is an attribute"},
        {"chunked", "dataset1 I32 336 335;", ""},
        {"compressed", "dataset1 U16 336 335;dataset2 I32 336 335;dataset3 F64 336 335;", ""},
        {"dataset_datatypes",
         "float32_big F32 4 3;float32_little F32 4 3;float64_big F64 4 3;float64_little F64 4 3;int08_big I8 4 -3;"
         "int08_little I8 4 -3;int16_big I16 4 -3;int16_little I16 4 -3;int32_big I32 4 -3;int32_little I32 4 -3;"
         "int64_big I64 4 -3;int64_little I64 4 -3;uint08_big U8 4 3;uint08_little U8 4 3;uint16_big U16 4 3;"
         "uint16_little U16 4 3;uint32_big U32 4 3;uint32_little U32 4 3;uint64_big U64 4 3;uint64_little U64 4 3;",
         ""},
        {"dataset_multidim", "a I32 2 1;b I32 6 5;c I32 24 23;d I32 120 119;", ""},
        {"earliest", "dataset1 I32 4 3;group1/dataset2 U64 4 3;group1/subgroup1/dataset3 F32 4 3;", "attr1"},
        {"groups", "", ""},
        {"latest", "dataset1 I32 4 3;group1/dataset2 U64 4 3;group1/subgroup1/dataset3 F32 4 3;", "attr1"},
        {"new_style_groups", "", ""},
    };
    lt_ctx *ctx = lt_ctx_create(NULL);
    ts_find_h5_helper();
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        char name[128], seen[2048] = "";
        lt_h5 *file;
        snprintf(name, sizeof name, "formats/hdf5/%s.hdf5", cases[i].file);
        if (!TS_OK(ctx, lt_h5_open(ctx, ts_data(name), &file))) continue;
        for (int k = 0; k < lt_h5_count(file); k++) {
            lt_array a;
            if (!TS_OK(ctx, lt_h5_read(ctx, ts_data(name), lt_h5_name(file, k), &a))) continue;
            size_t n = strlen(seen);
            snprintf(seen + n, sizeof seen - n, "%s %s %d %g;", lt_h5_name(file, k),
                     lt_stored_name(lt_h5_dtype(file, k)), (int)lt_h5_elements(file, k),
                     a.ints ? a.ints[a.count - 1] : (double)a.real[a.count - 1]);
            lt_array_free(ctx, &a);
        }
        TS_CHECK(strcmp(seen, cases[i].names) == 0, "%s: %s", cases[i].file, seen);
        TS_CHECK(strstr(lt_h5_skipped(file), cases[i].skipped), "%s: %s", cases[i].file, lt_h5_skipped(file));
        lt_h5_close(file);
    }
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "nothing leaks");
    lt_ctx_free(ctx);
}

int lti_suite_hdf5(void)
{
    static const ts_test tests[] = {
        {"every type comes back", round_trip},
        {"tensors of many slabs", large},
        {"bytes, numbers and made ones", sources},
        {"the writer refuses", writer_refuses},
        {"two thousand tensors", many},
        {"a file of h5py", foreign},
    };
    if (ts_suite("hdf5", LTI_COUNT(tests), tests) != 0) return 1;
    return ts_add_with_data(CU_get_suite("hdf5"), "real files", "formats/hdf5/chunked.hdf5", real_files);
}
