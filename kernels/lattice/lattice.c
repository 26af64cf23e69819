/* lattice.c - see lattice.h. The cases come from lattices.def: a lattice is added there and nowhere here. */
#include "kernels/lattice/lattice.h"
#include "kernels/kernels.h"
#include "kernels/lattice/blocks.h"

#include <string.h>

/* The two types of activations alone: an int8 code times the block's scale. */
static void dequantize_codes(lt_dtype type, int64_t n, const uint8_t *block, lt_real *y)
{
    int64_t length = lt_dtype_block(type);
    for (int64_t i = 0; i < n; i += length, block += lt_dtype_bytes(type)) {
        float d;
        if (type == LT_Q8_K)
            memcpy(&d, block, sizeof d);
        else
            d = lti_half_at(block);
        lti_k()->from_i8(length, (const int8_t *)block + 4, d, y + i);
    }
}

void lti_dequantize(lt_dtype type, int64_t n, const void *blocks, lt_real *y)
{
    const lti_kernels *k = lti_k();
    if (type == LT_F32) memcpy(y, blocks, (size_t)n * sizeof *y);
    if (type == LT_BF16) k->from_bf16(n, blocks, y);
    if (type == LT_F16) k->from_f16(n, blocks, y);
    if (type == LT_Q8_1 || type == LT_Q8_K) dequantize_codes(type, n, blocks, y);
#define LTI_LATTICE(lattice, name)                                                                                     \
    if (type == lattice) k->dequantize_##name(n, blocks, y);
#include "kernels/lattice/lattices.def"
}

void lti_quantize(lt_dtype type, int64_t n, const lt_real *x, void *blocks)
{
    const lti_kernels *k = lti_k();
#define LTI_ENCODER(lattice, name)                                                                                     \
    if (type == lattice) k->quantize_##name(n, x, blocks);
#include "kernels/lattice/lattices.def"
}

void lti_quantize_weighted(lt_dtype type, int64_t columns, int64_t rows, const lt_real *x, const lt_real *importance,
                           void *blocks)
{
    const lti_kernels *k = lti_k();
    size_t bytes = (size_t)(columns / lt_dtype_block(type)) * lt_dtype_bytes(type);
    uint8_t *row = blocks;
    for (int64_t r = 0; r < rows; r++, x += columns, row += bytes) {
#define LTI_WEIGHTED(lattice, name)                                                                                    \
    if (type == lattice) k->quantize_weighted_##name(columns, x, importance, row);
#include "kernels/lattice/lattices.def"
    }
}

void lti_recode(lt_dtype type, int64_t n, const lt_real *x, void *blocks)
{
    const lti_kernels *k = lti_k();
#define LTI_RECODE(lattice, name)                                                                                      \
    if (type == lattice) k->recode_##name(n, x, blocks);
#include "kernels/lattice/lattices.def"
}

lti_gemv lti_gemv_of(lt_dtype type)
{
    const lti_kernels *k = lti_k();
    if (type == LT_F32) return k->gemv_f32;
    if (type == LT_BF16) return k->gemv_bf16;
    if (type == LT_F16) return k->gemv_f16;
#define LTI_LATTICE(lattice, name)                                                                                     \
    if (type == lattice) return k->gemv_##name;
#include "kernels/lattice/lattices.def"
    return NULL;
}

bool lti_can_dequantize(lt_dtype type)
{
    return lti_gemv_of(type) != NULL;
}

bool lti_can_quantize(lt_dtype type)
{
#define LTI_ENCODER(lattice, name)                                                                                     \
    if (type == lattice) return true;
#include "kernels/lattice/lattices.def"
    return false;
}

bool lti_can_quantize_weighted(lt_dtype type)
{
#define LTI_WEIGHTED(lattice, name)                                                                                    \
    if (type == lattice) return true;
#include "kernels/lattice/lattices.def"
    return false;
}

bool lti_can_recode(lt_dtype type)
{
#define LTI_RECODE(lattice, name)                                                                                      \
    if (type == lattice) return true;
#include "kernels/lattice/lattices.def"
    return false;
}

const char *lti_can_quantize_names(void)
{
#define LTI_ENCODER(lattice, name) ", " #name
    static const char names[] =
#include "kernels/lattice/lattices.def"
        ;
    return names + strlen(", ");
}
