/* perturb.c - see perturb.h. A word is a run of letters; what is no ASCII counts as letters and moves as whole
 * characters, so that the result is UTF-8 again. Case is changed in ASCII alone: what capitals are is a matter of
 * language elsewhere. */
#include "evals/perturb.h"

#include "base/rng.h"
#include "data/files.h"
#include "data/utf8.h"

#include <stdlib.h>
#include <string.h>

static const char *const names[LTI_PERTURB_COUNT] = {"none", "typos", "case", "whitespace", "shift"};

const char *lti_perturbation_name(lti_perturbation kind)
{
    return (unsigned)kind < LTI_PERTURB_COUNT ? names[kind] : names[0];
}

lt_status lti_perturbations(lt_ctx *ctx, const char *list, unsigned *kinds)
{
    *kinds = 0;
    for (const char *p = list ? list : ""; *p;) {
        size_t n = strcspn(p, ",");
        unsigned bit = n == 3 && !strncmp(p, "all", 3) ? (1u << LTI_PERTURB_COUNT) - 2 : 0;
        for (int k = 1; k < LTI_PERTURB_COUNT; k++)
            if (strlen(names[k]) == n && !strncmp(p, names[k], n)) bit = 1u << k;
        if (!bit)
            return lti_fail(ctx, LT_EINVAL,
                            "perturb: '%.*s' is none of typos, case, whitespace, shift and all, separated by commas",
                            (int)n, p);
        *kinds |= bit;
        p += n + (p[n] == ',');
    }
    return LT_OK;
}

/* ---- Drawing ---- */

typedef struct draw {
    lti_rng rng;
    uint64_t at; /* word of the text; each has four numbers */
} draw;

static double uniform(const draw *d, int which)
{
    return lti_rng_uniform(&d->rng, 4 * d->at + (uint64_t)which);
}

static int64_t below(const draw *d, int which, int64_t n)
{
    return (int64_t)(uniform(d, which) * (double)n);
}

static draw start(lti_perturbation kind, uint64_t seed, const char *key)
{
    char hex[33];
    lti_hash_bytes(key, strlen(key), hex);
    hex[16] = 0;
    return (draw){.rng = {.seed = seed ^ strtoull(hex, NULL, 16), .stream = lti_rng_stream(names[kind])}};
}

/* ---- Words ---- */

static bool is_ascii_letter(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static size_t word_length(const char *text)
{
    size_t n = 0;
    while (text[n] && (is_ascii_letter((unsigned char)text[n]) || (unsigned char)text[n] >= 0x80)) n++;
    return n;
}

/* Bytes of the character at text[0 .. n); 1 for what is no UTF-8. */
static size_t character(const char *text, size_t n)
{
    int length = n ? lti_utf8_length((const unsigned char *)text, n) : 0;
    return length ? (size_t)length : 1;
}

static int64_t characters(const char *word, size_t n)
{
    int64_t count = 0;
    for (size_t i = 0; i < n; i += character(word + i, n - i)) count++;
    return count;
}

static void add_typo(const draw *d, const char *word, size_t n, lti_text *out)
{
    int64_t count = characters(word, n), place = below(d, 1, count - 1);
    size_t at = 0;
    for (int64_t i = 0; i < place; i++) at += character(word + at, n - at);
    size_t one = character(word + at, n - at), two = character(word + at + one, n - at - one);
    lti_text_add(out, word, at);
    switch (below(d, 2, 3)) {
    case 0: /* two letters change places */
        lti_text_add(out, word + at + one, two);
        lti_text_add(out, word + at, one);
        at += one + two;
        break;
    case 1: at += one; break; /* one is left out */
    default: {                /* one is another */
        char letter = (char)('a' + below(d, 3, 26));
        lti_text_add(out, &letter, 1);
        at += one;
    }
    }
    lti_text_add(out, word + at, n - at);
}

static void add_case(const draw *d, const char *word, size_t n, lti_text *out)
{
    int64_t what = below(d, 0, 3); /* 0: as it is */
    for (size_t i = 0; i < n; i++) {
        char c = word[i];
        if (is_ascii_letter((unsigned char)c) && what) c = (char)(what == 1 ? c & ~0x20 : c | 0x20);
        lti_text_add(out, &c, 1);
    }
}

static void perturb_words(lti_perturbation kind, draw *d, const char *text, lti_text *out)
{
    while (*text) {
        size_t n = word_length(text);
        if (n == 0) {
            lti_text_add(out, text++, 1);
            continue;
        }
        if (kind == LTI_PERTURB_CASE)
            add_case(d, text, n, out);
        else if (characters(text, n) >= 3 && uniform(d, 0) < 0.05)
            add_typo(d, text, n, out);
        else
            lti_text_add(out, text, n);
        text += n;
        d->at++;
    }
}

static void perturb_blanks(draw *d, const char *text, lti_text *out)
{
    for (; *text; text++) {
        double u = *text == ' ' ? uniform(d, 0) : 1;
        d->at += *text == ' ';
        if (u < 0.10) lti_text_add(out, " ", 1);
        if (u < 0.10 || u >= 0.15) lti_text_add(out, text, 1);
    }
}

void lti_perturb(lti_perturbation kind, uint64_t seed, const char *key, const char *text, lti_text *out)
{
    static const char *const sentences[] = {"Here is the next one. ", "This was written down some time ago. ",
                                            "The following is one of many. ", "Please read this first. "};
    draw d = start(kind, seed, key);
    switch (kind) {
    case LTI_PERTURB_TYPOS:
    case LTI_PERTURB_CASE: perturb_words(kind, &d, text, out); break;
    case LTI_PERTURB_WHITESPACE: perturb_blanks(&d, text, out); break;
    case LTI_PERTURB_SHIFT:
        lti_text_format(out, "%s", sentences[below(&d, 0, LTI_COUNT(sentences))]); /* fall through */
    default: lti_text_add(out, text, strlen(text));
    }
}
