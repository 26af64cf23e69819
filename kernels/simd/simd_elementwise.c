/* simd_elementwise.c - arithmetic and activations on rows. The formulas are those of ref_elementwise.c and
 * ref_activations.c, in float; the operations that need no approximation give the bits of ref. */
#include "kernels/simd/vec.h"

/* One number repeated, or the row. */
#define OPERAND(p, stride, i) ((stride) ? v_get((p) + (i), left) : repeated_##p)

#define BINARY(name)                                                                                                   \
    void LTI_FN(name)(int64_t n, const R *a, int64_t sa, const R *b, int64_t sb, R *y)                                 \
    {                                                                                                                  \
        if (n <= 0) return;                                                                                            \
        vf repeated_a = v_set(a[0]), repeated_b = v_set(b[0]);                                                         \
        LTI_EACH (i, left, n) { v_put(y + i, v_##name(OPERAND(a, sa, i), OPERAND(b, sb, i)), left); }                  \
    }

BINARY(add)
BINARY(sub)
BINARY(mul)
BINARY(div)

void LTI_FN(scale)(int64_t n, R c, const R *x, R *y)
{
    LTI_EACH (i, left, n) { v_put(y + i, v_mul(v_set(c), v_get(x + i, left)), left); }
}

VI vf f_exp(vf x)
{
    return v_exp(x);
}

VI vf f_sqrt(vf x)
{
    return v_sqrt(x);
}

/* NaN passes */
VI vf f_relu(vf x)
{
    return v_zero_if(v_lt(x, v_zero()), x);
}

VI vf f_sigmoid(vf x)
{
    return v_sigmoid(x);
}

VI vf f_tanh(vf x)
{
    return v_tanh(x);
}

VI vf f_silu(vf x)
{
    return v_mul(x, v_sigmoid(x));
}

VI vf f_gelu(vf x)
{
    vf gauss;
    return v_mul(x, v_normal_cdf(x, &gauss));
}

/* (1 + tanh u) / 2 = sigmoid(2u): no cancellation where x is far below 0. u = sqrt(2/pi) (x + 0.044715 x^3). */
VI vf gelu_gate(vf x)
{
    vf u2 = v_mul(v_mul(v_set(1.5957691f), x), v_fma(v_mul(x, x), v_set(0.044715f), v_set(1)));
    return v_sigmoid(u2);
}

VI vf f_gelu_tanh(vf x)
{
    return v_mul(x, gelu_gate(x));
}

#define UNARY(name)                                                                                                    \
    void LTI_FN(name)(int64_t n, const R *x, R *y)                                                                     \
    {                                                                                                                  \
        LTI_EACH (i, left, n) { v_put(y + i, f_##name(v_get(x + i, left)), left); }                                    \
    }

UNARY(exp)
UNARY(sqrt)
UNARY(relu)
UNARY(sigmoid)
UNARY(tanh)
UNARY(silu)
UNARY(gelu)
UNARY(gelu_tanh)

VI vf g_relu(vf x, vf dy)
{
    return v_select(v_lt(v_zero(), x), dy, v_zero());
}

VI vf g_sigmoid(vf y, vf dy)
{
    return v_mul(dy, v_mul(y, v_sub(v_set(1), y)));
}

VI vf g_tanh(vf y, vf dy)
{
    return v_mul(dy, v_sub(v_set(1), v_mul(y, y)));
}

/* s (1 + x (1 - s)) */
VI vf silu_slope(vf x, vf s)
{
    return v_mul(s, v_fma(x, v_sub(v_set(1), s), v_set(1)));
}

VI vf g_silu(vf x, vf dy)
{
    return v_mul(dy, silu_slope(x, v_sigmoid(x)));
}

VI vf g_gelu(vf x, vf dy)
{
    vf gauss, cdf = v_normal_cdf(x, &gauss);
    return v_mul(dy, v_fma(x, v_mul(gauss, v_set(0.39894228f)), cdf));
}

/* With s = (1 + h) / 2: (1 - h^2) / 2 = 2 s (1 - s). */
VI vf g_gelu_tanh(vf x, vf dy)
{
    vf s = gelu_gate(x);
    vf du = v_fma(v_mul(x, x), v_set(0.79788456f * 3 * 0.044715f), v_set(0.79788456f));
    vf slope = v_mul(v_mul(v_add(s, s), v_sub(v_set(1), s)), du);
    return v_mul(dy, v_fma(x, slope, s));
}

#define UNARY_GRAD(name)                                                                                               \
    void LTI_FN(name##_grad)(int64_t n, const R *x, const R *dy, R *dx)                                                \
    {                                                                                                                  \
        LTI_EACH (i, left, n) { v_put(dx + i, g_##name(v_get(x + i, left), v_get(dy + i, left)), left); }              \
    }

UNARY_GRAD(relu)
UNARY_GRAD(sigmoid)
UNARY_GRAD(tanh)
UNARY_GRAD(silu)
UNARY_GRAD(gelu)
UNARY_GRAD(gelu_tanh)

void LTI_FN(swiglu)(int64_t n, const R *g, const R *u, R *y)
{
    LTI_EACH (i, left, n) { v_put(y + i, v_mul(f_silu(v_get(g + i, left)), v_get(u + i, left)), left); }
}

void LTI_FN(swiglu_grad)(int64_t n, const R *g, const R *u, const R *dy, R *dg, R *du)
{
    LTI_EACH (i, left, n) {
        vf x = v_get(g + i, left), up = v_get(u + i, left), d = v_get(dy + i, left);
        vf s = v_sigmoid(x);
        v_put(dg + i, v_mul(v_mul(d, up), silu_slope(x, s)), left);
        v_put(du + i, v_mul(d, v_mul(x, s)), left);
    }
}
