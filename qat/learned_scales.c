/* learned_scales.c - learned scales: params beside their weight, started from it.
 *
 *     LSQ      the scale of least squared error (grid_scales.c), at least 1e-5
 *     LSQ+     max(|mean - 3 sd|, |mean + 3 sd|) / 2^(bits-1), offset 0; asymmetric: (max - min) / (2^bits - 1), offset min
 *     range    the largest |w|; asymmetric: max - min, low = min
 *
 * They are LT_STATE, so that they are in checkpoints and not in exports, and trainable, so that optimizers take them; one
 * axis, so that no optimizer for matrices does. */
#include "qat/learned_scales.h"

#include "autograd/ops/freeze_codes.h"
#include "base/text.h"
#include "lathe/ops.h"
#include "qat/kept_scales.h"
#include "qat/observers.h"
#include "qat/policy.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define LEAST_START 1e-5

extern const lti_op lti_op_grid_scales;

bool lti_on_integers(const lt_scheme *s)
{
    return s->kind == LT_SCHEME_INT || s->kind == LT_SCHEME_TERNARY;
}

static bool name_of(const lt_param *weight, const char *what, char *name, size_t size)
{
    int n = snprintf(name, size, "%s:%s", lt_param_name(weight), what);
    return n > 0 && (size_t)n < size;
}

lt_param *lti_learned_find(const lt_params *params, const lt_param *weight, const char *what)
{
    char name[512];
    return name_of(weight, what, name, sizeof name) ? lt_params_find(params, name) : NULL;
}

lt_t lti_learned_value(lt_graph *graph, const lt_param *weight, const char *what)
{
    lt_param *p = lti_learned_find(lt_graph_params(graph), weight, what);
    if (p) return lt_param_value(graph, p);
    return lti_graph_fail(graph, LT_EINVAL,
                          "'%s' has no learned %s: call lt_qat_prepare before the graph is recorded, or open the "
                          "checkpoint that has it",
                          lt_param_name(weight), what);
}

/* "<weight>:<what>", made when it is not there. */
static lt_status companion(lt_params *params, const lt_param *weight, const char *what, lt_dtype type, int rank,
                           const int64_t *shape, lt_param **out, bool *made)
{
    char name[512];
    lt_ctx *ctx = lt_params_ctx(params);
    if (!name_of(weight, what, name, sizeof name))
        return lti_fail(ctx, LT_EINVAL, "the name of '%.100s..' is too long for a learned %s", lt_param_name(weight),
                        what);
    *out = lt_params_find(params, name);
    *made = !*out;
    if (!*out) return lt_params_add(params, name, type, rank, shape, LT_STATE, out);
    int64_t count = 1;
    for (int i = 0; i < rank; i++) count *= shape[i];
    if (lt_param_type(*out) == type && lt_param_count(*out) == count) return LT_OK;
    return lti_fail(ctx, LT_EINVAL,
                    "'%s' has %lld numbers and the policy's grid asks for %lld: it was learned on another grid", name,
                    (long long)lt_param_count(*out), (long long)count);
}

/* ---- Starts ---- */

static lt_status scales_from(lt_ctx *ctx, const lti_grid_attr *attr, const lti_groups *groups, const lt_real *w,
                             lt_real *scale, lt_real *offset)
{
    void *scratch = lti_alloc(ctx, lti_scales_scratch(attr, groups));
    if (!scratch) return LT_ENOMEM;
    lti_scales_from(attr, groups, w, scale, offset, scratch);
    lti_free(ctx, scratch);
    return LT_OK;
}

static lt_status start_lsq(lt_ctx *ctx, const lti_grid_attr *attr, const lti_groups *groups, const lt_real *w,
                           lt_real *scale)
{
    lti_grid_attr mse = *attr;
    mse.rule = LT_SCALE_MSE;
    LTI_TRY(scales_from(ctx, &mse, groups, w, scale, NULL));
    for (int64_t i = 0; i < groups->count; i++)
        if (scale[i] < (lt_real)LEAST_START) scale[i] = (lt_real)LEAST_START;
    return LT_OK;
}

static void start_group(const lti_grid_attr *attr, int64_t n, const lt_real *w, lt_real *scale, lt_real *offset)
{
    double sum = 0, squares = 0, levels = attr->kind == LT_SCHEME_INT ? (double)(1 << attr->bits) - 1 : 2;
    lt_real ends[2];
    lti_k()->extremes(n, w, ends);
    double least = (double)ends[0], most = (double)ends[1], start;
    for (int64_t i = 0; i < n; i++) sum += (double)w[i];
    double mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++) squares += ((double)w[i] - mean) * ((double)w[i] - mean);
    double spread = 3 * sqrt(squares / (double)n);
    if (attr->rule == LT_SCALE_RANGE)
        start = attr->asymmetric ? most - least : fmax(fabs(least), fabs(most));
    else
        start = attr->asymmetric ? (most - least) / levels
                                 : fmax(fabs(mean - spread), fabs(mean + spread)) / ((levels + 1) / 2);
    *scale = (lt_real)fmax(start, LEAST_START);
    if (offset) *offset = attr->asymmetric ? (lt_real)least : 0;
}

/* ---- Preparing ---- */

static lt_status check_rules(lt_ctx *ctx, const lt_quant_policy *p, const lt_param *w, const lt_scheme *s)
{
    if (p->scale == LT_SCALE_PACT)
        return lti_fail(ctx, LT_EINVAL, "'%s': PACT bounds activations, which are not negative; take lsq for weights",
                        lt_param_name(w));
    if (p->scale == LT_SCALE_LSQ && s->asymmetric)
        return lti_fail(ctx, LT_EINVAL,
                        "'%s': LSQ has no zero point, so an asymmetric grid has no negative numbers; take lsq+",
                        lt_param_name(w));
    if (p->gradient == LT_ROUND_PROX)
        return lti_fail(
            ctx, LT_EINVAL,
            "'%s': scales '%s' are learned, and the proximal gradient has none for them: take dynamic or mse "
            "scales with prox, or ste or clip with learned ones",
            lt_param_name(w), lt_scale_rule_name(p->scale));
    return LT_OK;
}

/* Only neighbours on a uniform grid can be drawn to. */
static lt_status check_lattice(lt_ctx *ctx, const lt_quant_policy *p, const lt_param *w)
{
    lt_scheme s = lt_quant_scheme(p, w);
    if (lt_param_role(w) != LT_WEIGHT) return LT_OK; /* codes that an earlier preparing left are state */
    if (p->gradient != LT_ROUND_PROX || lt_scheme_is_float(&s) || s.type == LT_F16 || s.type == LT_BF16) return LT_OK;
    char name[LT_SCHEME_TEXT];
    return lti_fail(
        ctx, LT_EINVAL,
        "'%s' is deployed on %s, and the proximal gradient needs an integer or ternary grid: take ste or clip",
        lt_param_name(w), lt_scheme_name(&s, name));
}

/* The scales that are there (offset may be NULL), from the weights as they are. */
static lt_status start_scales(const lt_params *params, const lti_grid_attr *attr, const lti_groups *groups,
                              const lt_param *w, lt_param *scale, lt_param *offset)
{
    lt_real *to = lt_param_data(scale), *low = offset ? lt_param_data(offset) : NULL;
    const lt_real *x = lt_param_read(w);
    lt_param_touch(scale);
    if (offset) lt_param_touch(offset);
    if (attr->rule == LT_SCALE_LSQ) return start_lsq(lt_params_ctx(params), attr, groups, x, to);
    for (int64_t i = 0; i < groups->count; i++) {
        int64_t first, n = lti_group_at(groups, i, &first);
        start_group(attr, n, x + first, to + i, low ? low + i : NULL);
    }
    return LT_OK;
}

static lti_groups groups_of(const lti_grid_attr *attr, const lt_param *w)
{
    int64_t rows = lt_param_shape(w)[0];
    return lti_groups_of(attr, 2, (int64_t[]){rows, rows ? lt_param_count(w) / rows : 0});
}

static lt_status prepare_scales(lt_params *params, const lt_quant_policy *policy, const lt_scheme *s, lt_param *w)
{
    lt_ctx *ctx = lt_params_ctx(params);
    lti_grid_attr attr = lti_grid_attr_of(s, policy->scale);
    lti_groups groups = groups_of(&attr, w);
    lt_param *scale, *offset = NULL;
    bool made, made_offset = false;
    LTI_TRY(check_rules(ctx, policy, w, s));
    LTI_TRY(companion(params, w, "scale", LT_F32, 1, &groups.count, &scale, &made));
    if (lti_rule_has_offset(&attr))
        LTI_TRY(companion(params, w, "offset", LT_F32, 1, &groups.count, &offset, &made_offset));
    lt_param_set_trainable(scale, lt_param_trainable(w));
    if (offset) lt_param_set_trainable(offset, lt_param_trainable(w));
    return made || made_offset ? start_scales(params, &attr, &groups, w, scale, offset) : LT_OK;
}

static lt_status start_codes(const lt_params *params, const lt_quant_policy *policy, const lt_scheme *s,
                             const lt_param *w, lt_param *codes)
{
    lti_grid_now now;
    lt_status status = lti_grid_now_make(params, policy, s, w, 0, lt_param_shape(w)[0], &now);
    if (status == LT_OK)
        lti_codes_on_grids(&now.attr, &now.groups, lt_param_read(w), now.scale, now.offset, 0, lt_param_count(w),
                           lt_param_data(codes));
    lt_param_touch(codes);
    lti_grid_now_free(lt_params_ctx(params), &now);
    return status;
}

static lt_status prepare_freezing(lt_params *params, const lt_quant_policy *policy, const lt_scheme *s, lt_param *w)
{
    lt_param *codes, *flips;
    bool made, made_flips;
    LTI_TRY(companion(params, w, "codes", LT_I8, lt_param_rank(w), lt_param_shape(w), &codes, &made));
    LTI_TRY(companion(params, w, "flips", LT_F32, lt_param_rank(w), lt_param_shape(w), &flips, &made_flips));
    lt_param_set_trainable(flips, false);
    return made ? start_codes(params, policy, s, w, codes) : LT_OK;
}

static bool meant(const lt_quant_policy *policy, const lt_param *w, lt_scheme *s)
{
    if (lt_param_role(w) != LT_WEIGHT || lt_param_type(w) != LT_F32) return false;
    *s = lt_quant_scheme(policy, w);
    return lti_on_integers(s);
}

lt_status lt_qat_prepare(lt_params *params, const lt_quant_policy *policy)
{
    lt_ctx *ctx = lt_params_ctx(params);
    LTI_TRY(lti_quant_check(ctx, policy));
    if (!(policy->damping >= 0 && policy->damping <= 1e6 && policy->freeze_threshold >= 0 &&
          policy->freeze_threshold < 1))
        return lti_fail(ctx, LT_EINVAL, "damping is %g and freeze_threshold %g; they are to be in 0 to 1e6 and 0 to 1",
                        policy->damping, policy->freeze_threshold);
    LTI_TRY(lti_quant_check_finite(params, policy));
    LTI_TRY(lti_observers_prepare(params, policy));
    LTI_TRY(lti_kept_prepare(params, policy));
    int n = lt_params_count(params), frozen = 0; /* what is added stands behind and is no weight */
    for (int i = 0; i < n; i++) {
        lt_param *w = lt_params_at(params, i);
        lt_scheme s;
        if (!meant(policy, w, &s)) {
            LTI_TRY(check_lattice(ctx, policy, w));
            continue;
        }
        if (lti_rule_learned(policy->scale)) LTI_TRY(prepare_scales(params, policy, &s, w));
        if (policy->freeze_threshold > 0) LTI_TRY(prepare_freezing(params, policy, &s, w));
        frozen++;
    }
    if (policy->freeze_threshold > 0 && !frozen)
        return lti_fail(
            ctx, LT_EINVAL,
            "freeze_threshold holds codes of integer and ternary grids, and the policy has none: leave it 0");
    return LT_OK;
}

/* ---- Starting again ---- */

/* An average of weights (optim/moments.c) is of what is learned, too. */
static void start_average(const lt_params *params, const lt_param *learned)
{
    lt_param *average = lti_learned_find(params, learned, "ema");
    if (!average || lt_param_bytes(average) != lt_param_bytes(learned)) return;
    memcpy(lt_param_data(average), lt_param_read(learned), lt_param_bytes(learned));
    lt_param_touch(average);
}

static lt_status restart_scales(const lt_params *params, const lt_quant_policy *policy, const lt_scheme *s,
                                const lt_param *w)
{
    lti_grid_attr attr = lti_grid_attr_of(s, policy->scale);
    lti_groups groups = groups_of(&attr, w);
    bool has_offset = lti_rule_has_offset(&attr);
    lt_param *scale = lti_learned_find(params, w, "scale"),
             *offset = has_offset ? lti_learned_find(params, w, "offset") : NULL;
    if (!scale || lt_param_count(scale) != groups.count) return LT_OK;
    if (has_offset && (!offset || lt_param_count(offset) != groups.count)) return LT_OK;
    LTI_TRY(start_scales(params, &attr, &groups, w, scale, offset));
    start_average(params, scale);
    if (offset) start_average(params, offset);
    return LT_OK;
}

static lt_status restart_codes(const lt_params *params, const lt_quant_policy *policy, const lt_scheme *s,
                               const lt_param *w)
{
    lt_param *codes = lti_learned_find(params, w, "codes"), *flips = lti_learned_find(params, w, "flips");
    if (!codes || !flips || lt_param_count(codes) != lt_param_count(w)) return LT_OK;
    memset(lt_param_data(flips), 0, lt_param_bytes(flips));
    lt_param_touch(flips);
    return start_codes(params, policy, s, w, codes);
}

lt_status lti_qat_restart(lt_params *params, const lt_quant_policy *policy)
{
    lti_kept_refresh(params, policy);
    for (int i = 0; i < lt_params_count(params); i++) {
        const lt_param *w = lt_params_at(params, i);
        lt_scheme s;
        if (!meant(policy, w, &s)) continue;
        if (lti_rule_learned(policy->scale)) LTI_TRY(restart_scales(params, policy, &s, w));
        if (policy->freeze_threshold > 0) LTI_TRY(restart_codes(params, policy, &s, w));
    }
    return LT_OK;
}

/* ---- After updates ---- */

static void freeze(lt_graph *graph, const lt_quant_policy *policy, const lt_scheme *s, lt_param *w)
{
    lt_params *params = lt_graph_params(graph);
    lti_grid_attr attr = lti_grid_attr_of(s, policy->scale);
    lt_t scale, offset = lt_nil(graph);
    if (lti_rule_learned(attr.rule)) {
        scale = lti_learned_value(graph, w, "scale");
        if (lti_rule_has_offset(&attr)) offset = lti_learned_value(graph, w, "offset");
    } else {
        lt_t x = lt_reshape(lt_param_value(graph, w), 2, (int64_t[]){lt_param_shape(w)[0], -1});
        scale = lti_emit(&lti_op_grid_scales, 1, &x, &attr, sizeof attr);
        if (attr.asymmetric) offset = lti_output(scale, 1);
    }
    lti_freeze_codes(w, lti_learned_find(params, w, "codes"), lti_learned_find(params, w, "flips"), scale, offset,
                     &attr, policy->freeze_threshold);
}

void lt_qat_after_update(lt_graph *graph, const lt_quant_policy *policy)
{
    lt_params *params = lt_graph_params(graph);
    lti_observers_after_update(graph, policy);
    if (policy->freeze_threshold == 0) return;
    for (int i = 0; i < lt_params_count(params) && lt_graph_status(graph) == LT_OK; i++) {
        lt_param *w = lt_params_at(params, i);
        lt_scheme s;
        if (meant(policy, w, &s) && lt_param_trainable(w)) freeze(graph, policy, &s, w);
    }
}

/* ---- The grid as it is ---- */

lt_status lti_grid_now_make(const lt_params *params, const lt_quant_policy *policy, const lt_scheme *s,
                            const lt_param *w, int64_t row, int64_t rows, lti_grid_now *now)
{
    lt_ctx *ctx = lt_params_ctx(params);
    int64_t columns = lt_param_shape(w)[0] ? lt_param_count(w) / lt_param_shape(w)[0] : 0;
    *now = (lti_grid_now){.attr = lti_grid_attr_of(s, policy->scale)};
    now->groups = lti_groups_of(&now->attr, 2, (int64_t[]){rows, columns});
    int64_t n = now->groups.count, before = s->per == LT_PER_TENSOR ? 0 : row * now->groups.per_row;
    now->scale = lti_alloc_array(ctx, (size_t)n + 1, 2 * sizeof *now->scale);
    if (!now->scale) return LT_ENOMEM;
    now->offset = now->scale + n;
    const lt_real *x = (const lt_real *)lt_param_read(w) + row * columns;
    if (!lti_rule_learned(policy->scale)) return scales_from(ctx, &now->attr, &now->groups, x, now->scale, now->offset);
    const lt_param *scale = lti_learned_find(params, w, "scale"), *offset = lti_learned_find(params, w, "offset");
    bool has_offset = lti_rule_has_offset(&now->attr);
    if (!scale || lt_param_count(scale) < before + n ||
        (has_offset && (!offset || lt_param_count(offset) < before + n)))
        return lti_fail(ctx, LT_EINVAL, "'%s' has no learned scales for this grid; train with it first",
                        lt_param_name(w));
    memcpy(now->scale, (const lt_real *)lt_param_read(scale) + before, (size_t)n * sizeof *now->scale);
    if (has_offset)
        memcpy(now->offset, (const lt_real *)lt_param_read(offset) + before, (size_t)n * sizeof *now->offset);
    return LT_OK;
}

void lti_grid_now_free(lt_ctx *ctx, lti_grid_now *now)
{
    lti_free(ctx, now->scale);
    now->scale = now->offset = NULL;
}
