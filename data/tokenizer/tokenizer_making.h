/* tokenizer_making.h - tokenizers that lathe writes down itself: found in a GGUF file, or learned from a text.
 *
 * Both are written as the tokenizer.json and tokenizer_config.json that Hugging Face would have for them, and the
 * reader of those files makes the tables: what is saved beside a model then means what lathe computed with it. */
#ifndef LTI_TOKENIZER_MAKING_H
#define LTI_TOKENIZER_MAKING_H

#include "data/json.h"
#include "data/tokenizer/tokenizer.h"
#include "lathe/gguf.h"

/* ---- How a byte-level tokenizer cuts text into words before it merges ---- */
typedef enum lti_cut {
    LTI_CUT_GPT2,
    LTI_CUT_DIGITS, /* every digit alone, the rest as GPT-2: SmolLM, StarCoder */
    LTI_CUT_LLAMA3,
    LTI_CUT_QWEN2
} lti_cut;

/* What a value of tokenizer.ggml.pre means. The names with equal meaning stand behind one another; the first of them is
 * the one that is written. */
typedef struct lti_pre {
    const char *name;
    lti_cut cut;
    bool nfc, ignore_merges, adds_bos;
} lti_pre;

const lti_pre *lti_pre_find(const char *name, size_t length); /* NULL */
/* The entry for the normalizer, pre-tokenizer and ignore_merges of a byte-level tokenizer.json; LT_EUNSUPPORTED, naming
 * the part that has no name in GGUF. */
lt_status lti_pre_recognise(lt_ctx *ctx, json_t *root, const lti_pre **pre);
/* The nodes of a normalizer, pre-tokenizer or decoder, Sequences opened; -1 when there are over `limit` or nested too
 * deeply. `members` is what a Sequence calls its list. */
int lti_flatten(json_t *node, const char *members, int limit, json_t **nodes);
/* The text of {"pattern": {"String" or "Regex": text}}; NULL. */
const char *lti_pattern(json_t *node, const char *kind);

/* ---- Parts of a tokenizer.json; each returns a new value, NULL when memory is out ---- */
json_t *lti_added_json(int32_t id, const char *text, bool special);
json_t *lti_pre_tokenizer_json(lti_cut cut);
json_t *lti_byte_level_json(bool pattern);
/* {"type": "TemplateProcessing", ...} that puts `before` and `after` (each may be NULL) around a text. */
json_t *lti_around_json(const char *before, int32_t before_id, const char *after, int32_t after_id);
json_t *lti_bpe_json(json_t *unknown, bool byte_fallback, bool ignore_merges, json_t *vocab, json_t *merges);
/* The whole; takes all of its parts, any of which may be NULL for null. */
json_t *lti_whole_json(json_t *added, json_t *normalizer, json_t *pre_tokenizer, json_t *post, json_t *decoder,
                       json_t *model);

/* Fills an empty tokenizer from the two files and keeps their text; takes both values. NULL for one of them is
 * LT_ENOMEM. */
lt_status lti_tokenizer_make(lt_tokenizer *tok, const char *path, json_t *tokenizer, json_t *config);

/* ---- Merges that follow from scores ---- */

typedef struct lti_piece {
    const char *text;
    uint32_t length; /* 0: takes no part */
    double score;
} lti_piece;

typedef struct lti_joint {
    int32_t left, right, id;
    uint32_t left_length, right_length; /* in characters */
    double score;                       /* of the result */
} lti_joint;

/* SentencePiece stores a score a token, not merges: two tokens join when what they spell is a token, the best score
 * first. Returns all such pairs in that order (equal scores: the longer left part first, then the longer right part,
 * then the smaller id), to be freed with lti_free. LT_EFORMAT: two pieces are equal or a score is not a number;
 * LT_ELIMIT: over ten pairs a token. `path` is for messages. */
lt_status lti_score_merges(lt_ctx *ctx, const char *path, const lti_piece *pieces, int32_t count, lti_joint **joints,
                           int64_t *n_joints);

#endif
