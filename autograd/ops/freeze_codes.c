/* freeze_codes.c - weights that oscillate between two codes are frozen (after Nagel et al. 2022, "Overcoming oscillations").
 *
 * After each update, of every weight:
 *
 *     c = clip(round((w - offset) / s)),  f += 0.01 ([c != code] - f),  code = c
 *     f > threshold: frozen: f = 2 and, from then on, w = code s + base whatever the update has made of it
 *
 * The paper counts reversals of direction and freezes the rounded average of codes; here every flip counts, which needs
 * one byte and one number a weight instead of three. With scales made of the weights a frozen weight follows its scale. */
#include "autograd/ops/freeze_codes.h"

#include "autograd/ops/param_value.h"

#include <math.h>
#include <string.h>

extern const lti_op lti_op_freeze_codes;

#define RATE ((lt_real)0.01)
#define FROZEN ((lt_real)2)

typedef struct freeze_attr {
    lti_grid_attr grid;
    lti_value param;
    double threshold;
    int64_t has_offset;
} freeze_attr;

typedef struct codes_job {
    const lti_grid_attr *attr;
    const lti_groups *groups;
    const lt_real *x, *scale, *offset;
    int8_t *code;
    int64_t begin;      /* codes alone: code[0] is that of x[begin] */
    lt_real *w, *flips; /* freezing alone */
    lt_real threshold;
} codes_job;

static lti_grid grid_of(const codes_job *j, int64_t group)
{
    return lti_grid_make(j->attr, j->scale[group], j->offset ? j->offset[group] : 0);
}

/* NaN has the least code. */
static int8_t code_of(const lti_grid *g, lt_real x)
{
    double c = rint((double)((x - g->offset) * g->inverse)), lo = (double)g->lo, hi = (double)g->hi;
    if (!(c > lo)) c = lo;
    return (int8_t)((c > hi ? hi : c) - lo - 128);
}

static void codes_run(void *arg, int64_t group, int64_t first, int64_t n)
{
    const codes_job *j = arg;
    lti_grid g = grid_of(j, group);
    for (int64_t i = first; i < first + n; i++) j->code[i - j->begin] = code_of(&g, j->x[i]);
}

void lti_codes_on_grids(const lti_grid_attr *attr, const lti_groups *groups, const lt_real *x, const lt_real *scale,
                        const lt_real *offset, int64_t begin, int64_t end, int8_t *codes)
{
    codes_job job = {.attr = attr, .groups = groups, .x = x, .scale = scale, .code = codes, .begin = begin};
    if (lti_rule_has_offset(attr)) job.offset = offset;
    lti_each_run(groups, begin, end, codes_run, &job);
}

static void freeze_run_of(void *arg, int64_t group, int64_t first, int64_t n)
{
    const codes_job *j = arg;
    lti_grid g = grid_of(j, group);
    for (int64_t i = first; i < first + n; i++) {
        if (j->flips[i] < FROZEN) {
            int8_t code = code_of(&g, j->w[i]);
            j->flips[i] += RATE * ((lt_real)(code != j->code[i]) - j->flips[i]);
            j->code[i] = code;
            if (j->flips[i] > j->threshold) j->flips[i] = FROZEN;
        }
        if (j->flips[i] >= FROZEN) j->w[i] = ((lt_real)j->code[i] + 128 + g.lo) * g.scale + g.base;
    }
}

static void freeze_range(void *arg, int64_t begin, int64_t end)
{
    lti_each_run(((codes_job *)arg)->groups, begin, end, freeze_run_of, arg);
}

/* Filters count as rows of all their numbers, as they do when they are quantized. */
static lti_groups groups_of(const freeze_attr *attr)
{
    int64_t rows = attr->param.dim[0], count = lti_value_count(&attr->param);
    return lti_groups_of(&attr->grid, 2, (int64_t[]){rows, rows ? count / rows : 0});
}

/* w, on, scale, offset */
static bool freeze_shape(lti_shaper *s)
{
    const freeze_attr *attr = s->attr;
    if (!lti_f32_inputs(s, 0, s->n_in)) return false;
    if (!lti_value_same(s->in[0], &attr->param)) return lti_shape_fail(s, "the value is not the parameter's");
    lti_groups g = groups_of(attr);
    for (int i = 1; i < s->n_in; i++)
        if (lti_value_count(s->in[i]) != (i == 1 ? 1 : g.count))
            return lti_shape_fail(s, "input %d has %lld numbers; the scheme has %lld", i,
                                  (long long)lti_value_count(s->in[i]), (long long)g.count);
    s->out[0] = attr->param;
    return true;
}

static lt_status freeze_run(lti_step *step)
{
    const freeze_attr *attr = step->attr;
    lti_groups groups = groups_of(attr);
    if (lti_number(&step->in[1]) == 0) return LT_OK;
    codes_job job = {.attr = &attr->grid, .groups = &groups, .scale = step->in[2].data};
    job.offset = step->n_in > 3 ? step->in[3].data : NULL;
    job.w = step->out[0].data;
    job.code = lt_param_data(step->param[1]);
    job.flips = lt_param_data(step->param[2]);
    job.threshold = (lt_real)attr->threshold;
    lti_each(step->out[0].count, freeze_range, &job);
    return LT_OK;
}

const lti_op lti_op_freeze_codes = {
    .name = "freeze_codes",
    .min_in = 3,
    .max_in = 4,
    .n_out = 1,
    .flags = LTI_EFFECT,
    .shape = freeze_shape,
    .run = freeze_run,
};

lt_t lti_freeze_codes(lt_param *w, lt_param *code, lt_param *flips, lt_t scale, lt_t offset, const lti_grid_attr *attr,
                      double threshold)
{
    if (lt_is_nil(scale)) return scale;
    lt_graph *graph = scale.graph;
    bool fits = w && code && flips && lt_param_type(code) == LT_I8 && lt_param_type(flips) == LT_F32;
    if (!fits || lt_param_count(code) != lt_param_count(w) || lt_param_count(flips) != lt_param_count(w))
        return lti_graph_fail(graph, LT_EINVAL,
                              "freeze_codes: codes (i8) and flips (f32) are to be of the weight's shape");
    freeze_attr a;
    memset(&a, 0, sizeof a);
    a.grid = *attr, a.threshold = threshold, a.has_offset = lti_rule_has_offset(attr);
    lti_value v = lti_param_value(w);
    memcpy(&a.param, &v, sizeof v);
    lt_t in[4] = {lt_param_value(graph, w), lt_scalar(graph, "qat_freeze", 1), scale, offset};
    return lti_emit_params(graph, &lti_op_freeze_codes, 3 + (int)a.has_offset, in, &a, sizeof a, 3,
                           (lt_param *[]){w, code, flips});
}
