/* simd_lattice.c - numbers of blocks, 32 at once: those of lattice/ref_*.c (lattice_parts.h). Encoders are in simd_encode.c
 * and simd_encode_k*.c. */
#include "kernels/simd/lattice_parts.h"

typedef void (*decoder)(const uint8_t *block, int part, vf w[PARTS]);

VI void dequantize(decoder part_of, int parts, int64_t bytes, int64_t n, const uint8_t *block, R *y)
{
    for (int64_t b = 0; b < n / (32 * parts); b++, block += bytes)
#pragma GCC unroll 8
        for (int part = 0; part < parts; part++, y += 32) {
            vf w[PARTS];
            part_of(block, part, w);
#pragma GCC unroll 4
            for (int i = 0; i < PARTS; i++) v_store(y + i * V, w[i]);
        }
}

#define DEQUANTIZE(name, parts, bytes)                                                                                 \
    void LTI_FN(dequantize_##name)(int64_t n, const void *blocks, R *y)                                                \
    {                                                                                                                  \
        dequantize(part_##name, parts, bytes, n, blocks, y);                                                           \
    }

DEQUANTIZE(q4_0, 1, 18)
DEQUANTIZE(q4_1, 1, 20)
DEQUANTIZE(q5_0, 1, 22)
DEQUANTIZE(q5_1, 1, 24)
DEQUANTIZE(q8_0, 1, 34)
DEQUANTIZE(q2_k, 8, 84)
DEQUANTIZE(q3_k, 8, 110)
DEQUANTIZE(q4_k, 8, 144)
DEQUANTIZE(q5_k, 8, 176)
DEQUANTIZE(q6_k, 8, 210)
DEQUANTIZE(iq4_nl, 1, 18)
DEQUANTIZE(mxfp4, 1, 17)
DEQUANTIZE(tq1_0, 8, 54)
DEQUANTIZE(tq2_0, 8, 66)
DEQUANTIZE(nf4, 2, 36)
DEQUANTIZE(fp4, 2, 36)
