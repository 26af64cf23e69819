/* reading.h - what the two files that read a tokenizer.json share. */
#ifndef LTI_READING_H
#define LTI_READING_H

#include "data/json.h"
#include "data/tokenizer/tokenizer.h"

typedef struct lti_reading {
    lt_ctx *ctx;
    const char *path;
    lt_tokenizer *tok;
} lti_reading;

bool lti_is_type(json_t *node, const char *type); /* {"type": type, ...} */
bool lti_absent(json_t *value);                   /* missing or null */
/* LT_EUNSUPPORTED with the node's type. */
lt_status lti_unsupported(const lti_reading *r, const char *what, json_t *node);

/* Normalizer and decoder; the pre-tokenizer comes first, because it decides how tokens are spelled. */
lt_status lti_read_pre_tokenizer(const lti_reading *r, json_t *node);
lt_status lti_read_steps(const lti_reading *r, json_t *root);
lt_status lti_read_post_processor(const lti_reading *r, json_t *node, int depth);

#endif
