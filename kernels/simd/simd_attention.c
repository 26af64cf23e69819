/* simd_attention.c - fused attention over blocks, lanes = queries (forward, dq) or keys (dk, dv).
 *
 * The rows a task owns are transposed into a panel [dim][lanes], so that one vector holds the same component of many
 * rows. Rows of the other side pass by, BLOCK at a time, and every step is one of two small products:
 *     scores:  s[r][lane]    = sum_d rows[r][d] panel[d][lane]
 *     gather:  acc[d][lane] += sum_r s[r][lane] rows[r][d]
 * both with 4 broadcasts times `vecs` vectors in registers, and no sum ever runs across the lanes of a vector. A full
 * group is WIDE vectors of lanes; a short rest (one query while generating) takes a single one.
 *
 * A masked score counts as p = 0, not as absent: a NaN or infinity in v reaches the queries that share a block with it,
 * later or earlier (ref skips it). Blocks that no lane sees are skipped, so a window or packed documents cost what is
 * seen; blocks that all lanes see need no mask. Rows that see nothing are set to 0 in the end, whatever came of them.
 *
 * A few queries alone (generation) go to simd_attention_few.c, head dimensions of 8 and 16 to simd_attention_narrow.c.
 *
 * Backward: dq alone (lanes = queries), dk and dv alone (lanes = keys), or all three with the keys in the lanes, where
 * dq is a small product of ds with rows of k.
 *
 * Forward: running maximum and sum per lane (online softmax); a new maximum rescales what was accumulated. Rejected:
 * lanes = keys in the forward, which needs a reduction across lanes for each score. */
#include "kernels/simd/attention_few.h"
#include "kernels/simd/attention_narrow.h"
#include "kernels/simd/attention_panels.h"

/* `height` rows of scores; scale is applied to the finished sum. */
VI void scores_of(int height, int vecs, rows x, int64_t first, const float *panel, vf scale, float *s)
{
    const float *row = x.data + first * x.stride;
    vf sum[4][4];
#pragma GCC unroll 4
    for (int r = 0; r < height; r++)
#pragma GCC unroll 4
        for (int l = 0; l < vecs; l++) sum[r][l] = v_zero();
    for (int64_t d = 0; d < x.dim; d++, panel += vecs * V) {
#pragma GCC unroll 4
        for (int r = 0; r < height; r++) {
            vf f = v_set(row[r * x.stride + d]);
#pragma GCC unroll 4
            for (int l = 0; l < vecs; l++) sum[r][l] = v_fma(f, v_load(panel + l * V), sum[r][l]);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < height; r++)
#pragma GCC unroll 4
        for (int l = 0; l < vecs; l++) v_store(s + (r * vecs + l) * V, v_mul(scale, sum[r][l]));
}

VI void scores(int vecs, rows x, int64_t first, int count, const float *panel, float scale, float *s)
{
    int r = 0;
    for (; r + 4 <= count; r += 4) scores_of(4, vecs, x, first + r, panel, v_set(scale), s + r * vecs * V);
    for (; r < count; r++) scores_of(1, vecs, x, first + r, panel, v_set(scale), s + r * vecs * V);
}

/* `width` components from d on. With `keep`, what acc holds is multiplied by it first. */
VI void gather_of(int width, int vecs, rows x, int64_t first, int count, int64_t d, const float *s, const vf *keep,
                  float *acc)
{
    const float *row = x.data + first * x.stride + d;
    vf sum[4][4];
#pragma GCC unroll 4
    for (int i = 0; i < width; i++)
#pragma GCC unroll 4
        for (int l = 0; l < vecs; l++) {
            sum[i][l] = v_load(acc + ((d + i) * vecs + l) * V);
            if (keep) sum[i][l] = v_mul(sum[i][l], keep[l]);
        }
    for (int r = 0; r < count; r++, row += x.stride, s += vecs * V) {
#pragma GCC unroll 4
        for (int i = 0; i < width; i++) {
            vf f = v_set(row[i]);
#pragma GCC unroll 4
            for (int l = 0; l < vecs; l++) sum[i][l] = v_fma(f, v_load(s + l * V), sum[i][l]);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < width; i++)
#pragma GCC unroll 4
        for (int l = 0; l < vecs; l++) v_store(acc + ((d + i) * vecs + l) * V, sum[i][l]);
}

VI void gather(int vecs, rows x, int64_t first, int count, const float *s, const vf *keep, float *acc)
{
    int64_t d = 0;
    for (; d + 4 <= x.dim; d += 4) gather_of(4, vecs, x, first, count, d, s, keep, acc);
    for (; d < x.dim; d++) gather_of(1, vecs, x, first, count, d, s, keep, acc);
}

VI void hide_keys(int vecs, const sight *w, int64_t first, int count, float *s)
{
    int32_t low[MAX_LANES] = {0}, high[MAX_LANES] = {0};
    if (first >= w->common && first + count <= w->until) return;
    for (int64_t i = 0; i < w->count; i++) {
        low[i] = within(w->begin[i] - first, count);
        high[i] = within(w->end[i] - first, count);
    }
    for (int r = 0; r < count; r++)
        for (int l = 0; l < vecs; l++) {
            float *p = s + (r * vecs + l) * V;
            vf x = v_select(v_gti(v_loadi(high + l * V), v_seti(r)), v_load(p), v_set(-INFINITY));
            v_store(p, v_select(v_gti(v_seti(r + 1), v_loadi(low + l * V)), x, v_set(-INFINITY)));
        }
}

/* Lanes are keys at key + lane, rows are the queries: the same, seen from the other side. */
VI void hide_queries(int vecs, const sight *w, int64_t key, float *s)
{
    const int lanes = vecs * V;
    for (int64_t r = 0; r < w->count; r++) {
        if (w->begin[r] <= key && w->end[r] >= key + lanes) continue;
        vi low = v_seti(within(w->begin[r] - key, lanes) - 1), high = v_seti(within(w->end[r] - key, lanes));
        for (int l = 0; l < vecs; l++) {
            float *p = s + (r * vecs + l) * V;
            vi lane = v_addi(v_count(), v_seti(l * V));
            vf x = v_select(v_gti(high, lane), v_load(p), v_set(-INFINITY));
            v_store(p, v_select(v_gti(lane, low), x, v_set(-INFINITY)));
        }
    }
}

/* Scores to e^(s - max) in place; updates the running maximum and sum. keep = what earlier sums are multiplied by. */
VI void online_softmax(int vecs, int count, float *s, vf *max, vf *total, vf *keep)
{
    for (int l = 0; l < vecs; l++) {
        vf m = max[l], sum = v_zero();
        for (int r = 0; r < count; r++) m = v_max(v_load(s + (r * vecs + l) * V), m);
        /* With nothing but -infinity so far, subtract 0 instead: e^-inf = 0 and not NaN. */
        vf base = v_select(v_eq(m, v_set(-INFINITY)), v_zero(), m);
        for (int r = 0; r < count; r++) {
            vf p = v_exp(v_sub(v_load(s + (r * vecs + l) * V), base));
            v_store(s + (r * vecs + l) * V, p);
            sum = v_add(sum, p);
        }
        keep[l] = v_exp(v_sub(max[l], base));
        total[l] = v_fma(total[l], keep[l], sum);
        max[l] = m;
    }
}

/* One group of queries. */
VI void forward_group(int vecs, const lti_attention_task *t, int64_t begin, int64_t count, float *scratch)
{
    int64_t dim = t->dim, lanes = vecs * V, group = t->head / (t->heads / t->kv_heads);
    float *q = scratch, *acc = q + dim * lanes, *s = acc + dim * lanes, *line = s + BLOCK * lanes;
    rows k = rows_of(t->k, t->kv_heads, group, dim), v = rows_of(t->v, t->kv_heads, group, dim);
    vf max[4], total[4], keep[4];
    sight w;
    look(t, begin, count, &w);
    pack(rows_of(t->q, t->heads, t->head, dim), begin, count, lanes, q);
    memset(acc, 0, (size_t)(dim * lanes) * sizeof *acc);
    for (int l = 0; l < vecs; l++) {
        max[l] = v_set(-INFINITY);
        total[l] = v_zero();
    }
    for (int64_t j = w.first; j < w.last; j += BLOCK) {
        int n = (int)least(BLOCK, w.last - j);
        if (!seen(&w, j, n)) continue;
        scores(vecs, k, j, n, q, t->scale, s);
        hide_keys(vecs, &w, j, n, s);
        online_softmax(vecs, n, s, max, total, keep);
        gather(vecs, v, j, n, s, keep, acc);
    }
    for (int l = 0; l < vecs; l++) {
        vf inverse = v_div(v_set(1), total[l]);
        for (int64_t d = 0; d < dim; d++) {
            float *p = acc + (d * vecs + l) * V;
            v_store(p, v_mul(v_load(p), inverse));
        }
        v_store(line + l * V, max[l]);
        v_store(line + lanes + l * V, total[l]);
    }
    float *out = t->out + (begin * t->heads + t->head) * dim;
    transpose(dim, count, acc, lanes, out, t->heads * dim);
    clear_blind(&w, t->heads * dim, dim, out);
    for (int64_t i = 0; i < count; i++)
        t->lse[t->head * t->T + begin + i] = (float)((double)line[i] + log((double)line[lanes + i]));
}

/* delta_i = <dout_i, o_i> of `count` queries. */
static void deltas(rows dout, rows o, int64_t first, int64_t count, float *delta)
{
    for (int64_t i = 0; i < count; i++) {
        const float *a = dout.data + (first + i) * dout.stride, *b = o.data + (first + i) * o.stride;
        vf sum = v_zero();
        LTI_EACH (d, left, dout.dim) { sum = v_fma(v_get(a + d, left), v_get(b + d, left), sum); }
        delta[i] = v_sum(sum);
    }
}

/* One group of queries: s to p, dp to ds, dq += ds k. */
VI void grad_q_group(int vecs, const lti_attention_task *t, int64_t begin, int64_t count, float *scratch)
{
    int64_t dim = t->dim, lanes = vecs * V, group = t->head / (t->heads / t->kv_heads);
    float *q = scratch, *dout = q + dim * lanes, *acc = dout + dim * lanes, *s = acc + dim * lanes;
    float *dp = s + BLOCK * lanes, *delta = dp + BLOCK * lanes, *lse = delta + lanes;
    rows k = rows_of(t->k, t->kv_heads, group, dim), v = rows_of(t->v, t->kv_heads, group, dim);
    rows d_out = rows_of(t->dout, t->heads, t->head, dim);
    sight w;
    look(t, begin, count, &w);
    pack(rows_of(t->q, t->heads, t->head, dim), begin, count, lanes, q);
    pack(d_out, begin, count, lanes, dout);
    memset(acc, 0, (size_t)(dim * lanes) * sizeof *acc);
    memset(delta, 0, 2 * (size_t)lanes * sizeof *delta);
    deltas(d_out, rows_of(t->o, t->heads, t->head, dim), begin, count, delta);
    memcpy(lse, t->lse + t->head * t->T + begin, (size_t)count * sizeof *lse);
    for (int64_t j = w.first; j < w.last; j += BLOCK) {
        int n = (int)least(BLOCK, w.last - j);
        if (!seen(&w, j, n)) continue;
        scores(vecs, k, j, n, q, t->scale, s);
        hide_keys(vecs, &w, j, n, s);
        scores(vecs, v, j, n, dout, 1, dp);
        for (int i = 0; i < n * vecs; i++) {
            vf p = v_exp(v_sub(v_load(s + i * V), v_load(lse + i % vecs * V)));
            vf ds = v_mul(p, v_sub(v_load(dp + i * V), v_load(delta + i % vecs * V)));
            v_store(dp + i * V, v_mul(ds, v_set(t->scale)));
        }
        gather(vecs, k, j, n, dp, NULL, acc);
    }
    float *dq = t->dq + (begin * t->heads + t->head) * dim;
    transpose(dim, count, acc, lanes, dq, t->heads * dim);
    clear_blind(&w, t->heads * dim, dim, dq);
}

/* What the queries first .. first + n of one head, who see `w`, add to dk and dv of the keys begin ..; returns their ds
 * [n][lanes]. */
VI const float *grad_kv_block(int vecs, const lti_attention_task *t, int64_t head, int64_t begin, int64_t first, int n,
                              const sight *w, float *scratch)
{
    int64_t dim = t->dim, lanes = vecs * V;
    float *k = scratch, *v = k + dim * lanes, *dk = v + dim * lanes, *dv = dk + dim * lanes, *s = dv + dim * lanes;
    float *dp = s + BLOCK * lanes, *delta = dp + BLOCK * lanes, *lse = delta + BLOCK;
    rows q = rows_of(t->q, t->heads, head, dim), dout = rows_of(t->dout, t->heads, head, dim);
    deltas(dout, rows_of(t->o, t->heads, head, dim), first, n, delta);
    for (int r = 0; r < n; r++) /* a blind query's is -infinity, like all its scores: 0 instead makes p = 0 */
        lse[r] = w->begin[r] < w->end[r] ? t->lse[head * t->T + first + r] : 0;
    scores(vecs, q, first, n, k, t->scale, s);
    hide_queries(vecs, w, begin, s);
    scores(vecs, dout, first, n, v, 1, dp);
    for (int r = 0; r < n; r++)
        for (int l = 0; l < vecs; l++) {
            float *ps = s + (r * vecs + l) * V, *pd = dp + (r * vecs + l) * V;
            vf p = v_exp(v_sub(v_load(ps), v_set(lse[r])));
            v_store(ps, p);
            v_store(pd, v_mul(v_mul(p, v_sub(v_load(pd), v_set(delta[r]))), v_set(t->scale)));
        }
    gather(vecs, dout, first, n, s, NULL, dv);
    gather(vecs, q, first, n, dp, NULL, dk);
    return dp;
}

/* `height` rows of dq += ds k; lanes of ds are the keys begin .. begin + count. */
VI void add_dq_of(int height, int64_t lanes, const float *ds, rows k, int64_t begin, int64_t count, int64_t stride,
                  float *dq)
{
    LTI_EACH (d, left, k.dim) {
        vf sum[4];
#pragma GCC unroll 4
        for (int r = 0; r < height; r++) sum[r] = v_get(dq + r * stride + d, left);
        const float *row = k.data + begin * k.stride + d;
        for (int64_t j = 0; j < count; j++, row += k.stride) {
            vf x = v_get(row, left);
#pragma GCC unroll 4
            for (int r = 0; r < height; r++) sum[r] = v_fma(v_set(ds[r * lanes + j]), x, sum[r]);
        }
#pragma GCC unroll 4
        for (int r = 0; r < height; r++) v_put(dq + r * stride + d, sum[r], left);
    }
}

/* n queries from dq's first row on. */
VI void add_dq(int64_t lanes, const float *ds, rows k, int64_t begin, int64_t count, int n, int64_t stride, float *dq)
{
    int r = 0;
    for (; r + 4 <= n; r += 4) add_dq_of(4, lanes, ds + r * lanes, k, begin, count, stride, dq + r * stride);
    for (; r < n; r++) add_dq_of(1, lanes, ds + r * lanes, k, begin, count, stride, dq + r * stride);
}

/* One group of keys, over the queries of every head that shares them; with `all`, their dq grows on the way. */
VI void grad_keys(int vecs, const lti_attention_task *t, int64_t begin, int64_t count, int all, float *scratch)
{
    int64_t dim = t->dim, lanes = vecs * V, group = t->heads / t->kv_heads, panel = dim * lanes;
    pack(rows_of(t->k, t->kv_heads, t->head, dim), begin, count, lanes, scratch);
    pack(rows_of(t->v, t->kv_heads, t->head, dim), begin, count, lanes, scratch + panel);
    float *dk = scratch + 2 * panel, *dv = scratch + 3 * panel;
    memset(dk, 0, 2 * (size_t)panel * sizeof *dk);
    int64_t from, until;
    askers(t, begin, count, &from, &until);
    for (int64_t head = t->head * group; head < (t->head + 1) * group; head++)
        for (int64_t i = from; i < until; i += BLOCK) {
            int n = (int)least(BLOCK, until - i);
            sight w;
            look(t, i, n, &w);
            if (!seen(&w, begin, count)) continue;
            const float *ds = grad_kv_block(vecs, t, head, begin, i, n, &w, scratch);
            if (all)
                add_dq(lanes, ds, rows_of(t->k, t->kv_heads, t->head, dim), begin, count, n, t->heads * dim,
                       t->dq + (i * t->heads + head) * dim);
        }
    int64_t at = (begin * t->kv_heads + t->head) * dim, stride = t->kv_heads * dim;
    transpose(dim, count, dk, lanes, t->dk + at, stride);
    transpose(dim, count, dv, lanes, t->dv + at, stride);
}

VI void grad_kv_group(int vecs, const lti_attention_task *t, int64_t begin, int64_t count, float *scratch)
{
    grad_keys(vecs, t, begin, count, 0, scratch);
}

VI void grad_group(int vecs, const lti_attention_task *t, int64_t begin, int64_t count, float *scratch)
{
    grad_keys(vecs, t, begin, count, 1, scratch);
}

/* Groups of WIDE vectors, or of one where that is enough. */
#define FOR_GROUPS(group)                                                                                              \
    for (int64_t i = t->begin; i < t->end;) {                                                                          \
        int64_t left = t->end - i, lanes = left <= V ? V : WIDE * V, count = least(left, lanes);                       \
        if (lanes == V)                                                                                                \
            group(1, t, i, count, scratch);                                                                            \
        else                                                                                                           \
            group(WIDE, t, i, count, scratch);                                                                         \
        i += count;                                                                                                    \
    }

static void forward(const lti_attention_task *t, float *scratch)
{
    FOR_GROUPS(forward_group)
}

void LTI_FN(attention)(const lti_attention_task *t, void *scratch)
{
    if (t->T <= LTI_ATTENTION_FEW) {
        LTI_FN(attention_few)(t, scratch);
        return;
    }
    lti_attention_task one = *t;
    for (; one.head <= t->head + t->more_heads; one.head++)
        if (!LTI_FN(attention_narrow)(&one, scratch)) forward(&one, scratch);
}

void LTI_FN(attention_grad_q)(const lti_attention_task *t, void *scratch)
{
    FOR_GROUPS(grad_q_group)
}

void LTI_FN(attention_grad_kv)(const lti_attention_task *t, void *scratch)
{
    FOR_GROUPS(grad_kv_group)
}

static void grad(const lti_attention_task *t, float *scratch)
{
    FOR_GROUPS(grad_group)
}

/* The probabilities are formed once for dq, dk and dv. dq of all queries is visited once a group of keys. */
void LTI_FN(attention_grad)(const lti_attention_task *task, void *scratch)
{
    lti_attention_task all = *task, *t = &all;
    int64_t group = t->heads / t->kv_heads, row = t->heads * t->dim, first = t->head * group * t->dim;
    t->begin = 0;
    t->end = t->S;
    for (int64_t i = 0; i < t->T; i++) memset(t->dq + i * row + first, 0, (size_t)(group * t->dim) * sizeof *t->dq);
    if (!LTI_FN(attention_grad_narrow)(t, scratch)) grad(t, scratch);
    for (int64_t i = 0; i < t->T; i += BLOCK) {
        sight w;
        look(t, i, least(BLOCK, t->T - i), &w);
        for (int64_t h = 0; h < group; h++) clear_blind(&w, row, t->dim, t->dq + i * row + first + h * t->dim);
    }
}
