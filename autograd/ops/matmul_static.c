/* matmul_static.c - y = x w^T in integers, of numbers on grids: x [.., K] on a static one (fake_quant_static.c), w [N, K]
 * on a symmetric integer grid with a scale a row (fake_quant.c).
 *
 *     y_rn = s t_n sum of code code,  code of x = x / s, of w = w_n / t_n: whole numbers but for rounding
 *     dx = dy w,  dw = dy^T x
 *
 * The numbers are those of the float product but for the order of summation, and the gradients that product's: what was
 * clipped, and what a learned scale is told, is the business of the nodes that made x and w: rules for weights go with
 * it as they are. Codes are made here, of both factors, in every run: whether a site's codes are signed is known when
 * it was observed and not when it is recorded. Codes of 0 .. 255, where nothing negative was seen, do not fit rows of
 * int8; they, and what comes before a scale is known, are multiplied as floats. A row that is not finite has the scale
 * NaN. With lt_integer_backward dx is a sum of integers, too, as in matmul_integer.c.
 *
 * Training graphs alone do it. Sums in another order tip codes of the next layers at ties, and an evaluation is to have
 * the loss that it has of the exported numbers, whose grids are not nodes.
 *
 * Rejected: quantizing straight to LT_I8. The hook would have to know the sign, and w its rule; a pass over x is saved.
 *
 * lt_matmul records this op when it finds both factors made so. Inputs: x, w, t [N], grid [2], switch, and in the `add`
 * form the addend. */
#include "autograd/node.h"
#include "autograd/ops/factors.h"
#include "autograd/ops/grids.h"
#include "autograd/ops/integer_factors.h"
#include "kernels/gemm.h"
#include "kernels/integer.h"

#include <float.h>
#include <math.h>
#include <string.h>

extern const lti_op lti_op_fake_quant, lti_op_fake_quant_static, lti_op_matmul_static, lti_op_matmul_static_add;

enum { FACTORS = 5 };

typedef struct product_attr {
    double least; /* what a smaller scale of w counts as */
} product_attr;

static bool static_shape(lti_shaper *s)
{
    char x[LTI_DIMS_TEXT], y[LTI_DIMS_TEXT];
    const lti_value *a = s->in[0], *b = s->in[1];
    if (!lti_f32_inputs(s, 0, s->n_in)) return false;
    if (a->rank < 2 || b->rank != 2 || a->dim[a->rank - 1] != b->dim[1] || b->dim[1] < 1)
        return lti_shape_fail(s, "%s with %s transposed: they are to be [.., M, K] and [N, K]", lti_dims(a, x),
                              lti_dims(b, y));
    int64_t dim[LT_MAX_RANK];
    for (int i = 0; i < a->rank; i++) dim[i] = a->dim[i];
    dim[a->rank - 1] = b->dim[0];
    return lti_out_set(s, 0, LT_F32, a->rank, dim);
}

/* ---- Gradient ---- */

static lt_t as_rows(lt_t x)
{
    return lt_reshape(x, 2, (int64_t[]){-1, lt_dim(x, -1)});
}

static void static_vjp(lti_vjp *v)
{
    lt_t x = v->in[0], w = v->in[1], dy = v->dy[0];
    if (v->need[0] && v->graph->integer_backward) {
        lt_t columns = lt_quantize_rows(lt_permute(w, (int[]){1, 0}));
        v->dx[0] = lt_matmul(lt_quantize_activations(dy, LT_I8), columns, LT_TRANSPOSE_B);
    } else if (v->need[0]) {
        v->dx[0] = lt_matmul(dy, w, 0);
    }
    if (v->need[1]) v->dx[1] = lt_matmul(as_rows(dy), as_rows(x), LT_TRANSPOSE_A);
}

/* ---- Running ---- */

typedef struct static_state {
    lti_igemm *integer;
    lti_gemm *real;
    size_t at_x, at_w, at_s, at_t, at_gemm; /* in scratch: codes of both, their scales, the products' own */
} static_state;

static void static_release(lti_step *step)
{
    static_state *state = step->state;
    if (state) lti_igemm_free(step->ctx, state->integer);
    if (state) lti_gemm_free(step->ctx, state->real);
    lti_state_free(step);
}

static lt_status make_products(lti_step *step, static_state *state)
{
    int64_t m = lti_rows(&step->in[0]), n = step->in[1].dim[0], k = step->in[1].dim[1];
    bool add = step->n_in > FACTORS;
    lti_igemm_shape integer = {.m = m, .n = n, .k = k, .a_type = LT_I8, .b_type = LT_I8, .accumulate = add};
    lti_gemm_shape real = {.m = m, .n = n, .k = k, .tb = true, .accumulate = add};
    LTI_TRY(lti_igemm_create(step->ctx, &integer, &state->integer));
    return lti_gemm_create(step->ctx, &real, &state->real);
}

static lt_status static_prepare(lti_step *step)
{
    static_state *state = lti_alloc(step->ctx, sizeof *state);
    if (!state) return LT_ENOMEM;
    step->state = state;
    lt_status status = make_products(step, state);
    if (status != LT_OK) {
        static_release(step);
        return status;
    }
    size_t m = (size_t)lti_rows(&step->in[0]), n = (size_t)step->in[1].dim[0];
    size_t a = lti_igemm_scratch(state->integer), b = lti_gemm_scratch(state->real);
    state->at_w = state->at_x + lti_round64((size_t)step->in[0].count);
    state->at_s = state->at_w + lti_round64((size_t)step->in[1].count);
    state->at_t = state->at_s + lti_round64(m * sizeof(lt_real));
    state->at_gemm = state->at_t + lti_round64(n * sizeof(lt_real));
    step->scratch_bytes = state->at_gemm + (a > b ? a : b);
    return LT_OK;
}

typedef struct codes_job {
    const lt_real *x, *scale;
    int64_t rows, K, tasks, step; /* step: from the scale of a row to that of the next */
    lt_real least;
    int8_t *codes;
    lt_real *scale_out;
} codes_job;

/* x lies on its grid: what is left to round is an error of the division. */
static void codes_row(const codes_job *j, int64_t row)
{
    const lt_real *x = j->x + row * j->K;
    lt_real scale = j->scale[row * j->step];
    int8_t *codes = j->codes + row * j->K;
    if (scale < j->least) scale = j->least;
    lt_real inverse = scale >= FLT_MIN ? 1 / scale : 0; /* grids.c */
    bool finite = lti_k()->all_finite(j->K, x) && isfinite((double)scale);
    j->scale_out[row] = finite ? scale : (lt_real)NAN;
    if (!finite) memset(codes, 0, (size_t)j->K);
    for (int64_t i = 0; i < j->K && finite; i++) {
        lt_real code = x[i] * inverse;
        code = code < -128 ? -128 : code > 127 ? 127 : code;
        codes[i] = (int8_t)(int32_t)(code + (code < 0 ? (lt_real)-0.5 : (lt_real)0.5));
    }
}

static void codes_task(void *arg, int64_t task, int thread)
{
    const codes_job *j = arg;
    int64_t begin, end;
    (void)thread;
    lti_row_range(j->rows, j->tasks, task, &begin, &end);
    for (int64_t row = begin; row < end; row++) codes_row(j, row);
}

static void make_codes(codes_job *job)
{
    job->tasks = lti_row_tasks(job->rows, job->K, 256);
    lti_par_fixed(job->tasks, codes_task, job);
}

static lt_status run_integer(lti_step *step)
{
    const static_state *state = step->state;
    char *scratch = step->scratch;
    const lti_arg *x = &step->in[0], *w = &step->in[1];
    codes_job of_x = {.x = x->data, .scale = step->in[3].data, .rows = lti_rows(x), .K = w->dim[1]};
    codes_job of_w = {.x = w->data, .scale = step->in[2].data, .rows = w->dim[0], .K = w->dim[1], .step = 1};
    of_x.codes = (int8_t *)(scratch + state->at_x), of_x.scale_out = (lt_real *)(void *)(scratch + state->at_s);
    of_w.codes = (int8_t *)(scratch + state->at_w), of_w.scale_out = (lt_real *)(void *)(scratch + state->at_t);
    of_w.least = (lt_real)((const product_attr *)step->attr)->least;
    make_codes(&of_x);
    make_codes(&of_w);
    return lti_igemm_run(state->integer, of_x.codes, of_x.scale_out, of_w.codes, of_w.scale_out, step->out[0].data,
                         scratch + state->at_gemm);
}

static lt_status static_run(lti_step *step)
{
    const static_state *state = step->state;
    const lt_real *grid = step->in[3].data;
    lt_real *c = step->out[0].data;
    if (step->n_in > FACTORS && step->in[FACTORS].data != c)
        lti_copy_rows(1, step->out[0].count * (int64_t)sizeof(lt_real), step->in[FACTORS].data, 0, c, 0);
    if (lti_number(&step->in[4]) != 0 && grid[0] > 0 && grid[1] < 0) return run_integer(step);
    return lti_gemm_run(state->real, step->in[0].data, step->in[1].data, c, (char *)step->scratch + state->at_gemm);
}

const lti_op lti_op_matmul_static = {
    .name = "matmul_static",
    .min_in = FACTORS,
    .max_in = FACTORS,
    .n_out = 1,
    .shape = static_shape,
    .vjp = static_vjp,
    .prepare = static_prepare,
    .run = static_run,
    .release = static_release,
    .accumulate = &lti_op_matmul_static_add,
};

const lti_op lti_op_matmul_static_add = {
    .name = "matmul_static_add",
    .min_in = FACTORS + 1,
    .max_in = FACTORS + 1,
    .n_out = 1,
    .in_place = {1 << FACTORS},
    .shape = static_shape,
    .prepare = static_prepare,
    .run = static_run,
    .release = static_release,
};

/* ---- Finding ---- */

/* The node that made x, whatever views lie between. */
static const lti_node *maker(lt_t x)
{
    lti_ref r = lti_root(x.graph->node, (lti_ref){x.node, x.output});
    return &x.graph->node[r.node];
}

/* Codes of at most 8 bits with a scale a row and no zero point; the scale is that of the codes themselves. */
static bool is_rows(lt_t w, const lti_node *n)
{
    const lti_grid_attr *a = n->attr;
    const lti_value *v = &n->out[0];
    if (n->op != &lti_op_fake_quant || v->rank != 2 || v->dim[0] != lt_dim(w, 0)) return false;
    bool scale = a->rule == LT_SCALE_DYNAMIC || a->rule == LT_SCALE_MSE || a->rule == LT_SCALE_LSQ;
    return scale && a->kind == LT_SCHEME_INT && a->per == LT_PER_CHANNEL && !a->asymmetric && !a->half;
}

lt_t lti_matmul_static(lt_t x, lt_t w, unsigned flags)
{
    lt_graph *g = x.graph;
    if (!lt_is_training(g) || flags != LT_TRANSPOSE_B || lt_type(x) != LT_F32 || lt_type(w) != LT_F32 ||
        lt_rank(w) != 2)
        return lt_nil(g);
    const lti_node *a = maker(x), *b = maker(w);
    if (a->op != &lti_op_fake_quant_static || !is_rows(w, b)) return lt_nil(g);
    lti_ref t = b->in[1], grid = a->in[1], on = a->in[2];
    lt_t in[FACTORS] = {x, w, {g, t.node, t.output}, {g, grid.node, grid.output}, {g, on.node, on.output}};
    product_attr attr = {((const lti_grid_attr *)b->attr)->rule == LT_SCALE_LSQ ? LTI_LEAST_LEARNED : 0};
    return lti_emit(&lti_op_matmul_static, FACTORS, in, &attr, sizeof attr);
}
