/* gemm_onednn.c - tiles by oneDNN's matmul primitive, versions 2.6 and 3.x.
 *
 * Made once: the primitive (oneDNN keeps a cache of its own, so tiles of a size seen before are cheap) and the slots
 * (onednn_parts.h). The scratchpad is the caller's too: running allocates nothing here. base/par.c has told OpenMP that inside a task there is one thread.
 *
 * Version 2.6 has its best kernels ("brg") for matrices without gaps between rows alone; others go to "gemm:jit",
 * slower by up to a third. gemm.c cuts large products accordingly. */
#include "kernels/gemm_backend.h"
#include "kernels/onednn_parts.h"

#include <stdio.h>
#include <string.h>

typedef struct onednn_kernel {
    dnnl_primitive_t primitive;
    onednn_slots slots;
} onednn_kernel;

/* A row-major [rows, columns] matrix that is stored transposed when `transposed`. */
static dnnl_status_t describe(descriptor *d, lt_dtype type, int64_t rows, int64_t columns, int64_t stride,
                              bool transposed)
{
    dnnl_dims_t sizes = {rows, columns}, strides = {transposed ? 1 : stride, transposed ? stride : 1};
    dnnl_data_type_t element = type == LT_BF16 ? dnnl_bf16 : dnnl_f32;
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_memory_desc_create_with_strides(d, 2, sizes, element, strides);
#else
    return dnnl_memory_desc_init_by_strides(d, 2, sizes, element, strides);
#endif
}

static dnnl_status_t describe_primitive(const descriptor d[3], dnnl_primitive_attr_t attr, dnnl_primitive_desc_t *pd)
{
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_matmul_primitive_desc_create(pd, engine, d[A], d[B], NULL, d[C], attr);
#else
    dnnl_matmul_desc_t op;
    dnnl_status_t status = dnnl_matmul_desc_init(&op, &d[A], &d[B], NULL, &d[C]);
    return status != dnnl_success ? status : dnnl_primitive_desc_create(pd, &op, attr, engine, NULL);
#endif
}

/* User-managed scratchpad, and c += as a sum after the product. */
static dnnl_status_t describe_attributes(bool accumulate, dnnl_primitive_attr_t *attr)
{
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t status = dnnl_primitive_attr_create(attr);
    if (status == dnnl_success) status = dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user);
    if (status != dnnl_success || !accumulate) return status;
    status = dnnl_post_ops_create(&ops);
#if DNNL_VERSION_MAJOR >= 3
    if (status == dnnl_success) status = dnnl_post_ops_append_sum(ops, 1, 0, dnnl_data_type_undef);
#else
    if (status == dnnl_success) status = dnnl_post_ops_append_sum(ops, 1);
#endif
    if (status == dnnl_success) status = dnnl_primitive_attr_set_post_ops(*attr, ops);
    if (ops) dnnl_post_ops_destroy(ops);
    return status;
}

/* Fills the kernel; what was made before a failure is freed by onednn_free. */
static dnnl_status_t make(onednn_kernel *k, const lti_gemm_tile *t)
{
    descriptor d[3];
    memset(d, 0, sizeof d);
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_status_t status = describe(&d[A], t->type, t->m, t->k, t->lda, t->ta);
    if (status == dnnl_success) status = describe(&d[B], t->type, t->k, t->n, t->ldb, t->tb);
    if (status == dnnl_success) status = describe(&d[C], LT_F32, t->m, t->n, t->ldc, false);
    if (status == dnnl_success) status = describe_attributes(t->accumulate, &attr);
    if (status == dnnl_success) status = describe_primitive(d, attr, &pd);
    if (status == dnnl_success) status = dnnl_primitive_create(&k->primitive, pd);
    if (status == dnnl_success) {
        described scratch = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
        const described all[MEMORIES] = {DESCRIBED(d[A]), DESCRIBED(d[B]), DESCRIBED(d[C]), scratch};
        status = slots_fill(&k->slots, all);
    }
    if (pd) dnnl_primitive_desc_destroy(pd);
    if (attr) dnnl_primitive_attr_destroy(attr);
    for (int i = A; i <= C; i++) forget(&d[i]);
    return status;
}

static void onednn_free(lt_ctx *ctx, void *kernel)
{
    onednn_kernel *k = kernel;
    if (!k) return;
    if (k->primitive) dnnl_primitive_destroy(k->primitive);
    slots_free(ctx, &k->slots);
    lti_free(ctx, k);
}

static lt_status onednn_create(lt_ctx *ctx, const lti_gemm_tile *tile, int slots, void **kernel)
{
    if (!have_engine()) return lti_fail(ctx, LT_EPROVIDER, "gemm: oneDNN has no CPU engine here; use LT_GEMM=ref");
    onednn_kernel *k = lti_alloc(ctx, sizeof *k);
    if (!k) return LT_ENOMEM;
    if (slots_alloc(ctx, slots, &k->slots) != LT_OK) {
        onednn_free(ctx, k);
        return LT_ENOMEM;
    }
    dnnl_status_t status = make(k, tile);
    if (status != dnnl_success) {
        onednn_free(ctx, k);
        if (status == dnnl_out_of_memory)
            return lti_fail(ctx, LT_ENOMEM, "gemm: oneDNN is out of memory for m=%lld n=%lld k=%lld",
                            (long long)tile->m, (long long)tile->n, (long long)tile->k);
        return lti_fail(ctx, LT_EPROVIDER, "gemm: oneDNN refuses m=%lld n=%lld k=%lld (status %d); use LT_GEMM=ref",
                        (long long)tile->m, (long long)tile->n, (long long)tile->k, (int)status);
    }
    *kernel = k;
    return LT_OK;
}

static size_t onednn_scratch(const void *kernel)
{
    return ((const onednn_kernel *)kernel)->slots.scratch;
}

static lt_status onednn_run(const void *kernel, int slot, const void *a, const void *b, float *c, void *scratch)
{
    const onednn_kernel *k = kernel;
    dnnl_memory_t *memory = k->slots.memories[slot];
    void *const data[MEMORIES] = {(void *)a, (void *)b, c, scratch};
    const int kinds[MEMORIES] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD};
    dnnl_exec_arg_t args[MEMORIES];
    int count = k->slots.scratch ? MEMORIES : SCRATCH;
    for (int i = 0; i < count; i++) {
        if (dnnl_memory_set_data_handle(memory[i], data[i]) != dnnl_success) return LT_EPROVIDER;
        args[i] = (dnnl_exec_arg_t){kinds[i], memory[i]};
    }
    dnnl_status_t status = dnnl_primitive_execute(k->primitive, k->slots.streams[slot], count, args);
    return status == dnnl_success ? LT_OK : LT_EPROVIDER;
}

/* It takes bf16 on every AVX-512 processor and on some reads it to f32 first, slower than f32 itself. */
static bool onednn_bf16(void)
{
    return (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core_bf16) == dnnl_cpu_isa_avx512_core_bf16;
}

static void onednn_version(char *text, size_t size)
{
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, size, "onednn %d.%d.%d", v->major, v->minor, v->patch);
}

const lti_gemm_backend lti_gemm_onednn = {
    .name = "onednn",
    .mallocs = 1, /* a map of arguments at least; its "gemm:jit" also packs into memory of its own (2.6.3: 5 a run) */
    .bf16 = onednn_bf16,
    .create = onednn_create,
    .free = onednn_free,
    .scratch = onednn_scratch,
    .run = onednn_run,
    .version = onednn_version,
};
