/* folds.h - where a scale of input channels can go: into the norm or the layer that makes them. */
#ifndef LTI_FOLDS_H
#define LTI_FOLDS_H

#include "lathe/models.h"
#include "qat/rounding.h"

enum { LTI_MOST_READERS = 3, LTI_MOST_FOLDS = 4 };

typedef struct lti_fold {
    lt_param *source, *bias; /* a norm's gain [C], or a layer's weight [C, in]; bias: [C] or NULL */
    bool norm, plus_one;     /* plus_one: the gain is 1 + what is stored */
    int n;
    lt_param *readers[LTI_MOST_READERS]; /* weights [out, columns] */
    int64_t channels, columns;
    int64_t head_dim, shared; /* columns of `shared` heads come from one; else 0, and columns are channels */
} lti_fold;

/* Those of a block of a transformer: its norms, and with `layers` also up -> down and v -> output where no norm stands
 * between them. Returns how many. */
int lti_folds_of(lt_model *model, int64_t block, bool layers, lti_fold folds[LTI_MOST_FOLDS]);
int64_t lti_fold_channel(const lti_fold *fold, int64_t column);
/* Divides the source by scale[channels] and multiplies the readers' columns by it: the model's function stays. */
void lti_fold_apply(const lti_fold *fold, const double *scale);
/* What is read then. */
void lti_fold_inputs(const lti_fold *fold, const double *scale, lti_inputs *inputs);

#endif
