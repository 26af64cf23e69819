/* quantized_pack.c - weights in the byte layouts of models/packed_int.c and models/packed_bnb.c.
 *
 * Codes are made from the weights again by the kernels of the final evaluation, because what that pass keeps of integer
 * grids are numbers; the proof (export_quantized.c) compares what the parts stand for with those numbers. */
#include "autograd/ops/freeze_codes.h"
#include "autograd/ops/lattice_convert.h"
#include "kernels/integer.h"
#include "kernels/lattice/blocks.h"
#include "kernels/lattice/nested_scales.h"
#include "qat/hooks.h"
#include "qat/learned_scales.h"
#include "train/quantized.h"

#include <math.h>
#include <string.h>

/* ---- The list ---- */

lt_status lti_pack_open(lt_ctx *ctx, int tensors, lti_pack *pack)
{
    size_t n = (size_t)tensors * LTI_MOST_PARTS + 1;
    *pack = (lti_pack){.ctx = ctx,
                       .room = (int)n,
                       .entries = lti_alloc_array(ctx, n, sizeof *pack->entries),
                       .names = lti_alloc_array(ctx, n, sizeof *pack->names),
                       .shapes = lti_alloc_array(ctx, n, sizeof *pack->shapes),
                       .owned = lti_alloc_array(ctx, n, sizeof *pack->owned)};
    return pack->entries && pack->names && pack->shapes && pack->owned ? LT_OK : LT_ENOMEM;
}

void lti_pack_close(lti_pack *pack)
{
    for (int i = 0; pack->owned && i < pack->count; i++) lti_free(pack->ctx, pack->owned[i]);
    lti_free(pack->ctx, pack->entries);
    lti_free(pack->ctx, pack->names);
    lti_free(pack->ctx, pack->shapes);
    lti_free(pack->ctx, pack->owned);
}

/* A part of zeros to be filled; NULL: memory is out. */
static void *add_part(lti_pack *pack, const char *name, const lti_part *part)
{
    int i = pack->count;
    int64_t elements = part->rank == 2 ? part->a * part->b : part->a;
    void *bytes = lti_alloc_array(pack->ctx, (size_t)elements, (size_t)lt_stored_bits(part->dtype) / 8);
    if (!bytes) return NULL;
    lti_part_name(name, part->suffix, part->replaces, pack->names[i]);
    pack->shapes[i][0] = part->a;
    pack->shapes[i][1] = part->b;
    pack->owned[i] = bytes;
    pack->entries[i] = (lt_tensor_entry){
        .name = pack->names[i], .dtype = part->dtype, .rank = part->rank, .shape = pack->shapes[i], .data = bytes};
    pack->count++;
    return bytes;
}

/* ---- Codes on integer grids ---- */

static void codes_free(lt_ctx *ctx, lti_grid_codes *c)
{
    lti_free(ctx, c->code);
    lti_free(ctx, c->scale);
    lti_free(ctx, c->zero);
}

static lt_status no_number(lt_ctx *ctx, const lt_param *w, int64_t group, const lti_grid *g)
{
    return lti_fail(ctx, LT_EUNSUPPORTED,
                    "'%s': group %lld has codes %g to %g times %g, for which the format has no zero point or no scale; "
                    "train a while longer, or with dynamic scales",
                    lt_param_name(w), (long long)group, (double)g->lo, (double)g->hi, (double)g->scale);
}

/* Scale and zero point of each group; its codes, which count from lo, then count from the zero point. */
static lt_status finish_groups(lt_ctx *ctx, const lti_grid_now *now, int bits, const lt_param *w, lti_grid_codes *c)
{
    int most = (1 << bits) - 1;
    for (int64_t k = 0; k < now->groups.count; k++) {
        lti_grid g = lti_grid_make(&now->attr, now->scale[k], lti_rule_has_offset(&now->attr) ? now->offset[k] : 0);
        int64_t first, n = lti_group_at(&now->groups, k, &first);
        int zero = now->attr.asymmetric ? (int)-g.lo : 1 << (bits - 1), shift = zero + (int)g.lo;
        bool fits = zero >= 0 && zero <= most && shift >= 0 && zero + (int)g.hi <= most && isfinite((double)g.scale);
        if (!fits || g.base != 0) return no_number(ctx, w, k, &g);
        c->zero[k] = zero;
        c->scale[k] = g.scale;
        for (int64_t i = first; i < first + n; i++) c->code[i] = (uint8_t)(c->code[i] + 128 + shift);
    }
    return LT_OK;
}

static lt_status room_for_codes(lt_ctx *ctx, const lt_scheme *s, const lt_param *w, lti_grid_codes *c)
{
    *c = (lti_grid_codes){.out = lt_param_shape(w)[0], .in = lt_param_shape(w)[1]};
    c->groups = s->per == LT_PER_GROUP && s->group < c->in ? c->in / s->group : 1;
    c->code = lti_alloc(ctx, (size_t)lt_param_count(w));
    c->scale = lti_alloc_array(ctx, (size_t)(c->out * c->groups), sizeof *c->scale);
    c->zero = lti_alloc_array(ctx, (size_t)(c->out * c->groups), sizeof *c->zero);
    return c->code && c->scale && c->zero ? LT_OK : LT_ENOMEM;
}

/* The policy's own codes, or those that are given. */
static lt_status make_codes(const lt_params *params, const lt_quant_policy *policy, const lt_param *w,
                            const lt_param *given, lti_grid_codes *c)
{
    lt_ctx *ctx = lt_params_ctx(params);
    lt_scheme s = lt_quant_scheme(policy, w);
    LTI_TRY(room_for_codes(ctx, &s, w, c));
    if (given) return lti_recover_codes(ctx, &s, lt_param_name(w), lt_param_read(given), c);
    lti_grid_now now;
    lt_status status = lti_grid_now_make(params, policy, &s, w, 0, c->out, &now);
    if (status == LT_OK) {
        lti_codes_on_grids(&now.attr, &now.groups, lt_param_read(w), now.scale, now.offset, 0, lt_param_count(w),
                           (int8_t *)c->code);
        status = finish_groups(ctx, &now, s.bits, w, c);
    }
    lti_grid_now_free(ctx, &now);
    return status;
}

/* ---- Words ---- */

/* Scales turned round, [groups, out], in f16, which they fit exactly. */
static void put_scales(const lti_grid_codes *c, uint16_t *half)
{
    for (int64_t g = 0; g < c->groups; g++)
        for (int64_t o = 0; o < c->out; o++) lti_k()->to_f16(1, &c->scale[o * c->groups + g], &half[g * c->out + o]);
}

static lt_status put_gptq(lti_pack *pack, const lt_scheme *s, const char *name, const lti_grid_codes *c)
{
    int per = 32 / s->bits, less = s->asymmetric ? 0 : 1;
    uint32_t most = (1u << s->bits) - 1;
    uint32_t *words = add_part(pack, name, &(lti_part){".qweight", true, LT_STORED_I32, 2, c->in / per, c->out});
    uint32_t *zeros = add_part(pack, name, &(lti_part){".qzeros", true, LT_STORED_I32, 2, c->groups, c->out / per});
    uint16_t *half = add_part(pack, name, &(lti_part){".scales", true, LT_STORED_F16, 2, c->groups, c->out});
    int32_t *index = add_part(pack, name, &(lti_part){".g_idx", true, LT_STORED_I32, 1, c->in, 0});
    if (!words || !zeros || !half || !index) return LT_ENOMEM;
    for (int64_t o = 0; o < c->out; o++)
        for (int64_t i = 0; i < c->in; i++)
            words[i / per * c->out + o] |= (uint32_t)c->code[o * c->in + i] << i % per * s->bits;
    for (int64_t g = 0; g < c->groups; g++)
        for (int64_t o = 0; o < c->out; o++)
            zeros[(g * c->out + o) / per] |= ((uint32_t)(c->zero[o * c->groups + g] - less) & most)
                                             << o % per * s->bits;
    for (int64_t i = 0; i < c->in; i++) index[i] = (int32_t)(i / (c->in / c->groups));
    put_scales(c, half);
    return LT_OK;
}

static lt_status put_awq(lti_pack *pack, const char *name, const lti_grid_codes *c)
{
    uint32_t *words = add_part(pack, name, &(lti_part){".qweight", true, LT_STORED_I32, 2, c->in, c->out / 8});
    uint32_t *zeros = add_part(pack, name, &(lti_part){".qzeros", true, LT_STORED_I32, 2, c->groups, c->out / 8});
    uint16_t *half = add_part(pack, name, &(lti_part){".scales", true, LT_STORED_F16, 2, c->groups, c->out});
    if (!words || !zeros || !half) return LT_ENOMEM;
    for (int64_t o = 0; o < c->out; o += 8)
        for (int k = 0; k < 8; k++) {
            int64_t from = o + lti_awq_column(k);
            for (int64_t i = 0; i < c->in; i++)
                words[(i * c->out + o) / 8] |= (uint32_t)c->code[from * c->in + i] << 4 * k;
            for (int64_t g = 0; g < c->groups; g++)
                zeros[(g * c->out + o) / 8] |= (uint32_t)c->zero[from * c->groups + g] << 4 * k;
        }
    put_scales(c, half);
    return LT_OK;
}

/* ---- compressed-tensors ---- */

static lt_status pack_compressed(lti_pack *pack, const lt_params *params, const lt_quant_policy *policy,
                                 const lt_param *w, const lt_param *given, const char *name)
{
    int64_t out = lt_param_shape(w)[0], in = lt_param_shape(w)[1];
    int8_t *code = add_part(pack, name, &(lti_part){".weight", true, LT_STORED_I8, 2, out, in});
    lt_real *scale = add_part(pack, name, &(lti_part){".weight_scale", true, LT_STORED_REAL, 2, out, 1});
    if (!code || !scale) return LT_ENOMEM;
    const lt_site site = {.kind = LT_SITE_LINEAR, .param = (lt_param *)w};
    if (!given && lti_qat_rows(policy, &site)) {
        lti_quantize_activations(LT_I8, out, in, lt_param_read(w), code, scale);
        return LT_OK;
    }
    lti_grid_codes c;
    lt_status status = make_codes(params, policy, w, given, &c);
    for (int64_t i = 0; i < out * in && status == LT_OK; i++) code[i] = (int8_t)(c.code[i] - 128);
    if (status == LT_OK) memcpy(scale, c.scale, (size_t)out * sizeof *scale);
    codes_free(pack->ctx, &c);
    return status;
}

/* ---- bitsandbytes ---- */

enum { BLOCK = 64, BLOCK_BYTES = 36 };

static lt_status put_state(lti_pack *pack, const lt_scheme *s, const lt_param *w, const char *name, float offset)
{
    const int64_t *shape = lt_param_shape(w);
    bool nf4 = s->type == LT_NF4;
    lti_text text = {.ctx = pack->ctx};
    lti_text_format(&text,
                    "{\"quant_type\": \"%s\", \"blocksize\": %d, \"dtype\": \"float32\", \"shape\": [%lld, %lld]",
                    nf4 ? "nf4" : "fp4", BLOCK, (long long)shape[0], (long long)shape[1]);
    if (s->double_scales)
        lti_text_format(&text, ", \"nested_blocksize\": %d, \"nested_dtype\": \"float32\", \"nested_offset\": %.17g",
                        LTI_NESTED_GROUP, (double)offset);
    lti_text_add(&text, "}", 1);
    const char *suffix = nf4 ? ".quant_state.bitsandbytes__nf4" : ".quant_state.bitsandbytes__fp4";
    lti_part part = {suffix, false, LT_STORED_U8, 1, (int64_t)text.length, 0};
    void *bytes = text.failed ? NULL : add_part(pack, name, &part);
    if (bytes) memcpy(bytes, text.data, text.length);
    lti_text_free(&text);
    return bytes ? LT_OK : LT_ENOMEM;
}

static lt_status put_nested(lti_pack *pack, const char *name, int64_t n, const uint8_t *blocks, float *offset)
{
    int64_t groups = (n - 1) / LTI_NESTED_GROUP + 1;
    uint8_t *codes = add_part(pack, name, &(lti_part){".absmax", false, LT_STORED_U8, 1, n, 0});
    float *largest = add_part(pack, name, &(lti_part){".nested_absmax", false, LT_STORED_F32, 1, groups, 0});
    float *map = add_part(pack, name, &(lti_part){".nested_quant_map", false, LT_STORED_F32, 1, 256, 0});
    if (!codes || !largest || !map) return LT_ENOMEM;
    for (int i = 0; i < 256; i++) map[i] = lti_dynamic_value((uint8_t)i);
    *offset = lti_scales_mean(n, blocks);
    lti_nest_scales(n, blocks, *offset, codes, largest);
    return LT_OK;
}

static lt_status put_bnb(lti_pack *pack, const lt_scheme *s, const lt_param *w, const char *name, const uint8_t *blocks)
{
    int64_t n = lt_param_count(w) / BLOCK;
    float offset = 0;
    uint8_t *codes = add_part(pack, name, &(lti_part){"", false, LT_STORED_U8, 2, n * BLOCK / 2, 1});
    float *map = add_part(pack, name, &(lti_part){".quant_map", false, LT_STORED_F32, 1, 16, 0});
    if (!codes || !map) return LT_ENOMEM;
    memcpy(map, s->type == LT_NF4 ? lti_nf4_values : lti_fp4_values, 16 * sizeof *map);
    for (int64_t i = 0; i < n; i++) memcpy(codes + i * BLOCK / 2, blocks + i * BLOCK_BYTES + 4, BLOCK / 2);
    if (s->double_scales) {
        LTI_TRY(put_nested(pack, name, n, blocks, &offset));
    } else {
        float *scale = add_part(pack, name, &(lti_part){".absmax", false, LT_STORED_F32, 1, n, 0});
        if (!scale) return LT_ENOMEM;
        for (int64_t i = 0; i < n; i++) memcpy(&scale[i], blocks + i * BLOCK_BYTES, sizeof *scale);
    }
    return put_state(pack, s, w, name, offset);
}

/* ---- All ---- */

static lt_status pack_bnb(lti_pack *pack, lt_scheme s, const lt_param *w, const lt_param *given, const char *name)
{
    if (given) { /* their scales are numbers already, and are written as such */
        s.double_scales = false;
        return put_bnb(pack, &s, w, name, lt_param_read(given));
    }
    uint8_t *blocks = lti_alloc_array(pack->ctx, (size_t)(lt_param_count(w) / BLOCK), BLOCK_BYTES);
    if (!blocks) return LT_ENOMEM;
    lti_encode(lt_param_count(w), lt_param_read(w), s.type, blocks);
    lt_status status = put_bnb(pack, &s, w, name, blocks);
    lti_free(pack->ctx, blocks);
    return status;
}

lt_status lti_pack_weight(lti_pack *pack, lt_quant_format format, const lt_params *params,
                          const lt_quant_policy *policy, const lt_param *w, const lt_param *given, const char *name)
{
    lt_scheme s = lt_quant_scheme(policy, w);
    if (format == LT_QUANT_COMPRESSED) return pack_compressed(pack, params, policy, w, given, name);
    if (format == LT_QUANT_BNB) return pack_bnb(pack, s, w, given, name);
    lti_grid_codes c;
    lt_status status = make_codes(params, policy, w, given, &c);
    if (status == LT_OK) status = format == LT_QUANT_AWQ ? put_awq(pack, name, &c) : put_gptq(pack, &s, name, &c);
    codes_free(pack->ctx, &c);
    return status;
}

lt_status lti_pack_plain(lti_pack *pack, const lt_param *code, bool widen, const char *name)
{
    lt_dtype type = lt_param_type(code);
    const int64_t *shape = lt_param_shape(code);
    lti_part part = {"", false, LT_STORED_REAL, lt_param_rank(code), shape[0], 0};
    if (part.rank == 2) part.b = shape[1];
    if (type == LT_F16 && !widen) part.dtype = LT_STORED_F16;
    if (type == LT_BF16 && !widen) part.dtype = LT_STORED_BF16;
    void *bytes = add_part(pack, name, &part);
    if (!bytes) return LT_ENOMEM;
    if (type != LT_F32 && part.dtype == LT_STORED_REAL)
        lti_decode(lt_param_count(code), type, lt_param_read(code), bytes);
    else
        memcpy(bytes, lt_param_read(code), lt_param_bytes(code));
    return LT_OK;
}
