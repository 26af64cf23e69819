/* tokenizer_files.c - where a tokenizer comes from, the files it keeps, and writing them again.
 *
 * A tokenizer is its files: they are kept word for word, so that what is saved beside a trained model is what the model
 * was trained with, including what lathe has no use for. */
#include "data/files.h"
#include "data/tokenizer/gguf_tokenizer.h"

#include <string.h>

#define FILE_LIMIT (128u << 20)

void lt_tokenizer_free(lt_tokenizer *tok)
{
    if (!tok) return;
    lti_vocab_free(&tok->vocab);
    lti_bpe_free(tok->ctx, &tok->bpe);
    lti_matcher_free(tok->ctx, &tok->raw);
    lti_matcher_free(tok->ctx, &tok->normalized);
    lti_steps_free(tok->ctx, &tok->normalize);
    lti_steps_free(tok->ctx, &tok->decode);
    lti_pre_splits_free(&tok->splits);
    lti_free(tok->ctx, tok->chat_template);
    for (int i = 0; i < tok->file_count; i++) lti_free(tok->ctx, tok->files[i].bytes);
    for (int i = 0; i < 2; i++) lti_text_free(&tok->work[i]);
    lti_free(tok->ctx, tok);
}

lt_tokenizer *lti_tokenizer_create(lt_ctx *ctx)
{
    lt_tokenizer *tok = lti_alloc(ctx, sizeof *tok);
    if (!tok) return NULL;
    tok->ctx = ctx;
    tok->vocab.ctx = ctx;
    tok->bos = tok->eos = tok->pad = tok->unknown = tok->bpe.unknown = -1;
    for (int i = 0; i < 2; i++) tok->work[i].ctx = ctx;
    tok->splits.piece.ctx = ctx;
    return tok;
}

lt_status lti_tokenizer_add_file(lt_tokenizer *tok, const char *name, char *bytes, int64_t count)
{
    if (tok->file_count == LTI_TOKENIZER_FILES) {
        lti_free(tok->ctx, bytes);
        return lti_fail(tok->ctx, LT_ELIMIT, "tokenizer: '%s' would be file %d of it; at most %d are kept", name,
                        LTI_TOKENIZER_FILES + 1, LTI_TOKENIZER_FILES);
    }
    tok->files[tok->file_count].name = name;
    tok->files[tok->file_count].bytes = bytes;
    tok->files[tok->file_count++].count = count;
    if (strcmp(name, "tokenizer.json") == 0) lti_hash_bytes(bytes, (size_t)count, tok->hash);
    return LT_OK;
}

/* ---- Opening ---- */

/* Reads one file, keeps it, and hands it to `parse` (which may be NULL). */
static lt_status read_file(lt_tokenizer *tok, const char *path, const char *name,
                           lt_status (*parse)(lt_tokenizer *, const char *, const char *, size_t))
{
    char *bytes;
    uint64_t size;
    LTI_TRY(lti_file_read(tok->ctx, path, FILE_LIMIT, &bytes, &size));
    LTI_TRY(lti_tokenizer_add_file(tok, name, bytes, (int64_t)size));
    return parse ? parse(tok, path, bytes, (size_t)size) : LT_OK;
}

/* The template in a file of its own goes before the one in tokenizer_config.json. */
static lt_status take_template(lt_tokenizer *tok, const char *path, const char *bytes, size_t size)
{
    (void)path;
    (void)size;
    char *copy = lti_strdup(tok->ctx, bytes);
    if (!copy) return LT_ENOMEM;
    lti_free(tok->ctx, tok->chat_template);
    tok->chat_template = copy;
    return LT_OK;
}

static lt_status read_sibling(lt_tokenizer *tok, const char *directory, const char *name,
                              lt_status (*parse)(lt_tokenizer *, const char *, const char *, size_t))
{
    char *path = lti_path_join(tok->ctx, directory, name);
    if (!path) return LT_ENOMEM;
    lt_status status = lti_file_exists(path) ? read_file(tok, path, name, parse) : LT_OK;
    lti_free(tok->ctx, path);
    return status;
}

/* Says which other tokenizer files a directory has. */
static lt_status no_json(lt_ctx *ctx, const char *directory)
{
    static const char *const others[] = {"tokenizer.model", "spiece.model", "vocab.json", "merges.txt", "vocab.txt"};
    lti_text found = {.ctx = ctx};
    for (int i = 0; i < LTI_COUNT(others); i++) {
        char *path = lti_path_join(ctx, directory, others[i]);
        if (path && lti_file_exists(path)) lti_text_format(&found, "%s%s", found.length ? ", " : "", others[i]);
        lti_free(ctx, path);
        if (!path) found.failed = true;
    }
    lt_status status = LT_ENOMEM;
    if (!found.failed && found.length)
        status = lti_fail(ctx, LT_EIO,
                          "%s: there is no tokenizer.json in it, but %s; Python makes one of them: from transformers "
                          "import AutoTokenizer as A; A.from_pretrained('%s').save_pretrained('%s')",
                          directory, found.data, directory, directory);
    else if (!found.failed)
        status =
            lti_fail(ctx, LT_EIO, "%s: there is no tokenizer.json in it; copy the one of the model there", directory);
    lti_text_free(&found);
    return status;
}

static lt_status open_directory(lt_tokenizer *tok, const char *directory)
{
    char *path = lti_path_join(tok->ctx, directory, "tokenizer.json");
    if (!path) return LT_ENOMEM;
    lt_status status = lti_file_exists(path) ? read_file(tok, path, "tokenizer.json", lti_tokenizer_parse)
                                             : no_json(tok->ctx, directory);
    lti_free(tok->ctx, path);
    LTI_TRY(status);
    LTI_TRY(read_sibling(tok, directory, "special_tokens_map.json", lti_tokenizer_config));
    LTI_TRY(read_sibling(tok, directory, "tokenizer_config.json", lti_tokenizer_config));
    return read_sibling(tok, directory, "chat_template.jinja", take_template);
}

static lt_status open_gguf(lt_tokenizer *tok, const char *path)
{
    lt_gguf *gguf;
    LTI_TRY(lt_gguf_open(tok->ctx, path, &gguf));
    lt_status status = lti_tokenizer_from_gguf(tok, gguf);
    lt_gguf_close(gguf);
    return status;
}

/* A path that ends in tokenizer.json means its directory, with the files beside it. */
static lt_status open_path(lt_tokenizer *tok, const char *path)
{
    if (lti_is_directory(path)) return open_directory(tok, path);
    if (lt_gguf_is(path)) return open_gguf(tok, path);
    const char *slash = strrchr(path, '/');
    if (strcmp(slash ? slash + 1 : path, "tokenizer.json") != 0 || !lti_file_exists(path))
        return read_file(tok, path, "tokenizer.json", lti_tokenizer_parse);
    char *directory = lti_strdup(tok->ctx, slash ? path : "./");
    if (!directory) return LT_ENOMEM;
    strrchr(directory, '/')[1] = 0;
    lt_status status = open_directory(tok, directory);
    lti_free(tok->ctx, directory);
    return status;
}

lt_status lti_tokenizer_finish(lt_tokenizer *tok, lt_status status, lt_tokenizer **out)
{
    if (status != LT_OK) {
        lt_tokenizer_free(tok);
        return status;
    }
    if (tok->bos < 0 && tok->prefix_count) tok->bos = tok->prefix[0];
    *out = tok;
    return LT_OK;
}

lt_status lt_tokenizer_open(lt_ctx *ctx, const char *path, lt_tokenizer **tokenizer)
{
    *tokenizer = NULL;
    lt_tokenizer *tok = lti_tokenizer_create(ctx);
    if (!tok) return LT_ENOMEM;
    return lti_tokenizer_finish(tok, open_path(tok, path), tokenizer);
}

/* Takes the text, also when it fails. */
static lt_status add_made(lt_tokenizer *tok, const char *name, lti_text *text,
                          lt_status (*parse)(lt_tokenizer *, const char *, const char *, size_t))
{
    if (text->failed) {
        lti_text_free(text);
        return LT_ENOMEM;
    }
    char *bytes = text->data;
    size_t size = text->length;
    LTI_TRY(lti_tokenizer_add_file(tok, name, bytes, (int64_t)size));
    return parse(tok, "byte tokenizer", bytes, size);
}

lt_status lt_tokenizer_bytes(lt_ctx *ctx, lt_tokenizer **tokenizer)
{
    *tokenizer = NULL;
    lt_tokenizer *tok = lti_tokenizer_create(ctx);
    if (!tok) return LT_ENOMEM;
    lti_text json = {.ctx = ctx}, config = {.ctx = ctx};
    lti_bytes_json(&json, &config);
    lt_status status = add_made(tok, "tokenizer.json", &json, lti_tokenizer_parse);
    if (status == LT_OK)
        status = add_made(tok, "tokenizer_config.json", &config, lti_tokenizer_config);
    else
        lti_text_free(&config);
    return lti_tokenizer_finish(tok, status, tokenizer);
}

/* ---- Its files ---- */

lt_status lt_tokenizer_save(const lt_tokenizer *tok, const char *directory)
{
    LTI_TRY(lti_mkdirs(tok->ctx, directory));
    for (int i = 0; i < tok->file_count; i++) {
        char *path = lti_path_join(tok->ctx, directory, tok->files[i].name);
        if (!path) return LT_ENOMEM;
        lt_status status = lti_file_write_atomic(tok->ctx, path, tok->files[i].bytes, (size_t)tok->files[i].count);
        lti_free(tok->ctx, path);
        LTI_TRY(status);
    }
    return LT_OK;
}
