/* tokenizer.h - inside of lt_tokenizer.
 *
 * Text goes through: added tokens cut out -> normalizer steps -> added tokens that match normalized text -> BPE.
 * Ids come back through: decoder steps on each token -> joined -> decoder steps on the whole.
 * A family of tokenizers is a set of flags and steps, not a class: pre-tokenizers that split text by a pattern will
 * stand before lti_bpe_encode, which takes one piece and knows nothing of where it came from. */
#ifndef LTI_TOKENIZER_H
#define LTI_TOKENIZER_H

#include "base/text.h"
#include "lathe/data.h"

#define LTI_VOCAB_LIMIT (1 << 22)
#define LTI_TOKEN_LIMIT 65536 /* bytes of one token's text */

/* ---- Vocabulary: id -> bytes, bytes -> id ---- */
typedef struct lti_token {
    uint32_t offset, length; /* in vocab.text; length 0: a hole */
    int16_t byte;            /* b for the token <0xbb> of byte fallback; else -1 */
    bool special, added;
} lti_token;

typedef struct lti_vocab {
    lt_ctx *ctx;
    lti_token *tokens; /* [count] */
    int32_t count;
    char *text;
    uint32_t text_length, text_capacity;
    int32_t *slots; /* open addressing, ids or -1; a power of two */
    uint32_t slot_count;
} lti_vocab;

lt_status lti_vocab_create(lt_ctx *ctx, int32_t count, uint32_t text_capacity, lti_vocab *vocab);
void lti_vocab_free(lti_vocab *vocab);
/* Sets a token that has no text yet. `findable` false: no text leads to it (it stands for itself only). */
lt_status lti_vocab_set(lti_vocab *vocab, int32_t id, const char *text, size_t length, bool findable);
int32_t lti_vocab_find(const lti_vocab *vocab, const char *text, size_t length); /* -1 */

/* ---- BPE ---- */
typedef struct lti_merge {
    uint64_t pair; /* left id << 32 | right id; UINT64_MAX: an empty slot */
    int32_t rank, id;
} lti_merge;

typedef struct lti_symbol {
    int32_t id, previous, next; /* id -1: merged away */
} lti_symbol;

typedef struct lti_candidate {
    int32_t rank, at, id;
} lti_candidate;

typedef struct lti_bpe {
    lti_merge *merges; /* open addressing; a power of two */
    uint32_t slot_count;
    int32_t unknown;          /* -1: none */
    int32_t byte_tokens[256]; /* of byte fallback; -1: none */
    bool byte_level;          /* symbols begin as bytes, not characters */
    bool byte_fallback, fuse_unknown, ignore_merges;
    /* scratch, kept between calls */
    lti_symbol *symbols;
    lti_candidate *heap;
    int64_t symbol_room, heap_room, heap_count;
} lti_bpe;

lt_status lti_bpe_create(lt_ctx *ctx, int64_t merges, lti_bpe *bpe);
void lti_bpe_free(lt_ctx *ctx, lti_bpe *bpe);
/* A pair that is there already keeps its earlier rank. */
void lti_bpe_add(lti_bpe *bpe, int32_t left, int32_t right, int32_t rank, int32_t id);
/* Appends the ids of one piece. `at` is where it begins in the text, for messages. */
lt_status lti_bpe_encode(const lti_vocab *vocab, lti_bpe *bpe, const char *piece, int64_t length, lt_ids *ids);

/* ---- Added tokens ---- */
typedef struct lti_added {
    char *text; /* normalized when the token says so; owned */
    size_t length;
    int32_t id;
    bool special, single_word, left_strip, right_strip;
} lti_added;

typedef struct lti_matcher {
    lti_added *list; /* sorted by bytes after lti_matcher_ready */
    int count;
    int first[257]; /* list[first[b] .. first[b + 1]) begin with byte b */
} lti_matcher;

/* Sorts. Two equal texts: false. */
bool lti_matcher_ready(lti_matcher *matcher);
void lti_matcher_free(lt_ctx *ctx, lti_matcher *matcher);
/* The leftmost, longest match in text[from .. length) as text[*begin .. *end); NULL when there is none. */
const lti_added *lti_match(const lti_matcher *matcher, const char *text, int64_t length, int64_t from, bool specials,
                           int64_t *begin, int64_t *end);

/* ---- Steps on text ---- */
typedef enum lti_step_kind { LTI_PREPEND, LTI_REPLACE, LTI_BYTES, LTI_FUSE, LTI_STRIP } lti_step_kind;

typedef struct lti_step {
    lti_step_kind kind;
    char *pattern, *content; /* owned; pattern of REPLACE, content of PREPEND, REPLACE, STRIP */
    size_t pattern_length, content_length;
    int32_t left, right; /* STRIP: at most so many contents at either end */
} lti_step;

#define LTI_STEPS 16
typedef struct lti_steps {
    lti_step list[LTI_STEPS];
    int count;
} lti_steps;

void lti_steps_free(lt_ctx *ctx, lti_steps *steps);
/* What the steps may make of `length` bytes: each may grow its text a thousandfold, and a file holds many of them. */
#define LTI_GROWN_LIMIT(length) (64 * (size_t)(length) + (1 << 20))
/* Applies one PREPEND, REPLACE or STRIP: `out` is emptied first. LT_ELIMIT beyond `limit` bytes. */
lt_status lti_step_apply(const lti_step *step, const char *text, size_t length, size_t limit, lti_text *out);

/* ---- The whole ---- */
#define LTI_TOKENIZER_FILES 4
#define LTI_TEMPLATE 8

struct lt_tokenizer {
    lt_ctx *ctx;
    lti_vocab vocab;
    lti_bpe bpe;
    lti_matcher raw, normalized;
    lti_steps normalize, decode;
    bool joins_by_blank; /* no decoder: tokens are joined by blanks */
    int32_t prefix[LTI_TEMPLATE], suffix[LTI_TEMPLATE];
    int prefix_count, suffix_count;
    int32_t bos, eos;
    struct {
        const char *name;
        char *bytes;
        int64_t count;
    } files[LTI_TOKENIZER_FILES];
    int file_count;
    char hash[33];
    lti_text work[2]; /* normalized text */
};

/* Fills an empty tokenizer from the text of a tokenizer.json; `path` is for messages. */
lt_status lti_tokenizer_parse(lt_tokenizer *tokenizer, const char *path, const char *bytes, size_t size);
/* bos and eos from tokenizer_config.json or special_tokens_map.json; absent keys change nothing. */
lt_status lti_tokenizer_config(lt_tokenizer *tokenizer, const char *path, const char *bytes, size_t size);
/* The tokenizer.json and tokenizer_config.json of the byte tokenizer. */
void lti_bytes_json(lti_text *tokenizer, lti_text *config);
/* Byte-level spelling: the byte a code point stands for, or -1; and back. */
int lti_byte_of_point(uint32_t point);
uint32_t lti_point_of_byte(int byte);

lt_status lti_ids_add(lt_ctx *ctx, lt_ids *ids, int32_t id);
lt_status lti_ids_append(lt_ctx *ctx, lt_ids *ids, const int32_t *more, int64_t count);

#endif
