/* text_set.c - lt_dataset: opening files and directories; a plain text as documents.
 *
 * What a document becomes is in set_rows.c, how rows of JSON are read in json_set.c. */
#include "base/text.h"
#include "data/files.h"
#include "data/sets/set_rows.h"
#include "data/utf8.h"

#include <inttypes.h>
#include <string.h>

#define TEXT_LIMIT (UINT64_C(1) << 40)

void lt_dataset_options_init(lt_dataset_options *options)
{
    *options = (lt_dataset_options){.size = sizeof *options,
                                    .max_seq_length = 512,
                                    .valid_fraction = 0.1,
                                    .prompt_key = "prompt",
                                    .completion_key = "completion"};
}

lt_status lti_set_options(lt_ctx *ctx, const lt_tokenizer *tok, const lt_dataset_options *o)
{
    if (o->size != sizeof *o)
        return lti_fail(ctx, LT_EINVAL, "data set options: size is %zu, not %zu; call lt_dataset_options_init", o->size,
                        sizeof *o);
    if (o->max_seq_length < 2 || o->max_seq_length > 1 << 24)
        return lti_fail(ctx, LT_EINVAL, "max_seq_length %" PRId64 " must lie in 2 .. %d", o->max_seq_length, 1 << 24);
    if (!(o->valid_fraction >= 0 && o->valid_fraction < 1))
        return lti_fail(ctx, LT_EINVAL, "valid_fraction %g must lie in [0, 1)", o->valid_fraction);
    if (tok && o->append_eos && lt_tokenizer_eos(tok) < 0)
        return lti_fail(ctx, LT_EINVAL, "append_eos: the tokenizer names no eos token (tokenizer_config.json)");
    return LT_OK;
}

static lt_status encode_documents(lt_dataset *set, const char *text, const lti_document *list, int64_t count,
                                  lt_tokenizer *tok, const lt_dataset_options *o)
{
    lt_ids work = {0};
    lt_status status = LT_OK;
    for (int64_t i = 0; i < count && status == LT_OK; i++)
        status = lti_set_add_text(set, text + list[i].begin, list[i].end - list[i].begin, i, tok, o, &work);
    lt_ids_free(tok->ctx, &work);
    set->documents = count;
    return status;
}

/* `name` is what messages call the text. */
static lt_status fill(lt_dataset *set, const char *name, const char *text, int64_t bytes, lt_split split,
                      lt_tokenizer *tok, const lt_dataset_options *o)
{
    uint64_t bad = lti_utf8_check((const unsigned char *)text, (uint64_t)bytes);
    if (bad < (uint64_t)bytes) {
        int64_t line = 1;
        for (uint64_t i = 0; i < bad; i++) line += text[i] == '\n';
        return lti_fail(set->ctx, LT_EFORMAT,
                        "%s:%" PRId64 ": byte %" PRIu64 " (0x%02x) is not UTF-8; is this a text? convert it with iconv",
                        name, line, bad, (unsigned)(unsigned char)text[bad]);
    }
    lti_document *list;
    int64_t count;
    LTI_TRY(lti_documents(set->ctx, text, bytes, &list, &count));
    lt_status status = lti_documents_split(set->ctx, text, split, o->valid_fraction, list, &count);
    if (status == LT_OK) status = encode_documents(set, text, list, count, tok, o);
    lti_free(set->ctx, list);
    if (status != LT_OK) return lti_fail_in(set->ctx, "%s", name);
    return lti_set_finish(set, name, o);
}

static lt_status fill_mapped(lt_dataset *set, const char *path, const lti_map *map, lt_split split, lt_tokenizer *tok,
                             const lt_dataset_options *o)
{
    bool array = lti_ends_with(path, ".json");
    const char *text = (const char *)map->data;
    if (map->size > TEXT_LIMIT) return lti_fail(set->ctx, LT_ELIMIT, "%s is larger than 1 TiB", path);
    if (array || lti_ends_with(path, ".jsonl"))
        return lti_set_fill_json(set, path, text, (int64_t)map->size, array, split, tok, o);
    return fill(set, path, text, (int64_t)map->size, split, tok, o);
}

static lt_status fill_file(lt_dataset *set, const char *path, lt_split split, lt_tokenizer *tok,
                           const lt_dataset_options *o)
{
    static const char *const others[] = {".parquet", ".arrow", ".h5", ".gz", ".zst", ".csv"};
    for (int i = 0; i < LTI_COUNT(others); i++)
        if (lti_ends_with(path, others[i]))
            return lti_fail(set->ctx, LT_EUNSUPPORTED,
                            "%s: %s is not read as text; give a .txt with documents separated by lines <|endoftext|>, "
                            "a .jsonl with a row a line, or a .json that is an array of rows",
                            path, others[i]);
    lti_map map;
    LTI_TRY(lti_file_map(set->ctx, path, &map));
    lt_status status = fill_mapped(set, path, &map, split, tok, o);
    lti_file_unmap(&map);
    return status;
}

/* Without a file of its own, valid is a part of train. */
static lt_status fill_path(lt_dataset *set, const char *path, lt_tokenizer *tok, const lt_dataset_options *o)
{
    static const char *const kinds[] = {".txt", ".jsonl", ".json", ""};
    char *file;
    lt_split split;
    LTI_TRY(lti_set_part(set->ctx, path, kinds, NULL, o->split, &file, &split));
    lt_status status = fill_file(set, file, split, tok, o);
    lti_free(set->ctx, file);
    return status;
}

static lt_status create(lt_ctx *ctx, const lt_tokenizer *tok, const lt_dataset_options *o, lt_dataset **set)
{
    LTI_TRY(lti_set_options(ctx, tok, o));
    return lti_set_new(ctx, LT_DATA_TOKENS, "text", set);
}

lt_status lt_dataset_open(lt_ctx *ctx, const char *path, lt_tokenizer *tok, const lt_dataset_options *options,
                          lt_dataset **dataset)
{
    lt_dataset *set;
    lt_dataset_options defaults;
    *dataset = NULL;
    lt_dataset_options_init(&defaults);
    if (!options) options = &defaults;
    LTI_TRY(create(ctx, tok, options, &set));
    return lti_set_done(set, fill_path(set, path, tok, options), dataset);
}

lt_status lt_dataset_from_text(lt_ctx *ctx, const char *text, int64_t bytes, lt_tokenizer *tok,
                               const lt_dataset_options *options, lt_dataset **dataset)
{
    lt_dataset *set;
    lt_dataset_options defaults;
    *dataset = NULL;
    lt_dataset_options_init(&defaults);
    if (!options) options = &defaults;
    LTI_TRY(create(ctx, tok, options, &set));
    return lti_set_done(set, fill(set, "text in memory", text, bytes, options->split, tok, options), dataset);
}
