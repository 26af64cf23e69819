/* simd_encode.c - numbers to blocks of 32, 64 and 256 of them: the bytes of lattice/ref_*.c.
 *
 * Every code is computed with ref's operations in ref's order, a plain multiply and add: a fused one gives other bytes.
 * Which zero, or which of two equal extremes, a scale is taken from shows in its bytes, so it is the first one, as there.
 * Blocks outside the ordinary (encode_parts.h) are handed to ref, which defines what becomes of them. */
#include "kernels/simd/encode_parts.h"

/* What codes of 0 .. most are before they are cut, and the word of their upper bits. */
VI uint32_t store_codes(vf part[PARTS], float most, uint8_t codes[32])
{
    uint32_t upper = 0;
#pragma GCC unroll 4
    for (int i = 0; i < PARTS; i++) {
        part[i] = v_min(v_set(most), part[i]);
        upper |= (uint32_t)v_bits(v_ge(part[i], v_set(16))) << (i * V);
        v_put_codes(codes + i * V, v_to_ints(part[i]));
    }
    return upper;
}

/* The first of 32 numbers that equals v. */
VI float first_equal(const vf part[PARTS], float v, const R *x)
{
    uint32_t where = 0;
#pragma GCC unroll 4
    for (int i = 0; i < PARTS; i++) where |= (uint32_t)v_bits(v_eq(part[i], v_set(v))) << (i * V);
    return x[__builtin_ctz(where)];
}

/* Q4_0 and Q5_0: codes around `half`. Returns d; NaN when ref must take the block. */
VI float encode_by_extreme(const R *x, float half, uint8_t codes[32], uint32_t *upper)
{
    float largest;
    vf part[PARTS];
    if (!largest_of(x, PARTS, &largest)) return NAN;
#pragma GCC unroll 4
    for (int i = 0; i < PARTS; i++) part[i] = v_abs(v_load(x + i * V));
    float ext = largest != 0 ? first_equal(part, largest, x) : 0, d = ext / -half, id = largest != 0 ? 1 / d : 0;
#pragma GCC unroll 4
    for (int i = 0; i < PARTS; i++) part[i] = v_add(v_mul(v_load(x + i * V), v_set(id)), v_set(half + 0.5f));
    *upper = store_codes(part, 2 * half - 1, codes);
    return d;
}

/* Both: d, the upper bits where codes have five, the lower halves. */
VI void encode_around(int64_t n, const R *x, uint8_t *block, int bits, void (*ref)(int64_t, const R *, void *))
{
    uint8_t codes[32];
    int halves = bits == 5 ? 6 : 2;
    for (int64_t b = 0; b < n / 32; b++, x += 32, block += halves + 16) {
        uint32_t upper;
        float d = encode_by_extreme(x, (float)(1 << (bits - 1)), codes, &upper);
        if (d != d) {
            ref(32, x, block);
            continue;
        }
        store_half(d, block);
        if (bits == 5) memcpy(block + 2, &upper, sizeof upper);
        store_halves(codes, block + halves);
    }
}

void LTI_FN(quantize_q4_0)(int64_t n, const R *x, void *blocks)
{
    encode_around(n, x, blocks, 4, lti_k_quantize_q4_0_ref);
}

void LTI_FN(quantize_q5_0)(int64_t n, const R *x, void *blocks)
{
    encode_around(n, x, blocks, 5, lti_k_quantize_q5_0_ref);
}

/* Q4_1 and Q5_1: codes of 0 .. most. Returns d; NaN when ref must take the block. */
VI float encode_by_range(const R *x, float most, float *minimum, uint8_t codes[32], uint32_t *upper)
{
    float largest;
    vf part[PARTS], low, high;
    if (!largest_of(x, PARTS, &largest)) return NAN;
    low = high = v_load(x);
#pragma GCC unroll 4
    for (int i = 0; i < PARTS; i++) {
        part[i] = v_load(x + i * V);
        low = v_min(low, part[i]);
        high = v_max(high, part[i]);
    }
    float least = -v_hmax(v_neg(low)), range = v_hmax(high) - least;
    float d = range > 0 ? range / most : 0, id = d != 0 ? 1 / d : 0; /* 0 - -0, not -0 - 0 */
    if (d != 0 && d < 1e-37f) return NAN;
    *minimum = first_equal(part, least, x);
#pragma GCC unroll 4
    for (int i = 0; i < PARTS; i++) part[i] = v_add(v_mul(v_sub(part[i], v_set(least)), v_set(id)), v_set(0.5f));
    *upper = store_codes(part, most, codes);
    return d;
}

/* Both: d, the minimum, the upper bits where codes have five, the lower halves. */
VI void encode_above(int64_t n, const R *x, uint8_t *block, int bits, void (*ref)(int64_t, const R *, void *))
{
    uint8_t codes[32];
    int halves = bits == 5 ? 8 : 4;
    for (int64_t b = 0; b < n / 32; b++, x += 32, block += halves + 16) {
        uint32_t upper;
        float minimum, d = encode_by_range(x, (float)((1 << bits) - 1), &minimum, codes, &upper);
        if (d != d) {
            ref(32, x, block);
            continue;
        }
        store_half(d, block);
        store_half(minimum, block + 2);
        if (bits == 5) memcpy(block + 4, &upper, sizeof upper);
        store_halves(codes, block + halves);
    }
}

void LTI_FN(quantize_q4_1)(int64_t n, const R *x, void *blocks)
{
    encode_above(n, x, blocks, 4, lti_k_quantize_q4_1_ref);
}

void LTI_FN(quantize_q5_1)(int64_t n, const R *x, void *blocks)
{
    encode_above(n, x, blocks, 5, lti_k_quantize_q5_1_ref);
}

void LTI_FN(quantize_q8_0)(int64_t n, const R *x, void *blocks)
{
    uint8_t *block = blocks;
    for (int64_t b = 0; b < n / 32; b++, x += 32, block += 34) {
        float largest;
        if (!largest_of(x, PARTS, &largest)) {
            lti_k_quantize_q8_0_ref(32, x, block);
            continue;
        }
        float d = largest / 127, id = d != 0 ? 1 / d : 0;
        store_half(d, block);
#pragma GCC unroll 4
        for (int i = 0; i < PARTS; i++) { /* halves away from zero; x + 0.5 would round up just below a half */
            vf v = v_mul(v_load(x + i * V), v_set(id)), whole = v_trunc(v);
            vm up = v_ge(v_abs(v_sub(v, whole)), v_set(0.5f));
            v_put_bytes((int8_t *)block + 2 + i * V, v_add(whole, v_select(up, v_copysign(v_set(1), v), v_zero())));
        }
    }
}
