/* bench_kernels.c - lathe bench --kernels: products as training makes them, in each type of the second factor, and row
 * kernels on one thread beside the bandwidth of the memory. Medians of several runs after one that is not counted. */
#include "cli/bench_kernels.h"

#include "base/ctx.h"
#include "base/order.h"
#include "cli/machine.h"
#include "kernels/gemm.h"
#include "kernels/kernels.h"
#include "lathe/plan.h"

#include <inttypes.h>
#include <stdlib.h>

enum { RUNS = 7, ROW = 1536, ROWS = 256 };

typedef struct kernel_bench {
    cli *cli;
    json_t *products, *kernels;
} kernel_bench;

static double median(double seconds[RUNS])
{
    qsort(seconds, RUNS, sizeof *seconds, lti_ascending);
    return seconds[RUNS / 2];
}

/* ---- Products ---- */

static const struct {
    const char *what;
    int64_t m, n, k;
    bool ta, tb;
} products[] = {{"forward", 1024, 1536, 576, false, true},
                {"forward", 1024, 576, 1536, false, true},
                {"gradient of x", 1024, 576, 1536, false, false},
                {"gradient of w", 1536, 576, 1024, true, false},
                {"one token", 1, 1536, 576, false, true}};
static const lt_dtype types[] = {LT_F32, LT_BF16, LT_Q8_0, LT_Q4_0};

/* GFLOP/s, or 0 where the product does not exist. Both factors are bf16 for LT_BF16. */
static lt_status time_product(lt_ctx *ctx, int i, lt_dtype type, double *gflops)
{
    lti_gemm_shape s = {.m = products[i].m,
                        .n = products[i].n,
                        .k = products[i].k,
                        .ta = products[i].ta,
                        .tb = products[i].tb,
                        .b_type = type,
                        .a_type = type == LT_BF16 ? LT_BF16 : LT_F32};
    size_t reals = (size_t)(s.m * s.k + s.k * s.n + s.m * s.n);
    lti_gemm *gemm = NULL;
    double seconds[RUNS];
    *gflops = 0;
    if (s.ta && type != LT_F32 && type != LT_BF16) return LT_OK; /* gradients of weights have no lattice factor */
    LTI_TRY(lti_gemm_create(ctx, &s, &gemm));
    char *memory = lti_alloc(ctx, reals * sizeof(lt_real) + lti_gemm_scratch(gemm) + 192); /* zeros: as fast as any */
    lt_status status = memory ? LT_OK : LT_ENOMEM;
    lt_real *a = (lt_real *)memory, *b = a + s.m * s.k, *c = b + s.k * s.n;
    void *scratch = memory ? memory + (reals * sizeof(lt_real) + 63) / 64 * 64 : NULL;
    for (int run = -1; run < RUNS && status == LT_OK; run++) {
        double start = cli_seconds();
        status = lti_gemm_run(gemm, a, b, c, scratch);
        if (run >= 0) seconds[run] = cli_seconds() - start;
    }
    if (status == LT_OK) *gflops = 2e-9 * (double)s.m * (double)s.n * (double)s.k / median(seconds);
    lti_gemm_free(ctx, gemm);
    lti_free(ctx, memory);
    return status;
}

static lt_status all_products(kernel_bench *b)
{
    for (int i = 0; i < LTI_COUNT(products); i++)
        for (int t = 0; t < LTI_COUNT(types); t++) {
            double gflops;
            if (cli_stop) return LT_EINTERRUPTED;
            LTI_TRY(time_product(b->cli->ctx, i, types[t], &gflops));
            if (gflops == 0) continue;
            json_array_append_new(b->products, json_pack("{s:s, s:s, s:I, s:I, s:I, s:o}", "what", products[i].what,
                                                         "type", lt_dtype_name(types[t]), "m",
                                                         (json_int_t)products[i].m, "n", (json_int_t)products[i].n, "k",
                                                         (json_int_t)products[i].k, "gflops", cli_real(gflops)));
        }
    return LT_OK;
}

/* ---- Row kernels: ROWS rows of ROW numbers, far more than the first cache holds ---- */

typedef struct rows {
    lt_real *x, *y, *z, *w; /* [ROWS, ROW]; w is read only */
    uint16_t *half;         /* [ROWS, ROW] */
} rows;

static void run_add(const rows *r, int64_t at)
{
    lti_k()->add(ROW, r->x + at, 1, r->w + at, 1, r->y + at);
}
static void run_swiglu(const rows *r, int64_t at)
{
    lti_k()->swiglu(ROW, r->x + at, r->w + at, r->y + at);
}
static void run_gelu(const rows *r, int64_t at)
{
    lti_k()->gelu(ROW, r->x + at, r->y + at);
}
static void run_rms_norm(const rows *r, int64_t at)
{
    lti_k()->rms_norm(ROW, r->x + at, r->w, (lt_real)1e-5, r->y + at);
}
static void run_softmax(const rows *r, int64_t at)
{
    lti_k()->softmax(ROW, r->x + at, r->y + at);
}
static void run_to_bf16(const rows *r, int64_t at)
{
    lti_k()->to_bf16(ROW, r->x + at, r->half + at);
}
static void run_adamw(const rows *r, int64_t at)
{
    static const lti_adamw_step step = {(lt_real)0.9, (lt_real)0.999, (lt_real)1e-8, 1, (lt_real)1e-3, 1, 1};
    lti_k()->adamw(ROW, r->x + at, r->y + at, r->z + at, r->w + at, &step);
}

static const struct {
    const char *name;
    void (*run)(const rows *rows, int64_t at);
    double bytes; /* read and written a number */
} row_kernels[] = {{"add", run_add, 3 * sizeof(lt_real)},         {"swiglu", run_swiglu, 3 * sizeof(lt_real)},
                   {"gelu", run_gelu, 2 * sizeof(lt_real)},       {"rms_norm", run_rms_norm, 2 * sizeof(lt_real)},
                   {"softmax", run_softmax, 2 * sizeof(lt_real)}, {"to_bf16", run_to_bf16, sizeof(lt_real) + 2},
                   {"adamw", run_adamw, 7 * sizeof(lt_real)}};

static lt_status all_kernels(kernel_bench *b)
{
    int64_t n = (int64_t)ROWS * ROW;
    lt_real *memory = lti_alloc_array(b->cli->ctx, (size_t)n * 5, sizeof *memory);
    if (!memory) return LT_ENOMEM;
    rows r = {memory, memory + n, memory + 2 * n, memory + 3 * n, (uint16_t *)(memory + 4 * n)};
    for (int64_t i = 0; i < n; i++) r.x[i] = r.w[i] = (lt_real)(i % 97) / 97;
    for (int k = 0; k < LTI_COUNT(row_kernels); k++) {
        double seconds[RUNS];
        for (int run = -1; run < RUNS; run++) {
            double start = cli_seconds();
            for (int64_t at = 0; at < n; at += ROW) row_kernels[k].run(&r, at);
            if (run >= 0) seconds[run] = cli_seconds() - start;
        }
        double gigabytes = 1e-9 * (double)n * row_kernels[k].bytes / median(seconds);
        json_array_append_new(b->kernels, json_pack("{s:s, s:o}", "kernel", row_kernels[k].name, "gigabytes_per_second",
                                                    cli_real(gigabytes)));
    }
    lti_free(b->cli->ctx, memory);
    return LT_OK;
}

/* ---- The answer ---- */

static void print_answer(const kernel_bench *b, double bandwidth)
{
    size_t i;
    json_t *one;
    printf("%s, %d threads\nproducts, GFLOP/s:\n", lt_kernels_in_use(), lt_threads());
    json_array_foreach(b->products, i, one) printf(
        "  %-14s %5" JSON_INTEGER_FORMAT " x %5" JSON_INTEGER_FORMAT " x %5" JSON_INTEGER_FORMAT "  %-5s %8.1f\n",
        json_string_value(json_object_get(one, "what")), json_integer_value(json_object_get(one, "m")),
        json_integer_value(json_object_get(one, "n")), json_integer_value(json_object_get(one, "k")),
        json_string_value(json_object_get(one, "type")), json_number_value(json_object_get(one, "gflops")));
    printf("row kernels on one thread, GB/s:\n");
    json_array_foreach(b->kernels, i, one) printf("  %-14s %8.1f\n", json_string_value(json_object_get(one, "kernel")),
                                                  json_number_value(json_object_get(one, "gigabytes_per_second")));
    printf("memory, all threads: %.1f GB/s read\n", 1e-9 * bandwidth);
}

int cli_bench_kernels_run(cli *c)
{
    kernel_bench b = {c, json_array(), json_array()};
    lt_status status = b.products && b.kernels ? LT_OK : LT_ENOMEM;
    if (status == LT_OK) status = all_products(&b);
    if (status == LT_OK) status = all_kernels(&b);
    int code = EXIT_DONE;
    if (status == LT_EINTERRUPTED) {
        code = cli_fail(c, EXIT_SIGNAL + cli_stop, "stopped by a signal");
    } else if (status != LT_OK) {
        code = cli_fail_status(c, status, false);
    } else {
        double bandwidth = cli_memory_bandwidth();
        if (c->json)
            return cli_answer(c, json_pack("{s:s, s:i, s:o, s:o, s:o}", "kernels_in_use", lt_kernels_in_use(),
                                           "threads", lt_threads(), "products", b.products, "kernels", b.kernels,
                                           "memory_bytes_per_second", cli_real(bandwidth)));
        print_answer(&b, bandwidth);
    }
    json_decref(b.products);
    json_decref(b.kernels);
    return code;
}
