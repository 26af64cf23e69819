/* text_set.c - lt_dataset: rows of ids out of text.
 *
 * A row is a window of one document; windows do not overlap and none crosses a document: every id but the first of a
 * row is predicted exactly once an epoch, and training and perplexity see the same cuts. Ids lie in one block. */
#include "data/files.h"
#include "data/sets/documents.h"
#include "data/tokenizer/tokenizer.h"
#include "data/utf8.h"

#include <inttypes.h>
#include <string.h>
#include <xxhash.h>

#define TEXT_LIMIT (UINT64_C(1) << 40)

struct row {
    int64_t begin, length; /* in ids */
    int64_t document;
};

struct lt_dataset {
    lt_ctx *ctx;
    lt_ids ids;
    struct row *rows;
    int64_t row_count, row_room, documents, longest;
    char hash[33];
};

void lt_dataset_options_init(lt_dataset_options *options)
{
    *options = (lt_dataset_options){.size = sizeof *options, .max_seq_length = 512, .valid_fraction = 0.1};
}

static lt_status check_options(lt_ctx *ctx, const lt_tokenizer *tok, const lt_dataset_options *o)
{
    if (o->size != sizeof *o)
        return lti_fail(ctx, LT_EINVAL, "data set options: size is %zu, not %zu; call lt_dataset_options_init", o->size,
                        sizeof *o);
    if (o->max_seq_length < 2 || o->max_seq_length > 1 << 24)
        return lti_fail(ctx, LT_EINVAL, "max_seq_length %" PRId64 " must lie in 2 .. %d", o->max_seq_length, 1 << 24);
    if (!(o->valid_fraction >= 0 && o->valid_fraction < 1))
        return lti_fail(ctx, LT_EINVAL, "valid_fraction %g must lie in [0, 1)", o->valid_fraction);
    if (o->append_eos && lt_tokenizer_eos(tok) < 0)
        return lti_fail(ctx, LT_EINVAL, "append_eos: the tokenizer names no eos token (tokenizer_config.json)");
    return LT_OK;
}

static lt_status add_row(lt_dataset *set, int64_t begin, int64_t document)
{
    if (set->row_count == set->row_room) {
        int64_t wider = set->row_room ? 2 * set->row_room : 64;
        struct row *grown =
            lti_realloc(set->ctx, set->rows, (size_t)set->row_count * sizeof *grown, (size_t)wider * sizeof *grown);
        if (!grown) return LT_ENOMEM;
        set->rows = grown;
        set->row_room = wider;
    }
    int64_t length = set->ids.count - begin;
    set->rows[set->row_count++] = (struct row){begin, length, document};
    if (length > set->longest) set->longest = length;
    return LT_OK;
}

/* Appends the windows of one document's ids. */
static lt_status add_windows(lt_dataset *set, const lt_ids *ids, int32_t bos, int64_t positions, int64_t document)
{
    int64_t step = positions - (bos >= 0);
    for (int64_t i = 0; i < ids->count; i += step) {
        int64_t n = ids->count - i < step ? ids->count - i : step, begin = set->ids.count;
        if (n + (bos >= 0) < 2) continue; /* nothing to predict in it */
        if (bos >= 0) LTI_TRY(lti_ids_append(set->ctx, &set->ids, &bos, 1));
        LTI_TRY(lti_ids_append(set->ctx, &set->ids, ids->ids + i, n));
        LTI_TRY(add_row(set, begin, document));
    }
    return LT_OK;
}

static lt_status hash_rows(lt_dataset *set)
{
    XXH3_state_t *state = XXH3_createState();
    if (!state) return lti_fail(set->ctx, LT_ENOMEM, "out of memory for the hash of a data set");
    XXH3_128bits_reset(state);
    for (int64_t i = 0; i < set->row_count; i++)
        XXH3_128bits_update(state, &set->rows[i].length, sizeof set->rows[i].length);
    XXH3_128bits_update(state, set->ids.ids, (size_t)set->ids.count * sizeof *set->ids.ids);
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    lti_hash_bytes(&hash, sizeof hash, set->hash);
    return LT_OK;
}

static lt_status encode_documents(lt_dataset *set, const char *text, const lti_document *list, int64_t count,
                                  lt_tokenizer *tok, const lt_dataset_options *o)
{
    int32_t bos = lt_tokenizer_adds_bos(tok) ? lt_tokenizer_bos(tok) : -1, eos = lt_tokenizer_eos(tok);
    lt_ids ids = {0};
    lt_status status = LT_OK;
    for (int64_t i = 0; i < count && status == LT_OK; i++) {
        ids.count = 0;
        status = lt_tokenizer_encode(tok, text + list[i].begin, list[i].end - list[i].begin, 0, &ids);
        if (status == LT_OK && o->append_eos) status = lti_ids_append(tok->ctx, &ids, &eos, 1);
        if (status != LT_OK && tok->ctx != set->ctx) lti_fail(set->ctx, status, "%s", lt_ctx_message(tok->ctx));
        if (status == LT_OK) status = add_windows(set, &ids, bos, o->max_seq_length, i);
    }
    lt_ids_free(tok->ctx, &ids);
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
    if (set->row_count == 0)
        return lti_fail(set->ctx, LT_EINVAL, "%s: no document of this split is longer than one token", name);
    return hash_rows(set);
}

static bool ends_with(const char *text, const char *ending)
{
    size_t n = strlen(text), m = strlen(ending);
    return n >= m && strcmp(text + n - m, ending) == 0;
}

static lt_status fill_file(lt_dataset *set, const char *path, lt_split split, lt_tokenizer *tok,
                           const lt_dataset_options *o)
{
    static const char *const others[] = {".jsonl", ".json", ".parquet", ".h5", ".gz", ".csv"};
    for (int i = 0; i < LTI_COUNT(others); i++)
        if (ends_with(path, others[i]))
            return lti_fail(set->ctx, LT_EUNSUPPORTED,
                            "%s: %s is not read as text; give a .txt with documents separated by "
                            "lines <|endoftext|>",
                            path, others[i]);
    lti_map map;
    LTI_TRY(lti_file_map(set->ctx, path, &map));
    lt_status status = map.size > TEXT_LIMIT
                           ? lti_fail(set->ctx, LT_ELIMIT, "%s is larger than 1 TiB", path)
                           : fill(set, path, (const char *)map.data, (int64_t)map.size, split, tok, o);
    lti_file_unmap(&map);
    return status;
}

/* train.txt and its fellows; without valid.txt, train.txt is divided. */
static lt_status fill_directory(lt_dataset *set, const char *directory, lt_tokenizer *tok, const lt_dataset_options *o)
{
    static const char *const names[] = {"train.txt", "train.txt", "valid.txt", "test.txt"};
    if (o->split == LT_SPLIT_ALL)
        return lti_fail(set->ctx, LT_EINVAL, "%s is a directory: choose its train, valid or test part", directory);
    char *path = lti_path_join(set->ctx, directory, names[o->split]);
    char *train = lti_path_join(set->ctx, directory, names[LT_SPLIT_TRAIN]);
    char *valid = lti_path_join(set->ctx, directory, names[LT_SPLIT_VALID]);
    lt_status status = path && train && valid ? LT_OK : LT_ENOMEM;
    if (status == LT_OK) {
        bool divide = o->split != LT_SPLIT_TEST && !lti_file_exists(valid) && lti_file_exists(train);
        if (!divide && !lti_file_exists(path))
            status = lti_fail(set->ctx, LT_EIO, "%s: there is no %s in it", directory, names[o->split]);
        else
            status = fill_file(set, divide ? train : path, divide ? o->split : LT_SPLIT_ALL, tok, o);
    }
    lti_free(set->ctx, valid);
    lti_free(set->ctx, train);
    lti_free(set->ctx, path);
    return status;
}

static lt_status create(lt_ctx *ctx, const lt_tokenizer *tok, const lt_dataset_options *o, lt_dataset **set)
{
    LTI_TRY(check_options(ctx, tok, o));
    *set = lti_alloc(ctx, sizeof **set);
    if (!*set) return LT_ENOMEM;
    (*set)->ctx = ctx;
    return LT_OK;
}

static lt_status finish(lt_dataset *set, lt_status status, lt_dataset **out)
{
    if (status == LT_OK)
        *out = set;
    else
        lt_dataset_free(set);
    return status;
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
    if (lti_is_directory(path)) return finish(set, fill_directory(set, path, tok, options), dataset);
    if (options->split == LT_SPLIT_TEST)
        return finish(set, lti_fail(ctx, LT_EINVAL, "%s: a single file has train and valid parts, no test part", path),
                      dataset);
    return finish(set, fill_file(set, path, options->split, tok, options), dataset);
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
    return finish(set, fill(set, "text in memory", text, bytes, options->split, tok, options), dataset);
}

void lt_dataset_free(lt_dataset *set)
{
    if (!set) return;
    lt_ids_free(set->ctx, &set->ids);
    lti_free(set->ctx, set->rows);
    lti_free(set->ctx, set);
}

int64_t lt_dataset_rows(const lt_dataset *set)
{
    return set->row_count;
}

const int32_t *lt_dataset_row(const lt_dataset *set, int64_t row, int64_t *length)
{
    *length = set->rows[row].length;
    return set->ids.ids + set->rows[row].begin;
}

int64_t lt_dataset_row_document(const lt_dataset *set, int64_t row)
{
    return set->rows[row].document;
}

int64_t lt_dataset_documents(const lt_dataset *set)
{
    return set->documents;
}

int64_t lt_dataset_tokens(const lt_dataset *set)
{
    return set->ids.count;
}

int64_t lt_dataset_scored(const lt_dataset *set)
{
    return set->ids.count - set->row_count;
}

int64_t lt_dataset_longest(const lt_dataset *set)
{
    return set->longest;
}

const char *lt_dataset_hash(const lt_dataset *set)
{
    return set->hash;
}
