/* task.h - rows with a right answer, read and checked: choices, continuations, labels. */
#ifndef LTI_TASK_H
#define LTI_TASK_H

#include "evals/source.h"

typedef enum lti_kind {
    LTI_KIND_NONE,
    LTI_KIND_TEXT,
    LTI_KIND_CHAT,
    LTI_KIND_CHOICE,
    LTI_KIND_CLOZE,
    LTI_KIND_CLASSIFICATION
} lti_kind;

const char *lti_kind_name(lti_kind kind);
/* "auto" (or NULL) is LTI_KIND_NONE; false for an unknown name. */
bool lti_kind_parse(const char *name, lti_kind *kind);
/* What the rows are, by the first with known fields. *open_book: prompts have a "context" beside them. LT_EFORMAT when
 * no row has known fields. */
lt_status lti_kind_of(const lti_source *source, const lt_dataset_options *rows, lti_kind *kind, bool *open_book);

/* Different texts, numbered as they come. Zero-initialise {ctx, .text = {ctx}}. */
typedef struct lti_names {
    lt_ctx *ctx;
    lti_text text;
    int64_t *at; /* where each begins in text */
    int64_t count, room;
} lti_names;
lt_status lti_names_add(lti_names *names, const char *name, int32_t *number);
int32_t lti_names_find(const lti_names *names, const char *name); /* -1 */
const char *lti_names_at(const lti_names *names, int64_t number);
void lti_names_free(lti_names *names);

/* Texts are places in lti_task.strings; 0: absent. */
typedef struct lti_task_row {
    int64_t line;
    int64_t context, query, suffix; /* the prompt is context, a newline, query, suffix */
    int64_t first;                  /* of its choices */
    int32_t choices, gold, slice;   /* classification: choices 0, gold a label; slice -1: the row has no such field */
} lti_task_row;

typedef struct lti_task {
    lt_ctx *ctx;
    lti_kind kind;
    bool contexts;  /* a choice is what stands before the query */
    bool open_book; /* some row has a context beside its query */
    lti_text strings;
    lti_task_row *rows;
    int64_t count, room, skipped;
    int64_t *choices; /* places in strings */
    int64_t choice_count, choice_room;
    lti_names labels, slices;
} lti_task;

typedef struct lti_task_options {
    lti_kind kind;
    const char *slice;
    bool skip_bad_rows;
    bool fine_labels; /* "NUM:dist" instead of "NUM" */
} lti_task_options;

/* Reads and checks every row. LT_EFORMAT lists what is wrong with the first 10. Free with lti_task_free, also after a
 * failure. */
lt_status lti_task_read(const lti_source *source, const lti_task_options *options, lti_task *task);
void lti_task_free(lti_task *task);
const char *lti_task_text(const lti_task *task, int64_t place);

/* Between task.c and task_row.c. Keeps a text: its place in strings. */
int64_t lti_task_keep(lti_task *task, const char *text);
/* Reads an object into `row`, its choices behind task->choices; `reason` says what is wrong with it. */
lt_status lti_task_row_read(lti_task *task, const json_t *object, const lti_task_options *options, lti_task_row *row,
                            char reason[LTI_REASON]);
/* Which kind a row's fields make; LTI_KIND_NONE for a text. */
lti_kind lti_task_row_kind(const json_t *object);
/* A field as text: strings as they are, numbers and truth values as JSON writes them; false where it is none. */
bool lti_json_as_text(const json_t *value, lti_text *out);

#endif
