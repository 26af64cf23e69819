/* ref_q5_k.c - GGUF Q5_K, in plain C: 256 numbers in 176 bytes, in 8 sub-blocks of 32: y = d s q - dmin m.
 *
 *     bytes 0 .. 15 as in ref_q4_k.c; 16 .. 47: the upper bits of the codes; that of element i of sub-block j is bit j
 *     of byte 16 + i; 48 .. 175: their lower halves, as in ref_q4_k.c
 *
 * To encode: as ref_q4_k.c, with 16 scales for codes of five bits. */
#include "kernels/lattice/k_types.h"

static void pack(const uint8_t codes[256], uint8_t *block)
{
    lti_k_pack_low(codes, block + 48);
    for (int i = 0; i < 32; i++) {
        unsigned bits = 0;
        for (int j = 0; j < 8; j++) bits |= (unsigned)codes[32 * j + i] >> 4 << j;
        block[16 + i] = (uint8_t)bits;
    }
}

static void unpack(const uint8_t *block, uint8_t codes[256])
{
    lti_k_unpack_low(block + 48, codes);
    for (int i = 0; i < 256; i++) codes[i] = (uint8_t)(codes[i] | (block[16 + i % 32] >> i / 32 & 1) << 4);
}

const lti_k_type lti_q5_k = {.size = 32,
                             .bytes = 176,
                             .most = 31,
                             .spread = 2,
                             .plain = {-0.5f, 0.1f, 15, 0},
                             .fit = lti_k_fit_six,
                             .put = lti_k_put_six,
                             .put_weighted = lti_k_put_six_weighted,
                             .steps = lti_k_steps_six,
                             .pack = pack,
                             .unpack = unpack};

LTI_K_REF_ENCODERS(q5_k)

void lti_k_dequantize_q5_k_ref(int64_t n, const void *blocks, R *y)
{
    const uint8_t *block = blocks;
    for (int64_t b = 0; b < n / 256; b++, block += 176) {
        float d = lti_half_at(block), dmin = lti_half_at(block + 2);
        for (int j = 0; j < 8; j++, y += 32) {
            int s, m;
            lti_k_scale(block + 4, j, &s, &m);
            float scale = d * (float)s, minimum = dmin * (float)m;
            for (int i = 0; i < 32; i++) {
                int low = block[48 + j / 2 * 32 + i] >> j % 2 * 4 & 15, high = block[16 + i] >> j & 1;
                y[i] = scale * (float)(low | high << 4) - minimum;
            }
        }
    }
}
