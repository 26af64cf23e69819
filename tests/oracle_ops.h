/* oracle_ops.h - every op's formula in naive double code: the judge of tests/test_ops.c.
 *
 * Written from include/lathe/ops.h and the papers it names, never from the ops or kernels. No blocking, no tricks:
 * each element from its definition. A function makes y (ts_make) from the inputs; the case says axes, flags, numbers. */
#ifndef TS_ORACLE_OPS_H
#define TS_ORACLE_OPS_H

#include "tests/sweep.h"

#define TS_FORMULA(name) void ts_formula_##name(const ts_case *c, const ts_tensor *x, ts_tensor *y)
TS_FORMULA(add);
TS_FORMULA(sub);
TS_FORMULA(mul);
TS_FORMULA(div);
TS_FORMULA(scale); /* c->number */
TS_FORMULA(shift);
TS_FORMULA(exp);
TS_FORMULA(log);
TS_FORMULA(sqrt);
TS_FORMULA(square);
TS_FORMULA(relu);
TS_FORMULA(sigmoid);
TS_FORMULA(tanh);
TS_FORMULA(silu);
TS_FORMULA(gelu);
TS_FORMULA(gelu_tanh);
TS_FORMULA(swiglu);
/* arg[0] axes: arg[1 ..]; flags 1: keep */
TS_FORMULA(sum);
TS_FORMULA(mean);
TS_FORMULA(max);
TS_FORMULA(identity); /* reshape without a new shape, dequantize, quantize, assign */
TS_FORMULA(reshape);  /* rank arg[0], shape arg[1 ..], no -1 */
TS_FORMULA(permute);  /* axes arg[0 ..] */
TS_FORMULA(slice);    /* axis, begin, end */
TS_FORMULA(concat);   /* axis */
TS_FORMULA(expand);   /* as reshape */
TS_FORMULA(gather);
TS_FORMULA(matmul);          /* flags */
TS_FORMULA(matmul_add);      /* as matmul; the addend is number x[2], or x[2] when the number is 0 */
TS_FORMULA(pad_add);         /* x without its last row, then without its first */
TS_FORMULA(scatter_add_to);  /* 2 x, then gathered rows of x */
TS_FORMULA(transposed_rows); /* x transposed, its rows on an int8 grid */
TS_FORMULA(rms_norm);        /* eps: c->number */
TS_FORMULA(layer_norm);
TS_FORMULA(softmax);
TS_FORMULA(log_softmax);
/* theta: number; flags 1: interleaved; x[1], if any: first; arg[0]: kind of ts_rope_scaling */
TS_FORMULA(rope);
extern const lt_rope_scaling ts_rope_scaling;
/* scale: number, 0: 1/sqrt(D); flags 1: causal; arg[0]: window; x[3], if any: first; flags 2: the last x is spans */
TS_FORMULA(attention);
TS_FORMULA(dropout);       /* p: number; words of `ts_dropout_rng` */
TS_FORMULA(cross_entropy); /* z, target, norm if any */
TS_FORMULA(mse);
TS_FORMULA(kl_div); /* T: number */
/* x, w, then with flags 1 a target, with flags 2 a teacher (temperature: number), with flags 4 the norm. */
TS_FORMULA(head_loss);
/* x, w_ih, w_hh, then by flag 1 b_ih, 2 b_hh, 4 h0, 8 c0; arg[0]: y and c (0), y, c, h */
TS_FORMULA(lstm);
TS_FORMULA(gru);         /* the same without c0; arg[0]: y (0), h (3) */
TS_FORMULA(accumulate);  /* param, x, fresh if any */
TS_FORMULA(assign);      /* param, x */
TS_FORMULA(cache_write); /* cache, x, first */
/* x, gain, bias, running mean and variance; eps: number; flags 1: by the running ones, 2: max(0, y) */
TS_FORMULA(batch_norm);
TS_FORMULA(group_norm);           /* groups: arg[0], eps: number */
TS_FORMULA(running_average);      /* param, x; rate: number */
TS_FORMULA(cross_entropy_smooth); /* as cross_entropy; smoothing: number */
TS_FORMULA(bce);
TS_FORMULA(hinge); /* as cross_entropy; margin: number */
/* x, filters; strides, pads, dilations, groups: arg[0 .. 6] */
TS_FORMULA(conv2d);
/* kernel, strides, pads: arg[0 .. 5]; flags 1: zeros of the padding count */
TS_FORMULA(max_pool2d);
TS_FORMULA(avg_pool2d);
TS_FORMULA(global_avg_pool);
#define TS_HEAD_CE_WEIGHT 0.7
#define TS_HEAD_KL_WEIGHT 0.4

/* The stream of the dropout under test: seed, stream, step. */
#define TS_DROPOUT_SEED 7
#define TS_DROPOUT_SCOPE "drop"
#define TS_STEP 3

/* ---- Number formats ---- */
uint16_t ts_to_bf16(double x); /* by way of float, ties to even */
double ts_from_bf16(uint16_t bits);
uint16_t ts_to_f16(float x);
double ts_from_f16(uint16_t bits);
/* Blocks of LT_Q4_0 or LT_Q8_0 as GGUF has them; n is a multiple of 32. */
void ts_quantize(lt_dtype type, int64_t n, const double *x, void *blocks);
/* The numbers that x stands for once it is quantized as activations are: LT_Q8_0, LT_Q8_1, LT_Q8_K, or LT_I8 with a scale a
 * row of `columns`. */
void ts_round_activations(lt_dtype type, int64_t columns, int64_t n, double *x);
/* Any stored type to double. */
void ts_decode(lt_dtype type, int64_t n, const void *data, double *x);

#endif
