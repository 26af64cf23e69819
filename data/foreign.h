/* foreign.h - telling what a file is when it is not what it should be.
 *
 * "Bad magic" sends nobody anywhere; most such files are one of a dozen kinds, each with its own way out. */
#ifndef LTI_FOREIGN_H
#define LTI_FOREIGN_H

#include "data/files.h"

/* LT_EFORMAT with the kind of file and what to do about it, when the bytes are of a kind known here; LT_OK when they
 * tell nothing. `wanted` is the format that was looked for: "GGUF", "safetensors". */
lt_status lti_explain_foreign(lt_ctx *ctx, const char *path, const lti_map *map, const char *wanted);

#endif
