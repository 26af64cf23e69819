/* bitsandbytes.h - a block of 64 numbers as NF4 or FP4, in plain C: what ref_nf4.c and ref_fp4.c share. */
#ifndef LTI_BITSANDBYTES_H
#define LTI_BITSANDBYTES_H

#include "kernels/kernels.h"
#include "kernels/lattice/blocks.h"

static inline unsigned lti_bnb_code(const lti_codebook *book, float x, float inverse)
{
    float u = x * inverse;
    if (u != u) u = 0;
    return book->order[lti_place(book, u < -1 ? -1 : u > 1 ? 1 : u)];
}

static inline void lti_quantize_bnb(const lti_codebook *book, const R *x, uint8_t *block)
{
    float d = 0;
    int nan = 0;
    for (int j = 0; j < 64; j++) {
        float size = fabsf((float)x[j]);
        nan |= size != size;
        if (size > d) d = size;
    }
    if (nan) d = lti_bits_float(0x7FC00000);
    float inverse = nan ? 0 : 1 / (d > 1e-38f ? d : 1e-38f);
    memcpy(block, &d, sizeof d);
    for (int j = 0; j < 32; j++) {
        unsigned high = lti_bnb_code(book, (float)x[2 * j], inverse);
        block[4 + j] = (uint8_t)(high << 4 | lti_bnb_code(book, (float)x[2 * j + 1], inverse));
    }
}

static inline void lti_dequantize_bnb(const float values[16], const uint8_t *block, R *y)
{
    float d = lti_float_at(block);
    for (int j = 0; j < 32; j++) {
        y[2 * j] = values[block[4 + j] >> 4] * d;
        y[2 * j + 1] = values[block[4 + j] & 15] * d;
    }
}

#endif
