/* conv_int8.c - convolution in integers: the choice of who does it, and plain C.
 *
 * In plain C filters lie as [group][tap][channel][output of the group], so that the innermost loop adds one channel's
 * products to all outputs of the group, which compilers turn into vectors. The sum in 32 bits is exact as long as a
 * window has at most 65,536 numbers (255 * 128 each), which create sees to. */
#include "kernels/conv_int8.h"

#include "kernels/window.h"

#include <math.h>
#include <string.h>

enum { LONGEST = 65536 };

struct lti_conv_int8 {
    lti_conv_int8_shape shape;
    int8_t *filters;     /* packed; NULL with a provider */
    float *bias, *scale; /* [o] */
    void *kernel;        /* the provider's, or NULL: plain C */
};

static lt_status check(lt_ctx *ctx, const lti_conv_int8_shape *shape)
{
    const lti_conv_shape *s = &shape->conv;
    bool good = s->b > 0 && s->h > 0 && s->w > 0 && s->i > 0 && s->o > 0 && s->kh > 0 && s->kw > 0 && s->groups > 0;
    for (int k = 0; k < 2; k++) good = good && s->stride[k] > 0 && s->pad[k] >= 0 && s->dilation[k] > 0;
    good = good && s->oh > 0 && s->oh == lti_conv_outputs(s, 0, s->h);
    good = good && s->ow > 0 && s->ow == lti_conv_outputs(s, 1, s->w);
    good = good && s->i % s->groups == 0 && s->o % s->groups == 0;
    good = good && s->kh <= LONGEST && s->kw <= LONGEST && s->i / s->groups <= LONGEST / (s->kh * s->kw);
    if (!good)
        return lti_fail(
            ctx, LT_EINVAL,
            "int8 conv: [%lld,%lld,%lld,%lld] with %lld groups of [%lld,%lld] to [%lld,%lld,%lld]: sizes do "
            "not fit each other, or a window has more than 65,536 numbers",
            (long long)s->b, (long long)s->h, (long long)s->w, (long long)s->i, (long long)s->groups, (long long)s->kh,
            (long long)s->kw, (long long)s->oh, (long long)s->ow, (long long)s->o);
    if (shape->add == LTI_ADD_CODES && !shape->codes)
        return lti_fail(ctx, LT_EINVAL, "int8 conv: codes are added where codes are written; give them as reals");
    return LT_OK;
}

/* ---- Plain C ---- */

static lt_status pack(lt_ctx *ctx, lti_conv_int8 *c, const int8_t *from)
{
    const lti_conv_shape *s = &c->shape.conv;
    int64_t n = s->o / s->groups, ig = s->i / s->groups, taps = s->kh * s->kw, at = 0;
    c->filters = lti_alloc_array(ctx, (size_t)(s->o * ig), (size_t)taps);
    if (!c->filters) return LT_ENOMEM;
    for (int64_t o = 0; o < s->o; o++)
        for (int64_t i = 0; i < ig; i++)
            for (int64_t t = 0; t < taps; t++) c->filters[((o / n * taps + t) * ig + i) * n + o % n] = from[at++];
    return LT_OK;
}

/* acc [o] += the pixel x times the filters of tap t. */
static void add_tap(const lti_conv_int8 *c, int64_t t, const uint8_t *x, int32_t *acc)
{
    const lti_conv_shape *s = &c->shape.conv;
    int64_t n = s->o / s->groups, ig = s->i / s->groups, taps = s->kh * s->kw;
    for (int64_t g = 0; g < s->groups; g++)
        for (int64_t i = 0; i < ig; i++) {
            uint8_t code = x[g * ig + i];
            int32_t v = c->shape.is_signed ? (int8_t)code : code;
            const int8_t *w = c->filters + ((g * taps + t) * ig + i) * n;
            for (int64_t o = 0; o < n; o++) acc[g * n + o] += v * w[o];
        }
}

/* Output `at` [o] of the whole run. */
static void finish(const lti_conv_int8 *c, int64_t at, const int32_t *acc, const float *add, void *y)
{
    int64_t O = c->shape.conv.o;
    float *reals = y;
    uint8_t *codes = y;
    for (int64_t o = 0, k = at * O; o < O; o++, k++) {
        float v = ((float)acc[o] + c->bias[o]) * c->scale[o];
        if (c->shape.add == LTI_ADD_CODES) v = fmaf((float)codes[k], c->shape.ratio, v);
        if (c->shape.add == LTI_ADD_REALS) v += add[k];
        if (c->shape.relu && !(v > 0)) v = 0;
        if (!c->shape.codes)
            reals[k] = v;
        else
            codes[k] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : rintf(v));
    }
}

static void run_plain(const lti_conv_int8 *c, const uint8_t *x, const float *add, void *y, int32_t *acc)
{
    const lti_conv_shape *s = &c->shape.conv;
    const lti_window window = {.h = s->h,
                               .w = s->w,
                               .kernel = {s->kh, s->kw},
                               .stride = {s->stride[0], s->stride[1]},
                               .pad = {s->pad[0], s->pad[1]},
                               .dilation = {s->dilation[0], s->dilation[1]}};
    for (int64_t p = 0; p < s->b * s->oh * s->ow; p++) {
        int64_t b = p / (s->oh * s->ow), oy = p / s->ow % s->oh, ox = p % s->ow, first[2], end[2];
        lti_window_taps(&window, 0, oy, &first[0], &end[0]);
        lti_window_taps(&window, 1, ox, &first[1], &end[1]);
        memset(acc, 0, (size_t)s->o * sizeof *acc);
        for (int64_t ky = first[0]; ky < end[0]; ky++)
            for (int64_t kx = first[1]; kx < end[1]; kx++) {
                int64_t iy = oy * s->stride[0] - s->pad[0] + ky * s->dilation[0];
                int64_t ix = ox * s->stride[1] - s->pad[1] + kx * s->dilation[1];
                add_tap(c, ky * s->kw + kx, x + ((b * s->h + iy) * s->w + ix) * s->i, acc);
            }
        finish(c, p, acc, add, y);
    }
}

/* ---- The interface ---- */

static lt_status fill(lt_ctx *ctx, lti_conv_int8 *c, const lti_conv_int8_arrays *from, int slots)
{
    size_t O = (size_t)c->shape.conv.o;
    c->bias = lti_alloc_array(ctx, O, sizeof *c->bias);
    if (c->bias) c->scale = lti_alloc_array(ctx, O, sizeof *c->scale);
    if (!c->scale) return LT_ENOMEM;
    memcpy(c->bias, from->bias, O * sizeof *c->bias);
    memcpy(c->scale, from->scale, O * sizeof *c->scale);
    (void)slots;
#ifdef LT_WITH_ONEDNN
    const char *forced = lti_conv_forced();
    if (!forced || strcmp(forced, "ref") != 0) {
        lti_conv_int8_arrays own = {from->filters, c->bias, c->scale};
        LTI_TRY(lti_onednn_int8_create(ctx, &c->shape, &own, slots, &c->kernel));
    }
#endif
    return c->kernel ? LT_OK : pack(ctx, c, from->filters);
}

lt_status lti_conv_int8_create(lt_ctx *ctx, const lti_conv_int8_shape *shape, const int8_t *filters, const float *bias,
                               const float *scale, int slots, lti_conv_int8 **conv)
{
    *conv = NULL;
    LTI_TRY(check(ctx, shape));
    lti_conv_int8 *c = lti_alloc(ctx, sizeof *c);
    if (!c) return LT_ENOMEM;
    c->shape = *shape;
    lt_status status = fill(ctx, c, &(lti_conv_int8_arrays){filters, bias, scale}, slots);
    if (status == LT_OK)
        *conv = c;
    else
        lti_conv_int8_free(ctx, c);
    return status;
}

void lti_conv_int8_free(lt_ctx *ctx, lti_conv_int8 *conv)
{
    if (!conv) return;
#ifdef LT_WITH_ONEDNN
    lti_onednn_int8_free(ctx, conv->kernel);
#endif
    lti_free(ctx, conv->filters);
    lti_free(ctx, conv->bias);
    lti_free(ctx, conv->scale);
    lti_free(ctx, conv);
}

size_t lti_conv_int8_scratch(const lti_conv_int8 *conv)
{
    size_t bytes = (size_t)conv->shape.conv.o * sizeof(int32_t);
#ifdef LT_WITH_ONEDNN
    if (conv->kernel) bytes = lti_onednn_int8_scratch(conv->kernel);
#endif
    return (bytes + 63) / 64 * 64;
}

const char *lti_conv_int8_provider(const lti_conv_int8 *conv)
{
    return conv->kernel ? "onednn" : "ref";
}

lt_status lti_conv_int8_run(lti_conv_int8 *conv, int slot, const void *x, const float *add, void *y, void *scratch)
{
#ifdef LT_WITH_ONEDNN
    if (conv->kernel) return lti_onednn_int8_run(conv->kernel, slot, x, add, y, scratch);
#endif
    (void)slot;
    run_plain(conv, x, add, y, scratch);
    return LT_OK;
}
