/* eval_golden.h - the parts of `lathe eval` that look back: golden outputs, and drift against an earlier report. */
#ifndef CLI_EVAL_GOLDEN_H
#define CLI_EVAL_GOLDEN_H

#include "cli/cli.h"
#include "lathe/goldens.h"

typedef struct cli_golden {
    const char *prompts, *golden, *write, *baseline;
    int64_t max_tokens;
} cli_golden;
#define CLI_GOLDEN_OPTIONS(AT, group_)                                                                                 \
    {"prompts",                                                                                                        \
     CLI_TEXT,                                                                                                         \
     AT(golden.prompts),                                                                                               \
     .group = group_,                                                                                                  \
     .value = "FILE",                                                                                                  \
     .help = "continue these rows ({\"prompt\"} or {\"messages\"}, \"id\") greedily; alone it takes the place of "     \
             "--data"},                                                                                                \
        {"golden",                                                                                                     \
         CLI_TEXT,                                                                                                     \
         AT(golden.golden),                                                                                            \
         .group = group_,                                                                                              \
         .value = "FILE",                                                                                              \
         .help = "what is expected of them: rows of output, must_contain, must_not_contain, regex; gates: "            \
                 "golden.exact, golden.passed, ..."},                                                                  \
        {"golden_write",  CLI_TEXT,        AT(golden.write),                                                           \
         .group = group_, .value = "FILE", .help = "write what the model says as goldens to compare others with"},     \
        {"max_tokens",                                                                                                 \
         CLI_INT,                                                                                                      \
         AT(golden.max_tokens),                                                                                        \
         "0",                                                                                                          \
         group_,                                                                                                       \
         "new tokens of prompts that do not say; 0: as the goldens were written with, else 128",                       \
         .high = 1 << 24},                                                                                             \
    {                                                                                                                  \
        "baseline", CLI_TEXT, AT(golden.baseline),                                                                     \
            .group = group_, .value = "FILE",                                                                          \
            .help = "an earlier report (--json) to compare with; gates: drift.perplexity.ratio<=1.05, ..."             \
    }

/* Whether the options go together, before anything is opened. An exit code. */
int cli_golden_check(cli *c, const cli_golden *o);

/* Continues the prompts, if there are any, and adds "golden" to the report. An exit code. */
typedef struct cli_golden_call {
    const cli_golden *o;
    const cli_rows *rows; /* the chat template */
    lt_model *model;
    const char *model_name;
    const lt_quant_policy *quant; /* or NULL */
} cli_golden_call;
int cli_eval_golden(cli *c, const cli_golden_call *call, json_t *report);

/* Adds "data_profile", and with a baseline "drift", to the report. `data` may be NULL. An exit code. */
int cli_eval_drift(cli *c, const cli_golden *o, const char *data, const lt_dataset_options *rows, int64_t limit,
                   lt_tokenizer *tokenizer, json_t *report);

/* What the two added, as a person reads it. */
void cli_golden_print(const json_t *report);

#endif
