/* test_training_goldens.c - ten steps of convolutional and recurrent networks with each optimizer against
 * tests/golden/trainings.json, which scripts/goldens_trainings.py made in float64: losses, norms of gradients, the loss
 * in evaluation (of the averages too, where there are any), and what became of weights and running statistics.
 *
 * Every case runs with the update in a plan of its own and, unless it clips, fused into the backward. */
#include "lathe/models.h"
#include "lathe/optim.h"
#include "tests/golden.h"
#include "tests/toys.h"

#include <stdlib.h>
#include <string.h>

enum { BATCHES = 2 };

typedef struct trainer {
    const json_t *json, *run;
    ts_bed bed;
    bool split, is_cnn;
    char what[96];
    double tolerance;
    lt_cnn_config cnn;
    lt_rnn_config rnn;
    lt_optimizer *optimizer;
    lt_plan *step, *update, *evaluation;
    void *x[BATCHES]; /* lt_real, or int32 for tokens */
    int32_t *targets[BATCHES], *last[BATCHES];
} trainer;

static int64_t whole(const json_t *object, const char *key)
{
    return (int64_t)gd_number(object, key);
}

static bool is_set(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

/* ---- The network ---- */

static lt_status make_params(trainer *r)
{
    const json_t *c = json_object_get(r->json, "config");
    r->is_cnn = strcmp(gd_text(r->json, "network"), "cnn") == 0;
    if (r->is_cnn) {
        lt_cnn_config_init(&r->cnn);
        r->cnn.kind = is_set(c, "depthwise") ? LT_CNN_DEPTHWISE : LT_CNN_RESIDUAL;
        r->cnn.height = whole(c, "height"), r->cnn.width = whole(c, "width");
        r->cnn.channels = whole(c, "channels"), r->cnn.classes = whole(c, "classes");
        r->cnn.filters = whole(c, "filters"), r->cnn.stages = whole(c, "stages"), r->cnn.blocks = whole(c, "blocks");
        r->cnn.norm_eps = gd_number(c, "norm_eps"), r->cnn.norm_momentum = gd_number(c, "norm_momentum");
        return lt_cnn_params(r->bed.params, &r->cnn, 1);
    }
    lt_rnn_config_init(&r->rnn);
    r->rnn.kind = is_set(c, "gru") ? LT_RNN_GRU : LT_RNN_LSTM;
    r->rnn.vocab = whole(c, "vocab"), r->rnn.inputs = whole(c, "inputs"), r->rnn.dim = whole(c, "dim");
    r->rnn.hidden = whole(c, "hidden"), r->rnn.layers = whole(c, "layers"), r->rnn.classes = whole(c, "classes");
    return lt_rnn_params(r->bed.params, &r->rnn, 1);
}

static bool fill_params(trainer *r)
{
    const json_t *tensor, *list = json_object_get(r->json, "tensors");
    size_t i;
    int n = lt_params_count(r->bed.params);
    bool fine =
        TS_CHECK((int)json_array_size(list) == n, "%s: %d tensors, PyTorch has %zu", r->what, n, json_array_size(list));
    json_array_foreach(list, i, tensor)
    {
        int64_t shape[LT_MAX_RANK];
        int rank = gd_shape(tensor, "shape", shape);
        const char *name = gd_text(tensor, "name");
        lt_param *p = lt_params_find(r->bed.params, name);
        if (!TS_CHECK(p && lt_param_rank(p) == rank && !memcmp(lt_param_shape(p), shape, (size_t)rank * sizeof *shape),
                      "%s: '%s' is there and has PyTorch's shape", r->what, name)) {
            fine = false;
            continue;
        }
        gd_fill(lt_param_data(p), lt_param_count(p), (uint32_t)i, gd_number(tensor, "scale"), is_set(tensor, "gain"));
        lt_param_touch(p);
    }
    return fine;
}

static void make_batch(trainer *r, int b, uint32_t stream)
{
    const json_t *x = json_object_get(r->json, "input"), *y = json_object_get(r->json, "targets");
    int64_t shape[LT_MAX_RANK], n = gd_count(gd_shape(x, "shape", shape), shape), B = shape[0], T = shape[1];
    uint32_t vocab = (uint32_t)gd_number(x, "bound"), mask_bound = (uint32_t)gd_number(y, "mask_bound");
    r->x[b] = calloc((size_t)n, vocab ? sizeof(int32_t) : sizeof(lt_real));
    if (vocab)
        gd_fill_int(r->x[b], n, stream, vocab);
    else
        gd_fill(r->x[b], n, stream, 1, false);
    n = gd_count(gd_shape(y, "shape", shape), shape);
    r->targets[b] = calloc((size_t)n, sizeof(int32_t));
    gd_fill_int(r->targets[b], n, stream + 1, (uint32_t)gd_number(y, "bound"));
    int32_t *mask = calloc((size_t)n, sizeof *mask);
    if (mask_bound) gd_fill_int(mask, n, stream + 2, mask_bound);
    for (int64_t i = 0; i < n && mask_bound; i++)
        if (mask[i] == 0) r->targets[b][i] = -1;
    free(mask);
    r->last[b] = calloc((size_t)B, sizeof(int32_t));
    gd_fill_int(r->last[b], B, stream + 3, (uint32_t)T);
    for (int64_t i = 0; i < B; i++) r->last[b][i] += (int32_t)(i * T);
}

static lt_t record_loss(trainer *r, double smoothing)
{
    lt_graph *g = r->bed.g;
    const json_t *x = json_object_get(r->json, "input"), *y = json_object_get(r->json, "targets");
    int64_t shape[LT_MAX_RANK], wanted[LT_MAX_RANK];
    int rank = gd_shape(x, "shape", shape), targets_rank = gd_shape(y, "shape", wanted);
    int32_t vocab = (int32_t)gd_number(x, "bound");
    lt_t in = vocab ? lt_index_input(g, "x", rank, shape, 0, vocab) : lt_input(g, "x", LT_F32, rank, shape);
    lt_t targets = lt_index_input(g, "targets", targets_rank, wanted, -1, (int32_t)gd_number(y, "bound"));
    if (r->is_cnn) return lt_cross_entropy_smooth(lt_cnn_logits(g, &r->cnn, in), targets, lt_nil(g), smoothing);
    lt_t last = lt_nil(g);
    if (is_set(r->json, "ends")) last = lt_index_input(g, "last", 1, shape, 0, (int32_t)(shape[0] * shape[1]));
    return lt_rnn_loss(g, &r->rnn, in, targets, last, lt_nil(g), smoothing);
}

/* ---- Training ---- */

static lt_status make_optimizer(trainer *r)
{
    lt_optimizer_config config;
    lt_optimizer_config_init(&config);
    TS_CHECK(lt_optimizer_parse(gd_text(r->run, "optimizer"), &config.kind), "%s: its optimizer is known", r->what);
    config.weight_decay = gd_number(r->run, "weight_decay");
    config.max_grad_norm = gd_number(r->run, "clip_norm");
    config.momentum = gd_number(r->run, "momentum");
    config.nesterov = is_set(r->run, "nesterov");
    config.layer_decay = gd_number(r->run, "layer_decay");
    config.ema_decay = gd_number(r->run, "ema_decay");
    return lt_optimizer_create(r->bed.ctx, r->bed.params, &config, &r->optimizer);
}

/* The plan of the evaluation first, since training adds nothing to what it reads. */
static bool make_plans(trainer *r)
{
    ts_bed *b = &r->bed;
    lt_training(b->g, false);
    lt_t loss = record_loss(r, 0);
    if (!TS_OK(b->ctx, ts_compile(b->g, TS_PLANNED, 1, &loss, &r->evaluation)) || !ts_bed_again(b)) return false;
    loss = record_loss(r, gd_number(r->run, "smoothing"));
    if (!r->split)
        return TS_OK(b->ctx, lt_optimizer_fused(r->optimizer, b->g, loss)) &&
               TS_OK(b->ctx, ts_compile(b->g, TS_PLANNED, 1, &loss, &r->step));
    if (!TS_OK(b->ctx, lt_optimizer_accumulate(r->optimizer, b->g, loss)) ||
        !TS_OK(b->ctx, ts_compile(b->g, TS_PLANNED, 1, &loss, &r->step)) || !ts_bed_again(b) ||
        !TS_OK(b->ctx, lt_optimizer_apply(r->optimizer, b->g)))
        return false;
    lt_t norm = lt_tapped(b->g, "grad_norm");
    return TS_OK(b->ctx, ts_compile(b->g, TS_PLANNED, 1, &norm, &r->update));
}

/* Binds batch b and runs; *value receives the first result. */
static bool run_batch(trainer *r, lt_plan *plan, int b, double *value)
{
    lt_ctx *ctx = r->bed.ctx;
    if (!TS_OK(ctx, lt_bind(plan, "x", r->x[b])) || !TS_OK(ctx, lt_bind(plan, "targets", r->targets[b])) ||
        (is_set(r->json, "ends") && !TS_OK(ctx, lt_bind(plan, "last", r->last[b]))) || !TS_OK(ctx, lt_run(plan)))
        return false;
    *value = (double)*(const lt_real *)lt_result(plan, 0);
    return true;
}

static bool one_step(trainer *r, size_t i)
{
    lt_ctx *ctx = r->bed.ctx;
    lt_plan *writes = r->split ? r->update : r->step;
    double loss, want = json_number_value(json_array_get(json_object_get(r->run, "losses"), i));
    if (!TS_OK(ctx, lt_set(writes, "lr", gd_number(r->run, "lr"))) ||
        (lt_plan_has(writes, "step") && !TS_OK(ctx, lt_set(writes, "step", (double)i + 1))) ||
        (r->split && !TS_OK(ctx, lt_set(r->step, "fresh", 1))) || !run_batch(r, r->step, (int)(i % BATCHES), &loss))
        return false;
    gd_near(loss, want, r->tolerance, "%s: loss %zu", r->what, i + 1);
    if (!r->split) return true;
    if (!TS_OK(ctx, lt_run(r->update))) return false;
    gd_near((double)*(const lt_real *)lt_result(r->update, 0),
            json_number_value(json_array_get(json_object_get(r->run, "norms"), i)), 10 * r->tolerance, "%s: norm %zu",
            r->what, i + 1);
    return true;
}

/* ---- Judging what came out ---- */

static void judge_sums(const trainer *r, const json_t *tensor, const char *key, const char *suffix)
{
    const json_t *want = json_object_get(tensor, key);
    char name[128];
    snprintf(name, sizeof name, "%s%s", gd_text(tensor, "name"), suffix);
    const lt_param *p = lt_params_find(r->bed.params, name);
    if (!TS_CHECK(p != NULL, "%s: there is '%s'", r->what, name)) return;
    const lt_real *w = lt_param_read(p);
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < lt_param_count(p); i++) sum += (double)w[i], squares += (double)w[i] * (double)w[i];
    gd_near(sum, json_number_value(json_array_get(want, 0)), 10 * r->tolerance, "%s: sum of %s", r->what, name);
    gd_near(squares, json_number_value(json_array_get(want, 1)), 10 * r->tolerance, "%s: sum of squares of %s", r->what,
            name);
}

static void judge_end(trainer *r)
{
    const json_t *tensor, *of_average = json_object_get(r->run, "evaluated_average");
    double loss = 0, averaged = 0, again = 0;
    size_t i;
    if (!run_batch(r, r->evaluation, 0, &loss)) return;
    gd_near(loss, gd_number(r->run, "evaluated"), r->tolerance, "%s: evaluated", r->what);
    json_array_foreach(json_object_get(r->json, "tensors"), i, tensor)
    {
        judge_sums(r, tensor, "final", "");
        if (json_object_get(tensor, "average")) judge_sums(r, tensor, "average", ":ema");
    }
    if (!of_average) return;
    lt_optimizer_swap_ema(r->optimizer);
    if (run_batch(r, r->evaluation, 0, &averaged))
        gd_near(averaged, json_number_value(of_average), r->tolerance, "%s: averages evaluated", r->what);
    lt_optimizer_swap_ema(r->optimizer);
    TS_CHECK(run_batch(r, r->evaluation, 0, &again) && again == loss, "%s: the weights are back: %.17g, before %.17g",
             r->what, again, loss);
}

static void train(const json_t *c, bool split)
{
    trainer r = {.json = c, .run = json_object_get(c, "run"), .split = split};
    const char *kind = gd_text(r.run, "optimizer");
    const json_t *losses = json_object_get(r.run, "losses");
    r.tolerance = ts_tolerance(1e-9, strcmp(kind, "sgd") == 0 ? 1e-5 : 1e-4);
    snprintf(r.what, sizeof r.what, "%s, %s, %s", gd_text(c, "name"), kind, split ? "split" : "fused");
    if (!ts_bed_make(&r.bed)) return;
    uint32_t streams = (uint32_t)json_array_size(json_object_get(c, "tensors"));
    for (int b = 0; b < BATCHES; b++) make_batch(&r, b, streams + 4 * (uint32_t)b);
    if (TS_OK(r.bed.ctx, make_params(&r)) && fill_params(&r) && TS_OK(r.bed.ctx, make_optimizer(&r)) &&
        make_plans(&r)) {
        size_t i = 0;
        while (i < json_array_size(losses) && one_step(&r, i)) i++;
        TS_CHECK(i == 10, "%s: %zu of 10 steps", r.what, i);
        judge_end(&r);
    }
    lt_plan_free(r.step);
    lt_plan_free(r.update);
    lt_plan_free(r.evaluation);
    lt_optimizer_free(r.optimizer);
    for (int b = 0; b < BATCHES; b++) {
        free(r.x[b]);
        free(r.targets[b]);
        free(r.last[b]);
    }
    ts_bed_drop(&r.bed);
}

static void trainings(void)
{
    json_t *root = gd_load("trainings.json"), *c;
    size_t i;
    TS_CHECK(json_array_size(json_object_get(root, "cases")) == 7, "the file has seven cases");
    json_array_foreach(json_object_get(root, "cases"), i, c)
    {
        train(c, true);
        if (gd_number(json_object_get(c, "run"), "clip_norm") == 0) train(c, false);
    }
    json_decref(root);
}

int lti_suite_training_goldens(void)
{
    return ts_suite("training_goldens", 1, (ts_test[]){{"trainings", trainings}}) || toy_one_thread("training_goldens");
}
