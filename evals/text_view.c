/* text_view.c - texts, prompts with completions and conversations: perplexity over the scored positions of a data set.
 *
 * The rows are those of lt_dataset_open, so that perplexity means what it means in training. Where nothing is asked
 * that needs single positions, lt_evaluate is the answer itself. What is perturbed, limited or has a context put before
 * its prompt is written as rows in memory first and read from there.
 *
 * Positions are scored in blocks of whole rows: a score takes 40 bytes, and texts may be long. */
#include "evals/eval.h"

#include "data/sets/set_rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_POSITIONS ((int64_t)1 << 18)
#define SEPARATOR "\n<|endoftext|>\n"

/* ---- Rows in memory ---- */

typedef struct rewriter {
    lti_eval *e;
    const lti_variation *how;
    bool open_book;
    lti_text out, work;
} rewriter;

/* object[key] = its perturbed text, `before` put in front. */
static lt_status change(rewriter *r, json_t *object, const char *key, const char *before)
{
    const char *text = json_string_value(json_object_get(object, key));
    if (!text || !*text) return LT_OK; /* the reader of rows says what is wrong with it */
    lti_text whole = {.ctx = r->e->ctx};
    if (before) lti_text_format(&whole, "%s\n", before);
    lti_text_add(&whole, text, strlen(text));
    r->work.length = 0;
    lti_text_add(&r->work, "", 0);
    if (!whole.failed) lti_perturb(r->how->perturbation, r->e->o->seed, whole.data, whole.data, &r->work);
    bool failed = whole.failed || r->work.failed || json_object_set_new(object, key, json_string(r->work.data));
    lti_text_free(&whole);
    return failed ? lti_fail(r->e->ctx, LT_ENOMEM, "out of memory while writing rows") : LT_OK;
}

/* What a user says in a conversation. */
static lt_status change_turns(rewriter *r, json_t *list, const char *role, const char *who, const char *content)
{
    size_t i;
    json_t *turn;
    json_array_foreach(list, i, turn)
    {
        const char *name = json_string_value(json_object_get(turn, role));
        if (name && !strcmp(name, who)) LTI_TRY(change(r, turn, content, NULL));
    }
    return LT_OK;
}

static lt_status change_row(rewriter *r, json_t *object)
{
    const lt_dataset_options *o = &r->e->o->rows;
    const char *context = json_string_value(json_object_get(object, "context"));
    switch (lti_form_of(object, o)) {
    case LTI_FORM_TEXT: return change(r, object, "text", NULL);
    case LTI_FORM_PROMPT:
        return change(r, object, o->prompt_key ? o->prompt_key : "prompt",
                      r->open_book && !r->how->closed ? context : NULL);
    case LTI_FORM_MESSAGES: return change_turns(r, json_object_get(object, "messages"), "role", "user", "content");
    case LTI_FORM_SHAREGPT: return change_turns(r, json_object_get(object, "conversations"), "from", "human", "value");
    case LTI_FORM_ALPACA: LTI_TRY(change(r, object, "instruction", NULL)); return change(r, object, "input", NULL);
    case LTI_FORM_NONE: break;
    }
    return LT_OK;
}

/* A row that cannot be parsed goes on as it is: it is refused, or left out, by the data set's reader. */
static lt_status write_object(rewriter *r, const lti_source *source, int64_t index)
{
    char reason[LTI_REASON];
    json_t *object;
    LTI_TRY(lti_source_object(source, index, &object, reason));
    if (!object) {
        const lti_document *d = &source->docs[index];
        for (int64_t i = d->begin; i < d->end; i++) {
            char c = (char)source->map.data[i];
            lti_text_add(&r->out, c == '\n' ? " " : &c, 1);
        }
    } else {
        lt_status status = change_row(r, object);
        char *line = status == LT_OK ? json_dumps(object, JSON_COMPACT) : NULL;
        json_decref(object);
        if (!line) return status == LT_OK ? lti_fail(r->e->ctx, LT_ENOMEM, "out of memory while writing rows") : status;
        lti_text_add(&r->out, line, strlen(line));
        free(line);
    }
    lti_text_add(&r->out, "\n", 1);
    return r->out.failed ? LT_ENOMEM : LT_OK;
}

static lt_status write_text(rewriter *r, const lti_source *source, int64_t index)
{
    const lti_document *d = &source->docs[index];
    r->work.length = 0;
    lti_text_add(&r->work, (const char *)source->map.data + d->begin, (size_t)(d->end - d->begin));
    if (index) lti_text_add(&r->out, SEPARATOR, strlen(SEPARATOR));
    if (r->work.failed) return LT_ENOMEM;
    if (strlen(r->work.data) < r->work.length) /* a NUL: taken as it is, the reader will not mind */
        lti_text_add(&r->out, r->work.data, r->work.length);
    else
        lti_perturb(r->how->perturbation, r->e->o->seed, r->work.data, r->work.data, &r->out);
    return r->out.failed ? LT_ENOMEM : LT_OK;
}

static lt_status from_memory(rewriter *r, const lti_source *source, lt_tokenizer *tok, const lt_dataset_options *o,
                             lt_dataset **set)
{
    for (int64_t i = 0; i < source->count; i++)
        LTI_TRY(source->layout == LTI_LAYOUT_JSON ? write_object(r, source, i) : write_text(r, source, i));
    if (source->layout != LTI_LAYOUT_JSON)
        return lt_dataset_from_text(r->e->ctx, r->out.data, (int64_t)r->out.length, tok, o, set);
    lt_dataset *made = lti_alloc(r->e->ctx, sizeof *made);
    if (!made) return LT_ENOMEM;
    *made = (lt_dataset){.ctx = r->e->ctx, .form = "text", .slices = {.ctx = r->e->ctx}};
    lt_status status =
        lti_set_fill_json(made, source->path, r->out.data, (int64_t)r->out.length, false, LT_SPLIT_ALL, tok, o);
    if (status == LT_OK)
        *set = made;
    else
        lt_dataset_free(made);
    return status;
}

static lt_status open_set(lti_eval *e, const lti_source *source, const lti_variation *how, bool open_book,
                          lt_dataset **set)
{
    lt_dataset_options o = e->o->rows;
    lt_tokenizer *tok = lt_model_tokenizer(e->o->model);
    o.slice_key = e->o->slice;
    o.pack = false;
    o.split = source->split;
    bool as_is = !how->perturbation && source->count == source->all && (!open_book || how->closed);
    if (as_is) return lt_dataset_open(e->ctx, source->path, tok, &o, set);
    o.split = LT_SPLIT_ALL;
    rewriter r = {.e = e, .how = how, .open_book = open_book, .out = {.ctx = e->ctx}, .work = {.ctx = e->ctx}};
    lt_status status = from_memory(&r, source, tok, &o, set);
    lti_text_free(&r.out);
    lti_text_free(&r.work);
    return status;
}

/* ---- Items: a document each ---- */

static lt_status make_items(lti_eval *e, lti_view *view, const lti_source *source)
{
    const lt_dataset *set = view->dataset;
    int64_t n = lt_dataset_documents(set);
    LTI_TRY(lti_view_items(view, n));
    bool lines = n == source->count; /* else rows were left out, and nobody says which */
    for (int64_t i = 0; i < n; i++) {
        lti_item *item = &view->items[i];
        *item = (lti_item){.line = lines ? source->docs[i].line : 0, .row = -1, .slice = -1};
        const char *slice = e->o->slice ? lt_dataset_slice(set, i) : "";
        if (*slice) LTI_TRY(lti_names_add(&view->slices, slice, &item->slice));
    }
    for (int64_t r = lt_dataset_rows(set) - 1; r >= 0; r--) view->items[lt_dataset_row_document(set, r)].row = r;
    int64_t kept = 0; /* documents too short to predict anything in have no row */
    for (int64_t i = 0; i < n; i++)
        if (view->items[i].row >= 0) view->items[kept++] = view->items[i];
    view->count = kept;
    if (e->o->slice && view->slices.count == 0)
        return lti_fail(e->ctx, LT_EINVAL, "%s: no row has a field '%s' to slice by", view->path, e->o->slice);
    return LT_OK;
}

static void add_score(lti_view *view, lti_item *item, int64_t position, const lti_score *s)
{
    if (s->best < 0) return; /* masked */
    int64_t place = (position - 1) / view->place_width;
    item->nll[0] -= s->logp;
    item->nll[1] -= s->ref_logp;
    item->tokens++;
    item->divergence += s->divergence;
    item->agreed += s->best == s->ref_best;
    item->compared++;
    view->place_nll[0][place] -= s->logp;
    view->place_nll[1][place] -= s->ref_logp;
    view->place_tokens[place]++;
}

typedef struct block {
    lti_score_row *rows;
    lti_score *scores;
    int64_t first, count; /* rows of the data set */
} block;

/* Rows from `first` on, as many as fit; at least one. */
static int64_t fill_block(const lt_dataset *set, block *b)
{
    int64_t positions = 0;
    for (b->count = 0; b->first + b->count < lt_dataset_rows(set); b->count++) {
        int64_t r = b->first + b->count, length;
        const int32_t *ids = lt_dataset_row(set, r, &length);
        if (b->count && positions + length > BLOCK_POSITIONS) break;
        b->rows[b->count] = (lti_score_row){.ids = ids,
                                            .length = length,
                                            .from = 1,
                                            .to = length,
                                            .scored = lt_dataset_row_scored(set, r),
                                            .scores = b->scores + positions};
        positions += length;
    }
    return positions;
}

static lt_status score_blocks(lti_eval *e, lti_view *view, block *b)
{
    const lt_dataset *set = view->dataset;
    lti_item *item = view->items;
    e->done = 0, e->total = lt_dataset_rows(set);
    for (b->first = 0; b->first < e->total; b->first += b->count) {
        fill_block(set, b);
        LTI_TRY(lti_eval_score(e, b->count, b->rows));
        for (int64_t i = 0; i < b->count; i++) {
            while (item + 1 < view->items + view->count && item[1].row <= b->first + i) item++;
            const lti_score_row *row = &b->rows[i];
            for (int64_t t = 1; t < row->length; t++) add_score(view, item, t, &row->scores[t - 1]);
        }
    }
    for (int64_t i = 0; i < view->count; i++) view->tokens += view->items[i].tokens;
    return LT_OK;
}

static lt_status score_set(lti_eval *e, lti_view *view, const lti_source *source)
{
    LTI_TRY(make_items(e, view, source));
    int64_t longest = lt_dataset_longest(view->dataset), rows = lt_dataset_rows(view->dataset);
    int64_t room = lt_dataset_tokens(view->dataset), most = longest > BLOCK_POSITIONS ? longest : BLOCK_POSITIONS;
    view->place_width = (longest - 1 + LTI_POSITION_BUCKETS - 1) / LTI_POSITION_BUCKETS;
    if (view->place_width < 1) view->place_width = 1;
    if (room > most) room = most;
    block b = {.rows = lti_alloc_array(e->ctx, (size_t)rows + 1, sizeof *b.rows),
               .scores = lti_alloc_array(e->ctx, (size_t)room + 1, sizeof *b.scores)};
    lt_status status = b.rows && b.scores ? score_blocks(e, view, &b) : LT_ENOMEM;
    lti_free(e->ctx, b.rows);
    lti_free(e->ctx, b.scores);
    return status;
}

lt_status lti_view_text(lti_eval *e, const lti_source *source, lti_kind kind, const lti_variation *how, bool open_book,
                        lti_view *view)
{
    if (source->layout != LTI_LAYOUT_JSON && source->layout != LTI_LAYOUT_TEXT)
        return lti_fail(e->ctx, LT_EINVAL, "%s: rows of text and label are no %s; they are a classification",
                        source->path, lti_kind_name(kind));
    LTI_TRY(open_set(e, source, how, open_book, &view->dataset));
    view->form = lt_dataset_form(view->dataset);
    view->plain = !e->o->reference && !e->o->slice && !e->o->details;
    if (!view->plain) return score_set(e, view, source);
    LTI_TRY(lt_evaluate(e->o->model, view->dataset, e->o->quant, e->o->batch_size, &view->result));
    e->seconds += view->result.seconds;
    view->tokens = view->result.tokens;
    return LT_OK;
}
