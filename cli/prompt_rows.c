/* prompt_rows.c - prompts of lathe generate: where they come from and how they become ids.
 *
 * A file has a prompt a line, or a JSON object a line with "prompt" or "messages"; its name says which, and of standard
 * input its first character. Lines without anything in them are no prompts. All are read and encoded before the first
 * is continued, so that line 900 cannot spoil an hour's work. */
#include "cli/prompt_rows.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TURNS = 256 };

typedef struct reading {
    cli *cli;
    const cli_prompt_options *o;
    lt_tokenizer *tokenizer;
    lt_chat *chat; /* opened by the first prompt that needs it */
    cli_prompts *to;
    char place[300]; /* "file:line: ", or "" */
    int code;        /* of a prompt that is wrong: EXIT_USAGE or EXIT_INPUT */
} reading;

void cli_prompts_free(cli *c, cli_prompts *p)
{
    for (int i = 0; i < p->count; i++) {
        json_decref(p->asked[i]);
        lt_ids_free(c->ctx, &p->ids[i]);
    }
    free(p->asked);
    free(p->ids);
    free(p->template);
    *p = (cli_prompts){0};
}

/* A place for one more; NULL when memory is out. Takes `asked`. */
static lt_ids *next_prompt(cli_prompts *p, json_t *asked)
{
    if (p->count == p->room) {
        int room = p->room ? 2 * p->room : 16;
        void *more = realloc(p->asked, (size_t)room * sizeof *p->asked);
        if (more) p->asked = more;
        void *ids = more ? realloc(p->ids, (size_t)room * sizeof *p->ids) : NULL;
        if (!ids) {
            json_decref(asked);
            return NULL;
        }
        p->ids = ids;
        p->room = room;
    }
    p->asked[p->count] = asked;
    p->ids[p->count] = (lt_ids){0};
    return &p->ids[p->count++];
}

/* ---- To ids ---- */

static int fail_here(reading *r, lt_status status)
{
    int code = status == LT_ENOMEM ? EXIT_MEMORY : r->code;
    return cli_fail(r->cli, code, "%s%s", r->place, lt_ctx_message(r->cli->ctx));
}

static int open_chat(reading *r)
{
    if (r->chat) return EXIT_DONE;
    lt_status status = lt_chat_open(r->cli->ctx, r->tokenizer, r->o->chat_template, &r->chat);
    if (status != LT_OK) {
        r->chat = NULL;
        return cli_fail_status(r->cli, status, status != LT_EINVAL);
    }
    const char *note = lt_chat_note(r->chat);
    cli_say(r->cli, "template    %s%s%s", lt_chat_name(r->chat), *note ? ": " : "", note);
    r->to->end = lt_chat_end(r->chat);
    r->to->template = strdup(lt_chat_name(r->chat));
    return r->to->template ? EXIT_DONE : cli_fail(r->cli, EXIT_MEMORY, "out of memory at the start");
}

static int add_turns(reading *r, json_t *asked, int count, const lt_message *turns)
{
    lt_ids *ids = next_prompt(r->to, asked);
    if (!ids) return cli_fail(r->cli, EXIT_MEMORY, "%sout of memory for the prompts", r->place);
    int code = open_chat(r);
    if (code) return code;
    lt_status status = lt_chat_encode(r->chat, count, turns, true, ids, NULL);
    return status == LT_OK ? EXIT_DONE : fail_here(r, status);
}

static int add_text(reading *r, const char *text, size_t size)
{
    json_t *asked = json_stringn(text, size);
    if (!asked) return cli_fail(r->cli, r->code, "%sthe prompt is not UTF-8; convert it", r->place);
    if (r->o->converse) {
        lt_message turns[] = {{"system", r->o->system}, {"user", json_string_value(asked)}};
        int skip = r->o->system ? 0 : 1;
        return add_turns(r, asked, 2 - skip, turns + skip);
    }
    lt_ids *ids = next_prompt(r->to, asked);
    if (!ids) return cli_fail(r->cli, EXIT_MEMORY, "%sout of memory for the prompts", r->place);
    unsigned flags = r->o->raw ? LT_ENCODE_PARSE_SPECIAL : LT_ENCODE_SPECIAL_TOKENS;
    lt_status status = lt_tokenizer_encode(r->tokenizer, text, (int64_t)size, flags, ids);
    if (status != LT_OK) return fail_here(r, status);
    /* What the tokenizer puts behind a whole text would end this one before it goes on. */
    bool closed = !r->o->raw && lt_tokenizer_adds_eos(r->tokenizer) && ids->count > 0;
    if (closed && ids->ids[ids->count - 1] == lt_tokenizer_eos(r->tokenizer)) ids->count--;
    if (ids->count) return EXIT_DONE;
    return cli_fail(r->cli, r->code, "%sthe prompt is empty, and this tokenizer begins no text by itself", r->place);
}

/* ---- Rows of JSON ---- */

static int add_messages(reading *r, json_t *messages)
{
    lt_message turns[MOST_TURNS];
    size_t count = json_array_size(messages);
    if (count == 0 || count > MOST_TURNS)
        return cli_fail(r->cli, r->code, "%s\"messages\" is to be an array of 1 to %d turns", r->place, MOST_TURNS);
    for (size_t i = 0; i < count; i++) {
        json_t *turn = json_array_get(messages, i);
        turns[i].role = json_string_value(json_object_get(turn, "role"));
        turns[i].content = json_string_value(json_object_get(turn, "content"));
        if (!turns[i].role || !turns[i].content)
            return cli_fail(r->cli, r->code, "%smessage %zu has no \"role\" and \"content\" that are texts", r->place,
                            i + 1);
    }
    return add_turns(r, json_incref(messages), (int)count, turns);
}

static int add_row(reading *r, const char *line, size_t size)
{
    json_error_t error;
    json_t *row = json_loadb(line, size, JSON_REJECT_DUPLICATES, &error);
    if (!row) return cli_fail(r->cli, r->code, "%s%s (byte %d of the line)", r->place, error.text, error.position);
    json_t *prompt = json_object_get(row, "prompt"), *messages = json_object_get(row, "messages");
    int code;
    if (!prompt == !messages)
        code = cli_fail(r->cli, r->code, "%sa row has \"prompt\" or \"messages\", one of them", r->place);
    else if (messages)
        code = add_messages(r, messages);
    else if (json_is_string(prompt))
        code = add_text(r, json_string_value(prompt), json_string_length(prompt));
    else
        code = cli_fail(r->cli, r->code, "%s\"prompt\" is no text", r->place);
    json_decref(row);
    return code;
}

/* ---- Files ---- */

static int add_file(reading *r, FILE *file, const char *name, bool json)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t size;
    int code = EXIT_DONE;
    for (long number = 1; !code && (size = getline(&line, &room, file)) >= 0; number++) {
        size_t length = (size_t)size;
        while (length && (line[length - 1] == '\n' || line[length - 1] == '\r')) length--;
        snprintf(r->place, sizeof r->place, "%.250s:%ld: ", name, number);
        if (length == 0) continue;
        if (number == 1 && !strcmp(r->o->file, "-")) json = *line == '{';
        code = json ? add_row(r, line, length) : add_text(r, line, length);
    }
    int error = ferror(file) ? errno : 0;
    free(line);
    if (!code && error) code = cli_fail(r->cli, EXIT_INPUT, "%s: cannot be read: %s", name, strerror(error));
    return code;
}

static int read_file(reading *r)
{
    const char *path = r->o->file;
    bool standard = !strcmp(path, "-");
    size_t length = strlen(path);
    bool json = length > 6 && !strcmp(path + length - 6, ".jsonl");
    FILE *file = standard ? stdin : fopen(path, "rbe");
    if (!file) return cli_fail(r->cli, EXIT_INPUT, "%s: cannot be opened: %s; check the path", path, strerror(errno));
    int before = r->to->count, code = add_file(r, file, standard ? "standard input" : path, json);
    if (!standard) fclose(file);
    if (!code && r->to->count == before)
        code = cli_fail(r->cli, EXIT_INPUT, "%s: there is no prompt in it", standard ? "standard input" : path);
    return code;
}

int cli_prompts_read(cli *c, const cli_prompt_options *options, lt_tokenizer *tokenizer, cli_prompts *prompts)
{
    reading r = {.cli = c, .o = options, .tokenizer = tokenizer, .to = prompts, .code = EXIT_USAGE};
    prompts->end = -1;
    int code = EXIT_DONE;
    for (int i = 0; i < options->given.count && !code; i++) {
        const char *text = options->given.items[i];
        code = add_text(&r, text, strlen(text));
    }
    r.code = EXIT_INPUT;
    if (!code && options->file) code = read_file(&r);
    lt_chat_free(r.chat);
    return code;
}
