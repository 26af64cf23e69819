/* words.c - WordPiece (Schuster and Nakajima, 2012; as BERT does it) and whole-word vocabularies.
 *
 * A word is cut into the longest piece from its left, then the longest of the rest, and so on; a word of which some
 * part is in no piece is unknown as a whole. No piece is longer than the vocabulary's longest token, which bounds the
 * search. */
#include "data/tokenizer/tokenizer.h"
#include "data/utf8.h"

#include <string.h>

static lt_status add_unknown(const lti_vocab *vocab, int32_t unknown, const char *word, int64_t length, lt_ids *ids)
{
    if (unknown >= 0) return lti_ids_add(vocab->ctx, ids, unknown);
    return lti_fail(vocab->ctx, LT_EFORMAT,
                    "tokenizer: the word '%.*s' is not in the vocabulary and there is no "
                    "unknown token",
                    length > 60 ? 60 : (int)length, word);
}

/* A text that spells a control token is not one, but for the unknown token. */
static int32_t find(const lti_vocab *vocab, int32_t unknown, const char *text, size_t length)
{
    int32_t id = lti_vocab_text(vocab, text, length);
    return id < 0 && unknown >= 0 && lti_vocab_find(vocab, text, length) == unknown ? unknown : id;
}

static bool fits(const char *word, int64_t length, int32_t longest)
{
    int64_t characters = 0;
    for (int64_t i = 0; i < length && characters <= longest; i++) characters += (word[i] & 0xC0) != 0x80;
    return characters <= longest;
}

/* The id of the longest piece at word[at ..), and where it ends; -1. */
static int32_t longest_piece(const lti_vocab *vocab, const lti_words *words, int32_t unknown, const char *word,
                             int64_t length, int64_t at, int64_t *end)
{
    char buffer[sizeof words->prefix + 4 * LTI_WORD_LIMIT];
    size_t before = at ? words->prefix_length : 0;
    int64_t most = (int64_t)vocab->longest - (int64_t)before;
    *end = length - at > most ? at + (most > 0 ? most : 0) : length;
    while (*end > at && *end < length && (word[*end] & 0xC0) == 0x80) --*end;
    memcpy(buffer, words->prefix, before);
    memcpy(buffer + before, word + at, (size_t)(*end - at));
    while (*end > at) {
        int32_t id = find(vocab, unknown, buffer, before + (size_t)(*end - at));
        if (id >= 0) return id;
        do --*end;
        while (*end > at && (word[*end] & 0xC0) == 0x80);
    }
    return -1;
}

lt_status lti_word_encode(const lti_vocab *vocab, const lti_words *words, lti_model_kind kind, int32_t unknown,
                          const char *word, int64_t length, lt_ids *ids)
{
    if (length == 0) return LT_OK;
    if (kind == LTI_MODEL_WORD_LEVEL) {
        int32_t id = find(vocab, unknown, word, (size_t)length);
        return id >= 0 ? lti_ids_add(vocab->ctx, ids, id) : add_unknown(vocab, unknown, word, length, ids);
    }
    bool valid = lti_utf8_check((const unsigned char *)word, (uint64_t)length) == (uint64_t)length;
    if (!valid || !fits(word, length, words->longest_word)) return add_unknown(vocab, unknown, word, length, ids);
    int64_t kept = ids->count;
    for (int64_t at = 0, end; at < length; at = end) {
        int32_t id = longest_piece(vocab, words, unknown, word, length, at, &end);
        if (id < 0) {
            ids->count = kept;
            return add_unknown(vocab, unknown, word, length, ids);
        }
        LTI_TRY(lti_ids_add(vocab->ctx, ids, id));
    }
    return LT_OK;
}
