/* fuzz_tokenizer.c - a tokenizer.json; then, each behind a NUL, a text to encode and a tokenizer_config.json. Without
 * them the text is a fixed one. */
#include "data/tokenizer/tokenizer.h"
#include "tests/fuzz/fuzzing.h"

#include <string.h>

/* No text becomes a control token unless asked; the unknown token and bytes may be marked as such, and stand. */
static bool control(const lt_tokenizer *tok, int32_t id)
{
    return lt_tokenizer_is_special(tok, id) && id != tok->bpe.unknown && tok->vocab.tokens[id].byte < 0;
}

static void encode(lt_ctx *ctx, lt_tokenizer *tok, const char *text, int64_t bytes, unsigned flags)
{
    lt_ids ids = {0};
    lt_status status = lt_tokenizer_encode(tok, text, bytes, flags, &ids);
    FZ_CHECK(status == LT_OK || lt_ctx_status(ctx) == status, "encode: no sentence");
    for (int64_t i = 0; i < ids.count; i++) {
        FZ_CHECK(ids.ids[i] >= 0 && ids.ids[i] < lt_tokenizer_vocab_size(tok), "id %d", ids.ids[i]);
        FZ_CHECK(flags || !control(tok, ids.ids[i]), "the text became the control token %d", ids.ids[i]);
    }
    lt_ids again = {0};
    if (status == LT_OK && lt_tokenizer_encode(tok, text, bytes, flags, &again) == LT_OK)
        FZ_CHECK(again.count == ids.count &&
                     (!ids.count || memcmp(again.ids, ids.ids, (size_t)ids.count * sizeof *ids.ids) == 0),
                 "encoded again it has %lld ids, not %lld", (long long)again.count, (long long)ids.count);
    lt_ids_free(ctx, &again);
    char *back;
    int64_t length;
    if (status == LT_OK)
        status = lt_tokenizer_decode(tok, ids.ids, ids.count, LT_DECODE_SPECIAL_TOKENS, &back, &length);
    else
        back = NULL;
    FZ_CHECK(status != LT_EINVAL, "decode: %s", lt_ctx_message(ctx));
    FZ_CHECK(!back || back[length] == 0, "the text has no end");
    lt_buffer_free(ctx, back);
    lt_ids_free(ctx, &ids);
}

static void body(lt_ctx *ctx, const uint8_t *data, size_t size)
{
    static const char fixed[] = "Once upon a time, there was <s> a \xc3\xa9t\xc3\xa9 \xe2\x96\x81 <|endoftext|>\n\xff";
    const char *json = (const char *)data, *text = fixed, *config = NULL;
    size_t json_size = strnlen(json, size), text_size = sizeof fixed - 1, config_size = 0;
    if (json_size < size) {
        text = json + json_size + 1;
        text_size = strnlen(text, size - json_size - 1);
        config = text + text_size + 1;
        if (json_size + text_size + 1 < size) config_size = size - json_size - text_size - 2;
    }
    lt_tokenizer *tok;
    if (!fz_accept(ctx, lt_tokenizer_open(ctx, fz_file(data, json_size), &tok))) return;
    if (config_size && lti_tokenizer_config(tok, "config", config, config_size) == LT_OK)
        FZ_CHECK(lt_tokenizer_eos(tok) < lt_tokenizer_vocab_size(tok) &&
                     lt_tokenizer_pad(tok) < lt_tokenizer_vocab_size(tok) &&
                     lt_tokenizer_unknown(tok) < lt_tokenizer_vocab_size(tok),
                 "eos, pad, unknown");
    encode(ctx, tok, text, (int64_t)text_size, 0);
    encode(ctx, tok, text, (int64_t)text_size, LT_ENCODE_SPECIAL_TOKENS | LT_ENCODE_PARSE_SPECIAL);
    lt_tokenizer_free(tok);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fz_run(body, data, size);
}
