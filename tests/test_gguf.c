/* test_gguf.c - GGUF: a file of another hand read value by value, what is written read back, and what is not written.
 *
 * tests/files/gguf/ok-by-python was made by the gguf package for Python (scripts/make_format_files.py has the values).
 * Broken files are in test_format_files.c. */
#include "lathe/gguf.h"
#include "tests/data_files.h"

#include <math.h>
#include <time.h>

#define PEER "tests/files/gguf/ok-by-python"

static lt_gguf *open_at(ts_place *p, const char *path)
{
    lt_gguf *g = NULL;
    TS_OK(p->ctx, lt_gguf_open(p->ctx, path, &g));
    return g;
}

/* ---- Values ---- */

static void whole_numbers(const lt_gguf *g)
{
    static const struct {
        const char *key;
        bool known;
        uint64_t value;
    } cases[] = {
        {"v.u8", true, 200},
        {"v.i8", false, 0},
        {"v.u16", true, 60000},
        {"v.i16", false, 0},
        {"v.i32", false, 0},
        {"v.i64", false, 0},
        {"v.u32", true, 4000000000u},
        {"v.u64", true, (1ull << 63) + 5},
        {"v.f32", false, 0},
        {"v.f64", false, 0},
        {"v.bool", false, 0},
        {"v.string", false, 0},
        {"v.ints", false, 0},
        {"v", false, 0},
        {"w", false, 0},
    };
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        uint64_t value = 77;
        bool known = lt_gguf_uint(g, cases[i].key, &value);
        TS_CHECK(known == cases[i].known && value == (known ? cases[i].value : 77), "%s: %d %llu", cases[i].key, known,
                 (unsigned long long)value);
    }
}

static void reals(const lt_gguf *g)
{
    static const struct {
        const char *key;
        double value; /* NaN: not a number at all */
    } cases[] = {
        {"v.u8", 200},   {"v.i8", -100},    {"v.u16", 60000},   {"v.i16", -30000},  {"v.u32", 4e9},
        {"v.i32", -2e9}, {"v.u64", 0x1p63}, {"v.i64", -0x1p62}, {"v.f32", 0.15625}, {"v.f64", 1e-300},
        {"v.bool", NAN}, {"v.string", NAN}, {"v.reals", NAN},   {"none", NAN},
    };
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        double value = 77;
        bool known = lt_gguf_real(g, cases[i].key, &value);
        TS_CHECK(known == !isnan(cases[i].value) && value == (known ? cases[i].value : 77), "%s: %d %g", cases[i].key,
                 known, value);
    }
}

static bool is_text(lt_gguf_string string, const char *text)
{
    return string.bytes == (int64_t)strlen(text) && memcmp(string.text, text, strlen(text)) == 0;
}

static void arrays(const lt_gguf *g)
{
    const lt_gguf_pair *ints = lt_gguf_get(g, "v.ints"), *bools = lt_gguf_get(g, "v.bools");
    const lt_gguf_pair *reals_ = lt_gguf_get(g, "v.reals"), *strings = lt_gguf_get(g, "v.strings");
    double real = 0;
    int64_t whole = 0;
    if (!TS_CHECK(ints && bools && reals_ && strings, "the arrays are there")) return;
    TS_CHECK(ints->type == LT_GGUF_ARRAY && ints->item == LT_GGUF_I32 && ints->count == 3 && !ints->strings, "ints");
    TS_CHECK(lt_gguf_item_int(ints, 1, &whole) && whole == -2 && lt_gguf_item_real(ints, 2, &real) && real == 3,
             "ints");
    TS_CHECK(!lt_gguf_item_int(ints, 3, &whole) && !lt_gguf_item_int(ints, -1, &whole), "outside");
    TS_CHECK(lt_gguf_item_real(reals_, 1, &real) && real == -0.25 && !lt_gguf_item_int(reals_, 1, &whole), "reals");
    TS_CHECK(lt_gguf_item_int(bools, 0, &whole) && whole == 1 && lt_gguf_item_int(bools, 1, &whole) && whole == 0 &&
                 !lt_gguf_item_real(bools, 0, &real),
             "bools");
    TS_CHECK(strings->count == 3 && !strings->data && is_text(strings->strings[0], "a") &&
                 is_text(strings->strings[1], "bb") && is_text(strings->strings[2], "\xc3\xa9"),
             "strings");
    TS_CHECK(!lt_gguf_item_int(strings, 0, &whole), "a string is no number");
}

static void values_of_python(void)
{
    ts_place p = ts_open_place();
    lt_gguf *g = open_at(&p, PEER);
    if (g) {
        bool truth = false;
        lt_gguf_string text = {0};
        whole_numbers(g);
        reals(g);
        arrays(g);
        TS_CHECK(lt_gguf_bool(g, "v.bool", &truth) && truth && !lt_gguf_bool(g, "v.u8", &truth), "bool");
        TS_CHECK(lt_gguf_text(g, "v.string", &text) && is_text(text, "d\xc3\xa9j\xc3\xa0 vu"), "text");
        TS_CHECK(lt_gguf_text(g, "general.architecture", &text) && is_text(text, "llama"), "architecture");
        TS_CHECK(!lt_gguf_text(g, "v.u8", &text) && !lt_gguf_text(g, "v.strings", &text), "of another kind");
        TS_CHECK(!lt_gguf_get(g, "") && !lt_gguf_pair_at(g, -1) && !lt_gguf_pair_at(g, lt_gguf_pairs(g)), "none");
        TS_CHECK(strcmp(lt_gguf_path(g), PEER) == 0 && lt_gguf_is(PEER), "path");
        lt_gguf_close(g);
    }
    TS_CHECK(!lt_gguf_is("tests/files/gguf/bad-magic") && !lt_gguf_is("tests/files") && !lt_gguf_is("none"), "is");
    TS_CHECK(strcmp(lt_gguf_type_name(LT_GGUF_F64), "f64") == 0 && strcmp(lt_gguf_type_name(13), "?") == 0, "names");
    ts_close_place(&p);
}

/* ---- Tensors ---- */

static void tensors_of_python(void)
{
    ts_place p = ts_open_place();
    lt_gguf *g = open_at(&p, PEER);
    if (!g) return;
    lt_real x[64];
    TS_CHECK(lt_gguf_tensors(g) == 4 && lt_gguf_find(g, "f3") == -1 && !lt_gguf_tensor(g, 4), "tensors");
    int i = lt_gguf_find(g, "f32");
    const lt_gguf_tensor_info *t = lt_gguf_tensor(g, i);
    TS_CHECK(t && t->rank == 2 && t->shape[0] == 2 && t->shape[1] == 3 && t->elements == 6 && t->bytes == 24 &&
                 t->type == LT_F32 && t->known && strcmp(t->type_name, "f32") == 0 && t->offset % 32 == 0,
             "f32");
    if (TS_OK(p.ctx, lt_gguf_load_real(g, i, x)))
        for (int k = 0; k < 6; k++) TS_CHECK(x[k] == (lt_real)0.25 * (lt_real)k, "f32[%d] = %g", k, (double)x[k]);
    if (TS_OK(p.ctx, lt_gguf_load_real(g, lt_gguf_find(g, "f16"), x)))
        for (int k = 0; k < 4; k++) TS_CHECK(x[k] == (lt_real)k - (lt_real)1.5, "f16[%d] = %g", k, (double)x[k]);
    if (TS_OK(p.ctx, lt_gguf_load_real(g, lt_gguf_find(g, "q8_0"), x)))
        for (int k = 0; k < 64; k++)
            TS_CHECK(fabs((double)x[k] - (2.0 * k / 63 - 1)) < 0.005, "q8_0[%d] = %g", k, (double)x[k]);
    i = lt_gguf_find(g, "i32");
    t = lt_gguf_tensor(g, i);
    TS_CHECK(t && t->type == LT_I32 && t->shape[0] == 2 && t->shape[1] == 1 && ((const int32_t *)t->data)[1] == -7,
             "i32");
    TS_REFUSED(p.ctx, lt_gguf_load_real(g, i, x), LT_EUNSUPPORTED, "tensor 'i32' is stored as i32");
    TS_REFUSED(p.ctx, lt_gguf_load_real(g, 4, x), LT_EINVAL, "number 4 of 4");
    lt_gguf_close(g);
    if ((g = open_at(&p, "tests/files/gguf/ok-f64"))) {
        t = lt_gguf_tensor(g, 0);
        TS_CHECK(!t->known && strcmp(t->type_name, "f64") == 0 && t->bytes == 16, "f64");
        TS_REFUSED(p.ctx, lt_gguf_load_real(g, 0, x), LT_EUNSUPPORTED, "stored as f64");
        lt_gguf_close(g);
    }
    ts_close_place(&p);
}

/* ---- Writing ---- */

/* Everything of `from` to `to`. */
static lt_status copy(lt_ctx *ctx, const char *from, const char *to, char hash[33])
{
    lt_gguf *g;
    lt_gguf_pair pairs[64];
    lt_gguf_entry entries[64];
    LTI_TRY(lt_gguf_open(ctx, from, &g));
    for (int i = 0; i < lt_gguf_pairs(g); i++) pairs[i] = *lt_gguf_pair_at(g, i);
    for (int i = 0; i < lt_gguf_tensors(g); i++) {
        const lt_gguf_tensor_info *t = lt_gguf_tensor(g, i);
        entries[i] = (lt_gguf_entry){.name = t->name, .type = t->type, .rank = t->rank, .data = t->data};
        memcpy(entries[i].shape, t->shape, sizeof t->shape);
    }
    lt_status status = lt_gguf_write(ctx, to, pairs, lt_gguf_pairs(g), entries, lt_gguf_tensors(g), hash);
    lt_gguf_close(g);
    return status;
}

/* What other hands wrote comes out of our writer byte for byte. */
static void same_bytes(void)
{
    static const char *const names[] = {"by-python",      "empty",    "values",        "arrays",      "arrays-empty",
                                        "strings",        "halves",   "rank-0",        "rank-4",      "zero",
                                        "blocks-32",      "blocks-k", "alignment-64",  "key-unicode", "many",
                                        "blocks-ternary", "name-63",  "alignment-256", "bool-2",      "zero-lattice"};
    ts_place p = ts_open_place();
    for (int i = 0; i < LTI_COUNT(names); i++) {
        char from[128], hash[33] = "", theirs[33], ours[33];
        snprintf(from, sizeof from, "tests/files/gguf/ok-%s", names[i]);
        if (!TS_OK(p.ctx, copy(p.ctx, from, ts_at(&p, "again.gguf"), hash))) continue;
        TS_OK(p.ctx, lti_file_hash(p.ctx, from, theirs));
        TS_OK(p.ctx, lti_file_hash(p.ctx, p.path, ours));
        TS_CHECK(strcmp(ours, theirs) == 0 && strcmp(ours, hash) == 0, "%s: %s, %s returned, %s by the other hand",
                 names[i], ours, hash, theirs);
    }
    ts_close_place(&p);
}

typedef struct maker {
    float numbers[40]; /* reused for each tensor */
    int calls, fail_at;
    lt_ctx *ctx;
} maker;

static lt_status make_numbers(void *user, const void **bytes)
{
    maker *m = user;
    if (++m->calls == m->fail_at) return lti_fail(m->ctx, LT_EIO, "no numbers today");
    for (int i = 0; i < 40; i++) m->numbers[i] = (float)(100 * m->calls + i);
    *bytes = m->calls == -m->fail_at ? NULL : m->numbers;
    return LT_OK;
}

static void made_in_turn(void)
{
    ts_place p = ts_open_place();
    maker m = {.ctx = p.ctx};
    const uint16_t halves[3] = {0x3c00, 0xbc00, 0x4000};
    lt_gguf_entry e[] = {{"z", LT_F32, 2, {8, 5}, NULL, make_numbers, &m},
                         {"h", LT_F16, 1, {3}, halves, NULL, NULL},
                         {"none", LT_Q4_0, 2, {0, 32}, NULL, NULL, NULL},
                         {"a", LT_F32, 1, {40}, NULL, make_numbers, &m}};
    lt_real x[40];
    if (TS_OK(p.ctx, lt_gguf_write(p.ctx, ts_at(&p, "m.gguf"), NULL, 0, e, 4, NULL))) {
        lt_gguf *g = open_at(&p, p.path);
        for (int i = 0; g && i < 4; i++) TS_CHECK(lt_gguf_find(g, e[i].name) == i, "%s keeps its place", e[i].name);
        TS_CHECK(g && lt_gguf_load_real(g, 0, x) == LT_OK && x[39] == 139 && lt_gguf_load_real(g, 3, x) == LT_OK &&
                     x[0] == 200 && lt_gguf_load_real(g, 1, x) == LT_OK && x[1] == -1,
                 "each in its turn");
        lt_gguf_close(g);
    }
    ts_put_text(&p, "old.gguf", "old");
    m = (maker){.ctx = p.ctx, .fail_at = 2};
    TS_REFUSED(p.ctx, lt_gguf_write(p.ctx, p.path, NULL, 0, e, 4, NULL), LT_EIO, "no numbers today");
    m = (maker){.ctx = p.ctx, .fail_at = -1};
    TS_REFUSED(p.ctx, lt_gguf_write(p.ctx, p.path, NULL, 0, e, 4, NULL), LT_EINVAL, "tensor 'z' was not made");
    char *bytes;
    uint64_t size;
    if (TS_OK(p.ctx, lti_file_read(p.ctx, p.path, 100, &bytes, &size))) {
        TS_CHECK(strcmp(bytes, "old") == 0, "the old file stays");
        lti_free(p.ctx, bytes);
    }
    ts_close_place(&p);
}

static void pairs_refused(void)
{
    static const uint32_t number = 24, zero;
    static const lt_gguf_string string = {"text", 4}, broken = {NULL, 1}, negative = {"x", -1};
    static const struct {
        lt_gguf_pair pair;
        const char *words;
    } cases[] = {
        {{NULL, LT_GGUF_U32, 0, 1, NULL, &number}, "a key without a name"},
        {{"", LT_GGUF_U32, 0, 1, NULL, &number}, "a key without a name"},
        {{"a\xff", LT_GGUF_U32, 0, 1, NULL, &number}, "is not UTF-8"},
        {{"a", 13, 0, 1, NULL, &number}, "none of GGUF's"},
        {{"a", LT_GGUF_ARRAY, LT_GGUF_ARRAY, 1, NULL, &number}, "arrays of arrays"},
        {{"a", LT_GGUF_ARRAY, 77, 1, NULL, &number}, "none of GGUF's"},
        {{"a", LT_GGUF_U32, 0, 2, NULL, &number}, "a count of 2"},
        {{"a", LT_GGUF_ARRAY, LT_GGUF_U32, -1, NULL, &number}, "a count of -1"},
        {{"a", LT_GGUF_ARRAY, LT_GGUF_U32, (1 << 30) + 1, NULL, &number}, "0 to 2^30"},
        {{"a", LT_GGUF_U32, 0, 1, NULL, NULL}, "has no value"},
        {{"a", LT_GGUF_STRING, 0, 1, NULL, "text"}, "has no value"},
        {{"a", LT_GGUF_STRING, 0, 1, &broken, NULL}, "string 0 of 1 bytes"},
        {{"a", LT_GGUF_STRING, 0, 1, &negative, NULL}, "string 0 of -1 bytes"},
        {{"general.alignment", LT_GGUF_U32, 0, 1, NULL, &number}, "a power of two"},
        {{"general.alignment", LT_GGUF_U32, 0, 1, NULL, &zero}, "a power of two"},
        {{"general.alignment", LT_GGUF_STRING, 0, 1, &string, NULL}, "must be a u32"},
    };
    ts_place p = ts_open_place();
    for (int i = 0; i < LTI_COUNT(cases); i++)
        TS_REFUSED(p.ctx, lt_gguf_write(p.ctx, ts_at(&p, "x"), &cases[i].pair, 1, NULL, 0, NULL), LT_EINVAL,
                   cases[i].words);
    const lt_gguf_pair twice[] = {{"a", LT_GGUF_U32, 0, 1, NULL, &zero},
                                  {"b", LT_GGUF_STRING, 0, 1, &string, NULL},
                                  {"a", LT_GGUF_U32, 0, 1, NULL, &zero}};
    TS_REFUSED(p.ctx, lt_gguf_write(p.ctx, ts_at(&p, "x"), twice, 3, NULL, 0, NULL), LT_EINVAL, "'a' is given twice");
    TS_REFUSED(p.ctx, lt_gguf_write(p.ctx, ts_at(&p, "x"), twice, -1, NULL, 0, NULL), LT_EINVAL, "-1 keys");
    TS_CHECK(access(p.path, F_OK) != 0, "nothing is written");
    ts_close_place(&p);
}

static void entries_refused(void)
{
    static const char data[64], *const long_name = "0123456789012345678901234567890123456789012345678901234567890123";
    maker m = {0};
    const struct {
        lt_gguf_entry entry;
        const char *words;
    } cases[] = {
        {{"", LT_F32, 1, {1}, data, NULL, NULL}, "without a name"},
        {{long_name, LT_F32, 1, {1}, data, NULL, NULL}, "has 64 bytes, the format allows 63"},
        {{"\xc3", LT_F32, 1, {1}, data, NULL, NULL}, "not UTF-8"},
        {{"a", LT_F32, 5, {1}, data, NULL, NULL}, "rank 5"},
        {{"a", LT_F32, -1, {1}, data, NULL, NULL}, "rank -1"},
        {{"a", LT_DTYPE_COUNT, 1, {1}, data, NULL, NULL}, "type ?"},
        {{"a", LT_F32, 2, {1, -2}, data, NULL, NULL}, "dimension 1 is -2"},
        {{"a", LT_Q8_0, 2, {32, 33}, data, NULL, NULL}, "rows of 33 elements"},
        {{"a", LT_Q4_K, 1, {32}, data, NULL, NULL}, "of 256; choose another type"},
        {{"a", LT_Q8_0, 0, {0}, data, NULL, NULL}, "rows of 1 elements"},
        {{"a", LT_I8, 3, {1 << 30, 1 << 30, 1 << 30}, data, NULL, NULL}, "overflows"},
        {{"a", LT_F32, 2, {1 << 30, INT64_C(1) << 32}, data, NULL, NULL}, "overflows"},
        {{"a", LT_F32, 1, {1}, NULL, NULL, NULL}, "either its bytes or what makes them"},
        {{"a", LT_F32, 1, {1}, data, make_numbers, &m}, "either its bytes or what makes them"},
    };
    ts_place p = ts_open_place();
    for (int i = 0; i < LTI_COUNT(cases); i++)
        TS_REFUSED(p.ctx, lt_gguf_write(p.ctx, ts_at(&p, "x"), NULL, 0, &cases[i].entry, 1, NULL), LT_EINVAL,
                   cases[i].words);
    const lt_gguf_entry twice[] = {{"a", LT_F32, 1, {1}, data, NULL, NULL}, {"a", LT_F32, 1, {2}, data, NULL, NULL}};
    TS_REFUSED(p.ctx, lt_gguf_write(p.ctx, ts_at(&p, "x"), NULL, 0, twice, 2, NULL), LT_EINVAL, "'a' is given twice");
    TS_CHECK(access(p.path, F_OK) != 0, "nothing is written");
    TS_REFUSED(p.ctx, lt_gguf_write(p.ctx, ts_at(&p, "no/x"), NULL, 0, twice, 1, NULL), LT_EIO, "No such file");
    ts_close_place(&p);
}

/* ---- Size ---- */

#define MANY 100000

/* Names are neither compared each with each, nor are strings copied. */
static void many_names(void)
{
    ts_place p = ts_open_place();
    static char names[MANY][16];
    static const uint8_t value = 1;
    lt_gguf_pair *pairs = calloc(MANY, sizeof *pairs);
    lt_gguf_entry *entries = calloc(MANY, sizeof *entries);
    clock_t start = clock();
    for (int i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "k%d", i);
        pairs[i] = (lt_gguf_pair){.key = names[i], .type = LT_GGUF_U8, .count = 1, .data = &value};
        entries[i] = (lt_gguf_entry){.name = names[i], .type = LT_F32, .rank = 1};
    }
    if (TS_OK(p.ctx, lt_gguf_write(p.ctx, ts_at(&p, "many"), pairs, MANY, entries, MANY, NULL))) {
        lt_gguf *g = open_at(&p, p.path);
        for (int i = 0; g && i < MANY; i += 997)
            TS_CHECK(lt_gguf_find(g, names[i]) == i && lt_gguf_get(g, names[i]) == lt_gguf_pair_at(g, i), "%d", i);
        lt_gguf_close(g);
    }
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    TS_CHECK(seconds < 60, "%d names took %.1f s: something is quadratic", MANY, seconds);
    free(entries);
    free(pairs);
    ts_close_place(&p);
}

/* A tensor of several tasks is decoded whole; rows of lattices are cut at blocks. */
static void large_tensor(void)
{
    enum { ROWS = 700, COLS = 256 };
    ts_place p = ts_open_place();
    static unsigned char blocks[ROWS * COLS / 32 * 34];
    static lt_real x[ROWS * COLS];
    for (size_t i = 0; i < sizeof blocks; i++)
        blocks[i] = i % 34 == 0 ? 0 : i % 34 == 1 ? 0x3c : (unsigned char)(i / 34 % 127);
    const lt_gguf_entry entry = {"q", LT_Q8_0, 2, {ROWS, COLS}, blocks, NULL, NULL};
    if (TS_OK(p.ctx, lt_gguf_write(p.ctx, ts_at(&p, "q.gguf"), NULL, 0, &entry, 1, NULL))) {
        lt_gguf *g = open_at(&p, p.path);
        TS_CHECK(g && lt_gguf_load_real(g, 0, x) == LT_OK, "it is decoded");
        int wrong = 0;
        for (int i = 0; i < ROWS * COLS; i++) wrong += x[i] != (lt_real)(i / 32 % 127);
        TS_CHECK(wrong == 0, "%d elements are wrong", wrong);
        lt_gguf_close(g);
    }
    ts_close_place(&p);
}

static lt_status attempt_copy(lt_ctx *ctx, void *arg)
{
    return copy(ctx, PEER, arg, NULL);
}

static void allocations(void)
{
    ts_place p = ts_open_place();
    ts_every_allocation_fails("copying a GGUF file", attempt_copy, (void *)ts_at(&p, "copy.gguf"));
    ts_close_place(&p);
}

int lti_suite_gguf(void)
{
    return ts_suite("gguf", 9,
                    (ts_test[]){{"values of Python's gguf", values_of_python},
                                {"tensors of Python's gguf", tensors_of_python},
                                {"the same bytes", same_bytes},
                                {"tensors made in turn", made_in_turn},
                                {"pairs refused", pairs_refused},
                                {"entries refused", entries_refused},
                                {"many names", many_names},
                                {"a large tensor", large_tensor},
                                {"every allocation fails", allocations}});
}
