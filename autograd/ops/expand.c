/* expand.c - x broadcast to a shape; dx = dy summed over what was repeated. */
#include "autograd/ops/broadcast.h"
#include "autograd/ops/elementwise.h"

#include <string.h>

typedef struct expand_attr {
    int64_t dim[LT_MAX_RANK];
    int64_t rank;
} expand_attr;

static bool expand_shape(lti_shaper *s)
{
    const expand_attr *attr = s->attr;
    const lti_value *x = s->in[0];
    char from[LTI_DIMS_TEXT], to[LTI_DIMS_TEXT];
    if (lt_dtype_is_lattice(x->type))
        return lti_shape_fail(s, "a %s value cannot be repeated: use lt_dequantize", lt_dtype_name(x->type));
    if (attr->rank < 0) return lti_shape_fail(s, "rank %lld", (long long)attr->rank);
    if (!lti_out_set(s, 0, x->type, (int)attr->rank, attr->dim)) return false;
    bool fits = x->rank <= attr->rank;
    for (int i = 0; fits && i < x->rank; i++) fits = x->dim[i] == 1 || x->dim[i] == attr->dim[attr->rank - x->rank + i];
    return fits || lti_shape_fail(s, "%s to %s: aligned at the end, sizes must be equal or 1 in the first",
                                  lti_dims(x, from), lti_dims(&s->out[0], to));
}

static void expand_vjp(lti_vjp *v)
{
    v->dx[0] = lti_reduce_to(v->dy[0], v->in[0]);
}

static lt_status expand_prepare(lti_step *step)
{
    lti_broadcast *plan = lti_alloc(step->ctx, sizeof *plan);
    if (!plan) return LT_ENOMEM;
    lti_broadcast_plan(plan, &step->in[0], &step->out[0]);
    step->state = plan;
    return LT_OK;
}

typedef struct expand_call {
    size_t size; /* of an element: 1, 2, 4 or 8 */
    const char *x;
    char *y;
} expand_call;

#define FILL(type)                                                                                                     \
    do {                                                                                                               \
        type value = *(const type *)(const void *)from, *to = (type *)(void *)y;                                       \
        for (int64_t i = 0; i < n; i++) to[i] = value;                                                                 \
    } while (0)

static void fill(size_t size, int64_t n, const char *from, char *y)
{
    switch (size) {
    case 1: memset(y, *from, (size_t)n); break;
    case 2: FILL(uint16_t); break;
    case 4: FILL(uint32_t); break;
    default: FILL(uint64_t); break;
    }
}

static void expand_body(const void *arg, int64_t n, int64_t a, int64_t sa, int64_t b, int64_t sb, int64_t y)
{
    (void)b;
    (void)sb;
    const expand_call *c = arg;
    const char *from = c->x + (size_t)a * c->size;
    char *to = c->y + (size_t)y * c->size;
    if (sa)
        memcpy(to, from, (size_t)n * c->size);
    else
        fill(c->size, n, from, to);
}

static lt_status expand_run(lti_step *step)
{
    expand_call c = {lt_dtype_bytes(step->in[0].type), step->in[0].data, step->out[0].data};
    lti_broadcast_each(step->state, expand_body, &c);
    return LT_OK;
}

const lti_op lti_op_expand = {
    .name = "expand",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .flags = LTI_CHEAP,
    .shape = expand_shape,
    .vjp = expand_vjp,
    .prepare = expand_prepare,
    .run = expand_run,
    .release = lti_state_free,
};

lt_t lt_expand(lt_t x, int rank, const int64_t *shape)
{
    expand_attr attr = {.rank = rank};
    bool same = !lt_is_nil(x) && rank == lt_rank(x);
    for (int i = 0; i < rank && i < LT_MAX_RANK; i++) {
        attr.dim[i] = shape[i];
        same = same && shape[i] == lt_dim(x, i);
    }
    return same ? x : lti_emit(&lti_op_expand, 1, &x, &attr, sizeof attr);
}
