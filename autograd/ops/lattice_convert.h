/* lattice_convert.h - values between lt_real and the types they are stored in, in parallel over whole blocks. */
#ifndef LTI_LATTICE_CONVERT_H
#define LTI_LATTICE_CONVERT_H

#include "autograd/op.h"

/* Whether lti_encode knows the type: bf16, f16, and the lattices of lti_can_quantize. lti_decode knows every
 * lattice. */
bool lti_converts(lt_dtype type);
/* n elements, a multiple of the type's block. */
void lti_encode(int64_t n, const lt_real *x, lt_dtype type, void *y);
void lti_decode(int64_t n, lt_dtype type, const void *x, lt_real *y);
/* y: the blocks `kept` with the nearest codes of x under their scales, which stay. For types of lti_can_recode. */
void lti_encode_again(int64_t n, const lt_real *x, lt_dtype type, const void *kept, void *y);
/* rows x columns numbers, stored as `type` (LT_I8: codes with a scale a row; else scale is NULL), as LT_F32 or LT_BF16. */
void lti_decode_rows(int64_t rows, int64_t columns, lt_dtype type, const void *x, const lt_real *scale, lt_dtype to,
                     void *y);

#endif
