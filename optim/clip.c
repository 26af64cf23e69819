/* clip.c - the norm of all gradients, the factor that clips it, and the flag that skips a broken step.
 *
 *     norm = sqrt(sum over tensors, elements of g^2),  factor = min(1, max / (norm + 1e-6)),  ok = all finite
 *
 * As torch.nn.utils.clip_grad_norm_. Squares are summed in double per task, tasks in order, tensors in order: the same
 * bits for any number of threads. Up to 16 tensors are one node; their sums are added pairwise. No gradients: these
 * nodes stand behind the backward. */
#include "autograd/op.h"
#include "lathe/optim.h"

#include <math.h>

typedef struct squares_job {
    const lti_arg *x;
    int64_t tasks;
    double *part;
} squares_job;

typedef struct clip_attr {
    double max_norm;
} clip_attr;

static bool number_shape(lti_shaper *s)
{
    for (int i = 0; i < s->n_in; i++)
        if (s->in[i]->type != LT_F32)
            return lti_shape_fail(s, "operand %d is %s; f32 is wanted", i, lt_dtype_name(s->in[i]->type));
    lti_value_set(&s->out[0], LT_F32, 0, NULL);
    return true;
}

/* ---- sum_squares: up to 16 tensors -> rank 0 ---- */

static lt_status squares_prepare(lti_step *step)
{
    int64_t most = 1;
    for (int i = 0; i < step->n_in; i++) {
        int64_t tasks = lti_par_tasks(step->in[i].count, 16384);
        if (tasks > most) most = tasks;
    }
    step->scratch_bytes = (size_t)most * sizeof(double);
    return LT_OK;
}

static void squares_task(void *arg, int64_t task, int thread)
{
    const squares_job *job = arg;
    int64_t begin, end;
    lti_par_range(job->x->count, job->tasks, task, &begin, &end);
    job->part[task] = lti_k()->sum_squares(end - begin, (const lt_real *)job->x->data + begin);
}

static lt_status squares_run(lti_step *step)
{
    double sum = 0;
    for (int i = 0; i < step->n_in; i++) {
        squares_job job = {.x = &step->in[i], .part = step->scratch};
        job.tasks = lti_par_tasks(step->in[i].count, 16384);
        lti_par(job.tasks, squares_task, &job);
        for (int64_t t = 0; t < job.tasks; t++) sum += job.part[t];
    }
    *(lt_real *)step->out[0].data = (lt_real)sum;
    return LT_OK;
}

/* ---- clip_factor: norm -> rank 0 ---- */

static lt_status factor_run(lti_step *step)
{
    double norm = (double)lti_number(&step->in[0]);
    double factor = ((const clip_attr *)step->attr)->max_norm / (norm + 1e-6);
    *(lt_real *)step->out[0].data = factor < 1 ? (lt_real)factor : 1;
    return LT_OK;
}

/* ---- finite_flag: up to 16 values -> rank 0, 1 or 0 ---- */

static lt_status flag_run(lti_step *step)
{
    int ok = 1;
    for (int i = 0; i < step->n_in && ok; i++) ok = lti_k()->all_finite(step->in[i].count, step->in[i].data);
    *(lt_real *)step->out[0].data = ok ? 1 : 0;
    return LT_OK;
}

const lti_op lti_op_sum_squares = {
    .name = "sum_squares",
    .min_in = 1,
    .max_in = LTI_MAX_IN,
    .n_out = 1,
    .shape = number_shape,
    .prepare = squares_prepare,
    .run = squares_run,
};

const lti_op lti_op_clip_factor = {
    .name = "clip_factor",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .shape = number_shape,
    .run = factor_run,
};

const lti_op lti_op_finite_flag = {
    .name = "finite_flag",
    .min_in = 1,
    .max_in = LTI_MAX_IN,
    .n_out = 1,
    .shape = number_shape,
    .run = flag_run,
};

/* Sum of squares of values[0 .. n), halved until a node can take the rest. */
static lt_t squares(int n, const lt_t *values)
{
    if (n <= LTI_MAX_IN) return lti_emit(&lti_op_sum_squares, n, values, NULL, 0);
    int half = (n / 2 + LTI_MAX_IN - 1) / LTI_MAX_IN * LTI_MAX_IN;
    lt_t a = squares(half, values);
    return lt_add(a, squares(n - half, values + half));
}

lt_t lt_global_norm(int n, const lt_t *values)
{
    return lt_sqrt(squares(n, values));
}

lt_t lt_clip_factor(lt_t norm, double max_norm)
{
    clip_attr attr = {.max_norm = max_norm};
    return lti_emit(&lti_op_clip_factor, 1, &norm, &attr, sizeof attr);
}

lt_t lt_finite_flag(int n, const lt_t *values)
{
    return lti_emit(&lti_op_finite_flag, n, values, NULL, 0);
}
