/* lattice.h - block lattices and 16-bit floats by their type: the dispatch over kernels.def.
 *
 * Blocks need no alignment: they may lie in a mapped file. */
#ifndef LTI_LATTICE_H
#define LTI_LATTICE_H

#include "lathe/base.h"

/* n elements, a multiple of the type's block, as numbers: every lattice, bf16 and f16; lt_real is copied. Other types
 * (lti_can_dequantize) leave y as it is. */
void lti_dequantize(lt_dtype type, int64_t n, const void *blocks, lt_real *y);
bool lti_can_dequantize(lt_dtype type);

/* The reverse, for those with an encoder: see lti_can_quantize. */
void lti_quantize(lt_dtype type, int64_t n, const lt_real *x, void *blocks);
/* Whether numbers can be put on this block lattice. */
bool lti_can_quantize(lt_dtype type);
/* "q4_0, q4_1, ...": the types for which that is true, for messages. */
const char *lti_can_quantize_names(void);

/* The gemv kernel (kernels.def) of every type that lti_dequantize reads; NULL for others. */
typedef void (*lti_gemv)(int64_t rows, int64_t n, const void *b, int64_t stride, int64_t m, const lt_real *x,
                         int64_t ldx, lt_real *y, int64_t ldy);
lti_gemv lti_gemv_of(lt_dtype type);

#endif
