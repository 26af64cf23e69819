/* source.h - a file of data as the documents or rows it consists of, before anybody asks what they mean. */
#ifndef LTI_SOURCE_H
#define LTI_SOURCE_H

#include "base/text.h"
#include "data/files.h"
#include "data/sets/json_rows.h"

typedef enum lti_layout {
    LTI_LAYOUT_TEXT, /* documents between lines <|endoftext|> */
    LTI_LAYOUT_JSON, /* objects, one a line or in an array */
    LTI_LAYOUT_CSV,  /* records behind a header */
    LTI_LAYOUT_LINES /* "LABEL:sub text" */
} lti_layout;

/* Whether a .txt is lines of that kind. */
typedef enum lti_lines { LTI_LINES_DETECT, LTI_LINES_NO, LTI_LINES_YES } lti_lines;

typedef struct lti_source {
    lt_ctx *ctx;
    char *path; /* of the file itself */
    lt_split split;
    lti_map map;
    lti_layout layout;
    lti_document *docs;  /* of the split, in their order; lines are set. */
    int64_t count;       /* of docs, at most the limit */
    int64_t all;         /* of docs, without it: labels are those of all rows */
    lti_document header; /* of a CSV */
    bool array;          /* of JSON: a .json */
} lti_source;

/* Opens the file, or of a directory the one that holds the part. `limit`: so many documents at most, 0: all.
 * Free with lti_source_close, also after a failure. */
lt_status lti_source_open(lt_ctx *ctx, const char *path, const lt_dataset_options *rows, int64_t limit, lti_lines lines,
                          lti_source *source);
void lti_source_close(lti_source *source);

/* Parses row `index`; *object stays NULL with a reason where it is no object. LT_ENOMEM. */
lt_status lti_source_object(const lti_source *source, int64_t index, json_t **object, char reason[LTI_REASON]);
/* Appends field `column` (from 0) of a record, unquoted; false when the record has no such field. */
bool lti_source_field(const lti_source *source, const lti_document *record, int column, lti_text *out);

#endif
