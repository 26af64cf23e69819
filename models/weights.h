/* weights.h - the tensors of a model's files, whatever their format: safetensors (one file or shards) or GGUF. */
#ifndef LTI_WEIGHTS_H
#define LTI_WEIGHTS_H

#include "base/ctx.h"
#include "lathe/formats.h"
#include "lathe/gguf.h"
#include "models/family.h"

typedef struct lti_weights {
    lt_ctx *ctx;
    lt_tensors *tensors; /* one of the two is open */
    lt_gguf *gguf;
} lti_weights;

typedef struct lti_weight {
    const char *name, *file, *type_name;
    bool usable;   /* of a type the engine knows: f32 (4-byte floats), f16, bf16, a lattice; false: see type_name */
    lt_dtype type; /* LT_F32: 4-byte floats, in every build */
    int rank, index;
    const int64_t *shape;
    int64_t elements;
    const void *data; /* of any alignment */
    uint64_t bytes;
} lti_weight;

void lti_weights_close(lti_weights *weights); /* a zeroed one is fine */
int lti_weights_count(const lti_weights *weights);
void lti_weights_at(const lti_weights *weights, int index, lti_weight *weight);
bool lti_weights_find(const lti_weights *weights, const char *name, lti_weight *weight);
const char *lti_weights_path(const lti_weights *weights);
/* All elements as lt_real. LT_EUNSUPPORTED for types without a value (integers). */
lt_status lti_weights_real(const lti_weights *weights, const lti_weight *weight, lt_real *dst);
/* LT_EFORMAT, with both shapes, when the tensor is not [shape] (in `conv1d` order: reversed). `who` promises it. */
lt_status lti_weights_check(const lti_weights *weights, const lti_weight *weight, const lti_tensor *t, bool conv1d,
                            const char *who);

/* ---- How a tensor lies (layout.c) ---- */
/* One side of a conversion: a kind of file, or a model's params. */
typedef struct lti_side {
    bool interleaved; /* rotated pairs are neighbours */
    bool plus_one;    /* norms are w of (1 + w) */
    bool conv1d;      /* GPT-2's matrices are [in, out] */
} lti_side;
lti_side lti_side_hf(const lt_transformer_config *config);
lti_side lti_side_gguf(const lt_transformer_config *config);
lti_side lti_side_params(const lt_transformer_config *config);

/* Whether the tensor's bytes differ between the sides. */
bool lti_layout_differs(const lti_tensor *t, lti_side from, lti_side to);
/* Moves elements or whole rows, without looking at values: heads and matrices. src and dst are [shape] of elements of
 * `bytes` bytes (a lattice: rows of `row_bytes`). Nothing to move: a copy. */
void lti_layout_move(const lti_tensor *t, lti_side from, lti_side to, size_t element, size_t row_bytes, const void *src,
                     void *dst);
/* What is to be added to a norm's gain: -1, 0 or 1. */
int lti_layout_shift(const lti_tensor *t, lti_side from, lti_side to);

#endif
