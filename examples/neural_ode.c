/* neural_ode.c - a network whose depth is time: dx/dt = f(x), one set of weights used at every instant (Chen et al.,
 * 2018), solved by four Runge-Kutta steps between an input and an output layer.
 *
 * Sharing weights needs nothing: a layer recorded twice under one name reads the same parameter, and its gradients add
 * up. neural_ode_torch.py is the same in PyTorch. */
#include <lathe/lathe.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCH = 32, PIXELS = 64, STATE = 32, WIDTH = 64, CLASSES = 10, STEPS = 4 };

typedef struct options {
    long epochs;
    const char *data;
} options;

static int usage(int status)
{
    fputs("usage: neural_ode [--epochs N] [--data FILE]\n"
          "Classifies 8 x 8 digits by the flow of a differential equation. FILE: .csv or .csv.gz of 64 pixels and a "
          "class;\n"
          "default examples/data/digits.csv.gz.\n",
          status ? stderr : stdout);
    return status;
}

static int parse(int argc, char **argv, options *o)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) return usage(0), 1;
        if (i + 1 == argc) return usage(2), 2;
        if (strcmp(argv[i], "--epochs") == 0)
            o->epochs = atol(argv[++i]);
        else if (strcmp(argv[i], "--data") == 0)
            o->data = argv[++i];
        else
            return usage(2), 2;
    }
    return 0;
}

static double now(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static lt_status make_params(lt_params *params)
{
    const struct {
        const char *name;
        int rank;
        int64_t out, in;
    } list[] = {{"in.weight", 2, STATE, PIXELS},   {"in.bias", 1, STATE, PIXELS},  {"f1.weight", 2, WIDTH, STATE},
                {"f1.bias", 1, WIDTH, STATE},      {"f2.weight", 2, STATE, WIDTH}, {"f2.bias", 1, STATE, WIDTH},
                {"out.weight", 2, CLASSES, STATE}, {"out.bias", 1, CLASSES, STATE}};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        lt_param *p;
        lt_status status = lt_params_add(params, list[i].name, LT_F32, list[i].rank,
                                         (int64_t[]){list[i].out, list[i].in}, LT_WEIGHT, &p);
        if (status != LT_OK) return status;
        lt_init_uniform(p, 1, 1 / sqrt((double)list[i].in));
    }
    return LT_OK;
}

/* f(x) = W2 tanh(W1 x + b1) + b2; x [B, STATE]. */
static lt_t slope(lt_t x)
{
    return lt_nn_linear(lt_tanh(lt_nn_linear(x, "f1")), "f2");
}

/* One step of length h of the classic method of order four. */
static lt_t runge_kutta(lt_t x, double h)
{
    lt_t k1 = slope(x);
    lt_t k2 = slope(lt_add(x, lt_scale(k1, h / 2)));
    lt_t k3 = slope(lt_add(x, lt_scale(k2, h / 2)));
    lt_t k4 = slope(lt_add(x, lt_scale(k3, h)));
    lt_t sum = lt_add(lt_add(k1, lt_scale(k2, 2)), lt_add(lt_scale(k3, 2), k4));
    return lt_add(x, lt_scale(sum, h / 6));
}

/* x [B, PIXELS] -> logits [B, CLASSES] */
static lt_t network(lt_t x)
{
    x = lt_nn_linear(x, "in");
    for (int i = 0; i < STEPS; i++) x = runge_kutta(x, 1.0 / STEPS);
    return lt_nn_linear(x, "out");
}

/* The loss of `rows` rows, and their logits. Pixels go to 16. */
static lt_t record(lt_graph *g, int64_t rows, lt_t *logits)
{
    lt_t x = lt_scale(lt_input(g, "x", LT_F32, 2, (int64_t[]){rows, PIXELS}), 1.0 / 16);
    lt_t y = lt_index_input(g, "y", 1, (int64_t[]){rows}, -1, CLASSES);
    *logits = network(x);
    return lt_cross_entropy(*logits, y, lt_nil(g));
}

/* A plan that trains on a batch, or with `logits_only` one that gives the logits of `rows` rows. */
static lt_status build(lt_ctx *ctx, lt_params *params, int64_t rows, int logits_only, lt_plan **plan)
{
    lt_graph *g;
    lt_optimizer *optimizer = NULL;
    lt_optimizer_config config;
    lt_optimizer_config_init(&config); /* AdamW */
    if (lt_graph_create(ctx, params, &g) != LT_OK) return lt_ctx_status(ctx);
    lt_t logits, loss = record(g, rows, &logits);
    lt_status status = LT_OK;
    if (!logits_only) status = lt_optimizer_create(ctx, params, &config, &optimizer);
    if (!logits_only && status == LT_OK) status = lt_optimizer_fused(optimizer, g, loss);
    if (status == LT_OK) status = lt_compile(g, NULL, 1, logits_only ? &logits : &loss, plan);
    lt_optimizer_free(optimizer);
    lt_graph_free(g);
    return status;
}

static lt_status train(lt_ctx *ctx, const lt_arrays *set, lt_plan *plan, long epochs)
{
    lt_batches *batches;
    lt_real x[BATCH * PIXELS];
    int32_t y[BATCH];
    if (lt_batches_create(ctx, NULL, set, BATCH, 1, true, &batches) != LT_OK) return lt_ctx_status(ctx);
    lt_schedule schedule;
    lt_schedule_init(&schedule);
    schedule.kind = LT_LR_COSINE, schedule.lr = 3e-3, schedule.warmup_ratio = 0.05;
    int64_t total = epochs * lt_batches_per_epoch(batches);
    double sum = 0, rows = 0, start = now();
    lt_status status = LT_OK;
    for (int64_t step = 1; step <= total && status == LT_OK; step++) {
        lt_batch batch;
        if (lt_batches_next(batches, &batch) || lt_batches_fill_arrays(batches, BATCH, x, y) || lt_bind(plan, "x", x) ||
            lt_bind(plan, "y", y) || lt_set(plan, "step", (double)step) ||
            lt_set(plan, "lr", lt_lr_at(&schedule, step, total)) || lt_run(plan)) {
            status = lt_ctx_status(ctx);
            break;
        }
        sum += *(const lt_real *)lt_result(plan, 0) * (double)batch.rows;
        rows += (double)batch.rows;
        if (batch.last && (batch.epoch + 1) % 5 == 0)
            printf("epoch %3lld  loss %.4f\n", (long long)batch.epoch + 1, sum / rows);
        if (batch.last) sum = rows = 0;
    }
    if (status == LT_OK) printf("%.0f images/s\n", (double)(epochs * set->n) / (now() - start));
    lt_batches_free(batches);
    return status;
}

static lt_status test(lt_ctx *ctx, lt_params *params, const lt_arrays *set)
{
    lt_plan *plan = NULL;
    lt_status status = build(ctx, params, set->n, 1, &plan);
    if (status == LT_OK && (lt_bind(plan, "x", set->x) || lt_run(plan))) status = lt_ctx_status(ctx);
    int64_t right = 0;
    for (int64_t r = 0; r < set->n && status == LT_OK; r++) {
        const lt_real *z = (const lt_real *)lt_result(plan, 0) + r * CLASSES;
        int best = 0;
        for (int c = 1; c < CLASSES; c++) best = z[c] > z[best] ? c : best;
        right += best == set->y[r];
    }
    lt_plan_free(plan);
    if (status == LT_OK)
        printf("test accuracy %.1f %% (%lld of %lld)\n", 100.0 * (double)right / (double)set->n, (long long)right,
               (long long)set->n);
    return status;
}

static lt_status run(lt_ctx *ctx, lt_params *params, const options *o, const lt_arrays *train_set,
                     const lt_arrays *test_set)
{
    if (train_set->d != PIXELS || train_set->classes > CLASSES || test_set->classes > CLASSES) {
        fprintf(stderr, "neural_ode: %s: rows of %d numbers and at most %d classes are wanted\n", o->data, PIXELS,
                CLASSES);
        return LT_EINVAL;
    }
    lt_plan *plan = NULL;
    lt_status status = make_params(params);
    if (status == LT_OK) status = build(ctx, params, BATCH, 0, &plan);
    if (status == LT_OK) status = train(ctx, train_set, plan, o->epochs);
    lt_plan_free(plan);
    return status == LT_OK ? test(ctx, params, test_set) : status;
}

int main(int argc, char **argv)
{
    options o = {.epochs = 30, .data = "examples/data/digits.csv.gz"};
    int stop = parse(argc, argv, &o);
    if (stop) return stop == 1 ? 0 : stop;
    lt_ctx *ctx = lt_ctx_create(NULL);
    if (ctx == NULL) return 1;
    lt_params *params = NULL;
    lt_arrays *all = NULL, *train_set = NULL, *test_set = NULL;
    int failed = lt_params_create(ctx, &params) || lt_arrays_open(ctx, o.data, &all) ||
                 lt_arrays_split(ctx, all, 0.2, 1, &train_set, &test_set) || run(ctx, params, &o, train_set, test_set);
    if (failed && *lt_ctx_message(ctx)) fprintf(stderr, "neural_ode: %s\n", lt_ctx_message(ctx));
    lt_arrays_free(ctx, all);
    lt_arrays_free(ctx, train_set);
    lt_arrays_free(ctx, test_set);
    lt_params_free(params);
    lt_ctx_free(ctx);
    return failed;
}
