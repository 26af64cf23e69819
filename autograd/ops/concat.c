/* concat.c - values one after the other along an axis; each gets its slice of dy. */
#include "autograd/ops/elementwise.h"

typedef struct concat_attr {
    int64_t axis;
} concat_attr;

static bool concat_shape(lti_shaper *s)
{
    int axis = (int)((const concat_attr *)s->attr)->axis;
    const lti_value *first = s->in[0];
    int64_t dim[LT_MAX_RANK], block = axis == first->rank - 1 ? lt_dtype_block(first->type) : 1;
    char x[LTI_DIMS_TEXT], y[LTI_DIMS_TEXT];
    for (int i = 0; i < first->rank; i++) dim[i] = first->dim[i];
    dim[axis] = 0;
    for (int k = 0; k < s->n_in; k++) {
        const lti_value *v = s->in[k];
        bool fits = v->rank == first->rank && v->type == first->type;
        for (int i = 0; fits && i < v->rank; i++) fits = i == axis || v->dim[i] == first->dim[i];
        if (!fits || v->dim[axis] % block || __builtin_add_overflow(dim[axis], v->dim[axis], &dim[axis]))
            return lti_shape_fail(s, "along axis %d: input 0 is %s %s, input %d is %s %s", axis,
                                  lt_dtype_name(first->type), lti_dims(first, x), k, lt_dtype_name(v->type),
                                  lti_dims(v, y));
    }
    return lti_out_set(s, 0, first->type, first->rank, dim);
}

static void concat_vjp(lti_vjp *v)
{
    int axis = (int)((const concat_attr *)v->attr)->axis;
    int64_t begin = 0;
    for (int k = 0; k < v->n_in; k++) {
        int64_t end = begin + lt_dim(v->in[k], axis);
        if (v->need[k] && end > begin) v->dx[k] = lt_slice(v->dy[0], axis, begin, end);
        begin = end;
    }
}

static lt_status concat_run(lti_step *step)
{
    int axis = (int)((const concat_attr *)step->attr)->axis;
    const lti_arg *y = &step->out[0];
    lti_split s = lti_split_at(y->rank, y->dim, axis);
    int64_t row = lti_bytes_of(y->type, s.length * s.inner);
    char *to = y->data;
    for (int k = 0; k < step->n_in; k++) {
        int64_t bytes = lti_bytes_of(y->type, step->in[k].dim[axis] * s.inner);
        lti_copy_rows(s.outer, bytes, step->in[k].data, bytes, to, row);
        to += bytes;
    }
    return LT_OK;
}

const lti_op lti_op_concat = {
    .name = "concat",
    .min_in = 1,
    .max_in = LTI_MAX_IN,
    .n_out = 1,
    .shape = concat_shape,
    .vjp = concat_vjp,
    .run = concat_run,
};

lt_t lt_concat(int n, const lt_t *xs, int axis)
{
    if (n < 1 || lt_is_nil(xs[0])) return lti_emit(&lti_op_concat, n, xs, NULL, 0);
    int a = axis;
    if (!lti_axis(lt_rank(xs[0]), &a)) return lti_axis_fail(xs[0], "concat", axis);
    if (n == 1) return xs[0];
    return lti_emit(&lti_op_concat, n, xs, &(concat_attr){a}, sizeof(concat_attr));
}
