/* quantized_config.c - what config.json says of quantized weights, in the words of each program.
 *
 * Layers that are not packed are named one by one: gptq has its "dynamic" (patterns to leave out) for GPT-QModel and
 * vLLM, and a list of what is packed in a block for Transformers; the others have lists. */
#include "train/quantized.h"

#include <string.h>

/* A regular expression for the whole name. */
static int leave_out(json_t *dynamic, const char *module)
{
    char pattern[2 * LTI_PART_NAME];
    size_t n = 0;
    pattern[n++] = '-', pattern[n++] = ':';
    for (const char *c = module; *c && n < sizeof pattern - 4; c++) {
        if (*c == '.') pattern[n++] = '\\';
        pattern[n++] = *c;
    }
    pattern[n++] = '$';
    pattern[n] = 0;
    return json_object_set_new(dynamic, pattern, json_object());
}

/* Keys of the object, each in a list of its own. */
static json_t *list_packed(const json_t *packed)
{
    json_t *names = json_array(), *value;
    const char *name;
    int failed = !names;
    json_object_foreach((json_t *)packed, name, value) failed |= json_array_append_new(names, json_string(name));
    if (!failed) return json_pack("[o]", names);
    json_decref(names);
    return NULL;
}

static json_t *gptq(const lt_scheme *s, const json_t *left, const json_t *packed)
{
    json_t *o =
        json_pack("{s:s, s:i, s:I, s:b, s:b, s:b, s:s, s:s}", "quant_method", "gptq", "bits", s->bits, "group_size",
                  (json_int_t)(s->per == LT_PER_GROUP ? s->group : -1), "desc_act", 0, "sym", !s->asymmetric, "lm_head",
                  0, "checkpoint_format", s->asymmetric ? "gptq_v2" : "gptq", "pack_dtype", "int32");
    json_t *dynamic = json_object();
    int failed = !o || !dynamic;
    for (size_t i = 0; i < json_array_size(left) && !failed; i++)
        failed |= leave_out(dynamic, json_string_value(json_array_get(left, i)));
    if (!failed && json_object_size(dynamic) > 1) { /* the head alone is left out by all */
        failed |= json_object_set(o, "dynamic", dynamic);
        failed |= json_object_set_new(o, "modules_in_block_to_quantize", list_packed(packed));
    }
    json_decref(dynamic);
    if (!failed) return o;
    json_decref(o);
    return NULL;
}

static json_t *awq(const lt_scheme *s, const json_t *left)
{
    return json_pack("{s:s, s:i, s:I, s:b, s:s, s:O}", "quant_method", "awq", "bits", s->bits, "group_size",
                     (json_int_t)(s->per == LT_PER_GROUP ? s->group : -1), "zero_point", 1, "version", "gemm",
                     "modules_to_not_convert", left);
}

static json_t *bnb(const lt_scheme *s, const json_t *left)
{
    return json_pack("{s:s, s:b, s:b, s:s, s:b, s:s, s:s, s:O}", "quant_method", "bitsandbytes", "load_in_4bit", 1,
                     "load_in_8bit", 0, "bnb_4bit_quant_type", s->type == LT_NF4 ? "nf4" : "fp4",
                     "bnb_4bit_use_double_quant", s->double_scales, "bnb_4bit_compute_dtype", "float32",
                     "bnb_4bit_quant_storage", "uint8", "llm_int8_skip_modules", left);
}

static json_t *compressed(const json_t *left)
{
    json_t *weights = json_pack("{s:i, s:s, s:b, s:s, s:b}", "num_bits", 8, "type", "int", "symmetric", 1, "strategy",
                                "channel", "dynamic", 0);
    json_t *inputs = json_pack("{s:i, s:s, s:b, s:s, s:b}", "num_bits", 8, "type", "int", "symmetric", 1, "strategy",
                               "token", "dynamic", 1);
    return json_pack("{s:s, s:s, s:s, s:{s:{s:[s], s:o, s:o, s:n}}, s:O}", "quant_method", "compressed-tensors",
                     "format", "int-quantized", "quantization_status", "compressed", "config_groups", "group_0",
                     "targets", "Linear", "weights", weights, "input_activations", inputs, "output_activations",
                     "ignore", left);
}

json_t *lti_quantization_config(lt_quant_format format, const lt_quant_policy *policy, const json_t *left,
                                const json_t *packed)
{
    switch (format) {
    case LT_QUANT_GPTQ: return gptq(&policy->weights, left, packed);
    case LT_QUANT_AWQ: return awq(&policy->weights, left);
    case LT_QUANT_BNB: return bnb(&policy->weights, left);
    default: return compressed(left);
    }
}
