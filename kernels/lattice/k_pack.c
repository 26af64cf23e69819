/* k_pack.c - parts of blocks that two K types share: pairs of bits (Q2_K, Q3_K), halves of bytes and six-bit scales
 * (Q4_K, Q5_K). */
#include "kernels/lattice/k_types.h"

void lti_k_pack_pairs(const uint8_t codes[256], uint8_t bytes[64])
{
    for (int g = 0; g < 2; g++)
        for (int i = 0; i < 32; i++) {
            const uint8_t *c = codes + 128 * g + i;
            bytes[32 * g + i] = (uint8_t)((c[0] & 3) | (c[32] & 3) << 2 | (c[64] & 3) << 4 | c[96] << 6);
        }
}

void lti_k_unpack_pairs(const uint8_t bytes[64], uint8_t codes[256])
{
    for (int i = 0; i < 256; i++) codes[i] = bytes[i / 128 * 32 + i % 32] >> i / 32 % 4 * 2 & 3;
}

void lti_k_pack_low(const uint8_t codes[256], uint8_t bytes[128])
{
    for (int g = 0; g < 4; g++)
        for (int i = 0; i < 32; i++) {
            const uint8_t *c = codes + 64 * g + i;
            bytes[32 * g + i] = (uint8_t)((c[0] & 15) | c[32] << 4);
        }
}

void lti_k_unpack_low(const uint8_t bytes[128], uint8_t codes[256])
{
    for (int g = 0; g < 4; g++)
        for (int i = 0; i < 32; i++) {
            codes[64 * g + i] = bytes[32 * g + i] & 15;
            codes[64 * g + 32 + i] = bytes[32 * g + i] >> 4;
        }
}

/* What lti_k_scale reads. */
static void pack_six(const uint8_t scale[8], const uint8_t minimum[8], uint8_t packed[12])
{
    for (int j = 0; j < 4; j++) {
        packed[j] = (uint8_t)(scale[j] | scale[j + 4] >> 4 << 6);
        packed[j + 4] = (uint8_t)(minimum[j] | minimum[j + 4] >> 4 << 6);
        packed[j + 8] = (uint8_t)((scale[j + 4] & 15) | (minimum[j + 4] & 15) << 4);
    }
}

int lti_k_put_six(const float *scale, const float *minimum, uint8_t *block)
{
    float most_scale = 0, most_minimum = 0;
    uint8_t s[8], m[8];
    for (int j = 0; j < 8; j++) {
        if (scale[j] > most_scale) most_scale = scale[j];
        if (minimum[j] > most_minimum) most_minimum = minimum[j];
    }
    float per_scale = most_scale > 0 ? 63 / most_scale : 0, per_minimum = most_minimum > 0 ? 63 / most_minimum : 0;
    for (int j = 0; j < 8; j++) {
        s[j] = (uint8_t)lti_nearest(per_scale * scale[j]);
        m[j] = (uint8_t)lti_nearest(per_minimum * minimum[j]);
        if (s[j] > 63) s[j] = 63;
        if (m[j] > 63) m[j] = 63;
    }
    lti_put_half(block, most_scale / 63);
    lti_put_half(block + 2, most_minimum / 63);
    pack_six(s, m, block + 4);
    return 1;
}

int lti_k_put_six_weighted(const float *scale, const float *minimum, const float *weight, uint8_t *block)
{
    uint8_t s[8], m[8];
    lti_put_half(block, lti_k_fit_scales(8, 63, scale, weight, s));
    lti_put_half(block + 2, lti_k_fit_scales(8, 63, minimum, weight, m));
    for (int j = 0; j < 8; j++) {
        if (s[j] > 63) s[j] = 63;
        if (m[j] > 63) m[j] = 63;
    }
    pack_six(s, m, block + 4);
    return 1;
}

void lti_k_steps_six(const uint8_t *block, float step[16], float minimum[16])
{
    float d = lti_half_at(block), dmin = lti_half_at(block + 2);
    for (int j = 0; j < 8; j++) {
        int s, m;
        lti_k_scale(block + 4, j, &s, &m);
        step[j] = d * (float)s;
        minimum[j] = dmin * (float)m;
    }
}

float lti_k_fit_six(const lti_k_type *type, const float *x, float *minimum, uint8_t *codes)
{
    float sum = 0, w[32];
    for (int i = 0; i < 32; i++) sum += x[i] * x[i];
    float root = sqrtf(sum / 32);
    for (int i = 0; i < 32; i++) w[i] = root + fabsf(x[i]);
    return lti_k_fit_minimum(32, type->most, x, w, &type->plain, minimum, codes);
}
