/* adamw.c - AdamW (Loshchilov and Hutter, 2019) as nodes that write w, m and v; formulas in kernels/update.h.
 *
 * Inputs: gradient, lr, step [, clip] [, ok]. The constants of a step are computed here once, in double. ok = 0 skips
 * the step as a branch: multiplying by 0 would keep a NaN. Slices depend on the size alone and share nothing; with
 * moments of 8 bits a slice is whole blocks, so that each scale belongs to one. */
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
    int8_t *codes_m, *codes_v;
    lt_real *scales;
    const lt_real *g;
    int64_t n, tasks;
    lti_adamw_step step;
    uint32_t first; /* of the thresholds: step BETA */
} adamw_job;

static bool adamw_shape(lti_shaper *s)
{
    const adamw_attr *attr = s->attr;
    return lti_update_shape(s, &attr->param);
}

/* Fills in what both forms need; *skip: ok is 0. */
static lt_status begin_step(const lti_step *step, adamw_job *job, bool *skip)
{
    const adamw_attr *attr = step->attr;
    *skip = attr->has_ok && lti_number(&step->in[3 + attr->has_clip]) == 0;
    if (*skip) return LT_OK;
    double lr = (double)lti_number(&step->in[1]) * attr->lr_multiplier, t = (double)lti_number(&step->in[2]);
    if (!(t >= 1)) return lti_fail(step->ctx, LT_EINVAL, "step %g; steps count from 1: set the scalar \"step\"", t);
    *job = (adamw_job){.w = lt_param_data(step->param[0]), .g = step->in[0].data, .n = step->in[0].count};
    job->step = (lti_adamw_step){.beta1 = (lt_real)attr->beta1,
                                 .beta2 = (lt_real)attr->beta2,
                                 .eps = (lt_real)attr->eps,
                                 .decay = (lt_real)(1 - lr * attr->weight_decay),
                                 .step_size = (lt_real)(lr / (1 - pow(attr->beta1, t))),
                                 .sqrt_bias2 = (lt_real)sqrt(1 - pow(attr->beta2, t)),
                                 .clip = attr->has_clip ? lti_number(&step->in[3]) : 1};
    job->first = (uint32_t)(int64_t)fmin(t, 0x1p62) * LTI_ADAM8_BETA;
    return LT_OK;
}

/* ---- Moments as numbers ---- */

static void adamw_task(void *arg, int64_t task, int thread)
{
    const adamw_job *job = arg;
    int64_t begin, end;
    lti_par_range(job->n, job->tasks, task, &begin, &end);
    lti_k()->adamw(end - begin, job->w + begin, job->m + begin, job->v + begin, job->g + begin, &job->step);
}

static lt_status adamw_run(lti_step *step)
{
    adamw_job job;
    bool skip;
    LTI_TRY(begin_step(step, &job, &skip));
    if (skip) return LT_OK;
    job.m = lt_param_data(step->param[1]);
    job.v = lt_param_data(step->param[2]);
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

/* ---- Moments as codes ---- */

static int64_t blocks_of(int64_t n)
{
    return n / LTI_ADAM8_BLOCK + (n % LTI_ADAM8_BLOCK != 0);
}

static void adamw8_task(void *arg, int64_t task, int thread)
{
    const adamw_job *job = arg;
    int64_t blocks = blocks_of(job->n), first = blocks * task / job->tasks, last = blocks * (task + 1) / job->tasks;
    int64_t begin = first * LTI_ADAM8_BLOCK, end = last * LTI_ADAM8_BLOCK < job->n ? last * LTI_ADAM8_BLOCK : job->n;
    lti_adamw8_step step = {job->step, job->first + (uint32_t)begin * LTI_ADAM8_ALPHA};
    lti_k()->adamw8(end - begin, job->w + begin, job->codes_m + begin, job->codes_v + begin, job->scales + 2 * first,
                    job->g + begin, &step);
}

static lt_status adamw8_run(lti_step *step)
{
    adamw_job job;
    bool skip;
    LTI_TRY(begin_step(step, &job, &skip));
    if (skip) return LT_OK;
    job.codes_m = lt_param_data(step->param[1]);
    job.codes_v = lt_param_data(step->param[2]);
    job.scales = lt_param_data(step->param[3]);
    job.tasks = lti_par_tasks(job.n, 16384);
    lti_par(job.tasks, adamw8_task, &job);
    return LT_OK;
}

const lti_op lti_op_adamw8 = {
    .name = "adamw8",
    .min_in = 3,
    .max_in = 5,
    .n_out = 1,
    .flags = LTI_EFFECT,
    .shape = adamw_shape,
    .run = adamw8_run,
};

/* ---- Recording ---- */

void lt_adamw_config_init(lt_adamw_config *config)
{
    *config = (lt_adamw_config){
        .size = sizeof *config, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01, .lr_multiplier = 1};
}

static lt_t emit(const lti_op *op, int n_params, lt_param *const *params, const lt_t in[3], lt_t clip, lt_t ok,
                 const lt_adamw_config *config)
{
    adamw_attr attr;
    memset(&attr, 0, sizeof attr);
    lti_update_value(&attr.param, params[0]);
    attr.beta1 = config->beta1;
    attr.beta2 = config->beta2;
    attr.eps = config->eps;
    attr.weight_decay = config->weight_decay;
    attr.lr_multiplier = config->lr_multiplier;
    attr.has_clip = !lt_is_nil(clip);
    attr.has_ok = !lt_is_nil(ok);
    lt_t all[5] = {in[0], in[1], in[2]};
    int n = lti_update_inputs(all, 3, clip, ok);
    return lti_emit_params(in[0].graph, op, n, all, &attr, sizeof attr, n_params, params);
}

lt_t lt_adamw(lt_param *w, lt_param *m, lt_param *v, lt_t gradient, lt_t lr, lt_t step, lt_t clip, lt_t ok,
              const lt_adamw_config *config)
{
    if (lt_is_nil(gradient)) return gradient;
    lt_graph *graph = gradient.graph;
    if (!w || !m || !v) return lti_graph_fail(graph, LT_EINVAL, "adamw: a parameter or a moment is NULL");
    if (!lti_moment_fits(graph, "adamw", w, m) || !lti_moment_fits(graph, "adamw", w, v)) return lt_nil(graph);
    return emit(&lti_op_adamw, 3, (lt_param *[]){w, m, v}, (lt_t[]){gradient, lr, step}, clip, ok, config);
}

static bool is_array(const lt_param *p, lt_dtype type, int rank, int64_t rows, int64_t columns)
{
    return lt_param_type(p) == type && lt_param_rank(p) == rank && lt_param_shape(p)[0] == rows &&
           (rank == 1 || lt_param_shape(p)[1] == columns);
}

lt_t lt_adamw_8bit(lt_param *w, lt_param *m, lt_param *v, lt_param *scale, lt_t gradient, lt_t lr, lt_t step, lt_t clip,
                   lt_t ok, const lt_adamw_config *config)
{
    if (lt_is_nil(gradient)) return gradient;
    lt_graph *graph = gradient.graph;
    if (!w || !m || !v || !scale) return lti_graph_fail(graph, LT_EINVAL, "adamw8: a parameter or a moment is NULL");
    int64_t blocks = blocks_of(lt_param_count(w)), codes = blocks * LTI_ADAM8_BLOCK;
    if (lt_param_type(w) != LT_F32 || !is_array(m, LT_I8, 1, codes, 1) || !is_array(v, LT_I8, 1, codes, 1) ||
        !is_array(scale, LT_F32, 2, blocks, 2))
        return lti_graph_fail(graph, LT_EINVAL,
                              "adamw8: '%s' has %lld elements: its codes are to be two i8 [%lld], its scales f32 "
                              "[%lld,2]",
                              lt_param_name(w), (long long)lt_param_count(w), (long long)codes, (long long)blocks);
    return emit(&lti_op_adamw8, 4, (lt_param *[]){w, m, v, scale}, (lt_t[]){gradient, lr, step}, clip, ok, config);
}
