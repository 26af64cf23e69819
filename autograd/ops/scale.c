/* scale.c - y = c x, dx = c dy; c is a number of the recipe. (x + c is an addition of a constant.) */
#include "autograd/ops/elementwise.h"

typedef struct scale_attr {
    double c;
} scale_attr;

typedef struct scale_call {
    lt_real c;
    const lt_real *x;
    lt_real *y;
} scale_call;

static void scale_vjp(lti_vjp *v)
{
    const scale_attr *attr = v->attr;
    v->dx[0] = lt_scale(v->dy[0], attr->c);
}

static void scale_body(void *arg, int64_t begin, int64_t end)
{
    const scale_call *c = arg;
    lti_k()->scale(end - begin, c->c, c->x + begin, c->y + begin);
}

static lt_status scale_run(lti_step *step)
{
    scale_call c = {(lt_real)((const scale_attr *)step->attr)->c, step->in[0].data, step->out[0].data};
    lti_each(step->out[0].count, scale_body, &c);
    return LT_OK;
}

const lti_op lti_op_scale = {
    .name = "scale",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .flags = LTI_CHEAP,
    .in_place = {1},
    .shape = lti_map_shape,
    .vjp = scale_vjp,
    .run = scale_run,
};

lt_t lt_scale(lt_t x, double c)
{
    return lti_emit(&lti_op_scale, 1, &x, &(scale_attr){c}, sizeof(scale_attr));
}

lt_t lt_shift(lt_t x, double c)
{
    return lt_is_nil(x) ? x : lt_add(x, lt_constant(x.graph, c));
}
