/* fuzz_gguf_tokenizer.c - the tokenizer of a GGUF file; what was accepted is written as GGUF keys again and read back,
 * and must then give the same ids. */
#include "data/tokenizer/gguf_tokenizer.h"
#include "tests/fuzz/fuzzing.h"

#include <string.h>

static const char text[] = "ab a  b\n<s><|endoftext|><think> \xe2\x96\x81 ab! \xc3\xa9 123 b\xff";

static bool control(const lt_tokenizer *tok, int32_t id)
{
    return lt_tokenizer_is_special(tok, id) && id != tok->bpe.unknown && tok->vocab.tokens[id].byte < 0;
}

static lt_status encode(lt_ctx *ctx, lt_tokenizer *tok, unsigned flags, lt_ids *ids)
{
    char *back = NULL;
    int64_t length;
    lt_status status = lt_tokenizer_encode(tok, text, sizeof text - 1, flags, ids);
    FZ_CHECK(status == LT_OK || lt_ctx_status(ctx) == status, "encode: no sentence");
    for (int64_t i = 0; i < ids->count; i++) {
        FZ_CHECK(ids->ids[i] >= 0 && ids->ids[i] < lt_tokenizer_vocab_size(tok), "id %d", ids->ids[i]);
        FZ_CHECK(flags || !control(tok, ids->ids[i]), "the text became the control token %d", ids->ids[i]);
    }
    if (status != LT_OK) return status;
    lt_status decoded = lt_tokenizer_decode(tok, ids->ids, ids->count, LT_DECODE_SPECIAL_TOKENS, &back, &length);
    FZ_CHECK(decoded != LT_EINVAL, "decode: %s", lt_ctx_message(ctx));
    lt_buffer_free(ctx, back);
    return status;
}

/* The keys as a file, and its tokenizer; NULL when memory is out or GGUF cannot hold it. */
static lt_tokenizer *again(lt_ctx *ctx, const lt_tokenizer *tok)
{
    lt_gguf_pair *pairs;
    lt_tokenizer *other = NULL;
    int count;
    char hash[33];
    if (lti_tokenizer_gguf_pairs(ctx, tok, lt_tokenizer_vocab_size(tok) + 2, &pairs, &count) != LT_OK) return NULL;
    const char *path = fz_put("again.gguf", "", 0);
    if (lt_gguf_write(ctx, path, pairs, count, NULL, 0, hash) == LT_OK) {
        lt_status status = lt_tokenizer_open(ctx, path, &other);
        FZ_CHECK(status == LT_OK || status == LT_ENOMEM, "our own keys: %s", lt_ctx_message(ctx));
    }
    lti_gguf_pairs_free(ctx, pairs, count);
    return other;
}

static void body(lt_ctx *ctx, const uint8_t *data, size_t size)
{
    lt_tokenizer *tok;
    if (size < 4 || memcmp(data, "GGUF", 4) != 0) return;
    if (!fz_accept(ctx, lt_tokenizer_open(ctx, fz_file(data, size), &tok))) return;
    lt_ids plain = {0}, parsed = {0}, ids = {0};
    lt_status status = encode(ctx, tok, 0, &plain);
    (void)encode(ctx, tok, LT_ENCODE_SPECIAL_TOKENS | LT_ENCODE_PARSE_SPECIAL, &parsed);
    int32_t end = lt_tokenizer_find(tok, "<|endoftext|>"); /* of this shape it becomes a control token */
    lt_tokenizer *other = end < 0 || lt_tokenizer_is_special(tok, end) ? again(ctx, tok) : NULL;
    if (other) {
        lt_status second = encode(ctx, other, 0, &ids);
        FZ_CHECK(second == LT_ENOMEM || status == LT_ENOMEM ||
                     (second == status && ids.count == plain.count &&
                      (!ids.count || memcmp(ids.ids, plain.ids, (size_t)ids.count * sizeof *ids.ids) == 0)),
                 "written and read again it gives other ids");
    }
    lt_tokenizer_free(other);
    lt_tokenizer_free(tok);
    lt_ids_free(ctx, &plain);
    lt_ids_free(ctx, &parsed);
    lt_ids_free(ctx, &ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fz_run(body, data, size);
}
