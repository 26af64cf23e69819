/* ref_q4_k.c - GGUF Q4_K, in plain C: 256 numbers in 144 bytes, in 8 sub-blocks of 32: y = d s q - dmin m.
 *
 *     bytes 0, 1: d; 2, 3: dmin (f16); 4 .. 15: scales s and minima m of six bits (lti_k_scale)
 *     16 .. 143: codes q; of every 32 bytes the low halves are one sub-block, the high halves the next
 *
 * To encode (k_types.h): weights |x| + the root of the mean x^2 of the sub-block, 21 scales (search below);
 * d = f16(largest / 63), s the nearest to 63 / largest times the scale, dmin and m likewise. Weighted:
 * lti_k_fit_scales chooses d, s and dmin, m. */
#include "kernels/lattice/k_types.h"

static void pack(const uint8_t codes[256], uint8_t *block)
{
    lti_k_pack_low(codes, block + 16);
}

static void unpack(const uint8_t *block, uint8_t codes[256])
{
    lti_k_unpack_low(block + 16, codes);
}

const lti_k_type lti_q4_k = {.size = 32,
                             .bytes = 144,
                             .most = 15,
                             .spread = 2,
                             .plain = {-1, 0.1f, 20, 0},
                             .fit = lti_k_fit_six,
                             .put = lti_k_put_six,
                             .put_weighted = lti_k_put_six_weighted,
                             .steps = lti_k_steps_six,
                             .pack = pack,
                             .unpack = unpack};

LTI_K_REF_ENCODERS(q4_k)

void lti_k_dequantize_q4_k_ref(int64_t n, const void *blocks, R *y)
{
    const uint8_t *block = blocks;
    for (int64_t b = 0; b < n / 256; b++, block += 144) {
        float d = lti_half_at(block), dmin = lti_half_at(block + 2);
        for (int j = 0; j < 8; j++, y += 32) {
            int s, m;
            lti_k_scale(block + 4, j, &s, &m);
            float scale = d * (float)s, minimum = dmin * (float)m;
            for (int i = 0; i < 32; i++) y[i] = scale * (float)(block[16 + j / 2 * 32 + i] >> j % 2 * 4 & 15) - minimum;
        }
    }
}
