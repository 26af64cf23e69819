/* weight_average.c - an exponential average of a weight, moved after each update that was applied.
 *
 *     average = decay average + (1 - decay) w
 *
 * Inputs: the new w [, ok]. A node of its own and not a part of every update: it reads what the update has just
 * written, and a flag of 0, which left the weight as it was, leaves the average as well. */
#include "optim/update_parts.h"

#include <string.h>

typedef struct average_attr {
    lti_value param;
    double decay;
} average_attr;

typedef struct average_job {
    lt_real *average;
    const lt_real *w;
    int64_t n, tasks;
    lt_real decay, rest;
} average_job;

static bool average_shape(lti_shaper *s)
{
    const average_attr *attr = s->attr;
    return lti_update_shape(s, &attr->param);
}

static void average_task(void *arg, int64_t task, int thread)
{
    const average_job *job = arg;
    lt_real *restrict average = job->average;
    const lt_real *restrict w = job->w;
    int64_t begin, end;
    lti_par_range(job->n, job->tasks, task, &begin, &end);
    for (int64_t i = begin; i < end; i++) average[i] = job->decay * average[i] + job->rest * w[i];
}

static lt_status average_run(lti_step *step)
{
    const average_attr *attr = step->attr;
    if (step->n_in == 2 && lti_number(&step->in[1]) == 0) return LT_OK;
    average_job job = {.average = lt_param_data(step->param[0]),
                       .w = step->in[0].data,
                       .n = step->in[0].count,
                       .decay = (lt_real)attr->decay,
                       .rest = (lt_real)(1 - attr->decay)};
    job.tasks = lti_par_tasks(job.n, 16384);
    lti_par(job.tasks, average_task, &job);
    return LT_OK;
}

const lti_op lti_op_weight_average = {
    .name = "weight_average",
    .min_in = 1,
    .max_in = 2,
    .n_out = 1,
    .flags = LTI_EFFECT,
    .shape = average_shape,
    .run = average_run,
};

lt_t lt_weight_average(lt_param *average, lt_t w, lt_t ok, double decay)
{
    if (lt_is_nil(w)) return w;
    if (!average) return lti_graph_fail(w.graph, LT_EINVAL, "weight_average: there is no such parameter");
    average_attr attr;
    memset(&attr, 0, sizeof attr);
    lti_update_value(&attr.param, average);
    attr.decay = decay;
    lt_t in[2] = {w};
    int n = lti_update_inputs(in, 1, lt_nil(w.graph), ok);
    return lti_emit_params(w.graph, &lti_op_weight_average, n, in, &attr, sizeof attr, 1, &average);
}
