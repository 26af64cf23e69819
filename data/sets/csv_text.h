/* csv_text.h - records of a CSV of texts (RFC 4180): fields in quotes may hold commas, line ends and "" for a quote. */
#ifndef LTI_CSV_TEXT_H
#define LTI_CSV_TEXT_H

#include "base/text.h"

/* Goes through a file. Zero-initialise and fill ctx, path, text, bytes. */
typedef struct lti_csv_text {
    lt_ctx *ctx;
    const char *path; /* for messages */
    const char *text;
    int64_t bytes;
    int64_t at, line; /* line of `at`, from 1 */
} lti_csv_text;

/* Zero-initialise {.text = {.ctx = ctx}}; one record after the other is read into the same. */
typedef struct lti_csv_record {
    lti_text text;       /* fields, unquoted, each with a NUL */
    int64_t *field;      /* [count] where each begins in text.data */
    int64_t count, room; /* of fields */
    int64_t begin, end;  /* its bytes in the file, line end excluded */
    int64_t line;        /* where it begins */
} lti_csv_record;

/* The next record that is no empty line; *more is false behind the last. LT_EFORMAT with file:line for a quote that is
 * not closed, text behind a closing quote, a NUL, or bytes that are not UTF-8; LT_ENOMEM. */
lt_status lti_csv_text_next(lti_csv_text *file, lti_csv_record *record, bool *more);
const char *lti_csv_field(const lti_csv_record *record, int64_t index);
void lti_csv_record_free(lti_csv_record *record);

#endif
