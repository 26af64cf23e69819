/* ref_tq2_0.c - GGUF TQ2_0, in plain C: 256 ternary numbers in 66 bytes, y = (code - 1) d.
 *
 *     Bytes 0 .. 63: codes (lti_store_pairs in blocks.h); 64, 65: d (f16). Writers leave code 3 unused; it reads as
 *     2 d, as in other readers. */
#include "kernels/kernels.h"
#include "kernels/lattice/blocks.h"
#include "kernels/lattice/ternary.h"

void lti_k_quantize_tq2_0_ref(int64_t n, const R *x, void *blocks)
{
    uint8_t *block = blocks, code[256];
    for (int64_t b = 0; b < n / 256; b++, block += 66, x += 256) {
        uint16_t half = lti_trits_of(x, code);
        lti_store_pairs(code, block);
        memcpy(block + 64, &half, sizeof half);
    }
}

void lti_k_dequantize_tq2_0_ref(int64_t n, const void *blocks, R *y)
{
    const uint8_t *block = blocks;
    for (int64_t b = 0; b < n / 256; b++, block += 66, y += 256) {
        float d = lti_half_at(block + 64);
        for (int i = 0; i < 256; i++) y[i] = (float)((block[i / 128 * 32 + i % 32] >> i / 32 % 4 * 2 & 3) - 1) * d;
    }
}
