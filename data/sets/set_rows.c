/* set_rows.c - rows of ids: see set_rows.h. Ids of all rows lie in one block, masks in another beside it.
 *
 * A window of a text holds ids of one document; windows do not overlap: every id but the first of a row is predicted
 * exactly once an epoch, and training and perplexity see the same cuts. */
#include "data/sets/set_rows.h"

#include "data/files.h"

#include <string.h>
#include <xxhash.h>

lt_status lti_set_failed(lt_dataset *set, const lt_ctx *where, lt_status status)
{
    if (where != set->ctx) lti_fail(set->ctx, status, "%s", lt_ctx_message(where));
    return status;
}

lt_status lti_set_new(lt_ctx *ctx, lt_dataset_kind kind, const char *form, lt_dataset **set)
{
    *set = lti_alloc(ctx, sizeof **set);
    if (!*set) return LT_ENOMEM;
    **set = (lt_dataset){.ctx = ctx, .kind = kind, .form = form, .slices = {.ctx = ctx}, .labels = {.ctx = ctx}};
    return LT_OK;
}

lt_status lti_set_done(lt_dataset *set, lt_status status, lt_dataset **dataset)
{
    if (status == LT_OK)
        *dataset = set;
    else
        lt_dataset_free(set);
    return status;
}

static lt_status add_row(lt_dataset *set, int64_t begin, int64_t document)
{
    if (set->row_count == set->row_room) {
        int64_t wider = set->row_room ? 2 * set->row_room : 64;
        lti_set_row *grown =
            lti_realloc(set->ctx, set->rows, (size_t)set->row_count * sizeof *grown, (size_t)wider * sizeof *grown);
        if (!grown) return LT_ENOMEM;
        set->rows = grown;
        set->row_room = wider;
    }
    set->rows[set->row_count++] = (lti_set_row){begin, set->ids.count - begin, document, false};
    return LT_OK;
}

static lt_status add_windows(lt_dataset *set, const lt_ids *ids, int32_t bos, int64_t positions, int64_t document)
{
    int64_t step = positions - (bos >= 0);
    for (int64_t i = 0; i < ids->count; i += step) {
        int64_t n = ids->count - i < step ? ids->count - i : step, begin = set->ids.count;
        if (n + (bos >= 0) < 2) continue; /* nothing to predict in it */
        if (bos >= 0) LTI_TRY(lti_ids_append(set->ctx, &set->ids, &bos, 1));
        LTI_TRY(lti_ids_append(set->ctx, &set->ids, ids->ids + i, n));
        LTI_TRY(add_row(set, begin, document));
    }
    return LT_OK;
}

lt_status lti_set_add_text(lt_dataset *set, const char *text, int64_t bytes, int64_t document, lt_tokenizer *tok,
                           const lt_dataset_options *o, lt_ids *work)
{
    int32_t bos = lt_tokenizer_adds_bos(tok) ? lt_tokenizer_bos(tok) : -1, eos = lt_tokenizer_eos(tok);
    work->count = 0;
    lt_status status = lt_tokenizer_encode(tok, text, bytes, 0, work);
    if (status == LT_OK && o->append_eos) status = lti_ids_append(tok->ctx, work, &eos, 1);
    if (status != LT_OK) return lti_set_failed(set, tok->ctx, status);
    return add_windows(set, work, bos, o->max_seq_length, document);
}

lt_status lti_set_add_whole(lt_dataset *set, const char *text, int64_t bytes, int64_t document, lt_tokenizer *tok,
                            int64_t most, lt_ids *work)
{
    work->count = 0;
    lt_status status = lt_tokenizer_encode(tok, text, bytes, LT_ENCODE_SPECIAL_TOKENS, work);
    if (status != LT_OK) return lti_set_failed(set, tok->ctx, status);
    if (work->count == 0) return lti_fail(set->ctx, LT_EFORMAT, "the text has no ids");
    if (work->count > most) { /* the last id ends the text ("[SEP]") */
        work->ids[most - 1] = work->ids[work->count - 1];
        work->count = most;
    }
    int64_t begin = set->ids.count;
    LTI_TRY(lti_ids_append(set->ctx, &set->ids, work->ids, work->count));
    return add_row(set, begin, document);
}

lt_status lti_set_add_example(lt_dataset *set, const lti_example *example, bool masked, int64_t document)
{
    int64_t begin = set->ids.count, n = example->ids.count;
    LTI_TRY(lti_ids_append(set->ctx, &set->ids, example->ids.ids, n));
    if (masked && set->ids.count > set->scored_room) {
        uint8_t *grown = lti_realloc(set->ctx, set->scored, (size_t)begin, (size_t)set->ids.capacity);
        if (!grown) return LT_ENOMEM;
        set->scored = grown;
        set->scored_room = set->ids.capacity;
    }
    for (int64_t i = 0; masked && i < n; i++) set->scored[begin + i] = i > 0 && example->scored.ids[i];
    return add_row(set, begin, document);
}

void lti_set_keep(lt_dataset *set, const lti_document *list, int64_t count)
{
    int64_t at = 0;
    for (int64_t k = 0; k < count; k++) { /* list[k].index grows, so nothing is overwritten before it is read */
        lti_set_row row = set->rows[list[k].index];
        memmove(set->ids.ids + at, set->ids.ids + row.begin, (size_t)row.length * sizeof *set->ids.ids);
        if (set->scored) memmove(set->scored + at, set->scored + row.begin, (size_t)row.length);
        set->rows[k] = (lti_set_row){at, row.length, k, false};
        at += row.length;
    }
    set->row_count = count;
    set->ids.count = at;
}

lt_status lti_set_slices(lt_dataset *set, const lti_document *list, int64_t count)
{
    set->slice_at = lti_alloc_array(set->ctx, (size_t)count, sizeof *set->slice_at);
    if (!set->slice_at) return LT_ENOMEM;
    for (int64_t i = 0; i < count; i++) set->slice_at[i] = list[i].slice;
    return LT_OK;
}

/* What a plain text gives does not depend on masks: its hash is that of lengths and ids alone. */
static lt_status hash_rows(lt_dataset *set)
{
    XXH3_state_t *state = XXH3_createState();
    if (!state) return lti_fail(set->ctx, LT_ENOMEM, "out of memory for the hash of a data set");
    size_t n = (size_t)set->ids.count;
    XXH3_128bits_reset(state);
    for (int64_t i = 0; i < set->row_count; i++)
        XXH3_128bits_update(state, &set->rows[i].length, sizeof set->rows[i].length);
    XXH3_128bits_update(state, set->ids.ids, n * sizeof *set->ids.ids);
    if (set->scored) XXH3_128bits_update(state, set->scored, n);
    if (set->starts) XXH3_128bits_update(state, set->starts, n * sizeof *set->starts);
    if (set->row_class) {
        XXH3_128bits_update(state, set->row_class, (size_t)set->row_count * sizeof *set->row_class);
        XXH3_128bits_update(state, set->labels.data, set->labels.length);
    }
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    lti_hash_bytes(&hash, sizeof hash, set->hash);
    return LT_OK;
}

lt_status lti_set_finish_labelled(lt_dataset *set, const char *name)
{
    if (set->row_count == 0) return lti_fail(set->ctx, LT_EINVAL, "%s: no row is of this split", name);
    for (int64_t i = 0; i < set->row_count; i++)
        if (set->rows[i].length > set->longest) set->longest = set->rows[i].length;
    set->predictions = set->row_count;
    return hash_rows(set);
}

lt_status lti_set_finish(lt_dataset *set, const char *name, const lt_dataset_options *o)
{
    if (set->row_count == 0)
        return lti_fail(set->ctx, LT_EINVAL, "%s: no document of this split is longer than one token", name);
    if (o->pack) LTI_TRY(lti_set_pack(set, o->max_seq_length));
    for (int64_t i = 0; i < set->row_count; i++)
        if (set->rows[i].length > set->longest) set->longest = set->rows[i].length;
    set->predictions = set->ids.count - set->row_count;
    if (set->scored) {
        set->predictions = 0;
        for (int64_t i = 0; i < set->ids.count; i++) set->predictions += set->scored[i];
    }
    return hash_rows(set);
}

void lt_dataset_free(lt_dataset *set)
{
    if (!set) return;
    lt_ids_free(set->ctx, &set->ids);
    lti_free(set->ctx, set->scored);
    lti_free(set->ctx, set->starts);
    lti_free(set->ctx, set->rows);
    lti_free(set->ctx, set->slice_at);
    lti_free(set->ctx, set->row_class);
    lti_free(set->ctx, set->label_at);
    lt_arrays_free(set->ctx, set->numbers);
    lti_text_free(&set->slices);
    lti_text_free(&set->labels);
    lti_free(set->ctx, set);
}

/* ---- Looking at it ---- */

const char *lt_dataset_form(const lt_dataset *set)
{
    return set->form;
}

int64_t lt_dataset_skipped(const lt_dataset *set)
{
    return set->skipped;
}

const uint8_t *lt_dataset_row_scored(const lt_dataset *set, int64_t row)
{
    return set->scored ? set->scored + set->rows[row].begin : NULL;
}

const int32_t *lt_dataset_row_starts(const lt_dataset *set, int64_t row)
{
    return set->starts && set->rows[row].several ? set->starts + set->rows[row].begin : NULL;
}

bool lt_dataset_packed(const lt_dataset *set)
{
    return set->starts != NULL;
}

const char *lt_dataset_slice(const lt_dataset *set, int64_t document)
{
    return set->slice_at ? set->slices.data + set->slice_at[document] : "";
}

int64_t lt_dataset_rows(const lt_dataset *set)
{
    return set->row_count;
}

const int32_t *lt_dataset_row(const lt_dataset *set, int64_t row, int64_t *length)
{
    *length = set->rows ? set->rows[row].length : 1;
    if (!set->rows) return NULL;
    return set->ids.ids + set->rows[row].begin;
}

int64_t lt_dataset_row_document(const lt_dataset *set, int64_t row)
{
    return set->rows ? set->rows[row].document : row;
}

int64_t lt_dataset_documents(const lt_dataset *set)
{
    return set->documents;
}

int64_t lt_dataset_tokens(const lt_dataset *set)
{
    return set->numbers ? set->row_count : set->ids.count;
}

int64_t lt_dataset_scored(const lt_dataset *set)
{
    return set->predictions;
}

int64_t lt_dataset_longest(const lt_dataset *set)
{
    return set->longest;
}

const char *lt_dataset_hash(const lt_dataset *set)
{
    return set->hash;
}
