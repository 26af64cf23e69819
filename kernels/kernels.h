/* kernels.h - the process-wide table of kernels, one function pointer a line of kernels.def.
 *
 * Filled once: first with the reference set (plain C), then overridden by what the CPU has (avx2, then avx512).
 * LT_ISA=ref|avx2|avx512 in the environment forces one. What is in use is part of run.json. */
#ifndef LTI_KERNELS_H
#define LTI_KERNELS_H

#include "base/rng.h"
#include "kernels/attention.h"
#include "kernels/grid.h"
#include "kernels/integer_panels.h"
#include "kernels/update.h"
#include "kernels/window.h"
#include "lathe/base.h"

typedef lt_real R;

typedef struct lti_kernels {
#define LTI_KERNEL(name, result, parameters, arguments) result(*name) parameters;
#include "kernels/kernels.def"
#undef LTI_KERNEL
} lti_kernels;

/* The table in use. Never NULL; thread-safe from the first call on. */
const lti_kernels *lti_k(void);

/* The set called `isa` ("ref", "avx2", "avx512"), or NULL where this build or CPU has it not. For tests and bench. */
const lti_kernels *lti_kernels_of(const char *isa);

const char *lti_isa(void); /* the name of the set in use */

/* Each set is declared by the same list: lti_k_<name>_ref, ... */
#define LTI_KERNEL(name, result, parameters, arguments) result lti_k_##name##_ref parameters;
#include "kernels/kernels.def"
#undef LTI_KERNEL

/* kernels/simd: override the kernels that the instruction set does better. Built where LT_WITH_SIMD is defined. */
void lti_kernels_fill_avx2(lti_kernels *table);
void lti_kernels_fill_avx512(lti_kernels *table);

#endif
