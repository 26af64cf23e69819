/* scale_by.c - y = c x for a rank-0 value c that is nearly always 1: the cotangent of a loss.
 *
 * Gradients made in the forward (head_loss.c) have to be multiplied by the loss's cotangent, which is the constant 1
 * unless the loss is part of a sum. An ordinary product would pass over all of dW for nothing; this one returns at once
 * when c is 1 and y lies where x lay. Not differentiable: it only stands in gradients. */
#include "autograd/ops/head_kind.h"
#include "autograd/ops/rows.h"

#include <string.h>

typedef struct scale_job {
    const lti_step *step;
    lt_real c;
} scale_job;

static bool scale_shape(lti_shaper *s)
{
    char a[LTI_DIMS_TEXT];
    if (!lti_f32_inputs(s, 0, 2)) return false;
    if (lti_value_count(s->in[1]) != 1)
        return lti_shape_fail(s, "the factor has shape %s; it is to be one number", lti_dims(s->in[1], a));
    lti_value_set(&s->out[0], LT_F32, s->in[0]->rank, s->in[0]->dim);
    return true;
}

static void scale_body(void *arg, int64_t begin, int64_t end)
{
    const scale_job *job = arg;
    const lt_real *x = (const lt_real *)job->step->in[0].data + begin;
    lt_real *y = (lt_real *)job->step->out[0].data + begin;
    if (job->c == 1)
        memcpy(y, x, (size_t)(end - begin) * sizeof *y);
    else
        lti_k()->scale(end - begin, job->c, x, y);
}

static lt_status scale_run(lti_step *step)
{
    scale_job job = {.step = step, .c = lti_number(&step->in[1])};
    if (job.c == 1 && step->out[0].data == step->in[0].data) return LT_OK;
    lti_each(step->out[0].count, scale_body, &job);
    return LT_OK;
}

const lti_op lti_op_scale_by = {
    .name = "scale_by",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .in_place = {1},
    .shape = scale_shape,
    .run = scale_run,
};

lt_t lti_scale_by(lt_t x, lt_t number)
{
    return lti_emit(&lti_op_scale_by, 2, (lt_t[]){x, number}, NULL, 0);
}
