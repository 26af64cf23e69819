/* csv_text.c - see csv_text.h. RFC 4180, and what programs write beyond it: lines may end in \n alone, a byte order
 * mark may come first, and a quote within a field that did not begin with one is a character. Guessing where an
 * unclosed quote was meant to end is not tried: it would shift every record behind it. */
#include "data/sets/csv_text.h"

#include "data/utf8.h"

#include <inttypes.h>
#include <string.h>

const char *lti_csv_field(const lti_csv_record *r, int64_t index)
{
    return r->text.data + r->field[index];
}

void lti_csv_record_free(lti_csv_record *r)
{
    lti_free(r->text.ctx, r->field);
    lti_text_free(&r->text);
    r->field = NULL;
    r->count = r->room = 0;
}

static lt_status begin_field(const lti_csv_text *f, lti_csv_record *r)
{
    if (r->count == r->room) {
        int64_t wider = r->room ? 2 * r->room : 8;
        int64_t *grown = lti_realloc(f->ctx, r->field, (size_t)r->count * sizeof *grown, (size_t)wider * sizeof *grown);
        if (!grown) return LT_ENOMEM;
        r->field = grown;
        r->room = wider;
    }
    r->field[r->count++] = (int64_t)r->text.length;
    return LT_OK;
}

/* Copies text up to the quote that closes a field; f->at stands behind the opening one. */
static lt_status read_quoted(lti_csv_text *f, lti_csv_record *r)
{
    int64_t opened = f->line;
    while (f->at < f->bytes) {
        const char *from = f->text + f->at, *quote = memchr(from, '"', (size_t)(f->bytes - f->at));
        if (!quote) break;
        for (const char *p = from; p < quote; p++) f->line += *p == '\n';
        f->at += quote - from + 1;
        bool doubled = f->at < f->bytes && f->text[f->at] == '"';
        lti_text_add(&r->text, from, (size_t)(quote - from) + doubled);
        if (!doubled) return LT_OK;
        f->at++;
    }
    return lti_fail(f->ctx, LT_EFORMAT, "%s:%" PRId64 ": a quote is opened and never closed", f->path, opened);
}

static bool at_end_of_line(const lti_csv_text *f)
{
    return f->at == f->bytes || f->text[f->at] == '\n' ||
           (f->text[f->at] == '\r' && f->at + 1 < f->bytes && f->text[f->at + 1] == '\n');
}

static lt_status read_field(lti_csv_text *f, lti_csv_record *r)
{
    LTI_TRY(begin_field(f, r));
    if (f->at < f->bytes && f->text[f->at] == '"') {
        f->at++;
        LTI_TRY(read_quoted(f, r));
        if (!at_end_of_line(f) && f->text[f->at] != ',')
            return lti_fail(f->ctx, LT_EFORMAT,
                            "%s:%" PRId64 ": text follows the closing quote of field %" PRId64
                            "; a quote within quotes is written \"\"",
                            f->path, f->line, r->count);
    } else {
        int64_t from = f->at;
        while (!at_end_of_line(f) && f->text[f->at] != ',') f->at++;
        lti_text_add(&r->text, f->text + from, (size_t)(f->at - from));
    }
    lti_text_add(&r->text, "", 1);
    return r->text.failed ? LT_ENOMEM : LT_OK;
}

static void skip_empty_lines(lti_csv_text *f)
{
    if (f->line == 0) {
        f->line = 1;
        if (f->bytes >= 3 && memcmp(f->text, "\xEF\xBB\xBF", 3) == 0) f->at = 3;
    }
    while (f->at < f->bytes && at_end_of_line(f)) {
        f->at += f->text[f->at] == '\r' ? 2 : 1;
        f->line++;
    }
}

static lt_status check_bytes(const lti_csv_text *f, const lti_csv_record *r)
{
    const char *from = f->text + r->begin;
    uint64_t n = (uint64_t)(r->end - r->begin), good = lti_utf8_check((const unsigned char *)from, n);
    if (memchr(from, 0, n))
        return lti_fail(f->ctx, LT_EFORMAT, "%s:%" PRId64 ": the record holds a NUL character", f->path, r->line);
    if (good < n)
        return lti_fail(f->ctx, LT_EFORMAT, "%s:%" PRId64 ": byte %" PRIu64 " of the record is not UTF-8", f->path,
                        r->line, good + 1);
    return LT_OK;
}

lt_status lti_csv_text_next(lti_csv_text *f, lti_csv_record *r, bool *more)
{
    skip_empty_lines(f);
    *more = f->at < f->bytes;
    r->count = 0;
    r->text.length = 0;
    if (!*more) return LT_OK;
    r->begin = f->at;
    r->line = f->line;
    for (;;) {
        LTI_TRY(read_field(f, r));
        if (at_end_of_line(f)) break;
        f->at++; /* the comma */
    }
    r->end = f->at;
    if (f->at < f->bytes) {
        f->at += f->text[f->at] == '\r' ? 2 : 1;
        f->line++;
    }
    return check_bytes(f, r);
}
