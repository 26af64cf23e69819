/* ref_activations.c - activation functions and their derivatives, in plain C.
 *
 * Each is evaluated in double and rounded once, so that in the float build it is the yardstick for the SIMD sets.
 *     sigmoid(x) = 1 / (1 + e^-x)         silu(x) = x sigmoid(x)            gelu(x) = x Phi(x), Phi the normal cdf
 *     gelu_tanh(x) = x (1 + tanh u) / 2,  u = sqrt(2/pi) (x + 0.044715 x^3)     (Hendrycks and Gimpel, 2016) */
#include "kernels/kernels.h"

#include <math.h>

#define SQRT_HALF 0.70710678118654752440
#define INV_SQRT_2PI 0.39894228040143267794
#define SQRT_2_PI 0.79788456080286535588
#define CUBIC 0.044715

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

void lti_k_relu_ref(int64_t n, const R *x, R *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = x[i] < 0 ? 0 : x[i]; /* written so that NaN passes */
}

void lti_k_sigmoid_ref(int64_t n, const R *x, R *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = (R)sigmoid((double)x[i]);
}

void lti_k_tanh_ref(int64_t n, const R *x, R *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = (R)tanh((double)x[i]);
}

void lti_k_silu_ref(int64_t n, const R *x, R *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = (R)((double)x[i] * sigmoid((double)x[i]));
}

void lti_k_gelu_ref(int64_t n, const R *x, R *y)
{
    for (int64_t i = 0; i < n; i++) {
        double t = (double)x[i];
        y[i] = (R)(t * 0.5 * erfc(-t * SQRT_HALF));
    }
}

void lti_k_gelu_tanh_ref(int64_t n, const R *x, R *y)
{
    for (int64_t i = 0; i < n; i++) {
        double t = (double)x[i];
        y[i] = (R)(0.5 * t * (1 + tanh(SQRT_2_PI * (t + CUBIC * t * t * t))));
    }
}

void lti_k_relu_grad_ref(int64_t n, const R *x, const R *dy, R *dx)
{
    for (int64_t i = 0; i < n; i++) dx[i] = x[i] > 0 ? dy[i] : 0;
}

void lti_k_sigmoid_grad_ref(int64_t n, const R *y, const R *dy, R *dx)
{
    for (int64_t i = 0; i < n; i++) dx[i] = dy[i] * (y[i] * (1 - y[i]));
}

void lti_k_tanh_grad_ref(int64_t n, const R *y, const R *dy, R *dx)
{
    for (int64_t i = 0; i < n; i++) dx[i] = dy[i] * (1 - y[i] * y[i]);
}

void lti_k_silu_grad_ref(int64_t n, const R *x, const R *dy, R *dx)
{
    for (int64_t i = 0; i < n; i++) {
        double t = (double)x[i], s = sigmoid(t);
        dx[i] = (R)((double)dy[i] * (s * (1 + t * (1 - s))));
    }
}

void lti_k_gelu_grad_ref(int64_t n, const R *x, const R *dy, R *dx)
{
    for (int64_t i = 0; i < n; i++) {
        double t = (double)x[i];
        double cdf = 0.5 * erfc(-t * SQRT_HALF), pdf = INV_SQRT_2PI * exp(-0.5 * t * t);
        dx[i] = (R)((double)dy[i] * (cdf + t * pdf));
    }
}

void lti_k_gelu_tanh_grad_ref(int64_t n, const R *x, const R *dy, R *dx)
{
    for (int64_t i = 0; i < n; i++) {
        double t = (double)x[i];
        double h = tanh(SQRT_2_PI * (t + CUBIC * t * t * t));
        double du = SQRT_2_PI * (1 + 3 * CUBIC * t * t);
        dx[i] = (R)((double)dy[i] * (0.5 * (1 + h) + 0.5 * t * (1 - h * h) * du));
    }
}

void lti_k_swiglu_ref(int64_t n, const R *g, const R *u, R *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = (R)((double)g[i] * sigmoid((double)g[i]) * (double)u[i]);
}

void lti_k_swiglu_grad_ref(int64_t n, const R *g, const R *u, const R *dy, R *dg, R *du)
{
    for (int64_t i = 0; i < n; i++) {
        double t = (double)g[i], s = sigmoid(t), up = (double)u[i], d = (double)dy[i];
        dg[i] = (R)(d * up * (s * (1 + t * (1 - s))));
        du[i] = (R)(d * (t * s));
    }
}
