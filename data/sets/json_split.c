/* json_split.c - where the rows of a .jsonl or of a .json array begin and end.
 *
 * Each row is parsed alone, so that memory does not grow with the file and a broken row is one row's matter. Lines are
 * counted on the way: a message names the line an element of an array begins in. In an array only strings and brackets
 * are understood here; whether what lies between is JSON is Jansson's to say. */
#include "data/sets/json_rows.h"

#include <inttypes.h>
#include <string.h>
#include <xxhash.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void skip_blanks(lti_json_file *f)
{
    for (; f->at < f->bytes && is_blank(f->text[f->at]); f->at++) f->line += f->text[f->at] == '\n';
}

static void set_row(const lti_json_file *f, int64_t begin, int64_t end, int64_t line, lti_document *row)
{
    while (end > begin && is_blank(f->text[end - 1])) end--;
    *row = (lti_document){
        .begin = begin, .end = end, .line = line, .hash = XXH3_64bits(f->text + begin, (size_t)(end - begin))};
}

static void next_line(lti_json_file *f, lti_document *row)
{
    int64_t begin = f->at;
    const char *end = memchr(f->text + begin, '\n', (size_t)(f->bytes - begin));
    f->at = end ? end - f->text : f->bytes;
    set_row(f, begin, f->at, f->line, row);
}

/* Moves behind the string that begins here; at the end of the file when it has no end. */
static void skip_string(lti_json_file *f)
{
    for (f->at++; f->at < f->bytes && f->text[f->at] != '"'; f->at++) {
        if (f->text[f->at] == '\\' && f->at + 1 < f->bytes) f->at++;
        f->line += f->text[f->at] == '\n';
    }
    if (f->at < f->bytes) f->at++;
}

/* Moves to the comma or bracket that ends the element. */
static void skip_element(lti_json_file *f)
{
    int64_t depth = 0;
    while (f->at < f->bytes) {
        char c = f->text[f->at];
        if (depth == 0 && (c == ',' || c == ']')) return;
        if (c == '"') {
            skip_string(f);
            continue;
        }
        depth += (c == '{' || c == '[') - (c == '}' || c == ']');
        f->line += c == '\n';
        f->at++;
    }
}

static lt_status broken(const lti_json_file *f, const char *what)
{
    return lti_fail(f->ctx, LT_EFORMAT, "%s:%" PRId64 ": %s", f->path, f->line, what);
}

static lt_status open_array(lti_json_file *f)
{
    if (f->at == f->bytes || f->text[f->at] != '[')
        return broken(f, f->at < f->bytes && f->text[f->at] == '{'
                             ? "one object, where an array of rows [{...}, ...] was expected; with a row a line it is "
                               "a .jsonl"
                             : "an array of rows [{...}, ...] was expected");
    f->open = true;
    f->at++;
    skip_blanks(f);
    return LT_OK;
}

static lt_status next_element(lti_json_file *f, lti_document *row, bool *more)
{
    bool first = !f->open;
    if (first) LTI_TRY(open_array(f));
    *more = false;
    if (f->at < f->bytes && f->text[f->at] == ']') {
        f->at++;
        skip_blanks(f);
        return f->at < f->bytes ? broken(f, "something follows the array") : LT_OK;
    }
    if (!first && f->at < f->bytes) { /* the comma that ended the one before */
        f->at++;
        skip_blanks(f);
    }
    int64_t begin = f->at, line = f->line;
    skip_element(f);
    if (f->at == f->bytes) return broken(f, "the array does not end; is the file cut off?");
    set_row(f, begin, f->at, line, row);
    *more = true;
    return LT_OK;
}

lt_status lti_json_next(lti_json_file *f, lti_document *row, bool *more)
{
    if (f->at == 0) {
        f->line = 1;
        if (f->bytes >= 3 && memcmp(f->text, "\xEF\xBB\xBF", 3) == 0) f->at = 3; /* a byte order mark */
    }
    if (!f->array || !f->open) skip_blanks(f);
    if (f->array) return next_element(f, row, more);
    *more = f->at < f->bytes;
    if (*more) next_line(f, row);
    return LT_OK;
}
