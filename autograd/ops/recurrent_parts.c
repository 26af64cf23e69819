/* recurrent_parts.c - the loop over a sequence: one product with W a step, then the gates of each row.
 *
 *     forward:   t = 0 .. T - 1:  z_t = h_{t-1} W^T;  h_t = row(z_t, h_{t-1})
 *     backward:  t = T - 1 .. 0:  (dz_t, rest) = row(dh_t);  dh_{t-1} = dz_t W + rest
 *
 * Step t needs all of step t - 1, but no text needs another: a task owns some rows of the batch and walks through time
 * alone, and there is no barrier between steps. A product shared out over the threads at each step was the alternative:
 * it meets T barriers, and packs W again each time, where one such product takes less than a tenth of a millisecond.
 * W is laid out once a run (kernels/panels.h), decoded if it is a lattice or of 16 bits, and stays in the cache.
 *
 * Rows of a task lie side by side in scratch: in [B, T, ..] they are T rows apart, often a multiple of 4096 bytes,
 * where they would push each other out of the cache. The number of rows of a task and the sums over tasks follow from
 * sizes alone, and gemm_panels gives a row the same bits whatever stands beside it.
 *
 * A single step (generating a token) makes no panels: they would cost more than the product. lti_gemm reads W as
 * stored, before the rows or, backward, after them. */
#include "autograd/ops/recurrent_parts.h"

#include "kernels/gemm.h"
#include "kernels/lattice/lattice.h"
#include "kernels/panels.h"

#include <string.h>

/* Rows of a task: enough that reading W from the cache takes less time than multiplying. Under TASK_WORK
 * multiplications there is nothing to share out; PACK_WORK elements of W are laid out by a task. */
enum { TASK_ROWS = 16, PACK_WORK = 1 << 16, PAD = 16 };
static const double TASK_WORK = 1 << 18;

typedef struct loop_state {
    lti_recurrence r;
    int64_t B, T, H, N;  /* N = G H */
    int64_t tasks, rows; /* rows: the most of a task */
    bool first;          /* whether step 0 takes part in products: it has an h0, or dh0 is asked for */
    int64_t pack_tasks;
    lti_gemm *gemm; /* T = 1 */
    /* Scratch, one after the other, in elements (multiples of 16): W in panels, or the z of a single step; the sums of
     * tasks; rows of a decoded W; slots. */
    int64_t panels, sums, decoded, slot;
    size_t gemm_bytes;
} loop_state;

typedef struct loop {
    lti_step *step;
    const loop_state *s;
    lt_real *panels, *sums, *decoded;
    char *slots, *gemm;
} loop;

static int64_t round16(int64_t n)
{
    return (n + 15) / 16 * 16;
}

static int64_t ld_h(const loop_state *s)
{
    return round16(s->H) + PAD;
}

static int64_t ld_z(const loop_state *s)
{
    return round16(s->N) + PAD;
}

const lt_real *lti_row_of(const lti_arg *a, int64_t row)
{
    return (const lt_real *)a->data + row * lti_cols(a);
}

void lti_store_row(const lti_arg *a, int64_t row, const lt_real *from)
{
    int64_t n = lti_cols(a);
    if (a->data) memcpy((lt_real *)a->data + row * n, from, (size_t)n * sizeof *from);
}

/* ---- Laying out W ---- */

static const lt_real *row_of_w(const loop *l, int64_t row, lt_real *buffer)
{
    const lti_arg *w = &l->step->in[l->s->r.w];
    const char *data = w->data;
    data += lti_bytes_of(w->type, row * l->s->H);
    if (w->type == LT_F32) return (const lt_real *)(const void *)data;
    lti_dequantize(w->type, l->s->H, data, buffer);
    return buffer;
}

/* W^T [H, N]: a row of W is a column of a panel. Forward tasks own panels. */
static void pack_columns(const loop *l, int64_t row, const lt_real *w)
{
    int64_t H = l->s->H;
    lt_real *to = l->panels + row / LTI_PANEL * LTI_PANEL * H + row % LTI_PANEL;
    for (int64_t k = 0; k < H; k++) to[k * LTI_PANEL] = w ? w[k] : 0;
}

/* W [N, H] itself: a row of W is a row of every panel. */
static void pack_row(const loop *l, int64_t row, const lt_real *w)
{
    int64_t H = l->s->H, N = l->s->N;
    for (int64_t from = 0; from < H; from += LTI_PANEL) {
        lt_real *to = l->panels + from * N + row * LTI_PANEL;
        int64_t n = H - from < LTI_PANEL ? H - from : LTI_PANEL;
        memcpy(to, w + from, (size_t)n * sizeof *to);
        memset(to + n, 0, (size_t)(LTI_PANEL - n) * sizeof *to);
    }
}

static void pack_task(void *arg, int64_t task, int thread)
{
    (void)thread;
    const loop *l = arg;
    const loop_state *s = l->s;
    int64_t unit = s->r.back ? 1 : LTI_PANEL, begin, end;
    lti_row_range((s->N + unit - 1) / unit, s->pack_tasks, task, &begin, &end);
    lt_real *buffer = l->decoded + task * round16(s->H);
    for (int64_t row = begin * unit; row < end * unit; row++) {
        const lt_real *w = row < s->N ? row_of_w(l, row, buffer) : NULL;
        if (s->r.back)
            pack_row(l, row, w);
        else
            pack_columns(l, row, w);
    }
}

/* ---- The loop ---- */

/* Rows of the task, its slot of scratch in parts. */
typedef struct share {
    int64_t begin, end;
    lt_real *h, *z, *own, *sum; /* [rows, ld_h], [rows, ld_z], [rows, own], [sum] */
} share;

static share share_of(const loop *l, int64_t task, void *slot)
{
    const loop_state *s = l->s;
    share p = {.h = slot, .sum = l->sums ? l->sums + task * s->r.sum : NULL};
    lti_row_range(s->B, s->tasks, task, &p.begin, &p.end);
    memset(slot, 0, (size_t)s->slot * sizeof(lt_real));
    p.z = p.h + s->rows * ld_h(s);
    p.own = s->T == 1 ? p.z : p.z + s->rows * ld_z(s);
    if (p.sum) memset(p.sum, 0, (size_t)s->r.sum * sizeof *p.sum);
    return p;
}

static void each_row(const loop *l, const share *p, int64_t t, bool product)
{
    const loop_state *s = l->s;
    for (int64_t b = p->begin; b < p->end; b++) {
        int64_t i = b - p->begin;
        lt_real *z = s->T == 1 ? l->panels + b * s->N : p->z + i * ld_z(s);
        s->r.row(&(lti_recurrent_row){.step = l->step,
                                      .b = b,
                                      .t = t,
                                      .at = b * s->T + t,
                                      .z = product || s->r.back ? z : NULL,
                                      .h = p->h + i * ld_h(s),
                                      .own = p->own + i * s->r.own,
                                      .sum = p->sum});
    }
}

static void copy_state(const loop_state *s, const share *p, lt_real *h0, bool in)
{
    for (int64_t b = p->begin; b < p->end; b++) {
        lt_real *row = p->h + (b - p->begin) * ld_h(s);
        if (in)
            memcpy(row, h0 + b * s->H, (size_t)s->H * sizeof *row);
        else
            memcpy(h0 + b * s->H, row, (size_t)s->H * sizeof *row);
    }
}

static void forward_task(void *arg, int64_t task, void *slot)
{
    const loop *l = arg;
    const loop_state *s = l->s;
    share p = share_of(l, task, slot);
    if (s->first) copy_state(s, &p, l->step->in[s->r.h0].data, true);
    for (int64_t t = 0; t < s->T; t++) {
        bool product = t > 0 || s->first;
        if (product && s->T > 1)
            lti_k()->gemm_panels(p.end - p.begin, s->N, s->H, p.h, ld_h(s), l->panels, p.z, ld_z(s), 0);
        each_row(l, &p, t, product);
    }
}

static void backward_task(void *arg, int64_t task, void *slot)
{
    const loop *l = arg;
    const loop_state *s = l->s;
    share p = share_of(l, task, slot);
    for (int64_t t = s->T - 1; t >= 0; t--) {
        each_row(l, &p, t, true);
        if ((t > 0 || s->first) && s->T > 1)
            lti_k()->gemm_panels(p.end - p.begin, s->H, s->N, p.z, ld_z(s), l->panels, p.h, ld_h(s), s->r.carry);
    }
    if (s->first && (s->T > 1 || s->r.carry)) copy_state(s, &p, l->step->out[s->r.h0].data, false);
}

/* ---- Preparing and running ---- */

void lti_recurrent_release(lti_step *step)
{
    loop_state *s = step->state;
    if (s) lti_gemm_free(step->ctx, s->gemm);
    lti_state_free(step);
}

static lt_status prepare_gemm(lti_step *step, loop_state *s)
{
    const bool back = s->r.back;
    lti_gemm_shape shape = {.m = s->B,
                            .n = back ? s->H : s->N,
                            .k = back ? s->N : s->H,
                            .tb = !back,
                            .accumulate = back && s->r.carry,
                            .b_type = step->in[s->r.w].type};
    LTI_TRY(lti_gemm_create(step->ctx, &shape, &s->gemm));
    s->gemm_bytes = lti_round64(lti_gemm_scratch(s->gemm));
    return LT_OK;
}

lt_status lti_recurrent_prepare(lti_step *step, const lti_recurrence *r)
{
    const lti_arg *w = &step->in[r->w], *x = &step->in[0];
    loop_state *s = lti_alloc(step->ctx, sizeof *s);
    if (!s) return LT_ENOMEM;
    step->state = s;
    s->r = *r;
    s->B = x->dim[0], s->T = x->dim[1], s->H = w->dim[1], s->N = w->dim[0];
    s->first = r->back ? step->out[r->h0].data != NULL : r->h0 >= 0;
    double work = (double)s->B * (double)s->T * (double)s->N * (double)s->H;
    s->tasks = (s->B + TASK_ROWS - 1) / TASK_ROWS;
    if ((double)s->tasks * TASK_WORK > work) s->tasks = (int64_t)(work / TASK_WORK);
    if (s->tasks < 1) s->tasks = 1;
    s->rows = (s->B + s->tasks - 1) / s->tasks;
    s->pack_tasks = lti_par_tasks(s->N * s->H, PACK_WORK);
    bool single = s->T == 1;
    lt_status status = single && s->first ? prepare_gemm(step, s) : LT_OK;
    if (status != LT_OK) {
        lti_recurrent_release(step);
        return status;
    }
    s->panels = round16(single ? s->B * s->N : r->back ? lti_panels_count(s->N, s->H) : lti_panels_count(s->H, s->N));
    s->sums = round16(r->sum * s->tasks);
    s->decoded = single || w->type == LT_F32 ? 0 : s->pack_tasks * round16(s->H);
    s->slot = round16(s->rows * (ld_h(s) + (single ? 0 : ld_z(s)) + r->own));
    int64_t elements = s->panels + s->sums + s->decoded + lti_slots_count(s->tasks) * s->slot;
    step->scratch_bytes = (size_t)elements * sizeof(lt_real) + s->gemm_bytes;
    return LT_OK;
}

static void sum_tasks(const loop *l)
{
    const loop_state *s = l->s;
    lt_real *out = s->r.sum ? l->step->out[s->r.sum_out].data : NULL;
    if (!out) return;
    memcpy(out, l->sums, (size_t)s->r.sum * sizeof *out);
    for (int64_t task = 1; task < s->tasks; task++) lti_k()->add(s->r.sum, out, 1, l->sums + task * s->r.sum, 1, out);
}

lt_status lti_recurrent_run(lti_step *step)
{
    const loop_state *s = step->state;
    loop l = {.step = step, .s = s, .panels = step->scratch};
    l.sums = s->sums ? l.panels + s->panels : NULL;
    l.decoded = l.panels + s->panels + s->sums;
    l.slots = (char *)(l.decoded + s->decoded);
    size_t slot = (size_t)s->slot * sizeof(lt_real);
    l.gemm = (char *)step->scratch + step->scratch_bytes - s->gemm_bytes;
    const void *w = step->in[s->r.w].data;
    int64_t slots = slot ? (l.gemm - l.slots) / (int64_t)slot : 1;
    if (s->T > 1)
        lti_par(s->pack_tasks, pack_task, &l);
    else if (s->first && !s->r.back)
        LTI_TRY(lti_gemm_run(s->gemm, step->in[s->r.h0].data, w, l.panels, l.gemm));
    lti_slots_run(s->tasks, slots, slot, l.slots, s->r.back ? backward_task : forward_task, &l);
    if (s->T == 1 && s->first && s->r.back)
        LTI_TRY(lti_gemm_run(s->gemm, l.panels, w, step->out[s->r.h0].data, l.gemm));
    sum_tasks(&l);
    return LT_OK;
}

/* ---- Recording ---- */

bool lti_recurrent_fits(const lti_shaper *s, int64_t gates, int n_bias)
{
    char a[LTI_DIMS_TEXT], b[LTI_DIMS_TEXT];
    const lti_value *x = s->in[0], *w = s->in[1];
    if (!lti_f32_inputs(s, 0, 1) || !lti_f32_inputs(s, 2, s->n_in)) return false;
    if (!lti_can_dequantize(w->type))
        return lti_shape_fail(s, "w_hh is %s; f32, bf16, f16 and block lattices are possible", lt_dtype_name(w->type));
    if (x->rank != 3 || w->rank != 2 || w->dim[1] < 1 || w->dim[0] / gates != w->dim[1] || w->dim[0] % gates ||
        x->dim[2] != w->dim[0] || x->dim[1] < 1)
        return lti_shape_fail(s, "x W_ih^T %s with w_hh %s; they are [B,T,%dH] and [%dH,H], T at least 1",
                              lti_dims(x, a), lti_dims(w, b), (int)gates, (int)gates);
    for (int i = 2; i < s->n_in; i++) {
        const lti_value *v = s->in[i];
        bool bias = i < 2 + n_bias, fits = bias ? v->rank == 1 && v->dim[0] == w->dim[0]
                                                : v->rank == 2 && v->dim[0] == x->dim[0] && v->dim[1] == w->dim[1];
        if (!fits)
            return lti_shape_fail(s, "%s %s with x W_ih^T %s; it is to be %s", bias ? "bias" : "first state",
                                  lti_dims(v, a), lti_dims(x, b), bias ? "as long as its last axis" : "[B,H]");
    }
    return true;
}

lt_t lti_recurrent_weight_grad(lt_t dz, lt_t y, lt_t h0)
{
    int64_t B = lt_dim(y, 0), T = lt_dim(y, 1), H = lt_dim(y, 2);
    lt_t first = lt_is_nil(h0) ? lt_expand(lt_constant(y.graph, 0), 3, (int64_t[]){B, 1, H})
                               : lt_reshape(h0, 3, (int64_t[]){B, 1, H});
    lt_t before = T == 1 ? first : lt_concat(2, (lt_t[]){first, lt_slice(y, 1, 0, T - 1)}, 1); /* [B, T, H] */
    return lt_matmul(lt_reshape(dz, 2, (int64_t[]){B * T, lt_dim(dz, 2)}), lt_reshape(before, 2, (int64_t[]){B * T, H}),
                     LT_TRANSPOSE_A);
}

lt_t lti_last_step(lt_t x)
{
    int64_t B = lt_dim(x, 0), T = lt_dim(x, 1), H = lt_dim(x, 2);
    return lt_reshape(lt_slice(x, 1, T - 1, T), 2, (int64_t[]){B, H});
}
