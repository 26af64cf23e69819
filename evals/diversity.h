/* diversity.h - how much texts repeat themselves and each other. */
#ifndef LTI_DIVERSITY_H
#define LTI_DIVERSITY_H

#include "base/ctx.h"
#include "lathe/data.h"

typedef struct lti_diversity {
    double distinct[3]; /* different 1-, 2- and 3-grams of all texts / their number (Li et al. 2016) */
    double repetition;  /* mean over texts: 1 - different 4-grams / their number */
    double overlap;     /* mean over texts: share of their 4-grams that another text has, too */
} lti_diversity;

/* Of n texts of ids. A quotient without anything to count is 0. */
lt_status lti_diversity_of(lt_ctx *ctx, int64_t n, const lt_ids *texts, lti_diversity *result);

#endif
