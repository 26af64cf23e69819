/* added_tokens.c - finding added tokens in text, leftmost and longest, before anything else looks at it.
 *
 * The tokens are sorted; at each position a range of candidates is narrowed byte by byte. A position whose byte begins
 * no token costs one table look-up, so text without added tokens passes at the speed of a scan. */
#include "data/tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

static int by_text(const void *a, const void *b)
{
    const lti_added *x = a, *y = b;
    size_t n = x->length < y->length ? x->length : y->length;
    int order = memcmp(x->text, y->text, n);
    return order ? order : (x->length > y->length) - (x->length < y->length);
}

bool lti_matcher_ready(lti_matcher *matcher)
{
    if (matcher->count) qsort(matcher->list, (size_t)matcher->count, sizeof *matcher->list, by_text);
    for (int i = 1; i < matcher->count; i++)
        if (by_text(&matcher->list[i - 1], &matcher->list[i]) == 0) return false;
    int at = 0;
    for (int b = 0; b <= 256; b++) {
        while (at < matcher->count && b > (unsigned char)matcher->list[at].text[0]) at++;
        matcher->first[b] = at;
    }
    return true;
}

void lti_matcher_free(lt_ctx *ctx, lti_matcher *matcher)
{
    for (int i = 0; i < matcher->count; i++) lti_free(ctx, matcher->list[i].text);
    lti_free(ctx, matcher->list);
    *matcher = (lti_matcher){0};
}

static bool word_byte(char c)
{
    unsigned char u = (unsigned char)c;
    return u >= 0x80 || u == '_' || (u >= '0' && u <= '9') || ((u | 32) >= 'a' && (u | 32) <= 'z');
}

static bool blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool allowed(const lti_added *token, const char *text, int64_t length, int64_t at, bool specials)
{
    if (token->special && !specials) return false;
    if (!token->single_word) return true;
    int64_t end = at + (int64_t)token->length;
    return (at == 0 || !word_byte(text[at - 1])) && (end == length || !word_byte(text[end]));
}

/* The longest token at text[at ..). */
static const lti_added *match_at(const lti_matcher *matcher, const char *text, int64_t length, int64_t at,
                                 bool specials)
{
    unsigned char byte = (unsigned char)text[at];
    int low = matcher->first[byte], high = matcher->first[byte + 1];
    const lti_added *best = NULL;
    for (size_t depth = 1; low < high; depth++) {
        /* list[low .. high) agree with the text in `depth` bytes; one of exactly that length sorts first */
        if (matcher->list[low].length == depth) {
            if (allowed(&matcher->list[low], text, length, at, specials)) best = &matcher->list[low];
            low++;
        }
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

const lti_added *lti_match(const lti_matcher *matcher, const char *text, int64_t length, int64_t from, bool specials,
                           int64_t *begin, int64_t *end)
{
    if (matcher->count == 0) return NULL;
    for (int64_t at = from; at < length; at++) {
        const lti_added *token = match_at(matcher, text, length, at, specials);
        if (!token) continue;
        *begin = at;
        *end = at + (int64_t)token->length;
        while (token->left_strip && *begin > from && blank(text[*begin - 1])) --*begin;
        while (token->right_strip && *end < length && blank(text[*end])) ++*end;
        return token;
    }
    return NULL;
}
