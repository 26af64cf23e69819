/* ref_iq4_nl.c - GGUF IQ4_NL, in plain C: 32 numbers in 18 bytes, y = value[code] d.
 *
 *     The bytes of Q4_0 (ref_q4_0.c) with 16 values of unequal steps in place of code - 8 (lti_iq4_nl_values). */
#include "kernels/kernels.h"
#include "kernels/lattice/blocks.h"

void lti_k_dequantize_iq4_nl_ref(int64_t n, const void *blocks, R *y)
{
    const uint8_t *block = blocks;
    for (int64_t i = 0; i < n / 32; i++, block += 18, y += 32) {
        float d = lti_half_at(block);
        for (int j = 0; j < 16; j++) {
            y[j] = (float)lti_iq4_nl_values[block[2 + j] & 15] * d;
            y[j + 16] = (float)lti_iq4_nl_values[block[2 + j] >> 4] * d;
        }
    }
}
