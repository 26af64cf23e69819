/* simd_softmax.c - softmax, log-softmax and cross-entropy of one row, and rotary embedding of one position.
 *
 * Sums of exponentials are cut into pieces added in double: a vocabulary is long. */
#include "kernels/simd/vec.h"

enum { PIECE = 1024 };

/* Sum of e^(x - m), and the terms themselves into y unless it is NULL. A NaN in the row makes the sum one. */
static double exponentials(int64_t n, const R *x, R m, R *y)
{
    double total = 0;
    for (int64_t start = 0; start < n; start += PIECE) {
        vf s = v_zero();
        LTI_EACH (i, left, n - start < PIECE ? n - start : PIECE) {
            vf e = v_exp(v_sub(v_get(x + start + i, left), v_set(m)));
            if (y) v_put(y + start + i, e, left);
            s = v_add(s, v_keep(e, left));
        }
        total += (double)v_sum(s);
    }
    return total;
}

void LTI_FN(softmax)(int64_t n, const R *x, R *y)
{
    double total = exponentials(n, x, LTI_FN(max)(n, x), y);
    LTI_FN(scale)(n, (R)(1 / total), y, y);
}

void LTI_FN(softmax_grad)(int64_t n, const R *y, const R *dy, R *dx)
{
    vf s = v_set(LTI_FN(dot)(n, y, dy));
    LTI_EACH (i, left, n) v_put(dx + i, v_mul(v_get(y + i, left), v_sub(v_get(dy + i, left), s)), left);
}

void LTI_FN(log_softmax)(int64_t n, const R *x, R *y)
{
    R m = LTI_FN(max)(n, x);
    vf rest = v_set((R)log(exponentials(n, x, m, NULL)));
    LTI_EACH (i, left, n) v_put(y + i, v_sub(v_sub(v_get(x + i, left), v_set(m)), rest), left);
}

double LTI_FN(cross_entropy)(int64_t n, const R *z, int64_t target, R scale, R *dz)
{
    double m = (double)LTI_FN(max)(n, z);
    double at_target = (double)z[target]; /* read before dz, which may be z, is written */
    double total = exponentials(n, z, (R)m, dz);
    if (dz) {
        LTI_FN(scale)(n, (R)((double)scale / total), dz, dz);
        dz[target] = (R)((double)scale * (exp(at_target - m) / total - 1));
    }
    return m + log(total) - at_target;
}

static void rope_halves(int64_t half, const R *cos, const R *sin, R sign, const R *x, R *y)
{
    LTI_EACH (i, left, half) {
        vf c = v_get(cos + i, left), s = v_mul(v_set(sign), v_get(sin + i, left));
        vf a = v_get(x + i, left), b = v_get(x + half + i, left);
        v_put(y + i, v_fnma(b, s, v_mul(a, c)), left);
        v_put(y + half + i, v_fma(a, s, v_mul(b, c)), left);
    }
}

static void rope_pairs(int64_t dim, const R *cos, const R *sin, R sign, const R *x, R *y)
{
    LTI_EACH (i, left, dim) {
        vf v = v_get(x + i, left), c = v_get_twice(cos + i / 2, left / 2);
        vf s = v_mul(v_set(sign), v_get_twice(sin + i / 2, left / 2));
        v_put(y + i, v_alternate(v, c, v_mul(v_swap_pairs(v), s)), left);
    }
}

/* Heads of 8 numbers, halves: cos and sin lie ready in a register for all of them, and what the loop above would store
 * in parts of vectors goes in whole ones. */
static void rope_eights(int64_t heads, const R *cos, const R *sin, R sign, const R *x, R *y)
{
    __m128 c4 = _mm_loadu_ps(cos), s4 = _mm_mul_ps(_mm_set1_ps(sign), _mm_loadu_ps(sin));
    __m256 c = _mm256_set_m128(c4, c4), s = _mm256_set_m128(s4, _mm_xor_ps(s4, _mm_set1_ps(-0.0f)));
    for (int64_t h = 0; h < heads; h++, x += 8, y += 8) {
        __m256 v = _mm256_loadu_ps(x), swapped = _mm256_permute2f128_ps(v, v, 1);
        _mm256_storeu_ps(y, _mm256_fmadd_ps(swapped, s, _mm256_mul_ps(v, c)));
    }
}

void LTI_FN(rope)(int64_t heads, int64_t dim, int halves, const R *cos, const R *sin, R sign, const R *x, R *y)
{
    if (halves && dim == 8) {
        rope_eights(heads, cos, sin, sign, x, y);
        return;
    }
    for (int64_t h = 0; h < heads; h++, x += dim, y += dim) {
        if (halves)
            rope_halves(dim / 2, cos, sin, sign, x, y);
        else
            rope_pairs(dim / 2 * 2, cos, sin, sign, x, y);
    }
}
