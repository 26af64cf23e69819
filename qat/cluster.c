/* cluster.c - weight clustering (Han, Mao & Dally 2016): codebooks found, trained, and put in place of weights.
 *
 * Codebooks and indices are params beside their weight, as learned scales are: a checkpoint holds them, an optimizer trains
 * them, and a model's code knows nothing of them. In the mode `centroids` the weights themselves are neither read nor
 * trained, so they have no moments; `ste` trains them through the look-up, and clusters follow (cluster_refresh.c). Zeros
 * are kept without a mask: a number that is exactly 0 gets no gradient. */
#include "autograd/ops/clusters.h"
#include "base/par.h"
#include "qat/cluster_parts.h"
#include "qat/kmeans.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const mode_names[] = {"centroids", "ste"}, *const start_names[] = {"kmeans++", "quantiles"};

void lt_cluster_config_init(lt_cluster_config *config)
{
    *config = (lt_cluster_config){.size = sizeof *config};
}

static int find(const char *const *names, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0) return i;
    return -1;
}

const char *lt_cluster_mode_name(lt_cluster_mode mode)
{
    return (unsigned)mode < LTI_COUNT(mode_names) ? mode_names[mode] : "?";
}

bool lt_cluster_mode_parse(const char *name, lt_cluster_mode *mode)
{
    int i = find(mode_names, LTI_COUNT(mode_names), name);
    if (i >= 0) *mode = (lt_cluster_mode)i;
    return i >= 0;
}

const char *lt_cluster_start_name(lt_cluster_start start)
{
    return (unsigned)start < LTI_COUNT(start_names) ? start_names[start] : "?";
}

bool lt_cluster_start_parse(const char *name, lt_cluster_start *start)
{
    int i = find(start_names, LTI_COUNT(start_names), name);
    if (i >= 0) *start = (lt_cluster_start)i;
    return i >= 0;
}

lt_status lti_cluster_check(lt_ctx *ctx, const lt_cluster_config *c)
{
    if (!c) return LT_OK;
    if (c->size != sizeof *c) return lti_fail(ctx, LT_EINVAL, "clustering: call lt_cluster_config_init first");
    if (c->clusters == 0) return LT_OK;
    if (c->clusters < 2 || c->clusters > LTI_MOST_CLUSTERS)
        return lti_fail(ctx, LT_EINVAL, "clustering: %lld clusters; 2 to %d are possible", (long long)c->clusters,
                        LTI_MOST_CLUSTERS);
    if (c->per != LT_PER_TENSOR && c->per != LT_PER_CHANNEL)
        return lti_fail(ctx, LT_EINVAL, "clustering: a codebook is shared by a tensor or by a channel (row)");
    if ((unsigned)c->mode >= LTI_COUNT(mode_names) || (unsigned)c->start >= LTI_COUNT(start_names))
        return lti_fail(ctx, LT_EINVAL,
                        "clustering: mode %d, start %d; centroids and ste, kmeans++ and quantiles are known",
                        (int)c->mode, (int)c->start);
    return LT_OK;
}

/* ---- Which weights ---- */

static bool is_meant(const lt_cluster_config *config, const lt_param *p)
{
    static const char *const left[] = {"token_embd.weight", "output.weight", "position_embd.weight",
                                       "token_types.weight"};
    const char *name = lt_param_name(p);
    bool matrix = lt_param_role(p) == LT_WEIGHT && lt_param_type(p) == LT_F32 && lt_param_rank(p) >= 2;
    if (!matrix || lt_param_count(p) == 0 || lt_param_mapped(p)) return false;
    if (config->targets) return lt_glob(config->targets, name);
    for (int i = 0; i < LTI_COUNT(left); i++)
        if (strcmp(name, left[i]) == 0) return false;
    return true;
}

static bool name_of(const lt_param *weight, const char *what, char *name, size_t size)
{
    int n = snprintf(name, size, "%s:%s", lt_param_name(weight), what);
    return n > 0 && (size_t)n < size;
}

static lt_param *companion(const lt_params *params, const lt_param *weight, const char *what)
{
    char name[512];
    return name_of(weight, what, name, sizeof name) ? lt_params_find(params, name) : NULL;
}

bool lti_clustered_find(const lt_params *params, const lt_cluster_config *config, const lt_param *weight,
                        lti_clustered *found)
{
    *found = (lti_clustered){.books = 1};
    if (config->clusters == 0 || !is_meant(config, weight)) return false;
    if (config->per == LT_PER_CHANNEL) found->books = lt_param_shape(weight)[0];
    found->size = lt_param_count(weight) / found->books;
    found->centroids = companion(params, weight, "centroids");
    found->codes = companion(params, weight, "clusters");
    return true;
}

bool lti_clustered_fits(const lti_clustered *c, const lt_cluster_config *config, const lt_param *weight)
{
    return c->centroids && c->codes && lt_param_type(c->centroids) == LT_F32 && lt_param_type(c->codes) == LT_I8 &&
           lt_param_count(c->centroids) == c->books * config->clusters &&
           lt_param_count(c->codes) == lt_param_count(weight);
}

/* ---- Finding clusters ---- */

typedef struct fit_job {
    const lti_kmeans *how;
    const lt_real *w;
    lt_real *centroids;
    int8_t *codes;
    int64_t size;
    char *scratch; /* a block for each thread */
    size_t bytes;
} fit_job;

static void fit_task(void *arg, int64_t book, int thread)
{
    const fit_job *j = arg;
    lti_kmeans how = *j->how;
    lti_cluster_cuts cuts;
    const lt_real *w = j->w + book * j->size;
    lt_real *c = j->centroids + book * how.clusters;
    how.first_word = (uint64_t)book * LTI_MOST_CLUSTERS;
    lti_sorted sorted = lti_sorted_of(j->size, w, j->scratch + (size_t)thread * j->bytes);
    lti_kmeans_fit(&how, &sorted, c);
    lti_cluster_cut(how.clusters, c, &cuts);
    for (int64_t i = 0; i < j->size; i++)
        j->codes[book * j->size + i] = lti_cluster_code(lti_cluster_nearest(&cuts, (double)w[i]));
}

static lt_status fit(lt_ctx *ctx, const lt_cluster_config *config, const lt_param *w, const lti_clustered *c)
{
    lti_kmeans how = {.clusters = (int)config->clusters, .zero = config->preserve_zeros};
    how.quantiles = config->start == LT_CLUSTER_QUANTILES;
    how.rng = (lti_rng){.seed = config->seed, .stream = lti_rng_stream(lt_param_name(w))};
    fit_job job = {.how = &how, .w = lt_param_read(w), .size = c->size};
    int threads = c->books > 1 ? lt_threads() : 1;
    job.bytes = (lti_sorted_bytes(c->size) + 63) & ~(size_t)63;
    job.scratch = lti_alloc_array(ctx, (size_t)threads, job.bytes);
    if (!job.scratch) return LT_ENOMEM;
    job.centroids = lt_param_data(c->centroids);
    job.codes = lt_param_data(c->codes);
    if (threads == 1)
        for (int64_t book = 0; book < c->books; book++) fit_task(&job, book, 0);
    else
        lti_par(c->books, fit_task, &job);
    lt_param_touch(c->centroids);
    lt_param_touch(c->codes);
    lti_free(ctx, job.scratch);
    return LT_OK;
}

static lt_status add_companions(lt_params *params, const lt_cluster_config *config, const lt_param *w, lti_clustered *c)
{
    char name[512];
    lt_ctx *ctx = lt_params_ctx(params);
    int64_t count = c->books * config->clusters;
    if (!name_of(w, "centroids", name, sizeof name))
        return lti_fail(ctx, LT_EINVAL, "the name of '%.100s..' is too long for a codebook", lt_param_name(w));
    LTI_TRY(lt_params_add(params, name, LT_F32, 1, &count, LT_STATE, &c->centroids));
    (void)name_of(w, "clusters", name, sizeof name);
    return lt_params_add(params, name, LT_I8, lt_param_rank(w), lt_param_shape(w), LT_STATE, &c->codes);
}

static lt_status prepare(lt_params *params, const lt_cluster_config *config, lt_param *w, lti_clustered *c)
{
    lt_ctx *ctx = lt_params_ctx(params);
    if (!c->centroids && !c->codes) {
        if (!lti_k()->all_finite(lt_param_count(w), lt_param_read(w)))
            return lti_fail(ctx, LT_ENONFINITE, "cannot cluster '%s': it holds a NaN or an infinity", lt_param_name(w));
        LTI_TRY(add_companions(params, config, w, c));
        lt_param_set_trainable(c->centroids, false);
        LTI_TRY(fit(ctx, config, w, c));
    }
    if (!lti_clustered_fits(c, config, w))
        return lti_fail(ctx, LT_EINVAL,
                        "'%s' has %lld centroids and %lld codebooks of %lld are asked for: it was clustered otherwise",
                        lt_param_name(w), c->centroids ? (long long)lt_param_count(c->centroids) : 0ll,
                        (long long)c->books, (long long)config->clusters);
    if (config->mode == LT_CLUSTER_STE) {
        lt_param_set_trainable(c->centroids, false);
        return LT_OK;
    }
    lt_param_set_trainable(c->centroids, lt_param_trainable(w) || lt_param_trainable(c->centroids));
    lt_param_set_trainable(w, false);
    return LT_OK;
}

lt_status lt_cluster_prepare(lt_params *params, const lt_cluster_config *config)
{
    lt_ctx *ctx = lt_params_ctx(params);
    LTI_TRY(lti_cluster_check(ctx, config));
    int n = lt_params_count(params), meant = 0; /* what is added stands behind and is no weight */
    for (int i = 0; i < n; i++) {
        lt_param *w = lt_params_at(params, i);
        lti_clustered c;
        if (!lti_clustered_find(params, config, w, &c)) continue;
        LTI_TRY(prepare(params, config, w, &c));
        meant++;
    }
    if (meant || config->clusters == 0) return LT_OK;
    return lti_fail(ctx, LT_EINVAL, "there is nothing to cluster: no f32 matrix%s%s",
                    config->targets ? " matches " : "", config->targets ? config->targets : " but embeddings");
}

/* ---- In a graph ---- */

static lt_t weight_hook(lt_t w, const lt_site *site, void *config)
{
    const lt_cluster_config *how = config;
    lti_clustered c;
    lt_graph *g = site->graph;
    lt_params *params = lt_graph_params(g);
    if (!params || lt_type(w) != LT_F32 || !lti_clustered_find(params, how, site->param, &c)) return w;
    if (!lti_clustered_fits(&c, how, site->param))
        return lti_graph_fail(g, LT_EINVAL,
                              "'%s' has no codebooks of these options: call lt_cluster_prepare before the graph is "
                              "recorded, or open the checkpoint that has them",
                              lt_param_name(site->param));
    lt_t centroids = lt_param_value(g, c.centroids), codes = lt_param_value(g, c.codes);
    lt_t latent = how->mode == LT_CLUSTER_STE ? w : lt_nil(g);
    return lti_cluster_lookup(centroids, codes, latent, how->clusters, how->preserve_zeros);
}

void lt_cluster_attach(lt_graph *graph, const lt_cluster_config *config)
{
    lt_attachment a = {
        .size = sizeof a, .kinds = LT_SITE_ANY, .weight = weight_hook, .config = (void *)(uintptr_t)config};
    if (config->clusters) lt_attach(graph, &a);
}

void lt_cluster_after_update(lt_graph *graph, const lt_cluster_config *config)
{
    lt_params *params = lt_graph_params(graph);
    if (config->clusters == 0 || config->mode != LT_CLUSTER_STE) return;
    for (int i = 0; i < lt_params_count(params) && lt_graph_status(graph) == LT_OK; i++) {
        lt_param *w = lt_params_at(params, i);
        lti_clustered c;
        if (!lt_param_trainable(w) || !lti_clustered_find(params, config, w, &c)) continue;
        lti_cluster_refresh(c.centroids, c.codes, lt_param_value(graph, w), config->clusters, config->preserve_zeros);
    }
}

/* ---- In place of weights ---- */

lt_status lt_cluster_apply(lt_params *params, const lt_cluster_config *config, double *moved)
{
    double error = 0, power = 0;
    lt_ctx *ctx = lt_params_ctx(params);
    LTI_TRY(lti_cluster_check(ctx, config));
    for (int i = 0; i < lt_params_count(params); i++) {
        lt_param *w = lt_params_at(params, i);
        lti_clustered c;
        if (!lti_clustered_find(params, config, w, &c)) continue;
        if (!lti_clustered_fits(&c, config, w))
            return lti_fail(ctx, LT_EINVAL, "'%s' has no codebooks of these options: call lt_cluster_prepare first",
                            lt_param_name(w));
        lt_real *x = lt_param_data(w);
        const lt_real *centroids = lt_param_read(c.centroids);
        const int8_t *codes = lt_param_read(c.codes);
        for (int64_t k = 0; k < lt_param_count(w); k++) {
            lt_real y = centroids[k / c.size * config->clusters + lti_cluster_index(codes[k], (int)config->clusters)];
            error += (double)(x[k] - y) * (double)(x[k] - y);
            power += (double)x[k] * (double)x[k];
            x[k] = y;
        }
        lt_param_touch(w);
    }
    if (moved) *moved = power > 0 ? sqrt(error / power) : 0;
    return LT_OK;
}
