/* json.h - JSON from untrusted files, by Jansson, with errors that name the file and the byte.
 *
 * Duplicate keys are refused everywhere: two readers that resolve them differently see two different files. */
#ifndef LTI_JSON_H
#define LTI_JSON_H

#include "base/ctx.h"

#include <jansson.h>

/* Parses `size` bytes that lie at byte `offset` of the file `path`. Free with json_decref. LT_EFORMAT, LT_ENOMEM. */
lt_status lti_json_parse(lt_ctx *ctx, const char *path, uint64_t offset, const char *bytes, size_t size, json_t **root);
/* Parses one value of any kind, a row of a file; NULL with what is wrong in `error`. Whole numbers that 64 bits do not
 * hold become fractions, here and above. */
json_t *lti_json_value(const char *bytes, size_t size, json_error_t *error);
/* Reads and parses a file whose top is an object; at most `limit` bytes. */
lt_status lti_json_read(lt_ctx *ctx, const char *path, uint64_t limit, json_t **root);

const char *lti_json_kind(const json_t *value); /* "an object", "a string"; NULL is "missing" */

#endif
