/* xor.c - the smallest network that learns what no line can separate: x1 xor x2, with eight hidden units.
 *
 * The whole step (forward, gradients, updates) is one plan: recording happens once, the loop only runs it. */
#include <lathe/lathe.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 4 };

typedef struct options {
    long epochs;
    const char *data;
} options;

static int usage(int status)
{
    fputs("usage: xor [--epochs N] [--data FILE.csv]\n"
          "Learns x1 xor x2. FILE.csv: four lines x1,x2,class; default: the built-in table.\n",
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

/* x [4, 2], y [4, 1] */
static lt_status load(lt_ctx *ctx, const char *path, lt_real *x, lt_real *y)
{
    for (int r = 0; r < ROWS; r++) {
        x[2 * r] = r & 1;
        x[2 * r + 1] = r >> 1;
        y[r] = (r & 1) ^ (r >> 1);
    }
    if (path == NULL) return LT_OK;
    lt_arrays *arrays;
    lt_status status = lt_arrays_open(ctx, path, &arrays);
    if (status != LT_OK) return status;
    for (int r = 0; r < ROWS && r < arrays->n && arrays->d == 2; r++) {
        memcpy(x + 2 * r, arrays->x + 2 * r, 2 * sizeof *x);
        y[r] = (lt_real)arrays->y[r];
    }
    lt_arrays_free(ctx, arrays);
    return LT_OK;
}

/* Adds the parameters and records the step; outputs are the predictions and the loss. */
static lt_status build(lt_ctx *ctx, lt_params *params, lt_graph *g, lt_plan **plan)
{
    lt_mlp_config mlp;
    lt_mlp_config_init(&mlp);
    mlp.inputs = 2, mlp.classes = 1, mlp.n_hidden = 1, mlp.hidden[0] = 8;
    if (lt_mlp_params(params, &mlp, 1) != LT_OK) return lt_ctx_status(ctx);
    lt_t x = lt_input(g, "x", LT_F32, 2, (int64_t[]){ROWS, 2});
    lt_t y = lt_input(g, "y", LT_F32, 2, (int64_t[]){ROWS, 1});
    lt_t hidden = lt_tanh(lt_nn_linear(x, "fc1"));        /* [4, 8] */
    lt_t guess = lt_sigmoid(lt_nn_linear(hidden, "fc2")); /* [4, 1] */
    lt_t loss = lt_mse(guess, y);

    lt_optimizer_config config;
    lt_optimizer_config_init(&config);
    config.weight_decay = 0;
    lt_optimizer *optimizer;
    if (lt_optimizer_create(ctx, params, &config, &optimizer) != LT_OK) return lt_ctx_status(ctx);
    lt_status status = lt_optimizer_fused(optimizer, g, loss);
    if (status == LT_OK) status = lt_compile(g, NULL, 2, (lt_t[]){guess, loss}, plan);
    lt_optimizer_free(optimizer);
    return status;
}

static lt_status learn(lt_ctx *ctx, const options *o, lt_params *params, lt_graph *g, lt_plan **plan)
{
    lt_real x[ROWS * 2], y[ROWS];
    if (load(ctx, o->data, x, y) || build(ctx, params, g, plan) || lt_bind(*plan, "x", x) || lt_bind(*plan, "y", y) ||
        lt_set(*plan, "lr", 0.02))
        return lt_ctx_status(ctx);
    double loss = NAN;
    for (long step = 1; step <= o->epochs; step++) {
        if (lt_set(*plan, "step", (double)step) || lt_run(*plan)) return lt_ctx_status(ctx);
        loss = *(const lt_real *)lt_result(*plan, 1);
        if (step == 1 || step == o->epochs || step % (o->epochs / 5 + 1) == 0)
            printf("epoch %4ld  loss %.6f\n", step, loss);
    }
    const lt_real *guess = lt_result(*plan, 0);
    for (int r = 0; r < ROWS; r++)
        printf("%g xor %g = %.3f (%g)\n", (double)x[2 * r], (double)x[2 * r + 1], (double)guess[r], (double)y[r]);
    puts(loss < 0.01 ? "learnt" : "not there yet: more --epochs");
    return LT_OK;
}

int main(int argc, char **argv)
{
    options o = {.epochs = 1000};
    int stop = parse(argc, argv, &o);
    if (stop) return stop == 1 ? 0 : stop;
    lt_ctx *ctx = lt_ctx_create(NULL);
    if (ctx == NULL) return 1;
    lt_params *params = NULL;
    lt_graph *graph = NULL;
    lt_plan *plan = NULL;
    int failed =
        lt_params_create(ctx, &params) || lt_graph_create(ctx, params, &graph) || learn(ctx, &o, params, graph, &plan);
    if (failed) fprintf(stderr, "xor: %s\n", lt_ctx_message(ctx));
    lt_plan_free(plan);
    lt_graph_free(graph);
    lt_params_free(params);
    lt_ctx_free(ctx);
    return failed;
}
