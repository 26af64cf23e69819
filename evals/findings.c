/* findings.c - where to look: documents that changed most, answers that flipped, labels that are confused, perplexity
 * by position, and how diverse generated texts are. */
#include "data/tokenizer/tokenizer.h"
#include "evals/diversity.h"
#include "evals/eval.h"
#include "lathe/infer.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { SHOWN = 10, SAMPLE_BATCH = 8, SAMPLE_PROMPT = 8, SAMPLE_PROMPT_TASK = 512 };

static void append(lti_eval *e, json_t *list, json_t *value)
{
    if (json_array_append_new(list, value)) e->lost = true;
}

/* {"where": "file:line", "text": "..."} */
static json_t *found(lti_eval *e, const lti_view *view, int64_t item)
{
    char where[300], text[400];
    int64_t line = view->items[item].line;
    json_t *object = json_object();
    if (line)
        snprintf(where, sizeof where, "%.250s:%" PRId64, view->path, line);
    else
        snprintf(where, sizeof where, "%.250s, document %" PRId64, view->path, item + 1);
    lti_view_preview(e, view, item, text);
    lti_put(e, object, "where", json_string(where));
    lti_put(e, object, "text", json_string(text));
    return object;
}

/* ---- Documents that changed most ---- */

typedef struct ranked {
    double value;
    int64_t item;
} ranked;

static int larger_first(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->value != y->value) return x->value < y->value ? 1 : -1;
    return x->item < y->item ? -1 : x->item > y->item;
}

static lt_status put_worst(lti_eval *e, const lti_view *view, json_t *into)
{
    ranked *list = lti_alloc_array(e->ctx, (size_t)view->count + 1, sizeof *list);
    if (!list) return LT_ENOMEM;
    for (int64_t i = 0; i < view->count; i++) {
        const lti_item *item = &view->items[i];
        list[i] = (ranked){item->compared ? item->divergence / (double)item->compared : 0, i};
    }
    qsort(list, (size_t)view->count, sizeof *list, larger_first);
    json_t *worst = json_array();
    for (int64_t i = 0; i < view->count && i < SHOWN; i++) {
        const lti_item *item = &view->items[list[i].item];
        json_t *object = found(e, view, list[i].item);
        lti_put(e, object, "kl", lti_real(list[i].value));
        lti_put(e, object, "perplexity", lti_real(exp(item->nll[0] / (double)item->tokens)));
        lti_put(e, object, "reference_perplexity", lti_real(exp(item->nll[1] / (double)item->tokens)));
        append(e, worst, object);
    }
    lti_put(e, into, "worst", worst);
    lti_free(e->ctx, list);
    return LT_OK;
}

/* What a choice or class is called; a continuation is "right" or "wrong". */
static const char *answer_text(const lti_view *view, int64_t item, int32_t answer)
{
    if (view->kind == LTI_KIND_CLOZE) return answer == 0 ? "right" : "wrong";
    if (view->classes) return lti_names_at(lti_view_labels(view), answer);
    return lti_task_text(&view->task, view->task.choices[view->task.rows[item].first + answer]);
}

static void put_flips(lti_eval *e, const lti_view *view, json_t *into)
{
    json_t *flips = json_array();
    int shown = 0;
    for (int64_t i = 0; i < view->count && shown < SHOWN; i++) {
        const lti_item *item = &view->items[i];
        if (item->answer[0] == item->answer[1]) continue;
        json_t *object = found(e, view, i);
        lti_put(e, object, "gold", json_string(answer_text(view, i, item->gold)));
        lti_put(e, object, "before", json_string(answer_text(view, i, item->answer[1])));
        lti_put(e, object, "after", json_string(answer_text(view, i, item->answer[0])));
        append(e, flips, object);
        shown++;
    }
    lti_put(e, into, "flips", flips);
}

/* ---- Confusions ---- */

static int by_number(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* Wrong answers as gold * labels + answer, sorted; equal ones are counted and ranked. */
static lt_status put_confusions(lti_eval *e, const lti_view *view, json_t *into)
{
    const lti_names *labels = lti_view_labels(view);
    int64_t *wrong = lti_alloc_array(e->ctx, (size_t)view->count + 1, sizeof *wrong), n = 0, pairs = 0;
    ranked *list = lti_alloc_array(e->ctx, (size_t)view->count + 1, sizeof *list);
    for (int64_t i = 0; wrong && list && i < view->count; i++)
        if (!view->items[i].right[0]) wrong[n++] = view->items[i].gold * labels->count + view->items[i].answer[0];
    if (n) qsort(wrong, (size_t)n, sizeof *wrong, by_number);
    for (int64_t i = 0; i < n; i++) {
        if (i == 0 || wrong[i] != wrong[i - 1]) list[pairs++].item = wrong[i];
        list[pairs - 1].value++;
    }
    if (pairs) qsort(list, (size_t)pairs, sizeof *list, larger_first);
    json_t *confusions = json_array();
    for (int64_t i = 0; i < pairs && i < SHOWN; i++) {
        json_t *object = json_object();
        lti_put(e, object, "gold", json_string(lti_names_at(labels, list[i].item / labels->count)));
        lti_put(e, object, "answer", json_string(lti_names_at(labels, list[i].item % labels->count)));
        lti_put(e, object, "count", json_integer((json_int_t)list[i].value));
        append(e, confusions, object);
    }
    lti_put(e, into, "confusions", confusions);
    bool made = wrong && list;
    lti_free(e->ctx, wrong);
    lti_free(e->ctx, list);
    return made ? LT_OK : LT_ENOMEM;
}

/* ---- By position ---- */

static void put_positions(lti_eval *e, const lti_view *view, json_t *into)
{
    json_t *curve = json_array();
    for (int64_t b = 0; b < LTI_POSITION_BUCKETS; b++) {
        double n = (double)view->place_tokens[b];
        if (n == 0) continue;
        json_t *object = json_object();
        lti_put(e, object, "from", json_integer(1 + b * view->place_width));
        lti_put(e, object, "to", json_integer((b + 1) * view->place_width));
        lti_put(e, object, "tokens", json_integer(view->place_tokens[b]));
        lti_put(e, object, "perplexity", lti_real(exp(view->place_nll[0][b] / n)));
        if (e->o->reference) lti_put(e, object, "reference_perplexity", lti_real(exp(view->place_nll[1][b] / n)));
        append(e, curve, object);
    }
    lti_put(e, into, "by_position", curve);
}

lt_status lti_report_findings(lti_eval *e, const lti_view *view, json_t *into)
{
    if (view->truncated) lti_put(e, into, "truncated", json_integer(view->truncated));
    if (view->plain) return LT_OK;
    if (view->dataset) put_positions(e, view, into);
    if (view->classes) LTI_TRY(put_confusions(e, view, into));
    if (!e->o->reference) return LT_OK;
    if (view->answers) put_flips(e, view, into);
    return put_worst(e, view, into);
}

/* ---- Samples ---- */

/* How text number `index` begins: the first ids of a document, or the last `most` of a question's prompt. */
static lt_status sample_prompt(lti_eval *e, const lti_view *view, int64_t index, int64_t most, lt_ids *ids)
{
    if (view->dataset) {
        int64_t length, row = index % lt_dataset_rows(view->dataset);
        const int32_t *begin = lt_dataset_row(view->dataset, row, &length);
        if (most > SAMPLE_PROMPT) most = SAMPLE_PROMPT;
        return lti_ids_append(e->ctx, ids, begin, length < most ? length : most);
    }
    const lti_task *task = &view->task;
    const lti_task_row *row = &task->rows[index % task->count];
    lti_text text = {.ctx = e->ctx};
    lti_task_prompt(e, task, row, &(lti_variation){.closed = false}, task->contexts ? task->choices[row->first] : 0,
                    &text);
    lt_status status = text.failed ? LT_ENOMEM
                                   : lt_tokenizer_encode(lt_model_tokenizer(e->o->model), text.data ? text.data : "",
                                                         (int64_t)text.length, LT_ENCODE_SPECIAL_TOKENS, ids);
    int64_t drop = ids->count - most;
    for (int64_t i = 0; drop > 0 && i < most; i++) ids->ids[i] = ids->ids[i + drop];
    if (drop > 0) ids->count = most;
    lti_text_free(&text);
    return status;
}

static bool goes_on(void *user, int row, const char *text, int64_t bytes)
{
    const lti_eval *e = user;
    (void)row, (void)text, (void)bytes;
    return !e->o->stop || !*e->o->stop;
}

static lt_status generate(lti_eval *e, const lti_view *view, const lt_session_options *options, lt_ids *prompts,
                          lt_generation *texts)
{
    lt_sampling how;
    lt_sampling_init(&how);
    how.max_tokens = e->o->sample_tokens;
    how.temperature = e->o->temperature;
    how.seed = e->o->seed;
    int64_t reply = how.max_tokens < options->length / 2 ? how.max_tokens : options->length / 2;
    for (int64_t i = 0; i < e->o->samples; i++)
        LTI_TRY(sample_prompt(e, view, i, options->length - 1 - reply, &prompts[i]));
    lt_session *session;
    LTI_TRY(lt_session_create(e->o->model, options, &session));
    lt_status status = lt_generate(session, (int)e->o->samples, prompts, &how, goes_on, e, texts);
    lt_session_free(session);
    LTI_TRY(status);
    return goes_on(e, 0, "", 0) ? LT_OK : lti_fail(e->ctx, LT_EINTERRUPTED, "interrupted; nothing was written");
}

static lt_status put_diversity(lti_eval *e, const lt_generation *texts, lt_ids *ids, json_t *into)
{
    static const char *const keys[] = {"distinct_1", "distinct_2", "distinct_3"};
    lti_diversity d;
    int64_t tokens = 0, n = e->o->samples;
    for (int64_t i = 0; i < n; i++) {
        ids[i] = texts[i].ids; /* borrowed */
        tokens += ids[i].count;
    }
    LTI_TRY(lti_diversity_of(e->ctx, n, ids, &d));
    json_t *object = json_object();
    lti_put(e, object, "samples", json_integer(n));
    lti_put(e, object, "tokens", json_integer(tokens));
    for (int i = 0; i < 3; i++) lti_put(e, object, keys[i], lti_real(d.distinct[i]));
    lti_put(e, object, "repetition", lti_real(d.repetition));
    lti_put(e, object, "self_overlap", lti_real(d.overlap));
    lti_put(e, into, "diversity", object);
    return LT_OK;
}

lt_status lti_report_samples(lti_eval *e, const lti_view *view, json_t *into)
{
    size_t n = (size_t)e->o->samples;
    int64_t context = lt_model_context(e->o->model);
    if (n == 0 || lt_model_reads(e->o->model) != LT_DATA_TOKENS) return LT_OK;
    lt_session_options options;
    lt_session_options_init(&options);
    options.batch = n < SAMPLE_BATCH ? (int64_t)n : SAMPLE_BATCH;
    options.length = (view->dataset ? SAMPLE_PROMPT : SAMPLE_PROMPT_TASK) + e->o->sample_tokens;
    if (options.length > context) options.length = context;
    options.quant = e->o->quant;
    lt_ids *prompts = lti_alloc_array(e->ctx, n, sizeof *prompts), *ids = lti_alloc_array(e->ctx, n, sizeof *ids);
    lt_generation *texts = lti_alloc_array(e->ctx, n, sizeof *texts);
    lt_status status = prompts && ids && texts ? generate(e, view, &options, prompts, texts) : LT_ENOMEM;
    if (status == LT_OK) status = put_diversity(e, texts, ids, into);
    for (size_t i = 0; i < n && prompts && texts; i++) {
        lt_ids_free(e->ctx, &prompts[i]);
        lt_generation_free(e->ctx, &texts[i]);
    }
    lti_free(e->ctx, prompts);
    lti_free(e->ctx, ids);
    lti_free(e->ctx, texts);
    return status;
}
