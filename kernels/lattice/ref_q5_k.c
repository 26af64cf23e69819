/* ref_q5_k.c - GGUF Q5_K, in plain C: 256 numbers in 176 bytes, in 8 sub-blocks of 32: y = d s q - dmin m.
 *
 *     bytes 0 .. 15 as in ref_q4_k.c; 16 .. 47: the upper bits of the codes; that of element i of sub-block j is bit j
 *     of byte 16 + i; 48 .. 175: their lower halves, as in ref_q4_k.c */
#include "kernels/kernels.h"
#include "kernels/lattice/blocks.h"

void lti_k_dequantize_q5_k_ref(int64_t n, const void *blocks, R *y)
{
    const uint8_t *block = blocks;
    for (int64_t b = 0; b < n / 256; b++, block += 176) {
        float d = lti_half_at(block), dmin = lti_half_at(block + 2);
        for (int j = 0; j < 8; j++, y += 32) {
            int s, m;
            lti_k_scale(block + 4, j, &s, &m);
            float scale = d * (float)s, minimum = dmin * (float)m;
            for (int i = 0; i < 32; i++) {
                int low = block[48 + j / 2 * 32 + i] >> j % 2 * 4 & 15, high = block[16 + i] >> j & 1;
                y[i] = scale * (float)(low | high << 4) - minimum;
            }
        }
    }
}
