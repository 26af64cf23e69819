/* chat_encode.c - a script as ids, and which of them the assistant says.
 *
 * Control tokens cut the text into pieces and each piece is encoded whole, as a tokenizer does with the rendered text:
 * "assistant\n" and the content behind it are one piece, so that no token that spans both is lost. Which tokens of such
 * a piece belong to the content is then found from their lengths in bytes: a token is of the part its first byte is of.
 * Lengths come from decoding, which knows what a vocabulary makes of blanks; a token is decoded behind another, because
 * many decoders drop a blank at the front, and the blank that a tokenizer put before a piece is not counted. Only ids
 * up to the last change are asked, a handful in each turn.
 *
 * A piece behind a control token begins as it would in the whole text; one that nothing but our cutting parts from what
 * stands before it goes on, and gets no blank that the text lacks.
 *
 * Encoding header and content apart would have been simpler, and gives other ids than the model was trained on. */
#include "data/chat/chat_parts.h"
#include "data/tokenizer/tokenizer.h"

#include <string.h>

#define MARK_LIMIT 64

/* Where a part of a piece begins, and whether it is scored. */
typedef struct edge {
    size_t at;
    bool scored;
} edge;

typedef struct encoding {
    lt_chat *chat;
    lt_tokenizer *tok;
    const char *text;
    size_t piece;   /* the piece begins here, and ends where the next thing does */
    unsigned where; /* it stands: LTI_TEXT_BEGINS, LTI_TEXT_CONTINUES, or 0 behind a control token */
    edge *edges;    /* [edge_count], of the piece */
    int edge_count;
    lt_ids *ids, *scored;
} encoding;

static lt_status tokenizer_failed(encoding *e, lt_status status)
{
    if (e->tok->ctx != e->chat->ctx) lti_fail(e->chat->ctx, status, "%s", lt_ctx_message(e->tok->ctx));
    return status;
}

static lt_status decoded_bytes(lt_tokenizer *tok, const int32_t *ids, int64_t count, int64_t *bytes)
{
    char *text;
    LTI_TRY(lt_tokenizer_decode(tok, ids, count, LT_DECODE_SPECIAL_TOKENS, &text, bytes));
    lt_buffer_free(tok->ctx, text);
    return LT_OK;
}

lt_status lti_id_bytes(lt_tokenizer *tok, const int32_t *ids, int64_t i, int64_t *bytes)
{
    int64_t before;
    const int32_t pair[] = {ids[i > 0 ? i - 1 : 0], ids[i]}; /* the first one behind itself */
    LTI_TRY(decoded_bytes(tok, pair, 1, &before));
    LTI_TRY(decoded_bytes(tok, pair, 2, bytes));
    *bytes = *bytes > before ? *bytes - before : 0;
    return LT_OK;
}

static lt_status score(encoding *e, int32_t value)
{
    return e->scored ? lti_ids_add(e->tok->ctx, e->scored, value) : LT_OK;
}

/* Scores the ids from `first` on, those of the piece; `blank`: the first of them begins with one that is not there. */
static lt_status score_piece(encoding *e, int64_t first, bool blank)
{
    size_t at = e->piece;
    int edge_at = 0;
    for (int64_t i = first; i < e->ids->count; i++) {
        while (edge_at + 1 < e->edge_count && e->edges[edge_at + 1].at <= at) edge_at++;
        LTI_TRY(score(e, e->edges[edge_at].scored));
        if (edge_at + 1 == e->edge_count) continue;
        int64_t bytes;
        LTI_TRY(lti_id_bytes(e->tok, e->ids->ids + first, i - first, &bytes));
        at += (size_t)(i == first && blank && bytes > 0 ? bytes - 1 : bytes);
    }
    return LT_OK;
}

/* Encodes text[piece .. end), and begins the next piece at `next`. */
static lt_status flush(encoding *e, size_t end, size_t next)
{
    int64_t first = e->ids->count, n = (int64_t)(end - e->piece);
    const char *text = e->text + e->piece;
    if (n > 0) {
        lt_status status = lti_tokenizer_encode_at(e->tok, text, n, e->where, e->ids);
        if (status == LT_OK && e->scored)
            status = score_piece(e, first, lti_tokenizer_puts_blank(e->tok, text, n, e->where));
        if (status != LT_OK) return tokenizer_failed(e, status);
        e->where = LTI_TEXT_CONTINUES;
    }
    e->piece = next;
    e->edge_count = 0;
    return LT_OK;
}

static void add_edge(encoding *e, size_t at, bool scored)
{
    if (e->edge_count && e->edges[e->edge_count - 1].scored == scored) return;
    e->edges[e->edge_count++] = (edge){at, scored};
}

static lt_status add_token(encoding *e, int32_t id, bool scored)
{
    lt_status status = lti_ids_add(e->tok->ctx, e->ids, id);
    e->where = 0;
    if (status == LT_OK) status = score(e, scored);
    return status == LT_OK ? LT_OK : tokenizer_failed(e, status);
}

bool lti_chat_mark(const lt_chat *chat, const char *text, size_t from, size_t to, lti_chat_found *found)
{
    for (size_t i = from; i < to; i++) {
        char mark[MARK_LIMIT + 1], c = text[i] == '<' ? '>' : text[i] == '[' ? ']' : 0;
        const char *close = c ? memchr(text + i, c, to - i < MARK_LIMIT ? to - i : MARK_LIMIT) : NULL;
        if (!close) continue;
        size_t n = (size_t)(close - text) + 1 - i;
        memcpy(mark, text + i, n);
        mark[n] = 0;
        int32_t id = lt_tokenizer_find(chat->tokenizer, mark);
        bool needed = false;
        for (int k = 0; k < LTI_CHAT_MARKS && chat->form->marks[k]; k++)
            needed |= strcmp(chat->form->marks[k], mark) == 0;
        if (!needed && !lt_tokenizer_is_special(chat->tokenizer, id)) continue;
        *found = (lti_chat_found){i, i + n, id};
        return true;
    }
    return false;
}

static lt_status encode_ours(encoding *e, const lti_chat_span *span)
{
    size_t at = span->begin;
    lti_chat_found mark;
    for (; lti_chat_mark(e->chat, e->text, at, span->end, &mark); at = mark.end) {
        if (mark.begin > at) add_edge(e, at, span->scored);
        LTI_TRY(flush(e, mark.begin, mark.id >= 0 ? mark.end : mark.begin));
        if (mark.id >= 0) {
            LTI_TRY(add_token(e, mark.id, span->scored));
        } else { /* the vocabulary lacks it: plain text, apart all the same */
            add_edge(e, mark.begin, span->scored);
            LTI_TRY(flush(e, mark.end, mark.end));
        }
    }
    if (at < span->end) add_edge(e, at, span->scored);
    return LT_OK;
}

static lt_status encode_spans(encoding *e, const lti_chat_script *script)
{
    for (int i = 0; i < script->count; i++) {
        const lti_chat_span *span = &script->spans[i];
        if (span->id >= 0 || (span->turn && e->chat->quirks & LTI_CHAT_APART))
            LTI_TRY(flush(e, span->begin, span->begin));
        if (span->id >= 0) {
            LTI_TRY(add_token(e, span->id, span->scored));
            e->piece = span->end;
        } else if (span->ours) {
            LTI_TRY(encode_ours(e, span));
        } else {
            add_edge(e, span->begin, span->scored);
        }
    }
    return flush(e, script->text.length, script->text.length);
}

static lt_status encode_script(lt_chat *chat, const lti_chat_script *script, lt_ids *ids, lt_ids *scored)
{
    encoding e = {.chat = chat, .tok = chat->tokenizer, .text = script->text.data, .ids = ids, .scored = scored};
    bool bos = chat->quirks & LTI_CHAT_ADDS_BOS && lt_tokenizer_adds_bos(chat->tokenizer);
    e.edges = lti_alloc_array(chat->ctx, (size_t)script->count + 2, sizeof *e.edges); /* a span adds one to a piece */
    if (!e.edges) return LT_ENOMEM;
    lt_status status = bos ? add_token(&e, lt_tokenizer_bos(chat->tokenizer), false) : LT_OK;
    e.where = LTI_TEXT_BEGINS; /* also behind the tokenizer's own BOS, which is no part of the text */
    if (status == LT_OK) status = encode_spans(&e, script);
    lti_free(chat->ctx, e.edges);
    return status;
}

lt_status lt_chat_encode(lt_chat *chat, int count, const lt_message *messages, bool open_reply, lt_ids *ids,
                         lt_ids *scored)
{
    lti_chat_script script;
    lt_status status = lti_chat_write(chat, count, messages, open_reply, &script);
    if (status == LT_OK) status = encode_script(chat, &script, ids, scored);
    lti_chat_script_free(&script);
    return status;
}

lt_status lt_chat_render(lt_chat *chat, int count, const lt_message *messages, bool open_reply, char **text)
{
    lti_chat_script script;
    *text = NULL;
    lt_status status = lti_chat_write(chat, count, messages, open_reply, &script);
    if (status == LT_OK) {
        *text = script.text.data;
        script.text.data = NULL;
    }
    lti_chat_script_free(&script);
    return status;
}
