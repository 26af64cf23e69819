/* describe.c - a policy on a model in words: what each grid weighs, and which tensors could not be put on theirs. */
#include "autograd/op.h"
#include "qat/products.h"
#include "train/export.h"

#include <string.h>

enum { MOST_GRIDS = 64, SHOWN = 3 };

typedef struct grid {
    lt_scheme scheme;
    int tensors;
    size_t bytes;
} grid;

static grid *grid_of(grid *grids, int *n, const lt_scheme *scheme)
{
    for (int i = 0; i < *n; i++)
        if (lt_scheme_same(&grids[i].scheme, scheme)) return &grids[i];
    if (*n == MOST_GRIDS) return &grids[MOST_GRIDS - 1];
    grids[*n].scheme = *scheme;
    return &grids[(*n)++];
}

size_t lti_deployed_bytes(const lt_param *p, const lt_quant_policy *policy)
{
    lt_scheme s = policy ? lt_quant_scheme(policy, p) : lt_scheme_of(lt_param_type(p));
    lti_packgrid_form form;
    if (lt_param_type(p) != LT_F32 || lt_scheme_is_float(&s)) return lt_param_bytes(p);
    if (s.kind != LT_SCHEME_TYPE && lti_packgrid_form_of(&s, policy->scale, lt_param_rank(p), lt_param_shape(p), &form))
        return lti_packgrid_form_bytes(&form);
    size_t bytes = lt_param_rank(p) == 2 ? lt_scheme_bytes(&s, lt_param_shape(p)[0], lt_param_shape(p)[1]) : 0;
    return bytes ? bytes : lt_param_bytes(p);
}

static void add_grids(const lt_params *params, const lt_quant_policy *policy, lti_text *text)
{
    grid grids[MOST_GRIDS] = {{.tensors = 0}};
    int n = 0;
    for (int i = 0; i < lt_params_count(params); i++) {
        const lt_param *p = lt_params_at(params, i);
        if (lt_param_role(p) != LT_WEIGHT) continue;
        lt_scheme scheme = lt_quant_scheme(policy, p);
        grid *g = grid_of(grids, &n, &scheme);
        g->tensors++;
        g->bytes += lti_deployed_bytes(p, policy);
    }
    for (int i = 0; i < n; i++) {
        char name[LT_SCHEME_TEXT];
        lti_text_format(text, "%-5s %4d tensors %12zu bytes\n", lt_scheme_name(&grids[i].scheme, name),
                        grids[i].tensors, grids[i].bytes);
    }
}

/* ---- Fallbacks ---- */

typedef struct fallback {
    lt_dtype wanted, got;
    int64_t columns;
} fallback;

static bool fell_back(const lt_param *p, const lt_quant_policy *policy, fallback *f)
{
    lt_scheme wanted = lti_quant_wanted(policy, p), got = lt_quant_scheme(policy, p);
    bool fell = lt_param_type(p) == LT_F32 && !lt_scheme_same(&wanted, &got);
    if (fell) *f = (fallback){wanted.type, got.type, lt_param_shape(p)[1]};
    return fell;
}

static bool same_fallback(const fallback *a, const fallback *b)
{
    return a->wanted == b->wanted && a->got == b->got && a->columns == b->columns;
}

/* How many of the first `end` params fell back like f. */
static int count_like(const lt_params *params, int end, const lt_quant_policy *policy, const fallback *f)
{
    int count = 0;
    fallback other;
    for (int i = 0; i < end; i++)
        count += fell_back(lt_params_at(params, i), policy, &other) && same_fallback(f, &other);
    return count;
}

/* The first few of those that are alike by name, the rest by number. */
static void add_fallbacks(const lt_params *params, const lt_quant_policy *policy, lti_text *text)
{
    fallback f;
    for (int i = 0; i < lt_params_count(params); i++) {
        const lt_param *p = lt_params_at(params, i);
        if (!fell_back(p, policy, &f)) continue;
        int before = count_like(params, i, policy, &f);
        if (before > SHOWN) continue;
        int others = before == SHOWN ? count_like(params, lt_params_count(params), policy, &f) - SHOWN - 1 : 0;
        char more[48] = "";
        if (others) snprintf(more, sizeof more, " and %d more", others);
        lti_text_format(text, "%s%s: rows of %lld are no multiple of %lld: %s instead of %s\n", lt_param_name(p), more,
                        (long long)f.columns, (long long)lt_dtype_block(f.wanted), lt_dtype_name(f.got),
                        lt_dtype_name(f.wanted));
    }
}

/* ---- The whole ---- */

lt_status lti_describe_params(const lt_params *params, const lt_quant_policy *policy, lti_text *text)
{
    LTI_TRY(lti_quant_check_params(params, policy));
    LTI_TRY(lti_quant_check_finite(params, policy));
    add_grids(params, policy, text);
    add_fallbacks(params, policy, text);
    if (policy->activations != LT_ACT_NONE)
        lti_text_format(text, "activations %s\n", lt_activations_name(policy->activations));
    lti_products_describe(params, policy, text);
    return text->failed ? LT_ENOMEM : LT_OK;
}

void lti_policy_rules(const lt_quant_policy *policy, lti_text *text)
{
    for (int i = 0; i < policy->n_rules; i++) {
        char name[LT_SCHEME_TEXT];
        lti_text_format(text, "%s%s=%s", i ? " " : "", policy->rules[i].pattern,
                        lt_scheme_name(&policy->rules[i].scheme, name));
    }
}

lt_status lti_describe_codes(lt_model *model, const lt_quant_policy *policy, char **report)
{
    lti_text text = {.ctx = model->ctx};
    lt_status status = lti_describe_params(model->params, policy, &text);
    *report = status == LT_OK ? text.data : NULL;
    if (status != LT_OK) lti_text_free(&text);
    return status;
}
