/* accumulate.c - param = x + (fresh == 0 ? param : 0): sums gradients over micro-batches.
 *
 * The first micro-batch overwrites instead of adding to zeros: no pass to clear, and a NaN left from a skipped step
 * does not survive. */
#include "autograd/ops/param_value.h"
#include "autograd/ops/rows.h"

#include <string.h>

typedef struct accumulate_attr {
    lti_value param;
} accumulate_attr;

typedef struct accumulate_job {
    const lti_step *step;
    bool fresh;
} accumulate_job;

static bool accumulate_shape(lti_shaper *s)
{
    char a[LTI_DIMS_TEXT], b[LTI_DIMS_TEXT];
    const accumulate_attr *attr = s->attr;
    if (!lti_f32_inputs(s, 0, s->n_in)) return false;
    if (!lti_value_same(s->in[0], &attr->param))
        return lti_shape_fail(s, "x %s into a parameter %s %s; type and shape are to be equal", lti_dims(s->in[0], a),
                              lt_dtype_name(attr->param.type), lti_dims(&attr->param, b));
    if (s->n_in == 2 && s->in[1]->rank != 0) return lti_shape_fail(s, "`fresh` is to be a single number");
    s->out[0] = attr->param;
    return true;
}

static void accumulate_body(void *arg, int64_t begin, int64_t end)
{
    const accumulate_job *job = arg;
    const lt_real *x = (const lt_real *)job->step->in[0].data + begin;
    lt_real *y = (lt_real *)job->step->out[0].data + begin;
    if (job->fresh)
        memcpy(y, x, (size_t)(end - begin) * sizeof *y);
    else
        lti_k()->add(end - begin, y, 1, x, 1, y);
}

static lt_status accumulate_run(lti_step *step)
{
    accumulate_job job = {.step = step, .fresh = step->n_in == 2 && lti_number(&step->in[1]) != 0};
    if (job.fresh && step->out[0].data == step->in[0].data) return LT_OK;
    lti_each(step->out[0].count, accumulate_body, &job);
    return LT_OK;
}

const lti_op lti_op_accumulate = {
    .name = "accumulate",
    .min_in = 1,
    .max_in = 2,
    .n_out = 1,
    .flags = LTI_EFFECT,
    .shape = accumulate_shape,
    .run = accumulate_run,
};

lt_t lt_accumulate(lt_param *param, lt_t x, lt_t fresh)
{
    if (lt_is_nil(x)) return x;
    if (!param) return lti_graph_fail(x.graph, LT_EINVAL, "accumulate: there is no such parameter");
    accumulate_attr attr = {.param = lti_param_value(param)};
    return lti_emit_params(x.graph, &lti_op_accumulate, lt_is_nil(fresh) ? 1 : 2, (lt_t[]){x, fresh}, &attr,
                           sizeof attr, 1, &param);
}
