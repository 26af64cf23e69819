/* ref_images.c - depthwise convolution and pooling of one image in plain C: pixel by pixel, channels innermost.
 *
 * Every number of the result is gathered: the rows of one image can be shared out, and nothing is cleared first. */
#include "kernels/kernels.h"

#include <string.h>

static const R *pixel(const lti_window *s, const R *x, int64_t iy, int64_t ix)
{
    return x + (iy * s->w + ix) * s->c;
}

/* The input row or column of tap k of output o. */
static int64_t input_of(const lti_window *s, int axis, int64_t o, int64_t k)
{
    return o * s->stride[axis] - s->pad[axis] + k * s->dilation[axis];
}

/* The output row or column whose tap k is input i, or -1. */
static int64_t output_of(const lti_window *s, int axis, int64_t i, int64_t k)
{
    int64_t t = i + s->pad[axis] - k * s->dilation[axis];
    return t < 0 || t % s->stride[axis] || t / s->stride[axis] >= (axis ? s->ow : s->oh) ? -1 : t / s->stride[axis];
}

static void add_product(int64_t n, const R *a, const R *b, R *y)
{
    for (int64_t i = 0; i < n; i++) y[i] += a[i] * b[i];
}

void lti_k_depthwise_ref(const lti_window *s, const R *x, const R *w, R *y)
{
    y += s->begin * s->ow * s->c;
    for (int64_t oy = s->begin; oy < s->end; oy++)
        for (int64_t ox = 0; ox < s->ow; ox++, y += s->c) {
            int64_t ky, ky_end, kx, kx_end;
            memset(y, 0, (size_t)s->c * sizeof *y);
            lti_window_taps(s, 0, oy, &ky, &ky_end);
            for (; ky < ky_end; ky++)
                for (lti_window_taps(s, 1, ox, &kx, &kx_end); kx < kx_end; kx++)
                    add_product(s->c, pixel(s, x, input_of(s, 0, oy, ky), input_of(s, 1, ox, kx)),
                                w + (ky * s->kernel[1] + kx) * s->c, y);
        }
}

void lti_k_depthwise_data_ref(const lti_window *s, const R *dy, const R *w, R *dx)
{
    dx += s->begin * s->w * s->c;
    for (int64_t iy = s->begin; iy < s->end; iy++)
        for (int64_t ix = 0; ix < s->w; ix++, dx += s->c) {
            memset(dx, 0, (size_t)s->c * sizeof *dx);
            for (int64_t ky = 0; ky < s->kernel[0]; ky++) {
                int64_t oy = output_of(s, 0, iy, ky);
                for (int64_t kx = 0; oy >= 0 && kx < s->kernel[1]; kx++) {
                    int64_t ox = output_of(s, 1, ix, kx);
                    if (ox < 0) continue;
                    add_product(s->c, dy + (oy * s->ow + ox) * s->c, w + (ky * s->kernel[1] + kx) * s->c, dx);
                }
            }
        }
}

void lti_k_depthwise_weight_ref(const lti_window *s, const R *x, const R *dy, R *dw)
{
    dy += s->begin * s->ow * s->c;
    for (int64_t oy = s->begin; oy < s->end; oy++)
        for (int64_t ox = 0; ox < s->ow; ox++, dy += s->c) {
            int64_t ky, ky_end, kx, kx_end;
            lti_window_taps(s, 0, oy, &ky, &ky_end);
            for (; ky < ky_end; ky++)
                for (lti_window_taps(s, 1, ox, &kx, &kx_end); kx < kx_end; kx++)
                    add_product(s->c, pixel(s, x, input_of(s, 0, oy, ky), input_of(s, 1, ox, kx)), dy,
                                dw + (ky * s->kernel[1] + kx) * s->c);
        }
}

/* ---- Pooling ---- */

void lti_k_max_pool_ref(const lti_window *s, const R *x, R *y, int32_t *index)
{
    y += s->begin * s->ow * s->c;
    if (index) index += s->begin * s->ow * s->c;
    for (int64_t oy = s->begin; oy < s->end; oy++)
        for (int64_t ox = 0; ox < s->ow; ox++, y += s->c, index = index ? index + s->c : NULL) {
            int64_t ky, ky_end, first, kx_end;
            bool begun = false;
            lti_window_taps(s, 0, oy, &ky, &ky_end);
            lti_window_taps(s, 1, ox, &first, &kx_end);
            for (; ky < ky_end; ky++)
                for (int64_t kx = first; kx < kx_end; kx++, begun = true) {
                    const R *p = pixel(s, x, input_of(s, 0, oy, ky), input_of(s, 1, ox, kx));
                    for (int64_t i = 0; i < s->c; i++) {
                        if (begun && !(p[i] > y[i] || p[i] != p[i])) continue;
                        y[i] = p[i];
                        if (index) index[i] = (int32_t)(ky * s->kernel[1] + kx);
                    }
                }
        }
}

void lti_k_max_pool_grad_ref(const lti_window *s, const int32_t *index, const R *dy, R *dx)
{
    dx += s->begin * s->w * s->c;
    for (int64_t iy = s->begin; iy < s->end; iy++)
        for (int64_t ix = 0; ix < s->w; ix++, dx += s->c) {
            int64_t oy, oy_end, ox, ox_end;
            memset(dx, 0, (size_t)s->c * sizeof *dx);
            lti_window_over(s, 0, iy, &oy, &oy_end);
            for (; oy < oy_end; oy++)
                for (lti_window_over(s, 1, ix, &ox, &ox_end); ox < ox_end; ox++) {
                    int64_t tap = (iy - input_of(s, 0, oy, 0)) * s->kernel[1] + ix - input_of(s, 1, ox, 0);
                    int64_t at = (oy * s->ow + ox) * s->c;
                    for (int64_t i = 0; i < s->c; i++)
                        if (index[at + i] == tap) dx[i] += dy[at + i];
                }
        }
}

/* One over the taps of output (oy, ox) inside the image, unless it is given. */
static R share(const lti_window *s, R scale, int64_t oy, int64_t ox)
{
    int64_t ky, ky_end, kx, kx_end;
    if (scale > 0) return scale;
    lti_window_taps(s, 0, oy, &ky, &ky_end);
    lti_window_taps(s, 1, ox, &kx, &kx_end);
    return 1 / (R)((ky_end - ky) * (kx_end - kx));
}

void lti_k_avg_pool_ref(const lti_window *s, R scale, const R *x, R *y)
{
    y += s->begin * s->ow * s->c;
    for (int64_t oy = s->begin; oy < s->end; oy++)
        for (int64_t ox = 0; ox < s->ow; ox++, y += s->c) {
            int64_t ky, ky_end, kx, kx_end;
            R one = share(s, scale, oy, ox);
            memset(y, 0, (size_t)s->c * sizeof *y);
            lti_window_taps(s, 0, oy, &ky, &ky_end);
            for (; ky < ky_end; ky++)
                for (lti_window_taps(s, 1, ox, &kx, &kx_end); kx < kx_end; kx++) {
                    const R *p = pixel(s, x, input_of(s, 0, oy, ky), input_of(s, 1, ox, kx));
                    for (int64_t i = 0; i < s->c; i++) y[i] += p[i];
                }
            for (int64_t i = 0; i < s->c; i++) y[i] *= one;
        }
}

void lti_k_avg_pool_grad_ref(const lti_window *s, R scale, const R *dy, R *dx)
{
    dx += s->begin * s->w * s->c;
    for (int64_t iy = s->begin; iy < s->end; iy++)
        for (int64_t ix = 0; ix < s->w; ix++, dx += s->c) {
            int64_t oy, oy_end, ox, ox_end;
            memset(dx, 0, (size_t)s->c * sizeof *dx);
            lti_window_over(s, 0, iy, &oy, &oy_end);
            for (; oy < oy_end; oy++)
                for (lti_window_over(s, 1, ix, &ox, &ox_end); ox < ox_end; ox++) {
                    R one = share(s, scale, oy, ox);
                    const R *d = dy + (oy * s->ow + ox) * s->c;
                    for (int64_t i = 0; i < s->c; i++) dx[i] += one * d[i];
                }
        }
}
