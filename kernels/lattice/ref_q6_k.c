/* ref_q6_k.c - GGUF Q6_K, in plain C: 256 numbers in 210 bytes, in 16 sub-blocks of 16: y = d s (q - 32).
 *
 *     Element 128 g + 32 t + i (i < 32) has the low four bits of its code in byte 64 g + 32 (t % 2) + i, in the low
 *     half when t < 2, and the upper two in bits 2t, 2t + 1 of byte 128 + 32 g + i
 *     192 .. 207: scales s, int8; 208, 209: d (f16) */
#include "kernels/kernels.h"
#include "kernels/lattice/blocks.h"

void lti_k_dequantize_q6_k_ref(int64_t n, const void *blocks, R *y)
{
    const uint8_t *block = blocks;
    for (int64_t b = 0; b < n / 256; b++, block += 210, y += 256) {
        float d = lti_half_at(block + 208);
        for (int i = 0; i < 256; i++) {
            int g = i / 128, t = i / 32 % 4;
            int low = block[64 * g + t % 2 * 32 + i % 32] >> t / 2 * 4 & 15,
                high = block[128 + 32 * g + i % 32] >> 2 * t & 3;
            float scale = d * (float)(int8_t)block[192 + i / 16];
            y[i] = scale * (float)((low | high << 4) - 32);
        }
    }
}
