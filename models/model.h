/* model.h - inside of a model that came from files or goes to them. */
#ifndef LTI_MODEL_H
#define LTI_MODEL_H

#include "lathe/data.h"
#include "models/family.h"

#include <jansson.h>

struct lt_model {
    lt_ctx *ctx;
    lt_llama_config config;
    lt_params *params;
    lt_tokenizer *tokenizer;
    bool borrows_tokenizer; /* a model of codes shares its origin's */
    json_t *json;           /* config.json as read, unknown keys included; NULL for a new model */
    json_t *generation;     /* generation_config.json, or NULL */
    lt_tensors *mapped;     /* the file whose tensors params uses in place, or NULL */
};

/* An empty model of a config, without params. */
lt_status lti_model_new(lt_ctx *ctx, const lt_llama_config *config, lt_model **model);

/* Everything of a Hugging Face directory but the weights, whose type config.json calls `torch` ("float32"). */
lt_status lti_model_describe(const lt_model *model, const char *directory, const char *torch);

/* config.json (hf_config.c). `path` is for messages. LT_EUNSUPPORTED names an option that lathe does not implement. */
lt_status lti_config_from_json(lt_ctx *ctx, const char *path, const json_t *json, lt_llama_config *config);
/* A new object: `base` (may be NULL) with the config's values set. NULL: memory is out. */
json_t *lti_config_to_json(const lt_llama_config *config, const json_t *base, const char *dtype);

#endif
