/* ref_mxfp4.c - MXFP4 as GGUF lays it out, in plain C: 32 numbers in 17 bytes, y = value[code] 2^(e - 127).
 *
 *     byte 0: e (E8M0); byte 1 + j holds code j in its low half and code j + 16 in its high half; codes are E2M1
 *
 *     e = floor(log2(max |x|)) - 2 + 127, with log2 rounded to float, and 0 where that is negative;
 *     code: the nearest value of x / 2^(e - 127), between two the one nearer to 0 (lti_e2m1_book)
 *
 * So numbers in the upper quarter of the largest one's octave are cut to 6 2^(e - 127): what GGUF's writers do. The
 * logarithm of a number within 3e-6 of the next power of two may round up to it; it is taken in double and then rounded,
 * so that no C library's idea of log2f matters. There is no NaN: a block with a NaN or an infinity becomes one that
 * reads back as infinities (e = 255, all codes 7).
 *
 * OCP Microscaling Formats 1.0; its e = 255 for NaN is not kept by GGUF's readers: it is 2^128 as any other exponent,
 * and so it is here. */
#include "kernels/kernels.h"
#include "kernels/lattice/blocks.h"

static unsigned code_of(float x, float half)
{
    return lti_e2m1_book.order[lti_place(&lti_e2m1_book, x / half)]; /* a power of two: exact */
}

static void quantize_block(const R *x, uint8_t *block)
{
    float largest = 0;
    int finite = 1;
    for (int j = 0; j < 32; j++) {
        float size = fabsf((float)x[j]);
        finite &= size < INFINITY;
        if (size > largest) largest = size;
    }
    memset(block, 0x77, 17);
    block[0] = 255;
    if (!finite) return;
    float e = largest > 0 ? floorf((float)log2((double)largest)) + 125 : 0;
    block[0] = e > 0 ? (uint8_t)e : 0;
    float half = lti_e8m0_half(block[0]);
    for (int j = 0; j < 16; j++)
        block[1 + j] = (uint8_t)(code_of((float)x[j], half) | code_of((float)x[j + 16], half) << 4);
}

void lti_k_quantize_mxfp4_ref(int64_t n, const R *x, void *blocks)
{
    for (int64_t i = 0; i < n / 32; i++) quantize_block(x + 32 * i, (uint8_t *)blocks + 17 * i);
}

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
