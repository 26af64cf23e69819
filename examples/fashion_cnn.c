/* fashion_cnn.c - a residual convolutional network on Fashion-MNIST: batch norm in training and in evaluation.
 *
 * Two plans share the parameters, as in digits_mlp.c. One is recorded for training: its batch norms use the batch's own
 * statistics and move the running averages. The other is recorded after lt_training(g, false) and uses the averages.
 * fashion_cnn_torch.py is the same network, batches and steps in PyTorch. */
#include <lathe/lathe.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCH = 64, TEST_BATCH = 500 };

typedef struct options {
    long epochs, threads;
    const char *data;
} options;

/* What a run is made of. */
typedef struct run {
    lt_ctx *ctx;
    lt_params *params;
    lt_cnn_config cnn;
    lt_arrays *train_set, *test_set;
    double pixel; /* what a pixel is multiplied with */
    lt_plan *train, *test;
    lt_real *x; /* [TEST_BATCH, pixels] */
    int32_t *y; /* [TEST_BATCH] */
} run;

static int usage(int status)
{
    fputs("usage: fashion_cnn [--epochs N] [--data PATH] [--threads N]\n"
          "Trains a residual network of 78,000 parameters on images. PATH: a directory with MNIST's four files "
          "(Debian's\n"
          "package dataset-fashion-mnist has them in /usr/share/datasets/fashion-mnist, the default), or a .csv of "
          "square\n"
          "images, class last, of which a fifth is the test.\n",
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
        else if (strcmp(argv[i], "--threads") == 0)
            o->threads = atol(argv[++i]);
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

static lt_status open_data(run *r, const char *path)
{
    char file[2][4096];
    snprintf(file[0], sizeof file[0], "%s/train-images-idx3-ubyte.gz", path);
    snprintf(file[1], sizeof file[1], "%s/t10k-images-idx3-ubyte.gz", path);
    size_t n = strlen(path);
    if ((n > 4 && !strcmp(path + n - 4, ".csv")) || (n > 7 && !strcmp(path + n - 7, ".csv.gz"))) {
        lt_arrays *all;
        if (lt_arrays_open(r->ctx, path, &all) != LT_OK) return lt_ctx_status(r->ctx);
        lt_status status = lt_arrays_split(r->ctx, all, 0.2, 1, &r->train_set, &r->test_set);
        lt_arrays_free(r->ctx, all);
        return status;
    }
    lt_status status = lt_arrays_open(r->ctx, file[0], &r->train_set);
    return status == LT_OK ? lt_arrays_open(r->ctx, file[1], &r->test_set) : status;
}

/* False: these are no images of one square size. */
static bool choose_network(run *r)
{
    const lt_arrays *set = r->train_set;
    lt_real most = 0;
    for (int64_t i = 0; i < set->n * set->d; i++) most = set->x[i] > most ? set->x[i] : most;
    r->pixel = 1 / (double)most;
    lt_cnn_config_init(&r->cnn);
    r->cnn.height = r->cnn.width = (int64_t)lround(sqrt((double)set->d));
    r->cnn.channels = 1, r->cnn.classes = set->classes, r->cnn.filters = 16, r->cnn.stages = 3, r->cnn.blocks = 1;
    return most > 0 && r->cnn.height * r->cnn.width == set->d && r->test_set->d == set->d;
}

/* Records logits [rows, classes] and returns their loss. */
static lt_t record(const run *r, lt_graph *g, int64_t rows, lt_t *logits)
{
    const lt_cnn_config *c = &r->cnn;
    lt_t x = lt_input(g, "x", LT_F32, 4, (int64_t[]){rows, c->height, c->width, 1});
    lt_t y = lt_index_input(g, "y", 1, (int64_t[]){rows}, -1, (int32_t)c->classes);
    *logits = lt_cnn_logits(g, c, lt_scale(x, r->pixel));
    return lt_cross_entropy(*logits, y, lt_nil(g));
}

static lt_status build_train(run *r)
{
    lt_graph *g;
    lt_optimizer *optimizer;
    lt_optimizer_config config;
    lt_optimizer_config_init(&config); /* AdamW */
    config.weight_decay = 0.05;
    if (lt_optimizer_create(r->ctx, r->params, &config, &optimizer) != LT_OK) return lt_ctx_status(r->ctx);
    lt_status status = lt_graph_create(r->ctx, r->params, &g);
    if (status == LT_OK) {
        lt_t logits, loss = record(r, g, BATCH, &logits);
        status = lt_optimizer_fused(optimizer, g, loss);
        if (status == LT_OK) status = lt_compile(g, NULL, 1, &loss, &r->train);
        lt_graph_free(g);
    }
    lt_optimizer_free(optimizer);
    return status;
}

static lt_status build_test(run *r)
{
    lt_graph *g;
    if (lt_graph_create(r->ctx, r->params, &g) != LT_OK) return lt_ctx_status(r->ctx);
    lt_t logits;
    lt_training(g, false);
    record(r, g, TEST_BATCH, &logits);
    lt_status status = lt_compile(g, NULL, 1, &logits, &r->test);
    lt_graph_free(g);
    return status;
}

/* Share of the test images whose class has the largest logit. */
static lt_status test(run *r, double *accuracy)
{
    const lt_arrays *set = r->test_set;
    int64_t right = 0;
    for (int64_t i = 0; i < set->n; i += TEST_BATCH) {
        int64_t rows = set->n - i < TEST_BATCH ? set->n - i : TEST_BATCH;
        memcpy(r->x, set->x + i * set->d, (size_t)(rows * set->d) * sizeof *r->x);
        if (lt_bind(r->test, "x", r->x) || lt_run(r->test)) return lt_ctx_status(r->ctx);
        for (int64_t k = 0; k < rows; k++) {
            const lt_real *z = (const lt_real *)lt_result(r->test, 0) + k * r->cnn.classes;
            int best = 0;
            for (int c = 1; c < r->cnn.classes; c++) best = z[c] > z[best] ? c : best;
            right += best == set->y[i + k];
        }
    }
    *accuracy = (double)right / (double)set->n;
    return LT_OK;
}

static lt_status train(run *r, long epochs)
{
    lt_batches *batches;
    if (lt_batches_create(r->ctx, NULL, r->train_set, BATCH, 1, true, &batches) != LT_OK) return lt_ctx_status(r->ctx);
    lt_schedule schedule;
    lt_schedule_init(&schedule);
    schedule.kind = LT_LR_COSINE, schedule.lr = 4e-3, schedule.warmup_ratio = 0.05;
    int64_t total = epochs * lt_batches_per_epoch(batches);
    double sum = 0, rows = 0, start = now(), accuracy = 0;
    lt_status status = LT_OK;
    for (int64_t step = 1; step <= total && status == LT_OK; step++) {
        lt_batch batch;
        if (lt_batches_next(batches, &batch) || lt_batches_fill_arrays(batches, BATCH, r->x, r->y) ||
            lt_bind(r->train, "x", r->x) || lt_bind(r->train, "y", r->y) || lt_set(r->train, "step", (double)step) ||
            lt_set(r->train, "lr", lt_lr_at(&schedule, step, total)) || lt_run(r->train)) {
            status = lt_ctx_status(r->ctx);
            break;
        }
        sum += *(const lt_real *)lt_result(r->train, 0) * (double)batch.rows;
        rows += (double)batch.rows;
        if (!batch.last) continue;
        double seconds = now() - start;
        status = test(r, &accuracy);
        printf("epoch %lld  loss %.4f  test accuracy %.2f %%  %.0f images/s\n", (long long)batch.epoch + 1, sum / rows,
               100 * accuracy, rows / seconds);
        fflush(stdout);
        sum = rows = 0;
        start = now();
    }
    lt_batches_free(batches);
    return status;
}

static lt_status run_all(run *r, const options *o)
{
    lt_status status = open_data(r, o->data);
    if (status != LT_OK) return status;
    if (!choose_network(r)) {
        fprintf(stderr, "fashion_cnn: %s: square images of one size are wanted\n", o->data);
        return LT_EINVAL;
    }
    r->x = calloc((size_t)(TEST_BATCH * r->train_set->d), sizeof *r->x);
    r->y = calloc(TEST_BATCH, sizeof *r->y);
    status = r->x && r->y ? lt_params_create(r->ctx, &r->params) : LT_ENOMEM;
    if (status == LT_OK) status = lt_cnn_params(r->params, &r->cnn, 1);
    if (status == LT_OK) status = build_train(r);
    if (status == LT_OK) status = build_test(r);
    return status == LT_OK ? train(r, o->epochs) : status;
}

int main(int argc, char **argv)
{
    options o = {.epochs = 3, .data = "/usr/share/datasets/fashion-mnist"};
    int stop = parse(argc, argv, &o);
    if (stop) return stop == 1 ? 0 : stop;
    run r = {.ctx = lt_ctx_create(NULL)};
    if (!r.ctx) return 1;
    if (o.threads > 0) lt_set_threads((int)o.threads);
    int failed = run_all(&r, &o) != LT_OK;
    if (failed && *lt_ctx_message(r.ctx)) fprintf(stderr, "fashion_cnn: %s\n", lt_ctx_message(r.ctx));
    lt_plan_free(r.train);
    lt_plan_free(r.test);
    lt_arrays_free(r.ctx, r.train_set);
    lt_arrays_free(r.ctx, r.test_set);
    lt_params_free(r.params);
    free(r.x);
    free(r.y);
    lt_ctx_free(r.ctx);
    return failed;
}
