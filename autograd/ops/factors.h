/* factors.h - when the factors of a dense product are rounded to bf16 (lt_compute). */
#ifndef LTI_FACTORS_H
#define LTI_FACTORS_H

#include "autograd/op.h"

/* Whether a product of this size is computed in bf16 in this graph. The test is symmetric in m, n and k, so that a
 * product's two gradients are computed as it was. Rounding a factor costs a pass over it, which a product of few rows
 * or columns does not bring in again; under about a million multiplications f32 is done as fast. */
static inline bool lti_worth_bf16(const lt_graph *graph, int64_t batch, int64_t m, int64_t n, int64_t k)
{
    const double least_work = 1 << 20;
    const int64_t least_side = 32;
    double work = (double)m * (double)n * (double)k * (double)batch;
    return lt_compute_type(graph) == LT_BF16 && m >= least_side && n >= least_side && k >= least_side &&
           work >= least_work;
}

/* x rounded to bf16: of a weight as it lies in params the copy beside it, which is made once an update and shared by
 * all who read it (derived.c); of anything else, and where memory is short, a cast. */
lt_t lti_rounded(lt_t x);

#endif
