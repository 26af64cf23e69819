/* bench_integer.c - products in integers (kernels/integer.h) beside oneDNN's of f32 and of plain bytes.
 *
 *     bench_integer [--rounds n] [threads]
 *
 * A lattice product is timed as a step runs it: activations quantized, both operands packed, multiplied. "packed" leaves the
 * quantizing out. oneDNN's u8s8 and s8s8 are one primitive each with its own threads, of bytes without any scale, with its
 * weights in the order it likes best; f32 is that of kernels/gemm.h. Variants alternate within each round, so that a busy
 * neighbour slows all of them; medians of n rounds (9), and the median of the rounds' ratios to f32. */
#include "base/ctx.h"
#include "bench/timing.h"
#include "kernels/gemm.h"
#include "kernels/gemm_backend.h"
#include "kernels/integer.h"
#include "kernels/kernels.h"
#include "kernels/lattice/lattice.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef LT_WITH_ONEDNN
#include "kernels/onednn_parts.h"
#endif

enum { VARIANTS = 7 };

static const lti_gemm_shape shapes[] = {
    {.m = 1024, .n = 1536, .k = 576, .tb = true},
    {.m = 1024, .n = 576, .k = 1536, .tb = true},
    {.m = 1024, .n = 3072, .k = 768, .tb = true},
};

/* provider 'f': f32; 'i': ours; 'u', 's': oneDNN's u8s8, s8s8. */
typedef struct variant {
    const char *name;
    char provider;
    lt_dtype weights;
    bool quantizes;
} variant;

static const variant variants[VARIANTS] = {
    {"f32", 'f', LT_F32, false},        {"q4_0", 'i', LT_Q4_0, true}, {"q4_0 packed", 'i', LT_Q4_0, false},
    {"q8_0", 'i', LT_Q8_0, true},       {"q4_k", 'i', LT_Q4_K, true}, {"onednn u8s8", 'u', LT_I8, false},
    {"onednn s8s8", 's', LT_I8, false},
};

typedef struct operands {
    lt_real *x, *w, *c;
    void *blocks; /* of activations */
    void *lattice[VARIANTS];
} operands;

typedef struct bench {
    lti_gemm *gemm;
    lti_igemm *integer;
    void *scratch;
#ifdef LT_WITH_ONEDNN
    dnnl_primitive_t primitive;
    dnnl_memory_t memories[3];
    dnnl_stream_t stream;
#endif
} bench;

#if defined(LT_WITH_ONEDNN) && DNNL_VERSION_MAJOR < 3
/* Bytes times bytes into 32 bits, weights in the primitive's own order. Contents do not matter for the time. */
static bool make_bytes(char kind, const lti_gemm_shape *s, bench *b)
{
    const dnnl_dims_t a = {s->m, s->k}, w = {s->k, s->n}, c = {s->m, s->n};
    dnnl_memory_desc_t d[3];
    dnnl_matmul_desc_t op;
    dnnl_primitive_desc_t pd;
    bool ok = have_engine();
    ok = ok && !dnnl_memory_desc_init_by_tag(&d[0], 2, a, kind == 'u' ? dnnl_u8 : dnnl_s8, dnnl_ab);
    ok = ok && !dnnl_memory_desc_init_by_tag(&d[1], 2, w, dnnl_s8, dnnl_format_tag_any);
    ok = ok && !dnnl_memory_desc_init_by_tag(&d[2], 2, c, dnnl_s32, dnnl_ab);
    ok = ok && !dnnl_matmul_desc_init(&op, &d[0], &d[1], NULL, &d[2]);
    ok = ok && !dnnl_primitive_desc_create(&pd, &op, NULL, engine, NULL);
    if (!ok) return false;
    d[1] = *dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    ok =
        !dnnl_primitive_create(&b->primitive, pd) && !dnnl_stream_create(&b->stream, engine, dnnl_stream_default_flags);
    for (int i = 0; ok && i < 3; i++) ok = !dnnl_memory_create(&b->memories[i], &d[i], engine, DNNL_MEMORY_ALLOCATE);
    dnnl_primitive_desc_destroy(pd);
    return ok;
}

static bool run_bytes(const bench *b)
{
    const dnnl_exec_arg_t args[] = {
        {DNNL_ARG_SRC, b->memories[0]}, {DNNL_ARG_WEIGHTS, b->memories[1]}, {DNNL_ARG_DST, b->memories[2]}};
    omp_set_num_threads(lt_threads());
    return !dnnl_primitive_execute(b->primitive, b->stream, 3, args) && !dnnl_stream_wait(b->stream);
}

static void drop_bytes(bench *b)
{
    for (int i = 0; i < 3; i++)
        if (b->memories[i]) dnnl_memory_destroy(b->memories[i]);
    if (b->primitive) dnnl_primitive_destroy(b->primitive);
    if (b->stream) dnnl_stream_destroy(b->stream);
}
#else
static bool make_bytes(char kind, const lti_gemm_shape *s, bench *b)
{
    (void)kind, (void)s, (void)b;
    return false;
}

static bool run_bytes(const bench *b)
{
    return b->scratch != NULL;
}

static void drop_bytes(bench *b)
{
    (void)b;
}
#endif

static bool make_operands(lt_ctx *ctx, const lti_gemm_shape *s, operands *o)
{
    const int64_t largest = s->m * s->k > s->n * s->k ? s->m * s->k : s->n * s->k;
    lti_rng rng = {.seed = 1};
    o->x = lti_alloc_array(ctx, (size_t)largest, sizeof *o->x);
    o->c = lti_alloc_array(ctx, (size_t)(s->m * s->n), sizeof *o->c);
    o->blocks = lti_alloc_array(ctx, (size_t)(s->m * s->k), 2);
    if (!o->x || !o->c || !o->blocks) return false;
    for (int64_t i = 0; i < largest; i++) o->x[i] = (lt_real)(lti_rng_uniform(&rng, (uint64_t)i) - 0.5);
    for (int v = 0; v < VARIANTS; v++) {
        if (variants[v].provider != 'i') continue;
        o->lattice[v] = lti_alloc_array(ctx, (size_t)(s->n * s->k), 2); /* zeros where there is no encoder */
        if (!o->lattice[v]) return false;
        if (lti_can_quantize(variants[v].weights) && s->k % lt_dtype_block(variants[v].weights) == 0)
            lti_quantize(variants[v].weights, s->n * s->k, o->x, o->lattice[v]);
    }
    return true;
}

static void drop_operands(lt_ctx *ctx, operands *o)
{
    for (int v = 0; v < VARIANTS; v++) lti_free(ctx, o->lattice[v]);
    lti_free(ctx, o->x);
    lti_free(ctx, o->c);
    lti_free(ctx, o->blocks);
}

/* False when this build has no such product. */
static bool make(lt_ctx *ctx, const variant *v, const lti_gemm_shape *s, const operands *o, bench *b)
{
    size_t bytes = 0;
    if (v->provider == 'u' || v->provider == 's') return make_bytes(v->provider, s, b);
    if (v->provider == 'f') {
        if (lti_gemm_create(ctx, s, &b->gemm) != LT_OK) return false;
        bytes = lti_gemm_scratch(b->gemm);
    } else {
        lt_dtype type = lti_activation_type(v->weights);
        const lti_igemm_shape shape = {s->m, s->n, s->k, type, v->weights, false};
        if (lti_igemm_create(ctx, &shape, &b->integer) != LT_OK) return false;
        bytes = lti_igemm_scratch(b->integer);
        lti_quantize_activations(type, s->m, s->k, o->x, o->blocks, NULL);
    }
    b->scratch = lti_alloc(ctx, bytes + 64);
    return b->scratch != NULL;
}

static bool run(const variant *v, int index, const lti_gemm_shape *s, const bench *b, const operands *o)
{
    if (v->provider == 'f') return lti_gemm_run(b->gemm, o->x, o->x, o->c, b->scratch) == LT_OK;
    if (v->provider != 'i') return run_bytes(b);
    if (v->quantizes) lti_quantize_activations(lti_activation_type(v->weights), s->m, s->k, o->x, o->blocks, NULL);
    return lti_igemm_run(b->integer, o->blocks, NULL, o->lattice[index], NULL, o->c, b->scratch) == LT_OK;
}

static bool measure(lt_ctx *ctx, const lti_gemm_shape *s, int rounds)
{
    static double times[VARIANTS][MOST_ROUNDS], ratios[MOST_ROUNDS];
    const double operations = 2.0 * (double)s->m * (double)s->n * (double)s->k;
    bench b[VARIANTS] = {{0}};
    bool there[VARIANTS];
    operands o = {0};
    bool ok = make_operands(ctx, s, &o);
    for (int v = 0; v < VARIANTS; v++) there[v] = ok && make(ctx, &variants[v], s, &o, &b[v]);
    for (int i = -2; ok && i < rounds; i++)
        for (int v = 0; v < VARIANTS; v++) {
            if (!there[v]) continue;
            double start = lti_seconds();
            for (int j = 0; j < 3; j++) ok &= run(&variants[v], v, s, &b[v], &o);
            times[v][i < 0 ? 0 : i] = (lti_seconds() - start) / 3;
        }
    printf("%lld x %lld x %lld\n", (long long)s->m, (long long)s->n, (long long)s->k);
    for (int v = 0; v < VARIANTS; v++) {
        for (int i = 0; i < rounds; i++) ratios[i] = times[0][i] / times[v][i];
        double seconds = median(rounds, times[v]);
        if (there[v])
            printf("  %-14s %8.0f us %8.1f GOP/s %6.2f x f32\n", variants[v].name, 1e6 * seconds,
                   1e-9 * operations / seconds, median(rounds, ratios));
        lti_gemm_free(ctx, b[v].gemm);
        lti_igemm_free(ctx, b[v].integer);
        lti_free(ctx, b[v].scratch);
        drop_bytes(&b[v]);
    }
    drop_operands(ctx, &o);
    return ok;
}

int main(int argc, char **argv)
{
    int rounds = 9;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--rounds") && i + 1 < argc)
            rounds = atoi(argv[++i]);
        else if (atoi(argv[i]) > 0)
            lt_set_threads(atoi(argv[i]));
    }
    if (rounds < 1 || rounds > MOST_ROUNDS) rounds = 9;
    lt_ctx *ctx = lt_ctx_create(NULL);
    if (!ctx) return 1;
    printf("%s; kernels %s; %d threads\n", lti_gemm_versions(), lti_isa(), lt_threads());
    bool ok = true;
    for (int i = 0; ok && i < LTI_COUNT(shapes); i++) ok = measure(ctx, &shapes[i], rounds);
    if (!ok) fprintf(stderr, "%s\n", lt_ctx_message(ctx));
    lt_ctx_free(ctx);
    return ok ? 0 : 1;
}
