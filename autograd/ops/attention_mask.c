/* attention_mask.c - hides from each query what a window and spans do not let it see, in x [B, H, T, S].
 *
 *     y = x where seen, `hidden` elsewhere;  dx = dy where seen, 0 elsewhere
 *
 * Which keys are seen is asked of the same function as in the fused kernels (kernels/attention.h). Scores take -1e30
 * (see causal_mask.c); weights take 0 once more after the softmax, for a query that sees nothing would weigh all keys
 * alike. */
#include "autograd/ops/attention_parts.h"
#include "autograd/ops/rows.h"

extern const lti_op lti_op_attention_mask;

typedef struct mask_attr {
    double hidden;
    int64_t causal, window;
} mask_attr;

typedef struct mask_job {
    const lti_step *step;
    int64_t rows, tasks;
} mask_job;

bool lti_spans_fit(const lti_shaper *s, const lti_value *spans, int64_t B, int64_t T)
{
    char a[LTI_DIMS_TEXT];
    if (spans->type == LT_I32 && spans->rank == 3 && spans->dim[0] == B && spans->dim[1] == T && spans->dim[2] == 2)
        return true;
    return lti_shape_fail(s, "spans are %s %s; they are to be i32 [%lld,%lld,2], a begin and an end for each query",
                          lt_dtype_name(spans->type), lti_dims(spans, a), (long long)B, (long long)T);
}

static bool mask_shape(lti_shaper *s)
{
    char a[LTI_DIMS_TEXT];
    const mask_attr *attr = s->attr;
    const lti_value *x = s->in[0];
    if (!lti_f32_inputs(s, 0, 1)) return false;
    if (x->rank != 4 || (attr->causal && x->dim[2] > x->dim[3]))
        return lti_shape_fail(s, "scores %s; they are to be [B,H,T,S], with T <= S when causal", lti_dims(x, a));
    if (s->n_in == 2 && !lti_spans_fit(s, s->in[1], x->dim[0], x->dim[2])) return false;
    lti_value_set(&s->out[0], LT_F32, 4, x->dim);
    return true;
}

static void mask_vjp(lti_vjp *v)
{
    if (lt_is_nil(v->dy[0]) || !v->need[0]) return;
    mask_attr attr = *(const mask_attr *)v->attr;
    attr.hidden = 0;
    v->dx[0] = lti_emit(&lti_op_attention_mask, v->n_in, (lt_t[]){v->dy[0], v->in[v->n_in - 1]}, &attr, sizeof attr);
}

static void mask_row(const lti_attention_task *t, int64_t i, lt_real hidden, const lt_real *from, lt_real *to)
{
    int64_t begin, end;
    lti_attention_keys(t, i, &begin, &end);
    for (int64_t j = 0; j < t->S; j++) to[j] = j >= begin && j < end ? from[j] : hidden;
}

static void mask_task(void *arg, int64_t task, int thread)
{
    const mask_job *job = arg;
    const mask_attr *attr = job->step->attr;
    const lti_arg *x = &job->step->in[0];
    int64_t H = x->dim[1], T = x->dim[2], S = x->dim[3], begin, end;
    const int32_t *spans = job->step->n_in == 2 ? job->step->in[1].data : NULL;
    lti_attention_task t = {.T = T, .S = S, .first = S - T, .causal = attr->causal != 0, .window = attr->window};
    lti_row_range(job->rows, job->tasks, task, &begin, &end);
    for (int64_t r = begin; r < end; r++) {
        t.spans = spans ? spans + r / (H * T) * T * 2 : NULL;
        mask_row(&t, r % T, (lt_real)attr->hidden, (const lt_real *)x->data + r * S,
                 (lt_real *)job->step->out[0].data + r * S);
    }
}

static lt_status mask_run(lti_step *step)
{
    mask_job job = {.step = step, .rows = lti_rows(&step->in[0])};
    job.tasks = lti_row_tasks(job.rows, lti_cols(&step->in[0]), 256);
    lti_par(job.tasks, mask_task, &job);
    return LT_OK;
}

const lti_op lti_op_attention_mask = {
    .name = "attention_mask",
    .min_in = 1,
    .max_in = 2,
    .n_out = 1,
    .in_place = {1},
    .shape = mask_shape,
    .vjp = mask_vjp,
    .run = mask_run,
};

lt_t lti_attention_mask(lt_t x, const lt_attention_config *config, double hidden)
{
    mask_attr attr = {.hidden = hidden, .causal = config->causal, .window = config->window};
    return lti_emit(&lti_op_attention_mask, lt_is_nil(config->spans) ? 1 : 2, (lt_t[]){x, config->spans}, &attr,
                    sizeof attr);
}
