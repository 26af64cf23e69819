/* matmul_integer.c - y = x w^T in integers: x [.., K] quantized activations, w [N, K] a lattice or int8 codes.
 *
 *     y_rn = sum over blocks of (scale of x)(scale of w) sum in a block of code code    (kernels/integer.h)
 *     dx = dy w^,  dw = dy^T x^,  ^ being what the codes stand for
 *
 * The numbers are those of the product of the decoded factors but for float summation, and those that the deployed
 * runtime computes; the gradients are that product's, straight through both roundings. They are products in f32 (bf16
 * in a graph that computes so) whose second factor is decoded tile by tile: x is kept in 1.06 bytes an element.
 * With lt_integer_backward dx is summed in integers too, of dy as int8 by rows and of w^ put on an int8 grid by its
 * columns, since scales along N do not leave the sum. That rounds a gradient: it is a choice, and off.
 *
 * lt_matmul records this op when its first factor is quantized and the kernels take the pair; other pairs are decoded
 * and multiplied as numbers. Behind the factors come their scales, in whose places factors without scales stand twice:
 * so the addend of the `add` form is always input 4. */
#include "autograd/node.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/factors.h"
#include "autograd/ops/integer_factors.h"
#include "kernels/integer.h"

enum { FACTORS = 4 }; /* x, w and their scales */

static bool integer_shape(lti_shaper *s)
{
    char x[LTI_DIMS_TEXT], y[LTI_DIMS_TEXT];
    const lti_value *a = s->in[0], *b = s->in[1];
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

static void integer_vjp(lti_vjp *v)
{
    lt_t a = v->in[0], b = v->in[1], dy = v->dy[0], factor = dy;
    int64_t N = lt_dim(b, 0), K = lt_dim(b, 1);
    if (lti_worth_bf16(v->graph, 1, lt_count(a) / K, N, K)) factor = lt_cast(dy, LT_BF16);
    if (v->need[0] && v->graph->integer_backward && lti_igemm_takes(LT_I8, LT_I8))
        v->dx[0] = lt_matmul(lt_quantize_activations(dy, LT_I8), lti_quantize_transposed(b), LT_TRANSPOSE_B);
    else if (v->need[0])
        v->dx[0] = lt_matmul(factor, b, 0);
    if (v->need[1]) v->dx[1] = lt_matmul(as_rows(factor), as_rows(a), LT_TRANSPOSE_A);
}

/* ---- Running ---- */

static void integer_release(lti_step *step)
{
    lti_igemm_free(step->ctx, step->state);
    step->state = NULL;
}

static lt_status integer_prepare(lti_step *step)
{
    const lti_arg *a = &step->in[0], *b = &step->in[1];
    lti_igemm *gemm = NULL;
    lti_igemm_shape shape = {.m = lti_rows(a), .n = b->dim[0], .k = b->dim[1], .a_type = a->type, .b_type = b->type};
    shape.accumulate = step->n_in > FACTORS;
    LTI_TRY(lti_igemm_create(step->ctx, &shape, &gemm));
    step->state = gemm;
    step->scratch_bytes = lti_igemm_scratch(gemm);
    return LT_OK;
}

static lt_status integer_run(lti_step *step)
{
    const lti_arg *a = &step->in[0], *b = &step->in[1];
    const lt_real *a_scale = a->type == LT_I8 ? step->in[2].data : NULL;
    const lt_real *b_scale = b->type == LT_I8 ? step->in[3].data : NULL;
    lt_real *c = step->out[0].data;
    if (step->n_in > FACTORS && step->in[FACTORS].data != c)
        lti_copy_rows(1, step->out[0].count * (int64_t)sizeof(lt_real), step->in[FACTORS].data, 0, c, 0);
    return lti_igemm_run(step->state, a->data, a_scale, b->data, b_scale, c, step->scratch);
}

extern const lti_op lti_op_matmul_integer_add;

const lti_op lti_op_matmul_integer = {
    .name = "matmul_integer",
    .min_in = FACTORS,
    .max_in = FACTORS,
    .n_out = 1,
    .shape = integer_shape,
    .vjp = integer_vjp,
    .prepare = integer_prepare,
    .run = integer_run,
    .release = integer_release,
    .accumulate = &lti_op_matmul_integer_add,
};

const lti_op lti_op_matmul_integer_add = {
    .name = "matmul_integer_add",
    .min_in = FACTORS + 1,
    .max_in = FACTORS + 1,
    .n_out = 1,
    .in_place = {1 << FACTORS},
    .shape = integer_shape,
    .prepare = integer_prepare,
    .run = integer_run,
    .release = integer_release,
};

lt_t lti_matmul_integer(lt_t a, lt_t b, unsigned flags)
{
    lt_dtype x = lt_type(a), y = lt_type(b);
    if (flags != LT_TRANSPOSE_B || lt_rank(b) != 2 || !lti_igemm_takes(x, y))
        return lt_matmul(lt_dequantize(a), b, flags);
    lt_t in[FACTORS] = {a, b, a, b};
    if (x == LT_I8) in[2] = lti_codes_scale(a, "matmul");
    if (y == LT_I8) in[3] = lti_codes_scale(b, "matmul");
    return lti_emit(&lti_op_matmul_integer, FACTORS, in, NULL, 0);
}

void lt_integer_backward(lt_graph *graph, bool on)
{
    graph->integer_backward = on;
}
