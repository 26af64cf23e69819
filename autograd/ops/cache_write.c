/* cache_write.c - rows first .. first + T - 1 of a cache [B, S, ..] become x [B, T, ..].
 *
 * The value is the whole cache, in its own place: what attention reads next. */
#include "autograd/ops/param_value.h"

#include <string.h>

typedef struct cache_attr {
    lti_value cache;
} cache_attr;

static bool cache_shape(lti_shaper *s)
{
    char a[LTI_DIMS_TEXT], b[LTI_DIMS_TEXT];
    const lti_value *x = s->in[0], *cache = &((const cache_attr *)s->attr)->cache;
    bool fits = x->type == cache->type && x->rank == cache->rank && x->rank >= 2 && x->dim[0] == cache->dim[0] &&
                x->dim[1] <= cache->dim[1] && !lt_dtype_is_lattice(x->type);
    for (int i = 2; fits && i < x->rank; i++) fits = x->dim[i] == cache->dim[i];
    if (!fits)
        return lti_shape_fail(s, "x %s %s into a cache %s %s; they are [B,T,..] and [B,S,..] with T <= S",
                              lt_dtype_name(x->type), lti_dims(x, a), lt_dtype_name(cache->type), lti_dims(cache, b));
    if (s->in[1]->rank != 0 || s->in[1]->type != LT_F32) return lti_shape_fail(s, "`first` is to be a single number");
    s->out[0] = *cache;
    return true;
}

static lt_status cache_run(lti_step *step)
{
    const lti_arg *x = &step->in[0], *cache = &step->out[0];
    int64_t B = x->dim[0], T = x->dim[1], S = cache->dim[1];
    double first = (double)lti_number(&step->in[1]);
    if (!(first >= 0 && first + (double)T <= (double)S))
        return lti_fail(step->ctx, LT_EINVAL,
                        "%lld rows from position %g do not fit a cache of %lld positions; make it "
                        "longer or the text shorter",
                        (long long)T, first, (long long)S);
    if (x->count == 0) return LT_OK;
    size_t row = lt_dtype_bytes(x->type) * (size_t)(x->count / (B * T));
    const char *from = x->data;
    char *to = (char *)cache->data + (size_t)first * row;
    for (int64_t b = 0; b < B; b++) memcpy(to + (size_t)(b * S) * row, from + (size_t)(b * T) * row, (size_t)T * row);
    return LT_OK;
}

const lti_op lti_op_cache_write = {
    .name = "cache_write",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .flags = LTI_EFFECT,
    .shape = cache_shape,
    .run = cache_run,
};

lt_t lt_cache_write(lt_param *cache, lt_t x, lt_t first)
{
    if (lt_is_nil(x)) return x;
    if (!cache) return lti_graph_fail(x.graph, LT_EINVAL, "cache_write: there is no such parameter");
    cache_attr attr = {.cache = lti_param_value(cache)};
    return lti_emit_params(x.graph, &lti_op_cache_write, 2, (lt_t[]){x, first}, &attr, sizeof attr, 1, &cache);
}
