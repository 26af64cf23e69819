/* integer.h - products summed in integers: quantized activations times quantized weights, as the deployed runtime runs
 * them.
 *
 *     c[m, n] (+)= a[m, k] b[n, k]^T
 *
 * Per block of k: an exact int8 dot product (VNNI, AVX2 or plain C: the same integers), then one float multiply-add with
 * the product of both scales (and of minimum and sum where the lattice has a minimum). Blocks are added in order of k, so
 * that a number of c depends on its row and column alone, not on tiles, threads or instruction set beyond float rounding.
 * A Q8_1 block brings its own scale x sum, rounded to a half: minima are multiplied with that number, as the runtime
 * does, and not with the sum of the codes.
 *
 * Activations are packed into panels inside (packing is part of a run), weights likewise, once a run. */
#ifndef LTI_INTEGER_H
#define LTI_INTEGER_H

#include "base/ctx.h"

typedef struct lti_igemm_shape {
    int64_t m, n, k;
    lt_dtype a_type; /* LT_Q8_0, LT_Q8_1, LT_Q8_K: blocks along k; LT_I8: codes with a scale a row */
    lt_dtype b_type; /* a lattice with blocks along k, or LT_I8: codes with a scale a row */
    bool accumulate; /* c += */
} lti_igemm_shape;

typedef struct lti_igemm lti_igemm;

/* Whether the pair can be multiplied in integers: each lattice with its activation type and with LT_I8, LT_I8 with LT_I8. */
bool lti_igemm_takes(lt_dtype a_type, lt_dtype b_type);
/* The type llama.cpp pairs with the lattice; LT_F32: none. */
lt_dtype lti_activation_type(lt_dtype lattice);

/* Errors: LT_EINVAL (sizes, rows that are no whole blocks, types that do not go together), LT_ENOMEM. */
lt_status lti_igemm_create(lt_ctx *ctx, const lti_igemm_shape *shape, lti_igemm **gemm);
void lti_igemm_free(lt_ctx *ctx, lti_igemm *gemm); /* NULL is fine */
size_t lti_igemm_scratch(const lti_igemm *gemm);   /* bytes, 64-byte aligned, for lti_igemm_run */
/* For tests and bench: another set of kernels than the one in use. */
struct lti_kernels;
void lti_igemm_use(lti_igemm *gemm, const struct lti_kernels *kernels);
/* a_scale [m], b_scale [n]: of LT_I8 operands; NULL otherwise. */
/* Several runs of one product may go on at once, each with its own scratch. */
lt_status lti_igemm_run(const lti_igemm *gemm, const void *a, const lt_real *a_scale, const void *b,
                        const lt_real *b_scale, lt_real *c, void *scratch);

/* rows x k numbers as blocks of LT_Q8_0, LT_Q8_1 or LT_Q8_K, rounded as the runtime does; or as LT_I8 codes and scale [rows]
 * (NULL for blocks). Shared out over threads. */
void lti_quantize_activations(lt_dtype type, int64_t rows, int64_t k, const lt_real *x, void *blocks, lt_real *scale);

#endif
