/* type_mix.h - which type each tensor of a model gets in a file that people call by one name ("q4_k_m"): the choice of
 * llama-quantize, by the tensor's name, its layer and its shape. Converting, forecasting and training on the grid that
 * ships all ask here, so that they agree. */
#ifndef LTI_TYPE_MIX_H
#define LTI_TYPE_MIX_H

#include "lathe/base.h"

typedef struct lti_mix {
    const char *name; /* "q4_k_m" */
    lt_dtype base;    /* of every matrix that no rule is about */
    uint32_t number;  /* general.file_type of a GGUF file; 0: none of its own */
} lti_mix;

/* What the choice depends on beside the tensor itself. */
typedef struct lti_mix_facts {
    int64_t values, downs; /* how many attn_v (or attn_qkv), and how many ffn_down the model has */
    int64_t shared;        /* query heads that share one head of keys; 1 where they are fused */
    bool tied;             /* there is no output.weight: the embedding is the head, too */
    int64_t queries, keys; /* rows of the first layer's, while counting */
} lti_mix_facts;

/* By llama-quantize's names, and q3_k, q4_k, q5_k, which mean the _m ones; NULL when there is none. */
const lti_mix *lti_mix_named(const char *name);
const char *lti_mix_names(void); /* "q2_k, q2_k_s, ...", for messages */
/* The mix of a type's name, or, where there is none, that type for every matrix but the head. */
lti_mix lti_mix_of(lt_dtype type);
/* Facts before the first tensor is counted: begin with this; then every tensor, in any order. rows: its first axis. */
lti_mix_facts lti_mix_facts_new(void);
void lti_mix_count(lti_mix_facts *facts, const char *name, int64_t rows);
/* The type of a matrix with rows of `columns`, before lti_type_that_fits. */
lt_dtype lti_mix_type(const lti_mix *mix, const lti_mix_facts *facts, const char *name, int64_t columns);
/* Positions, token types and norms stay f32 whatever their rank, as all that is no "*weight". */
bool lti_mix_leaves(const char *name);
/* The type itself where rows are whole blocks, else the one that llama-quantize falls back to. */
lt_dtype lti_type_that_fits(lt_dtype type, int64_t columns);

#endif
