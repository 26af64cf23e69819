/* grad.c - reverse mode: one walk back over the recorded nodes, appending the gradient as ordinary nodes.
 *
 * What the backward reads of the forward goes through lti_kept (keep.c). An op may make gradients ahead, in its forward
 * (LTI_AHEAD): those of params are large and would lie there until the backward has come to the update. Where memory is
 * saved by computing again (a graph with checkpointed segments), they are made late by a second run of the op. */
#include "autograd/keep.h"

extern const lti_op lti_op_cast;

void (*lti_vjp_mutate)(const lti_op *op, lti_vjp *v);

typedef struct walk {
    lt_graph *g;
    lti_keeper keeper; /* what it appends behind keeper.count is never walked */
    lt_t *cotangent;   /* [slots of the keeper] */
    bool *needed;      /* [count]: leads to something in wrt */
} walk;

static void walk_free(walk *w)
{
    lti_keep_free(&w->keeper);
    lti_free(w->g->ctx, w->cotangent);
    lti_free(w->g->ctx, w->needed);
}

static bool walk_init(walk *w, lt_graph *g)
{
    *w = (walk){.g = g};
    if (!lti_keep_init(&w->keeper, g)) return false;
    w->needed = lti_alloc_array(g->ctx, g->count + 1u, sizeof *w->needed);
    w->cotangent = lti_alloc_array(g->ctx, w->keeper.first[g->count] + 1u, sizeof *w->cotangent);
    return w->needed && w->cotangent;
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
    for (uint32_t i = 0; i < w->keeper.count; i++)
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
        lt_t dy = w->cotangent[w->keeper.first[index] + (uint32_t)k];
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
    lt_t *c = &w->cotangent[w->keeper.first[to.node] + to.output];
    *c = c->graph ? lt_add(*c, dx) : dx;
}

/* Whether r is a leaf, or a leaf in another type: what has its gradient without a node between. */
static bool is_of_leaf(const lt_graph *g, lti_ref r)
{
    const lti_node *n = &g->node[r.node];
    while (n->op == &lti_op_cast || (n->op->flags & LTI_KEEP && n->n_in == 1)) n = &g->node[n->in[0].node];
    return n->op->flags & LTI_LEAF;
}

/* Replaces outputs of node `index` that are gradients of params by those of a second, late run; nil without such. */
static lt_t make_late(walk *w, uint32_t index, lti_vjp *v)
{
    lt_graph *g = w->g;
    lt_t copy = lt_nil(g);
    if (!(g->node[index].op->flags & LTI_AHEAD) || !g->checkpoints) return copy;
    for (int k = 1; k < v->n_out; k++) {
        if (!v->need[k - 1] || !is_of_leaf(g, g->node[index].in[k - 1])) continue;
        if (lt_is_nil(copy)) copy = lti_keep_again(&w->keeper, index);
        if (lt_is_nil(copy)) break;
        v->out[k] = lti_output(copy, k);
    }
    return copy;
}

/* What the vjp made of a late node, from node `begin` on, is late too: otherwise it would call for it at once. */
static void spread_lateness(lt_graph *g, uint32_t begin, lt_t late)
{
    for (uint32_t i = begin; i < g->count && !lt_is_nil(late); i++)
        for (int k = 0; k < g->node[i].n_in; k++) {
            uint32_t in = g->node[i].in[k].node;
            if (in == late.node || (in >= begin && g->node[in].flags & LTI_NODE_LAZY))
                g->node[i].flags |= LTI_NODE_LAZY;
        }
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
    const char *scope = g->scope;
    g->scope = g->node[index].name;
    for (int k = 0; k < v.n_in; k++) v.in[k] = lti_kept(&w->keeper, g->node[index].in[k], segment);
    for (int k = 0; k < v.n_out; k++) v.out[k] = lti_kept(&w->keeper, (lti_ref){index, (uint32_t)k}, segment);
    lt_t late = make_late(w, index, &v);
    uint32_t begin = g->count;
    op->vjp(&v);
    if (lti_vjp_mutate) lti_vjp_mutate(op, &v);
    spread_lateness(g, begin, late);
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
        if (g->status == LT_OK && !lti_keep_settle(&w.keeper)) lti_graph_fail(g, LT_ENOMEM, "lt_grad: out of memory");
        for (int i = 0; i < n && g->status == LT_OK; i++) {
            lt_t c = w.cotangent[w.keeper.first[wrt[i].node] + wrt[i].output];
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
