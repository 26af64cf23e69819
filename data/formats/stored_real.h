/* stored_real.h - lt_real to and from the floating-point types of files; neither side needs to be aligned. */
#ifndef LTI_STORED_REAL_H
#define LTI_STORED_REAL_H

#include "lathe/formats.h"

/* False when the type is not F32, F16, BF16 or F64: then nothing is written. */
bool lti_stored_to_real(lt_stored type, int64_t n, const void *src, lt_real *dst);
/* Rounds to nearest, ties to even; a NaN stays a NaN. The double build narrows by way of float. */
bool lti_real_to_stored(lt_stored type, int64_t n, const lt_real *src, void *dst);

#endif
