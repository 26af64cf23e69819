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

/* The largest magnitude of 32 numbers, in eight lanes, as bits: those of infinities and NaN pass all others. */
VI __m256i magnitudes(const R *x)
{
    __m256i most = _mm256_setzero_si256();
    for (int i = 0; i < 32; i += 8) {
        __m256i bits = _mm256_loadu_si256((const void *)(x + i));
        most = _mm256_max_epu32(most, _mm256_and_si256(bits, _mm256_set1_epi32(0x7FFFFFFF)));
    }
    return most;
}

/* The largest of the lanes of m[i], in lane i. */
VI __m256 largest_of(const __m256i m[8])
{
    __m256i t[4], u[2];
    for (int i = 0; i < 4; i++)
        t[i] = _mm256_max_epu32(_mm256_unpacklo_epi32(m[2 * i], m[2 * i + 1]),
                                _mm256_unpackhi_epi32(m[2 * i], m[2 * i + 1]));
    for (int i = 0; i < 2; i++)
        u[i] = _mm256_max_epu32(_mm256_unpacklo_epi64(t[2 * i], t[2 * i + 1]),
                                _mm256_unpackhi_epi64(t[2 * i], t[2 * i + 1]));
    return _mm256_castsi256_ps(
        _mm256_max_epu32(_mm256_permute2x128_si256(u[0], u[1], 0x20), _mm256_permute2x128_si256(u[0], u[1], 0x31)));
}

/* Eight blocks of 32, whose scales are worked out side by side; false: ref must take them. With sums: Q8_1. */
VI int quantize_eight(const R *x, int sums, uint8_t *block)
{
    __m256i most[8];
    for (int i = 0; i < 8; i++) most[i] = magnitudes(x + 32 * i);
    __m256 largest = largest_of(most), zero = _mm256_cmp_ps(largest, _mm256_setzero_ps(), _CMP_EQ_OQ);
    __m256 fine = _mm256_and_ps(_mm256_cmp_ps(largest, _mm256_set1_ps(1e-30f), _CMP_GT_OQ),
                                _mm256_cmp_ps(largest, _mm256_set1_ps(INFINITY), _CMP_LT_OQ));
    if (_mm256_movemask_ps(_mm256_or_ps(fine, zero)) != 255) return 0;
    const __m256 most_code = _mm256_set1_ps(127), d = _mm256_div_ps(largest, most_code);
    float id[8], sum[8] = {0};
    uint16_t halves[2][8];
    const int header = 2 + 2 * sums;
    _mm256_storeu_ps(id, _mm256_andnot_ps(zero, _mm256_div_ps(most_code, largest)));
    _mm_storeu_si128((void *)halves[0], _mm256_cvtps_ph(d, _MM_FROUND_TO_NEAREST_INT));
    for (int i = 0; i < 8; i++) {
        int total = codes_of(x + 32 * i, id[i], (int8_t *)block + i * (32 + header) + header);
        memcpy(block + i * (32 + header), &halves[0][i], sizeof **halves);
        if (sums) sum[i] = (float)total;
    }
    if (!sums) return 1;
    __m256 products = _mm256_mul_ps(d, _mm256_loadu_ps(sum));
    _mm_storeu_si128((void *)halves[1], _mm256_cvtps_ph(products, _MM_FROUND_TO_NEAREST_INT));
    for (int i = 0; i < 8; i++) memcpy(block + i * (32 + header) + 2, &halves[1][i], sizeof **halves);
    return 1;
}

void LTI_FN(quantize_activations_q8_0)(int64_t n, const R *x, void *blocks)
{
    uint8_t *block = blocks;
    for (; n >= 256; n -= 256, x += 256, block += 8 * 34)
        if (!quantize_eight(x, 0, block)) lti_k_quantize_activations_q8_0_ref(256, x, block);
    lti_k_quantize_activations_q8_0_ref(n, x, block);
}

void LTI_FN(quantize_activations_q8_1)(int64_t n, const R *x, void *blocks)
{
    uint8_t *block = blocks;
    for (; n >= 256; n -= 256, x += 256, block += 8 * 36)
        if (!quantize_eight(x, 1, block)) lti_k_quantize_activations_q8_1_ref(256, x, block);
    lti_k_quantize_activations_q8_1_ref(n, x, block);
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
