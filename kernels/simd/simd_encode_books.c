/* simd_encode_books.c - numbers to blocks whose codes are places in a table (MXFP4, NF4, FP4) or ternary digits (TQ1_0,
 * TQ2_0): the bytes of lattice/ref_*.c, for which simd_encode.c says how.
 *
 * A place among 15 thresholds takes four comparisons, three of them with a threshold looked up by the places so far. A
 * ternary byte is a sum: it starts as if all digits were 1, and each number adds its digit's weight, or takes it away. */
#include "kernels/simd/encode_parts.h"

/* lti_place of V numbers. */
VI vi places_of(v_table thresholds, float middle, vf v)
{
    vi p = v_add_if(v_lt(v_set(middle), v), v_seti(3), 8);
    p = v_add_if(v_lt(v_pick(thresholds, p), v), v_addi(p, v_seti(-2)), 4);
    p = v_add_if(v_lt(v_pick(thresholds, p), v), v_addi(p, v_seti(-1)), 2);
    return v_add_if(v_lt(v_pick(thresholds, p), v), p, 1);
}

/* Codes of 32 numbers times c. */
VI __m256i codes_of(const lti_codebook *book, const R *x, float c)
{
    uint8_t places[32];
    v_table thresholds = part_table(book->thresholds, 1);
#pragma GCC unroll 4
    for (int i = 0; i < PARTS; i++)
        v_put_codes(places + i * V, places_of(thresholds, book->thresholds[7], v_mul(v_load(x + i * V), v_set(c))));
    __m256i order = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)book->order));
    return _mm256_shuffle_epi8(order, part_load(places));
}

void LTI_FN(quantize_mxfp4)(int64_t n, const R *x, void *blocks)
{
    uint8_t *block = blocks, codes[32];
    for (int64_t b = 0; b < n / 32; b++, x += 32, block += 17) {
        float largest;
        int ordinary = largest_of(x, PARTS, &largest);
        uint32_t u = lti_float_bits(largest);
        /* Close under a power of two it depends on log2's rounding. */
        if (!ordinary || (u & 0x7FFFFF) > 0x7FFF00) {
            lti_k_quantize_mxfp4_ref(32, x, block);
            continue;
        }
        uint32_t e = largest != 0 ? (u >> 23) - 2 : 0;
        float inverse = largest != 0 ? lti_bits_float((255 - e) << 23) : 0; /* 2^(128 - e) */
        _mm256_storeu_si256((void *)codes, codes_of(&lti_e2m1_book, x, inverse));
        block[0] = (uint8_t)e;
        store_halves(codes, block + 1);
    }
}

/* NF4 and FP4: false when ref must take the block. */
VI int encode_pairs(const lti_codebook *book, const R *x, uint8_t *block)
{
    const __m256i weights = _mm256_set1_epi16(0x0110); /* 16 for the even code, 1 for the odd one */
    float d;
    if (!largest_of(x, 2 * PARTS, &d)) return 0;
    float inverse = 1 / (d > 1e-38f ? d : 1e-38f);
    memcpy(block, &d, sizeof d);
    for (int part = 0; part < 2; part++) {
        __m256i pairs = _mm256_maddubs_epi16(codes_of(book, x + 32 * part, inverse), weights);
        __m128i low = _mm256_castsi256_si128(pairs), high = _mm256_extracti128_si256(pairs, 1);
        _mm_storeu_si128((void *)(block + 4 + 16 * part), _mm_packus_epi16(low, high));
    }
    return 1;
}

void LTI_FN(quantize_nf4)(int64_t n, const R *x, void *blocks)
{
    uint8_t *block = blocks;
    for (int64_t b = 0; b < n / 64; b++, x += 64, block += 36)
        if (!encode_pairs(&lti_nf4_book, x, block)) lti_k_quantize_nf4_ref(64, x, block);
}

void LTI_FN(quantize_fp4)(int64_t n, const R *x, void *blocks)
{
    uint8_t *block = blocks;
    for (int64_t b = 0; b < n / 64; b++, x += 64, block += 36)
        if (!encode_pairs(&lti_fp4_book, x, block)) lti_k_quantize_fp4_ref(64, x, block);
}

/* The digits' sum of V bytes: digit i of weight weights[i] is that of x[i step ..] id. */
VI vi ternary_sum(const R *x, int step, int digits, const int weights[5], float id)
{
    int ones = 0;
    for (int i = 0; i < digits; i++) ones += weights[i];
    vi sum = v_seti(ones);
#pragma GCC unroll 5
    for (int i = 0; i < digits; i++) {
        vf v = v_mul(v_load(x + i * step), v_set(id));
        sum = v_add_if(v_ge(v, v_set(0.5f)), sum, weights[i]);
        sum = v_add_if(v_ge(v_set(-0.5f), v), sum, -weights[i]);
    }
    return sum;
}

void LTI_FN(quantize_tq2_0)(int64_t n, const R *x, void *blocks)
{
    const int weights[5] = {1, 4, 16, 64};
    uint8_t *block = blocks;
    for (int64_t b = 0; b < n / 256; b++, x += 256, block += 66) {
        float d;
        if (!largest_of(x, 8 * PARTS, &d)) {
            lti_k_quantize_tq2_0_ref(256, x, block);
            continue;
        }
        float id = d != 0 ? 1 / d : 0;
        for (int i = 0; i < 64; i += V)
            v_put_codes(block + i, ternary_sum(x + i / 32 * 128 + i % 32, 32, 4, weights, id));
        store_half(d, block + 64);
    }
}

/* ceil(256 s / 243) = s + floor((13 s + 242) / 243); half more keeps the quotient off the whole numbers. */
VI vi ternary_bytes(vi s)
{
    vf above = v_add(v_mul(v_from_ints(s), v_set(13)), v_set(242.5f));
    return v_addi(s, v_to_ints(v_mul(above, v_set(1.0f / 243))));
}

void LTI_FN(quantize_tq1_0)(int64_t n, const R *x, void *blocks)
{
    const int weights[5] = {81, 27, 9, 3, 1};
    uint8_t *block = blocks;
    for (int64_t b = 0; b < n / 256; b++, x += 256, block += 54) {
        float d;
        if (!largest_of(x, 8 * PARTS, &d)) {
            lti_k_quantize_tq1_0_ref(256, x, block);
            continue;
        }
        float id = d != 0 ? 1 / d : 0;
        for (int i = 0; i < 32; i += V) v_put_codes(block + i, ternary_bytes(ternary_sum(x + i, 32, 5, weights, id)));
        for (int i = 0; i < 16; i += V)
            v_put_codes(block + 32 + i, ternary_bytes(ternary_sum(x + 160 + i, 16, 5, weights, id)));
        for (int i = 0; i < 4; i++) {
            int sum = 81 + 27 + 9 + 3;
            for (int digit = 0; digit < 4; digit++) {
                float v = x[240 + 4 * digit + i] * id;
                sum += weights[digit] * ((v >= 0.5f) - (v <= -0.5f));
            }
            block[48 + i] = (uint8_t)((256 * sum + 242) / 243);
        }
        store_half(d, block + 52);
    }
}
