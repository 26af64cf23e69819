/* test_optimizers.c - Lion, Muon, AdamW in 8 bits: updates against the formulas in double; every kind: learning, steps
 * left out, threads, memory. AdamW, SGD, clipping and the two ways of recording: test_optim.c; what is updated with
 * what: test_optim_rules.c; ten steps of each against PyTorch: test_optim_goldens.c. */
#include "lathe/optim.h"
#include "tests/testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHAPE(...)                                                                                                     \
    sizeof((int64_t[]){__VA_ARGS__}) / 8, (int64_t[])                                                                  \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

static const lt_optimizer_kind kinds[] = {LT_ADAMW, LT_SGD, LT_ADAMW_8BIT, LT_LION, LT_MUON};
static const char *const kind_names[] = {"adamw", "sgd", "adamw_8bit", "lion", "muon"};

/* ---- One node against its formula ---- */

enum { ROUNDS = 5 };

/* A node with its gradient as an input and all factors as scalars. */
typedef struct node_bed {
    ts_bed t;
    lt_param *w, *m;
    lt_plan *plan;
    lt_real *g;
    int64_t n;
} node_bed;

static bool begin_node(node_bed *b, int rank, const int64_t *shape)
{
    *b = (node_bed){0};
    if (!ts_bed_make(&b->t)) return false;
    b->w = ts_weight(&b->t, "w", 1, rank, shape);
    b->m = ts_weight(&b->t, "m", 0, rank, shape);
    b->n = lt_param_count(b->w);
    b->g = calloc((size_t)b->n, sizeof *b->g);
    return b->g != NULL;
}

static lt_t gradient_of(node_bed *b)
{
    return lt_input(b->t.g, "g", LT_F32, lt_param_rank(b->w), lt_param_shape(b->w));
}

static bool run_node(node_bed *b, lt_t y, int round, double lr, double clip, double ok)
{
    if (!b->plan && (!TS_OK(b->t.ctx, ts_compile(b->t.g, TS_PLANNED, 1, &y, &b->plan)) ||
                     !TS_OK(b->t.ctx, lt_bind(b->plan, "g", b->g))))
        return false;
    char name[16];
    snprintf(name, sizeof name, "g%d", round);
    ts_fill_normal(name, b->n, 1, b->g);
    return TS_OK(b->t.ctx, lt_set(b->plan, "lr", lr)) && TS_OK(b->t.ctx, lt_set(b->plan, "clip", clip)) &&
           TS_OK(b->t.ctx, lt_set(b->plan, "ok", ok)) && TS_OK(b->t.ctx, lt_run(b->plan));
}

static void end_node(node_bed *b)
{
    lt_plan_free(b->plan);
    free(b->g);
    ts_bed_drop(&b->t);
}

static void lion_follows_its_formula(void)
{
    static const int64_t sizes[] = {1, 7, 16, 67, 40003};
    for (int k = 0; k < LTI_COUNT(sizes); k++) {
        node_bed b;
        if (!begin_node(&b, 1, &sizes[k])) return;
        lt_lion_config c;
        lt_lion_config_init(&c);
        c.weight_decay = 0.1, c.lr_multiplier = 0.5;
        lt_graph *g = b.t.g;
        lt_t y = lt_lion(b.w, b.m, gradient_of(&b), lt_scalar(g, "lr", 0), lt_scalar(g, "clip", 1),
                         lt_scalar(g, "ok", 1), &c);
        double *w = calloc((size_t)b.n, sizeof *w), *m = calloc((size_t)b.n, sizeof *m);
        for (int64_t i = 0; i < b.n; i++) w[i] = (double)((const lt_real *)lt_param_read(b.w))[i];
        for (int round = 0; round < ROUNDS; round++) {
            double lr = 0.01 * (round + 1), clip = 1.0 / (round + 1), ok = round != 3;
            if (!run_node(&b, y, round, lr, clip, ok)) break;
            for (int64_t i = 0; ok != 0 && i < b.n; i++) {
                double d = clip * (double)b.g[i], mixed = 0.9 * m[i] + 0.1 * d;
                w[i] -= 0.5 * lr * ((mixed > 0) - (mixed < 0) + 0.1 * w[i]);
                m[i] = 0.99 * m[i] + 0.01 * d;
            }
            TS_CHECK(ts_distance(b.n, lt_param_read(b.m), m) < ts_tolerance(1e-13, 2e-6), "momentum, n %lld round %d",
                     (long long)b.n, round);
            TS_CHECK(ts_distance(b.n, lt_param_read(b.w), w) < ts_tolerance(1e-13, 2e-6), "weight, n %lld round %d",
                     (long long)b.n, round);
        }
        free(w);
        free(m);
        end_node(&b);
    }
}

/* x [m, n] -> (p I + q a + r a^2) x with a = x x^T, from the left always. */
static void newton_schulz_step(int64_t m, int64_t n, double *x, double *a, double *poly, double *y)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < m; j++) {
            double sum = 0;
            for (int64_t k = 0; k < n; k++) sum += x[i * n + k] * x[j * n + k];
            a[i * m + j] = sum;
        }
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < m; j++) {
            double sum = 0;
            for (int64_t k = 0; k < m; k++) sum += a[i * m + k] * a[k * m + j];
            poly[i * m + j] = -4.7750 * a[i * m + j] + 2.0315 * sum + (i == j ? 3.4445 : 0);
        }
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t k = 0; k < m; k++) sum += poly[i * m + k] * x[k * n + j];
            y[i * n + j] = sum;
        }
    memcpy(x, y, (size_t)(m * n) * sizeof *x);
}

static void muon_step(int64_t m, int64_t n, double lr, double clip, const lt_real *g, double *w, double *u)
{
    int64_t count = m * n;
    double *x = calloc((size_t)(2 * count + 2 * m * m), sizeof *x), *y = x + count, *a = y + count, *p = a + m * m;
    double norm = 0;
    for (int64_t i = 0; i < count; i++) {
        double d = clip * (double)g[i];
        u[i] = 0.95 * u[i] + 0.05 * d;
        x[i] = 0.05 * d + 0.95 * u[i];
        norm += x[i] * x[i];
    }
    for (int64_t i = 0; i < count; i++) x[i] /= fmax(sqrt(norm), 1e-7);
    for (int i = 0; i < 5; i++) newton_schulz_step(m, n, x, a, p, y);
    for (int64_t i = 0; i < count; i++)
        w[i] = w[i] * (1 - lr * 0.1) - lr * 3 * 0.2 * sqrt((double)(m > n ? m : n)) * x[i];
    free(x);
}

static void muon_follows_its_formula(void)
{
    static const int64_t sizes[][4] = {{1, 1},   {1, 9},    {9, 1},       {5, 13},
                                       {33, 20}, {70, 300}, {6, 3, 3, 3}, {40, 2, 3, 3}};
    for (int k = 0; k < LTI_COUNT(sizes); k++) {
        node_bed b;
        if (!begin_node(&b, sizes[k][2] ? 4 : 2, sizes[k])) return;
        lt_muon_config c;
        lt_muon_config_init(&c);
        c.weight_decay = 0.1, c.lr_scale = 3, c.lr_multiplier = 2;
        lt_graph *g = b.t.g;
        lt_t y = lt_muon(b.w, b.m, gradient_of(&b), lt_scalar(g, "lr", 0), lt_scalar(g, "clip", 1),
                         lt_scalar(g, "ok", 1), &c);
        double *w = calloc((size_t)b.n, sizeof *w), *u = calloc((size_t)b.n, sizeof *u);
        for (int64_t i = 0; i < b.n; i++) w[i] = (double)((const lt_real *)lt_param_read(b.w))[i];
        for (int round = 0; round < ROUNDS; round++) {
            double lr = 0.01 * (round + 1), clip = 1.0 / (round + 1), ok = round != 2;
            if (!run_node(&b, y, round, lr, clip, ok)) break;
            if (ok != 0) muon_step(sizes[k][0], b.n / sizes[k][0], 2 * lr, clip, b.g, w, u);
            TS_CHECK(ts_distance(b.n, lt_param_read(b.m), u) < ts_tolerance(1e-13, 2e-6), "momentum, case %d round %d",
                     k, round);
            double apart = ts_distance(b.n, lt_param_read(b.w), w);
            TS_CHECK(apart < ts_tolerance(1e-12, 1e-4), "weight, case %d round %d: %g", k, round, apart);
        }
        free(w);
        free(u);
        end_node(&b);
    }
}

/* A gradient of zeros is no direction; one far below what a square of floats holds is one as good as any. */
static void muon_of_tiny_gradients(void)
{
    node_bed b;
    if (!begin_node(&b, SHAPE(4, 6))) return;
    lt_muon_config c;
    lt_muon_config_init(&c);
    c.weight_decay = 0;
    lt_t y = lt_muon(b.w, b.m, lt_scale(gradient_of(&b), 0), lt_scalar(b.t.g, "lr", 0), lt_scalar(b.t.g, "clip", 1),
                     lt_scalar(b.t.g, "ok", 1), &c);
    lt_real before[24];
    memcpy(before, lt_param_read(b.w), sizeof before);
    run_node(&b, y, 0, 1, 1, 1);
    TS_CHECK(ts_same_bytes(sizeof before, before, lt_param_read(b.w)), "zeros move nothing");
    end_node(&b);
}

/* ---- AdamW in 8 bits beside AdamW ---- */

enum { CODED = 5000, MANY = 1000 }; /* 19 whole blocks and a rest */

/* Gradients of three magnitudes in every block; after 100 rounds those of every other triple fall to 0.3: there v has
 * to come down in steps of a thousandth, beside neighbours that keep the block's scale. */
static void coded_gradient(int round, const lt_real *base, lt_real *g)
{
    for (int i = 0; i < CODED; i++) {
        double size = pow(10, -(i % 3)) * (round > 100 && i / 3 % 2 ? 0.3 : 1);
        g[i] = (lt_real)(size * ((double)base[(i * 7 + round * 131) % CODED] + 0.2));
    }
}

/* Updates "a" by AdamW in 8 bits and "b" by AdamW, with the same gradients. */
static void train_both(ts_bed *t, lt_plan *plan, lt_real *g)
{
    static lt_real base[CODED];
    ts_fill_normal("base", CODED, 1, base);
    bool fine = TS_OK(t->ctx, lt_bind(plan, "c", g));
    for (int round = 1; fine && round <= MANY; round++) {
        coded_gradient(round, base, g);
        fine = TS_OK(t->ctx, lt_set(plan, "lr", 1e-2)) && TS_OK(t->ctx, lt_set(plan, "step", round)) &&
               TS_OK(t->ctx, lt_run(plan));
    }
}

static const void *bytes_of(const ts_bed *t, const char *name)
{
    return lt_param_read(lt_params_find(t->params, name));
}

static void coded_moments_keep_the_way(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_param *p[2] = {ts_weight(&t, "a", 0, SHAPE(CODED)), ts_weight(&t, "b", 0, SHAPE(CODED))};
    static lt_real g[CODED];
    lt_optimizer *opt[2] = {NULL};
    lt_plan *plan = NULL;
    lt_t c = lt_input(t.g, "c", LT_F32, SHAPE(CODED)), loss[2];
    for (int k = 0; k < 2; k++) {
        lt_optimizer_config config;
        lt_optimizer_config_init(&config);
        const lt_optimizer_group other = {k ? "a" : "b", 0, -1, true};
        config.kind = k ? LT_ADAMW : LT_ADAMW_8BIT, config.groups = &other, config.n_groups = 1;
        TS_OK(t.ctx, lt_optimizer_create(t.ctx, t.params, &config, &opt[k]));
        loss[k] = lt_sum_all(lt_mul(lt_param_value(t.g, p[k]), c));
        TS_OK(t.ctx, lt_optimizer_fused(opt[k], t.g, loss[k]));
    }
    if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 2, loss, &plan))) train_both(&t, plan, g);
    const lt_real *a = bytes_of(&t, "a"), *b = bytes_of(&t, "b"), *v = bytes_of(&t, "b:adam.v"),
                  *scale = bytes_of(&t, "a:adam8.scale");
    const int8_t *codes = bytes_of(&t, "a:adam8.v");
    double difference = 0, way = 0, fallen = 0;
    int count = 0;
    for (int i = 0; i < CODED; i++) {
        difference += fabs((double)(a[i] - b[i])), way += fabs((double)b[i]);
        if (i / 3 % 2 == 0) continue;
        fallen += pow((codes[i] + 128) / 255.0, 2) * (double)scale[2 * (i / 256) + 1] / sqrt((double)v[i]);
        count++;
    }
    TS_CHECK(way > CODED && difference / way < 0.1, "8 bits are %.3g of the way from f32", difference / way);
    TS_CHECK(fabs(fallen / count - 1) < 0.05, "a falling v: its root is %g of what it is in f32", fallen / count);
    lt_plan_free(plan);
    lt_optimizer_free(opt[0]);
    lt_optimizer_free(opt[1]);
    ts_bed_drop(&t);
}

static void memory_of_each_kind(void)
{
    static const double want[] = {2, 1, 0.515625, 1,
                                  1}; /* of the weights' bytes in float; 8 bits: 2 codes, 2/256 scales */
    for (int k = 0; k < LTI_COUNT(kinds); k++) {
        ts_bed t;
        if (!ts_bed_make(&t)) return;
        lt_param *w = ts_weight(&t, "blk.0.up.weight", 1, SHAPE(128, 128));
        ts_weight(&t, "small", 1, SHAPE(4095));
        lt_param_set_trainable(lt_params_find(t.params, "small"), kinds[k] == LT_ADAMW_8BIT);
        lt_optimizer_config c;
        lt_optimizer_config_init(&c);
        c.kind = kinds[k], c.momentum = kinds[k] == LT_SGD ? 0.5 : 0;
        lt_optimizer *opt = NULL;
        TS_OK(t.ctx, lt_optimizer_create(t.ctx, t.params, &c, &opt));
        double bytes = kinds[k] == LT_ADAMW_8BIT ? 2 * 16384 + 2 * 64 * sizeof(lt_real) + 2 * 4095 * sizeof(lt_real)
                                                 : want[k] * (double)lt_param_bytes(w);
        TS_CHECK((double)lt_optimizer_bytes(opt) == bytes, "%s keeps %zu bytes, not %g", kind_names[k],
                 lt_optimizer_bytes(opt), bytes);
        lt_optimizer_free(opt);
        ts_bed_drop(&t);
    }
}

/* ---- All kinds: fused and split, skipped steps, threads ---- */

/* A small perceptron with a learnable task; a hash of all params afterwards, and the first and last loss. */
typedef struct outcome {
    double first, last;
    uint64_t hash;
} outcome;

static uint64_t hash_params(const lt_params *params)
{
    uint64_t h = 1469598103934665603u;
    for (int i = 0; i < lt_params_count(params); i++) {
        const lt_param *p = lt_params_at(params, i);
        const uint8_t *bytes = lt_param_read(p);
        for (size_t k = 0; lt_param_role(p) != LT_SCRATCH && k < lt_param_bytes(p); k++)
            h = (h ^ bytes[k]) * 1099511628211u;
    }
    return h;
}

static lt_t perceptron_loss(ts_bed *t)
{
    lt_t x = lt_input(t->g, "x", LT_F32, SHAPE(32, 64));
    lt_t a = lt_param_value(t->g, lt_params_find(t->params, "a")),
         b = lt_param_value(t->g, lt_params_find(t->params, "b"));
    lt_t bias = lt_param_value(t->g, lt_params_find(t->params, "bias"));
    lt_t y = lt_matmul(lt_tanh(lt_add(lt_matmul(x, a, LT_TRANSPOSE_B), bias)), b, LT_TRANSPOSE_B); /* [32, 8] */
    lt_t want = lt_slice(x, 1, 3, 11);
    return lt_mse(y, want);
}

static outcome train_perceptron(lt_optimizer_kind kind, const char *what, bool split, int threads, int skip_at)
{
    outcome o = {0};
    ts_bed t;
    if (!ts_bed_make(&t)) return o;
    lt_set_threads(threads);
    ts_weight(&t, "a", 0.1, SHAPE(600, 64));
    ts_weight(&t, "b", 0.1, SHAPE(8, 600));
    ts_weight(&t, "bias", 0.1, SHAPE(600));
    lt_optimizer_config c;
    lt_optimizer_config_init(&c);
    c.kind = kind, c.momentum = kind == LT_SGD ? 0.9 : 0, c.ema_decay = 0.9, c.max_grad_norm = split ? 1 : 0;
    lt_optimizer *opt = NULL;
    lt_plan *plan[2] = {NULL};
    lt_real *x = calloc(32 * 64, sizeof *x);
    ts_fill_normal("x", 32 * 64, 1, x);
    bool fine = TS_OK(t.ctx, lt_optimizer_create(t.ctx, t.params, &c, &opt));
    lt_t loss = perceptron_loss(&t);
    fine = fine && TS_OK(t.ctx, split ? lt_optimizer_accumulate(opt, t.g, loss) : lt_optimizer_fused(opt, t.g, loss)) &&
           TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 1, &loss, &plan[0]));
    if (fine && split) {
        ts_bed_again(&t);
        fine =
            TS_OK(t.ctx, lt_optimizer_apply(opt, t.g)) && TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 0, NULL, &plan[1]));
    }
    for (int step = 1; fine && step <= 30; step++) {
        lt_plan *writes = plan[split];
        if (step == skip_at) x[5] = (lt_real)NAN;
        uint64_t before = step == skip_at ? hash_params(t.params) : 0;
        fine = TS_OK(t.ctx, lt_bind(plan[0], "x", x)) &&
               TS_OK(t.ctx, lt_set(writes, "lr",
                                   kind == LT_SGD    ? 0.2
                                   : kind == LT_LION ? 3e-3
                                                     : 1e-2)) &&
               (!lt_plan_has(writes, "step") || TS_OK(t.ctx, lt_set(writes, "step", step))) &&
               TS_OK(t.ctx, lt_run(plan[0])) && (!split || TS_OK(t.ctx, lt_run(plan[1])));
        if (step == skip_at)
            TS_CHECK(before == hash_params(t.params), "%s: a step without a finite loss changed something", what);
        ts_fill_normal("x", 32 * 64, 1, x);
        if (step == 1) o.first = (double)*(const lt_real *)lt_result(plan[0], 0);
        o.last = (double)*(const lt_real *)lt_result(plan[0], 0);
    }
    o.hash = hash_params(t.params);
    lt_plan_free(plan[0]);
    lt_plan_free(plan[1]);
    lt_optimizer_free(opt);
    free(x);
    ts_bed_drop(&t);
    return o;
}

static void every_kind_learns(void)
{
    int threads = lt_threads();
    for (int k = 0; k < LTI_COUNT(kinds); k++)
        for (int split = 0; split < 2; split++) {
            outcome one = train_perceptron(kinds[k], kind_names[k], split, 1, 0),
                    three = train_perceptron(kinds[k], kind_names[k], split, 3, 0);
            TS_CHECK(one.last < 0.5 * one.first, "%s: %g -> %g", kind_names[k], one.first, one.last);
            TS_CHECK(one.hash == three.hash, "%s: other bits with three threads", kind_names[k]);
            train_perceptron(kinds[k], kind_names[k], split, 1, 7);
        }
    lt_set_threads(threads);
}

/* ---- Memory ---- */

static lt_status attempt(lt_ctx *ctx, void *arg)
{
    lt_params *params = NULL;
    lt_graph *g = NULL;
    lt_plan *plan = NULL;
    lt_optimizer *opt = NULL;
    lt_optimizer_config c;
    lt_optimizer_config_init(&c);
    c.kind = *(const lt_optimizer_kind *)arg, c.ema_decay = 0.5;
    lt_status status = lt_params_create(ctx, &params);
    if (status == LT_OK) status = lt_params_add(params, "w", LT_F32, SHAPE(64, 65), LT_WEIGHT, NULL);
    if (status == LT_OK) status = lt_optimizer_create(ctx, params, &c, &opt);
    if (status == LT_OK) status = lt_graph_create(ctx, params, &g);
    if (status == LT_OK) {
        status = lt_optimizer_fused(opt, g, lt_sum_all(lt_param_value(g, lt_params_find(params, "w"))));
        if (status != LT_OK) lti_fail(ctx, status, "%s", lt_graph_message(g));
    }
    if (status == LT_OK) status = lt_compile(g, NULL, 0, NULL, &plan);
    lt_plan_free(plan);
    lt_graph_free(g);
    lt_optimizer_free(opt);
    lt_params_free(params);
    return status;
}

static void every_allocation_may_fail(void)
{
    for (int k = 0; k < LTI_COUNT(kinds); k++) {
        lt_optimizer_kind kind = kinds[k];
        int64_t n = ts_every_allocation_fails(kind_names[k], attempt, &kind);
        TS_CHECK(n > 15, "only %lld allocations were tried", (long long)n);
    }
}

int lti_suite_optimizers(void)
{
    const ts_test tests[] = {{"lion", lion_follows_its_formula},
                             {"muon", muon_follows_its_formula},
                             {"muon without a direction", muon_of_tiny_gradients},
                             {"moments in 8 bits", coded_moments_keep_the_way},
                             {"memory", memory_of_each_kind},
                             {"every kind learns", every_kind_learns},
                             {"every allocation may fail", every_allocation_may_fail}};
    return ts_suite("optimizers", LTI_COUNT(tests), tests);
}
