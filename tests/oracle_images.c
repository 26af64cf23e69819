/* oracle_images.c - formulas of convolution and pooling: seven loops and a question whether the pixel exists. */
#include "tests/oracle_ops.h"

#include <math.h>

/* How many windows of `taps` fit; the arguments as the case has them. */
static int64_t outputs(int64_t size, int64_t taps, int64_t stride, int64_t pad, int64_t dilation)
{
    return (size + 2 * pad - dilation * (taps - 1) - 1) / stride + 1;
}

static const double *pixel(const ts_tensor *x, int64_t b, int64_t iy, int64_t ix)
{
    bool exists = iy >= 0 && ix >= 0 && iy < x->dim[1] && ix < x->dim[2];
    return exists ? x->v + ((b * x->dim[1] + iy) * x->dim[2] + ix) * x->dim[3] : NULL;
}

TS_FORMULA(conv2d)
{
    const int64_t *stride = c->arg, *pad = c->arg + 2, *dilation = c->arg + 4, groups = c->arg[6];
    const ts_tensor *w = &x[1];
    int64_t oh = outputs(x->dim[1], w->dim[2], stride[0], pad[0], dilation[0]);
    int64_t ow = outputs(x->dim[2], w->dim[3], stride[1], pad[1], dilation[1]), part = w->dim[0] / groups, at = 0;
    ts_make(y, 4, (int64_t[]){x->dim[0], oh, ow, w->dim[0]});
    for (int64_t b = 0; b < x->dim[0]; b++)
        for (int64_t oy = 0; oy < oh; oy++)
            for (int64_t ox = 0; ox < ow; ox++)
                for (int64_t o = 0; o < w->dim[0]; o++, at++)
                    for (int64_t ky = 0; ky < w->dim[2]; ky++)
                        for (int64_t kx = 0; kx < w->dim[3]; kx++) {
                            const double *p = pixel(x, b, oy * stride[0] - pad[0] + ky * dilation[0],
                                                    ox * stride[1] - pad[1] + kx * dilation[1]);
                            for (int64_t i = 0; p && i < w->dim[1]; i++)
                                y->v[at] += p[o / part * w->dim[1] + i] *
                                            w->v[((o * w->dim[1] + i) * w->dim[2] + ky) * w->dim[3] + kx];
                        }
}

static void pool(const ts_case *c, const ts_tensor *x, ts_tensor *y, bool maximum)
{
    const int64_t *kernel = c->arg, *stride = c->arg + 2, *pad = c->arg + 4;
    int64_t oh = outputs(x->dim[1], kernel[0], stride[0], pad[0], 1);
    int64_t ow = outputs(x->dim[2], kernel[1], stride[1], pad[1], 1), at = 0;
    ts_make(y, 4, (int64_t[]){x->dim[0], oh, ow, x->dim[3]});
    for (int64_t b = 0; b < x->dim[0]; b++)
        for (int64_t oy = 0; oy < oh; oy++)
            for (int64_t ox = 0; ox < ow; ox++)
                for (int64_t i = 0; i < x->dim[3]; i++, at++) {
                    double sum = 0, top = -INFINITY, n = 0;
                    for (int64_t k = 0; k < kernel[0] * kernel[1]; k++) {
                        const double *p = pixel(x, b, oy * stride[0] - pad[0] + k / kernel[1],
                                                ox * stride[1] - pad[1] + k % kernel[1]);
                        if (p) sum += p[i], top = fmax(top, p[i]), n++;
                    }
                    y->v[at] = maximum ? top : sum / (c->flags & 1 ? (double)(kernel[0] * kernel[1]) : n);
                }
}

TS_FORMULA(max_pool2d)
{
    pool(c, x, y, true);
}

TS_FORMULA(avg_pool2d)
{
    pool(c, x, y, false);
}

TS_FORMULA(global_avg_pool)
{
    (void)c;
    int64_t channels = ts_dim(x, -1), positions = x->count / x->dim[0] / channels;
    ts_make(y, 2, (int64_t[]){x->dim[0], channels});
    for (int64_t i = 0; i < x->count; i++)
        y->v[i / channels / positions * channels + i % channels] += x->v[i] / (double)positions;
}
