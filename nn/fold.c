/* fold.c - an evaluating batch norm as part of the layer before it.
 *
 *     ((W x + a) - m) f + b = (f W) x + (a - m) f + b,   f = w / sqrt(v + eps)
 *
 * Row o of W, of whatever shape, is multiplied by f_o: grouped and depthwise convolutions and linear layers are no
 * special case. The norm's variance becomes 1 - eps, whose sum with eps rounds to 1. All is checked, and the bias made,
 * before the first number changes. */
#include "lathe/nn.h"

#include "base/ctx.h"

#include <math.h>
#include <stdio.h>

enum { WEIGHT, BIAS, MEAN, VARIANCE, PARTS };
static const char *const suffixes[PARTS] = {"weight", "bias", "running_mean", "running_var"};

typedef struct fold {
    lt_param *filters, *bias;
    lt_param *norm[PARTS];
    int64_t O, size; /* size: of one filter */
} fold;

static lt_status full_name(lt_ctx *ctx, const char *layer, const char *suffix, char name[256])
{
    int n = snprintf(name, 256, "%s.%s", layer, suffix);
    if (n < 0 || n >= 256) return lti_fail(ctx, LT_EINVAL, "fold: '%.64s..': the name is too long", layer);
    return LT_OK;
}

/* "<layer>.<suffix>" as an f32 array that may be written; *param NULL when there is none. */
static lt_status find(const lt_params *params, const char *layer, const char *suffix, lt_param **param)
{
    lt_ctx *ctx = lt_params_ctx(params);
    char name[256];
    LTI_TRY(full_name(ctx, layer, suffix, name));
    *param = lt_params_find(params, name);
    if (*param && (lt_param_type(*param) != LT_F32 || lt_param_mapped(*param)))
        return lti_fail(ctx, LT_EINVAL, "fold: '%s' is %s%s; it is to be f32 and owned: load the model for training",
                        name, lt_dtype_name(lt_param_type(*param)), lt_param_mapped(*param) ? " in a mapped file" : "");
    return LT_OK;
}

static lt_status need(const lt_params *params, const char *layer, const char *suffix, lt_param **param)
{
    LTI_TRY(find(params, layer, suffix, param));
    if (*param) return LT_OK;
    return lti_fail(lt_params_ctx(params), LT_EINVAL, "fold: the model has no parameter '%s.%s'", layer, suffix);
}

static lt_status need_vector(const lt_params *params, const lt_param *param, int64_t O)
{
    if (lt_param_rank(param) == 1 && lt_param_count(param) == O) return LT_OK;
    return lti_fail(lt_params_ctx(params), LT_EINVAL, "fold: '%s' has rank %d and %lld numbers; there are %lld filters",
                    lt_param_name(param), lt_param_rank(param), (long long)lt_param_count(param), (long long)O);
}

static lt_status gather(lt_params *params, const char *conv, const char *norm, double eps, fold *f)
{
    lt_ctx *ctx = lt_params_ctx(params);
    if (!(eps >= 0 && eps < 1))
        return lti_fail(ctx, LT_EINVAL, "fold: eps %g; it is to be at least 0 and below 1", eps);
    LTI_TRY(need(params, conv, "weight", &f->filters));
    if (lt_param_rank(f->filters) < 2 || lt_param_count(f->filters) < 1)
        return lti_fail(ctx, LT_EINVAL, "fold: '%s' has rank %d; it is to be [O, ..]", lt_param_name(f->filters),
                        lt_param_rank(f->filters));
    f->O = lt_param_shape(f->filters)[0];
    f->size = lt_param_count(f->filters) / f->O;
    for (int i = 0; i < PARTS; i++) {
        LTI_TRY(need(params, norm, suffixes[i], &f->norm[i]));
        LTI_TRY(need_vector(params, f->norm[i], f->O));
    }
    const lt_real *variance = lt_param_read(f->norm[VARIANCE]);
    for (int64_t o = 0; o < f->O; o++)
        if (!((double)variance[o] + eps > 0))
            return lti_fail(ctx, LT_EINVAL, "fold: '%s'[%lld] is %g; a variance is above 0",
                            lt_param_name(f->norm[VARIANCE]), (long long)o, (double)variance[o]);
    LTI_TRY(find(params, conv, "bias", &f->bias));
    if (f->bias) return need_vector(params, f->bias, f->O);
    char name[256];
    LTI_TRY(full_name(ctx, conv, "bias", name));
    return lt_params_add(params, name, LT_F32, 1, &f->O, lt_param_role(f->filters), &f->bias);
}

lt_status lt_fold_batch_norm(lt_params *params, const char *conv, const char *norm, double eps)
{
    fold f = {0};
    LTI_TRY(gather(params, conv, norm, eps, &f));
    lt_real *filters = lt_param_data(f.filters), *bias = lt_param_data(f.bias), *part[PARTS];
    for (int i = 0; i < PARTS; i++) part[i] = lt_param_data(f.norm[i]);
    for (int64_t o = 0; o < f.O; o++) {
        double factor = (double)part[WEIGHT][o] / sqrt((double)part[VARIANCE][o] + eps);
        for (int64_t i = 0; i < f.size; i++)
            filters[o * f.size + i] = (lt_real)((double)filters[o * f.size + i] * factor);
        bias[o] = (lt_real)(((double)bias[o] - (double)part[MEAN][o]) * factor + (double)part[BIAS][o]);
        part[WEIGHT][o] = 1;
        part[BIAS][o] = part[MEAN][o] = 0;
        part[VARIANCE][o] = (lt_real)(1 - eps);
    }
    lt_param_touch(f.filters);
    lt_param_touch(f.bias);
    for (int i = 0; i < PARTS; i++) lt_param_touch(f.norm[i]);
    return LT_OK;
}
