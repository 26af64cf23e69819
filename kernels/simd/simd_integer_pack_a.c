/* simd_integer_pack_a.c - six rows of activations into a panel (integer_panels.h), 32 codes of each at a time: the bytes
 * of ref_integer.c. Sums of codes come from the turned quads, where each row has its lane. */
#include "kernels/lattice/blocks.h"
#include "kernels/simd/integer_transpose.h"

enum { ROWS = LTI_INTEGER_ROWS };

/* How codes lie in a row: parts of 32, so many to a block. */
typedef struct layout {
    int64_t bytes; /* of a block */
    int parts, header;
} layout;

/* Six of eight lanes. Masked stores are slow on AMD. */
VI void put_six(void *to, __m256i v)
{
    _mm_storeu_si128(to, _mm256_castsi256_si128(v));
    _mm_storel_epi64((void *)((char *)to + 16), _mm256_extracti128_si256(v, 1));
}

VI layout layout_of(lt_dtype type)
{
    if (type == LT_I8) return (layout){32, 1, 0};
    return (layout){(int64_t)lt_dtype_bytes(type), type == LT_Q8_K ? 8 : 1, type == LT_Q8_0 ? 2 : 4};
}

/* Numbers of six rows at one place of their blocks, as floats. Halves are put together in a register: going by way of
 * memory, the load waits for six small stores. */
VI __m256 halves_at(const uint8_t *const block[ROWS], int at)
{
    uint64_t words[2] = {0};
#pragma GCC unroll 6
    for (int r = 0; r < ROWS; r++) {
        uint16_t half;
        memcpy(&half, block[r] + at, sizeof half);
        words[r / 4] |= (uint64_t)half << r % 4 * 16;
    }
    return _mm256_cvtph_ps(_mm_set_epi64x((long long)words[1], (long long)words[0]));
}

VI __m256 scales_at(lt_dtype type, const uint8_t *const block[ROWS], int64_t rows, const R *scale)
{
    float scales[8] = {0};
    if (type == LT_Q8_0 || type == LT_Q8_1) return halves_at(block, 0);
    for (int r = 0; type == LT_Q8_K && r < ROWS; r++) memcpy(&scales[r], block[r], sizeof *scales);
    for (int64_t r = 0; type == LT_I8 && r < rows; r++) scales[r] = scale[r];
    return _mm256_loadu_ps(scales);
}

/* Stores of eight lanes overlap: the next goes over two. */
VI void put_group(__m256i start, __m256 scales, __m256 sums, lti_integer_group *to)
{
    _mm256_storeu_si256((void *)to->start, start);
    _mm256_storeu_ps(to->scale, scales);
    put_six(to->sum, _mm256_castps_si256(sums));
}

/* Sums of the four codes of each lane of four vectors. */
VI __m256i sum_quads(const __m256i r[4])
{
    const __m256i one = _mm256_set1_epi8(1);
    __m256i sum = _mm256_maddubs_epi16(one, r[0]);
    for (int i = 1; i < 4; i++) sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(one, r[i]));
    return _mm256_madd_epi16(sum, _mm256_set1_epi16(1));
}

/* Rows past the end read a block of zeros again and again; `type` is constant where this is called from. */
VI void pack(lt_dtype type, const lti_integer_form *f, int64_t rows, const uint8_t *a, const R *scale, void *panel)
{
    static const uint8_t zeros[292 + 32];
    const layout l = layout_of(type);
    const int64_t parts = lti_integer_k(f) / 32, halves = f->group / 16; /* halves of a part: 16 numbers */
    lti_integer_group *to = lti_integer_behind(f, panel, ROWS);
    const uint8_t *block[ROWS];
    __m256i total = _mm256_setzero_si256();
    int64_t part = 0, left = halves; /* the part in the block; halves of the group */
    int8_t *codes = panel;
    for (int64_t i = 0; i < ROWS; i++)
        block[i] = i < rows ? a + i * (type == LT_I8 ? f->k : f->k / (32 * l.parts) * l.bytes) : zeros;
    for (int64_t p = 0; p < parts; p++, codes += 32 * ROWS) {
        __m256i r[8] = {0};
#pragma GCC unroll 6
        for (int i = 0; i < ROWS; i++)
            if (type == LT_I8)
                r[i] = codes_of_row((const int8_t *)block[i], i < rows ? f->k : 0, 32 * p, 0);
            else
                r[i] = _mm256_loadu_si256((const void *)(block[i] + l.header + 32 * part));
        transpose_quads(r);
        const __m256i sums[2] = {sum_quads(r), sum_quads(r + 4)};
        for (int q = 0; q < 7; q++) _mm256_storeu_si256((void *)(codes + q * 4 * ROWS), r[q]);
        put_six(codes + 7 * 4 * ROWS, r[7]);
        for (int half = 0; half < 2; half++) {
            total = _mm256_add_epi32(total, sums[half]);
            if (--left) continue;
            __m256 scales = scales_at(type, block, rows, scale);
            __m256 sum = type == LT_Q8_1 ? halves_at(block, 2) : _mm256_mul_ps(scales, _mm256_cvtepi32_ps(total));
            put_group(_mm256_mullo_epi32(total, _mm256_set1_epi32(-f->offset)), scales, sum, to++);
            total = _mm256_setzero_si256();
            left = halves;
        }
        if (type == LT_I8 || ++part < l.parts) continue;
        part = 0;
        for (int i = 0; i < ROWS; i++) block[i] += i < rows ? l.bytes : 0;
    }
}

void LTI_FN(integer_pack_a)(const lti_integer_form *f, int64_t rows, const void *a, const R *scale, void *panel)
{
    if (f->a_type == LT_Q8_0)
        pack(LT_Q8_0, f, rows, a, scale, panel);
    else if (f->a_type == LT_Q8_1)
        pack(LT_Q8_1, f, rows, a, scale, panel);
    else if (f->a_type == LT_Q8_K)
        pack(LT_Q8_K, f, rows, a, scale, panel);
    else
        pack(LT_I8, f, rows, a, scale, panel);
}
