/* pooling.h - what max_pool2d and avg_pool2d share: how windows are checked, and how rows of images become tasks. */
#ifndef LTI_POOLING_H
#define LTI_POOLING_H

#include "autograd/ops/rows.h"
#include "lathe/images.h"

typedef struct lti_pool_attr {
    int64_t kernel[2], stride[2], pad[2];
    int64_t in[2];     /* gradients: h and w of x */
    int64_t count_pad; /* average */
} lti_pool_attr;

/* The op on x, when the config is one; nil and the graph's error when not. */
lt_t lti_pool_emit(const lti_op *op, lt_t x, const lt_pool_config *config);
/* Of x [B, H, W, C]: output 0 [B, OH, OW, C]. */
bool lti_pool_shape(lti_shaper *s);
/* Of dy, the last input: dx [B, H, W, C]. */
bool lti_pool_grad_shape(lti_shaper *s);
/* The gradient's node, whose inputs are in[0 .. n). */
lt_t lti_pool_grad(const lti_op *op, const lti_vjp *v, int n, const lt_t *in);

/* Runs over all rows of out[0], which is y of the window (x: in[0]), or in gradients dx (dy: the last input): calls
 * `rows` for rows s->begin .. s->end of image `image`. */
typedef void (*lti_pool_rows)(const lti_step *step, const lti_window *s, int64_t image);
lt_status lti_pool_run(lti_step *step, bool gradient, lti_pool_rows rows);

/* Elements of images before `image`. */
static inline int64_t lti_image_at(const lti_arg *a, int64_t image)
{
    return image * a->dim[1] * a->dim[2] * a->dim[3];
}

#endif
