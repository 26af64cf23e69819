/* set_rows.h - inside of lt_dataset: rows of ids, from whatever file they come.
 *
 * .txt and .jsonl differ in how documents are found and encoded, and share everything behind that: windows, masks,
 * packing, hashes. A set is filled by one of them and then finished. */
#ifndef LTI_SET_ROWS_H
#define LTI_SET_ROWS_H

#include "data/sets/documents.h"
#include "data/tokenizer/tokenizer.h"
#include "lathe/classes.h"

typedef struct lti_set_row {
    int64_t begin, length; /* in ids */
    int64_t document;      /* the first */
    bool several;          /* documents */
} lti_set_row;

struct lt_dataset {
    lt_ctx *ctx;
    lt_dataset_kind kind;
    lt_ids ids;
    uint8_t *scored; /* beside ids, [scored_room]; NULL: all but the first of each row */
    int32_t *starts; /* beside ids: where in its row the position's document begins; NULL: nothing is packed */
    int64_t scored_room;
    lti_set_row *rows;
    int64_t row_count, row_room, documents, longest, predictions, skipped;
    const char *form;
    lti_text slices;   /* values of slice_key, each with its NUL; begins with an empty one */
    int64_t *slice_at; /* [documents], or NULL */
    int64_t classes;
    int32_t *row_class; /* [row_count] of labelled texts, else NULL */
    lti_text labels;    /* names of the classes, each with its NUL */
    int64_t *label_at;  /* [classes], or NULL: they have no names */
    lt_arrays *numbers; /* the rows of numbers and their classes, else NULL */
    char hash[33];
};

/* Ids of one row with 0 or 1 for each. Both lists are of the tokenizer's context. */
typedef struct lti_example {
    lt_ids ids, scored;
} lti_example;

/* Checks the options (tok may be NULL). */
lt_status lti_set_options(lt_ctx *ctx, const lt_tokenizer *tok, const lt_dataset_options *options);
lt_status lti_set_new(lt_ctx *ctx, lt_dataset_kind kind, const char *form, lt_dataset **set);
/* Hands the set out, or frees it where making it failed; returns the status. */
lt_status lti_set_done(lt_dataset *set, lt_status status, lt_dataset **dataset);

/* Appends the windows of a document: its text, encoded. */
lt_status lti_set_add_text(lt_dataset *set, const char *text, int64_t bytes, int64_t document, lt_tokenizer *tok,
                           const lt_dataset_options *options, lt_ids *work);
/* Appends one row. `masked`: the example's own scores count. */
lt_status lti_set_add_example(lt_dataset *set, const lti_example *example, bool masked, int64_t document);
/* Keeps the rows whose numbers are list[k].index, k < count, as rows k of documents k. */
void lti_set_keep(lt_dataset *set, const lti_document *list, int64_t count);
/* Remembers the slices of the documents. */
lt_status lti_set_slices(lt_dataset *set, const lti_document *list, int64_t count);
/* Puts rows behind one another in windows of `positions`. */
lt_status lti_set_pack(lt_dataset *set, int64_t positions);
/* Packs if asked to, counts and hashes. LT_EINVAL when there is no row. `name` is what messages call the data. */
lt_status lti_set_finish(lt_dataset *set, const char *name, const lt_dataset_options *options);

/* Fills a set from a .jsonl, or with `array` from a .json. `text` is the file's. */
lt_status lti_set_fill_json(lt_dataset *set, const char *path, const char *text, int64_t bytes, bool array,
                            lt_split split, lt_tokenizer *tok, const lt_dataset_options *options);

/* Appends a text that is one row: with the tokenizer's special tokens, cut at `most` before what ends it. LT_EFORMAT
 * for a text without any id. */
lt_status lti_set_add_whole(lt_dataset *set, const char *text, int64_t bytes, int64_t document, lt_tokenizer *tok,
                            int64_t most, lt_ids *work);
/* Counts and hashes a set of labelled texts. */
lt_status lti_set_finish_labelled(lt_dataset *set, const char *name);
/* Appends the name of the next class. */
lt_status lti_set_add_label(lt_dataset *set, const char *name);

/* ---- Files and directories (set_parts.c) ---- */

/* The file of a split: `path` itself, or of a directory the one called train, valid or test and ending in one of
 * `kinds` ("" ends the list). Without a file for valid it is the one for train; *split says what is to be taken of it:
 * all, train or valid. `test_alias` (may be NULL): another name of the test part. Free *file with lti_free. */
lt_status lti_set_part(lt_ctx *ctx, const char *path, const char *const *kinds, const char *test_alias, lt_split wanted,
                       char **file, lt_split *split);

/* Whether a directory has a test part of any kind, or several, which is for the opening to refuse. */
bool lti_set_has_test(lt_ctx *ctx, const char *directory);

/* Copies a failure of the tokenizer's context, or of a chat's, into the set's. */
lt_status lti_set_failed(lt_dataset *set, const lt_ctx *where, lt_status status);

#endif
