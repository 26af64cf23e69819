/* encode_parts.h - what the encoders of simd_encode.c and simd_encode_books.c share. */
#ifndef LTI_ENCODE_PARTS_H
#define LTI_ENCODE_PARTS_H

#include "kernels/simd/lattice_parts.h"

/* The largest magnitude of V `vectors` numbers; false when ref must take them: a NaN, an infinity, or numbers so large or
 * small that a step in between might leave the normal floats. */
VI int largest_of(const R *x, int vectors, float *largest)
{
    vf most = v_zero();
    vm odd = v_nan(v_zero());
#pragma GCC unroll 4
    for (int i = 0; i < vectors; i++) {
        vf v = v_load(x + i * V);
        odd = v_or(odd, v_nan(v_sub(v, v)));
        most = v_max(v_abs(v), most);
    }
    *largest = v_hmax(most);
    return !v_bits(odd) && (*largest == 0 || (*largest > 1e-30f && *largest < 1e37f));
}

VI void store_half(float x, uint8_t *p)
{
    uint16_t half = (uint16_t)_mm_cvtsi128_si32(_mm_cvtps_ph(_mm_set_ss(x), _MM_FROUND_TO_NEAREST_INT));
    memcpy(p, &half, sizeof half);
}

/* 32 codes as 16 bytes: code i in the low half of byte i, code i + 16 in its high half. */
VI void store_halves(const uint8_t codes[32], uint8_t *p)
{
    const __m128i mask = _mm_set1_epi8(15);
    __m128i low = _mm_loadu_si128((const void *)codes), high = _mm_loadu_si128((const void *)(codes + 16));
    high = _mm_slli_epi16(_mm_and_si128(high, mask), 4);
    _mm_storeu_si128((void *)p, _mm_or_si128(_mm_and_si128(low, mask), high));
}

#endif
