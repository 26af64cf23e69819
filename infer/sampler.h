/* sampler.h - choosing the next id from logits, with memory that lasts for a whole generation. */
#ifndef LTI_SAMPLER_H
#define LTI_SAMPLER_H

#include "base/ctx.h"
#include "lathe/infer.h"

typedef struct lti_candidate {
    double weight; /* its probability, up to a factor that all share */
    int32_t id;
} lti_candidate;

typedef struct lti_sampler {
    lt_ctx *ctx;
    const lt_sampling *how;
    int64_t vocab;
    double *scores;      /* [vocab]: logits after the penalty */
    lti_candidate *list; /* [vocab]; NULL when always the first is taken */
    uint8_t *seen;       /* [vocab]: 1 while the penalty looks through the history; NULL without one */
} lti_sampler;

/* LT_EINVAL for numbers outside their ranges and for stop texts that are empty or no UTF-8. */
lt_status lti_sampling_check(lt_ctx *ctx, const lt_sampling *how);
/* `how` is borrowed, and checked. */
lt_status lti_sampler_open(lt_ctx *ctx, const lt_sampling *how, int64_t vocab, lti_sampler *sampler);
void lti_sampler_close(lti_sampler *sampler); /* a zeroed one is fine */
/* Ids of the history outside the vocabulary are passed over. Logits are finite. */
int32_t lti_sampler_draw(lti_sampler *sampler, const lt_real *logits, const lt_ids *history, int row, int64_t token);

#endif
