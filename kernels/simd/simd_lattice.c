/* simd_lattice.c - GGUF blocks: the bytes of lattice/ref_q4_0.c and ref_q8_0.c, 32 numbers at once.
 *
 * Blocks outside the ordinary (a NaN, an infinity, or a maximum so small that 1/d is none) are handed to ref, which
 * defines what becomes of them. Codes are computed with a plain multiply and add: a fused one gives other bytes. */
#include "base/half.h"
#include "kernels/simd/vec.h"

enum { PARTS = 32 / V };

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

void LTI_FN(dequantize_q4_0)(int64_t n, const void *blocks, R *y)
{
    const uint8_t *block = blocks;
    const __m128i nibble = _mm_set1_epi8(15), eight = _mm_set1_epi8(8);
    for (int64_t b = 0; b < n / 32; b++, y += 32, block += 18) {
        uint16_t half;
        memcpy(&half, block, sizeof half);
        vf d = v_set(lti_f16_to_f32(half));
        __m128i q = _mm_loadu_si128((const void *)(block + 2));
        __m128i low = _mm_sub_epi8(_mm_and_si128(q, nibble), eight);
        __m128i high = _mm_sub_epi8(_mm_and_si128(_mm_srli_epi16(q, 4), nibble), eight);
        v_store16(y, low, d);
        v_store16(y + 16, high, d);
    }
}

void LTI_FN(dequantize_q8_0)(int64_t n, const void *blocks, R *y)
{
    const uint8_t *block = blocks;
    for (int64_t b = 0; b < n / 32; b++, y += 32, block += 34) {
        uint16_t half;
        memcpy(&half, block, sizeof half);
        vf d = v_set(lti_f16_to_f32(half));
        v_store16(y, _mm_loadu_si128((const void *)(block + 2)), d);
        v_store16(y + 16, _mm_loadu_si128((const void *)(block + 18)), d);
    }
}
