/* class_view.c - classification of texts by a model's head, and the F1 of classes whoever chose them. */
#include "evals/eval.h"

#include "train/recipe.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Whose class is a label ---- */

/* The class of a label: by its name, else as a number from 0. */
static int32_t class_of(const lt_model *model, const char *label)
{
    int64_t n = lt_model_classes(model);
    for (int64_t i = 0; i < n; i++) {
        const char *name = lt_model_label(model, i);
        if (name && !strcmp(name, label)) return (int32_t)i;
    }
    char *end;
    long long number = strtoll(label, &end, 10);
    return *label && !*end && number >= 0 && number < n ? (int32_t)number : -1;
}

lt_status lti_class_labels(lti_eval *e, lti_view *view)
{
    const lt_model *model = e->o->model;
    int64_t n = lt_model_classes(model);
    for (int64_t i = 0; i < n; i++) {
        char number[24];
        int32_t place;
        snprintf(number, sizeof number, "%lld", (long long)i);
        const char *name = lt_model_label(model, i);
        LTI_TRY(lti_names_add(&view->labels, name ? name : number, &place));
    }
    if (view->labels.count == n) return LT_OK;
    return lti_fail(e->ctx, LT_EINVAL, "two of the model's %lld classes have one name", (long long)n);
}

/* view->labels become the model's classes; items' gold their numbers. */
static lt_status map_labels(lti_eval *e, lti_view *view)
{
    const lti_task *task = &view->task;
    const lt_model *model = e->o->model;
    int64_t n = lt_model_classes(model);
    LTI_TRY(lti_class_labels(e, view));
    for (int64_t i = 0; i < task->count; i++) {
        const lti_task_row *row = &task->rows[i];
        const char *label = lti_names_at(&task->labels, row->gold);
        int32_t class = class_of(model, label);
        if (class < 0)
            return lti_fail(
                e->ctx, LT_EINVAL,
                "%s:%lld: '%.60s' is none of the model's %lld classes ('%.40s', ...); its config.json names "
                "them in id2label",
                view->path, (long long)row->line, label, (long long)n, lti_names_at(&view->labels, 0));
        view->items[i] = (lti_item){.line = row->line, .slice = row->slice, .gold = class, .tokens = 1, .compared = 1};
    }
    return LT_OK;
}

/* ---- Scores ---- */

/* Too long a text loses ids before the last, which ends it ("[SEP]"). */
static lt_status encode_rows(lti_eval *e, lti_view *view, const lti_variation *how, lt_ids *ids, lti_score_row *rows)
{
    lt_tokenizer *tok = lt_model_tokenizer(e->o->model);
    int64_t most = lt_model_context(e->o->model);
    if (e->o->task_length && e->o->task_length < most) most = e->o->task_length;
    lti_text text = {.ctx = e->ctx};
    lt_status status = LT_OK;
    for (int64_t i = 0; i < view->count && status == LT_OK; i++) {
        const char *query = lti_task_text(&view->task, view->task.rows[i].query);
        int64_t begin = ids->count;
        text.length = 0;
        lti_text_add(&text, "", 0);
        lti_perturb(how->perturbation, e->o->seed, query, query, &text);
        status = text.failed ? LT_ENOMEM
                             : lt_tokenizer_encode(tok, text.data, (int64_t)text.length, LT_ENCODE_SPECIAL_TOKENS, ids);
        if (status != LT_OK) break;
        if (ids->count == begin)
            status = lti_fail(e->ctx, LT_EFORMAT, "%s:%lld: the text has no ids", view->path,
                              (long long)view->items[i].line);
        if (ids->count - begin > most) {
            ids->ids[begin + most - 1] = ids->ids[ids->count - 1];
            ids->count = begin + most;
            view->truncated++;
        }
        rows[i].length = ids->count - begin;
    }
    lti_text_free(&text);
    for (int64_t i = 0, at = 0; i < view->count && status == LT_OK; at += rows[i++].length) rows[i].ids = ids->ids + at;
    return status;
}

static double log_sum(const lt_real *z, int64_t n)
{
    double most = z[0], sum = 0;
    for (int64_t i = 1; i < n; i++) most = (double)z[i] > most ? (double)z[i] : most;
    for (int64_t i = 0; i < n; i++) sum += exp((double)z[i] - most);
    return most + log(sum);
}

static int32_t best_of(const lt_real *z, int64_t n)
{
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        if (z[i] > z[best]) best = i;
    return best;
}

void lti_class_item(lti_item *item, int64_t n, const lt_real *z, const lt_real *reference)
{
    const lt_real *both[] = {z, reference};
    double lse[2] = {0, 0};
    for (int w = 0; w < 2 && both[w]; w++) {
        lse[w] = log_sum(both[w], n);
        item->nll[w] = lse[w] - (double)both[w][item->gold];
        item->answer[w] = best_of(both[w], n);
        item->right[w] = item->answer[w] == item->gold;
    }
    if (!reference) return;
    item->agreed = item->answer[0] == item->answer[1];
    for (int64_t i = 0; i < n; i++) {
        double log_p = (double)reference[i] - lse[1];
        item->divergence += exp(log_p) * (log_p - ((double)z[i] - lse[0]));
    }
    if (item->divergence < 0) item->divergence = 0;
}

static lt_status score(lti_eval *e, lti_view *view, const lti_score_row *rows, lt_real *logits, lt_real *reference)
{
    int64_t n = lt_model_classes(e->o->model);
    e->done = 0, e->total = view->count;
    double start = lti_seconds();
    LTI_TRY(lti_scorer_classes(e->scorer, view->count, rows, logits, e->o->reference ? reference : NULL));
    e->seconds += lti_seconds() - start;
    for (int64_t i = 0; i < view->count; i++)
        lti_class_item(&view->items[i], n, logits + i * n, e->o->reference ? reference + i * n : NULL);
    return LT_OK;
}

lt_status lti_view_classes(lti_eval *e, const lti_variation *how, lti_view *view)
{
    int64_t classes = lt_model_classes(e->o->model);
    if (classes == 0)
        return lti_fail(e->ctx, LT_EINVAL, "this %s has no classification head: %s cannot be evaluated with it",
                        lt_model_family(e->o->model), view->path);
    LTI_TRY(lti_view_items(view, view->task.count));
    view->answers = view->classes = true;
    lt_ids ids = {0};
    size_t n = (size_t)view->count;
    lti_score_row *rows = lti_alloc_array(e->ctx, n, sizeof *rows);
    lt_real *logits = lti_alloc_array(e->ctx, n * (size_t)classes, 2 * sizeof *logits);
    lt_status status = rows && logits ? map_labels(e, view) : LT_ENOMEM;
    if (status == LT_OK) status = encode_rows(e, view, how, &ids, rows);
    if (status == LT_OK) status = score(e, view, rows, logits, logits + n * (size_t)classes);
    view->tokens = ids.count;
    lt_ids_free(e->ctx, &ids);
    lti_free(e->ctx, logits);
    lti_free(e->ctx, rows);
    return status;
}

/* ---- F1 ---- */

double lti_macro_f1(const lti_view *view, int which, int32_t slice, int64_t *counts)
{
    int64_t n = lti_view_labels(view)->count, *right = counts, *golds = counts + n, *answers = counts + 2 * n, seen = 0;
    double sum = 0;
    memset(counts, 0, 3 * (size_t)n * sizeof *counts);
    for (int64_t i = 0; i < view->count; i++) {
        const lti_item *item = &view->items[i];
        if (slice >= 0 && item->slice != slice) continue;
        golds[item->gold]++;
        answers[item->answer[which]]++;
        right[item->gold] += item->right[which];
    }
    for (int64_t k = 0; k < n; k++) {
        if (golds[k] + answers[k] == 0) continue;
        sum += 2.0 * (double)right[k] / (double)(golds[k] + answers[k]);
        seen++;
    }
    return seen ? sum / (double)seen : 0;
}
