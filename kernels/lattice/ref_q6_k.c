/* ref_q6_k.c - GGUF Q6_K, in plain C: 256 numbers in 210 bytes, in 16 sub-blocks of 16: y = d s (q - 32).
 *
 *     Element 128 g + 32 t + i (i < 32) has the low four bits of its code in byte 64 g + 32 (t % 2) + i, in the low
 *     half when t < 2, and the upper two in bits 2t, 2t + 1 of byte 128 + 32 g + i
 *     192 .. 207: scales s, int8; 208, 209: d (f16)
 *
 * To encode (k_types.h): weights x^2, lti_k_fit_extreme; d = f16(1 / inverse) with inverse = -128 / the scale of
 * largest magnitude, s the nearest to inverse times the scale, at most 127. Scales all under 1e-15: 210 zero bytes.
 * Weighted: weights are the importance. */
#include "kernels/lattice/k_types.h"

static float fit(const lti_k_type *type, const float *x, float *minimum, uint8_t *codes)
{
    float w[16];
    for (int i = 0; i < 16; i++) w[i] = x[i] * x[i];
    return lti_k_fit_extreme(16, -type->least, x, w, codes);
}

static int put(const float *scale, const float *minimum, uint8_t *block)
{
    float largest = 0, ext = 0;
    for (int j = 0; j < 16; j++)
        if (fabsf(scale[j]) > largest) {
            largest = fabsf(scale[j]);
            ext = scale[j];
        }
    if (largest < 1e-15f) return 0;
    float inverse = -128 / ext;
    lti_put_half(block + 208, 1 / inverse);
    for (int j = 0; j < 16; j++) {
        int s = lti_nearest(inverse * scale[j]);
        block[192 + j] = (uint8_t)(s < 127 ? s : 127);
    }
    return 1;
}

static int put_weighted(const float *scale, const float *minimum, const float *weight, uint8_t *block)
{
    return put(scale, minimum, block);
}

static void steps(const uint8_t *block, float step[16], float minimum[16])
{
    float d = lti_half_at(block + 208);
    for (int j = 0; j < 16; j++) {
        step[j] = d * (float)(int8_t)block[192 + j];
        minimum[j] = 0;
    }
}

static void pack(const uint8_t codes[256], uint8_t *block)
{
    for (int g = 0; g < 2; g++)
        for (int i = 0; i < 32; i++) {
            const uint8_t *c = codes + 128 * g + i;
            block[64 * g + i] = (uint8_t)((c[0] & 15) | c[64] << 4);
            block[64 * g + 32 + i] = (uint8_t)((c[32] & 15) | c[96] << 4);
            block[128 + 32 * g + i] = (uint8_t)(c[0] >> 4 | c[32] >> 4 << 2 | c[64] >> 4 << 4 | c[96] >> 4 << 6);
        }
}

static void unpack(const uint8_t *block, uint8_t codes[256])
{
    for (int i = 0; i < 256; i++) {
        int g = i / 128, t = i / 32 % 4, low = block[64 * g + t % 2 * 32 + i % 32] >> t / 2 * 4 & 15;
        codes[i] = (uint8_t)(low | (block[128 + 32 * g + i % 32] >> 2 * t & 3) << 4);
    }
}

const lti_k_type lti_q6_k = {.size = 16,
                             .bytes = 210,
                             .least = -32,
                             .most = 31,
                             .d_at = 208,
                             .fit = fit,
                             .put = put,
                             .put_weighted = put_weighted,
                             .steps = steps,
                             .pack = pack,
                             .unpack = unpack};

LTI_K_REF_ENCODERS(q6_k)

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
