/* simd_attention_few.c - fused attention of a few queries over many keys: what generation does for every token.
 *
 * Rows are the queries of all heads that a task has: they share keys and values, which are read once, in their own
 * order and without packing. Here lanes are components, not queries as in simd_attention.c: a panel of one or three
 * queries would leave most lanes idle. A block of keys is taken through three steps while it is in the first cache:
 *     scores   4 keys times TALL rows in registers; the sums of 4 keys are reduced across lanes at once
 *     softmax  lanes are keys; a running maximum and sum per row
 *     gather   acc[row] += p v, TALL rows times 4 vectors in registers
 * What a row computes does not depend on the rows beside it, so heads may be dealt to tasks in any way.
 *
 * Rejected: cutting the keys into tasks and joining their sums afterwards. It would help one kv head on many threads;
 * heads suffice for those that train models on a few. */
#include "kernels/simd/attention_few.h"

#include <string.h>

#ifdef LTI_ISA_avx512
enum { TALL = 4 };
#else
enum { TALL = 3 }; /* 4 spill */
#endif
enum { BLOCK = 32, ROWS = LTI_ATTENTION_FEW * LTI_ATTENTION_HEADS };

typedef struct few {
    int64_t dim, stride; /* stride: from a key to the next */
    int64_t rows;
    const float *q[ROWS];
    int64_t begin[ROWS], end[ROWS]; /* the keys that a row sees */
    float max[ROWS], total[ROWS], keep[ROWS];
    float *s;   /* [rows, BLOCK]: scores, then e^(s - max) */
    float *acc; /* [rows, dim] */
} few;

/* The sums over the lanes of four vectors. */
VI __m128 sum4(const vf *a)
{
    __m256 h[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
#ifdef LTI_ISA_avx512
        h[i] = _mm256_add_ps(_mm512_castps512_ps256(a[i]), _mm512_extractf32x8_ps(a[i], 1));
#else
        h[i] = a[i];
#endif
    __m256 t = _mm256_hadd_ps(_mm256_hadd_ps(h[0], h[1]), _mm256_hadd_ps(h[2], h[3]));
    return _mm_add_ps(_mm256_castps256_ps128(t), _mm256_extractf128_ps(t, 1));
}

/* Components d .. d + left of 4 keys times `height` rows. */
VI void multiply(int height, const float *const *q, const float *const *k, int64_t d, int64_t left, vf sum[][4])
{
    vf key[4];
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) key[c] = v_get(k[c] + d, left);
#pragma GCC unroll 4
    for (int r = 0; r < height; r++) {
        vf x = v_get(q[r] + d, left);
#pragma GCC unroll 4
        for (int c = 0; c < 4; c++) sum[r][c] = v_fma(x, key[c], sum[r][c]);
    }
}

/* Scores of `height` rows with `n` keys; what lies beyond n is a copy of the last. */
VI void scores_of(int height, const few *f, int64_t row, const float *k, int n)
{
    for (int j = 0; j < n; j += 4) {
        const float *key[4];
        vf sum[4][4];
        for (int c = 0; c < 4; c++) key[c] = k + (j + c < n ? j + c : n - 1) * f->stride;
#pragma GCC unroll 4
        for (int r = 0; r < height; r++)
#pragma GCC unroll 4
            for (int c = 0; c < 4; c++) sum[r][c] = v_zero();
        int64_t d = 0;
        for (; d + V <= f->dim; d += V) multiply(height, f->q + row, key, d, V, sum);
        if (d < f->dim) multiply(height, f->q + row, key, d, f->dim - d, sum);
#pragma GCC unroll 4
        for (int r = 0; r < height; r++) _mm_storeu_ps(f->s + (row + r) * BLOCK + j, sum4(sum[r]));
    }
}

/* Scores of keys first .. first + n to e^(scale s - max); those the row does not see, and those beyond n, to 0. */
static void softmax_of(few *f, int64_t row, int64_t first, int n, float scale)
{
    float *s = f->s + row * BLOCK;
    int64_t low = f->begin[row] - first, high = f->end[row] - first;
    vi from = v_seti(low < 0   ? -1
                     : low < n ? (int)low - 1
                               : n),
       until = v_seti(high < 0   ? 0
                      : high < n ? (int)high
                                 : n);
    vf top = v_set(f->max[row]), sum = v_zero();
    for (int j = 0; j < BLOCK; j += V) {
        vi key = v_addi(v_count(), v_seti(j));
        vf x = v_select(v_gti(key, from), v_mul(v_set(scale), v_load(s + j)), v_set(-INFINITY));
        x = v_select(v_gti(until, key), x, v_set(-INFINITY));
        v_store(s + j, x);
        top = v_max(x, top);
    }
    float max = v_hmax(top), base = max == -INFINITY ? 0 : max; /* nothing seen so far: e^-inf = 0 and not NaN */
    for (int j = 0; j < BLOCK; j += V) {
        vf p = v_exp(v_sub(v_load(s + j), v_set(base)));
        v_store(s + j, p);
        sum = v_add(sum, p);
    }
    float keep[V];
    v_store(keep, v_exp(v_set(f->max[row] - base)));
    f->keep[row] = keep[0];
    f->total[row] = f->total[row] * f->keep[row] + v_sum(sum);
    f->max[row] = max;
}

/* Components d .. d + vecs V (the last vector: `left` of them) of `height` rows: acc = keep acc + sum of p v. */
VI void gather_of(int height, int vecs, const few *f, int64_t row, const float *v, int n, int64_t d, int64_t left)
{
    vf sum[4][4];
#pragma GCC unroll 4
    for (int r = 0; r < height; r++)
#pragma GCC unroll 4
        for (int l = 0; l < vecs; l++) {
            const float *acc = f->acc + (row + r) * f->dim + d + l * V;
            sum[r][l] = v_mul(v_get(acc, vecs == 1 ? left : V), v_set(f->keep[row + r]));
        }
    for (int j = 0; j < n; j++, v += f->stride) {
        vf value[4];
#pragma GCC unroll 4
        for (int l = 0; l < vecs; l++) value[l] = v_get(v + d + l * V, vecs == 1 ? left : V);
#pragma GCC unroll 4
        for (int r = 0; r < height; r++) {
            vf p = v_set(f->s[(row + r) * BLOCK + j]);
#pragma GCC unroll 4
            for (int l = 0; l < vecs; l++) sum[r][l] = v_fma(p, value[l], sum[r][l]);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < height; r++)
#pragma GCC unroll 4
        for (int l = 0; l < vecs; l++) v_put(f->acc + (row + r) * f->dim + d + l * V, sum[r][l], vecs == 1 ? left : V);
}

VI void gather(int height, const few *f, int64_t row, const float *v, int n)
{
    int64_t d = 0;
    for (; d + 4 * V <= f->dim; d += 4 * V) gather_of(height, 4, f, row, v, n, d, V);
    for (; d + V <= f->dim; d += V) gather_of(height, 1, f, row, v, n, d, V);
    if (d < f->dim) gather_of(height, 1, f, row, v, n, d, f->dim - d);
}

/* step(height, f, row, ...) over all rows, TALL at a time. */
#define FOR_ROWS(step, ...)                                                                                            \
    for (int64_t row = 0; row < f->rows; row += TALL) switch (f->rows - row < TALL ? f->rows - row : TALL) {           \
        case 1: step(1, f, row, __VA_ARGS__); break;                                                                   \
        case 2: step(2, f, row, __VA_ARGS__); break;                                                                   \
        case 3: step(3, f, row, __VA_ARGS__); break;                                                                   \
        default: step(TALL, f, row, __VA_ARGS__);                                                                      \
        }

/* One block of keys: k and v are its first rows. */
static void take_block(few *f, const float *k, const float *v, int64_t first, int n, float scale)
{
    FOR_ROWS(scores_of, k, n)
    for (int64_t row = 0; row < f->rows; row++) softmax_of(f, row, first, n, scale);
    FOR_ROWS(gather, v, n)
}

/* Row r is query begin + r % count of head t->head + r / count. */
static void set_up(few *f, const lti_attention_task *t, float *scratch)
{
    int64_t count = t->end - t->begin;
    f->dim = t->dim;
    f->stride = t->kv_heads * t->dim;
    f->rows = (1 + t->more_heads) * count;
    f->acc = scratch;
    f->s = scratch + f->rows * t->dim;
    memset(f->acc, 0, (size_t)(f->rows * t->dim) * sizeof *f->acc);
    for (int64_t r = 0; r < f->rows; r++) {
        int64_t i = t->begin + r % count;
        f->q[r] = t->q + (i * t->heads + t->head + r / count) * t->dim;
        f->max[r] = -INFINITY;
        f->total[r] = 0;
        lti_attention_keys(t, i, &f->begin[r], &f->end[r]);
    }
}

static void put_row(const few *f, const lti_attention_task *t, int64_t r)
{
    int64_t count = t->end - t->begin, head = t->head + r / count, i = t->begin + r % count;
    bool blind = f->begin[r] >= f->end[r];
    float *out = t->out + (i * t->heads + head) * t->dim, inverse = 1 / f->total[r];
    for (int64_t d = 0; d < t->dim; d++) out[d] = blind ? 0 : f->acc[r * t->dim + d] * inverse;
    t->lse[head * t->T + i] = blind ? -INFINITY : (float)((double)f->max[r] + log((double)f->total[r]));
}

static bool seen(const few *f, int64_t first, int64_t n)
{
    for (int64_t r = 0; r < f->rows; r++)
        if (f->begin[r] < f->end[r] && f->begin[r] < first + n && f->end[r] > first) return true;
    return false;
}

void LTI_FN(attention_few)(const lti_attention_task *t, float *scratch)
{
    few f;
    int64_t group = t->head / (t->heads / t->kv_heads), first = t->S, last = 0;
    set_up(&f, t, scratch);
    for (int64_t r = 0; r < f.rows; r++) {
        if (f.begin[r] >= f.end[r]) continue;
        if (f.begin[r] < first) first = f.begin[r];
        if (f.end[r] > last) last = f.end[r];
    }
    for (int64_t j = first; j < last; j += BLOCK) {
        int64_t at = j * f.stride + group * t->dim, n = last - j < BLOCK ? last - j : BLOCK;
        if (seen(&f, j, n)) take_block(&f, t->k + at, t->v + at, j, (int)n, t->scale);
    }
    for (int64_t r = 0; r < f.rows; r++) put_row(&f, t, r);
}
