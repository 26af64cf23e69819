/* bench_gemm.c - GFLOP/s of each GEMM provider on the products of the models lathe trains.
 *
 *     bench_gemm [threads]        median of 7 runs each, after a first that is not counted */
#include "base/ctx.h"
#include "kernels/gemm.h"
#include "kernels/kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const lti_gemm_shape shapes[] = {
    {.m = 1024, .n = 1536, .k = 576},
    {.m = 1024, .n = 576, .k = 1536},
    {.m = 1024, .n = 576, .k = 576},
    {.m = 1024, .n = 576, .k = 576, .tb = true},
    {.m = 1024, .n = 1536, .k = 576, .tb = true},
    {.m = 1024, .n = 192, .k = 576, .tb = true},
    {.m = 1024, .n = 576, .k = 192},
    {.m = 576, .n = 1536, .k = 1024, .ta = true},
    {.m = 1536, .n = 576, .k = 1024, .ta = true},
    {.m = 192, .n = 576, .k = 1024, .ta = true},
    {.m = 256, .n = 49152, .k = 576, .tb = true},
    {.m = 49152, .n = 576, .k = 256, .ta = true},
    {.m = 256, .n = 576, .k = 49152},
    {.m = 4096, .n = 64, .k = 64, .tb = true},
    {.m = 4096, .n = 172, .k = 64, .tb = true},
    {.m = 4096, .n = 64, .k = 172},
    {.m = 4096, .n = 512, .k = 64, .tb = true},
    {.m = 64, .n = 172, .k = 4096, .ta = true},
    {.m = 64, .n = 64, .k = 4096, .ta = true},
    {.m = 512, .n = 64, .k = 4096, .ta = true},
    {.m = 1024, .n = 1536, .k = 576, .tb = true, .b_type = LT_Q4_0},
    {.m = 1024, .n = 576, .k = 1536, .b_type = LT_Q4_0},
    {.m = 4096, .n = 64, .k = 64, .tb = true, .b_type = LT_Q8_0},
    {.m = 256, .n = 49152, .k = 576, .tb = true, .b_type = LT_Q8_0},
    {.m = 256, .n = 576, .k = 49152, .b_type = LT_Q8_0},
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Seconds of one run, or a negative number when something failed. */
static double measure(lt_ctx *ctx, const lti_gemm_shape *s)
{
    double seconds[7] = {-1};
    lti_gemm *gemm = NULL;
    lt_real *a = lti_alloc_array(ctx, (size_t)(s->m * s->k), sizeof *a);
    lt_real *b = lti_alloc_array(ctx, (size_t)(s->k * s->n), sizeof *b);
    lt_real *c = lti_alloc_array(ctx, (size_t)(s->m * s->n), sizeof *c);
    void *scratch = NULL;
    lti_rng rng = {.seed = 1};
    if (a && b && c && lti_gemm_create(ctx, s, &gemm) == LT_OK && (scratch = lti_alloc(ctx, lti_gemm_scratch(gemm)))) {
        for (int64_t i = 0; i < s->m * s->k; i++) a[i] = (lt_real)(i * 7919 % 1024) / 1024;
        for (int64_t i = 0; i < s->k * s->n; i++) b[i] = (lt_real)lti_rng_uniform(&rng, (uint64_t)i);
        if (s->b_type == LT_Q4_0) lti_k()->quantize_q4_0(s->k * s->n, b, b); /* blocks are shorter than their input */
        if (s->b_type == LT_Q8_0) lti_k()->quantize_q8_0(s->k * s->n, b, b);
        int calls = 1 + (int)(2e8 / (2.0 * (double)s->m * (double)s->n * (double)s->k));
        for (int i = -1; i < LTI_COUNT(seconds); i++) {
            double start = now();
            for (int j = 0; j < calls; j++)
                if (lti_gemm_run(gemm, a, b, c, scratch) != LT_OK) puts(lt_ctx_message(ctx));
            seconds[i < 0 ? 0 : i] = (now() - start) / calls;
        }
        qsort(seconds, LTI_COUNT(seconds), sizeof *seconds, by_value);
    } else
        puts(lt_ctx_message(ctx));
    lti_gemm_free(ctx, gemm);
    lti_free(ctx, a);
    lti_free(ctx, b);
    lti_free(ctx, c);
    lti_free(ctx, scratch);
    return seconds[LTI_COUNT(seconds) / 2];
}

int main(int argc, char **argv)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    if (!ctx) return 1;
    if (argc > 1) lt_set_threads(atoi(argv[1]));
    printf("%s; %d threads; GFLOP/s (microseconds)\n%-34s", lti_gemm_versions(), lt_threads(), "m n k");
    const char *const providers[] = {"onednn", "openblas"};
    for (int p = 0; p < LTI_COUNT(providers); p++) printf("%20s", providers[p]);
    puts("");
    for (int i = 0; i < LTI_COUNT(shapes); i++) {
        const lti_gemm_shape *s = &shapes[i];
        printf("%6d %6d %6d %s%s %-8s", (int)s->m, (int)s->n, (int)s->k, s->ta ? "ta" : "  ", s->tb ? "tb" : "  ",
               lt_dtype_name(s->b_type));
        for (int p = 0; p < LTI_COUNT(providers); p++) {
            if (!lti_gemm_force(providers[p])) continue;
            double t = measure(ctx, s);
            printf("%9.1f (%8.1f)", 2e-9 * (double)s->m * (double)s->n * (double)s->k / t, 1e6 * t);
        }
        puts("");
    }
    lt_ctx_free(ctx);
    return 0;
}
