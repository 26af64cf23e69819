/* tokenizer.c - lt_tokenizer: opening, encoding, decoding.
 *
 * Control tokens are not text: what a user writes never becomes one unless the caller says so, and what a model emits
 * of them is not shown unless the caller says so. */
#include "data/tokenizer/tokenizer.h"
#include "data/files.h"

#include <stdio.h>
#include <string.h>

#define FILE_LIMIT (128u << 20)

/* ---- Opening ---- */

void lt_tokenizer_free(lt_tokenizer *tok)
{
    if (!tok) return;
    lti_vocab_free(&tok->vocab);
    lti_bpe_free(tok->ctx, &tok->bpe);
    lti_matcher_free(tok->ctx, &tok->raw);
    lti_matcher_free(tok->ctx, &tok->normalized);
    lti_steps_free(tok->ctx, &tok->normalize);
    lti_steps_free(tok->ctx, &tok->decode);
    for (int i = 0; i < tok->file_count; i++) lti_free(tok->ctx, tok->files[i].bytes);
    for (int i = 0; i < 2; i++) lti_text_free(&tok->work[i]);
    lti_free(tok->ctx, tok);
}

static lt_tokenizer *create(lt_ctx *ctx)
{
    lt_tokenizer *tok = lti_alloc(ctx, sizeof *tok);
    if (!tok) return NULL;
    tok->ctx = ctx;
    tok->vocab.ctx = ctx;
    tok->bos = tok->eos = -1;
    for (int i = 0; i < 2; i++) tok->work[i].ctx = ctx;
    return tok;
}

static void keep_file(lt_tokenizer *tok, const char *name, char *bytes, uint64_t count)
{
    tok->files[tok->file_count].name = name;
    tok->files[tok->file_count].bytes = bytes;
    tok->files[tok->file_count++].count = (int64_t)count;
}

/* Builds the tables from files[0] and settles bos. */
static lt_status build(lt_tokenizer *tok, const char *path)
{
    LTI_TRY(lti_tokenizer_parse(tok, path, tok->files[0].bytes, (size_t)tok->files[0].count));
    lti_hash_bytes(tok->files[0].bytes, (size_t)tok->files[0].count, tok->hash);
    return LT_OK;
}

static void settle_bos(lt_tokenizer *tok)
{
    if (tok->bos < 0 && tok->prefix_count) tok->bos = tok->prefix[0];
}

/* Reads a file beside tokenizer.json when it is there; `parse` says whether it names bos and eos. */
static lt_status read_sibling(lt_tokenizer *tok, const char *directory, const char *name, bool parse)
{
    char *path = lti_path_join(tok->ctx, directory, name), *bytes;
    uint64_t size;
    if (!path) return LT_ENOMEM;
    lt_status status = LT_OK;
    if (lti_file_exists(path)) {
        status = lti_file_read(tok->ctx, path, FILE_LIMIT, &bytes, &size);
        if (status == LT_OK) {
            keep_file(tok, name, bytes, size);
            if (parse) status = lti_tokenizer_config(tok, path, bytes, size);
        }
    }
    lti_free(tok->ctx, path);
    return status;
}

static lt_status open_file(lt_tokenizer *tok, const char *path)
{
    char *bytes;
    uint64_t size;
    LTI_TRY(lti_file_read(tok->ctx, path, FILE_LIMIT, &bytes, &size));
    keep_file(tok, "tokenizer.json", bytes, size);
    return build(tok, path);
}

static lt_status open_directory(lt_tokenizer *tok, const char *directory)
{
    char *path = lti_path_join(tok->ctx, directory, "tokenizer.json");
    if (!path) return LT_ENOMEM;
    lt_status status = LT_OK;
    if (!lti_file_exists(path))
        status = lti_fail(tok->ctx, LT_EIO,
                          "%s: there is no tokenizer.json in it; a tokenizer.model or vocab.json is made into one by "
                          "loading and saving it with Transformers",
                          directory);
    if (status == LT_OK) status = open_file(tok, path);
    lti_free(tok->ctx, path);
    if (status == LT_OK) status = read_sibling(tok, directory, "special_tokens_map.json", true);
    if (status == LT_OK) status = read_sibling(tok, directory, "tokenizer_config.json", true);
    if (status == LT_OK) status = read_sibling(tok, directory, "chat_template.jinja", false);
    return status;
}

/* A path that ends in tokenizer.json means its directory, with the files beside it. */
static lt_status open_path(lt_tokenizer *tok, const char *path)
{
    if (lti_is_directory(path)) return open_directory(tok, path);
    const char *slash = strrchr(path, '/');
    if (strcmp(slash ? slash + 1 : path, "tokenizer.json") != 0 || !lti_file_exists(path)) return open_file(tok, path);
    char *directory = lti_strdup(tok->ctx, slash ? path : "./");
    if (!directory) return LT_ENOMEM;
    strrchr(directory, '/')[1] = 0;
    lt_status status = open_directory(tok, directory);
    lti_free(tok->ctx, directory);
    return status;
}

static lt_status finish(lt_tokenizer *tok, lt_status status, lt_tokenizer **out)
{
    if (status != LT_OK) {
        lt_tokenizer_free(tok);
        return status;
    }
    settle_bos(tok);
    *out = tok;
    return LT_OK;
}

lt_status lt_tokenizer_open(lt_ctx *ctx, const char *path, lt_tokenizer **tokenizer)
{
    *tokenizer = NULL;
    lt_tokenizer *tok = create(ctx);
    if (!tok) return LT_ENOMEM;
    return finish(tok, open_path(tok, path), tokenizer);
}

lt_status lt_tokenizer_bytes(lt_ctx *ctx, lt_tokenizer **tokenizer)
{
    *tokenizer = NULL;
    lt_tokenizer *tok = create(ctx);
    if (!tok) return LT_ENOMEM;
    lti_text json = {.ctx = ctx}, config = {.ctx = ctx};
    lti_bytes_json(&json, &config);
    if (json.failed || config.failed) {
        lti_text_free(&json);
        lti_text_free(&config);
        lt_tokenizer_free(tok);
        return LT_ENOMEM;
    }
    keep_file(tok, "tokenizer.json", json.data, json.length);
    keep_file(tok, "tokenizer_config.json", config.data, config.length);
    lt_status status = build(tok, "byte tokenizer");
    if (status == LT_OK) status = lti_tokenizer_config(tok, "byte tokenizer", config.data, config.length);
    return finish(tok, status, tokenizer);
}

/* ---- Encoding ---- */

/* Cuts normalized text at the tokens that match there and encodes what is between. */
static lt_status encode_normalized(lt_tokenizer *tok, const char *text, int64_t n, unsigned flags, lt_ids *ids)
{
    bool specials = flags & LT_ENCODE_PARSE_SPECIAL;
    for (int64_t at = 0; at < n;) {
        int64_t begin, end;
        const lti_added *hit = lti_match(&tok->normalized, text, n, at, specials, &begin, &end);
        LTI_TRY(lti_bpe_encode(&tok->vocab, &tok->bpe, text + at, (hit ? begin : n) - at, ids));
        if (!hit) break;
        LTI_TRY(lti_ids_add(tok->ctx, ids, hit->id));
        at = end;
    }
    return LT_OK;
}

static lt_status encode_raw(lt_tokenizer *tok, const char *text, int64_t n, unsigned flags, lt_ids *ids)
{
    size_t limit = LTI_GROWN_LIMIT(n);
    for (int i = 0; i < tok->normalize.count && n > 0; i++) {
        lti_text *out = &tok->work[i & 1];
        out->failed = false; /* an earlier call may have run out of memory */
        LTI_TRY(lti_step_apply(&tok->normalize.list[i], text, (size_t)n, limit, out));
        text = out->data;
        n = (int64_t)out->length;
    }
    return encode_normalized(tok, text, n, flags, ids);
}

lt_status lt_tokenizer_encode(lt_tokenizer *tok, const char *text, int64_t bytes, unsigned flags, lt_ids *ids)
{
    bool around = flags & LT_ENCODE_SPECIAL_TOKENS, specials = flags & LT_ENCODE_PARSE_SPECIAL;
    for (int i = 0; around && i < tok->prefix_count; i++) LTI_TRY(lti_ids_add(tok->ctx, ids, tok->prefix[i]));
    for (int64_t at = 0; at < bytes;) {
        int64_t begin, end;
        const lti_added *hit = lti_match(&tok->raw, text, bytes, at, specials, &begin, &end);
        LTI_TRY(encode_raw(tok, text + at, (hit ? begin : bytes) - at, flags, ids));
        if (!hit) break;
        LTI_TRY(lti_ids_add(tok->ctx, ids, hit->id));
        at = end;
    }
    for (int i = 0; around && i < tok->suffix_count; i++) LTI_TRY(lti_ids_add(tok->ctx, ids, tok->suffix[i]));
    return LT_OK;
}

/* ---- Decoding ---- */

/* Applies the steps [from, to) of the decoder; the result lies in one of the two work texts. */
static lt_status apply_decoder(lt_tokenizer *tok, int from, int to, const char **text, size_t *length)
{
    size_t limit = LTI_GROWN_LIMIT(*length);
    int turn = 0;
    for (int i = from; i<to && * length> 0; i++) {
        const lti_step *step = &tok->decode.list[i];
        if (step->kind != LTI_REPLACE && step->kind != LTI_STRIP) continue;
        lti_text *out = &tok->work[turn ^= 1];
        out->failed = false;
        LTI_TRY(lti_step_apply(step, *text, *length, limit, out));
        *text = out->data;
        *length = out->length;
    }
    return LT_OK;
}

static lt_status decode_token(lt_tokenizer *tok, int32_t id, int fuse, bool bytes, lti_text *out)
{
    const lti_token *token = &tok->vocab.tokens[id];
    const char *text = tok->vocab.text + token->offset;
    size_t length = token->length;
    if (bytes && token->byte >= 0) {
        char byte = (char)token->byte;
        lti_text_add(out, &byte, 1);
    } else if (length) {
        LTI_TRY(apply_decoder(tok, 0, fuse, &text, &length));
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
        first = false;
        LTI_TRY(decode_token(tok, ids[i], fuse, bytes, out));
    }
    const char *text = out->data;
    size_t length = out->length;
    LTI_TRY(apply_decoder(tok, fuse, tok->decode.count, &text, &length));
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

/* ---- Looking inside ---- */

int32_t lt_tokenizer_vocab_size(const lt_tokenizer *tok)
{
    return tok->vocab.count;
}

int32_t lt_tokenizer_bos(const lt_tokenizer *tok)
{
    return tok->bos;
}

int32_t lt_tokenizer_eos(const lt_tokenizer *tok)
{
    return tok->eos;
}

bool lt_tokenizer_adds_bos(const lt_tokenizer *tok)
{
    return tok->prefix_count > 0 && tok->prefix[0] == tok->bos;
}

int32_t lt_tokenizer_find(const lt_tokenizer *tok, const char *token)
{
    return lti_vocab_find(&tok->vocab, token, strlen(token));
}

bool lt_tokenizer_is_special(const lt_tokenizer *tok, int32_t id)
{
    return id >= 0 && id < tok->vocab.count && tok->vocab.tokens[id].special;
}

const char *lt_tokenizer_token(const lt_tokenizer *tok, int32_t id, int64_t *bytes)
{
    *bytes = 0;
    if (id < 0 || id >= tok->vocab.count || tok->vocab.tokens[id].length == 0) return NULL;
    *bytes = tok->vocab.tokens[id].length;
    return tok->vocab.text + tok->vocab.tokens[id].offset;
}

const char *lt_tokenizer_hash(const lt_tokenizer *tok)
{
    return tok->hash;
}

int lt_tokenizer_files(const lt_tokenizer *tok)
{
    return tok->file_count;
}

const char *lt_tokenizer_file(const lt_tokenizer *tok, int index, const char **name, int64_t *bytes)
{
    *name = tok->files[index].name;
    *bytes = tok->files[index].count;
    return tok->files[index].bytes;
}
