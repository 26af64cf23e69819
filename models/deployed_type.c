/* deployed_type.c - which type a tensor has in a file of a given type, by llama-quantize's rules, and what that weighs. */
#include "models/convert_parts.h"

#include "data/files.h"
#include "data/json.h"

#include <string.h>

bool lti_always_f32(const lti_tensor *t)
{
    return t->rank == 1 || t->layout == LTI_NORM || strstr(t->name, "_norm.") ||
           !strcmp(t->name, "token_types.weight") || !strcmp(t->name, "position_embd.weight");
}

static lt_status count_tensor(void *user, const lti_tensor *t)
{
    if (!lti_always_f32(t)) lti_mix_count(user, t->name, t->shape[0]);
    return LT_OK;
}

lt_status lti_mix_facts_of(const lt_transformer_config *config, lti_mix_facts *facts)
{
    *facts = lti_mix_facts_new();
    return lti_transformer_each(config, count_tensor, facts);
}

lt_dtype lti_deployed_type(const lti_mix *mix, const lti_mix_facts *facts, const lti_tensor *t)
{
    if (lti_always_f32(t)) return LT_F32;
    int64_t columns = t->shape[t->rank - 1];
    return lti_type_that_fits(lti_mix_type(mix, facts, t->name, columns), columns);
}

typedef struct adding {
    lti_mix mix;
    lti_mix_facts facts;
    lt_type_forecast *forecast;
} adding;

static lt_status add_tensor(void *user, const lti_tensor *t)
{
    adding *a = user;
    lt_dtype type = lti_deployed_type(&a->mix, &a->facts, t);
    int64_t count = t->shape[0] * (t->rank == 2 ? t->shape[1] : 1); /* sizes were checked with the config */
    size_t bytes = (size_t)count * sizeof(float);
    if (type != LT_F32 && !lti_dtype_size(type, count, &bytes)) bytes = 0;
    a->forecast->parameters += count;
    a->forecast->bytes += bytes;
    a->forecast->tensors[type]++;
    a->forecast->type_bytes[type] += bytes;
    return LT_OK;
}

static lt_status read_json(lt_ctx *ctx, const char *path, lt_transformer_config *config)
{
    json_t *json;
    char *file = lti_is_directory(path) ? lti_path_join(ctx, path, "config.json") : lti_strdup(ctx, path);
    if (!file) return LT_ENOMEM;
    lt_status status = lti_json_read(ctx, file, 8u << 20, &json);
    if (status == LT_OK) {
        status = lti_config_from_json(ctx, file, json, config);
        json_decref(json);
    }
    lti_free(ctx, file);
    return status;
}

static lt_status read_gguf(lt_ctx *ctx, const char *path, lt_transformer_config *config)
{
    lt_gguf *gguf;
    float *factors = NULL;
    LTI_TRY(lt_gguf_open(ctx, path, &gguf));
    lt_status status = lti_config_from_gguf(ctx, gguf, config, &factors);
    lti_free(ctx, factors);
    lt_gguf_close(gguf);
    return status;
}

static lt_status forecast_mix(lt_ctx *ctx, const char *path, lti_mix mix, lt_type_forecast *forecast)
{
    lt_transformer_config config;
    adding a = {.mix = mix, .forecast = forecast};
    *forecast = (lt_type_forecast){0};
    LTI_TRY(lt_gguf_is(path) ? read_gguf(ctx, path, &config) : read_json(ctx, path, &config));
    LTI_TRY(lti_mix_facts_of(&config, &a.facts));
    return lti_transformer_each(&config, add_tensor, &a);
}

lt_status lt_forecast_type(lt_ctx *ctx, const char *path, lt_dtype type, lt_type_forecast *forecast)
{
    *forecast = (lt_type_forecast){0};
    if ((unsigned)type >= LT_DTYPE_COUNT || type == LT_I8 || type == LT_I32 || lti_dtype_gguf(type) < 0)
        return lti_fail(ctx, LT_EINVAL, "no model is stored as %s", lt_dtype_name(type));
    return forecast_mix(ctx, path, lti_mix_of(type), forecast);
}

lt_status lt_forecast_mix(lt_ctx *ctx, const char *path, const char *name, lt_type_forecast *forecast)
{
    lt_dtype type;
    const lti_mix *mix = lti_mix_named(name);
    *forecast = (lt_type_forecast){0};
    if (mix) return forecast_mix(ctx, path, *mix, forecast);
    if (lt_dtype_parse(name, &type)) return lt_forecast_type(ctx, path, type, forecast);
    return lti_fail(ctx, LT_EINVAL, "'%s': no such type; f32, f16, bf16, %s, mxfp4 are", name, lti_mix_names());
}
