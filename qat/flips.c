/* flips.c - see flips.h.
 *
 * A sample of up to 262,144 weights, the same share of every tensor and rows at equal distances, is enough for a share (its
 * standard error is below a thousandth) and costs nothing beside a step; comparing all weights would cost their codes
 * twice. The codes lie in a param, so that a run that was interrupted tells the same numbers. */
#include "qat/flips.h"

#include "autograd/ops/freeze_codes.h"
#include "autograd/ops/lattice_codes.h"
#include "autograd/ops/lattice_convert.h"
#include "qat/kept_scales.h"
#include "qat/learned_scales.h"

#include <math.h>
#include <string.h>

enum { MOST_SAMPLED = 1 << 18 };
static const char NAME[] = "qat:codes";

/* Every `stride`-th row of each quantized tensor. */
typedef struct sample {
    lt_params *params;
    const lt_quant_policy *policy;
    int64_t stride, count;
    int8_t *codes; /* NULL: count only */
} sample;

static bool has_codes(const sample *s, const lt_param *w, lt_scheme *scheme)
{
    if (lt_param_role(w) != LT_WEIGHT || lt_param_type(w) != LT_F32 || lt_param_rank(w) != 2) return false;
    *scheme = lt_quant_scheme(s->policy, w);
    return scheme->kind == LT_SCHEME_TYPE ? lt_dtype_is_lattice(scheme->type) : lti_on_integers(scheme);
}

static int64_t rows_of(const sample *s, const lt_param *w)
{
    return (lt_param_shape(w)[0] - 1) / s->stride + 1;
}

/* Codes of the rows as blocks, one at a time. */
static lt_status lattice_rows(const sample *s, const lt_param *w, lt_dtype type, int8_t *codes)
{
    lt_ctx *ctx = lt_params_ctx(s->params);
    int64_t columns = lt_param_shape(w)[1];
    size_t bytes;
    if (!lti_dtype_size(type, columns, &bytes)) return LT_OK;
    void *row = lti_alloc(ctx, bytes);
    if (!row) return LT_ENOMEM;
    const lt_real *x = lt_param_read(w);
    const lt_param *kept = lti_kept_find(s->params, s->policy, w);
    for (int64_t r = 0; r < rows_of(s, w); r++) {
        int64_t at = r * s->stride;
        if (kept)
            lti_encode_again(columns, x + at * columns, type, (const char *)lt_param_read(kept) + (size_t)at * bytes,
                             row);
        else
            lti_encode(columns, x + at * columns, type, row);
        lti_lattice_codes(type, columns, row, codes + r * columns);
    }
    lti_free(ctx, row);
    return LT_OK;
}

/* A tensor with one scale is looked at whole for it; of others the sampled rows alone. */
static lt_status integer_rows(const sample *s, const lt_param *w, const lt_scheme *scheme, int8_t *codes)
{
    lt_ctx *ctx = lt_params_ctx(s->params);
    int64_t columns = lt_param_shape(w)[1], all = lt_param_shape(w)[0];
    bool one = scheme->per == LT_PER_TENSOR;
    const lt_real *x = lt_param_read(w);
    lti_grid_now now = {.scale = NULL};
    lt_status status = one ? lti_grid_now_make(s->params, s->policy, scheme, w, 0, all, &now) : LT_OK;
    for (int64_t r = 0; r < rows_of(s, w) && status == LT_OK; r++) {
        int64_t row = r * s->stride, begin = one ? row * columns : 0;
        if (!one) status = lti_grid_now_make(s->params, s->policy, scheme, w, row, 1, &now);
        if (status == LT_OK)
            lti_codes_on_grids(&now.attr, &now.groups, one ? x : x + row * columns, now.scale, now.offset, begin,
                               begin + columns, codes + r * columns);
        if (!one) lti_grid_now_free(ctx, &now);
    }
    lti_grid_now_free(ctx, &now);
    return status;
}

/* Counts the sample; takes its codes where there is room for them. */
static lt_status walk(sample *s)
{
    s->count = 0;
    for (int i = 0; i < lt_params_count(s->params); i++) {
        const lt_param *w = lt_params_at(s->params, i);
        lt_scheme scheme;
        if (!has_codes(s, w, &scheme) || lt_param_count(w) == 0) continue;
        int8_t *codes = s->codes ? s->codes + s->count : NULL;
        if (codes && scheme.kind == LT_SCHEME_TYPE)
            LTI_TRY(lattice_rows(s, w, scheme.type, codes));
        else if (codes)
            LTI_TRY(integer_rows(s, w, &scheme, codes));
        s->count += rows_of(s, w) * lt_param_shape(w)[1];
    }
    return LT_OK;
}

static lt_status measure(lt_params *params, const lt_quant_policy *policy, sample *s)
{
    *s = (sample){.params = params, .policy = policy, .stride = 1};
    for (;; s->stride *= 2) {
        LTI_TRY(walk(s));
        if (s->count <= MOST_SAMPLED || s->stride > MOST_SAMPLED) return LT_OK;
    }
}

lt_status lti_flips_start(lt_params *params, const lt_quant_policy *policy)
{
    sample s;
    LTI_TRY(measure(params, policy, &s));
    lt_param *codes = lt_params_find(params, NAME);
    if (s.count == 0) return LT_OK;
    if (!codes) LTI_TRY(lt_params_add(params, NAME, LT_I8, 1, &s.count, LT_STATE, &codes));
    if (lt_param_count(codes) != s.count)
        return lti_fail(lt_params_ctx(params), LT_EINVAL,
                        "'%s' has %lld codes and this policy %lld: the model was trained under another; open it anew",
                        NAME, (long long)lt_param_count(codes), (long long)s.count);
    s.codes = lt_param_data(codes);
    lt_param_touch(codes);
    return walk(&s);
}

lt_status lti_flips_share(lt_params *params, const lt_quant_policy *policy, double *share)
{
    sample s;
    lt_ctx *ctx = lt_params_ctx(params);
    lt_param *codes = lt_params_find(params, NAME);
    *share = NAN;
    if (!codes) return LT_OK;
    LTI_TRY(measure(params, policy, &s));
    if (s.count != lt_param_count(codes)) return LT_OK;
    s.codes = lti_alloc(ctx, (size_t)s.count);
    if (!s.codes) return LT_ENOMEM;
    lt_status status = walk(&s);
    int8_t *before = lt_param_data(codes);
    int64_t flipped = 0;
    for (int64_t i = 0; status == LT_OK && i < s.count; i++) flipped += s.codes[i] != before[i];
    if (status == LT_OK) {
        memcpy(before, s.codes, (size_t)s.count);
        lt_param_touch(codes);
        *share = (double)flipped / (double)s.count;
    }
    lti_free(ctx, s.codes);
    return status;
}
