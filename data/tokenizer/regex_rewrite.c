/* regex_rewrite.c - from Oniguruma's reading of a pattern (Ruby syntax, Unicode) to PCRE2's.
 *
 * A white list: what both engines read alike passes, what can be said differently is said differently, and anything
 * else is refused by name. Some of what differs: `x{2}+` is possessive for PCRE2 and a repeated group for Oniguruma;
 * `\h` is a hexadecimal digit for one and a blank for the other; `[a[b]]` and `&&` work on sets in Oniguruma. */
#include "data/tokenizer/regex.h"

#include <stdio.h>
#include <string.h>

#define WHITE                                                                                                          \
    "\\x{9}-\\x{D}\\x{20}\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}"
/* Letters and numbers of Unicode 15 and 16. A newer PCRE2 knows them: a class takes no harm from what it has twice. */
#define LETTERS                                                                                                        \
    "\\p{L}\\x{1C89}\\x{1C8A}\\x{A7CB}-\\x{A7CD}\\x{A7DA}-\\x{A7DC}\\x{105C0}-\\x{105F3}\\x{10D4A}-\\x{10D65}\\x{"     \
    "10D6F}"                                                                                                           \
    "-\\x{10D85}\\x{10EC2}-\\x{10EC4}\\x{1123F}\\x{11240}\\x{11380}-\\x{11389}\\x{1138B}\\x{1138E}\\x{11390}-"         \
    "\\x{113B5}\\x{113B7}\\x{113D1}\\x{113D3}\\x{11BC0}-\\x{11BE0}\\x{11F02}\\x{11F04}-\\x{11F10}\\x{11F12}-\\x{"      \
    "11F33}"                                                                                                           \
    "\\x{1342F}\\x{13441}-\\x{13446}\\x{13460}-\\x{143FA}\\x{16100}-\\x{1611D}\\x{16D40}-\\x{16D6C}\\x{18CFF}"         \
    "\\x{1B132}\\x{1B155}\\x{1DF25}-\\x{1DF2A}\\x{1E030}-\\x{1E06D}\\x{1E4D0}-\\x{1E4EB}\\x{1E5D0}-\\x{1E5ED}"         \
    "\\x{1E5F0}\\x{2B739}\\x{2EBF0}-\\x{2EE5D}\\x{31350}-\\x{323AF}"
#define NUMBERS                                                                                                        \
    "\\p{N}\\x{10D40}-\\x{10D49}\\x{116D0}-\\x{116E3}\\x{11BF0}-\\x{11BF9}\\x{11F50}-\\x{11F59}\\x{16130}-\\x{16139}"  \
    "\\x{16D70}-\\x{16D79}\\x{1CCF0}-\\x{1CCF9}\\x{1D2C0}-\\x{1D2D3}\\x{1E4F0}-\\x{1E4F9}\\x{1E5F1}-\\x{1E5FA}"
/* Oniguruma's \w: alphabetic, marks, decimal digits, connectors, and the numbers of Latin-1. */
#define WORD                                                                                                           \
    LETTERS "\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\xB2\\xB3\\xB9\\xBC-\\xBE\\x{24B6}-\\x{24E9}\\x{1F130}-\\x{1F149}\\x{1F150}-" \
            "\\x{1F169}\\x{1F170}-\\x{1F189}"

typedef struct rewriting {
    const char *where, *source;
    size_t length, at;
    bool in_class;
    lti_text *out;
} rewriting;

static lt_status refuse(const rewriting *w, const char *what)
{
    int shown = w->length > 300 ? 300 : (int)w->length;
    return lti_fail(w->out->ctx, LT_EUNSUPPORTED, "%s: the pattern '%.*s' is not implemented: %s at byte %zu", w->where,
                    shown, w->source, what, w->at);
}

static char peek(const rewriting *w, size_t ahead)
{
    return w->at + ahead < w->length ? w->source[w->at + ahead] : 0;
}

static void put(rewriting *w, const char *text)
{
    lti_text_add(w->out, text, strlen(text));
}

static void copy(rewriting *w, size_t count)
{
    lti_text_add(w->out, w->source + w->at, count);
    w->at += count;
}

/* A set of characters: as it stands in a class, in brackets outside. A dash behind it is no range. */
static lt_status put_set(rewriting *w, const char *set, bool negated, size_t count)
{
    if (w->in_class && negated) return refuse(w, "a negated set inside [...]");
    if (!w->in_class) put(w, negated ? "[^" : "[");
    put(w, set);
    if (!w->in_class) put(w, "]");
    w->at += count;
    if (w->in_class && peek(w, 0) == '-' && peek(w, 1) != ']') {
        put(w, "\\-");
        w->at++;
    }
    return LT_OK;
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'f');
}

/* \p{...} and \P{...} */
static lt_status property(rewriting *w)
{
    bool negated = peek(w, 1) == 'P';
    size_t n = 3;
    if (peek(w, 2) != '{') return refuse(w, "a property without {...}");
    while (peek(w, n) && peek(w, n) != '}') n++;
    if (peek(w, n) != '}' || n == 3 || n > 40) return refuse(w, "a property");
    const char *name = w->source + w->at + 3;
    if (n == 4 && *name == 'L' && !(negated && w->in_class)) return put_set(w, LETTERS, negated, n + 1);
    if (n == 4 && *name == 'N' && !(negated && w->in_class)) return put_set(w, NUMBERS, negated, n + 1);
    for (size_t i = 0; i < n - 3; i++)
        if (!((name[i] | 32) >= 'a' && (name[i] | 32) <= 'z') && name[i] != '_') return refuse(w, "a property");
    copy(w, n + 1);
    return w->in_class ? put_set(w, "", false, 0) : LT_OK;
}

/* \xHH, \x{H...}, \uHHHH */
static lt_status hexadecimal(rewriting *w)
{
    bool braces = peek(w, 2) == '{', wide = peek(w, 1) == 'u';
    size_t from = braces ? 3 : 2, n = 0, most = braces ? 6 : wide ? 4 : 2;
    while (n < most && is_hex(peek(w, from + n))) n++;
    if (n == 0 || (braces && (wide || peek(w, from + n) != '}')) || (wide && n != 4))
        return refuse(w, "a hexadecimal escape");
    put(w, "\\x{");
    lti_text_add(w->out, w->source + w->at + from, n);
    put(w, "}");
    w->at += from + n + braces;
    return LT_OK;
}

static lt_status escape(rewriting *w)
{
    char c = peek(w, 1);
    switch (c) {
    case 's':
    case 'S': return put_set(w, WHITE, c == 'S', 2);
    case 'w':
    case 'W': return put_set(w, WORD, c == 'W', 2);
    case 'd': return put_set(w, "\\p{Nd}", false, 2);
    case 'D': return put_set(w, "\\P{Nd}", false, 2);
    case 'p':
    case 'P': return property(w);
    case 'x':
    case 'u': return hexadecimal(w);
    case 'v': put(w, "\\x0B"); return w->at += 2, LT_OK;
    case 'r':
    case 'n':
    case 't':
    case 'f': copy(w, 2); return LT_OK;
    case 'A':
    case 'z':
        if (w->in_class) return refuse(w, "an anchor inside [...]");
        copy(w, 2);
        return LT_OK;
    default:
        if (c <= ' ' || (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == 0x7F)
            return refuse(w, "an escape");
        copy(w, 2);
        return LT_OK;
    }
}

static lt_status in_class(rewriting *w)
{
    char c = peek(w, 0), next = peek(w, 1), then = peek(w, 2);
    if (c == '\\') return escape(w);
    if (c == '[') return refuse(w, "a class inside [...]");
    if (c == '&' && next == '&') return refuse(w, "an intersection");
    if (c == '-' && next == '\\' && then && strchr("sSwWdDpP", then)) {
        put(w, "\\-");
        w->at++;
        return LT_OK;
    }
    if (c == ']') w->in_class = false;
    copy(w, 1);
    return LT_OK;
}

static lt_status open_class(rewriting *w)
{
    copy(w, peek(w, 1) == '^' ? 2 : 1);
    if (peek(w, 0) == ']') return refuse(w, "an empty class");
    w->in_class = true;
    return LT_OK;
}

static lt_status open_group(rewriting *w)
{
    static const char *const allowed[] = {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!", "(?i:"};
    if (peek(w, 1) == '*') return refuse(w, "a verb (*");
    if (peek(w, 1) != '?') return copy(w, 1), LT_OK;
    for (int i = 0; i < LTI_COUNT(allowed); i++) {
        size_t n = strlen(allowed[i]);
        if (w->length - w->at >= n && memcmp(w->source + w->at, allowed[i], n) == 0) return copy(w, n), LT_OK;
    }
    return refuse(w, "a group (?");
}

/* {n}, {n,}, {n,m}; other braces stand for themselves. */
static lt_status braces(rewriting *w)
{
    size_t n = 1;
    while (peek(w, n) >= '0' && peek(w, n) <= '9') n++;
    if (n == 1 && peek(w, 1) == ',') return refuse(w, "a repetition without its first number");
    if (n > 1 && peek(w, n) == ',')
        for (n++; peek(w, n) >= '0' && peek(w, n) <= '9';) n++;
    if (n == 1 || peek(w, n) != '}') {
        put(w, "\\{");
        w->at++;
        return LT_OK;
    }
    char after = peek(w, n + 1);
    if (after == '+' || after == '?' || after == '*' || after == '{') return refuse(w, "a repeated repetition");
    copy(w, n + 1);
    return LT_OK;
}

lt_status lti_regex_rewrite(const char *where, const char *source, size_t length, lti_text *out)
{
    rewriting w = {.where = where, .source = source, .length = length, .out = out};
    lt_status status = LT_OK;
    if (length == 0) return lti_fail(out->ctx, LT_EFORMAT, "%s: the pattern is empty", where);
    if (length > LTI_REGEX_LIMIT)
        return lti_fail(out->ctx, LT_ELIMIT, "%s: the pattern has %zu bytes; at most %d are read", where, length,
                        LTI_REGEX_LIMIT);
    while (w.at < length && status == LT_OK) {
        char c = source[w.at];
        if (c == 0)
            status = refuse(&w, "a NUL");
        else if (w.in_class)
            status = in_class(&w);
        else if (c == '\\')
            status = escape(&w);
        else if (c == '[')
            status = open_class(&w);
        else if (c == '(')
            status = open_group(&w);
        else if (c == '{')
            status = braces(&w);
        else
            copy(&w, 1);
    }
    if (status == LT_OK && out->failed) status = LT_ENOMEM;
    if (status != LT_OK) lti_text_free(out);
    return status;
}
