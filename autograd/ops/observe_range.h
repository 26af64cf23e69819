/* observe_range.h - what an observer keeps of a site, and the grid that follows from it. Internal to autograd/ops. */
#ifndef LTI_OBSERVE_RANGE_H
#define LTI_OBSERVE_RANGE_H

#include "autograd/op.h"
#include "lathe/observe.h"

#include <float.h>

enum { LTI_SEEN, LTI_LEAST, LTI_MOST, LTI_COUNTS, LTI_BINS = 2048 };

/* Whether the kind keeps a histogram. */
static inline bool lti_range_counts(lt_observer kind)
{
    return kind >= LT_OBSERVE_PERCENTILE && kind <= LT_OBSERVE_HISTOGRAM;
}

/* Elements of "<site>:act_range". */
static inline int64_t lti_range_size(lt_observer kind)
{
    return LTI_COUNTS + (lti_range_counts(kind) ? LTI_BINS : 0);
}

/* Whether the kind leaves the scale to training. */
static inline bool lti_observer_learns(lt_observer kind)
{
    return kind == LT_OBSERVE_LSQ || kind == LT_OBSERVE_PACT;
}

/* The least that a scale can be. */
#define LTI_LEAST_OBSERVED ((double)FLT_EPSILON)

/* Behind the update of a learned scale: see learned_grid.c. `average` is the scale's weight average, or NULL. */
lt_t lti_learned_grid(lt_graph *graph, lt_param *scale, lt_param *range, lt_param *average, int64_t warm_up);

/* The batch's extremes into the range. For histograms it becomes as wide as to hold them: by doubling, where
 * neighbouring bins become one, so that counts stay exact. */
void lti_range_widen(const lt_observe_config *config, const lt_real batch[2], lt_real *range);
/* The bin of x in the widened range. */
int64_t lti_range_bin(const lt_real *range, lt_real x);
/* The range that the observer chooses. */
void lti_range_chosen(const lt_observe_config *config, const lt_real *range, double chosen[2]);
/* Scale and lowest code for it: 8 bits, symmetric where numbers below 0 were seen. */
void lti_range_grid(const lt_observe_config *config, const lt_real *range, lt_real grid[2]);

#endif
