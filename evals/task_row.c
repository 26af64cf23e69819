/* task_row.c - one object as a question: the spellings people use for query, choices and the right one.
 *
 * Spellings are lists, tried in order, so that a row is read the same way whatever else it holds. */
#include "data/json.h"
#include "evals/task.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BAD(...) snprintf(reason, LTI_REASON, __VA_ARGS__)

static const char *const queries[] = {"query", "question", "prompt", "goal", "ctx", NULL};
static const char *const choice_keys[] = {"choices", "options", "endings", NULL};
static const char *const golds[] = {"gold", "answerKey", "answer", "label", "target", NULL};

static json_t *first_of(const json_t *row, const char *const *keys, const char **key)
{
    for (; *keys; keys++) {
        json_t *value = json_object_get(row, *keys);
        if (value) {
            if (key) *key = *keys;
            return value;
        }
    }
    return NULL;
}

/* A string without NUL; NULL with a reason. */
static const char *text_of(const json_t *value, const char *key, char reason[LTI_REASON])
{
    if (!json_is_string(value)) {
        BAD("'%.40s' is %s, not a string", key, lti_json_kind(value));
        return NULL;
    }
    if (strlen(json_string_value(value)) == json_string_length(value)) return json_string_value(value);
    BAD("'%.40s' contains a NUL character", key);
    return NULL;
}

bool lti_json_as_text(const json_t *value, lti_text *out)
{
    if (json_is_string(value))
        lti_text_format(out, "%s", json_string_value(value));
    else if (json_is_integer(value))
        lti_text_format(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        lti_text_format(out, "%.15g", json_real_value(value));
    else if (json_is_boolean(value))
        lti_text_format(out, "%s", json_is_true(value) ? "true" : "false");
    else
        return false;
    return true;
}

lti_kind lti_task_row_kind(const json_t *row)
{
    bool query = first_of(row, queries, NULL) || json_object_get(row, "context");
    if (json_object_get(row, "context_options") && json_object_get(row, "continuation")) return LTI_KIND_CHOICE;
    if (query && first_of(row, choice_keys, NULL)) return LTI_KIND_CHOICE;
    if (json_object_get(row, "context") && json_object_get(row, "continuation")) return LTI_KIND_CLOZE;
    if (json_object_get(row, "text") && json_object_get(row, "label")) return LTI_KIND_CLASSIFICATION;
    bool talk =
        json_object_get(row, "messages") || json_object_get(row, "conversations") || json_object_get(row, "completion");
    return query && !talk && json_is_string(json_object_get(row, "answer")) ? LTI_KIND_CLOZE : LTI_KIND_NONE;
}

/* ---- The query ---- */

/* `context` is the query when there is no other, else what stands before it. */
static void read_query(lti_task *task, const json_t *object, lti_task_row *row, char reason[LTI_REASON])
{
    const char *key = "context";
    const json_t *context = json_object_get(object, "context"), *query = first_of(object, queries, &key);
    const char *before = query && context ? text_of(context, "context", reason) : NULL;
    const char *text = text_of(query ? query : context, key, reason);
    if (!text || *reason) return;
    row->query = lti_task_keep(task, text);
    if (!before) return;
    row->context = lti_task_keep(task, before);
    task->open_book = true;
}

/* ---- Choices ---- */

static lt_status add_choice(lti_task *task, const char *text, lti_task_row *row)
{
    if (task->choice_count == task->choice_room) {
        int64_t wider = task->choice_room ? 2 * task->choice_room : 64;
        int64_t *grown = lti_realloc(task->ctx, task->choices, (size_t)task->choice_count * sizeof *grown,
                                     (size_t)wider * sizeof *grown);
        if (!grown) return LT_ENOMEM;
        task->choices = grown;
        task->choice_room = wider;
    }
    task->choices[task->choice_count++] = lti_task_keep(task, text);
    row->choices++;
    return LT_OK;
}

static lt_status read_choices(lti_task *task, const json_t *list, const char *key, lti_task_row *row,
                              char reason[LTI_REASON])
{
    size_t count = json_array_size(list);
    if (!json_is_array(list) || count < 2 || count > 1000) {
        if (json_is_array(list))
            BAD("'%s' has %zu choices; 2 to 1000 are possible", key, count);
        else
            BAD("'%s' is %s, not an array", key, lti_json_kind(list));
        return LT_OK;
    }
    for (size_t i = 0; i < count; i++) {
        const char *text = text_of(json_array_get(list, i), key, reason);
        if (text && !text[strspn(text, " \t\r\n")]) BAD("choice %zu is empty", i);
        if (*reason) return LT_OK;
        LTI_TRY(add_choice(task, text, row));
    }
    return LT_OK;
}

static int32_t find_text(const json_t *list, const char *text)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *other = json_string_value(json_array_get(list, i));
        if (other && !strcmp(other, text)) return (int32_t)i;
    }
    return -1;
}

/* An index from 0; or as text: a label, a choice, a letter, an index. */
static void read_gold(const json_t *object, const json_t *texts, const json_t *labels, lti_task_row *row,
                      char reason[LTI_REASON])
{
    const char *key = "gold";
    const json_t *gold = first_of(object, golds, &key);
    int64_t index = -1;
    if (json_is_integer(gold)) {
        index = json_integer_value(gold);
    } else if (json_is_string(gold)) {
        const char *text = json_string_value(gold);
        char *end;
        index = find_text(labels, text);
        if (index < 0) index = find_text(texts, text);
        if (index < 0 && strlen(text) == 1 && isupper((unsigned char)*text)) index = *text - 'A';
        if (index < 0 && isdigit((unsigned char)*text)) {
            index = strtoll(text, &end, 10);
            if (*end) index = -1;
        }
    } else {
        BAD("'%s' is %s, not the right choice's index, label or text", key, lti_json_kind(gold));
        return;
    }
    if (index < 0 || index >= row->choices)
        BAD("'%s' names none of the %d choices (the first is 0)", key, (int)row->choices);
    row->gold = (int32_t)index;
}

static lt_status read_choice(lti_task *task, const json_t *object, lti_task_row *row, char reason[LTI_REASON])
{
    const char *key = "context_options";
    const json_t *list = json_object_get(object, key), *labels = NULL;
    bool contexts = list && json_object_get(object, "continuation");
    if (task->count && contexts != task->contexts) {
        BAD("it chooses %s, the first row did not", contexts ? "a context" : "a continuation");
        return LT_OK;
    }
    task->contexts = contexts;
    if (contexts) {
        const char *text = text_of(json_object_get(object, "continuation"), "continuation", reason);
        if (text) row->query = lti_task_keep(task, text);
    } else {
        read_query(task, object, row, reason);
        list = first_of(object, choice_keys, &key);
    }
    if (json_is_object(list)) { /* {"text": [..], "label": [..]} */
        labels = json_object_get(list, "label");
        list = json_object_get(list, "text");
    }
    if (!*reason) LTI_TRY(read_choices(task, list, key, row, reason));
    if (!*reason) read_gold(object, list, labels, row, reason);
    return LT_OK;
}

/* ---- Cloze and classification ---- */

static lt_status read_cloze(lti_task *task, const json_t *object, lti_task_row *row, char reason[LTI_REASON])
{
    const char *key = "continuation";
    const json_t *rest = json_object_get(object, key);
    if (!rest) rest = json_object_get(object, key = "answer"), row->suffix = lti_task_keep(task, "\nAnswer:");
    read_query(task, object, row, reason);
    const char *text = *reason ? NULL : text_of(rest, key, reason);
    if (text && !text[strspn(text, " \t\r\n")]) BAD("'%s' is empty", key);
    return *reason ? LT_OK : add_choice(task, text, row);
}

static lt_status read_label(lti_task *task, const json_t *object, lti_task_row *row, char reason[LTI_REASON])
{
    const char *text = text_of(json_object_get(object, "text"), "text", reason);
    lti_text label = {.ctx = task->ctx};
    lt_status status = LT_OK;
    if (text && !lti_json_as_text(json_object_get(object, "label"), &label))
        BAD("'label' is %s, not a string or a number", lti_json_kind(json_object_get(object, "label")));
    if (!*reason) {
        row->query = lti_task_keep(task, text);
        status = label.failed ? LT_ENOMEM : lti_names_add(&task->labels, label.data ? label.data : "", &row->gold);
    }
    lti_text_free(&label);
    return status;
}

lt_status lti_task_row_read(lti_task *task, const json_t *object, const lti_task_options *options, lti_task_row *row,
                            char reason[LTI_REASON])
{
    *reason = 0;
    lti_text slice = {.ctx = task->ctx};
    lt_status status = LT_OK;
    if (options->slice && lti_json_as_text(json_object_get(object, options->slice), &slice))
        status = slice.failed ? LT_ENOMEM : lti_names_add(&task->slices, slice.data ? slice.data : "", &row->slice);
    lti_text_free(&slice);
    LTI_TRY(status);
    if (task->kind == LTI_KIND_CHOICE) return read_choice(task, object, row, reason);
    return task->kind == LTI_KIND_CLOZE ? read_cloze(task, object, row, reason) : read_label(task, object, row, reason);
}
