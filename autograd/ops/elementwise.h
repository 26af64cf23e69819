/* elementwise.h - the loops that element-wise and copying ops share. Internal to autograd/ops.
 *
 * One task works on at least LTI_GRAIN elements, so that small values never pay for a second thread. */
#ifndef LTI_ELEMENTWISE_H
#define LTI_ELEMENTWISE_H

#include "autograd/op.h"

enum { LTI_GRAIN = 16384 };

/* ---- Recording ---- */
/* Whether inputs first .. end - 1 are LT_F32; otherwise an error that says what to do. */
bool lti_f32_inputs(const lti_shaper *s, int first, int end);
/* Inputs: LT_F32 of one shape. Every output is like them. */
bool lti_map_shape(lti_shaper *s);
/* Sets output k after checking that its rank and its size in bytes are possible. */
bool lti_out_set(lti_shaper *s, int k, lt_dtype type, int rank, const int64_t *dim);
/* Makes a negative axis count from the end; false when it is not in [0, rank). */
bool lti_axis(int rank, int *axis);
/* The error of an axis that lti_axis refused; nil. */
lt_t lti_axis_fail(lt_t x, const char *op, int axis);

/* ---- Running ---- */
typedef void (*lti_each_body)(void *arg, int64_t begin, int64_t end);
/* body over [0, n) in ranges that depend on n alone. */
void lti_each(int64_t n, lti_each_body body, void *arg);

/* out[0] = kernel(in[0]), out[0] = kernel(in[0], in[1]). */
typedef void (*lti_map1)(int64_t n, const lt_real *x, lt_real *y);
typedef void (*lti_map2)(int64_t n, const lt_real *a, const lt_real *b, lt_real *y);
lt_status lti_map1_run(lti_step *step, lti_map1 kernel);
lt_status lti_map2_run(lti_step *step, lti_map2 kernel);

/* Copies `rows` runs of `bytes` bytes, whose starts lie src_step and dst_step bytes apart. src NULL: zeros. */
void lti_copy_rows(int64_t rows, int64_t bytes, const void *src, int64_t src_step, void *dst, int64_t dst_step);

/* What a value [.., dim[axis], ..] is to an op that works along an axis: `outer` pieces of dim[axis] runs, a run of
 * `inner` elements. */
typedef struct lti_split {
    int64_t outer, length, inner;
} lti_split;
lti_split lti_split_at(int rank, const int64_t *dim, int axis);
/* Bytes of n elements; only for n of whole blocks. */
int64_t lti_bytes_of(lt_dtype type, int64_t n);

/* Frees step->state: the release of ops whose state is one block. */
void lti_state_free(lti_step *step);

#endif
