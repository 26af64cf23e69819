/* reading.h - what the files that read a tokenizer.json share.
 *
 * Messages say where: `at` is the place in the JSON, "pre_tokenizer.pretokenizers[1]". */
#ifndef LTI_READING_H
#define LTI_READING_H

#include "data/json.h"
#include "data/tokenizer/tokenizer.h"

typedef struct lti_reading {
    lt_ctx *ctx;
    const char *path;
    lt_tokenizer *tok;
} lti_reading;

typedef struct lti_place {
    char text[160];
} lti_place;
lti_place lti_place_of(const char *at, const char *list, size_t index);

bool lti_is_type(json_t *node, const char *type); /* {"type": type, ...} */
bool lti_absent(json_t *value);                   /* missing or null */
/* LT_EUNSUPPORTED with the node's type. */
lt_status lti_unsupported(const lti_reading *r, const char *at, json_t *node);
/* The member `key`: true, false, or `otherwise` when it is absent. */
lt_status lti_read_flag(const lti_reading *r, const char *at, json_t *node, const char *key, bool otherwise,
                        bool *value);
/* A copy of the string `key`, of `least` to 1024 bytes. */
lt_status lti_read_string(const lti_reading *r, const char *at, json_t *node, const char *key, size_t least,
                          char **text, size_t *length);
/* {"pattern": {"String": ...} or {"Regex": ...}}: the text of the one that is there. */
lt_status lti_read_pattern(const lti_reading *r, const char *at, json_t *node, const char **text, size_t *length,
                           bool *regex);
/* The members of a Sequence; LT_EFORMAT when they are no array or `depth` passes 4. */
lt_status lti_read_sequence(const lti_reading *r, const char *at, json_t *node, const char *members, int depth,
                            json_t **list);

/* The two halves of a merge: "a b", or ["a", "b"]; false for anything else. */
bool lti_merge_halves(json_t *merge, const char *part[2], size_t length[2]);

/* The pre-tokenizer comes first, because it decides how tokens are spelled. */
lt_status lti_read_pre_tokenizer(const lti_reading *r, const char *at, json_t *node, int depth);
lt_status lti_read_steps(const lti_reading *r, json_t *root); /* normalizer and decoder */
lt_status lti_read_added(const lti_reading *r, json_t *vocab, json_t *added);
lt_status lti_read_post_processor(const lti_reading *r, const char *at, json_t *node, int depth);

#endif
