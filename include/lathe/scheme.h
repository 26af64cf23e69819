/* scheme.h - the grids numbers are put on: storage types, uniform integers, ternary, 8-bit floats.
 *
 * A scheme says which values a tensor may have once it is deployed. lt_fake_quant puts a value of a graph on its grid and
 * lets gradients through by a rule of choice; lt_scheme_apply does the same to an array, by the same kernels.
 *
 *     lt_scheme s;
 *     if (lt_scheme_parse(ctx, "int4:g32", &s) != LT_OK) return lt_ctx_status(ctx);
 *     lt_t y = lt_matmul(x, lt_fake_quant(w, &s, NULL), LT_TRANSPOSE_B); // w [out, in]: 4-bit codes, a scale for 32 of them
 */
#ifndef LATHE_SCHEME_H
#define LATHE_SCHEME_H

#include "lathe/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum lt_scheme_kind {
    LT_SCHEME_TYPE = 0, /* a type of base.h: f32 (as it is), f16, bf16 or a block lattice */
    LT_SCHEME_INT,      /* (code - zero) scale, codes of 2 to 8 bits */
    LT_SCHEME_TERNARY,  /* -1, 0 or 1 times max(mean |w|, 1e-5): BitNet b1.58 (Ma et al. 2024) */
    LT_SCHEME_FP8       /* OCP E4M3 or E5M2 times a scale */
} lt_scheme_kind;

typedef enum lt_granularity { LT_PER_TENSOR = 0, LT_PER_CHANNEL, LT_PER_GROUP } lt_granularity;

/* Zero-initialised it is LT_F32: nothing. */
typedef struct lt_scheme {
    lt_scheme_kind kind;
    lt_dtype type;      /* LT_SCHEME_TYPE */
    int bits;           /* LT_SCHEME_INT: 2 to 8 */
    bool asymmetric;    /* LT_SCHEME_INT: codes 0 .. 2^bits - 1 and a zero point; else -Q .. Q, Q = 2^(bits-1) - 1 */
    bool full_range;    /* symmetric: codes -Q-1 .. Q with scale absmax / (Q + 1/2), as torchao maps them */
    bool e5m2;          /* LT_SCHEME_FP8; else E4M3 */
    bool double_scales; /* LT_NF4, LT_FP4: scales are 8-bit themselves (QLoRA's double quantization) */
    bool half_scales; /* LT_SCHEME_INT, _TERNARY: scales are rounded to f16, as GPTQ's, AWQ's and TQ files have them */
    lt_granularity per; /* what shares a scale: not for LT_SCHEME_TYPE */
    int64_t group;      /* LT_PER_GROUP: elements along the last axis; the last group of a row may be shorter */
} lt_scheme;

/* "f32", "f16", "bf16", "q4_0" .. "tq2_0", "mxfp4", "nf4", "nf4:dq", "fp4"; "intN[:gG|channel|tensor][,asym][,full][,half]" (N
 * 2 to 8; default channel), "ternary[:gG|channel|tensor][,half]" (default tensor), "fp8[:e5m2][,channel|tensor]" (default E4M3, channel).
 * ':' and ',' mean the same, so a word can be written without commas. LT_EINVAL lists what is possible. */
LT_API LT_MUST_USE lt_status lt_scheme_parse(lt_ctx *ctx, const char *text, lt_scheme *scheme);
/* The same words back, into `name` (LT_SCHEME_TEXT bytes); returns it. */
#define LT_SCHEME_TEXT 48
LT_API const char *lt_scheme_name(const lt_scheme *scheme, char *name);
LT_API lt_scheme lt_scheme_of(lt_dtype type);
LT_API bool lt_scheme_is_float(const lt_scheme *scheme); /* LT_F32: leaves numbers as they are */
LT_API bool lt_scheme_same(const lt_scheme *a, const lt_scheme *b);
/* Bytes of rows x columns numbers in the scheme, as lt_export writes them to .safetensors: rows of codes without gaps
 * (ternary ones in 2 bits), scales as numbers (`half`: f16), zero points as codes; or a type's own bytes (f32: 4 a
 * number). Learned offsets are not counted. 0: it does not fit (columns no whole blocks). */
LT_API size_t lt_scheme_bytes(const lt_scheme *scheme, int64_t rows, int64_t columns);

/* Where the scales come from. */
typedef enum lt_scale_rule {
    LT_SCALE_DYNAMIC = 0, /* from the numbers, at each forward: absmax, or min and max; constants for the gradient */
    LT_SCALE_MSE, /* from the numbers: of 24 from absmax's down to 0.3 of it, the one with the least squared error */
    LT_SCALE_LSQ, /* learned (Esser et al. 2020) */
    LT_SCALE_LSQ_PLUS, /* learned, with a learned offset (Bhalgat et al. 2020) */
    LT_SCALE_PACT,     /* a learned upper bound of x >= 0 (Choi et al. 2018): activations */
    LT_SCALE_RANGE     /* learned low and range (NNCF's) */
} lt_scale_rule;

/* How the gradient passes the rounding. */
typedef enum lt_round_gradient {
    LT_ROUND_STE = 0,   /* the identity; learned scales: LT_ROUND_CLIP_X, as their papers have it */
    LT_ROUND_CLIP_X,    /* 0 where x is outside the grid's range */
    LT_ROUND_CLIP_CODE, /* 0 where the rounded code is: x may lie half a step outside */
    LT_ROUND_PROX /* while training, weights are drawn to the grid little by little instead of rounded: the map of PARQ
                         * (2025), whose run-time scalar "qat_progress" goes from 0 (the identity) to 1 (the grid) */
} lt_round_gradient;

typedef struct lt_fake_quant_config {
    size_t size;
    lt_scale_rule scale;
    lt_round_gradient gradient;
    lt_t learned, offset; /* scales (LSQ's step, PACT's bound, RANGE's range; of a symmetric grid its largest value) and
                            * offsets (LSQ+; the low end of an asymmetric RANGE): one a tensor, channel or group; nil: none */
    double
        scale_gradient; /* factor on their gradients; 0: 1/sqrt(N Q) for LSQ and LSQ+, N = the numbers of a whole group, Q
                            * the largest code; 1 for the others */
} lt_fake_quant_config;
LT_API void lt_fake_quant_config_init(lt_fake_quant_config *config);

/* x on the grid of the scheme, of x's shape, f32; x [.., columns], groups along the last axis (a group of all columns is a
 * scale a row); a channel is an index of the first axis. config NULL: dynamic scales, straight through. Codes are rounded
 * to nearest even from x (1 / scale); groups of zeros stay zeros; a group that holds NaN or infinity becomes NaN. Formulas:
 * autograd/ops/grids.c. Errors become the graph's: a block that does not divide the columns, learned scales of another
 * number, rules that do not go together (PACT needs an asymmetric grid). */
LT_API lt_t lt_fake_quant(lt_t x, const lt_scheme *scheme, const lt_fake_quant_config *config);

/* y = x [rows, columns] on the grid, with dynamic scales: the numbers of lt_fake_quant, bit for bit. y may be x. */
LT_API LT_MUST_USE lt_status lt_scheme_apply(lt_ctx *ctx, const lt_scheme *scheme, lt_scale_rule rule, int64_t rows,
                                             int64_t columns, const lt_real *x, lt_real *y);

#ifdef __cplusplus
}
#endif
#endif
