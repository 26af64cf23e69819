/* verb_tokenize.c - lathe tokenize: text to ids, ids to text, and a tokenizer learned from a text.
 *
 * A text is a line of --file, all of it with --whole, or the word TEXT. Plain output is one line a text, so that the
 * output of the one direction is the input of the other; with --whole decoded bytes are written as they are, without a
 * line end of our own, and the round trip gives the file back. Text that is not UTF-8 is refused: its ids would depend
 * on how broken bytes are read. */
#include "cli/cli.h"
#include "lathe/data.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct tokenize_options {
    cli_common common;
    const char *model, *text, *file, *train, *out, *like;
    bool whole, decode, special, parse_special;
    int64_t vocab;
} tokenize_options;

#define AT(field) offsetof(tokenize_options, field)
#define INPUT "Input"
#define LEARN "Learning a tokenizer"

static const cli_option options[] = {
    {"model", CLI_TEXT, AT(model), .group = INPUT, .value = "M",
     .help = "whose tokenizer: a model directory, a tokenizer.json or a .gguf"},
    {"text", CLI_TEXT, AT(text), .group = INPUT, .value = "TEXT", .flags = CLI_POSITIONAL,
     .help = "what to encode (with --decode: ids); also the first word without a flag"},
    {"file", CLI_TEXT, AT(file), .group = INPUT, .value = "FILE",
     .help = "take the texts from a file, one a line; - is standard input"},
    {"whole", CLI_SWITCH, AT(whole), .group = INPUT, .help = "all of --file is one text"},
    {"decode", CLI_SWITCH, AT(decode), .group = INPUT, .help = "the input is ids, separated by blanks or commas"},
    {"special", CLI_SWITCH, AT(special), .group = INPUT,
     .help = "add what the tokenizer puts around a text (BOS, EOS); with --decode: show control tokens"},
    {"parse_special", CLI_SWITCH, AT(parse_special), .group = INPUT,
     .help = "names of control tokens in the text become those tokens; else they are plain text"},
    {"train", CLI_TEXT, AT(train), .group = LEARN, .value = "FILE",
     .help = "learn a byte-level BPE from this text; <|endoftext|> parts its documents"},
    {"vocab", CLI_INT, AT(vocab), "4096", LEARN, "how many tokens: 256 bytes, <|endoftext|>, the rest merges",
     .low = 257, .high = 1 << 22},
    {"like", CLI_CHOICE, AT(like), "gpt2", LEARN, "whose pattern cuts the text into words",
     .choices = "gpt2|llama3|qwen2|smollm"},
    {"out", CLI_TEXT, AT(out), .group = LEARN, .value = "DIR",
     .help = "where tokenizer.json and tokenizer_config.json go"},
};

static int verb_tokenize(cli *cli, void *target);

const cli_verb cli_verb_tokenize = {
    .name = "tokenize",
    .summary = "text to ids and back; --train learns a tokenizer",
    .usage = "--model M [--file F] [TEXT] [options]",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .target_bytes = sizeof(tokenize_options),
    .run = verb_tokenize,
};

/* ---- Input ---- */

typedef struct input {
    char *bytes; /* from malloc, or NULL for the word TEXT */
    const char *text;
    size_t size;
    const char *path; /* NULL: the word */
} input;

/* Reads a file to its end. */
static int read_file(cli *c, const char *path, input *in)
{
    bool standard = !strcmp(path, "-");
    FILE *file = standard ? stdin : fopen(path, "rbe");
    size_t room = 1 << 16;
    if (!file) return cli_fail(c, EXIT_INPUT, "%s: cannot be opened: %s; check the path", path, strerror(errno));
    in->path = standard ? "standard input" : path;
    in->bytes = malloc(room);
    while (in->bytes) {
        in->size += fread(in->bytes + in->size, 1, room - in->size, file);
        if (in->size < room) break;
        char *more = realloc(in->bytes, room *= 2);
        if (!more) free(in->bytes);
        in->bytes = more;
    }
    int error = ferror(file) ? errno : 0;
    if (!standard) fclose(file);
    in->text = in->bytes;
    if (!in->bytes) return cli_fail(c, EXIT_MEMORY, "%s: out of memory for its text", path);
    if (error) return cli_fail(c, EXIT_INPUT, "%s: cannot be read: %s", path, strerror(error));
    return EXIT_DONE;
}

static bool is_utf8(const char *text, size_t size)
{
    json_t *copy = json_stringn(text, size); /* NULL also when memory is out, which the rest meets too */
    json_decref(copy);
    return copy != NULL;
}

/* The next text: a line without its end, or all. False at the end; `at` is where to go on. */
static bool next_text(const input *in, bool whole, size_t *at, const char **text, size_t *size)
{
    if (in->path && !whole && *at >= in->size) return false;
    if ((!in->path || whole) && *at) return false;
    *text = in->text + *at;
    const char *end = in->path && !whole ? memchr(*text, '\n', in->size - *at) : NULL;
    *size = end ? (size_t)(end - *text) : in->size - *at;
    *at += *size + 1;
    return true;
}

/* Each line by itself, so that the message can name the line. */
static int check_utf8(cli *c, const input *in)
{
    const char *text;
    size_t size, at = 0;
    for (int64_t line = 1; next_text(in, false, &at, &text, &size); line++) {
        if (is_utf8(text, size)) continue;
        if (!in->path) return cli_fail(c, EXIT_USAGE, "the text is not UTF-8; convert it");
        return cli_fail(c, EXIT_INPUT, "%s:%" PRId64 ": not UTF-8 (in the line that begins at byte %zu); convert it",
                        in->path, line, (size_t)(text - in->text));
    }
    return EXIT_DONE;
}

/* "file:line: ", or nothing for the word. */
static const char *place(const input *in, bool whole, int64_t line, char buffer[300])
{
    *buffer = 0;
    if (in->path && whole) snprintf(buffer, 300, "%.250s: ", in->path);
    if (in->path && !whole) snprintf(buffer, 300, "%.250s:%" PRId64 ": ", in->path, line);
    return buffer;
}

/* ---- Encoding and decoding ---- */

typedef struct job {
    cli *cli;
    const tokenize_options *o;
    lt_tokenizer *tokenizer;
    const input *in;
    lt_ids ids;              /* of the present text */
    json_t *lists, *spelled; /* --json: ids, tokens; or texts */
    int64_t count;
    FILE *out; /* what will be printed if all goes well */
} job;

/* For JSON, where bytes that are no UTF-8 cannot stand: U+FFFD for each. */
static json_t *readable(const char *text, size_t size)
{
    json_t *string = json_stringn(text, size);
    if (string) return string;
    char *copy = malloc(3 * size + 1);
    size_t used = 0;
    for (size_t i = 0, n; copy && i < size; i += n) {
        for (n = 4 < size - i ? 4 : size - i; n && !is_utf8(text + i, n); n--) continue;
        memcpy(copy + used, n ? text + i : "\xef\xbf\xbd", n ? n : 3);
        used += n ? n : 3;
        n += !n;
    }
    string = copy ? json_stringn(copy, used) : NULL;
    free(copy);
    return string;
}

static int encode(job *j, const char *text, size_t size, int64_t line)
{
    unsigned flags =
        (j->o->special ? LT_ENCODE_SPECIAL_TOKENS : 0) | (j->o->parse_special ? LT_ENCODE_PARSE_SPECIAL : 0);
    char where[300];
    j->ids.count = 0;
    lt_status status = lt_tokenizer_encode(j->tokenizer, text, (int64_t)size, flags, &j->ids);
    if (status != LT_OK)
        return cli_fail(j->cli,
                        status == LT_ENOMEM ? EXIT_MEMORY
                        : j->in->path       ? EXIT_INPUT
                                            : EXIT_USAGE,
                        "%s%s", place(j->in, j->o->whole, line, where), lt_ctx_message(j->cli->ctx));
    json_t *list = j->cli->json ? json_array() : NULL, *tokens = j->cli->json ? json_array() : NULL;
    for (int64_t i = 0; i < j->ids.count; i++) {
        int64_t bytes;
        if (!j->cli->json) {
            fprintf(j->out, "%s%d", i ? " " : "", j->ids.ids[i]);
            continue;
        }
        const char *token = lt_tokenizer_token(j->tokenizer, j->ids.ids[i], &bytes);
        json_array_append_new(list, json_integer(j->ids.ids[i]));
        json_array_append_new(tokens, readable(token ? token : "", (size_t)bytes));
    }
    j->count += j->ids.count;
    if (!j->cli->json) return fputc('\n', j->out), EXIT_DONE;
    json_array_append_new(j->lists, list);
    json_array_append_new(j->spelled, tokens);
    return EXIT_DONE;
}

/* Numbers from a text; `room` is at least its length. */
static int read_ids(job *j, const char *text, size_t size, int64_t line, int32_t *ids, int64_t *count)
{
    int32_t vocab = lt_tokenizer_vocab_size(j->tokenizer);
    int code = j->in->path ? EXIT_INPUT : EXIT_USAGE;
    char where[300], word[32];
    *count = 0;
    for (size_t at = 0; at < size;) {
        size_t length = 0;
        while (at + length < size && !strchr(" ,\t\r\n", text[at + length])) length++;
        snprintf(word, sizeof word, "%.*s", (int)(length < 31 ? length : 31), text + at);
        at += length + 1;
        if (length == 0) continue;
        char *end;
        long long id = strtoll(word, &end, 10);
        if (*end || length > 19)
            return cli_fail(j->cli, code, "%s'%s' is no id; ids are whole numbers, separated by blanks",
                            place(j->in, j->o->whole, line, where), word);
        if (id < 0 || id >= vocab)
            return cli_fail(j->cli, code, "%sid %lld is outside the vocabulary of %d",
                            place(j->in, j->o->whole, line, where), id, vocab);
        ids[(*count)++] = (int32_t)id;
    }
    return EXIT_DONE;
}

static int decode(job *j, const char *text, size_t size, int64_t line)
{
    int32_t *ids = calloc(size / 2 + 1, sizeof *ids);
    int64_t count, bytes;
    char *decoded = NULL;
    if (!ids) return cli_fail(j->cli, EXIT_MEMORY, "out of memory for %zu bytes of ids", size);
    int code = read_ids(j, text, size, line, ids, &count);
    if (!code) {
        lt_status status = lt_tokenizer_decode(j->tokenizer, ids, count, j->o->special ? LT_DECODE_SPECIAL_TOKENS : 0,
                                               &decoded, &bytes);
        if (status != LT_OK) code = cli_fail_status(j->cli, status, true);
    }
    free(ids);
    if (code) return code;
    j->count += count;
    if (j->cli->json) {
        json_array_append_new(j->lists, readable(decoded, (size_t)bytes));
    } else {
        fwrite(decoded, 1, (size_t)bytes, j->out);
        if (!j->o->whole) fputc('\n', j->out);
    }
    lt_buffer_free(j->cli->ctx, decoded);
    return EXIT_DONE;
}

static int answer(job *j)
{
    json_int_t count = j->count;
    if (j->o->decode) return cli_answer(j->cli, json_pack("{s:O, s:I}", "texts", j->lists, "count", count));
    return cli_answer(j->cli, json_pack("{s:O, s:O, s:I}", "ids", j->lists, "tokens", j->spelled, "count", count));
}

static int each_text(cli *c, const tokenize_options *o, lt_tokenizer *tokenizer, const input *in)
{
    job j = {.cli = c, .o = o, .tokenizer = tokenizer, .in = in, .lists = json_array(), .spelled = json_array()};
    const char *text;
    char *printed = NULL;
    size_t size, at = 0, length = 0;
    j.out = open_memstream(&printed, &length);
    int code = j.out ? EXIT_DONE : cli_fail(c, EXIT_MEMORY, "out of memory at the start");
    if (!code && !o->decode) code = check_utf8(c, in);
    for (int64_t line = 1; !code && next_text(in, o->whole, &at, &text, &size); line++)
        code = o->decode ? decode(&j, text, size, line) : encode(&j, text, size, line);
    if (j.out && fclose(j.out) && !code) code = cli_fail(c, EXIT_MEMORY, "out of memory for the result");
    if (!code && c->json)
        code = answer(&j);
    else if (!code)
        fwrite(printed, 1, length, stdout);
    free(printed);
    lt_ids_free(c->ctx, &j.ids);
    json_decref(j.lists);
    json_decref(j.spelled);
    return code;
}

/* ---- Learning ---- */

static int learn(cli *c, const tokenize_options *o, const input *in)
{
    lt_tokenizer *tokenizer = NULL;
    char b[2][32];
    double start = cli_seconds();
    int code = check_utf8(c, in);
    if (!code) code = cli_make_output(c, o->out);
    if (code) return code;
    lt_status status = lt_tokenizer_train(c->ctx, in->text, (int64_t)in->size, (int32_t)o->vocab, o->like, &tokenizer);
    if (status != LT_OK)
        return cli_fail(c, status == LT_ENOMEM ? EXIT_MEMORY : EXIT_INPUT, "%s: %s", in->path, lt_ctx_message(c->ctx));
    double seconds = cli_seconds() - start;
    status = lt_tokenizer_save(tokenizer, o->out);
    int32_t vocab = lt_tokenizer_vocab_size(tokenizer);
    lt_tokenizer_free(tokenizer);
    if (status != LT_OK) return cli_fail_status(c, status, false);
    if (c->json)
        return cli_answer(c, json_pack("{s:s, s:i, s:s, s:I, s:f}", "out", o->out, "vocab", (int)vocab, "like", o->like,
                                       "bytes", (json_int_t)in->size, "seconds", seconds));
    printf("%s: %s tokens from %s in %.1f s\n", o->out, cli_thousands(b[0], vocab), cli_bytes(b[1], in->size), seconds);
    return EXIT_DONE;
}

/* ---- The verb ---- */

static int check_options(cli *c, const tokenize_options *o)
{
    bool use = o->text || o->file || o->decode || o->whole || o->special || o->parse_special;
    if (o->train && (o->model || use))
        return cli_fail(c, EXIT_USAGE,
                        "--train makes a tokenizer and encodes nothing; leave --model, --file, TEXT and "
                        "what goes with them out");
    if (o->train && !o->out) return cli_fail(c, EXIT_USAGE, "no place for the tokenizer; give --out DIR");
    if (o->train) return EXIT_DONE;
    if (cli_settings_given(c->settings, "out") || cli_settings_given(c->settings, "vocab") ||
        cli_settings_given(c->settings, "like"))
        return cli_fail(c, EXIT_USAGE, "--vocab, --like and --out go with --train TEXT");
    if (!o->model) return cli_fail(c, EXIT_USAGE, "no tokenizer; give --model M, or --train FILE to make one");
    if (!o->text == !o->file)
        return cli_fail(c, EXIT_USAGE,
                        o->text ? "--file and TEXT are two inputs; give one"
                                : "nothing to encode; give TEXT or --file FILE");
    if (o->whole && !o->file) return cli_fail(c, EXIT_USAGE, "--whole is about --file; TEXT is whole as it is");
    return EXIT_DONE;
}

static int verb_tokenize(cli *c, void *target)
{
    tokenize_options *o = target;
    input in = {.text = o->text, .size = o->text ? strlen(o->text) : 0};
    lt_tokenizer *tokenizer = NULL;
    int code = check_options(c, o);
    if (!code && (o->file || o->train)) code = read_file(c, o->train ? o->train : o->file, &in);
    if (!code && o->train) {
        code = learn(c, o, &in);
    } else if (!code) {
        lt_status status = lt_tokenizer_open(c->ctx, o->model, &tokenizer);
        code = status == LT_OK ? each_text(c, o, tokenizer, &in) : cli_fail_status(c, status, true);
    }
    lt_tokenizer_free(tokenizer);
    free(in.bytes);
    return code;
}
