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

VI __m256i six_lanes(void)
{
    return _mm256_setr_epi32(-1, -1, -1, -1, -1, -1, 0, 0);
}

static layout layout_of(lt_dtype type)
{
    if (type == LT_I8) return (layout){32, 1, 0};
    return (layout){(int64_t)lt_dtype_bytes(type), type == LT_Q8_K ? 8 : 1, type == LT_Q8_0 ? 2 : 4};
}

/* Numbers of six rows at one place of their blocks, as floats; rows that are none have NULL. Halves are put together in a
 * register: going by way of memory, the load waits for six small stores. */
VI __m256 halves_at(const uint8_t *const block[ROWS], int at)
{
    uint64_t words[2] = {0};
#pragma GCC unroll 6
    for (int r = 0; r < ROWS; r++) {
        uint16_t half = 0;
        if (block[r]) memcpy(&half, block[r] + at, sizeof half);
        words[r / 4] |= (uint64_t)half << r % 4 * 16;
    }
    return _mm256_cvtph_ps(_mm_set_epi64x((long long)words[1], (long long)words[0]));
}

VI __m256 scales_at(lt_dtype type, const uint8_t *const block[ROWS], const R *scale)
{
    float scales[8] = {0};
    if (type == LT_Q8_0 || type == LT_Q8_1) return halves_at(block, 0);
    for (int r = 0; r < ROWS; r++) {
        if (!block[r]) continue;
        if (type == LT_I8)
            scales[r] = scale[r];
        else
            memcpy(&scales[r], block[r], sizeof *scales);
    }
    return _mm256_loadu_ps(scales);
}

VI void put_group(const lti_integer_form *f, const uint8_t *const block[ROWS], const R *scale, __m256i total,
                  lti_integer_group *to)
{
    const __m256i six = six_lanes();
    __m256 scales = scales_at(f->a_type, block, scale);
    __m256 sums = f->a_type == LT_Q8_1 ? halves_at(block, 2) : _mm256_mul_ps(scales, _mm256_cvtepi32_ps(total));
    _mm256_maskstore_epi32(to->start, six, _mm256_mullo_epi32(total, _mm256_set1_epi32(-f->offset)));
    _mm256_maskstore_ps(to->scale, six, scales);
    _mm256_maskstore_ps(to->sum, six, sums);
}

/* Sums of the four codes of each lane of four vectors. */
VI __m256i sum_quads(const __m256i r[4])
{
    const __m256i one = _mm256_set1_epi8(1);
    __m256i sum = _mm256_maddubs_epi16(one, r[0]);
    for (int i = 1; i < 4; i++) sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(one, r[i]));
    return _mm256_madd_epi16(sum, _mm256_set1_epi16(1));
}

/* Rows past the end are zeros, with scales and sums of 0. Stores of eight lanes overlap: the next quad's goes over two. */
void LTI_FN(integer_pack_a)(const lti_integer_form *f, int64_t rows, const void *a, const R *scale, void *panel)
{
    const layout l = layout_of(f->a_type);
    const int64_t stride = f->a_type == LT_I8 ? f->k : f->k / (32 * l.parts) * l.bytes;
    const int64_t parts = lti_integer_k(f) / 32, halves = f->group / 16; /* halves of a part: 16 numbers */
    lti_integer_group *to = lti_integer_behind(f, panel, ROWS);
    int8_t *codes = panel;
    __m256i total = _mm256_setzero_si256();
    int64_t at = 0, part = 0, left = halves; /* the block's bytes in its row, the part in the block; of the group */
    for (int64_t p = 0; p < parts; p++, codes += 32 * ROWS) {
        const uint8_t *block[ROWS] = {0};
        __m256i r[8];
        for (int i = 0; i < 8; i++) {
            r[i] = _mm256_setzero_si256();
            if (i >= rows) continue;
            block[i] = (const uint8_t *)a + i * stride + at;
            if (f->a_type == LT_I8)
                r[i] = codes_of_row((const int8_t *)a + i * stride, f->k, 32 * p, 0);
            else
                r[i] = _mm256_loadu_si256((const void *)(block[i] + l.header + 32 * part));
        }
        transpose_quads(r);
        const __m256i sums[2] = {sum_quads(r), sum_quads(r + 4)};
        for (int q = 0; q < 7; q++) _mm256_storeu_si256((void *)(codes + q * 4 * ROWS), r[q]);
        _mm256_maskstore_epi32((void *)(codes + 7 * 4 * ROWS), six_lanes(), r[7]);
        for (int half = 0; half < 2; half++) {
            total = _mm256_add_epi32(total, sums[half]);
            if (--left) continue;
            put_group(f, block, scale, total, to++);
            total = _mm256_setzero_si256();
            left = halves;
        }
        if (++part < l.parts) continue;
        part = 0;
        at += l.bytes;
    }
}
