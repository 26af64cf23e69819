/* vocab.c - id -> bytes and bytes -> id: one pool of text, one hash table of ids. */
#include "data/tokenizer/tokenizer.h"

#include <string.h>
#include <xxhash.h>

lt_status lti_vocab_create(lt_ctx *ctx, int32_t count, uint32_t text_capacity, lti_vocab *vocab)
{
    *vocab = (lti_vocab){.ctx = ctx, .count = count, .text_capacity = text_capacity, .slot_count = 16};
    while (vocab->slot_count < 2 * (uint32_t)count) vocab->slot_count *= 2;
    vocab->tokens = lti_alloc_array(ctx, (size_t)count, sizeof *vocab->tokens);
    vocab->text = lti_alloc(ctx, text_capacity);
    vocab->slots = lti_alloc_array(ctx, vocab->slot_count, sizeof *vocab->slots);
    if (!vocab->tokens || !vocab->text || !vocab->slots) {
        lti_vocab_free(vocab);
        return LT_ENOMEM;
    }
    memset(vocab->slots, 0xFF, vocab->slot_count * sizeof *vocab->slots);
    for (int32_t i = 0; i < count; i++) vocab->tokens[i].byte = -1;
    return LT_OK;
}

void lti_vocab_free(lti_vocab *vocab)
{
    lti_free(vocab->ctx, vocab->tokens);
    lti_free(vocab->ctx, vocab->text);
    lti_free(vocab->ctx, vocab->slots);
    *vocab = (lti_vocab){0};
}

/* The slot that holds the text, or the empty one where it belongs. */
static int32_t *slot_of(const lti_vocab *vocab, const char *text, size_t length)
{
    uint32_t mask = vocab->slot_count - 1, at = (uint32_t)XXH3_64bits(text, length) & mask;
    for (;; at = (at + 1) & mask) {
        int32_t id = vocab->slots[at];
        if (id < 0) return &vocab->slots[at];
        const lti_token *token = &vocab->tokens[id];
        if (token->length == length && memcmp(vocab->text + token->offset, text, length) == 0) return &vocab->slots[at];
    }
}

lt_status lti_vocab_set(lti_vocab *vocab, int32_t id, const char *text, size_t length, bool findable)
{
    if (length > vocab->text_capacity - vocab->text_length)
        return lti_fail(vocab->ctx, LT_EINVAL, "tokenizer: the text of token %d does not fit the pool", id);
    lti_token *token = &vocab->tokens[id];
    token->offset = vocab->text_length;
    token->length = (uint32_t)length;
    memcpy(vocab->text + token->offset, text, length);
    vocab->text_length += (uint32_t)length;
    if (findable) *slot_of(vocab, text, length) = id;
    if (findable && length > vocab->longest) vocab->longest = (uint32_t)length;
    return LT_OK;
}

int32_t lti_vocab_find(const lti_vocab *vocab, const char *text, size_t length)
{
    return *slot_of(vocab, text, length);
}

int32_t lti_vocab_text(const lti_vocab *vocab, const char *text, size_t length)
{
    int32_t id = lti_vocab_find(vocab, text, length);
    return id >= 0 && vocab->tokens[id].model && !vocab->tokens[id].special ? id : -1;
}

lt_status lti_ids_append(lt_ctx *ctx, lt_ids *ids, const int32_t *more, int64_t count)
{
    if (count > ids->capacity - ids->count) {
        int64_t capacity = ids->capacity ? ids->capacity : 64;
        while (capacity - ids->count < count) capacity *= 2;
        int32_t *grown = lti_realloc(ctx, ids->ids, (size_t)ids->count * sizeof *more, (size_t)capacity * sizeof *more);
        if (!grown) return LT_ENOMEM;
        ids->ids = grown;
        ids->capacity = capacity;
    }
    for (int64_t i = 0; i < count; i++) ids->ids[ids->count++] = more[i];
    return LT_OK;
}

lt_status lti_ids_add(lt_ctx *ctx, lt_ids *ids, int32_t id)
{
    return lti_ids_append(ctx, ids, &id, 1);
}

void lt_ids_free(lt_ctx *ctx, lt_ids *ids)
{
    lti_free(ctx, ids->ids);
    *ids = (lt_ids){0};
}
