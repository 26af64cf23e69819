/* recipe.h - what a run computes: the plans of training, updating and evaluating, by batch and length. */
#ifndef LTI_RECIPE_H
#define LTI_RECIPE_H

#include "base/clock.h"
#include "base/ctx.h"
#include "lathe/plan.h"
#include "lathe/train.h"

typedef enum lti_phase {
    LTI_EVALUATE,    /* result 0: sum of -log p over scored positions */
    LTI_TRAIN,       /* result 0: loss; gradients accumulated, or weights updated (fused) */
    LTI_TRAIN_FLOAT, /* the same before QAT starts */
    LTI_UPDATE       /* results: gradient norm, 1 when the update was made; batch and length 0 */
} lti_phase;

typedef struct lti_recipe {
    lt_ctx *ctx;
    lt_model *model;
    const lt_quant_policy *quant; /* NULL: float */
    lt_optimizer *optimizer;      /* NULL: evaluation only */
    bool fused;
    bool spans; /* rows hold several documents, each of which sees itself alone */
    uint64_t seed;
    lt_plan_cache *plans;
    int32_t *tokens, *targets; /* [batch * length] of the largest batch */
    int32_t *bounds;           /* [batch * length * 2], with spans */
    int32_t *positions;        /* [batch * length], with spans and learned positions: places in the document */
    int64_t capacity;          /* elements of tokens */
} lti_recipe;

/* LT_EINVAL for a model that predicts no next token, and, to be trained, for one opened frozen. */
lt_status lti_check_model(lt_ctx *ctx, const lt_model *model, bool to_train);

/* Zero-initialise and fill ctx, model, quant, optimizer, fused, seed first. */
lt_status lti_recipe_open(lti_recipe *r);
void lti_recipe_close(lti_recipe *r); /* not the optimizer */
/* Makes tokens, targets and what goes with spans hold at least `count` positions. */
lt_status lti_recipe_reserve(lti_recipe *r, int64_t count);
/* Binds them to a plan of B x T positions that has been filled with a batch. */
lt_status lti_recipe_bind(lti_recipe *r, lt_plan *plan, int64_t B, int64_t T);

lt_status lti_recipe_plan(lti_recipe *r, lti_phase phase, int64_t batch, int64_t length, lt_plan **plan);
/* Arena bytes of that plan, compiled without allocating its arena. */
lt_status lti_recipe_measure(lti_recipe *r, lti_phase phase, int64_t batch, int64_t length, size_t *bytes);

/* Sum of -log p and count of scored positions over all rows, in batches of equal buckets. */
lt_status lti_recipe_evaluate(lti_recipe *r, const lt_dataset *data, int64_t batch, double *nll_sum, int64_t *scored);
/* Rows a batch for evaluation, by the longest row: about 4,096 positions. */
int64_t lti_eval_batch(const lt_dataset *data);

/* Tensors and bytes by deployed type, and the fallbacks, as text. Free with lt_string_free. */
lt_status lti_describe_codes(lt_model *model, const lt_quant_policy *policy, char **report);

/* Bytes, parameters and nonzero parameters of a model in its deployed types. */
void lti_describe_model(lt_model *model, const lt_quant_policy *quant, lt_eval_result *result);

#endif
