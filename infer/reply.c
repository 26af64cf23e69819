/* reply.c - see reply.h.
 *
 * What an id adds to a text is what decoding it behind the id before adds to decoding that one alone: SentencePiece
 * vocabularies drop the blank of a text's first word, and only that context tells a first word from others. So the cost
 * of an id does not grow with the text, and prompt and reply put together read as one text. Bytes that are no UTF-8
 * become U+FFFD, one for each sequence that could not go on, as other decoders do. */
#include "infer/reply.h"

#include "data/utf8.h"

#include <string.h>

lt_status lti_reply_open(lt_ctx *ctx, lt_tokenizer *tokenizer, const lt_sampling *how, const lt_ids *prompt,
                         int64_t capacity, lti_reply *reply)
{
    *reply = (lti_reply){.tokenizer = tokenizer, .how = how, .text = {.ctx = ctx}, .before = -1};
    for (int i = 0; i < how->n_stop; i++) {
        size_t length = strlen(how->stop[i]);
        if (length > reply->longest_stop) reply->longest_stop = length;
    }
    for (int64_t i = prompt->count - 1; i >= 0 && reply->before < 0; i--)
        if (prompt->ids[i] < lt_tokenizer_vocab_size(tokenizer) && !lt_tokenizer_is_special(tokenizer, prompt->ids[i]))
            reply->before = prompt->ids[i];
    lti_text_add(&reply->text, "", 0);
    reply->starts = lti_alloc_array(ctx, (size_t)capacity, sizeof *reply->starts);
    return reply->starts && !reply->text.failed ? LT_OK : LT_ENOMEM;
}

void lti_reply_close(lti_reply *reply)
{
    if (!reply->text.ctx) return;
    lti_free(reply->text.ctx, reply->starts);
    lti_text_free(&reply->text);
    *reply = (lti_reply){0};
}

/* ---- Characters ---- */

/* Whether bytes may follow that make a character of these n. */
static bool may_go_on(const unsigned char *bytes, int n)
{
    for (int low = 0; low < 2; low++) {
        unsigned char whole[4];
        memset(whole, low ? 0x80 : 0xBF, sizeof whole);
        memcpy(whole, bytes, (size_t)n);
        if (lti_utf8_length(whole, sizeof whole) > n) return true;
    }
    return false;
}

static void replace_begun(lti_reply *r)
{
    if (r->n_begun) lti_text_add(&r->text, "\xEF\xBF\xBD", 3);
    r->n_begun = 0;
}

static void add_byte(lti_reply *r, unsigned char byte)
{
    if (r->n_begun == 0) r->character = r->text.length;
    r->begun[r->n_begun++] = byte;
    if (lti_utf8_length(r->begun, (uint64_t)r->n_begun) == r->n_begun) {
        lti_text_add(&r->text, (const char *)r->begun, (size_t)r->n_begun);
        r->n_begun = 0;
    } else if (!may_go_on(r->begun, r->n_begun)) {
        bool alone = --r->n_begun == 0;
        r->n_begun += alone;
        replace_begun(r);
        if (!alone) add_byte(r, byte); /* it may begin a character itself: one level deep */
    }
}

/* ---- Stop texts ---- */

/* Cuts the text at the first stop text that begins at `from` or later. */
static bool cut_at_stop(lti_reply *r, size_t from)
{
    size_t end = r->text.length, first = end;
    for (int i = 0; i < r->how->n_stop; i++) {
        const char *stop = r->how->stop[i];
        const char *at = memmem(r->text.data + from, end - from, stop, strlen(stop));
        if (at && (size_t)(at - r->text.data) < first) first = (size_t)(at - r->text.data);
    }
    if (first == end) return false;
    r->text.length = first;
    r->text.data[first] = 0;
    r->n_begun = 0;
    while (r->count > 0 && r->starts[r->count - 1] >= (int64_t)first) r->count--;
    return true;
}

/* How many bytes at the end may still become a stop text. */
static size_t held_back(const lti_reply *r)
{
    size_t held = 0;
    for (int i = 0; i < r->how->n_stop; i++) {
        const char *stop = r->how->stop[i];
        size_t most = strlen(stop) - 1;
        if (most > r->text.length) most = r->text.length;
        for (size_t n = most; n > held; n--)
            if (!memcmp(r->text.data + r->text.length - n, stop, n)) held = n;
    }
    return held;
}

/* ---- Ids ---- */

static lt_status add_text(lti_reply *r, int32_t id)
{
    char *alone = NULL, *both = NULL;
    int64_t skip = 0, bytes = 0;
    int32_t ids[2] = {r->before, id};
    int first = r->before < 0;
    if (!first) LTI_TRY(lt_tokenizer_decode(r->tokenizer, ids, 1, 0, &alone, &skip));
    lt_status status = lt_tokenizer_decode(r->tokenizer, ids + first, 2 - first, 0, &both, &bytes);
    for (int64_t i = skip; status == LT_OK && i < bytes; i++) {
        add_byte(r, (unsigned char)both[i]);
        if (i == skip) r->starts[r->count - 1] = (int64_t)r->character;
    }
    lt_buffer_free(r->text.ctx, alone);
    lt_buffer_free(r->text.ctx, both);
    return status == LT_OK && r->text.failed ? LT_ENOMEM : status;
}

lt_status lti_reply_add(lti_reply *r, int32_t id, bool *stopped)
{
    *stopped = false;
    size_t was = r->text.length;
    r->starts[r->count++] = (int64_t)was;
    /* Models may have more rows of logits than their tokenizer has tokens. */
    if (id >= lt_tokenizer_vocab_size(r->tokenizer) || lt_tokenizer_is_special(r->tokenizer, id)) return LT_OK;
    LTI_TRY(add_text(r, id));
    r->before = id;
    size_t back = r->longest_stop ? r->longest_stop - 1 : 0;
    *stopped = cut_at_stop(r, was > back ? was - back : 0);
    return LT_OK;
}

lt_status lti_reply_end(lti_reply *r)
{
    replace_begun(r);
    return r->text.failed ? LT_ENOMEM : LT_OK;
}

const char *lti_reply_take(lti_reply *r, bool ended, int64_t *bytes)
{
    size_t from = r->shown, to = r->text.length - (ended ? 0 : held_back(r));
    if (to < from) to = from;
    r->shown = to;
    *bytes = (int64_t)(to - from);
    return r->text.data + from;
}
