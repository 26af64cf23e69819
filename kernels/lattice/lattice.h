/* lattice.h - block lattices and 16-bit floats by their type: the dispatch over kernels.def.
 *
 * Blocks need no alignment: they may lie in a mapped file. */
#ifndef LTI_LATTICE_H
#define LTI_LATTICE_H

#include "lathe/base.h"

/* n elements, a multiple of the type's block, as numbers: every lattice, bf16 and f16; lt_real is copied. Q8_1 and Q8_K,
 * types of activations alone, are decoded too; lti_can_dequantize means weights. Other types leave y as it is. */
void lti_dequantize(lt_dtype type, int64_t n, const void *blocks, lt_real *y);
bool lti_can_dequantize(lt_dtype type);

/* The reverse, for those with an encoder: see lti_can_quantize. */
void lti_quantize(lt_dtype type, int64_t n, const lt_real *x, void *blocks);
/* Whether numbers can be put on this block lattice. */
bool lti_can_quantize(lt_dtype type);
/* "q4_0, q4_1, ...": the types for which that is true, for messages. */
const char *lti_can_quantize_names(void);

/* The same for `rows` rows of `columns` (a multiple of the block) with importance[columns], none negative: how much the
 * error of a column counts (the mean x^2 of what it is multiplied with). */
void lti_quantize_weighted(lt_dtype type, int64_t columns, int64_t rows, const lt_real *x, const lt_real *importance,
                           void *blocks);
bool lti_can_quantize_weighted(lt_dtype type);

/* The nearest codes for x on the scales the blocks have, which stay: for training between refreshes of the scales. Of
 * what lti_quantize made of the same x no byte changes. */
void lti_recode(lt_dtype type, int64_t n, const lt_real *x, void *blocks);
bool lti_can_recode(lt_dtype type);

/* The gemv kernel (kernels.def) of every type that lti_dequantize reads; NULL for others. */
typedef void (*lti_gemv)(int64_t rows, int64_t n, const void *b, int64_t stride, int64_t m, const lt_real *x,
                         int64_t ldx, lt_real *y, int64_t ldy);
lti_gemv lti_gemv_of(lt_dtype type);

#endif
