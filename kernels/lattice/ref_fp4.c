/* ref_fp4.c - FP4, in plain C: 64 numbers in 36 bytes, y = value[code] d.
 *
 *     bytes 0 .. 3: d (f32); byte 4 + j holds the code of number 2 j in its high half and that of 2 j + 1 in its low half
 *     d = max |x|;  u = x (1 / max(d, 1e-38)), cut to -1 .. 1;  code: the value nearest to u (lti_fp4_book)
 *
 * As ref_nf4.c, with other values.
 * In float without contraction. A NaN makes d a NaN with all codes 0-valued, and so does, in effect, an infinity: the
 * whole block reads back as NaN. */
#include "kernels/lattice/bitsandbytes.h"

void lti_k_quantize_fp4_ref(int64_t n, const R *x, void *blocks)
{
    for (int64_t i = 0; i < n / 64; i++) lti_quantize_bnb(&lti_fp4_book, x + 64 * i, (uint8_t *)blocks + 36 * i);
}

void lti_k_dequantize_fp4_ref(int64_t n, const void *blocks, R *y)
{
    for (int64_t i = 0; i < n / 64; i++)
        lti_dequantize_bnb(lti_fp4_values, (const uint8_t *)blocks + 36 * i, y + 64 * i);
}
