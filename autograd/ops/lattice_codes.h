/* lattice_codes.h - the codes inside blocks without their scales: to compare them, and to know how far a block reaches. */
#ifndef LTI_LATTICE_CODES_H
#define LTI_LATTICE_CODES_H

#include "lathe/base.h"

enum { LTI_MOST_BLOCK = 256 }; /* elements of the largest block */

/* A whole number for each of n elements (whole blocks) that says which code it has: equal numbers, equal codes. False for
 * a type without a row in the table. */
bool lti_lattice_codes(lt_dtype type, int64_t n, const void *blocks, int8_t *codes);
/* The least and the largest value that codes could stand for under the scales of this block, for each of its elements;
 * half a step between codes is returned. Negative for a type without a row in the table. */
lt_real lti_lattice_reach(lt_dtype type, const void *block, lt_real *least, lt_real *most);

#endif
