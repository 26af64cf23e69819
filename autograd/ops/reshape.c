/* reshape.c - the same bytes under another shape; dx = dy under x's shape. A view: there is nothing to run. */
#include "autograd/ops/elementwise.h"

typedef struct reshape_attr {
    int64_t dim[LT_MAX_RANK]; /* one may be -1: what is left */
    int64_t rank;
} reshape_attr;

/* Replaces a -1; false when the numbers of elements differ. */
static bool resolve(int64_t count, int rank, int64_t *dim)
{
    int64_t known = 1;
    int open = -1;
    for (int i = 0; i < rank; i++) {
        if (dim[i] == -1 && open < 0)
            open = i;
        else if (dim[i] < 0 || __builtin_mul_overflow(known, dim[i], &known))
            return false;
    }
    if (open < 0) return known == count;
    if (known == 0 || count % known) return false;
    dim[open] = count / known;
    return true;
}

static bool reshape_shape(lti_shaper *s)
{
    const reshape_attr *attr = s->attr;
    const lti_value *x = s->in[0];
    char from[LTI_DIMS_TEXT], to[LTI_DIMS_TEXT];
    if (attr->rank < 0 || attr->rank > LT_MAX_RANK)
        return lti_shape_fail(s, "rank %lld; 0 to %d is possible", (long long)attr->rank, LT_MAX_RANK);
    lti_value y;
    lti_value_set(&y, x->type, (int)attr->rank, attr->dim);
    if (!resolve(lti_value_count(x), y.rank, y.dim)) {
        lti_value_set(&y, x->type, (int)attr->rank, attr->dim);
        return lti_shape_fail(s, "%s to %s: the numbers of elements differ", lti_dims(x, from), lti_dims(&y, to));
    }
    int64_t block = lt_dtype_block(x->type);
    if (block > 1 && (y.rank == 0 || y.dim[y.rank - 1] % block))
        return lti_shape_fail(s, "%s to %s cuts %s blocks of %lld elements", lti_dims(x, from), lti_dims(&y, to),
                              lt_dtype_name(x->type), (long long)block);
    s->out[0] = y;
    return true;
}

static void reshape_vjp(lti_vjp *v)
{
    v->dx[0] = lt_reshape(v->dy[0], lt_rank(v->in[0]), lt_shape(v->in[0]));
}

const lti_op lti_op_reshape = {
    .name = "reshape",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .flags = LTI_VIEW | LTI_CHEAP,
    .shape = reshape_shape,
    .vjp = reshape_vjp,
};

lt_t lt_reshape(lt_t x, int rank, const int64_t *shape)
{
    reshape_attr attr = {.rank = rank};
    bool same = !lt_is_nil(x) && rank == lt_rank(x);
    for (int i = 0; i < rank && i < LT_MAX_RANK; i++) {
        attr.dim[i] = shape[i];
        same = same && shape[i] == lt_dim(x, i);
    }
    return same ? x : lti_emit(&lti_op_reshape, 1, &x, &attr, sizeof attr);
}
