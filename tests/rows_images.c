/* rows_images.c - rows of convolution, pooling, batch and group norm. */
#include "tests/rows.h"

const ts_row ts_rows_images[] = {
    {0},
};
