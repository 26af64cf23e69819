/* added_json.c - from "added_tokens" to the two matchers. */
#include "data/tokenizer/reading.h"

#include <string.h>

/* The text of an added token as the normalizer leaves it. */
static lt_status normalized_text(const lti_reading *r, lti_added *added)
{
    lti_text *work = r->tok->work;
    for (int i = 0; i < r->tok->normalize.count; i++) {
        const lti_step *step = &r->tok->normalize.list[i];
        LTI_TRY(lti_step_apply(step, added->text, added->length, true, LTI_TOKEN_LIMIT, &work[0]));
        if (work[0].length == 0)
            return lti_fail(r->ctx, LT_EFORMAT, "%s: added token %d is empty once normalized", r->path, added->id);
        char *text = lti_alloc(r->ctx, work[0].length + 1);
        if (!text) return LT_ENOMEM;
        memcpy(text, work[0].data, work[0].length);
        lti_free(r->ctx, added->text);
        added->text = text;
        added->length = work[0].length;
    }
    return LT_OK;
}

/* Gives the token its text. Where the vocabulary has it already, it has it under the same id; there a byte-level
 * vocabulary may have read as bytes what the added token means as characters. */
static lt_status settle_text(const lti_reading *r, json_t *vocab, int32_t id, const char *text, size_t length)
{
    lti_vocab *table = &r->tok->vocab;
    lti_token *token = &table->tokens[id];
    json_t *entry = strlen(text) == length ? json_object_get(vocab, text) : NULL;
    bool same = token->length == length && memcmp(table->text + token->offset, text, length) == 0;
    int32_t other = lti_vocab_find(table, text, length);
    if (token->added || (other >= 0 && table->tokens[other].added))
        return lti_fail(r->ctx, LT_EFORMAT, "%s: added token '%.60s': %s", r->path, text,
                        token->added && !same ? "another one has its id" : "two added tokens have the same text");
    if (entry && json_integer_value(entry) != id)
        return lti_fail(r->ctx, LT_EFORMAT, "%s: '%.60s' has id %d as an added token and %d in the vocabulary", r->path,
                        text, id, (int)json_integer_value(entry));
    if (token->length && !entry)
        return lti_fail(r->ctx, LT_EFORMAT, "%s: added token '%.60s': id %d is another token in the vocabulary",
                        r->path, text, id);
    return same ? LT_OK : lti_vocab_set(table, id, text, length, other < 0);
}

static lt_status read_one(const lti_reading *r, const char *at, json_t *vocab, json_t *node, int order)
{
    lt_tokenizer *tok = r->tok;
    json_t *content = json_object_get(node, "content");
    size_t length = json_string_length(content);
    int32_t id = (int32_t)json_integer_value(json_object_get(node, "id"));
    lti_added token = {.length = length, .id = id, .order = order};
    bool normalized;
    LTI_TRY(lti_read_flag(r, at, node, "special", false, &token.special));
    LTI_TRY(lti_read_flag(r, at, node, "normalized", !token.special, &normalized));
    LTI_TRY(lti_read_flag(r, at, node, "single_word", false, &token.single_word));
    LTI_TRY(lti_read_flag(r, at, node, "lstrip", false, &token.left_strip));
    LTI_TRY(lti_read_flag(r, at, node, "rstrip", false, &token.right_strip));
    LTI_TRY(settle_text(r, vocab, id, json_string_value(content), length));
    tok->vocab.tokens[id].special = token.special;
    tok->vocab.tokens[id].added = true;
    if (token.special) token.order -= LTI_VOCAB_LIMIT;
    token.text = lti_alloc(r->ctx, length + 1);
    if (!token.text) return LT_ENOMEM;
    memcpy(token.text, json_string_value(content), length);
    lti_matcher *matcher = normalized ? &tok->normalized : &tok->raw;
    matcher->list[matcher->count] = token;
    return normalized ? normalized_text(r, &matcher->list[matcher->count++]) : (matcher->count++, LT_OK);
}

lt_status lti_read_added(const lti_reading *r, json_t *vocab, json_t *added)
{
    lti_matcher *raw = &r->tok->raw, *normalized = &r->tok->normalized;
    size_t count = json_array_size(added);
    raw->list = lti_alloc_array(r->ctx, count, sizeof *raw->list);
    normalized->list = lti_alloc_array(r->ctx, count, sizeof *normalized->list);
    if (!raw->list || !normalized->list) return LT_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        lti_place place = lti_place_of("", "added_tokens", i);
        LTI_TRY(read_one(r, place.text + 1, vocab, json_array_get(added, i), (int)i));
    }
    lti_matcher_ready(raw);
    lti_matcher_ready(normalized);
    return LT_OK;
}
