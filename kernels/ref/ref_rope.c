/* ref_rope.c - rotary embedding (Su et al., 2021) of the heads of one position, in plain C: each pair of numbers is
 * turned by its angle; the backward turns the other way. */
#include "kernels/kernels.h"

void lti_k_rope_ref(int64_t heads, int64_t dim, int halves, const R *cos, const R *sin, R sign, const R *x, R *y)
{
    for (int64_t h = 0; h < heads; h++, x += dim, y += dim) {
        for (int64_t i = 0; i < dim / 2; i++) {
            int64_t first = halves ? i : 2 * i, second = halves ? i + dim / 2 : 2 * i + 1;
            R a = x[first], b = x[second], s = sign * sin[i];
            y[first] = a * cos[i] - b * s;
            y[second] = b * cos[i] + a * s;
        }
    }
}
