/* loop.c - training: batches in, steps, what to do when a number is not finite, when to look, save and stop.
 *
 * A step: the scored tokens of its micro-batches are counted first, so that each token weighs the same whatever
 * micro-batch it is in; then each micro-batch adds its gradients, and one update ends the step. Where nothing needs the
 * whole gradient (no clipping, one micro-batch) updates are fused into the backward. */
#include "train/loop.h"

#include "kernels/kernels.h"
#include "qat/flips.h"
#include "qat/kept_scales.h"
#include "qat/learned_scales.h"
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

static bool before_grid(const lti_loop *l)
{
    return l->recipe.quant && l->at.step < l->float_steps;
}

static lti_phase train_phase(const lti_loop *l)
{
    return before_grid(l) ? LTI_TRAIN_FLOAT : LTI_TRAIN;
}

/* Steps in float are looked at in float: the grids have nothing to do with them, and learned scales not begun. */
static lti_phase eval_phase(const lti_loop *l)
{
    return before_grid(l) ? LTI_EVALUATE_FLOAT : LTI_EVALUATE;
}

/* What training on a grid anneals: progress since it began, 1 in the last step; damping rises along half a cosine and is
 * asked for once a step. */
static lt_status set_annealed(const lti_loop *l, lt_plan *plan, bool first)
{
    if (!l->recipe.quant) return LT_OK;
    const double pi = 3.14159265358979323846;
    double steps = (double)(l->steps - l->float_steps - 1), done = (double)(l->at.step - l->float_steps);
    double progress = steps > 0 && done < steps ? fmax(done / steps, 0) : 1;
    double damping = l->config->quant.damping * (1 - cos(pi * progress)) / 2;
    LTI_TRY(set_if_read(plan, "qat_progress", progress));
    LTI_TRY(set_if_read(plan, "qat_damping", first ? damping : 0));
    return set_if_read(plan, "qat_freeze", train_phase(l) == LTI_TRAIN);
}

/* The arrays of the next micro-batch, and its size. */
static lt_status next_batch(lti_loop *l, lt_batch *batch, int64_t *T, const lti_feed **feed)
{
    LTI_TRY(lt_batches_next(l->batches, batch));
    *T = lt_bucket(batch->longest, lt_dataset_longest(l->train));
    *feed = lti_loader_take(l->loader, batch, *T);
    return LT_OK;
}

/* Has the micro-batch after this one filled while this one runs; the cursor stays where it was. */
static lt_status look_ahead(lti_loop *l)
{
    lt_batch batch;
    lt_cursor here = lt_batches_cursor(l->batches);
    if (!l->config->prefetch) return LT_OK;
    LTI_TRY(lt_batches_next(l->batches, &batch));
    lti_loader_ask(l->loader, &batch, lt_bucket(batch.longest, lt_dataset_longest(l->train)));
    return lt_batches_seek(l->batches, here);
}

/* Forward and backward of micro-batch i of the step; adds its share of the loss. */
static lt_status micro_step(lti_loop *l, int64_t i, int64_t targets, double *loss)
{
    lt_batch batch;
    lt_plan *plan;
    const lti_feed *feed;
    int64_t T;
    LTI_TRY(next_batch(l, &batch, &T, &feed));
    LTI_TRY(lti_recipe_plan(&l->recipe, train_phase(l), batch.rows, T, &plan));
    LTI_TRY(lti_feed_bind(feed, plan));
    LTI_TRY(set_if_read(plan, "norm", (double)targets));
    LTI_TRY(set_if_read(plan, "fresh", i == 0));
    LTI_TRY(set_annealed(l, plan, i == 0));
    LTI_TRY(set_if_read(plan, "lr", learning_rate(l)));
    int64_t step = l->recipe.fused ? l->at.step + 1 : l->at.step * l->config->grad_accumulation_steps + i + 1;
    LTI_TRY(set_if_read(plan, "step", (double)step));
    bool last = i + 1 == l->config->grad_accumulation_steps && l->at.step + 1 == l->steps;
    if (!last) LTI_TRY(look_ahead(l));
    LTI_TRY(lti_op_times_run(&l->times, plan));
    *loss += (double)*(const lt_real *)lt_result(plan, 0);
    return LT_OK;
}

static lt_status update(lti_loop *l, double *norm, bool *updated)
{
    lt_plan *plan;
    LTI_TRY(lti_recipe_plan(&l->recipe, LTI_UPDATE, 0, 0, &plan));
    LTI_TRY(lt_set(plan, "lr", learning_rate(l)));
    LTI_TRY(set_if_read(plan, "step", (double)(l->at.step + 1)));
    LTI_TRY(set_annealed(l, plan, false));
    LTI_TRY(lti_op_times_run(&l->times, plan));
    *norm = (double)*(const lt_real *)lt_result(plan, 0);
    *updated = *(const lt_real *)lt_result(plan, 1) != 0;
    return LT_OK;
}

/* Whether the step is one that scales are searched in: the first on the grid, and every scale_every-th after it. */
static bool scales_are_due(const lti_loop *l)
{
    int64_t each = l->config->quant.scale_every, done = l->at.step - l->float_steps;
    return l->recipe.quant && each > 1 && done >= 0 && done % each == 0;
}

/* One optimizer step. A stop between micro-batches undoes the step's batches, so that it is made anew on resume. */
static lt_status one_step(lti_loop *l, lt_train_progress *p, outcome *how)
{
    int64_t targets;
    double loss = 0;
    bool updated = true;
    lt_cursor before = lt_batches_cursor(l->batches);
    if (!l->loader)
        LTI_TRY(lti_loader_create(l->ctx, &l->recipe.layout, l->train, l->config->batch_size,
                                  lt_dataset_longest(l->train), l->config->prefetch, &l->loader));
    if (scales_are_due(l)) lti_kept_refresh(lt_model_params(l->model), l->recipe.quant);
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
    bool starts = l->recipe.quant && l->float_steps > 0 && l->at.step == l->float_steps;
    return starts ? lti_qat_restart(lt_model_params(l->model), l->recipe.quant)
                  : LT_OK; /* of the weights as they are */
}

lt_status lti_loop_step(lti_loop *l, lt_train_progress *p, bool *finite)
{
    outcome how = STEP_DONE;
    lt_status status = one_step(l, p, &how);
    *finite = how == STEP_DONE;
    return status;
}

/* ---- Numbers that are not finite: skip, then go back with half the rate, then give up ---- */

static lt_status name_culprit(lti_loop *l, const lt_train_progress *p, int64_t step)
{
    lt_plan *plan;
    lt_batch batch;
    const lti_feed *feed;
    int64_t T;
    char where[600] = "in the gradients";
    lt_cursor after = lt_batches_cursor(l->batches);
    if (next_batch(l, &batch, &T, &feed) == LT_OK &&
        lti_recipe_plan(&l->recipe, eval_phase(l), batch.rows, T, &plan) == LT_OK &&
        lti_feed_bind(feed, plan) == LT_OK && lt_run_debug(plan) == LT_ENONFINITE)
        snprintf(where, sizeof where, "%s", lt_ctx_message(l->ctx));
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

/* Of the averaged weights, where averages are kept: they are what is saved at the end. */
static lt_status validate(lti_loop *l)
{
    lti_scores scores;
    if (!l->valid) return LT_OK;
    bool averages = l->config->ema_decay > 0;
    if (averages) lt_optimizer_swap_ema(l->optimizer);
    lt_status status = lti_recipe_evaluate(&l->recipe, eval_phase(l), l->valid, lti_eval_batch(l->valid), &scores);
    if (averages) lt_optimizer_swap_ema(l->optimizer);
    if (status != LT_OK) return status;
    l->at.valid_loss = scores.nll_sum / (double)scores.scored;
    l->at.accuracy = lti_accuracy(&l->recipe, &scores);
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
        bool looked_at = (lt_param_role(p) == LT_WEIGHT || lt_param_trainable(p)) && lt_param_type(p) == LT_F32;
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
    p->accuracy = l->at.accuracy;
    p->seconds = seconds;
    p->tokens_per_second = (double)(l->at.tokens - l->tokens_at_start) / seconds;
    p->rss_bytes = lt_memory_now().rss;
    double left = (double)(l->steps - l->at.step);
    double made = (double)(l->at.tokens - l->tokens_at_start);
    double each = l->at.step ? (double)l->at.tokens / (double)l->at.step : 0;
    p->eta = made > 0 ? left * each / made * seconds : NAN;
    p->n_times = lti_op_times_take(&l->times);
    p->times = l->times.shares;
    if (l->metrics >= 0) LTI_TRY(lti_metrics_add(l->ctx, l->metrics, l->metrics_path, p));
    if (l->events.fd >= 0) LTI_TRY(lti_events_add(l->ctx, &l->events, p));
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
        lt_train_progress p = {.loss = NAN, .flips = NAN};
        outcome how = STEP_DONE;
        LTI_TRY(one_step(l, &p, &how));
        if (how == STEP_STOPPED) return stop_early(l);
        if (how == STEP_NOT_FINITE)
            LTI_TRY(not_finite(l, &p));
        else
            l->at.skipped_in_row = 0;
        bool last = l->at.step >= l->steps;
        if (every(l->at.step, c->eval_every) || last) LTI_TRY(validate(l));
        if (l->recipe.quant &&
            (every(l->at.step, c->log_every) || last)) /* before it is saved: codes are compared with these */
            LTI_TRY(lti_flips_share(lt_model_params(l->model), l->recipe.quant, &p.flips));
        if (l->checkpoints && how == STEP_DONE && (every(l->at.step, c->save_every) || last)) save(l, &p);
        if (every(l->at.step, c->log_every) || last || p.note) LTI_TRY(tell(l, &p));
    }
    return LT_OK;
}

/* ---- A run ---- */

static void fill_result(const lti_loop *l, lt_train_result *r)
{
    r->steps = l->at.step;
    r->tokens = l->at.tokens;
    r->first_loss = l->at.first_loss;
    r->last_loss = l->at.last_loss;
    r->valid_loss = l->at.valid_loss;
    r->accuracy = l->at.accuracy;
    r->skipped_steps = l->at.skipped;
    r->rollbacks = l->at.rollbacks;
    r->seconds = lti_seconds() - l->started;
    r->tokens_per_second = (double)(l->at.tokens - l->tokens_at_start) / r->seconds;
    r->peak_rss_bytes = lt_memory_now().peak_rss;
}

/* What has to stand before step 1: the type of products, which a resumed run takes from its checkpoint, then the
 * forecast of that, then the state. */
static lt_status prepare(lti_loop *l, lt_train_result *result)
{
    LTI_TRY(lti_loop_find(l));
    LTI_TRY(lti_loop_choose_compute(l));
    LTI_TRY(lti_forecast(l, &result->forecast));
    LTI_TRY(lti_forecast_check(l->ctx, l->config, &result->forecast));
    LTI_TRY(lti_loop_resume(l));
    return lti_loop_open_files(l);
}

static lt_status loop_run(lti_loop *l, lt_train_result *result)
{
    LTI_TRY(lti_loop_open(l));
    LTI_TRY(prepare(l, result));
    l->started = lti_seconds();
    l->tokens_at_start = l->at.tokens;
    LTI_TRY(lti_loop_tell_start(l, &result->forecast));
    lt_status status = train_steps(l);
    if (status == LT_OK && l->config->ema_decay > 0) lt_optimizer_swap_ema(l->optimizer);
    if (status == LT_OK && l->recipe.cluster)
        status = lt_cluster_apply(lt_model_params(l->model), l->recipe.cluster, NULL);
    fill_result(l, result);
    if (!l->config->out || (status != LT_OK && status != LT_EINTERRUPTED)) return status;
    char message[1024];
    snprintf(message, sizeof message, "%s", lt_ctx_message(l->ctx));
    LTI_TRY(lti_write_run_info(l, result));
    LTI_TRY(lti_loop_report(l));
    return status == LT_OK ? LT_OK : lti_fail(l->ctx, status, "%s", message);
}

lt_status lt_train(lt_model *model, const lt_dataset *train, const lt_dataset *valid, const lt_train_config *config,
                   lt_train_result *result)
{
    lti_loop l = lti_loop_new(model, train, valid, config);
    *result = (lt_train_result){.valid_loss = NAN, .accuracy = NAN};
    lt_status status = loop_run(&l, result);
    lti_loop_close(&l);
    return status;
}

lt_status lt_train_forecast(lt_model *model, const lt_dataset *train, const lt_dataset *valid,
                            const lt_train_config *config, lt_forecast *forecast)
{
    lti_loop l = lti_loop_new(model, train, valid, config);
    lt_status status = lti_loop_open(&l);
    if (status == LT_OK) status = lti_loop_choose_compute(&l);
    if (status == LT_OK) status = lti_forecast(&l, forecast);
    lti_loop_close(&l);
    return status;
}
