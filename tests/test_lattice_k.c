/* test_lattice_k.c - the K encoders on every instruction set: the bytes ggml's encoders make, with and without
 * importance, and the numbers its decoders make of them (compiled without contraction, scripts/goldens_lattices_k.c);
 * ref against SIMD on a million numbers a type and kind of odd numbers, or on as many as LATHE_SOAK says (1e8); and
 * that scales stay when codes are chosen anew. */
#include "tests/lattice_checks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 65536, COLUMNS = 1024, ROOM = N / 256 * 210 };
static const char *const sets[] = {"ref", "avx2", "avx512"};
static float floats[N];
static R values[N], others[N], importance[COLUMNS];
static uint8_t blocks[ROOM + 8], wanted[ROOM + 8], recoded[ROOM];

typedef struct coders {
    void (*quantize)(int64_t n, const R *x, void *blocks);
    void (*weighted)(int64_t n, const R *x, const R *importance, void *blocks);
    void (*recode)(int64_t n, const R *x, void *blocks);
    void (*decode)(int64_t n, const void *blocks, R *y);
} coders;

/* Hashes of bytes and of the numbers they are: of the plain and of the odd stream, each without and with importance. */
enum { STREAMS = 4 };
static const char *const streams[STREAMS] = {"plain numbers", "plain numbers with importance", "odd numbers",
                                             "odd numbers with importance"};
static const struct {
    lt_dtype type;
    struct {
        uint64_t bytes, numbers;
    } of[STREAMS];
} types[] = {
    {LT_Q2_K,
     {{0x6b78b8f4917b84b4, 0xa63524064bda6061},
      {0x5402e0eeb4a36a0a, 0x7808c73a62cbd362},
      {0x51b53b8fafef5e86, 0x7c540a60f757433f},
      {0xb7668d44b8a9df26, 0x31537d6bb366c6ae}}},
    {LT_Q3_K,
     {{0x1dd6dc509132925c, 0x1c752306e9957481},
      {0xb136e5936cde8798, 0xb3fe9bd15d2e3cc7},
      {0xfb977646a033470b, 0x7c96c1f060155010},
      {0xc325554acd16b6a2, 0x4407c83b05659a88}}},
    {LT_Q4_K,
     {{0x6a284ce923d0ad85, 0xf448676455db06c7},
      {0x0dd5b71f76e48a45, 0xc4d1e7cd0f6c6ef5},
      {0x8f8b30a7042ac773, 0x1fbcc2446136596f},
      {0x8b3a7ffd498dc918, 0xebdd9900e7f59eef}}},
    {LT_Q5_K,
     {{0x1e0bfca93ff12f85, 0x1cf61b2f50d706a2},
      {0x1cc6950b1103ca9c, 0xf9e70d8cdc5e53be},
      {0x83db25a452356516, 0x9fa3022242fd7c82},
      {0x95863bf75ab3e01f, 0x8baf6ca246a92646}}},
    {LT_Q6_K,
     {{0x9d61d165347c573c, 0x45733aef4dc5a122},
      {0xb879dffc49286abd, 0xd95833870295b522},
      {0xb5f229a6f7ac26e8, 0xbfe173d43de15a3e},
      {0xfc4ff69adb7532d5, 0x139515381473db57}}},
};

static coders coders_of(const lti_kernels *k, lt_dtype type)
{
    coders c = {0};
#define LTI_RECODE(lattice, name)                                                                                      \
    if (type == lattice)                                                                                               \
        c = (coders){k->quantize_##name, k->quantize_weighted_##name, k->recode_##name, k->dequantize_##name};
#include "kernels/lattice/lattices.def"
    return c;
}

static size_t bytes_of(lt_dtype type, int64_t n)
{
    return (size_t)(n / 256) * lt_dtype_bytes(type);
}

static void to_values(int64_t n, R scale, R *x)
{
    for (int64_t i = 0; i < n; i++) x[i] = (R)floats[i] * scale;
}

/* Rows of COLUMNS where there are weights. */
static void encode_rows(const coders *c, lt_dtype type, int64_t n, const R *x, const R *weights, uint8_t *out)
{
    if (!weights) c->quantize(n, x, out);
    for (int64_t at = 0; weights && at < n; at += COLUMNS)
        c->weighted(n - at < COLUMNS ? n - at : COLUMNS, x + at, weights, out + bytes_of(type, at));
}

static void check_hashes(int t, const coders *c, const char *isa, int stream)
{
    lt_dtype type = types[t].type;
    const char *name = lt_dtype_name(type);
    uint8_t *to = blocks + stream % 2; /* aligned, and not */
    encode_rows(c, type, N, values, stream % 2 ? importance : NULL, to);
    bool same = ts_fnv(to, bytes_of(type, N)) == types[t].of[stream].bytes;
    TS_CHECK(same, "%s %s: other bytes than ggml's, %s", name, isa, streams[stream]);
    c->decode(N, to, others);
    same = ts_fnv_floats(N, others) == types[t].of[stream].numbers;
    TS_CHECK(same, "%s %s: other numbers than ggml's, %s", name, isa, streams[stream]);
    memcpy(wanted, to, bytes_of(type, N));
    c->recode(N, values, to);
    TS_CHECK(ts_same_bytes(bytes_of(type, N), to, wanted), "%s %s: the same numbers get other codes, %s", name, isa,
             streams[stream]);
}

static void canon(void)
{
    uint32_t state = 1;
    for (int odd = 0; odd < 2; odd++) {
        if (!odd) {
            ts_stream_plain(N, &state, floats);
            to_values(N, 1, values);
            ts_stream_importance(COLUMNS, &state, floats);
            to_values(COLUMNS, 1, importance);
        } else {
            ts_stream_odd(N, &state, floats);
            to_values(N, 1, values);
            TS_CHECK(ts_fnv(floats, sizeof floats) == 0x8a384e4a6169eb37, "the generated values are others");
        }
        for (int s = 0; s < LTI_COUNT(sets); s++)
            for (int t = 0; lti_kernels_of(sets[s]) && t < LTI_COUNT(types); t++) {
                coders c = coders_of(lti_kernels_of(sets[s]), types[t].type);
                for (int w = 0; w < 2; w++) check_hashes(t, &c, sets[s], 2 * odd + w);
            }
    }
}

/* Blocks of ref and of the other sets for the same numbers: encoded, and new numbers on those scales. */
static bool agree(lt_dtype type, int64_t n, int shift)
{
    const coders ref = coders_of(lti_kernels_of("ref"), type);
    const char *name = lt_dtype_name(type);
    bool fine = true;
    ref.quantize(n, values + shift, wanted);
    memcpy(recoded, wanted, bytes_of(type, n));
    ref.recode(n, others + shift, recoded);
    for (int s = 1; s < LTI_COUNT(sets); s++) {
        if (!lti_kernels_of(sets[s])) continue;
        const coders c = coders_of(lti_kernels_of(sets[s]), type);
        c.quantize(n, values + shift, blocks + shift);
        fine &= TS_CHECK(ts_same_bytes(bytes_of(type, n), blocks + shift, wanted), "%s %s: bytes are not ref's", name,
                         sets[s]);
        c.recode(n, others + shift, blocks + shift);
        fine &= TS_CHECK(ts_same_bytes(bytes_of(type, n), blocks + shift, recoded), "%s %s: new codes are not ref's",
                         name, sets[s]);
    }
    return fine;
}

/* The same with importance. */
static bool agree_weighted(lt_dtype type, int64_t n, int shift)
{
    bool fine = true;
    for (int s = 0; s < LTI_COUNT(sets); s++) {
        if (!lti_kernels_of(sets[s])) continue;
        const coders c = coders_of(lti_kernels_of(sets[s]), type);
        uint8_t *to = s ? blocks + shift : wanted;
        encode_rows(&c, type, n, values + shift, importance, to);
        fine &= TS_CHECK(!s || ts_same_bytes(bytes_of(type, n), to, wanted), "%s %s: weighted bytes are not ref's",
                         lt_dtype_name(type), sets[s]);
    }
    return fine;
}

static void make_numbers(int turn, int64_t n, uint32_t *state)
{
    static const R sizes[] = {1, (R)1e-3, (R)3e-7, (R)1e7, 1, (R)1e-18, (R)1e14, (R)1e25};
    R size = sizes[turn / 2 % LTI_COUNT(sizes)];
    if (turn % 2)
        ts_stream_odd(n + 16, state, floats);
    else
        ts_stream_plain(n + 16, state, floats);
    to_values(n + 1, size, values);
    for (int64_t i = 0; i <= n; i++) others[i] = values[i] * (R)(1 + 0.1 * (i % 7 - 3)) + (i % 97 == 0 ? 40 * size : 0);
    ts_stream_importance(COLUMNS, state, floats);
    to_values(COLUMNS, 1, importance);
    if (turn % 5 == 0) memset(importance, 0, COLUMNS / 2 * sizeof *importance);
}

/* `count` numbers of each type, or as many as the environment says. */
static void compare(bool (*same)(lt_dtype type, int64_t n, int shift), double count)
{
    const char *text = getenv("LATHE_SOAK");
    uint32_t state = (uint32_t)ts_seed();
    bool fine = true;
    double done = 0;
    if (text) count = strtod(text, NULL);
    for (int turn = 0; fine && done < count; turn++) {
        int64_t n = turn % 3 ? 256 * (1 + turn % 23) : 16384;
        make_numbers(turn, n, &state);
        for (int t = 0; t < LTI_COUNT(types); t++) fine &= same(types[t].type, n, turn % 2);
        done += (double)n;
    }
}

static void same_bytes(void)
{
    compare(agree, 1e6);
}

static void same_weighted_bytes(void)
{
    compare(agree_weighted, 2e5);
}

/* Numbers move a little: new codes are no further from them than the old ones, and only codes change. */
static void scales_stay(void)
{
    static R old[N], fresh[N];
    uint32_t state = 5;
    ts_stream_plain(N, &state, floats);
    to_values(N, 1, values);
    for (int i = 0; i < N; i++) others[i] = values[i] + (R)0.002 * (R)(i % 5 - 2);
    for (int t = 0; t < LTI_COUNT(types); t++) {
        lt_dtype type = types[t].type;
        coders c = coders_of(lti_k(), type);
        c.quantize(N, values, blocks);
        c.decode(N, blocks, old);
        lti_recode(type, N, others, blocks);
        c.decode(N, blocks, fresh);
        int worse = 0, moved = 0;
        for (int i = 0; i < N; i++) {
            double was = fabs((double)(old[i] - others[i])), is = fabs((double)(fresh[i] - others[i]));
            worse += is > was * (1 + 1e-5) + 1e-9;
            moved += fresh[i] != old[i];
        }
        TS_CHECK(worse == 0 && moved > N / 50, "%s: %d codes are worse than the old ones, %d moved",
                 lt_dtype_name(type), worse, moved);
        lti_recode(type, N, values, blocks);
        c.quantize(N, values, wanted);
        TS_CHECK(ts_same_bytes(bytes_of(type, N), blocks, wanted), "%s: codes do not come back", lt_dtype_name(type));
    }
}

static void importance_counts(void)
{
    ts_important_rows(N, COLUMNS, values, importance);
    for (int t = 0; t < LTI_COUNT(types); t++) {
        lt_dtype type = types[t].type;
        const char *name = lt_dtype_name(type);
        coders c = coders_of(lti_k(), type);
        ts_importance_counts(type, N, COLUMNS, values, importance, others, blocks);
        encode_rows(&c, type, N, values, importance, wanted);
        TS_CHECK(ts_same_bytes(bytes_of(type, N), blocks, wanted), "%s: rows by dispatch are others", name);
        TS_CHECK(lti_can_quantize(type) && lti_can_quantize_weighted(type) && lti_can_recode(type),
                 "%s: can be quantized, weighted, re-coded", name);
    }
    TS_CHECK(!lti_can_recode(LT_F32) && !lti_can_quantize_weighted(LT_BF16), "floats have no codes");
}

/* A NaN makes its block NaN and no other, with or without importance. */
static void not_a_number(void)
{
    uint32_t state = 3;
    ts_stream_plain(1024, &state, floats);
    to_values(1024, 1, values);
    values[300] = NAN;
    for (int i = 0; i < COLUMNS; i++) importance[i] = 1;
    for (int s = 0; s < LTI_COUNT(sets); s++)
        for (int t = 0; lti_kernels_of(sets[s]) && t < LTI_COUNT(types); t++)
            for (int weighted = 0; weighted < 2; weighted++) {
                coders c = coders_of(lti_kernels_of(sets[s]), types[t].type);
                int right = 0;
                if (weighted)
                    c.weighted(1024, values, importance, blocks);
                else
                    c.quantize(1024, values, blocks);
                c.decode(1024, blocks, others);
                for (int i = 0; i < 1024; i++) right += (others[i] != others[i]) == (i / 256 == 1);
                TS_CHECK(right == 1024, "%s %s: a NaN spreads over its block and no further",
                         lt_dtype_name(types[t].type), sets[s]);
            }
}

int lti_suite_lattice_k(void)
{
    const ts_test tests[] = {{"canon", canon},
                             {"same_bytes", same_bytes},
                             {"same bytes, importance", same_weighted_bytes},
                             {"scales_stay", scales_stay},
                             {"importance_counts", importance_counts},
                             {"not_a_number", not_a_number}};
    return ts_suite("lattice_k", LTI_COUNT(tests), tests);
}
