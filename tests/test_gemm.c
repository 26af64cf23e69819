/* test_gemm.c - every GEMM provider against a naive double loop: transposes, accumulation, strides, lattice operands,
 * odd sizes; 1 against 2 threads bit by bit; errors and failing allocations. */
#include "base/par.h"
#include "kernels/gemm.h"
#include "kernels/kernels.h"
#include "tests/testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const providers[] = {"onednn", "openblas", "ref"};

static const lti_gemm_shape shapes[] = {
    {.m = 1, .n = 1, .k = 1},
    {.m = 5, .n = 7, .k = 3},
    {.m = 1, .n = 65, .k = 33, .tb = true},
    {.m = 33, .n = 1, .k = 65, .ta = true},
    {.m = 64, .n = 172, .k = 64, .tb = true},
    {.m = 64, .n = 172, .k = 300, .ta = true},
    {.m = 31, .n = 29, .k = 37, .ta = true, .tb = true},
    {.m = 40, .n = 50, .k = 60, .accumulate = true},
    {.m = 40, .n = 50, .k = 60, .lda = 77, .ldb = 51, .ldc = 63},
    {.m = 40, .n = 50, .k = 60, .lda = 41, .ldb = 66, .ldc = 50, .ta = true, .tb = true, .accumulate = true},
    {.m = 700, .n = 600, .k = 40, .tb = true},
    {.m = 290, .n = 530, .k = 90, .ta = true, .accumulate = true},
    {.m = 17, .n = 19, .k = 23, .serial = true},
    {.m = 300, .n = 20, .k = 23, .serial = true, .tb = true},
    {.m = 3, .n = 4, .k = 0},
    {.m = 3, .n = 4, .k = 0, .accumulate = true},
    {.m = 0, .n = 4, .k = 5},
    {.m = 3, .n = 0, .k = 5},
    {.m = 9, .n = 70, .k = 64, .tb = true, .b_type = LT_Q4_0},
    {.m = 50, .n = 96, .k = 31, .b_type = LT_Q4_0},
    {.m = 50, .n = 300, .k = 96, .tb = true, .b_type = LT_Q8_0, .accumulate = true},
    {.m = 33, .n = 320, .k = 40, .b_type = LT_Q8_0, .serial = true},
    {.m = 8, .n = 32, .k = 4500, .b_type = LT_Q8_0},                                     /* chunks of k */
    {.m = 8, .n = 9, .k = 2048 + 64, .tb = true, .b_type = LT_Q4_0, .accumulate = true}, /* and a short last one */
};

/* What a product reads and writes, with room for strides. */
typedef struct operands {
    int64_t rows_a, rows_b, lda, ldb, ldc;
    lt_real *a, *b, *c, *start;
    void *blocks;
    double *want;
    int64_t size_c;
} operands;

static lt_real *normals(const char *name, int64_t n)
{
    lt_real *x = calloc((size_t)n + 1, sizeof *x);
    if (!x) abort();
    ts_fill_normal(name, n, 1, x);
    return x;
}

static void make_operands(const lti_gemm_shape *s, operands *o)
{
    o->rows_a = s->ta ? s->k : s->m;
    o->rows_b = s->tb ? s->n : s->k;
    o->lda = s->lda ? s->lda : s->ta ? s->m : s->k;
    o->ldb = s->ldb ? s->ldb : s->tb ? s->k : s->n;
    o->ldc = s->ldc ? s->ldc : s->n;
    o->size_c = s->m * o->ldc;
    o->a = normals("gemm.a", o->rows_a * o->lda);
    o->b = normals("gemm.b", o->rows_b * o->ldb);
    o->start = normals("gemm.c", o->size_c);
    o->c = normals("gemm.c", o->size_c);
    o->want = calloc((size_t)o->size_c + 1, sizeof *o->want);
    o->blocks = calloc((size_t)(o->rows_b * o->ldb) + 1, sizeof(lt_real));
    if (!o->want || !o->blocks) abort();
    const lti_kernels *k = lti_kernels_of("ref");
    int64_t n = o->rows_b * o->ldb;
    if (s->b_type == LT_Q4_0) {
        k->quantize_q4_0(n, o->b, o->blocks);
        k->dequantize_q4_0(n, o->blocks, o->b);
    } else if (s->b_type == LT_Q8_0) {
        k->quantize_q8_0(n, o->b, o->blocks);
        k->dequantize_q8_0(n, o->blocks, o->b);
    }
    for (int64_t i = 0; i < o->size_c; i++) o->want[i] = (double)o->start[i];
    for (int64_t i = 0; i < s->m; i++)
        for (int64_t j = 0; j < s->n; j++) {
            double sum = s->accumulate ? o->want[i * o->ldc + j] : 0;
            for (int64_t l = 0; l < s->k; l++)
                sum += (double)o->a[s->ta ? l * o->lda + i : i * o->lda + l] *
                       (double)o->b[s->tb ? j * o->ldb + l : l * o->ldb + j];
            o->want[i * o->ldc + j] = sum;
        }
}

static void drop_operands(operands *o)
{
    free(o->a);
    free(o->b);
    free(o->c);
    free(o->start);
    free(o->blocks);
    free(o->want);
}

/* The product into o->c, which begins as o->start. */
static bool multiply(lt_ctx *ctx, const lti_gemm_shape *s, operands *o)
{
    lti_gemm *gemm = NULL;
    if (!TS_OK(ctx, lti_gemm_create(ctx, s, &gemm))) return false;
    void *scratch = lti_alloc(ctx, lti_gemm_scratch(gemm));
    memcpy(o->c, o->start, (size_t)o->size_c * sizeof *o->c);
    bool ok = TS_OK(ctx, lti_gemm_run(gemm, o->a, s->b_type == LT_F32 ? (const void *)o->b : o->blocks, o->c, scratch));
    lti_free(ctx, scratch);
    lti_gemm_free(ctx, gemm);
    return ok;
}

static void describe(const lti_gemm_shape *s, char *text, size_t size)
{
    snprintf(text, size, "%lld x %lld x %lld%s%s%s%s %s", (long long)s->m, (long long)s->n, (long long)s->k,
             s->ta ? " ta" : "", s->tb ? " tb" : "", s->accumulate ? " +=" : "", s->serial ? " serial" : "",
             lt_dtype_name(s->b_type));
}

static void each_shape(void (*try)(lt_ctx *ctx, const lti_gemm_shape *s, operands *o, const char *what))
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    for (int i = 0; i < LTI_COUNT(shapes); i++) {
        operands o;
        make_operands(&shapes[i], &o);
        for (int p = 0; p < LTI_COUNT(providers); p++) {
            char what[128], shape[96];
            if (!lti_gemm_force(providers[p])) continue;
            describe(&shapes[i], shape, sizeof shape);
            snprintf(what, sizeof what, "%s %s (seed %llu)", providers[p], shape, (unsigned long long)ts_seed());
            try(ctx, &shapes[i], &o, what);
        }
        drop_operands(&o);
    }
    lti_gemm_force(NULL);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

/* The bound of a sum of k rounded products of normal numbers, with room. */
static void against_oracle(lt_ctx *ctx, const lti_gemm_shape *s, operands *o, const char *what)
{
    if (!multiply(ctx, s, o)) return;
    double epsilon = ts_tolerance(0x1p-52, 0x1p-23), worst = 0;
    for (int64_t i = 0; i < o->size_c; i++) {
        double gap = fabs((double)o->c[i] - o->want[i]);
        worst = isnan(gap) ? INFINITY : fmax(worst, gap);
    }
    double bound = epsilon * 4 * (sqrt((double)s->k) * 16 + 4);
    TS_CHECK(worst <= bound, "%s: off by %g, %g is allowed", what, worst, bound);
}

static void against_threads(lt_ctx *ctx, const lti_gemm_shape *s, operands *o, const char *what)
{
    int before = lt_threads();
    size_t bytes = (size_t)o->size_c * sizeof *o->c;
    lt_set_threads(1);
    bool ok = multiply(ctx, s, o);
    lt_real *one = malloc(bytes + 1);
    if (!one) abort();
    memcpy(one, o->c, bytes);
    for (int threads = 2; ok && threads <= 5; threads += 3) {
        lt_set_threads(threads);
        ok = multiply(ctx, s, o);
        TS_CHECK(ts_same_bytes(bytes, one, o->c), "%s: 1 and %d threads give different bits", what, threads);
    }
    free(one);
    lt_set_threads(before);
}

static void oracle(void)
{
    each_shape(against_oracle);
}

static void threads(void)
{
    each_shape(against_threads);
}

/* A product made for one thread runs on more, and a serial one inside many tasks at once. */
typedef struct shared {
    const lti_gemm *gemm;
    operands *o;
    lt_real *c;
    int64_t size;
} shared;

static void run_shared(void *arg, int64_t task, int thread)
{
    shared *s = arg;
    (void)thread;
    lt_real *c = s->c + task * s->size;
    if (lti_gemm_run(s->gemm, s->o->a, s->o->b, c, c + s->o->size_c) != LT_OK) c[0] = -1e30f;
}

static void inside_tasks(void)
{
    const lti_gemm_shape shape = {.m = 48, .n = 40, .k = 56, .tb = true, .serial = true};
    lt_ctx *ctx = lt_ctx_create(NULL);
    int before = lt_threads();
    for (int p = 0; p < LTI_COUNT(providers); p++) {
        operands o;
        lti_gemm *gemm = NULL;
        if (!lti_gemm_force(providers[p])) continue;
        make_operands(&shape, &o);
        lt_set_threads(1);
        if (TS_OK(ctx, lti_gemm_create(ctx, &shape, &gemm))) {
            lt_set_threads(4);
            shared s = {gemm, &o, NULL, 0};
            s.size = ((o.size_c + 15) / 16 * 16) + (int64_t)(lti_gemm_scratch(gemm) / sizeof(lt_real)) + 16;
            s.c = lti_alloc_array(ctx, (size_t)(s.size * 32), sizeof *s.c);
            lti_par(32, run_shared, &s);
            for (int i = 1; i < 32; i++)
                TS_CHECK(ts_same_bytes((size_t)o.size_c * sizeof *s.c, s.c, s.c + i * s.size),
                         "%s: task %d differs from task 0", providers[p], i);
            TS_CHECK(ts_distance(o.size_c, s.c, o.want) < 1e-5, "%s: wrong inside a task", providers[p]);
            lti_free(ctx, s.c);
        }
        lti_gemm_free(ctx, gemm);
        drop_operands(&o);
    }
    lti_gemm_force(NULL);
    lt_set_threads(before);
    lt_ctx_free(ctx);
}

static lt_status create_and_run(lt_ctx *ctx, void *arg)
{
    lti_gemm *gemm = NULL;
    LTI_TRY(lti_gemm_create(ctx, arg, &gemm));
    lti_gemm_free(ctx, gemm);
    return LT_OK;
}

static void errors(void)
{
    static const lti_gemm_shape wrong[] = {
        {.m = -1, .n = 2, .k = 3},
        {.m = 2, .n = 2, .k = 8, .lda = 7},
        {.m = 2, .n = 8, .k = 2, .ldb = 7},
        {.m = 2, .n = 8, .k = 2, .ldc = 7},
        {.m = 2, .n = 2, .k = 33, .tb = true, .b_type = LT_Q4_0},
        {.m = 2, .n = 33, .k = 32, .b_type = LT_Q8_0},
        {.m = 2, .n = 32, .k = 32, .ldb = 64, .b_type = LT_Q8_0},
        {.m = 2, .n = 32, .k = 32, .b_type = LT_I8},
    };
    lt_ctx *ctx = lt_ctx_create(NULL);
    for (int i = 0; i < LTI_COUNT(wrong); i++) {
        lti_gemm *gemm = NULL;
        lt_status status = lti_gemm_create(ctx, &wrong[i], &gemm);
        TS_CHECK(status == LT_EINVAL && !gemm && lt_ctx_message(ctx)[0], "wrong shape %d: %s", i,
                 lt_status_name(status));
    }
    lt_ctx_free(ctx);
    TS_CHECK(!lti_gemm_force("nonsense") && lti_gemm_force("ref") && !strcmp(lti_gemm_provider(), "ref"), "force");
    TS_CHECK(lti_gemm_force(NULL) && strstr(lti_gemm_versions(), "ref"), "versions: %s", lti_gemm_versions());
    lti_gemm_shape shape = {.m = 700, .n = 330, .k = 4500, .b_type = LT_F32};
    for (int p = 0; p < LTI_COUNT(providers); p++)
        if (lti_gemm_force(providers[p])) ts_every_allocation_fails(providers[p], create_and_run, &shape);
    lti_gemm_force(NULL);
}

int lti_suite_gemm(void)
{
    const ts_test tests[] = {
        {"oracle", oracle}, {"threads", threads}, {"inside tasks", inside_tasks}, {"errors", errors}};
    return ts_suite("gemm", LTI_COUNT(tests), tests);
}
