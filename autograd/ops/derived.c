/* derived.c - a copy of a weight in another type, made again only when the weight has changed.
 *
 * The copy lives in params under "<name>:<type>", beside it "<name>:<type>:version": the version of the weight it was
 * made from, 64 bits in two i32. Whichever plan runs next compares and, when they differ, converts: so an evaluation
 * after a hundred training steps converts once, and a frozen weight once ever. Both are scratch: no checkpoint holds
 * them. The cotangent passes straight through: dw = dy, f32.
 *
 * Products in bf16 read the copies of their weights (lti_rounded): one conversion an update, where casts make one in
 * the forward, one in the backward and one in each further micro-batch. The price is 2 bytes an element that stay (216
 * MB more for 135 million weights), so that graphs whose memory is short go on casting: SmolLM2's shape with
 * checkpointed segments would leave its 2 GB. Rejected: an update that writes the copy beside the weight. It would save
 * another pass over the weights, and every optimizer, load and swap of averages would have to know of it. */
#include "autograd/node.h"
#include "autograd/ops/factors.h"
#include "autograd/ops/lattice_convert.h"
#include "autograd/ops/param_value.h"
#include "kernels/lattice/lattice.h"

#include <stdio.h>
#include <string.h>

enum { LONGEST_NAME = 256 };

typedef struct derived_attr {
    lt_param *source;
    lti_value copy;
} derived_attr;

static bool derived_shape(lti_shaper *s)
{
    s->out[0] = ((const derived_attr *)s->attr)->copy;
    return true;
}

static void derived_vjp(lti_vjp *v)
{
    v->dx[0] = v->dy[0];
}

static lt_status derived_run(lti_step *step)
{
    const derived_attr *attr = step->attr;
    uint64_t now = lt_param_version(attr->source), made_from;
    void *record = lt_param_data(step->param[1]);
    memcpy(&made_from, record, sizeof made_from);
    if (made_from == now) return LT_OK;
    lti_encode(step->in[0].count, step->in[0].data, step->out[0].type, step->out[0].data);
    memcpy(record, &now, sizeof now);
    return LT_OK;
}

const lti_op lti_op_derived = {
    .name = "derived",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .flags = LTI_EFFECT | LTI_KEEP,
    .shape = derived_shape,
    .vjp = derived_vjp,
    .run = derived_run,
};

/* The param of that name, made when it is not there. NULL: the graph holds the error. */
static lt_param *scratch_param(lt_graph *graph, const char *name, const lti_value *v)
{
    lt_params *params = lt_graph_params(graph);
    lt_param *found = lt_params_find(params, name);
    if (!found) {
        lt_status status = lt_params_add(params, name, v->type, v->rank, v->dim, LT_SCRATCH, &found);
        if (status == LT_OK) return found;
        lti_graph_fail(graph, status, "derived: cannot make '%s' %s: %s", name, lt_dtype_name(v->type),
                       status == LT_EINVAL ? "its rows are no whole blocks, or it is too large"
                                           : lt_status_name(status));
        return NULL;
    }
    lti_value have = lti_param_value(found);
    if (lti_value_same(&have, v) && lt_param_role(found) == LT_SCRATCH) return found;
    lti_graph_fail(graph, LT_EINVAL, "derived: '%s' exists with another type, shape or role", name);
    return NULL;
}

lt_t lt_derived(lt_graph *graph, lt_param *source, lt_dtype type)
{
    if (lt_graph_status(graph) != LT_OK) return lt_nil(graph);
    if (!source || !lt_graph_params(graph))
        return lti_graph_fail(graph, LT_EINVAL, "derived: there is no such parameter");
    if (lt_param_type(source) != LT_F32 || !lti_converts(type))
        return lti_graph_fail(graph, LT_EINVAL, "derived: %s of %s; f32 to bf16, f16, %s is possible",
                              lt_dtype_name(type), lt_dtype_name(lt_param_type(source)), lti_can_quantize_names());
    char name[LONGEST_NAME];
    int length = snprintf(name, sizeof name, "%s:%s:version", lt_param_name(source), lt_dtype_name(type));
    if (length >= (int)sizeof name) return lti_graph_fail(graph, LT_EINVAL, "derived: the name '%s' is too long", name);
    derived_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.source = source;
    attr.copy = lti_param_value(source);
    attr.copy.type = attr.copy.storage = type;
    lti_value version;
    lti_value_set(&version, LT_I32, 1, (int64_t[]){2});
    lt_param *params[2];
    params[1] = scratch_param(graph, name, &version);
    if (!params[1]) return lt_nil(graph);
    name[length - (int)strlen(":version")] = '\0';
    params[0] = scratch_param(graph, name, &attr.copy);
    if (!params[0]) return lt_nil(graph);
    lt_t in = lt_param_value(graph, source), made = lt_param_value(graph, params[0]);
    if (lti_is_made_by(made, &lti_op_derived, in)) return made; /* a second site of the same version */
    return lti_emit_params(graph, &lti_op_derived, 1, &in, &attr, sizeof attr, 2, params);
}

/* The weight whose value x is, as it was before anything wrote to it; NULL for what else x may be, and where memory is
 * short. It has to be one of the graph's own params: another model's may have the same name. */
static lt_param *weight_of(lt_t x)
{
    const lt_params *params = lt_graph_params(x.graph);
    const lti_node *n = lti_node_of(x);
    bool scarce = x.graph->checkpoints || x.graph->store != LT_F32 || x.graph->no_copies;
    if (!params || scarce || n->op != &lti_op_param || n->after != LTI_NONE) return NULL;
    lt_param *w = n->param[0];
    return lt_param_role(w) == LT_WEIGHT && lt_params_find(params, lt_param_name(w)) == w ? w : NULL;
}

void lt_weight_copies(lt_graph *graph, bool on)
{
    graph->no_copies = !on;
}

lt_t lti_rounded(lt_t x)
{
    lt_param *w = lt_is_nil(x) || lt_type(x) != LT_F32 ? NULL : weight_of(x);
    bool long_name = w && strlen(lt_param_name(w)) + sizeof ":bf16:version" > LONGEST_NAME;
    return w && !long_name ? lt_derived(x.graph, w, LT_BF16) : lt_cast(x, LT_BF16);
}
