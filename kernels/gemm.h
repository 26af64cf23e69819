/* gemm.h - dense products: one interface, providers behind it (oneDNN, OpenBLAS, plain C), each checking the others.
 *
 *     c[m, n] (+)= op(a)[m, k] op(b)[k, n]      row-major; op transposes when ta / tb is set
 *
 * b may be of any block lattice, bf16, f16 or i8 with a scale a stored row, at any address: it is decoded tile by tile.
 * For a lattice tb says how it lies: tb = 1: b is [n, k] with blocks along k (a linear layer's weight, forward); tb = 0:
 * b is [k, n] with blocks along n (the same weight in dX = dY W). A bf16 a is multiplied as bf16 where the provider does
 * that itself (a stored b is then decoded to bf16), else as f32.
 *
 * A product is described once (create), states its scratch, and runs many times without allocating. It is cut into
 * tiles over m and n by its sizes, never over k and never by the number of threads, and providers run single-threaded
 * inside the tiles: bitwise equal results for any thread count. LT_GEMM=onednn|openblas|ref forces a provider. */
#ifndef LTI_GEMM_H
#define LTI_GEMM_H

#include "base/ctx.h"

typedef struct lti_gemm_shape {
    int64_t m, n, k;
    bool ta, tb;
    bool accumulate;       /* c += instead of c = */
    bool serial;           /* run on the calling thread alone: for use inside a task (batched small products) */
    lt_dtype b_type;       /* LT_F32 or what lti_gemm_decodes */
    lt_dtype a_type;       /* LT_F32; or LT_BF16, with a b that is not f32 */
    int64_t lda, ldb, ldc; /* row strides in elements; 0: packed. A b of another type than a must be packed */
} lti_gemm_shape;

typedef struct lti_gemm lti_gemm;

/* Errors: LT_EINVAL for sizes < 0, types that do not go together or a lattice whose rows are no whole blocks,
 * LT_EPROVIDER, LT_ENOMEM. */
lt_status lti_gemm_create(lt_ctx *ctx, const lti_gemm_shape *shape, lti_gemm **gemm);
void lti_gemm_free(lt_ctx *ctx, lti_gemm *gemm); /* NULL is fine */
size_t lti_gemm_scratch(const lti_gemm *gemm);   /* bytes, 64-byte aligned, for lti_gemm_run */
lt_status lti_gemm_run(const lti_gemm *gemm, const void *a, const void *b, lt_real *c, void *scratch);
/* The same with an LT_I8 b: the scale of each of its stored rows. */
lt_status lti_gemm_run_scaled(const lti_gemm *gemm, const void *a, const void *b, const lt_real *b_scale, lt_real *c,
                              void *scratch);
/* Types of b beside f32: bf16, f16, every block lattice (activations' Q8_1 and Q8_K too), LT_I8. */
bool lti_gemm_decodes(lt_dtype type);

const char *lti_gemm_provider(void);       /* the provider in use: "onednn", "openblas" or "ref" */
bool lti_gemm_native_bf16(void);           /* whether it multiplies bf16 itself on this processor */
bool lti_gemm_force(const char *provider); /* for tests and bench; NULL: back to the default. false: not built in */
const char *lti_gemm_versions(void);       /* "onednn 2.6.3, openblas 0.3.21 SkylakeX": for run.json */
/* Seconds inside the provider, summed over threads, since this was last called; counted from now on when `on`. */
double lti_gemm_timing(bool on);
uint64_t lti_gemm_mallocs(void); /* allocations the provider is known to make while running; 0 for ref */

#endif
