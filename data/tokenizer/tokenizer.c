/* tokenizer.c - lt_tokenizer: encoding, and looking inside. (tokenizer_files.c opens, decode.c decodes.)
 *
 * Control tokens are not text: what a user writes never becomes one unless the caller says so. */
#include "data/tokenizer/tokenizer.h"
#include "data/utf8.h"

#include <string.h>

/* ---- Encoding ---- */

typedef struct encoding {
    lt_tokenizer *tok;
    unsigned flags;
    lt_ids *ids;
} encoding;

static lt_status encode_piece(void *user, const char *piece, int64_t length)
{
    const encoding *e = user;
    lt_tokenizer *tok = e->tok;
    if (tok->model == LTI_MODEL_BPE) return lti_bpe_encode(&tok->vocab, &tok->bpe, piece, length, e->ids);
    return lti_word_encode(&tok->vocab, &tok->words, tok->model, tok->bpe.unknown, piece, length, e->ids);
}

/* Cuts normalized text at the tokens that match there and encodes what is between. */
static lt_status encode_normalized(encoding *e, const char *text, int64_t n, unsigned where)
{
    lti_search s = {&e->tok->normalized, text, n, e->flags & LT_ENCODE_PARSE_SPECIAL, .from = 0};
    for (;; s.done = s.end) {
        const lti_added *hit = lti_search_next(&s);
        LTI_TRY(
            lti_pre_split_text(&e->tok->splits, text + s.done, s.gap - s.done, s.done ? 0 : where, encode_piece, e));
        if (!hit) return LT_OK;
        LTI_TRY(lti_ids_add(e->tok->ctx, e->ids, hit->id));
    }
}

static lt_status encode_run(encoding *e, const char *text, int64_t n, unsigned where)
{
    const lti_steps *steps = &e->tok->normalize;
    size_t limit = LTI_GROWN_LIMIT(n);
    for (int i = 0; i < steps->count && n > 0; i++) {
        if (steps->list[i].kind == LTI_PREPEND && where & LTI_TEXT_CONTINUES) continue;
        lti_text *out = &e->tok->work[i & 1];
        if (text == out->data) out = &e->tok->work[!(i & 1)];
        LTI_TRY(lti_step_apply(&steps->list[i], text, (size_t)n, true, limit, out));
        size_t common = out->length < 4 ? out->length : 4;
        if (steps->list[i].kind == LTI_TRIM && memcmp(text, out->data, common) != 0)
            where &= ~(unsigned)LTI_TEXT_BEGINS;
        text = out->data;
        n = (int64_t)out->length;
    }
    return encode_normalized(e, text, n, where);
}

/* As far as the text is UTF-8, ASCII by the word. */
static int64_t valid_run(const char *text, int64_t n)
{
    int64_t at = 0;
    while (at < n) {
        uint64_t word;
        for (; n - at >= 8; at += 8) {
            memcpy(&word, text + at, 8);
            if (word & UINT64_C(0x8080808080808080)) break;
        }
        int length = at < n ? lti_utf8_length((const unsigned char *)text + at, (uint64_t)(n - at)) : 0;
        if (!length) break;
        at += length;
    }
    return at;
}

/* Steps and patterns are defined on characters: bytes that are none go around them, straight to the model. */
static lt_status encode_raw(encoding *e, const char *text, int64_t n, unsigned where)
{
    if (!e->tok->normalize.utf8 && e->tok->splits.count == 0) return encode_run(e, text, n, where);
    for (int64_t at = 0; at < n;) {
        int64_t end = at + valid_run(text + at, n - at);
        LTI_TRY(encode_run(e, text + at, end - at, at ? LTI_TEXT_CONTINUES : where));
        for (at = end; end < n && !lti_utf8_length((const unsigned char *)text + end, (uint64_t)(n - end));) end++;
        if (end > at) LTI_TRY(encode_piece(e, text + at, end - at));
        at = end;
    }
    return LT_OK;
}

/* Cuts text at the tokens that match before anything is normalized. */
static lt_status encode_text(encoding *e, const char *text, int64_t bytes, unsigned where)
{
    lti_search s = {&e->tok->raw, text, bytes, e->flags & LT_ENCODE_PARSE_SPECIAL, .from = 0};
    for (;; s.done = s.end) {
        const lti_added *hit = lti_search_next(&s);
        if (s.gap > s.done) LTI_TRY(encode_raw(e, text + s.done, s.gap - s.done, s.done ? 0 : where));
        if (!hit) return LT_OK;
        LTI_TRY(lti_ids_add(e->tok->ctx, e->ids, hit->id));
    }
}

lt_status lt_tokenizer_encode(lt_tokenizer *tok, const char *text, int64_t bytes, unsigned flags, lt_ids *ids)
{
    encoding e = {tok, flags, ids};
    bool around = flags & LT_ENCODE_SPECIAL_TOKENS;
    if (around) LTI_TRY(lti_ids_append(tok->ctx, ids, tok->prefix, tok->prefix_count));
    LTI_TRY(encode_text(&e, text, bytes, LTI_TEXT_BEGINS));
    return around ? lti_ids_append(tok->ctx, ids, tok->suffix, tok->suffix_count) : LT_OK;
}

lt_status lti_tokenizer_encode_at(lt_tokenizer *tok, const char *text, int64_t bytes, unsigned where, lt_ids *ids)
{
    return encode_text(&(encoding){tok, 0, ids}, text, bytes, where);
}

bool lti_tokenizer_puts_blank(const lt_tokenizer *tok, const char *text, int64_t bytes, unsigned where)
{
    if (bytes == 0 || where & LTI_TEXT_CONTINUES) return false;
    for (int i = 0; i < tok->normalize.count; i++)
        if (tok->normalize.list[i].kind == LTI_PREPEND && tok->normalize.list[i].content_length) return true;
    for (int i = 0; i < tok->splits.count; i++)
        if (lti_pre_split_puts(&tok->splits.list[i], text, bytes, where)) return true;
    return false;
}

/* ---- Looking inside ---- */

int32_t lt_tokenizer_vocab_size(const lt_tokenizer *tok)
{
    return tok->vocab.count;
}

int32_t lt_tokenizer_bos(const lt_tokenizer *tok)
{
    return tok->bos;
}

int32_t lt_tokenizer_eos(const lt_tokenizer *tok)
{
    return tok->eos;
}

bool lt_tokenizer_adds_bos(const lt_tokenizer *tok)
{
    return tok->prefix_count > 0 && tok->prefix[0] == tok->bos;
}

bool lt_tokenizer_adds_eos(const lt_tokenizer *tok)
{
    return tok->suffix_count > 0 && tok->suffix[tok->suffix_count - 1] == tok->eos;
}

int32_t lt_tokenizer_unknown(const lt_tokenizer *tok)
{
    return tok->bpe.unknown >= 0 ? tok->bpe.unknown : tok->unknown;
}

int32_t lt_tokenizer_pad(const lt_tokenizer *tok)
{
    return tok->pad;
}

const char *lt_tokenizer_chat_template(const lt_tokenizer *tok)
{
    return tok->chat_template;
}

int32_t lt_tokenizer_find(const lt_tokenizer *tok, const char *token)
{
    return lti_vocab_find(&tok->vocab, token, strlen(token));
}

bool lt_tokenizer_is_special(const lt_tokenizer *tok, int32_t id)
{
    return id >= 0 && id < tok->vocab.count && tok->vocab.tokens[id].special;
}

const char *lt_tokenizer_token(const lt_tokenizer *tok, int32_t id, int64_t *bytes)
{
    *bytes = 0;
    if (id < 0 || id >= tok->vocab.count || tok->vocab.tokens[id].length == 0) return NULL;
    *bytes = tok->vocab.tokens[id].length;
    return tok->vocab.text + tok->vocab.tokens[id].offset;
}

const char *lt_tokenizer_hash(const lt_tokenizer *tok)
{
    return tok->hash;
}

int lt_tokenizer_files(const lt_tokenizer *tok)
{
    return tok->file_count;
}

const char *lt_tokenizer_file(const lt_tokenizer *tok, int index, const char **name, int64_t *bytes)
{
    *name = tok->files[index].name;
    *bytes = tok->files[index].count;
    return tok->files[index].bytes;
}
