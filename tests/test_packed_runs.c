/* test_packed_runs.c - rows packed into one window are worth what they are alone: the same perplexity, and training that
 * reaches the same losses, for rotary and for learned positions. Runs on packed rows that begin with a GGUF file of each
 * family give the same bits stopped or not, on any number of threads, and their checkpoints open as they were. */
#include "lathe/convert.h"
#include "lathe/train.h"
#include "tests/golden.h"
#include "tests/toys.h"

#include <math.h>

static const char rows[] =
    "{\"prompt\": \"ab\", \"completion\": \"ba\"}\n{\"prompt\": \"a\", \"completion\": \"bbb\"}\n"
    "{\"prompt\": \"bb\", \"completion\": \"a\"}\n{\"prompt\": \"ba\", \"completion\": \"aab\"}\n"
    "{\"prompt\": \"aaa\", \"completion\": \"b\"}\n{\"prompt\": \"b\", \"completion\": \"ab\"}\n";

static lt_dataset *open_rows(ts_place *p, lt_tokenizer *tokenizer, bool pack)
{
    lt_dataset_options o;
    lt_dataset *set = NULL;
    lt_dataset_options_init(&o);
    o.max_seq_length = 16;
    o.pack = pack;
    TS_OK(p->ctx, lt_dataset_open(p->ctx, ts_put_text(p, "rows.jsonl", rows), tokenizer, &o, &set));
    return set;
}

static lt_model *new_model(ts_place *p, const char *family)
{
    char init[96];
    lt_model *model = NULL;
    snprintf(init, sizeof init, "%s:layers=2,dim=16,hidden=24,heads=2,context=32", family);
    TS_OK(p->ctx, lt_model_create(p->ctx, init, NULL, 7, &model));
    return model;
}

static void same_perplexity(ts_place *p, lt_model *model, const char *family)
{
    lt_eval_result alone = {0}, packed = {0};
    lt_dataset *a = open_rows(p, lt_model_tokenizer(model), false), *b = open_rows(p, lt_model_tokenizer(model), true);
    if (a && b) {
        TS_CHECK(lt_dataset_packed(b) && lt_dataset_rows(b) < lt_dataset_rows(a), "%s: nothing was packed", family);
        TS_CHECK(lt_dataset_scored(a) == lt_dataset_scored(b), "%s: %lld and %lld predictions", family,
                 (long long)lt_dataset_scored(a), (long long)lt_dataset_scored(b));
        TS_OK(p->ctx, lt_evaluate(model, a, NULL, 0, &alone));
        TS_OK(p->ctx, lt_evaluate(model, b, NULL, 0, &packed));
        TS_CHECK(fabs(alone.nll - packed.nll) < ts_tolerance(1e-12, 2e-6), "%s: %.9g alone, %.9g packed", family,
                 alone.nll, packed.nll);
    }
    lt_dataset_free(a);
    lt_dataset_free(b);
}

/* Whole-batch steps, so that both runs see the same rows in each. */
static double trained_loss(ts_place *p, const char *family, bool pack)
{
    lt_model *model = new_model(p, family);
    lt_dataset *set = model ? open_rows(p, lt_model_tokenizer(model), pack) : NULL;
    lt_train_config c;
    lt_train_result r = {0};
    lt_train_config_init(&c);
    c.steps = 6, c.batch_size = 6, c.learning_rate = 1e-2, c.resume = NULL;
    if (set) TS_OK(p->ctx, lt_train(model, set, NULL, &c, &r));
    lt_dataset_free(set);
    lt_model_free(model);
    return r.last_loss;
}

static void packed_runs(void)
{
    static const char *const families[] = {"llama", "qwen3", "gemma3", "gpt2"};
    for (int i = 0; i < LTI_COUNT(families); i++) {
        ts_place p = ts_open_place();
        lt_model *model = new_model(&p, families[i]);
        if (model) same_perplexity(&p, model, families[i]);
        lt_model_free(model);
        double alone = trained_loss(&p, families[i], false), packed = trained_loss(&p, families[i], true);
        TS_CHECK(fabs(alone - packed) < ts_tolerance(1e-9, 1e-3) && alone > 0, "%s: loss %.9g alone, %.9g packed",
                 families[i], alone, packed);
        ts_close_place(&p);
    }
}

/* ---- A run that began with a GGUF file ---- */

static void stop_after_three(void *user, const lt_train_progress *progress)
{
    if (progress->step == 3) *(volatile int *)user = 1;
}

/* Trains what the file holds on packed rows for 6 steps, from the directory's checkpoint when there is one. */
static lt_model *train_from(ts_place *p, const char *gguf, const char *out, bool stops, int threads)
{
    volatile int stop = 0;
    lt_model *model = NULL;
    lt_train_config c;
    lt_train_result r;
    if (!TS_OK(p->ctx, lt_model_open(p->ctx, gguf, &model))) return NULL;
    lt_dataset *set = open_rows(p, lt_model_tokenizer(model), true);
    lt_train_config_init(&c);
    c.steps = 6, c.batch_size = 1, c.learning_rate = 1e-2, c.out = out, c.stop = &stop;
    if (stops) c.on_progress = stop_after_three, c.user = (void *)(uintptr_t)&stop;
    int before = lt_threads();
    lt_set_threads(threads);
    if (stops)
        TS_REFUSED(p->ctx, lt_train(model, set, NULL, &c, &r), LT_EINTERRUPTED, "stopped after step 3");
    else
        TS_OK(p->ctx, lt_train(model, set, NULL, &c, &r));
    lt_set_threads(before);
    lt_dataset_free(set);
    return model;
}

/* The checkpoint has the bits of the model it was made of, whose layout is not the file's. */
static void same_as_checkpoint(ts_place *p, const char *out, const lt_model *model, const char *what)
{
    char path[600];
    lt_model *opened = NULL;
    snprintf(path, sizeof path, "%s/checkpoints/ckpt-000003", out);
    if (TS_OK(p->ctx, lt_model_open(p->ctx, path, &opened))) toy_same_weights(opened, model, what);
    lt_model_free(opened);
}

static void runs_from_gguf(void)
{
    static const char *const cases[] = {"llama", "llama3", "llama_yarn", "mistral", "qwen2", "gemma3", "gpt2"};
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        ts_place p = ts_open_place();
        char hf[512], gguf[512], whole[512], parts[512];
        snprintf(hf, sizeof hf, "%s/families/%s", gd_directory(), cases[i]);
        snprintf(gguf, sizeof gguf, "%s/model.gguf", p.dir);
        snprintf(whole, sizeof whole, "%s/whole", p.dir);
        snprintf(parts, sizeof parts, "%s/parts", p.dir);
        TS_OK(p.ctx, lt_convert(p.ctx, hf, gguf, NULL, NULL));
        lt_model *a = train_from(&p, gguf, whole, false, 1), *b = train_from(&p, gguf, parts, true, 3);
        if (b) same_as_checkpoint(&p, parts, b, cases[i]);
        lt_model_free(b);
        b = train_from(&p, gguf, parts, false, 2);
        if (a && b) toy_same_weights(a, b, cases[i]);
        lt_model_free(a);
        lt_model_free(b);
        ts_close_place(&p);
    }
}

/* ---- Models that cannot be trained or evaluated so ---- */

static void other_models(void)
{
    ts_place p = ts_open_place();
    lt_model *encoder = new_model(&p, "bert"), *model = new_model(&p, "llama"), *frozen = NULL;
    lt_dataset *set = encoder ? open_rows(&p, lt_model_tokenizer(encoder), false) : NULL;
    lt_train_config c;
    lt_train_result r;
    lt_eval_result e;
    lt_train_config_init(&c);
    c.steps = 1;
    if (set && model) {
        TS_REFUSED(p.ctx, lt_train(encoder, set, NULL, &c, &r), LT_EINVAL, "this bert takes texts with a class each");
        TS_REFUSED(p.ctx, lt_evaluate(encoder, set, NULL, 0, &e), LT_EINVAL, "this bert takes texts with a class each");
        TS_OK(p.ctx, lt_model_save(model, ts_at(&p, "saved"), "F32"));
        if (TS_OK(p.ctx, lt_model_open_frozen(p.ctx, ts_at(&p, "saved"), &frozen)))
            TS_REFUSED(p.ctx, lt_train(frozen, set, NULL, &c, &r), LT_EINVAL, "opened frozen cannot be trained");
    }
    lt_model_free(frozen);
    lt_dataset_free(set);
    lt_model_free(model);
    lt_model_free(encoder);
    ts_close_place(&p);
}

int lti_suite_packed_runs(void)
{
    const ts_test tests[] = {
        {"packed runs", packed_runs}, {"runs from GGUF", runs_from_gguf}, {"other models", other_models}};
    return ts_suite("packed_runs", LTI_COUNT(tests), tests);
}
