/* packed_bnb.c - the numbers of bitsandbytes' 4-bit weights (Dettmers et al., QLoRA, 2023): w = map[code] scale of the
 * block, blocks of consecutive numbers of the flattened weight.
 *
 *     weight                              uint8 [n / 2, 1]: two codes a byte, the first in the high half
 *     weight.quant_map                    f32 [16]
 *     weight.absmax                       f32 [blocks]; or, nested, uint8 [blocks]:
 *     weight.nested_quant_map, _absmax      scale = map[code] absmax of 256 blocks + offset
 *     weight.quant_state.bitsandbytes__nf4  uint8: JSON with the sizes of blocks, the offset and the shape
 *
 * In float without contraction, as the kernels of NF4 have it. */
#include "data/json.h"
#include "models/packed.h"

#include <string.h>

typedef struct bnb {
    const uint8_t *code;
    lt_real *map, *scale, *nested_map, *nested; /* owned; `scale` also of nested blocks, once they are decoded */
    int64_t n, block, blocks, nested_block;
    float offset;
} bnb;

static void bnb_free(lt_ctx *ctx, bnb *b)
{
    lti_free(ctx, b->map);
    lti_free(ctx, b->scale);
    lti_free(ctx, b->nested_map);
    lti_free(ctx, b->nested);
}

/* ---- The state ---- */

static lt_status bad_state(const lti_weights *w, const char *name, const char *what)
{
    return lti_fail(w->ctx, LT_EFORMAT, "%s: in the quant_state of '%s', %s", lti_weights_path(w), name, what);
}

static bool same_shape(const json_t *shape, const lti_tensor *t)
{
    return json_array_size(shape) == 2 && json_integer_value(json_array_get(shape, 0)) == t->shape[0] &&
           json_integer_value(json_array_get(shape, 1)) == t->shape[1];
}

static lt_status take_state(const lti_weights *w, const lti_tensor *t, const char *name, const json_t *state,
                            bool nested, bnb *b)
{
    b->block = json_integer_value(json_object_get(state, "blocksize"));
    b->nested_block = json_integer_value(json_object_get(state, "nested_blocksize"));
    b->offset = (float)json_number_value(json_object_get(state, "nested_offset"));
    if (!same_shape(json_object_get(state, "shape"), t)) return bad_state(w, name, "'shape' is not the model's");
    if (b->block < 2 || b->block > 1 << 20) return bad_state(w, name, "'blocksize' is no size of a block");
    if (nested && (b->nested_block < 1 || b->nested_block > 1 << 20))
        return bad_state(w, name, "'nested_blocksize' is no size of a block");
    return LT_OK;
}

static lt_status read_state(const lti_weights *w, const lti_tensor *t, const char *name, bool nested, bnb *b)
{
    char part[LTI_PART_NAME];
    int i = -1;
    for (int k = 0; k < 2 && i < 0; k++) {
        lti_part_name(name, k ? ".quant_state.bitsandbytes__fp4" : ".quant_state.bitsandbytes__nf4", false, part);
        i = lt_tensors_find(w->tensors, part);
    }
    if (i < 0 || lt_tensors_dtype(w->tensors, i) != LT_STORED_U8) return bad_state(w, name, "nothing is to be found");
    json_t *state;
    LTI_TRY(lti_json_parse(w->ctx, lt_tensors_file(w->tensors, i), lt_tensors_offset(w->tensors, i),
                           lt_tensors_data(w->tensors, i), (size_t)lt_tensors_bytes(w->tensors, i), &state));
    lt_status status = take_state(w, t, name, state, nested, b);
    json_decref(state);
    return status;
}

/* ---- Scales ---- */

static lt_status nested_scales(const lti_weights *w, const char *name, bnb *b)
{
    int i;
    int64_t groups = (b->blocks - 1) / b->nested_block + 1;
    LTI_TRY(lti_part_find(w, name, &(lti_part){".absmax", false, LT_STORED_U8, 0, b->blocks, 0}, &i));
    lti_part map = {".nested_quant_map", false, LT_STORED_REAL, 0, 256, 0};
    lti_part largest = {".nested_absmax", false, LT_STORED_REAL, 0, groups, 0};
    LTI_TRY(lti_part_numbers(w, name, &map, &b->nested_map));
    LTI_TRY(lti_part_numbers(w, name, &largest, &b->nested));
    b->scale = lti_alloc_array(w->ctx, (size_t)b->blocks, sizeof *b->scale);
    if (!b->scale) return LT_ENOMEM;
    const uint8_t *code = lt_tensors_data(w->tensors, i);
    for (int64_t k = 0; k < b->blocks; k++) {
        float product = (float)b->nested_map[code[k]] * (float)b->nested[k / b->nested_block];
        b->scale[k] = (lt_real)(product + b->offset);
    }
    return LT_OK;
}

static lt_status find_all(const lti_weights *w, const lti_tensor *t, const char *name, bnb *b)
{
    bool nested = lti_part_there(w, name, ".nested_absmax", false);
    int codes;
    LTI_TRY(read_state(w, t, name, nested, b));
    b->n = t->shape[0] * t->shape[1];
    b->blocks = (b->n - 1) / b->block + 1;
    lti_part weight = {"", false, LT_STORED_U8, 0, (b->n + 1) / 2, 0};
    lti_part map = {".quant_map", false, LT_STORED_REAL, 0, 16, 0};
    lti_part absmax = {".absmax", false, LT_STORED_REAL, 0, b->blocks, 0};
    LTI_TRY(lti_part_find(w, name, &weight, &codes));
    b->code = lt_tensors_data(w->tensors, codes);
    LTI_TRY(lti_part_numbers(w, name, &map, &b->map));
    return nested ? nested_scales(w, name, b) : lti_part_numbers(w, name, &absmax, &b->scale);
}

lt_status lti_packed_read_bnb(const lti_packed *p, const lti_weights *w, const lti_tensor *t, const char *name,
                              lt_real *dst)
{
    bnb b = {0};
    (void)p; /* each tensor says what it is */
    lt_status status = find_all(w, t, name, &b);
    for (int64_t i = 0; i < b.n && status == LT_OK; i++) {
        unsigned code = i % 2 ? b.code[i / 2] & 15 : b.code[i / 2] >> 4;
        dst[i] = (lt_real)((float)b.map[code] * (float)b.scale[i / b.block]);
    }
    bnb_free(w->ctx, &b);
    return status;
}
