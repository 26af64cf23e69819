/* quantize_measure.h - what a model is worth before and after `lathe quantize`, and on what that was measured. */
#ifndef CLI_QUANTIZE_MEASURE_H
#define CLI_QUANTIZE_MEASURE_H

#include "cli/cli.h"

/* The data of one call. */
typedef struct cli_quantize_data {
    cli *cli;
    lt_model *model;
    const char *calibration, *valid; /* --data, --valid-data; NULL */
    const cli_rows *rows;
    int64_t calibration_rows, max_seq_length;
    lt_dataset *read;     /* what a method reads; NULL */
    lt_dataset *measured; /* may be `read`; NULL: there is nothing to measure on */
    char on[160];         /* what `measured` is: "the validation data" */
    lt_eval_result before, after;
} cli_quantize_data;

/* Opens what is given; where nothing was asked to be measured on, what there is. An exit code. */
int cli_quantize_open(cli_quantize_data *data);
void cli_quantize_close(cli_quantize_data *data);
/* Evaluates the model: policy NULL, before; else its weights are the codes' values, after. Of data that was not asked to
 * be measured on, a failure is a warning, and nothing is measured. An exit code. */
int cli_quantize_measure(cli_quantize_data *data, const lt_quant_policy *policy);
/* What was measured, as a table and as keys of the answer; nothing where nothing was. */
void cli_quantize_tell(const cli_quantize_data *data);
void cli_quantize_json(const cli_quantize_data *data, json_t *answer);

#endif
