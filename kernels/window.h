/* window.h - how a window moves over an image: what the kernels of pooling and depthwise convolution are told.
 *
 * Row `begin` to `end` of what is computed: of y, in gradients of x those of dx. One call is one image, or a part. */
#ifndef LTI_WINDOW_H
#define LTI_WINDOW_H

#include <stdint.h>

typedef struct lti_window {
    int64_t h, w, c;   /* x [h, w, c] */
    int64_t oh, ow;    /* y [oh, ow, c] */
    int64_t kernel[2]; /* index 0 is height, 1 is width; a tap's number is its place in row order */
    int64_t stride[2], pad[2], dilation[2];
    int64_t begin, end;
} lti_window;

/* a / b of a >= 0: nearly always a step of 1 or 2, and this is asked for every pixel. */
static inline int64_t lti_quotient(int64_t a, int64_t b)
{
    return b == 1 ? a : b == 2 ? a >> 1 : a / b;
}

/* Along `axis`, the taps [*first, *end) of output o that lie inside the image. pad may be negative here. */
static inline void lti_window_taps(const lti_window *s, int axis, int64_t o, int64_t *first, int64_t *end)
{
    int64_t at = o * s->stride[axis] - s->pad[axis], d = s->dilation[axis], n = axis ? s->w : s->h;
    *first = at < 0 ? lti_quotient(d - 1 - at, d) : 0;
    *end = at < n ? lti_quotient(n - at + d - 1, d) : 0;
    if (*end > s->kernel[axis]) *end = s->kernel[axis];
    if (*end < *first) *end = *first;
}

/* Along `axis`, the outputs [*first, *end) whose window covers input i. For pad >= 0 and dilation 1. */
static inline void lti_window_over(const lti_window *s, int axis, int64_t i, int64_t *first, int64_t *end)
{
    int64_t at = i + s->pad[axis], k = s->kernel[axis], n = axis ? s->ow : s->oh;
    *first = at >= k ? lti_quotient(at - k, s->stride[axis]) + 1 : 0;
    *end = lti_quotient(at, s->stride[axis]) + 1;
    if (*end > n) *end = n;
    if (*end < *first) *end = *first;
}

#endif
