/* loop_open.c - a training run before its first step and after its last: what is trained, with what, from where. */
#include "train/loop.h"

#include "base/text.h"
#include "data/files.h"
#include "kernels/compute_choice.h"
#include "models/model.h"
#include "optim/moments.h"
#include "qat/flips.h"
#include "train/metrics.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- What is trained ---- */

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

/* Classes that have no names yet get the data's. */
static lt_status name_classes(lti_loop *l)
{
    const char *name = lt_model_label(l->model, 0);
    bool unnamed = !name || strncmp(name, "LABEL_", 6) == 0;
    bool told = lt_model_classes(l->model) > 0 && lt_dataset_label(l->train, 0);
    return unnamed && told ? lti_model_take_labels(l->model, l->train) : LT_OK;
}

/* Matrices that stay as they are, in half the bytes; also those that an earlier run narrowed count. */
static lt_status narrow_frozen(lti_loop *l)
{
    lt_dtype type;
    int narrow = 0;
    lti_config_type(l->config->frozen_type, &type);
    if (type == LT_F32) return LT_OK;
    for (int i = 0; i < l->n_params; i++) {
        lt_param *p = lt_params_at(lt_model_params(l->model), i);
        bool matrix = lt_param_role(p) == LT_WEIGHT && lt_param_type(p) == LT_F32 && lt_param_rank(p) >= 2;
        if (matrix && !lt_param_trainable(p)) LTI_TRY(lt_param_narrow(p, type));
        narrow += lt_param_type(p) == type;
    }
    if (narrow) return LT_OK;
    return lti_fail(l->ctx, LT_EINVAL,
                    "frozen_type %s has nothing to hold: no matrix is frozen; give freeze or train_only",
                    l->config->frozen_type);
}

/* What training on a grid keeps beside the weights: learned scales, codes, codebooks. */
static lt_status prepare_grids(const lti_loop *l)
{
    lt_params *params = lt_model_params(l->model);
    if (l->config->cluster.clusters) return lt_cluster_prepare(params, &l->config->cluster);
    if (lt_quant_policy_empty(&l->config->quant)) return LT_OK;
    LTI_TRY(lt_qat_prepare(params, &l->config->quant));
    return lti_flips_start(params, &l->config->quant);
}

/* ---- Beside which runs ---- */

enum { MOST_RUNS = 16 };

/* The first name of a list "a,b,..", to be freed; *at moves behind it. */
static char *take_name(lt_ctx *ctx, const char **at)
{
    size_t n = strcspn(*at, ",");
    char *name = lti_alloc(ctx, n + 1);
    if (name) memcpy(name, *at, n);
    *at += n + ((*at)[n] == ',');
    return name;
}

/* Runs to compare with are looked for before hours go into this one. */
static lt_status check_compared(const lti_loop *l)
{
    lt_ctx *ctx = l->ctx;
    lt_status status = LT_OK;
    const char *at = l->config->compare;
    for (int n = 1; at && *at && status == LT_OK; n++) {
        char *name = take_name(ctx, &at), *path = name ? lti_path_join(ctx, name, "metrics.jsonl") : NULL;
        if (!path)
            status = LT_ENOMEM;
        else if (!*name || n == MOST_RUNS)
            status = lti_fail(ctx, LT_EINVAL, "compare '%s': up to %d directories of runs with commas between",
                              l->config->compare, MOST_RUNS - 1);
        else if (!lti_file_exists(path))
            status = lti_fail(ctx, LT_EINVAL, "compare: %s does not exist; give directories that training wrote", path);
        lti_free(ctx, name);
        lti_free(ctx, path);
    }
    return status;
}

/* ---- With what ---- */

static int64_t steps_of(const lti_loop *l)
{
    if (l->config->steps) return l->config->steps;
    double batches = l->config->epochs * (double)lt_batches_per_epoch(l->batches);
    int64_t steps = (int64_t)ceil(batches / (double)l->config->grad_accumulation_steps - 1e-9);
    return steps > 0 ? steps : 1;
}

static lt_status make_recipe(lti_loop *l)
{
    const lt_train_config *c = l->config;
    bool quantized = !lt_quant_policy_empty(&c->quant);
    l->recipe = (lti_recipe){.ctx = l->ctx,
                             .model = l->model,
                             .quant = quantized ? &c->quant : NULL,
                             .cluster = c->cluster.clusters ? &c->cluster : NULL,
                             .optimizer = l->optimizer,
                             .seed = c->seed,
                             .fused = c->max_grad_norm == 0 && c->grad_accumulation_steps == 1,
                             .layout = lti_row_layout_of(l->model, l->train, l->valid),
                             .smoothing = c->label_smoothing};
    lti_config_type(c->compute, &l->recipe.compute);
    lti_config_type(c->store_activations, &l->recipe.store);
    return lti_recipe_open(&l->recipe);
}

lti_loop lti_loop_new(lt_model *model, const lt_dataset *train, const lt_dataset *valid, const lt_train_config *config)
{
    return (lti_loop){.ctx = lt_params_ctx(lt_model_params(model)),
                      .config = config,
                      .model = model,
                      .train = train,
                      .valid = valid,
                      .metrics = -1,
                      .events = {.fd = -1},
                      .at = {.lr_factor = 1, .valid_loss = NAN, .accuracy = NAN}};
}

lt_status lti_loop_open(lti_loop *l)
{
    const lt_train_config *c = l->config;
    lt_optimizer_config optimizer;
    LTI_TRY(lti_config_check(l->ctx, c));
    LTI_TRY(check_compared(l));
    LTI_TRY(lti_check_model(l->ctx, l->model, l->train, true));
    if (l->valid) LTI_TRY(lti_check_model(l->ctx, l->model, l->valid, true));
    LTI_TRY(lti_config_optimizer(l->ctx, c, &optimizer));
    LTI_TRY(lti_config_schedule(l->ctx, c, &l->schedule));
    if (lt_dataset_rows(l->train) == 0) return lti_fail(l->ctx, LT_EINVAL, "the training data has no row");
    LTI_TRY(name_classes(l));
    LTI_TRY(choose_trainable(l));
    LTI_TRY(narrow_frozen(l));
    LTI_TRY(prepare_grids(l));
    LTI_TRY(lt_batches_create(l->ctx, l->train, NULL, c->batch_size, c->seed, true, &l->batches));
    LTI_TRY(lt_batches_of_step(l->batches, c->grad_accumulation_steps));
    LTI_TRY(lt_optimizer_create(l->ctx, lt_model_params(l->model), &optimizer, &l->optimizer));
    l->was_checkpointed = lt_model_checkpoints(l->model);
    lt_model_set_checkpoint(l->model, c->checkpoint_activations);
    l->steps = steps_of(l);
    l->float_steps = (int64_t)(c->qat_start * (double)l->steps);
    LTI_TRY(make_recipe(l));
    if (!c->out) return LT_OK;
    LTI_TRY(lti_mkdirs(l->ctx, c->out));
    l->checkpoints = lti_path_join(l->ctx, c->out, "checkpoints");
    l->metrics_path = lti_path_join(l->ctx, c->out, "metrics.jsonl");
    return l->checkpoints && l->metrics_path ? LT_OK : LT_ENOMEM;
}

lt_status lti_loop_choose_compute(lti_loop *l)
{
    double f32, bf16;
    bool said = strcmp(l->config->compute, "auto") || *l->compute_note; /* by the user, or by the checkpoint */
    if (said) return LT_OK;
    l->recipe.compute = lti_compute_auto(l->ctx, &f32, &bf16);
    if (f32 > 0 && bf16 > 0)
        lti_print(l->compute_note, sizeof l->compute_note, "auto: bf16 is %.2fx f32 here", bf16 / f32);
    else
        lti_print(l->compute_note, sizeof l->compute_note, "auto: bf16 is not fast here");
    return LT_OK;
}

lt_status lti_loop_open_files(lti_loop *l)
{
    if (!l->resumed_from) lti_forget_moments(lt_model_params(l->model)); /* of an earlier training of this model */
    if (!l->config->out) return LT_OK;
    /* A checkpoint opens as a model: what it lacks lies in the run's directory. */
    LTI_TRY(lti_model_describe(l->model, l->config->out, "float32", NULL));
    if (!l->resumed_from) l->metrics_bytes = -1;
    LTI_TRY(lti_metrics_open(l->ctx, l->metrics_path, l->metrics_bytes, l->at.step, &l->metrics));
    return lti_events_open(l->ctx, l->config->out, l->at.step, &l->events);
}

void lti_loop_close(lti_loop *l)
{
    lt_params *params = lt_model_params(l->model);
    lti_loader_free(l->loader);
    for (int i = 0; l->was_trainable && i < l->n_params; i++) /* but what was narrowed stays frozen */
        if (lt_param_type(lt_params_at(params, i)) == LT_F32)
            lt_param_set_trainable(lt_params_at(params, i), l->was_trainable[i]);
    if (l->optimizer) lt_model_set_checkpoint(l->model, l->was_checkpointed);
    if (l->recipe.plans) lti_recipe_close(&l->recipe);
    lt_optimizer_free(l->optimizer);
    lt_batches_free(l->batches);
    lti_metrics_close(l->metrics);
    lti_events_close(&l->events);
    lti_free(l->ctx, l->was_trainable);
    lti_free(l->ctx, l->checkpoints);
    lti_free(l->ctx, l->metrics_path);
    lti_free(l->ctx, l->resumed_from);
}

/* ---- What there is to say ---- */

static int64_t trainable_elements(const lti_loop *l)
{
    int64_t n = 0;
    for (int i = 0; i < lt_optimizer_count(l->optimizer); i++) n += lt_param_count(lt_optimizer_param(l->optimizer, i));
    return n;
}

lt_status lti_loop_tell_start(lti_loop *l, const lt_forecast *forecast)
{
    if (!l->config->on_start) return LT_OK;
    char *sample = NULL, *table = NULL;
    lt_status status = lt_dataset_show(l->train, lt_model_tokenizer(l->model), 0, "\x01", "\x02", &sample);
    if (status == LT_OK && l->recipe.quant) status = lti_describe_codes(l->model, l->recipe.quant, &table);
    lt_train_start start = {.parameters = lt_model_parameters(l->model),
                            .trainable = trainable_elements(l),
                            .steps = l->steps,
                            .first_step = l->at.step,
                            .train_rows = lt_dataset_rows(l->train),
                            .train_tokens = lt_dataset_scored(l->train),
                            .valid_rows = l->valid ? lt_dataset_rows(l->valid) : 0,
                            .classes = lt_model_classes(l->model),
                            .resumed_from = l->resumed_from,
                            .skipped = l->skipped,
                            .qat_table = table ? table : "",
                            .sample = sample ? sample : "",
                            .compute = lt_dtype_name(l->recipe.compute),
                            .compute_note = l->compute_note,
                            .forecast = *forecast};
    if (status == LT_OK) l->config->on_start(l->config->user, &start);
    lt_buffer_free(l->ctx, sample);
    lt_string_free(l->ctx, table);
    return status;
}

lt_status lti_report_runs(lt_ctx *ctx, const char *out, const char *name, const char *compare, const char *table)
{
    char *names[MOST_RUNS] = {lti_strdup(ctx, name)}, *paths[MOST_RUNS] = {lti_path_join(ctx, out, "metrics.jsonl")};
    char *report = lti_path_join(ctx, out, "report.html");
    int n = 1;
    while (compare && *compare && n < MOST_RUNS) names[n++] = take_name(ctx, &compare);
    lt_status status = report ? LT_OK : LT_ENOMEM;
    for (int i = 0; i < n && status == LT_OK; i++) {
        if (i > 0 && names[i]) paths[i] = lti_path_join(ctx, names[i], "metrics.jsonl");
        if (!names[i] || !paths[i]) status = LT_ENOMEM;
    }
    if (status == LT_OK)
        status = lt_report_write(ctx, report, "lathe train", n, (const char *const *)names, (const char *const *)paths,
                                 table);
    for (int i = 0; i < MOST_RUNS; i++) {
        lti_free(ctx, names[i]);
        lti_free(ctx, paths[i]);
    }
    lti_free(ctx, report);
    return status;
}

lt_status lti_loop_report(lti_loop *l)
{
    return lti_report_runs(l->ctx, l->config->out, l->config->out, l->config->compare, NULL);
}
