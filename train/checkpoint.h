/* checkpoint.h - everything a run needs to go on bit for bit, as a directory that is whole or absent. */
#ifndef LTI_CHECKPOINT_H
#define LTI_CHECKPOINT_H

#include "base/ctx.h"
#include "lathe/formats.h"
#include "lathe/params.h"

#include <jansson.h>

/* The stored type that keeps a param's bytes as they are; U8 for lattice blocks. */
lt_stored lti_stored_of(lt_dtype type);

/* Writes <root>/ckpt-<step>/{state.safetensors, manifest.json} and removes all but the newest `keep` and the newest
 * whose step is a multiple of `every` (0: no such one), where a rollback goes. `state` is what else the run needs, any
 * JSON object. When this fails, older checkpoints are untouched. */
lt_status lti_checkpoint_save(lt_ctx *ctx, const char *root, int64_t step, const lt_params *params, json_t *state,
                              int64_t keep, int64_t every);
/* The newest checkpoint under root, of those whose step is a multiple of `every` (1: all), whose files have the hashes
 * of its manifest; *path NULL when there is none. Damaged ones are passed over and named in `skipped` (lines; may be
 * cut). */
lt_status lti_checkpoint_find(lt_ctx *ctx, const char *root, int64_t every, char **path, char *skipped,
                              size_t skipped_size);
/* Removes checkpoints of later steps: of another past, or damaged. */
lt_status lti_checkpoint_drop_after(lt_ctx *ctx, const char *root, int64_t step);
/* Reads and checks one. *state is the caller's (json_decref). */
lt_status lti_checkpoint_read(lt_ctx *ctx, const char *path, json_t **state);
/* What its run was trained as (state.run: the words of lti_policy_json), without reading the arrays. *words NULL where
 * path is no checkpoint or its run had no policy; the caller's (json_decref). */
lt_status lti_checkpoint_words(lt_ctx *ctx, const char *path, json_t **words, bool *is_checkpoint);
/* Fills params from it: every LT_WEIGHT and LT_STATE array must be there with its type and shape. */
lt_status lti_checkpoint_load(lt_ctx *ctx, const char *path, lt_params *params);

#endif
