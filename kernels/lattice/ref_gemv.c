/* ref_gemv.c - rows of stored numbers times a few vectors, in plain C: a piece of a row is decoded, then multiplied
 * with every vector. */
#include "kernels/kernels.h"

#include <string.h>

enum { PIECE = 256 }; /* a multiple of every block */

typedef void (*decoder)(int64_t n, const void *blocks, R *y);

/* Where m vectors lie and their products go. */
typedef struct vectors {
    int64_t m, ldx, ldy;
    const R *x;
    R *y;
} vectors;

static void gemv(decoder decode, lt_dtype type, int64_t rows, int64_t n, const char *b, int64_t stride, vectors v)
{
    R w[PIECE];
    int64_t piece_bytes = PIECE / lt_dtype_block(type) * (int64_t)lt_dtype_bytes(type);
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t i = 0; i < v.m; i++) v.y[i * v.ldy + r] = 0;
        for (int64_t k = 0; k < n; k += PIECE) {
            int64_t left = n - k < PIECE ? n - k : PIECE;
            decode(left, b + r * stride + k / PIECE * piece_bytes, w);
            for (int64_t i = 0; i < v.m; i++) {
                R sum = v.y[i * v.ldy + r];
                for (int64_t j = 0; j < left; j++) sum += w[j] * v.x[i * v.ldx + k + j];
                v.y[i * v.ldy + r] = sum;
            }
        }
    }
}

static void copy_f32(int64_t n, const void *x, R *y)
{
    memcpy(y, x, (size_t)n * sizeof *y);
}

static void decode_bf16(int64_t n, const void *x, R *y)
{
    lti_k_from_bf16_ref(n, x, y);
}

static void decode_f16(int64_t n, const void *x, R *y)
{
    lti_k_from_f16_ref(n, x, y);
}

#define GEMV(type, name, decode)                                                                                       \
    void lti_k_gemv_##name##_ref(int64_t rows, int64_t n, const void *b, int64_t stride, int64_t m, const R *x,        \
                                 int64_t ldx, R *y, int64_t ldy)                                                       \
    {                                                                                                                  \
        gemv(decode, type, rows, n, b, stride, (vectors){m, ldx, ldy, x, y});                                          \
    }

GEMV(LT_F32, f32, copy_f32)
GEMV(LT_BF16, bf16, decode_bf16)
GEMV(LT_F16, f16, decode_f16)
#define LTI_LATTICE(type, name) GEMV(type, name, lti_k_dequantize_##name##_ref)
#include "kernels/lattice/lattices.def"
