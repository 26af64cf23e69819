/* lattice_clip.c - the gradient of numbers that a block lattice could not reach is 0.
 *
 *     y = codes (a view);  dx = dy where least <= x <= most, else 0
 *
 * least and most are what the codes of x's block could stand for under its scales: Q4_0 reaches from -8 d to 7 d, and what
 * lies beyond 7 d was clipped. By the code, half a step is added: up to there rounding, not clipping, made the code. */
#include "autograd/ops/lattice_clip.h"

#include "autograd/ops/lattice_codes.h"
#include "autograd/ops/rows.h"

extern const lti_op lti_op_lattice_clip, lti_op_lattice_clip_grad;

typedef struct clip_attr {
    int64_t gradient;
} clip_attr;

typedef struct clip_job {
    const lti_step *step;
    int64_t blocks, tasks;
} clip_job;

static bool clip_shape(lti_shaper *s)
{
    char a[LTI_DIMS_TEXT], b[LTI_DIMS_TEXT];
    const lti_value *codes = s->in[0], *x = s->in[1];
    if (!lti_f32_inputs(s, 1, 2)) return false;
    if (!lt_dtype_is_lattice(codes->type) || lti_value_count(codes) != lti_value_count(x))
        return lti_shape_fail(s, "%s %s with x %s; they are to be the codes of x", lt_dtype_name(codes->type),
                              lti_dims(codes, a), lti_dims(x, b));
    lti_value_set(&s->out[0], codes->type, codes->rank, codes->dim);
    return true;
}

static void clip_vjp(lti_vjp *v)
{
    if (!v->need[1]) return;
    v->dx[1] =
        lti_emit(&lti_op_lattice_clip_grad, 3, (lt_t[]){v->in[0], v->in[1], v->dy[0]}, v->attr, sizeof(clip_attr));
}

/* codes, x, dy -> dx */
static bool grad_shape(lti_shaper *s)
{
    return lti_out_set(s, 0, LT_F32, s->in[1]->rank, s->in[1]->dim);
}

static void grad_task(void *arg, int64_t task, int thread)
{
    const clip_job *j = arg;
    const lti_arg *in = j->step->in;
    lt_dtype type = in[0].type;
    int64_t begin, end, size = lt_dtype_block(type);
    bool by_code = ((const clip_attr *)j->step->attr)->gradient == LT_ROUND_CLIP_CODE;
    lti_row_range(j->blocks, j->tasks, task, &begin, &end);
    for (int64_t b = begin; b < end; b++) {
        lt_real least[LTI_MOST_BLOCK], most[LTI_MOST_BLOCK];
        lt_real half =
            lti_lattice_reach(type, (const char *)in[0].data + (size_t)b * lt_dtype_bytes(type), least, most);
        const lt_real *x = (const lt_real *)in[1].data + b * size, *dy = (const lt_real *)in[2].data + b * size;
        lt_real *dx = (lt_real *)j->step->out[0].data + b * size, more = by_code ? half : 0;
        for (int64_t i = 0; i < size; i++) dx[i] = x[i] < least[i] - more || x[i] > most[i] + more ? 0 : dy[i];
    }
}

static lt_status grad_run(lti_step *step)
{
    int64_t size = lt_dtype_block(step->in[0].type);
    clip_job job = {.step = step, .blocks = step->in[1].count / size};
    job.tasks = lti_row_tasks(job.blocks, size, 256);
    lti_par(job.tasks, grad_task, &job);
    return LT_OK;
}

const lti_op lti_op_lattice_clip = {
    .name = "lattice_clip",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .flags = LTI_VIEW | LTI_CHEAP,
    .shape = clip_shape,
    .vjp = clip_vjp,
};

const lti_op lti_op_lattice_clip_grad = {
    .name = "lattice_clip_grad",
    .min_in = 3,
    .max_in = 3,
    .n_out = 1,
    .in_place = {4},
    .shape = grad_shape,
    .run = grad_run,
};

lt_t lti_lattice_clip(lt_t codes, lt_t x, lt_round_gradient gradient)
{
    clip_attr attr = {.gradient = gradient};
    return lti_emit(&lti_op_lattice_clip, 2, (lt_t[]){codes, x}, &attr, sizeof attr);
}
