/* update.h - constants of optimizer kernels, computed once a step in double and used by every slice.
 *
 * AdamW (Loshchilov and Hutter, 2019), as torch.optim.AdamW:
 *     g' = clip g;  m = b1 m + (1 - b1) g';  v = b2 v + (1 - b2) g'^2
 *     w = w (1 - lr wd) - step_size m / (sqrt(v) / sqrt_bias2 + eps),  step_size = lr / (1 - b1^t)
 * SGD with momentum, as torch.optim.SGD (dampening 0): g' = clip g + wd w;  u = mu u + g' (u = g' on the first step);
 *     w = w - lr u,  or  w - lr (g' + mu u) with Nesterov
 * Lion (Chen et al. 2023):  w = w (1 - lr wd) - lr sign(b1 m + (1 - b1) g');  m = b2 m + (1 - b2) g'
 *
 * AdamW with moments of 8 bits, blocks of 256 over the flat array with two scales each (Dettmers et al. 2022 has
 * blocks, a table as code, and rounds to nearest). Kept are m and the root r = sqrt(v), which is what the step divides
 * by:
 *     m = sign(c) (c / 127)^2 scale_m,  c in -127 .. 127;   r = (c / 255)^2 scale_r,  c in 0 .. 255, stored as c - 128
 * Squares of whole numbers instead of a table: fine near 0, computed in two multiplications. Scales are the largest
 * |m| and r of the block, exactly. r > 0 never becomes code 0: m / r would explode.
 *     The average of v moves by (1 - b2) = 0.001 a step, far less than codes are apart: rounded to the nearest it would
 * stand still, or only rise (measured: 2,000 steps after gradients fell to 0.3, r is 2 to 2.8 times too large). So a
 * number between two codes goes up when its share of the way, in m or in v = r^2, is above a threshold
 * u(i, t) = frac(i alpha + t beta): over the steps each element sees thresholds spread evenly (beta is the golden
 * ratio), and what is kept is m and v on average, with errors that cancel instead of adding up (measured: 0.85 to 1.00
 * times). The thresholds are a function of index and step, so a resumed run has them too. All operations are those of
 * IEEE 754, uncontracted: every instruction set gives the same bits. */
#ifndef LTI_UPDATE_H
#define LTI_UPDATE_H

#include "lathe/base.h"

#include <stdint.h>

typedef struct lti_adamw_step {
    lt_real beta1, beta2, eps;
    lt_real decay;      /* 1 - lr wd */
    lt_real step_size;  /* lr / (1 - beta1^t) */
    lt_real sqrt_bias2; /* sqrt(1 - beta2^t) */
    lt_real clip;       /* factor on the gradient, 1 without clipping */
} lti_adamw_step;

#define LTI_ADAM8_BLOCK 256
/* alpha and beta of u(i, t), as parts of 2^32: u = ((i ALPHA + t BETA) mod 2^32 >> 8) 2^-24. */
#define LTI_ADAM8_ALPHA 0xC13FA9A9u
#define LTI_ADAM8_BETA 0x9E3779B9u

typedef struct lti_adamw8_step {
    lti_adamw_step adamw;
    uint32_t first; /* t BETA + ALPHA i of the slice's first element */
} lti_adamw8_step;

typedef struct lti_lion_step {
    lt_real beta1, beta2, lr;
    lt_real decay; /* 1 - lr wd */
    lt_real clip;
} lti_lion_step;

typedef struct lti_sgd_step {
    lt_real lr, momentum, weight_decay, clip;
    int nesterov;
} lti_sgd_step;

#endif
