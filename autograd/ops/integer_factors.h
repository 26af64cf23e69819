/* integer_factors.h - factors of integer products: which types they have, and where the scales of int8 codes are. */
#ifndef LTI_INTEGER_FACTORS_H
#define LTI_INTEGER_FACTORS_H

#include "autograd/op.h"

/* Types that activations are quantized to. LT_Q8_0 is one of weights as well. */
static inline bool lti_is_activations(lt_dtype type)
{
    return type == LT_Q8_0 || type == LT_Q8_1 || type == LT_Q8_K || type == LT_I8;
}

/* Scales [rows] of LT_I8 codes: output 1 of the node that made them, whatever views lie between. Nil, and the graph's
 * error in the name of `op`, when no node did or a view has cut the rows. */
lt_t lti_codes_scale(lt_t x, const char *op);

/* x of one of these types times b [N, K], transposed: in integers where the kernels take the pair, else decoded. */
lt_t lti_matmul_integer(lt_t a, lt_t b, unsigned flags);
/* a on a static grid times b [N, K] on an integer grid with a scale a row, transposed, in integers. Nil: they are not. */
lt_t lti_matmul_static(lt_t a, lt_t b, unsigned flags);
/* The numbers of LT_I8 codes. */
lt_t lti_dequantize_rows(lt_t codes);
/* w [N, K], a lattice or LT_I8: w transposed [K, N] as LT_I8 codes with scales [K]. */
lt_t lti_quantize_transposed(lt_t w);

#endif
