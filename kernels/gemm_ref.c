/* gemm_ref.c - the product in plain C: the oracle of the other providers, and the whole GEMM of a portable or double
 * build.
 *
 * An element of c is summed over k in ascending order, from 0 or from what c holds, in lt_real. Eight columns of b are
 * copied into a panel [k][8], against which four rows of a go at a time: the compiler keeps the 32 sums in registers.
 * That changes speed, and no bit. */
#include "kernels/gemm_backend.h"

#include <stdio.h>
#include <string.h>

#define COLUMNS 8
#define ROWS 4

static lt_status ref_create(lt_ctx *ctx, const lti_gemm_tile *tile, int slots, void **kernel)
{
    (void)slots;
    lti_gemm_tile *copy = lti_alloc(ctx, sizeof *copy);
    if (!copy) return LT_ENOMEM;
    *copy = *tile;
    *kernel = copy;
    return LT_OK;
}

static void ref_free(lt_ctx *ctx, void *kernel)
{
    lti_free(ctx, kernel);
}

static size_t ref_scratch(const void *kernel)
{
    const lti_gemm_tile *t = kernel;
    return (size_t)t->k * COLUMNS * sizeof(lt_real);
}

/* Columns j .. of op(b) as panel[k][COLUMNS]; columns past n are 0. */
static void pack(const lti_gemm_tile *t, const lt_real *b, int64_t j, int count, lt_real *panel)
{
    int64_t along_k = t->tb ? 1 : t->ldb, along_n = t->tb ? t->ldb : 1;
    for (int64_t l = 0; l < t->k; l++, panel += COLUMNS)
        for (int i = 0; i < COLUMNS; i++) panel[i] = i < count ? b[(j + i) * along_n + l * along_k] : 0;
}

/* sum[r][i] += row r of a times column i of the panel; rows and elements of a lie `row` and `step` apart. */
static void multiply(int rows, int64_t k, const lt_real *a, int64_t row, int64_t step, const lt_real *panel,
                     lt_real sum[ROWS][COLUMNS])
{
    for (int64_t l = 0; l < k; l++, a += step, panel += COLUMNS)
        for (int r = 0; r < rows; r++)
            for (int i = 0; i < COLUMNS; i++) sum[r][i] += a[r * row] * panel[i];
}

/* Rows i .. i + rows, columns j .. j + count of c. */
static void block(const lti_gemm_tile *t, int rows, int count, const lt_real *a, const lt_real *panel, lt_real *c)
{
    lt_real sum[ROWS][COLUMNS] = {{0}};
    int64_t row = t->ta ? 1 : t->lda, step = t->ta ? t->lda : 1;
    for (int r = 0; t->accumulate && r < rows; r++) memcpy(sum[r], c + r * t->ldc, (size_t)count * sizeof *c);
    if (rows == ROWS)
        multiply(ROWS, t->k, a, row, step, panel, sum);
    else
        multiply(rows, t->k, a, row, step, panel, sum);
    for (int r = 0; r < rows; r++) memcpy(c + r * t->ldc, sum[r], (size_t)count * sizeof *c);
}

static lt_status ref_run(const void *kernel, int slot, const void *a_data, const void *b, lt_real *c, void *scratch)
{
    const lti_gemm_tile *t = kernel;
    const lt_real *a = a_data;
    (void)slot;
    for (int64_t j = 0; j < t->n; j += COLUMNS) {
        int count = t->n - j < COLUMNS ? (int)(t->n - j) : COLUMNS;
        pack(t, b, j, count, scratch);
        for (int64_t i = 0; i < t->m; i += ROWS) {
            int rows = t->m - i < ROWS ? (int)(t->m - i) : ROWS;
            block(t, rows, count, t->ta ? a + i : a + i * t->lda, scratch, c + i * t->ldc + j);
        }
    }
    return LT_OK;
}

static void ref_version(char *text, size_t size)
{
    snprintf(text, size, "ref");
}

const lti_gemm_backend lti_gemm_ref = {
    .name = "ref",
    .create = ref_create,
    .free = ref_free,
    .scratch = ref_scratch,
    .run = ref_run,
    .version = ref_version,
};
