/* packed_lattice.c - weights of other programs as blocks of ggml, where both have the same numbers.
 *
 * Symmetric codes of 4 or 8 bits whose scales are f16 are what q4_0 and q8_0 hold: w = d code, 32 codes a d. Encoding the
 * numbers anew would find other scales (a block's largest code need not be its range's end), so blocks are put together
 * from the scales the directory has, and are taken only when every number comes out again, bit for bit. */
#include "base/half.h"
#include "models/packed.h"

#include <math.h>
#include <string.h>

typedef struct lattice {
    lt_dtype type;
    int lo, hi;
    size_t bytes; /* of a block */
} lattice;

static lattice lattice_of(lt_dtype type)
{
    if (type == LT_Q4_0) return (lattice){type, -8, 7, 18};
    return (lattice){type, -128, 127, 34};
}

/* Codes of one block; false when the lattice does not have these numbers. */
static bool take_codes(const lattice *l, const lt_real *x, lt_real scale, int8_t codes[LTI_PACKED_BLOCK])
{
    for (int i = 0; i < LTI_PACKED_BLOCK; i++) {
        double code = scale != 0 ? rint((double)x[i] / (double)scale) : 0;
        if (!(code >= l->lo && code <= l->hi) || (lt_real)code * scale != x[i]) return false;
        codes[i] = (int8_t)code;
    }
    return true;
}

static void put_block(const lattice *l, const int8_t *codes, uint16_t d, unsigned char *block)
{
    memcpy(block, &d, sizeof d);
    for (int i = 0; i < 16 && l->type == LT_Q4_0; i++)
        block[2 + i] = (unsigned char)((codes[i] + 8) | (codes[16 + i] + 8) << 4);
    if (l->type != LT_Q4_0) memcpy(block + 2, codes, LTI_PACKED_BLOCK);
}

static bool fill(const lattice *l, int64_t n, const lt_real *x, const lt_real *scales, unsigned char *blocks)
{
    for (int64_t b = 0; b < n / LTI_PACKED_BLOCK; b++) {
        int8_t codes[LTI_PACKED_BLOCK];
        uint16_t d = lti_f32_to_f16((float)scales[b]);
        if ((lt_real)lti_f16_to_f32(d) != scales[b] || !isfinite((double)scales[b])) return false;
        if (!take_codes(l, x + b * LTI_PACKED_BLOCK, scales[b], codes)) return false;
        if (blocks) put_block(l, codes, d, blocks + (size_t)b * l->bytes);
    }
    return true;
}

lt_status lti_packed_blocks(const lti_packed *p, const lti_weights *w, const lti_tensor *t, const char *name,
                            lt_dtype type, void *blocks, bool *there)
{
    *there = false;
    if (t->rank != 2 || t->shape[1] % LTI_PACKED_BLOCK) return LT_OK;
    const lattice l = lattice_of(type);
    size_t n = (size_t)t->shape[0] * (size_t)t->shape[1];
    lt_real *scales = lti_alloc_array(w->ctx, n / LTI_PACKED_BLOCK + 1, sizeof *scales), *x = NULL;
    lt_status status = scales ? lti_packed_scales(p, w, t, name, scales, there) : LT_ENOMEM;
    if (status == LT_OK && *there) {
        x = lti_alloc_array(w->ctx, n, sizeof *x);
        status = x ? lti_packed_read(p, w, t, name, x) : LT_ENOMEM;
    }
    if (status == LT_OK && *there) *there = fill(&l, (int64_t)n, x, scales, blocks);
    lti_free(w->ctx, x);
    lti_free(w->ctx, scales);
    return status;
}
