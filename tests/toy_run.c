/* toy_run.c - see toy_run.h. */
#include "tests/toy_run.h"

#include <math.h>

void toy_spoil(toy_run *r, double value)
{
    lt_param *p = lt_params_find(lt_model_params(r->model), "blk.1.ffn_up.weight");
    ((lt_real *)lt_param_data(p))[5] = (lt_real)value;
    lt_param_touch(p);
}

static void on_start(void *user, const lt_train_start *start)
{
    toy_run *r = user;
    r->first_step = start->first_step;
    snprintf(r->resumed, sizeof r->resumed, "%s", start->resumed_from ? start->resumed_from : "");
    snprintf(r->skipped, sizeof r->skipped, "%s", start->skipped);
}

void toy_on_progress(void *user, const lt_train_progress *p)
{
    toy_run *r = user;
    if (r->lines < MOST_LINES) {
        r->lr[r->lines] = p->lr, r->loss[r->lines] = p->loss;
        r->step[r->lines++] = p->step;
    }
    size_t n = strlen(r->notes);
    if (p->note) snprintf(r->notes + n, sizeof r->notes - n, "%lld: %s\n", (long long)p->step, p->note);
    if (p->step == r->stop_after && (!r->spoil_after || r->spoilings <= 0)) r->stop = 1;
    if (p->step == r->heal_after) toy_spoil(r, 0.01);
    if (p->step == r->block_after) {
        char path[300];
        snprintf(path, sizeof path, "%s/checkpoints", r->out);
        FILE *file = fopen(path, "w");
        if (file) fclose(file);
    }
    if (p->step == r->spoil_after && r->spoilings-- > 0) toy_spoil(r, NAN);
}

toy_run toy_new_run(ts_place *p, const char *out)
{
    toy_run r = {.ctx = p->ctx, .out = out, .init = TOY_INIT, .spoilings = 1};
    lt_train_config_init(&r.config);
    r.config.steps = STEPS, r.config.save_every = SAVE_EVERY, r.config.learning_rate = 5e-3, r.config.eval_every = 4;
    return r;
}

lt_status toy_go(toy_run *r)
{
    lt_model_free(r->model);
    r->model = toy_model(r->ctx, r->init, 21);
    lt_dataset *train = toy_text(r->ctx, r->model, LT_SPLIT_TRAIN), *valid = toy_text(r->ctx, r->model, LT_SPLIT_VALID);
    r->config.out = r->out, r->config.stop = &r->stop, r->config.user = r;
    r->config.on_start = on_start, r->config.on_progress = toy_on_progress;
    r->lines = 0, r->stop = 0, r->notes[0] = 0;
    if (r->stop_after < 0) r->stop = 1; /* before the first step */
    lt_status status = lt_train(r->model, train, valid, &r->config, &r->result);
    lt_dataset_free(train);
    lt_dataset_free(valid);
    return status;
}

lt_status toy_go_once(toy_run *r)
{
    lt_status status = toy_go(r);
    lt_model_free(r->model);
    r->model = NULL;
    return status;
}

/* metrics.jsonl without the fields that measure time and memory. */
static char *timeless(const char *path)
{
    char *text = toy_read(path, NULL), *out = calloc(1, 65536);
    size_t n = 0;
    for (char *line = text ? strtok(text, "\n") : NULL; line; line = strtok(NULL, "\n")) {
        json_t *json = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
        TS_CHECK(json != NULL, "a line of metrics is JSON: %s", line);
        json_object_del(json, "seconds");
        json_object_del(json, "tokens_per_second");
        json_object_del(json, "rss_bytes");
        json_object_del(json, "times");
        char *rest = json_dumps(json, JSON_SORT_KEYS);
        n += (size_t)snprintf(out + n, 65536 - n, "%s\n", rest ? rest : "");
        free(rest);
        json_decref(json);
    }
    free(text);
    return out;
}

void toy_same_metrics(const char *a, const char *b, const char *what)
{
    char x[300], y[300];
    snprintf(x, sizeof x, "%s/metrics.jsonl", a);
    snprintf(y, sizeof y, "%s/metrics.jsonl", b);
    char *one = timeless(x), *two = timeless(y);
    TS_CHECK(one[0] && strcmp(one, two) == 0, "%s: the metrics differ:\n%s---\n%s", what, one, two);
    free(one);
    free(two);
}

void toy_stopped_and_resumed(const char *what, void (*change)(toy_run *r), int n, const int64_t *stops)
{
    ts_place p = ts_open_place();
    char whole_out[256], parts_out[256];
    snprintf(whole_out, sizeof whole_out, "%s", ts_at(&p, "whole"));
    snprintf(parts_out, sizeof parts_out, "%s", ts_at(&p, "parts"));
    toy_run whole = toy_new_run(&p, whole_out), parts = toy_new_run(&p, parts_out);
    if (change) change(&whole), change(&parts);
    TS_OK(p.ctx, toy_go(&whole));
    for (int i = 0; i < n; i++) {
        parts.stop_after = stops[i];
        TS_REFUSED(p.ctx, toy_go(&parts), LT_EINTERRUPTED, "the checkpoint is in");
        int64_t done = stops[i] < 0 ? 0 : stops[i];
        TS_CHECK(parts.result.steps == done, "%s: stopped after %lld, not %lld", what, (long long)parts.result.steps,
                 (long long)done);
        TS_CHECK(toy_exists(ts_at(&p, "parts/report.html")) && toy_exists(ts_at(&p, "parts/run.json")),
                 "files are there");
    }
    parts.stop_after = 0;
    TS_OK(p.ctx, toy_go(&parts));
    TS_CHECK(parts.first_step == (stops[n - 1] < 0 ? 0 : stops[n - 1]) && parts.resumed[0], "%s: resumed at %lld", what,
             (long long)parts.first_step);
    toy_same_weights(whole.model, parts.model, what);
    toy_same_metrics(whole_out, parts_out, what);
    TS_CHECK(whole.result.first_loss == parts.result.first_loss && whole.result.last_loss == parts.result.last_loss &&
                 whole.result.valid_loss == parts.result.valid_loss && whole.result.tokens == parts.result.tokens,
             "%s: the results are the same", what);
    lt_model_free(whole.model);
    lt_model_free(parts.model);
    ts_close_place(&p);
}
