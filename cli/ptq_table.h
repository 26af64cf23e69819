/* ptq_table.h - what quantization after training did to each tensor, in lines. */
#ifndef CLI_PTQ_TABLE_H
#define CLI_PTQ_TABLE_H

#include "lathe/ptq.h"

#include <jansson.h>

/* A line for each scheme and method, cells between tabs, the header first; to be freed. NULL: memory is out. */
char *cli_ptq_table(const lt_ptq *done);
/* A list of all tensors; *bytes: their sum. */
json_t *cli_ptq_json(const lt_ptq *done, size_t *bytes);

#endif
