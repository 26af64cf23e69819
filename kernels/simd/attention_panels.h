/* attention_panels.h - what the attention kernels over blocks share: rows and their panels, and who sees what.
 *
 * A panel [dim][lanes] holds the rows of a task transposed, so that one vector is the same component of many rows. A full
 * group is WIDE vectors of lanes. Keys that queries see are asked of lti_attention_keys; a `sight` sums them up for a
 * block, so that blocks nobody sees are skipped and blocks everybody sees need no mask. */
#ifndef LTI_ATTENTION_PANELS_H
#define LTI_ATTENTION_PANELS_H

#include "kernels/simd/vec.h"

#include <string.h>

#ifdef LTI_ISA_avx512
enum { WIDE = 4 };
#else
enum { WIDE = 2 };
#endif
enum { BLOCK = 32, MAX_LANES = 64 };

/* Rows of one head in a [length, heads, dim] tensor. */
typedef struct rows {
    const float *data;
    int64_t stride, dim;
} rows;

static inline rows rows_of(const float *data, int64_t heads, int64_t head, int64_t dim)
{
    return (rows){data + head * dim, heads * dim, dim};
}

/* out[c][r] = in[r][c] for an 8 x 8 corner. */
VI void transpose8(const float *in, int64_t in_stride, float *out, int64_t out_stride)
{
    __m256 r[8], t[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) r[i] = _mm256_loadu_ps(in + i * in_stride);
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xEE);
        r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xEE);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps(out + i * out_stride, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
        _mm256_storeu_ps(out + (i + 4) * out_stride, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
    }
}

/* out[c][r] = in[r][c], r < height, c < width. */
static inline void transpose(int64_t height, int64_t width, const float *in, int64_t in_stride, float *out,
                             int64_t out_stride)
{
    int64_t h8 = height / 8 * 8, w8 = width / 8 * 8;
    for (int64_t r = 0; r < h8; r += 8)
        for (int64_t c = 0; c < w8; c += 8)
            transpose8(in + r * in_stride + c, in_stride, out + c * out_stride + r, out_stride);
    for (int64_t r = 0; r < height; r++)
        for (int64_t c = r < h8 ? w8 : 0; c < width; c++) out[c * out_stride + r] = in[r * in_stride + c];
}

/* Rows first .. first + count as a panel [dim][lanes]; lanes past count are 0. */
static inline void pack(rows x, int64_t first, int64_t count, int64_t lanes, float *panel)
{
    if (count < lanes) memset(panel, 0, (size_t)(x.dim * lanes) * sizeof *panel);
    transpose(count, x.dim, x.data + first * x.stride, x.stride, panel, lanes);
}

/* The keys that each of some queries sees. */
typedef struct sight {
    int64_t begin[MAX_LANES], end[MAX_LANES];
    int64_t first, last;       /* all of them lie in [first, last); first >= last: none */
    int64_t common, until;     /* every query sees all of [common, until) */
    int64_t count, empty_rows; /* queries; how many of them see nothing */
} sight;

static inline void look(const lti_attention_task *t, int64_t begin, int64_t count, sight *w)
{
    w->first = w->until = t->S;
    w->last = w->common = w->empty_rows = 0;
    w->count = count;
    for (int64_t i = 0; i < count; i++) {
        lti_attention_keys(t, begin + i, &w->begin[i], &w->end[i]);
        if (w->begin[i] > w->common) w->common = w->begin[i];
        if (w->end[i] < w->until) w->until = w->end[i];
        if (w->begin[i] >= w->end[i]) {
            w->empty_rows++;
            continue;
        }
        if (w->begin[i] < w->first) w->first = w->begin[i];
        if (w->end[i] > w->last) w->last = w->end[i];
    }
}

/* Whether some query sees one of the keys [first, first + n). */
static inline bool seen(const sight *w, int64_t first, int64_t n)
{
    if (first >= w->common && first < w->until) return true;
    for (int64_t i = 0; i < w->count; i++)
        if (w->begin[i] < first + n && w->end[i] > first && w->begin[i] < w->end[i]) return true;
    return false;
}

static inline int within(int64_t x, int64_t most)
{
    return (int)(x < 0 ? 0 : x < most ? x : most);
}

static inline int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Rows of [length, heads, dim] whose query sees nothing become 0. */
static inline void clear_blind(const sight *w, int64_t stride, int64_t dim, float *row)
{
    for (int64_t i = 0; w->empty_rows && i < w->count; i++)
        if (w->begin[i] >= w->end[i]) memset(row + i * stride, 0, (size_t)dim * sizeof *row);
}

/* The queries that may see one of the keys begin .. begin + count: [*from, *until). */
static inline void askers(const lti_attention_task *t, int64_t begin, int64_t count, int64_t *from, int64_t *until)
{
    int64_t i = t->causal && begin > t->first ? begin - t->first : 0, end = t->T, low, high;
    if (t->causal && t->window > 0) end = least(end, begin + count - 1 - t->first + least(t->window, t->first + t->T));
    for (; t->spans && i < end; i++) {
        lti_attention_keys(t, i, &low, &high);
        if (low < high && low < begin + count && high > begin) break;
    }
    for (; t->spans && end > i; end--) {
        lti_attention_keys(t, end - 1, &low, &high);
        if (low < high && low < begin + count && high > begin) break;
    }
    *from = i;
    *until = end;
}

#endif
