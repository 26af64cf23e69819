/* simd_integer.c - panels of integer products multiplied: six rows by two vectors of columns, whose sums, as integers and as
 * floats, stay in registers. A quad of codes of each row is broadcast, and meets two vectors of the panel of b.
 *
 * The dot product of four bytes with four bytes, added to 32 bits, is one VNNI instruction. Without it, where codes of b
 * are below 128, products of pairs fit into 16 bits (2 x 127 x 128 < 2^15) and pairs of pairs are added; wider codes are
 * split into even and odd bytes of 16 bits first. All give the same integers, and the multiply-adds of floats that follow
 * are fused. The loop over a group of 32 or 16 numbers is unrolled.
 *
 * While a panel of a is worked on, the next is fetched: half of them were packed by another core, whose cache has them. A
 * panel of b larger than the nearest cache costs nothing (k cut into parts that fit, sums waiting in c, was 1 % slower). */
#include "kernels/simd/vec.h"

#include <string.h>

enum { ROWS = LTI_INTEGER_ROWS, COLUMNS = LTI_INTEGER_COLUMNS, SPAN = 2 * V };

/* sum + b a in each 32-bit lane: b unsigned bytes, a signed ones. */
typedef vi (*dot)(vi sum, vi b, vi a);

#ifdef LTI_ISA_avx512
#define WIDTH(operation) _mm512_##operation
#else
#define WIDTH(operation) _mm256_##operation
#endif

VI vi dot_narrow(vi sum, vi b, vi a)
{
    return v_addi(sum, WIDTH(madd_epi16)(WIDTH(maddubs_epi16)(b, a), WIDTH(set1_epi16)(1)));
}

VI vi dot_wide(vi sum, vi b, vi a)
{
    vi even =
        WIDTH(madd_epi16)(WIDTH(srli_epi16)(WIDTH(slli_epi16)(b, 8), 8), WIDTH(srai_epi16)(WIDTH(slli_epi16)(a, 8), 8));
    vi odd = WIDTH(madd_epi16)(WIDTH(srli_epi16)(b, 8), WIDTH(srai_epi16)(a, 8));
    return v_addi(sum, v_addi(even, odd));
}

VI vi quad_at(const int8_t *a)
{
    int32_t quad;
    memcpy(&quad, a, sizeof quad);
    return v_seti(quad);
}

/* Past the end of all panels, too: that does no harm. */
VI void fetch(const char *from, int64_t bytes)
{
    for (int64_t i = 0; i < bytes; i += 64) _mm_prefetch(from + i, _MM_HINT_T0);
}

/* One group: sums of integers from `start` on. `quads` is constant, but for long groups; `next` is where in the next panel
 * of a this group is. */
VI void sum_group(dot add, int64_t quads, const int32_t *start, const int8_t *a, const char *next, const uint8_t *b,
                  vi sum[ROWS][2])
{
    const int64_t few = quads < 8 ? quads : 8;
#pragma GCC unroll 6
    for (int r = 0; r < ROWS; r++) sum[r][0] = sum[r][1] = v_seti(start[r]);
#pragma GCC unroll 8
    for (int64_t q = 0; q < quads; q++, a += 4 * ROWS, b += 4 * COLUMNS) {
        vi b0 = v_loadi(b), b1 = v_loadi(b + 4 * V);
        if (q % 8 == 0) fetch(next + 4 * ROWS * q, 4 * ROWS * few);
#pragma GCC unroll 6
        for (int r = 0; r < ROWS; r++) {
            vi quad = quad_at(a + 4 * r);
            sum[r][0] = add(sum[r][0], b0, quad);
            sum[r][1] = add(sum[r][1], b1, quad);
        }
    }
}

/* c (+)= sum, of `rows` rows and `left` columns. */
VI void put_tile(const lti_integer_task *t, vf total[ROWS][2], int64_t rows, R *c, int64_t left)
{
#pragma GCC unroll 6
    for (int r = 0; r < ROWS; r++, c += t->ldc)
#pragma GCC unroll 2
        for (int j = 0; j < 2; j++) {
            int64_t here = left - j * V < V ? left - j * V : V;
            if (r >= rows || here <= 0) continue;
            v_put(c + j * V, t->add ? v_add(v_get(c + j * V, here), total[r][j]) : total[r][j], here);
        }
}

/* A panel of a times SPAN columns of the panel of b, the first of them `column`. */
VI void tile(dot add, int64_t quads, const lti_integer_task *t, const int8_t *a, int column, int64_t rows, R *c)
{
    const lti_integer_form *f = t->form;
    const uint8_t *b = (const uint8_t *)t->b + 4 * column;
    const float *scale = (const float *)lti_integer_behind(f, t->b, COLUMNS) + column;
    const lti_integer_group *group = lti_integer_behind(f, a, ROWS), *end = group + f->groups;
    const int minima = f->minima;
    const size_t next = lti_integer_a_bytes(f);
    vf total[ROWS][2];
#pragma GCC unroll 6
    for (int r = 0; r < ROWS; r++) total[r][0] = total[r][1] = v_zero();
    for (; group < end; group++, a += 4 * ROWS * quads, b += 4 * COLUMNS * quads, scale += (1 + minima) * COLUMNS) {
        vi sum[ROWS][2];
        fetch((const char *)group + next, sizeof *group);
        sum_group(add, quads, group->start, a, (const char *)a + next, b, sum);
        vf scales[2] = {v_load(scale), v_load(scale + V)};
#pragma GCC unroll 6
        for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
            for (int j = 0; j < 2; j++)
                total[r][j] = v_fma(v_from_ints(sum[r][j]), v_mul(v_set(group->scale[r]), scales[j]), total[r][j]);
        if (!minima) continue;
        vf least[2] = {v_load(scale + COLUMNS), v_load(scale + COLUMNS + V)};
#pragma GCC unroll 6
        for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
            for (int j = 0; j < 2; j++) total[r][j] = v_fma(v_set(group->sum[r]), least[j], total[r][j]);
    }
    put_tile(t, total, rows, c, t->n - column);
}

VI void multiply(dot add, int64_t quads, const lti_integer_task *t)
{
    const size_t bytes = lti_integer_a_bytes(t->form);
    for (int column = 0; column < t->n; column += SPAN)
        for (int64_t i = 0; i < t->m; i += ROWS) {
            int64_t rows = t->m - i < ROWS ? t->m - i : ROWS;
            const int8_t *a = (const int8_t *)t->a + (size_t)(i / ROWS) * bytes;
            tile(add, quads, t, a, column, rows, t->c + i * t->ldc + column);
        }
}

#define MULTIPLY(kind, target)                                                                                         \
    target static void multiply_##kind(const lti_integer_task *t)                                                      \
    {                                                                                                                  \
        int64_t quads = t->form->group / 4;                                                                            \
        if (quads == 8)                                                                                                \
            multiply(dot_##kind, 8, t);                                                                                \
        else if (quads == 4)                                                                                           \
            multiply(dot_##kind, 4, t);                                                                                \
        else                                                                                                           \
            multiply(dot_##kind, quads, t);                                                                            \
    }
MULTIPLY(narrow, )
MULTIPLY(wide, )

#ifdef LTI_ISA_avx512
#define VNNI __attribute__((target("avx512vnni")))
VI VNNI vi dot_vnni(vi sum, vi b, vi a)
{
    return _mm512_dpbusd_epi32(sum, b, a);
}

MULTIPLY(vnni, VNNI)
#endif

void LTI_FN(integer_multiply)(const lti_integer_task *t)
{
#ifdef LTI_ISA_avx512
    if (__builtin_cpu_supports("avx512vnni")) {
        multiply_vnni(t);
        return;
    }
#endif
    if (t->form->wide)
        multiply_wide(t);
    else
        multiply_narrow(t);
}
