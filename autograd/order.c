/* order.c - a sequence for the live nodes.
 *
 * Index order is a valid order of the values; four things bend it. A node with side effects waits for every
 * reader of the old value, and then runs at once (an update right after its gradient frees the gradient). A lazy clone
 * runs when its first reader is placed, an eager one as soon as its input is there. A node recorded `after` a writer
 * waits for it. And what an effect may wait for beside its gradient comes early though it was recorded late: leaves
 * first of all, a single number (the flag that allows updates) as soon as what it is made of is there. Without that
 * every gradient of a step would live to the end of the backward. */
#include "autograd/compile.h"

typedef struct edge {
    uint32_t effect, next; /* who waits (an effect or a hasty node); next edge of the same node, or LTI_NONE */
} edge;

typedef struct orderer {
    lti_compiler *c;
    uint8_t *placed;    /* [count]: 1 placed, 2 being placed */
    uint32_t *waiting;  /* [count]: for effects and hasty nodes, how many nodes they wait for */
    uint32_t *edges_of; /* [count]: head of the list of those that wait for the node */
    edge *edges;
    int n_edges, edges_capacity;
} orderer;

/* Whether node j must have run before the effect writes `param`: it reads the value from before, or wrote it earlier.
 * The reader may be recorded later than the effect, as backward nodes and clones are: whose value it reads counts. */
static bool touches(const lti_compiler *c, uint32_t j, const lt_param *param, uint32_t effect)
{
    const lti_node *n = &c->node[j];
    for (int k = 0; k < n->n_in; k++)
        if (lti_param_of(c, n->in[k]) == param && lti_root(c->node, n->in[k]).node < effect) return true;
    for (int k = 0; j < effect && n->op->flags & LTI_EFFECT && k < n->n_params; k++)
        if (n->param[k] == param) return true;
    return false;
}

static bool must_wait(const lti_compiler *c, uint32_t effect, uint32_t j)
{
    const lti_node *n = &c->node[effect];
    for (int k = 0; j != effect && k < n->n_params; k++)
        if (touches(c, j, n->param[k], effect)) return true;
    return false;
}

static bool add_edge(orderer *o, uint32_t from, uint32_t effect)
{
    if (!lti_graph_grow(o->c->graph, (void **)&o->edges, o->n_edges, &o->edges_capacity, sizeof *o->edges))
        return false;
    o->edges[o->n_edges] = (edge){effect, o->edges_of[from]};
    o->edges_of[from] = (uint32_t)o->n_edges++;
    o->waiting[effect]++;
    return true;
}

static bool input_edges(orderer *o, uint32_t i)
{
    const lti_node *n = &o->c->node[i];
    for (int k = 0; k < n->n_in; k++)
        if (!add_edge(o, n->in[k].node, i)) return false;
    return true;
}

/* Edges into effect i: its inputs, and every live node that must run before it writes. */
static bool effect_edges(orderer *o, uint32_t i)
{
    lti_compiler *c = o->c;
    const lti_node *n = &c->node[i];
    if (!input_edges(o, i)) return false;
    if (n->after != LTI_NONE && c->live[n->after] && !add_edge(o, n->after, i)) return false;
    for (uint32_t j = 0; j < c->count; j++)
        if (c->live[j] && must_wait(c, i, j) && !add_edge(o, j, i)) return false;
    return true;
}

/* Runs as soon as its inputs are there: the narrow copy of a stored value, and what makes a single number. */
static bool is_hasty(const lti_node *n)
{
    if (n->flags & LTI_NODE_EAGER) return true;
    return !(n->op->flags & (LTI_LEAF | LTI_EFFECT)) && !(n->flags & LTI_NODE_LAZY) && n->op->n_out == 1 &&
           lti_value_count(&n->out[0]) == 1;
}

static lt_status place(orderer *o, uint32_t i);

static lt_status place_needs_of_effect(orderer *o, uint32_t i)
{
    const lti_compiler *c = o->c;
    for (uint32_t j = 0; j < c->count; j++)
        if (c->live[j] && o->placed[j] != 1 && must_wait(c, i, j)) LTI_TRY(place(o, j));
    return LT_OK;
}

/* Appends i, then every node that waited for nothing else. */
static lt_status append(orderer *o, uint32_t i)
{
    o->placed[i] = 1;
    o->c->order[o->c->n_order++] = i;
    for (uint32_t e = o->edges_of[i]; e != LTI_NONE; e = o->edges[e].next)
        if (--o->waiting[o->edges[e].effect] == 0 && !o->placed[o->edges[e].effect])
            LTI_TRY(place(o, o->edges[e].effect));
    return LT_OK;
}

static lt_status place(orderer *o, uint32_t i)
{
    const lti_node *n = &o->c->node[i];
    if (o->placed[i] == 1) return LT_OK;
    if (o->placed[i] == 2)
        return lti_fail(o->c->ctx, LT_EINVAL, "%s: %s: reads a value that a later side effect has overwritten", n->name,
                        n->op->name);
    o->placed[i] = 2;
    for (int k = 0; k < n->n_in; k++) LTI_TRY(place(o, n->in[k].node));
    if (n->after != LTI_NONE && o->c->live[n->after]) LTI_TRY(place(o, n->after));
    if (n->op->flags & LTI_EFFECT) LTI_TRY(place_needs_of_effect(o, i));
    return o->placed[i] == 1 ? LT_OK : append(o, i);
}

static lt_status place_all(orderer *o)
{
    lti_compiler *c = o->c;
    for (uint32_t i = 0; i < c->count; i++) o->edges_of[i] = LTI_NONE;
    for (uint32_t i = 0; i < c->count; i++) /* a copy that is kept waits for its first reader instead */
        if (c->live[i] && (c->node[i].op->flags & (LTI_EFFECT | LTI_KEEP)) == LTI_EFFECT && !effect_edges(o, i))
            return LT_ENOMEM;
    for (uint32_t i = 0; i < c->count; i++)
        if (c->live[i] && is_hasty(&c->node[i]) && !input_edges(o, i)) return LT_ENOMEM;
    for (uint32_t i = 0; i < c->count; i++)
        if (c->live[i] && c->node[i].op->flags & LTI_LEAF && c->node[i].after == LTI_NONE) LTI_TRY(place(o, i));
    for (uint32_t i = 0; i < c->count; i++)
        if (c->live[i] && !(c->node[i].flags & LTI_NODE_LAZY)) LTI_TRY(place(o, i));
    for (int r = 0; r < c->n_results; r++) LTI_TRY(place(o, c->result[r].node)); /* a lazy node that nobody reads */
    return LT_OK;
}

lt_status lti_order(lti_compiler *c)
{
    orderer o = {.c = c};
    size_t n = c->count + 1u;
    o.placed = lti_alloc_array(c->ctx, n, sizeof *o.placed);
    o.waiting = lti_alloc_array(c->ctx, n, sizeof *o.waiting);
    o.edges_of = lti_alloc_array(c->ctx, n, sizeof *o.edges_of);
    lt_status status = o.placed && o.waiting && o.edges_of ? place_all(&o) : LT_ENOMEM;
    lti_free(c->ctx, o.placed);
    lti_free(c->ctx, o.waiting);
    lti_free(c->ctx, o.edges_of);
    lti_free(c->ctx, o.edges);
    return status;
}
