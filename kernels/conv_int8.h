/* conv_int8.h - convolution in integers with its output brought to the next layer's codes in the same pass.
 *
 *     acc[p, o] = sum over taps and channels of x[.., i] filters[o, i, ky, kx]            exact, 32 bits
 *     v         = (acc + bias[o]) scale[o]  (+ ratio y[p, o], or + add[p, o]),  v = max(0, v) where relu is set
 *     y[p, o]   = v as float, or its code 0 .. 255, rounded to nearest even
 *
 * x holds codes of one scale without a zero point: uint8, or int8 where numbers may be negative. So padding is 0, and
 * no product needs a correction. Scales of x and filters, and the next layer's, are in `scale`; biases are in steps of
 * acc. A fully connected layer is a 1 x 1 convolution.
 *
 * Filters are packed when the convolution is made, and a run works on one thread: networks share images out, not layers
 * (infer/int8_network.c). `slot` names state and scratch that the caller alone uses at that moment. */
#ifndef LTI_CONV_INT8_H
#define LTI_CONV_INT8_H

#include "kernels/conv.h"

typedef enum lti_int8_add {
    LTI_ADD_NONE = 0,
    LTI_ADD_CODES, /* what y, codes, holds before, times ratio */
    LTI_ADD_REALS  /* another array, [b, oh, ow, o] */
} lti_int8_add;

typedef struct lti_conv_int8_shape {
    lti_conv_shape conv; /* b: images a run */
    bool is_signed;      /* x is int8; else uint8 */
    bool codes;          /* y is uint8; else float */
    bool relu;
    lti_int8_add add; /* LTI_ADD_CODES only where y is codes */
    float ratio;
} lti_conv_int8_shape;

typedef struct lti_conv_int8 lti_conv_int8;

/* filters [o, i/groups, kh, kw], bias and scale [o]: copied. Providers: oneDNN where the machine sums bytes in 32 bits
 * (VNNI; older instructions sum pairs in 16 and saturate), else plain C. LT_CONV=ref forces plain C.
 * Errors: LT_EINVAL (sizes; codes that are added to floats), LT_EPROVIDER, LT_ENOMEM. */
lt_status lti_conv_int8_create(lt_ctx *ctx, const lti_conv_int8_shape *shape, const int8_t *filters, const float *bias,
                               const float *scale, int slots, lti_conv_int8 **conv);
void lti_conv_int8_free(lt_ctx *ctx, lti_conv_int8 *conv); /* NULL is fine */
size_t lti_conv_int8_scratch(const lti_conv_int8 *conv);   /* bytes of a slot, a multiple of 64 */
const char *lti_conv_int8_provider(const lti_conv_int8 *conv);
/* add: of LTI_ADD_REALS, else NULL. LT_OK or LT_EPROVIDER; no message, for it runs inside tasks. */
lt_status lti_conv_int8_run(lti_conv_int8 *conv, int slot, const void *x, const float *add, void *y, void *scratch);

/* ---- Behind it ---- */
typedef struct lti_conv_int8_arrays {
    const int8_t *filters;
    const float *bias, *scale;
} lti_conv_int8_arrays;
#ifdef LT_WITH_ONEDNN
/* *kernel NULL and LT_OK: oneDNN cannot, or not exactly. */
lt_status lti_onednn_int8_create(lt_ctx *ctx, const lti_conv_int8_shape *shape, const lti_conv_int8_arrays *arrays,
                                 int slots, void **kernel);
void lti_onednn_int8_free(lt_ctx *ctx, void *kernel);
size_t lti_onednn_int8_scratch(const void *kernel);
lt_status lti_onednn_int8_run(void *kernel, int slot, const void *x, const float *add, void *y, void *scratch);
#endif

#endif
