/* sum.c - y = sum of x over a set of axes, dx = dy repeated along them; mean is the sum times 1/n.
 *
 * Neighbouring axes that are all kept or all summed are one axis. If the innermost is summed, a number of y is made of
 * runs that the `sum` kernel reads; if it is kept, rows are added to a row of y. When y alone has too few numbers for
 * many tasks, what is summed is shared out too: partial sums lie in scratch and are added in order. All cuts follow
 * from the sizes, so the order of additions does not depend on the number of threads. */
#include "autograd/ops/elementwise.h"

#include <string.h>

typedef struct sum_attr {
    uint32_t axes; /* bits */
    uint32_t keep;
} sum_attr;

static bool sum_shape(lti_shaper *s)
{
    const sum_attr *attr = s->attr;
    const lti_value *x = s->in[0];
    if (!lti_f32_inputs(s, 0, 1)) return false;
    int rank = 0;
    int64_t dim[LT_MAX_RANK];
    for (int i = 0; i < x->rank; i++) {
        bool summed = attr->axes >> i & 1;
        if (!summed || attr->keep) dim[rank++] = summed ? 1 : x->dim[i];
    }
    return lti_out_set(s, 0, LT_F32, rank, dim);
}

static void sum_vjp(lti_vjp *v)
{
    const sum_attr *attr = v->attr;
    int rank = lt_rank(v->in[0]);
    int64_t kept[LT_MAX_RANK], full[LT_MAX_RANK];
    for (int i = 0; i < rank; i++) {
        full[i] = lt_dim(v->in[0], i);
        kept[i] = attr->axes >> i & 1 ? 1 : full[i];
    }
    v->dx[0] = lt_expand(lt_reshape(v->dy[0], rank, kept), rank, full);
}

typedef struct axes {
    int rank;
    int64_t count, dim[LT_MAX_RANK], step[LT_MAX_RANK]; /* outermost first; steps in elements of x */
} axes;

typedef struct sum_plan {
    axes kept, summed; /* without the innermost axis */
    int64_t inner;     /* length of the innermost axis */
    bool inner_summed;
    int64_t width;   /* numbers of y that lie side by side: inner, or 1 when it is summed */
    int64_t columns; /* chunks of the width, of COLUMNS each */
    int64_t runs;    /* pieces of an inner axis that is summed, of RUN each */
    int64_t pieces;  /* what one number is made of: summed.count * runs */
    int64_t parts;   /* the pieces are shared out among so many partial sums */
    int64_t tasks;
    int64_t count; /* elements of y */
} sum_plan;

enum { COLUMNS = 1024, RUN = 4096 };

static void push_axis(axes *a, int64_t dim, int64_t step)
{
    a->count *= dim;
    a->dim[a->rank] = dim;
    a->step[a->rank++] = step;
}

/* Merges axes, and takes the innermost apart. */
static void merge_axes(sum_plan *p, const lti_arg *x, uint32_t bits)
{
    int n = 0;
    int64_t dim[LT_MAX_RANK], step[LT_MAX_RANK], run = 1; /* innermost first */
    bool summed[LT_MAX_RANK];
    for (int i = x->rank - 1; i >= 0; i--) {
        bool s = bits >> i & 1;
        if (x->dim[i] == 1) continue;
        if (n > 0 && summed[n - 1] == s) {
            dim[n - 1] *= x->dim[i];
        } else {
            dim[n] = x->dim[i];
            step[n] = run;
            summed[n++] = s;
        }
        run *= x->dim[i];
    }
    p->kept.count = p->summed.count = 1;
    p->inner = n ? dim[0] : 1;
    p->inner_summed = n && summed[0];
    for (int i = n - 1; i > 0; i--) push_axis(summed[i] ? &p->summed : &p->kept, dim[i], step[i]);
}

static void cut(sum_plan *p, int64_t total)
{
    p->width = p->inner_summed ? 1 : p->inner;
    p->columns = (p->width + COLUMNS - 1) / COLUMNS;
    p->runs = p->inner_summed ? (p->inner + RUN - 1) / RUN : 1;
    p->pieces = p->summed.count * p->runs;
    p->count = p->kept.count * p->width;
    int64_t groups = p->kept.count * p->columns, wanted = lti_par_tasks(total, LTI_GRAIN);
    p->parts = groups > 0 && groups < 32 ? (wanted + groups - 1) / groups : 1;
    if (p->parts > p->pieces) p->parts = p->pieces > 0 ? p->pieces : 1;
    int64_t units = groups * p->parts;
    p->tasks = wanted < units ? wanted : units;
}

static lt_status sum_prepare(lti_step *step)
{
    sum_plan *p = lti_alloc(step->ctx, sizeof *p);
    if (!p) return LT_ENOMEM;
    merge_axes(p, &step->in[0], ((const sum_attr *)step->attr)->axes);
    cut(p, step->in[0].count);
    if (p->parts > 1) step->scratch_bytes = (size_t)(p->parts * p->count) * sizeof(lt_real);
    step->state = p;
    return LT_OK;
}

static int64_t offset(const axes *a, int64_t index)
{
    int64_t at = 0;
    for (int i = a->rank - 1; i >= 0; i--) {
        at += index % a->dim[i] * a->step[i];
        index /= a->dim[i];
    }
    return at;
}

typedef struct sum_call {
    const sum_plan *plan;
    const lt_real *x;
    lt_real *y; /* [parts, count] */
} sum_call;

/* One number from pieces begin .. end - 1. */
static lt_real sum_runs(const sum_plan *p, const lt_real *x, int64_t begin, int64_t end)
{
    double total = 0;
    for (int64_t i = begin; i < end; i++) {
        int64_t from = i % p->runs * RUN;
        int64_t n = p->inner - from < RUN ? p->inner - from : RUN;
        total += lti_k()->sum(n, x + offset(&p->summed, i / p->runs) + from);
    }
    return (lt_real)total;
}

static void sum_rows(const sum_plan *p, const lt_real *x, int64_t n, int64_t begin, int64_t end, lt_real *y)
{
    if (begin >= end)
        memset(y, 0, (size_t)n * sizeof *y);
    else
        memcpy(y, x + offset(&p->summed, begin), (size_t)n * sizeof *y);
    for (int64_t i = begin + 1; i < end; i++) lti_k()->add(n, y, 1, x + offset(&p->summed, i), 1, y);
}

static void sum_task(void *arg, int64_t task, int thread)
{
    (void)thread;
    const sum_call *c = arg;
    const sum_plan *p = c->plan;
    int64_t units = p->kept.count * p->columns * p->parts, last = units * (task + 1) / p->tasks;
    for (int64_t u = units * task / p->tasks; u < last; u++) {
        int64_t part = u % p->parts, column = u / p->parts % p->columns * COLUMNS, row = u / p->parts / p->columns;
        int64_t begin = p->pieces * part / p->parts, end = p->pieces * (part + 1) / p->parts;
        int64_t n = p->width - column < COLUMNS ? p->width - column : COLUMNS;
        const lt_real *x = c->x + offset(&p->kept, row) + column;
        lt_real *y = c->y + part * p->count + row * p->width + column;
        if (p->inner_summed)
            *y = sum_runs(p, x, begin, end);
        else
            sum_rows(p, x, n, begin, end, y);
    }
}

static lt_status sum_run(lti_step *step)
{
    const sum_plan *p = step->state;
    lt_real *y = step->out[0].data;
    sum_call c = {p, step->in[0].data, p->parts > 1 ? step->scratch : y};
    if (p->tasks == 1)
        sum_task(&c, 0, 0);
    else
        lti_par(p->tasks, sum_task, &c);
    if (p->parts == 1) return LT_OK;
    memcpy(y, c.y, (size_t)p->count * sizeof *y);
    for (int64_t i = 1; i < p->parts; i++) lti_k()->add(p->count, y, 1, c.y + i * p->count, 1, y);
    return LT_OK;
}

const lti_op lti_op_sum = {
    .name = "sum",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .shape = sum_shape,
    .vjp = sum_vjp,
    .prepare = sum_prepare,
    .run = sum_run,
    .release = lti_state_free,
};

lt_t lt_sum(lt_t x, int n, const int *over, bool keep)
{
    if (lt_is_nil(x)) return lti_emit(&lti_op_sum, 1, &x, NULL, 0);
    sum_attr attr = {.keep = keep};
    for (int i = 0; i < n; i++) {
        int axis = over[i];
        if (!lti_axis(lt_rank(x), &axis)) return lti_axis_fail(x, "sum", over[i]);
        if (attr.axes >> axis & 1) return lti_graph_fail(x.graph, LT_EINVAL, "sum: axis %d is given twice", axis);
        attr.axes |= 1u << axis;
    }
    return attr.axes ? lti_emit(&lti_op_sum, 1, &x, &attr, sizeof attr) : x;
}

lt_t lt_mean(lt_t x, int n, const int *over, bool keep)
{
    lt_t y = lt_sum(x, n, over, keep);
    if (lt_is_nil(y)) return y;
    return lt_scale(y, (double)lt_count(y) / (double)lt_count(x));
}

static const int every_axis[LT_MAX_RANK] = {0, 1, 2, 3, 4, 5};

lt_t lt_sum_all(lt_t x)
{
    return lt_sum(x, lt_rank(x), every_axis, false);
}

lt_t lt_mean_all(lt_t x)
{
    return lt_mean(x, lt_rank(x), every_axis, false);
}
