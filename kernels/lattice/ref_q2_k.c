/* ref_q2_k.c - GGUF Q2_K, in plain C: 256 numbers in 84 bytes, in 16 sub-blocks of 16: y = d s q - dmin m.
 *
 *     bytes 0 .. 15: of each sub-block the scale s (low half) and the minimum m (high half)
 *     16 .. 79: codes q of two bits; element 128 g + 32 s + i is bits 2s, 2s + 1 of byte 16 + 32 g + i
 *     80, 81: d; 82, 83: dmin (f16)
 *
 * d s and dmin m are rounded to float before they meet q, here and in every K type: the order GGUF readers use.
 *
 * To encode (k_types.h): weights |x|, error |e|, 16 scales (search below) a sub-block; d = f16(largest / 15), s the
 * nearest to 15 / largest times the scale, dmin and m likewise. Weighted: lti_k_fit_scales chooses d, s and dmin, m. */
#include "kernels/lattice/k_types.h"

static float fit(const lti_k_type *type, const float *x, float *minimum, uint8_t *codes)
{
    float w[16];
    for (int i = 0; i < 16; i++) w[i] = fabsf(x[i]);
    return lti_k_fit_minimum(16, type->most, x, w, &type->plain, minimum, codes);
}

/* Four bits each of 16 numbers, with their step as a half; all 0 when none is above 0. */
static void put_four(const float *x, uint8_t *half, int shift, uint8_t *bytes)
{
    float most = 0;
    for (int j = 0; j < 16; j++)
        if (x[j] > most) most = x[j];
    lti_put_half(half, most / 15);
    float inverse = most > 0 ? 15 / most : 0;
    for (int j = 0; j < 16; j++) bytes[j] = (uint8_t)(bytes[j] | (unsigned)lti_nearest(inverse * x[j]) << shift);
}

static int put(const float *scale, const float *minimum, uint8_t *block)
{
    put_four(scale, block + 80, 0, block);
    put_four(minimum, block + 82, 4, block);
    return 1;
}

static int put_weighted(const float *scale, const float *minimum, const float *weight, uint8_t *block)
{
    uint8_t s[16], m[16];
    lti_put_half(block + 80, lti_k_fit_scales(16, 15, scale, weight, s));
    lti_put_half(block + 82, lti_k_fit_scales(16, 15, minimum, weight, m));
    for (int j = 0; j < 16; j++) block[j] = (uint8_t)(s[j] | m[j] << 4);
    return 1;
}

static void steps(const uint8_t *block, float step[16], float minimum[16])
{
    float d = lti_half_at(block + 80), dmin = lti_half_at(block + 82);
    for (int j = 0; j < 16; j++) {
        step[j] = d * (float)(block[j] & 15);
        minimum[j] = dmin * (float)(block[j] >> 4);
    }
}

static void pack(const uint8_t codes[256], uint8_t *block)
{
    lti_k_pack_pairs(codes, block + 16);
}

static void unpack(const uint8_t *block, uint8_t codes[256])
{
    lti_k_unpack_pairs(block + 16, codes);
}

const lti_k_type lti_q2_k = {.size = 16,
                             .bytes = 84,
                             .most = 3,
                             .d_at = 80,
                             .spread = 1,
                             .plain = {-0.5f, 0.1f, 15, 1},
                             .fit = fit,
                             .put = put,
                             .put_weighted = put_weighted,
                             .steps = steps,
                             .pack = pack,
                             .unpack = unpack};

LTI_K_REF_ENCODERS(q2_k)

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
