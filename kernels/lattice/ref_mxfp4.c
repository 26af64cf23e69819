/* ref_mxfp4.c - MXFP4 as GGUF lays it out, in plain C: 32 numbers in 17 bytes, y = value[code] 2^(e - 127).
 *
 *     byte 0: e (E8M0); byte 1 + j holds code j in its low half and code j + 16 in its high half; codes are E2M1
 *
 * OCP Microscaling Formats 1.0; its e = 255 for NaN is not kept by GGUF's readers: it is 2^128 as any other exponent,
 * and so it is here. */
#include "kernels/kernels.h"
#include "kernels/lattice/blocks.h"

void lti_k_dequantize_mxfp4_ref(int64_t n, const void *blocks, R *y)
{
    const uint8_t *block = blocks;
    for (int64_t i = 0; i < n / 32; i++, block += 17, y += 32) {
        float half = lti_e8m0_half(block[0]);
        for (int j = 0; j < 16; j++) {
            y[j] = (float)lti_e2m1_twice[block[1 + j] & 15] * half;
            y[j + 16] = (float)lti_e2m1_twice[block[1 + j] >> 4] * half;
        }
    }
}
