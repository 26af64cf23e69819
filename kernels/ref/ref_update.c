/* ref_update.c - optimizer steps over a slice, in plain C. The formulas are those of update.h, in this very order of
 * operations and without contraction: every instruction set gives the same bits. SGD takes momentum = NULL for
 * none. */
#include "kernels/kernels.h"

#include <math.h>

/* Moments that decay towards zero would end as denormals, which are slow; they mean nothing below this. */
static R flushed(R x)
{
    return fabs((double)x) < (double)(R)1e-30 ? 0 : x;
}

void lti_k_adamw_ref(int64_t n, R *w, R *m, R *v, const R *g, const lti_adamw_step *c)
{
    R rest1 = 1 - c->beta1, rest2 = 1 - c->beta2;
    for (int64_t i = 0; i < n; i++) {
        R grad = c->clip * g[i];
        m[i] = flushed(c->beta1 * m[i] + rest1 * grad);
        v[i] = flushed(c->beta2 * v[i] + rest2 * (grad * grad));
        R root = (R)sqrt((double)v[i]) / c->sqrt_bias2 + c->eps;
        w[i] = w[i] * c->decay - c->step_size * (m[i] / root);
    }
}

void lti_k_lion_ref(int64_t n, R *w, R *m, const R *g, const lti_lion_step *c)
{
    R rest1 = 1 - c->beta1, rest2 = 1 - c->beta2;
    for (int64_t i = 0; i < n; i++) {
        R grad = c->clip * g[i], mixed = c->beta1 * m[i] + rest1 * grad;
        R sign = mixed > 0 ? 1 : mixed < 0 ? -1 : mixed; /* NaN stays: a broken gradient is not to look like none */
        m[i] = flushed(c->beta2 * m[i] + rest2 * grad);
        w[i] = w[i] * c->decay - c->lr * sign;
    }
}

void lti_k_sgd_ref(int64_t n, R *w, R *momentum, const R *g, const lti_sgd_step *c)
{
    for (int64_t i = 0; i < n; i++) {
        R grad = c->clip * g[i] + c->weight_decay * w[i];
        if (momentum) {
            momentum[i] = flushed(c->momentum * momentum[i] + grad);
            grad = c->nesterov ? grad + c->momentum * momentum[i] : momentum[i];
        }
        w[i] -= c->lr * grad;
    }
}
