/* gemm_backend.h - what stands behind gemm.h: one tile of a product, on the calling thread alone.
 *
 * gemm.c cuts products into tiles and hands each to a kernel made for its size. A kernel is shared by all threads;
 * `slot` (below the number of slots it was created for) names the state that the caller alone uses at that moment. */
#ifndef LTI_GEMM_BACKEND_H
#define LTI_GEMM_BACKEND_H

#include "base/ctx.h"

/* c[m, n] (+)= op(a)[m, k] op(b)[k, n]; sizes > 0; row strides lda, ldb, ldc. a and b are of `type`: LT_F32, or LT_BF16
 * for a provider that said it can. */
typedef struct lti_gemm_tile {
    int64_t m, n, k, lda, ldb, ldc;
    bool ta, tb, accumulate;
    lt_dtype type;
} lti_gemm_tile;

typedef struct lti_gemm_backend {
    const char *name;
    unsigned mallocs;   /* that one run makes inside the provider, at the least */
    bool (*bf16)(void); /* whether it multiplies bf16 faster than decoding it would be; NULL: no */
    lt_status (*create)(lt_ctx *ctx, const lti_gemm_tile *tile, int slots, void **kernel);
    void (*free)(lt_ctx *ctx, void *kernel); /* NULL is fine */
    size_t (*scratch)(const void *kernel);   /* bytes of one slot */
    /* LT_OK or LT_EPROVIDER; no context, for it runs inside tasks. */
    lt_status (*run)(const void *kernel, int slot, const void *a, const void *b, lt_real *c, void *scratch);
    void (*version)(char *text, size_t size);
} lti_gemm_backend;

const lti_gemm_backend *lti_gemm_in_use(void);
bool lti_gemm_takes_bf16(const lti_gemm_backend *backend);
/* backend->run, counted (gemm_providers.c). */
lt_status lti_gemm_backend_run(const lti_gemm_backend *backend, const void *kernel, int slot, const void *a,
                               const void *b, lt_real *c, void *scratch);

extern const lti_gemm_backend lti_gemm_ref;
#ifdef LT_WITH_ONEDNN
extern const lti_gemm_backend lti_gemm_onednn;
#endif
#ifdef LT_WITH_OPENBLAS
extern const lti_gemm_backend lti_gemm_openblas;
#endif

#endif
