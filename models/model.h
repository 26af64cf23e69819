/* model.h - inside of a model that came from files or goes to them. */
#ifndef LTI_MODEL_H
#define LTI_MODEL_H

#include "lathe/data.h"
#include "lathe/gguf.h"
#include "models/family.h"
#include "models/network.h"
#include "models/packed.h"
#include "models/weights.h"

#include <jansson.h>

struct lt_model {
    lt_ctx *ctx;
    const lti_network *network;   /* NULL: it is a transformer, and `config` holds */
    lt_transformer_config config; /* what _init made of it in a network */
    lti_network_config net;
    lt_params *params;
    lt_tokenizer *tokenizer; /* NULL: it reads numbers */
    bool borrows_tokenizer;  /* a model of codes shares its origin's */
    bool frozen, files_only; /* the latter: params is NULL, weights are open */
    const char *prefix;      /* of names in the Hugging Face files it came from, one of its family's */
    json_t *json;            /* config.json as read, unknown keys included; NULL for a new model */
    json_t *generation;      /* generation_config.json, or NULL */
    json_t *labels;      /* {"0": name, ..} where config.json's id2label is not it: of a new model's data; or NULL */
    lti_packed packed;   /* how the files have quantized weights, which are unpacked when they are opened */
    lti_weights weights; /* the files whose tensors params uses in place; closed when it copied them */
    float *rope_factors; /* of a GGUF file's rope_freqs that no config key expresses, or NULL */
};

/* An empty model of a config, without params. */
lt_status lti_model_new(lt_ctx *ctx, const lt_transformer_config *config, lt_model **model);
/* An empty model of the same config: names of its tensors, classes and ends of texts too. It shares the tokenizer. */
lt_status lti_model_like(const lt_model *model, lt_model **like);
/* Every tensor of the model in file order; stops at the first failure. */
lt_status lti_model_each(const lt_model *model, lti_tensor_visitor visit, void *user);
/* Facts of either kind of model. */
lti_network_facts lti_model_facts(const lt_model *model);
/* Names the model's classes as the data does, if it does. */
lt_status lti_model_take_labels(lt_model *model, const lt_dataset *data);
/* LT_EINVAL when the model cannot read this kind of data set, whatever its sizes (fit.c). */
lt_status lti_model_check_kind(const lt_model *model, const lt_dataset *data);
/* hidden [.., C] -> logits, of classifiers [B, classes]; `last` as in lt_model_input. */
lt_t lti_model_head(const lt_model *model, lt_graph *graph, lt_t hidden, lt_t last);

/* A model's files without its params: everything is checked but the tensors, which are left where they are. */
lt_status lti_model_open_files(lt_ctx *ctx, const char *path, lt_model **model);

/* Gives an empty model (lti_model_like) the weights of a GGUF file, frozen, with rows in the order of its own config. */
lt_status lti_model_take_gguf(lt_model *model, const char *path);

/* Everything of a Hugging Face directory but the weights, whose type config.json calls `torch` ("float32").
 * `quantization` becomes its quantization_config; NULL: it has none. */
lt_status lti_model_describe(const lt_model *model, const char *directory, const char *torch, json_t *quantization);

/* Which prefix of the family's the file's names have: the first under which the embedding is found. */
const char *lti_find_prefix(const lti_weights *weights, const lt_transformer_config *config);
/* Tensors a file may hold beyond the table: buffers of old exporters, and the copy of a tied head. */
bool lti_ignorable(const lt_model *model, const char *name);
/* LT_EFORMAT when the model's files hold tensors that are neither in the table nor ignorable. `prefix` NULL: names are
 * lathe's. */
lt_status lti_check_strangers(const lt_model *model, const char *prefix);

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
