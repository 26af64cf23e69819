/* tokenizer.h - inside of lt_tokenizer.
 *
 * Text goes through: added tokens cut out -> normalizer steps -> added tokens that match normalized text -> split into
 * pieces (the pre-tokenizer) -> the model (BPE, WordPiece or whole words), which takes one piece and knows nothing of
 * where it came from. Ids come back through: decoder steps on each token -> joined -> decoder steps on the whole.
 * A family of tokenizers is a set of flags, steps and splits, not a class. */
#ifndef LTI_TOKENIZER_H
#define LTI_TOKENIZER_H

#include "base/text.h"
#include "data/json.h"
#include "lathe/data.h"

#define LTI_LOW_LINE "\xe2\x96\x81" /* U+2581: what SentencePiece writes for a blank */
#define LTI_VOCAB_LIMIT (1 << 22)
#define LTI_TOKEN_LIMIT 65536 /* bytes of one token's text */
#define LTI_ADDED_LIMIT 1024  /* and of an added token's, which is sought at every place of a text */

/* ---- Vocabulary: id -> bytes, bytes -> id ---- */
typedef struct lti_token {
    uint32_t offset, length;    /* in vocab.text; length 0: a hole */
    int16_t byte;               /* b for the token <0xbb> of byte fallback; else -1 */
    bool special, added, model; /* model: in the model's vocabulary, perhaps an added token too */
} lti_token;

typedef struct lti_vocab {
    lt_ctx *ctx;
    lti_token *tokens; /* [count] */
    int32_t count;
    char *text;
    uint32_t text_length, text_capacity, longest; /* longest: bytes of the longest findable token */
    int32_t *slots;                               /* open addressing, ids or -1; a power of two */
    uint32_t slot_count;
} lti_vocab;

lt_status lti_vocab_create(lt_ctx *ctx, int32_t count, uint32_t text_capacity, lti_vocab *vocab);
void lti_vocab_free(lti_vocab *vocab);
/* Sets a token that has no text yet. `findable` false: no text leads to it (it stands for itself only). */
lt_status lti_vocab_set(lti_vocab *vocab, int32_t id, const char *text, size_t length, bool findable);
int32_t lti_vocab_find(const lti_vocab *vocab, const char *text, size_t length); /* -1 */
/* The same for what the model may make of a text: no token that was only added, and no control token. */
int32_t lti_vocab_text(const lti_vocab *vocab, const char *text, size_t length);

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
    bool words;              /* no merge reaches over the beginning of a word (U+2581) */
    struct lti_known *known; /* pieces met before with their ids, by hash; NULL until there were many */
    int64_t pieces;
    /* scratch, kept between calls */
    lti_symbol *symbols;
    lti_candidate *heap;
    int64_t symbol_room, heap_room, heap_count;
} lti_bpe;

lt_status lti_bpe_create(lt_ctx *ctx, int64_t merges, lti_bpe *bpe);
void lti_bpe_free(lt_ctx *ctx, lti_bpe *bpe);
/* A pair that is there already keeps its earlier rank. */
void lti_bpe_add(lti_bpe *bpe, int32_t left, int32_t right, int32_t rank, int32_t id);
/* To be called behind the last merge. */
void lti_bpe_settle(const lti_vocab *vocab, lti_bpe *bpe);
/* Appends the ids of one piece. */
lt_status lti_bpe_encode(const lti_vocab *vocab, lti_bpe *bpe, const char *piece, int64_t length, lt_ids *ids);

/* ---- WordPiece and whole words ---- */
typedef enum lti_model_kind { LTI_MODEL_BPE, LTI_MODEL_WORD_PIECE, LTI_MODEL_WORD_LEVEL } lti_model_kind;

#define LTI_WORD_LIMIT 1024 /* characters */
typedef struct lti_words {
    char prefix[16]; /* of a piece that continues a word: "##" */
    size_t prefix_length;
    int32_t longest_word; /* in characters; longer ones are unknown */
} lti_words;

/* Appends the ids of one word. `unknown` must be an id. */
lt_status lti_word_encode(const lti_vocab *vocab, const lti_words *words, lti_model_kind kind, int32_t unknown,
                          const char *word, int64_t length, lt_ids *ids);

/* ---- Added tokens ---- */
typedef struct lti_added {
    char *text; /* normalized when the token says so; owned */
    size_t length;
    int32_t id;
    int order; /* in the file, special ones before all others */
    bool special, single_word, left_strip, right_strip;
} lti_added;

typedef struct lti_matcher {
    lti_added *list; /* sorted by bytes after lti_matcher_ready, as far as `used` */
    int count, used;
    int first[257]; /* list[first[b] .. first[b + 1]) begin with byte b */
} lti_matcher;

/* Sorts; of equal texts the first in order stays (in the peers it is any of them). */
void lti_matcher_ready(lti_matcher *matcher);
void lti_matcher_free(lt_ctx *ctx, lti_matcher *matcher);
/* Goes through the leftmost, longest matches in a text. A match that is not wanted (a special token when `specials` is
 * false, a part of a word) is passed over as a whole. White space that a token takes on its left is not searched again,
 * on its right it is, and both may then stand in two tokens: all as the peers do. */
typedef struct lti_search {
    const lti_matcher *matcher;
    const char *text;
    int64_t length;
    bool specials;
    int64_t from, done; /* the search goes on at `from`; what stands before `done` is in a token or was handed out */
    int64_t gap;        /* text[done .. gap) stands before the match */
    int64_t end;        /* of the match with its white space: the next `done` */
    int64_t white;      /* from the last match that took white space on its right, all is white as far as here */
} lti_search;
/* The token of the next match; NULL at the end, where the gap is what is left. To be called again with done = end. */
const lti_added *lti_search_next(lti_search *search);

/* ---- Patterns ---- */
typedef struct lti_regex lti_regex;
/* A regular expression as the peers' engine (Oniguruma) reads it, or LT_EUNSUPPORTED with its text. `ours`: written
 * in this library for PCRE2, and without limits. `where` (file and JSON path) is for messages. */
lt_status lti_regex_compile(lt_ctx *ctx, const char *where, const char *source, size_t length, bool ours,
                            lti_regex **pattern);
void lti_regex_free(lti_regex *pattern); /* NULL is fine */
/* The first match in text[from .. length), valid UTF-8, which may look back before `from`; *begin -1: none. */
lt_status lti_regex_find(const lti_regex *pattern, const char *text, int64_t length, int64_t from, int64_t *begin,
                         int64_t *end);

/* Walks through the matches of a pattern and the gaps between them, in the order of the text, as the peers do. */
typedef struct lti_walk {
    const lti_regex *pattern;
    const char *text;
    int64_t length, from, done, last_match, begin, end; /* done: handed out; last_match: where it ended, -1 */
    bool waiting;                                       /* a match was found and its gap was handed out first */
} lti_walk;
void lti_walk_start(lti_walk *walk, const lti_regex *pattern, const char *text, int64_t length);
/* *more false: the end. A match may be empty; a gap never is. */
lt_status lti_walk_next(lti_walk *walk, bool *more, bool *is_match, int64_t *begin, int64_t *end);

/* ---- Splits: the pre-tokenizer ---- */
typedef enum lti_pre_split_kind { LTI_PRE_PATTERN, LTI_PRE_BYTE_LEVEL, LTI_PRE_METASPACE } lti_pre_split_kind;
typedef enum lti_behaviour {
    LTI_ISOLATED,
    LTI_REMOVED,
    LTI_CONTIGUOUS,
    LTI_MERGED_WITH_PREVIOUS,
    LTI_MERGED_WITH_NEXT
} lti_behaviour;
typedef enum lti_scheme { LTI_ALWAYS, LTI_FIRST, LTI_NEVER } lti_scheme;

typedef struct lti_pre_split {
    lti_pre_split_kind kind;
    lti_regex *pattern; /* NULL: the text stays whole. Owned */
    lti_behaviour behaviour;
    bool invert;
    bool spell;          /* BYTE_LEVEL with more splits to come: they see the spelling of the bytes */
    lti_scheme prefix;   /* BYTE_LEVEL: a blank before the text; METASPACE: the replacement */
    char replacement[8]; /* METASPACE: for a blank */
    size_t replacement_length;
    lti_text work, spelled; /* the text with its prefix; a piece in the spelling of bytes */
} lti_pre_split;

#define LTI_PRE_SPLITS 16
typedef struct lti_pre_splits {
    lti_pre_split list[LTI_PRE_SPLITS];
    int count;
    bool spelled;   /* pieces come out in the spelling of bytes */
    lti_text piece; /* one as bytes again */
} lti_pre_splits;

void lti_pre_splits_free(lti_pre_splits *splits);
enum {                        /* where a text stands */
       LTI_TEXT_BEGINS = 1,   /* nothing stands before this text */
       LTI_TEXT_CONTINUES = 2 /* it goes on with what stands before it: no prefix is put there */
};
/* Whether this split puts a blank, or what it writes for one, before a text that is not empty. */
bool lti_pre_split_puts(const lti_pre_split *split, const char *text, int64_t length, unsigned where);
typedef lt_status (*lti_piece_fn)(void *user, const char *piece, int64_t length);
/* Hands the pieces of valid UTF-8 text to `emit`, in order. */
lt_status lti_pre_split_text(lti_pre_splits *splits, const char *text, int64_t length, unsigned where,
                             lti_piece_fn emit, void *user);

/* ---- Steps on text ---- */
typedef enum lti_step_kind {
    LTI_PREPEND,
    LTI_REPLACE,
    LTI_BYTES,
    LTI_FUSE,
    LTI_STRIP,
    LTI_DECOMPOSE, /* NFD; with `compatible` NFKD */
    LTI_COMPOSE,   /* NFC, NFKC */
    LTI_LOWERCASE,
    LTI_DROP_MARKS,    /* every mark, but nothing is decomposed */
    LTI_DROP_ACCENTS,  /* nonspacing marks, after decomposing */
    LTI_TRIM,          /* white space at the ends */
    LTI_CLEAN,         /* BERT: no control characters, blanks for white space */
    LTI_SPACE_CHINESE, /* BERT: blanks around ideographs */
    LTI_METASPACE,     /* decoder */
    LTI_WORD_PIECE     /* decoder */
} lti_step_kind;

typedef struct lti_step {
    lti_step_kind kind;
    char *pattern, *content; /* owned; pattern of REPLACE, content of PREPEND, REPLACE, STRIP, METASPACE, WORD_PIECE */
    size_t pattern_length, content_length;
    lti_regex *regex;    /* owned; of REPLACE, instead of `pattern` */
    int32_t left, right; /* STRIP: at most so many contents at either end; TRIM: whether */
    bool compatible;     /* DECOMPOSE, COMPOSE: the K forms */
    bool drops_first;    /* METASPACE: the first token's replacements vanish */
    bool cleanup;        /* WORD_PIECE */
} lti_step;

#define LTI_STEPS 16
typedef struct lti_steps {
    lti_step list[LTI_STEPS];
    int count;
    bool utf8; /* a step needs valid UTF-8 */
} lti_steps;

void lti_steps_free(lt_ctx *ctx, lti_steps *steps);
/* What the steps may make of `length` bytes: each may grow its text a thousandfold, and a file holds many of them. */
#define LTI_GROWN_LIMIT(length) (64 * (size_t)(length) + (1 << 20))
/* Applies one step of text: `out` is emptied first. `first`: of the first token, or of the whole. LT_ELIMIT beyond
 * `limit` bytes. */
lt_status lti_step_apply(const lti_step *step, const char *text, size_t length, bool first, size_t limit,
                         lti_text *out);
/* The steps from DECOMPOSE to SPACE_CHINESE, on valid UTF-8. */
lt_status lti_unicode_step(const lti_step *step, const char *text, size_t length, lti_text *out);

/* ---- The whole ---- */
#define LTI_TOKENIZER_FILES 4
#define LTI_TEMPLATE 8

struct lt_tokenizer {
    lt_ctx *ctx;
    lti_vocab vocab;
    lti_model_kind model;
    lti_bpe bpe;
    lti_words words;
    lti_matcher raw, normalized;
    lti_steps normalize, decode;
    lti_pre_splits splits;
    bool joins_by_blank; /* no decoder: tokens are joined by blanks */
    int32_t prefix[LTI_TEMPLATE], suffix[LTI_TEMPLATE];
    int prefix_count, suffix_count;
    int32_t bos, eos, pad, unknown; /* unknown: of the configuration; the model's own is bpe.unknown */
    char *chat_template;            /* owned; NULL: none */
    struct {
        const char *name;
        char *bytes;
        int64_t count;
    } files[LTI_TOKENIZER_FILES];
    int file_count;
    char hash[33];
    lti_text work[2]; /* normalized text */
};

/* As lt_tokenizer_encode without flags, for a part of a text that stands `where`: LTI_TEXT_BEGINS, LTI_TEXT_CONTINUES
 * (what comes before is no control token), or 0. */
lt_status lti_tokenizer_encode_at(lt_tokenizer *tokenizer, const char *text, int64_t bytes, unsigned where,
                                  lt_ids *ids);
/* Whether the tokenizer puts a blank before it that the text does not have. */
bool lti_tokenizer_puts_blank(const lt_tokenizer *tokenizer, const char *text, int64_t bytes, unsigned where);

lt_tokenizer *lti_tokenizer_create(lt_ctx *ctx); /* an empty one; NULL and LT_ENOMEM */
/* Hands it out when `status` is LT_OK, frees it otherwise; returns the status. */
lt_status lti_tokenizer_finish(lt_tokenizer *tokenizer, lt_status status, lt_tokenizer **out);
/* Fills an empty tokenizer from a tokenizer.json; `path` is for messages. `root` stays the caller's. */
lt_status lti_tokenizer_parse_json(lt_tokenizer *tokenizer, const char *path, json_t *root);
lt_status lti_tokenizer_parse(lt_tokenizer *tokenizer, const char *path, const char *bytes, size_t size);
/* What tokenizer_config.json or special_tokens_map.json says; absent keys change nothing. */
lt_status lti_tokenizer_config_json(lt_tokenizer *tokenizer, const char *path, json_t *root);
lt_status lti_tokenizer_config(lt_tokenizer *tokenizer, const char *path, const char *bytes, size_t size);
/* Keeps a file for lt_tokenizer_files; a "tokenizer.json" also gives the hash. `name` is a literal; `bytes` (of
 * lti_alloc) is taken, also when this fails. */
lt_status lti_tokenizer_add_file(lt_tokenizer *tokenizer, const char *name, char *bytes, int64_t count);
/* The tokenizer.json and tokenizer_config.json of the byte tokenizer. */
void lti_bytes_json(lti_text *tokenizer, lti_text *config);
/* Byte-level spelling: the byte a code point stands for, or -1; and back. */
int lti_byte_of_point(uint32_t point);
uint32_t lti_point_of_byte(int byte);
void lti_spell_byte(lti_text *out, unsigned char byte); /* as UTF-8 */

lt_status lti_ids_add(lt_ctx *ctx, lt_ids *ids, int32_t id);
lt_status lti_ids_append(lt_ctx *ctx, lt_ids *ids, const int32_t *more, int64_t count);

#endif
