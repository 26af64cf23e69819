/* fill_rows.c - see fill_rows.h. Batches of training and of evaluation are filled by the same code: the two choose rows
 * differently and mean the same by them. */
#include "data/sets/fill_rows.h"

#include "data/sets/set_rows.h"

#include <string.h>

void lti_fill_tokens(const lt_dataset *set, int64_t n, const int64_t *rows, int64_t B, int64_t T, int32_t *tokens,
                     int32_t *targets)
{
    for (int64_t b = 0; b < B; b++, tokens += T, targets += T) {
        int64_t length = 0;
        const int32_t *ids = b < n ? lt_dataset_row(set, rows[b], &length) : NULL;
        const uint8_t *scored = b < n ? lt_dataset_row_scored(set, rows[b]) : NULL;
        const int32_t *starts = b < n ? lt_dataset_row_starts(set, rows[b]) : NULL;
        for (int64_t t = 0; t < T; t++) {
            bool asked = t + 1 < length && (!scored || scored[t + 1]) && (!starts || starts[t + 1] == starts[t]);
            tokens[t] = t < length ? ids[t] : 0;
            targets[t] = asked ? ids[t + 1] : -1;
        }
    }
}

void lti_fill_spans(const lt_dataset *set, int64_t n, const int64_t *rows, int64_t B, int64_t T, int32_t *spans)
{
    bool ends = lt_dataset_kind_of(set) == LT_DATA_LABELLED;
    for (int64_t b = 0; b < B; b++) {
        int64_t length = 0;
        if (b < n) lt_dataset_row(set, rows[b], &length);
        const int32_t *starts = b < n ? lt_dataset_row_starts(set, rows[b]) : NULL;
        for (int64_t t = 0; t < T; t++, spans += 2) {
            spans[0] = t >= length ? (int32_t)t : starts ? starts[t] : 0;
            spans[1] = (int32_t)(t >= length ? t + 1 : ends ? length : T);
        }
    }
}

void lti_fill_labelled(const lt_dataset *set, int64_t n, const int64_t *rows, int64_t B, int64_t T, int32_t *tokens,
                       int32_t *classes, int32_t *last)
{
    for (int64_t b = 0; b < B; b++, tokens += T) {
        int64_t length = 0;
        const int32_t *ids = b < n ? lt_dataset_row(set, rows[b], &length) : NULL;
        if (length) memcpy(tokens, ids, (size_t)length * sizeof *ids);
        memset(tokens + length, 0, (size_t)(T - length) * sizeof *tokens);
        classes[b] = b < n ? lt_dataset_row_class(set, rows[b]) : -1;
        last[b] = (int32_t)(b * T + (length ? length - 1 : 0));
    }
}

void lti_fill_arrays(const lt_arrays *arrays, int64_t n, const int64_t *rows, int64_t B, lt_real *x, int32_t *classes)
{
    int64_t d = arrays->d;
    for (int64_t b = 0; b < B; b++, x += d) {
        classes[b] = b < n ? arrays->y[rows[b]] : -1;
        if (b < n)
            memcpy(x, arrays->x + rows[b] * d, (size_t)d * sizeof *x);
        else
            memset(x, 0, (size_t)d * sizeof *x);
    }
}

void lti_fill_numbers(const lt_dataset *set, int64_t n, const int64_t *rows, int64_t B, lt_real *x, int32_t *classes)
{
    lti_fill_arrays(set->numbers, n, rows, B, x, classes);
}
