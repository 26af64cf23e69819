/* testing.c - see testing.h. Test code may use the C library's allocator and printf; the library may not. */
#include "tests/testing.h"

#include "base/rng.h"

#include <CUnit/CUnit.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int ts_suite(const char *name, int n, const ts_test *tests)
{
    CU_pSuite suite = CU_add_suite(name, NULL, NULL);
    if (!suite) return 1;
    for (int i = 0; i < n; i++)
        if (!CU_add_test(suite, tests[i].name, tests[i].run)) return 1;
    return 0;
}

bool ts_check(bool ok, const char *file, int line, const char *format, ...)
{
    char text[768];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    CU_assertImplementation(ok, (unsigned)line, text, file, "", CU_FALSE);
    return ok;
}

uint64_t ts_seed(void)
{
    const char *text = getenv("LT_TEST_SEED");
    return text ? strtoull(text, NULL, 0) : 1;
}

ts_source ts_source_of(const char *name)
{
    return (ts_source){ts_seed(), lti_rng_stream(name)};
}

double ts_next_normal(ts_source source, int64_t index)
{
    lti_rng rng = {source.seed, source.stream, 0};
    return (lt_real)lti_rng_normal(&rng, (uint64_t)index);
}

double ts_next_uniform(ts_source source, int64_t index)
{
    lti_rng rng = {source.seed, source.stream, 1};
    return (lt_real)(lti_rng_uniform(&rng, (uint64_t)index) * (1 - 0x1p-20)); /* below 1 as a float, too */
}

double ts_normal(const char *name, int64_t index)
{
    return ts_next_normal(ts_source_of(name), index);
}

double ts_uniform(const char *name, int64_t index)
{
    return ts_next_uniform(ts_source_of(name), index);
}

void ts_fill_normal(const char *name, int64_t n, double scale, lt_real *x)
{
    ts_source source = ts_source_of(name);
    for (int64_t i = 0; i < n; i++) x[i] = (lt_real)(scale * ts_next_normal(source, i));
}

double ts_tolerance(double in_double, double in_float)
{
    return sizeof(lt_real) == 8 ? in_double : in_float;
}

double ts_distance(int64_t n, const lt_real *a, const double *b)
{
    double top = 0, worst = 0;
    for (int64_t i = 0; i < n; i++) top = fmax(top, fabs(b[i]));
    for (int64_t i = 0; i < n; i++) {
        double gap = fabs((double)a[i] - b[i]);
        if ((double)a[i] == b[i]) gap = 0;
        if (!(gap <= 1e300)) return INFINITY;
        if (gap > 0) worst = fmax(worst, gap / (fabs(b[i]) + top));
    }
    return worst;
}

double ts_distance_real(int64_t n, const lt_real *a, const lt_real *b)
{
    ts_tensor t;
    ts_make(&t, 1, &n);
    for (int64_t i = 0; i < n; i++) t.v[i] = b[i];
    double d = ts_distance(n, a, t.v);
    ts_drop(&t);
    return d;
}

bool ts_same_bytes(size_t bytes, const void *a, const void *b)
{
    return bytes == 0 || memcmp(a, b, bytes) == 0;
}

int ts_ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void *take(void *user, size_t bytes)
{
    ts_memory *memory = user;
    if (memory->count++ == memory->fail_at) {
        memory->hit = true;
        return NULL;
    }
    return aligned_alloc(64, (bytes + 63) / 64 * 64);
}

static void give(void *user, void *block)
{
    (void)user;
    free(block);
}

lt_allocator ts_allocator(ts_memory *memory)
{
    return (lt_allocator){take, give, memory};
}

int64_t ts_every_allocation_fails(const char *what, lt_status (*attempt)(lt_ctx *ctx, void *arg), void *arg)
{
    for (int64_t n = 0; n < 100000; n++) {
        ts_memory memory = {.fail_at = n + 1}; /* allocation 0 is the context itself */
        lt_allocator allocator = ts_allocator(&memory);
        lt_ctx *ctx = lt_ctx_create(&allocator);
        if (!TS_CHECK(ctx != NULL, "%s: no context", what)) return n;
        lt_status status = attempt(ctx, arg);
        bool fine = memory.hit ? status == LT_ENOMEM && lt_ctx_message(ctx)[0] : status == LT_OK;
        TS_CHECK(fine, "%s: allocation %lld %s, and the status is %s (%s)", what, (long long)n,
                 memory.hit ? "fails" : "does not fail", lt_status_name(status), lt_ctx_message(ctx));
        size_t live = lt_ctx_live_bytes(ctx);
        TS_CHECK(live == 0, "%s: allocation %lld fails, and %zu bytes leak", what, (long long)n, live);
        lt_ctx_free(ctx);
        if (!memory.hit || !fine || live) return n;
    }
    return -1;
}

lt_status ts_compile(lt_graph *graph, ts_mode mode, int n, const lt_t *outputs, lt_plan **plan)
{
    lt_compile_options options;
    lt_compile_options_init(&options);
    options.no_reuse = mode == TS_NO_REUSE;
    options.poison = mode == TS_PLANNED;
    return lt_compile(graph, &options, n, outputs, plan);
}

void ts_value(lt_ctx *ctx, lt_t y, int64_t n, lt_real *out)
{
    out[0] = (lt_real)-1e30;
    lt_plan *plan = NULL;
    if (TS_OK(ctx, ts_compile(y.graph, TS_PLANNED, 1, &y, &plan)) && TS_OK(ctx, lt_run(plan)))
        memcpy(out, lt_result(plan, 0), (size_t)n * sizeof *out);
    lt_plan_free(plan);
}

bool ts_bed_make(ts_bed *bed)
{
    *bed = (ts_bed){.ctx = lt_ctx_create(NULL)};
    return TS_CHECK(bed->ctx != NULL, "no context") && TS_OK(bed->ctx, lt_params_create(bed->ctx, &bed->params)) &&
           TS_OK(bed->ctx, lt_graph_create(bed->ctx, bed->params, &bed->g));
}

bool ts_bed_again(ts_bed *bed)
{
    lt_graph_free(bed->g);
    bed->g = NULL;
    return TS_OK(bed->ctx, lt_graph_create(bed->ctx, bed->params, &bed->g));
}

void ts_bed_drop(ts_bed *bed)
{
    lt_graph_free(bed->g);
    lt_params_free(bed->params);
    TS_CHECK(lt_ctx_live_bytes(bed->ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(bed->ctx));
    lt_ctx_free(bed->ctx);
}

int ts_count_steps(ts_bed *bed, const lt_plan *plan, const char *op)
{
    char *text = NULL, word[32];
    int count = 0;
    snprintf(word, sizeof word, " %s ", op);
    if (!TS_OK(bed->ctx, lt_plan_table(plan, &text))) return -1;
    for (const char *p = text; (p = strstr(p, word)); p += strlen(word)) count++;
    lt_string_free(bed->ctx, text);
    return count;
}

lt_param *ts_weight(ts_bed *bed, const char *name, double scale, int rank, const int64_t *shape)
{
    lt_param *w = NULL;
    if (!TS_OK(bed->ctx, lt_params_add(bed->params, name, LT_F32, rank, shape, LT_WEIGHT, &w))) return NULL;
    ts_fill_normal(name, lt_param_count(w), scale, lt_param_data(w));
    lt_param_touch(w);
    return w;
}

void ts_make(ts_tensor *t, int rank, const int64_t *dim)
{
    *t = (ts_tensor){.rank = rank, .count = 1};
    for (int i = 0; i < rank; i++) {
        t->dim[i] = dim[i];
        t->count *= dim[i];
    }
    t->v = calloc((size_t)t->count + 1, sizeof *t->v);
    if (!t->v) abort();
}

void ts_drop(ts_tensor *t)
{
    free(t->v);
    *t = (ts_tensor){0};
}

int64_t ts_dim(const ts_tensor *t, int axis)
{
    return t->dim[axis < 0 ? axis + t->rank : axis];
}
