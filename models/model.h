/* model.h - inside of a model that came from files or goes to them. */
#ifndef LTI_MODEL_H
#define LTI_MODEL_H

#include "lathe/data.h"
#include "lathe/gguf.h"
#include "models/family.h"
#include "models/weights.h"

#include <jansson.h>

struct lt_model {
    lt_ctx *ctx;
    lt_transformer_config config;
    lt_params *params;
    lt_tokenizer *tokenizer;
    bool borrows_tokenizer;  /* a model of codes shares its origin's */
    bool frozen, files_only; /* the latter: params is NULL, weights are open */
    const char *prefix;      /* of names in the Hugging Face files it came from, one of its family's */
    json_t *json;            /* config.json as read, unknown keys included; NULL for a new model */
    json_t *generation;      /* generation_config.json, or NULL */
    lti_weights weights;     /* the files whose tensors params uses in place; closed when it copied them */
    float *rope_factors;     /* of a GGUF file's rope_freqs that no config key expresses, or NULL */
};

/* An empty model of a config, without params. */
lt_status lti_model_new(lt_ctx *ctx, const lt_transformer_config *config, lt_model **model);

/* A model's files without its params: everything is checked but the tensors, which are left where they are. */
lt_status lti_model_open_files(lt_ctx *ctx, const char *path, lt_model **model);

/* Everything of a Hugging Face directory but the weights, whose type config.json calls `torch` ("float32"). */
lt_status lti_model_describe(const lt_model *model, const char *directory, const char *torch);

/* Which prefix of the family's the file's names have: the first under which the embedding is found. */
const char *lti_find_prefix(const lti_weights *weights, const lt_transformer_config *config);
/* Tensors a file may hold beyond the table: buffers of old exporters, and the copy of a tied head. */
bool lti_ignorable(const lt_transformer_config *config, const char *name);
/* LT_EFORMAT when the file holds tensors that are neither in the table nor ignorable. */
lt_status lti_check_strangers(const lti_weights *weights, const lt_transformer_config *config, const char *prefix);

/* config.json (hf_config.c). `path` is for messages. LT_EUNSUPPORTED names an option that lathe does not implement. */
lt_status lti_config_from_json(lt_ctx *ctx, const char *path, const json_t *json, lt_transformer_config *config);
/* Sizes that came from a file: LT_EFORMAT, naming the file, where lti_transformer_check refuses them. */
lt_status lti_config_sizes(lt_ctx *ctx, const char *path, const lt_transformer_config *config);
/* A new object: `base` (may be NULL) with the config's values set. NULL: memory is out. */
json_t *lti_config_to_json(const lt_transformer_config *config, const json_t *base, const char *dtype);
/* LT_EUNSUPPORTED when what was written means another model: GGUF can say what config.json cannot. */
lt_status lti_config_check_written(lt_ctx *ctx, const lt_transformer_config *config, const json_t *written);

/* Takes the scaling of `told` (a carried config.json) into the config when it makes the factors the config has. */
void lti_adopt_scaling(const lt_transformer_config *told, lt_transformer_config *config);
/* A GGUF file's keys (gguf_config.c). *factors gets the numbers of rope_freqs where no known scaling makes them (to be
 * freed with lti_free; config points at them), else NULL. */
lt_status lti_config_from_gguf(lt_ctx *ctx, const lt_gguf *gguf, lt_transformer_config *config, float **factors);

#endif
