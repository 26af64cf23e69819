/* few_rows.h - products with at most LTI_FEW_ROWS rows of a: a step of generation. Behind gemm.h. */
#ifndef LTI_FEW_ROWS_H
#define LTI_FEW_ROWS_H

#include "kernels/gemm.h"

enum { LTI_FEW_ROWS = 8 };

/* Whether the product is one of these; `shape` has its strides filled in. */
bool lti_few_rows(const lti_gemm_shape *shape);
/* Needs no scratch and cannot fail. */
void lti_few_rows_run(const lti_gemm_shape *shape, const lt_real *a, const void *b, lt_real *c);

#endif
