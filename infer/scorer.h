/* scorer.h - rows of ids through a model (and a reference), and what it thinks of each next id. */
#ifndef LTI_SCORER_H
#define LTI_SCORER_H

#include "base/ctx.h"
#include "lathe/models.h"
#include "lathe/qat.h"

/* What is known about one predicted id. Without a reference the last three are 0, 0 and -1. */
typedef struct lti_score {
    double logp;       /* of the id that stands there */
    int32_t best;      /* the most likely id, the first of equals; -1: the position was not asked for */
    int32_t ref_best;  /* the reference's */
    double ref_logp;   /* the reference's */
    double divergence; /* KL(reference || model) of the two distributions; never below 0 */
} lti_score;

/* A row of which ids[from] .. ids[to - 1] are predicted, each from all before it. */
typedef struct lti_score_row {
    const int32_t *ids;
    int64_t length;
    int64_t from, to;      /* 1 <= from <= to <= length */
    const uint8_t *scored; /* [length], or NULL: positions of 0 are left out */
    lti_score *scores;     /* [to - from], written */
} lti_score_row;

typedef struct lti_scorer_options {
    lt_model *model;
    lt_model *reference;          /* of the same vocabulary and context object, or NULL */
    const lt_quant_policy *quant; /* the model's weights are quantized on the way; NULL: as they are. Borrowed */
    int64_t batch;                /* rows at a time; 0: about 4,096 positions */
    const volatile int *stop;     /* nonzero between batches: LT_EINTERRUPTED. NULL: never */
    void (*on_progress)(void *user, int64_t done, int64_t total); /* rows; may be NULL */
    void *user;
} lti_scorer_options;

typedef struct lti_scorer lti_scorer; /* borrows the models */

/* LT_EINVAL: the vocabularies differ, or the model reads numbers. */
lt_status lti_scorer_create(lt_ctx *ctx, const lti_scorer_options *options, lti_scorer **scorer);
void lti_scorer_free(lti_scorer *scorer); /* NULL is fine */

/* Fills rows[i].scores for i < n. LT_EINVAL for a classifier; LT_ENONFINITE when a logit is. */
lt_status lti_scorer_run(lti_scorer *scorer, int64_t n, const lti_score_row *rows);
/* Of a classifier: logits [n, classes] of whole rows, and the reference's where there is one (else NULL). */
lt_status lti_scorer_classes(lti_scorer *scorer, int64_t n, const lti_score_row *rows, lt_real *logits,
                             lt_real *ref_logits);

#endif
