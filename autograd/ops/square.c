/* square.c - y = x^2; dx = 2 x dy. */
#include "autograd/ops/elementwise.h"

static void square_vjp(lti_vjp *v)
{
    v->dx[0] = lt_scale(lt_mul(v->dy[0], v->in[0]), 2);
}

static void square_range(int64_t n, const lt_real *x, lt_real *y)
{
    lti_k()->mul(n, x, 1, x, 1, y);
}

static lt_status square_run(lti_step *step)
{
    return lti_map1_run(step, square_range);
}

const lti_op lti_op_square = {
    .name = "square",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .flags = LTI_CHEAP,
    .in_place = {1},
    .shape = lti_map_shape,
    .vjp = square_vjp,
    .run = square_run,
};

lt_t lt_square(lt_t x)
{
    return lti_emit(&lti_op_square, 1, &x, NULL, 0);
}
