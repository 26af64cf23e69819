/* test_train.c - the training loop on toys: what it learns, refuses, computes alike and tells. Checkpoints and numbers
 * that are not finite are in test_resume.c. */
#include "tests/toys.h"

#include <math.h>
#include <stddef.h>

enum { MOST_STEPS = 64 };

/* What a run told, and the run. */
typedef struct run_log {
    int starts, count;
    lt_train_progress line[MOST_STEPS];
    char table[1024], sample[256];
    lt_train_start start;
    lt_train_result result;
} run_log;

static void note_start(void *user, const lt_train_start *start)
{
    run_log *l = user;
    l->starts++;
    l->start = *start;
    snprintf(l->table, sizeof l->table, "%s", start->qat_table);
    snprintf(l->sample, sizeof l->sample, "%s", start->sample);
}

static void note_progress(void *user, const lt_train_progress *progress)
{
    run_log *l = user;
    if (l->count < MOST_STEPS) l->line[l->count++] = *progress;
}

static lt_train_config toy_config(int64_t steps)
{
    lt_train_config c;
    lt_train_config_init(&c);
    c.steps = steps;
    c.learning_rate = 5e-3;
    return c;
}

/* A new toy trained; NULL when that failed. */
static lt_model *trained(lt_ctx *ctx, const char *init, lt_train_config c, run_log *l)
{
    lt_model *m = toy_model(ctx, init, 11);
    lt_dataset *train = toy_text(ctx, m, LT_SPLIT_TRAIN), *valid = toy_text(ctx, m, LT_SPLIT_VALID);
    *l = (run_log){.count = 0};
    c.user = l, c.on_start = note_start, c.on_progress = note_progress;
    TS_OK(ctx, lt_train(m, train, valid, &c, &l->result));
    lt_dataset_free(train);
    lt_dataset_free(valid);
    return m;
}

static lt_status try_train(lt_ctx *ctx, const lt_train_config *c)
{
    lt_train_result result;
    lt_model *m = toy_model(ctx, TOY_INIT, 11);
    lt_dataset *text = toy_text(ctx, m, LT_SPLIT_ALL);
    lt_status status = lt_train(m, text, NULL, c, &result);
    for (int i = 0; i < lt_params_count(lt_model_params(m)); i++) {
        lt_param *p = lt_params_at(lt_model_params(m), i);
        TS_CHECK(lt_param_trainable(p) == (lt_param_role(p) == LT_WEIGHT), "'%s' is as trainable as before",
                 lt_param_name(p));
    }
    lt_dataset_free(text);
    lt_model_free(m);
    return status;
}

static void close_ctx(lt_ctx *ctx)
{
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

/* ---- Learning ---- */

static void loss_falls(void)
{
    static const struct {
        const char *optimizer, *schedule;
        double lr, momentum, clip;
        lt_dtype quant;
    } cases[] = {{"adamw", "cosine", 1e-2, 0, 1, LT_F32},
                 {"adamw", "constant", 1e-2, 0, 0, LT_F32},
                 {"sgd", "linear", 0.5, 0.9, 1, LT_F32},
                 {"adamw", "wsd", 1e-2, 0, 1, LT_Q8_0}};
    lt_ctx *ctx = lt_ctx_create(NULL);
    run_log l;
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        lt_train_config c = toy_config(40);
        c.optimizer = cases[i].optimizer, c.lr_schedule = cases[i].schedule, c.learning_rate = cases[i].lr;
        c.momentum = cases[i].momentum, c.max_grad_norm = cases[i].clip;
        c.quant.weights.type = cases[i].quant, c.qat_start = 0.5;
        lt_model *m = trained(ctx, TOY_INIT, c, &l);
        const lt_train_result *r = &l.result;
        TS_CHECK(fabs(r->first_loss - log(258)) < 0.1, "case %d: the first loss is ln 258: %g", i, r->first_loss);
        TS_CHECK(r->last_loss < 0.75 * r->first_loss, "case %d: the last is %g", i, r->last_loss);
        TS_CHECK(r->valid_loss < 0.85 * r->first_loss, "case %d: on the validation %g", i, r->valid_loss);
        TS_CHECK(r->steps == 40 && l.count == 40 && r->skipped_steps == 0 && r->rollbacks == 0, "40 steps");
        TS_CHECK(l.line[39].loss == r->last_loss && l.line[39].tokens == r->tokens && r->tokens > 40 * 30,
                 "the last line");
        TS_CHECK(isnan(l.line[0].grad_norm) == (cases[i].clip == 0), "fused steps know no norm");
        TS_CHECK(r->seconds > 0 && r->tokens_per_second > 0 && r->peak_rss_bytes > 1 << 20, "throughput and memory");
        lt_model_free(m);
    }
    close_ctx(ctx);
}

static void what_is_told(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    run_log l;
    lt_train_config c = toy_config(7);
    c.log_every = 3, c.eval_every = 2;
    c.quant.weights.type = LT_Q4_0;
    lt_model *m = trained(ctx, "llama:layers=2,dim=32,hidden=48,heads=4,kv_heads=2", c, &l);
    const lt_train_start *s = &l.start;
    TS_CHECK(l.starts == 1 && s->steps == 7 && s->first_step == 0 && !s->resumed_from, "the start");
    TS_CHECK(s->parameters == lt_model_parameters(m) && s->trainable == s->parameters && s->train_rows > 10 &&
                 s->train_tokens > s->train_rows && s->valid_rows > 0,
             "what is counted");
    TS_CHECK(strstr(l.sample, "cat") || strstr(l.sample, "dog"), "a row as text: %s", l.sample);
    TS_CHECK(strstr(l.table, "q4_0") && strstr(l.table, "blk.0.ffn_down.weight: rows of 48"), "the types: %s", l.table);
    TS_CHECK(l.count == 3 && l.line[0].step == 3 && l.line[1].step == 6 && l.line[2].step == 7, "%d lines", l.count);
    for (int i = 0; i < l.count; i++) {
        const lt_train_progress *p = &l.line[i];
        TS_CHECK(p->steps == 7 && p->valid_loss > 0 && p->lr > 0 && p->grad_norm > 0 && p->tokens_per_second > 0 &&
                     p->seconds > 0 && p->rss_bytes > 0 && !p->skipped && !p->note && p->eta >= 0,
                 "line %d is whole", i);
    }
    TS_CHECK(l.line[2].eta == 0, "at the end nothing is left: %g", l.line[2].eta);
    lt_model_free(m);
    close_ctx(ctx);
}

static void epochs_become_steps(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    run_log l;
    lt_train_config c = toy_config(0);
    c.epochs = 2, c.batch_size = 5, c.grad_accumulation_steps = 2;
    lt_model *m = trained(ctx, TOY_INIT, c, &l);
    int64_t batches = 2 * ((l.start.train_rows + 4) / 5);
    TS_CHECK(l.result.steps == (batches + 1) / 2, "%lld steps", (long long)l.result.steps);
    if (batches % 2 == 0)
        TS_CHECK(l.result.tokens == 2 * l.start.train_tokens, "each token twice: %lld", (long long)l.result.tokens);
    lt_model_free(m);
    c.epochs = 1e-3;
    m = trained(ctx, TOY_INIT, c, &l);
    TS_CHECK(l.result.steps == 1, "at least one step");
    lt_model_free(m);
    close_ctx(ctx);
}

static void a_schedule_is_followed(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    run_log l;
    lt_train_config c = toy_config(10);
    c.lr_schedule = "linear", c.learning_rate = 1e-3, c.warmup_ratio = 0.2, c.lr_min_ratio = 0.1;
    lt_model *m = trained(ctx, TOY_INIT, c, &l);
    for (int i = 0; i < 10; i++) {
        double want = i < 2 ? 1e-3 * (i + 1) / 3 : 1e-3 * (1 - 0.9 * (i - 2) / 8.0);
        TS_CHECK(fabs(l.line[i].lr - want) < 1e-12, "step %d: lr %g, not %g", i + 1, l.line[i].lr, want);
    }
    lt_model_free(m);
    close_ctx(ctx);
}

/* ---- Refusals ---- */

static void ranges(void)
{
    static const struct {
        size_t offset;
        bool whole;
        double value;
        const char *words;
    } cases[] = {
#define WHOLE(field, value, words) {offsetof(lt_train_config, field), true, value, #field " is " words}
#define REAL(field, value, words)                                                                                      \
    {                                                                                                                  \
        offsetof(lt_train_config, field), false, value, #field " is " words                                            \
    }
        WHOLE(steps, -1, "-1; it must be in 0 to 1e+09"),
        WHOLE(batch_size, 0, "0; it must be in 1 to 1.04858e+06"),
        WHOLE(batch_size, 2e6, "2e+06; it must be in 1"),
        WHOLE(grad_accumulation_steps, 0, "0; it must be in 1"),
        REAL(learning_rate, -1e-3, "-0.001; it must be in 0 to 1e+06"),
        REAL(learning_rate, NAN, "nan"),
        REAL(warmup_ratio, 1.5, "1.5; it must be in 0 to 1"),
        REAL(lr_min_ratio, -0.5, "-0.5; it must be in 0 to 1"),
        REAL(weight_decay, -1, "-1; it must be in 0"),
        REAL(max_grad_norm, -1, "-1; it must be in 0"),
        REAL(max_grad_norm, INFINITY, "inf"),
        WHOLE(save_every, -1, "-1"),
        WHOLE(keep, 0, "0; it must be in 1 to 1e+06"),
        WHOLE(eval_every, -1, "-1"),
        WHOLE(log_every, 0, "0; it must be in 1"),
        REAL(qat_start, 1.1, "1.1; it must be in 0 to 1"),
#undef WHOLE
#undef REAL
    };
    lt_ctx *ctx = lt_ctx_create(NULL);
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        lt_train_config c = toy_config(1);
        char *field = (char *)&c + cases[i].offset;
        if (cases[i].whole)
            *(int64_t *)(void *)field = (int64_t)cases[i].value;
        else
            *(double *)(void *)field = cases[i].value;
        TS_REFUSED(ctx, try_train(ctx, &c), LT_EINVAL, cases[i].words);
    }
    close_ctx(ctx);
}

static void wrong_options(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_train_config c = toy_config(1);
    c.size = 0;
    TS_REFUSED(ctx, try_train(ctx, &c), LT_EINVAL, "lt_train: call lt_train_config_init first");
    c = toy_config(0), c.epochs = 0;
    TS_REFUSED(ctx, try_train(ctx, &c), LT_EINVAL, "epochs is 0; give a number above 0, or steps");
    c = toy_config(1), c.save_every = 1;
    TS_REFUSED(ctx, try_train(ctx, &c), LT_EINVAL, "save_every needs out, a directory to save in");
    c = toy_config(1), c.optimizer = "adagrad";
    TS_REFUSED(ctx, try_train(ctx, &c), LT_EINVAL,
               "optimizer 'adagrad' is not known; adamw, adamw_8bit, lion, muon and sgd are");
    c = toy_config(1), c.optimizer = NULL;
    TS_REFUSED(ctx, try_train(ctx, &c), LT_EINVAL, "optimizer is NULL");
    c = toy_config(1), c.lr_schedule = "step";
    TS_REFUSED(ctx, try_train(ctx, &c), LT_EINVAL,
               "lr_schedule 'step' is not known; constant, linear, cosine and wsd are");
    c = toy_config(1), c.lr_schedule = NULL;
    TS_REFUSED(ctx, try_train(ctx, &c), LT_EINVAL, "lr_schedule is NULL");
    c = toy_config(1), c.beta1 = 1;
    TS_REFUSED(ctx, try_train(ctx, &c), LT_EINVAL, "beta1 1");
    c = toy_config(1), c.eps = 0;
    TS_REFUSED(ctx, try_train(ctx, &c), LT_EINVAL, "eps 0");
    c = toy_config(1), c.freeze = "*";
    TS_REFUSED(ctx, try_train(ctx, &c), LT_EINVAL, "none of 20 parameters is trainable");
    c = toy_config(1), c.train_only = "nobody,neither";
    TS_REFUSED(ctx, try_train(ctx, &c), LT_EINVAL, "none of 20 parameters is trainable");
    c = toy_config(1), c.quant.weights.type = LT_I8;
    TS_REFUSED(ctx, try_train(ctx, &c), LT_EINVAL, "i8 is no type to deploy weights in");
    c = toy_config(1), c.resume = "/nonexistent";
    TS_REFUSED(ctx, try_train(ctx, &c), LT_EIO, "/nonexistent/manifest.json");
    c = toy_config(1), c.out = "/dev/null/run";
    TS_REFUSED(ctx, try_train(ctx, &c), LT_EIO, "/dev/null");
    c = toy_config(5), c.max_seconds = 1e-9;
    TS_REFUSED(ctx, try_train(ctx, &c), LT_EINTERRUPTED, "stopped after step 0");
    close_ctx(ctx);
}

static void data_of_another_tokenizer(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_model *bytes = toy_model(ctx, TOY_INIT, 1), *wide = toy_model(ctx, TOY_INIT ",vocab=300", 1);
    lt_dataset *text = toy_text(ctx, bytes, LT_SPLIT_ALL);
    lt_train_config c = toy_config(1);
    lt_train_result r;
    lt_eval_result e;
    TS_OK(ctx, lt_train(wide, text, NULL, &c, &r));
    lt_model_free(wide);
    ((lt_transformer_config *)(uintptr_t)lt_model_config(bytes))->vocab = 100; /* as if the embedding were smaller */
    TS_REFUSED(ctx, lt_evaluate(bytes, text, NULL, 0, &e), LT_EINVAL, "tokens");
    TS_REFUSED(ctx, lt_train(bytes, text, NULL, &c, &r), LT_EINVAL, "tokens");
    lt_dataset_free(text);
    lt_model_free(bytes);
    close_ctx(ctx);
}

/* ---- The same thing computed twice ---- */

static void accumulation_equals_a_large_batch(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    static run_log one, two;
    lt_train_config c = toy_config(8);
    lt_model *a = trained(ctx, TOY_INIT, c, &one);
    c.batch_size = 2, c.grad_accumulation_steps = 2;
    lt_model *b = trained(ctx, TOY_INIT, c, &two);
    TS_CHECK(one.start.train_rows >= 32, "8 steps are in one epoch: %lld rows", (long long)one.start.train_rows);
    for (int i = 0; i < 8; i++) {
        TS_CHECK(fabs(one.line[i].loss - two.line[i].loss) < ts_tolerance(1e-11, 2e-5) * one.line[i].loss,
                 "step %d: losses %.9g and %.9g", i + 1, one.line[i].loss, two.line[i].loss);
        TS_CHECK(fabs(one.line[i].grad_norm - two.line[i].grad_norm) < ts_tolerance(1e-9, 2e-4) * one.line[i].grad_norm,
                 "step %d: norms %.9g and %.9g", i + 1, one.line[i].grad_norm, two.line[i].grad_norm);
        TS_CHECK(one.line[i].tokens == two.line[i].tokens, "as many tokens");
    }
    lt_model_free(a);
    lt_model_free(b);
    close_ctx(ctx);
}

static void fused_equals_split(void)
{
    static const char *const optimizers[] = {"adamw", "sgd"};
    lt_ctx *ctx = lt_ctx_create(NULL);
    static run_log one, two;
    for (int i = 0; i < 2; i++) {
        lt_train_config c = toy_config(8);
        c.optimizer = optimizers[i], c.weight_decay = 0.1, c.momentum = i ? 0.9 : 0;
        c.max_grad_norm = 0;
        lt_model *a = trained(ctx, TOY_INIT, c, &one);
        c.max_grad_norm = 1e9;
        lt_model *b = trained(ctx, TOY_INIT, c, &two);
        for (int s = 0; s < 8; s++)
            TS_CHECK(fabs(one.line[s].loss - two.line[s].loss) < ts_tolerance(1e-12, 1e-5) * one.line[s].loss,
                     "%s, step %d: losses %.9g and %.9g", optimizers[i], s + 1, one.line[s].loss, two.line[s].loss);
        lt_model_free(a);
        lt_model_free(b);
    }
    close_ctx(ctx);
}

static void bits_do_not_depend_on_threads(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    static run_log l;
    int before = lt_threads();
    lt_model *m[5];
    for (int i = 0; i < 5; i++) {
        lt_train_config c = toy_config(6);
        c.checkpoint_activations = i == 3;
        c.seed = i == 4;
        if (i == 2) c.eval_every = 1, c.log_every = 4; /* looking changes nothing */
        lt_set_threads(i == 1 ? 2 : 1);
        m[i] = trained(ctx, TOY_INIT, c, &l);
    }
    lt_set_threads(before);
    toy_same_weights(m[0], m[1], "1 and 2 threads");
    toy_same_weights(m[0], m[2], "two runs");
    if (strstr(lt_kernels_in_use(), "onednn")) toy_same_weights(m[0], m[3], "with recomputed activations");
    const lt_param *p = lt_params_find(lt_model_params(m[0]), "blk.0.attn_q.weight");
    const lt_param *q = lt_params_find(lt_model_params(m[4]), "blk.0.attn_q.weight");
    TS_CHECK(!ts_same_bytes(lt_param_bytes(p), lt_param_read(p), lt_param_read(q)), "another seed, another order");
    for (int i = 0; i < 5; i++) lt_model_free(m[i]);
    close_ctx(ctx);
}

/* A second training of a model begins with fresh moments, as if the first had happened elsewhere. */
static void trainings_in_a_row(void)
{
    ts_place p = ts_open_place();
    lt_train_config c = toy_config(4);
    lt_train_result r;
    lt_model *a = toy_model(p.ctx, TOY_INIT, 11), *b = NULL;
    lt_dataset *text = toy_text(p.ctx, a, LT_SPLIT_ALL);
    TS_OK(p.ctx, lt_train(a, text, NULL, &c, &r));
    TS_OK(p.ctx, lt_model_save(a, p.dir, sizeof(lt_real) == 8 ? "F64" : "F32"));
    TS_OK(p.ctx, lt_model_open(p.ctx, p.dir, &b));
    TS_OK(p.ctx, lt_train(a, text, NULL, &c, &r));
    TS_OK(p.ctx, lt_train(b, text, NULL, &c, &r));
    toy_same_weights(a, b, "trained twice, and trained again after saving");
    lt_dataset_free(text);
    lt_model_free(a);
    lt_model_free(b);
    ts_close_place(&p);
}

static void parts_stay_frozen(void)
{
    static const struct {
        const char *freeze, *only, *moves, *stays[3];
    } cases[] = {
        {"*_norm.weight,token_embd.weight",
         NULL,
         "blk.0.ffn_up.weight",
         {"blk.1.attn_norm.weight", "token_embd.weight"}},
        {NULL, "blk.1.*,output_norm.weight", "output_norm.weight", {"blk.0.ffn_up.weight", "token_embd.weight"}},
        {"*.attn_q.weight", "blk.1.*", "blk.1.attn_k.weight", {"blk.1.attn_q.weight", "blk.0.attn_k.weight"}}};
    lt_ctx *ctx = lt_ctx_create(NULL);
    static run_log l;
    lt_model *start = toy_model(ctx, TOY_INIT, 11);
    for (int i = 0; i < 2 * LTI_COUNT(cases); i++) {
        lt_train_config c = toy_config(3);
        int k = i / 2;
        c.freeze = cases[k].freeze, c.train_only = cases[k].only;
        c.max_grad_norm = i % 2;
        lt_model *m = trained(ctx, TOY_INIT, c, &l);
        for (int w = 0; w < 3; w++) {
            const char *name = w ? cases[k].stays[w - 1] : cases[k].moves;
            const lt_param *p = lt_params_find(lt_model_params(start), name);
            lt_param *q = lt_params_find(lt_model_params(m), name);
            bool same = ts_same_bytes(lt_param_bytes(p), lt_param_read(p), lt_param_read(q));
            TS_CHECK(same == (w > 0), "case %d: '%s' %s", i, name, same ? "stays" : "moves");
            TS_CHECK(lt_param_trainable(q), "'%s' may be trained afterwards", name);
        }
        TS_CHECK(l.start.trainable < l.start.parameters, "fewer are trained");
        lt_model_free(m);
    }
    lt_model_free(start);
    close_ctx(ctx);
}

int lti_suite_train(void)
{
    const ts_test tests[] = {{"loss falls", loss_falls},
                             {"what is told", what_is_told},
                             {"epochs", epochs_become_steps},
                             {"schedules", a_schedule_is_followed},
                             {"ranges", ranges},
                             {"wrong options", wrong_options},
                             {"data of another tokenizer", data_of_another_tokenizer},
                             {"accumulation", accumulation_equals_a_large_batch},
                             {"fused and split", fused_equals_split},
                             {"threads", bits_do_not_depend_on_threads},
                             {"trainings in a row", trainings_in_a_row},
                             {"frozen parts", parts_stay_frozen}};
    return ts_suite("train", LTI_COUNT(tests), tests) || toy_one_thread("train");
}
