/* update_parts.h - what the update ops share: a gradient into a param, lr, and perhaps a clip factor and a flag. */
#ifndef LTI_UPDATE_PARTS_H
#define LTI_UPDATE_PARTS_H

#include "autograd/op.h"
#include "lathe/optim.h"

extern const lti_op lti_op_accumulate; /* autograd/ops/accumulate.c */

/* Checks input 0 against the param and that all others are single numbers; sets out[0] to the param. */
static inline bool lti_update_shape(lti_shaper *s, const lti_value *param)
{
    char a[LTI_DIMS_TEXT], b[LTI_DIMS_TEXT];
    if (!lti_value_same(s->in[0], param))
        return lti_shape_fail(s, "gradient %s %s of a parameter %s %s; type and shape are to be equal",
                              lt_dtype_name(s->in[0]->type), lti_dims(s->in[0], a), lt_dtype_name(param->type),
                              lti_dims(param, b));
    for (int i = 1; i < s->n_in; i++)
        if (s->in[i]->rank != 0 || s->in[i]->type != LT_F32)
            return lti_shape_fail(s, "input %d %s is to be a single number", i, lti_dims(s->in[i], a));
    s->out[0] = *param;
    return true;
}

static inline void lti_update_value(lti_value *v, const lt_param *param)
{
    lti_value_set(v, lt_param_type(param), lt_param_rank(param), lt_param_shape(param));
}

/* Whether a moment fits its weight; otherwise the graph's error. */
static inline bool lti_moment_fits(lt_graph *graph, const char *op, const lt_param *weight, const lt_param *moment)
{
    lti_value w, m;
    lti_update_value(&w, weight);
    lti_update_value(&m, moment);
    if (w.type == LT_F32 && lti_value_same(&w, &m)) return true;
    lti_graph_fail(graph, LT_EINVAL, "%s: moment '%s' and its weight are to be f32 of one shape", op,
                   lt_param_name(moment));
    return false;
}

/* Puts clip and ok, as far as they are there, behind n inputs; returns how many there are now. */
static inline int lti_update_inputs(lt_t *in, int n, lt_t clip, lt_t ok)
{
    if (!lt_is_nil(clip)) in[n++] = clip;
    if (!lt_is_nil(ok)) in[n++] = ok;
    return n;
}

#endif
