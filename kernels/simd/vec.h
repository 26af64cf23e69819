/* vec.h - a vector of floats, in two instruction sets: what every source in kernels/simd is written with.
 *
 * Each source is compiled twice, with LTI_ISA=avx2 and LTI_ISA=avx512 (CMakeLists.txt); LTI_FN(add) is lti_k_add_avx2
 * in one and lti_k_add_avx512 in the other. Everything here is static inline, so that no function compiled for one set
 * can be linked into the other. Multiply-adds are contracted only where v_fma says so.
 *
 * Rows end anywhere: LTI_EACH(i, left, n) { ... } runs its body for i = 0, V, 2V, ... with left = V, and once with
 * left = n - i < V for a rest; v_get and v_put take `left` and touch no element past it. */
#ifndef LTI_VEC_H
#define LTI_VEC_H

#include "kernels/kernels.h"

#include <immintrin.h>
#include <math.h>

#define LTI_PASTE2(a, b, c) a##b##c
#define LTI_PASTE(a, b, c) LTI_PASTE2(a, b, c)
#define LTI_FN(name) LTI_PASTE(lti_k_##name, _, LTI_ISA)
#define VI static inline __attribute__((always_inline, unused))

#define LTI_KERNEL(name, result, parameters, arguments) result LTI_FN(name) parameters;
#include "kernels/kernels.def"
#undef LTI_KERNEL

#define LTI_EACH(i, left, n) for (int64_t i = 0, left; (left = (n)-i < V ? (n)-i : V) > 0; i += V)

#ifdef LTI_ISA_avx512
#include "kernels/simd/vec_avx512.h"
#else
#include "kernels/simd/vec_avx2.h"
#endif

VI vf v_zero(void)
{
    return v_set(0);
}

/* e^x to about an ulp: x = n ln 2 + r, |r| <= ln 2 / 2; e^r = 1 + r + r^2 q(r), q of degree 4 fitted for the least
 * relative error (9e-9). Under -104 it is 0, over 88.8 infinity; NaN stays NaN (v_min and v_max return x then). */
VI vf v_exp(vf x)
{
    x = v_min(v_set(89), v_max(v_set(-104), x));
    vf n = v_round(v_mul(x, v_set(0x1.715476p+0f)));
    vf r = v_fnma(n, v_set(0x1.62e4p-1f), x); /* exact: 16 bits of ln 2 times at most 8 of n */
    r = v_fnma(n, v_set(0x1.7f7d1cp-20f), r);
    vf q = v_fma(v_set(0.0013934545f), r, v_set(0.0083637768f));
    q = v_fma(q, r, v_set(0.041666456f));
    q = v_fma(q, r, v_set(0.16666573f));
    q = v_fma(q, r, v_set(0.5f));
    q = v_fma(v_mul(q, r), r, r);
    return v_scale2(v_add(q, v_set(1)), n);
}

VI vf v_sigmoid(vf x)
{
    return v_div(v_set(1), v_add(v_set(1), v_exp(v_neg(x))));
}

/* tanh: near 0 an odd polynomial (relative error 2e-8 up to 0.625), further out 1 - 2 / (e^2|x| + 1). */
VI vf v_tanh(vf x)
{
    vf a = v_abs(x), u = v_mul(x, x);
    vf p = v_fma(v_set(-0.0061049419f), u, v_set(0.021003636f));
    p = v_fma(p, u, v_set(-0.053852495f));
    p = v_fma(p, u, v_set(0.13332783f));
    p = v_fma(p, u, v_set(-0.33333328f));
    vf small = v_fma(v_mul(p, u), x, x);
    vf large = v_sub(v_set(1), v_div(v_set(2), v_add(v_exp(v_add(a, a)), v_set(1))));
    return v_select(v_lt(a, v_set(0.625f)), small, v_copysign(large, x));
}

/* The normal distribution function. With t = |x|/sqrt 2, erfc(t) = e^(-t^2) u q(u), u = 1 / (1 + 0.4 t), q of degree 9
 * fitted over t < 10.5 (relative error 2e-8); beyond it e^(-t^2) is 0. *gauss = e^(-x^2/2). */
VI vf v_normal_cdf(vf x, vf *gauss)
{
    const float q[10] = {0.22571053f, 0.22487175f, 0.21566907f,  0.12580091f, 0.28434026f,
                         -0.3090966f, 0.57927269f, -0.52415466f, 0.20937009f, -0.03178405f};
    vf t = v_mul(v_abs(x), v_set(0.70710678f));
    vf u = v_div(v_set(1), v_fma(v_set(0.4f), t, v_set(1)));
    vf p = v_set(q[9]);
    for (int i = 8; i >= 0; i--) p = v_fma(p, u, v_set(q[i]));
    vf square = v_mul(x, x);
    vf lost = v_fma(x, x, v_neg(square)); /* what rounding took from x^2: e^-x^2 magnifies it */
    lost = v_select(v_lt(square, v_set(1e4f)), lost, v_zero());
    vf e = v_exp(v_mul(square, v_set(-0.5f)));
    e = v_fnma(v_mul(e, v_set(0.5f)), lost, e);
    *gauss = e;
    vf tail = v_mul(v_mul(v_set(0.5f), e), v_mul(u, p));
    return v_select(v_lt(x, v_zero()), tail, v_sub(v_set(1), tail));
}

#endif
