/* test_lattices.c - the canon of the GGUF bytes, on every instruction set: random blocks of every type decoded, and
 * 65,536 generated values encoded where there is an encoder, against hashes of what the Python package gguf makes of
 * them (tests/golden/lattices.json, scripts/goldens_lattices.py); what becomes of NaN and infinities; all 65,536
 * halves. */
#include "base/half.h"
#include "tests/golden.h"
#include "tests/lattice_blocks.h"
#include "tests/lattice_checks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 65536 };
static const char *const sets[] = {"ref", "avx2", "avx512"};
static R values[N];
static unsigned char blocks[N / 32 * 34];

/* Numbers of many sizes from a linear congruential generator. */
static void generate(void)
{
    uint32_t s = 1;
    for (int i = 0; i < N; i++) {
        s = s * 1664525u + 1013904223u;
        float u = (float)(int32_t)s * 0x1p-31f;
        values[i] = u * u * u * 0.1f;
    }
}

typedef void (*decoder)(int64_t n, const void *blocks, R *y);
typedef void (*encoder)(int64_t n, const R *x, void *blocks);

static decoder decoder_of(const lti_kernels *k, lt_dtype type)
{
#define LTI_LATTICE(lattice, name)                                                                                     \
    if (type == lattice) return k->dequantize_##name;
#include "kernels/lattice/lattices.def"
    return NULL;
}

static encoder encoder_of(const lti_kernels *k, lt_dtype type)
{
#define LTI_ENCODER(lattice, name)                                                                                     \
    if (type == lattice) return k->quantize_##name;
#include "kernels/lattice/lattices.def"
    return NULL;
}

static bool is_hash(uint64_t hash, const json_t *of, const char *key)
{
    return hash == strtoull(gd_text(of, key), NULL, 16);
}

/* Random blocks decode to what the Python package gguf decodes them to, at any address. */
static void decoded(const char *isa, const lti_kernels *k, const json_t *goldens)
{
    enum { BLOCKS = 64 };
    for (int t = 0; t < TS_LATTICES; t++) {
        lt_dtype type = ts_lattices[t].type;
        const char *name = lt_dtype_name(type);
        const json_t *golden = json_object_get(goldens, name), *pair;
        size_t i, size = lt_dtype_bytes(type) * BLOCKS;
        int64_t n = lt_dtype_block(type) * BLOCKS;
        ts_make_blocks(t, BLOCKS, true, blocks + 1);
        if (!TS_CHECK(is_hash(ts_fnv(blocks + 1, size), golden, "blocks"), "%s: the generated blocks are others", name))
            continue;
        decoder_of(k, type)(n, blocks + 1, values);
        TS_CHECK(is_hash(ts_fnv_floats(n, values), golden, "numbers"), "%s %s: other numbers than gguf decodes", name,
                 isa);
        json_array_foreach(json_object_get(golden, "some"), i, pair)
        {
            json_int_t at = json_integer_value(json_array_get(pair, 0));
            double want = json_number_value(json_array_get(pair, 1)), got = (double)values[at];
            TS_CHECK(got == want, "%s %s: number %lld is %.9g, gguf's %.9g", name, isa, (long long)at, got, want);
        }
    }
}

/* Bytes made of the generated values, the numbers they decode to, and that these are on the lattice. */
static void encoded(const char *isa, const lti_kernels *k, const json_t *goldens)
{
    for (int t = 0; t < TS_LATTICES; t++) {
        lt_dtype type = ts_lattices[t].type;
        const char *name = lt_dtype_name(type);
        const json_t *golden = json_object_get(goldens, name);
        encoder encode = encoder_of(k, type);
        TS_CHECK(lti_can_quantize(type) == (encode != NULL), "%s: has an encoder or not", name);
        if (!json_object_get(golden, "encoded")) continue; /* gguf has no encoder: test_lattice_*.c */
        if (!TS_CHECK(encode != NULL, "%s: gguf has an encoder", name)) continue;
        size_t size = lt_dtype_bytes(type) * (size_t)(N / lt_dtype_block(type));
        generate();
        TS_CHECK(ts_fnv_floats(N, values) == 0xb4ae7ebf74611f87, "the generated values are others");
        encode(N, values, blocks);
        TS_CHECK(is_hash(ts_fnv(blocks, size), golden, "encoded"), "%s %s: other bytes than gguf makes", name, isa);
        decoder_of(k, type)(N, blocks, values);
        TS_CHECK(is_hash(ts_fnv_floats(N, values), golden, "decoded"), "%s %s: other numbers than gguf's", name, isa);
    }
}

/* Q4_0 of Q4_0 is the same. */
static void stays(const char *isa, const lti_kernels *k)
{
    generate();
    k->quantize_q4_0(N, values, blocks);
    k->dequantize_q4_0(N, blocks, values);
    k->quantize_q4_0(N, values, blocks);
    TS_CHECK(ts_fnv(blocks, N / 32 * 18) == 0xbe972e822c1064b3, "%s: q4_0 of q4_0 is another", isa);
}

static void canon(void)
{
    json_t *goldens = gd_load("lattices.json");
    for (int i = 0; goldens && i < LTI_COUNT(sets); i++) {
        const lti_kernels *k = lti_kernels_of(sets[i]);
        if (!k) continue;
        decoded(sets[i], k, goldens);
        encoded(sets[i], k, goldens);
        stays(sets[i], k);
    }
    json_decref(goldens);
}

/* The dispatch by type: what it reads, what it makes, what it calls things. */
static void dispatch(void)
{
    uint16_t halves[3] = {0x3F80, 0xC000, 0x0001};
    float floats[3] = {1.5f, -2, 0};
    R y[3] = {0}, want[3];
    lti_dequantize(LT_BF16, 3, halves, y);
    TS_CHECK(y[0] == 1 && y[1] == -2, "bf16 by its type: %g %g", (double)y[0], (double)y[1]);
    lti_dequantize(LT_F16, 3, halves, y);
    TS_CHECK(y[0] == 1.875 && y[2] == (R)0x1p-24, "f16 by its type: %g %g", (double)y[0], (double)y[2]);
    for (int i = 0; i < 3; i++) want[i] = floats[i];
    lti_dequantize(LT_F32, 3, want, y);
    TS_CHECK(y[0] == 1.5 && y[1] == -2, "lt_real by its type");
    TS_CHECK(!lti_can_dequantize(LT_I32) && !lti_can_dequantize(LT_I8) && !lti_gemv_of(LT_I8),
             "integers are no numbers");
    for (int t = 0; t < LT_DTYPE_COUNT; t++)
        TS_CHECK(!lt_dtype_is_lattice((lt_dtype)t) || lti_can_dequantize((lt_dtype)t) != (t == LT_Q8_1 || t == LT_Q8_K),
                 "%s is read as weights, or is for activations", lt_dtype_name((lt_dtype)t));
    const char *names = lti_can_quantize_names();
    TS_CHECK(strstr(names, "q4_0, q4_1, ") == names && strstr(names, ", q6_k"), "encoders: %s", names);
}

/* What the formats leave open: a block with a NaN reads back as NaN, and infinities break nothing. */
static void odd_values(void)
{
    const lt_dtype types[] = {LT_Q4_1, LT_Q5_0, LT_Q5_1};
    for (int t = 0; t < LTI_COUNT(types); t++) {
        const char *name = lt_dtype_name(types[t]);
        for (int j = 0; j < 32; j++) values[j] = (R)(j - 15);
        values[7] = NAN;
        lti_quantize(types[t], 32, values, blocks);
        lti_dequantize(types[t], 32, blocks, values + 32);
        TS_CHECK(isnan(values[32]) && isnan(values[63]), "a NaN does not show in %s", name);
        for (int j = 0; j < 32; j++) values[j] = j == 3 ? -INFINITY : j == 9 ? INFINITY : (R)j;
        lti_quantize(types[t], 32, values, blocks);
        lti_dequantize(types[t], 32, blocks, values + 32);
        TS_CHECK(!isfinite(values[35]), "an infinity does not show in %s", name);
        memset(values, 0, 32 * sizeof *values);
        lti_quantize(types[t], 32, values, blocks);
        lti_dequantize(types[t], 32, blocks, values + 32);
        TS_CHECK(values[32] == 0 && values[63] == 0, "zeros are not zero in %s", name);
    }
}

static void specials(void)
{
    for (int i = 0; i < LTI_COUNT(sets); i++) {
        const lti_kernels *k = lti_kernels_of(sets[i]);
        if (!k) continue;
        for (int j = 0; j < 32; j++) values[j] = (R)(j - 15);
        values[7] = NAN;
        k->quantize_q4_0(32, values, blocks);
        TS_CHECK(blocks[0] == 0 && blocks[1] == 0x7E && blocks[2] == 0x88, "%s: q4_0 of a NaN", sets[i]);
        k->dequantize_q4_0(32, blocks, values + 32);
        TS_CHECK(isnan(values[32]) && isnan(values[63]), "%s: a NaN does not show in q4_0", sets[i]);
        k->quantize_q8_0(32, values, blocks);
        k->dequantize_q8_0(32, blocks, values + 32);
        TS_CHECK(isnan(values[32]) && isnan(values[63]), "%s: a NaN does not show in q8_0", sets[i]);
        memset(values, 0, 32 * sizeof *values);
        k->quantize_q4_0(32, values, blocks);
        TS_CHECK(blocks[0] == 0 && blocks[1] == 0x80 && blocks[2] == 0x88, "%s: q4_0 of zeros", sets[i]);
        for (int j = 0; j < 32; j++) values[j] = (R)(j % 2 ? 1e-39 : -1e-39);
        k->quantize_q8_0(32, values, blocks);
        k->dequantize_q8_0(32, blocks, values);
        TS_CHECK(values[0] == 0 && values[31] == 0, "%s: scales under 2^-25 vanish", sets[i]);
    }
}

/* Each half comes back, and what lies between two neighbours goes to the nearer one, the middle to the even one. */
static void halves(void)
{
    for (uint32_t h = 0; h < 0x7C00; h++) {
        float low = lti_f16_to_f32((uint16_t)h), high = h + 1 < 0x7C00 ? lti_f16_to_f32((uint16_t)(h + 1)) : 65536;
        float middle = (low + high) / 2;
        uint16_t even = (uint16_t)(h + (h & 1));
        bool ok = lti_f32_to_f16(low) == h && lti_f32_to_f16(-low) == (h | 0x8000) && lti_f32_to_f16(middle) == even &&
                  lti_f32_to_f16(nextafterf(middle, 0)) == h && lti_f32_to_f16(nextafterf(middle, 1e9f)) == h + 1;
        if (!ok) TS_CHECK(false, "f16 %#x and its neighbourhood", h);
    }
    TS_CHECK(lti_f32_to_f16(1e9f) == 0x7C00 && isinf(lti_f16_to_f32(0xFC00)), "f16 infinities");
    TS_CHECK(lti_f32_to_f16(1e-30f) == 0 && lti_f32_to_f16(-1e-30f) == 0x8000, "f16 underflow");
    TS_CHECK(isnan(lti_f16_to_f32(lti_f32_to_f16(NAN))) && isnan(lti_f16_to_f32(0x7C01)), "f16 NaN");
    TS_CHECK(lti_f32_to_bf16(0x1.01p0f) == 0x3F80 && lti_f32_to_bf16(0x1.03p0f) == 0x3F82, "bf16 ties go to even");
    TS_CHECK(lti_f32_to_bf16(3.4e38f) == 0x7F80 && isnan(lti_bf16_to_f32(lti_f32_to_bf16(NAN))), "bf16 limits");
}

int lti_suite_lattices(void)
{
    const ts_test tests[] = {{"canon", canon},
                             {"dispatch", dispatch},
                             {"specials", specials},
                             {"odd values", odd_values},
                             {"halves", halves}};
    return ts_suite("lattices", LTI_COUNT(tests), tests);
}
