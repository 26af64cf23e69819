/* fit_legacy.h - scales of 32 numbers of unequal importance, for the weighted encoders of Q4_0, Q4_1, Q5_0 and Q5_1.
 *
 * An encoder without weights takes the scale from the extremes; these two try some more and keep the one whose weighted
 * squared error is least, as GGUF's writers do when they are given an importance matrix. Bytes are to be the same, so
 * the order of every float operation is part of the format, and nothing is contracted. The weight of a number is
 * importance sqrt(mean of the row's squares + x^2): large numbers count more. */
#ifndef LTI_FIT_LEGACY_H
#define LTI_FIT_LEGACY_H

#include "lathe/base.h"

/* Numbers of a row in float, one block at a time. */
typedef struct lti_weighted_block {
    float x[32], weight[32];
    uint8_t code[32]; /* what the fits choose */
    bool nan; /* one of x is a NaN: the fits answer NaN, with all codes 0, so that the whole block reads as NaN */
} lti_weighted_block;

/* The mean square of a row, summed in order; a NaN, which is its block's affair, counts 0. */
float lti_row_mean_square(int64_t n, const lt_real *x);
void lti_weigh(const lt_real *x, const lt_real *importance, float mean_square, lti_weighted_block *b);

/* x = (code - half) scale, codes 0 .. 2 half - 1. Returns the scale, which may be negative; 0 when all is tiny. */
float lti_fit_scale(int half, lti_weighted_block *b);
/* x = code scale + *minimum, codes 0 .. most, *minimum <= 0. Returns the scale. */
float lti_fit_range(int most, lti_weighted_block *b, float *minimum);

#endif
