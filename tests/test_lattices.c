/* test_lattices.c - the canon of the GGUF bytes, on every instruction set: hashes of blocks and of the numbers read back
 * for 65,536 generated values, what becomes of NaN and infinities, and all 65,536 halves. */
#include "base/half.h"
#include "kernels/kernels.h"
#include "tests/testing.h"

#include <math.h>
#include <string.h>

enum { N = 65536 };
static const char *const sets[] = {"ref", "avx2", "avx512"};
static R values[N];
static unsigned char blocks[N / 32 * 34];

static uint64_t fnv(const void *bytes, size_t count)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < count; i++) h = (h ^ ((const unsigned char *)bytes)[i]) * 1099511628211u;
    return h;
}

/* The hash of the values as floats, in either build. */
static uint64_t fnv_floats(void)
{
    static float floats[N];
    for (int i = 0; i < N; i++) floats[i] = (float)values[i];
    return fnv(floats, sizeof floats);
}

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

static void canon(void)
{
    for (int i = 0; i < LTI_COUNT(sets); i++) {
        const lti_kernels *k = lti_kernels_of(sets[i]);
        if (!k) continue;
        generate();
        TS_CHECK(fnv_floats() == 0xb4ae7ebf74611f87, "the generated values are others");
        k->quantize_q4_0(N, values, blocks);
        k->dequantize_q4_0(N, blocks, values);
        TS_CHECK(fnv(blocks, N / 32 * 18) == 0xbe972e822c1064b3, "%s: q4_0 bytes", sets[i]);
        TS_CHECK(fnv_floats() == 0xc961eaff26b68704, "%s: q4_0 numbers", sets[i]);
        k->quantize_q4_0(N, values, blocks);
        TS_CHECK(fnv(blocks, N / 32 * 18) == 0xbe972e822c1064b3, "%s: q4_0 of q4_0 is another", sets[i]);
        generate();
        k->quantize_q8_0(N, values, blocks);
        k->dequantize_q8_0(N, blocks, values);
        TS_CHECK(fnv(blocks, N / 32 * 34) == 0x633876bbfe283ed2, "%s: q8_0 bytes", sets[i]);
        TS_CHECK(fnv_floats() == 0x6be9cfc4a07e56eb, "%s: q8_0 numbers", sets[i]);
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
    const ts_test tests[] = {{"canon", canon}, {"specials", specials}, {"halves", halves}};
    return ts_suite("lattices", LTI_COUNT(tests), tests);
}
