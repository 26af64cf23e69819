/* max.c - y = max of x along one axis; NaN wins. dx = dy at the first maximum, 0 elsewhere. */
#include "autograd/ops/elementwise.h"

typedef struct max_attr {
    int64_t axis, keep;
} max_attr;

static bool max_shape(lti_shaper *s)
{
    const max_attr *attr = s->attr;
    const lti_value *x = s->in[0];
    char dims[LTI_DIMS_TEXT];
    if (!lti_f32_inputs(s, 0, 1)) return false;
    if (x->dim[attr->axis] == 0) return lti_shape_fail(s, "axis %d of %s is empty", (int)attr->axis, lti_dims(x, dims));
    int rank = 0;
    int64_t dim[LT_MAX_RANK];
    for (int i = 0; i < x->rank; i++)
        if (i != attr->axis || attr->keep) dim[rank++] = i == attr->axis ? 1 : x->dim[i];
    return lti_out_set(s, 0, LT_F32, rank, dim);
}

extern const lti_op lti_op_max_grad;

static void max_vjp(lti_vjp *v)
{
    v->dx[0] = lti_emit(&lti_op_max_grad, 3, (lt_t[]){v->in[0], v->out[0], v->dy[0]}, v->attr, sizeof(max_attr));
}

/* A lane is one number of y and the `length` numbers of x it is the maximum of, `inner` apart. */
typedef struct max_call {
    lti_split split;
    int64_t tasks;
    const lt_real *x, *y, *dy;
    lt_real *out; /* y, or dx */
} max_call;

typedef void (*lane_body)(const max_call *c, int64_t lane, int64_t at);

static void max_lane(const max_call *c, int64_t lane, int64_t at)
{
    if (c->split.inner == 1) {
        c->out[lane] = lti_k()->max(c->split.length, c->x + at);
        return;
    }
    lt_real y = c->x[at];
    for (int64_t i = 1; i < c->split.length; i++) {
        lt_real x = c->x[at + i * c->split.inner];
        if (x > y || x != x) y = x;
    }
    c->out[lane] = y;
}

static void max_grad_lane(const max_call *c, int64_t lane, int64_t at)
{
    lt_real y = c->y[lane];
    bool found = false;
    for (int64_t i = 0; i < c->split.length; i++, at += c->split.inner) {
        lt_real x = c->x[at];
        bool here = !found && (x == y || (x != x && y != y));
        c->out[at] = here ? c->dy[lane] : 0;
        found |= here;
    }
}

static void each_lane(const max_call *c, int64_t task, lane_body body)
{
    int64_t lanes = c->split.outer * c->split.inner, end = lanes * (task + 1) / c->tasks;
    for (int64_t lane = lanes * task / c->tasks; lane < end; lane++)
        body(c, lane, lane / c->split.inner * c->split.length * c->split.inner + lane % c->split.inner);
}

static void max_task(void *arg, int64_t task, int thread)
{
    (void)thread;
    each_lane(arg, task, max_lane);
}

static void max_grad_task(void *arg, int64_t task, int thread)
{
    (void)thread;
    each_lane(arg, task, max_grad_lane);
}

static void cut_lanes(max_call *c, const lti_step *step)
{
    const lti_arg *x = &step->in[0];
    c->split = lti_split_at(x->rank, x->dim, (int)((const max_attr *)step->attr)->axis);
    c->tasks = lti_par_tasks(x->count, LTI_GRAIN);
    c->x = x->data;
    c->out = step->out[0].data;
}

static lt_status max_run(lti_step *step)
{
    max_call c = {.y = NULL};
    cut_lanes(&c, step);
    lti_par(c.tasks, max_task, &c);
    return LT_OK;
}

static bool max_grad_shape(lti_shaper *s) /* in: x, y, dy */
{
    if (!lti_f32_inputs(s, 0, 3)) return false;
    return lti_out_set(s, 0, LT_F32, s->in[0]->rank, s->in[0]->dim);
}

static lt_status max_grad_run(lti_step *step)
{
    max_call c = {.y = step->in[1].data, .dy = step->in[2].data};
    cut_lanes(&c, step);
    lti_par(c.tasks, max_grad_task, &c);
    return LT_OK;
}

const lti_op lti_op_max = {
    .name = "max",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .shape = max_shape,
    .vjp = max_vjp,
    .run = max_run,
};

const lti_op lti_op_max_grad = {
    .name = "max_grad",
    .min_in = 3,
    .max_in = 3,
    .n_out = 1,
    .shape = max_grad_shape,
    .run = max_grad_run,
};

lt_t lt_max(lt_t x, int axis, bool keep)
{
    if (lt_is_nil(x)) return lti_emit(&lti_op_max, 1, &x, NULL, 0);
    max_attr attr = {.axis = axis, .keep = keep};
    int a = axis;
    if (!lti_axis(lt_rank(x), &a)) return lti_axis_fail(x, "max", axis);
    attr.axis = a;
    return lti_emit(&lti_op_max, 1, &x, &attr, sizeof attr);
}
