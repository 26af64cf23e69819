/* loop.c - training: batches in, steps, what to do when a number is not finite, when to look, save and stop.
 *
 * A step: the scored tokens of its micro-batches are counted first, so that each token weighs the same whatever
 * micro-batch it is in; then each micro-batch adds its gradients, and one update ends the step. Where nothing needs the
 * whole gradient (no clipping, one micro-batch) updates are fused into the backward. */
#include "train/loop.h"

#include "base/text.h"
#include "data/files.h"
#include "kernels/kernels.h"
#include "models/model.h"
#include "train/metrics.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SKIPS_IN_ROW = 3, ROLLBACKS = 1 };

typedef enum outcome { STEP_DONE, STEP_NOT_FINITE, STEP_STOPPED } outcome;

/* ---- One step ---- */

static bool asked_to_stop(const lti_loop *l)
{
    if (l->config->stop && *l->config->stop) return true;
    return l->config->max_seconds > 0 && lti_seconds() - l->started > l->config->max_seconds;
}

/* Scored tokens of the step's micro-batches; the cursor stays where it was. */
static lt_status count_targets(lti_loop *l, int64_t *targets)
{
    lt_cursor before = lt_batches_cursor(l->batches);
    *targets = 0;
    for (int64_t i = 0; i < l->config->grad_accumulation_steps; i++) {
        lt_batch batch;
        LTI_TRY(lt_batches_next(l->batches, &batch));
        *targets += batch.targets;
    }
    return lt_batches_seek(l->batches, before);
}

static lt_status set_if_read(lt_plan *plan, const char *name, double value)
{
    return lt_plan_has(plan, name) ? lt_set(plan, name, value) : LT_OK;
}

static double learning_rate(const lti_loop *l)
{
    return l->at.lr_factor * lt_lr_at(&l->schedule, l->at.step + 1, l->steps);
}

static lti_phase train_phase(const lti_loop *l)
{
    return l->recipe.quant && l->at.step < l->float_steps ? LTI_TRAIN_FLOAT : LTI_TRAIN;
}

/* Forward and backward of micro-batch i of the step; adds its share of the loss. */
static lt_status micro_step(lti_loop *l, int64_t i, int64_t targets, double *loss)
{
    lt_batch batch;
    lt_plan *plan;
    LTI_TRY(lt_batches_next(l->batches, &batch));
    int64_t T = lt_bucket(batch.longest, lt_dataset_longest(l->train));
    LTI_TRY(lti_recipe_plan(&l->recipe, train_phase(l), batch.rows, T, &plan));
    LTI_TRY(lt_batches_fill(l->batches, batch.rows, T, l->recipe.tokens, l->recipe.targets));
    if (l->recipe.spans) LTI_TRY(lt_batches_fill_spans(l->batches, batch.rows, T, l->recipe.bounds));
    LTI_TRY(lti_recipe_bind(&l->recipe, plan, batch.rows, T));
    LTI_TRY(set_if_read(plan, "norm", (double)targets));
    LTI_TRY(set_if_read(plan, "fresh", i == 0));
    LTI_TRY(set_if_read(plan, "lr", learning_rate(l)));
    int64_t step = l->recipe.fused ? l->at.step + 1 : l->at.step * l->config->grad_accumulation_steps + i + 1;
    LTI_TRY(set_if_read(plan, "step", (double)step));
    LTI_TRY(lt_run(plan));
    *loss += (double)*(const lt_real *)lt_result(plan, 0);
    return LT_OK;
}

static lt_status update(lti_loop *l, double *norm, bool *updated)
{
    lt_plan *plan;
    LTI_TRY(lti_recipe_plan(&l->recipe, LTI_UPDATE, 0, 0, &plan));
    LTI_TRY(lt_set(plan, "lr", learning_rate(l)));
    LTI_TRY(set_if_read(plan, "step", (double)(l->at.step + 1)));
    LTI_TRY(lt_run(plan));
    *norm = (double)*(const lt_real *)lt_result(plan, 0);
    *updated = *(const lt_real *)lt_result(plan, 1) != 0;
    return LT_OK;
}

/* One optimizer step. A stop between micro-batches undoes the step's batches, so that it is made anew on resume. */
static lt_status one_step(lti_loop *l, lt_train_progress *p, outcome *how)
{
    int64_t targets;
    double loss = 0;
    bool updated = true;
    lt_cursor before = lt_batches_cursor(l->batches);
    LTI_TRY(count_targets(l, &targets));
    if (targets == 0)
        return lti_fail(l->ctx, LT_EINVAL, "step %lld has no token to learn from: every target of its batch is masked",
                        (long long)l->at.step + 1);
    p->lr = learning_rate(l);
    p->grad_norm = NAN;
    for (int64_t i = 0; i < l->config->grad_accumulation_steps; i++) {
        if (asked_to_stop(l)) {
            *how = STEP_STOPPED;
            return lt_batches_seek(l->batches, before);
        }
        LTI_TRY(micro_step(l, i, targets, &loss));
    }
    if (!l->recipe.fused && isfinite(loss)) LTI_TRY(update(l, &p->grad_norm, &updated));
    p->loss = loss;
    p->skipped = !updated || !isfinite(loss);
    *how = p->skipped ? STEP_NOT_FINITE : STEP_DONE;
    l->at.step++;
    l->at.tokens += targets;
    l->at.last_loss = loss;
    if (l->at.step == 1) l->at.first_loss = loss;
    return LT_OK;
}

/* ---- Numbers that are not finite: skip, then go back with half the rate, then give up ---- */

static lt_status name_culprit(lti_loop *l, const lt_train_progress *p, int64_t step)
{
    lt_plan *plan;
    lt_batch batch;
    char where[600] = "in the gradients";
    lt_cursor after = lt_batches_cursor(l->batches);
    if (lt_batches_next(l->batches, &batch) == LT_OK) {
        int64_t T = lt_bucket(batch.longest, lt_dataset_longest(l->train));
        if (lti_recipe_plan(&l->recipe, LTI_EVALUATE, batch.rows, T, &plan) == LT_OK &&
            lt_batches_fill(l->batches, batch.rows, T, l->recipe.tokens, l->recipe.targets) == LT_OK &&
            (!l->recipe.spans || lt_batches_fill_spans(l->batches, batch.rows, T, l->recipe.bounds) == LT_OK) &&
            lti_recipe_bind(&l->recipe, plan, batch.rows, T) == LT_OK && lt_run_debug(plan) == LT_ENONFINITE)
            snprintf(where, sizeof where, "%s", lt_ctx_message(l->ctx));
    }
    LTI_TRY(lt_batches_seek(l->batches, after));
    return lti_fail(l->ctx, LT_ENONFINITE,
                    "diverged at step %lld: loss %g, gradient norm %g after %lld skipped steps (%s); try a lower "
                    "learning_rate, a longer warmup_ratio, or max_grad_norm 1",
                    (long long)step, p->loss, p->grad_norm, (long long)l->at.skipped_in_row, where);
}

static lt_status not_finite(lti_loop *l, lt_train_progress *p)
{
    l->at.skipped++;
    l->at.skipped_in_row++;
    if (l->at.skipped_in_row <= SKIPS_IN_ROW) {
        p->note = "not finite: update left out";
        return LT_OK;
    }
    int64_t step = l->at.step;
    if (l->at.rollbacks >= ROLLBACKS || lti_loop_rollback(l) != LT_OK) return name_culprit(l, p, step);
    snprintf(l->note, sizeof l->note, "not finite: back to step %lld with half the learning rate",
             (long long)l->at.step);
    p->note = l->note;
    return LT_OK;
}

/* ---- Looking, saving, telling ---- */

static lt_status validate(lti_loop *l)
{
    double sum;
    int64_t scored;
    if (!l->valid) return LT_OK;
    LTI_TRY(lti_recipe_evaluate(&l->recipe, l->valid, lti_eval_batch(l->valid), &sum, &scored));
    LTI_TRY(lti_recipe_reserve(&l->recipe, l->config->batch_size * lt_dataset_longest(l->train)));
    l->at.valid_loss = sum / (double)scored;
    return LT_OK;
}

static bool every(int64_t step, int64_t interval)
{
    return interval > 0 && step % interval == 0;
}

/* Fused steps look at the loss alone: what the last update did to the weights is only known here. */
static bool weights_finite(const lti_loop *l)
{
    const lt_params *params = lt_model_params(l->model);
    for (int i = 0; i < lt_params_count(params); i++) {
        const lt_param *p = lt_params_at(params, i);
        bool looked_at = lt_param_role(p) == LT_WEIGHT && lt_param_type(p) == LT_F32;
        if (looked_at && !lti_k()->all_finite(lt_param_count(p), lt_param_read(p))) return false;
    }
    return true;
}

/* A failed save is told and training goes on: the older checkpoints are whole. */
static void save(lti_loop *l, lt_train_progress *p)
{
    if (!weights_finite(l))
        snprintf(l->note, sizeof l->note, "checkpoint NOT saved: weights are not finite");
    else if (lti_loop_save(l) == LT_OK)
        snprintf(l->note, sizeof l->note, "checkpoint saved");
    else
        snprintf(l->note, sizeof l->note, "checkpoint NOT saved: %.200s", lt_ctx_message(l->ctx));
    p->note = l->note;
}

static lt_status tell(lti_loop *l, lt_train_progress *p)
{
    double seconds = lti_seconds() - l->started;
    p->step = l->at.step;
    p->steps = l->steps;
    p->tokens = l->at.tokens;
    p->valid_loss = l->at.valid_loss;
    p->seconds = seconds;
    p->tokens_per_second = (double)(l->at.tokens - l->tokens_at_start) / seconds;
    p->rss_bytes = lt_memory_now().rss;
    double left = (double)(l->steps - l->at.step);
    double made = (double)(l->at.tokens - l->tokens_at_start);
    double each = l->at.step ? (double)l->at.tokens / (double)l->at.step : 0;
    p->eta = made > 0 ? left * each / made * seconds : NAN;
    if (l->metrics >= 0) LTI_TRY(lti_metrics_add(l->ctx, l->metrics, l->metrics_path, p));
    if (l->config->on_progress) l->config->on_progress(l->config->user, p);
    return LT_OK;
}

static lt_status stop_early(lti_loop *l)
{
    if (l->checkpoints) LTI_TRY(lti_loop_save(l));
    return lti_fail(l->ctx, LT_EINTERRUPTED, "stopped after step %lld%s%s", (long long)l->at.step,
                    l->checkpoints ? "; the checkpoint is in " : "", l->checkpoints ? l->checkpoints : "");
}

static lt_status train_steps(lti_loop *l)
{
    const lt_train_config *c = l->config;
    while (l->at.step < l->steps) {
        lt_train_progress p = {.loss = NAN};
        outcome how = STEP_DONE;
        LTI_TRY(one_step(l, &p, &how));
        if (how == STEP_STOPPED) return stop_early(l);
        if (how == STEP_NOT_FINITE)
            LTI_TRY(not_finite(l, &p));
        else
            l->at.skipped_in_row = 0;
        bool last = l->at.step >= l->steps;
        if (every(l->at.step, c->eval_every) || last) LTI_TRY(validate(l));
        if (l->checkpoints && how == STEP_DONE && (every(l->at.step, c->save_every) || last)) save(l, &p);
        if (every(l->at.step, c->log_every) || last || p.note) LTI_TRY(tell(l, &p));
    }
    return LT_OK;
}

/* ---- Setting up ---- */

/* Whether one of the comma-separated globs matches. */
static bool in_list(const char *list, const char *name)
{
    char glob[256];
    for (const char *at = list; *at;) {
        size_t n = strcspn(at, ",");
        if (n < sizeof glob) {
            memcpy(glob, at, n);
            glob[n] = 0;
            if (lt_glob(glob, name)) return true;
        }
        at += n + (at[n] == ',');
    }
    return false;
}

static lt_status choose_trainable(lti_loop *l)
{
    lt_params *params = lt_model_params(l->model);
    l->n_params = lt_params_count(params);
    l->was_trainable = lti_alloc_array(l->ctx, (size_t)l->n_params + 1, sizeof *l->was_trainable);
    if (!l->was_trainable) return LT_ENOMEM;
    for (int i = 0; i < l->n_params; i++) {
        lt_param *p = lt_params_at(params, i);
        const char *name = lt_param_name(p);
        l->was_trainable[i] = lt_param_trainable(p);
        bool wanted = !l->config->train_only || in_list(l->config->train_only, name);
        bool frozen = l->config->freeze && in_list(l->config->freeze, name);
        if (!wanted || frozen) lt_param_set_trainable(p, false);
    }
    return LT_OK;
}

static int64_t steps_of(const lti_loop *l)
{
    if (l->config->steps) return l->config->steps;
    double batches = l->config->epochs * (double)lt_batches_per_epoch(l->batches);
    int64_t steps = (int64_t)ceil(batches / (double)l->config->grad_accumulation_steps - 1e-9);
    return steps > 0 ? steps : 1;
}

static lt_status open_files(lti_loop *l)
{
    if (!l->config->out) return LT_OK;
    LTI_TRY(lti_mkdirs(l->ctx, l->config->out));
    l->checkpoints = lti_path_join(l->ctx, l->config->out, "checkpoints");
    l->metrics_path = lti_path_join(l->ctx, l->config->out, "metrics.jsonl");
    return l->checkpoints && l->metrics_path ? LT_OK : LT_ENOMEM;
}

static lt_status loop_open(lti_loop *l)
{
    const lt_train_config *c = l->config;
    lt_optimizer_config optimizer;
    bool quantized = c->quant.type != LT_F32 || c->quant.embedding != LT_F32;
    LTI_TRY(lti_check_model(l->ctx, l->model, true));
    LTI_TRY(lti_config_check(l->ctx, c));
    LTI_TRY(lti_config_optimizer(l->ctx, c, &optimizer));
    LTI_TRY(lti_config_schedule(l->ctx, c, &l->schedule));
    if (lt_dataset_rows(l->train) == 0) return lti_fail(l->ctx, LT_EINVAL, "the training data has no row");
    LTI_TRY(choose_trainable(l));
    LTI_TRY(lt_batches_create(l->ctx, l->train, NULL, c->batch_size, c->seed, true, &l->batches));
    LTI_TRY(lt_optimizer_create(l->ctx, lt_model_params(l->model), &optimizer, &l->optimizer));
    l->was_checkpointed = lt_model_config(l->model)->checkpoint;
    lt_model_set_checkpoint(l->model, c->checkpoint_activations);
    l->steps = steps_of(l);
    l->float_steps = (int64_t)(c->qat_start * (double)l->steps);
    l->recipe = (lti_recipe){.ctx = l->ctx,
                             .model = l->model,
                             .quant = quantized ? &c->quant : NULL,
                             .optimizer = l->optimizer,
                             .seed = c->seed,
                             .fused = c->max_grad_norm == 0 && c->grad_accumulation_steps == 1,
                             .spans = lt_dataset_packed(l->train) || (l->valid && lt_dataset_packed(l->valid))};
    LTI_TRY(lti_recipe_open(&l->recipe));
    return open_files(l);
}

static void loop_close(lti_loop *l)
{
    lt_params *params = lt_model_params(l->model);
    for (int i = 0; l->was_trainable && i < l->n_params; i++)
        lt_param_set_trainable(lt_params_at(params, i), l->was_trainable[i]);
    if (l->optimizer) lt_model_set_checkpoint(l->model, l->was_checkpointed);
    if (l->recipe.plans) lti_recipe_close(&l->recipe);
    lt_optimizer_free(l->optimizer);
    lt_batches_free(l->batches);
    lti_metrics_close(l->metrics);
    lti_free(l->ctx, l->was_trainable);
    lti_free(l->ctx, l->checkpoints);
    lti_free(l->ctx, l->metrics_path);
    lti_free(l->ctx, l->resumed_from);
}

static int64_t trainable_elements(const lti_loop *l)
{
    int64_t n = 0;
    for (int i = 0; i < lt_optimizer_count(l->optimizer); i++) n += lt_param_count(lt_optimizer_param(l->optimizer, i));
    return n;
}

static lt_status tell_start(lti_loop *l, const lt_forecast *forecast)
{
    if (!l->config->on_start) return LT_OK;
    char *sample = NULL, *table = NULL;
    lt_tokenizer *tokenizer = lt_model_tokenizer(l->model);
    lt_status status = LT_OK;
    if (tokenizer) status = lt_dataset_show(l->train, tokenizer, 0, "\x01", "\x02", &sample);
    if (status == LT_OK && l->recipe.quant) status = lti_describe_codes(l->model, l->recipe.quant, &table);
    lt_train_start start = {.parameters = lt_model_parameters(l->model),
                            .trainable = trainable_elements(l),
                            .steps = l->steps,
                            .first_step = l->at.step,
                            .train_rows = lt_dataset_rows(l->train),
                            .train_tokens = lt_dataset_scored(l->train),
                            .valid_rows = l->valid ? lt_dataset_rows(l->valid) : 0,
                            .resumed_from = l->resumed_from,
                            .skipped = l->skipped,
                            .qat_table = table ? table : "",
                            .sample = sample ? sample : "",
                            .forecast = *forecast};
    if (status == LT_OK) l->config->on_start(l->config->user, &start);
    lt_buffer_free(l->ctx, sample);
    lt_string_free(l->ctx, table);
    return status;
}

static void fill_result(const lti_loop *l, lt_train_result *r)
{
    r->steps = l->at.step;
    r->tokens = l->at.tokens;
    r->first_loss = l->at.first_loss;
    r->last_loss = l->at.last_loss;
    r->valid_loss = l->at.valid_loss;
    r->skipped_steps = l->at.skipped;
    r->rollbacks = l->at.rollbacks;
    r->seconds = lti_seconds() - l->started;
    r->tokens_per_second = (double)(l->at.tokens - l->tokens_at_start) / r->seconds;
    r->peak_rss_bytes = lt_memory_now().peak_rss;
}

static lt_status write_report(lti_loop *l)
{
    char *path = lti_path_join(l->ctx, l->config->out, "report.html");
    const char *name = l->config->out, *metrics = l->metrics_path;
    lt_status status = path ? lt_report_write(l->ctx, path, "lathe train", 1, &name, &metrics, NULL) : LT_ENOMEM;
    lti_free(l->ctx, path);
    return status;
}

/* Moments of an earlier training of this model are no part of a new run. */
static void forget_moments(lti_loop *l)
{
    lt_params *params = lt_model_params(l->model);
    for (int i = 0; i < lt_params_count(params); i++) {
        lt_param *p = lt_params_at(params, i);
        const char *name = lt_param_name(p);
        if (lt_param_role(p) != LT_STATE || !(lt_glob("*:adam.[mv]", name) || lt_glob("*:sgd.u", name))) continue;
        memset(lt_param_data(p), 0, lt_param_bytes(p));
        lt_param_touch(p);
    }
}

static lt_status loop_run(lti_loop *l, lt_train_result *result)
{
    LTI_TRY(loop_open(l));
    LTI_TRY(lti_forecast(l, &result->forecast));
    LTI_TRY(lti_forecast_check(l->ctx, l->config, &result->forecast));
    LTI_TRY(lti_loop_resume(l));
    if (!l->resumed_from) forget_moments(l);
    LTI_TRY(lti_recipe_reserve(&l->recipe, l->config->batch_size * lt_dataset_longest(l->train)));
    /* A checkpoint opens as a model: what it lacks lies in the run's directory. */
    if (l->config->out) LTI_TRY(lti_model_describe(l->model, l->config->out, "float32"));
    if (!l->resumed_from) l->metrics_bytes = -1;
    if (l->metrics_path) LTI_TRY(lti_metrics_open(l->ctx, l->metrics_path, l->metrics_bytes, l->at.step, &l->metrics));
    l->started = lti_seconds();
    l->tokens_at_start = l->at.tokens;
    LTI_TRY(tell_start(l, &result->forecast));
    lt_status status = train_steps(l);
    fill_result(l, result);
    if (!l->config->out || (status != LT_OK && status != LT_EINTERRUPTED)) return status;
    char message[1024];
    snprintf(message, sizeof message, "%s", lt_ctx_message(l->ctx));
    LTI_TRY(lti_write_run_info(l, result));
    LTI_TRY(write_report(l));
    return status == LT_OK ? LT_OK : lti_fail(l->ctx, status, "%s", message);
}

lt_status lt_train(lt_model *model, const lt_dataset *train, const lt_dataset *valid, const lt_train_config *config,
                   lt_train_result *result)
{
    lti_loop l = {.ctx = lt_params_ctx(lt_model_params(model)),
                  .config = config,
                  .model = model,
                  .train = train,
                  .valid = valid,
                  .metrics = -1,
                  .at = {.lr_factor = 1, .valid_loss = NAN}};
    *result = (lt_train_result){.valid_loss = NAN};
    lt_status status = loop_run(&l, result);
    loop_close(&l);
    return status;
}

lt_status lt_train_forecast(lt_model *model, const lt_dataset *train, const lt_dataset *valid,
                            const lt_train_config *config, lt_forecast *forecast)
{
    lti_loop l = {.ctx = lt_params_ctx(lt_model_params(model)),
                  .config = config,
                  .model = model,
                  .train = train,
                  .valid = valid,
                  .metrics = -1};
    lt_status status = loop_open(&l);
    if (status == LT_OK) status = lti_forecast(&l, forecast);
    loop_close(&l);
    return status;
}
