/* test_formats.c - files, safetensors and HDF5: what is read right, and what is refused with which words.
 *
 * The refusals follow the rules of the safetensors format one by one; a reader that is laxer than others reads files
 * that mean something else to them. */
#include "lathe/formats.h"
#include "tests/data_files.h"

#include <math.h>
#include <sys/stat.h>

/* ---- Files ---- */

static void files(void)
{
    ts_place p = ts_open_place();
    lti_map map;
    char *bytes, hex[33], again[33];
    uint64_t size;
    TS_REFUSED(p.ctx, lti_file_map(p.ctx, ts_at(&p, "none"), &map), LT_EIO, "No such file");
    TS_REFUSED(p.ctx, lti_file_map(p.ctx, p.dir, &map), LT_EIO, "is a directory");
    TS_REFUSED(p.ctx, lti_file_map(p.ctx, ts_put(&p, "empty", "", 0), &map), LT_EFORMAT, "is empty");
    TS_REFUSED(p.ctx, lti_file_map(p.ctx, ts_put_text(&p, "lfs", "version https://git-lfs.github.com/spec/v1\n"), &map),
               LT_EFORMAT, "git lfs pull");
    TS_REFUSED(p.ctx, lti_file_read(p.ctx, ts_put_text(&p, "long", "0123456789"), 9, &bytes, &size), LT_ELIMIT,
               "at most 9");
    TS_REFUSED(p.ctx, lti_file_write_atomic(p.ctx, "/dev/full/x", "x", 1), LT_EIO, "/dev/full/x");
    TS_REFUSED(p.ctx, lti_file_write_atomic(p.ctx, p.dir, "x", 1), LT_EIO, "is a directory");
    TS_OK(p.ctx, lti_mkdirs(p.ctx, ts_at(&p, "a/b//c/")));
    TS_OK(p.ctx, lti_file_write_atomic(p.ctx, ts_at(&p, "a/b/c/f"), "hello", 5));
    TS_OK(p.ctx, lti_file_write_atomic(p.ctx, ts_at(&p, "a/b/c/f"), "hello, world", 12));
    if (TS_OK(p.ctx, lti_file_read(p.ctx, p.path, 100, &bytes, &size))) {
        TS_CHECK(size == 12 && strcmp(bytes, "hello, world") == 0, "%s", bytes);
        lti_free(p.ctx, bytes);
    }
    TS_OK(p.ctx, lt_file_hash(p.ctx, p.path, hex));
    lti_hash_bytes("hello, world", 12, again);
    TS_CHECK(strcmp(hex, again) == 0 && strlen(hex) == 32, "%s %s", hex, again);
    lti_hash_bytes("", 0, hex); /* the known answer of XXH3-128 */
    TS_CHECK(strcmp(hex, "99aa06d3014798d86001c324468d497f") == 0, "%s", hex);
    TS_REFUSED(p.ctx, lti_mkdirs(p.ctx, ts_at(&p, "a/b/c/f/g")), LT_EIO, "not a directory");
    TS_OK(p.ctx, lti_remove_tree(p.ctx, ts_at(&p, "a")));
    TS_CHECK(access(p.path, F_OK) != 0, "the tree is gone");
    TS_OK(p.ctx, lti_remove_tree(p.ctx, p.path));
    ts_close_place(&p);
}

/* A discarded writer leaves the old file and nothing beside it. */
static void discarded(void)
{
    ts_place p = ts_open_place();
    lti_writer *writer;
    char *bytes;
    uint64_t size;
    ts_put_text(&p, "f", "old");
    if (TS_OK(p.ctx, lti_writer_open(p.ctx, p.path, &writer))) {
        TS_OK(p.ctx, lti_writer_add(writer, "new", 3));
        lti_writer_discard(writer);
    }
    if (TS_OK(p.ctx, lti_file_read(p.ctx, ts_at(&p, "f"), 100, &bytes, &size))) {
        TS_CHECK(strcmp(bytes, "old") == 0, "%s", bytes);
        lti_free(p.ctx, bytes);
    }
    TS_OK(p.ctx, lti_remove_tree(p.ctx, p.path));
    TS_CHECK(rmdir(p.dir) == 0 && mkdir(p.dir, 0700) == 0, "no temporary file stays");
    ts_close_place(&p);
}

/* ---- safetensors ---- */

static const char *put_tensors(ts_place *p, const char *json, size_t data)
{
    char bytes[1024] = {0};
    size_t n = strlen(json);
    bytes[0] = (char)n;
    bytes[1] = (char)(n >> 8);
    memcpy(bytes + 8, json, n);
    return ts_put(p, "t.safetensors", bytes, 8 + n + data);
}

/* Opens and closes, so that a file that is wrongly accepted does not leak. */
static lt_status try_open(lt_ctx *ctx, const char *path)
{
    lt_tensors *t;
    lt_status status = lt_tensors_open(ctx, path, &t);
    lt_tensors_close(t);
    return status;
}

#define ONE(dtype, shape, offsets) "{\"a\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static void tensors_refused(void)
{
    static const struct {
        const char *json;
        size_t data;
        const char *words;
    } cases[] = {
        {" {}", 0, "does not begin with '{'"},
        {"[]", 0, "does not begin with '{'"},
        {"{\"a\":\"\xff\"}", 0, "byte 14: the header is not UTF-8"},
        {"{\"a\":}", 0, "not JSON"},
        {"{} x", 0, "not JSON"},
        {"{\"a\":1,\"a\":2}", 0, "occurs twice"},
        {"{\"a\":1}", 0, "must be an object"},
        {"{\"__metadata__\":[]}", 0, "__metadata__ is an array"},
        {"{\"__metadata__\":{\"k\":1}}", 0, "'k' is an integer, not a string"},
        {ONE("F31", "[1]", "[0,4]"), 4, "unknown dtype 'F31'"},
        {ONE("F32\\u0000", "[1]", "[0,4]"), 4, "unknown dtype"},
        {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype must be a string, it is missing"},
        {ONE("F32", "1", "[0,4]"), 4, "shape must be an array"},
        {ONE("F32", "[1.0]", "[0,4]"), 4, "whole numbers"},
        {ONE("F32", "[-1]", "[0,4]"), 4, "whole numbers"},
        {ONE("F32", "[1]", "[0]"), 4, "data_offsets must be two"},
        {ONE("F32", "[1]", "[-4,0]"), 4, "data_offsets must be two"},
        {ONE("F32", "[1]", "[4,8]"), 8, "there is a hole"},
        {ONE("F32", "[1]", "[0,-4]"), 4, "data_offsets must be two"},
        {ONE("F32", "[0]", "[4,0]"), 4, "where 0 must begin"},
        {ONE("F32", "[4294967296,4294967296]", "[0,4]"), 4, "overflows 64 bits"},
        {ONE("F64", "[2305843009213693952]", "[0,4]"), 4, "overflows 64 bits"},
        {ONE("F4", "[3]", "[0,2]"), 2, "do not fill whole bytes"},
        {ONE("F32", "[2]", "[0,4]"), 4, "2 elements of F32 need 8 bytes, its data_offsets span 4"},
        {ONE("F32", "[1]", "[0,4]"), 3, "truncated"},
        {ONE("F32", "[1]", "[0,4]"), 5, "trailing bytes"},
        {ONE("F32", "[4611686018427387904]", "[0,9223372036854775807]"), 4, "overflows"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[2,6]}}",
         6, "tensors overlap"},
    };
    ts_place p = ts_open_place();
    for (int i = 0; i < LTI_COUNT(cases); i++)
        TS_REFUSED(p.ctx, try_open(p.ctx, put_tensors(&p, cases[i].json, cases[i].data)), LT_EFORMAT, cases[i].words);
    TS_REFUSED(p.ctx, try_open(p.ctx, ts_put(&p, "t", "1234567", 7)), LT_EFORMAT, "has only 7");
    TS_REFUSED(p.ctx, try_open(p.ctx, ts_put(&p, "t", "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10)), LT_EFORMAT,
               "passes the format's limit");
    TS_REFUSED(p.ctx, try_open(p.ctx, ts_put(&p, "t", "\x03\0\0\0\0\0\0\0{}", 10)), LT_EFORMAT,
               "does not fit the file");
    TS_REFUSED(p.ctx, try_open(p.ctx, ts_put(&p, "t", "\0\0\0\0\0\0\0\0", 8)), LT_EFORMAT, "does not begin with '{'");
    TS_REFUSED(p.ctx, try_open(p.ctx, p.dir), LT_EIO, "no model.safetensors");
    ts_close_place(&p);
}

static void tensors_accepted(void)
{
    static const struct {
        const char *json;
        size_t data;
        int count;
    } cases[] = {
        {"{}", 0, 0},
        {"{}   \n", 0, 0},
        {"{\"__metadata__\":null}", 0, 0},
        {ONE("F32", "[]", "[0,4]"), 4, 1},
        {ONE("F32", "[3,0,7]", "[0,0]"), 0, 1},
        {ONE("F4", "[4]", "[0,2]"), 2, 1},
        {ONE("F6_E2M3", "[4]", "[0,3]"), 3, 1},
        {ONE("BOOL", "[1,1,1,1,1,1,1,3]", "[0,3]"), 3, 1},
        {"{\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[2,6],\"more\":[1.5]},"
         "\"a\":{\"dtype\":\"I16\",\"shape\":[1],\"data_offsets\":[0,2]},"
         "\"c\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[2,2]}}",
         6, 3},
    };
    ts_place p = ts_open_place();
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        lt_tensors *t;
        if (!TS_OK(p.ctx, lt_tensors_open(p.ctx, put_tensors(&p, cases[i].json, cases[i].data), &t))) continue;
        TS_CHECK(lt_tensors_count(t) == cases[i].count, "%s: %d", cases[i].json, lt_tensors_count(t));
        if (cases[i].count == 3)
            TS_CHECK(lt_tensors_find(t, "a") == 0 && lt_tensors_find(t, "c") == 1 && lt_tensors_find(t, "b") == 2 &&
                         lt_tensors_find(t, "d") == -1,
                     "order of offsets");
        lt_tensors_close(t);
    }
    ts_close_place(&p);
}

static void check_written(ts_place *p, const lt_real *w, const unsigned char *blocks)
{
    lt_tensors *t;
    if (!TS_OK(p->ctx, lt_tensors_open(p->ctx, ts_at(p, "m.safetensors"), &t))) return;
    lt_real back[6];
    TS_CHECK(lt_tensors_count(t) == 5, "%d", lt_tensors_count(t));
    TS_CHECK(strcmp(lt_tensors_metadata(t, "format"), "pt") == 0, "format");
    TS_CHECK(strcmp(lt_tensors_metadata(t, "k\n"), "v\"") == 0, "metadata");
    TS_CHECK(lt_tensors_metadata(t, "none") == NULL, "metadata");
    for (int i = 0; i < 5; i++)
        TS_CHECK(lt_tensors_offset(t, i) % ((uint64_t)lt_stored_bits(lt_tensors_dtype(t, i)) / 8) == 0, "%s is aligned",
                 lt_tensors_name(t, i));
    int i = lt_tensors_find(t, "exact");
    TS_CHECK(lt_tensors_dtype(t, i) == LT_STORED_REAL && lt_tensors_rank(t, i) == 2 && lt_tensors_shape(t, i)[1] == 3,
             "exact");
    TS_CHECK(memcmp(lt_tensors_data(t, i), w, 6 * sizeof *w) == 0, "bitwise");
    i = lt_tensors_find(t, "blocks");
    TS_CHECK(memcmp(lt_tensors_data(t, i), blocks, 18) == 0 && lt_tensors_bytes(t, i) == 18, "bytes");
    TS_REFUSED(p->ctx, lt_tensors_load_real(t, i, back), LT_EUNSUPPORTED, "stored as U8");
    static const struct {
        const char *name;
        double value[6];
    } rounded[] = {{"half", {1, -2.5, 65504, 0x1p-24, 0.333251953125, INFINITY}},
                   {"brain", {1, -2.5, 65536, 0x1p-25 * 1.203125, 0.333984375, 70144}},
                   {"single", {1, -2.5, 65504, 3.5858e-8, 1.0 / 3, 70000}}};
    for (int k = 0; k < 3; k++) {
        TS_OK(p->ctx, lt_tensors_load_real(t, lt_tensors_find(t, rounded[k].name), back));
        for (int j = 0; j < 6; j++) {
            double want = k == 2 ? (double)(float)rounded[k].value[j] : rounded[k].value[j];
            TS_CHECK((double)back[j] == want, "%s[%d] = %.17g, not %.17g", rounded[k].name, j, (double)back[j], want);
        }
    }
    lt_tensors_close(t);
}

static void tensors_written(void)
{
    ts_place p = ts_open_place();
    const lt_real w[6] = {1, (lt_real)-2.5, 65504, (lt_real)3.5858e-8, (lt_real)(1.0 / 3), 70000};
    const unsigned char blocks[18] = {1, 2, 3, 255};
    const int64_t shape[] = {2, 3}, bytes[] = {18};
    lt_tensor_entry e[] = {{"half", LT_STORED_F16, 2, shape, NULL, w},
                           {"blocks", LT_STORED_U8, 1, bytes, blocks, NULL},
                           {"single", LT_STORED_F32, 2, shape, NULL, w},
                           {"exact", LT_STORED_REAL, 2, shape, w, NULL},
                           {"brain", LT_STORED_BF16, 2, shape, NULL, w}};
    const lt_pair metadata[] = {{"k\n", "v\""}};
    char hash[33], again[33], read[33];
    TS_OK(p.ctx, lt_tensors_write(p.ctx, ts_at(&p, "m.safetensors"), e, 5, metadata, 1, hash));
    TS_OK(p.ctx, lt_file_hash(p.ctx, p.path, read));
    TS_CHECK(strcmp(hash, read) == 0, "the hash is the file's");
    check_written(&p, w, blocks);
    lt_tensor_entry swap = e[0];
    e[0] = e[3];
    e[3] = swap;
    TS_OK(p.ctx, lt_tensors_write(p.ctx, ts_at(&p, "m2.safetensors"), e, 5, metadata, 1, again));
    TS_CHECK(strcmp(hash, again) == 0, "the order of entries does not matter");
    TS_REFUSED(p.ctx, lt_tensors_write(p.ctx, ts_at(&p, "none/m"), e, 5, NULL, 0, NULL), LT_EIO, "No such file");
    e[1].name = e[0].name;
    TS_REFUSED(p.ctx, lt_tensors_write(p.ctx, ts_at(&p, "x"), e, 5, NULL, 0, NULL), LT_EINVAL, "given twice");
    e[1] = (lt_tensor_entry){"__metadata__", LT_STORED_U8, 1, bytes, blocks, NULL};
    TS_REFUSED(p.ctx, lt_tensors_write(p.ctx, p.path, e, 5, NULL, 0, NULL), LT_EINVAL, "__metadata__");
    e[1] = (lt_tensor_entry){"\xff", LT_STORED_U8, 1, bytes, blocks, NULL};
    TS_REFUSED(p.ctx, lt_tensors_write(p.ctx, p.path, e, 5, NULL, 0, NULL), LT_EINVAL, "not UTF-8");
    e[1] = (lt_tensor_entry){"r", LT_STORED_I32, 2, shape, NULL, w};
    TS_REFUSED(p.ctx, lt_tensors_write(p.ctx, p.path, e, 5, NULL, 0, NULL), LT_EINVAL, "give either bytes");
    TS_CHECK(access(p.path, F_OK) != 0, "nothing was written");
    ts_close_place(&p);
}

static void shards(void)
{
    static const char good[] = "{\"metadata\":{\"total_size\":2},\"weight_map\":{\"a\":\"s1\",\"b\":\"s2\"}}";
    static const struct {
        const char *index, *words;
        lt_status status;
    } cases[] = {
        {"[]", "an object {...} was expected", LT_EFORMAT},
        {"{}", "weight_map must be an object, it is missing", LT_EFORMAT},
        {"{\"weight_map\":{}}", "names no tensor", LT_EFORMAT},
        {"{\"weight_map\":{\"a\":\"../s1\"}}", "bare file name", LT_EFORMAT},
        {"{\"weight_map\":{\"a\":\"..\"}}", "bare file name", LT_EFORMAT},
        {"{\"weight_map\":{\"a\":\"\"}}", "bare file name", LT_EFORMAT},
        {"{\"weight_map\":{\"a\":\"s1\\u0000\"}}", "bare file name", LT_EFORMAT},
        {"{\"weight_map\":{\"a\":1}}", "bare file name", LT_EFORMAT},
        {"{\"weight_map\":{\"a\":\"s9\"}}", "shard 1 of 1: cannot open", LT_EIO},
        {"{\"weight_map\":{\"b\":\"s1\"}}", "'a' is in", LT_EFORMAT},
        {"{\"weight_map\":{\"a\":\"s1\",\"c\":\"s1\"}}", "which does not have it", LT_EFORMAT},
        {"{\"weight_map\":{\"a\":\"s2\",\"b\":\"s1\"}}", "it lies in", LT_EFORMAT},
        {"{\"weight_map\":{\"a\":\"s1\",\"b\":\"s3\"}}", "lies in two shards", LT_EFORMAT},
    };
    ts_place p = ts_open_place();
    const unsigned char byte = 7;
    const int64_t one[] = {1};
    lt_tensor_entry a = {"a", LT_STORED_U8, 1, one, &byte, NULL}, b = a;
    b.name = "b";
    TS_OK(p.ctx, lt_tensors_write(p.ctx, ts_at(&p, "s1"), &a, 1, NULL, 0, NULL));
    TS_OK(p.ctx, lt_tensors_write(p.ctx, ts_at(&p, "s2"), &b, 1, NULL, 0, NULL));
    TS_OK(p.ctx, lt_tensors_write(p.ctx, ts_at(&p, "s3"), &a, 1, NULL, 0, NULL));
    for (int i = 0; i < LTI_COUNT(cases); i++)
        TS_REFUSED(p.ctx, try_open(p.ctx, ts_put_text(&p, "model.safetensors.index.json", cases[i].index)),
                   cases[i].status, cases[i].words);
    ts_put_text(&p, "model.safetensors.index.json", good);
    lt_tensors *t;
    if (TS_OK(p.ctx, lt_tensors_open(p.ctx, p.dir, &t))) {
        int i = lt_tensors_find(t, "b");
        TS_CHECK(lt_tensors_count(t) == 2 && i == 1 && strstr(lt_tensors_file(t, i), "/s2"), "two shards");
        TS_CHECK(*(const unsigned char *)lt_tensors_data(t, i) == 7, "its byte");
        lt_tensors_close(t);
    }
    ts_close_place(&p);
}

static lt_status write_and_read(lt_ctx *ctx, void *arg)
{
    const char *path = arg;
    const lt_real w[2] = {1, 2};
    const int64_t two[] = {2};
    lt_tensor_entry e[] = {{"a", LT_STORED_BF16, 1, two, NULL, w}, {"b", LT_STORED_REAL, 1, two, w, NULL}};
    LTI_TRY(lt_tensors_write(ctx, path, e, 2, NULL, 0, NULL));
    lt_tensors *t;
    LTI_TRY(lt_tensors_open(ctx, path, &t));
    lt_tensors_close(t);
    return LT_OK;
}

static void tensors_memory(void)
{
    ts_place p = ts_open_place();
    char path[256];
    snprintf(path, sizeof path, "%s", ts_at(&p, "m"));
    ts_every_allocation_fails("safetensors", write_and_read, path);
    ts_close_place(&p);
}

/* Every byte of the header flipped in turn, and every truncation: a clean answer each time. */
static void tensors_flipped(void)
{
    ts_place p = ts_open_place();
    char path[256], copy[1024];
    snprintf(path, sizeof path, "%s", ts_at(&p, "m"));
    TS_OK(p.ctx, write_and_read(p.ctx, path));
    FILE *file = fopen(path, "rb");
    size_t n = file ? fread(copy, 1, sizeof copy, file) : 0;
    if (file) fclose(file);
    TS_CHECK(n > 100 && n < sizeof copy, "%zu", n);
    for (size_t i = 0; i < n; i++) {
        copy[i] ^= (char)(1 << i % 8);
        lt_status status = try_open(p.ctx, ts_put(&p, "flip", copy, n));
        TS_CHECK(status == LT_OK || status == LT_EFORMAT, "byte %zu: %s", i, lt_ctx_message(p.ctx));
        copy[i] ^= (char)(1 << i % 8);
        TS_CHECK(try_open(p.ctx, ts_put(&p, "cut", copy, i)) == LT_EFORMAT, "cut at %zu is refused", i);
    }
    ts_close_place(&p);
}

static void real_model(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_tensors *t;
    if (TS_OK(ctx, lt_tensors_open(ctx, ts_data("models/stories260K/hf"), &t))) {
        int i = lt_tensors_find(t, "model.layers.4.mlp.down_proj.weight");
        int64_t total = 0;
        for (int k = 0; k < lt_tensors_count(t); k++) total += lt_tensors_elements(t, k);
        TS_CHECK(lt_tensors_count(t) == 47 && total == 260032, "%d %lld", lt_tensors_count(t), (long long)total);
        TS_CHECK(i >= 0 && lt_tensors_shape(t, i)[0] == 64 && lt_tensors_shape(t, i)[1] == 172, "shape");
        lt_tensors_close(t);
    }
    lt_ctx_free(ctx);
}

/* ---- HDF5 ---- */

static void find_helper(void)
{
    const char *built = getenv("LATHE_H5");
    if (built && *built) setenv("LT_H5_HELPER", built, 0);
}

static lt_status h5(lt_ctx *ctx, const char *file, const char *dataset)
{
    lt_array array;
    lt_status status = lt_h5_read(ctx, file, dataset, &array);
    lt_array_free(ctx, &array);
    return status;
}

static void check_h5(lt_ctx *ctx, const char *file, const char *dataset, int rank, const int64_t *shape, double first,
                     double last, bool whole)
{
    lt_array a;
    if (!TS_OK(ctx, lt_h5_read(ctx, ts_data(file), dataset, &a))) return;
    bool same = a.rank == rank;
    for (int i = 0; i < rank && same; i++) same = a.shape[i] == shape[i];
    TS_CHECK(same && whole == (a.ints != NULL) && whole == (a.real == NULL), "%s %s: shape and kind", file, dataset);
    if (same && a.count) {
        double x = whole ? a.ints[0] : (double)a.real[0];
        double y = whole ? a.ints[a.count - 1] : (double)a.real[a.count - 1];
        TS_CHECK(x == first && y == last, "%s %s: %g .. %g", file, dataset, x, y);
    }
    lt_array_free(ctx, &a);
}

static void hdf5_read(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    const int64_t s4[] = {4}, chunked[] = {21, 16}, s4d[] = {2, 3, 4, 5};
    find_helper();
    static const char *const whole[] = {"int08", "int16", "int32", "int64", "uint08", "uint16", "uint32", "uint64"};
    static const char *const order[] = {"little", "big"};
    char name[64];
    for (int i = 0; i < 16; i++) {
        snprintf(name, sizeof name, "/%s_%s", whole[i / 2], order[i % 2]);
        bool sign = whole[i / 2][0] == 'i';
        check_h5(ctx, "formats/hdf5/dataset_datatypes.hdf5", name, 1, s4, 0, sign ? -3 : 3, true);
    }
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "float%d_%s", i < 2 ? 32 : 64, order[i % 2]);
        check_h5(ctx, "formats/hdf5/dataset_datatypes.hdf5", name, 1, s4, 0, 3, false);
    }
    check_h5(ctx, "formats/hdf5/dataset_multidim.hdf5", "d", 4, s4d, 0, 119, true);
    check_h5(ctx, "formats/hdf5/chunked.hdf5", "dataset1", 2, chunked, 0, 335, true);
    check_h5(ctx, "formats/hdf5/compressed.hdf5", "dataset1", 2, chunked, 0, 335, true);
    check_h5(ctx, "formats/hdf5/compressed.hdf5", "dataset2", 2, chunked, 0, 335, true);
    check_h5(ctx, "formats/hdf5/earliest.hdf5", "/group1/dataset2", 1, s4, 0, 3, true);
    check_h5(ctx, "formats/hdf5/latest.hdf5", "group1/dataset2", 1, s4, 0, 3, true);
    TS_REFUSED(ctx, h5(ctx, ts_data("formats/hdf5/latest.hdf5"), "group1"), LT_EINVAL, "not a dataset");
    TS_REFUSED(ctx, h5(ctx, ts_data("formats/hdf5/latest.hdf5"), "group1/none"), LT_EINVAL,
               "there is no 'group1/none'");
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "nothing leaks");
    lt_ctx_free(ctx);
}

/* Truncated and flipped files: an answer, and this process lives. */
static void hdf5_damaged(void)
{
    ts_place p = ts_open_place();
    char *bytes;
    uint64_t size;
    find_helper();
    if (!TS_OK(p.ctx, lti_file_read(p.ctx, ts_data("formats/hdf5/chunked.hdf5"), 1 << 20, &bytes, &size))) return;
    for (uint64_t n = 1; n < size; n += size / 12) {
        lt_status status = h5(p.ctx, ts_put(&p, "cut.h5", bytes, n), "dataset1");
        TS_CHECK(status == LT_EFORMAT, "cut at %llu: %s: %s", (unsigned long long)n, lt_status_name(status),
                 lt_ctx_message(p.ctx));
    }
    for (int i = 0; i < 24; i++) {
        uint64_t at = (uint64_t)(ts_uniform("h5 flip", i) * (double)size);
        bytes[at] ^= 0x55;
        lt_status status = h5(p.ctx, ts_put(&p, "flip.h5", bytes, size), "dataset1");
        TS_CHECK(status == LT_OK || lt_ctx_message(p.ctx)[0], "flipped at %llu", (unsigned long long)at);
        bytes[at] ^= 0x55;
    }
    lti_free(p.ctx, bytes);
    TS_REFUSED(p.ctx, h5(p.ctx, ts_put_text(&p, "text.h5", "no HDF5 at all"), "x"), LT_EFORMAT, "not an HDF5 file");
    setenv("LT_H5_HELPER", "/bin/false", 1); /* a helper that gives up without a word */
    TS_REFUSED(p.ctx, h5(p.ctx, p.path, "x"), LT_EFORMAT, "is damaged");
    setenv("LT_H5_HELPER", "/none", 1);
    TS_REFUSED(p.ctx, h5(p.ctx, p.path, "x"), LT_EIO, "LT_H5_HELPER=/none");
    unsetenv("LT_H5_HELPER");
    ts_close_place(&p);
}

int lti_suite_formats(void)
{
    static const ts_test tests[] = {
        {"files are read, written and refused", files},
        {"a discarded file leaves the old one", discarded},
        {"safetensors: every rule refuses", tensors_refused},
        {"safetensors: what is legal is accepted", tensors_accepted},
        {"safetensors: written files read back", tensors_written},
        {"safetensors: shards", shards},
        {"safetensors: every allocation fails", tensors_memory},
        {"safetensors: flips and truncations", tensors_flipped},
    };
    if (ts_suite("formats", LTI_COUNT(tests), tests) != 0) return 1;
    CU_pSuite suite = CU_get_suite("formats");
    return ts_add_with_data(suite, "safetensors: stories260K", "models/stories260K/hf/model.safetensors", real_model) ||
           ts_add_with_data(suite, "HDF5: values", "formats/hdf5/chunked.hdf5", hdf5_read) ||
           ts_add_with_data(suite, "HDF5: damaged files", "formats/hdf5/chunked.hdf5", hdf5_damaged);
}
