/* simd_integer_pack_b.c - 32 rows of weights into a panel (integer_panels.h): the bytes of ref_integer.c. Codes are decoded
 * 32 of a row at a time, as unsigned bytes, and turned eight rows by eight quads; scales one by one, they are few. */
#include "kernels/simd/integer_transpose.h"
#include "kernels/simd/lattice_parts.h"

/* AHEAD: bytes of a row fetched early. Rows are more streams than a processor follows by itself. */
enum { COLUMNS = LTI_INTEGER_COLUMNS, AHEAD = 256 };

/* ---- Codes 32 part .. 32 part + 31 of a block, value + offset. `part` is constant where it is called from. ---- */

VI __m256i codes_q4_0(const uint8_t *block, int part)
{
    return part_nibbles(block + 2);
}

VI __m256i codes_q4_1(const uint8_t *block, int part)
{
    return part_nibbles(block + 4);
}

VI __m256i codes_q5_0(const uint8_t *block, int part)
{
    return _mm256_or_si256(part_nibbles(block + 6), part_fifth_bits(block + 2));
}

VI __m256i codes_q5_1(const uint8_t *block, int part)
{
    return _mm256_or_si256(part_nibbles(block + 8), part_fifth_bits(block + 4));
}

VI __m256i codes_q8_0(const uint8_t *block, int part)
{
    return _mm256_xor_si256(part_load(block + 2), _mm256_set1_epi8(-128));
}

/* The values of a codebook, plus an offset. */
VI __m256i looked_up(const int8_t values[16], char offset, __m256i codes)
{
    __m128i table = _mm_add_epi8(_mm_loadu_si128((const void *)values), _mm_set1_epi8(offset));
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), codes);
}

VI __m256i codes_iq4_nl(const uint8_t *block, int part)
{
    return looked_up(lti_iq4_nl_values, -128, part_nibbles(block + 2));
}

VI __m256i codes_mxfp4(const uint8_t *block, int part)
{
    return looked_up(lti_e2m1_twice, 12, part_nibbles(block + 1));
}

VI __m256i codes_q2_k(const uint8_t *block, int part)
{
    return part_bits(block + 16 + part / 4 * 32, part % 4 * 2, 3);
}

VI __m256i codes_q3_k(const uint8_t *block, int part)
{
    __m256i low = part_bits(block + 32 + part / 4 * 32, part % 4 * 2, 3);
    return _mm256_or_si256(low, _mm256_slli_epi16(part_bits(block, part, 1), 2));
}

VI __m256i codes_q4_k(const uint8_t *block, int part)
{
    return part_bits(block + 16 + part / 2 * 32, part % 2 * 4, 15);
}

VI __m256i codes_q5_k(const uint8_t *block, int part)
{
    __m256i low = part_bits(block + 48 + part / 2 * 32, part % 2 * 4, 15);
    return _mm256_or_si256(low, _mm256_slli_epi16(part_bits(block + 16, part, 1), 4));
}

VI __m256i codes_q6_k(const uint8_t *block, int part)
{
    int g = part / 4, t = part % 4;
    __m256i low = part_bits(block + 64 * g + t % 2 * 32, t / 2 * 4, 15);
    return _mm256_or_si256(low, _mm256_slli_epi16(part_bits(block + 128 + 32 * g, 2 * t, 3), 4));
}

VI __m256i codes_tq2_0(const uint8_t *block, int part)
{
    return part_bits(block + part / 4 * 32, part % 4 * 2, 3);
}

/* Which bytes have the digits is said in lattice/ref_tq1_0.c; part_trits takes a power of three for each pair of bytes. */
VI __m256i codes_tq1_0(const uint8_t *block, int part)
{
    const short powers[6] = {1, 3, 9, 27, 81, 0};
    __m256i bytes = part_load(block), power = _mm256_set1_epi16(powers[part < 5 ? part : 5]);
    if (part >= 5) {
        int digit = 2 * (part - 5);
        __m128i first = _mm_loadu_si128((const void *)(block + 32)), then = first;
        __m128i next = _mm_set1_epi16(powers[digit + 1]);
        if (part == 7) {
            then = _mm_set1_epi32((int)lti_word_at(block + 48));
            next = _mm_setr_epi16(1, 1, 3, 3, 9, 9, 27, 27);
        }
        bytes = _mm256_set_m128i(then, first);
        power = _mm256_set_m128i(next, _mm_set1_epi16(powers[digit]));
    }
    return part_minus(part_trits(bytes, power), -1);
}

/* ---- Scale and minimum of group g of a block ---- */

VI float scale_first(const uint8_t *block, int g, float *minimum)
{
    return part_half(block);
}

VI float scale_and_minimum(const uint8_t *block, int g, float *minimum)
{
    *minimum = part_half(block + 2);
    return part_half(block);
}

VI float scale_mxfp4(const uint8_t *block, int g, float *minimum)
{
    return lti_e8m0_half(block[0]);
}

VI float scale_q2_k(const uint8_t *block, int g, float *minimum)
{
    *minimum = -(part_half(block + 82) * (float)(block[g] >> 4));
    return part_half(block + 80) * (float)(block[g] & 15);
}

VI float scale_q3_k(const uint8_t *block, int g, float *minimum)
{
    return part_half(block + 108) * (float)lti_q3_k_scale(block + 96, g);
}

VI float scale_q4_k(const uint8_t *block, int g, float *minimum)
{
    int s, m;
    lti_k_scale(block + 4, g, &s, &m);
    *minimum = -(part_half(block + 2) * (float)m);
    return part_half(block) * (float)s;
}

VI float scale_q6_k(const uint8_t *block, int g, float *minimum)
{
    return part_half(block + 208) * (float)(int8_t)block[192 + g];
}

VI float scale_tq1_0(const uint8_t *block, int g, float *minimum)
{
    return part_half(block + 52);
}

VI float scale_tq2_0(const uint8_t *block, int g, float *minimum)
{
    return part_half(block + 64);
}

/* ---- Panels ---- */

typedef struct rows {
    const lti_integer_form *form;
    int64_t count, stride; /* at most 32; bytes apart */
    const uint8_t *b;
    uint8_t *codes;
    float *scales;
} rows;

typedef __m256i (*coder)(const uint8_t *block, int part);
typedef float (*scaler)(const uint8_t *block, int g, float *minimum);

/* Quads 8 p .. 8 p + 7 of rows 8 eighth .. */
VI void put_quads(const rows *r, int64_t p, int eighth, __m256i quads[8])
{
    transpose_quads(quads);
    uint8_t *to = r->codes + (p * 8 * COLUMNS + eighth * 8) * 4;
    for (int q = 0; q < 8; q++) _mm256_storeu_si256((void *)(to + q * COLUMNS * 4), quads[q]);
}

VI void pack_codes(coder codes_of, int parts, int bytes, const rows *r)
{
    int64_t blocks = r->form->k / (32 * parts);
    for (int64_t i = 0; i < blocks; i++)
#pragma GCC unroll 8
        for (int part = 0; part < parts; part++)
            for (int eighth = 0; eighth < 4; eighth++) {
                __m256i quads[8];
                for (int j = 0; j < 8; j++) {
                    int64_t row = eighth * 8 + j;
                    const uint8_t *block = r->b + row * r->stride + i * bytes;
                    quads[j] = _mm256_setzero_si256();
                    if (row >= r->count) continue;
                    _mm_prefetch(block + AHEAD + part * bytes / parts, _MM_HINT_T0);
                    quads[j] = codes_of(block, part);
                }
                put_quads(r, i * parts + part, eighth, quads);
            }
}

VI void pack_scales(scaler scale_of, int groups, int bytes, const rows *r)
{
    const int minima = r->form->minima;
    int64_t blocks = r->form->groups / groups;
    for (int64_t row = 0; row < r->count; row++) {
        const uint8_t *block = r->b + row * r->stride;
        float *to = r->scales + row;
        for (int64_t i = 0; i < blocks; i++, block += bytes)
#pragma GCC unroll 16
            for (int g = 0; g < groups; g++, to += (1 + minima) * COLUMNS) {
                float minimum = 0;
                to[0] = scale_of(block, g, &minimum);
                if (minima) to[COLUMNS] = minimum;
            }
    }
}

/* Parts and groups of a block, its bytes. */
#define PACK(name, parts, groups, bytes, scale_of)                                                                     \
    static void pack_##name(const rows *r)                                                                             \
    {                                                                                                                  \
        pack_codes(codes_##name, parts, bytes, r);                                                                     \
        pack_scales(scale_of, groups, bytes, r);                                                                       \
    }
PACK(q4_0, 1, 1, 18, scale_first)
PACK(q4_1, 1, 1, 20, scale_and_minimum)
PACK(q5_0, 1, 1, 22, scale_first)
PACK(q5_1, 1, 1, 24, scale_and_minimum)
PACK(q8_0, 1, 1, 34, scale_first)
PACK(iq4_nl, 1, 1, 18, scale_first)
PACK(mxfp4, 1, 1, 17, scale_mxfp4)
PACK(q2_k, 8, 16, 84, scale_q2_k)
PACK(q3_k, 8, 16, 110, scale_q3_k)
PACK(q4_k, 8, 8, 144, scale_q4_k)
PACK(q5_k, 8, 8, 176, scale_q4_k)
PACK(q6_k, 8, 16, 210, scale_q6_k)
PACK(tq1_0, 8, 1, 54, scale_tq1_0)
PACK(tq2_0, 8, 1, 66, scale_tq2_0)

static void pack_i8(const rows *r, const float *scale)
{
    for (int64_t p = 0; p < lti_integer_k(r->form) / 32; p++)
        for (int eighth = 0; eighth < 4; eighth++) {
            __m256i quads[8];
            for (int j = 0; j < 8; j++) {
                int64_t row = eighth * 8 + j;
                quads[j] = _mm256_setzero_si256();
                if (row < r->count)
                    quads[j] = codes_of_row((const int8_t *)r->b + row * r->stride, r->form->k, 32 * p, -128);
            }
            put_quads(r, p, eighth, quads);
        }
    for (int64_t g = 0; g < r->form->groups; g++)
        for (int64_t row = 0; row < r->count; row++) r->scales[g * COLUMNS + row] = scale[row];
}

void LTI_FN(integer_pack_b)(const lti_integer_form *f, int64_t count, const void *b, const R *scale, void *panel)
{
    lt_dtype type = f->b_type;
    rows r = {f, count, f->k / lt_dtype_block(type) * (int64_t)lt_dtype_bytes(type), b, panel, NULL};
    r.scales = lti_integer_behind(f, panel, COLUMNS);
    if (count < COLUMNS) memset(r.scales, 0, (size_t)(f->groups * (1 + f->minima) * COLUMNS) * sizeof *r.scales);
    if (type == LT_I8) pack_i8(&r, scale);
#define PACKED(lattice, name)                                                                                          \
    if (type == lattice) pack_##name(&r);
    PACKED(LT_Q4_0, q4_0)
    PACKED(LT_Q4_1, q4_1)
    PACKED(LT_Q5_0, q5_0)
    PACKED(LT_Q5_1, q5_1)
    PACKED(LT_Q8_0, q8_0)
    PACKED(LT_IQ4_NL, iq4_nl)
    PACKED(LT_MXFP4, mxfp4)
    PACKED(LT_Q2_K, q2_k)
    PACKED(LT_Q3_K, q3_k)
    PACKED(LT_Q4_K, q4_k)
    PACKED(LT_Q5_K, q5_k)
    PACKED(LT_Q6_K, q6_k)
    PACKED(LT_TQ1_0, tq1_0)
    PACKED(LT_TQ2_0, tq2_0)
#undef PACKED
}
