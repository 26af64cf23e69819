/* fill_rows.h - rows of a data set as the arrays a plan reads. Room and kind are the caller's to check. */
#ifndef LTI_FILL_ROWS_H
#define LTI_FILL_ROWS_H

#include "lathe/classes.h"

/* Writes the n rows of `rows`, the rest of B is padding; see lt_batches_fill and those behind it. */
void lti_fill_tokens(const lt_dataset *set, int64_t n, const int64_t *rows, int64_t B, int64_t T, int32_t *tokens,
                     int32_t *targets);
/* A text with a class ends where its row does; other rows see padding behind them, which nobody asks about. */
void lti_fill_spans(const lt_dataset *set, int64_t n, const int64_t *rows, int64_t B, int64_t T, int32_t *spans);
void lti_fill_labelled(const lt_dataset *set, int64_t n, const int64_t *rows, int64_t B, int64_t T, int32_t *tokens,
                       int32_t *classes, int32_t *last);
void lti_fill_numbers(const lt_dataset *set, int64_t n, const int64_t *rows, int64_t B, lt_real *x, int32_t *classes);
void lti_fill_arrays(const lt_arrays *arrays, int64_t n, const int64_t *rows, int64_t B, lt_real *x, int32_t *classes);

#endif
