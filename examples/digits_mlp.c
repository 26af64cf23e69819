/* digits_mlp.c - a classifier from data set to test accuracy: 8 x 8 pixels, ten classes, minibatches, a learning rate
 * that falls.
 *
 * Two plans share the parameters: one trains on batches of 32, the other looks at all test rows at once. */
#include <lathe/lathe.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 32 };

typedef struct options {
    long epochs;
    const char *data;
} options;

static int usage(int status)
{
    fputs("usage: digits_mlp [--epochs N] [--data FILE]\n"
          "Trains a 64-128-10 network. FILE: .csv or .csv.gz, class last; default examples/data/digits.csv.gz.\n",
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

/* Records logits of `rows` rows and their loss. Pixels go to 16. */
static lt_t record(lt_graph *g, const lt_mlp_config *mlp, int64_t rows, lt_t *logits)
{
    lt_t x = lt_scale(lt_input(g, "x", LT_F32, 2, (int64_t[]){rows, mlp->inputs}), 1.0 / 16);
    lt_t y = lt_index_input(g, "y", 1, (int64_t[]){rows}, -1, (int32_t)mlp->classes);
    *logits = lt_mlp_logits(g, mlp, x); /* [rows, classes] */
    return lt_cross_entropy(*logits, y, lt_nil(g));
}

static lt_status build(lt_ctx *ctx, lt_params *params, lt_graph *g, const lt_mlp_config *mlp, lt_plan **plan)
{
    lt_t logits, loss = record(g, mlp, BATCH, &logits);
    lt_optimizer_config config;
    lt_optimizer_config_init(&config); /* AdamW */
    lt_optimizer *optimizer;
    if (lt_optimizer_create(ctx, params, &config, &optimizer) != LT_OK) return lt_ctx_status(ctx);
    lt_status status = lt_optimizer_fused(optimizer, g, loss);
    if (status == LT_OK) status = lt_compile(g, NULL, 1, &loss, plan);
    lt_optimizer_free(optimizer);
    return status;
}

static lt_status train(lt_ctx *ctx, const lt_arrays *set, lt_plan *plan, long epochs, lt_real *x, int32_t *y)
{
    lt_batches *batches;
    if (lt_batches_create(ctx, NULL, set, BATCH, 1, true, &batches) != LT_OK) return lt_ctx_status(ctx);
    lt_schedule schedule;
    lt_schedule_init(&schedule);
    schedule.kind = LT_LR_COSINE, schedule.lr = 3e-3, schedule.warmup_ratio = 0.05;
    int64_t total = epochs * lt_batches_per_epoch(batches);
    double sum = 0, rows = 0;
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
        if (batch.last) {
            printf("epoch %3lld  loss %.4f\n", (long long)batch.epoch + 1, sum / rows);
            sum = rows = 0;
        }
    }
    lt_batches_free(batches);
    return status;
}

static lt_status test(lt_ctx *ctx, lt_params *params, const lt_mlp_config *mlp, const lt_arrays *set)
{
    lt_graph *g;
    if (lt_graph_create(ctx, params, &g) != LT_OK) return lt_ctx_status(ctx);
    lt_t logits;
    record(g, mlp, set->n, &logits);
    lt_plan *plan = NULL;
    lt_status status = lt_compile(g, NULL, 1, &logits, &plan);
    lt_graph_free(g);
    if (status == LT_OK && (lt_bind(plan, "x", set->x) || lt_run(plan))) status = lt_ctx_status(ctx);
    int64_t right = 0;
    for (int64_t r = 0; r < set->n && status == LT_OK; r++) {
        const lt_real *z = (const lt_real *)lt_result(plan, 0) + r * mlp->classes;
        int best = 0;
        for (int c = 1; c < mlp->classes; c++) best = z[c] > z[best] ? c : best;
        right += best == set->y[r];
    }
    lt_plan_free(plan);
    if (status == LT_OK)
        printf("test accuracy %.1f %% (%lld of %lld)\n", 100.0 * (double)right / (double)set->n, (long long)right,
               (long long)set->n);
    return status;
}

static lt_status run(lt_ctx *ctx, const options *o, lt_params *params, const lt_arrays *train_set,
                     const lt_arrays *test_set)
{
    lt_mlp_config mlp;
    lt_mlp_config_init(&mlp);
    mlp.inputs = train_set->d, mlp.classes = train_set->classes, mlp.n_hidden = 1, mlp.hidden[0] = 128;
    if (test_set->classes > mlp.classes) mlp.classes = test_set->classes;
    lt_graph *g = NULL;
    lt_plan *plan = NULL;
    lt_real *x = calloc((size_t)(BATCH * train_set->d), sizeof *x);
    int32_t y[BATCH];
    lt_status status = x == NULL ? LT_ENOMEM : lt_mlp_params(params, &mlp, 1);
    if (status == LT_OK) status = lt_graph_create(ctx, params, &g);
    if (status == LT_OK) status = build(ctx, params, g, &mlp, &plan);
    if (status == LT_OK) status = train(ctx, train_set, plan, o->epochs, x, y);
    if (status == LT_OK) status = test(ctx, params, &mlp, test_set);
    lt_plan_free(plan);
    lt_graph_free(g);
    free(x);
    return status;
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
                 lt_arrays_split(ctx, all, 0.2, 1, &train_set, &test_set) || run(ctx, &o, params, train_set, test_set);
    if (failed) fprintf(stderr, "digits_mlp: %s\n", lt_ctx_message(ctx));
    lt_arrays_free(ctx, all);
    lt_arrays_free(ctx, train_set);
    lt_arrays_free(ctx, test_set);
    lt_params_free(params);
    lt_ctx_free(ctx);
    return failed;
}
