/* json_forms.c - the five forms of rows people have, and what is wrong with a row.
 *
 * Alpaca's rows get a prompt of fixed words where no chat template writes them as a conversation:
 *
 *     ### Instruction:\n<instruction>\n\n### Input:\n<input>\n\n### Response:\n
 *
 * with "### Input" only when there is one. ShareGPT's speakers are renamed: human is the user, gpt the assistant. */
#include "data/sets/json_rows.h"

#include "base/text.h"
#include "data/json.h"

#include <stdio.h>
#include <string.h>

const char *lti_form_name(lti_form form)
{
    static const char *const names[] = {"none", "text", "prompt/completion", "messages", "alpaca", "sharegpt"};
    return names[form];
}

static const char *key_or(const char *key, const char *usual)
{
    return key && *key ? key : usual;
}

lti_form lti_form_of(const json_t *row, const lt_dataset_options *o)
{
    if (json_object_get(row, key_or(o->prompt_key, "prompt")) &&
        json_object_get(row, key_or(o->completion_key, "completion")))
        return LTI_FORM_PROMPT;
    if (json_object_get(row, "messages")) return LTI_FORM_MESSAGES;
    if (json_object_get(row, "conversations")) return LTI_FORM_SHAREGPT;
    if (json_object_get(row, "instruction") && json_object_get(row, "output")) return LTI_FORM_ALPACA;
    return json_object_get(row, "text") ? LTI_FORM_TEXT : LTI_FORM_NONE;
}

#define BAD(...) snprintf(reason, LTI_REASON, __VA_ARGS__)

/* A string of an object. `where` is "" or "message 3: ". NULL with a reason, or without one where it may be absent. */
static const char *string_of(const json_t *object, const char *key, const char *where, bool optional, bool filled,
                             char reason[LTI_REASON])
{
    const json_t *value = json_object_get(object, key);
    if (!value && optional) return "";
    if (!json_is_string(value)) {
        BAD("%s'%.40s' is %s, not a string", where, key, lti_json_kind(value));
        return NULL;
    }
    const char *text = json_string_value(value);
    if (strlen(text) != json_string_length(value)) {
        BAD("%s'%.40s' contains a NUL character", where, key);
        return NULL;
    }
    if (filled && text[strspn(text, " \t\r\n")] == 0) {
        BAD("%s'%.40s' is empty", where, key);
        return NULL;
    }
    return text;
}

/* ---- Prompt and completion, and alpaca ---- */

static lt_status make_talk(lt_ctx *ctx, lti_row *row)
{
    row->messages = lti_alloc_array(ctx, 2, sizeof *row->messages);
    if (!row->messages) return LT_ENOMEM;
    row->messages[0] = (lt_message){"user", row->prompt};
    row->messages[1] = (lt_message){"assistant", row->completion};
    row->count = 2;
    return LT_OK;
}

static lt_status read_prompt(const json_t *object, const lt_dataset_options *o, lti_row *row, char reason[LTI_REASON])
{
    row->prompt = string_of(object, key_or(o->prompt_key, "prompt"), "", false, false, reason);
    if (row->prompt)
        row->completion = string_of(object, key_or(o->completion_key, "completion"), "", false, true, reason);
    return LT_OK;
}

static lt_status read_alpaca(lt_ctx *ctx, const json_t *object, bool talk, lti_row *row, char reason[LTI_REASON])
{
    const char *task = string_of(object, "instruction", "", false, true, reason), *input = NULL;
    if (task) input = string_of(object, "input", "", true, false, reason);
    if (input) row->completion = string_of(object, "output", "", false, true, reason);
    if (!row->completion) return LT_OK;
    lti_text text = {.ctx = ctx};
    if (talk)
        lti_text_format(&text, "%s%s%s", task, *input ? "\n\n" : "", input);
    else
        lti_text_format(&text, "### Instruction:\n%s\n\n%s%s%s### Response:\n", task, *input ? "### Input:\n" : "",
                        input, *input ? "\n\n" : "");
    row->prompt = row->made = text.data;
    return text.failed ? LT_ENOMEM : LT_OK;
}

/* ---- Conversations ---- */

typedef struct spelling {
    const char *list, *role, *content;
} spelling;

static const char *role_named(const char *name, bool sharegpt)
{
    static const char *const others[][2] = {{"human", "user"}, {"gpt", "assistant"}};
    static const char *const roles[] = {"system", "user", "assistant"};
    for (int i = 0; i < LTI_COUNT(roles); i++)
        if (strcmp(name, roles[i]) == 0) return roles[i];
    for (int i = 0; sharegpt && i < LTI_COUNT(others); i++)
        if (strcmp(name, others[i][0]) == 0) return others[i][1];
    return NULL;
}

static bool read_message(const json_t *item, const spelling *s, size_t i, bool sharegpt, lt_message *message,
                         char reason[LTI_REASON])
{
    char where[32];
    snprintf(where, sizeof where, "message %zu: ", i + 1);
    if (!json_is_object(item)) {
        BAD("%sit is %s, not an object", where, lti_json_kind(item));
        return false;
    }
    const char *role = string_of(item, s->role, where, false, true, reason);
    if (!role) return false;
    message->role = role_named(role, sharegpt);
    if (!message->role) {
        BAD("%sunknown role '%.30s'; it is %s", where, role,
            sharegpt ? "system, human or gpt" : "system, user or assistant");
        return false;
    }
    message->content = string_of(item, s->content, where, false, strcmp(message->role, "assistant") == 0, reason);
    return message->content;
}

static lt_status read_talk(lt_ctx *ctx, const json_t *object, bool sharegpt, lti_row *row, char reason[LTI_REASON])
{
    static const spelling spellings[] = {{"messages", "role", "content"}, {"conversations", "from", "value"}};
    const spelling *s = &spellings[sharegpt];
    const json_t *list = json_object_get(object, s->list);
    size_t count = json_array_size(list);
    bool answered = false;
    if (!json_is_array(list) || count == 0 || count > 1 << 20) {
        if (json_is_array(list))
            BAD("'%s' has %zu messages", s->list, count);
        else
            BAD("'%s' is %s, not an array", s->list, lti_json_kind(list));
        return LT_OK;
    }
    row->messages = lti_alloc_array(ctx, count, sizeof *row->messages);
    if (!row->messages) return LT_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        if (!read_message(json_array_get(list, i), s, i, sharegpt, &row->messages[i], reason)) return LT_OK;
        answered |= strcmp(row->messages[i].role, "assistant") == 0;
    }
    row->count = (int)count;
    if (!answered) BAD("the assistant says nothing in it");
    return LT_OK;
}

lt_status lti_row_read(lt_ctx *ctx, const json_t *object, lti_form form, bool talk, const lt_dataset_options *o,
                       lti_row *row, char reason[LTI_REASON])
{
    lt_status status = LT_OK;
    lti_form own = lti_form_of(object, o);
    *row = (lti_row){.text = NULL};
    *reason = 0;
    if (own != form && own != LTI_FORM_NONE) {
        BAD("it is of the form %s, the first row was %s", lti_form_name(own), lti_form_name(form));
        return LT_OK;
    }
    switch (form) {
    case LTI_FORM_TEXT: row->text = string_of(object, "text", "", false, true, reason); break;
    case LTI_FORM_PROMPT: status = read_prompt(object, o, row, reason); break;
    case LTI_FORM_ALPACA: status = read_alpaca(ctx, object, talk, row, reason); break;
    case LTI_FORM_MESSAGES:
    case LTI_FORM_SHAREGPT: return read_talk(ctx, object, form == LTI_FORM_SHAREGPT, row, reason);
    case LTI_FORM_NONE: BAD("no known form"); break;
    }
    if (status == LT_OK && !*reason && talk && form != LTI_FORM_TEXT) status = make_talk(ctx, row);
    return status;
}

void lti_row_free(lt_ctx *ctx, lti_row *row)
{
    lti_free(ctx, row->messages);
    lti_free(ctx, row->made);
    *row = (lti_row){.text = NULL};
}
