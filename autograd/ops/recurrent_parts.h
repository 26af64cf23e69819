/* recurrent_parts.h - the loop over the steps of a sequence that lstm.c and gru.c share. See recurrent_parts.c. */
#ifndef LTI_RECURRENT_PARTS_H
#define LTI_RECURRENT_PARTS_H

#include "autograd/ops/rows.h"
#include "lathe/recurrent.h"

/* One row (text b, step t) of the loop. Pointers that a row keeps over time are its own, zero at the first step. */
typedef struct lti_recurrent_row {
    lti_step *step;
    int64_t b, t, at; /* at: row b T + t of [B, T, ..] */
    lt_real *z;   /* [G H]. Forward: h_{t-1} W^T, NULL when h_{t-1} is 0. Backward: to fill, what is multiplied by W */
    lt_real *h;   /* [H]. Forward: h_{t-1}, to become h_t. Backward: the cotangent of h_t that later steps gave; where
                         `carry` is set, what reaches h_{t-1} beside the product is to be left there */
    lt_real *own; /* [own] */
    lt_real *sum; /* [sum], backward: what all rows of the task add to */
} lti_recurrent_row;

typedef struct lti_recurrence {
    bool back;
    int64_t gates;    /* G: W is [G H, H] */
    int w, h0;        /* which inputs W and h0 are; h0 negative: zeros. Backward: output number of dh0 */
    int sum_out;      /* backward: the output that receives the sums over all rows, [sum] */
    bool carry;       /* backward: rows leave something in h (GRU) */
    int64_t own, sum; /* elements a row, elements a task */
    void (*row)(const lti_recurrent_row *row);
} lti_recurrence;

/* B and T are those of input 0, [B, T, any], H and G H those of W. */
lt_status lti_recurrent_prepare(lti_step *step, const lti_recurrence *r);
lt_status lti_recurrent_run(lti_step *step);
void lti_recurrent_release(lti_step *step);

/* Row `row` of an argument, and a copy into it (nothing when nobody reads it). */
const lt_real *lti_row_of(const lti_arg *a, int64_t row);
void lti_store_row(const lti_arg *a, int64_t row, const lt_real *from);

/* ---- Recording ---- */
/* Checks x [B, T, G H], w [G H, H] of any type that can be decoded, `n_bias` biases [G H], and states [B, H]. */
bool lti_recurrent_fits(const lti_shaper *s, int64_t gates, int n_bias);
/* dW [G H, H] from the cotangent dz [B, T, G H] of h W^T, the states y [B, T, H] and h0 [B, H] (nil: zeros). */
lt_t lti_recurrent_weight_grad(lt_t dz, lt_t y, lt_t h0);
/* The last step of [B, T, H] as [B, H]. */
lt_t lti_last_step(lt_t x);

/* What lt_lstm and lt_gru record, from x W_ih^T, [B, T, G H], without its bias. */
lt_recurrent lti_lstm_of(lt_t x, lt_t w_hh, lt_t b_ih, lt_t b_hh, lt_t h0, lt_t c0);
lt_recurrent lti_gru_of(lt_t x, lt_t w_hh, lt_t b_ih, lt_t b_hh, lt_t h0);

#endif
