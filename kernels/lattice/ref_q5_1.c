/* ref_q5_1.c - GGUF Q5_1, in plain C: 32 numbers in 24 bytes, y = code d + m.
 *
 *     bytes 0, 1: d (f16); 2, 3: m (f16); 4 .. 7: the upper bits of the codes; 8 ..: their lower halves (ref_q5_0.c)
 *     m = min x, d = (max x - min x) / 31;  id = d ? 1/d : 0;  code = min(31, trunc((x - m) id + 0.5)),
 *     d and m before they are rounded to f16
 *
 * In float without contraction; NaN and infinities as in ref_q4_1.c. */
#include "kernels/kernels.h"
#include "kernels/lattice/blocks.h"
#include "kernels/lattice/fit_legacy.h"

#include <math.h>

static unsigned code_of(float x, float m, float id)
{
    float v = (x - m) * id + 0.5f;
    return v >= 31 ? 31 : v > 0 ? (unsigned)v : 0;
}

static void quantize_block(const R *x, uint8_t *block)
{
    float least = (float)x[0], most = least;
    int nan = 0;
    for (int j = 0; j < 32; j++) {
        float value = (float)x[j];
        nan |= value != value;
        if (value < least) least = value;
        if (value > most) most = value;
    }
    float d = nan ? NAN : (most - least) / 31, id = d != 0 ? 1 / d : 0;
    uint16_t halves[2] = {nan ? 0x7E00 : lti_f32_to_f16(d), nan ? 0x7E00 : lti_f32_to_f16(least)};
    uint8_t code[32];
    for (int j = 0; j < 32; j++) code[j] = (uint8_t)code_of((float)x[j], least, id);
    memcpy(block, halves, sizeof halves);
    lti_store_five_bits(code, block + 4);
}

void lti_k_quantize_q5_1_ref(int64_t n, const R *x, void *blocks)
{
    for (int64_t i = 0; i < n / 32; i++) quantize_block(x + 32 * i, (uint8_t *)blocks + 24 * i);
}

void lti_k_quantize_weighted_q5_1_ref(int64_t n, const R *x, const R *importance, void *blocks)
{
    uint8_t *block = blocks;
    float mean_square = lti_row_mean_square(n, x);
    for (int64_t i = 0; i < n / 32; i++, block += 24) {
        lti_weighted_block b;
        float m;
        lti_weigh(x + 32 * i, importance + 32 * i, mean_square, &b);
        uint16_t d = lti_f32_to_f16(lti_fit_range(31, &b, &m)), halves[2] = {d, lti_f32_to_f16(m)};
        memcpy(block, halves, sizeof halves);
        lti_store_five_bits(b.code, block + 4);
    }
}

void lti_k_dequantize_q5_1_ref(int64_t n, const void *blocks, R *y)
{
    const uint8_t *block = blocks;
    for (int64_t i = 0; i < n / 32; i++, block += 24, y += 32) {
        float d = lti_half_at(block), m = lti_half_at(block + 2);
        uint32_t high = lti_word_at(block + 4);
        for (int j = 0; j < 16; j++) {
            int a = (block[8 + j] & 15) | (int)(high >> j & 1) << 4;
            int b = block[8 + j] >> 4 | (int)(high >> (j + 16) & 1) << 4;
            y[j] = (float)a * d + m;
            y[j + 16] = (float)b * d + m;
        }
    }
}
