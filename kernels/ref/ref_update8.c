/* ref_update8.c - AdamW with moments of 8 bits, in plain C: code, thresholds and reasons are in update.h.
 *
 * Two passes over a block that stays in the first-level cache: the step itself with the block's new maxima, and the
 * codes, which need the maxima. In this very order of operations: every instruction set gives the same bytes. */
#include "kernels/kernels.h"

#include <math.h>

enum { BLOCK = LTI_ADAM8_BLOCK };

static R flushed(R x)
{
    return fabs((double)x) < (double)(R)1e-30 ? 0 : x;
}

/* The lower code of a square q^2 = x that is at most `most`; NaN: 0. */
static R lower_code(R x, R most)
{
    R q = (R)sqrt((double)x);
    q = q > 0 ? q : 0;
    return (R)(int)(q < most ? q : most);
}

/* x: |m| over the scale, times 127^2. */
static R code_of_m(R x, R u)
{
    R low = lower_code(x, 126);
    return x - low * low > u * (low + low + 1) ? low + 1 : low;
}

/* x: r over the scale, times 255^2. */
static R code_of_root(R x, R u)
{
    R low = lower_code(x, 254), high = low + 1;
    R below = low * low, above = high * high;
    below *= below, above *= above;
    R code = x * x - below > u * (above - below) ? high : low;
    return code < 1 && x > 0 ? 1 : code;
}

/* The step of `count` <= BLOCK elements; the new moments go to mean and root, their largest sizes to top. */
static void step_block(int64_t count, R *w, const int8_t *m, const int8_t *r, const R *scales, const R *g,
                       const lti_adamw_step *c, R mean[BLOCK], R root[BLOCK], R top[2])
{
    R rest1 = 1 - c->beta1, rest2 = 1 - c->beta2, unbias = 1 / c->sqrt_bias2, unit_m = scales[0] / 16129,
      unit_r = scales[1] / 65025;
    top[0] = top[1] = 0;
    for (int64_t i = 0; i < count; i++) {
        R code = m[i], size = (R)fabs((double)code), far = (R)r[i] + 128;
        R grad = c->clip * g[i], old = far * far * unit_r;
        mean[i] = flushed(c->beta1 * (code * size * unit_m) + rest1 * grad);
        root[i] = (R)sqrt((double)flushed(c->beta2 * (old * old) + rest2 * (grad * grad)));
        w[i] = w[i] * c->decay - c->step_size * (mean[i] / (root[i] * unbias + c->eps));
        size = (R)fabs((double)mean[i]);
        top[0] = size > top[0] ? size : top[0];
        top[1] = root[i] > top[1] ? root[i] : top[1];
    }
}

void lti_k_adamw8_ref(int64_t n, R *w, int8_t *m, int8_t *root, R *scales, const R *g, const lti_adamw8_step *c)
{
    R mean[BLOCK], far[BLOCK], top[2];
    for (int64_t begin = 0; begin < n; begin += BLOCK, scales += 2) {
        int64_t count = n - begin < BLOCK ? n - begin : BLOCK;
        int8_t *codes = m + begin, *codes_r = root + begin;
        step_block(count, w + begin, codes, codes_r, scales, g + begin, &c->adamw, mean, far, top);
        R grow_m = top[0] > 0 ? 16129 / top[0] : 0, grow_r = top[1] > 0 ? 65025 / top[1] : 0;
        uint32_t word = c->first + (uint32_t)begin * LTI_ADAM8_ALPHA;
        for (int64_t i = 0; i < count; i++, word += LTI_ADAM8_ALPHA) {
            R u = (R)(word >> 8) * (R)0x1p-24;
            int code = (int)code_of_m((R)fabs((double)mean[i]) * grow_m, u);
            codes[i] = (int8_t)(mean[i] < 0 ? -code : code);
            codes_r[i] = (int8_t)((int)code_of_root(far[i] * grow_r, u) - 128);
        }
        scales[0] = top[0], scales[1] = top[1];
    }
}
