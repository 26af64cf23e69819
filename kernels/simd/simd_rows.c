/* simd_rows.c - reductions and norms of one row.
 *
 * A plain sum runs in four vectors side by side, added pairwise at the end: its order depends on n alone. Elements past
 * the end of a row are read as 0, which adds nothing. */
#include "kernels/simd/vec.h"

enum { PIECE = 1024 };

R LTI_FN(sum)(int64_t n, const R *x)
{
    vf s[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
    for (; n >= 4 * V; n -= 4 * V, x += 4 * V)
        for (int i = 0; i < 4; i++) s[i] = v_add(s[i], v_load(x + i * V));
    LTI_EACH (i, left, n) s[0] = v_add(s[0], v_get(x + i, left));
    return v_sum(v_add(v_add(s[0], s[1]), v_add(s[2], s[3])));
}

R LTI_FN(dot)(int64_t n, const R *a, const R *b)
{
    vf s[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
    for (; n >= 4 * V; n -= 4 * V, a += 4 * V, b += 4 * V)
        for (int i = 0; i < 4; i++) s[i] = v_fma(v_load(a + i * V), v_load(b + i * V), s[i]);
    LTI_EACH (i, left, n) s[0] = v_fma(v_get(a + i, left), v_get(b + i, left), s[0]);
    return v_sum(v_add(v_add(s[0], s[1]), v_add(s[2], s[3])));
}

double LTI_FN(sum_squares)(int64_t n, const R *x)
{
    vd low = v_setd(0), high = v_setd(0), low2 = v_setd(0), high2 = v_setd(0);
    for (; n >= 2 * V; n -= 2 * V, x += 2 * V) {
        vf a = v_load(x), b = v_load(x + V);
        low = v_fmad(v_low(a), v_low(a), low);
        high = v_fmad(v_high(a), v_high(a), high);
        low2 = v_fmad(v_low(b), v_low(b), low2);
        high2 = v_fmad(v_high(b), v_high(b), high2);
    }
    LTI_EACH (i, left, n) {
        vf a = v_get(x + i, left);
        low = v_fmad(v_low(a), v_low(a), low);
        high = v_fmad(v_high(a), v_high(a), high);
    }
    return v_sumd(v_addd(v_addd(low, low2), v_addd(high, high2)));
}

R LTI_FN(max)(int64_t n, const R *x)
{
    vf a = v_set(-INFINITY), b = a;
    vm nan = v_nan(v_zero());
    int64_t i = 0;
    for (; i + 2 * V <= n; i += 2 * V) {
        vf p = v_load(x + i), q = v_load(x + i + V);
        nan = v_or(nan, v_or(v_nan(p), v_nan(q)));
        a = v_max(p, a);
        b = v_max(q, b);
    }
    if (v_bits(nan)) return NAN;
    R best = v_hmax(v_max(a, b));
    for (; i < n; i++)
        if (x[i] > best || x[i] != x[i]) best = x[i];
    return best;
}

int LTI_FN(all_finite)(int64_t n, const R *x)
{
    for (int64_t start = 0; start < n; start += PIECE) {
        vm bad = v_nan(v_zero());
        LTI_EACH (i, left, n - start < PIECE ? n - start : PIECE) {
            vf v = v_get(x + start + i, left);
            bad = v_or(bad, v_nan(v_sub(v, v))); /* inf - inf is NaN */
        }
        if (v_bits(bad)) return 0;
    }
    return 1;
}

R LTI_FN(rms_norm)(int64_t n, const R *x, const R *w, R eps, R *y)
{
    double squares = LTI_FN(sum_squares)(n, x);
    R rstd = (R)(1 / sqrt(squares / (double)(n > 0 ? n : 1) + (double)eps));
    LTI_EACH (i, left, n) v_put(y + i, v_mul(v_mul(v_get(x + i, left), v_set(rstd)), v_get(w + i, left)), left);
    return rstd;
}

void LTI_FN(rms_norm_grad)(int64_t n, const R *x, const R *w, R rstd, const R *dy, R *dx, R *dw)
{
    vf s = v_zero();
    LTI_EACH (i, left, n) s = v_fma(v_mul(v_get(dy + i, left), v_get(w + i, left)), v_get(x + i, left), s);
    vf mean = v_set((R)((double)v_sum(s) * (double)rstd / (double)(n > 0 ? n : 1)));
    LTI_EACH (i, left, n) {
        vf xh = v_mul(v_get(x + i, left), v_set(rstd)), d = v_get(dy + i, left);
        vf g = v_mul(d, v_get(w + i, left));
        v_put(dx + i, v_mul(v_set(rstd), v_fnma(xh, mean, g)), left);
        v_put(dw + i, v_fma(d, xh, v_get(dw + i, left)), left);
    }
}

void LTI_FN(layer_norm)(int64_t n, const R *x, const R *w, const R *b, R eps, R *y, R *stats)
{
    double count = (double)(n > 0 ? n : 1);
    R mean = (R)((double)LTI_FN(sum)(n, x) / count);
    vf s = v_zero();
    LTI_EACH (i, left, n) {
        vf d = v_keep(v_sub(v_get(x + i, left), v_set(mean)), left); /* past the end 0 - mean would count */
        s = v_fma(d, d, s);
    }
    R rstd = (R)(1 / sqrt((double)v_sum(s) / count + (double)eps));
    LTI_EACH (i, left, n) {
        vf xh = v_mul(v_sub(v_get(x + i, left), v_set(mean)), v_set(rstd));
        v_put(y + i, v_fma(xh, v_get(w + i, left), v_get(b + i, left)), left);
    }
    stats[0] = mean;
    stats[1] = rstd;
}

void LTI_FN(layer_norm_grad)(int64_t n, const R *x, const R *w, const R *stats, const R *dy, R *dx, R *dw, R *db)
{
    vf mean = v_set(stats[0]), rstd = v_set(stats[1]), s = v_zero(), sx = v_zero();
    LTI_EACH (i, left, n) {
        vf g = v_mul(v_get(dy + i, left), v_get(w + i, left)); /* 0 past the end */
        s = v_add(s, g);
        sx = v_fma(g, v_sub(v_get(x + i, left), mean), sx);
    }
    double count = (double)(n > 0 ? n : 1);
    vf gm = v_set((R)((double)v_sum(s) / count));
    vf gx = v_set((R)((double)v_sum(sx) * (double)stats[1] / count));
    LTI_EACH (i, left, n) {
        vf xh = v_mul(v_sub(v_get(x + i, left), mean), rstd), d = v_get(dy + i, left);
        vf g = v_sub(v_mul(d, v_get(w + i, left)), gm);
        v_put(dx + i, v_mul(rstd, v_fnma(xh, gx, g)), left);
        v_put(dw + i, v_fma(d, xh, v_get(dw + i, left)), left);
        v_put(db + i, v_add(d, v_get(db + i, left)), left);
    }
}
