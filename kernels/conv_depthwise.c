/* conv_depthwise.c - convolution with one filter a channel (groups = I = O), by kernels of our own (kernels.def).
 *
 * Packed filters are [taps, C]. With stride 1 the gradient of x is a convolution of dy with the filters turned round.
 *
 * For builds without oneDNN, which on Zen 5 (2.6.3, 3 x 3, channels last) takes 0.6 of the time of these kernels
 * (bench/bench_conv.c): plain products over unfolded windows would take 30 to 100 times theirs. */
#include "kernels/conv_backend.h"
#include "kernels/kernels.h"

#include <string.h>

typedef struct depthwise_kernel {
    lti_conv_shape shape;
    lti_conv_kind kind;
    bool turned; /* data, stride 1 */
} depthwise_kernel;

static bool can(const lti_conv_shape *s, lti_conv_kind kind)
{
    (void)kind;
    return s->groups == s->i && s->groups == s->o;
}

static bool prefers(const lti_conv_shape *s, lti_conv_kind kind)
{
#ifdef LT_WITH_ONEDNN
    return false;
#else
    return can(s, kind);
#endif
}

static lt_status create(lt_ctx *ctx, const lti_conv_shape *shape, lti_conv_kind kind, int slots, const void *like,
                        void **kernel)
{
    (void)slots;
    (void)like;
    depthwise_kernel *k = lti_alloc(ctx, sizeof *k);
    if (!k) return LT_ENOMEM;
    k->shape = *shape;
    k->kind = kind;
    k->turned = kind == LTI_CONV_DATA && shape->stride[0] == 1 && shape->stride[1] == 1;
    *kernel = k;
    return LT_OK;
}

static void drop(lt_ctx *ctx, void *kernel)
{
    lti_free(ctx, kernel);
}

static size_t scratch_bytes(const void *kernel)
{
    (void)kernel;
    return 0;
}

static size_t packed_bytes(const void *kernel)
{
    const lti_conv_shape *s = &((const depthwise_kernel *)kernel)->shape;
    return (size_t)(s->kh * s->kw * s->i) * sizeof(lt_real);
}

static lt_status pack(void *kernel, const lt_real *filters, lt_real *packed, void *scratch)
{
    const depthwise_kernel *k = kernel;
    int64_t taps = k->shape.kh * k->shape.kw, c = k->shape.i;
    (void)scratch;
    for (int64_t t = 0; filters && t < taps; t++)
        for (int64_t i = 0; i < c; i++) packed[(k->turned ? taps - 1 - t : t) * c + i] = filters[i * taps + t];
    return LT_OK;
}

static lt_status unpack(void *kernel, lt_real *packed, lt_real *filters, void *scratch)
{
    const lti_conv_shape *s = &((const depthwise_kernel *)kernel)->shape;
    int64_t taps = s->kh * s->kw;
    (void)scratch;
    for (int64_t t = 0; t < taps; t++)
        for (int64_t i = 0; i < s->i; i++) filters[i * taps + t] = packed[t * s->i + i];
    return LT_OK;
}

/* dx as a convolution of dy: the window that reads what the forward's wrote. */
static lti_window turned_window(const lti_conv_shape *s)
{
    lti_window v = lti_conv_window(s);
    v.h = s->oh, v.w = s->ow;
    v.oh = s->h, v.ow = s->w;
    for (int k = 0; k < 2; k++) v.pad[k] = (v.kernel[k] - 1) * v.dilation[k] - v.pad[k];
    v.end = v.oh;
    return v;
}

static lt_status run(void *kernel, int slot, const lt_real *a, const lt_real *b, lt_real *c, void *scratch)
{
    const depthwise_kernel *k = kernel;
    const lti_conv_shape *s = &k->shape;
    (void)slot;
    (void)scratch;
    lti_window v = k->turned ? turned_window(s) : lti_conv_window(s);
    int64_t x = s->h * s->w * s->i, y = s->oh * s->ow * s->i;
    if (k->kind == LTI_CONV_WEIGHT) memset(c, 0, packed_bytes(k));
    if (k->kind == LTI_CONV_DATA && !k->turned) v.end = v.h;
    for (int64_t i = 0; i < s->b; i++) {
        if (k->kind == LTI_CONV_WEIGHT)
            lti_k()->depthwise_weight(&v, a + i * x, b + i * y, c);
        else if (k->kind == LTI_CONV_FORWARD)
            lti_k()->depthwise(&v, a + i * x, b, c + i * y);
        else if (k->turned)
            lti_k()->depthwise(&v, a + i * y, b, c + i * x);
        else
            lti_k()->depthwise_data(&v, a + i * y, b, c + i * x);
    }
    return LT_OK;
}

const lti_conv_backend lti_conv_depthwise = {
    .name = "depthwise",
    .prefers = prefers,
    .can = can,
    .create = create,
    .free = drop,
    .scratch = scratch_bytes,
    .packed = packed_bytes,
    .pack = pack,
    .unpack = unpack,
    .run = run,
};
