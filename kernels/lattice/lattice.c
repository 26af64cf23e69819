/* lattice.c - see lattice.h. The cases come from lattices.def: a lattice is added there and nowhere here. */
#include "kernels/lattice/lattice.h"
#include "kernels/kernels.h"

#include <string.h>

void lti_dequantize(lt_dtype type, int64_t n, const void *blocks, lt_real *y)
{
    const lti_kernels *k = lti_k();
    if (type == LT_F32) memcpy(y, blocks, (size_t)n * sizeof *y);
    if (type == LT_BF16) k->from_bf16(n, blocks, y);
    if (type == LT_F16) k->from_f16(n, blocks, y);
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

const char *lti_can_quantize_names(void)
{
#define LTI_ENCODER(lattice, name) ", " #name
    static const char names[] =
#include "kernels/lattice/lattices.def"
        ;
    return names + strlen(", ");
}
