/* fake_quant_rules.c - lt_fake_quant and lt_scheme_apply: which ops a scheme and its rules are recorded as.
 *
 *     a type of base.h         casts, or dequantize(quantize(x)); lattice_clip cuts the gradient of what is clipped
 *     dynamic or mse scales    grid_scales, then fake_quant
 *     learned scales           fake_quant
 *     PROX                     grid_scales, then grid_prox while training; evaluation sees the grid itself. Scales
 *                              come from the numbers, as in the paper: the map gives learned ones no gradient */
#include "autograd/ops/grids.h"
#include "autograd/ops/lattice_clip.h"
#include "autograd/ops/lattice_convert.h"
#include "kernels/lattice/nested_scales.h"

#include <string.h>

extern const lti_op lti_op_fake_quant, lti_op_grid_scales, lti_op_grid_prox;

void lt_fake_quant_config_init(lt_fake_quant_config *config)
{
    *config = (lt_fake_quant_config){.size = sizeof *config};
}

/* NULL, or why the scheme and the rules do not go together. */
static const char *refused(const lt_scheme *s, const lt_fake_quant_config *c)
{
    if (s->kind == LT_SCHEME_TYPE)
        return c->gradient == LT_ROUND_PROX   ? "the proximal gradient needs a uniform grid (intN, ternary)"
               : c->scale != LT_SCALE_DYNAMIC ? "a type's scales are its own: leave the scale rule dynamic"
                                              : NULL;
    if (s->kind == LT_SCHEME_INT && (s->bits < 2 || s->bits > 8)) return "intN has 2 to 8 bits";
    if (s->asymmetric && (s->full_range || s->kind != LT_SCHEME_INT)) return "only intN without full is asymmetric";
    if (s->per == LT_PER_GROUP && s->group < 1) return "a group has at least one number";
    if (s->kind == LT_SCHEME_FP8 && (c->scale != LT_SCALE_DYNAMIC || c->gradient == LT_ROUND_PROX))
        return "8-bit floats are no uniform grid: their scales are dynamic, their gradients not proximal";
    if (c->gradient == LT_ROUND_PROX && lti_rule_learned(c->scale))
        return "the proximal gradient moves numbers and no scales: take dynamic or mse scales, or another gradient";
    if (c->scale == LT_SCALE_PACT && !s->asymmetric)
        return "PACT bounds numbers from 0 on: its grid is asymmetric (int8:tensor,asym)";
    return NULL;
}

static const char *refused_inputs(const lti_grid_attr *a, const lt_fake_quant_config *c)
{
    bool learned = lti_rule_learned(a->rule), offset = learned && lti_rule_has_offset(a);
    if (learned != !lt_is_nil(c->learned))
        return learned ? "the rule learns scales: give them as `learned`"
                       : "`learned` is given, but the rule learns nothing";
    if (offset != !lt_is_nil(c->offset))
        return offset ? "the rule learns offsets: give them as `offset`" : "`offset` is given, but the rule has none";
    return NULL;
}

static lt_t on_type(lt_t x, const lt_scheme *s, lt_round_gradient gradient)
{
    if (s->type == LT_F32) return x;
    if (!lt_dtype_is_lattice(s->type)) return lt_cast(lt_cast(x, s->type), LT_F32);
    lt_t codes = lti_quantize_type(x, s);
    if (gradient != LT_ROUND_STE) codes = lti_lattice_clip(codes, x, gradient);
    return lt_dequantize(codes);
}

static lt_t on_grid(lt_t x, const lti_grid_attr *a, lt_t scale, lt_t offset)
{
    int with = lti_rule_has_offset(a);
    if (a->gradient == LT_ROUND_PROX && lt_is_training(x.graph)) {
        lt_t progress = lt_scalar(x.graph, "qat_progress", 0);
        return lti_emit(&lti_op_grid_prox, 3 + with, (lt_t[]){x, progress, scale, offset}, a, sizeof *a);
    }
    return lti_emit(&lti_op_fake_quant, 2 + with, (lt_t[]){x, scale, offset}, a, sizeof *a);
}

lt_t lt_fake_quant(lt_t x, const lt_scheme *scheme, const lt_fake_quant_config *config)
{
    lt_fake_quant_config c;
    lt_fake_quant_config_init(&c);
    if (lt_is_nil(x)) return x;
    if (config && config->size != sizeof *config)
        return lti_graph_fail(x.graph, LT_EINVAL, "fake_quant: call lt_fake_quant_config_init first");
    if (config) c = *config;
    const char *why = refused(scheme, &c);
    if (!why && scheme->kind == LT_SCHEME_TYPE) return on_type(x, scheme, c.gradient);
    lti_grid_attr a = lti_grid_attr_of(scheme, c.scale);
    a.gradient = c.gradient, a.factor = c.scale_gradient;
    if (!why) why = refused_inputs(&a, &c);
    if (why) {
        char name[LT_SCHEME_TEXT];
        return lti_graph_fail(x.graph, LT_EINVAL, "fake_quant %s: %s", lt_scheme_name(scheme, name), why);
    }
    if (lti_rule_learned(a.rule)) return on_grid(x, &a, c.learned, c.offset);
    lti_grid_attr made = lti_grid_attr_of(scheme, c.scale);
    lt_t scale = lti_emit(&lti_op_grid_scales, 1, &x, &made, sizeof made);
    return on_grid(x, &a, scale, lti_output(scale, 1));
}

/* ---- Arrays ---- */

static lt_status apply_type(lt_ctx *ctx, const lt_scheme *s, int64_t rows, int64_t columns, const lt_real *x,
                            lt_real *y)
{
    lt_dtype type = s->type;
    int64_t n = rows * columns;
    size_t bytes;
    if (type == LT_F32) {
        if (y != x) memcpy(y, x, (size_t)n * sizeof *y);
        return LT_OK;
    }
    if (!lti_converts(type))
        return lti_fail(ctx, LT_EUNSUPPORTED, "numbers cannot be put on %s; it can only be read", lt_dtype_name(type));
    if (columns % lt_dtype_block(type) || !lti_dtype_size(type, n, &bytes))
        return lti_fail(ctx, LT_EINVAL, "rows of %lld numbers are no whole blocks of %s (%lld)", (long long)columns,
                        lt_dtype_name(type), (long long)lt_dtype_block(type));
    void *codes = lti_alloc(ctx, bytes);
    if (!codes) return LT_ENOMEM;
    lti_encode(n, x, type, codes);
    if (s->double_scales) lti_double_scales(n / lt_dtype_block(type), codes);
    lti_decode(n, type, codes, y);
    lti_free(ctx, codes);
    return LT_OK;
}

lt_status lt_scheme_apply(lt_ctx *ctx, const lt_scheme *scheme, lt_scale_rule rule, int64_t rows, int64_t columns,
                          const lt_real *x, lt_real *y)
{
    char name[LT_SCHEME_TEXT];
    lt_fake_quant_config c = {.size = sizeof c, .scale = rule};
    const char *why = refused(scheme, &c);
    if (!why && lti_rule_learned(rule)) why = "learned scales are not made from the numbers";
    if (!why && (rows < 0 || columns < 0)) why = "there are no negative sizes";
    if (why) return lti_fail(ctx, LT_EINVAL, "%s: %s", lt_scheme_name(scheme, name), why);
    if (scheme->kind == LT_SCHEME_TYPE) return apply_type(ctx, scheme, rows, columns, x, y);
    lti_grid_attr attr = lti_grid_attr_of(scheme, rule);
    lti_groups groups = lti_groups_of(&attr, 2, (int64_t[]){rows, columns});
    lt_real *scale = lti_alloc_array(ctx, (size_t)groups.count + 1, 2 * sizeof *scale);
    void *scratch = scale ? lti_alloc(ctx, lti_scales_scratch(&attr, &groups)) : NULL;
    if (scratch) {
        lt_real *offset = scale + groups.count;
        lti_scales_from(&attr, &groups, x, scale, offset, scratch);
        lti_on_grids(&attr, &groups, x, scale, offset, y);
    }
    lti_free(ctx, scratch);
    lti_free(ctx, scale);
    return scratch ? LT_OK : LT_ENOMEM;
}
