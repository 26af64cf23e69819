/* simd_lattice.c - GGUF blocks, 32 numbers at once: the numbers of lattice/ref_*.c (lattice_parts.h), and the bytes of
 * ref_q4_0.c and ref_q8_0.c.
 *
 * Blocks outside the ordinary (a NaN, an infinity, or a maximum so small that 1/d is none) are handed to ref, which
 * defines what becomes of them. Codes are computed with a plain multiply and add: a fused one gives other bytes. */
#include "kernels/simd/lattice_parts.h"

/* Largest magnitude of a block; false when ref must take it. */
VI int load_block(const R *x, vf part[PARTS], float *largest)
{
    vf m = v_zero();
    vm odd = v_nan(v_zero());
#pragma GCC unroll 4
    for (int i = 0; i < PARTS; i++) {
        part[i] = v_load(x + i * V);
        odd = v_or(odd, v_nan(v_sub(part[i], part[i])));
        m = v_max(v_abs(part[i]), m);
    }
    *largest = v_hmax(m);
    return !v_bits(odd) && (*largest == 0 || *largest > 1e-30f);
}

/* The 32 codes, one byte each. */
VI void store_codes(const vf code[PARTS], int8_t bytes[32])
{
    for (int i = 0; i < PARTS; i++) v_put_bytes(bytes + i * V, code[i]);
}

void LTI_FN(quantize_q4_0)(int64_t n, const R *x, void *blocks)
{
    uint8_t *block = blocks;
    for (int64_t b = 0; b < n / 32; b++, x += 32, block += 18) {
        vf part[PARTS];
        float largest;
        if (!load_block(x, part, &largest)) {
            lti_k_quantize_q4_0_ref(32, x, block);
            continue;
        }
        uint32_t where = 0;
        for (int i = 0; i < PARTS; i++) where |= v_bits(v_eq(v_abs(part[i]), v_set(largest))) << (i * V);
        float d = x[__builtin_ctz(where)] / -8, id = largest != 0 ? 1 / d : 0;
        uint16_t half = lti_f32_to_f16(largest != 0 ? d : -0.0f); /* 0 / -8 */
        int8_t codes[32];
        for (int i = 0; i < PARTS; i++) part[i] = v_min(v_set(15), v_add(v_mul(part[i], v_set(id)), v_set(8.5f)));
        store_codes(part, codes);
        memcpy(block, &half, sizeof half);
        __m128i low = _mm_loadu_si128((const void *)codes), high = _mm_loadu_si128((const void *)(codes + 16));
        _mm_storeu_si128((void *)(block + 2), _mm_or_si128(low, _mm_slli_epi16(high, 4)));
    }
}

void LTI_FN(quantize_q8_0)(int64_t n, const R *x, void *blocks)
{
    uint8_t *block = blocks;
    for (int64_t b = 0; b < n / 32; b++, x += 32, block += 34) {
        vf part[PARTS];
        float largest;
        if (!load_block(x, part, &largest)) {
            lti_k_quantize_q8_0_ref(32, x, block);
            continue;
        }
        float d = largest / 127, id = d != 0 ? 1 / d : 0;
        uint16_t half = lti_f32_to_f16(d);
        for (int i = 0; i < PARTS; i++) { /* halves away from zero; x + 0.5 would round up just below a half */
            vf v = v_mul(part[i], v_set(id)), whole = v_trunc(v);
            vm up = v_ge(v_abs(v_sub(v, whole)), v_set(0.5f));
            part[i] = v_add(whole, v_select(up, v_copysign(v_set(1), v), v_zero()));
        }
        memcpy(block, &half, sizeof half);
        store_codes(part, (int8_t *)(block + 2));
    }
}

typedef void (*decoder)(const uint8_t *block, int part, vf w[PARTS]);

VI void dequantize(decoder part_of, int parts, int64_t bytes, int64_t n, const uint8_t *block, R *y)
{
    for (int64_t b = 0; b < n / (32 * parts); b++, block += bytes)
#pragma GCC unroll 8
        for (int part = 0; part < parts; part++, y += 32) {
            vf w[PARTS];
            part_of(block, part, w);
#pragma GCC unroll 4
            for (int i = 0; i < PARTS; i++) v_store(y + i * V, w[i]);
        }
}

#define DEQUANTIZE(name, parts, bytes)                                                                                 \
    void LTI_FN(dequantize_##name)(int64_t n, const void *blocks, R *y)                                                \
    {                                                                                                                  \
        dequantize(part_##name, parts, bytes, n, blocks, y);                                                           \
    }

DEQUANTIZE(q4_0, 1, 18)
DEQUANTIZE(q4_1, 1, 20)
DEQUANTIZE(q5_0, 1, 22)
DEQUANTIZE(q5_1, 1, 24)
DEQUANTIZE(q8_0, 1, 34)
DEQUANTIZE(q2_k, 8, 84)
DEQUANTIZE(q3_k, 8, 110)
DEQUANTIZE(q4_k, 8, 144)
DEQUANTIZE(q5_k, 8, 176)
DEQUANTIZE(q6_k, 8, 210)
DEQUANTIZE(iq4_nl, 1, 18)
DEQUANTIZE(mxfp4, 1, 17)
DEQUANTIZE(tq1_0, 8, 54)
DEQUANTIZE(tq2_0, 8, 66)
