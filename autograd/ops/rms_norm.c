/* rms_norm.c - root mean square normalisation over the last axis C (Zhang and Sennrich, 2019).
 *
 *     r = 1 / sqrt(mean x^2 + eps),  y = x r w
 *     dx = r (w dy) - x r^3 / C <w dy, x>,  dw = sum over rows of dy x r
 *
 * r is a second output, [..], so that the gradient does not sum again. dw is summed by each task over its own rows and
 * then over tasks in their order: the same bits for any number of threads. */
#include "autograd/ops/rows.h"

#include <string.h>

extern const lti_op lti_op_rms_norm, lti_op_rms_norm_grad;

typedef struct norm_attr {
    double eps;
} norm_attr;

typedef struct norm_job {
    const lti_step *step;
    lt_real *y;
    int64_t rows, cols, tasks;
} norm_job;

static bool norm_shape(lti_shaper *s)
{
    char a[LTI_DIMS_TEXT], b[LTI_DIMS_TEXT];
    const lti_value *x = s->in[0], *w = s->in[1];
    if (!lti_f32_inputs(s, 0, 2)) return false;
    if (x->rank < 1 || w->rank != 1 || w->dim[0] != x->dim[x->rank - 1] || w->dim[0] < 1)
        return lti_shape_fail(s, "x %s with gain %s; the gain is as long as x's last axis", lti_dims(x, a),
                              lti_dims(w, b));
    lti_value_set(&s->out[0], LT_F32, x->rank, x->dim);
    lti_value_set(&s->out[1], LT_F32, x->rank - 1, x->dim);
    return true;
}

static void norm_vjp(lti_vjp *v)
{
    if (lt_is_nil(v->dy[0]) || !(v->need[0] || v->need[1])) return;
    lt_t in[] = {v->in[0], v->in[1], v->out[1], v->dy[0]};
    lt_t grad = lti_emit(&lti_op_rms_norm_grad, 4, in, NULL, 0);
    if (v->need[0]) v->dx[0] = lti_output(grad, 0);
    if (v->need[1]) v->dx[1] = lti_output(grad, 1);
}

static void norm_task(void *arg, int64_t task, int thread)
{
    const norm_job *job = arg;
    const norm_attr *attr = job->step->attr;
    const lt_real *x = job->step->in[0].data, *w = job->step->in[1].data;
    lt_real *y = job->y, *rstd = job->step->out[1].data;
    int64_t begin, end;
    lti_row_range(job->rows, job->tasks, task, &begin, &end);
    for (int64_t r = begin; r < end; r++) {
        lt_real value = lti_k()->rms_norm(job->cols, x + r * job->cols, w, (lt_real)attr->eps, y + r * job->cols);
        if (rstd) rstd[r] = value;
    }
}

static lt_status norm_prepare(lti_step *step)
{
    /* The kernel makes y and r together: where only r is read, y goes to scratch. */
    if (!step->out[0].data) step->scratch_bytes = (size_t)step->in[0].count * sizeof(lt_real);
    return LT_OK;
}

static lt_status norm_run(lti_step *step)
{
    norm_job job = {.step = step, .rows = lti_rows(&step->in[0]), .cols = lti_cols(&step->in[0])};
    job.tasks = lti_row_tasks(job.rows, job.cols, 256);
    job.y = step->out[0].data ? step->out[0].data : step->scratch;
    lti_par(job.tasks, norm_task, &job);
    return LT_OK;
}

/* The gradient: x, w, r, dy -> dx, dw. Scratch of a task: its part of dw, and a row for a dx that nobody reads. */
static lt_status grad_prepare(lti_step *step)
{
    int64_t rows = lti_rows(&step->in[0]), cols = lti_cols(&step->in[0]);
    step->scratch_bytes = (size_t)lti_row_tasks(rows, cols, 64) * 2 * (size_t)cols * sizeof(lt_real);
    return LT_OK;
}

static void grad_task(void *arg, int64_t task, int thread)
{
    const norm_job *job = arg;
    const lti_step *step = job->step;
    int64_t n = job->cols, begin, end;
    const lt_real *x = step->in[0].data, *w = step->in[1].data, *rstd = step->in[2].data, *dy = step->in[3].data;
    lt_real *dx = step->out[0].data;
    lt_real *dw = (lt_real *)step->scratch + task * 2 * n, *unread = dw + n;
    memset(dw, 0, (size_t)n * sizeof *dw);
    lti_row_range(job->rows, job->tasks, task, &begin, &end);
    for (int64_t r = begin; r < end; r++)
        lti_k()->rms_norm_grad(n, x + r * n, w, rstd[r], dy + r * n, dx ? dx + r * n : unread, dw);
}

static lt_status grad_run(lti_step *step)
{
    norm_job job = {.step = step, .rows = lti_rows(&step->in[0]), .cols = lti_cols(&step->in[0])};
    job.tasks = lti_row_tasks(job.rows, job.cols, 64);
    lti_par(job.tasks, grad_task, &job);
    lt_real *dw = step->out[1].data;
    if (!dw) return LT_OK;
    const lt_real *part = step->scratch;
    memcpy(dw, part, (size_t)job.cols * sizeof *dw);
    for (int64_t t = 1; t < job.tasks; t++) lti_k()->add(job.cols, dw, 1, part + t * 2 * job.cols, 1, dw);
    return LT_OK;
}

const lti_op lti_op_rms_norm = {
    .name = "rms_norm",
    .min_in = 2,
    .max_in = 2,
    .n_out = 2,
    .flags = LTI_CHEAP,
    .in_place = {1},
    .shape = norm_shape,
    .vjp = norm_vjp,
    .prepare = norm_prepare,
    .run = norm_run,
};

const lti_op lti_op_rms_norm_grad = {
    .name = "rms_norm_grad",
    .min_in = 4,
    .max_in = 4,
    .n_out = 2,
    .shape = lti_norm_grad_shape,
    .prepare = grad_prepare,
    .run = grad_run,
};

lt_t lt_rms_norm(lt_t x, lt_t w, double eps)
{
    norm_attr attr = {.eps = eps};
    return lti_emit(&lti_op_rms_norm, 2, (lt_t[]){x, w}, &attr, sizeof attr);
}
