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

/* The type itself where rows are whole blocks, else the one that llama-quantize falls back to. */
static lt_dtype that_fits(lt_dtype type, int64_t row)
{
    if (row % lt_dtype_block(type) == 0) return type;
    if (lt_dtype_block(type) == 256)
        type = type == LT_Q4_K ? LT_Q5_0 : type == LT_Q5_K ? LT_Q5_1 : type == LT_Q6_K ? LT_Q8_0 : LT_Q4_0;
    return row % lt_dtype_block(type) ? LT_F16 : type;
}

lt_dtype lti_deployed_type(const lt_transformer_config *c, const lti_tensor *t, lt_dtype type)
{
    if (lti_always_f32(t)) return LT_F32;
    bool embedding = !strcmp(t->name, "token_embd.weight");
    bool head = !strcmp(t->name, "output.weight") || (embedding && c->tied);
    if (head && lt_dtype_is_lattice(type) && type != LT_Q8_0) type = LT_Q6_K;
    if (embedding && !head && (type == LT_TQ1_0 || type == LT_TQ2_0)) type = LT_Q4_K;
    return that_fits(type, t->shape[t->rank - 1]);
}

typedef struct adding {
    const lt_transformer_config *config;
    lt_dtype type;
    lt_type_forecast *forecast;
} adding;

static lt_status add_tensor(void *user, const lti_tensor *t)
{
    adding *a = user;
    lt_dtype type = lti_deployed_type(a->config, t, a->type);
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

lt_status lt_forecast_type(lt_ctx *ctx, const char *path, lt_dtype type, lt_type_forecast *forecast)
{
    lt_transformer_config config;
    *forecast = (lt_type_forecast){0};
    if ((unsigned)type >= LT_DTYPE_COUNT || type == LT_I8 || type == LT_I32)
        return lti_fail(ctx, LT_EINVAL, "no model is stored as %s", lt_dtype_name(type));
    LTI_TRY(lt_gguf_is(path) ? read_gguf(ctx, path, &config) : read_json(ctx, path, &config));
    return lti_transformer_each(&config, add_tensor, &(adding){&config, type, forecast});
}
