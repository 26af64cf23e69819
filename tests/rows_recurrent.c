/* rows_recurrent.c - rows of LSTM and GRU. */
#include "tests/rows.h"

const ts_row ts_rows_recurrent[] = {
    {0},
};
