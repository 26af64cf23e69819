/* test_cluster.c - weight clustering: k-means against naive code, codebooks as params, gradients. The ops are judged in the
 * sweep, too (rows_clusters.c). */
#include "autograd/ops/clusters.h"
#include "qat/cluster_parts.h"
#include "qat/kmeans.h"
#include "tests/cluster_cases.h"

#include <math.h>

/* ---- k-means ---- */

/* Lloyd's steps on numbers in any order, each looked at with every centroid. */
static void naive_lloyd(int64_t n, const lt_real *x, int k, bool zero, double *c)
{
    for (int step = 0; step < 10000; step++) {
        double sum[256] = {0}, count[256] = {0}, moved = 0;
        for (int64_t i = 0; i < n; i++) {
            int best = 0;
            for (int j = 1; j < k; j++)
                if (fabs((double)x[i] - c[j]) < fabs((double)x[i] - c[best])) best = j;
            sum[best] += (double)x[i], count[best]++;
        }
        for (int j = 0; j < k; j++) {
            double now = count[j] > 0 && !(zero && c[j] == 0) ? sum[j] / count[j] : c[j];
            moved = fmax(moved, fabs(now - c[j]));
            c[j] = now;
        }
        if (moved < 1e-13) return;
    }
}

static void as_naive_code(void)
{
    const struct {
        int64_t n;
        int k;
        bool zero, quantiles;
    } cases[] = {{1000, 16, false},       {1000, 16, true},      {7, 5, false},      {64, 2, false}, {65, 3, true},
                 {1000, 16, false, true}, {999, 16, true, true}, {5000, 255, false}, {30, 30, false}};
    static lt_real x[5000];
    for (int t = 0; t < LTI_COUNT(cases); t++) {
        int64_t n = cases[t].n, ends[256];
        int k = cases[t].k;
        double c[256], naive[256], *memory = malloc(lti_sorted_bytes(n));
        lti_kmeans how = {.clusters = k,
                          .zero = cases[t].zero,
                          .quantiles = cases[t].quantiles,
                          .rng = {.seed = 5, .stream = (uint32_t)t}};
        ts_fill_normal("kmeans", n, 0.1, x);
        lti_sorted s = lti_sorted_of(n, x, memory);
        for (int64_t i = 1; i < n; i++)
            if (s.x[i - 1] > s.x[i]) TS_CHECK(false, "%d: sorted at %lld", t, (long long)i);
        lti_kmeans_start(&how, &s, c);
        bool found = true, ascends = true;
        for (int j = 0; j < k; j++) {
            bool is = cases[t].zero && c[j] == 0;
            for (int64_t i = 0; i < n; i++) is |= (double)x[i] == c[j];
            found &= is, ascends &= j == 0 || c[j] > c[j - 1];
        }
        TS_CHECK(found && ascends, "%d: starts are numbers of the tensor, each another", t);
        memcpy(naive, c, sizeof c);
        lti_kmeans_lloyd(&how, &s, c, ends);
        naive_lloyd(n, x, k, cases[t].zero, naive);
        double off = 0, error = 0;
        for (int j = 0; j < k; j++) off = fmax(off, fabs(c[j] - naive[j]));
        for (int64_t i = 0; i < n; i++) {
            double least = INFINITY;
            for (int j = 0; j < k; j++) least = fmin(least, fabs((double)x[i] - c[j]));
            error += least * least;
        }
        TS_CHECK(off < 1e-12, "%d: centroids are off by %g", t, off);
        double told = lti_kmeans_error(&how, &s, c, ends);
        TS_CHECK(fabs(told - error) <= 1e-12 * (1 + error), "%d: error %g, told %g", t, error, told);
        free(memory);
    }
}

/* The least squared error that k intervals can have, by dynamic programming. */
static double optimum(const lti_sorted *s, int k)
{
    enum { N = 64 };
    double best[N + 1], next[N + 1];
    for (int64_t i = 0; i <= s->n; i++) best[i] = i ? INFINITY : 0;
    for (int j = 0; j < k; j++) {
        for (int64_t end = 0; end <= s->n; end++) {
            next[end] = best[end];
            for (int64_t begin = 0; begin < end; begin++) {
                double mean = 0, error = 0;
                for (int64_t i = begin; i < end; i++) mean += s->x[i] / (double)(end - begin);
                for (int64_t i = begin; i < end; i++) error += (s->x[i] - mean) * (s->x[i] - mean);
                next[end] = fmin(next[end], best[begin] + error);
            }
        }
        memcpy(best, next, sizeof best);
    }
    return best[s->n];
}

static void near_the_optimum(void)
{
    double worst = 1, memory[2 * 64 + 1], c[8];
    lt_real x[60], centroids[8];
    int64_t ends[8];
    for (int t = 0; t < 12; t++) {
        lti_kmeans how = {.clusters = 3 + t % 3, .rng = {.seed = (uint64_t)t}};
        char name[16];
        snprintf(name, sizeof name, "near%d", t);
        ts_fill_normal(name, 60, 1, x);
        lti_sorted s = lti_sorted_of(60, x, memory);
        lti_kmeans_fit(&how, &s, centroids);
        for (int j = 0; j < how.clusters; j++) c[j] = (double)centroids[j];
        lti_kmeans_lloyd(&how, &s, c, ends);
        double least = optimum(&s, how.clusters), error = lti_kmeans_error(&how, &s, c, ends);
        TS_CHECK(error >= least * (1 - 1e-9), "%d: error %g below the optimum %g", t, error, least);
        worst = fmax(worst, error / least);
    }
    TS_CHECK(worst < 1.35, "the worst of 12 is %.3f times the optimum", worst);
}

static void few_numbers(void)
{
    const lt_real same[5] = {3, 3, 3, 3, 3}, two[6] = {-1, (lt_real)0.3, -1, -1, (lt_real)0.3, -1},
                  zeros[3] = {0, -0.0f, 0};
    double memory[32];
    lt_real c[8];
    lti_kmeans how = {.clusters = 4};
    lti_sorted s = lti_sorted_of(5, same, memory);
    lti_kmeans_fit(&how, &s, c);
    TS_CHECK(c[0] == 3 && c[3] == 3, "all equal: %g %g", (double)c[0], (double)c[3]);
    s = lti_sorted_of(6, two, memory);
    lti_kmeans_fit(&how, &s, c);
    TS_CHECK(c[0] == -1 && c[1] == two[1] && c[2] == two[1] && c[3] == two[1], "two values stay exactly: %g %g %g %g",
             (double)c[0], (double)c[1], (double)c[2], (double)c[3]);
    how.zero = true;
    lti_kmeans_fit(&how, &s, c);
    TS_CHECK(c[0] == -1 && c[1] == 0 && c[2] == two[1], "and a zero between them: %g %g %g", (double)c[0], (double)c[1],
             (double)c[2]);
    s = lti_sorted_of(3, zeros, memory);
    lti_kmeans_fit(&how, &s, c);
    TS_CHECK(c[0] == 0 && c[3] == 0, "zeros alone");
    /* an empty cluster waits: 10 has no member after the first step */
    double at[3] = {-1, 0, 10};
    int64_t ends[3];
    how = (lti_kmeans){.clusters = 3};
    s = lti_sorted_of(6, two, memory);
    lti_kmeans_lloyd(&how, &s, at, ends);
    TS_CHECK(at[2] == 10 && ends[1] == 6 && at[0] == -1, "an empty cluster: %g %g %g", at[0], at[1], at[2]);
}

/* ---- Params ---- */

static void codebooks_are_params(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_param *w = ts_weight(&t, "blk.0.ffn_up.weight", 0.1, 2, (int64_t[]){12, 40}), *c;
    lt_param *e = ts_weight(&t, "token_embd.weight", 0.1, 2, (int64_t[]){12, 40});
    lt_param *conv = ts_weight(&t, "stem.weight", 0.1, 4, (int64_t[]){4, 3, 3, 3});
    ts_weight(&t, "blk.0.attn_norm.weight", 1, 1, (int64_t[]){40});
    lt_real *x = lt_param_data(w);
    for (int i = 0; i < 480; i += 3) x[i] = 0;
    lt_cluster_config config = config_of(6, LT_PER_CHANNEL, LT_CLUSTER_CENTROIDS, true);
    TS_OK(t.ctx, lt_cluster_prepare(t.params, &config));
    c = lt_params_find(t.params, "blk.0.ffn_up.weight:centroids");
    if (!TS_CHECK(c && lt_param_count(c) == 12 * 6, "six a row")) return;
    TS_CHECK(lt_param_role(c) == LT_STATE && lt_param_trainable(c) && !lt_param_trainable(w),
             "they are trained instead");
    TS_CHECK(!lt_params_find(t.params, "token_embd.weight:centroids") && lt_param_trainable(e) &&
                 !lt_params_find(t.params, "blk.0.attn_norm.weight:centroids") &&
                 lt_params_find(t.params, "stem.weight:clusters"),
             "embeddings and vectors stay, convolutions do not");
    double moved;
    TS_OK(t.ctx, lt_cluster_apply(t.params, &config, &moved));
    int zeros = 0;
    for (int i = 0; i < 480; i++) zeros += i % 3 == 0 && x[i] == 0;
    TS_CHECK(zeros == 160 && distinct(w, 12) <= 6 && distinct(conv, 4) <= 6, "%d zeros, %d values a row", zeros,
             distinct(w, 12));
    TS_CHECK(moved > 0.01 && moved < 0.4, "moved by %g", moved);
    int before = lt_params_count(t.params);
    lt_real mark = ((lt_real *)lt_param_data(c))[3] += 1;
    TS_OK(t.ctx, lt_cluster_prepare(t.params, &config));
    TS_CHECK(lt_params_count(t.params) == before && ((lt_real *)lt_param_data(c))[3] == mark && lt_param_trainable(c),
             "what is there stays");
    config.clusters = 7;
    TS_REFUSED(t.ctx, lt_cluster_prepare(t.params, &config), LT_EINVAL, "clustered otherwise");
    config.clusters = 6, config.per = LT_PER_TENSOR;
    TS_REFUSED(t.ctx, lt_cluster_apply(t.params, &config, NULL), LT_EINVAL, "lt_cluster_prepare");
    ts_bed_drop(&t);
}

static void refused(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_param *w = ts_weight(&t, "fc.weight", 0.1, 2, (int64_t[]){4, 40});
    lt_cluster_config good = config_of(4, LT_PER_TENSOR, LT_CLUSTER_CENTROIDS, false), c = good;
    const int64_t counts[] = {1, -3, 257};
    for (int i = 0; i < 3; i++) {
        c.clusters = counts[i];
        TS_REFUSED(t.ctx, lt_cluster_prepare(t.params, &c), LT_EINVAL, "2 to 256");
    }
    c = good, c.per = LT_PER_GROUP;
    TS_REFUSED(t.ctx, lt_cluster_prepare(t.params, &c), LT_EINVAL, "channel");
    c = good, c.mode = (lt_cluster_mode)9;
    TS_REFUSED(t.ctx, lt_cluster_prepare(t.params, &c), LT_EINVAL, "ste");
    c = good, c.targets = "blk.*";
    TS_REFUSED(t.ctx, lt_cluster_prepare(t.params, &c), LT_EINVAL, "matches blk.*");
    c = good, c.size = 1;
    TS_REFUSED(t.ctx, lt_cluster_prepare(t.params, &c), LT_EINVAL, "lt_cluster_config_init");
    ((lt_real *)lt_param_data(w))[7] = NAN;
    TS_REFUSED(t.ctx, lt_cluster_prepare(t.params, &good), LT_ENONFINITE, "'fc.weight'");
    TS_CHECK(lt_params_count(t.params) == 1, "and nothing was added");
    ((lt_real *)lt_param_data(w))[7] = 0;
    lt_t y = lt_param_value(t.g, w);
    lt_cluster_attach(t.g, &good);
    lt_site site = {.graph = t.g, .name = "fc", .kind = LT_SITE_LINEAR, .param = w};
    y = lt_site_weight(&site);
    TS_CHECK(lt_is_nil(y) && strstr(lt_graph_message(t.g), "lt_cluster_prepare"), "without codebooks: %s",
             lt_graph_message(t.g));
    ts_bed_drop(&t);
}

static void threads_change_no_bit(void)
{
    const lt_granularity per[] = {LT_PER_TENSOR, LT_PER_CHANNEL};
    int before = lt_threads();
    for (int k = 0; k < 2; k++) {
        lt_real centroids[2][300 * 16];
        static int8_t codes[2][300 * 170];
        lt_cluster_config c = config_of(16, per[k], LT_CLUSTER_CENTROIDS, k == 1);
        for (int run = 0; run < 2; run++) {
            ts_bed t;
            lt_set_threads(run ? 3 : 1);
            if (!ts_bed_make(&t)) return;
            ts_weight(&t, "fc.weight", 0.1, 2, (int64_t[]){300, 170});
            TS_OK(t.ctx, lt_cluster_prepare(t.params, &c));
            const lt_param *p = lt_params_find(t.params, "fc.weight:centroids");
            memcpy(centroids[run], lt_param_read(p), lt_param_bytes(p));
            memcpy(codes[run], lt_param_read(lt_params_find(t.params, "fc.weight:clusters")), sizeof codes[run]);
            ts_bed_drop(&t);
        }
        size_t bytes = (k ? 300 : 1) * 16 * sizeof(lt_real);
        TS_CHECK(ts_same_bytes(bytes, centroids[0], centroids[1]) && ts_same_bytes(sizeof codes[0], codes[0], codes[1]),
                 "1 and 3 threads, %s", k ? "channel" : "tensor");
    }
    lt_set_threads(before);
}

/* ---- Gradients: those of the clustered model by centroid are the sums of those of a plain model of the same weights ---- */

typedef struct grads {
    lt_real w[64 * 32], c[64 * 16];
    double loss;
} grads;

static void gradients(lt_model *m, const lt_cluster_config *config, const char *name, grads *out)
{
    static const int32_t tokens[12] = {5, 9, 200, 31, 7, 7, 100, 3, 65, 66, 67, 2};
    lt_params *params = lt_model_params(m);
    lt_ctx *ctx = lt_params_ctx(params);
    lt_graph *g = NULL;
    lt_plan *plan = NULL;
    char full[64];
    snprintf(full, sizeof full, "%s:centroids", name);
    if (!TS_OK(ctx, lt_graph_create(ctx, params, &g))) return;
    if (config) lt_cluster_attach(g, config);
    lt_t index = lt_index_input(g, "tokens", 2, (int64_t[]){1, 12}, 0, 258);
    lt_t loss = lt_model_loss(m, g, &(lt_model_input){.tokens = index}, index, lt_nil(g)), dx[2];
    bool by_weight = !config || config->mode == LT_CLUSTER_STE, by_centroid = config != NULL;
    lt_t wrt[2] = {lt_param_value(g, lt_params_find(params, name))};
    if (by_centroid) wrt[by_weight] = lt_param_value(g, lt_params_find(params, full));
    lt_grad(loss, by_weight + by_centroid, wrt, dx);
    lt_t results[3] = {loss, dx[0], by_weight && by_centroid ? dx[1] : loss};
    if (TS_OK(ctx, lt_compile(g, NULL, 3, results, &plan)) && TS_OK(ctx, lt_bind(plan, "tokens", tokens)) &&
        TS_OK(ctx, lt_run(plan))) {
        out->loss = (double)*(const lt_real *)lt_result(plan, 0);
        if (by_weight) memcpy(out->w, lt_result(plan, 1), sizeof out->w);
        if (by_centroid)
            memcpy(out->c, lt_result(plan, by_weight ? 2 : 1), lt_param_bytes(lt_params_find(params, full)));
    }
    lt_plan_free(plan);
    lt_graph_free(g);
}

static void gradients_are_sums(void)
{
    static grads plain, clustered;
    const char *name = "blk.1.ffn_up.weight";
    for (int t = 0; t < 8; t++) {
        lt_ctx *ctx = lt_ctx_create(NULL);
        lt_model *m = toy_model(ctx, TOY_INIT, 5);
        lt_params *params = lt_model_params(m);
        lt_param *w = lt_params_find(params, name);
        for (int i = 0; i < 64 * 32; i += 5) ((lt_real *)lt_param_data(w))[i] = 0;
        bool rows = t & 1, zeros = t & 4;
        lt_cluster_config c = config_of(rows ? 4 : 16, rows ? LT_PER_CHANNEL : LT_PER_TENSOR,
                                        t & 2 ? LT_CLUSTER_STE : LT_CLUSTER_CENTROIDS, zeros);
        c.targets = name;
        TS_OK(ctx, lt_cluster_prepare(params, &c));
        TS_OK(ctx, lt_cluster_apply(params, &c, NULL));
        gradients(m, NULL, name, &plain);
        gradients(m, &c, name, &clustered);
        const int8_t *codes = lt_param_read(lt_params_find(params, "blk.1.ffn_up.weight:clusters"));
        const lt_real *centroids = lt_param_read(lt_params_find(params, "blk.1.ffn_up.weight:centroids"));
        double sums[64 * 16] = {0}, masked[64 * 32];
        int64_t size = rows ? 32 : 64 * 32, n = rows ? 64 * 4 : 16;
        for (int i = 0; i < 64 * 32; i++) {
            int64_t j = i / size * c.clusters + codes[i] + 128;
            if (!(zeros && centroids[j] == 0)) sums[j] += (double)plain.w[i];
            masked[i] = zeros && ((const lt_real *)lt_param_read(w))[i] == 0 ? 0 : (double)plain.w[i];
        }
        TS_CHECK(plain.loss == clustered.loss, "%d: loss %g and %g", t, plain.loss, clustered.loss);
        double off = ts_distance(n, clustered.c, sums), straight = 0;
        if (c.mode == LT_CLUSTER_STE) straight = ts_distance(64 * 32, clustered.w, masked);
        TS_CHECK(off < ts_tolerance(1e-12, 1e-4) && straight < ts_tolerance(1e-12, 1e-5), "%d: off by %g, %g", t, off,
                 straight);
        lt_model_free(m);
        lt_ctx_free(ctx);
    }
}

/* Central differences of the loss by single centroids. */
static void finite_differences(void)
{
    static grads at;
    const double h = ts_tolerance(1e-5, 1e-2);
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_model *m = toy_model(ctx, TOY_INIT, 5);
    lt_params *params = lt_model_params(m);
    lt_cluster_config c = config_of(8, LT_PER_TENSOR, LT_CLUSTER_CENTROIDS, false);
    TS_OK(ctx, lt_cluster_prepare(params, &c));
    const char *name = "blk.0.ffn_gate.weight";
    lt_param *centroids = lt_params_find(params, "blk.0.ffn_gate.weight:centroids");
    gradients(m, &c, name, &at);
    double most = 0;
    for (int j = 0; j < 8; j++) most = fmax(most, fabs((double)at.c[j]));
    for (int j = 0; j < 8; j++) {
        static grads side;
        lt_real *x = lt_param_data(centroids), was = x[j];
        double losses[2];
        for (int k = 0; k < 2; k++) {
            x[j] = was + (lt_real)(k ? h : -h);
            lt_param_touch(centroids);
            gradients(m, &c, name, &side);
            losses[k] = side.loss;
        }
        x[j] = was;
        double difference = (losses[1] - losses[0]) / (2 * h);
        TS_CHECK(fabs(difference - (double)at.c[j]) < ts_tolerance(1e-6, 0.05) * most,
                 "centroid %d: %g, differences %g", j, (double)at.c[j], difference);
    }
    lt_model_free(m);
    lt_ctx_free(ctx);
}

int lti_suite_cluster(void)
{
    const ts_test tests[] = {{"as naive code", as_naive_code},
                             {"near the optimum", near_the_optimum},
                             {"few numbers", few_numbers},
                             {"codebooks are params", codebooks_are_params},
                             {"refused", refused},
                             {"threads change no bit", threads_change_no_bit},
                             {"gradients are sums", gradients_are_sums},
                             {"finite differences", finite_differences}};
    return ts_suite("cluster", LTI_COUNT(tests), tests);
}
