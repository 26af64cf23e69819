/* int8_layers.c - layers as codes.
 *
 * Codes are made by the formula of the weight hook's kernels, with its scales, and then compared: code times scale has
 * to be the number that evaluating computes with, bit for bit. A layer of scale 0 (all its weights are 0) has codes 0.
 */
#include "infer/int8_layers.h"

#include "qat/learned_scales.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- The list ---- */

static void layer_free(lt_ctx *ctx, lti_int8_layer *l)
{
    lti_free(ctx, l->codes);
    lti_free(ctx, l->scale);
    lti_free(ctx, l->bias);
}

void lti_int8_layers_free(lti_int8_layers *layers)
{
    for (int i = 0; i < layers->n; i++) layer_free(layers->ctx, &layers->list[i]);
    lti_free(layers->ctx, layers->list);
    layers->list = NULL;
    layers->n = layers->capacity = 0;
}

lti_int8_layer *lti_int8_layer_new(lti_int8_layers *layers, const char *site, int64_t O, int64_t K, bool table)
{
    lt_ctx *ctx = layers->ctx;
    if (layers->n == layers->capacity) {
        size_t now = (size_t)layers->capacity * sizeof *layers->list;
        lti_int8_layer *list = lti_realloc(ctx, layers->list, now, 2 * now + 16 * sizeof *list);
        if (!list) return NULL;
        layers->list = list;
        layers->capacity = 2 * layers->capacity + 16;
    }
    lti_int8_layer l = {.O = O, .K = K, .bits = 8};
    snprintf(l.site, sizeof l.site, "%s", site);
    l.codes = lti_alloc_array(ctx, (size_t)O, (size_t)K);
    if (l.codes && !table) l.scale = lti_alloc_array(ctx, (size_t)O, sizeof *l.scale);
    if (l.scale) l.bias = lti_alloc_array(ctx, (size_t)O, sizeof *l.bias);
    if (!l.codes || (!table && !l.bias)) {
        layer_free(ctx, &l);
        return NULL;
    }
    layers->list[layers->n] = l;
    return &layers->list[layers->n++];
}

const lti_int8_layer *lti_int8_find(const lti_int8_layers *layers, const char *site)
{
    for (int i = 0; i < layers->n; i++)
        if (strcmp(layers->list[i].site, site) == 0) return &layers->list[i];
    return NULL;
}

/* ---- From params ---- */

static lt_status check_scheme(lt_ctx *ctx, const lt_param *w, const lt_scheme *s)
{
    char name[LT_SCHEME_TEXT];
    if (s->kind == LT_SCHEME_INT && !s->asymmetric && s->per != LT_PER_GROUP) return LT_OK;
    if (s->kind == LT_SCHEME_TERNARY && s->per != LT_PER_GROUP) return LT_OK;
    return lti_fail(ctx, LT_EINVAL,
                    "int8: '%s' is on %s; a product of bytes has one scale a channel and no zero point: take int8 or "
                    "int4 (by channel) in the policy, of a language model also for the embedding and head",
                    lt_param_name(w), lt_scheme_name(s, name));
}

/* Codes and scales of rows as the grid has them, and whether they are what evaluation has. */
static lt_status fill(lt_ctx *ctx, const lt_param *w, const lti_grid_now *now, lt_real *values, lti_int8_layer *l)
{
    const lt_real *x = lt_param_read(w);
    int64_t first;
    lti_on_grids(&now->attr, &now->groups, x, now->scale, now->offset, values);
    for (int64_t g = 0; g < now->groups.count; g++) {
        int64_t n = lti_group_at(&now->groups, g, &first);
        lti_grid grid = lti_grid_make(&now->attr, now->scale[g], now->offset[g]);
        for (int64_t i = first; i < first + n; i++) {
            double code = rint((double)((x[i] - grid.offset) * grid.inverse));
            code = fmin(fmax(code, (double)grid.lo), (double)grid.hi);
            l->codes[i] = (int8_t)code;
            l->scale[i / l->K] = (float)grid.scale;
            if ((lt_real)l->codes[i] * grid.scale + grid.base != values[i] || grid.base != 0)
                return lti_fail(
                    ctx, LT_EINVAL,
                    "int8: element %lld of '%s' is %g when evaluated and code %d stands for %g: its grid has "
                    "an offset",
                    (long long)i, lt_param_name(w), (double)values[i], (int)l->codes[i],
                    (double)(l->codes[i] * grid.scale));
        }
    }
    return LT_OK;
}

static lt_status take_codes(lti_int8_layers *layers, const lt_params *params, const lt_quant_policy *policy,
                            const char *site, const char *weight, lti_int8_layer **out)
{
    lt_ctx *ctx = layers->ctx;
    const lt_param *w = lt_params_find(params, weight);
    if (!w || lt_param_type(w) != LT_F32 || lt_param_rank(w) < 2 || lt_param_count(w) < 1)
        return lti_fail(ctx, LT_EINVAL, "int8: the model has no f32 matrix '%s'", weight);
    lt_scheme s = lt_quant_scheme(policy, w);
    LTI_TRY(check_scheme(ctx, w, &s));
    if (strlen(site) >= LTI_INT8_NAME) return lti_fail(ctx, LT_EINVAL, "int8: the name '%s' is too long", site);
    int64_t O = lt_param_shape(w)[0];
    lti_int8_layer *l = lti_int8_layer_new(layers, site, O, lt_param_count(w) / O, false);
    lt_real *values = l ? lti_alloc_array(ctx, (size_t)lt_param_count(w), sizeof *values) : NULL;
    if (!values) return LT_ENOMEM;
    lti_grid_now now;
    lt_status status = lti_grid_now_make(params, policy, &s, w, 0, O, &now);
    if (status == LT_OK) status = fill(ctx, w, &now, values, l);
    lti_grid_now_free(ctx, &now);
    lti_free(ctx, values);
    l->bits = s.kind == LT_SCHEME_TERNARY ? 2 : s.bits;
    *out = l;
    return status;
}

static lt_status add_bias(const lt_params *params, const char *name, lti_int8_layer *l)
{
    const lt_param *b = name ? lt_params_find(params, name) : NULL;
    if (!b) return LT_OK;
    if (lt_param_type(b) != LT_F32 || lt_param_count(b) != l->O)
        return lti_fail(lt_params_ctx(params), LT_EINVAL, "int8: '%s' is no f32 bias of %lld numbers", name,
                        (long long)l->O);
    const lt_real *x = lt_param_read(b);
    for (int64_t o = 0; o < l->O; o++) l->bias[o] = (float)((lt_real)l->bias[o] + x[o]);
    return LT_OK;
}

static lt_status observed(const lt_params *params, const char *site, lti_int8_layer *l)
{
    char name[LTI_INT8_NAME + 16];
    snprintf(name, sizeof name, "%s:act_scale", site);
    const lt_param *p = lt_params_find(params, name);
    const lt_real *x = p && lt_param_type(p) == LT_F32 && lt_param_count(p) == 2 ? lt_param_read(p) : NULL;
    if (!x || !(x[0] > 0) || !isfinite((double)x[0]))
        return lti_fail(
            lt_params_ctx(params), LT_EINVAL,
            "int8: nothing was observed at '%s' ('%s'): train or calibrate with int8_static activations first", site,
            name);
    l->x_scale = (float)x[0];
    l->x_lowest = (float)x[1];
    return LT_OK;
}

lt_status lti_int8_take(lti_int8_layers *layers, const lt_params *params, const lt_quant_policy *policy,
                        const char *site, const char *weight, const char *const biases[2], bool state)
{
    lti_int8_layer *l = NULL;
    LTI_TRY(take_codes(layers, params, policy, site, weight, &l));
    for (int i = 0; i < 2; i++) LTI_TRY(add_bias(params, biases[i], l));
    l->x_scale = 1.0f / 127, l->x_lowest = -127;
    return state ? LT_OK : observed(params, site, l);
}

/* ---- At work ---- */

void lti_int8_codes(int64_t n, const float *x, float scale, float lowest, void *codes)
{
    float inverse = 1 / scale, most = lowest < 0 ? 127.0f : 255.0f;
    int8_t *below = codes;
    uint8_t *above = codes;
    for (int64_t i = 0; i < n; i++) {
        float c = x[i] * inverse;
        c = c > lowest ? c : lowest;
        c = rintf(c < most ? c : most);
        if (lowest < 0)
            below[i] = (int8_t)c;
        else
            above[i] = (uint8_t)c;
    }
}

lt_status lti_int8_conv(lt_ctx *ctx, const lti_int8_layer *l, lti_conv_int8_shape s, float next, int slots,
                        lti_conv_int8 **conv)
{
    *conv = NULL;
    const lti_conv_shape *c = &s.conv;
    if (l->O != c->o || l->K != c->i / c->groups * c->kh * c->kw)
        return lti_fail(ctx, LT_EINVAL, "int8: layer '%s' is [%lld,%lld]; the network's is [%lld,%lld]", l->site,
                        (long long)l->O, (long long)l->K, (long long)c->o,
                        (long long)(c->i / c->groups * c->kh * c->kw));
    float *bias = lti_alloc_array(ctx, (size_t)l->O, sizeof *bias);
    float *scale = bias ? lti_alloc_array(ctx, (size_t)l->O, sizeof *scale) : NULL;
    lt_status status = scale ? LT_OK : LT_ENOMEM;
    for (int64_t o = 0; o < l->O && scale; o++) {
        double step = (double)l->x_scale * (double)l->scale[o];
        if (!(step > 0)) step = 1; /* all codes are 0 */
        bias[o] = (float)((double)l->bias[o] / step);
        scale[o] = (float)(next > 0 ? step / (double)next : step);
    }
    s.is_signed = l->x_lowest < 0;
    s.ratio = (float)(next > 0 ? (double)s.ratio / (double)next : (double)s.ratio);
    if (status == LT_OK) status = lti_conv_int8_create(ctx, &s, l->codes, bias, scale, slots, conv);
    lti_free(ctx, bias);
    lti_free(ctx, scale);
    return status;
}

lt_status lti_int8_product(lt_ctx *ctx, const lti_int8_layer *l, int64_t rows, bool adds, int slots,
                           lti_conv_int8 **conv)
{
    lti_conv_int8_shape s = {.add = adds ? LTI_ADD_REALS : LTI_ADD_NONE};
    s.conv = (lti_conv_shape){.b = 1, .h = 1, .w = rows, .i = l->K, .oh = 1, .ow = rows, .o = l->O, .kh = 1, .kw = 1};
    s.conv.groups = 1;
    for (int k = 0; k < 2; k++) s.conv.stride[k] = s.conv.dilation[k] = 1;
    return lti_int8_conv(ctx, l, s, 0, slots, conv);
}
