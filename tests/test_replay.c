/* test_replay.c - a training step replayed: nothing is allocated.
 *
 * Two counts. Lathe's allocator must not be called. And malloc itself, which this file replaces for the whole program,
 * tells what providers and runtimes allocate behind it: printed for the provider in use, zero for plain C. Not under
 * sanitizers, which replace it too, nor with clang, whose libomp allocates at each parallel region. */
#include "kernels/gemm.h"
#include "lathe/models.h"
#include "lathe/optim.h"
#include "tests/testing.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__clang__) || !defined(__GLIBC__)
#define COUNTS_MALLOC 0
#else
#define COUNTS_MALLOC 1
#endif

static atomic_uint_fast64_t mallocs;

#if COUNTS_MALLOC
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);

LT_API void *malloc(size_t bytes)
{
    atomic_fetch_add(&mallocs, 1);
    return __libc_malloc(bytes);
}

LT_API void *calloc(size_t count, size_t size)
{
    atomic_fetch_add(&mallocs, 1);
    return __libc_calloc(count, size);
}

LT_API void *realloc(void *memory, size_t bytes)
{
    atomic_fetch_add(&mallocs, 1);
    return __libc_realloc(memory, bytes);
}

LT_API void *aligned_alloc(size_t alignment, size_t bytes)
{
    atomic_fetch_add(&mallocs, 1);
    return __libc_memalign(alignment, bytes);
}

LT_API int posix_memalign(void **memory, size_t alignment, size_t bytes)
{
    atomic_fetch_add(&mallocs, 1);
    *memory = __libc_memalign(alignment, bytes);
    return *memory ? 0 : ENOMEM;
}
#endif

enum { B = 2, T = 32, VOCAB = 64 };

/* A Llama's fused training step: the plan, with its inputs bound. */
static bool make_step(ts_bed *bed, lt_optimizer **optimizer, const int32_t *ids, lt_plan **plan)
{
    lt_transformer_config c;
    lt_transformer_config_init(&c, LT_LLAMA);
    c.vocab = VOCAB, c.dim = 32, c.hidden = 64, c.layers = 2, c.heads = 4, c.kv_heads = 2;
    lt_optimizer_config o;
    lt_optimizer_config_init(&o);
    if (!TS_OK(bed->ctx, lt_transformer_params(bed->params, &c, ts_seed())) ||
        !TS_OK(bed->ctx, lt_optimizer_create(bed->ctx, bed->params, &o, optimizer)))
        return false;
    lt_t tokens = lt_index_input(bed->g, "tokens", 2, (int64_t[]){B, T}, 0, VOCAB);
    lt_t targets = lt_index_input(bed->g, "targets", 2, (int64_t[]){B, T}, -1, VOCAB);
    lt_t loss = lt_transformer_loss(bed->g, &c, &(lt_model_input){.tokens = tokens}, targets, lt_nil(bed->g));
    return TS_OK(bed->ctx, lt_optimizer_fused(*optimizer, bed->g, loss)) &&
           TS_OK(bed->ctx, lt_compile(bed->g, NULL, 1, &loss, plan)) &&
           TS_OK(bed->ctx, lt_bind(*plan, "tokens", ids)) && TS_OK(bed->ctx, lt_bind(*plan, "targets", ids)) &&
           TS_OK(bed->ctx, lt_set(*plan, "step", 1));
}

/* Allocations of one step after two that warm up: lathe's, and all of the process. */
static void count_step(uint64_t *ours, uint64_t *all)
{
    ts_bed bed;
    lt_optimizer *optimizer = NULL;
    lt_plan *plan = NULL;
    int32_t ids[B * T];
    for (int i = 0; i < B * T; i++) ids[i] = i * 7 % VOCAB;
    *ours = *all = 1;
    if (!ts_bed_make(&bed)) return;
    if (make_step(&bed, &optimizer, ids, &plan)) {
        for (int i = 0; i < 2; i++) TS_OK(bed.ctx, lt_run(plan));
        uint64_t before = lt_ctx_allocations(bed.ctx), mallocs_before = atomic_load(&mallocs);
        lt_status status = lt_run(plan);
        *all = atomic_load(&mallocs) - mallocs_before;
        *ours = lt_ctx_allocations(bed.ctx) - before;
        TS_CHECK(status == LT_OK, "%s", lt_ctx_message(bed.ctx));
    }
    lt_plan_free(plan);
    lt_optimizer_free(optimizer);
    ts_bed_drop(&bed);
}

static void default_provider(void)
{
    uint64_t ours, all;
    count_step(&ours, &all);
    TS_CHECK(ours == 0, "a replayed step called lathe's allocator %llu times", (unsigned long long)ours);
    if (COUNTS_MALLOC)
        printf("  %llu mallocs in a replayed step with %s products ", (unsigned long long)all, lti_gemm_provider());
    else
        printf("  mallocs are not counted in this build ");
}

static void plain_products(void)
{
    uint64_t ours, all;
    lti_gemm_force("ref");
    count_step(&ours, &all);
    lti_gemm_force(NULL);
    TS_CHECK(ours == 0, "a replayed step called lathe's allocator %llu times", (unsigned long long)ours);
    TS_CHECK(!COUNTS_MALLOC || all == 0, "%llu mallocs in a replayed step with plain products",
             (unsigned long long)all);
}

int lti_suite_replay(void)
{
    const ts_test tests[] = {{"no allocation, the provider in use", default_provider},
                             {"no allocation at all, plain C products", plain_products}};
    return ts_suite("replay", LTI_COUNT(tests), tests);
}
