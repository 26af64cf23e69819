/* csv.c - numeric CSV with the class in the last column.
 *
 * Two passes: the first counts lines and columns, so that the arrays are allocated once and at their size; the second
 * reads. Numbers are read in the C locale whatever the program's is: "0,5" must not become 0.5. */
#include "base/text.h"
#include "data/formats/arrays_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FIELD 64 /* bytes of a number */

struct csv {
    lt_ctx *ctx;
    const char *path;
    int64_t line; /* of the file, from 1 */
    int64_t columns;
};

/* The line at *at without its end; moves *at behind it. False at the end of the text. */
static bool next_line(const char **at, const char *end, const char **line, size_t *length)
{
    if (*at >= end) return false;
    const char *newline = memchr(*at, '\n', (size_t)(end - *at)), *stop = newline ? newline : end;
    *line = *at;
    *at = newline ? newline + 1 : end;
    if (stop > *line && stop[-1] == '\r') stop--;
    *length = (size_t)(stop - *line);
    return true;
}

/* One number in field[0 .. length), blanks around it allowed. */
static bool number(const char *field, size_t length, double *value)
{
    char text[FIELD], *stop;
    while (length && (*field == ' ' || *field == '\t')) field++, length--;
    while (length && (field[length - 1] == ' ' || field[length - 1] == '\t')) length--;
    if (length == 0 || length >= sizeof text || strspn(field, "0123456789+-.eE") < length) return false;
    memcpy(text, field, length);
    text[length] = 0;
    *value = lti_strtod(text, &stop);
    return *stop == 0 && isfinite(*value);
}

static size_t field_length(const char *field, const char *end)
{
    const char *comma = memchr(field, ',', (size_t)(end - field));
    return (size_t)((comma ? comma : end) - field);
}

static bool has_number(const char *line, size_t length)
{
    double value;
    const char *end = line + length;
    for (const char *field = line; field <= end;) {
        size_t n = field_length(field, end);
        if (number(field, n, &value)) return true;
        field += n + 1;
    }
    return false;
}

static lt_status bad_field(const struct csv *csv, int64_t column, const char *field, size_t length, const char *why)
{
    return lti_fail(csv->ctx, LT_EFORMAT, "%s:%" PRId64 ": column %" PRId64 ": '%.*s' is %s", csv->path, csv->line,
                    column + 1, length > 60 ? 60 : (int)length, field, why);
}

static lt_status read_line(const struct csv *csv, const char *line, size_t length, lt_real *x, int32_t *y)
{
    const char *end = line + length, *field = line;
    for (int64_t column = 0; column < csv->columns; column++) {
        if (field > end)
            return lti_fail(csv->ctx, LT_EFORMAT, "%s:%" PRId64 ": %" PRId64 " columns, the first line has %" PRId64,
                            csv->path, csv->line, column, csv->columns);
        size_t n = field_length(field, end);
        double value;
        if (!number(field, n, &value)) return bad_field(csv, column, field, n, "no finite number");
        if (column + 1 < csv->columns)
            x[column] = (lt_real)value;
        else if (value < 0 || value >= INT32_MAX || value != floor(value))
            return bad_field(csv, column, field, n, "no class: the last column holds whole numbers from 0");
        else
            *y = (int32_t)value;
        field += n + 1;
    }
    if (field <= end)
        return lti_fail(csv->ctx, LT_EFORMAT, "%s:%" PRId64 ": more than the %" PRId64 " columns of the first line",
                        csv->path, csv->line, csv->columns);
    return LT_OK;
}

/* Counts the lines that hold something and the columns of the first; skips a heading by moving *text. */
static lt_status survey(struct csv *csv, const char **text, const char *end, int64_t *rows)
{
    const char *at = *text, *line;
    size_t length;
    int64_t seen = 0;
    *rows = 0;
    while (next_line(&at, end, &line, &length)) {
        seen++;
        if (length == 0) continue;
        if (csv->columns == 0) {
            csv->columns = 1;
            for (size_t i = 0; i < length; i++) csv->columns += line[i] == ',';
            if (!has_number(line, length)) {
                *text = at;
                csv->line = seen;
                continue;
            }
        }
        ++*rows;
    }
    if (*rows == 0) return lti_fail(csv->ctx, LT_EFORMAT, "%s holds no line of numbers", csv->path);
    if (csv->columns < 2)
        return lti_fail(csv->ctx, LT_EFORMAT,
                        "%s:%" PRId64 ": one column; numbers and a class, separated by commas, "
                        "were expected",
                        csv->path, csv->line + 1);
    return LT_OK;
}

static lt_status parse(struct csv *csv, const char *text, const char *end, lt_array *x, lt_array *y)
{
    int64_t rows;
    LTI_TRY(survey(csv, &text, end, &rows));
    int64_t d = csv->columns - 1;
    *x = (lt_array){.rank = 2, .shape = {rows, d}};
    *y = (lt_array){.rank = 1, .shape = {rows}, .count = rows};
    /* rows lines of d commas are in memory, but those after the first are not checked yet: the product may be large */
    if (__builtin_mul_overflow(rows, d, &x->count) || x->count > end - text)
        return lti_fail(csv->ctx, LT_EFORMAT,
                        "%s: its %" PRId64 " lines do not all have the %" PRId64 " columns of the first", csv->path,
                        rows, csv->columns);
    x->real = lti_alloc_array(csv->ctx, (size_t)x->count, sizeof *x->real);
    y->ints = lti_alloc_array(csv->ctx, (size_t)rows, sizeof *y->ints);
    if (!x->real || !y->ints) return LT_ENOMEM;
    const char *line;
    size_t length;
    for (int64_t row = 0; next_line(&text, end, &line, &length);) {
        csv->line++;
        if (length == 0) continue;
        LTI_TRY(read_line(csv, line, length, x->real + row * d, y->ints + row));
        row++;
    }
    return LT_OK;
}

lt_status lti_csv_parse(lt_ctx *ctx, const char *path, const char *text, uint64_t size, lt_array *x, lt_array *y)
{
    struct csv csv = {.ctx = ctx, .path = path};
    *x = *y = (lt_array){0};
    lt_status status = parse(&csv, text, text + size, x, y);
    if (status != LT_OK) {
        lt_array_free(ctx, x);
        lt_array_free(ctx, y);
    }
    return status;
}
