/* ref_q4_0.c - GGUF Q4_0, in plain C: 32 numbers in 18 bytes, y = (code - 8) d.
 *
 *     d = ext / -8, ext the element of largest magnitude (the first of equals, with its sign);  id = d ? 1/d : 0
 *     code = min(15, trunc(x id + 8.5)), id from the float d, before it is rounded to the f16 that is stored
 *     byte j holds code j in its low half and code j + 16 in its high half
 *
 * All in float, also in the double build, and never contracted: the canon of the bytes. What the format leaves open is
 * fixed here: a NaN makes d a NaN (0x7E00) with all codes 8, so that the whole block reads back as NaN; after an
 * infinity or an underflow in id, a code whose x id is NaN is 8 and others saturate at 0 and 15. */
#include "kernels/kernels.h"
#include "kernels/lattice/blocks.h"
#include "kernels/lattice/fit_legacy.h"

#include <math.h>

static unsigned code_of(float x, float id)
{
    float v = x * id + 8.5f;
    if (v != v) return 8;
    return v >= 15 ? 15 : v > 0 ? (unsigned)v : 0;
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
    float d = nan ? NAN : ext / -8, id = d != 0 ? 1 / d : 0;
    uint16_t half = nan ? 0x7E00 : lti_f32_to_f16(d);
    memcpy(block, &half, sizeof half);
    for (int j = 0; j < 16; j++)
        block[2 + j] = (uint8_t)(code_of((float)x[j], id) | code_of((float)x[j + 16], id) << 4);
}

void lti_k_quantize_q4_0_ref(int64_t n, const R *x, void *blocks)
{
    for (int64_t i = 0; i < n / 32; i++) quantize_block(x + 32 * i, (uint8_t *)blocks + 18 * i);
}

void lti_k_quantize_weighted_q4_0_ref(int64_t n, const R *x, const R *importance, void *blocks)
{
    uint8_t *block = blocks;
    float mean_square = lti_row_mean_square(n, x);
    for (int64_t i = 0; i < n / 32; i++, block += 18) {
        lti_weighted_block b;
        lti_weigh(x + 32 * i, importance + 32 * i, mean_square, &b);
        uint16_t half = lti_f32_to_f16(lti_fit_scale(8, &b));
        memcpy(block, &half, sizeof half);
        lti_store_nibbles(b.code, block + 2);
    }
}

void lti_k_dequantize_q4_0_ref(int64_t n, const void *blocks, R *y)
{
    const uint8_t *block = blocks;
    for (int64_t i = 0; i < n / 32; i++, block += 18, y += 32) {
        uint16_t half;
        memcpy(&half, block, sizeof half);
        float d = lti_f16_to_f32(half);
        for (int j = 0; j < 16; j++) {
            y[j] = (float)((block[2 + j] & 15) - 8) * d;
            y[j + 16] = (float)((block[2 + j] >> 4) - 8) * d;
        }
    }
}
