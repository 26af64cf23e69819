/* avg_pool2d.c - y = the mean of x under each window, zeros of the padding counted or not; dx = the sum of dy /
 * (numbers counted) over the windows that cover it. The global average is one window over all positions. */
#include "autograd/ops/pooling.h"

extern const lti_op lti_op_avg_pool2d, lti_op_avg_pool2d_grad;

static void avg_vjp(lti_vjp *v)
{
    v->dx[0] = lti_pool_grad(&lti_op_avg_pool2d_grad, v, 1, &v->dy[0]);
}

/* As the kernels take it; 0: one over what lies inside. */
static lt_real scale_of(const lti_step *step)
{
    const lti_pool_attr *attr = step->attr;
    return attr->count_pad ? 1 / (lt_real)(attr->kernel[0] * attr->kernel[1]) : 0;
}

static void avg_rows(const lti_step *step, const lti_window *s, int64_t image)
{
    const lt_real *x = step->in[0].data;
    lt_real *y = step->out[0].data;
    lti_k()->avg_pool(s, scale_of(step), x + lti_image_at(&step->in[0], image), y + lti_image_at(&step->out[0], image));
}

static lt_status avg_run(lti_step *step)
{
    return lti_pool_run(step, false, avg_rows);
}

static void grad_rows(const lti_step *step, const lti_window *s, int64_t image)
{
    const lt_real *dy = step->in[0].data;
    lt_real *dx = step->out[0].data;
    lti_k()->avg_pool_grad(s, scale_of(step), dy + lti_image_at(&step->in[0], image),
                           dx + lti_image_at(&step->out[0], image));
}

static lt_status grad_run(lti_step *step)
{
    return lti_pool_run(step, true, grad_rows);
}

const lti_op lti_op_avg_pool2d = {
    .name = "avg_pool2d",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .shape = lti_pool_shape,
    .vjp = avg_vjp,
    .run = avg_run,
};

const lti_op lti_op_avg_pool2d_grad = {
    .name = "avg_pool2d_grad",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .shape = lti_pool_grad_shape,
    .run = grad_run,
};

lt_t lt_avg_pool2d(lt_t x, const lt_pool_config *config)
{
    return lti_pool_emit(&lti_op_avg_pool2d, x, config);
}

lt_t lt_global_avg_pool(lt_t x)
{
    int rank = lt_rank(x);
    if (lt_is_nil(x)) return lti_emit(&lti_op_avg_pool2d, 1, &x, NULL, 0);
    if (rank < 2)
        return lti_graph_fail(x.graph, LT_EINVAL, "global_avg_pool: a value of rank %d; it is [B,..,C]", rank);
    if (rank == 2) return x;
    int64_t batch = lt_dim(x, 0), channels = lt_dim(x, -1), positions = 1;
    for (int i = 1; i < rank - 1; i++) positions *= lt_dim(x, i);
    lti_pool_attr attr = {.kernel = {1, positions}, .stride = {1, 1}, .count_pad = true};
    lt_t rows = lt_reshape(x, 4, (int64_t[]){batch, 1, positions, channels});
    lt_t y = lti_emit(&lti_op_avg_pool2d, 1, &rows, &attr, sizeof attr);
    return lt_reshape(y, 2, (int64_t[]){batch, channels});
}
