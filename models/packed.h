/* packed.h - weights of Hugging Face directories that other programs quantized: what config.json's quantization_config
 * says of them, and the numbers they stand for. The byte layouts are at the top of packed_int.c, packed_bnb.c and
 * packed_ternary.c. */
#ifndef LTI_PACKED_H
#define LTI_PACKED_H

#include "models/weights.h"

#include <jansson.h>

typedef enum lti_packing {
    LTI_PACKED_NONE = 0,
    LTI_PACKED_GPTQ,
    LTI_PACKED_AWQ,
    LTI_PACKED_BNB,        /* bitsandbytes, 4 bits */
    LTI_PACKED_COMPRESSED, /* compressed-tensors, "int-quantized": 8 bits */
    LTI_PACKED_TERNARY     /* Transformers' BitNet */
} lti_packing;

/* Zero: nothing is packed. */
typedef struct lti_packed {
    lti_packing packing;
    int bits;            /* GPTQ: 2, 4 or 8 */
    int64_t group;       /* rows of the input that share a scale; -1: all */
    bool zeros_less_one; /* GPTQ's first format: zero points are stored less 1 */
    bool scale_divides;  /* ternary: BitLinear, not AutoBitLinear */
} lti_packed;

/* Takes "quantization_config" out of a config.json that was read (path is for messages): what is left describes the
 * model. Absent or null: nothing is packed. LT_EUNSUPPORTED: a method or option that lathe does not read. */
lt_status lti_packed_take(lt_ctx *ctx, const char *path, json_t *config, lti_packed *packed);

/* Whether the tensor called `name` ("model.layers.0.mlp.up_proj.weight") is packed in these files. */
bool lti_packed_has(const lti_packed *packed, const lti_weights *weights, const char *name);
/* LT_EFORMAT when the parts have fewer than a bit a number of the tensor: before memory is made for them. */
lt_status lti_packed_check(const lti_packed *packed, const lti_weights *weights, const lti_tensor *t, const char *name);
/* Its numbers, as lathe has the tensor: t->shape = [out, in]. LT_EFORMAT names the part that does not fit. */
lt_status lti_packed_read(const lti_packed *packed, const lti_weights *weights, const lti_tensor *t, const char *name,
                          lt_real *dst);
/* Calls visit for each name of a part that the tensor may have. */
void lti_packed_parts(const lti_packed *packed, const char *name, void (*visit)(void *user, const char *part),
                      void *user);

/* The scale of every 32 numbers of a row, [out, in / 32], where the method has one for all of them. */
enum { LTI_PACKED_BLOCK = 32 };
lt_status lti_packed_scales(const lti_packed *packed, const lti_weights *weights, const lti_tensor *t, const char *name,
                            lt_real *scales, bool *there);
/* The type whose blocks hold the very numbers, codes and scales as they are: of ternary ones tq2_0 where rows are whole
 * blocks of it, else q4_0, else q8_0 (4-bit codes with zero points); LT_F32 where none does, as with scales that are no
 * f16, or codes of 8 bits with zero points. */
lt_status lti_packed_lattice(const lti_packed *packed, const lti_weights *weights, const lti_tensor *t,
                             const char *name, lt_dtype *type);
/* The tensor as blocks of that type; *there false where they do not hold its numbers. `blocks` NULL: only whether. */
lt_status lti_packed_blocks(const lti_packed *packed, const lti_weights *weights, const lti_tensor *t, const char *name,
                            lt_dtype type, void *blocks, bool *there);

/* ---- For the decoders ---- */
enum { LTI_PART_NAME = 200 };
/* The name of a part: `suffix` behind the name, or in place of ".weight" when it replaces it. */
void lti_part_name(const char *name, const char *suffix, bool replaces, char part[LTI_PART_NAME]);
/* The part as it must be: LT_EFORMAT with what was found. rank 2: [a, b]; rank 1: [a]; rank 0: any shape of a elements. */
typedef struct lti_part {
    const char *suffix;
    bool replaces;
    lt_stored dtype; /* LT_STORED_REAL: any floating point type */
    int rank;
    int64_t a, b;
} lti_part;
lt_status lti_part_find(const lti_weights *weights, const char *name, const lti_part *wanted, int *index);
bool lti_part_there(const lti_weights *weights, const char *name, const char *suffix, bool replaces);
/* The same, read as numbers: free with lti_free. */
lt_status lti_part_numbers(const lti_weights *weights, const char *name, const lti_part *wanted, lt_real **numbers);

lt_status lti_packed_read_gptq(const lti_packed *packed, const lti_weights *weights, const lti_tensor *t,
                               const char *name, lt_real *dst);
lt_status lti_packed_read_awq(const lti_packed *packed, const lti_weights *weights, const lti_tensor *t,
                              const char *name, lt_real *dst);
lt_status lti_packed_read_compressed(const lti_packed *packed, const lti_weights *weights, const lti_tensor *t,
                                     const char *name, lt_real *dst);
lt_status lti_packed_read_ternary(const lti_packed *packed, const lti_weights *weights, const lti_tensor *t,
                                  const char *name, lt_real *dst);
/* scales [out, in / 32]: all are the tensor's. */
lt_status lti_packed_scales_ternary(const lti_packed *packed, const lti_weights *weights, const lti_tensor *t,
                                    const char *name, lt_real *scales);
lt_status lti_packed_read_bnb(const lti_packed *packed, const lti_weights *weights, const lti_tensor *t,
                              const char *name, lt_real *dst);

/* Which of the eight columns of a word AWQ has in nibble i. */
static inline int lti_awq_column(int i)
{
    return i < 4 ? 2 * i : 2 * i - 7;
}

#endif
