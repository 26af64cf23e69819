/* decode.c - from ids back to text.
 *
 * What a model emits of control tokens is not shown unless the caller says so. Decoder steps up to the one that fuses
 * see each token alone, those behind it the whole text. Byte tokens give their bytes as they are, so a model that
 * stops within a character gives half a character, and decoding what was encoded gives back every byte. */
#include "data/tokenizer/tokenizer.h"

/* Applies the steps [from, to) of the decoder; the result lies in one of the two work texts. */
static lt_status apply_decoder(lt_tokenizer *tok, int from, int to, bool first, const char **text, size_t *length)
{
    size_t limit = LTI_GROWN_LIMIT(*length);
    int turn = 0;
    for (int i = from; i<to && * length> 0; i++) {
        const lti_step *step = &tok->decode.list[i];
        if (step->kind == LTI_BYTES || step->kind == LTI_FUSE) continue;
        lti_text *out = &tok->work[turn ^= 1];
        LTI_TRY(lti_step_apply(step, *text, *length, first, limit, out));
        *text = out->data;
        *length = out->length;
    }
    return LT_OK;
}

static lt_status decode_token(lt_tokenizer *tok, int32_t id, int fuse, bool bytes, bool first, lti_text *out)
{
    const lti_token *token = &tok->vocab.tokens[id];
    const char *text = tok->vocab.text + token->offset;
    size_t length = token->length;
    if (bytes && token->byte >= 0) {
        char byte = (char)token->byte;
        lti_text_add(out, &byte, 1);
    } else if (length) {
        LTI_TRY(apply_decoder(tok, 0, fuse, first, &text, &length));
        if (length) lti_text_add(out, text, length);
    }
    return out->failed ? LT_ENOMEM : LT_OK;
}

static lt_status decode(lt_tokenizer *tok, const int32_t *ids, int64_t count, unsigned flags, lti_text *out)
{
    int fuse = 0;
    bool bytes = false, first = true;
    while (fuse < tok->decode.count && tok->decode.list[fuse].kind != LTI_FUSE)
        bytes |= tok->decode.list[fuse++].kind == LTI_BYTES;
    for (int64_t i = 0; i < count; i++) {
        if (ids[i] < 0 || ids[i] >= tok->vocab.count)
            return lti_fail(tok->ctx, LT_EINVAL, "decode: id %d at position %lld is outside the vocabulary of %d",
                            ids[i], (long long)i, tok->vocab.count);
        if (tok->vocab.tokens[ids[i]].special && !(flags & LT_DECODE_SPECIAL_TOKENS)) continue;
        if (tok->joins_by_blank && !first) lti_text_add(out, " ", 1);
        LTI_TRY(decode_token(tok, ids[i], fuse, bytes, first, out));
        first = false;
    }
    const char *text = out->data;
    size_t length = out->length;
    LTI_TRY(apply_decoder(tok, fuse, tok->decode.count, true, &text, &length));
    if (text != out->data) {
        out->length = 0;
        if (length) lti_text_add(out, text, length);
    }
    lti_text_add(out, "", 1); /* a buffer with its NUL also for an empty text */
    return out->failed ? LT_ENOMEM : LT_OK;
}

lt_status lt_tokenizer_decode(lt_tokenizer *tok, const int32_t *ids, int64_t count, unsigned flags, char **text,
                              int64_t *bytes)
{
    lti_text out = {.ctx = tok->ctx};
    *text = NULL;
    *bytes = 0;
    lt_status status = decode(tok, ids, count, flags, &out);
    if (status != LT_OK) {
        lti_text_free(&out);
        return status;
    }
    *text = out.data;
    *bytes = (int64_t)out.length - 1;
    return LT_OK;
}

void lt_buffer_free(lt_ctx *ctx, void *buffer)
{
    lti_free(ctx, buffer);
}
