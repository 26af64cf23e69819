/* bench_step.h - lathe bench --step: whole training steps, timed. */
#ifndef CLI_BENCH_STEP_H
#define CLI_BENCH_STEP_H

#include "cli/cli.h"

typedef struct cli_bench_step {
    const char *step, *shape, *optimizer, *store;
    const char *qat_type;        /* as --qat of lathe train */
    const char *qat_activations; /* NULL: what the type says */
    const char *threads;         /* "0", "2" or "1,2" */
    const char *compute;         /* "f32", "bf16" or "auto" */
    int64_t batch, seq, steps;
    double max_grad_norm;
    bool checkpoint;
} cli_bench_step;

/* An exit code. `seed`: of the weights and tokens. */
int cli_bench_step_run(cli *cli, const cli_bench_step *options, int64_t seed);

#endif
