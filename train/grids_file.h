/* grids_file.h - the words of the policy that a model was trained with. */
#ifndef LTI_GRIDS_FILE_H
#define LTI_GRIDS_FILE_H

#include "lathe/train.h"

#include <jansson.h>

/* What lti_policy_json made of the policy, from the manifest of a checkpoint or quantization.safetensors of a finished
 * run; *words NULL where neither is at `path`. The caller's (json_decref). */
lt_status lti_grids_words(lt_ctx *ctx, const char *path, json_t **words);

#endif
