/* gguf_vocabulary.c - from a tokenizer.json to the tokenizer.* keys of a GGUF file.
 *
 * llama.cpp knows a tokenizer by name: what it cannot be told is refused here, because a model whose text is cut
 * otherwise still runs and is quietly worse. A SentencePiece vocabulary gets scores from the ranks of its merges, so
 * that merging by score takes the same order; where merges made from those scores would not be the model's own, these
 * are written beside them (llama.cpp does not look at them, lathe and Transformers do). */
#include "data/tokenizer/gguf_tokenizer.h"
#include "data/tokenizer/reading.h"
#include "data/tokenizer/tokenizer_making.h"

#include <inttypes.h>
#include <string.h>

#define PAIRS 24

typedef struct writing {
    lt_ctx *ctx;
    const lt_tokenizer *tok;
    json_t *root, *model;
    const lti_pre *pre; /* of a byte-level tokenizer */
    bool llama, bert;   /* else byte-level */
    bool prefix;        /* llama: a blank before the text */
    const char *scheme; /* of Metaspace, NULL: another normalizer */
    bool lower, strip;  /* bert */
    int32_t rows;
    const char **text;   /* [rows], as in tokenizer.json; NULL: a hole. Borrowed from root */
    int32_t *type;       /* [rows] */
    lt_gguf_pair *pairs; /* [PAIRS] */
    int count;
} writing;

/* ---- Pairs ---- */

void lti_gguf_pairs_free(lt_ctx *ctx, lt_gguf_pair *pairs, int count)
{
    for (int i = 0; i < count; i++) {
        lti_free(ctx, (void *)pairs[i].strings);
        lti_free(ctx, (void *)pairs[i].data);
    }
    lti_free(ctx, pairs);
}

/* A pair of `count` numbers of `size` bytes, or with size 0 of strings that have `bytes` bytes together: the strings
 * are filled in by the caller, and their text lies behind them in the one block. */
static lt_status add_pair(writing *w, const char *key, lt_gguf_type type, bool array, int64_t count, size_t size,
                          size_t bytes, void *block)
{
    lt_gguf_pair *pair = &w->pairs[w->count];
    size_t total = size ? size * (size_t)count : sizeof(lt_gguf_string) * (size_t)count + bytes;
    void *memory = lti_alloc(w->ctx, total);
    if (!memory) return LT_ENOMEM;
    *pair = (lt_gguf_pair){.key = key, .type = array ? LT_GGUF_ARRAY : type, .item = type, .count = count};
    if (size)
        pair->data = memory;
    else
        pair->strings = memory;
    w->count++;
    *(void **)block = memory;
    return LT_OK;
}

static lt_status add_text(writing *w, const char *key, const char *text)
{
    lt_gguf_string *string;
    LTI_TRY(add_pair(w, key, LT_GGUF_STRING, false, 1, 0, strlen(text) + 1, &string));
    string->text = memcpy(string + 1, text, strlen(text) + 1);
    string->bytes = (int64_t)strlen(text);
    return LT_OK;
}

static lt_status add_flag(writing *w, const char *key, bool value)
{
    uint8_t *byte;
    LTI_TRY(add_pair(w, key, LT_GGUF_BOOL, false, 1, 1, 0, &byte));
    *byte = value;
    return LT_OK;
}

/* Nothing for -1. */
static lt_status add_id(writing *w, const char *key, int32_t id)
{
    uint32_t *number;
    if (id < 0) return LT_OK;
    LTI_TRY(add_pair(w, key, LT_GGUF_U32, false, 1, sizeof *number, 0, &number));
    *number = (uint32_t)id;
    return LT_OK;
}

/* The strings that lie one behind the other in `text`, `count` of them, each ended by a NUL. */
static lt_status add_strings(writing *w, const char *key, int64_t count, const lti_text *text)
{
    lt_gguf_string *strings;
    if (text->failed) return LT_ENOMEM;
    LTI_TRY(add_pair(w, key, LT_GGUF_STRING, true, count, 0, text->length, &strings));
    char *at = (char *)(strings + count);
    if (text->length) memcpy(at, text->data, text->length);
    for (int64_t i = 0; i < count; i++) {
        strings[i] = (lt_gguf_string){at, (int64_t)strlen(at)};
        at += strings[i].bytes + 1;
    }
    return LT_OK;
}

/* ---- What kind of tokenizer it is ---- */

static lt_status refuse(const writing *w, const char *what, json_t *node)
{
    const char *type = json_string_value(json_object_get(node, "type"));
    return lti_fail(w->ctx, LT_EUNSUPPORTED,
                    "tokenizer: GGUF has no form for the %s '%.60s' of this model; keep the model as a Hugging Face "
                    "directory",
                    what, type ? type : "?");
}

static bool replaces_blanks(json_t *node)
{
    const char *from = lti_pattern(node, "String"), *to = json_string_value(json_object_get(node, "content"));
    return lti_is_type(node, "Replace") && from && to && strcmp(from, " ") == 0 && strcmp(to, LTI_LOW_LINE) == 0;
}

/* Metaspace that leaves the text in one piece and puts U+2581 for blanks. */
static bool plain_metaspace(writing *w, json_t *node)
{
    const char *mark = json_string_value(json_object_get(node, "replacement"));
    const char *scheme = json_string_value(json_object_get(node, "prepend_scheme"));
    json_t *old = json_object_get(node, "add_prefix_space");
    if (!lti_is_type(node, "Metaspace") || !mark || strcmp(mark, LTI_LOW_LINE) != 0) return false;
    w->scheme = scheme ? scheme : json_is_false(old) ? "never" : "always";
    w->prefix = strcmp(w->scheme, "never") != 0;
    return json_is_false(json_object_get(node, "split"));
}

/* SentencePiece as a tokenizer.json writes it: by a normalizer (Llama's first files, Gemma) or by Metaspace. */
static lt_status recognise_llama(writing *w)
{
    json_t *normalizers[4], *nodes[4];
    int n = lti_flatten(json_object_get(w->root, "normalizer"), "normalizers", 4, normalizers);
    int m = lti_flatten(json_object_get(w->root, "pre_tokenizer"), "pretokenizers", 4, nodes);
    const char *prepend = n > 0 ? json_string_value(json_object_get(normalizers[0], "prepend")) : NULL;
    bool replaced = n > 0 && n <= 2 && replaces_blanks(normalizers[n - 1]);
    w->llama = true;
    w->prefix = prepend && strcmp(prepend, LTI_LOW_LINE) == 0;
    if (n < 0 || (n > 0 && (!replaced || (n == 2 && !w->prefix)))) return refuse(w, "normalizer", normalizers[0]);
    /* Gemma also cuts at blanks, of which none is left */
    const char *blank = m == 1 && lti_is_type(nodes[0], "Split") ? lti_pattern(nodes[0], "String") : NULL;
    if (replaced && (m == 0 || (blank && strcmp(blank, " ") == 0))) return LT_OK;
    if (n == 0 && m == 1 && plain_metaspace(w, nodes[0])) return LT_OK;
    return refuse(w, "pre-tokenizer", m > 0 ? nodes[0] : NULL);
}

static lt_status recognise_bert(writing *w)
{
    json_t *normalizer = json_object_get(w->root, "normalizer"), *cutter = json_object_get(w->root, "pre_tokenizer");
    json_t *strip = json_object_get(normalizer, "strip_accents");
    const char *prefix = json_string_value(json_object_get(w->model, "continuing_subword_prefix"));
    w->bert = true;
    if (!lti_is_type(normalizer, "BertNormalizer") || json_is_false(json_object_get(normalizer, "clean_text")) ||
        json_is_false(json_object_get(normalizer, "handle_chinese_chars")))
        return refuse(w, "normalizer", normalizer);
    if (!lti_is_type(cutter, "BertPreTokenizer")) return refuse(w, "pre-tokenizer", cutter);
    if (!prefix || strcmp(prefix, "##") != 0) return refuse(w, "prefix of continued words in the model", w->model);
    w->lower = !json_is_false(json_object_get(normalizer, "lowercase"));
    w->strip = json_is_boolean(strip) ? json_is_true(strip) : w->lower;
    return LT_OK;
}

static lt_status recognise(writing *w)
{
    json_t *nodes[4];
    int n = lti_flatten(json_object_get(w->root, "pre_tokenizer"), "pretokenizers", 4, nodes);
    if (lti_is_type(w->model, "WordPiece")) return recognise_bert(w);
    if (!lti_is_type(w->model, "BPE") && json_object_get(w->model, "type")) return refuse(w, "model", w->model);
    if (n > 0 && lti_is_type(nodes[n - 1], "ByteLevel")) return lti_pre_recognise(w->ctx, w->root, &w->pre);
    return recognise_llama(w);
}

/* ---- Tokens ---- */

static lt_status place(writing *w, int64_t id, const char *text, int32_t type)
{
    if (id < 0 || id >= w->rows)
        return lti_fail(w->ctx, LT_EINVAL, "tokenizer: token '%.60s' has id %" PRId64 ", but the model has %d rows",
                        text, id, w->rows);
    w->text[id] = text;
    w->type[id] = type;
    return LT_OK;
}

static bool flagged(json_t *token, const char *name)
{
    return json_is_true(json_object_get(token, name));
}

static lt_status place_added(writing *w, json_t *token)
{
    const char *text = json_string_value(json_object_get(token, "content"));
    int64_t id = json_integer_value(json_object_get(token, "id"));
    size_t n = json_string_length(json_object_get(token, "content"));
    bool special =
        flagged(token, "special") || (n > 4 && memcmp(text, "<|", 2) == 0 && memcmp(text + n - 2, "|>", 2) == 0);
    /* user text never meets a control token, so what that does with the blanks around it matters little */
    if (n != strlen(text))
        return lti_fail(w->ctx, LT_EUNSUPPORTED, "tokenizer: the added token '%.60s' has a NUL in it", text);
    if (!special && (flagged(token, "lstrip") || flagged(token, "rstrip") || flagged(token, "single_word")))
        return lti_fail(w->ctx, LT_EUNSUPPORTED,
                        "tokenizer: GGUF has no form for lstrip, rstrip or single_word of the added token '%.60s'; "
                        "keep the model as a Hugging Face directory",
                        text);
    int32_t type = !special                                         ? LTI_TYPE_USER
                   : w->llama && id == lt_tokenizer_unknown(w->tok) ? LTI_TYPE_UNKNOWN
                                                                    : LTI_TYPE_CONTROL;
    return place(w, id, text, type);
}

static lt_status place_tokens(writing *w, int64_t vocab_rows)
{
    const char *text;
    json_t *id, *token;
    size_t i;
    int32_t count = lt_tokenizer_vocab_size(w->tok);
    if (vocab_rows == 0) vocab_rows = count;
    if (vocab_rows < count || vocab_rows > LTI_VOCAB_LIMIT)
        return lti_fail(w->ctx, LT_EINVAL, "tokenizer: it has %d tokens, the model %" PRId64 " rows for them", count,
                        vocab_rows);
    w->rows = (int32_t)vocab_rows;
    w->text = lti_alloc_array(w->ctx, (size_t)w->rows, sizeof *w->text);
    w->type = lti_alloc_array(w->ctx, (size_t)w->rows, sizeof *w->type);
    if (!w->text || !w->type) return LT_ENOMEM;
    json_object_foreach(json_object_get(w->model, "vocab"), text, id)
    {
        int64_t number = json_integer_value(id);
        bool byte = w->llama && number < count && w->tok->vocab.tokens[number].byte >= 0;
        LTI_TRY(place(w, number, text, byte ? LTI_TYPE_BYTE : LTI_TYPE_NORMAL));
    }
    json_array_foreach(json_object_get(w->root, "added_tokens"), i, token) LTI_TRY(place_added(w, token));
    return LT_OK;
}

/* Appends a token as GGUF spells it, and its NUL. */
static void spell(const writing *w, int32_t id, lti_text *out)
{
    const char *text = w->text[id];
    size_t n = text ? strlen(text) : 0;
    if (!text) {
        lti_text_format(out, "[PAD%d]", id);
    } else if (w->llama && w->type[id] == LTI_TYPE_USER) {
        for (const char *mark; (mark = strstr(text, LTI_LOW_LINE)); text = mark + 3) {
            lti_text_add(out, text, (size_t)(mark - text));
            lti_text_add(out, " ", 1);
        }
        lti_text_add(out, text, strlen(text));
    } else if (w->bert && w->type[id] == LTI_TYPE_NORMAL && !(n > 2 && text[0] == '[' && text[n - 1] == ']')) {
        bool continues = n > 2 && memcmp(text, "##", 2) == 0;
        if (!continues) lti_text_add(out, LTI_LOW_LINE, 3);
        lti_text_add(out, continues ? text + 2 : text, continues ? n - 2 : n);
    } else {
        lti_text_add(out, text, n);
    }
    lti_text_add(out, "", 1);
}

static lt_status add_tokens(writing *w)
{
    lti_text list = {.ctx = w->ctx};
    int32_t *types;
    for (int32_t id = 0; id < w->rows; id++) spell(w, id, &list);
    lt_status status = add_strings(w, "tokenizer.ggml.tokens", w->rows, &list);
    lti_text_free(&list);
    if (status == LT_OK)
        status = add_pair(w, "tokenizer.ggml.token_type", LT_GGUF_I32, true, w->rows, sizeof *types, 0, &types);
    for (int32_t id = 0; id < w->rows && status == LT_OK; id++) types[id] = w->text[id] ? w->type[id] : LTI_TYPE_UNUSED;
    return status;
}

/* ---- Merges and scores ---- */

static lt_status add_merges(writing *w, json_t *merges)
{
    lti_text list = {.ctx = w->ctx};
    json_t *merge;
    size_t i;
    lt_status status = LT_OK;
    json_array_foreach(merges, i, merge)
    {
        const char *part[2];
        size_t length[2];
        lti_merge_halves(merge, part, length);
        if (memchr(part[0], ' ', length[0]) || memchr(part[1], ' ', length[1])) {
            status = lti_fail(w->ctx, LT_EUNSUPPORTED,
                              "tokenizer: GGUF has no form for merge number %zu: a blank is "
                              "part of a token",
                              i);
            break;
        }
        lti_text_add(&list, part[0], length[0]);
        lti_text_add(&list, " ", 1);
        lti_text_add(&list, part[1], length[1] + 1);
    }
    if (status == LT_OK) status = add_strings(w, "tokenizer.ggml.merges", (int64_t)json_array_size(merges), &list);
    lti_text_free(&list);
    return status;
}

/* A token's score is minus the rank of the first merge that makes it; tokens no merge makes come last. */
static lt_status score(writing *w, json_t *merges, float *scores)
{
    json_t *merge, *vocab = json_object_get(w->model, "vocab");
    lti_text joined = {.ctx = w->ctx};
    size_t rank;
    for (int32_t id = 0; id < w->rows; id++) scores[id] = -(float)(json_array_size(merges) + (size_t)id + 1);
    for (rank = json_array_size(merges); rank-- > 0;) {
        const char *part[2];
        size_t length[2];
        merge = json_array_get(merges, rank);
        lti_merge_halves(merge, part, length);
        joined.length = 0;
        lti_text_add(&joined, part[0], length[0]);
        lti_text_add(&joined, part[1], length[1]);
        if (joined.failed) break;
        json_t *id = json_object_get(vocab, joined.data);
        if (id) scores[json_integer_value(id)] = -(float)rank;
    }
    lt_status status = joined.failed ? LT_ENOMEM : LT_OK;
    lti_text_free(&joined);
    return status;
}

static bool same_merge(const writing *w, const lti_joint *joint, json_t *merge)
{
    const char *part[2], *left = w->text[joint->left], *right = w->text[joint->right];
    size_t length[2];
    lti_merge_halves(merge, part, length);
    return strlen(left) == length[0] && memcmp(left, part[0], length[0]) == 0 && strlen(right) == length[1] &&
           memcmp(right, part[1], length[1]) == 0;
}

/* Whether the reader would make exactly these merges from the scores (gguf_tokenizer.c; Gemma's are by id there). */
static lt_status implied(const writing *w, json_t *merges, const float *scores, bool *same)
{
    lti_joint *joints;
    int64_t count;
    lti_piece *pieces = lti_alloc_array(w->ctx, (size_t)w->rows, sizeof *pieces);
    if (!pieces) return LT_ENOMEM;
    for (int32_t id = 0; id < w->rows; id++)
        if (w->text[id] && (w->type[id] == LTI_TYPE_NORMAL || w->type[id] == LTI_TYPE_USER))
            pieces[id] = (lti_piece){w->text[id], (uint32_t)strlen(w->text[id]), scores[id]};
    lt_status status = lti_score_merges(w->ctx, "tokenizer", pieces, w->rows, &joints, &count);
    *same = status == LT_OK && (size_t)count == json_array_size(merges);
    for (int64_t i = 0; i < count && *same; i++) *same = same_merge(w, &joints[i], json_array_get(merges, (size_t)i));
    *same = *same && w->prefix; /* without a prefix it may be Gemma's */
    lti_free(w->ctx, joints);
    lti_free(w->ctx, pieces);
    return status == LT_ELIMIT ? LT_OK : status;
}

static lt_status add_order(writing *w)
{
    json_t *merges = json_object_get(w->model, "merges");
    float *scores;
    bool same = false;
    if (w->bert) return LT_OK;
    if (!w->llama) return add_merges(w, merges);
    LTI_TRY(add_pair(w, "tokenizer.ggml.scores", LT_GGUF_F32, true, w->rows, sizeof *scores, 0, &scores));
    LTI_TRY(score(w, merges, scores));
    LTI_TRY(implied(w, merges, scores, &same));
    return same ? LT_OK : add_merges(w, merges);
}

/* ---- Ids and flags ---- */

static int32_t named_id(const writing *w, const char *name)
{
    return w->bert ? lt_tokenizer_find(w->tok, name) : -1;
}

static lt_status add_ids(writing *w)
{
    const lt_tokenizer *tok = w->tok;
    int32_t first = tok->prefix_count ? tok->prefix[0] : -1, last = tok->suffix_count ? tok->suffix[0] : -1;
    int32_t bos = w->bert ? first : tok->bos, sep = w->bert ? last : -1, eos = w->bert ? -1 : tok->eos;
    if (tok->prefix_count > 1 || tok->suffix_count > 1 || (first >= 0 && first != bos) ||
        (last >= 0 && last != (w->bert ? sep : eos)))
        return lti_fail(w->ctx, LT_EUNSUPPORTED,
                        "tokenizer: GGUF can say that bos and eos are put around a text; this tokenizer puts %d and %d "
                        "other tokens there",
                        tok->prefix_count, tok->suffix_count);
    int32_t unknown = w->bert ? tok->bpe.unknown : lt_tokenizer_unknown(tok);
    LTI_TRY(add_id(w, "tokenizer.ggml.bos_token_id", bos));
    LTI_TRY(add_id(w, "tokenizer.ggml.eos_token_id", eos));
    LTI_TRY(add_id(w, "tokenizer.ggml.unknown_token_id", unknown));
    LTI_TRY(add_id(w, "tokenizer.ggml.padding_token_id", lt_tokenizer_pad(tok)));
    LTI_TRY(add_id(w, "tokenizer.ggml.seperator_token_id", sep));
    LTI_TRY(add_id(w, "tokenizer.ggml.cls_token_id", w->bert ? first : -1));
    LTI_TRY(add_id(w, "tokenizer.ggml.mask_token_id", named_id(w, "[MASK]")));
    LTI_TRY(add_flag(w, "tokenizer.ggml.add_bos_token", first >= 0));
    LTI_TRY(add_flag(w, "tokenizer.ggml.add_eos_token", !w->bert && last >= 0));
    if (w->bert) {
        LTI_TRY(add_flag(w, "tokenizer.ggml.add_sep_token", last >= 0));
        LTI_TRY(add_flag(w, "tokenizer.ggml.normalizer.lowercase", w->lower));
        LTI_TRY(add_flag(w, "tokenizer.ggml.normalizer.strip_accents", w->strip));
    }
    /* Metaspace puts no blank where one is; llama.cpp always puts one, as the older normalizer did */
    if (w->llama && w->scheme) LTI_TRY(add_text(w, LTI_PREPEND_KEY, w->scheme));
    return add_flag(w, "tokenizer.ggml.add_space_prefix", w->llama && w->prefix);
}

static lt_status write_all(writing *w, int64_t vocab_rows)
{
    w->model = json_object_get(w->root, "model");
    w->pairs = lti_alloc_array(w->ctx, PAIRS, sizeof *w->pairs);
    if (!w->pairs) return LT_ENOMEM;
    LTI_TRY(recognise(w));
    LTI_TRY(place_tokens(w, vocab_rows));
    LTI_TRY(add_text(w, "tokenizer.ggml.model", w->bert ? "bert" : w->llama ? "llama" : "gpt2"));
    LTI_TRY(add_text(w, "tokenizer.ggml.pre", w->pre ? w->pre->name : "default"));
    LTI_TRY(add_tokens(w));
    LTI_TRY(add_order(w));
    LTI_TRY(add_ids(w));
    const char *chat = lt_tokenizer_chat_template(w->tok);
    return chat ? add_text(w, "tokenizer.chat_template", chat) : LT_OK;
}

lt_status lti_tokenizer_gguf_pairs(lt_ctx *ctx, const lt_tokenizer *tok, int64_t vocab_rows, lt_gguf_pair **pairs,
                                   int *count)
{
    writing w = {.ctx = ctx, .tok = tok};
    *pairs = NULL;
    *count = 0;
    for (int i = 0; i < lt_tokenizer_files(tok) && !w.root; i++) {
        const char *name;
        int64_t bytes;
        const char *text = lt_tokenizer_file(tok, i, &name, &bytes);
        if (strcmp(name, "tokenizer.json") == 0) LTI_TRY(lti_json_parse(ctx, name, 0, text, (size_t)bytes, &w.root));
    }
    if (!w.root) return lti_fail(ctx, LT_EINVAL, "tokenizer: it has no tokenizer.json");
    lt_status status = write_all(&w, vocab_rows);
    json_decref(w.root);
    lti_free(ctx, w.text);
    lti_free(ctx, w.type);
    if (status != LT_OK) {
        lti_gguf_pairs_free(ctx, w.pairs, w.count);
        return status;
    }
    *pairs = w.pairs;
    *count = w.count;
    return LT_OK;
}
