/* cli.h - what the verbs share: the state of one call, exit codes, talking.
 *
 * Results go to stdout, everything else to stderr; with --json stdout holds exactly one object, also when the verb
 * fails ({"error": ..., "exit_code": ...}). A verb returns its exit code; nothing below main() ends the process. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "cli/options.h"
#include "lathe/chat.h"
#include "lathe/plan.h"
#include "lathe/train.h"

#include <jansson.h>

enum {
    EXIT_DONE = 0,
    EXIT_GATE = 1,     /* a gate failed */
    EXIT_USAGE = 2,    /* the command line or the configuration */
    EXIT_INPUT = 3,    /* a file that is missing, broken or not what it should be */
    EXIT_MEMORY = 4,   /* the forecast passes the limit */
    EXIT_DIVERGED = 5, /* not a number */
    EXIT_IO = 6,       /* the system refused to write or to run */
    EXIT_SIGNAL = 128  /* + the signal */
};

typedef struct cli {
    const cli_verb *verb;
    lt_ctx *ctx;
    const cli_settings *settings;
    const char *command; /* the command line, quoted for a shell */
    bool json, quiet;
    bool tty, color; /* of stderr */
    bool answered;   /* the JSON object is out */
} cli;

/* ---- Verbs ---- */
extern const cli_verb cli_verb_demo, cli_verb_train, cli_verb_eval, cli_verb_inspect, cli_verb_doctor, cli_verb_bench,
    cli_verb_tokenize, cli_verb_convert, cli_verb_generate, cli_verb_cluster, cli_verb_quantize;

/* Nonzero once a signal asked to stop: its number. */
extern volatile int cli_stop;

/* ---- Talking (screen.c) ---- */
void cli_say(const cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3))); /* unless --quiet */
void cli_warn(const cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
int cli_fail(cli *cli, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The context's message. `reading`: the call read input, so that a missing or broken file is EXIT_INPUT. */
int cli_fail_status(cli *cli, lt_status status, bool reading);
/* Prints and releases the answer. */
int cli_answer(cli *cli, json_t *object);
json_t *cli_real(double value); /* null for NaN and infinity, which JSON lacks */
/* Rows of cells separated by tabs, the first row the header: columns lined up, numbers to the right. */
void cli_table(FILE *file, const char *rows);
/* A library's status line for the terminal: control characters in names from files become '?'. */
void cli_put_clean(FILE *file, const char *text, size_t limit);
const char *cli_bytes(char buffer[32], uint64_t bytes);     /* "1.82 MB", powers of ten */
const char *cli_thousands(char buffer[32], int64_t number); /* "1,234,567" */
const char *cli_clock(char buffer[32], double seconds);     /* "12:40", "1:02:03" */
double cli_seconds(void);                                   /* monotonic */

/* ---- Training as a user sees it (progress.c) ---- */
typedef struct cli_progress {
    const cli *cli;
    const char *title;  /* before each line, or NULL */
    const char *source; /* where the model is from: a path or an --init text */
    const lt_model *model;
    int64_t batch_size, accumulation;
    bool every;    /* a line at every call, as log_every asks */
    bool brief;    /* no banner */
    bool bar_open; /* a bar stands in the current line */
    double last;   /* when the last line was written */
    uint64_t available;
} cli_progress;
void cli_on_start(void *user, const lt_train_start *start);
void cli_on_progress(void *user, const lt_train_progress *progress);
void cli_progress_end(cli_progress *progress); /* closes the bar's line */

/* A line on stderr while something long is counted: one that is rewritten on a terminal, else one every 10 s. */
typedef struct cli_count {
    const cli *cli;
    double last; /* cli_seconds() when the count began */
    bool open;   /* a line stands to be rewritten */
} cli_count;
void cli_on_count(void *user, const char *what, int64_t done, int64_t total);
void cli_count_end(const cli_count *count); /* takes the line away */

/* ---- Files (paths.c) ---- */
char *cli_join(const char *directory, const char *name); /* to be freed; NULL when memory is out */
/* Makes the directory (and those above it) and checks that files can be made in it: before hours of work, not after. */
int cli_make_output(cli *cli, const char *directory);
bool cli_is_directory(const char *path);
bool cli_ends_with(const char *text, const char *end);
const char *cli_last_part(const char *path); /* what a file that ships may know of a path: "M", or "M/"; NULL of NULL */

/* ---- Quantization options that train, eval and generate share (quant_options.c) ---- */
typedef struct cli_quant {
    const char *type, *embedding, *targets, *activations, *scale, *gradient, *backward;
    const char *observer; /* of static activations */
    cli_list tensor_types;
    double damping, freeze, observe_rate;
    int64_t scale_every;
    lt_quant_rule *rules; /* [n_rules]: what the policy borrows; cli_quant_free */
    char **texts;
    int n_rules;
} cli_quant;
#define CLI_TENSOR_TYPE(AT, group_)                                                                                    \
    {                                                                                                                  \
        "tensor_type", CLI_LIST, AT(quant.tensor_types),                                                               \
            .group = group_, .value = "GLOB=TYPE,..",                                                                  \
            .help =                                                                                                    \
                "other types for single tensors: '*.ffn_down.weight=q6_k'. The first that matches; may be repeated"    \
    }
#define CLI_QUANT_FORMATS "gptq|awq|bnb|compressed-tensors"
#define CLI_QUANT_FORMATS_HELP                                                                                         \
    "as Transformers and vLLM read it: int4 groups of gptq or awq, NF4 of bitsandbytes, W8A8 of compressed-tensors; "
#define CLI_QUANT_OPTIONS(AT, group_, what_)                                                                           \
    {"qat", CLI_TEXT, AT(quant.type), .group = group_, .value = "TYPE", .help = what_ CLI_QUANT_TYPES},                \
        {"qat_embedding",                                                                                              \
         CLI_TEXT,                                                                                                     \
         AT(quant.embedding),                                                                                          \
         .group = group_,                                                                                              \
         .value = "TYPE",                                                                                              \
         .help = "type of the embedding and the head, one for both uses of a tied matrix; left out: f32, or the "      \
                 "mix's"},                                                                                             \
        {"qat_targets",   CLI_TEXT,        AT(quant.targets),                                                          \
         .group = group_, .value = "GLOB", .help = "parameters --qat is for; every linear layer when left out"},       \
        CLI_TENSOR_TYPE(AT, group_),                                                                                   \
    {                                                                                                                  \
        "qat_activations", CLI_CHOICE, AT(quant.activations), "auto", group_,                                          \
            "what meets a quantized weight is rounded to; products are then sums of integers. runtime: as llama.cpp "  \
            "does for the weight's lattice. auto: none, but those of w8a8 and of export formats",                      \
            .choices = "auto|none|runtime|int8_token|int8_static"                                                      \
    }
#define CLI_QUANT_TYPES                                                                                                \
    ": f16, bf16, q4_0, q4_1, q5_0, q5_1, q8_0, q2_k .. q6_k, tq1_0, tq2_0, mxfp4, nf4, fp4 for every linear layer; "  \
    "q4_k_m and the like: llama-quantize's choice for each tensor (mix:q4_0 where the name is a type's, too); "        \
    "intN[:gG|channel|tensor][,asym], ternary, fp8; w8a8, w4a16"
#define CLI_QUANT_LATER                                                                                                \
    "q4_1|q5_0|q5_1|q2_k*|q3_k*|q4_k*|q5_k*|q6_k|tq1_0|tq2_0|mxfp4|nf4|int[0-9]*|fp8|ternary|w*a*|f16|bf16"
/* The options as a policy, which borrows from `quant`; *given: it quantizes something. An exit code. */
int cli_quant_policy(cli *cli, cli_quant *quant, lt_quant_policy *policy, bool *given);
/* The policy takes the scales that the model's training had, from its checkpoint or made by its rule; says so. An exit
 * code. */
int cli_quant_scales(cli *cli, lt_model *model, const char *path, lt_quant_policy *policy);
/* Whether the policy means something to the model; says where its activations are not rounded. An exit code. */
int cli_quant_products(cli *cli, const lt_model *model, const lt_quant_policy *policy);
void cli_quant_free(cli_quant *quant); /* a zeroed one is fine */

/* ---- How rows of .jsonl become tokens: options that train and eval share (row_options.c) ---- */
typedef struct cli_rows {
    const char *chat_template, *prompt_key, *completion_key;
    bool train_on_prompt, pack, skip_bad_rows;
} cli_rows;
#define CLI_ROW_OPTIONS(AT, group_)                                                                                    \
    {"chat_template", CLI_TEXT, AT(rows.chat_template), .group = group_, .value = "NAME", .help = CLI_CHAT_HELP},      \
        {"prompt_key", CLI_TEXT, AT(rows.prompt_key), "prompt", group_, "field of a row that holds the prompt"},       \
        {"completion_key", CLI_TEXT, AT(rows.completion_key), "completion", group_, "field that has the completion"},  \
        {"train_on_prompt", CLI_SWITCH, AT(rows.train_on_prompt), .group = group_,                                     \
         .help = "prompts and users' turns count too; else only completions and assistants' turns do"},                \
    {                                                                                                                  \
        "skip_bad_rows", CLI_SWITCH, AT(rows.skip_bad_rows),                                                           \
            .group = group_, .help = "leave rows out that are refused; else the first of them ends it"                 \
    }
#define CLI_CHAT_HELP                                                                                                  \
    "how conversations are written: auto (the model's own), chatml, llama3, gemma, zephyr, qwen3, none, or "           \
    "custom:ROLE=PREFIX|SUFFIX;..."
/* Whether the data may hold conversations: a text file cannot. */
bool cli_may_converse(const char *data);
/* Fills the options of a data set. Opens a chat where the rows are conversations, or one was asked for; *chat is to be
 * freed after the data sets are open. An exit code. */
int cli_rows_options(cli *cli, const cli_rows *rows, const char *data, lt_tokenizer *tokenizer,
                     lt_dataset_options *options, lt_chat **chat);

/* The classes a model knows by name, as a set to be like; *like stays NULL where it knows none (train_data.c). */
lt_status cli_labels_of(lt_ctx *ctx, const lt_model *model, lt_dataset **like);

/* Numbers of an evaluation as the keys of --json. */
json_t *cli_eval_json(const lt_eval_result *result);

#endif
