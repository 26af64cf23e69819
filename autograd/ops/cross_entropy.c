/* cross_entropy.c - mean negative log-likelihood of targets under softmax(z), z [.., V].
 *
 *     loss = 1/N sum over rows r with target t_r >= 0 of (log sum_j exp z_rj - z_r,t_r)
 *     dz = dloss / N (softmax(z) - onehot(t)), 0 in masked rows
 *
 * N is `norm`, or the number of unmasked rows; a loss without any row is 0. dz is made in the backward, in z's own
 * place where z dies there: one [R, V] array altogether, for a second pass over it. The sum is taken in double, row by
 * row in order. */
#include "autograd/ops/head_kind.h"
#include "autograd/ops/rows.h"

#include <string.h>

extern const lti_op lti_op_cross_entropy, lti_op_cross_entropy_grad;

typedef struct cross_job {
    const lti_step *step;
    int64_t rows, V, tasks;
    lt_real scale;
} cross_job;

lt_status lti_live_targets(const lti_step *step, const lti_arg *target, int64_t V, int64_t *live)
{
    const int32_t *t = target->data;
    *live = 0;
    for (int64_t r = 0; r < target->count; r++) {
        if (t[r] >= V)
            return lti_fail(step->ctx, LT_EINVAL, "target %d of row %lld is not below %lld", (int)t[r], (long long)r,
                            (long long)V);
        *live += t[r] >= 0;
    }
    return LT_OK;
}

static bool cross_shape(lti_shaper *s)
{
    char a[LTI_DIMS_TEXT], b[LTI_DIMS_TEXT];
    const lti_value *z = s->in[0], *t = s->in[1];
    if (!lti_f32_inputs(s, 0, 1)) return false;
    bool fits = t->type == LT_I32 && z->rank == t->rank + 1 && z->dim[z->rank - 1] > 0;
    for (int i = 0; fits && i < t->rank; i++) fits = z->dim[i] == t->dim[i];
    if (!fits)
        return lti_shape_fail(s, "logits %s with %s targets %s; logits are [.., V] and targets i32 [..]",
                              lti_dims(z, a), lt_dtype_name(t->type), lti_dims(t, b));
    if (s->n_in > 2 && (s->in[2]->rank != 0 || s->in[2]->type != LT_F32))
        return lti_shape_fail(s, "`norm` is to be a single number");
    lti_value_set(&s->out[0], LT_F32, 0, NULL);
    return true;
}

static void cross_vjp(lti_vjp *v)
{
    if (lt_is_nil(v->dy[0]) || !v->need[0]) return;
    lt_t in[] = {v->in[0], v->in[1], v->dy[0], v->n_in == 3 ? v->in[2] : v->dy[0]};
    v->dx[0] = lti_emit(&lti_op_cross_entropy_grad, v->n_in + 1, in, NULL, 0);
}

static lt_status cross_prepare(lti_step *step)
{
    step->scratch_bytes = (size_t)lti_rows(&step->in[0]) * sizeof(double);
    return LT_OK;
}

/* 1 / N, or 0 where there is no row. `norm` is input `index`, when there is one. */
static lt_status factor(const lti_step *step, int index, double *f)
{
    int64_t live;
    LTI_TRY(lti_live_targets(step, &step->in[1], lti_cols(&step->in[0]), &live));
    double norm = step->n_in > index ? (double)lti_number(&step->in[index]) : (double)live;
    *f = live == 0 || norm == 0 ? 0 : 1 / norm;
    return LT_OK;
}

static void cross_task(void *arg, int64_t task, int thread)
{
    const cross_job *job = arg;
    const lt_real *z = job->step->in[0].data;
    const int32_t *target = job->step->in[1].data;
    double *loss = job->step->scratch;
    int64_t begin, end;
    lti_row_range(job->rows, job->tasks, task, &begin, &end);
    for (int64_t r = begin; r < end; r++)
        loss[r] = target[r] < 0 ? 0 : lti_k()->cross_entropy(job->V, z + r * job->V, target[r], 0, NULL);
}

static lt_status cross_run(lti_step *step)
{
    cross_job job = {.step = step, .rows = lti_rows(&step->in[0]), .V = lti_cols(&step->in[0])};
    double f, sum = 0;
    LTI_TRY(factor(step, 2, &f));
    job.tasks = lti_row_tasks(job.rows, job.V, 256);
    lti_par(job.tasks, cross_task, &job);
    const double *loss = step->scratch;
    for (int64_t r = 0; r < job.rows; r++) sum += loss[r];
    *(lt_real *)step->out[0].data = f == 0 ? 0 : (lt_real)(sum * f);
    return LT_OK;
}

/* The gradient: z, target, dloss [, norm] -> dz. */
static bool grad_shape(lti_shaper *s)
{
    lti_value_set(&s->out[0], LT_F32, s->in[0]->rank, s->in[0]->dim);
    return true;
}

static void grad_task(void *arg, int64_t task, int thread)
{
    const cross_job *job = arg;
    const lt_real *z = job->step->in[0].data;
    const int32_t *target = job->step->in[1].data;
    lt_real *dz = job->step->out[0].data;
    int64_t n = job->V, begin, end;
    lti_row_range(job->rows, job->tasks, task, &begin, &end);
    for (int64_t r = begin; r < end; r++) {
        if (target[r] < 0)
            memset(dz + r * n, 0, (size_t)n * sizeof *dz);
        else
            lti_k()->cross_entropy(n, z + r * n, target[r], job->scale, dz + r * n);
    }
}

static lt_status grad_run(lti_step *step)
{
    cross_job job = {.step = step, .rows = lti_rows(&step->in[0]), .V = lti_cols(&step->in[0])};
    double f;
    LTI_TRY(factor(step, 3, &f));
    job.scale = (lt_real)((double)lti_number(&step->in[2]) * f);
    job.tasks = lti_row_tasks(job.rows, job.V, 256);
    lti_par(job.tasks, grad_task, &job);
    return LT_OK;
}

const lti_op lti_op_cross_entropy = {
    .name = "cross_entropy",
    .min_in = 2,
    .max_in = 3,
    .n_out = 1,
    .shape = cross_shape,
    .vjp = cross_vjp,
    .prepare = cross_prepare,
    .run = cross_run,
};

const lti_op lti_op_cross_entropy_grad = {
    .name = "cross_entropy_grad",
    .min_in = 3,
    .max_in = 4,
    .n_out = 1,
    .in_place = {1},
    .shape = grad_shape,
    .run = grad_run,
};

lt_t lt_cross_entropy(lt_t z, lt_t target, lt_t norm)
{
    return lti_emit(&lti_op_cross_entropy, lt_is_nil(norm) ? 2 : 3, (lt_t[]){z, target, norm}, NULL, 0);
}
