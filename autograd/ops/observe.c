/* observe.c - takes a value into the range of its site: scale [2] = {scale, lowest code}, range = {batches, least,
 * largest and, for histograms, counts} (observe_range.c). Nothing happens where `on` is 0.
 *
 * Output 0 is the grid after that, so that what quantizes with it runs behind. Extremes and counts are made by tasks;
 * counts are whole numbers, the same in any order. A batch that is not finite is passed over, as running averages do.
 *
 * Of a learned scale (LSQ, PACT) only the first batches are taken. Output 0 is what an optimizer finds as the value of
 * the scale, and gradients end there. */
#include "autograd/ops/observe_range.h"
#include "autograd/ops/param_value.h"
#include "autograd/ops/rows.h"

#include <math.h>
#include <string.h>

typedef struct observe_attr {
    lti_value param;
    int64_t kind, is_signed, warm_up;
    double rate, percentile;
} observe_attr;

enum { MOST_TASKS = 16 };

typedef struct observe_job {
    const lt_real *x, *range;
    int64_t n, tasks;
    lt_real (*ends)[2];
    int32_t (*counts)[LTI_BINS];
} observe_job;

static bool observe_shape(lti_shaper *s)
{
    const observe_attr *attr = s->attr;
    if (!lti_f32_inputs(s, 0, 2)) return false;
    if (lti_value_count(s->in[1]) != 1) return lti_shape_fail(s, "the switch is to be one number");
    s->out[0] = attr->param;
    return true;
}

static int64_t tasks_of(int64_t n)
{
    int64_t tasks = lti_par_tasks(n, LTI_GRAIN);
    return tasks < MOST_TASKS ? tasks : MOST_TASKS;
}

static bool counts(const observe_attr *attr)
{
    return lti_range_counts((lt_observer)attr->kind);
}

static void observe_vjp(lti_vjp *v)
{
    v->dx[0] = lt_nil(v->graph); /* what was seen is a constant */
}

static lt_status observe_prepare(lti_step *step)
{
    size_t one = sizeof(lt_real[2]) + (counts(step->attr) ? sizeof(int32_t[LTI_BINS]) : 0);
    step->scratch_bytes = (size_t)tasks_of(step->in[0].count) * one;
    return LT_OK;
}

static void ends_task(void *arg, int64_t task, int thread)
{
    const observe_job *j = arg;
    int64_t begin, end;
    (void)thread;
    lti_par_range(j->n, j->tasks, task, &begin, &end);
    lti_k()->extremes(end - begin, j->x + begin, j->ends[task]);
}

static void counts_task(void *arg, int64_t task, int thread)
{
    const observe_job *j = arg;
    int64_t begin, end;
    (void)thread;
    lti_par_range(j->n, j->tasks, task, &begin, &end);
    memset(j->counts[task], 0, sizeof j->counts[task]);
    for (int64_t i = begin; i < end; i++) j->counts[task][lti_range_bin(j->range, j->x[i])]++;
}

/* False: there is nothing, or it is not finite. */
static bool ends_of(observe_job *j, lt_real ends[2])
{
    if (j->n < 1) return false;
    lti_par(j->tasks, ends_task, j);
    bool first = true;
    for (int64_t t = 0; t < j->tasks; t++) {
        const lt_real *part = j->ends[t];
        int64_t begin, end;
        lti_par_range(j->n, j->tasks, t, &begin, &end);
        if (begin >= end) continue;
        if (!isfinite((double)part[0]) || !isfinite((double)part[1])) return false;
        ends[0] = first || part[0] < ends[0] ? part[0] : ends[0];
        ends[1] = first || part[1] > ends[1] ? part[1] : ends[1];
        first = false;
    }
    return !first;
}

static lt_status observe_run(lti_step *step)
{
    const observe_attr *attr = step->attr;
    if (lti_number(&step->in[1]) == 0) return LT_OK;
    lt_real ends[2], *range = lt_param_data(step->param[1]);
    if (lti_observer_learns((lt_observer)attr->kind) && (double)range[LTI_SEEN] >= (double)attr->warm_up) return LT_OK;
    observe_job j = {.x = step->in[0].data, .range = range, .n = step->in[0].count, .ends = step->scratch};
    j.tasks = tasks_of(j.n);
    j.counts = (void *)((char *)step->scratch + (size_t)j.tasks * sizeof *j.ends);
    if (!ends_of(&j, ends)) return LT_OK;
    lt_observe_config c = {.kind = (lt_observer)attr->kind, .rate = attr->rate, .percentile = attr->percentile};
    c.is_signed = attr->is_signed;
    lti_range_widen(&c, ends, range);
    if (counts(attr)) {
        lti_par(j.tasks, counts_task, &j);
        for (int64_t t = 0; t < j.tasks; t++)
            for (int i = 0; i < LTI_BINS; i++) range[LTI_COUNTS + i] += (lt_real)j.counts[t][i];
    }
    lti_range_grid(&c, range, step->out[0].data);
    return LT_OK;
}

const lti_op lti_op_observe = {
    .name = "observe",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .flags = LTI_EFFECT,
    .shape = observe_shape,
    .vjp = observe_vjp,
    .prepare = observe_prepare,
    .run = observe_run,
};

lt_t lt_observe(lt_t x, lt_param *scale, lt_param *range, const lt_observe_config *config, lt_t on)
{
    lt_observe_config c;
    lt_observe_config_init(&c);
    if (lt_is_nil(x) || lt_is_nil(on)) return lt_is_nil(x) ? x : on;
    if (config) c = *config;
    bool good = c.size == sizeof c && (unsigned)c.kind <= LT_OBSERVE_PACT && c.rate > 0 && c.rate <= 1 &&
                c.percentile > 50 && c.percentile <= 100 && c.warm_up >= 1;
    if (!good)
        return lti_graph_fail(x.graph, LT_EINVAL,
                              "observe: call lt_observe_config_init first; rate is to be in 0 to 1, percentile in 50 "
                              "to 100, and warm_up 1 or more");
    bool fits = scale && range && lt_param_type(scale) == LT_F32 && lt_param_type(range) == LT_F32 &&
                lt_param_count(scale) == 2 && lt_param_count(range) == lti_range_size(c.kind);
    if (!fits)
        return lti_graph_fail(x.graph, LT_EINVAL, "observe: the params are to be those that lt_observe_params makes");
    observe_attr attr;
    memset(&attr, 0, sizeof attr);
    lti_value v = lti_param_value(scale);
    memcpy(&attr.param, &v, sizeof v);
    attr.kind = c.kind, attr.is_signed = c.is_signed, attr.rate = c.rate, attr.percentile = c.percentile;
    attr.warm_up = c.warm_up;
    return lti_emit_params(x.graph, &lti_op_observe, 2, (lt_t[]){x, on}, &attr, sizeof attr, 2,
                           (lt_param *[]){scale, range});
}
