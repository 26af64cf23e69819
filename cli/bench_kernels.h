/* bench_kernels.h - lathe bench --kernels. */
#ifndef CLI_BENCH_KERNELS_H
#define CLI_BENCH_KERNELS_H

#include "cli/cli.h"

/* An exit code. */
int cli_bench_kernels_run(cli *cli);

#endif
