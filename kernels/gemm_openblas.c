/* gemm_openblas.c - tiles by cblas_sgemm.
 *
 * OpenBLAS is told once to use no threads of its own: tiles already run side by side, and its way of sharing out k
 * would make results depend on the number of threads. Its packing buffers come from a pool it keeps. */
#include "kernels/gemm_backend.h"

#include <cblas.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static void single_thread(void)
{
    openblas_set_num_threads(1);
}

static lt_status openblas_create(lt_ctx *ctx, const lti_gemm_tile *tile, int slots, void **kernel)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)slots;
    pthread_once(&once, single_thread);
    const int64_t sizes[] = {tile->m, tile->n, tile->k, tile->lda, tile->ldb, tile->ldc};
    for (int i = 0; i < LTI_COUNT(sizes); i++)
        if (sizes[i] > INT32_MAX)
            return lti_fail(ctx, LT_EPROVIDER, "gemm: openblas counts in 32 bits, %lld is too large; use LT_GEMM=ref",
                            (long long)sizes[i]);
    lti_gemm_tile *copy = lti_alloc(ctx, sizeof *copy);
    if (!copy) return LT_ENOMEM;
    *copy = *tile;
    *kernel = copy;
    return LT_OK;
}

static void openblas_free(lt_ctx *ctx, void *kernel)
{
    lti_free(ctx, kernel);
}

static size_t openblas_scratch(const void *kernel)
{
    (void)kernel;
    return 0;
}

static lt_status openblas_run(const void *kernel, int slot, const void *a, const void *b, float *c, void *scratch)
{
    const lti_gemm_tile *t = kernel;
    (void)slot;
    (void)scratch;
    cblas_sgemm(CblasRowMajor, t->ta ? CblasTrans : CblasNoTrans, t->tb ? CblasTrans : CblasNoTrans, (int)t->m,
                (int)t->n, (int)t->k, 1, a, (int)t->lda, b, (int)t->ldb, t->accumulate ? 1 : 0, c, (int)t->ldc);
    return LT_OK;
}

/* The configuration string begins "OpenBLAS 0.3.21 ...". */
static void openblas_version(char *text, size_t size)
{
    char number[32] = "?";
    sscanf(openblas_get_config(), "%*s %31s", number);
    snprintf(text, size, "openblas %s %s", number, openblas_get_corename());
}

const lti_gemm_backend lti_gemm_openblas = {
    .name = "openblas",
    .create = openblas_create,
    .free = openblas_free,
    .scratch = openblas_scratch,
    .run = openblas_run,
    .version = openblas_version,
};
