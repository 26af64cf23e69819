/* attention_few.h - the part of the attention kernel for at most LTI_ATTENTION_FEW queries (simd_attention_few.c). */
#ifndef LTI_ATTENTION_FEW_H
#define LTI_ATTENTION_FEW_H

#include "kernels/simd/vec.h"

/* As the kernel `attention`, for a task with T <= LTI_ATTENTION_FEW. */
void LTI_FN(attention_few)(const lti_attention_task *t, float *scratch);

#endif
