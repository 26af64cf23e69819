/* simd_convert.c - rows to and from the 16-bit floats. The rest of a row that fills no vector is ref's. */
#include "kernels/simd/vec.h"

#define NARROW(type)                                                                                                   \
    void LTI_FN(to_##type)(int64_t n, const R *x, uint16_t *y)                                                         \
    {                                                                                                                  \
        int64_t i = 0;                                                                                                 \
        for (; i + V <= n; i += V) v_put_##type(y + i, v_load(x + i));                                                 \
        lti_k_to_##type##_ref(n - i, x + i, y + i);                                                                    \
    }

#define WIDEN(type)                                                                                                    \
    void LTI_FN(from_##type)(int64_t n, const uint16_t *x, R *y)                                                       \
    {                                                                                                                  \
        int64_t i = 0;                                                                                                 \
        for (; i + V <= n; i += V) v_store(y + i, v_get_##type(x + i));                                                \
        lti_k_from_##type##_ref(n - i, x + i, y + i);                                                                  \
    }

NARROW(bf16)
NARROW(f16)
WIDEN(bf16)
WIDEN(f16)
