/* quantized_format.c - the formats of quantized safetensors that Transformers and vLLM read, and the grids each holds.
 *
 *     gptq                int4 (or int8) in groups along the input, scales in f16, with or without zero points
 *     awq                 int4 in groups, scales in f16, zero points 0 .. 15
 *     bnb                 NF4 and FP4 of bitsandbytes, their scales in f32 or in 8 bits themselves
 *     compressed-tensors  int8, a scale a row, and activations in int8 with a scale a token
 *
 * A format is asked before training whether it holds what will be trained: rounding f32 scales to f16 afterwards would
 * move every weight, so the schemes of the first two have f16 scales from the first step. */
#include "train/quantized.h"

#include <string.h>

static const struct {
    const char *name, *word, *holds, *shapes;
} formats[] = {
    [LT_QUANT_GPTQ] = {"gptq", "int4:g128,half",
                       "int4 or int8 with f16 scales, like int4:g128,half or int4:g128,asym,half",
                       "rows of whole groups, and inputs and outputs that fill words of 32 bits"},
    [LT_QUANT_AWQ] = {"awq", "int4:g128,asym,half", "int4 with f16 scales, like int4:g128,asym,half",
                      "rows of whole groups, and a multiple of 8 outputs"},
    [LT_QUANT_BNB] = {"bnb", "nf4:dq", "nf4, nf4:dq, fp4 and fp4:dq", "rows of whole blocks of 64"},
    [LT_QUANT_COMPRESSED] = {"compressed-tensors", "w8a8", "w8a8: int8:channel, with activations int8_token",
                             "matrices"},
};

const char *lt_quant_format_name(lt_quant_format format)
{
    return (unsigned)format < LTI_COUNT(formats) ? formats[format].name : "?";
}

bool lt_quant_format_parse(const char *name, lt_quant_format *format)
{
    for (int i = 0; i < LTI_COUNT(formats); i++)
        if (strcmp(name, formats[i].name) == 0) {
            *format = (lt_quant_format)i;
            return true;
        }
    return false;
}

const char *lti_format_shapes(lt_quant_format format)
{
    return formats[format].shapes;
}

static bool of_words(lt_quant_format format)
{
    return format == LT_QUANT_GPTQ || format == LT_QUANT_AWQ;
}

static bool holds_grid(lt_quant_format format, const lt_scheme *s)
{
    bool integers = s->kind == LT_SCHEME_INT;
    switch (format) {
    case LT_QUANT_GPTQ: return integers && (s->bits == 4 || s->bits == 8) && s->half_scales && s->per != LT_PER_TENSOR;
    case LT_QUANT_AWQ: return integers && s->bits == 4 && s->half_scales && s->per != LT_PER_TENSOR;
    case LT_QUANT_BNB: return s->kind == LT_SCHEME_TYPE && (s->type == LT_NF4 || s->type == LT_FP4);
    default: return integers && s->bits == 8 && !s->asymmetric && s->per == LT_PER_CHANNEL;
    }
}

lt_status lti_format_check(lt_ctx *ctx, lt_quant_format format, const lt_quant_policy *p)
{
    if ((unsigned)format >= LTI_COUNT(formats)) return lti_fail(ctx, LT_EINVAL, "export: there is no such format");
    char name[LT_SCHEME_TEXT];
    const char *called = formats[format].name;
    lt_activations met = format == LT_QUANT_COMPRESSED ? LT_ACT_INT8_TOKEN : LT_ACT_NONE;
    if (p->mix || !holds_grid(format, &p->weights))
        return lti_fail(ctx, LT_EINVAL, "%s has no place for weights on the grid %s; it holds %s", called,
                        lt_quant_policy_name(p, name), formats[format].holds);
    if (p->activations != met)
        return lti_fail(ctx, LT_EINVAL,
                        "%s is run with activations '%s', and the policy trains with '%s': train with what will run",
                        called, lt_activations_name(met), lt_activations_name(p->activations));
    if (of_words(format) && p->scale == LT_SCALE_LSQ_PLUS)
        return lti_fail(ctx, LT_EINVAL, "%s has no place for learned offsets; take lsq, range, mse or dynamic scales",
                        called);
    return LT_OK;
}

lt_status lt_quant_format_policy(lt_ctx *ctx, lt_quant_format format, lt_quant_policy *policy)
{
    if ((unsigned)format >= LTI_COUNT(formats)) return lti_fail(ctx, LT_EINVAL, "export: there is no such format");
    bool chosen = policy->mix || !lt_scheme_is_float(&policy->weights);
    if (!chosen) LTI_TRY(lt_quant_policy_parse(ctx, formats[format].word, policy));
    if (of_words(format) && policy->weights.kind == LT_SCHEME_INT) policy->weights.half_scales = true;
    return lti_format_check(ctx, format, policy);
}

bool lti_format_packs(lt_quant_format format, const lt_quant_policy *policy, const lt_param *p)
{
    lt_scheme s = lt_quant_scheme(policy, p);
    const int64_t *shape = lt_param_shape(p);
    if (lt_param_rank(p) != 2 || !lt_scheme_same(&s, &policy->weights)) return false;
    int64_t per = of_words(format) ? 32 / s.bits : 1, group = s.per == LT_PER_GROUP ? s.group : 1;
    bool words = shape[0] % per == 0 && (format != LT_QUANT_GPTQ || shape[1] % per == 0);
    return words && shape[1] % group == 0;
}
