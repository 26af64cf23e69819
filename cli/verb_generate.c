/* verb_generate.c - lathe generate: continues prompts; one prompt as it comes, several in batches. */
#include "cli/int8_model.h"
#include "cli/prompt_rows.h"
#include "lathe/infer.h"
#include "qat/policy.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct generate_options {
    cli_common common;
    const char *model;
    cli_prompt_options prompts;
    lt_sampling how;
    cli_list stop;
    int64_t batch_size, context;
    cli_quant quant;
} generate_options;

#define AT(field) offsetof(generate_options, field)
#define MODEL "Model"
#define PROMPT "Prompts"
#define CHOICE "Choosing the next token"

static const cli_option options[] = {
    {"model", CLI_TEXT, AT(model), .group = MODEL, .value = "M",
     .help = "Hugging Face directory, lathe checkpoint or .gguf, used in place"},
    CLI_QUANT_OPTIONS(AT, MODEL, "round linear layers to this type first, as training does"),
    {"prompt", CLI_LIST, AT(prompts.given), .group = PROMPT, .value = "TEXT",
     .help =
         "what to continue; may be repeated. A text is continued as it stands, also by models with a chat template: "
         "give --chat to talk to them"},
    {"prompts", CLI_TEXT, AT(prompts.file), .group = PROMPT, .value = "FILE",
     .help = "a prompt a line, or .jsonl rows with \"prompt\" or \"messages\"; - is standard input"},
    {"chat", CLI_SWITCH, AT(prompts.converse), .group = PROMPT, .help = "prompts are what a user says to the model"},
    {"system", CLI_TEXT, AT(prompts.system), .group = PROMPT, .value = "TEXT",
     .help = "with --chat: the system's turn"},
    {"chat_template", CLI_TEXT, AT(prompts.chat_template), .group = PROMPT, .value = "NAME", .help = CLI_CHAT_HELP},
    {"raw", CLI_SWITCH, AT(prompts.raw), .group = PROMPT,
     .help = "put nothing before the prompt (no BOS), and read names of control tokens in it as those tokens"},
    {"max_tokens", CLI_INT, AT(how.max_tokens), "128", CHOICE, "new tokens at most", .low = 1, .high = 1 << 24},
    {"temperature", CLI_REAL, AT(how.temperature), "0", CHOICE, "0: always the most likely token", .high = 100},
    {"top_k", CLI_INT, AT(how.top_k), "0", CHOICE, "only the K most likely; 0: all", .high = 1 << 30},
    {"top_p", CLI_REAL, AT(how.top_p), "1", CHOICE, "of these the fewest whose probabilities reach P", .high = 1},
    {"min_p", CLI_REAL, AT(how.min_p), "0", CHOICE, "of these those at least P times as likely as the first",
     .high = 1},
    {"repetition_penalty", CLI_REAL, AT(how.repetition_penalty), "1", CHOICE,
     "divides the scores of what was there already; 1: none", .low = 0.01, .high = 100},
    {"stop", CLI_LIST, AT(stop), .group = CHOICE, .value = "TEXT",
     .help = "end before this text; may be repeated. A token that ends texts for the model always does"},
    {"batch_size", CLI_INT, AT(batch_size), "8", "Speed", "prompts at once; with 1 none can change another's rounding",
     .low = 1, .high = 4096},
    {"context", CLI_INT, AT(context), "0", "Speed",
     "tokens of prompt and text together; 0: as many as are asked for and the model was made for (a recurrent one: "
     "any number)",
     .high = 1 << 30},
};
static const char *const later[] = {"adapter", "draft", NULL};

static int verb_generate(cli *cli, void *target);

const cli_verb cli_verb_generate = {
    .name = "generate",
    .summary = "continues prompts with a model",
    .usage = "--model M --prompt TEXT [options]",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .target_bytes = sizeof(generate_options),
    .later = later,
    .run = verb_generate,
};

typedef struct generate_call {
    cli *cli;
    const generate_options *o;
    cli_quant quant;
    lt_quant_policy policy; /* of the session, when `quantized` */
    bool quantized;
    lt_model *model;
    cli_prompts prompts;
    lt_sampling how;
    lt_session *session;
    lt_generation *results; /* [prompts.count] */
    bool clean;             /* stdout is a terminal, which control characters could move */
    double seconds;
} generate_call;

/* ---- Output ---- */

static void put_text(const generate_call *g, const char *text, int64_t bytes)
{
    for (int64_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        bool moves = (c < 32 && c != '\n' && c != '\t') || c == 127;
        putchar(g->clean && moves ? '?' : c);
    }
}

static bool on_text(void *user, int row, const char *text, int64_t bytes)
{
    const generate_call *g = user;
    (void)row;
    if (!g->cli->json && g->prompts.count == 1 && bytes) {
        put_text(g, text, bytes);
        fflush(stdout);
    }
    return !cli_stop;
}

static json_t *result_json(const generate_call *g, int i)
{
    const lt_generation *r = &g->results[i];
    json_t *ids = json_array();
    for (int64_t k = 0; k < r->ids.count; k++) json_array_append_new(ids, json_integer(r->ids.ids[k]));
    return json_pack("{s:O, s:o, s:o, s:I, s:I, s:s, s:f, s:o, s:f}", "prompt", g->prompts.asked[i], "text",
                     json_stringn(r->text, (size_t)r->bytes), "ids", ids, "prompt_tokens", (json_int_t)r->prompt_tokens,
                     "tokens", (json_int_t)r->ids.count, "reason", r->reason, "seconds", r->seconds,
                     "tokens_per_second", cli_real((double)r->ids.count / r->seconds), "first_token_seconds",
                     r->first_seconds);
}

/* The beginning of a prompt, on one line. */
static void put_heading(const generate_call *g, int i)
{
    json_t *asked = g->prompts.asked[i];
    size_t turns = json_array_size(asked), most = 60;
    if (turns) asked = json_object_get(json_array_get(asked, turns - 1), "content");
    const char *text = json_string_value(asked);
    if (strlen(text) < most) most = strlen(text);
    while (((unsigned char)text[most] & 0xC0) == 0x80) most--; /* no half character */
    printf("==> %d: ", i + 1);
    for (size_t k = 0; k < most; k++) put_text(g, text[k] == '\n' ? " " : text + k, 1);
    printf(" <==\n");
}

static int report(generate_call *g)
{
    int n = g->prompts.count;
    int64_t tokens = 0;
    for (int i = 0; i < n; i++) tokens += g->results[i].ids.count;
    double rate = (double)tokens / g->seconds;
    if (g->cli->json) {
        json_t *list = json_array();
        for (int i = 0; i < n; i++) json_array_append_new(list, result_json(g, i));
        return cli_answer(g->cli,
                          json_pack("{s:o, s:I, s:f, s:o, s:I, s:I, s:s?, s:i, s:s}", "generations", list, "tokens",
                                    (json_int_t)tokens, "seconds", g->seconds, "tokens_per_second", cli_real(rate),
                                    "context", (json_int_t)lt_session_length(g->session), "cache_bytes",
                                    (json_int_t)lt_session_cache_bytes(g->session), "template", g->prompts.template,
                                    "threads", lt_threads(), "kernels", lt_kernels_in_use()));
    }
    for (int i = 0; n > 1 && i < n; i++) {
        put_heading(g, i);
        put_text(g, g->results[i].text, g->results[i].bytes);
        printf("\n\n");
    }
    if (n == 1) putchar('\n');
    fflush(stdout);
    cli_say(g->cli, "%" PRId64 " tokens in %.2f s, %.1f tok/s; the first after %.2f s%s%s", tokens, g->seconds, rate,
            g->results[0].first_seconds, n == 1 ? "; ended by: " : "", n == 1 ? g->results[0].reason : "");
    return EXIT_DONE;
}

/* ---- The run ---- */

/* Caches that do not fit would be noticed by the system's killer, not by us: memory is only promised when asked for. */
static int check_memory(cli *c, const lt_transformer_config *t, const lt_session_options *s)
{
    if (!t) return EXIT_DONE; /* a recurrent network's state is small */
    double head = (double)(t->head_dim ? t->head_dim : t->dim / t->heads);
    double bytes = 2.0 * (double)t->layers * (double)s->batch * (double)s->length * (double)t->kv_heads * head *
                   (double)sizeof(lt_real);
    uint64_t free_bytes = lt_memory_now().available;
    char b[2][32];
    if (bytes <= (double)free_bytes) return EXIT_DONE;
    return cli_fail(c, EXIT_MEMORY,
                    "the cache of %" PRId64 " rows of %" PRId64 " tokens needs %s, but %s are free; give a smaller "
                    "--batch-size or --context",
                    s->batch, s->length, cli_bytes(b[0], (uint64_t)bytes), cli_bytes(b[1], free_bytes));
}

static int open_session(generate_call *g)
{
    const generate_options *o = g->o;
    int64_t context = lt_model_context(g->model);
    lt_session_options s;
    lt_session_options_init(&s);
    if (g->quantized) s.quant = &g->policy;
    s.batch = o->batch_size < g->prompts.count ? o->batch_size : g->prompts.count;
    /* A recurrent network's state is of one size at any length: nothing ends its text but what was asked. */
    bool recurrent = !lt_model_is_transformer(g->model);
    int64_t longest = 1, limit = o->context ? o->context : recurrent ? INT32_MAX : context;
    for (int i = 0; i < g->prompts.count; i++)
        if (g->prompts.ids[i].count > longest) longest = g->prompts.ids[i].count;
    s.length = longest + o->how.max_tokens < limit ? longest + o->how.max_tokens : limit;
    if (lt_model_reads(g->model) != LT_DATA_TOKENS)
        s.length = 2; /* the session says what is wrong */
    else if (s.length > context && !recurrent)
        cli_warn(g->cli, "%" PRId64 " tokens are more than the %" PRId64 " the model was made for", s.length, context);
    int code = check_memory(g->cli, lt_model_config(g->model), &s);
    if (code) return code;
    lt_status status = lt_session_create(g->model, &s, &g->session);
    return status == LT_OK ? EXIT_DONE : cli_fail_status(g->cli, status, false);
}

static int choose_how(generate_call *g)
{
    lt_sampling_init(&g->how);
    const lt_sampling *asked = &g->o->how;
    g->how.max_tokens = asked->max_tokens;
    g->how.temperature = asked->temperature;
    g->how.top_k = asked->top_k;
    g->how.top_p = asked->top_p;
    g->how.min_p = asked->min_p;
    g->how.repetition_penalty = asked->repetition_penalty;
    g->how.seed = (uint64_t)g->o->common.seed;
    g->how.n_stop = g->o->stop.count;
    g->how.stop = g->o->stop.items;
    for (int i = 0; i < g->o->stop.count; i++)
        if (!*g->o->stop.items[i]) return cli_fail(g->cli, EXIT_USAGE, "--stop '' would end every text at once");
    int n = lt_model_end_ids(g->model, g->how.end);
    if (g->prompts.end >= 0) g->how.end[n++] = g->prompts.end;
    g->how.n_end = n;
    return EXIT_DONE;
}

static int generate(generate_call *g)
{
    int code = choose_how(g);
    if (!code) code = open_session(g);
    if (code) return code;
    int n = g->prompts.count;
    g->results = calloc((size_t)n, sizeof *g->results);
    if (!g->results) return cli_fail(g->cli, EXIT_MEMORY, "out of memory for %d results", n);
    double start = cli_seconds();
    lt_status status = lt_generate(g->session, n, g->prompts.ids, &g->how, on_text, g, g->results);
    g->seconds = cli_seconds() - start;
    if (status != LT_OK) return cli_fail_status(g->cli, status, false);
    if (cli_stop) return cli_fail(g->cli, EXIT_SIGNAL + cli_stop, "stopped by a signal");
    return report(g);
}

static int check_options(cli *c, const generate_options *o)
{
    const cli_prompt_options *p = &o->prompts;
    if (!o->model) return cli_fail(c, EXIT_USAGE, "no model; give --model M");
    if (!p->given.count && !p->file)
        return cli_fail(c, EXIT_USAGE, "nothing to continue; give --prompt TEXT or --prompts FILE");
    if (p->raw && p->converse)
        return cli_fail(c, EXIT_USAGE, "--raw takes the prompt as it stands and --chat writes around it; give one");
    if (p->system && !p->converse) return cli_fail(c, EXIT_USAGE, "--system goes with --chat");
    if (p->chat_template && !p->converse && !p->file)
        return cli_fail(c, EXIT_USAGE, "--chat-template goes with --chat, or with --prompts that hold messages");
    return EXIT_DONE;
}

/* Weights that are put on grids are read as f32; the others as the files have them. */
static int open_model(generate_call *g)
{
    cli *c = g->cli;
    const char *path = g->o->model;
    bool stay = lti_quant_weights_stay(&g->policy);
    lt_status status = stay ? lt_model_open_frozen(c->ctx, path, &g->model) : lt_model_open(c->ctx, path, &g->model);
    if (status != LT_OK) return cli_fail_status(c, status, true);
    int code = cli_quant_scales(c, g->model, path, &g->policy);
    if (!code) code = cli_int8_grids(c, g->model, path, &g->policy);
    return code ? code : cli_quant_products(c, g->model, &g->policy);
}

static int verb_generate(cli *c, void *target)
{
    const generate_options *o = target;
    generate_call g = {.cli = c, .o = o, .quant = o->quant, .clean = isatty(STDOUT_FILENO)};
    int code = check_options(c, o);
    if (!code) code = cli_quant_policy(c, &g.quant, &g.policy, &g.quantized);
    if (!code) code = open_model(&g);
    if (code) {
        cli_quant_free(&g.quant);
        lt_model_free(g.model);
        return code;
    }
    lt_tokenizer *tokenizer = lt_model_tokenizer(g.model);
    code = tokenizer ? cli_prompts_read(c, &o->prompts, tokenizer, &g.prompts)
                     : cli_fail(c, EXIT_USAGE, "%s: this %s reads numbers and writes no text; lathe eval measures it",
                                o->model, lt_model_family(g.model));
    if (!code) code = generate(&g);
    for (int i = 0; g.results && i < g.prompts.count; i++) lt_generation_free(c->ctx, &g.results[i]);
    free(g.results);
    lt_session_free(g.session);
    cli_prompts_free(c, &g.prompts);
    cli_quant_free(&g.quant);
    lt_model_free(g.model);
    return code;
}
