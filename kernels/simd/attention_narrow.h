/* attention_narrow.h - the part of the attention kernels for small head dimensions (simd_attention_narrow.c). */
#ifndef LTI_ATTENTION_NARROW_H
#define LTI_ATTENTION_NARROW_H

#include "kernels/simd/vec.h"

/* As the kernels `attention` (one head) and `attention_grad`; false, with nothing done, for other dimensions than 8 and
 * 16. */
bool LTI_FN(attention_narrow)(const lti_attention_task *t, float *scratch);
bool LTI_FN(attention_grad_narrow)(const lti_attention_task *t, float *scratch);

#endif
