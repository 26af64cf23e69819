/* ref_q2_k.c - GGUF Q2_K, in plain C: 256 numbers in 84 bytes, in 16 sub-blocks of 16: y = d s q - dmin m.
 *
 *     bytes 0 .. 15: of each sub-block the scale s (low half) and the minimum m (high half)
 *     16 .. 79: codes q of two bits; element 128 g + 32 s + i is bits 2s, 2s + 1 of byte 16 + 32 g + i
 *     80, 81: d; 82, 83: dmin (f16)
 *
 * d s and dmin m are rounded to float before they meet q, here and in every K type: the order GGUF readers use. */
#include "kernels/kernels.h"
#include "kernels/lattice/blocks.h"

void lti_k_dequantize_q2_k_ref(int64_t n, const void *blocks, R *y)
{
    const uint8_t *block = blocks;
    for (int64_t b = 0; b < n / 256; b++, block += 84, y += 256) {
        float d = lti_half_at(block + 80), dmin = lti_half_at(block + 82);
        for (int i = 0; i < 256; i++) {
            float scale = d * (float)(block[i / 16] & 15), minimum = dmin * (float)(block[i / 16] >> 4);
            int code = block[16 + i / 128 * 32 + i % 32] >> i / 32 % 4 * 2 & 3;
            y[i] = scale * (float)code - minimum;
        }
    }
}
