/* bench_gemm.c - GFLOP/s of products: lathe's (kernels/gemm.h) beside the provider's own threading.
 *
 *     bench_gemm [--json] [--step] [--rounds n] [threads]
 *
 * "own" is one oneDNN primitive for the whole product with oneDNN's threads; "lathe" is what training runs, which is
 * cut by size alone. The last line, in --json `step`, sums a training step of SmolLM2-135M at 4 x 256 tokens: what the
 * products alone would take. --step leaves all other shapes out. Median of n rounds (7); variants alternate, so that a
 * busy neighbour slows all of them. */
#include "base/ctx.h"
#include "bench/timing.h"
#include "kernels/gemm.h"
#include "kernels/gemm_backend.h"
#include "kernels/kernels.h"
#include "kernels/lattice/lattice.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LAYERS = 30 };

/* m, n, k; how often in a step. */
typedef struct product {
    lti_gemm_shape shape;
    int count;
} product;

static const product products[] = {
    /* y = x W^T */
    {{.m = 1024, .n = 576, .k = 576, .tb = true}, 2 * LAYERS},  /* q, o */
    {{.m = 1024, .n = 192, .k = 576, .tb = true}, 2 * LAYERS},  /* k, v */
    {{.m = 1024, .n = 1536, .k = 576, .tb = true}, 2 * LAYERS}, /* gate, up */
    {{.m = 1024, .n = 576, .k = 1536, .tb = true}, LAYERS},     /* down */
    {{.m = 1024, .n = 49152, .k = 576, .tb = true}, 1},
    /* dX = dY W */
    {{.m = 1024, .n = 576, .k = 576}, 2 * LAYERS},
    {{.m = 1024, .n = 576, .k = 192}, 2 * LAYERS},
    {{.m = 1024, .n = 576, .k = 1536}, 2 * LAYERS},
    {{.m = 1024, .n = 1536, .k = 576}, LAYERS},
    {{.m = 1024, .n = 576, .k = 49152}, 1},
    /* dW = dY^T X */
    {{.m = 576, .n = 576, .k = 1024, .ta = true}, 2 * LAYERS},
    {{.m = 192, .n = 576, .k = 1024, .ta = true}, 2 * LAYERS},
    {{.m = 1536, .n = 576, .k = 1024, .ta = true}, 2 * LAYERS},
    {{.m = 576, .n = 1536, .k = 1024, .ta = true}, LAYERS},
    {{.m = 49152, .n = 576, .k = 1024, .ta = true}, 1},
    /* A head in chunks; small models; lattices. */
    {{.m = 256, .n = 49152, .k = 576, .tb = true}, 0},
    {{.m = 512, .n = 576, .k = 49152}, 0},
    {{.m = 49152, .n = 576, .k = 512, .ta = true}, 0},
    {{.m = 49152, .n = 576, .k = 512, .ta = true, .accumulate = true}, 0},
    {{.m = 4096, .n = 64, .k = 64, .tb = true}, 0},
    {{.m = 4096, .n = 172, .k = 64, .tb = true}, 0},
    {{.m = 4096, .n = 64, .k = 172}, 0},
    {{.m = 4096, .n = 512, .k = 64, .tb = true}, 0},
    {{.m = 64, .n = 172, .k = 4096, .ta = true}, 0},
    {{.m = 64, .n = 64, .k = 4096, .ta = true}, 0},
    {{.m = 512, .n = 64, .k = 4096, .ta = true}, 0},
    {{.m = 1024, .n = 1536, .k = 576, .tb = true, .b_type = LT_Q4_0}, 0},
    {{.m = 1024, .n = 576, .k = 1536, .b_type = LT_Q4_0}, 0},
    {{.m = 4096, .n = 64, .k = 64, .tb = true, .b_type = LT_Q8_0}, 0},
    {{.m = 256, .n = 49152, .k = 576, .tb = true, .b_type = LT_Q8_0}, 0},
};

typedef struct variant {
    const char *name;
    const char *provider; /* of lathe's product; NULL: oneDNN alone */
    lt_dtype type;
} variant;

static const variant variants[] = {
    {"own f32", NULL, LT_F32},         {"own bf16", NULL, LT_BF16},          {"lathe f32", "onednn", LT_F32},
    {"lathe bf16", "onednn", LT_BF16}, {"openblas f32", "openblas", LT_F32},
};
enum { VARIANTS = 5 };

/* A product ready to run. */
typedef struct bench {
    lti_gemm *gemm;
    void *kernel; /* of oneDNN alone */
    void *scratch;
} bench;

typedef struct operands {
    lt_real *f32[2];
    uint16_t *bf16[2];
    void *lattice;
    lt_real *c;
} operands;

static void drop_operands(lt_ctx *ctx, operands *o)
{
    void *all[] = {o->f32[0], o->f32[1], o->bf16[0], o->bf16[1], o->lattice, o->c};
    for (int i = 0; i < LTI_COUNT(all); i++) lti_free(ctx, all[i]);
}

static bool make_operands(lt_ctx *ctx, const lti_gemm_shape *s, operands *o)
{
    const int64_t sizes[] = {s->m * s->k, s->k * s->n};
    lti_rng rng = {.seed = 1};
    for (int i = 0; i < 2; i++) {
        o->f32[i] = lti_alloc_array(ctx, (size_t)sizes[i], sizeof(lt_real));
        o->bf16[i] = lti_alloc_array(ctx, (size_t)sizes[i], sizeof(uint16_t));
        if (!o->f32[i] || !o->bf16[i]) return false;
        for (int64_t k = 0; k < sizes[i]; k++) o->f32[i][k] = (lt_real)(lti_rng_uniform(&rng, (uint64_t)k) - 0.5);
        lti_k()->to_bf16(sizes[i], o->f32[i], o->bf16[i]);
    }
    o->lattice = lti_alloc_array(ctx, (size_t)sizes[1], sizeof(lt_real));
    o->c = lti_alloc_array(ctx, (size_t)(s->m * s->n), sizeof(lt_real));
    if (!o->lattice || !o->c) return false;
    if (s->b_type != LT_F32) lti_quantize(s->b_type, sizes[1], o->f32[1], o->lattice);
    return true;
}

#ifdef LT_WITH_ONEDNN
static const lti_gemm_backend *const alone = &lti_gemm_onednn;
#else
static const lti_gemm_backend *const alone = NULL;
#endif

/* False when this build or processor has no such product; bf16 only where it is computed as such. */
static bool make(lt_ctx *ctx, const variant *v, const lti_gemm_shape *shape, bench *b)
{
    lti_gemm_shape s = *shape;
    bool bf16 = v->type == LT_BF16, lattice = s.b_type != LT_F32;
    if ((bf16 || !v->provider) && (lattice || !alone || (bf16 && !alone->bf16()))) return false;
    if (v->provider && !lti_gemm_force(v->provider)) return false;
    size_t bytes;
    if (v->provider) {
        if (bf16) s.a_type = s.b_type = LT_BF16;
        if (lti_gemm_create(ctx, &s, &b->gemm) != LT_OK) return false;
        bytes = lti_gemm_scratch(b->gemm);
    } else {
        lti_gemm_tile t = {s.m, s.n, s.k, s.ta ? s.m : s.k, s.tb ? s.k : s.n, s.n, s.ta, s.tb, s.accumulate, v->type};
        omp_set_num_threads(lt_threads());
        if (alone->create(ctx, &t, 1, &b->kernel) != LT_OK) return false;
        bytes = alone->scratch(b->kernel);
    }
    b->scratch = lti_alloc(ctx, bytes + 64);
    return b->scratch != NULL;
}

static lt_status run(const variant *v, const lti_gemm_shape *s, const bench *b, const operands *o)
{
    bool bf16 = v->type == LT_BF16;
    const void *x = bf16 ? (const void *)o->bf16[0] : o->f32[0], *y = bf16 ? (const void *)o->bf16[1] : o->f32[1];
    if (s->b_type != LT_F32) y = o->lattice;
    if (b->gemm) return lti_gemm_run(b->gemm, x, y, o->c, b->scratch);
    omp_set_num_threads(lt_threads());
    return alone->run(b->kernel, 0, x, y, o->c, b->scratch);
}

static void drop(lt_ctx *ctx, bench *b)
{
    lti_gemm_free(ctx, b->gemm);
    if (b->kernel) alone->free(ctx, b->kernel);
    lti_free(ctx, b->scratch);
}

/* Seconds of one run of each variant, 0 where there is none. */
static bool measure(lt_ctx *ctx, const lti_gemm_shape *s, int rounds, double seconds[VARIANTS])
{
    static double times[VARIANTS][MOST_ROUNDS];
    bench b[VARIANTS] = {{0}};
    bool there[VARIANTS];
    operands o = {{0}};
    int calls = 1 + (int)(4e8 / (2.0 * (double)s->m * (double)s->n * (double)s->k));
    bool ok = make_operands(ctx, s, &o);
    for (int v = 0; v < VARIANTS; v++) there[v] = ok && make(ctx, &variants[v], s, &b[v]);
    for (int i = -1; ok && i < rounds; i++)
        for (int v = 0; v < VARIANTS; v++) {
            if (!there[v]) continue;
            double start = lti_seconds();
            for (int j = 0; j < calls; j++) ok &= run(&variants[v], s, &b[v], &o) == LT_OK;
            times[v][i < 0 ? 0 : i] = (lti_seconds() - start) / calls;
        }
    for (int v = 0; v < VARIANTS; v++) {
        seconds[v] = ok && there[v] ? median(rounds, times[v]) : 0;
        drop(ctx, &b[v]);
    }
    drop_operands(ctx, &o);
    return ok;
}

static double operations(const lti_gemm_shape *s)
{
    return 2.0 * (double)s->m * (double)s->n * (double)s->k;
}

static void print_row(bool json, bool first, const lti_gemm_shape *s, const double seconds[VARIANTS])
{
    if (json)
        printf(
            "%s\n  {\"m\": %lld, \"n\": %lld, \"k\": %lld, \"ta\": %s, \"tb\": %s, \"accumulate\": %s, \"b\": \"%s\"",
            first ? "" : ",", (long long)s->m, (long long)s->n, (long long)s->k, s->ta ? "true" : "false",
            s->tb ? "true" : "false", s->accumulate ? "true" : "false", lt_dtype_name(s->b_type));
    else
        printf("%6lld %6lld %6lld %s%s%s %-5s", (long long)s->m, (long long)s->n, (long long)s->k, s->ta ? "ta" : "  ",
               s->tb ? "tb" : "  ", s->accumulate ? "+=" : "  ", lt_dtype_name(s->b_type));
    for (int v = 0; v < VARIANTS; v++) {
        if (json && seconds[v] > 0) printf(", \"%s\": %.9f", variants[v].name, seconds[v]);
        if (!json && seconds[v] > 0) printf("%8.1f %9.1f", 1e-9 * operations(s) / seconds[v], 1e6 * seconds[v]);
        if (!json && !(seconds[v] > 0)) printf("%8s %9s", "", "");
    }
    puts(json ? "}" : "");
}

static void print_step(bool json, double flop, const double total[VARIANTS])
{
    if (json)
        printf("],\n \"step\": {\"flop\": %.0f", flop);
    else
        printf("\nproducts of a step, %.1f GFLOP:\n", 1e-9 * flop);
    for (int v = 0; v < VARIANTS; v++) {
        if (!(total[v] > 0)) continue;
        if (json)
            printf(", \"%s\": %.6f", variants[v].name, total[v]);
        else
            printf("  %-14s %8.3f s %8.1f GFLOP/s\n", variants[v].name, total[v], 1e-9 * flop / total[v]);
    }
    if (json) puts("}}");
}

static bool bench_all(lt_ctx *ctx, bool json, bool step_only, int rounds)
{
    double total[VARIANTS] = {0}, flop = 0;
    bool ok = true;
    if (json) {
        printf("{\"providers\": \"%s\", \"threads\": %d, \"products\": [", lti_gemm_versions(), lt_threads());
    } else {
        printf("%s; %d threads; GFLOP/s and microseconds\n%-34s", lti_gemm_versions(), lt_threads(), "m n k");
        for (int v = 0; v < VARIANTS; v++) printf("%17s ", variants[v].name);
        puts("");
    }
    for (int i = 0; ok && i < LTI_COUNT(products); i++) {
        double seconds[VARIANTS];
        const product *p = &products[i];
        if (step_only && !p->count) continue;
        ok = measure(ctx, &p->shape, rounds, seconds);
        print_row(json, i == 0, &p->shape, seconds);
        fflush(stdout);
        flop += p->count * operations(&p->shape);
        for (int v = 0; v < VARIANTS; v++) total[v] += p->count * seconds[v];
    }
    print_step(json, flop, total);
    return ok;
}

int main(int argc, char **argv)
{
    bool json = false, step_only = false;
    int rounds = 7;
    for (int i = 1; i < argc; i++) {
        json |= !strcmp(argv[i], "--json");
        step_only |= !strcmp(argv[i], "--step");
        if (!strcmp(argv[i], "--rounds") && i + 1 < argc)
            rounds = atoi(argv[++i]);
        else if (atoi(argv[i]) > 0)
            lt_set_threads(atoi(argv[i]));
    }
    if (rounds < 1 || rounds > MOST_ROUNDS) rounds = 7;
    lt_ctx *ctx = lt_ctx_create(NULL);
    if (!ctx) return 1;
    bool ok = bench_all(ctx, json, step_only, rounds);
    if (!ok) fprintf(stderr, "%s\n", lt_ctx_message(ctx));
    lt_ctx_free(ctx);
    return ok ? 0 : 1;
}
