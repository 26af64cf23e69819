/* params.h - durable named arrays: weights, optimizer moments, masks, scales, caches, accumulators.
 *
 * What outlives a graph and what a checkpoint holds. An array is typed (lt_real, 16 bit, integers or a block lattice)
 * and versioned: every write raises its version, so that copies derived from it know when they are stale.
 *
 *     lt_param *w;
 *     lt_status s = lt_params_add(params, "fc.weight", LT_F32, 2, (int64_t[]){10, 64}, LT_WEIGHT, &w);
 *     if (s != LT_OK) return s;
 *     lt_real *data = lt_param_data(w);
 *     for (int64_t i = 0; i < lt_param_count(w); i++) data[i] = 0;
 *     lt_param_touch(w);
 */
#ifndef LATHE_PARAMS_H
#define LATHE_PARAMS_H

#include "lathe/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lt_params lt_params; /* owned by the caller; may be read from several threads while nobody writes */
typedef struct lt_param lt_param;   /* owned by its lt_params; the address stays valid until lt_params_free */

typedef enum lt_role {
    LT_WEIGHT = 0, /* the model: exported, checkpointed */
    LT_STATE,      /* optimizer moments, masks, learned scales, counters: checkpointed */
    LT_SCRATCH     /* caches, accumulators, derived copies: can be made again */
} lt_role;

LT_API LT_MUST_USE lt_status lt_params_create(lt_ctx *ctx, lt_params **params);
LT_API void lt_params_free(lt_params *params); /* NULL is fine */
LT_API lt_ctx *lt_params_ctx(const lt_params *params);

/* Adds an array of zeros. The name must be new and not empty; a lattice's last dimension a multiple of its block.
 * Errors: LT_EINVAL, LT_ENOMEM. `param` may be NULL. */
LT_API LT_MUST_USE lt_status lt_params_add(lt_params *params, const char *name, lt_dtype type, int rank,
                                           const int64_t *shape, lt_role role, lt_param **param);

/* Adds a frozen array whose bytes stay where they are (a mapped file). `data` is borrowed until lt_params_free and
 * needs no more alignment than its elements. */
LT_API LT_MUST_USE lt_status lt_params_map(lt_params *params, const char *name, lt_dtype type, int rank,
                                           const int64_t *shape, const void *data, lt_param **param);

LT_API lt_param *lt_params_find(const lt_params *params, const char *name); /* NULL when there is none */
LT_API int lt_params_count(const lt_params *params);
LT_API lt_param *lt_params_at(const lt_params *params, int index); /* in order of adding */
LT_API size_t lt_params_bytes(const lt_params *params);            /* owned bytes, mapped ones not counted */

LT_API const char *lt_param_name(const lt_param *param);
LT_API lt_dtype lt_param_type(const lt_param *param);
LT_API int lt_param_rank(const lt_param *param);
LT_API const int64_t *lt_param_shape(const lt_param *param);
LT_API int64_t lt_param_count(const lt_param *param); /* elements */
LT_API size_t lt_param_bytes(const lt_param *param);
LT_API lt_role lt_param_role(const lt_param *param);

/* The elements, row-major. Writers call lt_param_touch afterwards. A mapped array must not be written. */
LT_API void *lt_param_data(lt_param *param);
LT_API const void *lt_param_read(const lt_param *param);

/* Turns a frozen matrix of floats into LT_BF16 or LT_F16, rounded to nearest even, and frees its f32 bytes: half the
 * memory of a weight that is only read. Graphs recorded afterwards read it as it is; lt_run refuses plans of graphs
 * recorded before. The array has to be a weight (LT_WEIGHT) of rank 2 or more, owned, LT_F32, and not trainable
 * (lt_param_set_trainable).
 * Errors: LT_EINVAL, LT_ENOMEM; the array is then as it was. */
LT_API LT_MUST_USE lt_status lt_param_narrow(lt_param *param, lt_dtype type);

/* True for an array that lt_params_map added: its bytes belong to somebody else. */
LT_API bool lt_param_mapped(const lt_param *param);

/* Starts at 1 and rises with every write. */
LT_API uint64_t lt_param_version(const lt_param *param);
LT_API void lt_param_touch(lt_param *param);

/* Whether optimizers may change it. True for LT_F32 weights that are not mapped, unless set otherwise. */
LT_API bool lt_param_trainable(const lt_param *param);
LT_API void lt_param_set_trainable(lt_param *param, bool trainable);

#ifdef __cplusplus
}
#endif
#endif
