/* conv.h - convolution of images and its two gradients: one interface, providers behind it, each checking the others.
 *
 *     forward   a = x [b, h, w, i],   b = filters [o, i/groups, kh, kw]  ->  c = y [b, oh, ow, o]
 *     data      a = dy,               b = filters                        ->  c = dx
 *     weight    a = x,                b = dy                             ->  c = dfilters
 *
 * A convolution is described once (create), states its scratch, and runs many times without allocating in lathe. The
 * batch is cut into chunks by the sizes of the problem alone; providers run single-threaded on a chunk, and what the
 * chunks give to the gradient of the filters is summed in their order: bitwise equal results for any number of threads.
 *
 * Providers: "onednn"; "depthwise", kernels of our own for filters of one channel each; "ref", a matrix product over
 * unfolded windows. LT_CONV=onednn|depthwise|ref forces one where it can do what is asked. */
#ifndef LTI_CONV_H
#define LTI_CONV_H

#include "base/ctx.h"

typedef struct lti_conv_shape {
    int64_t b, h, w, i;
    int64_t oh, ow, o;
    int64_t kh, kw, groups;
    int64_t stride[2], pad[2], dilation[2]; /* index 0 is height; dilation 1: neighbours */
} lti_conv_shape;

typedef enum lti_conv_kind { LTI_CONV_FORWARD, LTI_CONV_DATA, LTI_CONV_WEIGHT } lti_conv_kind;

typedef struct lti_conv lti_conv;

/* Errors: LT_EINVAL for sizes that do not fit each other, LT_EPROVIDER, LT_ENOMEM. b may be 0. */
lt_status lti_conv_create(lt_ctx *ctx, const lti_conv_shape *shape, lti_conv_kind kind, lti_conv **conv);
void lti_conv_free(lt_ctx *ctx, lti_conv *conv); /* NULL is fine */
size_t lti_conv_scratch(const lti_conv *conv);   /* bytes, 64-byte aligned, for lti_conv_run */
lt_status lti_conv_run(lti_conv *conv, const lt_real *a, const lt_real *b, lt_real *c, void *scratch);

/* Rows or columns of y along axis 0 or 1 for `size` of x: 0 when no window fits. */
int64_t lti_conv_outputs(const lti_conv_shape *shape, int axis, int64_t size);
const char *lti_conv_provider(const lti_conv *conv); /* who runs it */
const char *lti_conv_forced(void);                   /* the name that LT_CONV or lti_conv_force gave, or NULL */
bool lti_conv_force(const char *provider); /* for tests and bench; NULL: back to the default. false: not built in */

#endif
