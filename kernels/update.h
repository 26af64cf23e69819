/* update.h - constants of optimizer kernels, computed once a step in double and used by every slice.
 *
 * AdamW (Loshchilov and Hutter, 2019), as torch.optim.AdamW:
 *     g' = clip g;  m = b1 m + (1 - b1) g';  v = b2 v + (1 - b2) g'^2
 *     w = w (1 - lr wd) - step_size m / (sqrt(v) / sqrt_bias2 + eps),  step_size = lr / (1 - b1^t)
 * SGD with momentum, as torch.optim.SGD (dampening 0): g' = clip g + wd w;  u = mu u + g' (u = g' on the first step);
 *     w = w - lr u,  or  w - lr (g' + mu u) with Nesterov */
#ifndef LTI_UPDATE_H
#define LTI_UPDATE_H

#include "lathe/base.h"

typedef struct lti_adamw_step {
    lt_real beta1, beta2, eps;
    lt_real decay;      /* 1 - lr wd */
    lt_real step_size;  /* lr / (1 - beta1^t) */
    lt_real sqrt_bias2; /* sqrt(1 - beta2^t) */
    lt_real clip;       /* factor on the gradient, 1 without clipping */
} lti_adamw_step;

typedef struct lti_sgd_step {
    lt_real lr, momentum, weight_decay, clip;
    int nesterov;
} lti_sgd_step;

#endif
