/* layer_norm.c - layer normalisation over the last axis C (Ba et al., 2016).
 *
 *     m = mean x,  r = 1 / sqrt(mean (x - m)^2 + eps),  h = (x - m) r,  y = h w + b
 *     g = w dy,  dx = r (g - mean g - h mean(g h)),  dw = sum over rows of dy h,  db = sum over rows of dy
 *
 * The second output is [.., 2] = {m, r}: what the gradient would have to sum again. dw and db are summed by each task
 * over its own rows, then over tasks in their order. Without b the kernel reads zeros from scratch. */
#include "autograd/ops/rows.h"

#include <string.h>

extern const lti_op lti_op_layer_norm, lti_op_layer_norm_grad;

typedef struct norm_attr {
    double eps;
} norm_attr;

typedef struct norm_job {
    const lti_step *step;
    const lt_real *b;
    lt_real *y;
    int64_t rows, cols, tasks;
} norm_job;

static bool norm_shape(lti_shaper *s)
{
    char a[LTI_DIMS_TEXT], b[LTI_DIMS_TEXT];
    const lti_value *x = s->in[0];
    if (!lti_f32_inputs(s, 0, s->n_in)) return false;
    if (x->rank < 1 || x->rank >= LT_MAX_RANK)
        return lti_shape_fail(s, "x %s; its rank is to be 1 to %d", lti_dims(x, a), LT_MAX_RANK - 1);
    for (int i = 1; i < s->n_in; i++)
        if (s->in[i]->rank != 1 || s->in[i]->dim[0] != x->dim[x->rank - 1] || s->in[i]->dim[0] < 1)
            return lti_shape_fail(s, "x %s with %s %s; it is as long as x's last axis", lti_dims(x, a),
                                  i == 1 ? "gain" : "bias", lti_dims(s->in[i], b));
    lti_value_set(&s->out[0], LT_F32, x->rank, x->dim);
    int64_t stats[LT_MAX_RANK];
    for (int i = 0; i + 1 < x->rank; i++) stats[i] = x->dim[i];
    stats[x->rank - 1] = 2;
    lti_value_set(&s->out[1], LT_F32, x->rank, stats);
    return true;
}

static void norm_vjp(lti_vjp *v)
{
    bool need_b = v->n_in == 3 && v->need[2];
    if (lt_is_nil(v->dy[0]) || !(v->need[0] || v->need[1] || need_b)) return;
    lt_t in[] = {v->in[0], v->in[1], v->out[1], v->dy[0]};
    lt_t grad = lti_emit(&lti_op_layer_norm_grad, 4, in, NULL, 0);
    if (v->need[0]) v->dx[0] = lti_output(grad, 0);
    if (v->need[1]) v->dx[1] = lti_output(grad, 1);
    if (need_b) v->dx[2] = lti_output(grad, 2);
}

/* Scratch: a row of zeros for a missing b, then a place for a y that nobody reads. */
static lt_status norm_prepare(lti_step *step)
{
    step->scratch_bytes = step->n_in == 2 ? lti_round64((size_t)lti_cols(&step->in[0]) * sizeof(lt_real)) : 0;
    if (!step->out[0].data) step->scratch_bytes += (size_t)step->in[0].count * sizeof(lt_real);
    return LT_OK;
}

static void norm_task(void *arg, int64_t task, int thread)
{
    const norm_job *job = arg;
    const norm_attr *attr = job->step->attr;
    const lt_real *x = job->step->in[0].data, *w = job->step->in[1].data;
    lt_real *stats = job->step->out[1].data;
    int64_t n = job->cols, begin, end;
    lti_row_range(job->rows, job->tasks, task, &begin, &end);
    for (int64_t r = begin; r < end; r++) {
        lt_real unread[2];
        lti_k()->layer_norm(n, x + r * n, w, job->b, (lt_real)attr->eps, job->y + r * n,
                            stats ? stats + 2 * r : unread);
    }
}

static lt_status norm_run(lti_step *step)
{
    norm_job job = {.step = step, .rows = lti_rows(&step->in[0]), .cols = lti_cols(&step->in[0])};
    size_t row = lti_round64((size_t)job.cols * sizeof(lt_real));
    char *scratch = step->scratch;
    if (step->n_in == 2) {
        memset(scratch, 0, row);
        job.b = (const lt_real *)scratch;
        scratch += row;
    } else {
        job.b = step->in[2].data;
    }
    job.y = step->out[0].data ? step->out[0].data : (void *)scratch;
    job.tasks = lti_row_tasks(job.rows, job.cols, 256);
    lti_par(job.tasks, norm_task, &job);
    return LT_OK;
}

/* The gradient: x, w, stats, dy -> dx, dw, db. Scratch of a task: dw, db, and a row for a dx that nobody reads. */
static lt_status grad_prepare(lti_step *step)
{
    int64_t rows = lti_rows(&step->in[0]), cols = lti_cols(&step->in[0]);
    step->scratch_bytes = (size_t)lti_row_tasks(rows, cols, 64) * 3 * (size_t)cols * sizeof(lt_real);
    return LT_OK;
}

static void grad_task(void *arg, int64_t task, int thread)
{
    const norm_job *job = arg;
    const lti_step *step = job->step;
    int64_t n = job->cols, begin, end;
    const lt_real *x = step->in[0].data, *w = step->in[1].data, *stats = step->in[2].data, *dy = step->in[3].data;
    lt_real *dx = step->out[0].data;
    lt_real *dw = (lt_real *)step->scratch + task * 3 * n, *db = dw + n, *unread = db + n;
    memset(dw, 0, 2 * (size_t)n * sizeof *dw);
    lti_row_range(job->rows, job->tasks, task, &begin, &end);
    for (int64_t r = begin; r < end; r++)
        lti_k()->layer_norm_grad(n, x + r * n, w, stats + 2 * r, dy + r * n, dx ? dx + r * n : unread, dw, db);
}

static lt_status grad_run(lti_step *step)
{
    norm_job job = {.step = step, .rows = lti_rows(&step->in[0]), .cols = lti_cols(&step->in[0])};
    job.tasks = lti_row_tasks(job.rows, job.cols, 64);
    lti_par(job.tasks, grad_task, &job);
    for (int k = 1; k < 3; k++) {
        lt_real *d = step->out[k].data;
        const lt_real *part = (const lt_real *)step->scratch + (k - 1) * job.cols;
        if (!d) continue;
        memcpy(d, part, (size_t)job.cols * sizeof *d);
        for (int64_t t = 1; t < job.tasks; t++) lti_k()->add(job.cols, d, 1, part + t * 3 * job.cols, 1, d);
    }
    return LT_OK;
}

const lti_op lti_op_layer_norm = {
    .name = "layer_norm",
    .min_in = 2,
    .max_in = 3,
    .n_out = 2,
    .flags = LTI_CHEAP,
    .shape = norm_shape,
    .vjp = norm_vjp,
    .prepare = norm_prepare,
    .run = norm_run,
};

const lti_op lti_op_layer_norm_grad = {
    .name = "layer_norm_grad",
    .min_in = 4,
    .max_in = 4,
    .n_out = 3,
    .shape = lti_norm_grad_shape,
    .prepare = grad_prepare,
    .run = grad_run,
};

lt_t lt_layer_norm(lt_t x, lt_t w, lt_t b, double eps)
{
    norm_attr attr = {.eps = eps};
    return lti_emit(&lti_op_layer_norm, lt_is_nil(b) ? 2 : 3, (lt_t[]){x, w, b}, &attr, sizeof attr);
}
