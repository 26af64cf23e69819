/* rows_clusters.c - rows of the ops behind weight clustering. arg: clusters, then the shape of the codes; flags 1: the
 * weight is an input, too. */
#include "tests/op_rows.h"

#include "autograd/ops/clusters.h"

#include <math.h>
#include <stdlib.h>

/* Some clusters stay empty. */
static int index_of(const ts_case *c, int64_t i)
{
    return (int)((i * i * 7 + 3 * i) % c->arg[0]);
}

static lt_param *codes_of(lt_graph *g, const ts_case *c)
{
    lt_param *codes;
    if (lt_params_add(lt_graph_params(g), "codes", LT_I8, 2, &c->arg[1], LT_STATE, &codes) != LT_OK) return NULL;
    int8_t *code = lt_param_data(codes);
    for (int64_t i = 0; i < lt_param_count(codes); i++) code[i] = (int8_t)(index_of(c, i) - 128);
    lt_param_touch(codes);
    return codes;
}

static lt_t build_cluster_lookup(lt_graph *g, const ts_case *c, const lt_t *x)
{
    lt_param *codes = codes_of(g, c);
    if (!codes) return lti_graph_fail(g, LT_ENOMEM, "out of memory");
    return lti_cluster_lookup(x[0], lt_param_value(g, codes), c->flags & 1 ? x[1] : lt_nil(g), c->arg[0], c->flags & 2);
}

static lt_t build_cluster_refresh(lt_graph *g, const ts_case *c, const lt_t *x)
{
    lt_param *codes = codes_of(g, c);
    if (!codes) return lti_graph_fail(g, LT_ENOMEM, "out of memory");
    return lti_cluster_refresh(lt_params_find(lt_graph_params(g), "p0"), codes, x[1], c->arg[0], c->flags & 2);
}

static void ts_formula_cluster_lookup(const ts_case *c, const ts_tensor *x, ts_tensor *y)
{
    ts_make(y, 2, &c->arg[1]);
    int64_t books = x[0].count / c->arg[0], size = y->count / books;
    for (int64_t i = 0; i < y->count; i++) y->v[i] = x[0].v[i / size * c->arg[0] + index_of(c, i)];
}

/* The means of the nearest, of centroids in their order. */
static void ts_formula_cluster_refresh(const ts_case *c, const ts_tensor *x, ts_tensor *y)
{
    int64_t k = c->arg[0], books = x[0].count / k, size = x[1].count / books;
    ts_make(y, x[0].rank, x[0].dim);
    for (int64_t b = 0; b < books; b++) {
        double *now = y->v + b * k, old[LTI_MOST_CLUSTERS], sum[LTI_MOST_CLUSTERS] = {0}, n[LTI_MOST_CLUSTERS] = {0};
        for (int64_t j = 0; j < k; j++) old[j] = x[0].v[b * k + j];
        qsort(old, (size_t)k, sizeof *old, ts_ascending);
        for (int64_t i = b * size; i < (b + 1) * size; i++) {
            int64_t best = 0;
            for (int64_t j = 1; j < k; j++)
                if (fabs(x[1].v[i] - old[j]) < fabs(x[1].v[i] - old[best])) best = j;
            sum[best] += x[1].v[i], n[best]++;
        }
        for (int64_t j = 0; j < k; j++) now[j] = n[j] > 0 ? sum[j] / n[j] : old[j];
    }
}

CASES(lookup) = {{1, {X(5)}, {5, 3, 7}},
                 {1, {X(3, 4)}, {4, 3, 6}},
                 {2, {X(4), FIXED(3, 5)}, {4, 3, 5}, .flags = 1},
                 {2, {X(12), FIXED(3, 5)}, {4, 3, 5}, .flags = 3},
                 {1, {X(2)}, {2, 1, 1}},
                 {1, {X(16)}, {16, 300, 257}},
                 {1, {X(256)}, {256, 200, 301}},
                 {1, {X(300, 3)}, {3, 300, 157}}};
CASES(refresh) = {{2, {PARAM(5), FIXED(3, 7)}, {5, 3, 7}},
                  {2, {PARAM(12), FIXED(3, 6)}, {4, 3, 6}},
                  {2, {PARAM(16), FIXED(300, 257)}, {16, 300, 257}},
                  {2, {PARAM(256), FIXED(200, 301)}, {256, 200, 301}},
                  {2, {PARAM(900), FIXED(300, 157)}, {3, 300, 157}}};

const ts_row ts_rows_clusters[] = {
    ROW(cluster_lookup, cluster_lookup, lookup),
    ROW(cluster_refresh, cluster_refresh, refresh, .writes = true),
    {0},
};
