/* int8_model.h - a model of a finished training as a network in integers: eval --int8 and convert --to int8. */
#ifndef CLI_INT8_MODEL_H
#define CLI_INT8_MODEL_H

#include "cli/cli.h"
#include "lathe/int8.h"

#define CLI_INT8_HOW                                                                                                   \
    "train on with --qat int8:channel --qat-activations int8_static (of a cnn also --qat-fold-norms, of a language "   \
    "model --qat-embedding int8:channel), and give the directory of --out"

/* The words of the policy that a model was trained with, where options leave them out. Zero-initialise; to be freed
 * after the policy. */
typedef struct cli_trained {
    json_t *words;      /* NULL: none were found */
    char *text;         /* its rules, cut apart */
    const char **rules; /* what `quant` borrows as its --tensor-type */
} cli_trained;
/* Reads them from the model at `path`. An exit code. */
int cli_trained_read(cli *cli, const char *path, cli_trained *trained);
void cli_trained_free(cli_trained *trained);
/* "int8:channel", "int8_static", ..; "" where they are not known. */
const char *cli_trained_word(const cli_trained *trained, const char *key);
/* Takes them for what `quant` leaves out (NULL, no --tensor-type) of --qat and its companions. An exit code. */
int cli_trained_adopt(cli *cli, cli_trained *trained, cli_quant *quant);

/* The grids of static activations into the model, where the policy is of static ones; an exit code, with what to do
 * when there are none. */
int cli_int8_grids(cli *cli, lt_model *model, const char *path, const lt_quant_policy *policy);
/* Scales of static activations are among the params. */
bool cli_has_grids(const lt_model *model);

/* Writes the model of a finished training as a network in integers; *report is the caller's (free). An exit code. */
int cli_int8_write(cli *cli, const char *in, const char *out, char **report);

/* ---- eval --int8 (eval_int8.c) ---- */
typedef struct cli_int8_call {
    cli *cli;
    lt_model *model;
    const lt_quant_policy *policy;
    const char *data, *file; /* file: the network's, in place of one made of the model; or NULL */
    const lt_dataset_options *rows;
} cli_int8_call;
/* An exit code; *report is the caller's. */
int cli_eval_int8(const cli_int8_call *call, json_t **report);
void cli_eval_int8_print(const json_t *report);

#endif
