/* fashion_int8.c - the network of fashion_cnn.c in 8 bits (or 4): trained in float, folded, trained on with rounded
 * weights and activations, and then run in integers.
 *
 * Batch norms are folded into the convolutions first, so that training rounds the very numbers that ship. A policy,
 * which the network knows nothing of, puts weights on int8 by channel and every layer's input on the 8-bit grid of the
 * range that was observed there. What ships is not simulated: lt_int8_run multiplies bytes. The float network is trained
 * on for as long. Accuracy, time and bytes of both networks are measured in the same run, taking turns. */
#include <lathe/lathe.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCH = 64, TEST_BATCH = 500, TURNS = 5 };

typedef struct options {
    long epochs, more, bits, threads;
    const char *data, *save;
} options;

typedef struct run {
    lt_ctx *ctx;
    lt_params *params, *folded; /* in float; folded and trained on */
    lt_cnn_config cnn;
    lt_quant_policy policy;
    lt_arrays *train_set, *test_set;
    double pixel; /* what a pixel is multiplied with */
    lt_int8 *int8;
    lt_real *x, *logits; /* [all test images, pixels], [.., classes] */
    int32_t *y;          /* [BATCH] */
} run;

static int usage(int status)
{
    fputs("usage: fashion_int8 [--epochs N] [--more N] [--bits 8|4] [--data PATH] [--save FILE] [--threads N]\n"
          "Trains a residual network for N epochs in float (4), then --more N (1) in float and with weights of --bits "
          "(8)\n"
          "and 8-bit activations, runs the latter in integers and compares both. PATH: as in fashion_cnn. FILE: where "
          "the codes go.\n",
          status ? stderr : stdout);
    return status;
}

static int parse(int argc, char **argv, options *o)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) return usage(0), 1;
        if (i + 1 == argc) return usage(2), 2;
        const char *key = argv[i], *value = argv[++i];
        if (strcmp(key, "--epochs") == 0)
            o->epochs = atol(value);
        else if (strcmp(key, "--more") == 0)
            o->more = atol(value);
        else if (strcmp(key, "--bits") == 0)
            o->bits = atol(value);
        else if (strcmp(key, "--threads") == 0)
            o->threads = atol(value);
        else if (strcmp(key, "--data") == 0)
            o->data = value;
        else if (strcmp(key, "--save") == 0)
            o->save = value;
        else
            return usage(2), 2;
    }
    return o->epochs < 1 || o->more < 1 || o->bits < 2 || o->bits > 8 ? (usage(2), 2) : 0;
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
    if (strstr(path, ".csv")) {
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
    const lt_arrays *set = r->train_set, *tests = r->test_set;
    lt_real most = 0;
    for (int64_t i = 0; i < set->n * set->d; i++) most = set->x[i] > most ? set->x[i] : most;
    r->pixel = 1 / (double)most;
    lt_cnn_config_init(&r->cnn);
    r->cnn.height = r->cnn.width = (int64_t)lround(sqrt((double)set->d));
    r->cnn.channels = 1, r->cnn.classes = set->classes, r->cnn.filters = 16, r->cnn.stages = 3, r->cnn.blocks = 1;
    r->x = calloc((size_t)((tests->n + TEST_BATCH) * set->d), sizeof *r->x);
    r->logits = calloc((size_t)((tests->n + TEST_BATCH) * set->classes), sizeof *r->logits);
    r->y = calloc(BATCH, sizeof *r->y);
    return most > 0 && r->cnn.height * r->cnn.width == set->d && tests->d == set->d && r->x && r->logits && r->y;
}

/* Records logits [rows, classes] of pixels that are 0 .. 1 already, and returns their loss. */
static lt_t record(const run *r, lt_graph *g, int64_t rows, double pixel, lt_t *logits)
{
    const lt_cnn_config *c = &r->cnn;
    lt_t x = lt_input(g, "x", LT_F32, 4, (int64_t[]){rows, c->height, c->width, 1});
    lt_t y = lt_index_input(g, "y", 1, (int64_t[]){rows}, -1, (int32_t)c->classes);
    *logits = lt_cnn_logits(g, c, lt_scale(x, pixel));
    return lt_cross_entropy(*logits, y, lt_nil(g));
}

static lt_status build_train(run *r, lt_params *params, const lt_quant_policy *policy, lt_plan **plan)
{
    lt_graph *g;
    lt_optimizer *optimizer;
    lt_optimizer_config config;
    lt_optimizer_config_init(&config); /* AdamW */
    config.weight_decay = policy ? 0 : 0.05;
    if (lt_optimizer_create(r->ctx, params, &config, &optimizer) != LT_OK) return lt_ctx_status(r->ctx);
    lt_status status = lt_graph_create(r->ctx, params, &g);
    if (status == LT_OK) {
        if (policy) lt_qat_attach(g, policy);
        lt_t logits, loss = record(r, g, BATCH, r->pixel, &logits);
        status = lt_optimizer_fused(optimizer, g, loss);
        if (status == LT_OK) status = lt_compile(g, NULL, 1, &loss, plan);
        lt_graph_free(g);
    }
    lt_optimizer_free(optimizer);
    return status;
}

static lt_status build_test(run *r, lt_params *params, const lt_quant_policy *policy, lt_plan **plan)
{
    lt_graph *g;
    if (lt_graph_create(r->ctx, params, &g) != LT_OK) return lt_ctx_status(r->ctx);
    lt_t logits;
    lt_training(g, false);
    if (policy) lt_qat_attach(g, policy);
    record(r, g, TEST_BATCH, 1, &logits);
    lt_status status = lt_compile(g, NULL, 1, &logits, plan);
    lt_graph_free(g);
    return status;
}

/* Logits of all test images by a plan. */
static lt_status evaluate(run *r, lt_plan *plan)
{
    const lt_arrays *set = r->test_set;
    for (int64_t i = 0; i < set->n; i += TEST_BATCH) {
        if (lt_bind(plan, "x", r->x + i * set->d) || lt_run(plan)) return lt_ctx_status(r->ctx);
        memcpy(r->logits + i * r->cnn.classes, lt_result(plan, 0),
               (size_t)(TEST_BATCH * r->cnn.classes) * sizeof *r->logits);
    }
    return LT_OK;
}

/* Share of the test images whose class has the largest logit, in per cent. */
static double accuracy(const run *r)
{
    int64_t right = 0, classes = r->cnn.classes;
    for (int64_t i = 0; i < r->test_set->n; i++) {
        const lt_real *z = r->logits + i * classes;
        int best = 0;
        for (int c = 1; c < classes; c++) best = z[c] > z[best] ? c : best;
        right += best == r->test_set->y[i];
    }
    return 100 * (double)right / (double)r->test_set->n;
}

static lt_status run_epochs(run *r, const char *what, lt_plan *plan, double lr, long epochs)
{
    lt_batches *batches;
    lt_real *x = calloc((size_t)(BATCH * r->train_set->d), sizeof *x);
    if (!x) return LT_ENOMEM;
    lt_status status = lt_batches_create(r->ctx, NULL, r->train_set, BATCH, 1, true, &batches);
    lt_schedule schedule;
    lt_schedule_init(&schedule);
    schedule.kind = LT_LR_COSINE, schedule.lr = lr, schedule.warmup_ratio = 0.05;
    int64_t total = status == LT_OK ? epochs * lt_batches_per_epoch(batches) : 0;
    double sum = 0, rows = 0, start = now();
    for (int64_t step = 1; step <= total && status == LT_OK; step++) {
        lt_batch batch;
        if (lt_batches_next(batches, &batch) || lt_batches_fill_arrays(batches, BATCH, x, r->y) ||
            lt_bind(plan, "x", x) || lt_bind(plan, "y", r->y) || lt_set(plan, "step", (double)step) ||
            lt_set(plan, "lr", lt_lr_at(&schedule, step, total)) || lt_run(plan)) {
            status = lt_ctx_status(r->ctx);
            break;
        }
        sum += *(const lt_real *)lt_result(plan, 0) * (double)batch.rows;
        rows += (double)batch.rows;
        if (!batch.last) continue;
        printf("%s  epoch %lld  loss %.4f  %.0f images/s\n", what, (long long)batch.epoch + 1, sum / rows,
               rows / (now() - start));
        fflush(stdout);
        sum = rows = 0;
        start = now();
    }
    lt_batches_free(total ? batches : NULL);
    free(x);
    return status;
}

static lt_status train(run *r, const char *what, lt_params *params, const lt_quant_policy *policy, double lr,
                       long epochs)
{
    lt_plan *plan = NULL;
    lt_status status = build_train(r, params, policy, &plan);
    if (status == LT_OK) status = run_epochs(r, what, plan, lr, epochs);
    lt_plan_free(plan);
    return status;
}

/* Another set of the same weights. */
static lt_status copy_weights(run *r)
{
    if (lt_params_create(r->ctx, &r->folded) || lt_cnn_params(r->folded, &r->cnn, 1)) return lt_ctx_status(r->ctx);
    for (int i = 0; i < lt_params_count(r->folded); i++) {
        lt_param *to = lt_params_at(r->folded, i);
        memcpy(lt_param_data(to), lt_param_read(lt_params_find(r->params, lt_param_name(to))), lt_param_bytes(to));
        lt_param_touch(to);
    }
    return LT_OK;
}

static double weight_bytes(const lt_params *params)
{
    double bytes = 0;
    for (int i = 0; i < lt_params_count(params); i++) {
        const lt_param *p = lt_params_at(params, i);
        if (lt_param_role(p) == LT_WEIGHT) bytes += 4.0 * (double)lt_param_count(p);
    }
    return bytes;
}

static int by_size(const void *a, const void *b)
{
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

/* Takes turns, so that what else the machine does meets both. */
static lt_status compare(run *r, lt_plan *real, lt_plan *simulated)
{
    double seconds[2][TURNS], right[3];
    int64_t n = r->test_set->n;
    if (evaluate(r, simulated) != LT_OK) return lt_ctx_status(r->ctx);
    right[2] = accuracy(r);
    for (int turn = -1; turn < TURNS; turn++) { /* the first one warms up */
        double start = now();
        if (evaluate(r, real) != LT_OK) return lt_ctx_status(r->ctx);
        if (turn >= 0) seconds[0][turn] = now() - start;
        right[0] = accuracy(r);
        start = now();
        if (lt_int8_run(r->int8, n, r->x, NULL, r->logits) != LT_OK) return lt_ctx_status(r->ctx);
        if (turn >= 0) seconds[1][turn] = now() - start;
        right[1] = accuracy(r);
    }
    for (int k = 0; k < 2; k++) qsort(seconds[k], TURNS, sizeof(double), by_size);
    double slow = seconds[0][TURNS / 2], fast = seconds[1][TURNS / 2], bytes = weight_bytes(r->params);
    double less = (double)lt_int8_bytes(r->int8);
    printf("\n             accuracy   images/s      bytes\n"
           "float        %6.2f %%  %9.0f  %9.0f\n"
           "integers     %6.2f %%  %9.0f  %9.0f   (%s)\n"
           "difference   %+6.2f     %8.2fx  %8.3fx\n"
           "simulated    %6.2f %%\n",
           right[0], (double)n / slow, bytes, right[1], (double)n / fast, less, lt_int8_provider(r->int8),
           right[1] - right[0], slow / fast, less / bytes, right[2]);
    return LT_OK;
}

static lt_status quantize_and_compare(run *r, const options *o)
{
    lt_plan *real = NULL, *simulated = NULL;
    lt_quant_policy_init(&r->policy);
    r->policy.weights = (lt_scheme){.kind = LT_SCHEME_INT, .bits = (int)o->bits, .per = LT_PER_CHANNEL};
    r->policy.activations = LT_ACT_INT8_STATIC;
    lt_status status = copy_weights(r);
    if (status == LT_OK) status = lt_cnn_fold(r->folded, &r->cnn);
    if (status == LT_OK) status = lt_qat_prepare(r->folded, &r->policy);
    if (status == LT_OK) status = train(r, "rounded", r->folded, &r->policy, 4e-4, o->more);
    if (status == LT_OK) status = train(r, "float, too", r->params, NULL, 4e-4, o->more);
    if (status == LT_OK) status = lt_int8_cnn(r->folded, &r->cnn, &r->policy, 0, &r->int8);
    if (status == LT_OK) status = build_test(r, r->params, NULL, &real);
    if (status == LT_OK) status = build_test(r, r->folded, &r->policy, &simulated);
    if (status == LT_OK) status = compare(r, real, simulated);
    lt_plan_free(real);
    lt_plan_free(simulated);
    return status;
}

static lt_status save(run *r, const char *path)
{
    lt_int8_proof proof;
    lt_int8 *back;
    lt_status status = lt_int8_save(r->int8, path, &proof);
    if (status == LT_OK) status = lt_int8_open(r->ctx, path, 0, &back);
    if (status != LT_OK) return status;
    status = lt_int8_run(back, r->test_set->n, r->x, NULL, r->logits);
    printf("%s: %lld codes in %lld tensors read back and equal; the file's accuracy %.2f %%\n", path,
           (long long)proof.codes, (long long)proof.tensors, accuracy(r));
    lt_int8_free(back);
    return status;
}

static lt_status run_all(run *r, const options *o)
{
    lt_status status = open_data(r, o->data);
    if (status != LT_OK) return status;
    if (!choose_network(r)) {
        fprintf(stderr, "fashion_int8: %s: square images of one size are wanted\n", o->data);
        return LT_EINVAL;
    }
    for (int64_t i = 0; i < r->test_set->n * r->test_set->d; i++)
        r->x[i] = (lt_real)((double)r->test_set->x[i] * r->pixel);
    status = lt_params_create(r->ctx, &r->params);
    if (status == LT_OK) status = lt_cnn_params(r->params, &r->cnn, 1);
    if (status == LT_OK) status = train(r, "float", r->params, NULL, 4e-3, o->epochs);
    if (status == LT_OK) status = quantize_and_compare(r, o);
    return status == LT_OK && o->save ? save(r, o->save) : status;
}

int main(int argc, char **argv)
{
    options o = {.epochs = 4, .more = 1, .bits = 8, .data = "/usr/share/datasets/fashion-mnist"};
    int stop = parse(argc, argv, &o);
    if (stop) return stop == 1 ? 0 : stop;
    run r = {.ctx = lt_ctx_create(NULL)};
    if (!r.ctx) return 1;
    if (o.threads > 0) lt_set_threads((int)o.threads);
    int failed = run_all(&r, &o) != LT_OK;
    if (failed && *lt_ctx_message(r.ctx)) fprintf(stderr, "fashion_int8: %s\n", lt_ctx_message(r.ctx));
    lt_int8_free(r.int8);
    lt_arrays_free(r.ctx, r.train_set);
    lt_arrays_free(r.ctx, r.test_set);
    lt_params_free(r.params);
    lt_params_free(r.folded);
    free(r.x);
    free(r.logits);
    free(r.y);
    lt_ctx_free(r.ctx);
    return failed;
}
