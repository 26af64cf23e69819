/* added_tokens.c - finding added tokens in text, leftmost and longest, before anything else looks at it.
 *
 * The tokens are sorted; at each position a range of candidates is narrowed byte by byte. A position whose byte begins
 * no token costs one table look-up, so text without added tokens passes at the speed of a scan. */
#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/unicode_classes.h"
#include "data/utf8.h"

#include <stdlib.h>
#include <string.h>

static int by_text(const lti_added *x, const lti_added *y)
{
    size_t n = x->length < y->length ? x->length : y->length;
    int order = memcmp(x->text, y->text, n);
    return order ? order : (x->length > y->length) - (x->length < y->length);
}

static int by_text_and_order(const void *a, const void *b)
{
    const lti_added *x = a, *y = b;
    int order = by_text(x, y);
    return order ? order : (x->order > y->order) - (x->order < y->order);
}

void lti_matcher_ready(lti_matcher *matcher)
{
    int count = 0, at = 0;
    if (matcher->count) qsort(matcher->list, (size_t)matcher->count, sizeof *matcher->list, by_text_and_order);
    for (int i = 0; i < matcher->count; i++) { /* normalizing may have made texts equal: those go to the end */
        lti_added token = matcher->list[i];
        if (count && by_text(&matcher->list[count - 1], &token) == 0) continue;
        matcher->list[i] = matcher->list[count];
        matcher->list[count++] = token;
    }
    matcher->used = count;
    for (int b = 0; b <= 256; b++) {
        while (at < count && b > (unsigned char)matcher->list[at].text[0]) at++;
        matcher->first[b] = at;
    }
}

void lti_matcher_free(lt_ctx *ctx, lti_matcher *matcher)
{
    for (int i = 0; i < matcher->count; i++) lti_free(ctx, matcher->list[i].text);
    lti_free(ctx, matcher->list);
    *matcher = (lti_matcher){0};
}

/* The character that ends at text[at], and its bytes; 0 bytes when there is none or it is not UTF-8. */
static uint32_t point_before(const char *text, int64_t at, int *length)
{
    const unsigned char *bytes = (const unsigned char *)text;
    int n = 1;
    while (n < 4 && n < at && (bytes[at - n] & 0xC0) == 0x80) n++;
    *length = at >= n && lti_utf8_length(bytes + at - n, (uint64_t)n) == n ? n : 0;
    return *length ? lti_utf8_point(bytes + at - n, n) : 0;
}

static uint32_t point_behind(const char *text, int64_t length, int64_t at, int *n)
{
    const unsigned char *bytes = (const unsigned char *)text;
    *n = at < length ? lti_utf8_length(bytes + at, (uint64_t)(length - at)) : 0;
    return *n ? lti_utf8_point(bytes + at, *n) : 0;
}

static bool wanted(const lti_added *token, const char *text, int64_t length, int64_t at, bool specials)
{
    int n;
    if (token->special && !specials) return false;
    if (!token->single_word) return true;
    if (lti_is_word(point_before(text, at, &n)) && n) return false;
    return !(lti_is_word(point_behind(text, length, at + (int64_t)token->length, &n)) && n);
}

/* The longest token at text[at ..). */
static const lti_added *match_at(const lti_matcher *matcher, const char *text, int64_t length, int64_t at)
{
    unsigned char byte = (unsigned char)text[at];
    int low = matcher->first[byte], high = matcher->first[byte + 1];
    const lti_added *best = NULL;
    for (size_t depth = 1; low < high; depth++) {
        /* list[low .. high) agree with the text in `depth` bytes; one of exactly that length sorts first */
        if (matcher->list[low].length == depth) best = &matcher->list[low++];
        if (at + (int64_t)depth >= length) break;
        unsigned char next = (unsigned char)text[at + (int64_t)depth];
        int a = low, b = high; /* first with byte >= next */
        while (a < b) {
            int middle = a + (b - a) / 2;
            if ((unsigned char)matcher->list[middle].text[depth] < next)
                a = middle + 1;
            else
                b = middle;
        }
        low = a;
        b = high; /* first with byte > next */
        while (a < b) {
            int middle = a + (b - a) / 2;
            if ((unsigned char)matcher->list[middle].text[depth] <= next)
                a = middle + 1;
            else
                b = middle;
        }
        high = a;
    }
    return best;
}

/* What the token takes with it: its white space, on the left as far as nobody has taken it. False: nothing is left. */
static bool claim(lti_search *s, const lti_added *token, int64_t at)
{
    int n;
    s->gap = at;
    s->end = s->from;
    if (token->left_strip) {
        while (s->gap > s->done && lti_is_white(point_before(s->text, s->gap, &n)) && n) s->gap -= n;
        if (s->gap < s->done) s->gap = s->done;
    }
    if (token->right_strip) {
        if (s->end < s->white) s->end = s->white;
        while (lti_is_white(point_behind(s->text, s->length, s->end, &n)) && n) s->end += n;
        s->white = s->end;
    }
    return s->end > s->gap;
}

const lti_added *lti_search_next(lti_search *s)
{
    for (int64_t at = s->from; s->matcher->count && at < s->length; at++) {
        const lti_added *token = match_at(s->matcher, s->text, s->length, at);
        if (!token) continue;
        s->from = at + (int64_t)token->length;
        if (wanted(token, s->text, s->length, at, s->specials) && claim(s, token, at)) return token;
        at = s->from - 1;
    }
    s->gap = s->end = s->from = s->length;
    return NULL;
}
