/* simd_attention_narrow.c - fused attention over blocks for head dimensions of 8 and 16, those of small models.
 *
 * The plan of simd_attention.c: panels of queries (forward) or keys (backward), rows of the other side passing by. But
 * where a product runs over 8 components, what stands around it weighs as much as the product, so here
 *     the dimension is a constant, and loops over it are unrolled;
 *     scores leave their registers as probabilities: the scale and log2 e are multiplied into a panel, -lse and -delta
 *     are what the sums begin with, and 2^x takes 7 instructions on AVX-512;
 *     dq fills its vectors: where a row is half a vector, two keys share one, and a pair of ds is broadcast to both;
 *     a block on the diagonal is cut finer, and takes half of the lanes where the others see nothing.
 *
 * As there, a masked score counts as p = 0, and rows that see nothing are set to 0 in the end.
 *
 * Rejected: sums of p and ds kept in registers across all four products of a block, which needs more than 32 registers
 * at dimension 8. Rejected too: a probability kept from the forward, [T, S] of memory for 8 products saved. */
#include "kernels/simd/attention_narrow.h"
#include "kernels/simd/attention_panels.h"

enum { LANES = WIDE * V, HALF = WIDE / 2 };
static const double log2_e = 1.4426950408889634, ln_2 = 0.6931471805599453;

/* 2^x = 2^floor(x) 2^r; 2^r by a polynomial of degree 5, exact at 0, of the least relative error (8e-8). 2^-inf = 0;
 * NaN stays NaN. */
VI vf power2(vf x)
{
#ifdef LTI_ISA_avx512
    vf r = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
#else
    x = v_min(v_set(129), v_max(v_set(-150), x));
    vf n = _mm256_floor_ps(x), r = v_sub(x, n);
#endif
    vf p = v_fma(v_set(0.00186713017f), r, v_set(0.00901702978f));
    p = v_fma(p, r, v_set(0.0557999127f));
    p = v_fma(p, r, v_set(0.240164444f));
    p = v_fma(p, r, v_set(0.693151295f));
    p = v_fma(p, r, v_set(1));
#ifdef LTI_ISA_avx512
    return _mm512_scalef_ps(p, x); /* rounds x down itself */
#else
    return v_scale2(p, n);
#endif
}

VI void begin_with(int height, int vecs, const float *start, vf sum[4][4])
{
#pragma GCC unroll 4
    for (int r = 0; r < height; r++)
#pragma GCC unroll 4
        for (int l = 0; l < vecs; l++) sum[r][l] = v_set(start[r]);
}

/* sum[r][l] += <row r, lanes of the panel [dim][LANES]> for `height` rows. */
VI void multiply(int dim, int height, int vecs, const float *row, int64_t stride, const float *panel, vf sum[4][4])
{
#pragma GCC unroll 16
    for (int d = 0; d < dim; d++) {
        vf w[4];
#pragma GCC unroll 4
        for (int l = 0; l < vecs; l++) w[l] = v_load(panel + d * LANES + l * V);
#pragma GCC unroll 4
        for (int r = 0; r < height; r++) {
            vf x = v_set(row[r * stride + d]);
#pragma GCC unroll 4
            for (int l = 0; l < vecs; l++) sum[r][l] = v_fma(x, w[l], sum[r][l]);
        }
    }
}

/* acc[d][lane] += sum of s[r][lane] row[r][d] over `count` rows. With `keep`, what acc holds is multiplied by it first. */
VI void collect(int dim, int vecs, const float *row, int64_t stride, int count, const float *s, const vf *keep,
                float *acc)
{
    for (int d = 0; d < dim; d += 4, row += 4, acc += 4 * LANES) {
        vf sum[4][4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
#pragma GCC unroll 4
            for (int l = 0; l < vecs; l++) {
                sum[i][l] = v_load(acc + i * LANES + l * V);
                if (keep) sum[i][l] = v_mul(sum[i][l], keep[l]);
            }
        for (int r = 0; r < count; r++) {
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) {
                vf x = v_set(row[r * stride + i]);
#pragma GCC unroll 4
                for (int l = 0; l < vecs; l++) sum[i][l] = v_fma(x, v_load(s + r * LANES + l * V), sum[i][l]);
            }
        }
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
#pragma GCC unroll 4
            for (int l = 0; l < vecs; l++) v_store(acc + i * LANES + l * V, sum[i][l]);
    }
}

/* As pack, [dim][LANES], times `factor`. */
static void pack_scaled(rows x, int64_t first, int64_t count, float factor, float *panel)
{
    pack(x, first, count, LANES, panel);
    for (int64_t i = 0; i < x.dim * LANES; i += V) v_store(panel + i, v_mul(v_load(panel + i), v_set(factor)));
}

/* ---- Forward: lanes are queries ---- */

/* A group of queries; what a lane has seen so far in max, total and acc. */
typedef struct queries {
    float *q, *acc;     /* [dim][LANES]; q times scale log2 e */
    float *s;           /* [BLOCK][LANES] */
    float *max, *total; /* [LANES] */
    int32_t low[LANES], high[LANES];
} queries;

/* Scores of `height` keys, -infinity where they are not seen; the first of them is row r of the block. */
VI void scores_of(int dim, int height, int vecs, bool masked, const queries *g, int at, const float *k, int64_t stride,
                  int r, vf *top)
{
    const float zeros[4] = {0};
    vf sum[4][4];
    begin_with(height, vecs, zeros, sum);
    multiply(dim, height, vecs, k + r * stride, stride, g->q + at, sum);
#pragma GCC unroll 4
    for (int i = 0; i < height; i++)
#pragma GCC unroll 4
        for (int l = 0; l < vecs; l++) {
            vf x = sum[i][l];
            if (masked) {
                x = v_select(v_gti(v_loadi(g->high + at + l * V), v_seti(r + i)), x, v_set(-INFINITY));
                x = v_select(v_gti(v_seti(r + i + 1), v_loadi(g->low + at + l * V)), x, v_set(-INFINITY));
            }
            v_store(g->s + (r + i) * LANES + l * V, x);
            top[l] = v_max(x, top[l]);
        }
}

/* n keys and values, for the lanes from `at` on. */
VI void forward_block(int dim, int vecs, bool masked, const queries *g, int at, const float *k, const float *v,
                      int64_t stride, int n)
{
    vf top[4], base[4], sum[4], keep[4];
    for (int l = 0; l < vecs; l++) top[l] = v_load(g->max + at + l * V);
    int r = 0;
    for (; r + 4 <= n; r += 4) scores_of(dim, 4, vecs, masked, g, at, k, stride, r, top);
    for (; r < n; r++) scores_of(dim, 1, vecs, masked, g, at, k, stride, r, top);
#pragma GCC unroll 4
    for (int l = 0; l < vecs; l++) {
        /* With nothing but -infinity so far, subtract 0 instead: 2^-inf = 0 and not NaN. */
        base[l] = v_select(v_eq(top[l], v_set(-INFINITY)), v_zero(), top[l]);
        keep[l] = power2(v_sub(v_load(g->max + at + l * V), base[l]));
        sum[l] = v_zero();
    }
    for (r = 0; r < n; r++)
#pragma GCC unroll 4
        for (int l = 0; l < vecs; l++) {
            vf p = power2(v_sub(v_load(g->s + r * LANES + l * V), base[l]));
            v_store(g->s + r * LANES + l * V, p);
            sum[l] = v_add(sum[l], p);
        }
    for (int l = 0; l < vecs; l++) {
        v_store(g->max + at + l * V, top[l]);
        v_store(g->total + at + l * V, v_fma(v_load(g->total + at + l * V), keep[l], sum[l]));
    }
    collect(dim, vecs, v, stride, n, g->s, keep, g->acc + at);
}

/* What each lane sees of the keys first .. first + n; whether the lower half of the lanes sees none. */
static bool lower_blind(const sight *w, int64_t first, int n, queries *g)
{
    bool blind = w->count > HALF * V;
    for (int64_t i = 0; i < w->count; i++) {
        g->low[i] = within(w->begin[i] - first, n);
        g->high[i] = within(w->end[i] - first, n);
        if (i < HALF * V && g->low[i] < g->high[i]) blind = false;
    }
    return blind;
}

static void write_queries(const lti_attention_task *t, int64_t begin, int64_t count, const queries *g)
{
    for (int l = 0; l < LANES; l += V) {
        vf inverse = v_div(v_set(1), v_load(g->total + l));
        for (int64_t i = l; i < t->dim * LANES; i += LANES) v_store(g->acc + i, v_mul(v_load(g->acc + i), inverse));
    }
    transpose(t->dim, count, g->acc, LANES, t->out + (begin * t->heads + t->head) * t->dim, t->heads * t->dim);
    for (int64_t i = 0; i < count; i++)
        t->lse[t->head * t->T + begin + i] = (float)((double)g->max[i] * ln_2 + log((double)g->total[i]));
}

VI void forward_group(int dim, const lti_attention_task *t, int64_t begin, int64_t count, float *scratch)
{
    int64_t group = t->head / (t->heads / t->kv_heads), stride = t->kv_heads * dim;
    queries g = {.q = scratch, .acc = scratch + dim * LANES, .max = scratch + 2 * dim * LANES};
    g.total = g.max + LANES;
    g.s = g.total + LANES;
    sight w;
    look(t, begin, count, &w);
    pack_scaled(rows_of(t->q, t->heads, t->head, dim), begin, count, (float)((double)t->scale * log2_e), g.q);
    memset(g.acc, 0, (size_t)(dim * LANES) * sizeof *g.acc);
    for (int l = 0; l < LANES; l += V) {
        v_store(g.max + l, v_set(-INFINITY));
        v_store(g.total + l, v_zero());
    }
    for (int64_t j = w.first; j < w.last; j += BLOCK) {
        int n = (int)least(BLOCK, w.last - j);
        if (!seen(&w, j, n)) continue;
        const float *k = t->k + j * stride + group * dim, *v = t->v + j * stride + group * dim;
        if (j >= w.common && j + n <= w.until)
            forward_block(dim, WIDE, false, &g, 0, k, v, stride, n);
        else if (lower_blind(&w, j, n, &g))
            forward_block(dim, HALF, true, &g, HALF * V, k, v, stride, n);
        else
            forward_block(dim, WIDE, true, &g, 0, k, v, stride, n);
    }
    write_queries(t, begin, count, &g);
    clear_blind(&w, t->heads * dim, dim, t->out + (begin * t->heads + t->head) * dim);
}

static void forward_8(const lti_attention_task *t, int64_t begin, int64_t count, float *scratch)
{
    forward_group(8, t, begin, count, scratch);
}

static void forward_16(const lti_attention_task *t, int64_t begin, int64_t count, float *scratch)
{
    forward_group(16, t, begin, count, scratch);
}

bool LTI_FN(attention_narrow)(const lti_attention_task *t, float *scratch)
{
    if (t->dim != 8 && t->dim != 16) return false;
    for (int64_t i = t->begin; i < t->end; i += LANES)
        (t->dim == 8 ? forward_8 : forward_16)(t, i, least(LANES, t->end - i), scratch);
    return true;
}

/* ---- Backward: lanes are keys ---- */

/* A group of keys, and what is formed of a block of queries. */
typedef struct keys {
    int64_t begin, count;
    float *k, *v, *dk, *dv;      /* [dim][LANES]; k times scale log2 e */
    float *wide;                 /* [LANES][dim], k times scale: what dq is made of (spread_keys) */
    float *p, *ds;               /* [BLOCK][LANES]; ds without the scale */
    float *lse, *delta;          /* [BLOCK]: -lse log2 e, -delta */
    int low[BLOCK], high[BLOCK]; /* the lanes that a query sees */
} keys;

/* p of `height` queries, the first of them row r of the block. */
VI void probabilities_of(int dim, int height, int vecs, bool masked, const keys *g, const float *q, int64_t stride,
                         int r)
{
    vf sum[4][4];
    begin_with(height, vecs, g->lse + r, sum);
    multiply(dim, height, vecs, q + r * stride, stride, g->k, sum);
#pragma GCC unroll 4
    for (int i = 0; i < height; i++)
#pragma GCC unroll 4
        for (int l = 0; l < vecs; l++) {
            vf x = power2(sum[i][l]);
            if (masked) {
                vi lane = v_addi(v_count(), v_seti(l * V));
                x = v_select(v_gti(v_seti(g->high[r + i]), lane), x, v_zero());
                x = v_select(v_gti(lane, v_seti(g->low[r + i] - 1)), x, v_zero());
            }
            v_store(g->p + (r + i) * LANES + l * V, x);
        }
}

/* The same for ds. */
VI void slopes_of(int dim, int height, int vecs, const keys *g, const float *dout, int64_t stride, int r)
{
    vf sum[4][4];
    begin_with(height, vecs, g->delta + r, sum);
    multiply(dim, height, vecs, dout + r * stride, stride, g->v, sum);
#pragma GCC unroll 4
    for (int i = 0; i < height; i++)
#pragma GCC unroll 4
        for (int l = 0; l < vecs; l++) {
            int64_t at = (r + i) * LANES + l * V;
            v_store(g->ds + at, v_mul(v_load(g->p + at), sum[i][l]));
        }
}

/* Keys as dq takes them: rows, or, where two fit into a vector, pairs of rows with their components side by side. */
VI void spread_keys(int dim, rows k, float scale, keys *g)
{
    memset(g->wide, 0, (size_t)(dim * LANES) * sizeof *g->wide);
    for (int64_t j = 0; j < g->count; j++) {
        const float *row = k.data + (g->begin + j) * k.stride;
        float *to = g->wide + (dim < V ? (j & ~1) * dim + (j & 1) : j * dim);
        for (int d = 0; d < dim; d++) to[dim < V ? 2 * d : d] = scale * row[d];
    }
}

#ifdef LTI_ISA_avx512
/* `height` rows of 8 numbers; sums over pairs of keys. */
VI void add_dq_pairs(int height, int lanes, const float *ds, const float *wide, int64_t stride, float *dq)
{
    vf sum[8];
#pragma GCC unroll 8
    for (int r = 0; r < height; r++) sum[r] = v_zero();
    for (int j = 0; j < lanes; j += 2, wide += V) {
        vf w = v_load(wide);
#pragma GCC unroll 8
        for (int r = 0; r < height; r++) {
            double pair;
            memcpy(&pair, ds + r * LANES + j, sizeof pair);
            sum[r] = v_fma(_mm512_castpd_ps(_mm512_set1_pd(pair)), w, sum[r]);
        }
    }
    const vi even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 0, 2, 4, 6, 8, 10, 12, 14);
#pragma GCC unroll 8
    for (int r = 0; r < height; r++) {
        vf both = _mm512_permutexvar_ps(even, v_add(sum[r], v_swap_pairs(sum[r])));
        float *y = dq + r * stride;
        _mm256_storeu_ps(y, _mm256_add_ps(_mm256_loadu_ps(y), _mm512_castps512_ps256(both)));
    }
}
#endif

/* `height` rows of dq += ds wide, over the first `lanes` keys. */
VI void add_dq_of(int dim, int height, int lanes, const float *ds, const float *wide, int64_t stride, float *dq)
{
#ifdef LTI_ISA_avx512
    if (dim < V) {
        add_dq_pairs(height, lanes, ds, wide, stride, dq);
        return;
    }
#endif
    for (int d = 0; d < dim; d += V, dq += V) {
        vf sum[8];
#pragma GCC unroll 8
        for (int r = 0; r < height; r++) sum[r] = v_load(dq + r * stride);
        for (int j = 0; j < lanes; j++) {
            vf w = v_load(wide + j * dim + d);
#pragma GCC unroll 8
            for (int r = 0; r < height; r++) sum[r] = v_fma(v_set(ds[r * LANES + j]), w, sum[r]);
        }
#pragma GCC unroll 8
        for (int r = 0; r < height; r++) v_store(dq + r * stride, sum[r]);
    }
}

/* lse and delta of n queries; four rows at once, the last one again where there are fewer. */
VI void describe_queries(int dim, const keys *g, const float *lse, const float *dout, const float *o, int64_t stride,
                         int n)
{
    LTI_EACH (r, left, n) { v_put(g->lse + r, v_mul(v_get(lse + r, left), v_set((float)-log2_e)), left); }
    for (int r = 0; r < n; r += 4) {
        __m256 sum[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            int64_t at = (r + i < n ? r + i : n - 1) * stride;
            sum[i] = _mm256_setzero_ps();
#pragma GCC unroll 2
            for (int d = 0; d < dim; d += 8)
                sum[i] = _mm256_fnmadd_ps(_mm256_loadu_ps(dout + at + d), _mm256_loadu_ps(o + at + d), sum[i]);
        }
        __m256 both = _mm256_hadd_ps(_mm256_hadd_ps(sum[0], sum[1]), _mm256_hadd_ps(sum[2], sum[3]));
        _mm_storeu_ps(g->delta + r, _mm_add_ps(_mm256_castps256_ps128(both), _mm256_extractf128_ps(both, 1)));
    }
}

/* What n queries of one head, from `first` on, add to dk and dv of the keys, and these to their dq. */
VI void grad_block(int dim, int vecs, bool masked, const lti_attention_task *t, const keys *g, int64_t head,
                   int64_t first, int n)
{
    int64_t stride = t->heads * dim, at = first * stride + head * dim;
    const float *q = t->q + at, *dout = t->dout + at;
    float *dq = t->dq + at;
    describe_queries(dim, g, t->lse + head * t->T + first, dout, t->o + at, stride, n);
    int r = 0;
    for (; r + 4 <= n; r += 4) probabilities_of(dim, 4, vecs, masked, g, q, stride, r);
    for (; r < n; r++) probabilities_of(dim, 1, vecs, masked, g, q, stride, r);
    for (r = 0; r + 4 <= n; r += 4) slopes_of(dim, 4, vecs, g, dout, stride, r);
    for (; r < n; r++) slopes_of(dim, 1, vecs, g, dout, stride, r);
    collect(dim, vecs, dout, stride, n, g->p, NULL, g->dv);
    collect(dim, vecs, q, stride, n, g->ds, NULL, g->dk);
    for (r = 0; r + 8 <= n; r += 8) add_dq_of(dim, 8, vecs * V, g->ds + r * LANES, g->wide, stride, dq + r * stride);
    for (; r < n; r++) add_dq_of(dim, 1, vecs * V, g->ds + r * LANES, g->wide, stride, dq + r * stride);
}

/* Whether n queries from `first` on see all the keys, and these fill the lanes. Without spans the range of keys moves one
 * way, and the first and the last query tell of those between. */
static bool all_seen(const lti_attention_task *t, const keys *g, int64_t first, int n)
{
    bool all = g->count == LANES;
    for (int r = 0; all && r < n; r += t->spans || n < 2 ? 1 : n - 1) {
        int64_t begin, end;
        lti_attention_keys(t, first + r, &begin, &end);
        all = begin <= g->begin && end >= g->begin + LANES;
    }
    return all;
}

/* Which lanes the n queries from `first` on see; how many lanes hold all of these, 0 when there are none. */
static int lanes_seen(const lti_attention_task *t, keys *g, int64_t first, int n)
{
    int most = 0;
    for (int r = 0; r < n; r++) {
        int64_t begin, end;
        lti_attention_keys(t, first + r, &begin, &end);
        g->low[r] = within(begin - g->begin, g->count);
        g->high[r] = within(end - g->begin, g->count);
        if (g->low[r] < g->high[r] && g->high[r] > most) most = g->high[r];
    }
    return most;
}

/* The queries [i, until) of one head. */
VI void grad_head(int dim, const lti_attention_task *t, keys *g, int64_t head, int64_t i, int64_t until)
{
    for (int n; i < until; i += n) {
        n = (int)least(BLOCK, until - i);
        if (all_seen(t, g, i, n)) {
            grad_block(dim, WIDE, false, t, g, head, i, n);
            continue;
        }
        n = (int)least(BLOCK / 2, until - i);
        int lanes = lanes_seen(t, g, i, n);
        if (lanes > HALF * V)
            grad_block(dim, WIDE, true, t, g, head, i, n);
        else if (lanes > 0)
            grad_block(dim, HALF, true, t, g, head, i, n);
    }
}

VI void grad_group(int dim, const lti_attention_task *t, int64_t begin, float *scratch)
{
    int64_t panel = dim * LANES, group = t->heads / t->kv_heads, stride = t->kv_heads * dim, from, until;
    keys g = {.begin = begin, .count = least(LANES, t->S - begin), .k = scratch, .v = scratch + panel};
    g.dk = g.v + panel, g.dv = g.dk + panel, g.wide = g.dv + panel;
    g.p = g.wide + panel, g.ds = g.p + BLOCK * LANES;
    g.lse = g.ds + BLOCK * LANES, g.delta = g.lse + BLOCK;
    rows k = rows_of(t->k, t->kv_heads, t->head, dim);
    pack_scaled(k, begin, g.count, (float)((double)t->scale * log2_e), g.k);
    pack(rows_of(t->v, t->kv_heads, t->head, dim), begin, g.count, LANES, g.v);
    spread_keys(dim, k, t->scale, &g);
    memset(g.dk, 0, 2 * (size_t)panel * sizeof *g.dk);
    askers(t, begin, g.count, &from, &until);
    for (int64_t head = t->head * group; head < (t->head + 1) * group; head++) grad_head(dim, t, &g, head, from, until);
    for (int64_t i = 0; i < panel; i += V) v_store(g.dk + i, v_mul(v_load(g.dk + i), v_set(t->scale)));
    int64_t at = begin * stride + t->head * dim;
    transpose(dim, g.count, g.dk, LANES, t->dk + at, stride);
    transpose(dim, g.count, g.dv, LANES, t->dv + at, stride);
}

static void grad_8(const lti_attention_task *t, int64_t begin, float *scratch)
{
    grad_group(8, t, begin, scratch);
}

static void grad_16(const lti_attention_task *t, int64_t begin, float *scratch)
{
    grad_group(16, t, begin, scratch);
}

bool LTI_FN(attention_grad_narrow)(const lti_attention_task *t, float *scratch)
{
    if (t->dim != 8 && t->dim != 16) return false;
    for (int64_t begin = 0; begin < t->S; begin += LANES) (t->dim == 8 ? grad_8 : grad_16)(t, begin, scratch);
    return true;
}
