/* grad.c - reverse mode: one walk back over the recorded nodes, appending the gradient as ordinary nodes.
 *
 * What the backward reads of the forward goes through kept(): the value itself, or a copy kept in fewer bits
 * (lt_store), or a clone computed again (checkpointed segments, weight transforms, cheap nodes). Clones repeat the
 * original's attr, so random nodes repeat their numbers; they are lazy, so the scheduler computes them when the
 * backward first asks. */
#include "autograd/node.h"

void (*lti_vjp_mutate)(const lti_op *op, lti_vjp *v);

typedef struct walk {
    lt_graph *g;
    uint32_t count;  /* nodes before the walk; what it appends is never walked */
    uint32_t *first; /* [count]: slot of output 0 of a node in the two tables below */
    lt_t *cotangent; /* [slots] */
    lt_t *kept;      /* [slots]: what stands for the output in the backward; graph NULL: not asked for yet */
    bool *needed;    /* [count]: leads to something in wrt */
} walk;

static void walk_free(walk *w)
{
    lti_free(w->g->ctx, w->first);
    lti_free(w->g->ctx, w->cotangent);
    lti_free(w->g->ctx, w->kept);
    lti_free(w->g->ctx, w->needed);
}

static bool walk_init(walk *w, lt_graph *g)
{
    *w = (walk){.g = g, .count = g->count};
    w->first = lti_alloc_array(g->ctx, w->count + 1u, sizeof *w->first);
    w->needed = lti_alloc_array(g->ctx, w->count + 1u, sizeof *w->needed);
    if (!w->first || !w->needed) return false;
    uint32_t slots = 0;
    for (uint32_t i = 0; i < w->count; i++) {
        w->first[i] = slots;
        slots += (uint32_t)g->node[i].op->n_out;
    }
    w->cotangent = lti_alloc_array(g->ctx, slots + 1u, sizeof *w->cotangent);
    w->kept = lti_alloc_array(g->ctx, slots + 1u, sizeof *w->kept);
    return w->cotangent && w->kept;
}

static bool recomputed(const lt_graph *g, const lti_node *node, uint32_t segment)
{
    unsigned flags = node->op->flags;
    if (flags & (LTI_LEAF | LTI_EFFECT | LTI_KEEP)) return false;
    if (g->recompute_cheap && flags & LTI_CHEAP) return true;
    return node->segment && (node->segment == segment || node->segment & LTI_TRANSFORM);
}

static lt_t kept(walk *w, lti_ref r, uint32_t segment);

/* A lazy copy of node `index` that reads kept inputs. */
static lt_t clone(walk *w, uint32_t index)
{
    lt_graph *g = w->g;
    lti_node node = g->node[index];
    lti_ref *in = lti_graph_alloc(g, node.n_in * sizeof *in + 1);
    if (!in) return lt_nil(g);
    for (int i = 0; i < node.n_in; i++) {
        lt_t x = kept(w, node.in[i], node.segment);
        if (lt_is_nil(x)) return x;
        in[i] = (lti_ref){x.node, x.output};
    }
    int capacity = (int)g->capacity;
    if (!lti_graph_grow(g, (void **)&g->node, (int)g->count, &capacity, sizeof *g->node)) return lt_nil(g);
    g->capacity = (uint32_t)capacity;
    node.in = in;
    node.flags |= LTI_NODE_LAZY;
    node.segment = 0;
    g->node[g->count] = node;
    return (lt_t){g, g->count++, 0};
}

/* x in fewer bits and back: the rounding happens right after the forward made x, the widening when backward asks. */
static lt_t kept_narrow(lt_t x, lt_dtype storage)
{
    lt_t narrow = lt_cast(x, storage);
    if (!lt_is_nil(narrow)) lti_node_of(narrow)->flags |= LTI_NODE_EAGER;
    lt_t wide = lt_cast(narrow, LT_F32);
    if (!lt_is_nil(wide)) lti_node_of(wide)->flags |= LTI_NODE_LAZY;
    return wide;
}

/* What the backward of a node in `segment` reads in place of r. */
static lt_t kept(walk *w, lti_ref r, uint32_t segment)
{
    lt_graph *g = w->g;
    if (r.node >= w->count) return (lt_t){g, r.node, r.output};
    lt_t *slot = &w->kept[w->first[r.node]];
    const lti_node *node = &g->node[r.node];
    if (recomputed(g, node, segment)) {
        if (!slot[r.output].graph) {
            lt_t copy = clone(w, r.node);
            if (lt_is_nil(copy)) return copy;
            for (int k = 0; k < g->node[r.node].op->n_out; k++) slot[k] = lti_output(copy, k);
        }
        return slot[r.output];
    }
    lt_t x = {g, r.node, r.output};
    lt_dtype storage = node->out[r.output].storage;
    if (storage == node->out[r.output].type) return x;
    if (!slot[r.output].graph) slot[r.output] = kept_narrow(x, storage);
    return slot[r.output];
}

/* Marks what leads to wrt. Returns false for a wrt of another graph. */
static bool mark_needed(walk *w, int n, const lt_t *wrt)
{
    lt_graph *g = w->g;
    for (int i = 0; i < n; i++) {
        if (lt_is_nil(wrt[i]) || wrt[i].graph != g) {
            lti_graph_fail(g, LT_EINVAL, "lt_grad: value %d is nil or of another graph", i);
            return false;
        }
        w->needed[wrt[i].node] = true;
    }
    for (uint32_t i = 0; i < w->count; i++)
        for (int k = 0; k < g->node[i].n_in; k++)
            if (w->needed[g->node[i].in[k].node]) w->needed[i] = true;
    return true;
}

/* Cotangents that reach the node and inputs that want one; false when there is nothing to do. */
static bool gather_vjp(walk *w, uint32_t index, lti_vjp *v)
{
    lt_graph *g = w->g;
    const lti_node *node = &g->node[index];
    bool reached = false, wanted = false;
    *v = (lti_vjp){.graph = g, .attr = node->attr, .n_in = node->n_in, .n_out = node->op->n_out};
    for (int k = 0; k < v->n_out; k++) {
        lt_t dy = w->cotangent[w->first[index] + (uint32_t)k];
        v->dy[k] = dy.graph ? dy : lt_nil(g);
        reached |= dy.graph != NULL;
    }
    for (int k = 0; k < v->n_in; k++) {
        v->need[k] = w->needed[node->in[k].node];
        wanted |= v->need[k];
        v->dx[k] = lt_nil(g);
    }
    return reached && wanted;
}

static void add_cotangent(walk *w, lti_ref to, lt_t dx)
{
    lt_t *c = &w->cotangent[w->first[to.node] + to.output];
    *c = c->graph ? lt_add(*c, dx) : dx;
}

static void step_back(walk *w, uint32_t index)
{
    lt_graph *g = w->g;
    lti_vjp v;
    if (!gather_vjp(w, index, &v)) return;
    const lti_op *op = g->node[index].op;
    if (!op->vjp) {
        lti_graph_fail(g, LT_EUNSUPPORTED, "%s: %s has no gradient", g->node[index].name, op->name);
        return;
    }
    uint32_t segment = g->node[index].segment;
    for (int k = 0; k < v.n_in; k++) v.in[k] = kept(w, g->node[index].in[k], segment);
    for (int k = 0; k < v.n_out; k++) v.out[k] = kept(w, (lti_ref){index, (uint32_t)k}, segment);
    const char *scope = g->scope;
    g->scope = g->node[index].name;
    op->vjp(&v);
    if (lti_vjp_mutate) lti_vjp_mutate(op, &v);
    for (int k = 0; k < v.n_in && g->status == LT_OK; k++)
        if (v.need[k] && !lt_is_nil(v.dx[k])) add_cotangent(w, g->node[index].in[k], v.dx[k]);
    g->scope = scope;
}

void lt_grad_seeded(lt_t y, lt_t seed, int n, const lt_t *wrt, lt_t *gradients)
{
    lt_graph *g = y.graph;
    for (int i = 0; i < n; i++) gradients[i] = lt_nil(g);
    if (lt_is_nil(y) || lt_is_nil(seed) || g->status != LT_OK) return;
    lti_value wanted;
    lti_value_set(&wanted, LT_F32, lt_rank(y), lt_shape(y));
    if (seed.graph != g || !lti_value_same(lti_value_of(seed), &wanted)) {
        char a[LTI_DIMS_TEXT], b[LTI_DIMS_TEXT];
        lti_graph_fail(g, LT_EINVAL, "lt_grad_seeded: a seed %s for a value %s; it must be f32 of the same shape",
                       lti_dims(lti_value_of(seed), a), lti_dims(&wanted, b));
        return;
    }
    uint32_t segment = g->segment;
    g->segment = 0;
    walk w;
    if (!walk_init(&w, g)) {
        lti_graph_fail(g, LT_ENOMEM, "lt_grad: out of memory");
    } else if (mark_needed(&w, n, wrt)) {
        add_cotangent(&w, (lti_ref){y.node, y.output}, seed);
        for (uint32_t i = y.node + 1; i-- > 0 && g->status == LT_OK;) step_back(&w, i);
        for (int i = 0; i < n && g->status == LT_OK; i++) {
            lt_t c = w.cotangent[w.first[wrt[i].node] + wrt[i].output];
            if (c.graph) gradients[i] = c;
        }
    }
    walk_free(&w);
    g->segment = segment;
}

void lt_grad(lt_t loss, int n, const lt_t *wrt, lt_t *gradients)
{
    if (!lt_is_nil(loss) && lt_count(loss) != 1) {
        char dims[LTI_DIMS_TEXT];
        lti_graph_fail(loss.graph, LT_EINVAL, "lt_grad: the loss has shape %s; it must be one number",
                       lti_dims(lti_value_of(loss), dims));
    }
    lt_t one = lt_is_nil(loss) ? loss : lt_constant(loss.graph, 1);
    if (!lt_is_nil(loss) && lt_rank(loss)) one = lt_reshape(one, lt_rank(loss), lt_shape(loss));
    lt_grad_seeded(loss, one, n, wrt, gradients);
}
