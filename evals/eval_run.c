/* eval_run.c - lt_eval_run: one file, its variations, the report.
 *
 * The library owes its callers no JSON type: the report is text. */
#include "evals/eval.h"
#include "train/recipe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void lt_eval_options_init(lt_eval_options *options)
{
    *options = (lt_eval_options){
        .size = sizeof *options, .resamples = 1000, .sample_tokens = 64, .temperature = 1, .seed = 42};
    lt_dataset_options_init(&options->rows);
}

static lt_status check_options(lt_ctx *ctx, const lt_eval_options *o)
{
    lti_kind kind;
    if (o->size != sizeof *o || o->rows.size != sizeof o->rows)
        return lti_fail(ctx, LT_EINVAL, "evaluation options: call lt_eval_options_init first");
    if (!o->model || !o->data == !o->suite)
        return lti_fail(ctx, LT_EINVAL, "evaluation: a model is needed, and either data or a suite");
    lt_model *both[] = {o->model, o->reference};
    for (int i = 0; i < 2 && both[i]; i++)
        if (lt_params_ctx(lt_model_params(both[i])) != ctx)
            return lti_fail(ctx, LT_EINVAL, "evaluation: the model belongs to another context; open it with this one");
    if (!lti_kind_parse(o->task, &kind))
        return lti_fail(ctx, LT_EINVAL, "task '%s' is none of auto, text, chat, choice, cloze, classification",
                        o->task);
    if (o->label_prompt && !strstr(o->label_prompt, "{text}"))
        return lti_fail(ctx, LT_EINVAL, "label_prompt '%s' has no place {text} for the text", o->label_prompt);
    if (o->resamples < 0 || o->resamples > 1000000 || o->limit < 0 || o->samples < 0 || o->samples > 100000 ||
        o->batch_size < 0 || o->sample_tokens < 1 || o->sample_tokens > 1 << 20 || o->task_length < 0 ||
        o->task_length == 1 || !(o->temperature >= 0))
        return lti_fail(ctx, LT_EINVAL,
                        "evaluation: limit, samples, lengths and resamples must not be negative or "
                        "beyond all measure");
    return LT_OK;
}

/* ---- One file ---- */

typedef struct subject {
    lti_source source;
    lti_kind kind;
    bool open_book, classifier;
    const char *name;
} subject;

static lt_status make_view(lti_eval *e, const subject *s, const lti_variation *how, lti_view *view)
{
    *view = (lti_view){.ctx = e->ctx,
                       .kind = s->kind,
                       .path = s->source.path,
                       .slices = {.ctx = e->ctx, .text = {.ctx = e->ctx}},
                       .labels = {.ctx = e->ctx, .text = {.ctx = e->ctx}}};
    snprintf(e->what, sizeof e->what, "%.100s%s%s%s", s->name, how->perturbation ? ", " : "",
             how->perturbation ? lti_perturbation_name(how->perturbation) : "", how->closed ? ", closed book" : "");
    e->seconds = 0;
    lt_status status;
    if (s->kind == LTI_KIND_TEXT || s->kind == LTI_KIND_CHAT) {
        status = lti_view_text(e, &s->source, s->kind, how, s->open_book, view);
    } else {
        const char *label = lt_model_label(e->o->model, 0);
        lti_task_options options = {.kind = s->kind,
                                    .slice = e->o->slice,
                                    .skip_bad_rows = e->o->rows.skip_bad_rows,
                                    .fine_labels = label && strchr(label, ':')};
        status = lti_task_read(&s->source, &options, &view->task);
        if (status == LT_OK) status = s->classifier ? lti_view_classes(e, how, view) : lti_view_choices(e, how, view);
    }
    view->seconds = e->seconds;
    return status;
}

static lt_status add_variation(lti_eval *e, const subject *s, const lti_variation *how, json_t *into, const char *key)
{
    lti_view view;
    json_t *object = json_object();
    lt_status status = make_view(e, s, how, &view);
    if (status == LT_OK) status = lti_summarize(e, &view, -1, object);
    lti_put(e, into, key, object);
    lti_view_free(&view);
    return status;
}

static lt_status add_variations(lti_eval *e, const subject *s, bool open_book, json_t *report)
{
    if (open_book) LTI_TRY(add_variation(e, s, &(lti_variation){.closed = true}, report, "closed_book"));
    if (!e->perturbations) return LT_OK;
    json_t *perturbed = json_object();
    lt_status status = LT_OK;
    for (int k = 1; k < LTI_PERTURB_COUNT && status == LT_OK; k++)
        if (e->perturbations & 1u << k)
            status = add_variation(e, s, &(lti_variation){.perturbation = (lti_perturbation)k}, perturbed,
                                   lti_perturbation_name((lti_perturbation)k));
    lti_put(e, report, "perturbed", perturbed);
    return status;
}

static lt_status add_view(lti_eval *e, const lti_view *view, json_t *report)
{
    lti_put(e, report, "kind", json_string(lti_kind_name(view->kind)));
    if (view->form) lti_put(e, report, "form", json_string(view->form));
    int64_t skipped = view->dataset ? lt_dataset_skipped(view->dataset) : view->task.skipped;
    if (skipped) lti_put(e, report, "skipped_rows", json_integer(skipped));
    LTI_TRY(lti_summarize(e, view, -1, report));
    lti_put(e, report, "seconds", lti_real(view->seconds));
    lti_put(e, report, "tokens_per_second", lti_real((double)view->tokens / view->seconds));
    LTI_TRY(lti_report_slices(e, view, report));
    LTI_TRY(lti_report_findings(e, view, report));
    return lti_report_samples(e, view, report);
}

static lt_status evaluate(lti_eval *e, subject *s, json_t *report)
{
    bool open_book;
    lti_kind_parse(e->o->task, &s->kind);
    lti_kind detected;
    LTI_TRY(lti_kind_of(&s->source, &e->o->rows, &detected, &s->open_book));
    if (s->kind == LTI_KIND_NONE) s->kind = detected;
    s->classifier = lt_model_reads(e->o->model) == LT_DATA_LABELLED;
    if (s->classifier && s->kind != LTI_KIND_CLASSIFICATION)
        return lti_fail(e->ctx, LT_EINVAL,
                        "%s: %s is %s: it predicts no next token, and is evaluated on rows of text and label "
                        "({\"text\", \"label\"}, a .csv with a header, or lines LABEL:sub text)",
                        s->source.path, lt_model_family(e->o->model),
                        lt_model_is_transformer(e->o->model) ? "an encoder" : "a classifier");
    lti_view view;
    lt_status status = make_view(e, s, &(lti_variation){.closed = false}, &view);
    if (status == LT_OK) status = add_view(e, &view, report);
    open_book = view.dataset ? s->open_book : view.task.open_book;
    lti_view_free(&view);
    return status == LT_OK ? add_variations(e, s, open_book, report) : status;
}

lt_status lti_eval_file(lti_eval *e, const char *path, const char *name, json_t *report)
{
    lti_kind kind;
    lti_kind_parse(e->o->task, &kind);
    subject s = {.name = name};
    lti_lines lines = kind == LTI_KIND_NONE             ? LTI_LINES_DETECT
                      : kind == LTI_KIND_CLASSIFICATION ? LTI_LINES_YES
                                                        : LTI_LINES_NO;
    lt_status status = lti_source_open(e->ctx, path, &e->o->rows, e->o->limit, lines, &s.source);
    if (status == LT_OK) status = evaluate(e, &s, report);
    lti_source_close(&s.source);
    return status;
}

/* ---- Rows of numbers ---- */

static lt_status evaluate_numbers(lti_eval *e, json_t *report)
{
    const lt_eval_options *o = e->o;
    if (o->suite || o->slice || e->perturbations)
        return lti_fail(e->ctx, LT_EINVAL, "this %s reads numbers: suites, slices and perturbations are of texts",
                        lt_model_family(o->model));
    lti_view view = {.ctx = e->ctx,
                     .kind = LTI_KIND_CLASSIFICATION,
                     .path = o->data,
                     .slices = {.ctx = e->ctx, .text = {.ctx = e->ctx}},
                     .labels = {.ctx = e->ctx, .text = {.ctx = e->ctx}}};
    lt_status status = lti_view_numbers(e, &view);
    if (status == LT_OK) status = add_view(e, &view, report);
    lti_view_free(&view);
    return status;
}

/* ---- The whole report ---- */

static void on_progress(void *user, int64_t done, int64_t total)
{
    const lti_eval *e = user;
    (void)total;
    if (e->o->on_progress) e->o->on_progress(e->o->user, e->what, e->done + done, e->total);
}

static void describe(lti_eval *e, lt_model *model, const lt_quant_policy *quant, json_t *into)
{
    lt_eval_result r = {.rows = 0};
    lti_describe_model(model, quant, &r);
    lti_put(e, into, "model_bytes", json_integer((json_int_t)r.model_bytes));
    lti_put(e, into, "parameters", json_integer(r.parameters));
    lti_put(e, into, "nonzero_parameters", json_integer(r.nonzero_parameters));
}

static lt_status fill_report(lti_eval *e, json_t *report)
{
    const lt_eval_options *o = e->o;
    const char *slash = o->data ? strrchr(o->data, '/') : NULL;
    const char *name = slash && slash[1] ? slash + 1 : o->data;
    snprintf(e->what, sizeof e->what, "%.100s", o->suite ? "" : name);
    LTI_TRY(lt_model_reads(o->model) == LT_DATA_NUMBERS ? evaluate_numbers(e, report)
            : o->suite                                  ? lti_eval_suite(e, o->suite, report)
                                                        : lti_eval_file(e, o->data, name, report));
    lti_put(e, report, "peak_rss_bytes", json_integer((json_int_t)lt_memory_now().peak_rss));
    describe(e, o->model, o->quant, report);
    if (o->reference) describe(e, o->reference, NULL, json_object_get(report, "reference"));
    return LT_OK;
}

static lt_status write_report(lti_eval *e, const json_t *report, char **text)
{
    char *made = e->lost ? NULL : json_dumps(report, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
    if (!made) return lti_fail(e->ctx, LT_ENOMEM, "out of memory while writing the report");
    *text = lti_strdup(e->ctx, made);
    free(made);
    return *text ? LT_OK : LT_ENOMEM;
}

lt_status lt_eval_run(lt_ctx *ctx, const lt_eval_options *options, char **report)
{
    *report = NULL;
    LTI_TRY(check_options(ctx, options));
    lti_eval e = {.ctx = ctx, .o = options};
    LTI_TRY(lti_perturbations(ctx, options->perturb, &e.perturbations));
    lti_scorer_options how = {.model = options->model,
                              .reference = options->reference,
                              .quant = options->quant,
                              .batch = options->batch_size,
                              .stop = options->stop,
                              .on_progress = on_progress,
                              .user = &e};
    if (lt_model_reads(options->model) != LT_DATA_NUMBERS) LTI_TRY(lti_scorer_create(ctx, &how, &e.scorer));
    json_t *object = json_object();
    lt_status status = object ? fill_report(&e, object) : lti_fail(ctx, LT_ENOMEM, "out of memory for a report");
    if (status == LT_OK) status = write_report(&e, object, report);
    json_decref(object);
    lti_scorer_free(e.scorer);
    return status;
}
