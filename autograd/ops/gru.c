/* gru.c - GRU over a sequence (Cho et al., 2014; the reset gate after the product, as cuDNN and PyTorch), W = W_hh:
 *
 *     v_t = h_{t-1} W^T + b_h,  a_t = x_t + b_x
 *     r = sigmoid(a_r + v_r),  z = sigmoid(a_z + v_z),  n = tanh(a_n + r v_n)
 *     h_t = (1 - z) n + z h_{t-1}
 *     dn = dh_t (1 - z) (1 - n^2),  dr = dn v_n r (1 - r),  dz = dh_t (h_{t-1} - n) z (1 - z);  da = (dr, dz, dn),
 *     dv = (dr, dz, dn r);  dh_{t-1} = dy_{t-1} + dh_t z + dv W;  dx = da,  dW = sum over t of dv_t^T h_{t-1}
 *
 * x_t is the input's product, made for all steps at once by lt_matmul; dW is one product too. The op keeps r, z, n and
 * v_n for its gradient, gru_grad. db_x and db_h differ in their last third alone: gru_grad gives the sums of dr, dz, dn
 * and dn r, [4H]. The loop is recurrent_parts.c. Always computed in f32, whatever lt_compute says. */
#include "autograd/ops/recurrent_parts.h"

extern const lti_op lti_op_gru, lti_op_gru_grad;

/* 1: there is such an input. gru: x, w [, bx] [, bh] [, h0]; gru_grad: gates, w, y, dy [, h0]. */
typedef struct gru_attr {
    int32_t bx, bh, h0;
} gru_attr;

enum { Y, GATES };

static bool gru_shape(lti_shaper *s)
{
    const gru_attr *attr = s->attr;
    if (!lti_recurrent_fits(s, 3, attr->bx + attr->bh)) return false;
    int64_t dim[3] = {s->in[0]->dim[0], s->in[0]->dim[1], s->in[1]->dim[1]};
    int64_t gates[3] = {dim[0], dim[1], 4 * dim[2]};
    return lti_out_set(s, Y, LT_F32, 3, dim) && lti_out_set(s, GATES, LT_F32, 3, gates);
}

static void gru_vjp(lti_vjp *v)
{
    const gru_attr *had = v->attr;
    int bx = 2, bh = bx + had->bx, h0 = bh + had->bh;
    gru_attr attr = {.h0 = had->h0};
    if (lt_is_nil(v->dy[Y])) return;
    lt_t in[5] = {v->out[GATES], v->in[1], v->out[Y], v->dy[Y]};
    if (attr.h0) in[4] = v->in[h0];
    lt_t da = lti_emit(&lti_op_gru_grad, 4 + attr.h0, in, &attr, sizeof attr), dv = lti_output(da, 1);
    int64_t H = lt_dim(v->out[Y], 2);
    if (v->need[0]) v->dx[0] = da;
    if (v->need[1]) v->dx[1] = lti_recurrent_weight_grad(dv, v->out[Y], had->h0 ? v->in[h0] : lt_nil(v->graph));
    if (had->bx && v->need[bx]) v->dx[bx] = lt_slice(lti_output(da, 3), 0, 0, 3 * H);
    if (had->bh && v->need[bh]) {
        lt_t sums = lti_output(da, 3);
        v->dx[bh] = lt_concat(2, (lt_t[]){lt_slice(sums, 0, 0, 2 * H), lt_slice(sums, 0, 3 * H, 4 * H)}, 0);
    }
    if (had->h0 && v->need[h0]) v->dx[h0] = lti_output(da, 2);
}

/* own: the gates where nobody reads them. */
static void gru_row(const lti_recurrent_row *r)
{
    lti_step *step = r->step;
    const gru_attr *attr = step->attr;
    int64_t H = lti_cols(&step->in[1]);
    lt_real *gates = step->out[GATES].data ? (lt_real *)step->out[GATES].data + r->at * 4 * H : r->own;
    const lt_real *bx = attr->bx ? step->in[2].data : NULL, *bh = attr->bh ? step->in[2 + attr->bx].data : NULL;
    lti_k()->gru_gates(H, r->z, lti_row_of(&step->in[0], r->at), bx, bh, gates, r->h);
    lti_store_row(&step->out[Y], r->at, r->h);
}

static lt_status gru_prepare(lti_step *step)
{
    const gru_attr *attr = step->attr;
    int64_t H = lti_cols(&step->in[1]);
    const lti_recurrence r = {.gates = 3,
                              .w = 1,
                              .h0 = attr->h0 ? 2 + attr->bx + attr->bh : -1,
                              .own = step->out[GATES].data ? 0 : 4 * H,
                              .row = gru_row};
    return lti_recurrent_prepare(step, &r);
}

/* ---- The gradient: da, dv, dh0, sums ---- */

static bool grad_shape(lti_shaper *s)
{
    const lti_value *y = s->in[2];
    int64_t H = y->dim[2], dim[3] = {y->dim[0], y->dim[1], 3 * H};
    lti_value_set(&s->out[0], LT_F32, 3, dim);
    s->out[1] = s->out[0];
    lti_value_set(&s->out[2], LT_F32, 2, (int64_t[]){y->dim[0], H});
    lti_value_set(&s->out[3], LT_F32, 1, (int64_t[]){4 * H});
    return true;
}

/* own: da of the row. */
static void grad_row(const lti_recurrent_row *r)
{
    lti_step *step = r->step;
    const gru_attr *attr = step->attr;
    int64_t H = lti_cols(&step->in[1]);
    const lti_arg *y = &step->in[2];
    lti_k()->add(H, r->h, 1, lti_row_of(&step->in[3], r->at), 1, r->h);
    const lt_real *before = r->t > 0 ? lti_row_of(y, r->at - 1) : attr->h0 ? lti_row_of(&step->in[4], r->b) : NULL;
    lti_k()->gru_gates_grad(H, lti_row_of(&step->in[0], r->at), before, r->h, r->own, r->z);
    lti_store_row(&step->out[0], r->at, r->own);
    lti_store_row(&step->out[1], r->at, r->z);
    lti_k()->add(3 * H, r->sum, 1, r->own, 1, r->sum);
    lti_k()->add(H, r->sum + 3 * H, 1, r->z + 2 * H, 1, r->sum + 3 * H);
}

static lt_status grad_prepare(lti_step *step)
{
    int64_t H = lti_cols(&step->in[1]);
    const lti_recurrence r = {.back = true,
                              .gates = 3,
                              .w = 1,
                              .h0 = 2,
                              .sum_out = 3,
                              .carry = true,
                              .own = 3 * H,
                              .sum = 4 * H,
                              .row = grad_row};
    return lti_recurrent_prepare(step, &r);
}

const lti_op lti_op_gru = {
    .name = "gru",
    .min_in = 2,
    .max_in = 5,
    .n_out = 2,
    .shape = gru_shape,
    .vjp = gru_vjp,
    .prepare = gru_prepare,
    .run = lti_recurrent_run,
    .release = lti_recurrent_release,
};

const lti_op lti_op_gru_grad = {
    .name = "gru_grad",
    .min_in = 4,
    .max_in = 5,
    .n_out = 4,
    .shape = grad_shape,
    .prepare = grad_prepare,
    .run = lti_recurrent_run,
    .release = lti_recurrent_release,
};

lt_recurrent lti_gru_of(lt_t x, lt_t w_hh, lt_t b_ih, lt_t b_hh, lt_t h0)
{
    gru_attr attr = {.bx = !lt_is_nil(b_ih), .bh = !lt_is_nil(b_hh), .h0 = !lt_is_nil(h0)};
    lt_t in[5] = {x, w_hh};
    int n = 2;
    if (attr.bx) in[n++] = b_ih;
    if (attr.bh) in[n++] = b_hh;
    if (attr.h0) in[n++] = h0;
    lt_t y = lti_emit(&lti_op_gru, n, in, &attr, sizeof attr);
    return (lt_recurrent){y, lti_last_step(y), lt_nil(y.graph)};
}

lt_recurrent lt_gru(lt_t x, lt_t w_ih, lt_t w_hh, lt_t b_ih, lt_t b_hh, lt_t h0)
{
    return lti_gru_of(lt_matmul(x, w_ih, LT_TRANSPOSE_B), w_hh, b_ih, b_hh, h0);
}
