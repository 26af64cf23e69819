/* classes.h - data sets whose rows have a class: labelled texts and images or other numbers.
 *
 * They are data sets like those of data.h (rows, batches, hash, splits); a row's answer is one class instead of a next
 * token a position.
 *
 *     lt_dataset *set;
 *     lt_dataset_options o;
 *     lt_dataset_options_init(&o);
 *     o.split = LT_SPLIT_TRAIN;
 *     if (lt_dataset_open_numbers(ctx, "train-images-idx3-ubyte.gz", &o, &set) != LT_OK) return lt_ctx_status(ctx);
 */
#ifndef LATHE_CLASSES_H
#define LATHE_CLASSES_H

#include "lathe/data.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum lt_dataset_kind {
    LT_DATA_TOKENS = 0, /* ids; each position predicts the next (data.h) */
    LT_DATA_LABELLED,   /* ids and a class a row */
    LT_DATA_NUMBERS     /* numbers of one shape and a class a row */
} lt_dataset_kind;
LT_API lt_dataset_kind lt_dataset_kind_of(const lt_dataset *dataset);

/* Rows of lt_arrays_open's files (CSV, IDX, HDF5), values scaled to [0, 1] when the file holds bytes (IDX). A
 * directory has train, valid and test as such files (.csv, .csv.gz, .h5, .hdf5, -images-idx3-ubyte, also with .gz), or
 * the four files of MNIST under their usual names (train-images.., t10k-images..: the latter is the test split). Of one
 * file (or without valid) valid takes `valid_fraction`, drawn by a fixed seed. Options used: split, valid_fraction. */
LT_API LT_MUST_USE lt_status lt_dataset_open_numbers(lt_ctx *ctx, const char *path, const lt_dataset_options *options,
                                                     lt_dataset **dataset);
/* A copy of arrays in memory, as they are. */
LT_API LT_MUST_USE lt_status lt_dataset_from_arrays(lt_ctx *ctx, const lt_arrays *arrays, lt_dataset **dataset);

/* Texts with a class: .csv with a heading (columns text, sentence, query or question, and label, category, intent or
 * class; RFC 4180), .jsonl of {"text", "label"} (label: a string or a whole number), or .txt of "LABEL text" lines
 * whose first word is the class (a line that is no UTF-8 is Latin-1). Each text is encoded with the tokenizer's special
 * tokens and cut at max_seq_length, the last of them kept. `like` (may be NULL) is a set whose labels keep their
 * numbers: LT_EFORMAT names a label that it has not (of "DESC:manner" it may have "DESC"); else those of all rows are
 * numbered in order of their names, whole numbers by value. Used also: skip_bad_rows. A directory and splits as in
 * lt_dataset_open; .csv too. */
LT_API LT_MUST_USE lt_status lt_dataset_open_labelled(lt_ctx *ctx, const char *path, lt_tokenizer *tokenizer,
                                                      const lt_dataset_options *options, const lt_dataset *like,
                                                      lt_dataset **dataset);
/* A set without rows that has these n classes: a `like`. */
LT_API LT_MUST_USE lt_status lt_dataset_of_labels(lt_ctx *ctx, int64_t n, const char *const *names,
                                                  lt_dataset **dataset);
/* What lies under the path, by its first row: labelled are a .csv with such a heading, a .jsonl row with "text" and
 * "label", a .txt of lines like "DESC:manner How did"; other .csv, IDX, HDF5 and gzip are numbers; the rest is
 * tokens. */
LT_API lt_dataset_kind lt_dataset_kind_at(lt_ctx *ctx, const char *path);

LT_API int64_t lt_dataset_classes(const lt_dataset *dataset);                     /* 0 for tokens */
LT_API const char *lt_dataset_label(const lt_dataset *dataset, int64_t class_id); /* its name; NULL: it has none */
LT_API int32_t lt_dataset_row_class(const lt_dataset *dataset, int64_t row);
/* Numbers: shape of a row, at most LT_MAX_RANK - 1 axes, and its elements (0 and NULL for other kinds). */
LT_API int lt_dataset_row_shape(const lt_dataset *dataset, int64_t *shape); /* returns the rank */
LT_API const lt_real *lt_dataset_row_numbers(const lt_dataset *dataset, int64_t row);

/* Writes the chosen batch of a labelled set: tokens [B, T], padded with 0; classes [B], -1 in rows beyond batch.rows;
 * and where each text ends: last [B], b T + length - 1. */
LT_API LT_MUST_USE lt_status lt_batches_fill_labelled(const lt_batches *batches, int64_t B, int64_t T, int32_t *tokens,
                                                      int32_t *classes, int32_t *last);
/* Writes the chosen batch of numbers: x [B, ..shape], classes [B], -1 in rows beyond batch.rows. */
LT_API LT_MUST_USE lt_status lt_batches_fill_numbers(const lt_batches *batches, int64_t B, lt_real *x,
                                                     int32_t *classes);

#ifdef __cplusplus
}
#endif
#endif
