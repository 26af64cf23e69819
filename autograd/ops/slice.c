/* slice.c - y = x[.., begin:end, ..] along one axis; dx = dy padded with zeros to x's size.
 *
 * Its gradient, pad, can also add into a gradient that is already there: the slices of one packed projection (query,
 * key and value) then fill one buffer without zeros being written and added. */
#include "autograd/ops/elementwise.h"

typedef struct slice_attr {
    int64_t axis, begin, end; /* of the larger side */
    int64_t size;             /* pad: of the axis in the result */
} slice_attr;

static bool slice_shape(lti_shaper *s)
{
    const slice_attr *attr = s->attr;
    const lti_value *x = s->in[0];
    char dims[LTI_DIMS_TEXT];
    int axis = (int)attr->axis;
    if (attr->begin < 0 || attr->begin >= attr->end || attr->end > x->dim[axis])
        return lti_shape_fail(s, "[%lld, %lld) of axis %d of %s", (long long)attr->begin, (long long)attr->end, axis,
                              lti_dims(x, dims));
    int64_t block = axis == x->rank - 1 ? lt_dtype_block(x->type) : 1;
    if (attr->begin % block || attr->end % block)
        return lti_shape_fail(s, "[%lld, %lld) of %s cuts %s blocks of %lld elements", (long long)attr->begin,
                              (long long)attr->end, lti_dims(x, dims), lt_dtype_name(x->type), (long long)block);
    s->out[0] = *x;
    s->out[0].dim[axis] = attr->end - attr->begin;
    s->out[0].storage = x->type;
    return true;
}

extern const lti_op lti_op_pad, lti_op_pad_add;

static void slice_vjp(lti_vjp *v)
{
    slice_attr attr = *(const slice_attr *)v->attr;
    attr.size = lt_dim(v->in[0], (int)attr.axis);
    v->dx[0] = lti_emit(&lti_op_pad, 1, &v->dy[0], &attr, sizeof attr);
}

static lt_status slice_run(lti_step *step)
{
    const slice_attr *attr = step->attr;
    const lti_arg *x = &step->in[0];
    lti_split s = lti_split_at(x->rank, x->dim, (int)attr->axis);
    int64_t row = lti_bytes_of(x->type, s.length * s.inner), from = lti_bytes_of(x->type, attr->begin * s.inner);
    int64_t bytes = lti_bytes_of(x->type, (attr->end - attr->begin) * s.inner);
    lti_copy_rows(s.outer, bytes, (const char *)x->data + from, row, step->out[0].data, bytes);
    return LT_OK;
}

/* ---- pad: the transpose of slice ---- */

static bool pad_shape(lti_shaper *s)
{
    const slice_attr *attr = s->attr;
    if (!lti_f32_inputs(s, 0, s->n_in)) return false;
    int64_t dim[LT_MAX_RANK];
    for (int i = 0; i < s->in[0]->rank; i++) dim[i] = i == attr->axis ? attr->size : s->in[0]->dim[i];
    return lti_out_set(s, 0, LT_F32, s->in[0]->rank, dim);
}

static void pad_vjp(lti_vjp *v)
{
    const slice_attr *attr = v->attr;
    v->dx[0] = lt_slice(v->dy[0], (int)attr->axis, attr->begin, attr->end);
}

static lt_status pad_run(lti_step *step)
{
    const slice_attr *attr = step->attr;
    const lti_arg *y = &step->out[0];
    lti_split s = lti_split_at(y->rank, y->dim, (int)attr->axis);
    int64_t inner = s.inner * (int64_t)sizeof(lt_real), row = s.length * inner;
    int64_t begin = attr->begin * inner, end = attr->end * inner;
    char *data = y->data;
    lti_copy_rows(s.outer, begin, NULL, 0, data, row);
    lti_copy_rows(s.outer, end - begin, step->in[0].data, end - begin, data + begin, row);
    lti_copy_rows(s.outer, row - end, NULL, 0, data + end, row);
    return LT_OK;
}

typedef struct add_call {
    int64_t width, row; /* elements of a run, and between the starts of runs in y */
    const lt_real *x;
    lt_real *y;
} add_call;

/* [begin, end) counts the elements of x; a range may begin and end inside a run. */
static void add_body(void *arg, int64_t begin, int64_t end)
{
    const add_call *c = arg;
    for (int64_t i = begin, n; i < end; i += n) {
        int64_t run = i / c->width, at = i % c->width;
        n = c->width - at < end - i ? c->width - at : end - i;
        lt_real *y = c->y + run * c->row + at;
        lti_k()->add(n, y, 1, c->x + i, 1, y);
    }
}

static lt_status pad_add_run(lti_step *step)
{
    const slice_attr *attr = step->attr;
    const lti_arg *y = &step->out[0], *addend = &step->in[1];
    lti_split s = lti_split_at(y->rank, y->dim, (int)attr->axis);
    if (y->data != addend->data) lti_copy_rows(1, y->count * (int64_t)sizeof(lt_real), addend->data, 0, y->data, 0);
    add_call c = {(attr->end - attr->begin) * s.inner, s.length * s.inner, step->in[0].data,
                  (lt_real *)y->data + attr->begin * s.inner};
    lti_each(step->in[0].count, add_body, &c);
    return LT_OK;
}

const lti_op lti_op_slice = {
    .name = "slice",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .shape = slice_shape,
    .vjp = slice_vjp,
    .run = slice_run,
};

const lti_op lti_op_pad = {
    .name = "pad",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .shape = pad_shape,
    .vjp = pad_vjp,
    .run = pad_run,
    .accumulate = &lti_op_pad_add,
};

const lti_op lti_op_pad_add = {
    .name = "pad_add",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .in_place = {2},
    .shape = pad_shape,
    .run = pad_add_run,
};

lt_t lt_slice(lt_t x, int axis, int64_t begin, int64_t end)
{
    if (lt_is_nil(x)) return lti_emit(&lti_op_slice, 1, &x, NULL, 0);
    int a = axis;
    if (!lti_axis(lt_rank(x), &a)) return lti_axis_fail(x, "slice", axis);
    if (begin == 0 && end == lt_dim(x, a)) return x;
    slice_attr attr = {.axis = a, .begin = begin, .end = end};
    return lti_emit(&lti_op_slice, 1, &x, &attr, sizeof attr);
}
