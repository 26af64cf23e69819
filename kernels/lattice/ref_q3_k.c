/* ref_q3_k.c - GGUF Q3_K, in plain C: 256 numbers in 110 bytes, in 16 sub-blocks of 16: y = d s (q - 4).
 *
 *     bytes 0 .. 31: the upper bits of the codes; that of element 32 p + i is bit p of byte i
 *     32 .. 95: their lower two bits, as in ref_q2_k.c
 *     96 .. 107: 16 scales s of six bits around 32 (lti_q3_k_scale); 108, 109: d (f16) */
#include "kernels/kernels.h"
#include "kernels/lattice/blocks.h"

void lti_k_dequantize_q3_k_ref(int64_t n, const void *blocks, R *y)
{
    const uint8_t *block = blocks;
    for (int64_t b = 0; b < n / 256; b++, block += 110, y += 256) {
        float d = lti_half_at(block + 108);
        for (int i = 0; i < 256; i++) {
            float scale = d * (float)lti_q3_k_scale(block + 96, i / 16);
            int low = block[32 + i / 128 * 32 + i % 32] >> i / 32 % 4 * 2 & 3, high = block[i % 32] >> i / 32 & 1;
            y[i] = scale * (float)((low | high << 2) - 4);
        }
    }
}
