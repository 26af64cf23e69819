/* golden_rows.c - the files of prompts and of goldens: every row is checked before the first prompt is continued.
 *
 * Bad rows are collected, so that one look mends a file: the first ten and a count. A golden finds its prompt by what
 * it names: each prompt stands in one table under its id and under its text, and a text that stands there twice only
 * an id can tell apart. A field no golden has is refused, for a misspelt check would never fail; prompts are often rows
 * of larger data sets, and their other fields are left alone. */
#include "evals/golden_outputs.h"

#include "base/text.h"
#include "data/files.h"
#include "data/json.h"
#include "data/sets/json_rows.h"
#include "data/utf8.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = 10, SHOWN_BYTES = 92, MOST_TURNS = 256, MOST_STOPS = 16 };
#define MOST_TOKENS (1 << 24)

typedef struct reading {
    lt_ctx *ctx;
    const lt_golden_options *o;
    lt_tokenizer *tok;
    int64_t most;
    lti_golden_set *set;
    lti_json_file file;
    char reason[LTI_REASON];
    lti_text blame;
    int64_t seen, bad;
} reading;

#define BAD(r, ...) snprintf((r)->reason, LTI_REASON, __VA_ARGS__)

void lti_golden_set_free(lti_golden_set *set)
{
    for (int64_t i = 0; i < set->prompt_count; i++) {
        json_decref(set->prompts[i].row);
        lt_ids_free(set->ctx, &set->prompts[i].ids);
        lti_free(set->ctx, set->prompts[i].stop);
    }
    for (int64_t i = 0; i < set->golden_count; i++) {
        json_decref(set->goldens[i].row);
        lti_pattern_free(set->goldens[i].regex);
    }
    lti_free(set->ctx, set->prompts);
    lti_free(set->ctx, set->goldens);
    json_decref(set->header);
    json_decref(set->places);
    *set = (lti_golden_set){0};
}

/* Room for one more element, which is zero. */
static bool make_room(lt_ctx *ctx, void **list, int64_t count, int64_t *room, size_t size)
{
    if (count < *room) return true;
    int64_t more = *room ? 2 * *room : 16;
    void *grown = lti_realloc(ctx, *list, (size_t)count * size, (size_t)more * size);
    if (!grown) return false;
    memset((char *)grown + (size_t)count * size, 0, (size_t)(more - count) * size);
    *list = grown;
    *room = more;
    return true;
}

/* ---- Rows ---- */

static void blame(reading *r, int64_t line)
{
    char text[SHOWN_BYTES + 1];
    const char *slash = strrchr(r->file.path, '/');
    if (r->bad++ >= SHOWN) return;
    int n = snprintf(text, sizeof text, "\n  %.40s:%" PRId64 ": %s", slash ? slash + 1 : r->file.path, line, r->reason);
    if (n > SHOWN_BYTES) {
        size_t end = SHOWN_BYTES - 3;
        while (((unsigned char)text[end] & 0xC0) == 0x80) end--; /* no half character */
        memcpy(text + end, "...", 4);
    }
    for (char *p = text + 1; *p; p++)
        if (*p == '\n') *p = ' ';
    lti_text_format(&r->blame, "%s", text);
}

static lt_status parse(reading *r, const lti_document *place, json_t **row)
{
    json_error_t error;
    const char *text = r->file.text + place->begin;
    uint64_t n = (uint64_t)(place->end - place->begin);
    uint64_t good = lti_utf8_check((const unsigned char *)text, n);
    *row = NULL;
    *r->reason = 0;
    if (n > LTI_ROW_LIMIT)
        BAD(r, "the row has more than 64 MB");
    else if (good < n)
        BAD(r, "byte %" PRIu64 " of the row is not UTF-8", good + 1);
    if (*r->reason) return LT_OK;
    *row = lti_json_value(text, n, &error);
    if (!*row && json_error_code(&error) == json_error_out_of_memory)
        return lti_fail(r->ctx, LT_ENOMEM, "out of memory while parsing the JSON of %s", r->file.path);
    if (!*row)
        BAD(r, "not JSON at byte %d: %.100s", error.position, error.text);
    else if (!json_is_object(*row))
        BAD(r, "the row is %s, not an object", lti_json_kind(*row));
    return LT_OK;
}

typedef lt_status (*take_row)(reading *r, json_t *row, int64_t line);

/* Gives each row to `take`, which keeps a reference of its own when it wants one, or writes a reason against it. */
static lt_status read_file(reading *r, const char *path, take_row take)
{
    lti_map map = {0};
    LTI_TRY(lti_file_map(r->ctx, path, &map));
    r->file = (lti_json_file){.ctx = r->ctx, .path = path, .array = lti_ends_with(path, ".json")};
    r->file.text = (const char *)map.data;
    r->file.bytes = (int64_t)map.size;
    r->seen = r->bad = 0;
    lt_status status = LT_OK;
    for (bool more = true; status == LT_OK;) {
        lti_document place;
        json_t *row = NULL;
        status = lti_json_next(&r->file, &place, &more);
        if (status != LT_OK || !more) break;
        r->seen++;
        status = parse(r, &place, &row);
        if (status == LT_OK && !*r->reason) status = take(r, row, place.line);
        json_decref(row);
        if (status == LT_OK && *r->reason) blame(r, place.line);
    }
    lti_file_unmap(&map);
    if (status != LT_OK) return status;
    if (r->blame.failed) return LT_ENOMEM;
    if (r->bad == 0) return LT_OK;
    return lti_fail(r->ctx, LT_EFORMAT, "%" PRId64 " of %" PRId64 " rows of %s cannot be used%s:%s", r->bad, r->seen,
                    path, r->bad > SHOWN ? ", the first 10" : "", r->blame.data);
}

/* ---- What a row is called ---- */

static bool holds_nul(const json_t *text)
{
    return strlen(json_string_value(text)) < json_string_length(text);
}

/* Appends "id x", "prompt x" or "messages [..]" when the row has that field. */
static lt_status name_of(reading *r, const json_t *row, const char *key, lti_text *name)
{
    const json_t *value = json_object_get(row, key);
    if (!value) return LT_OK;
    lti_text_format(name, "%s ", key);
    if (json_is_string(value) && !holds_nul(value)) {
        lti_text_add(name, json_string_value(value), json_string_length(value));
    } else {
        char *text = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
        if (!text) return lti_fail(r->ctx, LT_ENOMEM, "out of memory for the rows of %s", r->file.path);
        lti_text_format(name, "%s", text);
        free(text);
    }
    return name->failed ? LT_ENOMEM : LT_OK;
}

static bool check_id(reading *r, const json_t *row)
{
    const json_t *id = json_object_get(row, "id");
    if (!id || json_is_string(id) || json_is_integer(id)) return true;
    BAD(r, "'id' is %s, not a string or a whole number", lti_json_kind(id));
    return false;
}

static const char *const names[] = {"id", "prompt", "messages"};

/* Puts a prompt into the table under all its names. */
static lt_status enter(reading *r, const json_t *row, int64_t index)
{
    lt_status status = LT_OK;
    for (int i = 0; i < LTI_COUNT(names) && status == LT_OK && !*r->reason; i++) {
        lti_text name = {.ctx = r->ctx};
        status = name_of(r, row, names[i], &name);
        json_t *before = name.data ? json_object_get(r->set->places, name.data) : NULL;
        json_int_t first = json_integer_value(before);
        bool apart = json_object_get(row, "id") && i > 0; /* texts may be equal when ids are not */
        if (before && !apart && first >= 0)
            BAD(r, "%.60s stands in line %" PRId64 " too%s", name.data, r->set->prompts[first].line,
                i ? "; give both an id" : "");
        else if (before && !apart)
            BAD(r, "%.60s stands in other lines too; give it an id", name.data);
        else if (name.data && json_object_set_new(r->set->places, name.data, json_integer(before ? -1 : index)))
            status = lti_fail(r->ctx, LT_ENOMEM, "out of memory for the rows of %s", r->file.path);
        lti_text_free(&name);
    }
    return status;
}

/* ---- Prompts ---- */

static lt_status encode_text(reading *r, const json_t *prompt, lt_ids *ids)
{
    LTI_TRY(lt_tokenizer_encode(r->tok, json_string_value(prompt), (int64_t)json_string_length(prompt),
                                LT_ENCODE_SPECIAL_TOKENS, ids));
    /* what ends a whole text would end this one before it goes on */
    if (lt_tokenizer_adds_eos(r->tok) && ids->count && ids->ids[ids->count - 1] == lt_tokenizer_eos(r->tok))
        ids->count--;
    return LT_OK;
}

static lt_status encode_messages(reading *r, const json_t *messages, lt_ids *ids)
{
    lt_message turns[MOST_TURNS];
    size_t count = json_array_size(messages);
    if (!json_is_array(messages) || count == 0 || count > MOST_TURNS)
        return BAD(r, "'messages' is to be an array of 1 to %d turns", MOST_TURNS), LT_OK;
    if (!r->o->chat) return BAD(r, "'messages' need a chat template, and the model has none that is known"), LT_OK;
    for (size_t i = 0; i < count; i++) {
        const json_t *turn = json_array_get(messages, i);
        turns[i].role = json_string_value(json_object_get(turn, "role"));
        turns[i].content = json_string_value(json_object_get(turn, "content"));
        if (!turns[i].role || !turns[i].content)
            return BAD(r, "message %zu: 'role' and 'content' are to be strings", i + 1), LT_OK;
        if (holds_nul(json_object_get(turn, "role")) || holds_nul(json_object_get(turn, "content")))
            return BAD(r, "message %zu holds a NUL character", i + 1), LT_OK;
    }
    if (strcmp(turns[count - 1].role, "assistant") == 0)
        return BAD(r, "the last message is the assistant's: there is nothing to answer"), LT_OK;
    return lt_chat_encode(r->o->chat, (int)count, turns, true, ids, NULL);
}

/* A field that is a string or an array of strings, none of them empty: how many; -1 with a reason. */
static int texts_of(reading *r, const json_t *row, const char *key, int most)
{
    const json_t *field = json_object_get(row, key);
    size_t count = json_is_array(field) ? json_array_size(field) : field ? 1 : 0;
    if (field && (count == 0 || count > (size_t)most))
        return BAD(r, "'%s' holds %zu strings; 1 to %d may stand there", key, count, most), -1;
    for (size_t i = 0; i < count; i++) {
        const json_t *text = json_is_array(field) ? json_array_get(field, i) : field;
        if (!json_is_string(text))
            return BAD(r, "'%s' is %s, not a string or an array of strings", key, lti_json_kind(text)), -1;
        if (json_string_length(text) == 0) return BAD(r, "'%s' holds an empty string", key), -1;
    }
    return (int)count;
}

static lt_status read_settings(reading *r, const json_t *row, lti_prompt *p)
{
    const json_t *most = json_object_get(row, "max_tokens"), *stop = json_object_get(row, "stop");
    if (most && (!json_is_integer(most) || json_integer_value(most) < 1 || json_integer_value(most) > MOST_TOKENS))
        return BAD(r, "'max_tokens' is to be a whole number from 1 to %d", MOST_TOKENS), LT_OK;
    p->max_tokens = json_integer_value(most);
    int n = texts_of(r, row, "stop", MOST_STOPS);
    if (n <= 0) return LT_OK;
    p->stop = lti_alloc_array(r->ctx, (size_t)n, sizeof *p->stop);
    if (!p->stop) return LT_ENOMEM;
    for (p->n_stop = 0; p->n_stop < n; p->n_stop++) {
        const json_t *text = json_is_array(stop) ? json_array_get(stop, (size_t)p->n_stop) : stop;
        if (holds_nul(text)) BAD(r, "'stop' holds a NUL character");
        p->stop[p->n_stop] = json_string_value(text);
    }
    return LT_OK;
}

static lt_status encode(reading *r, const json_t *row, lti_prompt *p)
{
    const json_t *prompt = json_object_get(row, "prompt"), *messages = json_object_get(row, "messages");
    if (!prompt == !messages) return BAD(r, "a row has 'prompt' or 'messages', one of them"), LT_OK;
    if (prompt && !json_is_string(prompt)) return BAD(r, "'prompt' is %s, not a string", lti_json_kind(prompt)), LT_OK;
    lt_status status = prompt ? encode_text(r, prompt, &p->ids) : encode_messages(r, messages, &p->ids);
    if (status == LT_ENOMEM || status == LT_ELIMIT) return lti_fail_in(r->ctx, "%s:%" PRId64, r->file.path, p->line);
    if (status != LT_OK)
        BAD(r, "%s", lt_ctx_message(r->ctx));
    else if (!*r->reason && p->ids.count == 0)
        BAD(r, "the prompt is empty, and this tokenizer begins no text by itself");
    else if (p->ids.count > r->most)
        BAD(r, "the prompt has %" PRId64 " tokens; the model has room for %" PRId64, p->ids.count, r->most);
    return LT_OK;
}

static lt_status take_prompt(reading *r, json_t *row, int64_t line)
{
    lti_golden_set *set = r->set;
    if (!check_id(r, row)) return LT_OK;
    if (!make_room(r->ctx, (void **)&set->prompts, set->prompt_count, &set->prompt_room, sizeof *set->prompts))
        return LT_ENOMEM;
    lti_prompt *p = &set->prompts[set->prompt_count++];
    *p = (lti_prompt){.row = json_incref(row), .line = line, .golden = -1};
    LTI_TRY(read_settings(r, row, p));
    if (!*r->reason) LTI_TRY(encode(r, row, p));
    return *r->reason ? LT_OK : enter(r, row, set->prompt_count - 1);
}

/* ---- Goldens ---- */

static bool check_fields(reading *r, const json_t *row)
{
    static const char *const known[] = {"id",           "prompt",           "messages", "output",
                                        "must_contain", "must_not_contain", "regex",    "max_divergence",
                                        "reason",       "tokens",           "note"};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)row, key, value)
    {
        bool found = false;
        for (int i = 0; i < LTI_COUNT(known) && !found; i++) found = strcmp(key, known[i]) == 0;
        if (!found)
            return BAD(r, "'%.24s' is no field of a golden: output, must_contain, must_not_contain, regex, ...", key),
                   false;
    }
    return true;
}

/* All names a golden has must mean one prompt. */
static lt_status find_prompt(reading *r, const json_t *row, int64_t *index)
{
    lt_status status = LT_OK;
    *index = -1;
    for (int i = 0; i < LTI_COUNT(names) && status == LT_OK && !*r->reason; i++) {
        lti_text name = {.ctx = r->ctx};
        status = name_of(r, row, names[i], &name);
        json_t *place = name.data ? json_object_get(r->set->places, name.data) : NULL;
        int64_t at = place ? json_integer_value(place) : -1;
        bool named = status == LT_OK && name.data;
        if (named && !place && *index < 0)
            BAD(r, "no prompt has the %.80s", name.data);
        else if (named && (!place || (at >= 0 && *index >= 0 && at != *index)))
            BAD(r, "the prompt of this id has another text now; write the goldens again");
        else if (named && *index < 0 && at < 0)
            BAD(r, "several prompts have this text; name one by its id");
        else if (named && *index < 0)
            *index = at;
        lti_text_free(&name);
    }
    if (status == LT_OK && !*r->reason && *index < 0) BAD(r, "'id', 'prompt' or 'messages' must name a prompt");
    return status;
}

static lt_status read_checks(reading *r, const json_t *row, lti_golden *g)
{
    const json_t *output = json_object_get(row, "output"), *regex = json_object_get(row, "regex");
    const json_t *share = json_object_get(row, "max_divergence");
    if (output && !json_is_string(output)) return BAD(r, "'output' is %s, not a string", lti_json_kind(output)), LT_OK;
    if (regex && !json_is_string(regex)) return BAD(r, "'regex' is %s, not a string", lti_json_kind(regex)), LT_OK;
    if (share && (!json_is_number(share) || !(json_number_value(share) >= 0 && json_number_value(share) <= 1)))
        return BAD(r, "'max_divergence' is to be a number from 0 to 1"), LT_OK;
    if (share && !output) return BAD(r, "'max_divergence' needs an 'output' to differ from"), LT_OK;
    int phrases = texts_of(r, row, "must_contain", 1000) + texts_of(r, row, "must_not_contain", 1000);
    if (*r->reason) return LT_OK;
    if (!output && !regex && phrases == 0)
        return BAD(r, "nothing is expected: no output, must_contain, must_not_contain or regex"), LT_OK;
    g->output = json_string_value(output);
    g->bytes = (int64_t)json_string_length(output);
    g->max_divergence = json_number_value(share);
    return regex ? lti_pattern_compile(r->ctx, json_string_value(regex), json_string_length(regex), &g->regex,
                                       r->reason, LTI_REASON)
                 : LT_OK;
}

static lt_status take_header(reading *r, json_t *row)
{
    const json_t *version = json_object_get(row, "lathe_golden");
    if (r->seen != 1) return BAD(r, "a first row of another file ('lathe_golden')"), LT_OK;
    if (json_integer_value(version) != 1)
        return lti_fail(r->ctx, LT_EUNSUPPORTED,
                        "%s: goldens of version %" JSON_INTEGER_FORMAT "; this lathe reads version 1", r->file.path,
                        json_integer_value(version));
    r->set->header = json_incref(row);
    return LT_OK;
}

static lt_status take_golden(reading *r, json_t *row, int64_t line)
{
    lti_golden_set *set = r->set;
    if (json_object_get(row, "lathe_golden")) return take_header(r, row);
    if (!check_id(r, row) || !check_fields(r, row)) return LT_OK;
    if (!make_room(r->ctx, (void **)&set->goldens, set->golden_count, &set->golden_room, sizeof *set->goldens))
        return LT_ENOMEM;
    lti_golden *g = &set->goldens[set->golden_count++];
    *g = (lti_golden){.row = json_incref(row), .line = line};
    int64_t index = -1;
    LTI_TRY(read_checks(r, row, g));
    if (!*r->reason) LTI_TRY(find_prompt(r, row, &index));
    if (*r->reason) return LT_OK;
    lti_prompt *p = &set->prompts[index];
    if (p->golden >= 0)
        BAD(r, "the prompt has a golden in line %" PRId64 " already", set->goldens[p->golden].line);
    else
        p->golden = set->golden_count - 1;
    return LT_OK;
}

lt_status lti_golden_set_read(lt_ctx *ctx, const lt_golden_options *options, lt_tokenizer *tokenizer, int64_t most,
                              lti_golden_set *set)
{
    *set = (lti_golden_set){.ctx = ctx, .places = json_object()};
    reading r = {.ctx = ctx, .o = options, .tok = tokenizer, .most = most, .set = set, .blame = {.ctx = ctx}};
    if (!set->places) return lti_fail(ctx, LT_ENOMEM, "out of memory for prompts");
    lt_status status = read_file(&r, options->prompts, take_prompt);
    if (status == LT_OK && set->prompt_count == 0)
        status = lti_fail(ctx, LT_EFORMAT, "%s: there is no prompt in it", options->prompts);
    if (status == LT_OK && options->golden) status = read_file(&r, options->golden, take_golden);
    if (status == LT_OK && options->golden && set->golden_count == 0)
        status = lti_fail(ctx, LT_EFORMAT, "%s: there is no golden in it", options->golden);
    lti_text_free(&r.blame);
    return status;
}
