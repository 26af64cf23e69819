/* bench_model.h - lathe bench --model. */
#ifndef CLI_BENCH_MODEL_H
#define CLI_BENCH_MODEL_H

#include "cli/cli.h"

typedef struct cli_bench_model {
    const char *model;
    int64_t prompt_tokens, tokens, batch_size;
} cli_bench_model;

/* An exit code. `seed`: of the prompts' tokens. */
int cli_bench_model_run(cli *cli, const cli_bench_model *options, int64_t seed);

#endif
