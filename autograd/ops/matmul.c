/* matmul.c - y = op(a) op(b) over the last two axes; op transposes when its flag is set.
 *
 * With a' = op(a), b' = op(b): da' = dy b'^T and db' = a'^T dy; each is a product again, with the flags chosen so that
 * it comes out the way a or b is stored. When b has no batch axes, a's are rows and db sums over all of them, by being
 * one product. A b of another type than f32 (a lattice, bf16, f16) has two axes and is multiplied as it is stored; its
 * gradient is that of its decoded value, f32. Both may be bf16, with any axes; y and gradients are f32 all the same.
 * Codes of LT_I8 come with their scales as a third input (matmul_codes). A quantized a is matmul_integer.c's,
 * an a on a static grid matmul_static.c's.
 *
 * In a graph that computes in bf16 (lt_compute) the constructor rounds f32 factors of products that are worth it. The
 * rounding is a node: that of an x which q, k and v read is one node, and what the backward reads of x is that node.
 * That of a weight is kept beside it (derived.c).
 *
 * Where a's batch can be read as rows there is one product; otherwise one a batch element: large ones one after the
 * other, each shared out by the provider's tiles, small ones as tasks with a single-threaded product in each. The
 * `accumulate` form starts from an addend (a residual, a gradient that is already there) and saves the sum's pass. */
#include "autograd/ops/elementwise.h"
#include "autograd/ops/factors.h"
#include "autograd/ops/integer_factors.h"
#include "kernels/gemm.h"
#include "kernels/lattice/lattice.h"

#include <stdatomic.h>

typedef struct matmul_attr {
    uint32_t flags;
} matmul_attr;

/* y [batch.., m, n] = a' [batch.., m, k] b' [batch.., k, n] */
typedef struct extents {
    int64_t m, n, k, k_of_b;
} extents;

static extents extents_of(unsigned flags, int rank_a, const int64_t *a, int rank_b, const int64_t *b)
{
    bool ta = flags & LT_TRANSPOSE_A, tb = flags & LT_TRANSPOSE_B;
    a += rank_a - 2;
    b += rank_b - 2;
    return (extents){.m = a[ta], .k = a[!ta], .k_of_b = b[tb], .n = b[!tb]};
}

static bool batches_fit(const lti_value *a, const lti_value *b)
{
    bool fits = b->rank == 2 || a->rank == b->rank;
    for (int i = 0; fits && b->rank > 2 && i < b->rank - 2; i++) fits = a->dim[i] == b->dim[i];
    return fits;
}

/* In: a, b, of an LT_I8 b the scales of its rows, and in the `add` form the addend [batch.., m, n]. */
static bool matmul_shape(lti_shaper *s)
{
    unsigned flags = ((const matmul_attr *)s->attr)->flags;
    const lti_value *a = s->in[0], *b = s->in[1];
    bool stored = b->type != LT_F32 && b->type != a->type && lti_gemm_decodes(b->type);
    char x[LTI_DIMS_TEXT], y[LTI_DIMS_TEXT];
    const char *ta = flags & LT_TRANSPOSE_A ? " transposed" : "", *tb = flags & LT_TRANSPOSE_B ? " transposed" : "";
    bool both = a->type == LT_BF16 && b->type == LT_BF16;
    bool half = a->type == LT_BF16 && stored; /* both: bf16 after bf16 is not `stored` */
    if (!both && !half && (!lti_f32_inputs(s, 0, 1) || (!stored && !lti_f32_inputs(s, 1, 2)))) return false;
    if (flags & ~(unsigned)(LT_TRANSPOSE_A | LT_TRANSPOSE_B)) return lti_shape_fail(s, "unknown flags 0x%x", flags);
    if (a->rank < 2 || b->rank < 2)
        return lti_shape_fail(s, "%s with %s: both need two axes", lti_dims(a, x), lti_dims(b, y));
    extents e = extents_of(flags, a->rank, a->dim, b->rank, b->dim);
    if (e.k != e.k_of_b || !batches_fit(a, b) || (stored && b->rank > 2))
        return lti_shape_fail(s, "%s%s with %s%s%s", lti_dims(a, x), ta, lti_dims(b, y), tb,
                              e.k != e.k_of_b ? ""
                              : stored        ? ": a second operand that is not f32 has two axes"
                                              : ": the batch axes must be equal, or absent in the second");
    int64_t dim[LT_MAX_RANK];
    for (int i = 0; i < a->rank; i++) dim[i] = a->dim[i];
    dim[a->rank - 2] = e.m;
    dim[a->rank - 1] = e.n;
    return lti_out_set(s, 0, LT_F32, a->rank, dim);
}

/* ---- Gradient ---- */

static lt_t transposed(lt_t x)
{
    int rank = lt_rank(x), axes[LT_MAX_RANK];
    for (int i = 0; i < rank; i++) axes[i] = i < rank - 2 ? i : 2 * rank - 3 - i;
    return lt_permute(x, axes);
}

static lt_t as_rows(lt_t x)
{
    return lt_reshape(x, 2, (int64_t[]){-1, lt_dim(x, -1)});
}

static lt_t grad_a(const lti_vjp *v, bool ta, bool tb)
{
    lt_t b = v->in[1], dy = v->dy[0];
    if (!ta) return lt_matmul(dy, b, tb ? 0 : LT_TRANSPOSE_B);
    bool first = lt_rank(b) == lt_rank(dy) && (lt_type(b) == LT_F32 || lt_type(b) == LT_BF16);
    if (!first) /* b cannot come first */
        return transposed(lt_matmul(dy, b, tb ? 0 : LT_TRANSPOSE_B));
    return lt_matmul(b, dy, LT_TRANSPOSE_B | (tb ? LT_TRANSPOSE_A : 0u));
}

static lt_t grad_b(const lti_vjp *v, bool ta, bool tb)
{
    lt_t a = v->in[0], dy = v->dy[0];
    if (lt_rank(v->in[1]) == 2 && lt_rank(a) > 2) { /* sum over the batch: it becomes rows */
        a = as_rows(ta ? transposed(a) : a);
        dy = as_rows(dy);
        ta = false;
    }
    if (tb) return lt_matmul(dy, a, LT_TRANSPOSE_A | (ta ? LT_TRANSPOSE_B : 0u));
    return lt_matmul(a, dy, ta ? 0 : LT_TRANSPOSE_A);
}

static void matmul_vjp(lti_vjp *v)
{
    unsigned flags = ((const matmul_attr *)v->attr)->flags;
    bool ta = flags & LT_TRANSPOSE_A, tb = flags & LT_TRANSPOSE_B;
    if (v->need[0]) v->dx[0] = grad_a(v, ta, tb);
    if (v->need[1]) v->dx[1] = grad_b(v, ta, tb);
}

/* ---- Running ---- */

typedef struct matmul_state {
    lti_gemm *gemm;
    int64_t batch;
    size_t step_a, step_b; /* bytes from one batch element to the next; step_b 0: shared */
    int64_t step_c;        /* elements */
    int64_t tasks;         /* 0: the product is shared out, not the batch */
    size_t scratch;        /* bytes of one product, a multiple of 64 */
} matmul_state;

/* A product of so many multiplications is worth sharing out by itself; a task has at least TASK_WORK of them. */
static const double SHARED_WORK = 1 << 25, TASK_WORK = 1 << 18;
enum { MOST_TASKS = 64 }; /* each has scratch of its own */

/* The place of the addend, if there is one. */
static int addend_of(const lti_step *step)
{
    return step->in[1].type == LT_I8 ? 3 : 2;
}

static lti_gemm_shape product(const lti_step *step, matmul_state *m)
{
    const lti_arg *a = &step->in[0], *b = &step->in[1];
    unsigned flags = ((const matmul_attr *)step->attr)->flags;
    extents e = extents_of(flags, a->rank, a->dim, b->rank, b->dim);
    lti_gemm_shape g = {.m = e.m,
                        .n = e.n,
                        .k = e.k,
                        .ta = flags & LT_TRANSPOSE_A,
                        .tb = flags & LT_TRANSPOSE_B,
                        .accumulate = addend_of(step) < step->n_in,
                        .a_type = a->type,
                        .b_type = b->type};
    m->batch = 1;
    for (int i = 0; i < a->rank - 2; i++) m->batch *= a->dim[i];
    if (b->rank == 2 && !g.ta) {
        g.m *= m->batch;
        m->batch = 1;
    }
    m->step_a = (size_t)(g.m * g.k) * lt_dtype_bytes(a->type);
    m->step_b = b->rank == 2 ? 0 : (size_t)(g.k * g.n) * lt_dtype_bytes(b->type);
    m->step_c = g.m * g.n;
    double work = (double)g.m * (double)g.n * (double)g.k;
    if (m->batch > 1 && work < SHARED_WORK) {
        double wanted = work * (double)m->batch / TASK_WORK;
        m->tasks = wanted > MOST_TASKS ? MOST_TASKS : (int64_t)wanted;
        if (m->tasks > m->batch) m->tasks = m->batch;
        if (m->tasks < 1) m->tasks = 1;
        g.serial = true;
    }
    return g;
}

static void matmul_release(lti_step *step)
{
    matmul_state *m = step->state;
    if (m) lti_gemm_free(step->ctx, m->gemm);
    lti_state_free(step);
}

static lt_status matmul_prepare(lti_step *step)
{
    matmul_state *m = lti_alloc(step->ctx, sizeof *m);
    if (!m) return LT_ENOMEM;
    step->state = m;
    lti_gemm_shape shape = product(step, m);
    lt_status status = lti_gemm_create(step->ctx, &shape, &m->gemm);
    if (status != LT_OK) {
        m->gemm = NULL;
        matmul_release(step);
        return status;
    }
    m->scratch = (lti_gemm_scratch(m->gemm) + 63) / 64 * 64;
    step->scratch_bytes = m->scratch * (size_t)(m->tasks > 0 ? m->tasks : 1);
    return LT_OK;
}

typedef struct matmul_call {
    const matmul_state *m;
    const char *a, *b;
    const lt_real *b_scale;
    lt_real *c;
    char *scratch;
    atomic_int status; /* of the last product that failed */
} matmul_call;

static lt_status one_product(const matmul_call *c, int64_t i, char *scratch)
{
    const matmul_state *m = c->m;
    const char *a = c->a + (size_t)i * m->step_a, *b = c->b + (size_t)i * m->step_b;
    return lti_gemm_run_scaled(m->gemm, a, b, c->b_scale, c->c + i * m->step_c, scratch);
}

static void matmul_task(void *arg, int64_t task, int thread)
{
    (void)thread;
    matmul_call *c = arg;
    const matmul_state *m = c->m;
    int64_t end = m->batch * (task + 1) / m->tasks;
    for (int64_t i = m->batch * task / m->tasks; i < end; i++) {
        lt_status status = one_product(c, i, m->scratch ? c->scratch + (size_t)task * m->scratch : NULL);
        if (status != LT_OK) atomic_store(&c->status, (int)status);
    }
}

static lt_status matmul_run(lti_step *step)
{
    const matmul_state *m = step->state;
    int addend = addend_of(step);
    matmul_call c = {m, step->in[0].data, step->in[1].data, NULL, step->out[0].data, step->scratch, LT_OK};
    if (addend > 2) c.b_scale = step->in[2].data;
    if (step->n_in > addend && step->in[addend].data != c.c)
        lti_copy_rows(1, step->out[0].count * (int64_t)sizeof(lt_real), step->in[addend].data, 0, c.c, 0);
    if (m->tasks == 0) {
        for (int64_t i = 0; i < m->batch; i++) LTI_TRY(one_product(&c, i, c.scratch));
        return LT_OK;
    }
    lti_par(m->tasks, matmul_task, &c);
    lt_status status = (lt_status)atomic_load(&c.status);
    if (status == LT_OK) return LT_OK;
    return lti_fail(step->ctx, status, "%s failed on one of %lld products; try LT_GEMM=ref", lti_gemm_provider(),
                    (long long)m->batch);
}

extern const lti_op lti_op_matmul_add, lti_op_matmul_codes_add;

const lti_op lti_op_matmul = {
    .name = "matmul",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .shape = matmul_shape,
    .vjp = matmul_vjp,
    .prepare = matmul_prepare,
    .run = matmul_run,
    .release = matmul_release,
    .accumulate = &lti_op_matmul_add,
};

const lti_op lti_op_matmul_add = {
    .name = "matmul_add",
    .min_in = 3,
    .max_in = 3,
    .n_out = 1,
    .in_place = {4},
    .shape = matmul_shape,
    .prepare = matmul_prepare,
    .run = matmul_run,
    .release = matmul_release,
};

const lti_op lti_op_matmul_codes = {
    .name = "matmul_codes",
    .min_in = 3,
    .max_in = 3,
    .n_out = 1,
    .shape = matmul_shape,
    .vjp = matmul_vjp,
    .prepare = matmul_prepare,
    .run = matmul_run,
    .release = matmul_release,
    .accumulate = &lti_op_matmul_codes_add,
};

const lti_op lti_op_matmul_codes_add = {
    .name = "matmul_codes_add",
    .min_in = 4,
    .max_in = 4,
    .n_out = 1,
    .in_place = {8},
    .shape = matmul_shape,
    .prepare = matmul_prepare,
    .run = matmul_run,
    .release = matmul_release,
};

static bool worth_bf16(lt_t a, lt_t b, unsigned flags)
{
    if (lt_rank(a) < 2 || lt_rank(b) < 2) return false;
    extents e = extents_of(flags, lt_rank(a), lt_shape(a), lt_rank(b), lt_shape(b));
    int64_t batch = 1;
    for (int i = 0; i < lt_rank(a) - 2; i++) batch *= lt_dim(a, i);
    bool rows = lt_rank(b) == 2;
    return lti_worth_bf16(a.graph, rows ? 1 : batch, rows ? e.m * batch : e.m, e.n, e.k);
}

/* Brings factors to types that can be multiplied: both f32, both bf16, or a stored matrix as it is after an f32 a. */
static void match_types(lt_t *a, lt_t *b, unsigned flags)
{
    lt_dtype x = lt_type(*a), y = lt_type(*b);
    if ((x != LT_F32 && x != LT_BF16) || (y != LT_F32 && y != LT_BF16) || (x == LT_BF16 && y == LT_BF16)) return;
    if (worth_bf16(*a, *b, flags)) {
        *a = lti_rounded(*a);
        *b = lti_rounded(*b);
    } else if (x == LT_BF16) {
        *a = lt_cast(*a, LT_F32);
    } else if (y == LT_BF16 && lt_rank(*b) > 2) {
        *b = lt_cast(*b, LT_F32);
    }
}

lt_t lt_matmul(lt_t a, lt_t b, unsigned flags)
{
    if (!lt_is_nil(a) && !lt_is_nil(b) && a.graph == b.graph) {
        if (lti_is_activations(lt_type(a))) return lti_matmul_integer(a, b, flags);
        lt_t in_integers = lti_matmul_static(a, b, flags);
        if (!lt_is_nil(in_integers)) return in_integers;
        match_types(&a, &b, flags);
    }
    matmul_attr attr = {flags};
    if (lt_type(b) == LT_I8)
        return lti_emit(&lti_op_matmul_codes, 3, (lt_t[]){a, b, lti_codes_scale(b, "matmul")}, &attr, sizeof attr);
    return lti_emit(&lti_op_matmul, 2, (lt_t[]){a, b}, &attr, sizeof attr);
}
