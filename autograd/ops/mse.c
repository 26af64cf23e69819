/* mse.c - y = mean (a - b)^2; da = 2/n (a - b) dy, db = -da. Summed in double, task by task in order. */
#include "autograd/ops/rows.h"

extern const lti_op lti_op_mse;

enum { PIECE = 512 };

typedef struct mse_job {
    const lti_step *step;
    int64_t tasks;
} mse_job;

static bool mse_shape(lti_shaper *s)
{
    char a[LTI_DIMS_TEXT], b[LTI_DIMS_TEXT];
    if (!lti_f32_inputs(s, 0, 2)) return false;
    if (!lti_value_same(s->in[0], s->in[1]))
        return lti_shape_fail(s, "%s with %s; the shapes are to be equal", lti_dims(s->in[0], a),
                              lti_dims(s->in[1], b));
    lti_value_set(&s->out[0], LT_F32, 0, NULL);
    return true;
}

static void mse_vjp(lti_vjp *v)
{
    int64_t n = lt_count(v->in[0]);
    if (lt_is_nil(v->dy[0]) || n == 0) return;
    lt_t difference = lt_mul(lt_sub(v->in[0], v->in[1]), lt_scale(v->dy[0], 2.0 / (double)n));
    if (v->need[0]) v->dx[0] = difference;
    if (v->need[1]) v->dx[1] = lt_scale(difference, -1);
}

static int64_t mse_tasks(const lti_step *step)
{
    return lti_par_tasks(step->in[0].count, LTI_GRAIN);
}

static lt_status mse_prepare(lti_step *step)
{
    step->scratch_bytes = (size_t)mse_tasks(step) * sizeof(double);
    return LT_OK;
}

static void mse_task(void *arg, int64_t task, int thread)
{
    const mse_job *job = arg;
    const lt_real *a = job->step->in[0].data, *b = job->step->in[1].data;
    lt_real d[PIECE];
    double sum = 0;
    int64_t begin, end;
    lti_par_range(job->step->in[0].count, job->tasks, task, &begin, &end);
    for (int64_t i = begin; i < end; i += PIECE) {
        int64_t n = end - i < PIECE ? end - i : PIECE;
        lti_k()->sub(n, a + i, 1, b + i, 1, d);
        sum += lti_k()->sum_squares(n, d);
    }
    ((double *)job->step->scratch)[task] = sum;
}

static lt_status mse_run(lti_step *step)
{
    mse_job job = {.step = step, .tasks = mse_tasks(step)};
    lti_par(job.tasks, mse_task, &job);
    double sum = 0;
    for (int64_t t = 0; t < job.tasks; t++) sum += ((const double *)step->scratch)[t];
    int64_t n = step->in[0].count;
    *(lt_real *)step->out[0].data = n ? (lt_real)(sum / (double)n) : 0;
    return LT_OK;
}

const lti_op lti_op_mse = {
    .name = "mse",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .shape = mse_shape,
    .vjp = mse_vjp,
    .prepare = mse_prepare,
    .run = mse_run,
};

lt_t lt_mse(lt_t a, lt_t b)
{
    return lti_emit(&lti_op_mse, 2, (lt_t[]){a, b}, NULL, 0);
}
