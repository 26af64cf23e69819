/* test_lattice_encoders.c - encoders of Q4_0 .. Q8_0, MXFP4, the ternary types, NF4 and FP4, and 8-bit floats, on every
 * instruction set: the bytes that ggml's encoders make (compiled without contraction, scripts/goldens_lattice_encoders.c)
 * with and without importance, and that bitsandbytes and torch make (tests/golden/bitsandbytes.json); ref against SIMD on
 * a million numbers a type, odd ones among them, or on as many as LATHE_SOAK says (1e8). */
#include "base/half.h"
#include "kernels/lattice/nested_scales.h"
#include "tests/golden.h"
#include "tests/lattice_checks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 65536, COLUMNS = 1024 };
static const char *const sets[] = {"ref", "avx2", "avx512"};
static float floats[N];
static R values[N], decoded[N], importance[COLUMNS];
static uint8_t blocks[N / 32 * 36 + 8], wanted[N / 32 * 36 + 8];

typedef struct coders {
    void (*quantize)(int64_t n, const R *x, void *blocks);
    void (*weighted)(int64_t n, const R *x, const R *importance, void *blocks); /* NULL: the same */
    void (*decode)(int64_t n, const void *blocks, R *y);
} coders;

/* Hashes. odd: of the odd stream without its denormal numbers, on which ggml casts infinities to integers. */
static const struct {
    lt_dtype type;
    uint64_t plain, numbers, plain_weighted, odd, odd_weighted, ternary, ternary_numbers;
} types[] = {
    {LT_Q4_0, 0xbe972e822c1064b3, 0xc961eaff26b68704, 0x25e5f397e86a2285, 0xaf0ac1eda569d778, 0xd34bbd6f57198a6c},
    {LT_Q4_1, 0x557687ec6a6f0233, 0xf60548425dd6d862, 0xd6e800b18e29dbd1, 0xc0815ac876fc2dd7, 0x29b68f98cda36c7a},
    {LT_Q5_0, 0xab118775bcbeed75, 0x2f29df3465ce2c69, 0x01e179b7f48191e2, 0x76c2e271f330ef76, 0xdb01dddaaf7b13ff},
    {LT_Q5_1, 0x52c2c73b7005e797, 0x70d6cca3f3b4e43b, 0xaf266a38c4ecaa9f, 0xfb2ecb1712577afa, 0x524df4fc6b703466},
    {LT_Q8_0, 0x633876bbfe283ed2, 0x6be9cfc4a07e56eb, 0x633876bbfe283ed2, 0xd022409735291415, 0xd022409735291415},
    {LT_MXFP4, 0xbae962de845a18a1, 0xf43f988e43f19b8e, 0xbae962de845a18a1, 0x01144134a8df6b4b, 0x01144134a8df6b4b},
    {LT_TQ1_0, 0x375f45b0ac417f58, 0x679f1e2413a65897, 0x375f45b0ac417f58, 0xc4f0f26c96a7ac67, 0xc4f0f26c96a7ac67,
     0xc098855bd52090a3, 0x1fede76d3e93cef5},
    {LT_TQ2_0, 0xe65bd5c2584f435c, 0x679f1e2413a65897, 0xe65bd5c2584f435c, 0xdf9ef38eab1754e0, 0xdf9ef38eab1754e0,
     0xca70f38d2b945092, 0x1fede76d3e93cef5},
};

static coders coders_of(const lti_kernels *k, lt_dtype type)
{
    coders c = {0};
#define LTI_LATTICE(lattice, name)                                                                                     \
    if (type == lattice) c.decode = k->dequantize_##name;
#define LTI_ENCODER(lattice, name)                                                                                     \
    if (type == lattice) c.quantize = k->quantize_##name;
#define LTI_WEIGHTED(lattice, name)                                                                                    \
    if (type == lattice) c.weighted = k->quantize_weighted_##name;
#include "kernels/lattice/lattices.def"
    return c;
}

static bool is_hash(uint64_t hash, const json_t *of, const char *key)
{
    return hash == strtoull(gd_text(of, key), NULL, 16);
}

static size_t bytes_of(lt_dtype type, int64_t n)
{
    return (size_t)(n / lt_dtype_block(type)) * lt_dtype_bytes(type);
}

static void to_values(int64_t n, R scale, R *x)
{
    for (int64_t i = 0; i < n; i++) x[i] = (R)floats[i] * scale;
}

/* Rows of COLUMNS where there is importance. */
static void encode(const coders *c, lt_dtype type, int64_t n, const R *x, bool weigh, uint8_t *out)
{
    if (!weigh) c->quantize(n, x, out);
    for (int64_t at = 0; weigh && at < n; at += COLUMNS)
        c->weighted(n - at < COLUMNS ? n - at : COLUMNS, x + at, importance, out + bytes_of(type, at));
}

/* The hash of the blocks of `values`. */
static uint64_t encoded(const coders *c, lt_dtype type, bool weigh)
{
    encode(c, type, N, values, weigh && c->weighted, blocks + 1);
    return ts_fnv(blocks + 1, bytes_of(type, N));
}

/* ---- ggml ---- */

static void check_plain(int t, const coders *c, const char *isa)
{
    const char *name = lt_dtype_name(types[t].type);
    bool same = encoded(c, types[t].type, false) == types[t].plain;
    TS_CHECK(same, "%s %s: other bytes than ggml's", name, isa);
    c->decode(N, blocks + 1, decoded);
    TS_CHECK(ts_fnv_floats(N, decoded) == types[t].numbers, "%s %s: other numbers than ggml's", name, isa);
    same = encoded(c, types[t].type, true) == types[t].plain_weighted;
    TS_CHECK(same, "%s %s: other bytes than ggml's with importance", name, isa);
}

static void check_odd(int t, const coders *c, const char *isa)
{
    const char *name = lt_dtype_name(types[t].type);
    TS_CHECK(encoded(c, types[t].type, false) == types[t].odd, "%s %s: other bytes, odd numbers", name, isa);
    TS_CHECK(encoded(c, types[t].type, true) == types[t].odd_weighted,
             "%s %s: other bytes, odd numbers with importance", name, isa);
}

static void check_ternary(int t, const coders *c, const char *isa)
{
    if (!types[t].ternary) return;
    const char *name = lt_dtype_name(types[t].type);
    TS_CHECK(encoded(c, types[t].type, false) == types[t].ternary, "%s %s: other bytes, ternary numbers", name, isa);
    c->decode(N, blocks + 1, decoded);
    TS_CHECK(ts_fnv_floats(N, decoded) == types[t].ternary_numbers, "%s %s: other ternary numbers", name, isa);
    int changed = 0;
    for (int i = 0; i < N; i++) changed += (decoded[i] > 0) != (values[i] > 0) || (decoded[i] < 0) != (values[i] < 0);
    TS_CHECK(changed == 0, "%s %s: %d trits change", name, isa, changed);
}

static void canon(void)
{
    uint32_t state = 1;
    void (*const checks[])(int t, const coders *c, const char *isa) = {check_plain, check_ternary, check_odd};
    for (int stream = 0; stream < 3; stream++) {
        if (stream == 0) {
            ts_stream_plain(N, &state, floats);
            to_values(N, 1, values);
            ts_stream_importance(COLUMNS, &state, floats);
            to_values(COLUMNS, 1, importance);
        } else if (stream == 1) {
            for (int i = 0; i < N; i++) floats[i] = values[i] > 0.005f ? 0.0437f : values[i] < -0.005f ? -0.0437f : 0;
            TS_CHECK(ts_fnv(floats, sizeof floats) == 0x81f59956f1d15d03, "the ternary numbers are others");
            to_values(N, 1, values);
        } else {
            ts_stream_odd(N, &state, floats);
            for (int i = 0; i < N; i++) floats[i] = fabsf(floats[i]) < 1e-37f ? 0 : floats[i];
            to_values(N, 1, values);
        }
        for (int s = 0; s < LTI_COUNT(sets); s++)
            for (int t = 0; lti_kernels_of(sets[s]) && t < LTI_COUNT(types); t++) {
                coders c = coders_of(lti_kernels_of(sets[s]), types[t].type);
                checks[stream](t, &c, sets[s]);
            }
    }
}

/* ---- ref and SIMD ---- */

/* Numbers of a turn: plain, odd, and such that meet a threshold of a table or the step below a power of two. */
static void make_numbers(int turn, int64_t n, uint32_t *state)
{
    static const R sizes[] = {1, (R)1e-3, (R)3e-7, (R)1e7, 1, (R)1e-18, (R)1e14, (R)1e-31, (R)1e36, (R)1e-38};
    R size = sizes[turn / 3 % LTI_COUNT(sizes)];
    if (turn % 3 == 1)
        ts_stream_odd(N, state, floats);
    else
        ts_stream_plain(N, state, floats);
    for (int64_t i = 0; turn % 3 == 2 && i < N; i++) {
        static const float thresholds[] = {0.25f, 0.75f, 1.25f,  1.75f,  2.5f,  3.5f,
                                           5,     6,     -0.25f, -0.75f, -2.5f, 7.999999f};
        uint32_t word = lti_float_bits(floats[i]) >> 3;
        float power = (float)(1 << (i / 512 % 9)), t = thresholds[word % 12];
        floats[i] = (word >> 5 & 3 ? t : nextafterf(t, word & 1024 ? 9 : -9)) * (i % 32 < 16 ? power : 1);
        if (i / 64 % 3 == 0) floats[i] = word & 2048 ? 0.0f : -0.0f; /* which zero comes first shows in Q4_1 */
        if (i / 64 % 5 == 0) floats[i] = 1 - (float)(word % 40) * 0x1p-24f;
    }
    to_values(n + 1, size, values);
}

static bool agree(lt_dtype type, int64_t n, int shift, bool weigh)
{
    const coders ref = coders_of(lti_kernels_of("ref"), type);
    size_t size = bytes_of(type, n);
    bool fine = true;
    if (weigh && !ref.weighted) return true;
    encode(&ref, type, n, values + shift, weigh, wanted);
    for (int s = 1; s < LTI_COUNT(sets); s++) {
        if (!lti_kernels_of(sets[s])) continue;
        const coders c = coders_of(lti_kernels_of(sets[s]), type);
        memset(blocks, 0x5A, sizeof blocks);
        encode(&c, type, n, values + shift, weigh, blocks + shift);
        size_t at = 0;
        while (at < size && blocks[shift + at] == wanted[at]) at++;
        fine &= TS_CHECK(at == size && blocks[shift + at] == 0x5A, "%s %s%s: byte %zu of block %zu is not ref's",
                         lt_dtype_name(type), sets[s], weigh ? " weighted" : "", at % lt_dtype_bytes(type),
                         at / lt_dtype_bytes(type));
    }
    return fine;
}

static bool agree_8bit(const char *isa, int64_t n, int shift)
{
    const lti_kernels *a = lti_kernels_of(isa), *b = lti_kernels_of("ref");
    bool fine = true;
    for (int way = 0; way < 2; way++) {
        (way ? a->to_e5m2 : a->to_e4m3)(n, values + shift, blocks);
        (way ? b->to_e5m2 : b->to_e4m3)(n, values + shift, wanted);
        fine &= TS_CHECK(ts_same_bytes((size_t)n, blocks, wanted), "%s %s: not ref's", way ? "e5m2" : "e4m3", isa);
    }
    return fine;
}

/* `count` numbers of each type, or as many as the environment says. */
static void compare(bool weigh, double count)
{
    const lt_dtype all[] = {LT_Q4_0, LT_Q4_1, LT_Q5_0, LT_Q5_1, LT_Q8_0, LT_MXFP4, LT_TQ1_0, LT_TQ2_0, LT_NF4, LT_FP4};
    const char *text = getenv("LATHE_SOAK");
    double done = 0;
    uint32_t state = (uint32_t)ts_seed();
    bool fine = true;
    if (text) count = strtod(text, NULL);
    for (int turn = 0; fine && done < count; turn++) {
        int64_t n = turn % 4 ? 256 * (1 + turn % 23) : 16384;
        make_numbers(turn, n, &state);
        ts_stream_importance(COLUMNS, &state, floats);
        to_values(COLUMNS, 1, importance);
        if (turn % 5 == 0) memset(importance, 0, COLUMNS / 2 * sizeof *importance);
        for (int t = 0; t < LTI_COUNT(all); t++) fine &= agree(all[t], n, turn % 2, weigh);
        for (int s = 1; s < LTI_COUNT(sets); s++)
            if (!weigh && lti_kernels_of(sets[s])) fine &= agree_8bit(sets[s], n, turn % 2);
        done += (double)n;
    }
}

static void same_bytes(void)
{
    compare(false, 1e6);
}

static void same_weighted_bytes(void)
{
    compare(true, 2e5);
}

/* ---- What the formats leave open ---- */

static void importance_counts(void)
{
    ts_important_rows(N, COLUMNS, values, importance);
    for (int t = 0; t < LTI_COUNT(types); t++) {
        lt_dtype type = types[t].type;
        bool can = coders_of(lti_k(), type).weighted != NULL;
        TS_CHECK(lti_can_quantize(type) && lti_can_quantize_weighted(type) == can, "%s: what it can",
                 lt_dtype_name(type));
        if (can) ts_importance_counts(type, N, COLUMNS, values, importance, decoded, blocks);
    }
}

/* A NaN makes its block NaN (MXFP4, which has none: infinite) and no other, with or without importance. */
static void not_a_number(void)
{
    const lt_dtype all[] = {LT_Q4_0, LT_Q4_1, LT_Q5_0, LT_Q5_1, LT_Q8_0, LT_MXFP4, LT_TQ1_0, LT_TQ2_0, LT_NF4, LT_FP4};
    uint32_t state = 3;
    ts_stream_plain(COLUMNS, &state, floats);
    for (int i = 0; i < COLUMNS; i++) importance[i] = 1;
    for (int run = 0; run < 2 * LTI_COUNT(sets) * LTI_COUNT(all); run++) {
        const char *isa = sets[run / 2 % LTI_COUNT(sets)];
        lt_dtype type = all[run / 2 / LTI_COUNT(sets)];
        if (!lti_kernels_of(isa)) continue;
        coders c = coders_of(lti_kernels_of(isa), type);
        int64_t block = lt_dtype_block(type);
        int right = 0, where = run % 4 < 2 ? 300 : 512; /* inside a block, first in a block */
        to_values(COLUMNS, 1, values);
        values[where] = NAN;
        if (run % 2 && c.weighted)
            c.weighted(COLUMNS, values, importance, blocks);
        else
            c.quantize(COLUMNS, values, blocks);
        c.decode(COLUMNS, blocks, decoded);
        for (int i = 0; i < COLUMNS; i++) right += !isfinite(decoded[i]) == (i / block == where / block);
        TS_CHECK(right == COLUMNS, "%s %s: a NaN spreads over its block and no further", lt_dtype_name(type), isa);
    }
}

/* The scale of MXFP4 is that of the largest number's octave; at the next power of two's door log2 rounds up. */
static void mxfp4_octaves(void)
{
    static const struct {
        float largest;
        int e;
        float reads;
    } cases[] = {{4, 127, 4},
                 {7.5f, 127, 6},
                 {8, 128, 8},
                 {0x1.fffffep+0f, 125, 1.5f},
                 {0x1.fffffep+20f, 146, 0x1p+21f},
                 {0x1p-126f, 0, 0x1p-126f},
                 {0x1p-140f, 0, 0},
                 {3e38f, 252, 0x1.8p+127f}};
    for (int s = 0; s < LTI_COUNT(sets); s++)
        for (int i = 0; lti_kernels_of(sets[s]) && i < LTI_COUNT(cases); i++) {
            const lti_kernels *k = lti_kernels_of(sets[s]);
            memset(values, 0, 32 * sizeof *values);
            values[5] = -cases[i].largest;
            k->quantize_mxfp4(32, values, blocks);
            k->dequantize_mxfp4(32, blocks, decoded);
            TS_CHECK(blocks[0] == cases[i].e && decoded[5] == -cases[i].reads && decoded[4] == 0,
                     "%s: MXFP4 of %g: exponent %d, reads %g", sets[s], (double)cases[i].largest, blocks[0],
                     (double)decoded[5]);
        }
}

/* ---- bitsandbytes and torch ---- */

/* Scales and codes as that package keeps them: apart. */
static void check_blocks(const char *isa, const char *name, const json_t *golden, int64_t n)
{
    static uint8_t codes[N / 2];
    static float scales[N / 64];
    for (int64_t i = 0; i < n; i++) {
        memcpy(scales + i, blocks + 36 * i, 4);
        memcpy(codes + 32 * i, blocks + 36 * i + 4, 32);
    }
    TS_CHECK(is_hash(ts_fnv(codes, (size_t)n * 32), golden, "codes"), "%s %s: other codes", name, isa);
    TS_CHECK(is_hash(ts_fnv(scales, (size_t)n * 4), golden, "scales"), "%s %s: other scales", name, isa);
}

static void check_nested(const char *name, const coders *c, const json_t *golden, int64_t n)
{
    static uint8_t codes[N / 64];
    float groups[N / 64 / LTI_NESTED_GROUP], offset = lti_scales_mean(n, blocks);
    memcpy(wanted, blocks, (size_t)n * 36);
    lti_nest_scales(n, blocks, offset, codes, groups);
    TS_CHECK((double)offset == gd_number(golden, "offset"), "%s: mean of scales %.9g", name, (double)offset);
    TS_CHECK(is_hash(ts_fnv(codes, (size_t)n), golden, "scale_codes"), "%s: other codes of scales", name);
    for (int i = 0; i < LTI_COUNT(groups); i++)
        TS_CHECK((double)groups[i] == json_number_value(json_array_get(json_object_get(golden, "groups"), (size_t)i)),
                 "%s: group %d's scale is %.9g", name, i, (double)groups[i]);
    lti_unnest_scales(n, codes, groups, offset, wanted);
    lti_double_scales(n, blocks);
    TS_CHECK(ts_same_bytes((size_t)n * 36, blocks, wanted), "%s: both ways to double quantization", name);
    c->decode(N, blocks, decoded);
    TS_CHECK(is_hash(ts_fnv_floats(N, decoded), golden, "double_numbers"), "%s: other numbers, double quantization",
             name);
}

static void four_bits(void)
{
    const lt_dtype both[] = {LT_NF4, LT_FP4};
    json_t *goldens = gd_load("bitsandbytes.json");
    uint32_t state = 1;
    ts_stream_plain(N, &state, floats);
    to_values(N, 1, values);
    for (int s = 0; goldens && s < LTI_COUNT(sets); s++)
        for (int t = 0; lti_kernels_of(sets[s]) && t < 2; t++) {
            const char *name = lt_dtype_name(both[t]);
            const json_t *golden = json_object_get(goldens, name);
            coders c = coders_of(lti_kernels_of(sets[s]), both[t]);
            c.quantize(N, values, blocks);
            check_blocks(sets[s], name, golden, N / 64);
            c.decode(N, blocks, decoded);
            TS_CHECK(is_hash(ts_fnv_floats(N, decoded), golden, "numbers"), "%s %s: other numbers", name, sets[s]);
            check_nested(name, &c, golden, N / 64);
        }
    json_decref(goldens);
}

/* The map by its formula; few blocks, and none; scales that are all one. */
static void nested_scales(void)
{
    double worst = 0;
    int i = 128;
    for (int parts = 1, e = 6; parts <= 64; parts *= 2, e--)
        for (int p = 0; p < parts; p++, i++) {
            double want = pow(10, -e) * (0.1 + 0.9 * (p + 0.5) / parts), got = (double)lti_dynamic_value((uint8_t)i);
            worst = fmax(worst, fabs(got / want - 1));
            worst = fmax(worst, fabs(got + (double)lti_dynamic_value((uint8_t)(254 - i))));
        }
    TS_CHECK(i == 255 && worst < 1e-6 && lti_dynamic_value(127) == 0 && lti_dynamic_value(255) == 1,
             "the map of 8 bits is off by %g", worst);
    memset(blocks, 0, sizeof blocks);
    for (int b = 0; b < 300; b++) memcpy(blocks + 36 * b, &(float){0.5f}, 4);
    memcpy(wanted, blocks, sizeof blocks);
    lti_double_scales(0, blocks);
    lti_double_scales(300, blocks);
    TS_CHECK(ts_same_bytes(sizeof blocks, blocks, wanted), "equal scales stay");
    memcpy(blocks, &(float){0.7f}, 4);
    lti_double_scales(300, blocks); /* differences of 0.1993 and -0.00067 in the first group */
    float first = 0, last = 0;
    memcpy(&first, blocks, 4);
    memcpy(&last, blocks + 36 * 299, 4);
    TS_CHECK(fabsf(first - 0.7f) < 1e-6f && fabsf(last - 0.5f) < 1e-4f, "scales %g %g", (double)first, (double)last);
}

static void eight_bits(void)
{
    json_t *goldens = gd_load("bitsandbytes.json");
    uint32_t state = 1;
    ts_stream_plain(N, &state, floats);
    for (int way = 0; goldens && way < 2; way++) {
        const char *name = way ? "e5m2" : "e4m3";
        const json_t *golden = json_object_get(goldens, name);
        for (int s = 0; s < LTI_COUNT(sets); s++) {
            const lti_kernels *k = lti_kernels_of(sets[s]);
            if (!k) continue;
            for (int i = 0; i < N; i++) values[i] = (R)(floats[i] * 100);
            (way ? k->to_e5m2 : k->to_e4m3)(N, values, blocks);
            TS_CHECK(is_hash(ts_fnv(blocks, N), golden, "codes"), "%s %s: other codes than torch's", name, sets[s]);
            for (int i = 0; i < 256; i++) blocks[i] = (uint8_t)i;
            (way ? k->from_e5m2 : k->from_e4m3)(256, blocks, values);
            float number[256];
            for (int i = 0; i < 256; i++) number[i] = isnan(values[i]) ? lti_bits_float(0x7FC00000) : (float)values[i];
            TS_CHECK(is_hash(ts_fnv(number, sizeof number), golden, "numbers"), "%s %s: other numbers", name, sets[s]);
            (way ? k->to_e5m2 : k->to_e4m3)(256, values, blocks);
            int back = 0;
            for (int i = 0; i < 256; i++) back += isfinite(values[i]) ? blocks[i] == i : (blocks[i] & 0x7F) >= 0x7B;
            TS_CHECK(back == 256, "%s %s: %d of 256 come back", name, sets[s], back);
        }
    }
    json_decref(goldens);
}

/* Ties, denormals, and what torch does otherwise: too large a number becomes the largest. */
static void eight_bit_limits(void)
{
    static const struct {
        float x;
        uint8_t e4m3, e5m2;
    } cases[] = {
        {448, 0x7E, 0x5F},    {1e9f, 0x7E, 0x7B}, {-INFINITY, 0xFE, 0xFB}, {NAN, 0x7F, 0x7F},     {57344, 0x7E, 0x7B},
        {61440, 0x7E, 0x7B},  {0, 0, 0},          {-0.0f, 0x80, 0x80},     {0x1p-10f, 0, 0x14},   {0x1.8p-9f, 2, 0x1A},
        {0x1p-17f, 0, 0},     {0x1.8p-16f, 0, 2}, {1.0625f, 0x38, 0x3C},   {1.1875f, 0x3A, 0x3D}, {1.125f, 0x39, 0x3C},
        {1.375f, 0x3B, 0x3E}, {1e-40f, 0, 0}};
    for (int s = 0; s < LTI_COUNT(sets); s++)
        for (int i = 0; lti_kernels_of(sets[s]) && i < LTI_COUNT(cases); i++) {
            R x = (R)cases[i].x;
            uint8_t a, b;
            lti_kernels_of(sets[s])->to_e4m3(1, &x, &a);
            lti_kernels_of(sets[s])->to_e5m2(1, &x, &b);
            TS_CHECK(a == cases[i].e4m3 && b == cases[i].e5m2, "%s: %g is %#x and %#x", sets[s], (double)x, a, b);
        }
}

int lti_suite_lattice_encoders(void)
{
    const ts_test tests[] = {{"canon", canon},
                             {"same bytes", same_bytes},
                             {"same bytes, importance", same_weighted_bytes},
                             {"importance counts", importance_counts},
                             {"not a number", not_a_number},
                             {"mxfp4 octaves", mxfp4_octaves},
                             {"four bits", four_bits},
                             {"nested scales", nested_scales},
                             {"eight bits", eight_bits},
                             {"eight bit limits", eight_bit_limits}};
    return ts_suite("lattice_encoders", LTI_COUNT(tests), tests);
}
