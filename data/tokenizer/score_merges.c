/* score_merges.c - the merges that the scores of a SentencePiece vocabulary stand for.
 *
 * Every cut of every token is tried: are both sides tokens? With a polynomial hash the hash of any part of a token
 * follows from those of its beginnings, so a token of n bytes costs n look-ups, not n^2 bytes of hashing; a file may
 * hold tokens of 64 KiB. */
#include "data/tokenizer/tokenizer_making.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BASE UINT64_C(0x9E3779B97F4A7C15)

typedef struct slot {
    uint64_t hash;
    int32_t id; /* -1: empty */
} slot;

typedef struct joining {
    lt_ctx *ctx;
    const char *path;
    const lti_piece *pieces;
    int32_t count;
    slot *slots; /* open addressing, a power of two */
    uint32_t mask;
    uint64_t *powers,
        *begins; /* BASE^n, and the hash of the first n bytes of the present token; n <= LTI_TOKEN_LIMIT */
    lti_joint *joints;
    int64_t n_joints, room;
} joining;

static uint64_t extend(uint64_t hash, char byte)
{
    return hash * BASE + (unsigned char)byte + 1;
}

static slot *look_up(const joining *j, uint64_t hash, const char *text, uint32_t length)
{
    uint32_t at = (uint32_t)((hash ^ hash >> 29) * BASE >> 32) & j->mask;
    for (;; at = (at + 1) & j->mask) {
        slot *s = &j->slots[at];
        if (s->id < 0) return s;
        const lti_piece *p = &j->pieces[s->id];
        if (s->hash == hash && p->length == length && memcmp(p->text, text, length) == 0) return s;
    }
}

static lt_status enter(joining *j, int32_t id)
{
    const lti_piece *p = &j->pieces[id];
    uint64_t hash = 0;
    if (isnan(p->score)) return lti_fail(j->ctx, LT_EFORMAT, "%s: the score of token %d is not a number", j->path, id);
    if (p->length > LTI_TOKEN_LIMIT)
        return lti_fail(j->ctx, LT_ELIMIT, "%s: token %d has %u bytes; at most %d are read", j->path, id, p->length,
                        LTI_TOKEN_LIMIT);
    for (uint32_t i = 0; i < p->length; i++) hash = extend(hash, p->text[i]);
    slot *s = look_up(j, hash, p->text, p->length);
    if (s->id >= 0)
        return lti_fail(j->ctx, LT_EFORMAT, "%s: tokens %d and %d are both '%.*s'", j->path, s->id, id,
                        p->length > 60 ? 60 : (int)p->length, p->text);
    *s = (slot){hash, id};
    return LT_OK;
}

static lt_status add_joint(joining *j, const lti_joint *joint)
{
    if (j->n_joints == j->room) {
        int64_t room = j->room ? 2 * j->room : 1024;
        lti_joint *more = lti_realloc(j->ctx, j->joints, (size_t)j->room * sizeof *more, (size_t)room * sizeof *more);
        if (!more) return LT_ENOMEM;
        j->joints = more;
        j->room = room;
    }
    if (j->n_joints >= 10 * (int64_t)j->count)
        return lti_fail(j->ctx, LT_ELIMIT, "%s: its %d tokens can be joined in over %" PRId64 " ways", j->path,
                        j->count, 10 * (int64_t)j->count);
    j->joints[j->n_joints++] = *joint;
    return LT_OK;
}

static bool begins_character(char c)
{
    return ((unsigned char)c & 0xC0) != 0x80;
}

static lt_status cut(joining *j, int32_t id)
{
    const lti_piece *p = &j->pieces[id];
    uint32_t characters = 0, done = 0;
    for (uint32_t i = 0; i < p->length; i++) {
        j->begins[i + 1] = extend(j->begins[i], p->text[i]);
        characters += begins_character(p->text[i]);
    }
    for (uint32_t i = 1; i < p->length; i++) {
        done += begins_character(p->text[i - 1]);
        if (!begins_character(p->text[i])) continue;
        int32_t left = look_up(j, j->begins[i], p->text, i)->id;
        uint64_t rest = j->begins[p->length] - j->begins[i] * j->powers[p->length - i];
        int32_t right = left < 0 ? -1 : look_up(j, rest, p->text + i, p->length - i)->id;
        if (right >= 0) LTI_TRY(add_joint(j, &(lti_joint){left, right, id, done, characters - done, p->score}));
    }
    return LT_OK;
}

static int by_score(const void *a, const void *b)
{
    const lti_joint *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->left_length != y->left_length) return x->left_length > y->left_length ? -1 : 1;
    if (x->right_length != y->right_length) return x->right_length > y->right_length ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static lt_status join(joining *j)
{
    uint32_t slots = 16;
    while (slots < 2 * (uint64_t)j->count) slots *= 2;
    j->mask = slots - 1;
    j->slots = lti_alloc_array(j->ctx, slots, sizeof *j->slots);
    j->powers = lti_alloc_array(j->ctx, LTI_TOKEN_LIMIT + 1, sizeof *j->powers);
    j->begins = lti_alloc_array(j->ctx, LTI_TOKEN_LIMIT + 1, sizeof *j->begins);
    if (!j->slots || !j->powers || !j->begins) return LT_ENOMEM;
    for (uint32_t i = 0; i < slots; i++) j->slots[i].id = -1;
    j->powers[0] = 1;
    for (int i = 0; i < LTI_TOKEN_LIMIT; i++) j->powers[i + 1] = j->powers[i] * BASE;
    for (int32_t id = 0; id < j->count; id++)
        if (j->pieces[id].length) LTI_TRY(enter(j, id));
    for (int32_t id = 0; id < j->count; id++) LTI_TRY(cut(j, id));
    if (j->n_joints) qsort(j->joints, (size_t)j->n_joints, sizeof *j->joints, by_score);
    return LT_OK;
}

lt_status lti_score_merges(lt_ctx *ctx, const char *path, const lti_piece *pieces, int32_t count, lti_joint **joints,
                           int64_t *n_joints)
{
    joining j = {.ctx = ctx, .path = path, .pieces = pieces, .count = count};
    lt_status status = join(&j);
    lti_free(ctx, j.slots);
    lti_free(ctx, j.powers);
    lti_free(ctx, j.begins);
    if (status != LT_OK) {
        lti_free(ctx, j.joints);
        j.joints = NULL;
        j.n_joints = 0;
    }
    *joints = j.joints;
    *n_joints = j.n_joints;
    return status;
}
