/* documents.h - a file as documents (parts of a text, or rows of JSON), and which of them belong to a split. */
#ifndef LTI_DOCUMENTS_H
#define LTI_DOCUMENTS_H

#include "base/ctx.h"
#include "lathe/data.h"

typedef struct lti_document {
    int64_t begin, end; /* bytes of the text */
    int64_t line;       /* of a row of JSON, from 1 */
    int64_t index;      /* which it was before the split */
    int64_t slice;      /* where the value of slice_key begins in the set's slices; 0: absent */
    uint64_t hash;
    bool valid;
} lti_document;

/* Documents are what lies between lines that hold <|endoftext|> alone; the newline before such a line belongs to
 * neither, empty ones are left out. The same as splitting by the expression (?:^|\n)<\|endoftext\|>(?:\n|$).
 * `list` is to be freed with lti_free. */
lt_status lti_documents(lt_ctx *ctx, const char *text, int64_t bytes, lti_document **list, int64_t *count);

/* Appends to a list of documents that lti_free frees. */
lt_status lti_documents_add(lt_ctx *ctx, lti_document document, lti_document **list, int64_t *count, int64_t *room);

/* Keeps the documents of the split in list[0 .. *count), in their order. A single document is cut in two at a line;
 * with text NULL it cannot be cut and is refused. */
lt_status lti_documents_split(lt_ctx *ctx, const char *text, lt_split split, double fraction, lti_document *list,
                              int64_t *count);

#endif
