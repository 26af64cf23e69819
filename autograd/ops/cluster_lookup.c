/* cluster_lookup.c - weights from a codebook (Han, Mao & Dally 2016, "Deep compression").
 *
 *     y_i = c[code_i],  dc_j = sum of dy_i over code_i = j,  dw = dy (the weights that the codes came from, where given)
 *
 * The sum, not the mean: it is the derivative, and optimizers that normalise see no difference. With keep_zeros a centroid
 * that is 0, and a weight that is 0, get 0: with every optimizer that moves numbers by their own gradients they stay it.
 * Sums are in double: of a tensor by pieces whose number depends on its size alone, added in their order; with a codebook
 * a row, row by row. A gather over the codebook would give the same values, but its transpose adds rows of one number. */
#include "autograd/ops/clusters.h"
#include "autograd/ops/rows.h"

#include <math.h>
#include <string.h>

typedef struct lookup_attr {
    int64_t clusters, keep_zeros;
} lookup_attr;

extern const lti_op lti_op_cluster_lookup, lti_op_cluster_lookup_grad;

int64_t lti_cluster_codebooks(int64_t centroids, int64_t clusters, int rank, const int64_t *shape)
{
    if (clusters < 2 || clusters > LTI_MOST_CLUSTERS || rank < 1 || centroids % clusters) return 0;
    int64_t books = centroids / clusters;
    return books == 1 || books == shape[0] ? books : 0;
}

void lti_cluster_cut(int clusters, const lt_real *c, lti_cluster_cuts *cuts)
{
    for (int i = 0; i < LTI_MOST_CLUSTERS; i++)
        cuts->at[i] = i + 1 < clusters ? (double)c[i] / 2 + (double)c[i + 1] / 2 : (double)INFINITY;
    for (cuts->half = 1; 2 * cuts->half < clusters;) cuts->half *= 2;
}

/* centroids, codes, w if any */
static bool lookup_shape(lti_shaper *s)
{
    const lookup_attr *attr = s->attr;
    const lti_value *codes = s->in[1];
    char a[LTI_DIMS_TEXT], b[LTI_DIMS_TEXT];
    if (!lti_f32_inputs(s, 0, 1) || !lti_f32_inputs(s, 2, s->n_in)) return false;
    if (codes->type != LT_I8 ||
        !lti_cluster_codebooks(lti_value_count(s->in[0]), attr->clusters, codes->rank, codes->dim))
        return lti_shape_fail(s, "centroids %s with codes %s %s, clusters %lld: one codebook, or one a row, and int8",
                              lti_dims(s->in[0], a), lt_dtype_name(codes->type), lti_dims(codes, b),
                              (long long)attr->clusters);
    if (s->n_in > 2 && lti_value_count(s->in[2]) != lti_value_count(codes))
        return lti_shape_fail(s, "weights %s with codes %s", lti_dims(s->in[2], a), lti_dims(codes, b));
    return lti_out_set(s, 0, LT_F32, codes->rank, codes->dim);
}

static void lookup_vjp(lti_vjp *v)
{
    const lookup_attr *attr = v->attr;
    bool to_w = v->n_in > 2 && v->need[2], masked = to_w && attr->keep_zeros;
    if (to_w && !masked) v->dx[2] = v->dy[0];
    if (!v->need[0] && !masked) return;
    lt_t in[4] = {v->dy[0], v->in[1], v->in[0], v->in[2]};
    lt_t g = lti_emit(&lti_op_cluster_lookup_grad, masked ? 4 : 3, in, attr, sizeof *attr);
    if (v->need[0]) v->dx[0] = g;
    if (masked) v->dx[2] = lti_output(g, 1);
}

typedef struct lookup_job {
    const lt_real *centroids;
    const int8_t *codes;
    lt_real *y;
    int clusters;
    int64_t size; /* weights a codebook */
} lookup_job;

static void lookup_body(void *arg, int64_t begin, int64_t end)
{
    const lookup_job *j = arg;
    while (begin < end) {
        int64_t book = begin / j->size, stop = (book + 1) * j->size;
        const lt_real *c = j->centroids + book * j->clusters;
        for (stop = stop < end ? stop : end; begin < stop; begin++)
            j->y[begin] = c[lti_cluster_index(j->codes[begin], j->clusters)];
    }
}

static lt_status lookup_run(lti_step *step)
{
    const lookup_attr *attr = step->attr;
    if (step->out[0].count == 0) return LT_OK;
    lookup_job job = {.centroids = step->in[0].data, .codes = step->in[1].data, .y = step->out[0].data};
    job.clusters = (int)attr->clusters;
    job.size = step->out[0].count / (step->in[0].count / attr->clusters);
    lti_each(step->out[0].count, lookup_body, &job);
    return LT_OK;
}

/* ---- Gradient: dy, codes, centroids, w if its gradient is masked; outputs those of centroids and w ---- */

static bool grad_shape(lti_shaper *s)
{
    lti_value_set(&s->out[0], LT_F32, s->in[2]->rank, s->in[2]->dim);
    lti_value_set(&s->out[1], LT_F32, s->in[0]->rank, s->in[0]->dim);
    return true;
}

typedef struct grad_job {
    const lti_step *step;
    int clusters;
    bool keep_zeros;
    int64_t books, size, pieces; /* pieces: of the only codebook's weights; else 1 */
    int64_t tasks;
} grad_job;

static grad_job job_of(const lti_step *step)
{
    const lookup_attr *attr = step->attr;
    grad_job j = {.step = step, .clusters = (int)attr->clusters, .keep_zeros = attr->keep_zeros, .pieces = 1};
    j.books = step->in[2].count / attr->clusters;
    j.size = j.books ? step->in[0].count / j.books : 0;
    if (j.books == 1) j.pieces = lti_par_tasks(j.size, LTI_GRAIN);
    j.tasks = lti_row_tasks(j.books, j.size, 256);
    return j;
}

static void add_up(const grad_job *j, int64_t begin, int64_t end, double *sums)
{
    const lt_real *dy = j->step->in[0].data;
    const int8_t *codes = j->step->in[1].data;
    memset(sums, 0, (size_t)j->clusters * sizeof *sums);
    for (int64_t i = begin; i < end; i++) sums[lti_cluster_index(codes[i], j->clusters)] += (double)dy[i];
}

static void store_sums(const grad_job *j, int64_t book, const double *sums)
{
    const lt_real *c = (const lt_real *)j->step->in[2].data + book * j->clusters;
    lt_real *dc = (lt_real *)j->step->out[0].data + book * j->clusters;
    for (int k = 0; k < j->clusters; k++) dc[k] = j->keep_zeros && c[k] == 0 ? 0 : (lt_real)sums[k];
}

static void piece_task(void *arg, int64_t piece, int thread)
{
    const grad_job *j = arg;
    int64_t begin, end;
    (void)thread;
    lti_par_range(j->size, j->pieces, piece, &begin, &end);
    add_up(j, begin, end, (double *)j->step->scratch + piece * j->clusters);
}

static void books_task(void *arg, int64_t task, int thread)
{
    const grad_job *j = arg;
    int64_t begin, end;
    double sums[LTI_MOST_CLUSTERS];
    (void)thread;
    lti_row_range(j->books, j->tasks, task, &begin, &end);
    for (int64_t b = begin; b < end; b++) {
        add_up(j, b * j->size, (b + 1) * j->size, sums);
        store_sums(j, b, sums);
    }
}

static void mask_body(void *arg, int64_t begin, int64_t end)
{
    const lti_step *step = ((const grad_job *)arg)->step;
    const lt_real *dy = step->in[0].data, *w = step->in[3].data;
    lt_real *dw = step->out[1].data;
    for (int64_t i = begin; i < end; i++) dw[i] = w[i] == 0 ? 0 : dy[i];
}

static lt_status grad_prepare(lti_step *step)
{
    grad_job j = job_of(step);
    if (step->out[0].data && j.pieces > 1) step->scratch_bytes = (size_t)(j.pieces * j.clusters) * sizeof(double);
    return LT_OK;
}

static lt_status grad_run(lti_step *step)
{
    grad_job j = job_of(step);
    if (step->out[0].data && j.pieces > 1) {
        double *sums = step->scratch;
        lti_par(j.pieces, piece_task, &j);
        for (int64_t p = 1; p < j.pieces; p++)
            for (int k = 0; k < j.clusters; k++) sums[k] += sums[p * j.clusters + k];
        store_sums(&j, 0, sums);
    } else if (step->out[0].data) {
        lti_par(j.tasks, books_task, &j);
    }
    if (step->out[1].data && step->n_in > 3) lti_each(step->in[0].count, mask_body, &j); /* last: it may lie in dy */
    return LT_OK;
}

const lti_op lti_op_cluster_lookup = {
    .name = "cluster_lookup",
    .min_in = 2,
    .max_in = 3,
    .n_out = 1,
    .flags = LTI_CHEAP,
    .in_place = {4},
    .shape = lookup_shape,
    .vjp = lookup_vjp,
    .run = lookup_run,
};

const lti_op lti_op_cluster_lookup_grad = {
    .name = "cluster_lookup_grad",
    .min_in = 3,
    .max_in = 4,
    .n_out = 2,
    .in_place = {0, 1},
    .shape = grad_shape,
    .prepare = grad_prepare,
    .run = grad_run,
};

lt_t lti_cluster_lookup(lt_t centroids, lt_t codes, lt_t w, int64_t clusters, bool keep_zeros)
{
    lookup_attr attr = {.clusters = clusters, .keep_zeros = keep_zeros};
    return lti_emit(&lti_op_cluster_lookup, lt_is_nil(w) ? 2 : 3, (lt_t[]){centroids, codes, w}, &attr, sizeof attr);
}
