/* blocks.h - what the decoders of several lattices share, in plain C and in SIMD: halves at any address, the 6-bit
 * scales of the K types, codebooks, digits of ternary bytes. All static inline: kernels/simd compiles it a second and a
 * third time. */
#ifndef LTI_BLOCKS_H
#define LTI_BLOCKS_H

#include "base/half.h"

static inline float lti_half_at(const uint8_t *p)
{
    uint16_t half;
    memcpy(&half, p, sizeof half);
    return lti_f16_to_f32(half);
}

static inline uint32_t lti_word_at(const uint8_t *p)
{
    uint32_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* Q4_K and Q5_K: scale and minimum of sub-block j < 8, six bits each. Those of 0 .. 3 are the low bits of bytes 0 .. 3
 * and 4 .. 7; those of 4 .. 7 have their low halves in bytes 8 .. 11 and their upper two bits on top of the former. */
static inline void lti_k_scale(const uint8_t packed[12], int j, int *scale, int *minimum)
{
    if (j < 4) {
        *scale = packed[j] & 63;
        *minimum = packed[j + 4] & 63;
    } else {
        *scale = (packed[j + 4] & 15) | packed[j - 4] >> 6 << 4;
        *minimum = packed[j + 4] >> 4 | packed[j] >> 6 << 4;
    }
}

/* Q3_K: scale of sub-block j < 16, six bits around 32: low halves in the halves of bytes 0 .. 7, upper pairs of bits in
 * bytes 8 .. 11. */
static inline int lti_q3_k_scale(const uint8_t packed[12], int j)
{
    int low = j < 8 ? packed[j] & 15 : packed[j - 8] >> 4, high = packed[8 + j % 4] >> 2 * (j / 4) & 3;
    return (low | high << 4) - 32;
}

/* What the codes of IQ4_NL stand for. */
static const int8_t lti_iq4_nl_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/* E2M1: a sign, two bits of exponent, one of mantissa; times two, so that all are whole. Code 8 is 0, not -0. */
static const int8_t lti_e2m1_twice[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* 2^(e - 128), half of what E8M0 says, for the values above are doubled. The least two are denormal. */
static inline float lti_e8m0_half(uint8_t e)
{
    return lti_bits_float(e < 2 ? UINT32_C(0x200000) << e : (uint32_t)(e - 1) << 23);
}

/* Digit n of a ternary byte, the most significant first: 0, 1 or 2. */
static inline int lti_trit(uint8_t byte, int n)
{
    static const uint8_t power[5] = {1, 3, 9, 27, 81};
    return (uint8_t)(byte * power[n]) * 3 >> 8;
}

/* Element i < 256 of a TQ1_0 block as -1, 0 or 1. */
static inline int lti_tq1_0_code(const uint8_t *block, int i)
{
    if (i < 160) return lti_trit(block[i % 32], i / 32) - 1;
    if (i < 240) return lti_trit(block[32 + i % 16], (i - 160) / 16) - 1;
    return lti_trit(block[48 + i % 4], (i - 240) / 4) - 1;
}

#endif
