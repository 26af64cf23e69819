/* simd_convert.c - rows to and from the 16-bit floats, and from int8 codes. The rest of a row that fills no vector is ref's. */
#include "kernels/simd/lattice_parts.h"

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

void LTI_FN(from_i8)(int64_t n, const int8_t *x, R scale, R *y)
{
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) {
        vf w[PARTS];
        part_scaled(part_load((const uint8_t *)x + i), scale, scale, w);
#pragma GCC unroll 4
        for (int k = 0; k < PARTS; k++) v_store(y + i + k * V, w[k]);
    }
    lti_k_from_i8_ref(n - i, x + i, scale, y + i);
}
