/* ref_integer_quantize.c - activations as int8, in plain C, rounded as llama.cpp's x86 runtime rounds them.
 *
 *     Q8_0, Q8_1   id = 127 / max |x|, code = x id to the nearest, ties to even; d = f16(max |x| / 127). The encoder of
 *                  weights (lattice/ref_q8_0.c) divides otherwise and rounds ties away from zero.
 *     Q8_1         s = f16(d (sum of codes)), with d before it is rounded. Bytes: d, s, 32 codes
 *     Q8_K         ext: the x of largest magnitude, the first such; id = -127 / ext, code = min(127, x id to the nearest,
 *                  ties to even), d = 1 / id (f32). Bytes: d, 256 codes, 16 sums of 16 codes each (int16)
 *     LT_I8        a row: scale = max |x| / 127, codes as of Q8_0, in lt_real
 *
 * In float without contraction. What the runtime leaves open: a NaN makes the scale a NaN and all codes 0; where id
 * overflows, codes saturate at -127 and 127; beside an infinity (id = 0) all codes are 0. */
#include "kernels/kernels.h"
#include "kernels/lattice/blocks.h"

#include <math.h>

/* To the nearest, ties to even, within -127 .. 127; NaN is 0. */
static int8_t code_of(float v)
{
    if (v != v) return 0;
    return (int8_t)(v > 127 ? 127 : v < -127 ? -127 : (int)rintf(v));
}

/* The largest magnitude; NaN when there is one. */
static float largest_of(const R *x, int n)
{
    float largest = 0;
    for (int i = 0; i < n; i++) {
        float v = fabsf((float)x[i]);
        if (v != v) return NAN;
        if (v > largest) largest = v;
    }
    return largest;
}

/* d, s and 32 codes; returns the sum of the codes times d. */
static float quantize_32(const R *x, uint16_t *half, int8_t codes[32])
{
    float largest = largest_of(x, 32), d = largest / 127, id = largest != 0 ? 127 / largest : 0;
    int sum = 0;
    *half = d != d ? 0x7E00 : lti_f32_to_f16(d);
    for (int i = 0; i < 32; i++) sum += codes[i] = code_of((float)x[i] * id);
    return d * (float)sum;
}

void lti_k_quantize_activations_q8_0_ref(int64_t n, const R *x, void *blocks)
{
    uint8_t *block = blocks;
    for (int64_t i = 0; i < n / 32; i++, x += 32, block += 34) {
        uint16_t half;
        quantize_32(x, &half, (int8_t *)block + 2);
        memcpy(block, &half, sizeof half);
    }
}

void lti_k_quantize_activations_q8_1_ref(int64_t n, const R *x, void *blocks)
{
    uint8_t *block = blocks;
    for (int64_t i = 0; i < n / 32; i++, x += 32, block += 36) {
        uint16_t halves[2];
        float sum = quantize_32(x, halves, (int8_t *)block + 4);
        halves[1] = sum != sum ? 0x7E00 : lti_f32_to_f16(sum);
        memcpy(block, halves, sizeof halves);
    }
}

void lti_k_quantize_activations_q8_k_ref(int64_t n, const R *x, void *blocks)
{
    uint8_t *block = blocks;
    for (int64_t b = 0; b < n / 256; b++, x += 256, block += 292) {
        float largest = largest_of(x, 256), ext = 0;
        for (int i = 255; i >= 0; i--)
            if (fabsf((float)x[i]) == largest) ext = (float)x[i];
        float id = -127 / ext, d = largest != largest ? NAN : largest != 0 ? 1 / id : 0;
        int16_t sums[16] = {0};
        for (int i = 0; i < 256; i++) {
            int8_t code = d == d && d != 0 ? code_of((float)x[i] * id) : 0;
            block[4 + i] = (uint8_t)code;
            sums[i / 16] = (int16_t)(sums[i / 16] + code);
        }
        uint32_t bits = d != d ? 0x7FC00000 : lti_float_bits(d);
        memcpy(block, &bits, sizeof bits);
        memcpy(block + 260, sums, sizeof sums);
    }
}

R lti_k_quantize_row_i8_ref(int64_t n, const R *x, int8_t *codes)
{
    R largest = 0;
    int nan = 0;
    for (int64_t i = 0; i < n; i++) {
        R v = x[i] < 0 ? -x[i] : x[i];
        nan |= v != v;
        if (v > largest) largest = v;
    }
    R id = largest != 0 && !nan ? 127 / largest : 0;
    for (int64_t i = 0; i < n; i++) {
        R v = x[i] * id;
        codes[i] = (int8_t)(v != v ? 0 : v > 127 ? 127 : v < -127 ? -127 : (R)rint((double)v));
    }
    return nan ? (R)NAN : largest / 127;
}
