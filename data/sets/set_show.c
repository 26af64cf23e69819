/* set_show.c - a row as a person reads it, with what is not learned set apart.
 *
 * Parts are decoded behind their predecessor: many decoders drop a blank at the front of what they are given. Of a row
 * with a class the class is what is learned. */
#include "base/text.h"
#include "data/sets/set_rows.h"

#include <string.h>

/* Appends the text of ids[from .. to). */
static lt_status add_part(lt_tokenizer *tok, const int32_t *ids, int64_t from, int64_t to, lti_text *out)
{
    char *before = NULL, *all;
    int64_t skip = 0, bytes;
    int64_t first = from > 0 ? from - 1 : 0;
    if (from > 0) LTI_TRY(lt_tokenizer_decode(tok, ids + first, 1, LT_DECODE_SPECIAL_TOKENS, &before, &skip));
    lt_buffer_free(tok->ctx, before);
    LTI_TRY(lt_tokenizer_decode(tok, ids + first, to - first, LT_DECODE_SPECIAL_TOKENS, &all, &bytes));
    if (bytes > skip) lti_text_add(out, all + skip, (size_t)(bytes - skip));
    lt_buffer_free(tok->ctx, all);
    return LT_OK;
}

static void add_numbers(const lt_dataset *set, const char *before, const char *after, lti_text *out)
{
    const lt_arrays *a = set->numbers;
    lti_text_format(out, "%s", before);
    for (int i = 0; i < a->rank; i++) lti_text_format(out, "%s%lld", i ? " x " : "", (long long)a->shape[i]);
    lti_text_format(out, " numbers%s", after);
}

static lt_status add_ids(const lt_dataset *set, lt_tokenizer *tok, int64_t row, const char *before, const char *after,
                         lti_text *out)
{
    int64_t length, end;
    const int32_t *ids = lt_dataset_row(set, row, &length);
    const uint8_t *scored = lt_dataset_row_scored(set, row);
    lt_status status = LT_OK;
    for (int64_t at = 0; at < length && status == LT_OK; at = end) {
        bool all = set->kind == LT_DATA_LABELLED, learned = !all && (scored ? scored[at] : at > 0);
        for (end = at + 1; end < length && (!all && (scored ? scored[end] : true)) == learned;) end++;
        if (!learned) lti_text_format(out, "%s", before);
        status = add_part(tok, ids, at, end, out);
        if (!learned) lti_text_format(out, "%s", after);
    }
    if (status != LT_OK && tok->ctx != set->ctx) lti_fail(set->ctx, status, "%s", lt_ctx_message(tok->ctx));
    return status;
}

lt_status lt_dataset_show(const lt_dataset *set, lt_tokenizer *tok, int64_t row, const char *before_masked,
                          const char *after_masked, char **text)
{
    *text = NULL;
    if (row < 0 || row >= set->row_count)
        return lti_fail(set->ctx, LT_EINVAL, "row %lld of a data set of %lld rows", (long long)row,
                        (long long)set->row_count);
    lti_text out = {.ctx = set->ctx};
    lt_status status = LT_OK;
    if (set->numbers)
        add_numbers(set, before_masked, after_masked, &out);
    else
        status = add_ids(set, tok, row, before_masked, after_masked, &out);
    if (set->kind != LT_DATA_TOKENS) {
        const char *name = lt_dataset_label(set, lt_dataset_row_class(set, row));
        if (name)
            lti_text_format(&out, " %s", name);
        else
            lti_text_format(&out, " class %d", (int)lt_dataset_row_class(set, row));
    }
    if (status == LT_OK && out.failed) status = LT_ENOMEM;
    if (status == LT_OK)
        *text = out.data;
    else
        lti_text_free(&out);
    return status;
}
