/* json_rows.h - rows of JSON: where each begins in a file, what form it has, what it says. */
#ifndef LTI_JSON_ROWS_H
#define LTI_JSON_ROWS_H

#include "data/sets/documents.h"
#include "lathe/chat.h"

#include <jansson.h>

#define LTI_ROW_LIMIT (INT64_C(64) << 20) /* bytes of one row */

/* ---- Where rows are ---- */

/* Goes through a file: the lines of a .jsonl, or the elements of the array that a .json is. */
typedef struct lti_json_file {
    lt_ctx *ctx;
    const char *path; /* for messages */
    const char *text;
    int64_t bytes;
    bool array;
    int64_t at, line; /* line of `at`, from 1 */
    bool open;        /* within the array */
} lti_json_file;

/* The next row that is not blank: its bytes, line and hash; *more is false behind the last. LT_EFORMAT when what stands
 * around the elements of an array is no array. */
lt_status lti_json_next(lti_json_file *file, lti_document *row, bool *more);

/* ---- What rows say ---- */

typedef enum lti_form {
    LTI_FORM_NONE,
    LTI_FORM_TEXT,
    LTI_FORM_PROMPT,
    LTI_FORM_MESSAGES,
    LTI_FORM_ALPACA,
    LTI_FORM_SHAREGPT
} lti_form;

const char *lti_form_name(lti_form form);
/* The form whose fields a row has. */
lti_form lti_form_of(const json_t *row, const lt_dataset_options *options);

#define LTI_REASON 160

/* What a row says; strings are borrowed from it. */
typedef struct lti_row {
    const char *text; /* of the form "text" */
    const char *prompt, *completion;
    lt_message *messages; /* owned, or NULL */
    int count;
    char *made; /* owned: a text put together from several fields */
} lti_row;

/* Reads a row of a form, with `talk` as a conversation unless it is a text. What is wrong with it is written to
 * `reason`, which is "" when nothing is. LT_ENOMEM. `row` is to be freed always. */
lt_status lti_row_read(lt_ctx *ctx, const json_t *object, lti_form form, bool talk, const lt_dataset_options *options,
                       lti_row *row, char reason[LTI_REASON]);
void lti_row_free(lt_ctx *ctx, lti_row *row);

#endif
