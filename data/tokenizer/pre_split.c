/* pre_split.c - cutting text into pieces before the model sees it.
 *
 * Every pre-tokenizer of the families is one of three things here: a pattern whose matches and gaps are kept, dropped
 * or joined; the byte-level one; Metaspace. White space, digits, punctuation and words are patterns too. The splits
 * run depth first, each on the pieces of the one before, so that nothing is collected: a gigabyte needs no list. */
#include "data/tokenizer/regex.h"
#include "data/utf8.h"

#include <string.h>

void lti_pre_splits_free(lti_pre_splits *splits)
{
    for (int i = 0; i < splits->count; i++) {
        lti_regex_free(splits->list[i].pattern);
        lti_text_free(&splits->list[i].work);
        lti_text_free(&splits->list[i].spelled);
    }
    lti_text_free(&splits->piece);
    *splits = (lti_pre_splits){0};
}

/* One split at work on one text. */
typedef struct pass {
    lti_pre_splits *splits;
    int index;
    unsigned where;
    const char *text;
    lti_piece_fn emit;
    void *user;
    int64_t held_begin, held_end; /* a range that may still grow; begin -1: none */
    bool last_matched;
} pass;

static lt_status run(lti_pre_splits *splits, int index, const char *text, int64_t length, unsigned where,
                     lti_piece_fn emit, void *user);

/* A piece for the model: in bytes, however the splits saw it. */
static lt_status hand_out(lti_pre_splits *splits, const char *text, int64_t length, lti_piece_fn emit, void *user)
{
    if (!splits->spelled) return emit(user, text, length);
    lti_text *piece = &splits->piece;
    piece->length = 0;
    piece->failed = false;
    for (int64_t at = 0; at < length;) {
        int n = lti_utf8_length((const unsigned char *)text + at, (uint64_t)(length - at));
        char byte = (char)lti_byte_of_point(lti_utf8_point((const unsigned char *)text + at, n));
        lti_text_add(piece, &byte, 1);
        at += n;
    }
    return piece->failed ? LT_ENOMEM : emit(user, piece->data, (int64_t)piece->length);
}

static void spell(lti_text *out, const char *bytes, int64_t length)
{
    out->length = 0;
    out->failed = false;
    for (int64_t i = 0; i < length; i++) lti_spell_byte(out, (unsigned char)bytes[i]);
}

static lt_status pass_on(const pass *p, int64_t begin, int64_t end)
{
    lti_pre_split *split = &p->splits->list[p->index];
    const char *text = p->text + begin;
    int64_t length = end - begin;
    if (length <= 0) return LT_OK;
    if (split->spell) {
        spell(&split->spelled, text, length);
        if (split->spelled.failed) return LT_ENOMEM;
        text = split->spelled.data;
        length = (int64_t)split->spelled.length;
    }
    return run(p->splits, p->index + 1, text, length, begin ? 0 : p->where, p->emit, p->user);
}

static lt_status flush(pass *p)
{
    if (p->held_begin < 0) return LT_OK;
    int64_t begin = p->held_begin;
    p->held_begin = -1;
    return pass_on(p, begin, p->held_end);
}

static void hold(pass *p, int64_t begin, int64_t end)
{
    p->held_begin = begin;
    p->held_end = end;
}

/* The next match or gap. What is joined with what follows from the peers, empty matches and all. */
static lt_status feed(pass *p, lti_behaviour behaviour, bool is_match, int64_t begin, int64_t end)
{
    bool grows = false;
    switch (behaviour) {
    case LTI_ISOLATED: return pass_on(p, begin, end);
    case LTI_REMOVED: return is_match ? LT_OK : pass_on(p, begin, end);
    case LTI_CONTIGUOUS: grows = is_match == p->last_matched; break;
    case LTI_MERGED_WITH_PREVIOUS: grows = is_match && !p->last_matched; break;
    case LTI_MERGED_WITH_NEXT: grows = !is_match && p->last_matched; break;
    }
    p->last_matched = is_match;
    if (grows && p->held_begin >= 0) return hold(p, p->held_begin, end), LT_OK;
    LTI_TRY(flush(p));
    return hold(p, begin, end), LT_OK;
}

static lt_status run_pattern(pass *p, const lti_pre_split *split, int64_t length)
{
    lti_walk walk;
    bool more, is_match;
    int64_t begin, end;
    lti_walk_start(&walk, split->pattern, p->text, length);
    for (;;) {
        LTI_TRY(lti_walk_next(&walk, &more, &is_match, &begin, &end));
        if (!more) return flush(p);
        LTI_TRY(feed(p, split->behaviour, is_match != split->invert, begin, end));
    }
}

bool lti_pre_split_puts(const lti_pre_split *split, const char *text, int64_t length, unsigned where)
{
    size_t n = split->replacement_length; /* 0 but for Metaspace */
    bool begun = *text == ' ' || (n && (size_t)length >= n && memcmp(text, split->replacement, n) == 0);
    bool wanted = split->prefix == LTI_ALWAYS || (split->prefix == LTI_FIRST && where & LTI_TEXT_BEGINS);
    return wanted && !begun && !(where & LTI_TEXT_CONTINUES);
}

/* The blank of add_prefix_space. */
static lt_status prefix_blank(lti_pre_split *split, unsigned where, const char **text, int64_t *length)
{
    if (!lti_pre_split_puts(split, *text, *length, where)) return LT_OK;
    lti_text *work = &split->work;
    work->length = 0;
    work->failed = false;
    lti_text_add(work, " ", 1);
    lti_text_add(work, *text, (size_t)*length);
    *text = work->data;
    *length = (int64_t)work->length;
    return work->failed ? LT_ENOMEM : LT_OK;
}

static lt_status metaspace(lti_pre_split *split, unsigned where, const char **text, int64_t *length)
{
    const char *r = split->replacement, *end = *text + *length, *at = *text, *blank;
    size_t n = split->replacement_length;
    lti_text *work = &split->work;
    work->length = 0;
    work->failed = false;
    if (lti_pre_split_puts(split, at, *length, where)) lti_text_add(work, r, n);
    for (; at < end; at = blank + 1) {
        blank = memchr(at, ' ', (size_t)(end - at));
        lti_text_add(work, at, (size_t)((blank ? blank : end) - at));
        if (!blank) break;
        lti_text_add(work, r, n);
    }
    *text = work->data;
    *length = (int64_t)work->length;
    return work->failed ? LT_ENOMEM : LT_OK;
}

static lt_status run(lti_pre_splits *splits, int index, const char *text, int64_t length, unsigned where,
                     lti_piece_fn emit, void *user)
{
    if (index == splits->count) return hand_out(splits, text, length, emit, user);
    lti_pre_split *split = &splits->list[index];
    if (split->kind == LTI_PRE_BYTE_LEVEL) LTI_TRY(prefix_blank(split, where, &text, &length));
    if (split->kind == LTI_PRE_METASPACE) LTI_TRY(metaspace(split, where, &text, &length));
    pass p = {splits, index, where, text, emit, user, -1, -1, false};
    return split->pattern ? run_pattern(&p, split, length) : pass_on(&p, 0, length);
}

lt_status lti_pre_split_text(lti_pre_splits *splits, const char *text, int64_t length, unsigned where,
                             lti_piece_fn emit, void *user)
{
    return length > 0 ? run(splits, 0, text, length, where, emit, user) : LT_OK;
}
