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

/* Adds the parts of a weight whose grid the format packs, under its name in the file. `given`: its codes when they are not
 * the policy's own (values on a grid, or blocks of its type), else NULL. LT_EUNSUPPORTED: a zero point or a scale that the
 * format has no number for. */
lt_status lti_pack_weight(lti_pack *pack, lt_quant_format format, const lt_params *params,
                          const lt_quant_policy *policy, const lt_param *weight, const lt_param *given,
                          const char *name);
/* Adds a weight as numbers: those of its codes, in f32 (lt_real) or, unless `widen`, its 16-bit type. */
lt_status lti_pack_plain(lti_pack *pack, const lt_param *code, bool widen, const char *name);

/* Codes of integer grids, with what makes numbers of them: (code - zero) scale. */
typedef struct lti_grid_codes {
    int64_t out, in, groups; /* groups: of a row */
    uint8_t *code;           /* [out, in] */
    lt_real *scale;          /* [out, groups] */
    int *zero;               /* [out, groups] */
} lti_grid_codes;
/* quantized_recover.c: the codes of numbers [out, in] that are on the scheme's grid, whoever put them there. The struct's
 * sizes are set and its arrays made. LT_EUNSUPPORTED names the tensor and a group that is on no such grid. */
lt_status lti_recover_codes(lt_ctx *ctx, const lt_scheme *scheme, const char *name, const lt_real *values,
                            lti_grid_codes *codes);
/* The scale and zero point of one group of an integer or ternary grid. False: there are none. */
bool lti_recover_scale(const lt_scheme *scheme, int64_t n, const lt_real *values, lt_real *scale, int *zero);
/* Scale and codes of one group of 8-bit floats; floats[code]: what each code is. False: there are none. */
bool lti_recover_float8(const lt_real floats[256], bool e5m2, int64_t n, const lt_real *values, lt_real *scale,
                        uint8_t *codes);

/* ---- config.json (quantized_config.c) ---- */
/* `left`: array of the names of linear layers that are not packed; `packed`: object whose keys are the endings of those
 * that are ("self_attn.q_proj"). NULL: memory is out. */
json_t *lti_quantization_config(lt_quant_format format, const lt_quant_policy *policy, const json_t *left,
                                const json_t *packed);

#endif
