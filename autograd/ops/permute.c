/* permute.c - y's axis i is x's axis axes[i]; dx = dy under the inverse permutation.
 *
 * Axes of size 1 are dropped and axes that stay neighbours are merged. What is left either keeps x's innermost axis
 * innermost: then y is made of contiguous runs ([B,T,H,D] to [B,H,T,D]); or it is a batch of matrix transposes, done
 * in tiles through a small buffer, so that x and y are both read and written in whole cache lines. Orders that move
 * only axes of size 1 are reshapes. */
#include "autograd/ops/elementwise.h"

#include <string.h>

typedef struct permute_attr {
    int64_t axes[LT_MAX_RANK];
} permute_attr;

static bool permute_shape(lti_shaper *s)
{
    const permute_attr *attr = s->attr;
    const lti_value *x = s->in[0];
    unsigned seen = 0;
    int64_t dim[LT_MAX_RANK];
    if (lt_dtype_is_lattice(x->type))
        return lti_shape_fail(s, "a %s value cannot be permuted: use lt_dequantize", lt_dtype_name(x->type));
    for (int i = 0; i < x->rank; i++) {
        int64_t axis = attr->axes[i];
        if (axis < 0 || axis >= x->rank || seen >> axis & 1)
            return lti_shape_fail(s, "axis %lld at place %d: the axes must be an order of 0 to %d", (long long)axis, i,
                                  x->rank - 1);
        seen |= 1u << axis;
        dim[i] = x->dim[axis];
    }
    return lti_out_set(s, 0, x->type, x->rank, dim);
}

static void permute_vjp(lti_vjp *v)
{
    const permute_attr *attr = v->attr;
    int back[LT_MAX_RANK];
    for (int i = 0; i < lt_rank(v->in[0]); i++) back[attr->axes[i]] = i;
    v->dx[0] = lt_permute(v->dy[0], back);
}

enum { TILE = 16 };

typedef struct permute_plan {
    int rank;
    int64_t dim[LT_MAX_RANK], step_x[LT_MAX_RANK], step_y[LT_MAX_RANK]; /* of the batch, in elements */
    int64_t batch;
    int64_t run;           /* runs: elements of one; 0: transposes */
    int64_t rows, columns; /* a transpose: x has `columns` rows, row_x apart, of `rows` neighbours */
    int64_t row_x, row_y;  /* y has `rows` rows, row_y apart, of `columns` neighbours */
    int64_t tiles_r, tiles_c;
    int64_t units, tasks;
} permute_plan;

/* y's axes with their steps in x, without size 1 and with neighbours merged; returns how many. */
static int merge_axes(const lti_arg *x, const lti_arg *y, const int64_t *axes, int64_t *dim, int64_t *step)
{
    int64_t step_x[LT_MAX_RANK], run = 1;
    for (int i = x->rank - 1; i >= 0; i--) {
        step_x[i] = run;
        run *= x->dim[i];
    }
    int n = 0;
    for (int i = 0; i < y->rank; i++) {
        int64_t s = step_x[axes[i]];
        if (y->dim[i] == 1) continue;
        if (n > 0 && step[n - 1] == s * y->dim[i]) {
            dim[n - 1] *= y->dim[i];
            step[n - 1] = s;
        } else {
            dim[n] = y->dim[i];
            step[n++] = s;
        }
    }
    return n;
}

static void permute_cut(permute_plan *p, int64_t count, int n, const int64_t *dim, const int64_t *step)
{
    int64_t step_y[LT_MAX_RANK], run = 1;
    for (int i = n - 1; i >= 0; i--) {
        step_y[i] = run;
        run *= dim[i];
    }
    int inner = n - 1, lines = -1; /* y's innermost axis, and in a transpose the axis that is x's innermost */
    for (int i = 0; i < n - 1; i++)
        if (step[n - 1] != 1 && step[i] == 1) lines = i;
    p->batch = 1;
    for (int i = 0; i < n - 1; i++) {
        if (i == lines) continue;
        p->batch *= dim[i];
        p->dim[p->rank] = dim[i];
        p->step_x[p->rank] = step[i];
        p->step_y[p->rank++] = step_y[i];
    }
    if (lines < 0) {
        p->run = n ? dim[inner] : 1;
        p->units = p->batch;
    } else {
        p->rows = dim[lines];
        p->columns = dim[inner];
        p->row_x = step[inner];
        p->row_y = step_y[lines];
        p->tiles_r = (p->rows + TILE - 1) / TILE;
        p->tiles_c = (p->columns + TILE - 1) / TILE;
        p->units = p->batch * p->tiles_r * p->tiles_c;
    }
    p->tasks = lti_par_tasks(count, LTI_GRAIN);
    if (p->tasks > p->units) p->tasks = p->units;
}

static lt_status permute_prepare(lti_step *step)
{
    permute_plan *p = lti_alloc(step->ctx, sizeof *p);
    if (!p) return LT_ENOMEM;
    int64_t dim[LT_MAX_RANK], steps[LT_MAX_RANK];
    int n = merge_axes(&step->in[0], &step->out[0], ((const permute_attr *)step->attr)->axes, dim, steps);
    permute_cut(p, step->out[0].count, n, dim, steps);
    step->state = p;
    return LT_OK;
}

typedef struct permute_call {
    const permute_plan *plan;
    size_t size; /* of an element */
    const char *x;
    char *y;
} permute_call;

/* One tile of rows x columns numbers of a transpose; x and y point at its corner. */
#define TRANSPOSE(type)                                                                                                \
    static void transpose_##type(const permute_plan *p, int64_t rows, int64_t columns, const type *x, type *y)         \
    {                                                                                                                  \
        type tile[TILE][TILE];                                                                                         \
        for (int64_t c = 0; c < columns; c++)                                                                          \
            for (int64_t r = 0; r < rows; r++) tile[r][c] = x[c * p->row_x + r];                                       \
        for (int64_t r = 0; r < rows; r++) memcpy(y + r * p->row_y, tile[r], (size_t)columns * sizeof(type));          \
    }
TRANSPOSE(uint8_t)
TRANSPOSE(uint16_t)
TRANSPOSE(uint32_t)
TRANSPOSE(uint64_t)

static void transpose(const permute_call *c, int64_t unit, int64_t at_x, int64_t at_y)
{
    const permute_plan *p = c->plan;
    int64_t row = unit / p->tiles_c * TILE, column = unit % p->tiles_c * TILE;
    int64_t rows = p->rows - row < TILE ? p->rows - row : TILE;
    int64_t columns = p->columns - column < TILE ? p->columns - column : TILE;
    const void *x = c->x + (size_t)(at_x + column * p->row_x + row) * c->size;
    void *y = c->y + (size_t)(at_y + row * p->row_y + column) * c->size;
    switch (c->size) {
    case 1: transpose_uint8_t(p, rows, columns, x, y); break;
    case 2: transpose_uint16_t(p, rows, columns, x, y); break;
    case 4: transpose_uint32_t(p, rows, columns, x, y); break;
    default: transpose_uint64_t(p, rows, columns, x, y); break;
    }
}

static void permute_task(void *arg, int64_t task, int thread)
{
    (void)thread;
    const permute_call *c = arg;
    const permute_plan *p = c->plan;
    int64_t per_batch = p->run ? 1 : p->tiles_r * p->tiles_c, end = p->units * (task + 1) / p->tasks;
    for (int64_t u = p->units * task / p->tasks; u < end; u++) {
        int64_t x = 0, y = 0, rest = u / per_batch;
        for (int i = p->rank - 1; i >= 0; i--) {
            x += rest % p->dim[i] * p->step_x[i];
            y += rest % p->dim[i] * p->step_y[i];
            rest /= p->dim[i];
        }
        if (p->run)
            memcpy(c->y + (size_t)y * c->size, c->x + (size_t)x * c->size, (size_t)p->run * c->size);
        else
            transpose(c, u % per_batch, x, y);
    }
}

static lt_status permute_run(lti_step *step)
{
    const permute_plan *p = step->state;
    permute_call c = {p, lt_dtype_bytes(step->in[0].type), step->in[0].data, step->out[0].data};
    if (step->out[0].count == 0) return LT_OK;
    if (p->tasks == 1)
        permute_task(&c, 0, 0);
    else
        lti_par(p->tasks, permute_task, &c);
    return LT_OK;
}

const lti_op lti_op_permute = {
    .name = "permute",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .shape = permute_shape,
    .vjp = permute_vjp,
    .prepare = permute_prepare,
    .run = permute_run,
    .release = lti_state_free,
};

lt_t lt_permute(lt_t x, const int *axes)
{
    permute_attr attr = {.axes = {0}};
    int rank = lt_rank(x), last = -1;
    int64_t dim[LT_MAX_RANK];
    unsigned seen = 0;
    bool in_order = !lt_is_nil(x); /* the axes that are longer than 1 keep their order */
    for (int i = 0; i < rank; i++) {
        int axis = axes[i];
        bool ok = lti_axis(rank, &axis) && !(seen >> axis & 1);
        attr.axes[i] = axis;
        in_order = in_order && ok;
        if (!ok) continue;
        seen |= 1u << axis;
        dim[i] = lt_dim(x, axis);
        if (dim[i] == 1) continue;
        in_order = in_order && axis > last;
        last = axis;
    }
    return in_order ? lt_reshape(x, rank, dim) : lti_emit(&lti_op_permute, 1, &x, &attr, sizeof attr);
}
