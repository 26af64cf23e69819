/* ref_integer.c - integer products in plain C: operands into panels (integer_panels.h), and panels multiplied.
 *
 * Codes and scales are those of kernels/lattice/ref_*.c before they are multiplied. An element of c is
 *
 *     sum over groups: (scale a x scale b) (integer sum) + (sum of a) minimum
 *
 * with the groups in order of k. The SIMD sets fuse the multiply-adds: they differ from this by float rounding, the
 * integers are the same. */
#include "kernels/kernels.h"
#include "kernels/lattice/blocks.h"

enum { ROWS = LTI_INTEGER_ROWS, COLUMNS = LTI_INTEGER_COLUMNS };

/* ---- Blocks of b: codes (value + offset), and of each group a scale and, where there is one, a minimum ---- */

/* Code i < 32 of blocks of nibbles. */
static int nibble(const uint8_t *qs, int i)
{
    return i < 16 ? qs[i] & 15 : qs[i - 16] >> 4;
}

static int two_bits(const uint8_t *qs, int i)
{
    return qs[i / 128 * 32 + i % 32] >> i / 32 % 4 * 2 & 3;
}

/* Code i of a block, whatever its type. */
static int code_of(lt_dtype type, const uint8_t *b, int i)
{
    int g = i / 128, t = i / 32 % 4, j = i / 32;
    switch (type) {
    case LT_Q4_0: return nibble(b + 2, i);
    case LT_Q4_1: return nibble(b + 4, i);
    case LT_Q5_0: return nibble(b + 6, i) | (int)(lti_word_at(b + 2) >> i & 1) << 4;
    case LT_Q5_1: return nibble(b + 8, i) | (int)(lti_word_at(b + 4) >> i & 1) << 4;
    case LT_Q8_0: return (int8_t)b[2 + i] + 128;
    case LT_IQ4_NL: return lti_iq4_nl_values[nibble(b + 2, i)] + 128;
    case LT_MXFP4: return lti_e2m1_twice[nibble(b + 1, i)] + 12;
    case LT_Q2_K: return two_bits(b + 16, i);
    case LT_Q3_K: return two_bits(b + 32, i) | (b[i % 32] >> j & 1) << 2;
    case LT_Q4_K: return b[16 + j / 2 * 32 + i % 32] >> j % 2 * 4 & 15;
    case LT_Q5_K: return (b[48 + j / 2 * 32 + i % 32] >> j % 2 * 4 & 15) | (b[16 + i % 32] >> j & 1) << 4;
    case LT_Q6_K:
        return (b[64 * g + t % 2 * 32 + i % 32] >> t / 2 * 4 & 15) | (b[128 + 32 * g + i % 32] >> 2 * t & 3) << 4;
    case LT_TQ1_0: return lti_tq1_0_code(b, i) + 1;
    default: /* LT_TQ2_0 */ return two_bits(b, i);
    }
}

/* Scale and minimum of group g of a block. */
static R scale_of(lt_dtype type, const uint8_t *b, int g, R *minimum)
{
    int s, m;
    switch (type) {
    case LT_Q4_1:
    case LT_Q5_1: *minimum = lti_half_at(b + 2); return lti_half_at(b);
    case LT_MXFP4: return lti_e8m0_half(b[0]);
    case LT_Q2_K:
        *minimum = -(lti_half_at(b + 82) * (float)(b[g] >> 4));
        return lti_half_at(b + 80) * (float)(b[g] & 15);
    case LT_Q3_K: return lti_half_at(b + 108) * (float)lti_q3_k_scale(b + 96, g);
    case LT_Q4_K:
    case LT_Q5_K:
        lti_k_scale(b + 4, g, &s, &m);
        *minimum = -(lti_half_at(b + 2) * (float)m);
        return lti_half_at(b) * (float)s;
    case LT_Q6_K: return lti_half_at(b + 208) * (float)(int8_t)b[192 + g];
    case LT_TQ1_0: return lti_half_at(b + 52);
    case LT_TQ2_0: return lti_half_at(b + 64);
    default: /* LT_Q4_0, LT_Q5_0, LT_Q8_0, LT_IQ4_NL */ return lti_half_at(b);
    }
}

static void pack_b_row(const lti_integer_form *f, const uint8_t *row, int column, uint8_t *codes, R *scales)
{
    int block = (int)lt_dtype_block(f->b_type), bytes = (int)lt_dtype_bytes(f->b_type);
    for (int64_t k = 0; k < f->k; k += block, row += bytes) {
        for (int i = 0; i < block; i++)
            codes[(k + i) / 4 * 4 * COLUMNS + column * 4 + i % 4] = (uint8_t)code_of(f->b_type, row, i);
        for (int g = 0; g < block / f->group; g++) {
            R *to = scales + lti_integer_scale_at(f, k / f->group + g, column), minimum = 0;
            to[0] = scale_of(f->b_type, row, g, &minimum);
            if (f->minima) to[COLUMNS] = minimum;
        }
    }
}

static void pack_b_codes(const lti_integer_form *f, const int8_t *row, R scale, int column, uint8_t *codes, R *scales)
{
    for (int64_t k = 0; k < f->k; k++) codes[k / 4 * 4 * COLUMNS + column * 4 + k % 4] = (uint8_t)(row[k] + 128);
    for (int64_t g = 0; g < f->groups; g++) scales[lti_integer_scale_at(f, g, column)] = scale;
}

void lti_k_integer_pack_b_ref(const lti_integer_form *f, int64_t rows, const void *b, const R *scale, void *panel)
{
    uint8_t *codes = panel;
    R *scales = lti_integer_behind(f, panel, COLUMNS);
    size_t stride = (size_t)(f->k / lt_dtype_block(f->b_type)) * lt_dtype_bytes(f->b_type);
    memset(panel, 0, lti_integer_b_bytes(f));
    for (int64_t r = 0; r < rows; r++) {
        const char *row = (const char *)b + (size_t)r * stride;
        if (f->b_type == LT_I8)
            pack_b_codes(f, (const int8_t *)row, scale[r], (int)r, codes, scales);
        else
            pack_b_row(f, (const uint8_t *)row, (int)r, codes, scales);
    }
}

/* ---- Blocks of a ---- */

/* Codes of a row from element k on, with the scale and the stored sum of the block that it stands in. */
static const int8_t *codes_at(lt_dtype type, const char *row, int64_t k, R *scale, R *sum)
{
    const uint8_t *block = (const uint8_t *)row + k / lt_dtype_block(type) * (int64_t)lt_dtype_bytes(type);
    float d;
    switch (type) {
    case LT_Q8_0: *scale = lti_half_at(block); return (const int8_t *)block + 2 + k % 32;
    case LT_Q8_1:
        *scale = lti_half_at(block);
        *sum = lti_half_at(block + 2);
        return (const int8_t *)block + 4 + k % 32;
    case LT_Q8_K:
        memcpy(&d, block, sizeof d);
        *scale = d;
        return (const int8_t *)block + 4 + k % 256;
    default: /* LT_I8 */ return (const int8_t *)block;
    }
}

static void pack_a_row(const lti_integer_form *f, const char *row, R scale, int r, int8_t *codes,
                       lti_integer_group *groups)
{
    for (int64_t g = 0; g < f->groups; g++) {
        int64_t begin = g * f->group, end = begin + f->group < f->k ? begin + f->group : f->k;
        int32_t total = 0;
        R stored = 0;
        for (int64_t k = begin; k < end; k++) {
            int8_t code = *codes_at(f->a_type, row, k, &scale, &stored);
            codes[k / 4 * 4 * ROWS + r * 4 + k % 4] = code;
            total += code;
        }
        groups[g].start[r] = -f->offset * total;
        groups[g].scale[r] = scale;
        groups[g].sum[r] = f->a_type == LT_Q8_1 ? stored : scale * (R)total;
    }
}

void lti_k_integer_pack_a_ref(const lti_integer_form *f, int64_t rows, const void *a, const R *scale, void *panel)
{
    size_t stride = (size_t)(f->k / lt_dtype_block(f->a_type)) * lt_dtype_bytes(f->a_type);
    memset(panel, 0, lti_integer_a_bytes(f));
    for (int64_t r = 0; r < rows; r++)
        pack_a_row(f, (const char *)a + (size_t)r * stride, f->a_type == LT_I8 ? scale[r] : 0, (int)r, panel,
                   lti_integer_behind(f, panel, ROWS));
}

/* ---- The product ---- */

/* Row r of a panel of a times column j of the panel of b. */
static R element(const lti_integer_form *f, const int8_t *a, const uint8_t *b, int r, int j)
{
    const lti_integer_group *group = lti_integer_behind(f, a, ROWS);
    const R *scales = lti_integer_behind(f, b, COLUMNS);
    R sum = 0;
    a += r * 4, b += j * 4;
    for (int64_t g = 0; g < f->groups; g++, group++) {
        int32_t total = group->start[r];
        for (int64_t q = 0; q < f->group / 4; q++, a += 4 * ROWS, b += 4 * COLUMNS)
            for (int i = 0; i < 4; i++) total += a[i] * b[i];
        const R *scale = scales + lti_integer_scale_at(f, g, j);
        sum += (R)total * (group->scale[r] * scale[0]);
        if (f->minima) sum += group->sum[r] * scale[COLUMNS];
    }
    return sum;
}

void lti_k_integer_multiply_ref(const lti_integer_task *t)
{
    const size_t bytes = lti_integer_a_bytes(t->form);
    for (int64_t i = 0; i < t->m; i++)
        for (int64_t j = 0; j < t->n; j++) {
            R *c = t->c + i * t->ldc + j;
            const int8_t *a = (const int8_t *)t->a + (size_t)(i / ROWS) * bytes;
            *c = (t->add ? *c : 0) + element(t->form, a, t->b, (int)(i % ROWS), (int)j);
        }
}
