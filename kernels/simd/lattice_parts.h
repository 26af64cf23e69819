/* lattice_parts.h - 32 numbers of a block, decoded in registers: the same float operations as lattice/ref_*.c in the
 * same order, so the same bits. simd_lattice.c stores them, simd_gemv.c multiplies them at once.
 *
 * part_<name>(block, part, w): numbers 32 part .. 32 part + 31 of the block. `part` is constant where it is called
 * from, and what parts of one block share (its scale) is computed once, for all is inlined. Codes of four bits look
 * their numbers up in a table of 16 floats that already contains scale and minimum: a table is one or two operations a
 * sub-block, a conversion and a multiplication are four. Wider codes are put together as bytes and converted. */
#ifndef LTI_LATTICE_PARTS_H
#define LTI_LATTICE_PARTS_H

#include "kernels/lattice/blocks.h"
#include "kernels/simd/vec.h"

enum { PARTS = 32 / V };

/* As lti_half_at, by the hardware. */
VI float part_half(const uint8_t *p)
{
    uint16_t half;
    memcpy(&half, p, sizeof half);
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(half)));
}

VI __m256i part_load(const uint8_t *p)
{
    return _mm256_loadu_si256((const void *)p);
}

/* (byte >> shift) & mask of 32 bytes. */
VI __m256i part_bits(const uint8_t *p, int shift, char mask)
{
    return _mm256_and_si256(_mm256_srli_epi16(part_load(p), shift), _mm256_set1_epi8(mask));
}

VI __m256i part_minus(__m256i codes, char offset)
{
    return _mm256_sub_epi8(codes, _mm256_set1_epi8(offset));
}

/* The low halves of 16 bytes, then the high ones. */
VI __m256i part_nibbles(const uint8_t *p)
{
    __m128i q = _mm_loadu_si128((const void *)p);
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(q, 4), q), _mm256_set1_epi8(15));
}

/* 16 where bit i of the word is set, for i = 0 .. 31. */
VI __m256i part_fifth_bits(const uint8_t *word)
{
    const __m256i byte = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201);
    __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi32((int)lti_word_at(word)), byte);
    __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit);
    return _mm256_and_si256(set, _mm256_set1_epi8(16));
}

/* w = codes d - m, with one d and m for the first 16 and one for the rest. */
VI void part_scaled(__m256i codes, float d0, float d1, vf w[PARTS])
{
    v_from_bytes(codes, w);
#pragma GCC unroll 4
    for (int i = 0; i < PARTS; i++) w[i] = v_mul(w[i], v_set(i < PARTS / 2 ? d0 : d1));
}

VI void part_lowered(float m0, float m1, vf w[PARTS])
{
#pragma GCC unroll 4
    for (int i = 0; i < PARTS; i++) w[i] = v_sub(w[i], v_set(i < PARTS / 2 ? m0 : m1));
}

VI v_table part_table(const float values[16], float d)
{
    v_table t;
#pragma GCC unroll 2
    for (int i = 0; i < 16 / V; i++) t.part[i] = v_mul(v_load(values + i * V), v_set(d));
    return t;
}

VI v_table part_table_plus(const float values[16], float d, float m)
{
    v_table t = part_table(values, d);
#pragma GCC unroll 2
    for (int i = 0; i < 16 / V; i++) t.part[i] = v_add(t.part[i], v_set(m));
    return t;
}

/* Numbers of 16 bytes: the low halves, then the high ones. */
VI void part_pick_halves(v_table t, const uint8_t *p, vf w[PARTS])
{
#pragma GCC unroll 2
    for (int i = 0; i < PARTS / 2; i++) {
        vi q = v_get_bytes(p + i * V);
        w[i] = v_pick(t, q);
        w[i + PARTS / 2] = v_pick(t, v_shift_right(q, 4));
    }
}

/* Numbers of one half of each of 32 bytes. */
VI void part_pick(v_table t, const uint8_t *p, int high, vf w[PARTS])
{
#pragma GCC unroll 4
    for (int i = 0; i < PARTS; i++) w[i] = v_pick(t, v_shift_right(v_get_bytes(p + i * V), high ? 4 : 0));
}

static const float part_codes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
static const float part_signed[16] = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};
static const float part_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
static const float part_e2m1_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

VI void part_q4_0(const uint8_t *block, int part, vf w[PARTS])
{
    part_pick_halves(part_table(part_signed, part_half(block)), block + 2, w);
}

VI void part_q4_1(const uint8_t *block, int part, vf w[PARTS])
{
    part_pick_halves(part_table_plus(part_codes, part_half(block), part_half(block + 2)), block + 4, w);
}

VI void part_iq4_nl(const uint8_t *block, int part, vf w[PARTS])
{
    part_pick_halves(part_table(part_iq4_values, part_half(block)), block + 2, w);
}

VI void part_mxfp4(const uint8_t *block, int part, vf w[PARTS])
{
    part_pick_halves(part_table(part_e2m1_values, lti_e8m0_half(block[0])), block + 1, w);
}

/* Numbers of 16 bytes, the high half of each first. */
VI void part_pick_pairs(v_table t, const uint8_t *p, vf w[PARTS])
{
    __m128i q = _mm_loadu_si128((const void *)p), mask = _mm_set1_epi8(15);
    __m128i high = _mm_and_si128(_mm_srli_epi16(q, 4), mask), low = _mm_and_si128(q, mask);
    vi index[PARTS];
    v_from_codes(_mm256_set_m128i(_mm_unpackhi_epi8(high, low), _mm_unpacklo_epi8(high, low)), index);
#pragma GCC unroll 4
    for (int i = 0; i < PARTS; i++) w[i] = v_pick(t, index[i]);
}

VI void part_nf4(const uint8_t *block, int part, vf w[PARTS])
{
    part_pick_pairs(part_table(lti_nf4_values, lti_float_at(block)), block + 4 + 16 * part, w);
}

VI void part_fp4(const uint8_t *block, int part, vf w[PARTS])
{
    part_pick_pairs(part_table(lti_fp4_values, lti_float_at(block)), block + 4 + 16 * part, w);
}

VI void part_q5_0(const uint8_t *block, int part, vf w[PARTS])
{
    __m256i codes = _mm256_or_si256(part_nibbles(block + 6), part_fifth_bits(block + 2));
    float d = part_half(block);
    part_scaled(part_minus(codes, 16), d, d, w);
}

VI void part_q5_1(const uint8_t *block, int part, vf w[PARTS])
{
    __m256i codes = _mm256_or_si256(part_nibbles(block + 8), part_fifth_bits(block + 4));
    float d = part_half(block), m = -part_half(block + 2); /* x - (-m) is x + m to the bit */
    part_scaled(codes, d, d, w);
    part_lowered(m, m, w);
}

VI void part_q8_0(const uint8_t *block, int part, vf w[PARTS])
{
    float d = part_half(block);
    part_scaled(part_load(block + 2), d, d, w);
}

VI void part_q2_k(const uint8_t *block, int part, vf w[PARTS])
{
    float d = part_half(block + 80), dmin = part_half(block + 82);
    int s0 = block[2 * part], s1 = block[2 * part + 1];
    part_scaled(part_bits(block + 16 + part / 4 * 32, part % 4 * 2, 3), d * (float)(s0 & 15), d * (float)(s1 & 15), w);
    part_lowered(dmin * (float)(s0 >> 4), dmin * (float)(s1 >> 4), w);
}

VI void part_q3_k(const uint8_t *block, int part, vf w[PARTS])
{
    float d = part_half(block + 108);
    __m256i low = part_bits(block + 32 + part / 4 * 32, part % 4 * 2, 3);
    __m256i codes = _mm256_or_si256(low, _mm256_slli_epi16(part_bits(block, part, 1), 2));
    part_scaled(part_minus(codes, 4), d * (float)lti_q3_k_scale(block + 96, 2 * part),
                d * (float)lti_q3_k_scale(block + 96, 2 * part + 1), w);
}

VI void part_q4_k(const uint8_t *block, int part, vf w[PARTS])
{
    int s, m;
    lti_k_scale(block + 4, part, &s, &m);
    float scale = part_half(block) * (float)s, minimum = part_half(block + 2) * (float)m;
    part_pick(part_table_plus(part_codes, scale, -minimum), block + 16 + part / 2 * 32, part % 2, w);
}

VI void part_q5_k(const uint8_t *block, int part, vf w[PARTS])
{
    int s, m;
    lti_k_scale(block + 4, part, &s, &m);
    float scale = part_half(block) * (float)s, minimum = part_half(block + 2) * (float)m;
    __m256i low = part_bits(block + 48 + part / 2 * 32, part % 2 * 4, 15);
    __m256i codes = _mm256_or_si256(low, _mm256_slli_epi16(part_bits(block + 16, part, 1), 4));
    part_scaled(codes, scale, scale, w);
    part_lowered(minimum, minimum, w);
}

VI void part_q6_k(const uint8_t *block, int part, vf w[PARTS])
{
    int g = part / 4, t = part % 4;
    float d = part_half(block + 208);
    __m256i low = part_bits(block + 64 * g + t % 2 * 32, t / 2 * 4, 15);
    __m256i codes = _mm256_or_si256(low, _mm256_slli_epi16(part_bits(block + 128 + 32 * g, 2 * t, 3), 4));
    part_scaled(part_minus(codes, 32), d * (float)(int8_t)block[192 + 2 * part],
                d * (float)(int8_t)block[193 + 2 * part], w);
}

VI void part_tq2_0(const uint8_t *block, int part, vf w[PARTS])
{
    float d = part_half(block + 64);
    part_scaled(part_minus(part_bits(block + part / 4 * 32, part % 4 * 2, 3), 1), d, d, w);
}

/* Digits of 32 ternary bytes, less 1: ((byte power mod 256) 3) >> 8, even and odd bytes apart. A pair of bytes has one
 * power of three. */
VI __m256i part_trits(__m256i bytes, __m256i power)
{
    const __m256i low = _mm256_set1_epi16(255), three = _mm256_set1_epi16(3);
    __m256i even = _mm256_and_si256(_mm256_mullo_epi16(_mm256_and_si256(bytes, low), power), low);
    __m256i odd = _mm256_and_si256(_mm256_mullo_epi16(_mm256_srli_epi16(bytes, 8), power), low);
    even = _mm256_srli_epi16(_mm256_mullo_epi16(even, three), 8);
    odd = _mm256_andnot_si256(low, _mm256_mullo_epi16(odd, three));
    return part_minus(_mm256_or_si256(even, odd), 1);
}

/* Numbers 160 .. 255 come from 16 bytes, two digits at a time, and the last 16 from four. */
VI void part_tq1_0(const uint8_t *block, int part, vf w[PARTS])
{
    const short powers[6] = {1, 3, 9, 27, 81, 0};
    float d = part_half(block + 52);
    __m256i bytes = part_load(block), power = _mm256_set1_epi16(powers[part < 5 ? part : 5]);
    if (part >= 5) {
        int digit = 2 * (part - 5);
        __m128i first = _mm_loadu_si128((const void *)(block + 32)), next = _mm_set1_epi16(powers[digit + 1]),
                then = first;
        if (part == 7) {
            then = _mm_set1_epi32((int)lti_word_at(block + 48));
            next = _mm_setr_epi16(1, 1, 3, 3, 9, 9, 27, 27);
        }
        bytes = _mm256_set_m128i(then, first);
        power = _mm256_set_m128i(next, _mm_set1_epi16(powers[digit]));
    }
    part_scaled(part_trits(bytes, power), d, d, w);
}

#endif
