/* test_outcomes.c - what training leaves behind and what is known before and after it: files of a run, reports,
 * perplexity, the forecast of memory, and every allocation failing. */
#include "tests/toys.h"
#include "train/metrics.h"

#include <math.h>

static lt_train_config toy_config(const char *out, int64_t steps)
{
    lt_train_config c;
    lt_train_config_init(&c);
    c.out = out, c.steps = steps, c.learning_rate = 5e-3;
    return c;
}

/* ---- Files of a run ---- */

static void run_files(void)
{
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, TOY_INIT, 2), *twin = toy_model(p.ctx, TOY_INIT, 2);
    lt_dataset *train = toy_text(p.ctx, m, LT_SPLIT_TRAIN), *valid = toy_text(p.ctx, m, LT_SPLIT_VALID);
    char out[256];
    lt_train_result r;
    snprintf(out, sizeof out, "%s", ts_at(&p, "deep/run"));
    lt_train_config c = toy_config(out, 5);
    c.command = "lathe train \"x\"", c.config_yaml = "steps: 5\n", c.seed = 77;
    TS_OK(p.ctx, lt_train(m, train, valid, &c, &r));
    json_t *info = json_load_file(ts_at(&p, "deep/run/run.json"), JSON_REJECT_DUPLICATES, NULL);
    static const char *const texts[] = {"lathe",   "kernels",        "family",      "data_xxh3",
                                        "command", "tokenizer_xxh3", "weights_xxh3"};
    static const char *const numbers[] = {"threads",           "parameters",    "steps",      "tokens",
                                          "skipped_steps",     "rollbacks",     "seed",       "peak_rss_bytes",
                                          "first_loss",        "last_loss",     "valid_loss", "seconds",
                                          "tokens_per_second", "forecast_bytes"};
    for (int i = 0; i < LTI_COUNT(texts); i++)
        TS_CHECK(json_string_length(json_object_get(info, texts[i])) > 0, "run.json has %s", texts[i]);
    for (int i = 0; i < LTI_COUNT(numbers); i++)
        TS_CHECK(json_is_number(json_object_get(info, numbers[i])), "run.json has %s", numbers[i]);
    TS_CHECK(json_integer_value(json_object_get(info, "steps")) == 5 &&
                 json_integer_value(json_object_get(info, "seed")) == 77 &&
                 json_integer_value(json_object_get(info, "parameters")) == lt_model_parameters(m) &&
                 json_real_value(json_object_get(info, "last_loss")) == r.last_loss,
             "and they are true");
    char *yaml = toy_read(ts_at(&p, "deep/run/config.yaml"), NULL);
    TS_CHECK(yaml && strcmp(yaml, "steps: 5\n") == 0, "config.yaml is as given");
    free(yaml);
    char hash[40];
    snprintf(hash, sizeof hash, "%s", json_string_value(json_object_get(info, "weights_xxh3")));
    json_decref(info);
    c.resume = "never", c.command = NULL;
    TS_OK(p.ctx, lt_train(twin, train, NULL, &c, &r));
    info = json_load_file(ts_at(&p, "deep/run/run.json"), 0, NULL);
    TS_CHECK(strcmp(hash, json_string_value(json_object_get(info, "weights_xxh3"))) == 0,
             "one hash for the same weights");
    TS_CHECK(json_is_null(json_object_get(info, "command")) && json_is_null(json_object_get(info, "valid_loss")),
             "what is not known is null");
    json_decref(info);
    TS_CHECK(!toy_exists(ts_at(&p, "deep/run/model.safetensors")), "the model is the caller's to write");
    lt_dataset_free(train);
    lt_dataset_free(valid);
    lt_model_free(m);
    lt_model_free(twin);
    ts_close_place(&p);
}

static int count(const char *text, const char *part)
{
    int n = 0;
    for (const char *at = text; (at = strstr(at, part)); at++) n++;
    return n;
}

static void report_of_a_run(void)
{
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, TOY_INIT, 2);
    lt_dataset *train = toy_text(p.ctx, m, LT_SPLIT_TRAIN), *valid = toy_text(p.ctx, m, LT_SPLIT_VALID);
    lt_train_result r;
    lt_train_config c = toy_config(p.dir, 6);
    c.eval_every = 2;
    TS_OK(p.ctx, lt_train(m, train, valid, &c, &r));
    char *html = toy_read(ts_at(&p, "report.html"), NULL);
    TS_CHECK(html && count(html, "<svg") == 7 && count(html, "<polyline") == 6, "six curves and the time by operator");
    TS_CHECK(html && strstr(html, "Training loss") && strstr(html, "Validation loss") &&
                 strstr(html, "Learning rate") && strstr(html, "Gradient norm"),
             "with their names");
    TS_CHECK(html && !strstr(html, "nan") && !strstr(html, "inf") && !strstr(html, "<script") && !strstr(html, "http"),
             "one file without scripts or links");
    free(html);
    lti_curve curve;
    TS_OK(p.ctx, lti_metrics_curve(p.ctx, ts_at(&p, "metrics.jsonl"), "valid_loss", &curve));
    TS_CHECK(curve.count == 5 && curve.step[0] == 2 && curve.step[4] == 6, "validation from step 2 on: %d points",
             curve.count);
    lti_free(p.ctx, curve.step);
    lti_free(p.ctx, curve.value);
    lt_dataset_free(train);
    lt_dataset_free(valid);
    lt_model_free(m);
    ts_close_place(&p);
}

static void report_of_many_runs(void)
{
    ts_place p = ts_open_place();
    char one[256], two[256], empty[256], out[256];
    size_t n = 0;
    char *long_run = calloc(1, 200000);
    for (int i = 0; i < 2500; i++)
        n += (size_t)snprintf(long_run + n, 200000 - n, "{\"step\":%d,\"loss\":%g}\n", i + 1, 5.0 / (i + 1));
    snprintf(one, sizeof one, "%s", ts_put_text(&p, "one.jsonl", long_run));
    free(long_run);
    snprintf(two, sizeof two, "%s",
             ts_put_text(&p, "two.jsonl",
                         "{\"step\":1,\"loss\":2,\"lr\":0.1}\nnot json\n[1]\n{\"step\":2,\"lr\":\"x\"}\n"
                         "{\"step\":3,\"loss\":2}\n{\"step\":4,\"loss\":1"));
    snprintf(empty, sizeof empty, "%s", ts_put_text(&p, "empty.jsonl", ""));
    snprintf(out, sizeof out, "%s", ts_at(&p, "report.html"));
    const char *names[] = {"a<b>", "c&\"d\"", "none"}, *paths[] = {one, two, empty};
    TS_OK(p.ctx, lt_report_write(p.ctx, out, "T<i>tle", 3, names, paths, "name\tloss\na<b>\t1.5\nlast\t\n"));
    char *html = toy_read(out, NULL);
    TS_CHECK(html && strstr(html, "T&lt;i&gt;tle") && strstr(html, "a&lt;b&gt;") &&
                 strstr(html, "c&amp;&quot;d&quot;") && !strstr(html, "<i>") && !strstr(html, "<b>"),
             "names are text, not tags");
    TS_CHECK(html && strstr(html, "<tr><th>name</th><th>loss</th></tr>") &&
                 strstr(html, "<tr><td>a&lt;b&gt;</td><td>1.5</td></tr>") &&
                 strstr(html, "<tr><td>last</td><td></td></tr>"),
             "the table");
    TS_CHECK(html && count(html, "<svg") == 2, "plots only of what there is: %d", html ? count(html, "<svg") : 0);
    TS_CHECK(html && strlen(html) < 60000, "long curves are thinned: %zu bytes", html ? strlen(html) : 0);
    free(html);
    TS_OK(p.ctx, lt_report_write(p.ctx, out, "nothing", 0, NULL, NULL, NULL));
    paths[0] = "/nonexistent.jsonl";
    TS_REFUSED(p.ctx, lt_report_write(p.ctx, out, "x", 1, names, paths, NULL), LT_EIO, "/nonexistent.jsonl");
    paths[0] = one;
    TS_REFUSED(p.ctx, lt_report_write(p.ctx, "/nonexistent/report.html", "x", 1, names, paths, NULL), LT_EIO,
               "/nonexistent");
    ts_close_place(&p);
}

static void foreign_metrics(void)
{
    ts_place p = ts_open_place();
    static const struct {
        int64_t bytes, step;
        const char *kept;
    } cases[] = {{-1, 0, ""},
                 {0, 0, ""},
                 {0, 1, "{\"step\":1}\n"},
                 {11, 2, "{\"step\":1}\n{\"step\":2}\n"},
                 {22, 1, "{\"step\":1}\n{\"step\":2}\n{\"step\":1}\n"},
                 {5, 1, "{\"step\":1}\n"}, /* amid a line: not this run's file */
                 {1000, 2, "{\"step\":1}\n{\"step\":2}\n{\"step\":1}\n"}};
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        int fd = -1;
        const char *path = ts_put_text(&p, "m.jsonl", "{\"step\":1}\n{\"step\":2}\n{\"step\":1}\n{\"step\":3}\n{\"st");
        TS_OK(p.ctx, lti_metrics_open(p.ctx, path, cases[i].bytes, cases[i].step, &fd));
        TS_CHECK(lti_metrics_size(fd) == (int64_t)strlen(cases[i].kept), "case %d: %lld bytes are kept", i,
                 (long long)lti_metrics_size(fd));
        lti_metrics_close(fd);
        char *text = toy_read(path, NULL);
        TS_CHECK(text && strcmp(text, cases[i].kept) == 0, "case %d: other bytes are kept", i);
        free(text);
    }
    ts_close_place(&p);
}

/* ---- Perplexity ---- */

static void perplexity_is_what_logits_say(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_model *m = toy_model(ctx, TOY_INIT, 2);
    lt_param *w = lt_params_find(lt_model_params(m), "token_embd.weight");
    ts_fill_normal("sharp", lt_param_count(w), 0.3, lt_param_data(w));
    ((lt_real *)lt_param_data(w))[0] = 0;
    lt_param_touch(w);
    lt_dataset *text = toy_text(ctx, m, LT_SPLIT_VALID);
    double sum = 0;
    int64_t scored = 0, V = lt_model_config(m)->vocab;
    for (int64_t row = 0; row < lt_dataset_rows(text); row++) {
        int64_t length;
        const int32_t *ids = lt_dataset_row(text, row, &length);
        lt_real *z = toy_logits(m, ids, length);
        for (int64_t t = 0; t + 1 < length; t++, scored++) {
            double top = -INFINITY, all = 0;
            for (int64_t v = 0; v < V; v++) top = fmax(top, (double)z[t * V + v]);
            for (int64_t v = 0; v < V; v++) all += exp((double)z[t * V + v] - top);
            sum += top + log(all) - (double)z[t * V + ids[t + 1]];
        }
        free(z);
    }
    lt_eval_result e;
    for (int64_t batch = 0; batch < 1000000;
         batch = batch * 40 + 1) { /* 0: chosen; at the end far more than there is */
        TS_OK(ctx, lt_evaluate(m, text, NULL, batch, &e));
        TS_CHECK(fabs(e.nll - sum / (double)scored) < ts_tolerance(1e-11, 2e-6) * e.nll,
                 "batch %lld: nll %.9g, not %.9g", (long long)batch, e.nll, sum / (double)scored);
    }
    TS_CHECK(e.tokens == scored && e.tokens == lt_dataset_scored(text) && e.perplexity == exp(e.nll), "the count");
    TS_CHECK(e.rows == lt_dataset_rows(text) && e.documents == lt_dataset_documents(text) && e.seconds > 0 &&
                 e.tokens_per_second > 0 && e.peak_rss_bytes > 0,
             "and the rest");
    TS_CHECK(e.parameters == lt_model_parameters(m) && e.nonzero_parameters == e.parameters - 1 &&
                 e.model_bytes == (uint64_t)e.parameters * sizeof(lt_real),
             "%lld of %lld parameters are not zero", (long long)e.nonzero_parameters, (long long)e.parameters);
    TS_CHECK(lt_ctx_peak_bytes(ctx) < 64 << 20, "a huge batch takes no huge buffers: %zu", lt_ctx_peak_bytes(ctx));
    ((lt_real *)lt_param_data(w))[97 * 32] = (lt_real)NAN;
    lt_param_touch(w);
    TS_REFUSED(ctx, lt_evaluate(m, text, NULL, 0, &e), LT_ENONFINITE,
               "the loss is nan: the model's weights or activations");
    lt_dataset_free(text);
    lt_model_free(m);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

/* ---- Memory ---- */

static void forecasts_grow_with_the_batch(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_model *m = toy_model(ctx, TOY_INIT, 2);
    lt_dataset *text = toy_text(ctx, m, LT_SPLIT_ALL);
    lt_forecast before = {0}, f = {0};
    for (int64_t batch = 1; batch <= 64; batch *= 4) {
        lt_train_config c = toy_config(NULL, 1);
        c.batch_size = batch;
        TS_OK(ctx, lt_train_forecast(m, text, NULL, &c, &f));
        uint64_t weights = (uint64_t)lt_model_parameters(m) * sizeof(lt_real);
        TS_CHECK(f.weights == weights && f.gradients == weights && f.optimizer == 2 * weights, "weights %llu",
                 (unsigned long long)f.weights);
        TS_CHECK(f.activations > before.activations && f.data > before.data && f.process > 0, "activations %llu",
                 (unsigned long long)f.activations);
        TS_CHECK(f.total >= f.weights + f.gradients + f.optimizer + f.activations + f.data && f.available > 0,
                 "the total");
        before = f;
    }
    lt_train_config c = toy_config(NULL, 1);
    c.batch_size = 64, c.checkpoint_activations = true;
    TS_OK(ctx, lt_train_forecast(m, text, NULL, &c, &f));
    TS_CHECK(f.activations < before.activations, "recomputing takes less: %llu", (unsigned long long)f.activations);
    c.max_grad_norm = 0;
    TS_OK(ctx, lt_train_forecast(m, text, NULL, &c, &f));
    TS_CHECK(f.gradients == 0, "fused updates keep no sums");
    c.batch_size = 0;
    TS_REFUSED(ctx, lt_train_forecast(m, text, NULL, &c, &f), LT_EINVAL, "batch_size is 0");
    lt_dataset_free(text);
    lt_model_free(m);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

static void too_little_memory(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_model *m = toy_model(ctx, TOY_INIT, 2);
    lt_dataset *text = toy_text(ctx, m, LT_SPLIT_ALL);
    lt_train_config c = toy_config(NULL, 1);
    lt_train_result r;
    c.memory_limit = 1000000, c.batch_size = 6, c.grad_accumulation_steps = 3;
    TS_REFUSED(ctx, lt_train(m, text, NULL, &c, &r), LT_ELIMIT,
               "try batch_size 3 with grad_accumulation_steps 6, or checkpoint_activations");
    TS_CHECK(strstr(lt_ctx_message(ctx), "the run would need 0.") &&
                 strstr(lt_ctx_message(ctx), "0.00 GB are available"),
             "%s", lt_ctx_message(ctx));
    TS_CHECK(r.forecast.total > r.forecast.available && r.forecast.available == 1000000, "the forecast comes along");
    c.batch_size = 1, c.grad_accumulation_steps = 1, c.checkpoint_activations = true;
    TS_REFUSED(ctx, lt_train(m, text, NULL, &c, &r), LT_ELIMIT, "a shorter max_seq_length");
    TS_CHECK(!strstr(lt_ctx_message(ctx), "batch_size 1 "), "no advice to do what is done: %s", lt_ctx_message(ctx));
    lt_dataset_free(text);
    lt_model_free(m);
    lt_ctx_free(ctx);
    lt_memory now = lt_memory_now();
    TS_CHECK(now.rss > 1 << 20 && now.peak_rss >= now.rss / 2 && now.anonymous > 0 && now.file > 0 && now.available > 0,
             "what /proc says: %llu resident", (unsigned long long)now.rss);
}

/* ---- Failing allocations ---- */

static void note_failed_save(void *user, const lt_train_progress *progress)
{
    if (progress->note && strstr(progress->note, "NOT saved")) *(bool *)user = true;
}

/* A checkpoint that cannot be saved for want of memory is told, and the run goes on. */
static lt_status train_and_save(lt_ctx *ctx, void *arg, bool *survived)
{
    lt_model *m;
    lt_dataset *set = NULL;
    lt_dataset_options o;
    lt_train_result r;
    lt_train_config c = toy_config(arg, 2);
    c.batch_size = 2, c.save_every = 1, c.user = survived, c.on_progress = note_failed_save;
    c.quant.weights.type = LT_Q8_0, c.resume = "never";
    lt_dataset_options_init(&o);
    o.max_seq_length = 8;
    lt_status status = lt_model_create(ctx, "llama:layers=1,dim=32,hidden=32,heads=2", NULL, 1, &m);
    if (status == LT_OK) status = lt_dataset_from_text(ctx, "a short text", 12, lt_model_tokenizer(m), &o, &set);
    if (status == LT_OK) status = lt_train(m, set, set, &c, &r);
    if (status == LT_OK) status = lt_model_save(m, arg, "F32");
    lt_dataset_free(set);
    lt_model_free(m);
    return status;
}

static lt_status open_model(lt_ctx *ctx, void *arg, bool *survived)
{
    (void)survived;
    lt_model *m;
    lt_status status = lt_model_open(ctx, arg, &m);
    lt_model_free(m);
    return status;
}

static lt_status export_and_read(lt_ctx *ctx, void *arg, bool *survived)
{
    lt_model *m, *coded = NULL;
    char *report = NULL;
    lt_quant_policy policy;
    (void)survived;
    lt_quant_policy_init(&policy);
    policy.weights.type = policy.embedding.type = LT_Q4_0;
    lt_status status = lt_model_create(ctx, "llama:layers=1,dim=32,hidden=48,heads=2", NULL, 1, &m);
    if (status == LT_OK) status = lt_export_codes(m, &policy, arg, &report);
    if (status == LT_OK) status = lt_model_with_codes(m, arg, &coded);
    lt_string_free(ctx, report);
    lt_model_free(coded);
    lt_model_free(m);
    return status;
}

static lt_status resume_run(lt_ctx *ctx, void *arg, bool *survived)
{
    lt_model *m;
    lt_dataset *set = NULL;
    lt_dataset_options o;
    lt_train_result r;
    lt_train_config c = toy_config(arg, 3);
    lt_dataset_options_init(&o);
    c.user = survived, c.on_progress = note_failed_save;
    lt_status status = lt_model_create(ctx, TOY_INIT, NULL, 1, &m);
    if (status == LT_OK) status = lt_dataset_from_text(ctx, "another text", 12, lt_model_tokenizer(m), &o, &set);
    if (status == LT_OK) status = lt_train(m, set, NULL, &c, &r);
    lt_dataset_free(set);
    lt_model_free(m);
    return status;
}

static void every_allocation_may_fail(void)
{
    ts_place p = ts_open_place();
    char path[256];
    snprintf(path, sizeof path, "%s", ts_at(&p, "run"));
    toy_allocations_fail("training and saving", 1000, train_and_save, path);
    toy_allocations_fail("opening", 1000, open_model, path);
    snprintf(path, sizeof path, "%s", ts_at(&p, "other"));
    toy_allocations_fail("going on", 1000, resume_run, path);
    snprintf(path, sizeof path, "%s", ts_at(&p, "codes.safetensors"));
    toy_allocations_fail("exporting", 1000, export_and_read, path);
    ts_close_place(&p);
}

int lti_suite_outcomes(void)
{
    const ts_test tests[] = {{"files of a run", run_files},
                             {"report of a run", report_of_a_run},
                             {"report of many runs", report_of_many_runs},
                             {"foreign metrics", foreign_metrics},
                             {"perplexity", perplexity_is_what_logits_say},
                             {"forecasts", forecasts_grow_with_the_batch},
                             {"too little memory", too_little_memory},
                             {"every allocation may fail", every_allocation_may_fail}};
    return ts_suite("outcomes", LTI_COUNT(tests), tests) || toy_one_thread("outcomes");
}
