/* gather.c - y[.., :] = table[index[..], :]; d table = scatter_add of dy: each row of dy added to the row it came from.
 *
 * A row of a lattice or of 16-bit floats is decoded on its way out. scatter_add gives a task some rows of the table (or
 * some columns, when the table has few rows) and lets it look through all indices: rows are added in the order of the
 * indices whatever the threads do, and without atomics or sorting. Where a gradient is already there (a tied head), the
 * `accumulate` form adds to it and touches only the rows that occur. */
#include "autograd/ops/elementwise.h"
#include "kernels/lattice/lattice.h"

#include <string.h>

static bool gather_shape(lti_shaper *s) /* in: table [N, ...], index [...] */
{
    const lti_value *table = s->in[0], *index = s->in[1];
    char x[LTI_DIMS_TEXT], y[LTI_DIMS_TEXT];
    bool stored = lti_can_dequantize(table->type);
    int64_t dim[2 * LT_MAX_RANK];
    if (table->rank < 1 || index->type != LT_I32)
        return lti_shape_fail(s, "table %s with %s index %s: the table needs an axis, and the index must be i32",
                              lti_dims(table, x), lt_dtype_name(index->type), lti_dims(index, y));
    if (lt_dtype_is_lattice(table->type) && table->rank != 2)
        return lti_shape_fail(s, "%s table %s: a table of blocks has two axes, [N, C]", lt_dtype_name(table->type),
                              lti_dims(table, x));
    for (int i = 0; i < index->rank; i++) dim[i] = index->dim[i];
    for (int i = 1; i < table->rank; i++) dim[index->rank + i - 1] = table->dim[i];
    return lti_out_set(s, 0, stored ? LT_F32 : table->type, index->rank + table->rank - 1, dim);
}

typedef struct scatter_attr {
    int64_t dim[LT_MAX_RANK]; /* of the table */
    int64_t rank;
} scatter_attr;

extern const lti_op lti_op_scatter_add, lti_op_scatter_add_to;

static void gather_vjp(lti_vjp *v)
{
    if (!v->need[0]) return;
    scatter_attr attr = {.rank = lt_rank(v->in[0])};
    for (int i = 0; i < attr.rank; i++) attr.dim[i] = lt_dim(v->in[0], i);
    v->dx[0] = lti_emit(&lti_op_scatter_add, 2, (lt_t[]){v->dy[0], v->in[1]}, &attr, sizeof attr);
}

/* The first index outside [0, n) is an error: indices may come from an input that declared a larger bound. */
static lt_status check_indices(const lti_step *step, const lti_arg *index, int64_t n)
{
    const int32_t *i = index->data;
    for (int64_t k = 0; k < index->count; k++)
        if (i[k] < 0 || i[k] >= n)
            return lti_fail(step->ctx, LT_EINVAL,
                            "index %d at position %lld, but the table has %lld rows; declare the input with "
                            "lt_index_input and that bound",
                            i[k], (long long)k, (long long)n);
    return LT_OK;
}

typedef struct gather_call {
    lt_dtype type;
    int64_t width, bytes; /* of a row: elements, and bytes in the table */
    int64_t rows, tasks;
    const char *table;
    const int32_t *index;
    void *y;
} gather_call;

static void gather_task(void *arg, int64_t task, int thread)
{
    (void)thread;
    const gather_call *c = arg;
    int64_t end = c->rows * (task + 1) / c->tasks;
    for (int64_t r = c->rows * task / c->tasks; r < end; r++) {
        const char *row = c->table + c->index[r] * c->bytes;
        if (lti_can_dequantize(c->type))
            lti_dequantize(c->type, c->width, row, (lt_real *)c->y + r * c->width);
        else
            memcpy((char *)c->y + r * c->bytes, row, (size_t)c->bytes);
    }
}

static lt_status gather_run(lti_step *step)
{
    const lti_arg *table = &step->in[0], *index = &step->in[1];
    LTI_TRY(check_indices(step, index, table->dim[0]));
    gather_call c = {.type = table->type, .rows = index->count, .table = table->data, .index = index->data};
    if (c.rows == 0) return LT_OK;
    c.width = step->out[0].count / c.rows;
    c.bytes = lti_bytes_of(c.type, c.width);
    c.y = step->out[0].data;
    c.tasks = lti_par_tasks(step->out[0].count, LTI_GRAIN);
    lti_par(c.tasks, gather_task, &c);
    return LT_OK;
}

/* ---- scatter_add: the transpose of gather ---- */

static bool scatter_shape(lti_shaper *s) /* in: dy [..., C], index [...], and in the `to` form the table's gradient */
{
    const scatter_attr *attr = s->attr;
    if (!lti_f32_inputs(s, 0, 1)) return false;
    return lti_out_set(s, 0, LT_F32, (int)attr->rank, attr->dim);
}

static void scatter_vjp(lti_vjp *v)
{
    if (v->need[0]) v->dx[0] = lt_gather(v->dy[0], v->in[1]);
}

typedef struct scatter_call {
    int64_t n, width, rows; /* of the table; of the index */
    int64_t row_cuts, column_cuts;
    const lt_real *dy, *addend; /* addend: NULL when there is none, y when y is in its place */
    const int32_t *index;
    lt_real *y;
} scatter_call;

static void scatter_task(void *arg, int64_t task, int thread)
{
    (void)thread;
    const scatter_call *c = arg;
    int64_t i = task / c->column_cuts, j = task % c->column_cuts;
    int64_t first = c->n * i / c->row_cuts, last = c->n * (i + 1) / c->row_cuts;
    int64_t from = c->width * j / c->column_cuts, n = c->width * (j + 1) / c->column_cuts - from;
    for (int64_t r = first; r < last && c->addend != c->y; r++) {
        lt_real *y = c->y + r * c->width + from;
        if (c->addend)
            memcpy(y, c->addend + r * c->width + from, (size_t)n * sizeof *y);
        else
            memset(y, 0, (size_t)n * sizeof *y);
    }
    for (int64_t k = 0; k < c->rows; k++) {
        if (c->index[k] < first || c->index[k] >= last) continue;
        lt_real *y = c->y + c->index[k] * c->width + from;
        lti_k()->add(n, y, 1, c->dy + k * c->width + from, 1, y);
    }
}

/* Rows of the table first; columns only when that gives too few tasks. 64 tasks at most, for each reads all indices. */
static void scatter_cut(scatter_call *c)
{
    int64_t tasks = lti_par_tasks((c->addend == c->y ? 0 : c->n * c->width) + c->rows * c->width, LTI_GRAIN);
    if (tasks > 64) tasks = 64;
    c->column_cuts = 1;
    if (c->n < 4 * tasks) c->column_cuts = c->width / 64 < tasks ? c->width / 64 : tasks;
    if (c->column_cuts < 1) c->column_cuts = 1;
    c->row_cuts = tasks / c->column_cuts;
    if (c->row_cuts > c->n) c->row_cuts = c->n;
}

static lt_status scatter_run(lti_step *step)
{
    const lti_arg *y = &step->out[0], *index = &step->in[1];
    if (y->count == 0) return LT_OK;
    LTI_TRY(check_indices(step, index, y->dim[0]));
    scatter_call c = {.n = y->dim[0], .rows = index->count, .dy = step->in[0].data, .index = index->data};
    c.width = y->count / c.n;
    c.addend = step->n_in > 2 ? step->in[2].data : NULL;
    c.y = y->data;
    scatter_cut(&c);
    lti_par(c.row_cuts * c.column_cuts, scatter_task, &c);
    return LT_OK;
}

const lti_op lti_op_gather = {
    .name = "gather",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .shape = gather_shape,
    .vjp = gather_vjp,
    .run = gather_run,
};

const lti_op lti_op_scatter_add = {
    .name = "scatter_add",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .shape = scatter_shape,
    .vjp = scatter_vjp,
    .run = scatter_run,
    .accumulate = &lti_op_scatter_add_to,
};

const lti_op lti_op_scatter_add_to = {
    .name = "scatter_add_to",
    .min_in = 3,
    .max_in = 3,
    .n_out = 1,
    .in_place = {4},
    .shape = scatter_shape,
    .run = scatter_run,
};

lt_t lt_gather(lt_t table, lt_t index)
{
    return lti_emit(&lti_op_gather, 2, (lt_t[]){table, index}, NULL, 0);
}
