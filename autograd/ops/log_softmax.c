/* log_softmax.c - over the last axis.
 *
 *     y = x - log sum exp(x),  dx = dy - exp(y) sum dy */
#include "autograd/ops/rows.h"

extern const lti_op lti_op_log_softmax;

typedef struct log_softmax_job {
    const lti_step *step;
    int64_t rows, cols, tasks;
} log_softmax_job;

static bool log_softmax_shape(lti_shaper *s)
{
    if (!lti_f32_inputs(s, 0, 1)) return false;
    if (s->in[0]->rank < 1) return lti_shape_fail(s, "a single number has no axis to run over");
    lti_value_set(&s->out[0], LT_F32, s->in[0]->rank, s->in[0]->dim);
    return true;
}

static void log_softmax_vjp(lti_vjp *v)
{
    if (lt_is_nil(v->dy[0]) || !v->need[0]) return;
    lt_t total = lt_sum(v->dy[0], 1, (int[]){-1}, true); /* [.., 1] */
    v->dx[0] = lt_sub(v->dy[0], lt_mul(lt_exp(v->out[0]), total));
}

static void log_softmax_task(void *arg, int64_t task, int thread)
{
    const log_softmax_job *job = arg;
    const lt_real *x = job->step->in[0].data;
    lt_real *y = job->step->out[0].data;
    int64_t n = job->cols, begin, end;
    lti_row_range(job->rows, job->tasks, task, &begin, &end);
    for (int64_t r = begin; r < end; r++) lti_k()->log_softmax(n, x + r * n, y + r * n);
}

static lt_status log_softmax_run(lti_step *step)
{
    log_softmax_job job = {.step = step, .rows = lti_rows(&step->in[0]), .cols = lti_cols(&step->in[0])};
    job.tasks = lti_row_tasks(job.rows, job.cols, 256);
    lti_par(job.tasks, log_softmax_task, &job);
    return LT_OK;
}

const lti_op lti_op_log_softmax = {
    .name = "log_softmax",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .in_place = {1},
    .shape = log_softmax_shape,
    .vjp = log_softmax_vjp,
    .run = log_softmax_run,
};

lt_t lt_log_softmax(lt_t x)
{
    return lti_emit(&lti_op_log_softmax, 1, &x, NULL, 0);
}
