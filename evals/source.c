/* source.c - see source.h. Which documents belong to a split is decided by the same rule as in a data set
 * (data/sets/documents.h, set_parts.c), so that a report on the validation part speaks of the documents training held
 * back. */
#include "evals/source.h"

#include "base/text.h"
#include "data/json.h"
#include "data/sets/labelled_set.h"
#include "data/utf8.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- What it consists of ---- */

static lt_status add(lti_source *s, lti_document document, int64_t *room)
{
    return lti_documents_add(s->ctx, document, &s->docs, &s->count, room);
}

static lt_status list_texts(lti_source *s)
{
    const char *text = (const char *)s->map.data;
    LTI_TRY(lti_documents(s->ctx, text, (int64_t)s->map.size, &s->docs, &s->count));
    int64_t line = 1, at = 0;
    for (int64_t i = 0; i < s->count; i++) {
        for (; at < s->docs[i].begin; at++) line += text[at] == '\n';
        s->docs[i].line = line;
    }
    return LT_OK;
}

static lt_status list_objects(lti_source *s)
{
    lti_json_file file = {.ctx = s->ctx,
                          .path = s->path,
                          .text = (const char *)s->map.data,
                          .bytes = (int64_t)s->map.size,
                          .array = s->array};
    for (int64_t room = 0;;) {
        lti_document row;
        bool more;
        LTI_TRY(lti_json_next(&file, &row, &more));
        if (!more) return LT_OK;
        LTI_TRY(add(s, row, &room));
    }
}

/* FNV-1a: lines and records only need to be divided evenly. */
static uint64_t hash_of(const char *text, int64_t n)
{
    uint64_t h = 14695981039346656037u;
    for (int64_t i = 0; i < n; i++) h = (h ^ (unsigned char)text[i]) * 1099511628211u;
    return h;
}

/* Lines, or records whose quoted fields may hold line ends. Blank ones are left out. */
static lt_status list_lines(lti_source *s)
{
    const char *text = (const char *)s->map.data;
    int64_t bytes = (int64_t)s->map.size, line = 1, room = 0;
    bool heading = s->layout == LTI_LAYOUT_CSV;
    int64_t at = bytes >= 3 && !memcmp(text, "\xEF\xBB\xBF", 3) ? 3 : 0;
    while (at < bytes) {
        lti_document d = {.begin = at, .line = line};
        bool quoted = false, field = s->layout == LTI_LAYOUT_CSV, closed = false;
        for (; at < bytes && (text[at] != '\n' || quoted); at++) {
            bool quote = text[at] == '"' && (quoted || field || closed);
            closed = quote && quoted; /* a second one means a quote that goes on */
            if (quote) quoted = !quoted;
            field = s->layout == LTI_LAYOUT_CSV && text[at] == ',';
            line += text[at] == '\n';
        }
        if (quoted)
            return lti_fail(s->ctx, LT_EFORMAT, "%s:%" PRId64 ": a quote is opened and never closed", s->path, d.line);
        d.end = at++;
        line++;
        if (d.end > d.begin && text[d.end - 1] == '\r') d.end--;
        if (d.end == d.begin) continue;
        d.hash = hash_of(text + d.begin, d.end - d.begin);
        if (heading)
            s->header = d, heading = false;
        else
            LTI_TRY(add(s, d, &room));
    }
    return LT_OK;
}

/* "DESC:manner How did ...": what every one of the first lines looks like. */
static bool looks_like_lines(const lti_source *s)
{
    const char *p = (const char *)s->map.data, *end = p + s->map.size;
    int seen = 0;
    while (p < end && seen < 20) {
        const char *stop = memchr(p, '\n', (size_t)(end - p)), *q = p;
        if (!stop) stop = end;
        while (q < stop && *q >= 'A' && *q <= 'Z') q++;
        if (q - p < 2 || q == stop || *q++ != ':') return false;
        while (q < stop && ((*q >= 'A' && *q <= 'Z') || (*q >= 'a' && *q <= 'z'))) q++;
        if (q == stop || *q != ' ') return false;
        seen++;
        p = stop + 1;
    }
    return seen > 0;
}

static lt_status list_all(lti_source *s, lti_lines lines)
{
    s->array = lti_ends_with(s->path, ".json");
    if (s->array || lti_ends_with(s->path, ".jsonl"))
        s->layout = LTI_LAYOUT_JSON;
    else if (lti_ends_with(s->path, ".csv"))
        s->layout = LTI_LAYOUT_CSV;
    else if (lines == LTI_LINES_YES || (lines == LTI_LINES_DETECT && looks_like_lines(s)))
        s->layout = LTI_LAYOUT_LINES;
    else
        s->layout = LTI_LAYOUT_TEXT;
    if (s->layout == LTI_LAYOUT_TEXT) return list_texts(s);
    return s->layout == LTI_LAYOUT_JSON ? list_objects(s) : list_lines(s);
}

lt_status lti_source_open(lt_ctx *ctx, const char *path, const lt_dataset_options *rows, int64_t limit, lti_lines lines,
                          lti_source *s)
{
    *s = (lti_source){.ctx = ctx, .split = rows->split};
    LTI_TRY(lti_set_part(ctx, path, lti_labelled_kinds, NULL, rows->split, &s->path, &s->split));
    LTI_TRY(lti_file_map(ctx, s->path, &s->map));
    LTI_TRY(list_all(s, lines));
    const char *text = s->layout == LTI_LAYOUT_TEXT ? (const char *)s->map.data : NULL;
    if (lti_documents_split(ctx, text, s->split, rows->valid_fraction, s->docs, &s->count) != LT_OK)
        return lti_fail_in(ctx, "%s", s->path);
    if (s->count == 0) return lti_fail(ctx, LT_EFORMAT, "%s: there is nothing in it to evaluate", s->path);
    s->all = s->count;
    if (limit > 0 && limit < s->count) s->count = limit;
    return LT_OK;
}

void lti_source_close(lti_source *s)
{
    lti_file_unmap(&s->map);
    lti_free(s->ctx, s->docs);
    lti_free(s->ctx, s->path);
    *s = (lti_source){.ctx = s->ctx};
}

/* ---- Rows and fields ---- */

lt_status lti_source_object(const lti_source *s, int64_t index, json_t **object, char reason[LTI_REASON])
{
    json_error_t error;
    const lti_document *d = &s->docs[index];
    const char *text = (const char *)s->map.data + d->begin;
    uint64_t n = (uint64_t)(d->end - d->begin);
    *object = NULL;
    *reason = 0;
    if (n > LTI_ROW_LIMIT) snprintf(reason, LTI_REASON, "the row has more than 64 MB");
    if (!*reason && lti_utf8_check((const unsigned char *)text, n) < n)
        snprintf(reason, LTI_REASON, "the row is not UTF-8");
    if (*reason) return LT_OK;
    json_t *value = lti_json_value(text, n, &error);
    if (!value && json_error_code(&error) == json_error_out_of_memory)
        return lti_fail(s->ctx, LT_ENOMEM, "out of memory while parsing the JSON of %s", s->path);
    if (!value) snprintf(reason, LTI_REASON, "not JSON at byte %d: %.100s", error.position, error.text);
    if (value && !json_is_object(value)) {
        snprintf(reason, LTI_REASON, "the row is %s, not an object", lti_json_kind(value));
        json_decref(value);
        value = NULL;
    }
    *object = value;
    return LT_OK;
}

bool lti_source_field(const lti_source *s, const lti_document *record, int column, lti_text *out)
{
    const char *p = (const char *)s->map.data + record->begin, *end = (const char *)s->map.data + record->end;
    for (int field = 0;; field++) {
        bool quoted = p < end && *p == '"', mine = field == column;
        if (quoted) p++;
        for (; p < end && (quoted || *p != ','); p++) {
            if (quoted && *p == '"' && (p + 1 == end || p[1] != '"')) {
                quoted = false;
                continue;
            }
            if (quoted && *p == '"') p++; /* "" means one */
            if (mine) lti_text_add(out, p, 1);
        }
        if (mine) return true;
        if (p++ >= end) return false;
    }
}
