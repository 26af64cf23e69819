/* adamw.c - AdamW (Loshchilov and Hutter, 2019) as a node that writes w, m and v; formula in kernels/update.h.
 *
 * Inputs: gradient, lr, step [, clip] [, ok]. The constants of a step are computed here once, in double. ok = 0 skips
 * the step as a branch: multiplying by 0 would keep a NaN. Slices depend on the size alone and share nothing. */
#include "optim/update_parts.h"

#include <math.h>
#include <string.h>

typedef struct adamw_attr {
    lti_value param;
    double beta1, beta2, eps, weight_decay, lr_multiplier;
    int64_t has_clip, has_ok;
} adamw_attr;

typedef struct adamw_job {
    lt_real *w, *m, *v;
    const lt_real *g;
    int64_t n, tasks;
    lti_adamw_step step;
} adamw_job;

static bool adamw_shape(lti_shaper *s)
{
    const adamw_attr *attr = s->attr;
    return lti_update_shape(s, &attr->param);
}

static void adamw_task(void *arg, int64_t task, int thread)
{
    const adamw_job *job = arg;
    int64_t begin, end;
    lti_par_range(job->n, job->tasks, task, &begin, &end);
    lti_k()->adamw(end - begin, job->w + begin, job->m + begin, job->v + begin, job->g + begin, &job->step);
}

static lt_status adamw_run(lti_step *step)
{
    const adamw_attr *attr = step->attr;
    if (attr->has_ok && lti_number(&step->in[3 + attr->has_clip]) == 0) return LT_OK;
    double lr = (double)lti_number(&step->in[1]) * attr->lr_multiplier, t = (double)lti_number(&step->in[2]);
    if (!(t >= 1)) return lti_fail(step->ctx, LT_EINVAL, "step %g; steps count from 1: set the scalar \"step\"", t);
    adamw_job job = {.w = lt_param_data(step->param[0]),
                     .m = lt_param_data(step->param[1]),
                     .v = lt_param_data(step->param[2]),
                     .g = step->in[0].data,
                     .n = step->in[0].count};
    job.step = (lti_adamw_step){.beta1 = (lt_real)attr->beta1,
                                .beta2 = (lt_real)attr->beta2,
                                .eps = (lt_real)attr->eps,
                                .decay = (lt_real)(1 - lr * attr->weight_decay),
                                .step_size = (lt_real)(lr / (1 - pow(attr->beta1, t))),
                                .sqrt_bias2 = (lt_real)sqrt(1 - pow(attr->beta2, t)),
                                .clip = attr->has_clip ? lti_number(&step->in[3]) : 1};
    job.tasks = lti_par_tasks(job.n, 16384);
    lti_par(job.tasks, adamw_task, &job);
    return LT_OK;
}

const lti_op lti_op_adamw = {
    .name = "adamw",
    .min_in = 3,
    .max_in = 5,
    .n_out = 1,
    .flags = LTI_EFFECT,
    .shape = adamw_shape,
    .run = adamw_run,
};

void lt_adamw_config_init(lt_adamw_config *config)
{
    *config = (lt_adamw_config){
        .size = sizeof *config, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01, .lr_multiplier = 1};
}

lt_t lt_adamw(lt_param *w, lt_param *m, lt_param *v, lt_t gradient, lt_t lr, lt_t step, lt_t clip, lt_t ok,
              const lt_adamw_config *config)
{
    if (lt_is_nil(gradient)) return gradient;
    lt_graph *graph = gradient.graph;
    if (!w || !m || !v) return lti_graph_fail(graph, LT_EINVAL, "adamw: a parameter or a moment is NULL");
    adamw_attr attr;
    memset(&attr, 0, sizeof attr);
    lti_value_set(&attr.param, lt_param_type(w), lt_param_rank(w), lt_param_shape(w));
    if (!lti_moment_fits(graph, "adamw", &attr.param, m) || !lti_moment_fits(graph, "adamw", &attr.param, v))
        return lt_nil(graph);
    attr.beta1 = config->beta1;
    attr.beta2 = config->beta2;
    attr.eps = config->eps;
    attr.weight_decay = config->weight_decay;
    attr.lr_multiplier = config->lr_multiplier;
    attr.has_clip = !lt_is_nil(clip);
    attr.has_ok = !lt_is_nil(ok);
    lt_t in[5] = {gradient, lr, step};
    int n = 3;
    if (attr.has_clip) in[n++] = clip;
    if (attr.has_ok) in[n++] = ok;
    return lti_emit_params(graph, &lti_op_adamw, n, in, &attr, sizeof attr, 3, (lt_param *[]){w, m, v});
}
