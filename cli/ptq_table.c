/* ptq_table.c - see ptq_table.h. */
#include "cli/ptq_table.h"

#include "cli/cli.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Tensors of one scheme and method, added up. */
typedef struct line {
    const lt_ptq_tensor *like;
    int64_t tensors;
    size_t bytes;
    double square, seconds;
} line;

static int add_up(const lt_ptq *done, line *lines, int room)
{
    int count, n = 0;
    const lt_ptq_tensor *t = lt_ptq_tensors(done, &count);
    for (int i = 0; i < count; i++) {
        int k = 0;
        while (k < n &&
               (strcmp(lines[k].like->method, t[i].method) || !lt_scheme_same(&lines[k].like->scheme, &t[i].scheme)))
            k++;
        if (k == n && n < room) lines[n++] = (line){.like = &t[i]};
        if (k == n) k = n - 1;
        lines[k].tensors++;
        lines[k].bytes += t[i].bytes;
        lines[k].square += t[i].error * t[i].error;
        lines[k].seconds += t[i].seconds;
    }
    return n;
}

char *cli_ptq_table(const lt_ptq *done)
{
    enum { LINES = 64 };
    line lines[LINES];
    char name[LT_SCHEME_TEXT], *table = NULL;
    size_t size;
    int n = add_up(done, lines, LINES);
    FILE *file = open_memstream(&table, &size);
    if (!file) return NULL;
    fprintf(file, "type\tmethod\ttensors\tbytes\terror\tseconds\n");
    for (int i = 0; i < n; i++)
        fprintf(file, "%s\t%s\t%" PRId64 "\t%zu\t%.4f\t%.2f\n", lt_scheme_name(&lines[i].like->scheme, name),
                lines[i].like->method, lines[i].tensors, lines[i].bytes,
                sqrt(lines[i].square / (double)lines[i].tensors), lines[i].seconds);
    if (fclose(file) == 0) return table;
    free(table);
    return NULL;
}

json_t *cli_ptq_json(const lt_ptq *done, size_t *bytes)
{
    int count;
    char name[LT_SCHEME_TEXT];
    json_t *list = json_array();
    const lt_ptq_tensor *t = lt_ptq_tensors(done, &count);
    *bytes = 0;
    for (int i = 0; i < count; i++) {
        *bytes += t[i].bytes;
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:I, s:o, s:o}", "name", t[i].name, "type",
                                              lt_scheme_name(&t[i].scheme, name), "method", t[i].method, "bytes",
                                              (json_int_t)t[i].bytes, "error", cli_real(t[i].error), "seconds",
                                              cli_real(t[i].seconds)));
    }
    return list;
}
