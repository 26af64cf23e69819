/* bpe_learn.h - learning the merges of a byte-level BPE from words: what bpe_learn.c does for bpe_train.c. */
#ifndef LTI_BPE_LEARN_H
#define LTI_BPE_LEARN_H

#include "data/tokenizer/tokenizer_making.h"

#define LTI_END_OF_TEXT "<|endoftext|>"
#define LTI_END_ID 256

/* ---- Distinct strings, numbered as they come ---- */
typedef struct lti_string {
    size_t offset, length; /* in `text` */
    int64_t times;
} lti_string;

typedef struct lti_strings {
    lti_text text;
    lti_string *list;
    int32_t count, room;
    int32_t *slots; /* open addressing, numbers or -1; a power of two */
    uint32_t slot_count;
} lti_strings;

/* A pair of neighbours. Its places are chained through the symbols. */
typedef struct lti_pair {
    int32_t left, right;
    int64_t times;
    int32_t first; /* place, or -1 */
    bool touched;
} lti_pair;

typedef struct lti_place {
    int32_t id, previous, next; /* id -1: merged away; next -1: the word ends */
    int32_t word;
    int32_t pair, before, after; /* the pair it begins, -1: none; the pair's places beside this one */
} lti_place;

typedef struct lti_claim {
    int64_t times;
    int32_t pair;
} lti_claim;

typedef struct lti_learner {
    lt_ctx *ctx;
    lti_strings words, tokens;
    lti_place *symbols;
    int32_t n_symbols;
    lti_pair *pairs;
    int32_t n_pairs, pair_room;
    int32_t *slots; /* pairs by (left, right) */
    uint32_t slot_count;
    lti_claim *heap;
    int64_t n_heap, heap_room;
    int32_t *places, *touched; /* scratch of a merge */
    int64_t n_places, place_room, n_touched, touched_room;
    json_t *merges;
    lti_text joined;
} lti_learner;

/* Zero-initialise {ctx, .joined = {ctx}}; then the tokens every vocabulary begins with. */
lt_status lti_learner_begin(lti_learner *l);
/* Counts a word; `user` is the learner. */
lt_status lti_learner_word(void *user, const char *word, int64_t length);
/* Merges until there are `vocab` tokens. LT_EINVAL when the words do not fill so many. */
lt_status lti_learner_run(lti_learner *l, int32_t vocab);
/* Appends a token as byte-level vocabularies spell it. */
void lti_learner_spell(const lti_learner *l, int32_t id, lti_text *out);
void lti_learner_free(lti_learner *l);

#endif
