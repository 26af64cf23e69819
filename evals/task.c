/* task.c - see task.h: going through the rows of a source, whatever its layout, and blaming the bad ones. */
#include "evals/task.h"

#include "data/utf8.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { SHOWN = 10, SHOWN_BYTES = 92 };

static const char *const names[] = {"auto", "text", "chat", "choice", "cloze", "classification"};

const char *lti_kind_name(lti_kind kind)
{
    return names[kind];
}

bool lti_kind_parse(const char *name, lti_kind *kind)
{
    *kind = LTI_KIND_NONE;
    for (int i = 0; name && i < LTI_COUNT(names); i++) {
        *kind = (lti_kind)i;
        if (!strcmp(name, names[i])) return true;
    }
    return !name;
}

/* ---- Names ---- */

const char *lti_names_at(const lti_names *n, int64_t number)
{
    return n->text.data + n->at[number];
}

int32_t lti_names_find(const lti_names *n, const char *name)
{
    for (int64_t i = 0; i < n->count; i++)
        if (!strcmp(lti_names_at(n, i), name)) return (int32_t)i;
    return -1;
}

lt_status lti_names_add(lti_names *n, const char *name, int32_t *number)
{
    *number = lti_names_find(n, name);
    if (*number >= 0) return LT_OK;
    if (n->count == 10000)
        return lti_fail(n->ctx, LT_ELIMIT, "more than 10,000 different labels or slices, the last '%.40s'", name);
    if (n->count == n->room) {
        int64_t wider = n->room ? 2 * n->room : 16;
        int64_t *grown = lti_realloc(n->ctx, n->at, (size_t)n->count * sizeof *grown, (size_t)wider * sizeof *grown);
        if (!grown) return LT_ENOMEM;
        n->at = grown;
        n->room = wider;
    }
    n->at[n->count] = (int64_t)n->text.length;
    lti_text_add(&n->text, name, strlen(name) + 1);
    if (n->text.failed) return LT_ENOMEM;
    *number = (int32_t)n->count++;
    return LT_OK;
}

void lti_names_free(lti_names *n)
{
    lti_text_free(&n->text);
    lti_free(n->ctx, n->at);
    *n = (lti_names){.ctx = n->ctx, .text = {.ctx = n->ctx}};
}

/* ---- Strings and rows ---- */

int64_t lti_task_keep(lti_task *task, const char *text)
{
    if (task->strings.length == 0) lti_text_add(&task->strings, "", 1); /* place 0 is nobody's */
    int64_t place = (int64_t)task->strings.length;
    lti_text_add(&task->strings, text, strlen(text) + 1);
    return place;
}

const char *lti_task_text(const lti_task *task, int64_t place)
{
    return place ? task->strings.data + place : "";
}

static lt_status add_row(lti_task *task, const lti_task_row *row)
{
    if (task->count == task->room) {
        int64_t wider = task->room ? 2 * task->room : 64;
        lti_task_row *grown =
            lti_realloc(task->ctx, task->rows, (size_t)task->count * sizeof *grown, (size_t)wider * sizeof *grown);
        if (!grown) return LT_ENOMEM;
        task->rows = grown;
        task->room = wider;
    }
    task->rows[task->count++] = *row;
    return LT_OK;
}

/* ---- Records and lines ---- */

typedef struct reader {
    const lti_source *source;
    const lti_task_options *o;
    lti_task *task;
    int text, label, slice; /* columns of a CSV; -1 */
    lti_text blame, work;
    int64_t bad;
    char reason[LTI_REASON];
} reader;

static int find_column(const reader *r, const char *const *keys, lti_text *work)
{
    for (; *keys; keys++)
        for (int column = 0;; column++) {
            work->length = 0;
            if (!lti_source_field(r->source, &r->source->header, column, work)) break;
            if (work->length && !strcasecmp(work->data, *keys)) return column;
        }
    return -1;
}

static lt_status find_columns(reader *r)
{
    static const char *const texts[] = {"text", "sentence", "query", "question", NULL};
    static const char *const labels[] = {"label", "category", "intent", "class", NULL};
    r->text = find_column(r, texts, &r->work);
    r->label = find_column(r, labels, &r->work);
    r->slice = r->o->slice ? find_column(r, (const char *const[]){r->o->slice, NULL}, &r->work) : -1;
    if (r->work.failed) return LT_ENOMEM;
    if (r->text >= 0 && r->label >= 0) return LT_OK;
    return lti_fail(r->task->ctx, LT_EFORMAT,
                    "%s: its first line names no text and label columns; they are called text, sentence, query or "
                    "question, and label, category, intent or class",
                    r->source->path);
}

static const char *field(reader *r, const lti_document *record, int column)
{
    r->work.length = 0;
    lti_text_add(&r->work, "", 0);
    if (!lti_source_field(r->source, record, column, &r->work))
        snprintf(r->reason, LTI_REASON, "it has no field %d", column + 1);
    else if (r->work.length && (strlen(r->work.data) < r->work.length ||
                                lti_utf8_check((const unsigned char *)r->work.data, r->work.length) < r->work.length))
        snprintf(r->reason, LTI_REASON, "field %d is not UTF-8 text", column + 1);
    return r->work.data ? r->work.data : "";
}

static lt_status read_record(reader *r, const lti_document *record, lti_task_row *row)
{
    row->query = lti_task_keep(r->task, field(r, record, r->text));
    if (!*r->reason) LTI_TRY(lti_names_add(&r->task->labels, field(r, record, r->label), &row->gold));
    if (!*r->reason && r->slice >= 0) LTI_TRY(lti_names_add(&r->task->slices, field(r, record, r->slice), &row->slice));
    return LT_OK;
}

/* "LABEL:sub text". A line that is no UTF-8 is Latin-1, as TREC's are. */
static lt_status read_line(reader *r, const lti_document *line, lti_task_row *row)
{
    const char *text = (const char *)r->source->map.data + line->begin;
    size_t n = (size_t)(line->end - line->begin), colon = 0, blank = 0;
    while (blank < n && text[blank] != ' ') blank++;
    while (colon < blank && text[colon] != ':') colon++;
    if (colon == 0 || colon == blank || blank == n || memchr(text, 0, n)) {
        snprintf(r->reason, LTI_REASON, "it is no line 'LABEL:sub text'");
        return LT_OK;
    }
    bool utf8 = lti_utf8_check((const unsigned char *)text, n) == n;
    lti_text *work = &r->work;
    work->length = 0;
    lti_text_add(work, text, r->o->fine_labels ? blank : colon);
    if (work->failed) return LT_ENOMEM;
    LTI_TRY(lti_names_add(&r->task->labels, work->data, &row->gold));
    work->length = 0;
    for (size_t i = blank + 1; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        char two[2] = {(char)(0xC0 | c >> 6), (char)(0x80 | (c & 0x3F))};
        lti_text_add(work, utf8 || c < 0x80 ? text + i : two, utf8 || c < 0x80 ? 1 : 2);
    }
    if (work->length) row->query = lti_task_keep(r->task, work->data);
    return LT_OK;
}

/* ---- All rows ---- */

static void blame(reader *r, int64_t line)
{
    const char *slash = strrchr(r->source->path, '/');
    char text[SHOWN_BYTES + 1];
    if (r->bad++ >= SHOWN) return;
    int n =
        snprintf(text, sizeof text, "\n  %.40s:%" PRId64 ": %s", slash ? slash + 1 : r->source->path, line, r->reason);
    if (n > SHOWN_BYTES) memcpy(text + SHOWN_BYTES - 3, "...", 4);
    for (char *p = text + 1; *p; p++)
        if (*p == '\n') *p = ' ';
    lti_text_format(&r->blame, "%s", text);
}

static lt_status read_one(reader *r, int64_t i, lti_task_row *row)
{
    const lti_document *d = &r->source->docs[i];
    *row = (lti_task_row){.line = d->line, .first = r->task->choice_count, .slice = -1};
    *r->reason = 0;
    if (r->source->layout == LTI_LAYOUT_CSV) return read_record(r, d, row);
    if (r->source->layout == LTI_LAYOUT_LINES) return read_line(r, d, row);
    json_t *object;
    LTI_TRY(lti_source_object(r->source, i, &object, r->reason));
    lt_status status = object ? lti_task_row_read(r->task, object, r->o, row, r->reason) : LT_OK;
    json_decref(object);
    return status;
}

static lt_status read_rows(reader *r)
{
    lti_task *task = r->task;
    if (r->source->layout == LTI_LAYOUT_CSV) LTI_TRY(find_columns(r));
    int64_t n = task->kind == LTI_KIND_CLASSIFICATION ? r->source->all : r->source->count;
    for (int64_t i = 0; i < n; i++) {
        lti_task_row row;
        LTI_TRY(read_one(r, i, &row));
        if (*r->reason)
            task->choice_count = row.first, blame(r, row.line);
        else if (i < r->source->count)
            LTI_TRY(add_row(task, &row));
        if (task->strings.failed || r->blame.failed || r->work.failed) return LT_ENOMEM;
    }
    task->skipped = r->bad;
    if (r->bad && (!r->o->skip_bad_rows || task->count == 0))
        return lti_fail(task->ctx, LT_EFORMAT, "%" PRId64 " of %" PRId64 " rows of %s cannot be used%s:%s", r->bad, n,
                        r->source->path, r->bad > SHOWN ? ", the first 10" : "", r->blame.data);
    if (r->o->slice && task->slices.count == 0)
        return lti_fail(task->ctx, LT_EINVAL, "%s: no row has a field '%s' to slice by", r->source->path, r->o->slice);
    return LT_OK;
}

lt_status lti_task_read(const lti_source *source, const lti_task_options *options, lti_task *task)
{
    lt_ctx *ctx = source->ctx;
    *task = (lti_task){.ctx = ctx,
                       .kind = options->kind,
                       .strings = {.ctx = ctx},
                       .labels = {.ctx = ctx, .text = {.ctx = ctx}},
                       .slices = {.ctx = ctx, .text = {.ctx = ctx}}};
    if (source->layout == LTI_LAYOUT_TEXT)
        return lti_fail(ctx, LT_EINVAL, "%s: a plain text holds no rows of the kind %s", source->path,
                        lti_kind_name(options->kind));
    if (source->layout != LTI_LAYOUT_JSON && options->kind != LTI_KIND_CLASSIFICATION)
        return lti_fail(ctx, LT_EINVAL, "%s: its rows are texts with labels, not of the kind %s", source->path,
                        lti_kind_name(options->kind));
    reader r = {.source = source, .o = options, .task = task, .blame = {.ctx = ctx}, .work = {.ctx = ctx}};
    lt_status status = read_rows(&r);
    lti_text_free(&r.blame);
    lti_text_free(&r.work);
    return status;
}

void lti_task_free(lti_task *task)
{
    if (!task->ctx) return;
    lti_text_free(&task->strings);
    lti_free(task->ctx, task->rows);
    lti_free(task->ctx, task->choices);
    lti_names_free(&task->labels);
    lti_names_free(&task->slices);
    *task = (lti_task){.ctx = NULL};
}

/* ---- Which kind ---- */

static lti_kind kind_of_row(const json_t *object, const lt_dataset_options *rows, bool *open_book)
{
    lti_kind kind = lti_task_row_kind(object);
    if (kind != LTI_KIND_NONE) return kind;
    lti_form form = lti_form_of(object, rows);
    *open_book = form == LTI_FORM_PROMPT && json_is_string(json_object_get(object, "context"));
    if (form == LTI_FORM_MESSAGES || form == LTI_FORM_SHAREGPT) return LTI_KIND_CHAT;
    return form == LTI_FORM_NONE ? LTI_KIND_NONE : LTI_KIND_TEXT;
}

lt_status lti_kind_of(const lti_source *source, const lt_dataset_options *rows, lti_kind *kind, bool *open_book)
{
    *open_book = false;
    *kind = source->layout == LTI_LAYOUT_TEXT ? LTI_KIND_TEXT : LTI_KIND_CLASSIFICATION;
    if (source->layout != LTI_LAYOUT_JSON) return LT_OK;
    *kind = LTI_KIND_NONE;
    char reason[LTI_REASON] = "";
    for (int64_t i = 0; i < source->count && *kind == LTI_KIND_NONE; i++) {
        json_t *object;
        LTI_TRY(lti_source_object(source, i, &object, reason));
        if (object) *kind = kind_of_row(object, rows, open_book);
        json_decref(object);
    }
    if (*kind == LTI_KIND_NONE) *kind = LTI_KIND_TEXT; /* whose reader says what is missing */
    return LT_OK;
}
