/* broadcast.h - NumPy broadcasting of two operands, shared by the arithmetic ops and expand. Internal to autograd/ops.
 */
#ifndef LTI_BROADCAST_H
#define LTI_BROADCAST_H

#include "autograd/op.h"

/* Two contiguous operands under a common shape, with axes of size 1 dropped and neighbours merged where both operands
 * go on alike. What is left is an inner run, along which an operand advances or repeats one number (step 0 or 1), under
 * a few outer axes: no outer axis for equal shapes and for scalars, one for [R,C] with [C] or [R,1]. */
typedef struct lti_broadcast {
    int rank; /* outer axes */
    int64_t dim[LT_MAX_RANK], step_a[LT_MAX_RANK], step_b[LT_MAX_RANK];
    int64_t inner, inner_a, inner_b;
    int64_t outer;  /* product of dim */
    int64_t pieces; /* an inner run is cut into so many units */
    int64_t tasks;
} lti_broadcast;

/* The common shape; false when the shapes do not fit. */
bool lti_broadcast_dims(const lti_value *a, const lti_value *b, int *rank, int64_t dim[LT_MAX_RANK]);
/* The shapes must fit. */
void lti_broadcast_plan(lti_broadcast *plan, const lti_arg *a, const lti_arg *b);

/* Called with n elements of output from y on; a, b: offsets in elements, sa, sb: their steps (0 or 1). */
typedef void (*lti_broadcast_body)(const void *arg, int64_t n, int64_t a, int64_t sa, int64_t b, int64_t sb, int64_t y);
void lti_broadcast_each(const lti_broadcast *plan, lti_broadcast_body body, const void *arg);

/* The callbacks of a two-operand op; `run` passes its kernel. The state is freed by lti_state_free (elementwise.h). */
typedef void (*lti_binary)(int64_t n, const lt_real *a, int64_t sa, const lt_real *b, int64_t sb, lt_real *y);
bool lti_binary_shape(lti_shaper *s);
lt_status lti_binary_prepare(lti_step *step);
lt_status lti_binary_run(lti_step *step, lti_binary kernel);

#endif
