/* batch_norm.c - normalisation of channels over all rows of x [.., C] (Ioffe and Szegedy, 2015).
 *
 *     m = mean x,  v = mean (x - m)^2,  r = 1 / sqrt(v + eps),  h = (x - m) r,  y = h w + b, or max(0, y)
 *     db = sum g,  dw = sum g h,  dx = w r (g - db / N - h dw / N),   g = dy, cut to 0 where y <= 0 under the ReLU
 *
 * In evaluation m and v are given, and dx = w r g. What a pass over x costs is memory, so there are two of them each
 * way: sums of a channel, then its map. The sums are those of x - x[0] and of its square, in double: one pass, exact
 * for a channel whose mean dwarfs its deviation. The backward reads x and dy alone: y > 0 is computed again from x by
 * the forward's own arithmetic, so that a ReLU in the same pass keeps nothing (h cannot be had from a cut y, so
 * keeping y in x's place is no alternative). Rows are cut by size; the sums of chunks are joined in their order.
 *
 * Outputs beside y: m, r and v N/(N-1), [C] each. The last is what PyTorch averages over batches. */
#include "autograd/ops/rows.h"
#include "lathe/images.h"

#include <math.h>
#include <string.h>

extern const lti_op lti_op_batch_norm, lti_op_batch_norm_frozen, lti_op_batch_norm_grad;

typedef struct batch_attr {
    double eps;
    int32_t relu, frozen; /* frozen: by given statistics */
} batch_attr;

/* Rows x [rows, n] in `tasks` chunks; the pointers are [n] unless they are rows. */
typedef struct batch_job {
    int64_t rows, n, tasks;
    const lt_real *x, *dy;
    lt_real *mean, *scale, *slope, *offset;
    const lt_real *bias;
    lt_real *out;
    double *sums; /* [tasks, 2 n] */
    int relu;
} batch_job;

static bool channels_fit(lti_shaper *s)
{
    static const char *const names[] = {"x", "gain", "bias", "mean", "variance"};
    char a[LTI_DIMS_TEXT], b[LTI_DIMS_TEXT];
    const lti_value *x = s->in[0];
    if (!lti_f32_inputs(s, 0, s->n_in)) return false;
    if (x->rank < 1 || x->dim[x->rank - 1] < 1) return lti_shape_fail(s, "x %s has no channels", lti_dims(x, a));
    for (int i = 1; i < s->n_in; i++)
        if (s->in[i]->rank != 1 || s->in[i]->dim[0] != x->dim[x->rank - 1])
            return lti_shape_fail(s,
                                  "x %s with %s %s; it has a number for each channel, and channels are x's last axis",
                                  lti_dims(x, a), names[i], lti_dims(s->in[i], b));
    lti_value_set(&s->out[0], LT_F32, x->rank, x->dim);
    return true;
}

static bool batch_shape(lti_shaper *s)
{
    char a[LTI_DIMS_TEXT];
    if (!channels_fit(s)) return false;
    const lti_value *x = s->in[0];
    int64_t n = x->dim[x->rank - 1], rows = lti_value_count(x) / n;
    if (rows < 2) return lti_shape_fail(s, "no value per channel in x %s", lti_dims(x, a));
    for (int k = 1; k < 4; k++) lti_value_set(&s->out[k], LT_F32, 1, &n);
    return true;
}

/* in: x, w, b, mean, then r or the variance. */
static void emit_grad(lti_vjp *v, lt_t mean, lt_t spread)
{
    if (lt_is_nil(v->dy[0]) || !(v->need[0] || v->need[1] || v->need[2])) return;
    lt_t in[] = {v->in[0], v->in[1], v->in[2], mean, spread, v->dy[0]};
    lt_t grad = lti_emit(&lti_op_batch_norm_grad, 6, in, v->attr, sizeof(batch_attr));
    for (int k = 0; k < 3; k++)
        if (v->need[k]) v->dx[k] = lti_output(grad, k);
}

static void batch_vjp(lti_vjp *v)
{
    emit_grad(v, v->out[1], v->out[2]);
}

static void frozen_vjp(lti_vjp *v)
{
    emit_grad(v, v->in[3], v->in[4]);
}

/* ---- Passes over the rows ---- */

static batch_job make_job(const lti_step *step)
{
    const batch_attr *attr = step->attr;
    batch_job job = {.rows = lti_rows(&step->in[0]), .n = lti_cols(&step->in[0]), .relu = attr->relu};
    job.tasks = lti_row_tasks(job.rows, job.n, 64);
    job.x = step->in[0].data;
    job.bias = step->in[2].data;
    job.out = step->out[0].data;
    return job;
}

/* The sums of the chunks, then `vectors` rows of n numbers. */
static size_t scratch_bytes(const batch_job *job, int vectors)
{
    return lti_round64((size_t)(job->tasks * 2 * job->n) * sizeof(double)) +
           (size_t)vectors * lti_round64((size_t)job->n * sizeof(lt_real));
}

/* Vector i of the scratch. */
static lt_real *vector(const lti_step *step, const batch_job *job, int i)
{
    return (lt_real *)((char *)step->scratch + scratch_bytes(job, i));
}

static double *chunk(const batch_job *job, int64_t task, int64_t *begin, int64_t *end)
{
    double *sums = job->sums + task * 2 * job->n;
    lti_row_range(job->rows, job->tasks, task, begin, end);
    memset(sums, 0, (size_t)(2 * job->n) * sizeof *sums);
    return sums;
}

static void join(const batch_job *job)
{
    for (int64_t t = 1; t < job->tasks; t++)
        for (int64_t i = 0; i < 2 * job->n; i++) job->sums[i] += job->sums[t * 2 * job->n + i];
}

/* Rows of a second pass: what the first one read last may still be in a cache. */
static void last_first(const batch_job *job, int64_t task, int64_t *begin, int64_t *end)
{
    lti_row_range(job->rows, job->tasks, job->tasks - 1 - task, begin, end);
}

static void moments_task(void *arg, int64_t task, int thread)
{
    const batch_job *job = arg;
    int64_t begin, end;
    double *sums = chunk(job, task, &begin, &end);
    lti_k()->channel_moments(end - begin, job->n, job->x + begin * job->n, job->x, sums);
}

static void norm_task(void *arg, int64_t task, int thread)
{
    const batch_job *job = arg;
    int64_t begin, end;
    last_first(job, task, &begin, &end);
    lti_k()->channel_norm(end - begin, job->n, job->x + begin * job->n, job->mean, job->scale, job->bias, job->relu,
                          job->out + begin * job->n);
}

/* ---- Training ---- */

static lt_status batch_prepare(lti_step *step)
{
    batch_job job = make_job(step);
    step->scratch_bytes = scratch_bytes(&job, 2);
    return LT_OK;
}

/* Mean, r and the unbiased variance of a channel from the sums of its deviations from x[0]. The scale is made from r as
 * it is stored: the backward has no other, and the ReLU is to cut both at the same numbers. */
static void statistics(const lti_step *step, const batch_job *job)
{
    const lt_real *w = step->in[1].data;
    lt_real *mean = step->out[1].data, *rstd = step->out[2].data, *unbiased = step->out[3].data;
    double rows = (double)job->rows, eps = ((const batch_attr *)step->attr)->eps;
    for (int64_t c = 0; c < job->n; c++) {
        double shift = job->sums[c] / rows, variance = job->sums[job->n + c] / rows - shift * shift;
        if (variance < 0) variance = 0; /* by rounding; a NaN stays */
        lt_real r = (lt_real)(1 / sqrt(variance + eps));
        job->mean[c] = (lt_real)((double)job->x[c] + shift);
        job->scale[c] = (lt_real)((double)w[c] * (double)r);
        if (mean) mean[c] = job->mean[c];
        if (rstd) rstd[c] = r;
        if (unbiased) unbiased[c] = (lt_real)(variance * rows / (rows - 1));
    }
}

static lt_status batch_run(lti_step *step)
{
    batch_job job = make_job(step);
    job.sums = step->scratch;
    job.mean = vector(step, &job, 0);
    job.scale = vector(step, &job, 1);
    lti_par(job.tasks, moments_task, &job);
    join(&job);
    statistics(step, &job);
    if (job.out) lti_par(job.tasks, norm_task, &job);
    return LT_OK;
}

/* ---- Evaluation ---- */

/* 1 / sqrt(v + eps) of a channel: `spread` is v, or already r. */
static double inverse(const batch_attr *attr, const lt_real *spread, int64_t c)
{
    return attr->frozen ? 1 / sqrt((double)spread[c] + attr->eps) : (double)spread[c];
}

static lt_status frozen_prepare(lti_step *step)
{
    step->scratch_bytes = (size_t)lti_cols(&step->in[0]) * sizeof(lt_real);
    return LT_OK;
}

static lt_status frozen_run(lti_step *step)
{
    batch_job job = make_job(step);
    const lt_real *w = step->in[1].data, *variance = step->in[4].data;
    job.mean = step->in[3].data;
    job.scale = step->scratch;
    for (int64_t c = 0; c < job.n; c++) job.scale[c] = (lt_real)((double)w[c] * inverse(step->attr, variance, c));
    if (job.out) lti_par(job.tasks, norm_task, &job);
    return LT_OK;
}

/* ---- The gradient: x, w, b, mean, r or variance, dy -> dx, dw, db ---- */

static lt_status grad_prepare(lti_step *step)
{
    batch_job job = make_job(step);
    step->scratch_bytes = scratch_bytes(&job, 3);
    return LT_OK;
}

static void sums_task(void *arg, int64_t task, int thread)
{
    const batch_job *job = arg;
    int64_t begin, end;
    double *sums = chunk(job, task, &begin, &end);
    lti_k()->channel_norm_sums(end - begin, job->n, job->x + begin * job->n, job->dy + begin * job->n, job->mean,
                               job->scale, job->relu ? job->bias : NULL, sums);
}

static void grad_task(void *arg, int64_t task, int thread)
{
    const batch_job *job = arg;
    int64_t begin, end;
    last_first(job, task, &begin, &end);
    lti_k()->channel_norm_grad(end - begin, job->n, job->x + begin * job->n, job->dy + begin * job->n, job->mean,
                               job->scale, job->relu ? job->bias : NULL, job->slope, job->offset,
                               job->out + begin * job->n);
}

/* dw, db, and the two numbers that make dx of a channel. Given statistics do not depend on x: both are 0. */
static void coefficients(const lti_step *step, const batch_job *job)
{
    const batch_attr *attr = step->attr;
    lt_real *dw = step->out[1].data, *db = step->out[2].data;
    double rows = (double)job->rows;
    for (int64_t c = 0; c < job->n; c++) {
        double sum = job->sums[c], sum_x = job->sums[job->n + c], r = inverse(attr, step->in[4].data, c);
        if (dw) dw[c] = (lt_real)(sum_x * r);
        if (db) db[c] = (lt_real)sum;
        job->slope[c] = attr->frozen ? 0 : (lt_real)(-(double)job->scale[c] * r * r * sum_x / rows);
        job->offset[c] = attr->frozen ? 0 : (lt_real)(-(double)job->scale[c] * sum / rows);
    }
}

static lt_status grad_run(lti_step *step)
{
    batch_job job = make_job(step);
    const batch_attr *attr = step->attr;
    const lt_real *w = step->in[1].data;
    job.dy = step->in[5].data;
    job.mean = step->in[3].data;
    job.sums = step->scratch;
    job.scale = vector(step, &job, 0);
    job.slope = vector(step, &job, 1);
    job.offset = vector(step, &job, 2);
    for (int64_t c = 0; c < job.n; c++) job.scale[c] = (lt_real)((double)w[c] * inverse(attr, step->in[4].data, c));
    if (!attr->frozen || step->out[1].data || step->out[2].data) {
        lti_par(job.tasks, sums_task, &job);
        join(&job);
    } else {
        memset(job.sums, 0, (size_t)(2 * job.n) * sizeof *job.sums);
    }
    coefficients(step, &job);
    if (job.out) lti_par(job.tasks, grad_task, &job);
    return LT_OK;
}

const lti_op lti_op_batch_norm = {
    .name = "batch_norm",
    .min_in = 3,
    .max_in = 3,
    .n_out = 4,
    .flags = LTI_CHEAP,
    .in_place = {1},
    .shape = batch_shape,
    .vjp = batch_vjp,
    .prepare = batch_prepare,
    .run = batch_run,
};

const lti_op lti_op_batch_norm_frozen = {
    .name = "batch_norm_frozen",
    .min_in = 5,
    .max_in = 5,
    .n_out = 1,
    .flags = LTI_CHEAP,
    .in_place = {1},
    .shape = channels_fit,
    .vjp = frozen_vjp,
    .prepare = frozen_prepare,
    .run = frozen_run,
};

const lti_op lti_op_batch_norm_grad = {
    .name = "batch_norm_grad",
    .min_in = 6,
    .max_in = 6,
    .n_out = 3,
    .in_place = {1 | 1 << 5},
    .shape = lti_norm_grad_shape,
    .prepare = grad_prepare,
    .run = grad_run,
};

void lt_batch_norm_config_init(lt_batch_norm_config *config)
{
    *config = (lt_batch_norm_config){.size = sizeof *config, .eps = 1e-5, .momentum = 0.1};
}

/* The params' values as f32, whatever the model's file holds them in. */
static lt_t frozen_norm(lt_t x, lt_t w, lt_t b, lt_param *mean, lt_param *var, const batch_attr *attr)
{
    lt_t in[] = {x, w, b, lt_param_value(x.graph, mean), lt_param_value(x.graph, var)};
    for (int i = 3; i < 5; i++)
        if (!lt_is_nil(in[i]) && lt_type(in[i]) != LT_F32) in[i] = lt_cast(in[i], LT_F32);
    return lti_emit(&lti_op_batch_norm_frozen, 5, in, attr, sizeof *attr);
}

lt_t lt_batch_norm(lt_t x, lt_t w, lt_t b, lt_param *mean, lt_param *var, const lt_batch_norm_config *config)
{
    lt_batch_norm_config defaults;
    lt_batch_norm_config_init(&defaults);
    if (!config) config = &defaults;
    if (lt_is_nil(x)) return x;
    if (config->size != sizeof *config)
        return lti_graph_fail(x.graph, LT_EINVAL, "batch_norm: call lt_batch_norm_config_init first");
    if (!mean || !var)
        return lti_graph_fail(x.graph, LT_EINVAL, "batch_norm: there is no such parameter for the running %s",
                              mean ? "variance" : "mean");
    batch_attr attr = {.eps = config->eps, .relu = config->relu, .frozen = config->frozen || !lt_is_training(x.graph)};
    if (lt_count(x) > 0 && lt_count(x) == lt_dim(x, -1)) attr.frozen = true; /* one value a channel has no variance */
    if (attr.frozen) return frozen_norm(x, w, b, mean, var, &attr);
    lt_t y = lti_emit(&lti_op_batch_norm, 3, (lt_t[]){x, w, b}, &attr, sizeof attr);
    lt_running_average(mean, lti_output(y, 1), config->momentum);
    lt_running_average(var, lti_output(y, 3), config->momentum);
    return y;
}
