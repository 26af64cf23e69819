/* softmax.c - over the last axis.
 *
 *     y = exp(x - max x) / sum exp(x - max x),  dx = y (dy - <y, dy>)
 *
 * The gradient needs y alone, so that x may die in the forward. */
#include "autograd/ops/rows.h"

extern const lti_op lti_op_softmax, lti_op_softmax_grad;

typedef struct softmax_job {
    const lti_step *step;
    int64_t rows, cols, tasks;
} softmax_job;

static bool softmax_shape(lti_shaper *s)
{
    if (!lti_f32_inputs(s, 0, s->n_in)) return false;
    if (s->in[0]->rank < 1) return lti_shape_fail(s, "a single number has no axis to run over");
    lti_value_set(&s->out[0], LT_F32, s->in[0]->rank, s->in[0]->dim);
    return true;
}

static void softmax_vjp(lti_vjp *v)
{
    if (lt_is_nil(v->dy[0]) || !v->need[0]) return;
    v->dx[0] = lti_emit(&lti_op_softmax_grad, 2, (lt_t[]){v->out[0], v->dy[0]}, NULL, 0);
}

static void softmax_task(void *arg, int64_t task, int thread)
{
    const softmax_job *job = arg;
    const lt_real *x = job->step->in[0].data;
    lt_real *y = job->step->out[0].data;
    int64_t n = job->cols, begin, end;
    lti_row_range(job->rows, job->tasks, task, &begin, &end);
    for (int64_t r = begin; r < end; r++) lti_k()->softmax(n, x + r * n, y + r * n);
}

static lt_status softmax_run(lti_step *step)
{
    softmax_job job = {.step = step, .rows = lti_rows(&step->in[0]), .cols = lti_cols(&step->in[0])};
    job.tasks = lti_row_tasks(job.rows, job.cols, 256);
    lti_par(job.tasks, softmax_task, &job);
    return LT_OK;
}

static void grad_task(void *arg, int64_t task, int thread)
{
    const softmax_job *job = arg;
    const lt_real *y = job->step->in[0].data, *dy = job->step->in[1].data;
    lt_real *dx = job->step->out[0].data;
    int64_t n = job->cols, begin, end;
    lti_row_range(job->rows, job->tasks, task, &begin, &end);
    for (int64_t r = begin; r < end; r++) lti_k()->softmax_grad(n, y + r * n, dy + r * n, dx + r * n);
}

static lt_status grad_run(lti_step *step)
{
    softmax_job job = {.step = step, .rows = lti_rows(&step->in[0]), .cols = lti_cols(&step->in[0])};
    job.tasks = lti_row_tasks(job.rows, job.cols, 256);
    lti_par(job.tasks, grad_task, &job);
    return LT_OK;
}

const lti_op lti_op_softmax = {
    .name = "softmax",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .in_place = {1},
    .shape = softmax_shape,
    .vjp = softmax_vjp,
    .run = softmax_run,
};

const lti_op lti_op_softmax_grad = {
    .name = "softmax_grad",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .shape = softmax_shape,
    .run = grad_run,
};

lt_t lt_softmax(lt_t x)
{
    return lti_emit(&lti_op_softmax, 1, &x, NULL, 0);
}
