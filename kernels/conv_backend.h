/* conv_backend.h - what stands behind conv.h: a convolution of a few images on the calling thread alone.
 *
 * conv.c cuts the batch into chunks and hands each to a kernel made for its size. Filters (or their gradient) are
 * "packed": in the order the kernel likes, the same for every size of chunk. `slot` names the state that the caller
 * alone uses at that moment. */
#ifndef LTI_CONV_BACKEND_H
#define LTI_CONV_BACKEND_H

#include "kernels/conv.h"
#include "kernels/window.h"

typedef struct lti_conv_backend {
    const char *name;
    /* Whether it is a good choice for the convolution, whatever the batch; and whether it can do it at all. */
    bool (*prefers)(const lti_conv_shape *shape, lti_conv_kind kind);
    bool (*can)(const lti_conv_shape *shape, lti_conv_kind kind);
    /* shape->b is the chunk's. `like` (or NULL): a kernel of another size of chunk, whose packing is to be used. */
    lt_status (*create)(lt_ctx *ctx, const lti_conv_shape *shape, lti_conv_kind kind, int slots, const void *like,
                        void **kernel);
    void (*free)(lt_ctx *ctx, void *kernel); /* NULL is fine */
    size_t (*scratch)(const void *kernel);   /* bytes of one slot */
    size_t (*packed)(const void *kernel);    /* bytes, whole lt_reals */
    /* LT_OK or LT_EPROVIDER; no context, for they run inside tasks. pack, before the chunks run: filters -> packed;
     * filters NULL: another kernel has packed them, they will be read there. unpack, after the chunks: packed gradient
     * -> gradient of the filters. `scratch` is a slot's. */
    lt_status (*pack)(void *kernel, const lt_real *filters, lt_real *packed, void *scratch);
    lt_status (*unpack)(void *kernel, lt_real *packed, lt_real *filters, void *scratch);
    /* forward: x, packed -> y. data: dy, packed -> dx. weight: x, dy -> packed gradient, overwritten. */
    lt_status (*run)(void *kernel, int slot, const lt_real *a, const lt_real *b, lt_real *c, void *scratch);
} lti_conv_backend;

extern const lti_conv_backend lti_conv_depthwise, lti_conv_ref;
#ifdef LT_WITH_ONEDNN
extern const lti_conv_backend lti_conv_onednn;
#endif

/* How its windows move over one image, dilated. */
static inline lti_window lti_conv_window(const lti_conv_shape *s)
{
    return (lti_window){.h = s->h,
                        .w = s->w,
                        .c = s->i,
                        .oh = s->oh,
                        .ow = s->ow,
                        .kernel = {s->kh, s->kw},
                        .stride = {s->stride[0], s->stride[1]},
                        .pad = {s->pad[0], s->pad[1]},
                        .dilation = {s->dilation[0], s->dilation[1]},
                        .end = s->oh};
}

#endif
