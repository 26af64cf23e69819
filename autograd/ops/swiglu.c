/* swiglu.c - y = silu(g) u (Shazeer 2020); with s = sigmoid(g): dg = dy u s (1 + g (1 - s)), du = dy silu(g).
 *
 * One pass over the two halves of a feed-forward layer, and one for both gradients. */
#include "autograd/ops/elementwise.h"

extern const lti_op lti_op_swiglu_grad;

static void swiglu_vjp(lti_vjp *v)
{
    lt_t grad = lti_emit(&lti_op_swiglu_grad, 3, (lt_t[]){v->in[0], v->in[1], v->dy[0]}, NULL, 0);
    for (int i = 0; i < 2; i++)
        if (v->need[i]) v->dx[i] = lti_output(grad, i);
}

static lt_status swiglu_run(lti_step *step)
{
    return lti_map2_run(step, lti_k()->swiglu);
}

typedef struct grad_call {
    const lt_real *g, *u, *dy;
    lt_real *dg, *du; /* NULL when nobody reads it */
} grad_call;

enum { CHUNK = 512 }; /* the kernel always makes both: an output nobody reads goes to a small buffer */

static void grad_body(void *arg, int64_t begin, int64_t end)
{
    const grad_call *c = arg;
    lt_real unread[CHUNK];
    int64_t chunk = c->dg && c->du ? end - begin : CHUNK;
    for (int64_t i = begin; i < end; i += chunk) {
        int64_t n = end - i < chunk ? end - i : chunk;
        lti_k()->swiglu_grad(n, c->g + i, c->u + i, c->dy + i, c->dg ? c->dg + i : unread, c->du ? c->du + i : unread);
    }
}

static lt_status swiglu_grad_run(lti_step *step)
{
    grad_call c = {step->in[0].data, step->in[1].data, step->in[2].data, step->out[0].data, step->out[1].data};
    if (c.dg || c.du) lti_each(step->in[0].count, grad_body, &c);
    return LT_OK;
}

const lti_op lti_op_swiglu = {
    .name = "swiglu",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .flags = LTI_CHEAP,
    .shape = lti_map_shape,
    .vjp = swiglu_vjp,
    .run = swiglu_run,
};

const lti_op lti_op_swiglu_grad = {
    .name = "swiglu_grad",
    .min_in = 3,
    .max_in = 3,
    .n_out = 2,
    .in_place = {1, 2 | 4},
    .shape = lti_map_shape,
    .run = swiglu_grad_run,
};

lt_t lt_swiglu(lt_t gate, lt_t up)
{
    return lti_emit(&lti_op_swiglu, 2, (lt_t[]){gate, up}, NULL, 0);
}
