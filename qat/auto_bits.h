/* auto_bits.h - a type for each tensor under a budget of bytes. */
#ifndef LTI_AUTO_BITS_H
#define LTI_AUTO_BITS_H

#include "lathe/qat.h"

enum { LTI_MOST_CANDIDATES = 12 };

/* One tensor: what each type it may have weighs, and what it is thought to cost. */
typedef struct lti_bits_tensor {
    const lt_param *param;
    int n, chosen;
    lt_dtype types[LTI_MOST_CANDIDATES];
    uint64_t bytes[LTI_MOST_CANDIDATES];
    double costs[LTI_MOST_CANDIDATES]; /* rise of the loss */
} lti_bits_tensor;

/* Fills types and bytes: lattices with an encoder whose blocks fit the rows, f16 where none does. */
void lti_bits_candidates(lti_bits_tensor *tensor);
/* Sets `chosen` of every tensor so that all together stay within `budget` bytes. False: the smallest types are larger. */
bool lti_bits_choose(int n, lti_bits_tensor *tensors, uint64_t budget);

#endif
