/* gemm_ref.c - the product in plain C: the oracle of the other providers, and the whole GEMM of a portable or double
 * build.
 *
 * An element of c is summed over k in ascending order, from 0 or from what c holds, in lt_real. Loops run so that the
 * innermost walks along a row of b (or keeps eight rows of a transposed b going at once); neither changes a bit. */
#include "kernels/gemm_backend.h"

#include <stdio.h>
#include <string.h>

#define COLUMNS 8

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
    (void)kernel;
    return 0;
}

/* One row of c, b as it lies: [k, n]. */
static void row_by_rows(const lti_gemm_tile *t, const lt_real *a, int64_t step, const lt_real *b, lt_real *c)
{
    if (!t->accumulate) memset(c, 0, (size_t)t->n * sizeof *c);
    for (int64_t l = 0; l < t->k; l++) {
        lt_real f = a[l * step];
        const lt_real *row = b + l * t->ldb;
        for (int64_t j = 0; j < t->n; j++) c[j] += f * row[j];
    }
}

/* One row of c, b transposed: [n, k]. */
static void row_by_columns(const lti_gemm_tile *t, const lt_real *a, int64_t step, const lt_real *b, lt_real *c)
{
    for (int64_t j = 0; j < t->n; j += COLUMNS) {
        int count = t->n - j < COLUMNS ? (int)(t->n - j) : COLUMNS;
        lt_real sum[COLUMNS] = {0};
        if (t->accumulate) memcpy(sum, c + j, (size_t)count * sizeof *sum);
        for (int64_t l = 0; l < t->k; l++) {
            lt_real f = a[l * step];
            for (int i = 0; i < count; i++) sum[i] += f * b[(j + i) * t->ldb + l];
        }
        memcpy(c + j, sum, (size_t)count * sizeof *sum);
    }
}

static lt_status ref_run(const void *kernel, int slot, const lt_real *a, const lt_real *b, lt_real *c, void *scratch)
{
    const lti_gemm_tile *t = kernel;
    (void)slot;
    (void)scratch;
    for (int64_t i = 0; i < t->m; i++) {
        const lt_real *row = t->ta ? a + i : a + i * t->lda;
        (t->tb ? row_by_columns : row_by_rows)(t, row, t->ta ? t->lda : 1, b, c + i * t->ldc);
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
