/* running_average.c - param = (1 - rate) param + rate x, or as it was when x is not finite everywhere.
 *
 * Averages of a batch's statistics, and of weights. One bad batch would otherwise stay in an average for good: nothing
 * takes a NaN out again. So x is looked at before anything is written. */
#include "autograd/ops/param_value.h"
#include "autograd/ops/rows.h"
#include "lathe/images.h"

typedef struct average_attr {
    lti_value param;
    double rate;
} average_attr;

typedef struct average_job {
    const lti_step *step;
    int64_t tasks;
} average_job;

static bool average_shape(lti_shaper *s)
{
    char a[LTI_DIMS_TEXT], b[LTI_DIMS_TEXT];
    const average_attr *attr = s->attr;
    if (!lti_f32_inputs(s, 0, 1)) return false;
    if (!lti_value_same(s->in[0], &attr->param))
        return lti_shape_fail(s, "x %s into a parameter %s %s; type and shape are to be equal", lti_dims(s->in[0], a),
                              lt_dtype_name(attr->param.type), lti_dims(&attr->param, b));
    if (!(attr->rate >= 0 && attr->rate <= 1)) return lti_shape_fail(s, "rate %g; it is to be in 0 to 1", attr->rate);
    s->out[0] = attr->param;
    return true;
}

static int64_t average_tasks(const lti_step *step)
{
    return lti_par_tasks(step->in[0].count, LTI_GRAIN);
}

/* A word a task: whether its part is finite. */
static lt_status average_prepare(lti_step *step)
{
    step->scratch_bytes = (size_t)average_tasks(step) * sizeof(int);
    return LT_OK;
}

static void finite_task(void *arg, int64_t task, int thread)
{
    const average_job *job = arg;
    const lt_real *x = job->step->in[0].data;
    int64_t begin, end;
    lti_par_range(job->step->in[0].count, job->tasks, task, &begin, &end);
    ((int *)job->step->scratch)[task] = lti_k()->all_finite(end - begin, x + begin);
}

static void average_body(void *arg, int64_t begin, int64_t end)
{
    const average_job *job = arg;
    double rate = ((const average_attr *)job->step->attr)->rate;
    const lt_real *x = job->step->in[0].data;
    lt_real *y = job->step->out[0].data;
    lti_k()->running_average(end - begin, (lt_real)(1 - rate), (lt_real)rate, x + begin, y + begin);
}

static lt_status average_run(lti_step *step)
{
    average_job job = {.step = step, .tasks = average_tasks(step)};
    lti_par(job.tasks, finite_task, &job);
    for (int64_t t = 0; t < job.tasks; t++)
        if (!((const int *)step->scratch)[t]) return LT_OK;
    lti_each(step->out[0].count, average_body, &job);
    return LT_OK;
}

const lti_op lti_op_running_average = {
    .name = "running_average",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .flags = LTI_EFFECT,
    .shape = average_shape,
    .prepare = average_prepare,
    .run = average_run,
};

lt_t lt_running_average(lt_param *param, lt_t x, double rate)
{
    if (lt_is_nil(x)) return x;
    if (!param) return lti_graph_fail(x.graph, LT_EINVAL, "running_average: there is no such parameter");
    average_attr attr = {.param = lti_param_value(param), .rate = rate};
    return lti_emit_params(x.graph, &lti_op_running_average, 1, &x, &attr, sizeof attr, 1, &param);
}
