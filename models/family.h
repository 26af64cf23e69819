/* family.h - what a model family tells the code that reads and writes its files. One descriptor a family: everything
 * that differs between families is reached through it, and nothing outside models/ asks which family it is. */
#ifndef LTI_FAMILY_H
#define LTI_FAMILY_H

#include "base/ctx.h"
#include "lathe/models.h"

#include <jansson.h>

enum { LTI_MAX_HEAD_DIM = 1024 };

/* How a tensor lies in one kind of file and not in another. Inside lathe a linear layer is [out, in]. */
typedef enum lti_layout {
    LTI_AS_IS = 0,
    LTI_HEADS,  /* rows of heads whose rotated pairs are halves (Hugging Face) or neighbours (GGUF's llama) */
    LTI_CONV1D, /* [in, out] in Hugging Face files (GPT-2) */
    LTI_NORM    /* a norm's gain: w of (1 + w), or 1 + w */
} lti_layout;

typedef struct lti_tensor {
    char name[64];    /* in lathe and in GGUF files */
    char hf[96];      /* in Hugging Face files, after the family's prefix unless `outside` */
    bool outside;     /* hf has no prefix: "lm_head.weight" */
    int rank;         /* 1 or 2; filters of convolutions have 4 */
    int64_t shape[4]; /* as lathe has it */
    double std;       /* of the initial values; 0: all are `fill` */
    double fill;
    lti_layout layout;
    int64_t heads; /* LTI_HEADS: heads in the rows */
    double bound;  /* above 0: initial values are uniform in +-bound instead */
    bool fixed;    /* no gradient trains it: running averages */
} lti_tensor;

typedef lt_status (*lti_tensor_visitor)(void *user, const lti_tensor *tensor);

/* config.json being read: helpers in hf_config.c. */
typedef struct lti_config_reader {
    lt_ctx *ctx;
    const char *path;
    const json_t *json;
} lti_config_reader;

typedef struct lti_family {
    lt_family id;
    const char *name;         /* lathe's, --init's, and general.architecture of GGUF files */
    const char *model_types;  /* of config.json, between bars: "|llama|mistral|" */
    const char *model_type;   /* what a new config.json says */
    const char *architecture; /* "LlamaForCausalLM" */
    const char *prefixes[4];  /* of names in Hugging Face files; the first is what new files get. "" is one too */
    bool encoder, learned_positions;
    bool gguf_interleaves; /* GGUF files have neighbours where Hugging Face has halves */
    void (*defaults)(lt_transformer_config *config);
    lt_status (*read_json)(const lti_config_reader *reader, lt_transformer_config *config);
    int (*write_json)(json_t *json, const lt_transformer_config *config); /* nonzero: memory is out */
    /* Calls visit for every tensor, in file order; stops at the first failure. */
    lt_status (*each)(const lt_transformer_config *config, lti_tensor_visitor visit, void *user);
    lt_t (*hidden)(lt_graph *graph, const lt_transformer_config *config, const lt_model_input *input);
    lt_t (*head)(lt_graph *graph, const lt_transformer_config *config, lt_t hidden); /* NULL: lt_nn_head */
} lti_family;

extern const lti_family lti_family_llama, lti_family_qwen2, lti_family_qwen3, lti_family_gemma3, lti_family_gpt2,
    lti_family_bert, lti_family_bitnet;

const lti_family *lti_family_of(lt_family id);
const lti_family *lti_family_named(const char *name);         /* NULL when there is none */
const lti_family *lti_family_of_model_type(const char *type); /* config.json's; NULL when there is none */
const char *lti_family_names(void);                           /* "llama, qwen2, ..." for messages */

lt_status lti_transformer_each(const lt_transformer_config *config, lti_tensor_visitor visit, void *user);
/* LT_EINVAL naming what is out of range or does not divide. */
lt_status lti_transformer_check(lt_ctx *ctx, const lt_transformer_config *config);
int64_t lti_head_dim(const lt_transformer_config *config);
/* "blk.3.attn_q.weight" into a table row: both names get the layer's number, given once each as %lld. */
void lti_tensor_name(lti_tensor *tensor, int64_t layer, const char *name, const char *hf);
/* prefix + hf, or hf alone when outside. */
void lti_hf_name(const lti_tensor *tensor, const char *prefix, char *name, size_t size);
/* lt_transformer_loss with labels smoothed by `smoothing`. */
lt_t lti_transformer_loss(lt_graph *graph, const lt_transformer_config *config, const lt_model_input *input,
                          lt_t targets, lt_t norm, double smoothing);

/* A tensor as a param with its initial values: an lti_tensor_visitor whose user is an lti_adder. */
typedef struct lti_adder {
    lt_params *params;
    uint64_t seed;
} lti_adder;
lt_status lti_add_tensor(void *adder, const lti_tensor *tensor);

/* ---- Pieces networks share (transformer.c) ---- */
bool lti_given(lt_t x); /* neither zero nor nil */
/* Keys or values so far: this step's rows written into the layer's cache, which is then read whole. x itself without
 * `first`. */
lt_t lti_through_cache(lt_t x, const char *name, lt_t first);
lt_t lti_activation(lt_t x, lt_activation kind);

/* ---- Reading config.json (hf_config.c): a missing or null key leaves *value as it is, unless it is required ---- */
lt_status lti_config_bad(const lti_config_reader *r, const char *key, const char *wanted);
lt_status lti_config_count(const lti_config_reader *r, const char *key, bool required, int64_t *value);
lt_status lti_config_number(const lti_config_reader *r, const char *key, double *value);
lt_status lti_config_bool(const lti_config_reader *r, const char *key, bool *value);
lt_status lti_config_activation(const lti_config_reader *r, const char *key, lt_activation *value);
/* The key must be absent, null, or equal to the only value lathe implements. */
lt_status lti_config_only_bool(const lti_config_reader *r, const char *key, bool wanted);
lt_status lti_config_only_text(const lti_config_reader *r, const char *key, const char *wanted);
lt_status lti_config_only_absent(const lti_config_reader *r, const char *key);
const char *lti_activation_name(lt_activation kind, const char *tanh_spelling); /* as config.json spells it */

#endif
