/* test_packed_runs.c - rows packed into one window are worth what they are alone: the same perplexity, and training that
 * reaches the same losses, for rotary and for learned positions. */
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

int lti_suite_packed_runs(void)
{
    const ts_test tests[] = {{"packed runs", packed_runs}};
    return ts_suite("packed_runs", LTI_COUNT(tests), tests);
}
