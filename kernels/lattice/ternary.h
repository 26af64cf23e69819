/* ternary.h - 256 numbers as -1, 0 and 1 and their scale, for the encoders of TQ1_0 and TQ2_0 in plain C. */
#ifndef LTI_TERNARY_H
#define LTI_TERNARY_H

#include "kernels/kernels.h"
#include "kernels/lattice/blocks.h"

/* round(x / max |x|) + 1 into digit[256]; returns max |x| as f16. In float without contraction. A NaN makes the scale a
 * NaN (0x7E00) with all digits 1, so that the whole block reads back as NaN; a product that is NaN (an infinity was
 * there) is 1. */
static inline uint16_t lti_trits_of(const R *x, uint8_t digit[256])
{
    float d = 0;
    int nan = 0;
    for (int i = 0; i < 256; i++) {
        float size = fabsf((float)x[i]);
        nan |= size != size;
        if (size > d) d = size;
    }
    float id = d != 0 && !nan ? 1 / d : 0;
    for (int i = 0; i < 256; i++) {
        float v = nan ? 0 : (float)x[i] * id;
        digit[i] = (uint8_t)(1 + (v >= 0.5f) - (v <= -0.5f));
    }
    return nan ? 0x7E00 : lti_f32_to_f16(d);
}

#endif
