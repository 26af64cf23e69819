/* rows_losses.c - rows of losses beside cross-entropy, and running averages. */
#include "tests/rows.h"

const ts_row ts_rows_losses[] = {
    {0},
};
