/* simd_pool.c - pooling of one image: a vector of channels at a time, the window innermost, in registers. */
#include "kernels/simd/vec.h"

typedef struct span {
    int64_t first, end;
} span;

VI span taps(const lti_window *s, int axis, int64_t o)
{
    span t;
    lti_window_taps(s, axis, o, &t.first, &t.end);
    return t;
}

VI span over(const lti_window *s, int axis, int64_t i)
{
    span t;
    lti_window_over(s, axis, i, &t.first, &t.end);
    return t;
}

/* Where tap (0, 0) of output (oy, ox) lies in the image, in pixels: it may lie outside. */
VI int64_t start_of(const lti_window *s, int64_t oy, int64_t ox)
{
    return (oy * s->stride[0] - s->pad[0]) * s->w + ox * s->stride[1] - s->pad[1];
}

/* The maximum of V channels and its tap's number; x: tap (0, 0), though it may lie outside the image. */
VI vf largest(const lti_window *s, span ky, span kx, int64_t start, const R *x, int64_t left, vf *tap)
{
    vf best = v_get(x + (start + ky.first * s->w + kx.first) * s->c, left);
    *tap = v_set((float)(ky.first * s->kernel[1] + kx.first));
    for (int64_t y = ky.first; y < ky.end; y++)
        for (int64_t k = kx.first; k < kx.end; k++) {
            vf v = v_get(x + (start + y * s->w + k) * s->c, left);
            vm larger = v_or(v_lt(best, v), v_nan(v));
            best = v_select(larger, v, best);
            *tap = v_select(larger, v_set((float)(y * s->kernel[1] + k)), *tap);
        }
    return best;
}

void LTI_FN(max_pool)(const lti_window *s, const R *x, R *y, int32_t *index)
{
    for (int64_t oy = s->begin; oy < s->end; oy++) {
        span ky = taps(s, 0, oy);
        for (int64_t ox = 0; ox < s->ow; ox++) {
            span kx = taps(s, 1, ox);
            int64_t at = (oy * s->ow + ox) * s->c, start = start_of(s, oy, ox);
            LTI_EACH (c, left, s->c) {
                vf tap;
                v_put(y + at + c, largest(s, ky, kx, start, x + c, left, &tap), left);
                if (index) v_put_whole(index + at + c, tap, left);
            }
        }
    }
}

void LTI_FN(max_pool_grad)(const lti_window *s, const int32_t *index, const R *dy, R *dx)
{
    for (int64_t iy = s->begin; iy < s->end; iy++) {
        span oy = over(s, 0, iy);
        for (int64_t ix = 0; ix < s->w; ix++) {
            span ox = over(s, 1, ix);
            LTI_EACH (c, left, s->c) {
                vf sum = v_zero();
                for (int64_t o = oy.first; o < oy.end; o++)
                    for (int64_t p = ox.first; p < ox.end; p++) {
                        int64_t at = (o * s->ow + p) * s->c + c;
                        int64_t ky = iy + s->pad[0] - o * s->stride[0], kx = ix + s->pad[1] - p * s->stride[1];
                        vm here = v_eq(v_get_whole(index + at, left), v_set((float)(ky * s->kernel[1] + kx)));
                        sum = v_add(sum, v_select(here, v_get(dy + at, left), v_zero()));
                    }
                v_put(dx + (iy * s->w + ix) * s->c + c, sum, left);
            }
        }
    }
}

VI R share(R scale, span ky, span kx)
{
    return scale > 0 ? scale : 1 / (R)((ky.end - ky.first) * (kx.end - kx.first));
}

void LTI_FN(avg_pool)(const lti_window *s, R scale, const R *x, R *y)
{
    for (int64_t oy = s->begin; oy < s->end; oy++) {
        span ky = taps(s, 0, oy);
        for (int64_t ox = 0; ox < s->ow; ox++) {
            span kx = taps(s, 1, ox);
            int64_t start = start_of(s, oy, ox);
            vf one = v_set(share(scale, ky, kx));
            LTI_EACH (c, left, s->c) {
                vf sum = v_zero();
                for (int64_t k = ky.first; k < ky.end; k++)
                    for (int64_t l = kx.first; l < kx.end; l++)
                        sum = v_add(sum, v_get(x + (start + k * s->w + l) * s->c + c, left));
                v_put(y + (oy * s->ow + ox) * s->c + c, v_mul(sum, one), left);
            }
        }
    }
}

void LTI_FN(avg_pool_grad)(const lti_window *s, R scale, const R *dy, R *dx)
{
    for (int64_t iy = s->begin; iy < s->end; iy++) {
        span oy = over(s, 0, iy);
        for (int64_t ix = 0; ix < s->w; ix++) {
            span ox = over(s, 1, ix);
            LTI_EACH (c, left, s->c) {
                vf sum = v_zero();
                for (int64_t o = oy.first; o < oy.end; o++)
                    for (int64_t p = ox.first; p < ox.end; p++) {
                        vf one = v_set(scale > 0 ? scale : share(scale, taps(s, 0, o), taps(s, 1, p)));
                        sum = v_fma(one, v_get(dy + (o * s->ow + p) * s->c + c, left), sum);
                    }
                v_put(dx + (iy * s->w + ix) * s->c + c, sum, left);
            }
        }
    }
}
