/* head_loss.c - the loss of an output head x W^T without its logits: x [.., C], W [V, C], R rows.
 *
 *     z_r = W x_r,  loss = 1/N sum over live rows r, terms k of weight_k l_k(z_r, input_k,r)
 *     dz_r = 1/N sum_k weight_k dl_k/dz,  dX_r = W^T dz_r,  dW = sum_r dz_r x_r^T
 *
 * [R, V] logits of a large vocabulary are the largest thing in a step (1024 rows of 49152: 200 MB, twice with dz). Here
 * rows are taken in chunks of at most 96 MB of dz, for dW is read and written once a chunk, and within them in parts of
 * at most 64 MB of logits, which are still near when the terms read them. Logits are made once; dz takes their place,
 * and dX and dW are made on the spot: in the forward, as outputs 1 and 2, when somebody reads them. The backward
 * multiplies them by the loss's cotangent: nothing at all when that is 1 (scale_by.c). This is the scheme of Liger
 * Kernel's fused linear cross entropy (Hsu et al., 2024), without its copy of dW per chunk.
 *
 * In a graph that computes in bf16 the constructor rounds x and W; then dz is rounded too, row by row, while logits,
 * the loss, dX and dW stay f32. With quantized activations x and a weight that goes with them, logits are summed in
 * integers (matmul_integer.c); dX and dW are products of dz and what the codes stand for.
 *
 * Rows whose target is negative are left out before anything is multiplied: live rows are gathered, so that a masked
 * prompt costs nothing. Products are made for fixed sizes; a chunk that is not full is padded with zero rows, which add
 * nothing, and the rest is taken in quarter chunks so that padding stays small. The loss is summed in double in row
 * order, dW chunk after chunk: the same bits for any number of threads. */
#include "autograd/ops/factors.h"
#include "autograd/ops/head_kind.h"
#include "autograd/ops/integer_factors.h"
#include "autograd/ops/lattice_convert.h"
#include "autograd/ops/rows.h"
#include "kernels/gemm.h"
#include "kernels/integer.h"
#include "kernels/lattice/lattice.h"

#include <string.h>

enum { MAX_TERMS = 4, LEAST_ROWS = 64, SIZES = 2 };

int64_t lti_head_chunk_bytes = (int64_t)96 << 20, lti_head_part_bytes = (int64_t)64 << 20;

/* Of a chunk in graphs with checkpointed segments. The head is then what needs most: smaller chunks add to dW more
 * often, which takes 3 % of such a step and saves 70 MB. */
static const int64_t SMALL_BYTES = (int64_t)24 << 20;

extern const lti_op lti_op_head_loss;

typedef struct head_term {
    const lti_head_kind *kind;
    double weight, temperature, smoothing;
} head_term;

typedef struct head_attr {
    head_term term[MAX_TERMS];
    int64_t n, has_norm;
    int64_t small;   /* memory is short: chunks of at most SMALL_BYTES */
    int64_t bf16;    /* dz is rounded */
    int64_t integer; /* x and w are multiplied in integers; two more inputs: their scales, or they themselves */
} head_attr;

/* The products of a chunk of `rows` rows, whose logits are made `part` rows at a time. */
typedef struct head_size {
    int64_t rows, part;
    lti_gemm *logits, *dx, *dw_first, *dw_more; /* z = x W^T; dX = dz W; dW = dz^T x; dW += dz^T x */
    lti_igemm *integer;                         /* in place of `logits` */
} head_size;

typedef struct head_state {
    head_size size[SIZES]; /* size[0] the whole chunk, size[1] a quarter; rows 0: not made */
    size_t at_z, at_dz, at_x, at_scale, at_decoded, at_dx, at_live, at_loss, at_slots, at_gemm, slot_bytes;
    int64_t slots;
} head_state;

typedef struct head_run {
    lti_step *step;
    const head_state *state;
    double norm;
    bool want_dz, bf16;
    lt_real *z, *dx; /* [chunk, V], or [part, V] when dz is not to take its place; [chunk, C] */
    uint16_t *dz;    /* [chunk, V], when bf16 */
    char *x;         /* [chunk, C], of x's type */
    char *decoded;   /* [chunk, C], of dz's type: x as dW reads it, unless `x` is */
    lt_real *scale;  /* [chunk]: of the rows of `x`, when those are LT_I8 */
    int64_t *live;   /* [R]: rows that count */
    double *loss;    /* [R], by place in `live` */
    void *gemm;
    int64_t V, C, n_live;
    int64_t begin, part; /* first place in `live` of the chunk at hand; first row in it of the part at hand */
} head_run;

/* ---- Recording ---- */

static bool head_shape(lti_shaper *s)
{
    char a[LTI_DIMS_TEXT], b[LTI_DIMS_TEXT];
    const head_attr *attr = s->attr;
    const lti_value *x = s->in[0], *w = s->in[1];
    bool both = (x->type == LT_BF16 && w->type == LT_BF16) || attr->integer;
    if (!both && !lti_f32_inputs(s, 0, 1)) return false;
    if (!attr->integer && !lti_can_dequantize(w->type))
        return lti_shape_fail(s, "the head's weight is %s; f32, bf16, f16 or a block lattice is possible",
                              lt_dtype_name(w->type));
    if (x->rank < 1 || w->rank != 2 || w->dim[1] != x->dim[x->rank - 1] || w->dim[0] < 1 || w->dim[1] < 1)
        return lti_shape_fail(s, "x %s with weight %s; they are [.., C] and [V, C]", lti_dims(x, a), lti_dims(w, b));
    for (int i = 0; i < attr->n; i++)
        if (!attr->term[i].kind->check(s, x, s->in[2 + i], w->dim[0])) return false;
    if (attr->has_norm && (s->in[2 + attr->n]->rank != 0 || s->in[2 + attr->n]->type != LT_F32))
        return lti_shape_fail(s, "`norm` is to be a single number");
    lti_value_set(&s->out[0], LT_F32, 0, NULL);
    lti_value_set(&s->out[1], LT_F32, x->rank, x->dim);
    lti_value_set(&s->out[2], LT_F32, 2, w->dim);
    return true;
}

static void head_vjp(lti_vjp *v)
{
    if (lt_is_nil(v->dy[0])) return;
    for (int i = 0; i < 2; i++)
        if (v->need[i]) v->dx[i] = lti_scale_by(v->out[1 + i], v->dy[0]);
}

/* ---- Preparing ---- */

/* Rows taken at a time, as even as the limit allows, so that the last are nearly full. */
static int64_t some_rows(int64_t rows, int64_t row_bytes, int64_t limit)
{
    int64_t most = limit / row_bytes;
    if (most < LEAST_ROWS) most = LEAST_ROWS;
    if (rows <= most) return rows;
    int64_t chunks = (rows + most - 1) / most;
    return (rows + chunks - 1) / chunks;
}

static bool want_dz(const lti_step *step)
{
    return step->out[1].data || step->out[2].data;
}

static lt_dtype dz_type(const lti_step *step)
{
    return ((const head_attr *)step->attr)->bf16 ? LT_BF16 : LT_F32;
}

/* Scales of x (0) or of w (1), when those are LT_I8 codes; else NULL. */
static const lt_real *scales_of(const lti_step *step, int which)
{
    const head_attr *attr = step->attr;
    return step->in[which].type == LT_I8 ? step->in[2 + attr->n + attr->has_norm + which].data : NULL;
}

static int64_t at_most(const lti_step *step, int64_t limit)
{
    const head_attr *attr = step->attr;
    return attr->small && limit > SMALL_BYTES ? SMALL_BYTES : limit;
}

/* Rows of a chunk; without dz there are only parts. */
static int64_t chunk_rows(const lti_step *step, int64_t rows)
{
    int64_t V = step->in[1].dim[0], element = (int64_t)lt_dtype_bytes(dz_type(step));
    if (want_dz(step)) return some_rows(rows, V * element, at_most(step, lti_head_chunk_bytes));
    return some_rows(rows, V * (int64_t)sizeof(lt_real), at_most(step, lti_head_part_bytes));
}

static void free_size(lt_ctx *ctx, head_size *size)
{
    lti_igemm_free(ctx, size->integer);
    lti_gemm_free(ctx, size->logits);
    lti_gemm_free(ctx, size->dx);
    lti_gemm_free(ctx, size->dw_first);
    lti_gemm_free(ctx, size->dw_more);
}

static void head_release(lti_step *step)
{
    head_state *state = step->state;
    for (int i = 0; state && i < SIZES; i++) free_size(step->ctx, &state->size[i]);
    lti_state_free(step);
}

static lt_status make_logits(lti_step *step, head_size *size)
{
    int64_t m = size->part, V = step->in[1].dim[0], C = step->in[1].dim[1];
    lt_dtype x = step->in[0].type, w = step->in[1].type;
    if (((const head_attr *)step->attr)->integer)
        return lti_igemm_create(step->ctx, &(lti_igemm_shape){.m = m, .n = V, .k = C, .a_type = x, .b_type = w},
                                &size->integer);
    return lti_gemm_create(step->ctx, &(lti_gemm_shape){.m = m, .n = V, .k = C, .tb = true, .a_type = x, .b_type = w},
                           &size->logits);
}

static lt_status make_size(lti_step *step, int64_t rows, head_size *size)
{
    int64_t V = step->in[1].dim[0], C = step->in[1].dim[1];
    lt_dtype dz = dz_type(step);
    size->part = some_rows(rows, V * (int64_t)sizeof(lt_real), at_most(step, lti_head_part_bytes));
    size->rows = rows = (rows + size->part - 1) / size->part * size->part;
    LTI_TRY(make_logits(step, size));
    lti_gemm_shape dx = {.m = rows, .n = C, .k = V, .a_type = dz, .b_type = step->in[1].type};
    if (step->out[1].data) LTI_TRY(lti_gemm_create(step->ctx, &dx, &size->dx));
    if (!step->out[2].data) return LT_OK;
    lti_gemm_shape dw = {.m = V, .n = C, .k = rows, .ta = true, .a_type = dz, .b_type = dz};
    LTI_TRY(lti_gemm_create(step->ctx, &dw, &size->dw_first));
    dw.accumulate = true;
    return lti_gemm_create(step->ctx, &dw, &size->dw_more);
}

static size_t take(size_t *total, size_t bytes)
{
    size_t at = *total;
    *total += lti_round64(bytes);
    return at;
}

static size_t gemm_bytes(const head_state *state)
{
    size_t most = 0;
    for (int i = 0; i < SIZES; i++) {
        const head_size *s = &state->size[i];
        const lti_gemm *all[] = {s->logits, s->dx, s->dw_first, s->dw_more};
        for (int k = 0; k < LTI_COUNT(all); k++)
            if (all[k] && lti_gemm_scratch(all[k]) > most) most = lti_gemm_scratch(all[k]);
        if (s->integer && lti_igemm_scratch(s->integer) > most) most = lti_igemm_scratch(s->integer);
    }
    return most;
}

/* Scratch of a row: what the kinds want and, of several terms, the sum and one term's dz. */
static size_t row_bytes(const lti_step *step, int64_t V)
{
    const head_attr *attr = step->attr;
    size_t most = 0, row = lti_round64((size_t)V * sizeof(lt_real));
    for (int i = 0; i < attr->n; i++) {
        const lti_head_kind *kind = attr->term[i].kind;
        size_t bytes = kind->scratch ? lti_round64(kind->scratch(V)) : 0;
        if (bytes > most) most = bytes;
    }
    return most + (want_dz(step) && attr->n > 1 ? 2 * row : 0);
}

static lt_status head_prepare(lti_step *step)
{
    const head_attr *attr = step->attr;
    int64_t all = lti_rows(&step->in[0]), V = step->in[1].dim[0], C = step->in[1].dim[1];
    if (all == 0) return LT_OK;
    head_state *state = lti_alloc(step->ctx, sizeof *state);
    if (!state) return LT_ENOMEM;
    step->state = state;
    int64_t rows = chunk_rows(step, all), quarter = (rows + 3) / 4;
    LTI_TRY(make_size(step, rows, &state->size[0]));
    if (rows >= LEAST_ROWS) LTI_TRY(make_size(step, quarter, &state->size[1]));
    rows = state->size[0].rows;
    int64_t part = state->size[0].part > state->size[1].part ? state->size[0].part : state->size[1].part;
    bool own_dz = want_dz(step) && dz_type(step) == LT_BF16;
    state->slots = lti_slots_count(part);
    state->slot_bytes = row_bytes(step, V);
    size_t total = 0, real = sizeof(lt_real);
    state->at_z = take(&total, (size_t)((own_dz || !want_dz(step) ? part : rows) * V) * real);
    state->at_dz = take(&total, own_dz ? (size_t)(rows * V) * sizeof(uint16_t) : 0);
    state->at_x = take(&total, (size_t)lti_bytes_of(step->in[0].type, rows * C));
    state->at_scale = take(&total, step->in[0].type == LT_I8 ? (size_t)rows * real : 0);
    state->at_decoded = take(&total, attr->integer ? (size_t)(rows * C) * lt_dtype_bytes(dz_type(step)) : 0);
    state->at_dx = take(&total, step->out[1].data ? (size_t)(rows * C) * real : 0);
    state->at_live = take(&total, (size_t)all * sizeof(int64_t));
    state->at_loss = take(&total, (size_t)all * sizeof(double));
    state->at_slots = take(&total, (size_t)state->slots * state->slot_bytes);
    state->at_gemm = take(&total, gemm_bytes(state));
    step->scratch_bytes = total;
    return LT_OK;
}

/* ---- Running ---- */

/* Lists the rows that count. */
static lt_status find_live(head_run *run)
{
    const lti_step *step = run->step;
    const head_attr *attr = step->attr;
    int64_t rows = lti_rows(&step->in[0]), unused;
    for (int k = 0; k < attr->n; k++)
        if (attr->term[k].kind->targets) LTI_TRY(lti_live_targets(step, &step->in[2 + k], run->V, &unused));
    for (int64_t r = 0; r < rows; r++) {
        bool counts = true;
        for (int k = 0; k < attr->n; k++)
            if (attr->term[k].kind->targets && ((const int32_t *)step->in[2 + k].data)[r] < 0) counts = false;
        if (counts) run->live[run->n_live++] = r;
    }
    return LT_OK;
}

/* Logits of row i of the chunk at hand. Without dz, and when that lies elsewhere, only a part is there at a time. */
static lt_real *logits_of(const head_run *run, int64_t i)
{
    return run->z + (run->want_dz && !run->bf16 ? i : i - run->part) * run->V;
}

/* One row of the part: all terms read z; then dz takes its place, or is rounded to where it belongs. */
static void head_row(void *arg, int64_t in_part, void *scratch)
{
    const head_run *run = arg;
    const lti_step *step = run->step;
    const head_attr *attr = step->attr;
    int64_t V = run->V, i = run->part + in_part;
    bool several = run->want_dz && attr->n > 1;
    size_t stride = lti_round64((size_t)V * sizeof(lt_real));
    lt_real *z = logits_of(run, i), *sum = scratch, *part = (lt_real *)((char *)scratch + stride);
    lti_head_row row = {.V = V, .z = z, .row = run->live[run->begin + i]};
    row.scratch = several ? (char *)scratch + 2 * stride : scratch;
    double loss = 0;
    for (int k = 0; k < attr->n; k++) {
        const head_term *term = &attr->term[k];
        row.input = &step->in[2 + k];
        row.temperature = term->temperature;
        row.smoothing = term->smoothing;
        row.scale = (lt_real)(term->weight / run->norm);
        row.dz = !run->want_dz ? NULL : !several ? z : k == 0 ? sum : part;
        loss += term->weight * term->kind->row(&row);
        if (several && k > 0) lti_k()->add(V, sum, 1, part, 1, sum);
    }
    if (run->want_dz && run->bf16)
        lti_k()->to_bf16(V, several ? sum : z, run->dz + i * V);
    else if (several)
        memcpy(z, sum, (size_t)V * sizeof *z);
    run->loss[run->begin + i] = loss;
}

static void gather_rows(const head_run *run, int64_t n, int64_t padded)
{
    const char *x = run->step->in[0].data;
    size_t bytes = (size_t)lti_bytes_of(run->step->in[0].type, run->C);
    for (int64_t i = 0; i < n; i++)
        memcpy(run->x + (size_t)i * bytes, x + (size_t)run->live[run->begin + i] * bytes, bytes);
    memset(run->x + (size_t)n * bytes, 0, (size_t)(padded - n) * bytes);
    const lt_real *scale = scales_of(run->step, 0);
    for (int64_t i = 0; scale && i < padded; i++) run->scale[i] = i < n ? scale[run->live[run->begin + i]] : 0;
}

/* x of the chunk as dW reads it. */
static const void *numbers_of_x(const head_run *run, int64_t rows)
{
    const lti_step *step = run->step;
    if (step->in[0].type == dz_type(step)) return run->x;
    lti_decode_rows(rows, run->C, step->in[0].type, run->x, run->scale, dz_type(step), run->decoded);
    return run->decoded;
}

static lt_status part_logits(const head_run *run, const head_size *size)
{
    const lti_arg *in = run->step->in;
    const char *x = run->x + lti_bytes_of(in[0].type, run->part * run->C);
    const lt_real *scale = in[0].type == LT_I8 ? run->scale + run->part : NULL;
    lt_real *z = logits_of(run, run->part); /* [part, V] */
    if (!size->integer) return lti_gemm_run(size->logits, x, in[1].data, z, run->gemm);
    return lti_igemm_run(size->integer, x, scale, in[1].data, scales_of(run->step, 1), z, run->gemm);
}

/* Logits and terms of the chunk's `n` live rows, part by part. */
static lt_status head_parts(head_run *run, const head_size *size, int64_t n)
{
    const lti_step *step = run->step;
    const head_state *state = run->state;
    for (run->part = 0; run->part < n; run->part += size->part) {
        int64_t rows = n - run->part < size->part ? n - run->part : size->part;
        LTI_TRY(part_logits(run, size));
        lti_slots_run(rows, state->slots, state->slot_bytes, (char *)step->scratch + state->at_slots, head_row, run);
    }
    return LT_OK;
}

/* `n` live rows from run->begin on, by the products of `size`. */
static lt_status head_chunk(head_run *run, const head_size *size, int64_t n)
{
    const lti_step *step = run->step;
    lt_real *dx = step->out[1].data, *dw = step->out[2].data;
    gather_rows(run, n, size->rows);
    LTI_TRY(head_parts(run, size, n));
    if (!run->want_dz) return LT_OK;
    char *dz = run->bf16 ? (char *)run->dz : (char *)run->z;
    size_t row = (size_t)run->V * (run->bf16 ? sizeof *run->dz : sizeof *run->z);
    memset(dz + (size_t)n * row, 0, (size_t)(size->rows - n) * row);
    const lti_gemm *add_dw = run->begin ? size->dw_more : size->dw_first;
    if (dw) LTI_TRY(lti_gemm_run(add_dw, dz, numbers_of_x(run, size->rows), dw, run->gemm));
    if (!dx) return LT_OK;
    LTI_TRY(
        lti_gemm_run_scaled(size->dx, dz, step->in[1].data, scales_of(step, 1), run->dx, run->gemm)); /* [rows, C] */
    for (int64_t i = 0; i < n; i++)
        memcpy(dx + run->live[run->begin + i] * run->C, run->dx + i * run->C, (size_t)run->C * sizeof *dx);
    return LT_OK;
}

static lt_status all_chunks(head_run *run)
{
    const head_size *size = run->state->size;
    while (run->begin < run->n_live) {
        int64_t left = run->n_live - run->begin;
        bool small = size[1].rows && left <= size[0].rows - size[1].rows;
        const head_size *use = &size[small];
        int64_t n = left < use->rows ? left : use->rows;
        LTI_TRY(head_chunk(run, use, n));
        run->begin += n;
    }
    return LT_OK;
}

/* Nothing counts: a loss of 0 without a gradient. */
static void set_zero(lti_step *step)
{
    for (int k = 0; k < 3; k++)
        if (step->out[k].data) memset(step->out[k].data, 0, (size_t)step->out[k].count * sizeof(lt_real));
}

static lt_status head_run_step(lti_step *step)
{
    const head_state *state = step->state;
    const head_attr *attr = step->attr;
    if (!state) {
        set_zero(step);
        return LT_OK;
    }
    char *scratch = step->scratch;
    head_run run = {.step = step,
                    .state = state,
                    .want_dz = want_dz(step),
                    .bf16 = dz_type(step) == LT_BF16,
                    .z = (lt_real *)(scratch + state->at_z),
                    .dz = (uint16_t *)(scratch + state->at_dz),
                    .x = scratch + state->at_x,
                    .scale = (lt_real *)(scratch + state->at_scale),
                    .decoded = scratch + state->at_decoded,
                    .dx = (lt_real *)(scratch + state->at_dx),
                    .live = (int64_t *)(scratch + state->at_live),
                    .loss = (double *)(scratch + state->at_loss),
                    .gemm = scratch + state->at_gemm,
                    .V = step->in[1].dim[0],
                    .C = step->in[1].dim[1]};
    LTI_TRY(find_live(&run));
    run.norm = attr->has_norm ? (double)lti_number(&step->in[2 + attr->n]) : (double)run.n_live;
    if (run.n_live == 0 || run.norm == 0) {
        set_zero(step);
        return LT_OK;
    }
    lt_real *dx = step->out[1].data;
    if (dx && run.n_live < lti_rows(&step->in[0])) memset(dx, 0, (size_t)step->out[1].count * sizeof *dx);
    LTI_TRY(all_chunks(&run));
    double sum = 0;
    for (int64_t i = 0; i < run.n_live; i++) sum += run.loss[i];
    if (step->out[0].data) *(lt_real *)step->out[0].data = (lt_real)(sum / run.norm);
    return LT_OK;
}

const lti_op lti_op_head_loss = {
    .name = "head_loss",
    .min_in = 3,
    .max_in = 5 + MAX_TERMS,
    .n_out = 3,
    .flags = LTI_KEEP | LTI_AHEAD,
    .shape = head_shape,
    .vjp = head_vjp,
    .prepare = head_prepare,
    .run = head_run_step,
    .release = head_release,
};

/* Brings x and w to types that can be multiplied. In a graph that computes in bf16 they are rounded, and so is dz; a
 * lattice weight of x in f32 is multiplied as it is. */
static void match_factors(lt_t *x, lt_t *w, head_attr *attr)
{
    attr->integer = lti_is_activations(lt_type(*x)) && lti_igemm_takes(lt_type(*x), lt_type(*w));
    if (!attr->integer && lti_is_activations(lt_type(*x))) *x = lt_dequantize(*x);
    if (!attr->integer && lt_type(*w) == LT_I8) *w = lt_dequantize(*w);
    attr->bf16 = lt_type(*x) == LT_BF16;
    bool stored = lt_type(*w) != LT_F32 && lt_type(*w) != LT_BF16 && !attr->integer;
    bool fits = lt_rank(*x) >= 1 && lt_rank(*w) == 2 && lt_dim(*x, -1) >= 1;
    if (stored || !(attr->integer || lt_type(*x) == LT_F32) || !fits) return;
    int64_t C = lt_dim(*x, -1);
    if (!lti_worth_bf16(x->graph, 1, lt_count(*x) / C, lt_dim(*w, 0), C)) return;
    attr->bf16 = true;
    if (!attr->integer) *x = lt_cast(*x, LT_BF16), *w = lti_rounded(*w);
}

lt_t lt_head_loss(lt_t x, lt_t w, int n, const lt_head_term *terms, lt_t norm)
{
    if (lt_is_nil(x)) return x;
    if (n < 1 || n > MAX_TERMS)
        return lti_graph_fail(x.graph, LT_EINVAL, "head_loss: %d terms; 1 to %d are possible", n, MAX_TERMS);
    head_attr attr;
    memset(&attr, 0, sizeof attr);
    if (!lt_is_nil(w) && w.graph == x.graph) match_factors(&x, &w, &attr);
    attr.n = n;
    attr.has_norm = !lt_is_nil(norm);
    attr.small = lti_graph_checkpoints(x.graph);
    lt_t in[5 + MAX_TERMS] = {x, w};
    for (int i = 0; i < n; i++) {
        const lt_head_term *t = &terms[i];
        const char *wrong = lti_wrong_head_term(t);
        if (wrong) return lti_graph_fail(x.graph, LT_EINVAL, "head_loss: term %d has %s", i, wrong);
        attr.term[i] = (head_term){t->kind, t->weight, t->temperature, t->smoothing};
        in[2 + i] = t->input;
    }
    in[2 + n] = norm;
    int n_in = 2 + n + (int)attr.has_norm;
    for (int i = 0; i < 2 && attr.integer; i++)
        in[n_in++] = lt_type(in[i]) == LT_I8 ? lti_codes_scale(in[i], "head_loss") : in[i];
    return lti_emit(&lti_op_head_loss, n_in, in, &attr, sizeof attr);
}
