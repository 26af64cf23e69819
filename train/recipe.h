/* recipe.h - what a run computes: the plans of training, updating and evaluating, by batch and length. */
#ifndef LTI_RECIPE_H
#define LTI_RECIPE_H

#include "base/clock.h"
#include "lathe/cluster.h"
#include "train/feed.h"

typedef enum lti_phase {
    LTI_EVALUATE,      /* result 0: sum of -log p over what is scored; with classes 1: logits [B, classes] */
    LTI_TRAIN,         /* result 0: loss; gradients accumulated, or weights updated (fused) */
    LTI_TRAIN_FLOAT,   /* the same before QAT starts */
    LTI_UPDATE,        /* results: gradient norm, 1 when the update was made; batch and length 0 */
    LTI_EVALUATE_FLOAT /* as LTI_EVALUATE, before QAT starts */
} lti_phase;

typedef struct lti_recipe {
    lt_ctx *ctx;
    lt_model *model;
    const lt_quant_policy *quant;     /* NULL: float */
    const lt_cluster_config *cluster; /* NULL: none */
    lt_optimizer *optimizer;          /* NULL: evaluation only */
    bool fused;
    lti_row_layout layout;
    lt_dtype compute, store; /* while training; LT_F32, 0, or LT_BF16 */
    double smoothing;        /* of the labels, while training */
    uint64_t seed;
    lt_plan_cache *plans;
    lti_feed feed; /* of evaluation */
} lti_recipe;

/* LT_EINVAL for rows the model cannot read or answer, and, to be trained, for one opened frozen. */
lt_status lti_check_model(lt_ctx *ctx, const lt_model *model, const lt_dataset *data, bool to_train);

/* Zero-initialise and fill all but plans and feed first. */
lt_status lti_recipe_open(lti_recipe *r);
void lti_recipe_close(lti_recipe *r); /* not the optimizer */

lt_status lti_recipe_plan(lti_recipe *r, lti_phase phase, int64_t batch, int64_t length, lt_plan **plan);
/* Arena bytes of that plan, compiled without allocating its arena. */
lt_status lti_recipe_measure(lti_recipe *r, lti_phase phase, int64_t batch, int64_t length, size_t *bytes);

typedef struct lti_scores {
    double nll_sum;        /* of -log p over what is scored */
    int64_t scored, right; /* right: rows whose class was the likeliest */
} lti_scores;
/* All rows, in batches of equal buckets; phase: LTI_EVALUATE or LTI_EVALUATE_FLOAT. */
lt_status lti_recipe_evaluate(lti_recipe *r, lti_phase phase, const lt_dataset *data, int64_t batch,
                              lti_scores *scores);
/* Share of rows that are right; NaN for language models. */
double lti_accuracy(const lti_recipe *r, const lti_scores *scores);
/* Rows a batch for evaluation: of texts about 4,096 positions. */
int64_t lti_eval_batch(const lt_dataset *data);

/* Tensors and bytes by deployed type, and the fallbacks, as text. Free with lt_string_free. */
lt_status lti_describe_codes(lt_model *model, const lt_quant_policy *policy, char **report);

/* Bytes of a parameter on the grid it is deployed on; policy NULL: as it is. */
size_t lti_deployed_bytes(const lt_param *param, const lt_quant_policy *policy);
/* Bytes, parameters and nonzero parameters of a model in its deployed types. */
void lti_describe_model(lt_model *model, const lt_quant_policy *quant, lt_eval_result *result);

#endif
