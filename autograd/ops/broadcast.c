/* broadcast.c - see broadcast.h.
 *
 * Merging axes first turns every common case (equal shapes, a scalar, a trailing row, a leading column) into one or
 * two loops, so there is one path instead of four; the odometer over the remaining outer axes is the general case. */
#include "autograd/ops/broadcast.h"
#include "autograd/ops/elementwise.h"

/* Size of axis i of `rank` aligned at the end; missing axes are 1. */
static int64_t aligned_dim(int rank, const int64_t *dim, int common, int i)
{
    int axis = i - (common - rank);
    return axis < 0 ? 1 : dim[axis];
}

bool lti_broadcast_dims(const lti_value *a, const lti_value *b, int *rank, int64_t dim[LT_MAX_RANK])
{
    *rank = a->rank > b->rank ? a->rank : b->rank;
    for (int i = 0; i < *rank; i++) {
        int64_t da = aligned_dim(a->rank, a->dim, *rank, i), db = aligned_dim(b->rank, b->dim, *rank, i);
        if (da != db && da != 1 && db != 1) return false;
        dim[i] = da == 1 ? db : da;
    }
    return true;
}

void lti_broadcast_plan(lti_broadcast *plan, const lti_arg *a, const lti_arg *b)
{
    int common = a->rank > b->rank ? a->rank : b->rank, n = 0;
    int64_t size[LT_MAX_RANK], sa[LT_MAX_RANK], sb[LT_MAX_RANK]; /* innermost first */
    int64_t run_a = 1, run_b = 1;                                /* elements to the right of the axis */
    for (int i = common - 1; i >= 0; i--) {
        int64_t da = aligned_dim(a->rank, a->dim, common, i), db = aligned_dim(b->rank, b->dim, common, i);
        int64_t d = da == 1 ? db : da;
        if (d == 1) continue;
        int64_t step_a = da == 1 ? 0 : run_a, step_b = db == 1 ? 0 : run_b;
        if (n > 0 && (step_a == 0) == (sa[n - 1] == 0) && (step_b == 0) == (sb[n - 1] == 0)) {
            size[n - 1] *= d;
        } else {
            size[n] = d;
            sa[n] = step_a;
            sb[n++] = step_b;
        }
        run_a *= da;
        run_b *= db;
    }
    *plan = (lti_broadcast){.inner = n ? size[0] : 1, .inner_a = n ? sa[0] : 1, .inner_b = n ? sb[0] : 1, .outer = 1};
    for (int i = n - 1; i > 0; i--) {
        plan->dim[plan->rank] = size[i];
        plan->step_a[plan->rank] = sa[i];
        plan->step_b[plan->rank++] = sb[i];
        plan->outer *= size[i];
    }
    plan->pieces = (plan->inner + LTI_GRAIN - 1) / LTI_GRAIN;
    plan->tasks = lti_par_tasks(plan->outer * plan->inner, LTI_GRAIN);
    if (plan->tasks > plan->outer * plan->pieces) plan->tasks = plan->outer * plan->pieces;
}

typedef struct each_call {
    const lti_broadcast *plan;
    lti_broadcast_body body;
    const void *arg;
} each_call;

static void broadcast_task(void *arg, int64_t task, int thread)
{
    (void)thread;
    const each_call *c = arg;
    const lti_broadcast *p = c->plan;
    int64_t units = p->outer * p->pieces, unit = units * task / p->tasks, end = units * (task + 1) / p->tasks;
    int64_t row = unit / p->pieces, piece = unit % p->pieces, at[LT_MAX_RANK], a = 0, b = 0;
    for (int64_t i = p->rank - 1, rest = row; i >= 0; i--) {
        at[i] = rest % p->dim[i];
        rest /= p->dim[i];
        a += at[i] * p->step_a[i];
        b += at[i] * p->step_b[i];
    }
    for (; unit < end; unit++) {
        int64_t from = piece * LTI_GRAIN;
        int64_t n = p->inner - from < LTI_GRAIN ? p->inner - from : LTI_GRAIN;
        c->body(c->arg, n, a + from * p->inner_a, p->inner_a, b + from * p->inner_b, p->inner_b, row * p->inner + from);
        if (++piece < p->pieces) continue;
        piece = 0;
        row++;
        for (int i = p->rank - 1; i >= 0; i--) {
            a += p->step_a[i];
            b += p->step_b[i];
            if (++at[i] < p->dim[i]) break;
            a -= p->dim[i] * p->step_a[i];
            b -= p->dim[i] * p->step_b[i];
            at[i] = 0;
        }
    }
}

void lti_broadcast_each(const lti_broadcast *plan, lti_broadcast_body body, const void *arg)
{
    each_call c = {plan, body, arg};
    if (plan->tasks == 1)
        broadcast_task(&c, 0, 0);
    else
        lti_par(plan->tasks, broadcast_task, &c);
}

bool lti_binary_shape(lti_shaper *s)
{
    int rank;
    int64_t dim[LT_MAX_RANK];
    char a[LTI_DIMS_TEXT], b[LTI_DIMS_TEXT];
    if (!lti_f32_inputs(s, 0, 2)) return false;
    if (!lti_broadcast_dims(s->in[0], s->in[1], &rank, dim))
        return lti_shape_fail(s, "%s with %s: aligned at the end, sizes must be equal or 1", lti_dims(s->in[0], a),
                              lti_dims(s->in[1], b));
    return lti_out_set(s, 0, LT_F32, rank, dim);
}

lt_status lti_binary_prepare(lti_step *step)
{
    lti_broadcast *plan = lti_alloc(step->ctx, sizeof *plan);
    if (!plan) return LT_ENOMEM;
    lti_broadcast_plan(plan, &step->in[0], &step->in[1]);
    step->state = plan;
    return LT_OK;
}

typedef struct binary_call {
    lti_binary kernel;
    const lt_real *a, *b;
    lt_real *y;
} binary_call;

static void binary_body(const void *arg, int64_t n, int64_t a, int64_t sa, int64_t b, int64_t sb, int64_t y)
{
    const binary_call *c = arg;
    c->kernel(n, c->a + a, sa, c->b + b, sb, c->y + y);
}

lt_status lti_binary_run(lti_step *step, lti_binary kernel)
{
    binary_call c = {kernel, step->in[0].data, step->in[1].data, step->out[0].data};
    if (c.y) lti_broadcast_each(step->state, binary_body, &c);
    return LT_OK;
}

lt_t lti_reduce_to(lt_t dy, lt_t like)
{
    if (lt_is_nil(dy) || lt_is_nil(like)) return dy;
    int rank = lt_rank(dy), want = lt_rank(like), n = 0, axes[LT_MAX_RANK];
    int64_t dim[LT_MAX_RANK];
    for (int i = 0; i < want; i++) dim[i] = lt_dim(like, i);
    for (int i = 0; i < rank; i++)
        if (aligned_dim(want, dim, rank, i) == 1 && lt_dim(dy, i) != 1) axes[n++] = i;
    if (n > 0) dy = lt_sum(dy, n, axes, true);
    return rank == want ? dy : lt_reshape(dy, want, dim);
}
