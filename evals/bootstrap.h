/* bootstrap.h - how sure a mean over items is (Efron 1979). */
#ifndef LTI_BOOTSTRAP_H
#define LTI_BOOTSTRAP_H

#include "base/ctx.h"

/* sum over items of top / sum of bottom; `exponential`: exp of it. */
typedef struct lti_ratio {
    const double *top, *bottom; /* [n]; bottom NULL: all 1 */
    bool exponential;
} lti_ratio;

double lti_ratio_of(int64_t n, const lti_ratio *ratio);

/* The 95 % percentile interval of `one`, or of one - other where `other` is given (paired: both see the same draws).
 * Resample r takes items floor(n u) for the n numbers u of words r n .. r n + n - 1 of Philox (seed, "bootstrap").
 * interval: the ceil(0.025 R)-th and ceil(0.975 R)-th smallest of the R values. */
lt_status lti_bootstrap(lt_ctx *ctx, int64_t n, const lti_ratio *one, const lti_ratio *other, int64_t resamples,
                        uint64_t seed, double interval[2]);

#endif
