/* group_norm.c - normalisation of groups of channels in each image x [B, .., C] (Wu and He, 2018).
 *
 *     m = mean x,  r = 1 / sqrt(mean (x - m)^2 + eps)  over the P positions and D = C / groups channels of a group,
 *     h = (x - m) r,  y = h w + b
 *     db = sum dy,  dw = sum dy h,  dx = r (w dy - mean(w dy) - h mean(w dy h))
 *
 * An image's channels are summed as in batch_norm.c; a group joins D of them. A task has whole images, so that what
 * was summed is still in the cache when it is mapped. Cutting images further would pay only for fewer images than
 * threads. The second output is [B, groups, 2] = {m, r}. dw and db are summed by each task over its own images, then
 * over tasks in their order. */
#include "autograd/ops/rows.h"
#include "lathe/images.h"

#include <math.h>
#include <string.h>

extern const lti_op lti_op_group_norm, lti_op_group_norm_grad;

typedef struct group_attr {
    int64_t groups;
    double eps;
} group_attr;

typedef struct group_job {
    const lti_step *step;
    int64_t images, positions, C, groups, tasks;
    size_t bytes; /* scratch of a task */
} group_job;

static bool group_shape(lti_shaper *s)
{
    char a[LTI_DIMS_TEXT], b[LTI_DIMS_TEXT];
    const lti_value *x = s->in[0];
    int64_t groups = ((const group_attr *)s->attr)->groups;
    if (!lti_f32_inputs(s, 0, s->n_in)) return false;
    if (x->rank < 2 || x->dim[x->rank - 1] < 1)
        return lti_shape_fail(s, "x %s; it is to be [B, .., C]", lti_dims(x, a));
    int64_t C = x->dim[x->rank - 1];
    if (groups < 1 || C % groups)
        return lti_shape_fail(s, "%lld channels cannot be cut into %lld groups of equal size", (long long)C,
                              (long long)groups);
    for (int i = 1; i < 3; i++)
        if (s->in[i]->rank != 1 || s->in[i]->dim[0] != C)
            return lti_shape_fail(s, "x %s with %s %s; it is as long as x's last axis", lti_dims(x, a),
                                  i == 1 ? "gain" : "bias", lti_dims(s->in[i], b));
    lti_value_set(&s->out[0], LT_F32, x->rank, x->dim);
    lti_value_set(&s->out[1], LT_F32, 3, (int64_t[]){x->dim[0], groups, 2});
    return true;
}

static void group_vjp(lti_vjp *v)
{
    if (lt_is_nil(v->dy[0]) || !(v->need[0] || v->need[1] || v->need[2])) return;
    lt_t in[] = {v->in[0], v->in[1], v->out[1], v->dy[0]};
    lt_t grad = lti_emit(&lti_op_group_norm_grad, 4, in, v->attr, sizeof(group_attr));
    for (int k = 0; k < 3; k++)
        if (v->need[k]) v->dx[k] = lti_output(grad, k);
}

/* `sums` double numbers and `vectors` numbers a channel. */
static group_job make_job(const lti_step *step, int sums, int vectors)
{
    group_job job = {.step = step, .groups = ((const group_attr *)step->attr)->groups};
    job.C = lti_cols(&step->in[0]);
    job.images = step->in[0].dim[0];
    job.positions = job.images ? lti_rows(&step->in[0]) / job.images : 0;
    job.tasks = lti_row_tasks(job.images, job.positions * job.C, 64);
    job.bytes = lti_round64((size_t)job.C * ((size_t)sums * sizeof(double) + (size_t)vectors * sizeof(lt_real)));
    return job;
}

static lt_status group_prepare(lti_step *step)
{
    group_job job = make_job(step, 2, 2);
    step->scratch_bytes = (size_t)job.tasks * job.bytes;
    return LT_OK;
}

/* Mean and r of the D channels from the first on, each with its sums of x - pivot and of the square over P rows. */
static void join_channels(int64_t C, int64_t D, double P, const lt_real *pivot, const double *sums, double eps,
                          double *mean, double *rstd)
{
    double sum = 0, squares = 0, count = (double)D;
    for (int64_t c = 0; c < D; c++) sum += (double)pivot[c] + sums[c] / P;
    *mean = sum / count;
    for (int64_t c = 0; c < D; c++) {
        double shift = sums[c] / P, apart = (double)pivot[c] + shift - *mean;
        double variance = sums[C + c] / P - shift * shift;
        squares += (variance < 0 ? 0 : variance) + apart * apart;
    }
    *rstd = 1 / sqrt(squares / count + eps);
}

static void norm_image(const group_job *job, int64_t image, double *sums)
{
    const lti_step *step = job->step;
    int64_t C = job->C, D = C / job->groups, size = job->positions * C;
    const lt_real *x = (const lt_real *)step->in[0].data + image * size, *w = step->in[1].data;
    lt_real *mean = (lt_real *)(sums + 2 * C), *scale = mean + C;
    lt_real *stats = step->out[1].data;
    memset(sums, 0, (size_t)(2 * C) * sizeof *sums);
    lti_k()->channel_moments(job->positions, C, x, x, sums);
    for (int64_t g = 0; g < job->groups; g++) {
        double m, r, eps = ((const group_attr *)step->attr)->eps;
        join_channels(C, D, (double)job->positions, x + g * D, sums + g * D, eps, &m, &r);
        for (int64_t c = g * D; c < (g + 1) * D; c++) {
            mean[c] = (lt_real)m;
            scale[c] = (lt_real)((double)w[c] * r);
        }
        if (!stats) continue;
        stats[2 * (image * job->groups + g)] = (lt_real)m;
        stats[2 * (image * job->groups + g) + 1] = (lt_real)r;
    }
    if (step->out[0].data)
        lti_k()->channel_norm(job->positions, C, x, mean, scale, step->in[2].data, 0,
                              (lt_real *)step->out[0].data + image * size);
}

static void norm_task(void *arg, int64_t task, int thread)
{
    const group_job *job = arg;
    int64_t begin, end;
    lti_row_range(job->images, job->tasks, task, &begin, &end);
    for (int64_t i = begin; i < end; i++)
        norm_image(job, i, (double *)((char *)job->step->scratch + (size_t)task * job->bytes));
}

static lt_status group_run(lti_step *step)
{
    group_job job = make_job(step, 2, 2);
    if (job.positions) lti_par(job.tasks, norm_task, &job);
    return LT_OK;
}

/* ---- The gradient: x, w, stats, dy -> dx, dw, db. A task has dw, db, an image's sums, and four vectors ---- */

static lt_status grad_prepare(lti_step *step)
{
    group_job job = make_job(step, 4, 4);
    step->scratch_bytes = (size_t)job.tasks * job.bytes;
    return LT_OK;
}

/* total: dw, db, then the scratch of an image. */
static void grad_image(const group_job *job, int64_t image, double *total)
{
    const lti_step *step = job->step;
    int64_t C = job->C, D = C / job->groups, size = job->positions * C;
    const lt_real *x = (const lt_real *)step->in[0].data + image * size, *w = step->in[1].data;
    const lt_real *stats = (const lt_real *)step->in[2].data + 2 * image * job->groups;
    const lt_real *dy = (const lt_real *)step->in[3].data + image * size;
    double *sums = total + 2 * C, count = (double)(job->positions * D);
    lt_real *mean = (lt_real *)(sums + 2 * C), *scale = mean + C, *slope = scale + C, *offset = slope + C;
    for (int64_t c = 0; c < C; c++) mean[c] = stats[2 * (c / D)];
    memset(sums, 0, (size_t)(2 * C) * sizeof *sums);
    lti_k()->channel_norm_sums(job->positions, C, x, dy, mean, scale, NULL, sums);
    for (int64_t g = 0; g < job->groups; g++) {
        double r = (double)stats[2 * g + 1], sum = 0, sum_x = 0;
        for (int64_t c = g * D; c < (g + 1) * D; c++) {
            sum += (double)w[c] * sums[c];
            sum_x += (double)w[c] * sums[C + c];
            total[c] += sums[C + c] * r;
            total[C + c] += sums[c];
        }
        for (int64_t c = g * D; c < (g + 1) * D; c++) {
            scale[c] = (lt_real)((double)w[c] * r);
            slope[c] = (lt_real)(-r * r * r * sum_x / count);
            offset[c] = (lt_real)(-r * sum / count);
        }
    }
    if (step->out[0].data)
        lti_k()->channel_norm_grad(job->positions, C, x, dy, mean, scale, NULL, slope, offset,
                                   (lt_real *)step->out[0].data + image * size);
}

static void grad_task(void *arg, int64_t task, int thread)
{
    const group_job *job = arg;
    double *total = (double *)((char *)job->step->scratch + (size_t)task * job->bytes);
    int64_t begin, end;
    memset(total, 0, (size_t)(2 * job->C) * sizeof *total);
    lti_row_range(job->images, job->tasks, task, &begin, &end);
    for (int64_t i = begin; job->positions && i < end; i++) grad_image(job, i, total);
}

static lt_status grad_run(lti_step *step)
{
    group_job job = make_job(step, 4, 4);
    lti_par(job.tasks, grad_task, &job);
    for (int k = 1; k < 3; k++) {
        lt_real *d = step->out[k].data;
        for (int64_t c = 0; d && c < job.C; c++) {
            double sum = 0;
            for (int64_t t = 0; t < job.tasks; t++)
                sum += ((const double *)((const char *)step->scratch + (size_t)t * job.bytes))[(k - 1) * job.C + c];
            d[c] = (lt_real)sum;
        }
    }
    return LT_OK;
}

const lti_op lti_op_group_norm = {
    .name = "group_norm",
    .min_in = 3,
    .max_in = 3,
    .n_out = 2,
    .flags = LTI_CHEAP,
    .in_place = {1},
    .shape = group_shape,
    .vjp = group_vjp,
    .prepare = group_prepare,
    .run = group_run,
};

const lti_op lti_op_group_norm_grad = {
    .name = "group_norm_grad",
    .min_in = 4,
    .max_in = 4,
    .n_out = 3,
    .in_place = {1 | 1 << 3},
    .shape = lti_norm_grad_shape,
    .prepare = grad_prepare,
    .run = grad_run,
};

lt_t lt_group_norm(lt_t x, lt_t w, lt_t b, int64_t groups, double eps)
{
    group_attr attr = {.groups = groups, .eps = eps};
    return lti_emit(&lti_op_group_norm, 3, (lt_t[]){x, w, b}, &attr, sizeof attr);
}
