/* bpe_learn.c - the merges of the most frequent pairs (Sennrich et al., 2016).
 *
 * Equal words are counted once; the distinct ones then lie in one array of symbols. Every place where a pair stands is
 * in that pair's list, so that a merge visits its own places and nothing else, and the counts of the neighbouring pairs
 * follow exactly. The most frequent pair comes from a heap whose entries may be out of date: counts of old pairs only
 * fall, so an entry that lies is put back with the truth. Counting all pairs again for every merge was rejected: it
 * is the vocabulary times the text. */
#include "data/tokenizer/bpe_learn.h"

#include <stdlib.h>
#include <string.h>

#define SYMBOL_LIMIT (1 << 30)

/* Room for one more of `size` bytes in a list; false when memory is out. */
static bool grow(lt_ctx *ctx, void *list, int64_t count, int64_t *room, size_t size)
{
    void **at = list;
    if (count < *room) return true;
    int64_t wanted = *room ? 2 * *room : 256;
    void *more = lti_realloc(ctx, *at, (size_t)*room * size, (size_t)wanted * size);
    if (!more) return false;
    *at = more;
    *room = wanted;
    return true;
}

static uint64_t hash_bytes(const char *text, size_t length)
{
    uint64_t hash = UINT64_C(0xCBF29CE484222325);
    for (size_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)text[i]) * UINT64_C(0x100000001B3);
    return hash ^ hash >> 32;
}

static int32_t *string_slot(const lti_strings *s, const char *text, size_t length)
{
    uint32_t at = (uint32_t)hash_bytes(text, length) & (s->slot_count - 1);
    for (;; at = (at + 1) & (s->slot_count - 1)) {
        int32_t number = s->slots[at];
        if (number < 0) return &s->slots[at];
        const lti_string *e = &s->list[number];
        if (e->length == length && memcmp(s->text.data + e->offset, text, length) == 0) return &s->slots[at];
    }
}

static lt_status widen(lt_ctx *ctx, lti_strings *s)
{
    uint32_t old = s->slot_count;
    int32_t *slots = s->slots;
    if (old && 2 * (uint32_t)s->count < old) return LT_OK;
    s->slots = lti_alloc_array(ctx, old ? 2 * (size_t)old : 1024, sizeof *s->slots);
    if (!s->slots) {
        s->slots = slots;
        return LT_ENOMEM;
    }
    s->slot_count = old ? 2 * old : 1024;
    lti_free(ctx, slots);
    for (uint32_t i = 0; i < s->slot_count; i++) s->slots[i] = -1;
    for (int32_t i = 0; i < s->count; i++) *string_slot(s, s->text.data + s->list[i].offset, s->list[i].length) = i;
    return LT_OK;
}

static lt_status intern(lt_ctx *ctx, lti_strings *s, const char *text, size_t length, int32_t *number)
{
    int64_t room = s->room;
    LTI_TRY(widen(ctx, s));
    int32_t *slot = string_slot(s, text, length);
    if (*slot < 0) {
        if (s->count >= SYMBOL_LIMIT)
            return lti_fail(ctx, LT_ELIMIT, "tokenizer: over %d distinct words; train on a part of the text",
                            SYMBOL_LIMIT);
        if (!grow(ctx, &s->list, s->count, &room, sizeof *s->list)) return LT_ENOMEM;
        s->room = (int32_t)room;
        s->list[s->count] = (lti_string){s->text.length, length, 0};
        s->text.ctx = ctx;
        lti_text_add(&s->text, text, length);
        if (s->text.failed) return LT_ENOMEM;
        *slot = s->count++;
    }
    *number = *slot;
    return LT_OK;
}

/* ---- Words ---- */

lt_status lti_learner_word(void *user, const char *word, int64_t length)
{
    lti_learner *t = user;
    int32_t number;
    LTI_TRY(intern(t->ctx, &t->words, word, (size_t)length, &number));
    t->words.list[number].times++;
    return LT_OK;
}

/* ---- Pairs ---- */

static int32_t *pair_slot(const lti_learner *t, int32_t left, int32_t right)
{
    uint64_t hash = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * UINT64_C(0x9E3779B97F4A7C15);
    uint32_t at = (uint32_t)(hash >> 32) & (t->slot_count - 1);
    for (;; at = (at + 1) & (t->slot_count - 1)) {
        int32_t number = t->slots[at];
        if (number < 0 || (t->pairs[number].left == left && t->pairs[number].right == right)) return &t->slots[at];
    }
}

static lt_status widen_pairs(lti_learner *t)
{
    if (t->slot_count && 2 * (uint32_t)t->n_pairs < t->slot_count) return LT_OK;
    uint32_t wanted = t->slot_count ? 2 * t->slot_count : 4096;
    int32_t *slots = lti_alloc_array(t->ctx, wanted, sizeof *slots);
    if (!slots) return LT_ENOMEM;
    lti_free(t->ctx, t->slots);
    t->slots = slots;
    t->slot_count = wanted;
    for (uint32_t i = 0; i < wanted; i++) slots[i] = -1;
    for (int32_t i = 0; i < t->n_pairs; i++) *pair_slot(t, t->pairs[i].left, t->pairs[i].right) = i;
    return LT_OK;
}

/* Notes that a pair begins at the place. */
static lt_status link_place(lti_learner *t, int32_t at)
{
    lti_place *s = &t->symbols[at];
    int64_t room = t->pair_room;
    LTI_TRY(widen_pairs(t));
    int32_t *slot = pair_slot(t, s->id, t->symbols[s->next].id);
    if (*slot < 0) {
        if (!grow(t->ctx, &t->pairs, t->n_pairs, &room, sizeof *t->pairs)) return LT_ENOMEM;
        t->pair_room = (int32_t)room;
        t->pairs[t->n_pairs] = (lti_pair){.left = s->id, .right = t->symbols[s->next].id, .first = -1};
        *slot = t->n_pairs++;
    }
    lti_pair *p = &t->pairs[*slot];
    s->pair = *slot;
    s->before = -1;
    s->after = p->first;
    if (p->first >= 0) t->symbols[p->first].before = at;
    p->first = at;
    p->times += t->words.list[s->word].times;
    if (p->touched) return LT_OK;
    if (!grow(t->ctx, &t->touched, t->n_touched, &t->touched_room, sizeof *t->touched)) return LT_ENOMEM;
    p->touched = true;
    t->touched[t->n_touched++] = *slot;
    return LT_OK;
}

static void unlink_place(lti_learner *t, int32_t at)
{
    lti_place *s = &t->symbols[at];
    if (s->pair < 0) return;
    lti_pair *p = &t->pairs[s->pair];
    if (s->before >= 0)
        t->symbols[s->before].after = s->after;
    else
        p->first = s->after;
    if (s->after >= 0) t->symbols[s->after].before = s->before;
    p->times -= t->words.list[s->word].times;
    s->pair = -1;
}

static lt_status lay_out(lti_learner *t)
{
    size_t total = t->words.text.length;
    if (total > SYMBOL_LIMIT)
        return lti_fail(t->ctx, LT_ELIMIT, "tokenizer: the distinct words have %zu bytes; train on a part of the text",
                        total);
    t->symbols = lti_alloc_array(t->ctx, total, sizeof *t->symbols);
    if (!t->symbols) return LT_ENOMEM;
    for (int32_t w = 0; w < t->words.count; w++) {
        const lti_string *e = &t->words.list[w];
        int32_t begin = (int32_t)e->offset, end = begin + (int32_t)e->length;
        for (int32_t i = begin; i < end; i++)
            t->symbols[i] = (lti_place){.id = (unsigned char)t->words.text.data[i],
                                        .previous = i > begin ? i - 1 : -1,
                                        .next = i + 1 < end ? i + 1 : -1,
                                        .word = w,
                                        .pair = -1};
        for (int32_t i = begin; i + 1 < end; i++) LTI_TRY(link_place(t, i));
    }
    return LT_OK;
}

/* ---- The heap: most frequent first; among equals the pair whose tokens come first in bytes ---- */

static int compare_tokens(const lti_learner *t, int32_t a, int32_t b)
{
    const lti_string *x = &t->tokens.list[a], *y = &t->tokens.list[b];
    size_t common = x->length < y->length ? x->length : y->length;
    int order = memcmp(t->tokens.text.data + x->offset, t->tokens.text.data + y->offset, common);
    return order ? order : (x->length > y->length) - (x->length < y->length);
}

static bool comes_first(const lti_learner *t, const lti_claim *a, const lti_claim *b)
{
    if (a->times != b->times) return a->times > b->times;
    const lti_pair *x = &t->pairs[a->pair], *y = &t->pairs[b->pair];
    int order = compare_tokens(t, x->left, y->left);
    return (order ? order : compare_tokens(t, x->right, y->right)) < 0;
}

static lt_status push(lti_learner *t, int32_t number)
{
    lti_claim c = {t->pairs[number].times, number};
    if (!grow(t->ctx, &t->heap, t->n_heap, &t->heap_room, sizeof *t->heap)) return LT_ENOMEM;
    int64_t i = t->n_heap++;
    for (; i > 0 && comes_first(t, &c, &t->heap[(i - 1) / 2]); i = (i - 1) / 2) t->heap[i] = t->heap[(i - 1) / 2];
    t->heap[i] = c;
    return LT_OK;
}

static lti_claim pop(lti_learner *t)
{
    lti_claim top = t->heap[0], last = t->heap[--t->n_heap];
    int64_t i = 0;
    for (int64_t child = 1; child < t->n_heap; child = 2 * i + 1) {
        if (child + 1 < t->n_heap && comes_first(t, &t->heap[child + 1], &t->heap[child])) child++;
        if (!comes_first(t, &t->heap[child], &last)) break;
        t->heap[i] = t->heap[child];
        i = child;
    }
    t->heap[i] = last;
    return top;
}

static lt_status push_touched(lti_learner *t)
{
    for (int64_t i = 0; i < t->n_touched; i++) {
        t->pairs[t->touched[i]].touched = false;
        LTI_TRY(push(t, t->touched[i]));
    }
    t->n_touched = 0;
    return LT_OK;
}

/* ---- Merging ---- */

static lt_status merge_at(lti_learner *t, int32_t at, int32_t id)
{
    lti_place *s = &t->symbols[at];
    int32_t right = s->next, before = s->previous, after = t->symbols[right].next;
    if (before >= 0) unlink_place(t, before);
    unlink_place(t, at);
    unlink_place(t, right);
    s->id = id;
    s->next = after;
    t->symbols[right].id = -1;
    if (after >= 0) t->symbols[after].previous = at;
    if (before >= 0) LTI_TRY(link_place(t, before));
    return after >= 0 ? link_place(t, at) : LT_OK;
}

static int by_number(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* Merges the pair wherever it stands; from the left, which matters for "aaa". */
static lt_status merge_places(lti_learner *t, int32_t number, int32_t id)
{
    int32_t left = t->pairs[number].left, right = t->pairs[number].right;
    t->n_places = 0;
    for (int32_t at = t->pairs[number].first; at >= 0; at = t->symbols[at].after) {
        if (!grow(t->ctx, &t->places, t->n_places, &t->place_room, sizeof *t->places)) return LT_ENOMEM;
        t->places[t->n_places++] = at;
    }
    qsort(t->places, (size_t)t->n_places, sizeof *t->places, by_number);
    for (int64_t i = 0; i < t->n_places; i++) {
        const lti_place *s = &t->symbols[t->places[i]];
        if (s->id != left || s->next < 0 || t->symbols[s->next].id != right) continue;
        LTI_TRY(merge_at(t, t->places[i], id));
    }
    return push_touched(t);
}

void lti_learner_spell(const lti_learner *t, int32_t id, lti_text *out)
{
    const lti_string *e = &t->tokens.list[id];
    for (size_t i = 0; i < e->length; i++) lti_spell_byte(out, (unsigned char)t->tokens.text.data[e->offset + i]);
}

/* Names the merge's result and writes the merge down. */
static lt_status name_merge(lti_learner *t, const lti_pair *p, int32_t *id)
{
    lti_text *text = &t->joined;
    text->length = 0;
    lti_learner_spell(t, p->left, text);
    lti_text_add(text, " ", 1);
    lti_learner_spell(t, p->right, text);
    if (text->failed) return LT_ENOMEM;
    if (json_array_append_new(t->merges, json_stringn_nocheck(text->data, text->length)))
        return lti_fail(t->ctx, LT_ENOMEM, "tokenizer: out of memory for its merges");
    text->length = 0;
    const lti_string *part[] = {&t->tokens.list[p->left], &t->tokens.list[p->right]};
    for (int i = 0; i < 2; i++) lti_text_add(text, t->tokens.text.data + part[i]->offset, part[i]->length);
    if (text->failed) return LT_ENOMEM;
    return intern(t->ctx, &t->tokens, text->data, text->length, id);
}

lt_status lti_learner_run(lti_learner *t, int32_t vocab)
{
    LTI_TRY(lay_out(t));
    LTI_TRY(push_touched(t));
    while (t->tokens.count < vocab && t->n_heap) {
        lti_claim c = pop(t);
        int32_t id;
        if (c.times != t->pairs[c.pair].times) {
            if (t->pairs[c.pair].times > 0) LTI_TRY(push(t, c.pair));
            continue;
        }
        if (c.times == 0) continue;
        LTI_TRY(name_merge(t, &t->pairs[c.pair], &id));
        LTI_TRY(merge_places(t, c.pair, id));
    }
    if (t->tokens.count == vocab) return LT_OK;
    return lti_fail(t->ctx, LT_EINVAL,
                    "tokenizer: the text fills a vocabulary of %d, not of %d; give more text or ask "
                    "for fewer tokens",
                    t->tokens.count, vocab);
}

/* The bytes and the end of a text: what every vocabulary begins with. */
lt_status lti_learner_begin(lti_learner *t)
{
    int32_t id;
    for (int b = 0; b < LTI_END_ID; b++) LTI_TRY(intern(t->ctx, &t->tokens, &(char){(char)b}, 1, &id));
    return intern(t->ctx, &t->tokens, LTI_END_OF_TEXT, strlen(LTI_END_OF_TEXT), &id);
}

void lti_learner_free(lti_learner *t)
{
    lti_strings *lists[] = {&t->words, &t->tokens};
    void *blocks[] = {t->symbols, t->pairs, t->slots, t->heap, t->places, t->touched};
    for (int i = 0; i < 2; i++) {
        lti_text_free(&lists[i]->text);
        lti_free(t->ctx, lists[i]->list);
        lti_free(t->ctx, lists[i]->slots);
    }
    for (int i = 0; i < LTI_COUNT(blocks); i++) lti_free(t->ctx, blocks[i]);
    lti_text_free(&t->joined);
    json_decref(t->merges);
}
