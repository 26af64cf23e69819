/* bce.c - binary cross-entropy of logits z against t in [0, 1], the mean over all n elements.
 *
 *     -t log s(z) - (1 - t) log(1 - s(z)) = max(z, 0) - z t + log(1 + e^-|z|),   s the logistic function
 *     dz = dloss / n (s(z) - t),  dt = -dloss / n z
 *
 * The right-hand side neither overflows nor takes the logarithm of a rounded 0. Summed in double, task by task in
 * order. */
#include "autograd/ops/rows.h"

#include <math.h>

extern const lti_op lti_op_bce, lti_op_bce_grad;

typedef struct bce_job {
    const lti_step *step;
    int64_t tasks;
    lt_real scale;
} bce_job;

static bool bce_shape(lti_shaper *s)
{
    char a[LTI_DIMS_TEXT], b[LTI_DIMS_TEXT];
    if (!lti_f32_inputs(s, 0, 2)) return false;
    if (!lti_value_same(s->in[0], s->in[1]))
        return lti_shape_fail(s, "logits %s with targets %s; the shapes are to be equal", lti_dims(s->in[0], a),
                              lti_dims(s->in[1], b));
    lti_value_set(&s->out[0], LT_F32, 0, NULL);
    return true;
}

static void bce_vjp(lti_vjp *v)
{
    int64_t n = lt_count(v->in[0]);
    if (lt_is_nil(v->dy[0]) || n == 0) return;
    if (v->need[0]) v->dx[0] = lti_emit(&lti_op_bce_grad, 3, (lt_t[]){v->in[0], v->in[1], v->dy[0]}, NULL, 0);
    if (v->need[1]) v->dx[1] = lt_mul(v->in[0], lt_scale(v->dy[0], -1.0 / (double)n));
}

static int64_t bce_tasks(const lti_step *step)
{
    return lti_par_tasks(step->in[0].count, LTI_GRAIN / 4); /* two transcendental functions an element */
}

static lt_status bce_prepare(lti_step *step)
{
    step->scratch_bytes = (size_t)bce_tasks(step) * sizeof(double);
    return LT_OK;
}

static void bce_task(void *arg, int64_t task, int thread)
{
    const bce_job *job = arg;
    const lt_real *z = job->step->in[0].data, *t = job->step->in[1].data;
    double sum = 0;
    int64_t begin, end;
    lti_par_range(job->step->in[0].count, job->tasks, task, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        double x = (double)z[i];
        sum += (x < 0 ? 0 : x) - x * (double)t[i] + log1p(exp(-fabs(x)));
    }
    ((double *)job->step->scratch)[task] = sum;
}

static lt_status bce_run(lti_step *step)
{
    bce_job job = {.step = step, .tasks = bce_tasks(step)};
    lti_par(job.tasks, bce_task, &job);
    double sum = 0;
    for (int64_t t = 0; t < job.tasks; t++) sum += ((const double *)step->scratch)[t];
    int64_t n = step->in[0].count;
    *(lt_real *)step->out[0].data = n ? (lt_real)(sum / (double)n) : 0;
    return LT_OK;
}

/* The gradient: z, t, dloss -> dz. */
static bool grad_shape(lti_shaper *s)
{
    lti_value_set(&s->out[0], LT_F32, s->in[0]->rank, s->in[0]->dim);
    return true;
}

static void grad_body(void *arg, int64_t begin, int64_t end)
{
    const bce_job *job = arg;
    const lt_real *z = job->step->in[0].data, *t = job->step->in[1].data;
    lt_real *dz = (lt_real *)job->step->out[0].data + begin;
    lti_k()->sigmoid(end - begin, z + begin, dz);
    lti_k()->sub(end - begin, dz, 1, t + begin, 1, dz);
    lti_k()->scale(end - begin, job->scale, dz, dz);
}

static lt_status grad_run(lti_step *step)
{
    bce_job job = {.step = step};
    job.scale = (lt_real)((double)lti_number(&step->in[2]) / (double)step->in[0].count);
    lti_each(step->in[0].count, grad_body, &job);
    return LT_OK;
}

const lti_op lti_op_bce = {
    .name = "bce",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .shape = bce_shape,
    .vjp = bce_vjp,
    .prepare = bce_prepare,
    .run = bce_run,
};

const lti_op lti_op_bce_grad = {
    .name = "bce_grad",
    .min_in = 3,
    .max_in = 3,
    .n_out = 1,
    .in_place = {1},
    .shape = grad_shape,
    .run = grad_run,
};

lt_t lt_bce(lt_t z, lt_t t)
{
    return lti_emit(&lti_op_bce, 2, (lt_t[]){z, t}, NULL, 0);
}
