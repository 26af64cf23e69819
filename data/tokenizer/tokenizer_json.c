/* tokenizer_json.c - from the text of a tokenizer.json to tables: model, vocabulary, merges. Steps, splits, added
 * tokens and what stands around a text have files of their own.
 *
 * Whatever this file does not implement is refused by its name: a normalizer that is skipped in silence gives ids that
 * look right and a model that is quietly worse. Numbers are held against the file: ids, lengths and counts are bounded
 * before anything is sized by them. */
#include "data/tokenizer/reading.h"
#include "data/utf8.h"

#include <string.h>

/* ---- Vocabulary ---- */

/* Ids may have holes, but a short file cannot make a large table. */
static int32_t id_limit(size_t entries)
{
    size_t limit = 4 * entries + 65536;
    return limit < LTI_VOCAB_LIMIT ? (int32_t)limit : LTI_VOCAB_LIMIT;
}

static lt_status read_id(const lti_reading *r, const char *token, json_t *value, int32_t limit, int32_t *id)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) >= limit)
        return lti_fail(r->ctx, LT_EFORMAT,
                        "%s: the id of token '%.60s' must be a whole number below %d (four times the tokens and 65536)",
                        r->path, token, limit);
    *id = (int32_t)json_integer_value(value);
    return LT_OK;
}

/* The largest id + 1 and the bytes of all tokens. */
static lt_status measure(const lti_reading *r, json_t *vocab, json_t *added, int32_t *count, uint64_t *bytes)
{
    const char *token;
    json_t *value;
    size_t i;
    int32_t id = 0, limit = id_limit(json_object_size(vocab) + json_array_size(added));
    *count = 0;
    *bytes = 0;
    json_object_foreach(vocab, token, value)
    {
        LTI_TRY(read_id(r, token, value, limit, &id));
        if (id >= *count) *count = id + 1;
        size_t length = strlen(token);
        if (length == 0 || length > LTI_TOKEN_LIMIT)
            return lti_fail(r->ctx, length ? LT_ELIMIT : LT_EFORMAT,
                            "%s: model.vocab: token %d has %zu bytes; 1 to %d are allowed", r->path, id, length,
                            LTI_TOKEN_LIMIT);
        *bytes += length;
    }
    json_array_foreach(added, i, value)
    {
        json_t *content = json_object_get(value, "content");
        size_t length = json_string_length(content);
        if (!json_is_string(content) || length == 0)
            return lti_fail(r->ctx, LT_EFORMAT, "%s: added_tokens[%zu].content must be a string that is not empty",
                            r->path, i);
        if (length > LTI_ADDED_LIMIT)
            return lti_fail(r->ctx, LT_ELIMIT, "%s: added_tokens[%zu].content has %zu bytes; at most %d are read",
                            r->path, i, length, LTI_ADDED_LIMIT);
        LTI_TRY(read_id(r, json_string_value(content), json_object_get(value, "id"), limit, &id));
        if (id >= *count) *count = id + 1;
        *bytes += length;
    }
    if (*count == 0) return lti_fail(r->ctx, LT_EFORMAT, "%s: the vocabulary is empty", r->path);
    return LT_OK;
}

/* b of "<0xBB>" with exactly two hexadecimal digits, or -1. */
static int fallback_byte(const char *token, size_t length)
{
    int value = 0;
    if (length != 6 || memcmp(token, "<0x", 3) != 0 || token[5] != '>') return -1;
    for (int i = 3; i < 5; i++) {
        char c = token[i];
        if (c >= '0' && c <= '9')
            value = value * 16 + c - '0';
        else if (c >= 'A' && c <= 'F')
            value = value * 16 + c - 'A' + 10;
        else
            return -1;
    }
    return value;
}

/* Spells a byte-level token as bytes. False when a character stands for none: such a token is found by no text. */
static bool to_bytes(const char *token, size_t length, char *bytes, size_t *count)
{
    *count = 0;
    for (size_t at = 0; at < length;) {
        int n = lti_utf8_length((const unsigned char *)token + at, length - at);
        int byte = n ? lti_byte_of_point(lti_utf8_point((const unsigned char *)token + at, n)) : -1;
        if (byte < 0) return false;
        bytes[(*count)++] = (char)byte;
        at += (size_t)n;
    }
    return true;
}

static lt_status set_token(const lti_reading *r, int32_t id, const char *token, size_t length, char *scratch)
{
    lt_tokenizer *tok = r->tok;
    bool findable = true;
    if (tok->vocab.tokens[id].length)
        return lti_fail(r->ctx, LT_EFORMAT, "%s: id %d is given to two tokens, one of them '%.60s'", r->path, id,
                        token);
    if (tok->bpe.byte_level) {
        size_t count;
        findable = to_bytes(token, length, scratch, &count);
        if (findable) {
            token = scratch;
            length = count;
        }
    } else if (tok->model == LTI_MODEL_BPE) {
        tok->vocab.tokens[id].byte = (int16_t)fallback_byte(token, length);
        if (tok->vocab.tokens[id].byte >= 0) tok->bpe.byte_tokens[tok->vocab.tokens[id].byte] = id;
    }
    tok->vocab.tokens[id].model = true;
    return lti_vocab_set(&tok->vocab, id, token, length, findable);
}

static lt_status read_vocab(const lti_reading *r, json_t *vocab, json_t *added)
{
    int32_t count;
    uint64_t bytes;
    LTI_TRY(measure(r, vocab, added, &count, &bytes));
    if (bytes > UINT32_MAX / 2) return lti_fail(r->ctx, LT_ELIMIT, "%s: the tokens have over 2 GiB of text", r->path);
    LTI_TRY(lti_vocab_create(r->ctx, count, (uint32_t)bytes, &r->tok->vocab));
    char *scratch = lti_alloc(r->ctx, LTI_TOKEN_LIMIT);
    if (!scratch) return LT_ENOMEM;
    lt_status status = LT_OK;
    const char *token;
    json_t *value;
    json_object_foreach(vocab, token, value)
    {
        int32_t id = (int32_t)json_integer_value(value);
        status = set_token(r, id, token, strlen(token), scratch);
        if (status != LT_OK) break;
    }
    lti_free(r->ctx, scratch);
    return status;
}

/* ---- Merges ---- */

bool lti_merge_halves(json_t *merge, const char *part[2], size_t length[2])
{
    if (json_is_string(merge)) {
        const char *text = json_string_value(merge), *blank = strchr(text, ' ');
        if (!blank || blank == text || !blank[1] || strchr(blank + 1, ' ')) return false;
        part[0] = text;
        length[0] = (size_t)(blank - text);
        part[1] = blank + 1;
        length[1] = strlen(blank + 1);
        return true;
    }
    if (json_array_size(merge) != 2) return false;
    for (size_t i = 0; i < 2; i++) {
        part[i] = json_string_value(json_array_get(merge, i));
        length[i] = json_string_length(json_array_get(merge, i));
        if (!part[i] || length[i] == 0) return false;
    }
    return true;
}

static lt_status read_merge(const lti_reading *r, int32_t rank, json_t *merge, char *joined)
{
    lt_tokenizer *tok = r->tok;
    const char *part[2];
    size_t length[2], total = 0;
    int32_t id[3];
    if (!lti_merge_halves(merge, part, length))
        return lti_fail(r->ctx, LT_EFORMAT, "%s: model.merges[%d] must be \"a b\" or [\"a\", \"b\"]", r->path, rank);
    for (int i = 0; i < 2; i++) {
        size_t count;
        if (length[i] > LTI_TOKEN_LIMIT)
            return lti_fail(r->ctx, LT_ELIMIT, "%s: model.merges[%d] is too long", r->path, rank);
        bool spelled = tok->bpe.byte_level && to_bytes(part[i], length[i], joined + total, &count);
        if (!spelled) {
            count = length[i]; /* to_bytes may have come half way */
            memcpy(joined + total, part[i], count);
        }
        id[i] = lti_vocab_find(&tok->vocab, joined + total, count);
        if (id[i] < 0 || !tok->vocab.tokens[id[i]].model)
            return lti_fail(r->ctx, LT_EFORMAT, "%s: model.merges[%d]: '%.*s' is not in the vocabulary", r->path, rank,
                            length[i] > 60 ? 60 : (int)length[i], part[i]);
        total += count;
    }
    id[2] = lti_vocab_find(&tok->vocab, joined, total);
    if (id[2] < 0 || !tok->vocab.tokens[id[2]].model)
        return lti_fail(r->ctx, LT_EFORMAT, "%s: model.merges[%d]: '%.*s' + '%.*s' is not in the vocabulary", r->path,
                        rank, length[0] > 60 ? 60 : (int)length[0], part[0], length[1] > 60 ? 60 : (int)length[1],
                        part[1]);
    /* a merge that ends in a control token would let text spell it */
    if (!tok->vocab.tokens[id[2]].special) lti_bpe_add(&tok->bpe, id[0], id[1], rank, id[2]);
    return LT_OK;
}

static lt_status read_merges(const lti_reading *r, json_t *merges)
{
    if (!json_is_array(merges))
        return lti_fail(r->ctx, LT_EFORMAT, "%s: model.merges must be an array, it is %s", r->path,
                        lti_json_kind(merges));
    size_t count = json_array_size(merges);
    if (count > 10 * (size_t)r->tok->vocab.count)
        return lti_fail(r->ctx, LT_ELIMIT, "%s: %zu merges for %d tokens; at most ten a token are read", r->path, count,
                        r->tok->vocab.count);
    LTI_TRY(lti_bpe_create(r->ctx, (int64_t)count, &r->tok->bpe));
    char *joined = lti_alloc(r->ctx, 2 * LTI_TOKEN_LIMIT);
    if (!joined) return LT_ENOMEM;
    lt_status status = LT_OK;
    for (size_t i = 0; i < count && status == LT_OK; i++)
        status = read_merge(r, (int32_t)i, json_array_get(merges, i), joined);
    lti_free(r->ctx, joined);
    lti_bpe_settle(&r->tok->vocab, &r->tok->bpe);
    return status;
}

/* ---- Model ---- */

static lt_status read_words(const lti_reading *r, json_t *model)
{
    lti_words *words = &r->tok->words;
    json_t *prefix = json_object_get(model, "continuing_subword_prefix"),
           *longest = json_object_get(model, "max_input_chars_per_word");
    size_t length = lti_absent(prefix) ? 2 : json_string_length(prefix);
    if (!lti_absent(prefix) && (!json_is_string(prefix) || length >= sizeof words->prefix))
        return lti_fail(r->ctx, LT_EFORMAT, "%s: model.continuing_subword_prefix must be a string of at most %zu bytes",
                        r->path, sizeof words->prefix - 1);
    memcpy(words->prefix, lti_absent(prefix) ? "##" : json_string_value(prefix), length);
    words->prefix_length = length;
    words->longest_word = 100;
    if (lti_absent(longest)) return LT_OK;
    if (!json_is_integer(longest) || json_integer_value(longest) < 1 || json_integer_value(longest) > LTI_WORD_LIMIT)
        return lti_fail(r->ctx, LT_ELIMIT, "%s: model.max_input_chars_per_word must be 1 to %d", r->path,
                        LTI_WORD_LIMIT);
    words->longest_word = (int32_t)json_integer_value(longest);
    return LT_OK;
}

static lt_status read_bpe(const lti_reading *r, json_t *model)
{
    lti_bpe *bpe = &r->tok->bpe;
    static const char *const refused[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix"};
    for (int i = 0; i < LTI_COUNT(refused); i++) {
        json_t *value = json_object_get(model, refused[i]);
        bool nothing = lti_absent(value) || (json_is_string(value) && json_string_length(value) == 0) ||
                       (json_is_number(value) && json_number_value(value) == 0);
        if (!nothing) return lti_fail(r->ctx, LT_EUNSUPPORTED, "%s: model.%s is not implemented", r->path, refused[i]);
    }
    LTI_TRY(lti_read_flag(r, "model", model, "byte_fallback", false, &bpe->byte_fallback));
    LTI_TRY(lti_read_flag(r, "model", model, "fuse_unk", false, &bpe->fuse_unknown));
    return lti_read_flag(r, "model", model, "ignore_merges", false, &bpe->ignore_merges);
}

/* Old files give no type to a BPE. */
static lt_status read_model(const lti_reading *r, json_t *model)
{
    bool untyped = json_is_object(model) && lti_absent(json_object_get(model, "type"));
    if (lti_is_type(model, "WordPiece"))
        r->tok->model = LTI_MODEL_WORD_PIECE;
    else if (lti_is_type(model, "WordLevel"))
        r->tok->model = LTI_MODEL_WORD_LEVEL;
    else if (!lti_is_type(model, "BPE") && !untyped)
        return lti_unsupported(r, "model", model);
    if (!json_is_object(json_object_get(model, "vocab")))
        return lti_fail(r->ctx, LT_EFORMAT, "%s: model.vocab must be an object, it is %s", r->path,
                        lti_json_kind(json_object_get(model, "vocab")));
    return r->tok->model == LTI_MODEL_BPE ? read_bpe(r, model) : read_words(r, model);
}

static lt_status read_unknown(const lti_reading *r, json_t *unknown)
{
    if (lti_absent(unknown)) return LT_OK;
    r->tok->bpe.unknown = json_is_string(unknown)
                              ? lti_vocab_find(&r->tok->vocab, json_string_value(unknown), json_string_length(unknown))
                              : -1;
    if (r->tok->bpe.unknown >= 0) return LT_OK;
    return lti_fail(r->ctx, LT_EFORMAT, "%s: model.unk_token is not in the vocabulary", r->path);
}

/* ---- The file ---- */

static lt_status read_root(const lti_reading *r, json_t *root)
{
    json_t *model = json_object_get(root, "model"), *added = json_object_get(root, "added_tokens");
    if (!json_is_object(root)) return lti_fail(r->ctx, LT_EFORMAT, "%s: byte 0: an object {...} was expected", r->path);
    if (!lti_absent(added) && !json_is_array(added))
        return lti_fail(r->ctx, LT_EFORMAT, "%s: added_tokens must be an array, it is %s", r->path,
                        lti_json_kind(added));
    r->tok->bpe.unknown = -1;
    memset(r->tok->bpe.byte_tokens, 0xFF, sizeof r->tok->bpe.byte_tokens);
    LTI_TRY(read_model(r, model));
    LTI_TRY(lti_read_pre_tokenizer(r, "pre_tokenizer", json_object_get(root, "pre_tokenizer"), 0));
    LTI_TRY(lti_read_steps(r, root));
    LTI_TRY(read_vocab(r, json_object_get(model, "vocab"), added));
    LTI_TRY(lti_read_added(r, json_object_get(model, "vocab"), added));
    LTI_TRY(read_unknown(r, json_object_get(model, "unk_token")));
    if (r->tok->model == LTI_MODEL_BPE) LTI_TRY(read_merges(r, json_object_get(model, "merges")));
    return lti_read_post_processor(r, "post_processor", json_object_get(root, "post_processor"), 0);
}

lt_status lti_tokenizer_parse_json(lt_tokenizer *tokenizer, const char *path, json_t *root)
{
    lti_reading r = {tokenizer->ctx, path, tokenizer};
    return read_root(&r, root);
}

lt_status lti_tokenizer_parse(lt_tokenizer *tokenizer, const char *path, const char *bytes, size_t size)
{
    json_t *root;
    LTI_TRY(lti_json_parse(tokenizer->ctx, path, 0, bytes, size, &root));
    lt_status status = lti_tokenizer_parse_json(tokenizer, path, root);
    json_decref(root);
    return status;
}
