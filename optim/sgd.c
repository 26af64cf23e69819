/* sgd.c - stochastic gradient descent with momentum, as a node that writes w and u; formula in kernels/update.h.
 *
 * Inputs: gradient, lr [, clip] [, ok]. u starts at zero, so that the first step's u is its gradient. */
#include "optim/update_parts.h"

#include <string.h>

typedef struct sgd_attr {
    lti_value param;
    double momentum, weight_decay, lr_multiplier;
    int64_t nesterov, has_clip, has_ok;
} sgd_attr;

typedef struct sgd_job {
    lt_real *w, *u;
    const lt_real *g;
    int64_t n, tasks;
    lti_sgd_step step;
} sgd_job;

static bool sgd_shape(lti_shaper *s)
{
    const sgd_attr *attr = s->attr;
    return lti_update_shape(s, &attr->param);
}

static void sgd_task(void *arg, int64_t task, int thread)
{
    const sgd_job *job = arg;
    int64_t begin, end;
    lti_par_range(job->n, job->tasks, task, &begin, &end);
    lti_k()->sgd(end - begin, job->w + begin, job->u ? job->u + begin : NULL, job->g + begin, &job->step);
}

static lt_status sgd_run(lti_step *step)
{
    const sgd_attr *attr = step->attr;
    if (attr->has_ok && lti_number(&step->in[2 + attr->has_clip]) == 0) return LT_OK;
    sgd_job job = {.w = lt_param_data(step->param[0]),
                   .u = step->n_params == 2 ? lt_param_data(step->param[1]) : NULL,
                   .g = step->in[0].data,
                   .n = step->in[0].count};
    job.step = (lti_sgd_step){.lr = (lt_real)((double)lti_number(&step->in[1]) * attr->lr_multiplier),
                              .momentum = (lt_real)attr->momentum,
                              .weight_decay = (lt_real)attr->weight_decay,
                              .clip = attr->has_clip ? lti_number(&step->in[2]) : 1,
                              .nesterov = attr->nesterov != 0};
    job.tasks = lti_par_tasks(job.n, 16384);
    lti_par(job.tasks, sgd_task, &job);
    return LT_OK;
}

const lti_op lti_op_sgd = {
    .name = "sgd",
    .min_in = 2,
    .max_in = 4,
    .n_out = 1,
    .flags = LTI_EFFECT,
    .shape = sgd_shape,
    .run = sgd_run,
};

void lt_sgd_config_init(lt_sgd_config *config)
{
    *config = (lt_sgd_config){.size = sizeof *config, .lr_multiplier = 1};
}

lt_t lt_sgd(lt_param *w, lt_param *u, lt_t gradient, lt_t lr, lt_t clip, lt_t ok, const lt_sgd_config *config)
{
    if (lt_is_nil(gradient)) return gradient;
    lt_graph *graph = gradient.graph;
    if (!w || (config->momentum != 0 && !u))
        return lti_graph_fail(graph, LT_EINVAL, "sgd: the parameter or its momentum is NULL");
    sgd_attr attr;
    memset(&attr, 0, sizeof attr);
    lti_update_value(&attr.param, w);
    if (!lti_moment_fits(graph, "sgd", w, u ? u : w)) return lt_nil(graph);
    attr.momentum = config->momentum;
    attr.weight_decay = config->weight_decay;
    attr.lr_multiplier = config->lr_multiplier;
    attr.nesterov = config->nesterov;
    attr.has_clip = !lt_is_nil(clip);
    attr.has_ok = !lt_is_nil(ok);
    lt_t in[4] = {gradient, lr};
    int n = lti_update_inputs(in, 2, clip, ok);
    return lti_emit_params(graph, &lti_op_sgd, n, in, &attr, sizeof attr, u ? 2 : 1, (lt_param *[]){w, u});
}
