/* json_set.c - a data set from rows of JSON: every row is checked before anything is returned.
 *
 * One pass parses each row, checks it and, except for texts, encodes it: whether a prompt leaves room for its answer is
 * only known then. All rows are looked at whatever part is asked for, so that training and validation report the same
 * and a bad row never shifts the division. Then the part is chosen and the other rows' ids are dropped. Texts cannot be
 * too long and are encoded after the choice.
 *
 * Stopping at the first bad row would be simpler; people who mend their data want to see more than one. */
#include "data/chat/chat_parts.h"
#include "data/json.h"
#include "data/sets/json_rows.h"
#include "data/sets/set_rows.h"
#include "data/utf8.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SHOWN 10
#define SHOWN_BYTES 92 /* of one line of the message: ten fit into it */

typedef struct reader {
    lt_dataset *set;
    lt_tokenizer *tok;
    const lt_dataset_options *o;
    lti_json_file file;
    lti_form form;
    lti_document *list; /* the good rows */
    int64_t count, room;
    lti_example example; /* the row just encoded */
    lt_ids work;
    char reason[LTI_REASON];
    lti_text blame; /* the first bad rows */
    int64_t seen, bad;
} reader;

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void blame(reader *r, int64_t line)
{
    char text[SHOWN_BYTES + 1];
    if (r->bad++ >= SHOWN) return;
    int n = snprintf(text, sizeof text, "\n  %.40s:%" PRId64 ": %s", base_name(r->file.path), line, r->reason);
    if (n > SHOWN_BYTES) memcpy(text + SHOWN_BYTES - 3, "...", 4);
    for (char *p = text + 1; *p; p++)
        if (*p == '\n') *p = ' ';
    lti_text_format(&r->blame, "%s", text);
}

/* ---- One row ---- */

/* Parses a row; NULL with a reason, or with LT_ENOMEM. */
static lt_status parse(reader *r, const lti_document *row, json_t **object)
{
    json_error_t error;
    const char *text = r->file.text + row->begin;
    uint64_t n = (uint64_t)(row->end - row->begin), good;
    *object = NULL;
    *r->reason = 0;
    if (n > LTI_ROW_LIMIT)
        snprintf(r->reason, LTI_REASON, "the row has more than 64 MB");
    else if ((good = lti_utf8_check((const unsigned char *)text, n)) < n)
        snprintf(r->reason, LTI_REASON, "byte %" PRIu64 " of the row is not UTF-8", good + 1);
    if (*r->reason) return LT_OK;
    *object = lti_json_value(text, n, &error);
    if (!*object && json_error_code(&error) == json_error_out_of_memory)
        return lti_fail(r->set->ctx, LT_ENOMEM, "out of memory while parsing the JSON of %s", r->file.path);
    if (!*object)
        snprintf(r->reason, LTI_REASON, "not JSON at byte %d: %.100s", error.position, error.text);
    else if (!json_is_object(*object))
        snprintf(r->reason, LTI_REASON, "the row is %s, not an object", lti_json_kind(*object));
    return LT_OK;
}

/* The first row with known fields settles the form of all. */
static lt_status settle_form(reader *r, const json_t *object)
{
    if (r->form != LTI_FORM_NONE) return LT_OK;
    r->form = lti_form_of(object, r->o);
    if (r->form == LTI_FORM_NONE) {
        lti_text keys = {.ctx = r->set->ctx};
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)object, key, value)
            lti_text_format(&keys, "%s%.24s", keys.length ? ", " : "", key);
        lt_status status = keys.failed ? LT_ENOMEM : LT_OK;
        snprintf(r->reason, LTI_REASON, "no text, prompt + completion, messages or instruction + output; it has %.80s",
                 keys.length ? keys.data : "nothing");
        lti_text_free(&keys);
        return status;
    }
    r->set->form = lti_form_name(r->form);
    if (r->o->chat || (r->form != LTI_FORM_MESSAGES && r->form != LTI_FORM_SHAREGPT)) return LT_OK;
    return lti_fail(r->set->ctx, LT_EINVAL,
                    "%s: its rows are conversations (%s): a chat template must say how they are written", r->file.path,
                    r->set->form);
}

static lt_status append(reader *r, const char *text, unsigned where, int32_t scored)
{
    lti_example *e = &r->example;
    LTI_TRY(lti_tokenizer_encode_at(r->tok, text, (int64_t)strlen(text), where, &e->ids));
    while (e->scored.count < e->ids.count) LTI_TRY(lti_ids_append(r->tok->ctx, &e->scored, &scored, 1));
    return LT_OK;
}

/* [BOS] prompt completion [EOS], the two encoded apart, as a prompt is when it is completed: the completion goes on
 * with it and gets no blank of SentencePiece before it. */
static lt_status encode_completion(reader *r, const lti_row *row)
{
    static const int32_t no = 0, yes = 1;
    lti_example *e = &r->example;
    int32_t bos = lt_tokenizer_bos(r->tok), eos = lt_tokenizer_eos(r->tok);
    if (lt_tokenizer_adds_bos(r->tok)) {
        LTI_TRY(lti_ids_append(r->tok->ctx, &e->ids, &bos, 1));
        LTI_TRY(lti_ids_append(r->tok->ctx, &e->scored, &no, 1));
    }
    LTI_TRY(append(r, row->prompt, LTI_TEXT_BEGINS, no));
    LTI_TRY(append(r, row->completion, *row->prompt ? LTI_TEXT_CONTINUES : LTI_TEXT_BEGINS, yes));
    if (eos < 0) return LT_OK;
    LTI_TRY(lti_ids_append(r->tok->ctx, &e->ids, &eos, 1));
    return lti_ids_append(r->tok->ctx, &e->scored, &yes, 1);
}

/* Encodes a row into r->example, cut at the longest a row may be; or finds a reason against it. */
static lt_status encode(reader *r, const lti_row *row)
{
    lti_example *e = &r->example;
    e->ids.count = e->scored.count = 0;
    bool talk = row->messages != NULL;
    lt_status status = talk ? lt_chat_encode(r->o->chat, row->count, row->messages, false, &e->ids, &e->scored)
                            : encode_completion(r, row);
    const lt_ctx *where = talk ? r->o->chat->ctx : r->tok->ctx;
    if (status == LT_ENOMEM || status == LT_ELIMIT) return lti_set_failed(r->set, where, status);
    if (status != LT_OK) {
        snprintf(r->reason, LTI_REASON, "%s", lt_ctx_message(where));
        return LT_OK;
    }
    int64_t first = 1, most = r->o->max_seq_length; /* the first id of a row is never predicted */
    while (first < e->ids.count && !e->scored.ids[first]) first++;
    if (first >= most)
        snprintf(r->reason, LTI_REASON, "the prompt alone fills max_seq_length %" PRId64 " with %" PRId64 " tokens",
                 most, first);
    else if (e->ids.count < 2 || first == e->ids.count)
        snprintf(r->reason, LTI_REASON, "there is nothing to predict in it");
    if (e->ids.count > most) e->ids.count = e->scored.count = most;
    return LT_OK;
}

/* A field of the row as text: strings as they are, numbers and truth values as JSON writes them. */
static lt_status keep_slice(reader *r, const json_t *object, int64_t *at)
{
    lti_text *slices = &r->set->slices;
    const json_t *value = r->o->slice_key ? json_object_get(object, r->o->slice_key) : NULL;
    *at = 0;
    if (!r->o->slice_key) return LT_OK;
    if (slices->length == 0) lti_text_add(slices, "", 1);
    int64_t begin = (int64_t)slices->length;
    if (json_is_string(value))
        lti_text_format(slices, "%s", json_string_value(value));
    else if (json_is_integer(value))
        lti_text_format(slices, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        lti_text_format(slices, "%.15g", json_real_value(value));
    else if (json_is_boolean(value))
        lti_text_format(slices, "%s", json_is_true(value) ? "true" : "false");
    if ((int64_t)slices->length > begin) {
        lti_text_add(slices, "", 1);
        *at = begin;
    }
    return slices->failed ? LT_ENOMEM : LT_OK;
}

/* Checks a parsed row and takes it in; r->reason says why not. */
static lt_status take(reader *r, const json_t *object, lti_document *document)
{
    lti_row row = {.text = NULL};
    lt_status status = settle_form(r, object);
    if (status == LT_OK && !*r->reason)
        status = lti_row_read(r->set->ctx, object, r->form, r->o->chat != NULL, r->o, &row, r->reason);
    if (status == LT_OK && !*r->reason && r->form != LTI_FORM_TEXT) status = encode(r, &row);
    lti_row_free(r->set->ctx, &row);
    if (status != LT_OK || *r->reason) return status;
    LTI_TRY(keep_slice(r, object, &document->slice));
    if (r->form != LTI_FORM_TEXT) LTI_TRY(lti_set_add_example(r->set, &r->example, !r->o->score_prompt, r->count));
    return lti_documents_add(r->set->ctx, *document, &r->list, &r->count, &r->room);
}

static lt_status read_rows(reader *r)
{
    for (;;) {
        lti_document row;
        bool more;
        json_t *object;
        LTI_TRY(lti_json_next(&r->file, &row, &more));
        if (!more) return r->blame.failed ? LT_ENOMEM : LT_OK;
        r->seen++;
        LTI_TRY(parse(r, &row, &object));
        lt_status status = *r->reason ? LT_OK : take(r, object, &row);
        json_decref(object);
        if (status != LT_OK) return status;
        if (*r->reason) blame(r, row.line);
    }
}

/* ---- The set ---- */

static lt_status judge(reader *r)
{
    lt_ctx *ctx = r->set->ctx;
    if (r->seen == 0) return lti_fail(ctx, LT_EFORMAT, "%s: there is no row in it", r->file.path);
    if (r->bad && (!r->o->skip_bad_rows || r->count == 0))
        return lti_fail(ctx, LT_EFORMAT, "%" PRId64 " of %" PRId64 " rows of %s cannot be used%s:%s", r->bad, r->seen,
                        r->file.path, r->bad > SHOWN ? ", the first 10" : "", r->blame.data);
    r->set->skipped = r->bad;
    return LT_OK;
}

static lt_status encode_texts(reader *r)
{
    for (int64_t i = 0; i < r->count; i++) {
        json_t *object;
        LTI_TRY(parse(r, &r->list[i], &object)); /* it went well before */
        const char *text = json_string_value(json_object_get(object, "text"));
        lt_status status =
            text ? lti_set_add_text(r->set, text, (int64_t)strlen(text), i, r->tok, r->o, &r->work) : LT_OK;
        json_decref(object);
        if (status != LT_OK) return lti_fail_in(r->set->ctx, "%s:%" PRId64, r->file.path, r->list[i].line);
    }
    return LT_OK;
}

static lt_status read_set(reader *r, lt_split split)
{
    LTI_TRY(read_rows(r));
    LTI_TRY(judge(r));
    lt_status status = lti_documents_split(r->set->ctx, NULL, split, r->o->valid_fraction, r->list, &r->count);
    if (status != LT_OK) return lti_fail_in(r->set->ctx, "%s", r->file.path);
    if (r->form == LTI_FORM_TEXT)
        LTI_TRY(encode_texts(r));
    else
        lti_set_keep(r->set, r->list, r->count);
    r->set->documents = r->count;
    if (r->o->slice_key) LTI_TRY(lti_set_slices(r->set, r->list, r->count));
    return lti_set_finish(r->set, r->file.path, r->o);
}

lt_status lti_set_fill_json(lt_dataset *set, const char *path, const char *text, int64_t bytes, bool array,
                            lt_split split, lt_tokenizer *tok, const lt_dataset_options *options)
{
    reader r = {.set = set,
                .tok = tok,
                .o = options,
                .file = {.ctx = set->ctx, .path = path, .text = text, .bytes = bytes, .array = array},
                .blame = {.ctx = set->ctx}};
    lt_status status = read_set(&r, split);
    lti_free(set->ctx, r.list);
    lt_ids_free(tok->ctx, &r.example.ids);
    lt_ids_free(tok->ctx, &r.example.scored);
    lt_ids_free(tok->ctx, &r.work);
    lti_text_free(&r.blame);
    return status;
}
