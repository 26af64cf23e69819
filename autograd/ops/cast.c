/* cast.c - x in another floating type (f32, bf16, f16), rounded to nearest even; dx = dy.
 *
 * Cotangents are f32 whatever the type of the value, as with lattices: a gradient is never rounded to 16 bits on its
 * way, so a pair of casts is a straight-through rounding. */
#include "autograd/ops/elementwise.h"

typedef struct cast_attr {
    int32_t from, to; /* lt_dtype */
} cast_attr;

static bool floating(lt_dtype type)
{
    return type == LT_F32 || type == LT_BF16 || type == LT_F16;
}

static bool cast_shape(lti_shaper *s)
{
    const cast_attr *attr = s->attr;
    lt_dtype to = (lt_dtype)attr->to;
    if (!floating(s->in[0]->type) || !floating(to))
        return lti_shape_fail(s, "from %s to %s; f32, bf16 and f16 can be cast into each other",
                              lt_dtype_name(s->in[0]->type), lt_dtype_name(to));
    return lti_out_set(s, 0, to, s->in[0]->rank, s->in[0]->dim);
}

static void cast_vjp(lti_vjp *v)
{
    v->dx[0] = v->dy[0];
}

typedef struct cast_call {
    lt_dtype from, to;
    const void *x;
    void *y;
} cast_call;

static void widen(lt_dtype from, int64_t n, const uint16_t *x, lt_real *y)
{
    (from == LT_BF16 ? lti_k()->from_bf16 : lti_k()->from_f16)(n, x, y);
}

static void narrow(lt_dtype to, int64_t n, const lt_real *x, uint16_t *y)
{
    (to == LT_BF16 ? lti_k()->to_bf16 : lti_k()->to_f16)(n, x, y);
}

enum { CHUNK = 512 };

/* Between the two 16-bit types: by way of lt_real, which holds both exactly. */
static void cast_between(const cast_call *c, int64_t begin, int64_t end)
{
    lt_real wide[CHUNK];
    for (int64_t i = begin; i < end; i += CHUNK) {
        int64_t n = end - i < CHUNK ? end - i : CHUNK;
        widen(c->from, n, (const uint16_t *)c->x + i, wide);
        narrow(c->to, n, wide, (uint16_t *)c->y + i);
    }
}

static void cast_body(void *arg, int64_t begin, int64_t end)
{
    const cast_call *c = arg;
    if (c->to == LT_F32)
        widen(c->from, end - begin, (const uint16_t *)c->x + begin, (lt_real *)c->y + begin);
    else if (c->from == LT_F32)
        narrow(c->to, end - begin, (const lt_real *)c->x + begin, (uint16_t *)c->y + begin);
    else
        cast_between(c, begin, end);
}

static lt_status cast_run(lti_step *step)
{
    const cast_attr *attr = step->attr;
    cast_call c = {(lt_dtype)attr->from, (lt_dtype)attr->to, step->in[0].data, step->out[0].data};
    lti_each(step->out[0].count, cast_body, &c);
    return LT_OK;
}

const lti_op lti_op_cast = {
    .name = "cast",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .flags = LTI_CHEAP,
    .shape = cast_shape,
    .vjp = cast_vjp,
    .run = cast_run,
};

lt_t lt_cast(lt_t x, lt_dtype type)
{
    if (!lt_is_nil(x) && lt_type(x) == type && floating(type)) return x;
    return lti_emit(&lti_op_cast, 1, &x, &(cast_attr){(int32_t)lt_type(x), (int32_t)type}, sizeof(cast_attr));
}
