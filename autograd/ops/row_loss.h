/* row_loss.h - losses of rows of logits z [.., V] against an int32 class a row: what cross_entropy.c and hinge.c share.
 *
 *     loss = 1/N sum over rows r with target t_r >= 0 of row(z_r, t_r),   dz = dloss / N drow/dz, 0 in masked rows
 *
 * N is `norm`, or the number of unmasked rows; a loss without any row is 0. To add one: its row function, two
 * descriptors that name the functions below, and a constructor that calls lti_row_loss_emit. */
#ifndef LTI_ROW_LOSS_H
#define LTI_ROW_LOSS_H

#include "autograd/op.h"

/* The loss of one row of V logits; dz = scale times its gradient, NULL or z allowed. */
typedef double (*lti_row_loss_fn)(double number, int64_t V, const lt_real *z, int64_t target, lt_real scale,
                                  lt_real *dz);

typedef struct lti_row_loss { /* the attr of both descriptors */
    lti_row_loss_fn row;
    double number; /* cross entropy: smoothing; hinge: margin */
    const lti_op *grad;
} lti_row_loss;

lt_t lti_row_loss_emit(const lti_op *op, lt_t z, lt_t target, lt_t norm, const lti_row_loss *attr);

/* Of the loss: z, target [, norm]. */
bool lti_row_loss_shape(lti_shaper *s);
void lti_row_loss_vjp(lti_vjp *v);
lt_status lti_row_loss_prepare(lti_step *step);
lt_status lti_row_loss_run(lti_step *step);
/* Of its gradient: z, target, dloss [, norm] -> dz, which may take z's place. */
bool lti_row_loss_grad_shape(lti_shaper *s);
lt_status lti_row_loss_grad_run(lti_step *step);

/* Cross-entropy against (1 - smoothing) onehot + smoothing / V. */
double lti_smooth_cross_entropy(double smoothing, int64_t V, const lt_real *z, int64_t target, lt_real scale,
                                lt_real *dz);

#endif
