/* base.h - what everything else stands on: status, context, allocator, types.
 *
 * Every call that can fail returns an lt_status and leaves one sentence in the context: what failed, where, why
 * and what to try. The library never prints, never ends the process and never opens a socket.
 *
 *     lt_ctx *ctx = lt_ctx_create(NULL);
 *     lt_params *params;
 *     if (lt_params_create(ctx, &params) != LT_OK)
 *         puts(lt_ctx_message(ctx));
 *     lt_params_free(params);
 *     lt_ctx_free(ctx);
 */
#ifndef LATHE_BASE_H
#define LATHE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LT_API __attribute__((visibility("default")))
#define LT_MUST_USE __attribute__((warn_unused_result))

#define LT_VERSION_MAJOR 0
#define LT_VERSION_MINOR 1
#define LT_VERSION_PATCH 0
#define LT_MAX_RANK 6

/* The element type of every computed value: float, or double in a library built with -DLT_REAL=double (the build
 * in which gradients and goldens are checked). */
#ifdef LT_REAL_IS_DOUBLE
typedef double lt_real;
#else
typedef float lt_real;
#endif

typedef enum lt_status {
    LT_OK = 0,
    LT_ENOMEM,       /* the allocator returned NULL */
    LT_EINVAL,       /* an argument, a shape, a name: the caller's to mend */
    LT_EFORMAT,      /* a file breaks its format */
    LT_EIO,          /* the operating system refused a read or a write */
    LT_EUNSUPPORTED, /* well-formed, but lathe does not implement it */
    LT_EPROVIDER,    /* oneDNN or OpenBLAS failed */
    LT_ENONFINITE,   /* NaN or infinity where a number was needed */
    LT_ELIMIT,       /* a stated limit (memory, sizes read from a file) would be passed */
    LT_EINTERRUPTED  /* asked to stop by a signal; what had to be saved is saved */
} lt_status;

/* A short lower-case English name of the status ("out of memory"). Never NULL. */
LT_API const char *lt_status_name(lt_status status);

/* "0.1.0" */
LT_API const char *lt_version(void);

/* Types of stored elements. LT_F32 is lt_real (see above). Block lattices store `block` elements in `bytes` bytes
 * (lt_dtype_block, lt_dtype_bytes) and run along the last axis; their layouts stand beside their decoders in
 * kernels/lattice/. All are the types of GGUF files of the same names. */
typedef enum lt_dtype {
    LT_F32 = 0, /* lt_real */
    LT_BF16,    /* uint16_t, the upper half of a float */
    LT_F16,     /* uint16_t, IEEE binary16 */
    LT_I8,
    LT_I32,
    LT_Q4_0, /* blocks of 32: a scale and codes of 4 bits */
    LT_Q4_1, /* the same with a minimum */
    LT_Q5_0,
    LT_Q5_1,
    LT_Q8_0,
    LT_Q2_K, /* super-blocks of 256 with quantized scales */
    LT_Q3_K,
    LT_Q4_K,
    LT_Q5_K,
    LT_Q6_K,
    LT_IQ4_NL, /* 32: codes of 4 bits into a table of unequal steps */
    LT_MXFP4,  /* 32: an exponent and 4-bit floats (OCP microscaling) */
    LT_TQ1_0,  /* 256: ternary, five to a byte */
    LT_TQ2_0,  /* 256: ternary, four to a byte */
    LT_NF4,    /* 64: codes of 4 bits into the quantiles of a normal distribution, an f32 scale (QLoRA; not in GGUF) */
    LT_FP4,    /* 64: 4-bit floats, an f32 scale (bitsandbytes; not in GGUF) */
    LT_Q8_1,   /* 32: int8 with a scale and scale x sum. It and Q8_K are for activations in integer products */
    LT_Q8_K,   /* 256: int8 with an f32 scale and the sums of each 16 */
    LT_DTYPE_COUNT
} lt_dtype;

LT_API const char *lt_dtype_name(lt_dtype type); /* "f32", "q4_0", ...; "?" when out of range */
LT_API bool lt_dtype_parse(const char *name, lt_dtype *type);
LT_API int64_t lt_dtype_block(lt_dtype type); /* elements a block: 1, 32 or 256 */
LT_API size_t lt_dtype_bytes(lt_dtype type);  /* bytes a block */
LT_API bool lt_dtype_is_lattice(lt_dtype type);

/* Memory comes from here. `alloc` returns at least `bytes` bytes aligned to 64, or NULL. Called from one thread. */
typedef struct lt_allocator {
    void *(*alloc)(void *user, size_t bytes);
    void (*free)(void *user, void *memory);
    void *user;
} lt_allocator;

/* A context: the allocator and the last error. Owned by the caller; belongs to one thread at a time. */
typedef struct lt_ctx lt_ctx;

/* Returns NULL only when memory is out. `allocator` is copied; NULL means aligned_alloc and free. */
LT_API lt_ctx *lt_ctx_create(const lt_allocator *allocator);
LT_API void lt_ctx_free(lt_ctx *ctx); /* NULL is fine */

LT_API lt_status lt_ctx_status(const lt_ctx *ctx);    /* of the last failure; LT_OK if none */
LT_API const char *lt_ctx_message(const lt_ctx *ctx); /* of the last failure; "" if none. Valid until the next */
LT_API void lt_ctx_clear(lt_ctx *ctx);
LT_API uint64_t lt_ctx_allocations(const lt_ctx *ctx); /* how often the allocator was called, ever */
LT_API size_t lt_ctx_live_bytes(const lt_ctx *ctx);    /* bytes allocated and not yet freed */
LT_API size_t lt_ctx_peak_bytes(const lt_ctx *ctx);    /* the largest lt_ctx_live_bytes so far */

/* Threads of the whole process, at least 1 and never more than the cores this process may use (affinity, the CPU quota
 * of its cgroups, OMP_THREAD_LIMIT): a larger number counts as that one. Default: those cores, or OMP_NUM_THREADS where
 * that is less. Results do not depend on it. */
LT_API void lt_set_threads(int threads);
LT_API int lt_threads(void);

#ifdef __cplusplus
}
#endif
#endif
