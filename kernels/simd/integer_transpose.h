/* integer_transpose.h - eight rows of eight quads of codes, turned: what both packers of integer products are made of. */
#ifndef LTI_INTEGER_TRANSPOSE_H
#define LTI_INTEGER_TRANSPOSE_H

#include "kernels/simd/vec.h"

/* 32-bit element j of r[i] becomes element i of r[j]. */
VI void transpose_quads(__m256i r[8])
{
    __m256i t[8], u[8];
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; j++) {
            u[i + 2 * j] = _mm256_unpacklo_epi64(t[i + j], t[i + j + 2]);
            u[i + 2 * j + 1] = _mm256_unpackhi_epi64(t[i + j], t[i + j + 2]);
        }
    for (int j = 0; j < 4; j++) {
        r[j] = _mm256_permute2x128_si256(u[j], u[j + 4], 0x20);
        r[j + 4] = _mm256_permute2x128_si256(u[j], u[j + 4], 0x31);
    }
}

/* Codes k .. k + 31 of a row of n bytes, 0 past its end; `flip` is what they are xored with. */
VI __m256i codes_of_row(const int8_t *row, int64_t n, int64_t k, char flip)
{
    __m256i flips = _mm256_set1_epi8(flip);
    if (k + 32 <= n) return _mm256_xor_si256(_mm256_loadu_si256((const void *)(row + k)), flips);
    int8_t rest[32] = {0};
    for (int64_t i = k; i < n; i++) rest[i - k] = (int8_t)(row[i] ^ flip);
    return _mm256_loadu_si256((const void *)rest);
}

#endif
