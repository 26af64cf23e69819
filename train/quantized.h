/* quantized.h - inside of an export to the formats of other programs: which grids they hold, how they pack them, what
 * their config.json says. */
#ifndef LTI_QUANTIZED_H
#define LTI_QUANTIZED_H

#include "models/packed.h"
#include "train/export.h"

/* ---- Formats (quantized_format.c) ---- */
/* LT_EINVAL when the format cannot hold what the policy trains: says what it holds. */
lt_status lti_format_check(lt_ctx *ctx, lt_quant_format format, const lt_quant_policy *policy);
/* Whether a weight on the policy's grid for linear layers is packed: its rows are whole groups and whole words. */
bool lti_format_packs(lt_quant_format format, const lt_quant_policy *policy, const lt_param *param);
/* What the format wants of shapes, for a message. */
const char *lti_format_shapes(lt_quant_format format);

/* ---- The tensors of a file being made (quantized_pack.c) ---- */
typedef struct lti_pack {
    lt_ctx *ctx;
    lt_tensor_entry *entries;
    char (*names)[LTI_PART_NAME];
    int64_t (*shapes)[2];
    void **owned; /* [room] the entries' bytes; NULL: borrowed */
    int count, room;
} lti_pack;
enum { LTI_MOST_PARTS = 6 }; /* of one weight */
lt_status lti_pack_open(lt_ctx *ctx, int tensors, lti_pack *pack);
void lti_pack_close(lti_pack *pack);

/* Adds the parts of a weight whose grid the format packs, under its name in the file. LT_EUNSUPPORTED: a zero point or
 * a scale that the format has no number for. */
lt_status lti_pack_weight(lti_pack *pack, lt_quant_format format, const lt_params *params,
                          const lt_quant_policy *policy, const lt_param *weight, const char *name);
/* Adds a weight as numbers: those of its codes, in f32 (lt_real) or its 16-bit type. */
lt_status lti_pack_plain(lti_pack *pack, const lt_param *code, const char *name);

/* ---- config.json (quantized_config.c) ---- */
/* `left`: array of the names of linear layers that are not packed; `packed`: object whose keys are the endings of those
 * that are ("self_attn.q_proj"). NULL: memory is out. */
json_t *lti_quantization_config(lt_quant_format format, const lt_quant_policy *policy, const json_t *left,
                                const json_t *packed);

#endif
