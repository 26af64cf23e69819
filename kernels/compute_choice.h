/* compute_choice.h - which type this machine computes dense products in fastest: for --compute auto. */
#ifndef LTI_COMPUTE_CHOICE_H
#define LTI_COMPUTE_CHOICE_H

#include "base/ctx.h"

/* LT_BF16 when a product of middle size is at least 1.15 times as fast in it as in f32, else LT_F32. Measured once a
 * process, in about a tenth of a second; *gflops_f32 and *gflops_bf16 (may be NULL) receive 10^9 operations a second.
 * bf16 that is not computed as such is not measured (0), and no fast one. Out of memory: LT_F32 and 0, tried again. */
lt_dtype lti_compute_auto(lt_ctx *ctx, double *gflops_f32, double *gflops_bf16);

#endif
