/* row_loss.c - see row_loss.h.
 *
 * dz is made in the backward, in z's own place where z dies there: one [R, V] array altogether, for a second pass over
 * it. The sum is taken in double, row by row in order. */
#include "autograd/ops/row_loss.h"

#include "autograd/ops/head_kind.h"
#include "autograd/ops/rows.h"

#include <string.h>

typedef struct row_job {
    const lti_step *step;
    int64_t rows, V, tasks;
    lt_real scale;
} row_job;

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

bool lti_row_loss_shape(lti_shaper *s)
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

void lti_row_loss_vjp(lti_vjp *v)
{
    if (lt_is_nil(v->dy[0]) || !v->need[0]) return;
    lt_t in[] = {v->in[0], v->in[1], v->dy[0], v->n_in == 3 ? v->in[2] : v->dy[0]};
    v->dx[0] = lti_emit(((const lti_row_loss *)v->attr)->grad, v->n_in + 1, in, v->attr, sizeof(lti_row_loss));
}

lt_status lti_row_loss_prepare(lti_step *step)
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

static void loss_task(void *arg, int64_t task, int thread)
{
    const row_job *job = arg;
    const lti_row_loss *attr = job->step->attr;
    const lt_real *z = job->step->in[0].data;
    const int32_t *target = job->step->in[1].data;
    double *loss = job->step->scratch;
    int64_t begin, end;
    lti_row_range(job->rows, job->tasks, task, &begin, &end);
    for (int64_t r = begin; r < end; r++)
        loss[r] = target[r] < 0 ? 0 : attr->row(attr->number, job->V, z + r * job->V, target[r], 0, NULL);
}

lt_status lti_row_loss_run(lti_step *step)
{
    row_job job = {.step = step, .rows = lti_rows(&step->in[0]), .V = lti_cols(&step->in[0])};
    double f, sum = 0;
    LTI_TRY(factor(step, 2, &f));
    job.tasks = lti_row_tasks(job.rows, job.V, 256);
    lti_par(job.tasks, loss_task, &job);
    const double *loss = step->scratch;
    for (int64_t r = 0; r < job.rows; r++) sum += loss[r];
    *(lt_real *)step->out[0].data = f == 0 ? 0 : (lt_real)(sum * f);
    return LT_OK;
}

bool lti_row_loss_grad_shape(lti_shaper *s)
{
    lti_value_set(&s->out[0], LT_F32, s->in[0]->rank, s->in[0]->dim);
    return true;
}

static void grad_task(void *arg, int64_t task, int thread)
{
    const row_job *job = arg;
    const lti_row_loss *attr = job->step->attr;
    const lt_real *z = job->step->in[0].data;
    const int32_t *target = job->step->in[1].data;
    lt_real *dz = job->step->out[0].data;
    int64_t n = job->V, begin, end;
    lti_row_range(job->rows, job->tasks, task, &begin, &end);
    for (int64_t r = begin; r < end; r++) {
        if (target[r] < 0)
            memset(dz + r * n, 0, (size_t)n * sizeof *dz);
        else
            attr->row(attr->number, n, z + r * n, target[r], job->scale, dz + r * n);
    }
}

lt_status lti_row_loss_grad_run(lti_step *step)
{
    row_job job = {.step = step, .rows = lti_rows(&step->in[0]), .V = lti_cols(&step->in[0])};
    double f;
    LTI_TRY(factor(step, 3, &f));
    job.scale = (lt_real)((double)lti_number(&step->in[2]) * f);
    job.tasks = lti_row_tasks(job.rows, job.V, 256);
    lti_par(job.tasks, grad_task, &job);
    return LT_OK;
}

lt_t lti_row_loss_emit(const lti_op *op, lt_t z, lt_t target, lt_t norm, const lti_row_loss *attr)
{
    return lti_emit(op, lt_is_nil(norm) ? 2 : 3, (lt_t[]){z, target, norm}, attr, sizeof *attr);
}
