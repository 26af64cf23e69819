/* bpe_train.c - lt_tokenizer_train: a byte-level BPE learned from a text.
 *
 * Ids: the bytes 0..255 as themselves, 256 "<|endoftext|>", then one for each merge that spells something new. The
 * text is cut into words by a tokenizer without merges and the same pattern, so that what is learned is what will be
 * met. The result is written as the files that Hugging Face's libraries load, and read back from them. */
#include "data/tokenizer/bpe_learn.h"
#include "data/utf8.h"

#include <inttypes.h>
#include <string.h>

static json_t *train_vocab(lti_learner *t, int32_t count)
{
    json_t *vocab = json_object();
    for (int32_t id = 0; id < count; id++) {
        t->joined.length = 0;
        if (id == LTI_END_ID)
            lti_text_add(&t->joined, LTI_END_OF_TEXT, strlen(LTI_END_OF_TEXT));
        else
            lti_learner_spell(t, id, &t->joined);
        if (t->joined.failed || json_object_set_new_nocheck(vocab, t->joined.data, json_integer(id))) {
            json_decref(vocab);
            return NULL;
        }
    }
    return vocab;
}

static json_t *train_json(lti_learner *t, int32_t count, lti_cut cut, json_t *merges)
{
    json_t *added = json_array(), *vocab = train_vocab(t, count);
    json_array_append_new(added, lti_added_json(LTI_END_ID, LTI_END_OF_TEXT, true));
    return lti_whole_json(added, NULL, lti_pre_tokenizer_json(cut), lti_byte_level_json(true),
                          lti_byte_level_json(true), lti_bpe_json(NULL, false, cut == LTI_CUT_LLAMA3, vocab, merges));
}

static json_t *train_config(void)
{
    return json_pack("{s:s, s:s, s:s, s:b}", "tokenizer_class", "PreTrainedTokenizerFast", "bos_token", LTI_END_OF_TEXT,
                     "eos_token", LTI_END_OF_TEXT, "clean_up_tokenization_spaces", 0);
}

/* "<|endoftext|>" parts texts; it is a token already and nothing is learned from it. */
static lt_status count_words(lti_learner *t, lti_pre_splits *splits, const char *text, int64_t bytes)
{
    for (int64_t at = 0; at < bytes;) {
        const char *end = memmem(text + at, (size_t)(bytes - at), LTI_END_OF_TEXT, strlen(LTI_END_OF_TEXT));
        int64_t stop = end ? end - text : bytes;
        if (stop > at) LTI_TRY(lti_pre_split_text(splits, text + at, stop - at, LTI_TEXT_BEGINS, lti_learner_word, t));
        at = stop + (int64_t)strlen(LTI_END_OF_TEXT);
    }
    return LT_OK;
}

/* Counts the words as a tokenizer without merges cuts them. */
static lt_status read_text(lti_learner *t, lti_cut cut, const char *text, int64_t bytes)
{
    lt_tokenizer *tok = lti_tokenizer_create(t->ctx);
    if (!tok) return LT_ENOMEM;
    lt_status status =
        lti_tokenizer_make(tok, "training", train_json(t, LTI_END_ID + 1, cut, json_array()), train_config());
    if (status == LT_OK) status = count_words(t, &tok->splits, text, bytes);
    lt_tokenizer_free(tok);
    return status;
}

static lt_status train(lti_learner *t, const char *text, int64_t bytes, int32_t vocab, lti_cut cut, lt_tokenizer *tok)
{
    t->merges = json_array();
    LTI_TRY(lti_learner_begin(t));
    LTI_TRY(read_text(t, cut, text, bytes));
    LTI_TRY(lti_learner_run(t, vocab));
    return lti_tokenizer_make(tok, "training", train_json(t, vocab, cut, json_incref(t->merges)), train_config());
}

static lt_status check(lt_ctx *ctx, const char *text, int64_t bytes, int32_t vocab, const char *like, lti_cut *cut)
{
    static const struct {
        const char *name;
        lti_cut cut;
    } cuts[] = {
        {"gpt2", LTI_CUT_GPT2}, {"llama3", LTI_CUT_LLAMA3}, {"qwen2", LTI_CUT_QWEN2}, {"smollm", LTI_CUT_DIGITS}};
    int found = -1;
    for (int i = 0; i < LTI_COUNT(cuts); i++)
        if (like && strcmp(cuts[i].name, like) == 0) found = i;
    if (found < 0)
        return lti_fail(ctx, LT_EINVAL,
                        "tokenizer: no pattern is called '%s'; gpt2, llama3, qwen2 and smollm are known",
                        like ? like : "(null)");
    *cut = cuts[found].cut;
    if (vocab <= LTI_END_ID || vocab > LTI_VOCAB_LIMIT)
        return lti_fail(ctx, LT_EINVAL, "tokenizer: a vocabulary of %d; it must be %d (the bytes and one token) to %d",
                        vocab, LTI_END_ID + 1, LTI_VOCAB_LIMIT);
    uint64_t at = bytes > 0 ? lti_utf8_check((const unsigned char *)text, (uint64_t)bytes) : 0;
    if (bytes <= 0 || at < (uint64_t)bytes)
        return lti_fail(ctx, bytes <= 0 ? LT_EINVAL : LT_EFORMAT, "tokenizer: %s (byte %" PRIu64 ")",
                        bytes <= 0 ? "there is no text to learn from" : "the text is not UTF-8; convert it", at);
    return LT_OK;
}

lt_status lt_tokenizer_train(lt_ctx *ctx, const char *text, int64_t bytes, int32_t vocab, const char *like,
                             lt_tokenizer **tokenizer)
{
    lti_learner t = {.ctx = ctx, .joined = {.ctx = ctx}};
    lti_cut cut = LTI_CUT_GPT2;
    *tokenizer = NULL;
    LTI_TRY(check(ctx, text, bytes, vocab, like, &cut));
    lt_tokenizer *tok = lti_tokenizer_create(ctx);
    lt_status status = tok ? train(&t, text, bytes, vocab, cut, tok) : LT_ENOMEM;
    lti_learner_free(&t);
    if (status == LT_OK)
        *tokenizer = tok;
    else
        lt_tokenizer_free(tok);
    return status;
}
