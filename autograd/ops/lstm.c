/* lstm.c - LSTM over a sequence (Hochreiter and Schmidhuber, 1997; with forget gates, Gers et al., 2000), W = W_hh:
 *
 *     a_t = x_t + b + h_{t-1} W^T;  i, f, o = sigmoid, g = tanh of its quarters
 *     c_t = f c_{t-1} + i g;  h_t = o tanh c_t
 *     dC = dc_t + dh_t o (1 - tanh^2 c_t);  di = dC g,  df = dC c_{t-1},  dg = dC i,  do = dh_t tanh c_t
 *     da_t: each of the four times the slope of its gate;  dc_{t-1} = dC f;  dh_{t-1} = dy_{t-1} + da_t W
 *     dx = da,  db = sum da,  dW = sum over t of da_t^T h_{t-1}
 *
 * x_t is the input's product, made for all steps at once by lt_matmul; dW is one product too, of ordinary nodes. The op
 * keeps the gates (they may take x's place) and c for its gradient, lstm_grad, whose da may take the gates' place. The
 * loop is recurrent_parts.c. Always computed in f32, whatever lt_compute says: sums over many steps live in h and c. */
#include "autograd/ops/recurrent_parts.h"

#include <string.h>

extern const lti_op lti_op_lstm, lti_op_lstm_grad;

/* 1: there is such an input. lstm: x, w [, b] [, h0] [, c0]; lstm_grad: gates, w, c [, c0] [, dy] [, dc]. */
typedef struct lstm_attr {
    int32_t b, h0, c0, dy, dc;
} lstm_attr;

enum { Y, GATES, C };

static bool lstm_shape(lti_shaper *s)
{
    const lstm_attr *attr = s->attr;
    if (!lti_recurrent_fits(s, 4, attr->b)) return false;
    int64_t dim[3] = {s->in[0]->dim[0], s->in[0]->dim[1], s->in[1]->dim[1]};
    return lti_out_set(s, Y, LT_F32, 3, dim) && lti_out_set(s, GATES, LT_F32, 3, s->in[0]->dim) &&
           lti_out_set(s, C, LT_F32, 3, dim);
}

static void lstm_vjp(lti_vjp *v)
{
    const lstm_attr *had = v->attr;
    int b = 2, h0 = b + had->b, c0 = h0 + had->h0, n = 3;
    lstm_attr attr = {.c0 = had->c0, .dy = !lt_is_nil(v->dy[Y]), .dc = !lt_is_nil(v->dy[C])};
    if (!attr.dy && !attr.dc) return;
    lt_t in[6] = {v->out[GATES], v->in[1], v->out[C]};
    if (attr.c0) in[n++] = v->in[c0];
    if (attr.dy) in[n++] = v->dy[Y];
    if (attr.dc) in[n++] = v->dy[C];
    lt_t da = lti_emit(&lti_op_lstm_grad, n, in, &attr, sizeof attr);
    if (v->need[0]) v->dx[0] = da;
    if (v->need[1]) v->dx[1] = lti_recurrent_weight_grad(da, v->out[Y], had->h0 ? v->in[h0] : lt_nil(v->graph));
    if (had->b && v->need[b]) v->dx[b] = lti_output(da, 3);
    if (had->h0 && v->need[h0]) v->dx[h0] = lti_output(da, 1);
    if (had->c0 && v->need[c0]) v->dx[c0] = lti_output(da, 2);
}

/* own: c, then the gates where nobody reads them. */
static void lstm_row(const lti_recurrent_row *r)
{
    lti_step *step = r->step;
    const lstm_attr *attr = step->attr;
    int64_t H = lti_cols(&step->in[1]);
    lt_real *gates = step->out[GATES].data ? (lt_real *)step->out[GATES].data + r->at * 4 * H : r->own + H;
    if (r->t == 0 && attr->c0)
        memcpy(r->own, lti_row_of(&step->in[2 + attr->b + attr->h0], r->b), (size_t)H * sizeof *gates);
    lti_k()->lstm_gates(H, r->z, lti_row_of(&step->in[0], r->at), attr->b ? step->in[2].data : NULL, gates, r->own,
                        r->h);
    lti_store_row(&step->out[Y], r->at, r->h);
    lti_store_row(&step->out[C], r->at, r->own);
}

static lt_status lstm_prepare(lti_step *step)
{
    const lstm_attr *attr = step->attr;
    int64_t H = lti_cols(&step->in[1]);
    const lti_recurrence r = {.gates = 4,
                              .w = 1,
                              .h0 = attr->h0 ? 2 + attr->b : -1,
                              .own = step->out[GATES].data ? H : 5 * H,
                              .row = lstm_row};
    return lti_recurrent_prepare(step, &r);
}

/* ---- The gradient: da, dh0, dc0, db ---- */

static bool grad_shape(lti_shaper *s)
{
    const lti_value *gates = s->in[0], *c = s->in[2];
    lti_value_set(&s->out[0], LT_F32, 3, gates->dim);
    lti_value_set(&s->out[1], LT_F32, 2, (int64_t[]){c->dim[0], c->dim[2]});
    s->out[2] = s->out[1];
    lti_value_set(&s->out[3], LT_F32, 1, &gates->dim[2]);
    return true;
}

/* own: the cotangent of c. */
static void grad_row(const lti_recurrent_row *r)
{
    lti_step *step = r->step;
    const lstm_attr *attr = step->attr;
    int64_t H = lti_cols(&step->in[1]);
    const lti_arg *c = &step->in[2], *c0 = &step->in[3], *dy = c0 + attr->c0, *dc = dy + attr->dy;
    if (attr->dy) lti_k()->add(H, r->h, 1, lti_row_of(dy, r->at), 1, r->h);
    if (attr->dc) lti_k()->add(H, r->own, 1, lti_row_of(dc, r->at), 1, r->own);
    const lt_real *before = r->t > 0 ? lti_row_of(c, r->at - 1) : attr->c0 ? lti_row_of(c0, r->b) : NULL;
    lti_k()->lstm_gates_grad(H, lti_row_of(&step->in[0], r->at), lti_row_of(c, r->at), before, r->h, r->own, r->z);
    lti_store_row(&step->out[0], r->at, r->z);
    if (r->t == 0) lti_store_row(&step->out[2], r->b, r->own);
    lti_k()->add(4 * H, r->sum, 1, r->z, 1, r->sum);
}

static lt_status grad_prepare(lti_step *step)
{
    int64_t H = lti_cols(&step->in[1]);
    const lti_recurrence r = {
        .back = true, .gates = 4, .w = 1, .h0 = 1, .sum_out = 3, .own = H, .sum = 4 * H, .row = grad_row};
    return lti_recurrent_prepare(step, &r);
}

const lti_op lti_op_lstm = {
    .name = "lstm",
    .min_in = 2,
    .max_in = 5,
    .n_out = 3,
    .in_place = {[GATES] = 1},
    .shape = lstm_shape,
    .vjp = lstm_vjp,
    .prepare = lstm_prepare,
    .run = lti_recurrent_run,
    .release = lti_recurrent_release,
};

const lti_op lti_op_lstm_grad = {
    .name = "lstm_grad",
    .min_in = 4,
    .max_in = 6,
    .n_out = 4,
    .in_place = {1},
    .shape = grad_shape,
    .prepare = grad_prepare,
    .run = lti_recurrent_run,
    .release = lti_recurrent_release,
};

lt_recurrent lti_lstm_of(lt_t x, lt_t w_hh, lt_t b_ih, lt_t b_hh, lt_t h0, lt_t c0)
{
    lstm_attr attr = {.h0 = !lt_is_nil(h0), .c0 = !lt_is_nil(c0)};
    lt_t in[5] = {x, w_hh}, b = lt_is_nil(b_ih) ? b_hh : lt_is_nil(b_hh) ? b_ih : lt_add(b_ih, b_hh);
    int n = 2;
    attr.b = !lt_is_nil(b);
    if (attr.b) in[n++] = b;
    if (attr.h0) in[n++] = h0;
    if (attr.c0) in[n++] = c0;
    lt_t y = lti_emit(&lti_op_lstm, n, in, &attr, sizeof attr);
    return (lt_recurrent){y, lti_last_step(y), lti_last_step(lti_output(y, C))};
}

lt_recurrent lt_lstm(lt_t x, lt_t w_ih, lt_t w_hh, lt_t b_ih, lt_t b_hh, lt_t h0, lt_t c0)
{
    return lti_lstm_of(lt_matmul(x, w_ih, LT_TRANSPOSE_B), w_hh, b_ih, b_hh, h0, c0);
}
