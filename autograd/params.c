/* params.c - the list of durable arrays. A few hundred entries: names are found by a walk. */
#include "autograd/param.h"
#include "base/ctx.h"

#include <string.h>

struct lt_params {
    lt_ctx *ctx;
    lt_param **list;
    int count, capacity;
};

lt_status lt_params_create(lt_ctx *ctx, lt_params **params)
{
    *params = lti_alloc(ctx, sizeof **params);
    if (!*params) return LT_ENOMEM;
    (*params)->ctx = ctx;
    return LT_OK;
}

lt_ctx *lt_params_ctx(const lt_params *params)
{
    return params->ctx;
}

static void param_free(lt_ctx *ctx, lt_param *p)
{
    if (!p) return;
    if (!p->mapped) lti_free(ctx, p->data);
    lti_free(ctx, p->name);
    lti_free(ctx, p);
}

void lt_params_free(lt_params *params)
{
    if (!params) return;
    for (int i = 0; i < params->count; i++) param_free(params->ctx, params->list[i]);
    lti_free(params->ctx, params->list);
    lti_free(params->ctx, params);
}

static lt_status check_new(const lt_params *params, const char *name, lt_dtype type, int rank, const int64_t *shape,
                           int64_t *count, size_t *bytes)
{
    lt_ctx *ctx = params->ctx;
    if (!name || !*name) return lti_fail(ctx, LT_EINVAL, "a parameter needs a name");
    if (lt_params_find(params, name))
        return lti_fail(ctx, LT_EINVAL, "parameter '%s' exists already; names are unique", name);
    if (rank < 0 || rank > LT_MAX_RANK)
        return lti_fail(ctx, LT_EINVAL, "parameter '%s': rank %d, but 0 to %d is possible", name, rank, LT_MAX_RANK);
    *count = 1;
    for (int i = 0; i < rank; i++)
        if (shape[i] < 0 || __builtin_mul_overflow(*count, shape[i], count))
            return lti_fail(ctx, LT_EINVAL, "parameter '%s': dimension %d is %lld; the size overflows", name, i,
                            (long long)shape[i]);
    if (lt_dtype_is_lattice(type) && (rank == 0 || shape[rank - 1] % lt_dtype_block(type)))
        return lti_fail(ctx, LT_EINVAL, "parameter '%s': rows of %lld are no multiple of %s's block of %lld", name,
                        rank ? (long long)shape[rank - 1] : 0LL, lt_dtype_name(type), (long long)lt_dtype_block(type));
    if (!lti_dtype_size(type, *count, bytes))
        return lti_fail(ctx, LT_EINVAL, "parameter '%s': %lld elements of %s do not fit memory", name,
                        (long long)*count, lt_dtype_name(type));
    return LT_OK;
}

static lt_status reserve(lt_params *params)
{
    if (params->count < params->capacity) return LT_OK;
    int capacity = params->capacity ? 2 * params->capacity : 64;
    void *list = lti_realloc(params->ctx, params->list, (size_t)params->count * sizeof *params->list,
                             (size_t)capacity * sizeof *params->list);
    if (!list) return LT_ENOMEM;
    params->list = list;
    params->capacity = capacity;
    return LT_OK;
}

static lt_status append(lt_params *params, const char *name, lt_dtype type, int rank, const int64_t *shape,
                        lt_role role, void *mapped, lt_param **out)
{
    lt_ctx *ctx = params->ctx;
    int64_t count = 1;
    size_t bytes = 0;
    LTI_TRY(check_new(params, name, type, rank, shape, &count, &bytes));
    LTI_TRY(reserve(params));
    lt_param *p = lti_alloc(ctx, sizeof *p);
    if (!p) return LT_ENOMEM;
    p->home = params;
    p->name = lti_strdup(ctx, name);
    p->data = mapped ? mapped : lti_alloc(ctx, bytes);
    p->mapped = mapped != NULL;
    if (!p->name || !p->data) {
        param_free(ctx, p);
        return LT_ENOMEM;
    }
    p->type = type, p->rank = rank, p->role = role, p->count = count, p->bytes = bytes, p->version = 1;
    if (rank) memcpy(p->shape, shape, (size_t)rank * sizeof *shape);
    p->trainable = role == LT_WEIGHT && type == LT_F32 && !mapped;
    params->list[params->count++] = p;
    if (out) *out = p;
    return LT_OK;
}

lt_status lt_params_add(lt_params *params, const char *name, lt_dtype type, int rank, const int64_t *shape,
                        lt_role role, lt_param **param)
{
    return append(params, name, type, rank, shape, role, NULL, param);
}

lt_status lt_params_map(lt_params *params, const char *name, lt_dtype type, int rank, const int64_t *shape,
                        const void *data, lt_param **param)
{
    if (!data) return lti_fail(params->ctx, LT_EINVAL, "parameter '%s': there is no data to map", name);
    return append(params, name, type, rank, shape, LT_WEIGHT, (void *)(uintptr_t)data, param);
}

lt_param *lt_params_find(const lt_params *params, const char *name)
{
    for (int i = 0; i < params->count; i++)
        if (strcmp(params->list[i]->name, name) == 0) return params->list[i];
    return NULL;
}

int lt_params_count(const lt_params *params)
{
    return params->count;
}

lt_param *lt_params_at(const lt_params *params, int index)
{
    return index >= 0 && index < params->count ? params->list[index] : NULL;
}

size_t lt_params_bytes(const lt_params *params)
{
    size_t bytes = 0;
    for (int i = 0; i < params->count; i++)
        if (!params->list[i]->mapped) bytes += params->list[i]->bytes;
    return bytes;
}

const char *lt_param_name(const lt_param *param)
{
    return param->name;
}

lt_dtype lt_param_type(const lt_param *param)
{
    return param->type;
}

int lt_param_rank(const lt_param *param)
{
    return param->rank;
}

const int64_t *lt_param_shape(const lt_param *param)
{
    return param->shape;
}

int64_t lt_param_count(const lt_param *param)
{
    return param->count;
}

size_t lt_param_bytes(const lt_param *param)
{
    return param->bytes;
}

lt_role lt_param_role(const lt_param *param)
{
    return param->role;
}

void *lt_param_data(lt_param *param)
{
    return param->data;
}

const void *lt_param_read(const lt_param *param)
{
    return param->data;
}

uint64_t lt_param_version(const lt_param *param)
{
    return param->version;
}

void lt_param_touch(lt_param *param)
{
    param->version++;
}

bool lt_param_trainable(const lt_param *param)
{
    return param->trainable;
}

void lt_param_set_trainable(lt_param *param, bool trainable)
{
    param->trainable = trainable && !param->mapped;
}

bool lt_param_mapped(const lt_param *param)
{
    return param->mapped;
}
