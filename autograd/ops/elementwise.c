/* elementwise.c - see elementwise.h.
 *
 * A cut never changes an element's arithmetic here, so the number of tasks is a matter of speed alone. */
#include "autograd/ops/elementwise.h"

#include <string.h>

bool lti_f32_inputs(const lti_shaper *s, int first, int end)
{
    for (int i = first; i < end; i++) {
        lt_dtype type = s->in[i]->type;
        if (type == LT_F32) continue;
        return lti_shape_fail(s, "input %d is %s, but it must be f32: use %s", i, lt_dtype_name(type),
                              lt_dtype_is_lattice(type) ? "lt_dequantize" : "lt_cast");
    }
    return true;
}

bool lti_map_shape(lti_shaper *s)
{
    char x[LTI_DIMS_TEXT], y[LTI_DIMS_TEXT];
    if (!lti_f32_inputs(s, 0, s->n_in)) return false;
    for (int i = 1; i < s->n_in; i++)
        if (!lti_value_same(s->in[0], s->in[i]))
            return lti_shape_fail(s, "%s with %s: the shapes must be equal", lti_dims(s->in[0], x),
                                  lti_dims(s->in[i], y));
    for (int k = 0; k < s->op->n_out; k++) lti_value_set(&s->out[k], LT_F32, s->in[0]->rank, s->in[0]->dim);
    return true;
}

bool lti_out_set(lti_shaper *s, int k, lt_dtype type, int rank, const int64_t *dim)
{
    if (rank > LT_MAX_RANK) return lti_shape_fail(s, "a result of rank %d; at most %d is possible", rank, LT_MAX_RANK);
    int64_t count = (int64_t)sizeof(double);
    for (int i = 0; i < rank; i++)
        if (dim[i] < 0 || __builtin_mul_overflow(count, dim[i], &count))
            return lti_shape_fail(s, "a result too large to address: axis %d would have %lld", i, (long long)dim[i]);
    lti_value_set(&s->out[k], type, rank, dim);
    return true;
}

bool lti_axis(int rank, int *axis)
{
    if (*axis < 0) *axis += rank;
    return *axis >= 0 && *axis < rank;
}

lt_t lti_axis_fail(lt_t x, const char *op, int axis)
{
    return lti_graph_fail(x.graph, LT_EINVAL, "%s: there is no axis %d in a value of rank %d", op, axis, lt_rank(x));
}

typedef struct each_call {
    int64_t n, tasks;
    lti_each_body body;
    void *arg;
} each_call;

static void each_task(void *arg, int64_t task, int thread)
{
    (void)thread;
    const each_call *c = arg;
    int64_t begin, end;
    lti_par_range(c->n, c->tasks, task, &begin, &end);
    if (begin < end) c->body(c->arg, begin, end);
}

void lti_each(int64_t n, lti_each_body body, void *arg)
{
    each_call c = {n, lti_par_tasks(n, LTI_GRAIN), body, arg};
    if (c.tasks == 1) {
        if (n > 0) body(arg, 0, n);
        return;
    }
    lti_par(c.tasks, each_task, &c);
}

typedef struct map_call {
    lti_map1 map1;
    lti_map2 map2;
    const lt_real *a, *b;
    lt_real *y;
} map_call;

static void map1_body(void *arg, int64_t begin, int64_t end)
{
    const map_call *c = arg;
    c->map1(end - begin, c->a + begin, c->y + begin);
}

static void map2_body(void *arg, int64_t begin, int64_t end)
{
    const map_call *c = arg;
    c->map2(end - begin, c->a + begin, c->b + begin, c->y + begin);
}

lt_status lti_map1_run(lti_step *step, lti_map1 kernel)
{
    map_call c = {.map1 = kernel, .a = step->in[0].data, .y = step->out[0].data};
    if (c.y) lti_each(step->out[0].count, map1_body, &c);
    return LT_OK;
}

lt_status lti_map2_run(lti_step *step, lti_map2 kernel)
{
    map_call c = {.map2 = kernel, .a = step->in[0].data, .b = step->in[1].data, .y = step->out[0].data};
    if (c.y) lti_each(step->out[0].count, map2_body, &c);
    return LT_OK;
}

/* A unit of copying is at most this much of a row, so that one long row still keeps every thread busy. */
enum { COPY_PIECE = 1 << 16 };

typedef struct copy_call {
    int64_t bytes, pieces, units, tasks, src_step, dst_step;
    const char *src;
    char *dst;
} copy_call;

static void copy_task(void *arg, int64_t task, int thread)
{
    (void)thread;
    const copy_call *c = arg;
    int64_t end = c->units * (task + 1) / c->tasks;
    for (int64_t u = c->units * task / c->tasks; u < end; u++) {
        int64_t row = u / c->pieces, from = u % c->pieces * COPY_PIECE;
        int64_t n = c->bytes - from < COPY_PIECE ? c->bytes - from : COPY_PIECE;
        char *dst = c->dst + row * c->dst_step + from;
        if (c->src)
            memcpy(dst, c->src + row * c->src_step + from, (size_t)n);
        else
            memset(dst, 0, (size_t)n);
    }
}

void lti_copy_rows(int64_t rows, int64_t bytes, const void *src, int64_t src_step, void *dst, int64_t dst_step)
{
    if (rows <= 0 || bytes <= 0) return;
    copy_call c = {.bytes = bytes, .src_step = src_step, .dst_step = dst_step, .src = src, .dst = dst};
    c.pieces = (bytes + COPY_PIECE - 1) / COPY_PIECE;
    c.units = rows * c.pieces;
    c.tasks = lti_par_tasks(rows * bytes, COPY_PIECE);
    if (c.tasks > c.units) c.tasks = c.units;
    if (c.tasks == 1)
        copy_task(&c, 0, 0);
    else
        lti_par(c.tasks, copy_task, &c);
}

lti_split lti_split_at(int rank, const int64_t *dim, int axis)
{
    lti_split s = {1, dim[axis], 1};
    for (int i = 0; i < axis; i++) s.outer *= dim[i];
    for (int i = axis + 1; i < rank; i++) s.inner *= dim[i];
    return s;
}

int64_t lti_bytes_of(lt_dtype type, int64_t n)
{
    return n / lt_dtype_block(type) * (int64_t)lt_dtype_bytes(type);
}

void lti_state_free(lti_step *step)
{
    lti_free(step->ctx, step->state);
    step->state = NULL;
}
