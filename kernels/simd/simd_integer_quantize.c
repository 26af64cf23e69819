/* simd_integer_quantize.c - activations as int8: the bytes of ref_integer_quantize.c, which also takes the blocks out of the
 * ordinary: with a NaN, an infinity, or a maximum so small that 127 / maximum is none. */
#include "kernels/lattice/blocks.h"
#include "kernels/simd/vec.h"

/* Largest magnitude of n numbers, a multiple of 32; false when ref must take them. */
VI int ordinary(int64_t n, const R *x, float *largest)
{
    vf most[2] = {v_zero(), v_zero()}, odd[2] = {v_zero(), v_zero()};
    for (int64_t i = 0; i < n; i += 2 * V)
        for (int j = 0; j < 2; j++) {
            vf v = v_load(x + i + j * V);
            most[j] = v_max(v_abs(v), most[j]);
            odd[j] = v_add(odd[j], v_sub(v, v)); /* stays 0 while numbers are finite */
        }
    *largest = v_hmax(v_max(most[0], most[1]));
    return !v_bits(v_nan(v_add(odd[0], odd[1]))) && (*largest == 0 || *largest > 1e-30f);
}

/* 32 codes; what they sum to. */
VI int codes_of(const R *x, float id, int8_t codes[32])
{
    vf sum = v_zero();
    for (int i = 0; i < 32; i += V) {
        vf v = v_round(v_mul(v_load(x + i), v_set(id)));
        v = v_min(v_set(127), v);
        sum = v_add(sum, v);
        v_put_bytes(codes + i, v);
    }
    return (int)v_sum(sum); /* whole numbers below 2^24: exact */
}

VI uint16_t half_of(float x)
{
    return (uint16_t)_mm_cvtsi128_si32(_mm_cvtps_ph(_mm_set_ss(x), _MM_FROUND_TO_NEAREST_INT));
}

void LTI_FN(quantize_activations_q8_0)(int64_t n, const R *x, void *blocks)
{
    uint8_t *block = blocks;
    for (int64_t i = 0; i < n / 32; i++, x += 32, block += 34) {
        float largest;
        if (!ordinary(32, x, &largest)) {
            lti_k_quantize_activations_q8_0_ref(32, x, block);
            continue;
        }
        uint16_t half = half_of(largest / 127);
        memcpy(block, &half, sizeof half);
        codes_of(x, largest != 0 ? 127 / largest : 0, (int8_t *)block + 2);
    }
}

void LTI_FN(quantize_activations_q8_1)(int64_t n, const R *x, void *blocks)
{
    uint8_t *block = blocks;
    for (int64_t i = 0; i < n / 32; i++, x += 32, block += 36) {
        float largest;
        if (!ordinary(32, x, &largest)) {
            lti_k_quantize_activations_q8_1_ref(32, x, block);
            continue;
        }
        float d = largest / 127;
        int sum = codes_of(x, largest != 0 ? 127 / largest : 0, (int8_t *)block + 4);
        uint16_t halves[2] = {half_of(d), half_of(d * (float)sum)};
        memcpy(block, halves, sizeof halves);
    }
}

/* The first number of largest magnitude. */
VI float first_of(const R *x, float largest)
{
    for (int i = 0;; i += V) {
        unsigned where = v_bits(v_eq(v_abs(v_load(x + i)), v_set(largest)));
        if (where) return x[i + __builtin_ctz(where)];
    }
}

void LTI_FN(quantize_activations_q8_k)(int64_t n, const R *x, void *blocks)
{
    uint8_t *block = blocks;
    for (int64_t i = 0; i < n / 256; i++, x += 256, block += 292) {
        float largest;
        if (!ordinary(256, x, &largest) || largest == 0) {
            lti_k_quantize_activations_q8_k_ref(256, x, block);
            continue;
        }
        float id = -127 / first_of(x, largest), d = 1 / id;
        memcpy(block, &d, sizeof d);
        int8_t *codes = (int8_t *)block + 4;
        for (int j = 0; j < 256; j += 32) codes_of(x + j, id, codes + j);
        for (int j = 0; j < 16; j++) {
            __m128i bytes = _mm_loadu_si128((const void *)(codes + 16 * j));
            __m128i flipped = _mm_xor_si128(bytes, _mm_set1_epi8(-128)); /* + 128, for the sum of unsigned bytes */
            __m128i sums = _mm_sad_epu8(flipped, _mm_setzero_si128());
            int16_t sum = (int16_t)(_mm_extract_epi16(sums, 0) + _mm_extract_epi16(sums, 4) - 16 * 128);
            memcpy(block + 260 + 2 * j, &sum, sizeof sum);
        }
    }
}

R LTI_FN(quantize_row_i8)(int64_t n, const R *x, int8_t *codes)
{
    int64_t whole = n / 32 * 32;
    float largest;
    int fine = ordinary(whole, x, &largest);
    for (int64_t i = whole; i < n; i++) {
        float v = x[i] < 0 ? -x[i] : x[i];
        fine &= v - v == 0;
        if (v > largest) largest = v;
    }
    if (!fine || !(largest > 1e-30f)) return lti_k_quantize_row_i8_ref(n, x, codes);
    float id = 127 / largest;
    for (int64_t i = 0; i < whole; i += 32) codes_of(x + i, id, codes + i);
    for (int64_t i = whole; i < n; i++) codes[i] = (int8_t)_mm_cvtss_si32(_mm_set_ss(x[i] * id));
    return largest / 127;
}
