/* documents.c - see documents.h.
 *
 * Validation takes the documents with the smallest hashes, not a tail and not a random draw: the choice does not depend
 * on the order of the file, equal documents stay on one side, and adding documents moves few others. */
#include "data/sets/documents.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static const char mark[] = "<|endoftext|>";
#define MARK ((int64_t)sizeof mark - 1)

/* The next separator at or after `from`: text[*begin .. *end) with the newlines it takes. */
static bool next_separator(const char *text, int64_t bytes, int64_t from, int64_t *begin, int64_t *end)
{
    for (int64_t at = from; at < bytes;) {
        const char *hit = memmem(text + at, (size_t)(bytes - at), mark, (size_t)MARK);
        if (!hit) return false;
        int64_t start = hit - text, stop = start + MARK;
        bool opens = start == 0 || (start > from && text[start - 1] == '\n');
        bool closes = stop == bytes || text[stop] == '\n';
        if (opens && closes) {
            *begin = start == 0 ? 0 : start - 1;
            *end = stop == bytes ? stop : stop + 1;
            return true;
        }
        at = start + 1;
    }
    return false;
}

lt_status lti_documents_add(lt_ctx *ctx, lti_document document, lti_document **list, int64_t *count, int64_t *room)
{
    if (*count == *room) {
        int64_t wider = *room ? 2 * *room : 64;
        lti_document *grown = lti_realloc(ctx, *list, (size_t)*count * sizeof **list, (size_t)wider * sizeof **list);
        if (!grown) return LT_ENOMEM;
        *list = grown;
        *room = wider;
    }
    document.index = *count;
    (*list)[(*count)++] = document;
    return LT_OK;
}

lt_status lti_documents(lt_ctx *ctx, const char *text, int64_t bytes, lti_document **list, int64_t *count)
{
    int64_t room = 0;
    *list = NULL;
    *count = 0;
    for (int64_t from = 0; from < bytes;) {
        int64_t begin, end;
        if (!next_separator(text, bytes, from, &begin, &end)) begin = end = bytes;
        lti_document found = {.begin = from, .end = begin};
        if (begin > from) {
            found.hash = XXH3_64bits(text + from, (size_t)(begin - from));
            if (lti_documents_add(ctx, found, list, count, &room) != LT_OK) {
                lti_free(ctx, *list);
                *list = NULL;
                return LT_ENOMEM;
            }
        }
        from = end;
    }
    return LT_OK;
}

static int by_hash(const void *a, const void *b, void *arg)
{
    const lti_document *list = arg;
    int64_t i = *(const int64_t *)a, k = *(const int64_t *)b;
    if (list[i].hash != list[k].hash) return list[i].hash < list[k].hash ? -1 : 1;
    return i < k ? -1 : 1;
}

/* The last lines of the only document, about `fraction` of its bytes, become the validation part. */
static lt_status cut_one(lt_ctx *ctx, const char *text, bool valid, double fraction, lti_document *document)
{
    int64_t size = document->end - document->begin, cut = size - (int64_t)((double)size * fraction);
    const char *from = text + document->begin, *line = cut > 0 ? memrchr(from, '\n', (size_t)cut) : NULL;
    if (line) cut = line - from + 1;
    while (!line && cut < size && (from[cut] & 0xC0) == 0x80) cut++; /* no line to cut at: between characters */
    if (cut <= 0 || cut >= size)
        return lti_fail(ctx, LT_EINVAL,
                        "a single document of %lld bytes cannot be cut at %g for validation; give a "
                        "directory with train.txt and valid.txt",
                        (long long)size, 1 - fraction);
    if (valid)
        document->begin += cut;
    else
        document->end = document->begin + cut;
    return LT_OK;
}

lt_status lti_documents_split(lt_ctx *ctx, const char *text, lt_split split, double fraction, lti_document *list,
                              int64_t *count)
{
    int64_t n = *count, kept = 0;
    bool valid = split == LT_SPLIT_VALID;
    if (split == LT_SPLIT_ALL || (!valid && fraction == 0) || n == 0) return LT_OK;
    if (fraction == 0) return lti_fail(ctx, LT_EINVAL, "there is no validation part: valid_fraction is 0");
    if (n == 1 && !text) return lti_fail(ctx, LT_EINVAL, "a single row cannot be divided into training and validation");
    if (n == 1) return cut_one(ctx, text, valid, fraction, list);
    int64_t chosen = (int64_t)floor((double)n * fraction + 0.5);
    chosen = chosen < 1 ? 1 : chosen > n - 1 ? n - 1 : chosen;
    int64_t *order = lti_alloc_array(ctx, (size_t)n, sizeof *order);
    if (!order) return LT_ENOMEM;
    for (int64_t i = 0; i < n; i++) order[i] = i;
    qsort_r(order, (size_t)n, sizeof *order, by_hash, list);
    for (int64_t i = 0; i < n; i++) list[order[i]].valid = i < chosen;
    lti_free(ctx, order);
    for (int64_t i = 0; i < n; i++)
        if (list[i].valid == valid) list[kept++] = list[i];
    *count = kept;
    return LT_OK;
}
