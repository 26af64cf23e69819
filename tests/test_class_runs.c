/* test_class_runs.c - training and evaluating on rows with classes: what is learned, bits after an interruption, a batch
 * filled ahead, averages, types, refusals. */
#include "tests/toy_run.h"
#include "train/loader.h"

#include <math.h>

/* ---- Data and runs ---- */

/* The digits as images of 8 x 8 from 0 to 1; a fifth is held back. */
static bool digits(lt_ctx *ctx, lt_dataset **train, lt_dataset **valid)
{
    lt_arrays *all = NULL, *parts[2] = {NULL, NULL};
    *train = *valid = NULL;
    if (TS_OK(ctx, lt_arrays_open(ctx, "examples/data/digits.csv.gz", &all)) &&
        TS_OK(ctx, lt_arrays_split(ctx, all, 0.2, 1, &parts[0], &parts[1])))
        for (int k = 0; k < 2; k++) {
            for (int64_t i = 0; i < parts[k]->n * parts[k]->d; i++) parts[k]->x[i] /= 16;
            parts[k]->rank = 2, parts[k]->shape[0] = parts[k]->shape[1] = 8;
            TS_OK(ctx, lt_dataset_from_arrays(ctx, parts[k], k ? valid : train));
        }
    lt_arrays_free(ctx, all);
    lt_arrays_free(ctx, parts[0]);
    lt_arrays_free(ctx, parts[1]);
    return *train && *valid;
}

/* Texts of random letters whose class is whether an 'x' stands before any 'y'; lengths differ. */
static bool letters(lt_ctx *ctx, lt_tokenizer *tok, lt_dataset **train, lt_dataset **valid)
{
    ts_place p = ts_open_place();
    static char text[40000];
    size_t n = (size_t)snprintf(text, sizeof text, "text,label\n");
    for (int row = 0; row < 400; row++) {
        int length = 3 + (int)(ts_uniform("length", row) * 40), at = (int)(ts_uniform("at", row) * length);
        for (int i = 0; i < length; i++)
            text[n++] = i == at ? "xy"[row & 1] : (char)('a' + (int)(ts_uniform("letter", row * 64 + i) * 20));
        n += (size_t)snprintf(text + n, sizeof text - n, ",%s\n", row & 1 ? "has y" : "has x");
    }
    lt_dataset_options o;
    lt_dataset_options_init(&o);
    const char *path = ts_put(&p, "letters.csv", text, n);
    o.split = LT_SPLIT_TRAIN;
    *train = *valid = NULL;
    TS_OK(ctx, lt_dataset_open_labelled(ctx, path, tok, &o, NULL, train));
    o.split = LT_SPLIT_VALID;
    TS_OK(ctx, lt_dataset_open_labelled(ctx, path, tok, &o, *train, valid));
    ts_close_place(&p);
    return *train && *valid;
}

static lt_train_config quiet(int64_t steps, int64_t batch)
{
    lt_train_config c;
    lt_train_config_init(&c);
    c.steps = steps, c.batch_size = batch, c.learning_rate = 4e-3;
    return c;
}

typedef struct told {
    double loss[MOST_LINES], accuracy;
    int lines;
    char compute[8], note[64], sample[80];
    int64_t classes;
    volatile int stop;
    int64_t stop_after;
} told;

static void on_start(void *user, const lt_train_start *start)
{
    told *t = user;
    snprintf(t->compute, sizeof t->compute, "%s", start->compute);
    snprintf(t->note, sizeof t->note, "%s", start->compute_note);
    snprintf(t->sample, sizeof t->sample, "%s", start->sample);
    t->classes = start->classes;
}

static void on_progress(void *user, const lt_train_progress *p)
{
    told *t = user;
    if (t->lines < MOST_LINES) t->loss[t->lines++] = p->loss;
    t->accuracy = p->accuracy;
    if (p->step == t->stop_after) t->stop = 1;
}

/* A new model for the data, trained; `t` (may be NULL) hears. */
static lt_status train_new(lt_ctx *ctx, const char *init, const lt_dataset *train, const lt_dataset *valid,
                           lt_train_config c, told *t, lt_model **model, lt_train_result *result)
{
    *model = NULL;
    LTI_TRY(lt_model_create_for(ctx, init, NULL, train, 5, model));
    if (t) {
        t->lines = 0, t->stop = 0;
        c.user = t, c.on_start = on_start, c.on_progress = on_progress, c.stop = &t->stop;
    }
    return lt_train(*model, train, valid, &c, result);
}

/* ---- Learning ---- */

/* What training says of validation is what evaluation says of the model. */
static void learns(lt_ctx *ctx, const char *init, const lt_dataset *train, const lt_dataset *valid, lt_train_config c,
                   double least)
{
    lt_model *m;
    lt_train_result r;
    lt_eval_result e;
    told t = {.lines = 0};
    if (TS_OK(ctx, train_new(ctx, init, train, valid, c, &t, &m, &r)) &&
        TS_OK(ctx, lt_evaluate(m, valid, NULL, 0, &e))) {
        TS_CHECK(e.accuracy > least, "%s: accuracy %g", init, e.accuracy);
        TS_CHECK(e.nll == r.valid_loss && e.accuracy == r.accuracy && t.accuracy == r.accuracy, "%s: %.9g is not %.9g",
                 init, e.nll, r.valid_loss);
        TS_CHECK(e.tokens == lt_dataset_rows(valid) && t.classes == lt_dataset_classes(train), "%s: counts", init);
        TS_CHECK(r.last_loss < r.first_loss, "%s: the loss falls from %g to %g", init, r.first_loss, r.last_loss);
    }
    lt_model_free(m);
}

static void digits_are_learned(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_dataset *train, *valid;
    if (!digits(ctx, &train, &valid)) return;
    learns(ctx, "mlp:hidden=64", train, valid, quiet(160, 32), 0.9);
    lt_train_config c = quiet(100, 32);
    c.grad_accumulation_steps = 2;
    learns(ctx, "cnn:filters=16", train, valid, c, 0.9);
    c = quiet(200, 32);
    c.max_grad_norm = 0, c.label_smoothing = 0.1;
    learns(ctx, "cnn:filters=16,blocks=2,depthwise=1", train, valid, c, 0.9);
    c = quiet(300, 32), c.learning_rate = 1e-2;
    learns(ctx, "lstm:hidden=48", train, valid, c, 0.9);
    learns(ctx, "gru:hidden=48", train, valid, c, 0.9);
    lt_dataset_free(train);
    lt_dataset_free(valid);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

static void texts_are_learned(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_tokenizer *tok;
    lt_dataset *train, *valid;
    if (!TS_OK(ctx, lt_tokenizer_bytes(ctx, &tok)) || !letters(ctx, tok, &train, &valid)) return;
    lt_train_config c = quiet(150, 16);
    c.learning_rate = 1e-2;
    learns(ctx, "lstm:dim=16,hidden=32", train, valid, c, 0.9);
    c.learning_rate = 3e-3;
    learns(ctx, "bert:layers=1,dim=32,hidden=64,heads=4,context=64", train, valid, c, 0.9);
    lt_dataset_free(train);
    lt_dataset_free(valid);
    lt_tokenizer_free(tok);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

/* A row's loss does not depend on what it is padded with or stands beside. */
static void padding_is_not_seen(void)
{
    static const char *const inits[] = {"lstm:dim=16,hidden=32", "bert:layers=2,dim=32,hidden=64,heads=4,context=64"};
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_tokenizer *tok;
    lt_dataset *train, *valid;
    if (!TS_OK(ctx, lt_tokenizer_bytes(ctx, &tok)) || !letters(ctx, tok, &train, &valid)) return;
    for (int i = 0; i < LTI_COUNT(inits); i++) {
        lt_model *m = NULL;
        lt_eval_result one, many;
        TS_OK(ctx, lt_model_create_for(ctx, inits[i], NULL, train, 3, &m));
        TS_OK(ctx, lt_evaluate(m, valid, NULL, 1, &one));
        TS_OK(ctx, lt_evaluate(m, valid, NULL, 32, &many));
        TS_CHECK(fabs(one.nll - many.nll) < ts_tolerance(1e-12, 1e-6) && one.accuracy == many.accuracy,
                 "%s: %.9g alone, %.9g together", inits[i], one.nll, many.nll);
        lt_model_free(m);
    }
    lt_dataset_free(train);
    lt_dataset_free(valid);
    lt_tokenizer_free(tok);
    lt_ctx_free(ctx);
}

/* ---- Bits ---- */

static const char *const optimizers[] = {"adamw", "lion"};

/* Stopped after steps 3 and 7 of 12, of which 7 lies within an epoch and in no multiple of save_every. */
static void resumed_bits(lt_ctx *ctx, ts_place *p, const char *init, const lt_dataset *train, const lt_dataset *valid,
                         lt_train_config c)
{
    char whole_out[256], parts_out[256];
    snprintf(whole_out, sizeof whole_out, "%s", ts_at(p, "whole"));
    snprintf(parts_out, sizeof parts_out, "%s", ts_at(p, "parts"));
    lt_model *whole = NULL, *parts = NULL;
    lt_train_result one, two;
    told t = {.lines = 0};
    c.out = whole_out, c.save_every = 5, c.eval_every = 4;
    TS_OK(ctx, train_new(ctx, init, train, valid, c, &t, &whole, &one));
    c.out = parts_out;
    for (int i = 0; i < 2; i++) {
        t.stop_after = i ? 7 : 3;
        TS_REFUSED(ctx, train_new(ctx, init, train, valid, c, &t, &parts, &two), LT_EINTERRUPTED,
                   "the checkpoint is in");
        lt_model_free(parts);
    }
    t.stop_after = 0;
    TS_OK(ctx, train_new(ctx, init, train, valid, c, &t, &parts, &two));
    toy_same_weights(whole, parts, init);
    toy_same_metrics(whole_out, parts_out, init);
    TS_CHECK(one.valid_loss == two.valid_loss && one.accuracy == two.accuracy && one.last_loss == two.last_loss,
             "%s: the results are the same", init);
    lt_model_free(whole);
    lt_model_free(parts);
    TS_OK(ctx, lti_remove_tree(ctx, whole_out));
    TS_OK(ctx, lti_remove_tree(ctx, parts_out));
}

static void bits_after_interruption(void)
{
    ts_place p = ts_open_place();
    lt_dataset *train, *valid;
    if (!digits(p.ctx, &train, &valid)) return;
    for (int i = 0; i < LTI_COUNT(optimizers); i++) {
        lt_train_config c = quiet(12, 40);
        c.ema_decay = 0.9, c.optimizer = optimizers[i], c.label_smoothing = 0.05, c.layer_decay = 0.8;
        if (i) c.max_grad_norm = 0;
        resumed_bits(p.ctx, &p, "cnn:filters=8,stages=2", train, valid, c);
    }
    resumed_bits(p.ctx, &p, "lstm:hidden=16", train, valid, quiet(12, 40));
    lt_dataset_free(train);
    lt_dataset_free(valid);
    ts_close_place(&p);
}

/* A thread that fills batches ahead changes no bit, over the border of an epoch too. */
static void same_with_and_without(lt_ctx *ctx, const char *init, const lt_dataset *train, const lt_dataset *valid,
                                  lt_train_config c)
{
    lt_model *with = NULL, *without = NULL;
    lt_train_result r;
    told one = {.lines = 0}, two = {.lines = 0};
    c.eval_every = 5;
    TS_OK(ctx, train_new(ctx, init, train, valid, c, &one, &with, &r));
    c.prefetch = false;
    TS_OK(ctx, train_new(ctx, init, train, valid, c, &two, &without, &r));
    TS_CHECK(one.lines == two.lines && one.lines > 5 &&
                 ts_same_bytes((size_t)one.lines * sizeof *one.loss, one.loss, two.loss),
             "%s: the losses are the same", init);
    toy_same_weights(with, without, init);
    lt_model_free(with);
    lt_model_free(without);
}

static void bits_with_a_batch_ahead(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_tokenizer *tok;
    lt_dataset *train, *valid;
    if (!TS_OK(ctx, lt_tokenizer_bytes(ctx, &tok)) || !letters(ctx, tok, &train, &valid)) return;
    lt_train_config c = quiet(20, 24);
    c.grad_accumulation_steps = 3;
    same_with_and_without(ctx, "gru:dim=8,hidden=8", train, valid, c);
    same_with_and_without(ctx, "bert:layers=1,dim=16,hidden=16,heads=2,context=64", train, valid, c);
    lt_dataset_free(train);
    lt_dataset_free(valid);
    if (digits(ctx, &train, &valid)) same_with_and_without(ctx, "cnn:filters=4,stages=2", train, valid, quiet(10, 300));
    lt_dataset_free(train);
    lt_dataset_free(valid);
    lt_model *m = toy_model(ctx, TOY_INIT, 1);
    train = toy_text(ctx, m, LT_SPLIT_TRAIN), valid = toy_text(ctx, m, LT_SPLIT_VALID);
    same_with_and_without(ctx, "llama:layers=1,dim=16,hidden=16,heads=2", train, valid, quiet(12, 4));
    same_with_and_without(ctx, "lstm:dim=8,hidden=8", train, valid, quiet(12, 4));
    lt_dataset_free(train);
    lt_dataset_free(valid);
    lt_model_free(m);
    lt_tokenizer_free(tok);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

/* What is taken is what was chosen, whether it was asked for or not. */
static void loader(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_dataset *train, *valid;
    lt_batches *batches;
    lti_loader *l;
    lt_real *x = calloc(32 * 64, sizeof *x);
    int32_t y[32];
    if (!digits(ctx, &train, &valid) || !TS_OK(ctx, lt_batches_create(ctx, valid, NULL, 32, 9, true, &batches))) return;
    lti_row_layout layout = {.kind = LT_DATA_NUMBERS, .classes = 10, .rank = 2, .shape = {8, 8}, .d = 64};
    if (TS_OK(ctx, lti_loader_create(ctx, &layout, valid, 32, 1, true, &l))) {
        for (int i = 0; i < 40; i++) {
            lt_batch batch, next;
            TS_OK(ctx, lt_batches_next(batches, &batch));
            TS_OK(ctx, lt_batches_fill_numbers(batches, batch.rows, x, y));
            const lti_feed *feed = lti_loader_take(l, &batch, 1);
            TS_CHECK(!memcmp(feed->x, x, (size_t)batch.rows * 64 * sizeof *x) &&
                         !memcmp(feed->targets, y, (size_t)batch.rows * sizeof *y),
                     "batch %d", i);
            lt_cursor here = lt_batches_cursor(batches);
            if (i % 4 == 3) continue; /* nothing asked for */
            TS_OK(ctx, lt_batches_next(batches, &next));
            if (i % 4 == 2) TS_OK(ctx, lt_batches_next(batches, &next)); /* another than is taken */
            lti_loader_ask(l, &next, 1);
            if (i % 8 == 0) lti_loader_ask(l, &next, 1);
            TS_OK(ctx, lt_batches_seek(batches, here));
        }
        TS_CHECK(lti_loader_hits(l) == 20, "%lld hits", (long long)lti_loader_hits(l));
        lti_loader_free(l);
    }
    lt_batches_free(batches);
    lt_dataset_free(train);
    lt_dataset_free(valid);
    free(x);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

/* ---- Options ---- */

static const lt_real *weight(const lt_model *m, const char *name)
{
    const lt_param *p = lt_params_find(lt_model_params(m), name);
    return TS_CHECK(p != NULL, "'%s' is there", name) ? lt_param_read(p) : NULL;
}

/* The weights that remain are the averages: w_avg = d w_avg + (1 - d) w, step by step. */
static void averages_are_saved(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_dataset *train, *valid;
    lt_model *m;
    lt_train_result r;
    if (!digits(ctx, &train, &valid)) return;
    double average = NAN, raw = 0;
    for (int64_t steps = 0; steps <= 4; steps++) { /* a constant rate: each run is the beginning of the next */
        lt_train_config c = quiet(steps, 16);
        c.lr_schedule = "constant", c.warmup_ratio = 0, c.ema_decay = 0.75;
        if (steps == 0) {
            TS_OK(ctx, lt_model_create_for(ctx, "mlp:hidden=8", NULL, train, 5, &m));
            average = (double)weight(m, "fc1.weight")[20];
        } else if (TS_OK(ctx, train_new(ctx, "mlp:hidden=8", train, valid, c, NULL, &m, &r))) {
            raw = (double)weight(m, "fc1.weight:ema")[20];
            average = 0.75 * average + 0.25 * raw;
            double got = (double)weight(m, "fc1.weight")[20];
            TS_CHECK(fabs(got - average) < 1e-6 && got != raw, "after %lld steps %.9g, not %.9g", (long long)steps, got,
                     average);
        }
        lt_model_free(m);
    }
    lt_dataset_free(train);
    lt_dataset_free(valid);
    lt_ctx_free(ctx);
}

/* Options that would do nothing, or cannot go together. */
static void options_without_effect(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_dataset *train, *valid;
    lt_model *m = NULL;
    lt_train_result r;
    if (!digits(ctx, &train, &valid)) return;
    lt_train_config c = quiet(2, 8);
    c.frozen_type = "bf16";
    TS_REFUSED(ctx, train_new(ctx, "mlp:", train, valid, c, NULL, &m, &r), LT_EINVAL, "no matrix is frozen");
    lt_model_free(m);
    c.freeze = "fc1.*", c.quant.weights.type = LT_Q8_0;
    TS_REFUSED(ctx, train_new(ctx, "mlp:", train, valid, c, NULL, &m, &r), LT_EINVAL, "exclude each other");
    lt_model_free(m);
    c = quiet(2, 8), c.layer_decay = 0.5;
    TS_REFUSED(ctx, train_new(ctx, "mlp:", train, valid, c, NULL, &m, &r), LT_EINVAL, "finds no layer");
    lt_model_free(m);
    static const char *const lists[] = {"nowhere", ",", "a,,b"};
    for (int i = 0; i < LTI_COUNT(lists); i++) {
        c = quiet(2, 8), c.compare = lists[i];
        TS_REFUSED(ctx, train_new(ctx, "mlp:", train, valid, c, NULL, &m, &r), LT_EINVAL, "compare");
        lt_model_free(m);
    }
    lt_dataset_free(train);
    lt_dataset_free(valid);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

static void what_is_refused(void)
{
    ts_place p = ts_open_place();
    lt_ctx *ctx = p.ctx;
    lt_dataset *train, *valid;
    lt_model *m = NULL, *text = toy_model(ctx, TOY_INIT, 1);
    lt_train_result r;
    lt_eval_result e;
    if (!digits(ctx, &train, &valid)) return;
    lt_train_config c = quiet(2, 8);
    TS_REFUSED(ctx, lt_train(text, train, valid, &c, &r), LT_EINVAL, "takes texts whose next token is predicted");
    TS_REFUSED(ctx, lt_evaluate(text, valid, NULL, 0, &e), LT_EINVAL, "the data has rows of numbers");
    c = quiet(2, 8), c.compute = "f16";
    TS_REFUSED(ctx, train_new(ctx, "mlp:", train, valid, c, NULL, &m, &r), LT_EINVAL,
               "compute is 'f16'; f32, bf16 and auto are known");
    lt_model_free(m);
    c = quiet(2, 8), c.store_activations = "auto";
    TS_REFUSED(ctx, train_new(ctx, "mlp:", train, valid, c, NULL, &m, &r), LT_EINVAL,
               "store_activations is 'auto'; f32 and bf16 are known");
    lt_model_free(m);
    c = quiet(2, 8), c.frozen_type = NULL;
    TS_REFUSED(ctx, train_new(ctx, "mlp:", train, valid, c, NULL, &m, &r), LT_EINVAL, "frozen_type is '(NULL)'");
    lt_model_free(m);
    c = quiet(2, 8), c.label_smoothing = 1;
    TS_REFUSED(ctx, train_new(ctx, "mlp:", train, valid, c, NULL, &m, &r), LT_EINVAL, "label_smoothing is 1");
    lt_model_free(m);
    /* a run that goes on must be the same run */
    c = quiet(4, 8), c.out = p.dir;
    told t = {.stop_after = 2};
    TS_REFUSED(ctx, train_new(ctx, "cnn:filters=4", train, valid, c, &t, &m, &r), LT_EINTERRUPTED, "checkpoint");
    lt_model_free(m);
    c.label_smoothing = 0.1;
    TS_REFUSED(ctx, train_new(ctx, "cnn:filters=4", train, valid, c, NULL, &m, &r), LT_EINVAL,
               "label_smoothing was 0 and is 0.1 now");
    lt_model_free(m);
    c.label_smoothing = 0;
    TS_REFUSED(ctx, train_new(ctx, "cnn:filters=4,norm_eps=1e-4", train, valid, c, NULL, &m, &r), LT_EINVAL,
               "model was");
    lt_model_free(m);
    lt_model_free(text);
    lt_dataset_free(train);
    lt_dataset_free(valid);
    ts_close_place(&p);
}

/* A run in bf16 goes on in bf16 where it is left open, and is refused in another type. */
static void types_of_a_run(void)
{
    ts_place p = ts_open_place();
    lt_dataset *train, *valid;
    lt_model *m;
    lt_train_result r;
    if (!digits(p.ctx, &train, &valid)) return;
    told t = {.stop_after = 2};
    lt_train_config c = quiet(4, 16);
    c.out = p.dir, c.compute = "bf16", c.store_activations = "bf16";
    TS_REFUSED(p.ctx, train_new(p.ctx, "mlp:hidden=32", train, valid, c, &t, &m, &r), LT_EINTERRUPTED, "checkpoint");
    TS_CHECK(!strcmp(t.compute, "bf16") && !*t.note, "computed in %s", t.compute);
    lt_model_free(m);
    c.compute = "f32";
    TS_REFUSED(p.ctx, train_new(p.ctx, "mlp:hidden=32", train, valid, c, &t, &m, &r), LT_EINVAL,
               "compute was 'bf16' and is 'f32' now");
    lt_model_free(m);
    c.compute = "auto", t.stop_after = 0;
    TS_OK(p.ctx, train_new(p.ctx, "mlp:hidden=32", train, valid, c, &t, &m, &r));
    TS_CHECK(!strcmp(t.compute, "bf16") && strstr(t.note, "checkpoint"), "%s: %s", t.compute, t.note);
    TS_CHECK(strstr(t.sample, "8 x 8 numbers\x02 class ") != NULL, "%s", t.sample);
    lt_model_free(m);
    lt_dataset_free(train);
    lt_dataset_free(valid);
    ts_close_place(&p);
}

static lt_status attempt(lt_ctx *ctx, void *arg, bool *survived)
{
    lt_real x[60];
    int32_t y[10];
    (void)arg;
    (void)survived;
    for (int i = 0; i < 60; i++) x[i] = (lt_real)((i * 7 % 11) - 5) / 5;
    for (int i = 0; i < 10; i++) y[i] = i % 3;
    lt_arrays a = {.n = 10, .d = 6, .x = x, .y = y, .classes = 3, .rank = 2, .shape = {3, 2}};
    lt_dataset *set;
    lt_model *m = NULL;
    lt_train_result r;
    LTI_TRY(lt_dataset_from_arrays(ctx, &a, &set));
    lt_train_config c = quiet(3, 4);
    c.ema_decay = 0.5;
    lt_status status = train_new(ctx, "gru:hidden=4", set, set, c, NULL, &m, &r);
    lt_model_free(m);
    lt_dataset_free(set);
    return status;
}

static void memory_is_out(void)
{
    toy_allocations_fail("training on numbers", 150, attempt, NULL);
}

int lti_suite_class_runs(void)
{
    static const ts_test tests[] = {{"digits are learned", digits_are_learned},
                                    {"texts are learned", texts_are_learned},
                                    {"padding is not seen", padding_is_not_seen},
                                    {"bits after an interruption", bits_after_interruption},
                                    {"bits with a batch ahead", bits_with_a_batch_ahead},
                                    {"loader", loader},
                                    {"averages are saved", averages_are_saved},
                                    {"options without effect", options_without_effect},
                                    {"what is refused", what_is_refused},
                                    {"types of a run", types_of_a_run},
                                    {"memory is out", memory_is_out}};
    return ts_suite("class_runs", LTI_COUNT(tests), tests) || toy_one_thread("class_runs");
}
