/* test_gemm.c - every GEMM provider against a naive double loop: transposes, accumulation, strides, operands of every
 * stored type at odd addresses, two bf16 factors, few rows and many, odd sizes; 1 against 2 threads bit by bit; a row
 * of a few against the same row alone; errors and failing allocations. */
#include "base/half.h"
#include "base/par.h"
#include "kernels/gemm.h"
#include "kernels/lattice/lattice.h"
#include "tests/lattice_blocks.h"
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
    {.m = 150, .n = 40, .k = 4200},                                 /* chunks of k */
    {.m = 150, .n = 30, .k = 4300, .ta = true, .accumulate = true}, /* likewise, and a short last one */
    {.m = 300, .n = 2200, .k = 17, .tb = true, .accumulate = true}, /* narrow tiles, c by way of a panel */
    {.m = 300, .n = 50, .k = 60, .lda = 61, .ldb = 66, .ldc = 51, .tb = true},
    {.m = 17, .n = 19, .k = 23, .serial = true},
    {.m = 300, .n = 20, .k = 23, .serial = true, .tb = true},
    {.m = 3, .n = 4, .k = 0},
    {.m = 3, .n = 4, .k = 0, .accumulate = true},
    {.m = 0, .n = 4, .k = 5},
    {.m = 3, .n = 0, .k = 5},
    {.m = 200, .n = 0, .k = 5}, /* bands of no columns */
    {.m = 200, .n = 0, .k = 5, .ta = true, .tb = true},
    {.m = 200, .n = 9, .k = 0},
    {.m = 9, .n = 70, .k = 64, .tb = true, .b_type = LT_Q4_0},
    {.m = 50, .n = 96, .k = 31, .b_type = LT_Q4_0},
    {.m = 50, .n = 300, .k = 96, .tb = true, .b_type = LT_Q8_0, .accumulate = true},
    {.m = 33, .n = 320, .k = 40, .b_type = LT_Q8_0, .serial = true},
    {.m = 8, .n = 32, .k = 4500, .b_type = LT_Q8_0},                                      /* chunks of k */
    {.m = 18, .n = 9, .k = 2048 + 64, .tb = true, .b_type = LT_Q4_0, .accumulate = true}, /* and a short last one */
    {.m = 7, .n = 300, .k = 330, .tb = true, .lda = 333, .ldb = 340, .ldc = 301, .accumulate = true}, /* few rows */
};

/* What every stored type goes through: panels of rows and of columns, more than one tile along the blocks, chunks of k;
 * n and k are multiples of 256 where blocks lie. */
static const lti_gemm_shape stored_shapes[] = {
    {.m = 11, .n = 70, .k = 512, .tb = true},
    {.m = 17, .n = 37, .k = 2304, .tb = true, .accumulate = true},
    {.m = 3, .n = 512, .k = 45},
    {.m = 40, .n = 1280, .k = 33, .accumulate = true},
    {.m = 20, .n = 768, .k = 20, .ta = true},
    {.m = 33, .n = 768, .k = 40, .serial = true},
    {.m = 2, .n = 768, .k = 2100},
    {.m = 9, .n = 130, .k = 256, .ta = true, .tb = true},
};

/* What a product of two bf16 factors goes through: one tile, bands with panels of each operand, chunks of k, squares,
 * strides, few rows. */
static const lti_gemm_shape rounded_shapes[] = {
    {.m = 1, .n = 1, .k = 1},
    {.m = 31, .n = 29, .k = 37, .ta = true, .tb = true},
    {.m = 40, .n = 50, .k = 61, .lda = 77, .ldb = 51, .ldc = 63, .accumulate = true},
    {.m = 40, .n = 50, .k = 60, .lda = 41, .ldb = 66, .ldc = 50, .ta = true, .tb = true, .accumulate = true},
    {.m = 7, .n = 300, .k = 330, .tb = true, .lda = 333, .ldb = 340, .ldc = 301, .accumulate = true},
    {.m = 5, .n = 33, .k = 70, .serial = true, .tb = true},
    {.m = 64, .n = 33, .k = 2100, .ta = true},
    {.m = 300, .n = 65, .k = 33},
    {.m = 300, .n = 65, .k = 33, .tb = true, .accumulate = true},
    {.m = 305, .n = 37, .k = 51, .ta = true},
    {.m = 290, .n = 41, .k = 53, .ta = true, .tb = true},
    {.m = 140, .n = 2100, .k = 20, .tb = true},                     /* narrow tiles, c by way of a panel */
    {.m = 140, .n = 2100, .k = 20, .tb = true, .accumulate = true}, /* added from there */
    {.m = 150, .n = 30, .k = 4200},                                 /* chunks of k */
    {.m = 150, .n = 30, .k = 4200, .ta = true, .accumulate = true},
    {.m = 260, .n = 48, .k = 64, .lda = 70, .ldb = 50, .ldc = 49},
    {.m = 200, .n = 90, .k = 40, .serial = true, .ta = true},
    {.m = 3, .n = 4, .k = 0},
    {.m = 0, .n = 4, .k = 5},
    {.m = 200, .n = 0, .k = 5},
};

static const lt_dtype float_types[] = {LT_F32, LT_BF16, LT_F16};

/* What a product reads and writes, with room for strides. */
typedef struct operands {
    int64_t rows_a, rows_b, lda, ldb, ldc;
    lt_real *a, *b, *c, *start;
    char *store;
    const void *stored; /* b in its type: inside of `store`, at an odd address when it is not f32 */
    uint16_t *rounded;  /* a, when it is bf16 */
    const void *first;  /* a or that */
    double *want;       /* once judged */
    bool judged;
    int64_t size_c;
} operands;

/* Normal numbers from a pool: making them takes longer than multiplying them. */
static lt_real *normals(int64_t first, int64_t n)
{
    enum { POOL = 65537 };
    static lt_real pool[POOL];
    lt_real *x = calloc((size_t)n + 1, sizeof *x);
    if (!x) abort();
    if (pool[0] == 0) ts_fill_normal("gemm", POOL, 1, pool);
    for (int64_t i = 0; i < n; i++) x[i] = pool[(first + i) % POOL];
    return x;
}

/* b as it is stored; then o->b becomes what that decodes to. */
static void store_b(const lti_gemm_shape *s, operands *o)
{
    int64_t n = o->rows_b * o->ldb;
    o->stored = o->b;
    if (s->b_type == LT_F32) return;
    o->stored = o->store + 1;
    for (int t = 0; t < TS_LATTICES; t++)
        if (ts_lattices[t].type == s->b_type)
            ts_make_moderate_blocks(t, n / lt_dtype_block(s->b_type), (uint8_t *)o->store + 1);
    for (int64_t i = 0; i < n && !lt_dtype_is_lattice(s->b_type); i++) {
        uint16_t half = s->b_type == LT_BF16 ? lti_f32_to_bf16((float)o->b[i]) : lti_f32_to_f16((float)o->b[i]);
        memcpy(o->store + 1 + 2 * i, &half, sizeof half);
    }
    lti_dequantize(s->b_type, n, o->stored, o->b);
}

/* a as it is multiplied; then o->a becomes what that decodes to. */
static void round_a(const lti_gemm_shape *s, operands *o)
{
    int64_t n = o->rows_a * o->lda;
    o->first = o->a;
    o->rounded = NULL;
    if (s->a_type == LT_F32) return;
    o->first = o->rounded = malloc((size_t)n * sizeof *o->rounded + 1);
    if (!o->rounded) abort();
    for (int64_t i = 0; i < n; i++) o->rounded[i] = lti_f32_to_bf16((float)o->a[i]);
    lti_dequantize(LT_BF16, n, o->rounded, o->a);
}

static void make_operands(const lti_gemm_shape *s, operands *o)
{
    o->rows_a = s->ta ? s->k : s->m;
    o->rows_b = s->tb ? s->n : s->k;
    o->lda = s->lda ? s->lda : s->ta ? s->m : s->k;
    o->ldb = s->ldb ? s->ldb : s->tb ? s->k : s->n;
    o->ldc = s->ldc ? s->ldc : s->n;
    o->size_c = s->m * o->ldc;
    o->a = normals(0, o->rows_a * o->lda);
    o->b = normals(20011, o->rows_b * o->ldb);
    o->start = normals(40009, o->size_c);
    o->c = normals(40009, o->size_c);
    o->judged = false;
    o->want = calloc((size_t)o->size_c + 1, sizeof *o->want);
    size_t bytes;
    if (!lti_dtype_size(s->b_type, o->rows_b * o->ldb, &bytes)) abort();
    o->store = malloc(1 + bytes); /* to the byte: reading past it is an error */
    if (!o->want || !o->store) abort();
    store_b(s, o);
    round_a(s, o);
}

/* The naive double loop, once. */
static void judge(const lti_gemm_shape *s, operands *o)
{
    if (o->judged) return;
    o->judged = true;
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
    free(o->store);
    free(o->rounded);
    free(o->want);
}

/* The product into o->c, which begins as o->start; `threads` are set after it was made. */
static bool multiply_on(lt_ctx *ctx, const lti_gemm_shape *s, operands *o, int threads)
{
    lti_gemm *gemm = NULL;
    if (!TS_OK(ctx, lti_gemm_create(ctx, s, &gemm))) return false;
    lt_set_threads(threads);
    void *scratch = lti_alloc(ctx, lti_gemm_scratch(gemm));
    memcpy(o->c, o->start, (size_t)o->size_c * sizeof *o->c);
    bool ok = TS_OK(ctx, lti_gemm_run(gemm, o->first, o->stored, o->c, scratch));
    lti_free(ctx, scratch);
    lti_gemm_free(ctx, gemm);
    return ok;
}

static bool multiply(lt_ctx *ctx, const lti_gemm_shape *s, operands *o)
{
    return multiply_on(ctx, s, o, lt_threads());
}

static void describe(const lti_gemm_shape *s, char *text, size_t size)
{
    snprintf(text, size, "%lld x %lld x %lld%s%s%s%s %s %s", (long long)s->m, (long long)s->n, (long long)s->k,
             s->ta ? " ta" : "", s->tb ? " tb" : "", s->accumulate ? " +=" : "", s->serial ? " serial" : "",
             lt_dtype_name(s->a_type), lt_dtype_name(s->b_type));
}

typedef void (*trial)(lt_ctx *ctx, const lti_gemm_shape *s, operands *o, const char *what);

/* With the last `n` providers: what is decoded is decoded before any of them sees it. */
static void one_shape(lt_ctx *ctx, const lti_gemm_shape *s, int n, trial try)
{
    operands o;
    make_operands(s, &o);
    for (int p = LTI_COUNT(providers) - n; p < LTI_COUNT(providers); p++) {
        char what[128], shape[96];
        if (!lti_gemm_force(providers[p])) continue;
        describe(s, shape, sizeof shape);
        snprintf(what, sizeof what, "%s %s (seed %llu)", providers[p], shape, (unsigned long long)ts_seed());
        try(ctx, s, &o, what);
    }
    drop_operands(&o);
}

/* The lists above, and every type with 1 .. 9 rows. */
static void each_shape(trial try)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    for (int i = 0; i < LTI_COUNT(shapes); i++) one_shape(ctx, &shapes[i], LTI_COUNT(providers), try);
    for (int t = 0; t < TS_LATTICES + LTI_COUNT(float_types); t++) {
        lt_dtype type = t < TS_LATTICES ? ts_lattices[t].type : float_types[t - TS_LATTICES];
        lti_gemm_shape few = {.n = 301, .k = 512, .tb = true, .b_type = type};
        for (few.m = 1; few.m <= 9; few.m++) one_shape(ctx, &few, 1, try);
        for (int i = 0; i < LTI_COUNT(stored_shapes); i++) {
            lti_gemm_shape s = stored_shapes[i];
            s.b_type = type;
            one_shape(ctx, &s, 2, try);
        }
    }
    for (int i = 0; i < LTI_COUNT(rounded_shapes); i++) {
        lti_gemm_shape s = rounded_shapes[i];
        s.a_type = s.b_type = LT_BF16;
        one_shape(ctx, &s, LTI_COUNT(providers), try);
    }
    lti_gemm_force(NULL);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

/* The bound of a sum of k rounded products of normal numbers, with room, times what b is larger than these. */
static void against_oracle(lt_ctx *ctx, const lti_gemm_shape *s, operands *o, const char *what)
{
    if (!multiply(ctx, s, o)) return;
    judge(s, o);
    double epsilon = ts_tolerance(0x1p-52, 0x1p-23), worst = 0;
    for (int64_t i = 0; i < o->size_c; i++) {
        double gap = fabs((double)o->c[i] - o->want[i]);
        worst = isnan(gap) ? INFINITY : fmax(worst, gap);
    }
    double bound = epsilon * 4 * (sqrt((double)s->k) * 16 + (double)s->k / 8 + 4), size = 1;
    for (int64_t i = 0; i < o->rows_b * o->ldb; i++) size = fmax(size, fabs((double)o->b[i]) / 4);
    bound *= size;
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
    lt_set_threads(1);
    ok = ok && multiply_on(ctx, s, o, 5);
    TS_CHECK(ts_same_bytes(bytes, one, o->c), "%s: made on 1 thread, run on 5: other bits", what);
    free(one);
    lt_set_threads(before);
}

/* A row of c is the same whatever rows stand beside it, while they are few. */
static void against_alone(lt_ctx *ctx, const lti_gemm_shape *s, operands *o, const char *what)
{
    if (!s->tb || s->ta || s->m > 8 || !multiply(ctx, s, o)) return;
    lti_gemm *gemm = NULL;
    lti_gemm_shape one = *s;
    one.m = 1;
    size_t element = s->a_type == LT_F32 ? sizeof(lt_real) : sizeof(uint16_t);
    lt_real *scratch = calloc((size_t)s->k + 1, sizeof *scratch); /* what decoding one row of a takes */
    if (!scratch) abort();
    size_t bytes = (size_t)s->n * sizeof *o->c;
    lt_real *row = malloc(bytes + 1);
    if (!row) abort();
    if (TS_OK(ctx, lti_gemm_create(ctx, &one, &gemm)))
        for (int64_t i = 0; i < s->m; i++) {
            memcpy(row, o->start + i * o->ldc, bytes);
            const char *a = (const char *)o->first + (size_t)(i * o->lda) * element;
            TS_OK(ctx, lti_gemm_run(gemm, a, o->stored, row, scratch));
            TS_CHECK(ts_same_bytes(bytes, row, o->c + i * o->ldc), "%s: row %lld alone has other bits", what,
                     (long long)i);
        }
    lti_gemm_free(ctx, gemm);
    free(scratch);
    free(row);
}

static void alone(void)
{
    each_shape(against_alone);
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
        judge(&shape, &o);
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
        {.m = 2, .n = 32, .k = 32, .b_type = LT_I32},
        {.m = 2, .n = 3, .k = 288, .tb = true, .b_type = LT_Q6_K},
        {.m = 2, .n = 32, .k = 32, .ldb = 64, .b_type = LT_BF16},
        {.m = 2, .n = 32, .k = 32, .a_type = LT_BF16},
        {.m = 2, .n = 32, .k = 32, .ldb = 64, .a_type = LT_BF16, .b_type = LT_Q8_0},
        {.m = 2, .n = 32, .k = 32, .a_type = LT_Q8_0, .b_type = LT_BF16},
        {.m = 2, .n = 32, .k = 32, .a_type = LT_BF16, .b_type = LT_BF16, .lda = 31},
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
    lti_gemm_shape shape = {.m = 700, .n = 330, .k = 4500, .b_type = LT_F32}, rounded = shape;
    rounded.a_type = rounded.b_type = LT_BF16;
    for (int p = 0; p < LTI_COUNT(providers); p++) {
        if (!lti_gemm_force(providers[p])) continue;
        ts_every_allocation_fails(providers[p], create_and_run, &shape);
        ts_every_allocation_fails(providers[p], create_and_run, &rounded);
    }
    lti_gemm_force(NULL);
}

int lti_suite_gemm(void)
{
    const ts_test tests[] = {
        {"oracle", oracle}, {"threads", threads}, {"alone", alone}, {"inside tasks", inside_tasks}, {"errors", errors}};
    return ts_suite("gemm", LTI_COUNT(tests), tests);
}
