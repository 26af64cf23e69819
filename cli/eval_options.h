/* eval_options.h - what `lathe eval` can be told, and the parts it is made of. */
#ifndef CLI_EVAL_OPTIONS_H
#define CLI_EVAL_OPTIONS_H

#include "cli/eval_golden.h"
#include "lathe/evals.h"

typedef struct eval_options {
    cli_common common;
    const char *model, *codes, *reference;
    cli_quant quant;
    const char *data, *suite, *split, *task, *slice, *perturb, *label_prompt, *delimiter;
    double valid_fraction, temperature;
    int64_t max_seq_length, batch_size, limit, samples, sample_tokens, resamples;
    bool details, int8;
    cli_rows rows;
    cli_golden golden;
    cli_list gates;
    const char *dump_logits;
} eval_options;

/* The verb (verb_eval.c); `target` is an eval_options. */
int cli_eval(cli *c, void *target);

/* ---- eval_gates.c ---- */
/* Whether the expressions can be read and, where they have no dots, name a result there may be. An exit code. */
int cli_eval_check_gates(cli *c, const cli_list *gates);
/* Judges all of them and adds "gates" to the report. EXIT_GATE when one does not hold. */
int cli_eval_judge(cli *c, const cli_list *gates, json_t *report);

/* ---- eval_print.c ---- */
/* The report as a person reads it. */
void cli_eval_print(const json_t *report);

#endif
