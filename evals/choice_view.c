/* choice_view.c - choices, continuations and a decoder's labels by log-likelihood.
 *
 * The border: prompt and choice are encoded as one text, because that is how the model would read it; the choice's ids
 * are those behind as many as the prompt alone has (the rule of the lm-evaluation-harness, so that numbers can be
 * compared). Blanks that end the prompt go to the choice first, where tokenizers want them. */
#include "evals/eval.h"

#include "data/tokenizer/tokenizer.h"

#include <math.h>
#include <string.h>

typedef struct scored_choice {
    int64_t begin, length, from; /* ids of the row; the first id of the choice */
    int64_t bytes;               /* of the choice's text */
    int64_t at;                  /* of its first score */
} scored_choice;

typedef struct encoder {
    lti_eval *e;
    lti_view *view;
    const lti_variation *how;
    lt_tokenizer *tok;
    lt_ids ids, prompt;
    scored_choice *choices;
    int64_t count, scores, most;
    lti_text text;
} encoder;

/* ---- Prompts ---- */

void lti_task_prompt(const lti_eval *e, const lti_task *task, const lti_task_row *row, const lti_variation *how,
                     int64_t place, lti_text *out)
{
    lti_text plain = {.ctx = e->ctx};
    bool book = row->context && !how->closed;
    if (book) lti_text_format(&plain, "%s\n", lti_task_text(task, row->context));
    lti_text_format(&plain, "%s", lti_task_text(task, place ? place : row->query));
    const char *query = plain.data ? plain.data : "";
    const char *prompt = e->o->label_prompt ? e->o->label_prompt : "{text}\nLabel:";
    const char *mark = task->kind == LTI_KIND_CLASSIFICATION ? strstr(prompt, "{text}") : NULL;
    if (mark) lti_text_add(out, prompt, (size_t)(mark - prompt));
    lti_perturb(how->perturbation, e->o->seed, place ? lti_task_text(task, row->query) : query, query, out);
    if (mark) lti_text_format(out, "%s", mark + strlen("{text}"));
    lti_text_format(out, "%s", lti_task_text(task, row->suffix));
    out->failed |= plain.failed;
    lti_text_free(&plain);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* What stands between prompt and choice: a blank, unless one is there or the prompt ends in what binds to the next. */
static const char *delimiter(const lti_eval *e, const char *prompt, size_t n, const char *choice)
{
    if (e->o->delimiter) return e->o->delimiter;
    if (n == 0 || is_blank(prompt[n - 1]) || is_blank(*choice) || strchr("=([{<#$@/-", prompt[n - 1])) return "";
    return " ";
}

/* ---- Ids ---- */

/* BOS where the tokenizer adds one, or where there would be nothing to predict from. */
static lt_status begin_row(encoder *c, bool empty)
{
    int32_t bos = lt_tokenizer_bos(c->tok), first = bos >= 0 ? bos : lt_tokenizer_eos(c->tok);
    if (!empty && !lt_tokenizer_adds_bos(c->tok)) return LT_OK;
    if (first < 0)
        return lti_fail(c->e->ctx, LT_EINVAL,
                        "a prompt is empty and the tokenizer has no token that begins a text: nothing predicts the "
                        "choice");
    return lti_ids_append(c->e->ctx, &c->ids, &first, 1);
}

/* Encodes c->text[0 .. prompt) + rest as one more choice. */
static lt_status encode(encoder *c, size_t prompt, int64_t bytes)
{
    while (prompt && is_blank(c->text.data[prompt - 1])) prompt--;
    c->prompt.count = 0;
    LTI_TRY(lt_tokenizer_encode(c->tok, c->text.data, (int64_t)prompt, 0, &c->prompt));
    scored_choice *one = &c->choices[c->count++];
    *one = (scored_choice){.begin = c->ids.count, .bytes = bytes, .at = c->scores};
    LTI_TRY(begin_row(c, c->prompt.count == 0));
    int64_t before = c->ids.count - one->begin;
    LTI_TRY(lt_tokenizer_encode(c->tok, c->text.data, (int64_t)c->text.length, 0, &c->ids));
    one->length = c->ids.count - one->begin;
    one->from = before + c->prompt.count;
    if (one->from >= one->length) one->from = one->length - 1; /* the border lies within the last id */
    if (one->from < 1) return lti_fail(c->e->ctx, LT_EFORMAT, "a choice of %lld bytes has no ids", (long long)bytes);
    int64_t drop = one->length - c->most;
    if (drop > 0) {
        one->begin += drop, one->length -= drop;
        one->from = one->from - drop < 1 ? 1 : one->from - drop;
        c->view->truncated++;
    }
    c->scores += one->length - one->from;
    return LT_OK;
}

static lt_status encode_choice(encoder *c, const lti_task_row *row, int64_t place, const char *choice)
{
    const lti_task *task = &c->view->task;
    c->text.length = 0;
    lti_text_add(&c->text, "", 0);
    lti_task_prompt(c->e, task, row, c->how, task->contexts ? place : 0, &c->text);
    if (c->text.failed) return LT_ENOMEM;
    size_t prompt = c->text.length;
    lti_text_format(&c->text, "%s%s", delimiter(c->e, c->text.data, prompt, choice), choice);
    return c->text.failed ? LT_ENOMEM : encode(c, prompt, (int64_t)strlen(choice));
}

static int32_t choices_of(const lti_task *task, const lti_task_row *row)
{
    return task->kind == LTI_KIND_CLASSIFICATION ? (int32_t)task->labels.count : row->choices;
}

static lt_status encode_rows(encoder *c)
{
    const lti_task *task = &c->view->task;
    size_t n = 0;
    for (int64_t i = 0; i < task->count; i++) n += (size_t)choices_of(task, &task->rows[i]);
    c->choices = lti_alloc_array(c->e->ctx, n, sizeof *c->choices);
    if (!c->choices) return LT_ENOMEM;
    for (int64_t i = 0; i < task->count; i++) {
        const lti_task_row *row = &task->rows[i];
        for (int32_t k = 0; k < choices_of(task, row); k++) {
            int64_t place = row->choices ? task->choices[row->first + k] : 0;
            const char *choice = !row->choices    ? lti_names_at(&task->labels, k)
                                 : task->contexts ? lti_task_text(task, row->query)
                                                  : lti_task_text(task, place);
            if (encode_choice(c, row, place, choice) != LT_OK)
                return lti_fail_in(c->e->ctx, "%s:%lld", c->view->path, (long long)row->line);
        }
    }
    return LT_OK;
}

/* ---- Items ---- */

/* Sums of one choice: log-likelihood of both models, and whether each would have written it. */
typedef struct tally {
    double logp[2];
    bool greedy[2];
} tally;

static tally add_up(const encoder *c, const scored_choice *one, const lti_score *scores, lti_item *item)
{
    tally sum = {{0, 0}, {true, true}};
    for (int64_t t = one->from; t < one->length; t++) {
        const lti_score *s = &scores[one->at + t - one->from];
        int32_t id = c->ids.ids[one->begin + t];
        sum.logp[0] += s->logp;
        sum.logp[1] += s->ref_logp;
        sum.greedy[0] &= s->best == id;
        sum.greedy[1] &= s->ref_best == id;
        item->divergence += s->divergence;
        item->agreed += s->best == s->ref_best;
        item->compared++;
    }
    return sum;
}

static void make_item(const encoder *c, const lti_task_row *row, const scored_choice *choices, const lti_score *scores,
                      lti_item *item)
{
    int32_t n = choices_of(&c->view->task, row), norm[2] = {0, 0};
    double best[2] = {-INFINITY, -INFINITY}, best_norm[2] = {-INFINITY, -INFINITY};
    for (int32_t k = 0; k < n; k++) {
        tally sum = add_up(c, &choices[k], scores, item);
        for (int w = 0; w < 2; w++) {
            double per_byte = sum.logp[w] / (double)(choices[k].bytes ? choices[k].bytes : 1);
            if (sum.logp[w] > best[w]) best[w] = sum.logp[w], item->answer[w] = k;
            if (per_byte > best_norm[w]) best_norm[w] = per_byte, norm[w] = k;
            if (k == item->gold) item->nll[w] = -sum.logp[w];
            if (n == 1) item->answer[w] = sum.greedy[w] ? 0 : -1;
        }
        if (k == item->gold) item->tokens = choices[k].length - choices[k].from;
    }
    for (int w = 0; w < 2; w++) {
        item->right[w] = item->answer[w] == item->gold;
        item->right_norm[w] = norm[w] == item->gold;
    }
}

static lt_status score(encoder *c, lti_score_row *rows, lti_score *scores)
{
    for (int64_t i = 0; i < c->count; i++) {
        const scored_choice *one = &c->choices[i];
        rows[i] = (lti_score_row){.ids = c->ids.ids + one->begin,
                                  .length = one->length,
                                  .from = one->from,
                                  .to = one->length,
                                  .scores = scores + one->at};
    }
    c->e->done = 0, c->e->total = c->count;
    LTI_TRY(lti_eval_score(c->e, c->count, rows));
    const lti_task *task = &c->view->task;
    const scored_choice *at = c->choices;
    for (int64_t i = 0; i < task->count; i++) {
        const lti_task_row *row = &task->rows[i];
        lti_item *item = &c->view->items[i];
        *item = (lti_item){.line = row->line, .slice = row->slice, .gold = row->gold};
        make_item(c, row, at, scores, item);
        at += choices_of(task, row);
    }
    return LT_OK;
}

lt_status lti_view_choices(lti_eval *e, const lti_variation *how, lti_view *view)
{
    int64_t context = lt_model_context(e->o->model);
    int64_t most = e->o->task_length ? e->o->task_length : LTI_TASK_CONTEXT;
    encoder c = {.e = e, .view = view, .how = how, .text = {.ctx = e->ctx}};
    c.tok = lt_model_tokenizer(e->o->model);
    c.most = most < context ? most : context;
    view->answers = true;
    view->normed = view->kind != LTI_KIND_CLOZE;
    view->classes = view->kind == LTI_KIND_CLASSIFICATION;
    view->tokens = 0;
    lt_status status = lti_view_items(view, view->task.count);
    if (status == LT_OK) status = encode_rows(&c);
    lti_score *scores = status == LT_OK ? lti_alloc_array(e->ctx, (size_t)c.scores, sizeof *scores) : NULL;
    lti_score_row *rows = scores ? lti_alloc_array(e->ctx, (size_t)c.count, sizeof *rows) : NULL;
    if (status == LT_OK) status = rows ? score(&c, rows, scores) : LT_ENOMEM;
    view->tokens = c.scores;
    lti_free(e->ctx, rows);
    lti_free(e->ctx, scores);
    lti_free(e->ctx, c.choices);
    lt_ids_free(e->ctx, &c.ids);
    lt_ids_free(e->ctx, &c.prompt);
    lti_text_free(&c.text);
    return status;
}
