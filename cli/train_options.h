/* train_options.h - what `lathe train` can be told; the table is in train_options.c. */
#ifndef CLI_TRAIN_OPTIONS_H
#define CLI_TRAIN_OPTIONS_H

#include "cli/cluster_options.h"

typedef struct train_options {
    cli_common common;
    const char *model, *init, *tokenizer;
    const char *data, *valid_data;
    double valid_fraction;
    bool append_eos;
    cli_rows rows;
    cli_quant quant;
    cli_cluster cluster;
    const char *export_path, *export_type, *export_format, *save_dtype;
    bool export_other_type;
    double auto_bits;
    bool fold_norms;
    bool lr_find; /* the range test in place of training */
    double lr_find_low, lr_find_high;
    int64_t lr_find_steps;
    lt_train_config config; /* the table writes the library's config directly */
} train_options;

/* The verb (verb_train.c); `target` is a train_options. */
int cli_train(cli *cli, void *target);

#endif
