/* blocks.h - what the decoders of several lattices share, in plain C and in SIMD: halves at any address, the 6-bit
 * scales of the K types, codebooks, digits of ternary bytes. All static inline: kernels/simd compiles it a second and a
 * third time. */
#ifndef LTI_BLOCKS_H
#define LTI_BLOCKS_H

#include "base/half.h"

#include <math.h>

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

/* Q4_0 and Q4_1: code j in the low half of byte j, code j + 16 in the upper. */
static inline void lti_store_nibbles(const uint8_t code[32], uint8_t *bytes)
{
    for (int j = 0; j < 16; j++) bytes[j] = (uint8_t)((code[j] & 15) | code[j + 16] << 4);
}

/* Q5_0 and Q5_1: 32 codes as a word of their upper bits and 16 bytes of lower halves (ref_q5_0.c). */
static inline void lti_store_five_bits(const uint8_t code[32], uint8_t *block)
{
    uint32_t high = 0;
    lti_store_nibbles(code, block + 4);
    for (int j = 0; j < 32; j++) high |= (uint32_t)(code[j] >> 4) << j;
    memcpy(block, &high, sizeof high);
}

/* TQ2_0: element 128 g + 32 s + i is bits 2s, 2s + 1 of byte 32 g + i. */
static inline void lti_store_pairs(const uint8_t code[256], uint8_t *bytes)
{
    for (int i = 0; i < 64; i++) {
        const uint8_t *c = code + i / 32 * 128 + i % 32;
        bytes[i] = (uint8_t)(c[0] | c[32] << 2 | c[64] << 4 | c[96] << 6);
    }
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

static inline float lti_float_at(const uint8_t *p)
{
    return lti_bits_float(lti_word_at(p));
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

/* Values in order, for encoders: code order[i] is for numbers above thresholds[i - 1] and up to thresholds[i]. Where
 * fewer than 16 values are, infinities follow. */
typedef struct lti_codebook {
    float thresholds[16];
    uint8_t order[16];
} lti_codebook;

/* The place of v, in four comparisons; 0 for a NaN. */
static inline int lti_place(const lti_codebook *book, float v)
{
    const float *t = book->thresholds;
    int i = v > t[7] ? 8 : 0;
    i += v > t[i + 3] ? 4 : 0;
    i += v > t[i + 1] ? 2 : 0;
    return i + (v > t[i] ? 1 : 0);
}

/* E2M1 times two: the nearest value, between two the one nearer to 0. A negative threshold is therefore the float just
 * below the middle. */
static const lti_codebook lti_e2m1_book = {{-0x1.400002p+3f, -0x1.c00002p+2f, -0x1.400002p+2f, -0x1.c00002p+1f,
                                            -0x1.400002p+1f, -0x1.800002p+0f, -0x1.000002p-1f, 0.5f, 1.5f, 2.5f, 3.5f,
                                            5, 7, 10, INFINITY, INFINITY},
                                           {15, 14, 13, 12, 11, 10, 9, 0, 1, 2, 3, 4, 5, 6, 7, 7}};

/* NF4: quantiles of a normal distribution, -1 to 1, with a 0 (Dettmers et al., QLoRA, 2023, appendix E). */
static const float lti_nf4_values[16] = {-1,
                                         -0.6961928009986877f,
                                         -0.5250730514526367f,
                                         -0.39491748809814453f,
                                         -0.28444138169288635f,
                                         -0.18477343022823334f,
                                         -0.09105003625154495f,
                                         0,
                                         0.07958029955625534f,
                                         0.16093020141124725f,
                                         0.24611230194568634f,
                                         0.33791524171829224f,
                                         0.44070982933044434f,
                                         0.5626170039176941f,
                                         0.7229568362236023f,
                                         1};

/* The middles of two neighbours, rounded to float; on it the lower one. */
static const lti_codebook lti_nf4_book = {{-0x1.b239bp-1f, -0x1.38a4ep-1f, -0x1.d709p-2f, -0x1.5bd4ecp-2f,
                                           -0x1.e079d8p-3f, -0x1.1a7178p-3f, -0x1.74f0e2p-5f, 0x1.45f5fep-5f,
                                           0x1.ec90c4p-4f, 0x1.a0cfcp-3f, 0x1.2b05a8p-2f, 0x1.8ea7f2p-2f,
                                           0x1.00da08p-1f, 0x1.491b5ep-1f, 0x1.b913b4p-1f, INFINITY},
                                          {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}};

/* FP4: a sign, two bits of exponent, one of mantissa, over 12; exponents are not in the order of their numbers. */
static const float lti_fp4_values[16] = {0, 0.0625f / 12,  8.0f / 12,  1,  4.0f / 12,  0.5f,  2.0f / 12,  0.25f,
                                         0, -0.0625f / 12, -8.0f / 12, -1, -4.0f / 12, -0.5f, -2.0f / 12, -0.25f};

/* As NF4's. Both codes of 0 are used: 0 up to 0, 8 above it. */
static const lti_codebook lti_fp4_book = {{-0x1.aaaaacp-1f, -0x1.2aaaacp-1f, -0x1.aaaaacp-2f, -0x1.2aaaacp-2f,
                                           -0x1.aaaaacp-3f, -0x1.6p-4f, -0x1.555556p-9f, 0, 0x1.555556p-9f, 0x1.6p-4f,
                                           0x1.aaaaacp-3f, 0x1.2aaaacp-2f, 0x1.aaaaacp-2f, 0x1.2aaaacp-1f,
                                           0x1.aaaaacp-1f, INFINITY},
                                          {11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3}};

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
