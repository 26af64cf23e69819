/* ref_q3_k.c - GGUF Q3_K, in plain C: 256 numbers in 110 bytes, in 16 sub-blocks of 16: y = d s (q - 4).
 *
 *     bytes 0 .. 31: the upper bits of the codes; that of element 32 p + i is bit p of byte i
 *     32 .. 95: their lower two bits, as in ref_q2_k.c
 *     96 .. 107: 16 scales s of six bits around 32 (lti_q3_k_scale); 108, 109: d (f16)
 *
 * To encode (k_types.h): weights x^2, lti_k_fit_turns; d = f16(1 / inverse) with inverse = -32 / the scale of largest
 * magnitude, s the nearest to inverse times the scale. Weighted: lti_k_fit_extreme for both. */
#include "kernels/lattice/k_types.h"

static float fit(const lti_k_type *type, const float *x, float *minimum, uint8_t *codes)
{
    return lti_k_fit_turns(16, -type->least, x, codes);
}

/* What lti_q3_k_scale reads, of scales + 32. */
static void pack_scales(const uint8_t scale[16], uint8_t packed[12])
{
    for (int j = 0; j < 8; j++) packed[j] = (uint8_t)((scale[j] & 15) | (scale[j + 8] & 15) << 4);
    for (int j = 0; j < 4; j++)
        packed[8 + j] =
            (uint8_t)(scale[j] >> 4 | scale[j + 4] >> 4 << 2 | scale[j + 8] >> 4 << 4 | scale[j + 12] >> 4 << 6);
}

static int put(const float *scale, const float *minimum, uint8_t *block)
{
    float largest = 0, ext = 0;
    uint8_t s[16];
    for (int j = 0; j < 16; j++)
        if (fabsf(scale[j]) > largest) {
            largest = fabsf(scale[j]);
            ext = scale[j];
        }
    if (ext == 0) return 1; /* the block is zeros; codes stay */
    float inverse = -32 / ext;
    for (int j = 0; j < 16; j++) s[j] = (uint8_t)(lti_nearest_within(inverse * scale[j], -32, 31) + 32);
    lti_put_half(block + 108, 1 / inverse);
    pack_scales(s, block + 96);
    return 1;
}

static int put_weighted(const float *scale, const float *minimum, const float *weight, uint8_t *block)
{
    uint8_t s[16];
    lti_put_half(block + 108, lti_k_fit_extreme(16, 32, scale, weight, s));
    pack_scales(s, block + 96);
    return 1;
}

static void steps(const uint8_t *block, float step[16], float minimum[16])
{
    float d = lti_half_at(block + 108);
    for (int j = 0; j < 16; j++) {
        step[j] = d * (float)lti_q3_k_scale(block + 96, j);
        minimum[j] = 0;
    }
}

static void pack(const uint8_t codes[256], uint8_t *block)
{
    lti_k_pack_pairs(codes, block + 32);
    for (int i = 0; i < 32; i++) {
        unsigned bits = 0;
        for (int p = 0; p < 8; p++) bits |= (unsigned)codes[32 * p + i] >> 2 << p;
        block[i] = (uint8_t)bits;
    }
}

static void unpack(const uint8_t *block, uint8_t codes[256])
{
    lti_k_unpack_pairs(block + 32, codes);
    for (int i = 0; i < 256; i++) codes[i] = (uint8_t)(codes[i] | (block[i % 32] >> i / 32 & 1) << 2);
}

const lti_k_type lti_q3_k = {.size = 16,
                             .bytes = 110,
                             .least = -4,
                             .most = 3,
                             .d_at = 108,
                             .spread = 2,
                             .fit = fit,
                             .put = put,
                             .put_weighted = put_weighted,
                             .steps = steps,
                             .pack = pack,
                             .unpack = unpack};

LTI_K_REF_ENCODERS(q3_k)

void lti_k_dequantize_q3_k_ref(int64_t n, const void *blocks, R *y)
{
    const uint8_t *block = blocks;
    for (int64_t b = 0; b < n / 256; b++, block += 110, y += 256) {
        float d = lti_half_at(block + 108);
        for (int i = 0; i < 256; i++) {
            float scale = d * (float)lti_q3_k_scale(block + 96, i / 16);
            int low = block[32 + i / 128 * 32 + i % 32] >> i / 32 % 4 * 2 & 3, high = block[i % 32] >> i / 32 & 1;
            y[i] = scale * (float)((low | high << 2) - 4);
        }
    }
}
