/* ref_q5_0.c - GGUF Q5_0, in plain C: 32 numbers in 22 bytes, y = (code - 16) d.
 *
 *     bytes 0, 1: d (f16); 2 .. 5: bit j of this little-endian word is the upper bit of code j; byte 6 + j holds the
 *     low four bits of code j in its low half and those of code j + 16 in its high half
 *     d = ext / -16, ext the first element of largest magnitude;  id = d ? 1/d : 0;  code = min(31, trunc(x id + 16.5))
 *
 * In float without contraction; NaN and infinities as in ref_q4_0.c, with 16 for 8. */
#include "kernels/kernels.h"
#include "kernels/lattice/blocks.h"
#include "kernels/lattice/fit_legacy.h"

#include <math.h>

static unsigned code_of(float x, float id)
{
    float v = x * id + 16.5f;
    if (v != v) return 16;
    return v >= 31 ? 31 : v > 0 ? (unsigned)v : 0;
}

static void quantize_block(const R *x, uint8_t *block)
{
    float ext = 0, largest = 0;
    int nan = 0;
    for (int j = 0; j < 32; j++) {
        float value = (float)x[j];
        nan |= value != value;
        if (fabsf(value) > largest) {
            largest = fabsf(value);
            ext = value;
        }
    }
    float d = nan ? NAN : ext / -16, id = d != 0 ? 1 / d : 0;
    uint16_t half = nan ? 0x7E00 : lti_f32_to_f16(d);
    uint8_t code[32];
    for (int j = 0; j < 32; j++) code[j] = (uint8_t)code_of((float)x[j], id);
    memcpy(block, &half, sizeof half);
    lti_store_five_bits(code, block + 2);
}

void lti_k_quantize_q5_0_ref(int64_t n, const R *x, void *blocks)
{
    for (int64_t i = 0; i < n / 32; i++) quantize_block(x + 32 * i, (uint8_t *)blocks + 22 * i);
}

void lti_k_quantize_weighted_q5_0_ref(int64_t n, const R *x, const R *importance, void *blocks)
{
    uint8_t *block = blocks;
    float mean_square = lti_row_mean_square(n, x);
    for (int64_t i = 0; i < n / 32; i++, block += 22) {
        lti_weighted_block b;
        lti_weigh(x + 32 * i, importance + 32 * i, mean_square, &b);
        uint16_t half = lti_f32_to_f16(lti_fit_scale(16, &b));
        memcpy(block, &half, sizeof half);
        lti_store_five_bits(b.code, block + 2);
    }
}

void lti_k_dequantize_q5_0_ref(int64_t n, const void *blocks, R *y)
{
    const uint8_t *block = blocks;
    for (int64_t i = 0; i < n / 32; i++, block += 22, y += 32) {
        float d = lti_half_at(block);
        uint32_t high = lti_word_at(block + 2);
        for (int j = 0; j < 16; j++) {
            int a = (block[6 + j] & 15) | (int)(high >> j & 1) << 4;
            int b = block[6 + j] >> 4 | (int)(high >> (j + 16) & 1) << 4;
            y[j] = (float)(a - 16) * d;
            y[j + 16] = (float)(b - 16) * d;
        }
    }
}
