/* fake_quant.c - x on a uniform grid, as the numbers that its codes stand for (grids.c has the formulas).
 *
 *     y = clip(round((x - offset) / s)) s + base
 *     dx = dy, straight through (Bengio et al. 2013), or 0 outside: of the range by x, or of the codes by the code
 *     ds, doffset: fake_quant_grad, when they are learned
 *
 * y is f32 and as large as x: it is to be recorded where it is made again for the backward (weight hooks are). What lies
 * outside is found anew from x; no mask is kept. Which rule asks x and which the code is a choice, because libraries
 * differ in it: LSQ's derivation asks x, torch's clamp of rounded codes asks the code. */
#include "autograd/ops/grids.h"

#include <string.h>

extern const lti_op lti_op_fake_quant, lti_op_fake_quant_grad;

typedef struct grad_job {
    const lti_step *step;
    lti_groups groups;
    int by;
} grad_job;

static const lt_real *offset_of(const lti_step *step, int at)
{
    return step->n_in > at ? step->in[at].data : NULL;
}

static lti_groups groups_of(const lti_step *step)
{
    return lti_groups_of(step->attr, step->in[0].rank, step->in[0].dim);
}

/* ---- Forward: x, scale, offset ---- */

static bool fake_quant_shape(lti_shaper *s)
{
    char a[LTI_DIMS_TEXT], b[LTI_DIMS_TEXT];
    const lti_value *x = s->in[0];
    if (!lti_f32_inputs(s, 0, s->n_in)) return false;
    lti_groups g = lti_groups_of(s->attr, x->rank, x->dim);
    for (int i = 1; i < s->n_in; i++)
        if (lti_value_count(s->in[i]) != g.count)
            return lti_shape_fail(s, "x %s with %s %s; the scheme has %lld of them", lti_dims(x, a),
                                  i == 1 ? "scales" : "offsets", lti_dims(s->in[i], b), (long long)g.count);
    return lti_out_set(s, 0, LT_F32, x->rank, x->dim);
}

static void fake_quant_vjp(lti_vjp *v)
{
    const lti_grid_attr *attr = v->attr;
    bool learned = lti_rule_learned(attr->rule);
    if (!learned && attr->gradient == LT_ROUND_STE) {
        v->dx[0] = v->dy[0];
        return;
    }
    lt_t in[4] = {v->in[0], v->dy[0], v->in[1], v->n_in > 2 ? v->in[2] : lt_nil(v->graph)};
    lt_t grad = lti_emit(&lti_op_fake_quant_grad, v->n_in + 1, in, attr, sizeof *attr);
    if (v->need[0]) v->dx[0] = lti_output(grad, 0);
    if (!learned) return; /* scales made of x are constants */
    if (v->need[1]) v->dx[1] = lti_output(grad, 1);
    if (v->n_in > 2 && v->need[2]) v->dx[2] = lti_output(grad, 2);
}

static lt_status fake_quant_run(lti_step *step)
{
    lti_groups groups = groups_of(step);
    lti_on_grids(step->attr, &groups, step->in[0].data, step->in[1].data, offset_of(step, 2), step->out[0].data);
    return LT_OK;
}

/* ---- Backward: x, dy, scale, offset -> dx, dscale, doffset ---- */

static bool grad_shape(lti_shaper *s)
{
    for (int k = 0; k < 3; k++) {
        const lti_value *like = s->in[k == 0 ? 0 : k + 1 < s->n_in ? k + 1 : 2];
        lti_value_set(&s->out[k], LT_F32, like->rank, like->dim);
    }
    return true;
}

static lti_grid grid_at(const grad_job *j, int64_t group)
{
    const lt_real *offset = offset_of(j->step, 3);
    return lti_grid_make(j->step->attr, ((const lt_real *)j->step->in[2].data)[group], offset ? offset[group] : 0);
}

static void mask_run(void *arg, int64_t group, int64_t first, int64_t n)
{
    const grad_job *j = arg;
    const lt_real *x = j->step->in[0].data, *dy = j->step->in[1].data;
    lti_grid g = grid_at(j, group);
    lti_k()->fake_quant_mask(n, x + first, &g, j->by, dy + first, (lt_real *)j->step->out[0].data + first);
}

static void mask_range(void *arg, int64_t begin, int64_t end)
{
    lti_each_run(&((grad_job *)arg)->groups, begin, end, mask_run, arg);
}

static void sums_task(void *arg, int64_t item, int thread)
{
    const grad_job *j = arg;
    int64_t pieces = lti_pieces(&j->groups), group = item / pieces, first;
    int64_t n = lti_piece_at(&j->groups, group, item % pieces, &first);
    const lt_real *x = j->step->in[0].data, *dy = j->step->in[1].data;
    double *sums = (double *)j->step->scratch + 3 * item;
    lti_grid g = grid_at(j, group);
    memset(sums, 0, 3 * sizeof *sums);
    lti_k()->fake_quant_sums(n, x + first, &g, j->by, dy + first, sums);
}

/* Group by group, from the sums of its pieces in their order. */
static void learned_range(void *arg, int64_t begin, int64_t end)
{
    const grad_job *j = arg;
    const lt_real *scale = j->step->in[2].data;
    lt_real *ds = j->step->out[1].data, *db = j->step->out[2].data;
    int64_t pieces = lti_pieces(&j->groups), first;
    for (int64_t i = begin; i < end; i++) {
        double sums[3] = {0}, dscale, doffset;
        lti_grid g = grid_at(j, i);
        if (pieces > 1) {
            const double *part = (const double *)j->step->scratch + 3 * pieces * i;
            for (int64_t p = 0; p < 3 * pieces; p++) sums[p % 3] += part[p];
        } else {
            int64_t n = lti_group_at(&j->groups, i, &first);
            lti_k()->fake_quant_sums(n, (const lt_real *)j->step->in[0].data + first, &g, j->by,
                                     (const lt_real *)j->step->in[1].data + first, sums);
        }
        lti_grid_gradients(j->step->attr, &j->groups, scale[i], &g, sums, &dscale, &doffset);
        if (ds) ds[i] = (lt_real)dscale;
        if (db) db[i] = (lt_real)doffset;
    }
}

typedef struct range_tasks {
    grad_job *job;
    int64_t tasks;
} range_tasks;

static void learned_task(void *arg, int64_t task, int thread)
{
    const range_tasks *r = arg;
    int64_t begin, end;
    lti_row_range(r->job->groups.count, r->tasks, task, &begin, &end);
    learned_range(r->job, begin, end);
}

static lt_status grad_prepare(lti_step *step)
{
    lti_groups g = groups_of(step);
    bool asked = step->out[1].data || step->out[2].data;
    if (asked && lti_pieces(&g) > 1) step->scratch_bytes = (size_t)(g.count * lti_pieces(&g)) * 3 * sizeof(double);
    return LT_OK;
}

static lt_status grad_run(lti_step *step)
{
    const lti_grid_attr *attr = step->attr;
    grad_job job = {.step = step, .groups = groups_of(step)};
    job.by = attr->gradient == LT_ROUND_CLIP_CODE ? LTI_BY_CODE : LTI_BY_X;
    if (lti_rule_learned(attr->rule) && (step->out[1].data || step->out[2].data)) {
        if (lti_pieces(&job.groups) > 1) lti_par(job.groups.count * lti_pieces(&job.groups), sums_task, &job);
        range_tasks tasks = {&job, lti_row_tasks(job.groups.count, job.groups.size, 256)};
        lti_par(tasks.tasks, learned_task, &tasks);
    }
    if (step->out[0].data) lti_each(step->in[0].count, mask_range, &job); /* last: it may lie where dy lies */
    return LT_OK;
}

const lti_op lti_op_fake_quant = {
    .name = "fake_quant",
    .min_in = 2,
    .max_in = 3,
    .n_out = 1,
    .flags = LTI_CHEAP,
    .in_place = {1},
    .shape = fake_quant_shape,
    .vjp = fake_quant_vjp,
    .run = fake_quant_run,
};

const lti_op lti_op_fake_quant_grad = {
    .name = "fake_quant_grad",
    .min_in = 3,
    .max_in = 4,
    .n_out = 3,
    .in_place = {2},
    .shape = grad_shape,
    .prepare = grad_prepare,
    .run = grad_run,
};
