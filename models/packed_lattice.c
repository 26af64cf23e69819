/* packed_lattice.c - weights of other programs as blocks of ggml, where both have the same numbers.
 *
 * Symmetric codes of 4 or 8 bits whose scales are f16 are what q4_0 and q8_0 hold: w = d code, 32 codes a d; -1, 0 and
 * 1 are codes of both, and of tq2_0, 256 a d. Encoding the numbers anew would find other scales (a block's largest code
 * need not be its range's end), so blocks are put together from the scales the directory has, and are taken only when
 * every number comes out again, bit for bit. */
#include "kernels/lattice/blocks.h"
#include "models/packed.h"

#include <math.h>
#include <string.h>

typedef struct lattice {
    lt_dtype type;
    int lo, hi; /* codes */
} lattice;

enum { MOST_CODES = 256 };

/* The smaller first. */
static const lattice lattices[] = {{LT_TQ2_0, -1, 1}, {LT_Q4_0, -8, 7}, {LT_Q8_0, -128, 127}};

/* Codes of one block, the least of the lattice as 0; false when it does not have these numbers. */
static bool take_codes(const lattice *l, const lt_real *x, lt_real scale, uint8_t codes[MOST_CODES])
{
    for (int i = 0; i < lt_dtype_block(l->type); i++) {
        double code = scale != 0 ? rint((double)x[i] / (double)scale) : 0;
        if (!(code >= l->lo && code <= l->hi) || (lt_real)code * scale != x[i]) return false;
        codes[i] = (uint8_t)((int)code - l->lo);
    }
    return true;
}

static void put_block(const lattice *l, const uint8_t *codes, uint16_t d, unsigned char *block)
{
    memcpy(l->type == LT_TQ2_0 ? block + 64 : block, &d, sizeof d);
    if (l->type == LT_TQ2_0) lti_store_pairs(codes, block);
    if (l->type == LT_Q4_0) lti_store_nibbles(codes, block + 2);
    for (int i = 0; l->type == LT_Q8_0 && i < 32; i++) block[2 + i] = (unsigned char)(codes[i] + l->lo);
}

/* x [n] with a scale every 32 numbers. */
static bool fill(const lattice *l, int64_t n, const lt_real *x, const lt_real *scales, unsigned char *blocks)
{
    const int64_t count = lt_dtype_block(l->type), per = count / LTI_PACKED_BLOCK;
    for (int64_t b = 0; b < n / count; b++, x += count, scales += per) {
        uint8_t codes[MOST_CODES];
        uint16_t d = lti_f32_to_f16((float)*scales);
        if ((lt_real)lti_f16_to_f32(d) != *scales || !isfinite((double)*scales)) return false;
        for (int k = 1; k < per; k++)
            if (scales[k] != *scales) return false;
        if (!take_codes(l, x, *scales, codes)) return false;
        if (blocks) put_block(l, codes, d, blocks + (size_t)b * lt_dtype_bytes(l->type));
    }
    return true;
}

/* A tensor's numbers, and its scales where it has one for all 32 of a row's; owned. */
typedef struct decoded {
    int64_t n;
    lt_real *x, *scales;
    bool there;
} decoded;

static lt_status decode(const lti_packed *p, const lti_weights *w, const lti_tensor *t, const char *name, decoded *d)
{
    *d = (decoded){0};
    if (t->rank != 2 || t->shape[1] % LTI_PACKED_BLOCK) return LT_OK;
    d->n = t->shape[0] * t->shape[1];
    d->scales = lti_alloc_array(w->ctx, (size_t)d->n / LTI_PACKED_BLOCK + 1, sizeof *d->scales);
    if (!d->scales) return LT_ENOMEM;
    LTI_TRY(lti_packed_scales(p, w, t, name, d->scales, &d->there));
    if (!d->there) return LT_OK;
    d->x = lti_alloc_array(w->ctx, (size_t)d->n, sizeof *d->x);
    return d->x ? lti_packed_read(p, w, t, name, d->x) : LT_ENOMEM;
}

static void drop(const lti_weights *w, decoded *d)
{
    lti_free(w->ctx, d->x);
    lti_free(w->ctx, d->scales);
}

lt_status lti_packed_lattice(const lti_packed *p, const lti_weights *w, const lti_tensor *t, const char *name,
                             lt_dtype *type)
{
    decoded d;
    lt_status status = decode(p, w, t, name, &d);
    *type = LT_F32;
    for (int i = 0; i < LTI_COUNT(lattices) && status == LT_OK && d.there && *type == LT_F32; i++) {
        const lattice *l = &lattices[i];
        bool fits =
            t->shape[1] % lt_dtype_block(l->type) == 0 && (l->type != LT_TQ2_0 || p->packing == LTI_PACKED_TERNARY);
        if (fits && fill(l, d.n, d.x, d.scales, NULL)) *type = l->type;
    }
    drop(w, &d);
    return status;
}

lt_status lti_packed_blocks(const lti_packed *p, const lti_weights *w, const lti_tensor *t, const char *name,
                            lt_dtype type, void *blocks, bool *there)
{
    const lattice *l = NULL;
    *there = false;
    for (int i = 0; i < LTI_COUNT(lattices); i++)
        if (lattices[i].type == type) l = &lattices[i];
    if (!l || t->rank != 2 || t->shape[1] % lt_dtype_block(l->type)) return LT_OK;
    decoded d;
    lt_status status = decode(p, w, t, name, &d);
    if (status == LT_OK && d.there) *there = fill(l, d.n, d.x, d.scales, blocks);
    drop(w, &d);
    return status;
}
