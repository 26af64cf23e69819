/* lr_find.c - the range test of the learning rate (Smith, Cyclical Learning Rates, 2017): a short training whose rate
 * grows by a constant factor each step, from far too small to far too large.
 *
 * Losses are averaged (0.95, bias corrected), because single ones jump. The test ends early when the average passes
 * four times its best, or is no number. What is suggested is the rate where the average falls fastest per decade, or a
 * tenth of the rate where it was lowest if that is less: the customary two readings of the picture, and the careful
 * one. */
#include "base/text.h"
#include "data/files.h"
#include "optim/moments.h"
#include "train/loop.h"
#include "train/plot.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double KEEP = 0.95, DIVERGED = 4;
enum { LEAST_STEPS = 10, MOST_STEPS = 100000 };

typedef struct range_test {
    lti_loop loop;
    double low, high;
    int64_t steps, done;
    double *rate, *loss, *average; /* [steps] */
    int n_params;
    void **saved; /* [n_params]: what weights and states were; NULL for those that are not written */
} range_test;

/* ---- The model as it was ---- */

static lt_status save_model(range_test *t)
{
    lt_ctx *ctx = t->loop.ctx;
    lt_params *params = lt_model_params(t->loop.model);
    t->n_params = lt_params_count(params);
    t->saved = lti_alloc_array(ctx, (size_t)t->n_params + 1, sizeof *t->saved);
    if (!t->saved) return LT_ENOMEM;
    for (int i = 0; i < t->n_params; i++) {
        lt_param *p = lt_params_at(params, i);
        if (lt_param_mapped(p) || lt_param_role(p) == LT_SCRATCH) continue;
        t->saved[i] = lti_alloc(ctx, lt_param_bytes(p));
        if (!t->saved[i]) return LT_ENOMEM;
        memcpy(t->saved[i], lt_param_read(p), lt_param_bytes(p));
    }
    return LT_OK;
}

static void restore_model(range_test *t)
{
    lt_params *params = lt_model_params(t->loop.model);
    lti_forget_moments(params);
    for (int i = 0; t->saved && i < t->n_params; i++) {
        lt_param *p = lt_params_at(params, i);
        if (!t->saved[i]) continue;
        memcpy(lt_param_data(p), t->saved[i], lt_param_bytes(p));
        lt_param_touch(p);
        lti_free(t->loop.ctx, t->saved[i]);
    }
    lti_free(t->loop.ctx, t->saved);
}

/* ---- The test ---- */

static lt_status run_steps(range_test *t)
{
    lti_loop *l = &t->loop;
    double sum = 0, weight = 0, best = INFINITY;
    for (int64_t i = 0; i < t->steps; i++) {
        lt_train_progress p = {.loss = NAN};
        bool finite;
        l->schedule.lr = t->low * pow(t->high / t->low, (double)i / (double)(t->steps - 1));
        LTI_TRY(lti_loop_step(l, &p, &finite));
        if (l->config->stop && *l->config->stop)
            return lti_fail(l->ctx, LT_EINTERRUPTED, "the range test was stopped after %lld steps", (long long)i);
        if (!finite) return LT_OK;
        sum = KEEP * sum + (1 - KEEP) * p.loss;
        weight = KEEP * weight + (1 - KEEP);
        t->rate[i] = l->schedule.lr;
        t->loss[i] = p.loss;
        t->average[i] = sum / weight;
        t->done = i + 1;
        if (t->average[i] < best) best = t->average[i];
        if (i >= LEAST_STEPS && t->average[i] > DIVERGED * best) return LT_OK;
        if (l->config->on_progress) {
            p.step = i + 1, p.steps = t->steps, p.valid_loss = p.accuracy = p.grad_norm = p.eta = NAN;
            l->config->on_progress(l->config->user, &p);
        }
    }
    return LT_OK;
}

static lt_status judge(const range_test *t, lt_lr_found *f)
{
    if (t->done < LEAST_STEPS)
        return lti_fail(
            t->loop.ctx, LT_ENONFINITE,
            "the loss was no number after %lld steps at a learning rate of %g: the model or its data are broken, "
            "or the range begins too high; try a lower one",
            (long long)t->done, t->loop.schedule.lr);
    int64_t lowest = 0;
    for (int64_t i = 0; i < t->done; i++)
        if (t->average[i] < t->average[lowest]) lowest = i;
    double half = (t->average[LEAST_STEPS - 1] + t->average[lowest]) / 2;
    int64_t steepest = lowest;
    while (steepest > 0 && t->average[steepest] < half) steepest--;
    *f = (lt_lr_found){.steepest = t->rate[steepest],
                       .lowest_loss = t->average[lowest],
                       .steps = t->done,
                       .diverged_at = t->done < t->steps ? t->rate[t->done - 1] : NAN};
    f->suggested = fmin(f->steepest, t->rate[lowest] / 10);
    return LT_OK;
}

/* Losses, their average, and the suggestion as a line from the lowest to the highest point shown. */
static lt_status draw(const range_test *t, const lt_lr_found *f, const char *path)
{
    lti_text text = {.ctx = t->loop.ctx};
    double line[2] = {f->suggested, f->suggested}, ends[2] = {f->lowest_loss, t->average[0]};
    lti_curve curves[] = {{t->rate, t->average, (int)t->done}, {line, ends, 2}};
    lti_plot(&text, NULL, curves, LTI_COUNT(curves), true);
    lt_status status = text.failed ? LT_ENOMEM : lti_file_write_atomic(t->loop.ctx, path, text.data, text.length);
    lti_text_free(&text);
    return status;
}

static lt_status run_test(range_test *t, const char *svg, lt_lr_found *found)
{
    lt_ctx *ctx = t->loop.ctx;
    lt_forecast forecast;
    LTI_TRY(save_model(t));
    t->rate = lti_alloc_array(ctx, (size_t)t->steps * 3, sizeof *t->rate);
    if (!t->rate) return LT_ENOMEM;
    t->loss = t->rate + t->steps;
    t->average = t->loss + t->steps;
    LTI_TRY(lti_loop_open(&t->loop));
    LTI_TRY(lti_loop_choose_compute(&t->loop));
    LTI_TRY(lti_forecast(&t->loop, &forecast));
    LTI_TRY(lti_forecast_check(ctx, t->loop.config, &forecast));
    lti_forget_moments(lt_model_params(t->loop.model));
    t->loop.steps = t->steps;
    lt_schedule_init(&t->loop.schedule); /* constant: each step says its own rate */
    t->loop.started = lti_seconds();
    LTI_TRY(run_steps(t));
    LTI_TRY(judge(t, found));
    return svg ? draw(t, found, svg) : LT_OK;
}

lt_status lt_lr_find(lt_model *model, const lt_dataset *train, const lt_train_config *config, double low, double high,
                     int64_t steps, const char *svg, lt_lr_found *found)
{
    lt_ctx *ctx = lt_params_ctx(lt_model_params(model));
    *found = (lt_lr_found){0};
    if (!(low > 0) || !(high > low) || !isfinite(high) || steps < LEAST_STEPS || steps > MOST_STEPS)
        return lti_fail(ctx, LT_EINVAL,
                        "learning rates from %g to %g in %lld steps; a rising range above 0 and %d to %d "
                        "steps are wanted",
                        low, high, (long long)steps, LEAST_STEPS, MOST_STEPS);
    lt_train_config quiet = *config; /* no files, no resume, no averages: nothing of this is kept */
    quiet.out = NULL, quiet.resume = NULL, quiet.save_every = 0, quiet.ema_decay = 0, quiet.steps = steps;
    quiet.compare = NULL, quiet.max_seconds = 0;
    quiet.frozen_type = "f32"; /* what is narrowed does not become wide again */
    range_test t = {.low = low, .high = high, .steps = steps};
    t.loop = lti_loop_new(model, train, NULL, &quiet);
    lt_status status = run_test(&t, svg, found);
    lti_loop_close(&t.loop);
    restore_model(&t);
    lti_free(ctx, t.rate);
    return status;
}
