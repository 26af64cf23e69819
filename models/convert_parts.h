/* convert_parts.h - what the two directions of lt_convert share, and the keys that carry what GGUF has no place for. */
#ifndef LTI_CONVERT_PARTS_H
#define LTI_CONVERT_PARTS_H

#include "base/text.h"
#include "data/formats/type_mix.h"
#include "lathe/convert.h"
#include "models/model.h"

#define LTI_CARRIED_CONFIG "lathe.hf.config"                /* config.json */
#define LTI_CARRIED_GENERATION "lathe.hf.generation_config" /* generation_config.json */
#define LTI_CARRIED_PREFIX "lathe.hf.prefix"                /* "model." */
#define LTI_CARRIED_TYPES "lathe.hf.types"                  /* array of strings, one a tensor of the table: "BF16" */
#define LTI_CARRIED_NORM "lathe.hf.norm."                   /* + tensor name: w, where (1 + w) - 1 is another */

/* One tensor on its way. */
typedef struct lti_moving {
    struct lti_conversion *all;
    lti_tensor t;
    lti_weight w;
    lt_dtype type;         /* it is to have; LT_F32: 4-byte floats */
    const void *own;       /* these floats instead of w's values, [elements], of any alignment; or NULL */
    const lt_real *values; /* w's values, where they lie in memory and not in a file; or NULL */
    bool packed;           /* by another program (packed.h), under the name `source`: w has no bytes */
    lt_dtype lattice;      /* of a packed one: the type that has these very numbers as blocks, else LT_F32 */
    char source[160];
    char name[160];
    int64_t shape[2];
} lti_moving;

typedef struct lti_conversion {
    lt_ctx *ctx;
    const lt_model *model; /* opened by lti_model_open_files */
    const char *out;
    lti_mix mix; /* of matrices, where `typed` */
    lti_mix_facts facts;
    bool typed;
    bool to_gguf;
    const char *name;         /* general.name; NULL: the directory's */
    const lt_gguf_pair *more; /* [n_more] keys of the caller's */
    int n_more;
    lti_side from, to;
    lti_moving *list; /* [count] */
    int count;
    void *buffer, *second; /* of the largest tensor */
    size_t room, second_room;
    lti_text report;
} lti_conversion;

/* The tensor's bytes as the other side wants them; valid until the next call. `user` is an lti_moving. */
lt_status lti_move_tensor(void *user, const void **bytes);
/* Its values as lt_real, as they come. */
lt_status lti_moving_values(const lti_moving *m, lt_real *dst);
/* Norms, biases and tables that llama.cpp uses in f32 alone. */
bool lti_always_f32(const lti_tensor *tensor);
/* What a model's config says about it. */
lt_status lti_mix_facts_of(const lt_transformer_config *config, lti_mix_facts *facts);
/* The type of a tensor in a file of the mix, fallbacks included. */
lt_dtype lti_deployed_type(const lti_mix *mix, const lti_mix_facts *facts, const lti_tensor *tensor);

/* Fills the list from the table: names, sources, types. */
lt_status lti_conversion_list(lti_conversion *c);

lt_status lti_convert_to_gguf(lti_conversion *c);
lt_status lti_convert_to_hf(lti_conversion *c);

/* Keys of the architecture for a config (gguf_keys.c): appended to a growing list. */
typedef struct lti_pairs {
    lt_ctx *ctx;
    lt_gguf_pair *list;
    int count, room;
    void **owned; /* what keys and values lie in */
    int n_owned, owned_room;
} lti_pairs;
void lti_pairs_free(lti_pairs *p);
lt_status lti_pairs_add(lti_pairs *p, const lt_gguf_pair *pair); /* as it is: key and value are borrowed */
lt_status lti_pairs_u32(lti_pairs *p, const char *key, uint32_t value);
lt_status lti_pairs_f32(lti_pairs *p, const char *key, float value);
lt_status lti_pairs_bool(lti_pairs *p, const char *key, bool value);
lt_status lti_pairs_text(lti_pairs *p, const char *key, const char *text);
lt_status lti_pairs_f32s(lti_pairs *p, const char *key, int64_t count, const float *values);       /* copied */
lt_status lti_pairs_texts(lti_pairs *p, const char *key, int64_t count, const char *const *texts); /* copied */
/* LT_EUNSUPPORTED for what GGUF has no key for; `notes` gets a line for a key that llama.cpp may pass over. */
lt_status lti_gguf_keys(lt_ctx *ctx, const lt_transformer_config *config, lti_pairs *pairs, lti_text *notes);

#endif
