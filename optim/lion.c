/* lion.c - Lion (Chen et al. 2023) as a node that writes w and m; formula in kernels/update.h.
 *
 * Inputs: gradient, lr [, clip] [, ok]. There is no bias to correct, so no step: every change has the size lr. */
#include "optim/update_parts.h"

#include <string.h>

typedef struct lion_attr {
    lti_value param;
    double beta1, beta2, weight_decay, lr_multiplier;
    int64_t has_clip, has_ok;
} lion_attr;

typedef struct lion_job {
    lt_real *w, *m;
    const lt_real *g;
    int64_t n, tasks;
    lti_lion_step step;
} lion_job;

static bool lion_shape(lti_shaper *s)
{
    const lion_attr *attr = s->attr;
    return lti_update_shape(s, &attr->param);
}

static void lion_task(void *arg, int64_t task, int thread)
{
    const lion_job *job = arg;
    int64_t begin, end;
    lti_par_range(job->n, job->tasks, task, &begin, &end);
    lti_k()->lion(end - begin, job->w + begin, job->m + begin, job->g + begin, &job->step);
}

static lt_status lion_run(lti_step *step)
{
    const lion_attr *attr = step->attr;
    if (attr->has_ok && lti_number(&step->in[2 + attr->has_clip]) == 0) return LT_OK;
    double lr = (double)lti_number(&step->in[1]) * attr->lr_multiplier;
    lion_job job = {.w = lt_param_data(step->param[0]),
                    .m = lt_param_data(step->param[1]),
                    .g = step->in[0].data,
                    .n = step->in[0].count};
    job.step = (lti_lion_step){.beta1 = (lt_real)attr->beta1,
                               .beta2 = (lt_real)attr->beta2,
                               .lr = (lt_real)lr,
                               .decay = (lt_real)(1 - lr * attr->weight_decay),
                               .clip = attr->has_clip ? lti_number(&step->in[2]) : 1};
    job.tasks = lti_par_tasks(job.n, 16384);
    lti_par(job.tasks, lion_task, &job);
    return LT_OK;
}

const lti_op lti_op_lion = {
    .name = "lion",
    .min_in = 2,
    .max_in = 4,
    .n_out = 1,
    .flags = LTI_EFFECT,
    .shape = lion_shape,
    .run = lion_run,
};

void lt_lion_config_init(lt_lion_config *config)
{
    *config =
        (lt_lion_config){.size = sizeof *config, .beta1 = 0.9, .beta2 = 0.99, .weight_decay = 0.01, .lr_multiplier = 1};
}

lt_t lt_lion(lt_param *w, lt_param *m, lt_t gradient, lt_t lr, lt_t clip, lt_t ok, const lt_lion_config *config)
{
    if (lt_is_nil(gradient)) return gradient;
    lt_graph *graph = gradient.graph;
    if (!w || !m) return lti_graph_fail(graph, LT_EINVAL, "lion: the parameter or its momentum is NULL");
    if (!lti_moment_fits(graph, "lion", w, m)) return lt_nil(graph);
    lion_attr attr;
    memset(&attr, 0, sizeof attr);
    lti_update_value(&attr.param, w);
    attr.beta1 = config->beta1;
    attr.beta2 = config->beta2;
    attr.weight_decay = config->weight_decay;
    attr.lr_multiplier = config->lr_multiplier;
    attr.has_clip = !lt_is_nil(clip);
    attr.has_ok = !lt_is_nil(ok);
    lt_t in[4] = {gradient, lr};
    int n = lti_update_inputs(in, 2, clip, ok);
    return lti_emit_params(graph, &lti_op_lion, n, in, &attr, sizeof attr, 2, (lt_param *[]){w, m});
}
