/* dropout.c - y = m x / (1 - p) with m = 0 with probability p, else 1 (Srivastava et al. 2014); dx = m dy / (1 - p).
 *
 * Element i of step s is dropped by word i of the random stream (seed, stream, s), so nothing is kept: the gradient is
 * the same op on dy, and neither threads nor resuming change the numbers. */
#include "autograd/ops/elementwise.h"

typedef struct dropout_attr {
    double p;
    uint64_t seed, stream;
} dropout_attr;

static bool dropout_shape(lti_shaper *s) /* in: x, step [] */
{
    if (!lti_f32_inputs(s, 0, 2)) return false;
    return lti_out_set(s, 0, LT_F32, s->in[0]->rank, s->in[0]->dim);
}

extern const lti_op lti_op_dropout;

static void dropout_vjp(lti_vjp *v)
{
    if (v->need[0])
        v->dx[0] = lti_emit(&lti_op_dropout, 2, (lt_t[]){v->dy[0], v->in[1]}, v->attr, sizeof(dropout_attr));
}

typedef struct dropout_call {
    lti_rng rng;
    double p;
    const lt_real *x;
    lt_real *y;
} dropout_call;

static void dropout_body(void *arg, int64_t begin, int64_t end)
{
    const dropout_call *c = arg;
    lti_k()->dropout(end - begin, &c->rng, (uint64_t)begin, c->p, c->x + begin, c->y + begin);
}

static lt_status dropout_run(lti_step *step)
{
    const dropout_attr *attr = step->attr;
    lt_real at = lti_number(&step->in[1]);
    uint32_t number = at >= 0 && at < (lt_real)4294967296.0 ? (uint32_t)at : 0;
    dropout_call c = {.rng = {attr->seed, (uint32_t)attr->stream, number},
                      .p = attr->p,
                      .x = step->in[0].data,
                      .y = step->out[0].data};
    lti_each(step->out[0].count, dropout_body, &c);
    return LT_OK;
}

const lti_op lti_op_dropout = {
    .name = "dropout",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .flags = LTI_CHEAP,
    .in_place = {1},
    .shape = dropout_shape,
    .vjp = dropout_vjp,
    .run = dropout_run,
};

lt_t lt_dropout(lt_t x, double p)
{
    if (lt_is_nil(x)) return lti_emit(&lti_op_dropout, 2, (lt_t[]){x, x}, NULL, 0);
    if (!(p >= 0 && p < 1)) return lti_graph_fail(x.graph, LT_EINVAL, "dropout: p = %g is not in [0, 1)", p);
    if (p == 0 || !lt_is_training(x.graph)) return x;
    dropout_attr attr = {.p = p, .seed = lti_graph_seed(x.graph), .stream = lti_random_stream(x.graph)};
    return lti_emit(&lti_op_dropout, 2, (lt_t[]){x, lt_scalar(x.graph, "step", 0)}, &attr, sizeof attr);
}
