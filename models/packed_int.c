/* packed_int.c - the numbers of packed integers: w = (code - zero) scale, in floating point.
 *
 *     GPTQ                qweight int32 [in / n, out]: n = 32 / bits codes of one output a word, the first lowest
 *                         qzeros int32 [groups, out / n], scales [groups, out], g_idx int32 [in] (absent: i / group)
 *     AWQ (gemm)          qweight int32 [in, out / 8], qzeros int32 [groups, out / 8], scales [groups, out]: eight outputs
 *                         a word, in the order 0 2 4 6 1 3 5 7 from the lowest four bits
 *     compressed-tensors  weight int8 [out, in], weight_scale [out, 1], [out, groups] or one number; weight_zero_point
 *
 * The first GPTQ format has zero points less 1, so that a zero of 0 is 15 there: v2 says what it means. Words are
 * little-endian and at any address. */
#include "models/packed.h"

#include <string.h>

static uint32_t word_at(const void *words, int64_t index)
{
    uint32_t word;
    memcpy(&word, (const char *)words + 4 * index, sizeof word);
    return word;
}

/* What both formats of words have in common. */
typedef struct word_parts {
    const void *codes, *zeros, *index; /* index: g_idx, or NULL */
    lt_real *scale;                    /* [groups, out]; owned */
    int64_t in, out, group, groups;
} word_parts;

static lt_status find_words(const lti_packed *p, const lti_weights *w, const lti_tensor *t, const char *name, int per,
                            bool along_in, word_parts *x)
{
    int codes, zeros;
    *x = (word_parts){.out = t->shape[0], .in = t->shape[1]};
    x->group = p->group < 0 ? x->in : p->group;
    x->groups = (x->in - 1) / x->group + 1;
    if ((along_in ? x->in : x->out) % per || x->out % per)
        return lti_fail(w->ctx, LT_EFORMAT, "%s: '%s' is [%lld, %lld], which %d codes a word do not divide",
                        lti_weights_path(w), name, (long long)x->out, (long long)x->in, per);
    int64_t rows = along_in ? x->in / per : x->in, columns = along_in ? x->out : x->out / per;
    LTI_TRY(lti_part_find(w, name, &(lti_part){".qweight", true, LT_STORED_I32, 2, rows, columns}, &codes));
    LTI_TRY(lti_part_find(w, name, &(lti_part){".qzeros", true, LT_STORED_I32, 2, x->groups, x->out / per}, &zeros));
    x->codes = lt_tensors_data(w->tensors, codes);
    x->zeros = lt_tensors_data(w->tensors, zeros);
    return lti_part_numbers(w, name, &(lti_part){".scales", true, LT_STORED_REAL, 2, x->groups, x->out}, &x->scale);
}

/* ---- GPTQ ---- */

static lt_status check_index(const lti_weights *w, const char *name, word_parts *x)
{
    int index;
    if (!lti_part_there(w, name, ".g_idx", true)) return LT_OK;
    LTI_TRY(lti_part_find(w, name, &(lti_part){".g_idx", true, LT_STORED_I32, 1, x->in, 0}, &index));
    x->index = lt_tensors_data(w->tensors, index);
    for (int64_t i = 0; i < x->in; i++)
        if (word_at(x->index, i) >= (uint64_t)x->groups)
            return lti_fail(w->ctx, LT_EFORMAT, "%s: g_idx of '%s' has %u at %lld, but there are %lld groups",
                            lti_weights_path(w), name, word_at(x->index, i), (long long)i, (long long)x->groups);
    return LT_OK;
}

static void unpack_gptq(const lti_packed *p, const word_parts *x, lt_real *dst)
{
    int bits = p->bits, per = 32 / bits;
    uint32_t most = (1u << bits) - 1;
    for (int64_t i = 0; i < x->in; i++) {
        int64_t g = x->index ? (int64_t)word_at(x->index, i) : i / x->group;
        for (int64_t o = 0; o < x->out; o++) {
            uint32_t code = word_at(x->codes, i / per * x->out + o) >> i % per * bits & most;
            uint32_t zero = word_at(x->zeros, (g * x->out + o) / per) >> o % per * bits & most;
            if (p->zeros_less_one) zero = (zero + 1) & most;
            dst[o * x->in + i] = (lt_real)((int)code - (int)zero) * x->scale[g * x->out + o];
        }
    }
}

lt_status lti_packed_read_gptq(const lti_packed *p, const lti_weights *w, const lti_tensor *t, const char *name,
                               lt_real *dst)
{
    word_parts x;
    lt_status status = find_words(p, w, t, name, 32 / p->bits, true, &x);
    if (status == LT_OK) status = check_index(w, name, &x);
    if (status == LT_OK) unpack_gptq(p, &x, dst);
    lti_free(w->ctx, x.scale);
    return status;
}

/* ---- AWQ ---- */

lt_status lti_packed_read_awq(const lti_packed *p, const lti_weights *w, const lti_tensor *t, const char *name,
                              lt_real *dst)
{
    word_parts x;
    lt_status status = find_words(p, w, t, name, 8, false, &x);
    for (int64_t i = 0; i < x.in && status == LT_OK; i++) {
        int64_t g = i / x.group;
        for (int64_t o = 0; o < x.out; o += 8) {
            uint32_t codes = word_at(x.codes, (i * x.out + o) / 8), zeros = word_at(x.zeros, (g * x.out + o) / 8);
            for (int k = 0; k < 8; k++) {
                int64_t at = o + lti_awq_column(k);
                int code = codes >> 4 * k & 15, zero = zeros >> 4 * k & 15;
                dst[at * x.in + i] = (lt_real)(code - zero) * x.scale[g * x.out + at];
            }
        }
    }
    lti_free(w->ctx, x.scale);
    return status;
}

/* ---- compressed-tensors ---- */

/* How many numbers of weight_scale a row has: 0 when there is one for all. */
static lt_status scales_a_row(const lti_weights *w, const lti_tensor *t, const char *name, int64_t *per_row)
{
    char part[LTI_PART_NAME];
    lti_part_name(name, ".weight_scale", true, part);
    int i = lt_tensors_find(w->tensors, part);
    int64_t n = lt_tensors_elements(w->tensors, i);
    *per_row = n == 1 ? 0 : n / t->shape[0];
    if (n == 1 || (n % t->shape[0] == 0 && *per_row > 0 && t->shape[1] % *per_row == 0)) return LT_OK;
    return lti_fail(w->ctx, LT_EFORMAT, "%s: '%s' has %lld scales for %lld rows of %lld", lti_weights_path(w), part,
                    (long long)n, (long long)t->shape[0], (long long)t->shape[1]);
}

static lt_status unpack_compressed(const lti_weights *w, const lti_tensor *t, const char *name, int64_t per_row,
                                   const lt_real *scale, lt_real *dst)
{
    int codes, zeros = -1;
    int64_t out = t->shape[0], in = t->shape[1], n = per_row ? out * per_row : 1, group = per_row ? in / per_row : in;
    LTI_TRY(lti_part_find(w, name, &(lti_part){".weight", true, LT_STORED_I8, 2, out, in}, &codes));
    if (lti_part_there(w, name, ".weight_zero_point", true))
        LTI_TRY(lti_part_find(w, name, &(lti_part){".weight_zero_point", true, LT_STORED_I8, 0, n, 0}, &zeros));
    const int8_t *code = lt_tensors_data(w->tensors, codes);
    const int8_t *zero = zeros >= 0 ? lt_tensors_data(w->tensors, zeros) : NULL;
    for (int64_t o = 0; o < out; o++)
        for (int64_t i = 0; i < in; i++) {
            int64_t g = per_row ? o * per_row + i / group : 0;
            dst[o * in + i] = (lt_real)(code[o * in + i] - (zero ? zero[g] : 0)) * scale[g];
        }
    return LT_OK;
}

lt_status lti_packed_read_compressed(const lti_packed *p, const lti_weights *w, const lti_tensor *t, const char *name,
                                     lt_real *dst)
{
    int64_t per_row;
    lt_real *scale;
    (void)p; /* the shapes say it all */
    LTI_TRY(scales_a_row(w, t, name, &per_row));
    lti_part part = {".weight_scale", true, LT_STORED_REAL, 0, per_row ? t->shape[0] * per_row : 1, 0};
    LTI_TRY(lti_part_numbers(w, name, &part, &scale));
    lt_status status = unpack_compressed(w, t, name, per_row, scale, dst);
    lti_free(w->ctx, scale);
    return status;
}

/* ---- Scales of whole blocks ---- */

/* [out, in / 32] of the words' scales; false where 32 columns are of several groups. */
static bool spread_words(const word_parts *x, lt_real *scales)
{
    for (int64_t b = 0; b < x->in / LTI_PACKED_BLOCK; b++) {
        int64_t first = b * LTI_PACKED_BLOCK, g = -1;
        for (int64_t i = first; i < first + LTI_PACKED_BLOCK; i++) {
            int64_t of = x->index ? (int64_t)word_at(x->index, i) : i / x->group;
            if (g >= 0 && of != g) return false;
            g = of;
        }
        for (int64_t o = 0; o < x->out; o++) scales[o * (x->in / LTI_PACKED_BLOCK) + b] = x->scale[g * x->out + o];
    }
    return true;
}

static lt_status word_scales(const lti_packed *p, const lti_weights *w, const lti_tensor *t, const char *name,
                             lt_real *scales, bool *there)
{
    word_parts x;
    bool gptq = p->packing == LTI_PACKED_GPTQ;
    lt_status status = find_words(p, w, t, name, gptq ? 32 / p->bits : 8, gptq, &x);
    if (status == LT_OK && gptq) status = check_index(w, name, &x);
    if (status == LT_OK) *there = spread_words(&x, scales);
    lti_free(w->ctx, x.scale);
    return status;
}

static lt_status compressed_scales(const lti_weights *w, const lti_tensor *t, const char *name, lt_real *scales,
                                   bool *there)
{
    int64_t per_row, out = t->shape[0], blocks = t->shape[1] / LTI_PACKED_BLOCK;
    lt_real *scale;
    LTI_TRY(scales_a_row(w, t, name, &per_row));
    lti_part part = {".weight_scale", true, LT_STORED_REAL, 0, per_row ? out * per_row : 1, 0};
    LTI_TRY(lti_part_numbers(w, name, &part, &scale));
    *there = per_row == 0 || blocks % per_row == 0;
    for (int64_t i = 0; i < out * blocks && *there; i++)
        scales[i] = per_row ? scale[i / blocks * per_row + i % blocks / (blocks / per_row)] : scale[0];
    lti_free(w->ctx, scale);
    return LT_OK;
}

lt_status lti_packed_scales(const lti_packed *p, const lti_weights *w, const lti_tensor *t, const char *name,
                            lt_real *scales, bool *there)
{
    *there = false;
    if (t->rank != 2 || t->layout == LTI_CONV1D || t->shape[1] % LTI_PACKED_BLOCK) return LT_OK;
    if (p->packing == LTI_PACKED_COMPRESSED) return compressed_scales(w, t, name, scales, there);
    *there = p->packing == LTI_PACKED_TERNARY;
    if (*there) return lti_packed_scales_ternary(p, w, t, name, scales);
    bool words = p->packing == LTI_PACKED_GPTQ || p->packing == LTI_PACKED_AWQ;
    return words ? word_scales(p, w, t, name, scales, there) : LT_OK;
}
