/* oracle_ops.c - formulas of arithmetic, reductions, shapes and products; oracle_layers.c has the rest. */
#include "tests/oracle_ops.h"

#include <math.h>
#include <string.h>

/* Coordinates of element `i` of a tensor of t's shape. */
static void place(const ts_tensor *t, int64_t i, int64_t *at)
{
    for (int k = t->rank - 1; k >= 0; k--) {
        at[k] = i % t->dim[k];
        i /= t->dim[k];
    }
}

static int64_t index_of(const ts_tensor *t, const int64_t *at)
{
    int64_t i = 0;
    for (int k = 0; k < t->rank; k++) i = i * t->dim[k] + at[k];
    return i;
}

/* The element of t that broadcasting to `to` puts at element i: shapes aligned at the end, dimension 1 repeats. */
static double spread(const ts_tensor *t, const ts_tensor *to, int64_t i)
{
    int64_t at[LT_MAX_RANK], mine[LT_MAX_RANK];
    place(to, i, at);
    for (int k = 0; k < t->rank; k++) mine[k] = t->dim[k] == 1 ? 0 : at[k + to->rank - t->rank];
    return t->v[index_of(t, mine)];
}

static void make_broadcast(const ts_tensor *a, const ts_tensor *b, ts_tensor *y)
{
    int rank = a->rank > b->rank ? a->rank : b->rank;
    int64_t dim[LT_MAX_RANK];
    for (int k = 1; k <= rank; k++) {
        int64_t da = k <= a->rank ? a->dim[a->rank - k] : 1, db = k <= b->rank ? b->dim[b->rank - k] : 1;
        dim[rank - k] = da == 1 ? db : da;
    }
    ts_make(y, rank, dim);
}

#define BINARY(name, expression)                                                                                       \
    TS_FORMULA(name)                                                                                                   \
    {                                                                                                                  \
        (void)c;                                                                                                       \
        make_broadcast(&x[0], &x[1], y);                                                                               \
        for (int64_t i = 0; i < y->count; i++) {                                                                       \
            double a = spread(&x[0], y, i), b = spread(&x[1], y, i);                                                   \
            y->v[i] = expression;                                                                                      \
        }                                                                                                              \
    }

#define UNARY(name, expression)                                                                                        \
    TS_FORMULA(name)                                                                                                   \
    {                                                                                                                  \
        (void)c;                                                                                                       \
        ts_make(y, x[0].rank, x[0].dim);                                                                               \
        for (int64_t i = 0; i < y->count; i++) {                                                                       \
            double a = x[0].v[i];                                                                                      \
            y->v[i] = expression;                                                                                      \
        }                                                                                                              \
    }

#define PI 3.14159265358979323846

BINARY(add, a + b)
BINARY(sub, a - b)
BINARY(mul, a *b)
BINARY(div, a / b)
BINARY(swiglu, a / (1 + exp(-a)) * b)
UNARY(scale, a * c->number)
UNARY(shift, a + c->number)
UNARY(exp, exp(a))
UNARY(log, log(a))
UNARY(sqrt, sqrt(a))
UNARY(square, a *a)
UNARY(relu, a > 0 ? a : 0)
UNARY(sigmoid, 1 / (1 + exp(-a)))
UNARY(tanh, tanh(a))
UNARY(silu, a / (1 + exp(-a)))
UNARY(gelu, a * 0.5 * erfc(-a / sqrt(2)))
UNARY(gelu_tanh, 0.5 * a * (1 + tanh(sqrt(2 / PI) * (a + 0.044715 * a * a * a))))
UNARY(identity, a)

static bool among(const ts_case *c, int rank, int axis)
{
    for (int64_t i = 0; i < c->arg[0]; i++) {
        int64_t a = c->arg[1 + i];
        if ((a < 0 ? a + rank : a) == axis) return true;
    }
    return false;
}

/* Makes y of x's shape without the axes, filled with `start`; `kept` is the same with axes of size 1. */
static void make_reduced(const ts_case *c, const ts_tensor *x, ts_tensor *y, ts_tensor *kept, double start)
{
    int64_t dim[LT_MAX_RANK];
    int rank = 0;
    *kept = *x;
    for (int k = 0; k < x->rank; k++) {
        bool gone = among(c, x->rank, k);
        if (gone) kept->dim[k] = 1;
        if (!gone || c->flags & 1) dim[rank++] = gone ? 1 : x->dim[k];
    }
    ts_make(y, rank, dim);
    for (int64_t i = 0; i < y->count; i++) y->v[i] = start;
}

/* Where element i of x goes in a reduction to the shape of `kept`. */
static int64_t target_of(const ts_tensor *x, const ts_tensor *kept, int64_t i)
{
    int64_t at[LT_MAX_RANK];
    place(x, i, at);
    for (int k = 0; k < x->rank; k++)
        if (kept->dim[k] == 1) at[k] = 0;
    return index_of(kept, at);
}

TS_FORMULA(sum)
{
    ts_tensor kept;
    make_reduced(c, x, y, &kept, 0);
    for (int64_t i = 0; i < x->count; i++) y->v[target_of(x, &kept, i)] += x->v[i];
}

TS_FORMULA(mean)
{
    ts_formula_sum(c, x, y);
    for (int64_t i = 0; i < y->count; i++) y->v[i] /= (double)(x->count / y->count);
}

TS_FORMULA(max)
{
    ts_tensor kept;
    make_reduced(c, x, y, &kept, -INFINITY);
    for (int64_t i = 0; i < x->count; i++) {
        double *m = &y->v[target_of(x, &kept, i)];
        if (x->v[i] > *m) *m = x->v[i];
    }
}

TS_FORMULA(reshape)
{
    ts_make(y, (int)c->arg[0], c->arg + 1);
    memcpy(y->v, x->v, (size_t)x->count * sizeof *y->v);
}

TS_FORMULA(permute)
{
    int64_t dim[LT_MAX_RANK], at[LT_MAX_RANK], from[LT_MAX_RANK];
    for (int k = 0; k < x->rank; k++) dim[k] = x->dim[c->arg[k]];
    ts_make(y, x->rank, dim);
    for (int64_t i = 0; i < y->count; i++) {
        place(y, i, at);
        for (int k = 0; k < x->rank; k++) from[c->arg[k]] = at[k];
        y->v[i] = x->v[index_of(x, from)];
    }
}

TS_FORMULA(slice)
{
    int64_t dim[LT_MAX_RANK], at[LT_MAX_RANK];
    int axis = (int)(c->arg[0] < 0 ? c->arg[0] + x->rank : c->arg[0]);
    memcpy(dim, x->dim, sizeof dim);
    dim[axis] = c->arg[2] - c->arg[1];
    ts_make(y, x->rank, dim);
    for (int64_t i = 0; i < y->count; i++) {
        place(y, i, at);
        at[axis] += c->arg[1];
        y->v[i] = x->v[index_of(x, at)];
    }
}

TS_FORMULA(concat)
{
    int64_t dim[LT_MAX_RANK], at[LT_MAX_RANK];
    int axis = (int)(c->arg[0] < 0 ? c->arg[0] + x->rank : c->arg[0]);
    memcpy(dim, x->dim, sizeof dim);
    for (int k = 1; k < c->n; k++) dim[axis] += x[k].dim[axis];
    ts_make(y, x->rank, dim);
    for (int64_t i = 0; i < y->count; i++) {
        place(y, i, at);
        int k = 0;
        for (; at[axis] >= x[k].dim[axis]; k++) at[axis] -= x[k].dim[axis];
        y->v[i] = x[k].v[index_of(&x[k], at)];
    }
}

TS_FORMULA(expand)
{
    ts_make(y, (int)c->arg[0], c->arg + 1);
    for (int64_t i = 0; i < y->count; i++) y->v[i] = spread(x, y, i);
}

TS_FORMULA(gather)
{
    (void)c;
    int64_t dim[LT_MAX_RANK], width = 1;
    int rank = 0;
    for (int k = 0; k < x[1].rank; k++) dim[rank++] = x[1].dim[k];
    for (int k = 1; k < x[0].rank; k++) {
        dim[rank++] = x[0].dim[k];
        width *= x[0].dim[k];
    }
    ts_make(y, rank, dim);
    for (int64_t i = 0; i < y->count; i++) y->v[i] = x[0].v[(int64_t)x[1].v[i / width] * width + i % width];
}

TS_FORMULA(matmul)
{
    const ts_tensor *a = &x[0], *b = &x[1];
    bool ta = c->flags & LT_TRANSPOSE_A, tb = c->flags & LT_TRANSPOSE_B;
    int64_t m = ts_dim(a, ta ? -1 : -2), k = ts_dim(a, ta ? -2 : -1), n = ts_dim(b, tb ? -2 : -1);
    int64_t dim[LT_MAX_RANK], lda = ts_dim(a, -1), ldb = ts_dim(b, -1);
    memcpy(dim, a->dim, sizeof dim);
    dim[a->rank - 2] = m;
    dim[a->rank - 1] = n;
    ts_make(y, a->rank, dim);
    for (int64_t i = 0; i < y->count; i++) {
        int64_t batch = i / (m * n), row = i / n % m, col = i % n;
        const double *pa = a->v + batch * m * k, *pb = b->v + (b->rank > 2 ? batch * n * k : 0);
        for (int64_t l = 0; l < k; l++)
            y->v[i] += (ta ? pa[l * lda + row] : pa[row * lda + l]) * (tb ? pb[col * ldb + l] : pb[l * ldb + col]);
    }
}

TS_FORMULA(matmul_add)
{
    ts_formula_matmul(c, x, y);
    for (int64_t i = 0; i < y->count; i++) y->v[i] += (c->number != 0 ? c->number : 1) * spread(&x[2], y, i);
}

TS_FORMULA(pad_add)
{
    (void)c;
    int64_t dim[LT_MAX_RANK], width = x->count / x->dim[0];
    memcpy(dim, x->dim, sizeof dim);
    dim[0] = 2 * (x->dim[0] - 1);
    ts_make(y, x->rank, dim);
    for (int64_t i = 0; i < y->count / 2; i++) {
        y->v[i] = x->v[i];
        y->v[y->count / 2 + i] = x->v[i + width];
    }
}

TS_FORMULA(scatter_add_to)
{
    ts_tensor rows;
    ts_formula_gather(c, x, &rows);
    ts_make(y, 2, (int64_t[]){x[0].dim[0] + rows.dim[0], x[0].dim[1]});
    for (int64_t i = 0; i < y->count; i++) y->v[i] = i < x->count ? 2 * x->v[i] : rows.v[i - x->count];
    ts_drop(&rows);
}

TS_FORMULA(assign)
{
    ts_formula_identity(c, &x[1], y);
}

TS_FORMULA(accumulate)
{
    ts_formula_identity(c, &x[1], y);
    bool add = c->n < 3 || x[2].v[0] == 0;
    for (int64_t i = 0; add && i < y->count; i++) y->v[i] += x[0].v[i];
}

TS_FORMULA(cache_write)
{
    ts_formula_identity(c, &x[0], y);
    int64_t slots = y->dim[1], rows = x[1].dim[1], width = y->count / (y->dim[0] * slots), first = (int64_t)x[2].v[0];
    for (int64_t i = 0; i < x[1].count; i++) {
        int64_t b = i / (rows * width), t = i / width % rows;
        y->v[(b * slots + first + t) * width + i % width] = x[1].v[i];
    }
}

TS_FORMULA(transposed_rows)
{
    int64_t N = ts_dim(x, 0), K = ts_dim(x, 1);
    (void)c;
    ts_make(y, 2, (int64_t[]){K, N});
    for (int64_t k = 0; k < K; k++)
        for (int64_t i = 0; i < N; i++) y->v[k * N + i] = x->v[i * K + k];
    ts_round_activations(LT_I8, N, y->count, y->v);
}
