/* ref_q8_0.c - GGUF Q8_0, in plain C: 32 numbers in 34 bytes, y = code d.
 *
 *     d = max |x| / 127;  id = d ? 1/d : 0 from the float d;  code = round(x id), halves away from zero
 *
 * In float without contraction, as ref_q4_0.c. A NaN makes d a NaN (0x7E00) with all codes 0; after an infinity or an
 * underflow in id, a code whose x id is NaN is 0 and others saturate at -127 and 127. */
#include "base/half.h"
#include "kernels/kernels.h"

#include <math.h>

static int8_t code_of(float x, float id)
{
    float v = x * id;
    if (v != v) return 0;
    return (int8_t)(v > 127 ? 127 : v < -127 ? -127 : (int)roundf(v));
}

static void quantize_block(const R *x, uint8_t *block)
{
    float largest = 0;
    int nan = 0;
    for (int j = 0; j < 32; j++) {
        float value = (float)x[j];
        nan |= value != value;
        if (fabsf(value) > largest) largest = fabsf(value);
    }
    float d = nan ? NAN : largest / 127, id = d != 0 ? 1 / d : 0;
    uint16_t half = nan ? 0x7E00 : lti_f32_to_f16(d);
    memcpy(block, &half, sizeof half);
    for (int j = 0; j < 32; j++) block[2 + j] = (uint8_t)code_of((float)x[j], id);
}

void lti_k_quantize_q8_0_ref(int64_t n, const R *x, void *blocks)
{
    for (int64_t i = 0; i < n / 32; i++) quantize_block(x + 32 * i, (uint8_t *)blocks + 34 * i);
}

void lti_k_dequantize_q8_0_ref(int64_t n, const void *blocks, R *y)
{
    const uint8_t *block = blocks;
    for (int64_t i = 0; i < n / 32; i++, block += 34, y += 32) {
        uint16_t half;
        memcpy(&half, block, sizeof half);
        float d = lti_f16_to_f32(half);
        for (int j = 0; j < 32; j++) y[j] = (float)(int8_t)block[2 + j] * d;
    }
}
