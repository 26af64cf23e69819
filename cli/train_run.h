/* train_run.h - one run of `lathe train`, for the files it is made of. */
#ifndef CLI_TRAIN_RUN_H
#define CLI_TRAIN_RUN_H

#include "cli/train_options.h"

/* Everything is owned here and freed in cli_train. */
typedef struct train_run {
    cli *cli;
    train_options *o;
    lt_model *model;
    lt_dataset *train, *valid;
    cli_progress progress;
    char *yaml, *codes_path;
    bool quantized, was_there; /* was_there: --model, so that "before" means something */
    lt_quant_policy other;     /* of --export-type */
    lt_auto_bits *bits;        /* of --auto-bits; the policy borrows its rules */
    lt_exported exported;
    cli_packed packed; /* of --clusters */
    lt_train_result result;
    lt_eval_result before, before_codes, after, after_codes;
} train_run;

/* Refuses what cannot go together, or would change nothing, before anything is read (train_choices.c). An exit code. */
int cli_train_need(cli *cli, const train_options *options);
/* The policy and what else the config needs; an exit code. */
int cli_train_complete(train_run *run);
/* Opens or makes the model, and opens the data: which comes first depends on which decides about the other
 * (train_data.c). An exit code. */
int cli_train_open(train_run *run);
/* What is written at the end (train_export.c). The policy is made one that --export-format holds; an exit code. */
int cli_train_format(train_run *run);
int cli_train_check_format(train_run *run);        /* whether it takes the model's shapes; an exit code */
char *cli_train_export_path(const train_run *run); /* to be freed */
lt_status cli_train_write(train_run *run, const lt_export_options *how);
lt_status cli_train_open_codes(train_run *run, lt_model **coded); /* what was written, to be evaluated */
lt_status cli_train_card(train_run *run, const lt_export_options *how);
lt_status cli_train_clusters_card(const train_run *run); /* of clusters.safetensors */
/* The range test of the learning rate (train_lr_find.c). An exit code. */
int cli_train_lr_find(train_run *run);

#endif
