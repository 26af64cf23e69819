/* cluster_refresh.c - clusters follow the weights that are trained through them: after each update,
 *
 *     c_j = mean of the w_i nearest to c_j (as it was, where there is none),  code_i = the nearest of the new c
 *
 * one step of Lloyd's (1982). Centroids are put in ascending order first, and a step keeps the order: the mean of what lies
 * between two borders does, too. A step an update is enough, since weights move little between two of them. An empty
 * cluster waits where it is: moving it would make training jump. */
#include "autograd/ops/clusters.h"
#include "autograd/ops/param_value.h"
#include "autograd/ops/rows.h"

#include <string.h>

extern const lti_op lti_op_cluster_refresh;

typedef struct refresh_attr {
    int64_t clusters, keep_zeros;
    lti_value centroids;
} refresh_attr;

typedef struct refresh_job {
    const lt_real *w;
    lt_real *centroids;
    int8_t *codes;
    int clusters;
    bool keep_zeros;
    int64_t books, size, pieces, tasks;
    double *scratch; /* [pieces, 2, clusters]: sums, counts */
    lti_cluster_cuts cuts;
} refresh_job;

static bool refresh_shape(lti_shaper *s) /* in: w */
{
    const refresh_attr *attr = s->attr;
    char a[LTI_DIMS_TEXT], b[LTI_DIMS_TEXT];
    if (!lti_f32_inputs(s, 0, 1)) return false;
    if (!lti_cluster_codebooks(lti_value_count(&attr->centroids), attr->clusters, s->in[0]->rank, s->in[0]->dim))
        return lti_shape_fail(s, "centroids %s of weights %s, clusters %lld: one codebook, or one a row",
                              lti_dims(&attr->centroids, a), lti_dims(s->in[0], b), (long long)attr->clusters);
    s->out[0] = attr->centroids;
    return true;
}

static refresh_job job_of(const lti_step *step)
{
    const refresh_attr *attr = step->attr;
    refresh_job j = {.w = step->in[0].data, .centroids = step->out[0].data, .clusters = (int)attr->clusters};
    j.keep_zeros = attr->keep_zeros;
    j.books = step->out[0].count / attr->clusters;
    j.size = step->in[0].count / j.books;
    j.pieces = j.books == 1 ? lti_par_tasks(j.size, LTI_GRAIN) : 1;
    j.tasks = lti_row_tasks(j.books, j.size, 256);
    j.scratch = step->scratch;
    return j;
}

static void sort_centroids(int k, lt_real *c)
{
    for (int i = 1; i < k; i++) {
        lt_real x = c[i];
        int at = i;
        for (; at > 0 && c[at - 1] > x; at--) c[at] = c[at - 1];
        c[at] = x;
    }
}

static void add_up(const refresh_job *j, const lti_cluster_cuts *cuts, int64_t begin, int64_t end, double *sums)
{
    double *counts = sums + j->clusters;
    memset(sums, 0, 2 * (size_t)j->clusters * sizeof *sums);
    for (int64_t i = begin; i < end; i++) {
        int k = lti_cluster_nearest(cuts, (double)j->w[i]);
        sums[k] += (double)j->w[i];
        counts[k]++;
    }
}

static void take_means(const refresh_job *j, const double *sums, lt_real *c)
{
    const double *counts = sums + j->clusters;
    for (int k = 0; k < j->clusters; k++)
        if (counts[k] > 0 && !(j->keep_zeros && c[k] == 0)) c[k] = (lt_real)(sums[k] / counts[k]);
}

static void assign(const refresh_job *j, const lti_cluster_cuts *cuts, int64_t begin, int64_t end)
{
    for (int64_t i = begin; i < end; i++) j->codes[i] = lti_cluster_code(lti_cluster_nearest(cuts, (double)j->w[i]));
}

static void piece_task(void *arg, int64_t piece, int thread)
{
    const refresh_job *j = arg;
    int64_t begin, end;
    (void)thread;
    lti_par_range(j->size, j->pieces, piece, &begin, &end);
    add_up(j, &j->cuts, begin, end, j->scratch + piece * 2 * j->clusters);
}

static void assign_body(void *arg, int64_t begin, int64_t end)
{
    assign(arg, &((const refresh_job *)arg)->cuts, begin, end);
}

static void books_task(void *arg, int64_t task, int thread)
{
    const refresh_job *j = arg;
    int64_t first, last;
    double sums[2 * LTI_MOST_CLUSTERS];
    lti_cluster_cuts cuts;
    (void)thread;
    lti_row_range(j->books, j->tasks, task, &first, &last);
    for (int64_t b = first; b < last; b++) {
        lt_real *c = j->centroids + b * j->clusters;
        sort_centroids(j->clusters, c);
        lti_cluster_cut(j->clusters, c, &cuts);
        add_up(j, &cuts, b * j->size, (b + 1) * j->size, sums);
        take_means(j, sums, c);
        lti_cluster_cut(j->clusters, c, &cuts);
        assign(j, &cuts, b * j->size, (b + 1) * j->size);
    }
}

static void one_book(refresh_job *j)
{
    int64_t n = 2 * j->clusters;
    sort_centroids(j->clusters, j->centroids);
    lti_cluster_cut(j->clusters, j->centroids, &j->cuts);
    lti_par(j->pieces, piece_task, j);
    for (int64_t p = 1; p < j->pieces; p++)
        for (int64_t i = 0; i < n; i++) j->scratch[i] += j->scratch[p * n + i];
    take_means(j, j->scratch, j->centroids);
    lti_cluster_cut(j->clusters, j->centroids, &j->cuts);
    lti_each(j->size, assign_body, j);
}

static lt_status refresh_prepare(lti_step *step)
{
    refresh_job j = job_of(step);
    if (j.books == 1) step->scratch_bytes = (size_t)(j.pieces * 2 * j.clusters) * sizeof(double);
    return LT_OK;
}

static lt_status refresh_run(lti_step *step)
{
    refresh_job j = job_of(step);
    j.codes = lt_param_data(step->param[1]);
    if (j.books == 1)
        one_book(&j);
    else
        lti_par(j.tasks, books_task, &j);
    return LT_OK;
}

const lti_op lti_op_cluster_refresh = {
    .name = "cluster_refresh",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .flags = LTI_EFFECT,
    .shape = refresh_shape,
    .prepare = refresh_prepare,
    .run = refresh_run,
};

lt_t lti_cluster_refresh(lt_param *centroids, lt_param *codes, lt_t w, int64_t clusters, bool keep_zeros)
{
    if (lt_is_nil(w)) return w;
    if (!centroids || !codes || lt_param_type(codes) != LT_I8 || lt_param_count(codes) != lt_count(w) ||
        lt_param_type(centroids) != LT_F32)
        return lti_graph_fail(w.graph, LT_EINVAL, "cluster_refresh: a code (i8) for each weight and f32 centroids");
    refresh_attr a;
    memset(&a, 0, sizeof a);
    a.clusters = clusters, a.keep_zeros = keep_zeros;
    lti_value v = lti_param_value(centroids);
    memcpy(&a.centroids, &v, sizeof v);
    return lti_emit_params(w.graph, &lti_op_cluster_refresh, 1, &w, &a, sizeof a, 2, (lt_param *[]){centroids, codes});
}
