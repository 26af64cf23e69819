/* gguf_tokenizer.c - from the tokenizer.* keys of a GGUF file to a tokenizer.
 *
 * The keys are rewritten as the tokenizer.json and tokenizer_config.json that Hugging Face would have, and the one
 * reader of those files does the rest. A second way into the tables would be faster by a few milliseconds and could
 * disagree with the files that are saved beside a model.
 *
 * Three models are read: "gpt2" (byte-level BPE, tokenizer.ggml.pre says how text is cut), "llama" (SentencePiece: the
 * merges follow from the scores) and "bert" (WordPiece, whose word beginnings GGUF marks with U+2581 where BERT's own
 * vocabulary marks the continuations with ##).
 *
 * What the file leaves open is taken as llama.cpp takes it, but for three things. Text never yields a control token
 * unless asked, so no merge ends in one. And Gemma's runs of blanks, which GGUF stores with real blanks and scores out
 * of order, are ordinary tokens whose merges rank by id, as in Gemma's own tokenizer.json. How a byte-level tokenizer
 * cuts words is not guessed. */
#include "data/tokenizer/gguf_tokenizer.h"
#include "data/tokenizer/tokenizer_making.h"
#include "data/utf8.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef enum { GPT2, LLAMA, BERT } model_kind;

typedef struct source {
    lt_ctx *ctx;
    const char *path;
    const lt_gguf *gguf;
    model_kind kind;
    bool gemma;
    const lti_pre *pre; /* of GPT2 */
    const lt_gguf_pair *tokens, *types, *scores, *merges;
    int32_t count, end;                             /* of tokens; one behind the last that is no hole */
    int32_t bos, eos, unknown, pad, sep, cls, mask; /* -1: none */
    int8_t *type;                                   /* [count] of LTI_TYPE_*; 0: a hole */
    const char **text;                              /* [count] as tokenizer.json spells them; of holes NULL */
    lti_text arena;
} source;

/* ---- Keys ---- */

static lt_status read_array(const source *s, const char *key, bool strings, const lt_gguf_pair **pair)
{
    *pair = lt_gguf_get(s->gguf, key);
    if (!*pair) return LT_OK;
    bool text = (*pair)->item == LT_GGUF_STRING;
    if ((*pair)->type == LT_GGUF_ARRAY && text == strings && (*pair)->item != LT_GGUF_BOOL) return LT_OK;
    return lti_fail(s->ctx, LT_EFORMAT, "%s: %s must be an array of %s", s->path, key, strings ? "strings" : "numbers");
}

/* An id the file names, or `otherwise` when it names none or one that is no token; -1 when that is none either. */
static int32_t read_id(const source *s, const char *key, int32_t otherwise)
{
    uint64_t id;
    if (lt_gguf_uint(s->gguf, key, &id) && id < (uint64_t)s->count) return (int32_t)id;
    return otherwise < s->count ? otherwise : -1;
}

/* SentencePiece's unknown token is 0 when the file does not name it; but not where another kind of token is there. */
static int32_t default_unknown(const source *s)
{
    int64_t type;
    if (s->kind != LLAMA) return s->kind == BERT ? 100 : -1;
    return !s->types || (lt_gguf_item_int(s->types, 0, &type) && type == LTI_TYPE_UNKNOWN) ? 0 : -1;
}

static bool equals(const lt_gguf_string *a, const char *text)
{
    return (size_t)a->bytes == strlen(text) && memcmp(a->text, text, strlen(text)) == 0;
}

/* Files of before May 2024 do not say how words are cut, and "default" does not either: llama.cpp then cuts by a
 * pattern of its own, which is no model's. For the family GPT-2 it is known all the same. */
static lt_status read_pre(source *s, const lt_gguf_string *family)
{
    lt_gguf_string pre;
    bool said = lt_gguf_text(s->gguf, "tokenizer.ggml.pre", &pre) && !equals(&pre, "default");
    if (!said && equals(family, "gpt2")) said = true, pre = (lt_gguf_string){"gpt-2", 5};
    s->pre = said ? lti_pre_find(pre.text, (size_t)pre.bytes) : NULL;
    if (s->pre) return LT_OK;
    if (said)
        return lti_fail(s->ctx, LT_EUNSUPPORTED,
                        "%s: tokenizer.ggml.pre '%.*s' is not implemented: its words would be cut wrongly", s->path,
                        pre.bytes > 60 ? 60 : (int)pre.bytes, pre.text);
    return lti_fail(s->ctx, LT_EUNSUPPORTED,
                    "%s: the file does not say how its tokenizer cuts words (tokenizer.ggml.pre): convert the model "
                    "again with a newer llama.cpp, or give its tokenizer.json with --tokenizer",
                    s->path);
}

static lt_status read_kind(source *s)
{
    lt_gguf_string model, family = {"", 0};
    static const char *const kinds[] = {"gpt2", "llama", "bert"};
    if (!lt_gguf_text(s->gguf, "tokenizer.ggml.model", &model))
        return lti_fail(s->ctx, LT_EFORMAT,
                        "%s: there is no tokenizer in it (no key tokenizer.ggml.model); give one with --tokenizer",
                        s->path);
    int kind = 0;
    while (kind < 3 && !equals(&model, kinds[kind])) kind++;
    if (kind == 3)
        return lti_fail(s->ctx, LT_EUNSUPPORTED,
                        "%s: tokenizer.ggml.model '%.*s' is not implemented; gpt2, llama and bert are", s->path,
                        model.bytes > 60 ? 60 : (int)model.bytes, model.text);
    s->kind = (model_kind)kind;
    lt_gguf_text(s->gguf, "general.architecture", &family);
    s->gemma = family.bytes >= 5 && memcmp(family.text, "gemma", 5) == 0;
    return s->kind == GPT2 ? read_pre(s, &family) : LT_OK;
}

static lt_status read_keys(source *s)
{
    LTI_TRY(read_kind(s));
    LTI_TRY(read_array(s, "tokenizer.ggml.tokens", true, &s->tokens));
    LTI_TRY(read_array(s, "tokenizer.ggml.token_type", false, &s->types));
    LTI_TRY(read_array(s, "tokenizer.ggml.scores", false, &s->scores));
    LTI_TRY(read_array(s, "tokenizer.ggml.merges", true, &s->merges));
    if (!s->tokens || s->tokens->count < 1 || s->tokens->count > LTI_VOCAB_LIMIT)
        return lti_fail(s->ctx, s->tokens && s->tokens->count ? LT_ELIMIT : LT_EFORMAT,
                        "%s: tokenizer.ggml.tokens has %" PRId64 " tokens; 1 to %d are read", s->path,
                        s->tokens ? s->tokens->count : 0, LTI_VOCAB_LIMIT);
    s->count = (int32_t)s->tokens->count;
    const lt_gguf_pair *lists[] = {s->types, s->scores};
    for (int i = 0; i < 2; i++)
        if (lists[i] && lists[i]->count < s->count)
            return lti_fail(s->ctx, LT_EFORMAT, "%s: %s has %" PRId64 " entries for %d tokens", s->path, lists[i]->key,
                            lists[i]->count, s->count);
    if (s->kind == GPT2 && !s->merges)
        return lti_fail(s->ctx, LT_EFORMAT, "%s: tokenizer.ggml.merges is missing", s->path);
    if (s->kind == LLAMA && !s->merges && !s->scores)
        return lti_fail(s->ctx, LT_EFORMAT, "%s: tokenizer.ggml.scores is missing", s->path);
    bool llama = s->kind == LLAMA, bert = s->kind == BERT;
    s->cls = read_id(s, "tokenizer.ggml.cls_token_id", -1);
    s->bos = read_id(s, "tokenizer.ggml.bos_token_id", llama ? 1 : bert && s->cls < 0 ? 101 : s->cls);
    s->eos = read_id(s, "tokenizer.ggml.eos_token_id", llama ? 2 : -1);
    s->unknown = read_id(s, "tokenizer.ggml.unknown_token_id", default_unknown(s));
    s->pad = read_id(s, "tokenizer.ggml.padding_token_id", bert ? 0 : -1);
    s->sep = read_id(s, "tokenizer.ggml.seperator_token_id", bert ? 102 : -1);
    s->mask = read_id(s, "tokenizer.ggml.mask_token_id", bert ? 103 : -1);
    return LT_OK;
}

/* ---- Tokens ---- */

static bool framed(const char *text, size_t n, const char *begin, const char *end)
{
    size_t a = strlen(begin), b = strlen(end);
    return n > a + b && memcmp(text, begin, a) == 0 && memcmp(text + n - b, end, b) == 0;
}

/* A token that is meant as a control token though the file does not say so: files of before token types. The shape must
 * fit too: old files name the comma as bos. */
static bool looks_special(const source *s, int32_t id, const char *text, size_t n)
{
    bool named = id == s->bos || id == s->eos || id == s->unknown || id == s->pad || id == s->sep || id == s->mask;
    return framed(text, n, "<|", "|>") || (named && (framed(text, n, "<", ">") || framed(text, n, "[", "]")));
}

static int8_t type_of(const source *s, int32_t id, const char *text, size_t n)
{
    int64_t type = LTI_TYPE_NORMAL;
    char hole[32];
    if (s->types) lt_gguf_item_int(s->types, id, &type);
    if (type == LTI_TYPE_UNUSED) {
        int length = snprintf(hole, sizeof hole, "[PAD%d]", id);
        if ((size_t)length == n && memcmp(hole, text, n) == 0) return 0;
    }
    if (type < LTI_TYPE_NORMAL || type > LTI_TYPE_BYTE) type = LTI_TYPE_NORMAL;
    if (type == LTI_TYPE_NORMAL && looks_special(s, id, text, n)) type = LTI_TYPE_CONTROL;
    return (int8_t)type;
}

static bool all_blanks(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (text[i] != ' ') return false;
    return n > 0;
}

/* Appends a token as tokenizer.json spells it, and its NUL. */
static void spell(source *s, int32_t id, const char *text, size_t n)
{
    if (s->kind == LLAMA && s->gemma && n > 1 && all_blanks(text, n)) {
        for (size_t i = 0; i < n; i++) lti_text_add(&s->arena, LTI_LOW_LINE, 3);
        s->type[id] = LTI_TYPE_NORMAL;
    } else if (s->kind == BERT && n > 3 && memcmp(text, LTI_LOW_LINE, 3) == 0) {
        lti_text_add(&s->arena, text + 3, n - 3);
    } else {
        if (s->kind == BERT && !framed(text, n, "[", "]") && s->type[id] != LTI_TYPE_CONTROL &&
            s->type[id] != LTI_TYPE_UNKNOWN)
            lti_text_add(&s->arena, "##", 2);
        lti_text_add(&s->arena, text, n);
    }
    lti_text_add(&s->arena, "", 1);
}

static lt_status read_tokens(source *s)
{
    size_t *at = lti_alloc_array(s->ctx, (size_t)s->count, sizeof *at);
    s->type = lti_alloc_array(s->ctx, (size_t)s->count, sizeof *s->type);
    s->text = lti_alloc_array(s->ctx, (size_t)s->count, sizeof *s->text);
    lt_status status = at && s->type && s->text ? LT_OK : LT_ENOMEM;
    for (int32_t id = 0; id < s->count && status == LT_OK; id++) {
        const lt_gguf_string *token = &s->tokens->strings[id];
        size_t n = (size_t)token->bytes;
        if (n > LTI_TOKEN_LIMIT || (n && memchr(token->text, 0, n)) ||
            (n && lti_utf8_check((const unsigned char *)token->text, n) != n))
            status =
                lti_fail(s->ctx, n > LTI_TOKEN_LIMIT ? LT_ELIMIT : LT_EFORMAT, "%s: tokenizer.ggml.tokens: token %d %s",
                         s->path, id, n > LTI_TOKEN_LIMIT ? "has over 65536 bytes" : "is not UTF-8 without NUL");
        s->type[id] = n ? type_of(s, id, token->text, n) : 0;
        at[id] = s->arena.length;
        if (s->type[id]) spell(s, id, token->text, n);
        if (s->type[id]) s->end = id + 1;
        if (s->arena.failed) status = LT_ENOMEM;
    }
    for (int32_t id = 0; id < s->count && status == LT_OK; id++)
        if (s->type[id]) s->text[id] = s->arena.data + at[id];
    lti_free(s->ctx, at);
    return status;
}

static bool is_added(const source *s, int32_t id)
{
    return s->type[id] == LTI_TYPE_CONTROL || s->type[id] == LTI_TYPE_UNKNOWN || s->type[id] == LTI_TYPE_USER;
}

/* Where the vocabulary proper ends. Added tokens behind it stand in the list of added tokens alone, as Hugging Face has
 * them: its reader numbers them on from the vocabulary, which must then be without holes. */
static int32_t vocabulary_end(const source *s)
{
    int32_t tail = s->end;
    while (s->kind == GPT2 && tail > 0 && s->type[tail - 1] && is_added(s, tail - 1)) tail--;
    for (int32_t id = 0; id < tail; id++)
        if (!s->type[id]) return s->end;
    return tail > 0 ? tail : s->end;
}

static lt_status make_vocab(const source *s, json_t **vocab)
{
    int32_t end = vocabulary_end(s);
    *vocab = json_object();
    for (int32_t id = 0; id < end; id++) {
        if (!s->type[id]) continue;
        json_t *other = json_object_get(*vocab, s->text[id]);
        if (other)
            return lti_fail(s->ctx, LT_EFORMAT, "%s: tokenizer.ggml.tokens: tokens %d and %d are both '%.60s'", s->path,
                            (int)json_integer_value(other), id, s->text[id]);
        if (json_object_set_new_nocheck(*vocab, s->text[id], json_integer(id)))
            return lti_fail(s->ctx, LT_ENOMEM, "%s: out of memory for its vocabulary", s->path);
    }
    return LT_OK;
}

static lt_status make_added(const source *s, json_t **added)
{
    *added = json_array();
    for (int32_t id = 0; id < s->end; id++)
        if (s->type[id] && is_added(s, id) &&
            json_array_append_new(*added, lti_added_json(id, s->text[id], s->type[id] != LTI_TYPE_USER)))
            return lti_fail(s->ctx, LT_ENOMEM, "%s: out of memory for its added tokens", s->path);
    return LT_OK;
}

/* ---- Merges ---- */

static lt_status copy_merges(const source *s, json_t *merges)
{
    for (int64_t i = 0; i < s->merges->count; i++) {
        const lt_gguf_string *merge = &s->merges->strings[i];
        json_t *value = json_stringn(merge->text, (size_t)merge->bytes);
        if (!value || memchr(merge->text, 0, (size_t)merge->bytes))
            return json_decref(value),
                   lti_fail(s->ctx, LT_EFORMAT,
                            "%s: tokenizer.ggml.merges: number %" PRId64 " is not UTF-8 without NUL", s->path, i);
        if (json_array_append_new(merges, value))
            return lti_fail(s->ctx, LT_ENOMEM, "%s: out of memory for its merges", s->path);
    }
    return LT_OK;
}

static lt_status write_joints(const source *s, const lti_joint *joints, int64_t count, json_t *merges)
{
    lti_text pair = {.ctx = s->ctx};
    lt_status status = LT_OK;
    for (int64_t i = 0; i < count && status == LT_OK; i++) {
        const char *left = s->text[joints[i].left], *right = s->text[joints[i].right];
        pair.length = 0;
        lti_text_add(&pair, left, strlen(left));
        lti_text_add(&pair, " ", 1);
        lti_text_add(&pair, right, strlen(right));
        if (pair.failed)
            status = LT_ENOMEM;
        else if (json_array_append_new(merges, json_stringn_nocheck(pair.data, pair.length)))
            status = lti_fail(s->ctx, LT_ENOMEM, "%s: out of memory for its merges", s->path);
    }
    lti_text_free(&pair);
    return status;
}

/* Only what text can spell joins: no control token and no byte, and blanks have become U+2581 before. */
static lt_status merges_of_scores(const source *s, json_t *merges)
{
    lti_joint *joints = NULL;
    int64_t count = 0;
    lti_piece *pieces = lti_alloc_array(s->ctx, (size_t)s->count, sizeof *pieces);
    if (!pieces) return LT_ENOMEM;
    for (int32_t id = 0; id < s->count; id++) {
        if (s->type[id] != LTI_TYPE_NORMAL && s->type[id] != LTI_TYPE_USER && s->type[id] != LTI_TYPE_UNUSED) continue;
        if (strchr(s->text[id], ' ')) continue;
        pieces[id] = (lti_piece){s->text[id], (uint32_t)strlen(s->text[id]), -(double)id};
        if (!s->gemma) lt_gguf_item_real(s->scores, id, &pieces[id].score);
    }
    lt_status status = lti_score_merges(s->ctx, s->path, pieces, s->count, &joints, &count);
    lti_free(s->ctx, pieces);
    if (status == LT_OK) status = write_joints(s, joints, count, merges);
    lti_free(s->ctx, joints);
    return status;
}

/* ---- The two files ---- */

static bool flag(const source *s, const char *key, bool otherwise)
{
    lt_gguf_bool(s->gguf, key, &otherwise);
    return otherwise;
}

static const char *text_of(const source *s, int32_t id)
{
    return id < 0 ? NULL : s->text[id];
}

static json_t *post_processor(const source *s)
{
    bool bert = s->kind == BERT;
    bool begins =
        flag(s, "tokenizer.ggml.add_bos_token", bert || s->kind == LLAMA || (s->kind == GPT2 && s->pre->adds_bos));
    bool ends = flag(s, "tokenizer.ggml.add_eos_token", false),
         separates = flag(s, "tokenizer.ggml.add_sep_token", bert);
    int32_t before = begins ? s->bos : -1, after = ends ? s->eos : separates ? s->sep : -1;
    const char *first = text_of(s, before), *last = text_of(s, after);
    if (first || last) return lti_around_json(first, before, last, after);
    return s->kind == GPT2 ? lti_byte_level_json(true) : json_null();
}

static json_t *llama_normalizer(bool prefix)
{
    json_t *replace =
        json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", " ", "content", LTI_LOW_LINE);
    if (!prefix) return replace;
    return json_pack("{s:s, s:[{s:s, s:s}, o]}", "type", "Sequence", "normalizers", "type", "Prepend", "prepend",
                     LTI_LOW_LINE, replace);
}

/* Metaspace where the file was made from a tokenizer with it; NULL. */
static json_t *llama_pre_tokenizer(const source *s)
{
    lt_gguf_string scheme;
    if (!lt_gguf_text(s->gguf, LTI_PREPEND_KEY, &scheme)) return NULL;
    return json_pack("{s:s, s:s, s:o, s:b}", "type", "Metaspace", "replacement", LTI_LOW_LINE, "prepend_scheme",
                     json_stringn(scheme.text, (size_t)scheme.bytes), "split", 0);
}

static json_t *llama_decoder(bool prefix)
{
    json_t *list = json_pack("[{s:s, s:{s:s}, s:s}, {s:s}, {s:s}]", "type", "Replace", "pattern", "String",
                             LTI_LOW_LINE, "content", " ", "type", "ByteFallback", "type", "Fuse");
    if (prefix)
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip", "content", " ", "start", 1, "stop", 0));
    return json_pack("{s:s, s:o}", "type", "Sequence", "decoders", list);
}

static json_t *bert_normalizer(const source *s)
{
    bool lower = flag(s, "tokenizer.ggml.normalizer.lowercase", true);
    return json_pack("{s:s, s:b, s:b, s:b, s:b}", "type", "BertNormalizer", "clean_text", 1, "handle_chinese_chars", 1,
                     "strip_accents", flag(s, "tokenizer.ggml.normalizer.strip_accents", lower), "lowercase", lower);
}

/* Takes the three parts. */
static json_t *whole(const source *s, json_t *vocab, json_t *added, json_t *merges)
{
    const char *unknown = text_of(s, s->unknown);
    json_t *post = post_processor(s);
    if (s->kind == GPT2)
        return lti_whole_json(added, s->pre->nfc ? json_pack("{s:s}", "type", "NFC") : NULL,
                              lti_pre_tokenizer_json(s->pre->cut), post, lti_byte_level_json(true),
                              lti_bpe_json(NULL, false, s->pre->ignore_merges, vocab, merges));
    if (s->kind == LLAMA) {
        bool prefix = flag(s, "tokenizer.ggml.add_space_prefix", true);
        json_t *space = llama_pre_tokenizer(s);
        return lti_whole_json(added, space ? NULL : llama_normalizer(prefix), space, post, llama_decoder(prefix),
                              lti_bpe_json(unknown ? json_string(unknown) : NULL, true, false, vocab, merges));
    }
    json_decref(merges);
    json_t *model =
        json_pack("{s:s, s:s, s:s, s:i, s:o}", "type", "WordPiece", "unk_token", unknown ? unknown : "[UNK]",
                  "continuing_subword_prefix", "##", "max_input_chars_per_word", 100, "vocab", vocab);
    return lti_whole_json(added, bert_normalizer(s), json_pack("{s:s}", "type", "BertPreTokenizer"), post,
                          json_pack("{s:s, s:s, s:b}", "type", "WordPiece", "prefix", "##", "cleanup", 1), model);
}

static lt_status make_config(const source *s, json_t **config)
{
    lt_gguf_string chat;
    const struct {
        const char *name;
        int32_t id;
    } named[] = {{"bos_token", s->kind == BERT ? -1 : s->bos},
                 {"eos_token", s->eos},
                 {"unk_token", s->unknown},
                 {"pad_token", s->pad},
                 {"cls_token", s->kind == BERT ? s->bos : s->cls},
                 {"sep_token", s->sep},
                 {"mask_token", s->mask}};
    *config = json_pack("{s:s, s:b}", "tokenizer_class", "PreTrainedTokenizerFast", "clean_up_tokenization_spaces", 0);
    for (int i = 0; i < LTI_COUNT(named); i++)
        if (text_of(s, named[i].id)) json_object_set_new(*config, named[i].name, json_string(text_of(s, named[i].id)));
    if (!lt_gguf_text(s->gguf, "tokenizer.chat_template", &chat)) return LT_OK;
    if (json_object_set_new(*config, "chat_template", json_stringn(chat.text, (size_t)chat.bytes)) == 0) return LT_OK;
    return lti_fail(s->ctx, LT_EFORMAT, "%s: tokenizer.chat_template is not UTF-8", s->path);
}

static lt_status build(lt_tokenizer *tok, source *s)
{
    json_t *vocab = NULL, *added = NULL, *merges = json_array(), *config = NULL;
    lt_status status = read_keys(s);
    if (status == LT_OK) status = read_tokens(s);
    if (status == LT_OK) status = make_vocab(s, &vocab);
    if (status == LT_OK) status = make_added(s, &added);
    if (status == LT_OK && s->kind != BERT) status = s->merges ? copy_merges(s, merges) : merges_of_scores(s, merges);
    if (status == LT_OK) status = make_config(s, &config);
    if (status == LT_OK) return lti_tokenizer_make(tok, s->path, whole(s, vocab, added, merges), config);
    json_decref(vocab);
    json_decref(added);
    json_decref(merges);
    json_decref(config);
    return status;
}

/* The tokenizer.json that the file holds whole, in the key the format has for it: for tokenizers without a name there.
 * False when the lists are what counts. */
static bool holds_whole(const lt_gguf *gguf, lt_gguf_string *json)
{
    lt_gguf_string model = {"none", 4};
    lt_gguf_text(gguf, "tokenizer.ggml.model", &model);
    return model.bytes == 4 && !memcmp(model.text, "none", 4) && lt_gguf_text(gguf, LTI_WHOLE_KEY, json);
}

static lt_status from_whole(lt_tokenizer *tok, const lt_gguf *gguf, const lt_gguf_string *text)
{
    json_t *root = NULL, *config = NULL;
    lt_gguf_string beside;
    const char *path = lt_gguf_path(gguf);
    lt_status status = lti_json_parse(tok->ctx, path, 0, text->text, (size_t)text->bytes, &root);
    if (status == LT_OK && lt_gguf_text(gguf, LTI_WHOLE_CONFIG_KEY, &beside))
        status = lti_json_parse(tok->ctx, path, 0, beside.text, (size_t)beside.bytes, &config);
    if (status == LT_OK) return lti_tokenizer_make(tok, path, root, config ? config : json_object());
    json_decref(root);
    json_decref(config);
    return status;
}

lt_status lti_tokenizer_from_gguf(lt_tokenizer *tok, const lt_gguf *gguf)
{
    source s = {.ctx = tok->ctx, .path = lt_gguf_path(gguf), .gguf = gguf, .arena = {.ctx = tok->ctx}};
    lt_gguf_string json;
    lt_status status = holds_whole(gguf, &json) ? from_whole(tok, gguf, &json) : build(tok, &s);
    lti_text_free(&s.arena);
    lti_free(s.ctx, s.type);
    lti_free(s.ctx, s.text);
    return status;
}
