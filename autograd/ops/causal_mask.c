/* causal_mask.c - hides the future in scores [.., T, S]: row t keeps columns 0 .. S - T + t.
 *
 *     y = x where seen, -1e30 elsewhere;  dx = dy where seen, 0 elsewhere
 *
 * -1e30 and not minus infinity: exp(-1e30 - max) is exactly 0 as well, and a run that looks for infinities
 * (lt_run_debug) does not trip over the mask. */
#include "autograd/ops/attention_parts.h"
#include "autograd/ops/rows.h"

extern const lti_op lti_op_causal_mask;

typedef struct mask_attr {
    double hidden; /* what stands where the future was */
} mask_attr;

typedef struct mask_job {
    const lti_step *step;
    int64_t rows, tasks;
} mask_job;

static bool mask_shape(lti_shaper *s)
{
    char a[LTI_DIMS_TEXT];
    const lti_value *x = s->in[0];
    if (!lti_f32_inputs(s, 0, 1)) return false;
    if (x->rank < 2 || x->dim[x->rank - 2] > x->dim[x->rank - 1])
        return lti_shape_fail(s, "scores %s; they are to be [.., T, S] with T <= S", lti_dims(x, a));
    lti_value_set(&s->out[0], LT_F32, x->rank, x->dim);
    return true;
}

static void mask_vjp(lti_vjp *v)
{
    if (lt_is_nil(v->dy[0]) || !v->need[0]) return;
    mask_attr attr = {.hidden = 0};
    v->dx[0] = lti_emit(&lti_op_causal_mask, 1, &v->dy[0], &attr, sizeof attr);
}

static void mask_task(void *arg, int64_t task, int thread)
{
    const mask_job *job = arg;
    const lti_arg *x = &job->step->in[0];
    int64_t T = x->dim[x->rank - 2], S = x->dim[x->rank - 1], begin, end;
    lt_real hidden = (lt_real)((const mask_attr *)job->step->attr)->hidden;
    lti_row_range(job->rows, job->tasks, task, &begin, &end);
    for (int64_t r = begin; r < end; r++) {
        const lt_real *from = (const lt_real *)x->data + r * S;
        lt_real *to = (lt_real *)job->step->out[0].data + r * S;
        int64_t seen = S - T + r % T + 1;
        for (int64_t j = 0; j < seen; j++) to[j] = from[j];
        for (int64_t j = seen; j < S; j++) to[j] = hidden;
    }
}

static lt_status mask_run(lti_step *step)
{
    mask_job job = {.step = step, .rows = lti_rows(&step->in[0])};
    job.tasks = lti_row_tasks(job.rows, lti_cols(&step->in[0]), 256);
    lti_par(job.tasks, mask_task, &job);
    return LT_OK;
}

const lti_op lti_op_causal_mask = {
    .name = "causal_mask",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .in_place = {1},
    .shape = mask_shape,
    .vjp = mask_vjp,
    .run = mask_run,
};

lt_t lti_causal_mask(lt_t scores)
{
    mask_attr attr = {.hidden = -1e30};
    return lti_emit(&lti_op_causal_mask, 1, &scores, &attr, sizeof attr);
}
