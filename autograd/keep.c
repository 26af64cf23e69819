/* keep.c - what the backward reads of the forward: the value itself, a copy in fewer bits, or a clone computed again.
 *
 * Clones repeat the original's attr, so random nodes repeat their numbers; they are lazy, so the scheduler computes
 * them when the backward first asks. Checkpointed segments and weight transforms are always cloned, views always too
 * when what they show is (they cost nothing).
 *
 * A cheap node (a norm, an activation) whose inputs the backward keeps anyway need not be kept beside them: the product
 * that reads it costs a hundred times as much. Whether its inputs are kept is known only when the walk has ended, so it
 * gets a clone and a fallback, and lti_keep_settle chooses: the clone when everything it reads is read by the backward
 * itself, or can be cloned. Below 256 MB in sum nothing is computed again, unless the graph has checkpointed segments
 * or stores in bf16: time is then worth more than the memory. (135 million parameters at 1,000 positions save 330 MB.)
 *
 * Rejected: choosing after ordering, from true lifetimes. It would depend on what else is in the plan, and with values
 * kept in fewer bits the choice is one between different numbers. */
#include "autograd/keep.h"

enum { LEAST_STORED = 1024 }; /* elements; below, bf16 saves nothing worth its rounding */

size_t lti_keep_worth = (size_t)256 << 20;

/* The slot of output 0 of every node so far, and behind them how many slots there are; NULL when memory is out. */
static uint32_t *first_slots(lt_graph *g)
{
    uint32_t *first = lti_alloc_array(g->ctx, g->count + 1u, sizeof *first);
    for (uint32_t i = 0; first && i < g->count; i++) first[i + 1] = first[i] + (uint32_t)g->node[i].op->n_out;
    return first;
}

bool lti_keep_init(lti_keeper *k, lt_graph *g)
{
    *k = (lti_keeper){.g = g, .count = g->count, .first = first_slots(g)};
    if (!k->first) return false;
    uint32_t slots = k->first[k->count] + 1;
    k->kept = lti_alloc_array(g->ctx, 2 * (size_t)slots, sizeof *k->kept);
    if (k->kept) k->again = k->kept + slots;
    return k->kept != NULL;
}

void lti_keep_free(lti_keeper *k)
{
    lti_free(k->g->ctx, k->first);
    lti_free(k->g->ctx, k->kept);
    lti_free(k->g->ctx, k->maybe);
}

/* ---- Clones ---- */

static bool recomputed(const lt_graph *g, const lti_node *node, uint32_t segment)
{
    unsigned flags = node->op->flags;
    if (flags & (LTI_LEAF | LTI_EFFECT | LTI_KEEP)) return false;
    if (g->recompute_cheap && flags & LTI_CHEAP) return true;
    return node->segment && (node->segment == segment || node->segment & LTI_TRANSFORM);
}

lt_t lti_keep_again(lti_keeper *k, uint32_t index)
{
    lt_graph *g = k->g;
    lti_node node = g->node[index];
    lti_ref *in = lti_graph_alloc(g, node.n_in * sizeof *in + 1);
    if (!in) return lt_nil(g);
    for (int i = 0; i < node.n_in; i++) {
        lt_t x = lti_kept(k, node.in[i], node.segment);
        if (lt_is_nil(x)) return x;
        in[i] = (lti_ref){x.node, x.output};
    }
    if (!lti_graph_grow(g, (void **)&g->node, (int)g->count, &g->capacity, sizeof *g->node)) return lt_nil(g);
    node.in = in;
    node.flags |= LTI_NODE_LAZY;
    node.segment = 0;
    g->node[g->count] = node;
    return (lt_t){g, g->count++, 0};
}

/* ---- Fewer bits ---- */

/* What a reduction leaves: sums over rows, statistics of norms and attention. Small beside what it was made from, and
 * every element of the backward depends on it. */
static bool is_statistic(const lt_graph *g, const lti_node *node, uint32_t output)
{
    int64_t most = lti_value_count(&node->out[0]), own = lti_value_count(&node->out[output]);
    for (int i = 0; i < node->n_in; i++) {
        int64_t n = lti_value_count(&g->node[node->in[i].node].out[node->in[i].output]);
        if (n > most) most = n;
    }
    return own * (output ? 2 : 16) < most;
}

/* The type in which r is kept; its own when nothing else is asked. */
static lt_dtype storage_of(const lt_graph *g, lti_ref r)
{
    const lti_node *node = &g->node[r.node];
    const lti_value *v = &node->out[r.output];
    if (v->storage != v->type || g->store == LT_F32 || v->type != LT_F32) return v->storage;
    if (node->op->flags & (LTI_LEAF | LTI_EFFECT | LTI_KEEP | LTI_VIEW)) return v->type;
    if (lti_value_count(v) < LEAST_STORED || is_statistic(g, node, r.output)) return v->type;
    return g->store;
}

/* r itself, or what comes back from fewer bits: rounded right after the forward made it, widened when backward asks. */
static lt_t stored(lt_graph *g, lti_ref r)
{
    lt_t x = {g, r.node, r.output};
    lt_dtype storage = storage_of(g, r);
    if (storage == lt_type(x)) return x;
    lt_t narrow = lt_cast(x, storage), wide = lt_cast(narrow, LT_F32);
    if (lt_is_nil(wide)) return wide;
    lti_node_of(narrow)->flags |= LTI_NODE_EAGER;
    lti_node_of(wide)->flags |= LTI_NODE_LAZY;
    return wide;
}

/* ---- The choice ---- */

static bool may_recompute(const lti_node *node, uint32_t output)
{
    unsigned flags = node->op->flags;
    if (node->segment || node->out[output].storage != node->out[output].type) return false;
    return flags & LTI_CHEAP && !(flags & (LTI_LEAF | LTI_EFFECT | LTI_KEEP | LTI_VIEW));
}

/* All outputs of node `index` by a clone that lti_keep_settle may still refuse. */
static lt_t optional(lti_keeper *k, uint32_t index)
{
    lt_graph *g = k->g;
    int n_out = g->node[index].op->n_out;
    lti_maybe m = {.node = index};
    for (int i = 0; i < n_out; i++) {
        m.otherwise[i] = stored(g, (lti_ref){index, (uint32_t)i});
        if (lt_is_nil(m.otherwise[i])) return m.otherwise[i];
    }
    lt_t copy = lti_keep_again(k, index);
    if (lt_is_nil(copy) || !lti_graph_grow(g, (void **)&k->maybe, k->n_maybe, &k->maybe_capacity, sizeof *k->maybe))
        return lt_nil(g);
    m.copy = copy.node;
    k->maybe[k->n_maybe++] = m;
    return copy;
}

/* A view of what stands for its source; x itself when that is the source. */
static lt_t view(lti_keeper *k, lti_ref r, uint32_t segment)
{
    lt_graph *g = k->g;
    lti_ref source = g->node[r.node].in[0];
    lt_t in = lti_kept(k, source, segment);
    if (lt_is_nil(in)) return in;
    if (in.node == source.node) return (lt_t){g, r.node, r.output};
    return lti_keep_again(k, r.node);
}

lt_t lti_kept(lti_keeper *k, lti_ref r, uint32_t segment)
{
    lt_graph *g = k->g;
    if (r.node >= k->count) return (lt_t){g, r.node, r.output};
    const lti_node *node = &g->node[r.node];
    bool again = recomputed(g, node, segment);
    lt_t *slot = &(again ? k->again : k->kept)[k->first[r.node]];
    if (slot[r.output].graph) return slot[r.output];
    lt_t x;
    if (again || may_recompute(node, r.output)) {
        int n_out = node->op->n_out;
        x = again ? lti_keep_again(k, r.node) : optional(k, r.node);
        for (int i = 0; i < n_out && !lt_is_nil(x); i++) slot[i] = lti_output(x, i);
    } else {
        bool shows = node->op->flags & LTI_VIEW && r.output == 0 && storage_of(g, r) == node->out[0].type;
        x = shows ? view(k, r, segment) : stored(g, r);
        if (!lt_is_nil(x)) slot[r.output] = x;
    }
    return lt_is_nil(x) ? x : slot[r.output];
}

/* What the settling knows of the whole backward. */
typedef struct settler {
    lti_keeper *k;
    uint32_t *first; /* [nodes]: slot of output 0 */
    bool *read;      /* [slots]: by a node of the backward that is no optional clone */
    uint32_t *copy;  /* [nodes]: of an optional clone its place in k->maybe, and 1 */
} settler;

static bool settler_init(settler *s, lti_keeper *k)
{
    lt_graph *g = k->g;
    *s = (settler){.k = k, .first = first_slots(g)};
    s->copy = lti_alloc_array(g->ctx, g->count + 1u, sizeof *s->copy);
    if (s->first) s->read = lti_alloc_array(g->ctx, s->first[g->count] + 1u, sizeof *s->read);
    if (!s->copy || !s->read) return false;
    for (int i = 0; i < k->n_maybe; i++) s->copy[k->maybe[i].copy] = (uint32_t)i + 1;
    for (uint32_t i = k->count; i < g->count; i++) {
        const lti_node *n = &g->node[i];
        if (s->copy[i] || n->op->flags & LTI_VIEW || n->flags & LTI_NODE_EAGER) continue;
        for (int j = 0; j < n->n_in; j++) {
            lti_ref r = lti_root(g->node, n->in[j]);
            s->read[s->first[r.node] + r.output] = true;
        }
    }
    return true;
}

static bool is_read(const settler *s, lti_ref r)
{
    return s->read[s->first[r.node] + r.output];
}

/* Whether everything the clone reads is there in the backward anyway or can itself be computed again. */
static bool is_possible(const settler *s, const lti_maybe *m)
{
    const lt_graph *g = s->k->g;
    const lti_node *copy = &g->node[m->copy];
    for (int i = 0; i < copy->n_in; i++) {
        lti_ref r = lti_root(g->node, copy->in[i]);
        bool made = s->copy[r.node] && !s->k->maybe[s->copy[r.node] - 1].refused;
        if (!(g->node[r.node].op->flags & LTI_LEAF) && !is_read(s, r) && !made) return false;
    }
    return true;
}

/* A cast to the type its source is stored in anyway: the two are one value, made by the forward. */
static bool is_stored_so(const settler *s, const lti_node *copy)
{
    const lt_graph *g = s->k->g;
    if (copy->out[0].type == LT_F32 || copy->n_in != 1) return false;
    lti_ref r = lti_root(g->node, copy->in[0]);
    const lti_node *wide = &g->node[r.node];
    if (r.node < s->k->count || wide->op != copy->op || !is_read(s, r)) return false;
    return g->node[wide->in[0].node].out[0].type == copy->out[0].type;
}

/* Bytes that need not be kept for the backward; 0 when it reads only the lesser part of the outputs. Quantized activations
 * count as the numbers they come from: a step with them is to compute again what the step without them does. */
static size_t saving(const settler *s, const lti_maybe *m)
{
    const lti_node *copy = &s->k->g->node[m->copy];
    size_t all = 0, asked = 0;
    for (int i = 0; i < copy->op->n_out; i++) {
        size_t bytes = 0;
        lti_dtype_size(copy->out[i].type == LT_BF16 ? LT_BF16 : LT_F32, lti_value_count(&copy->out[i]), &bytes);
        all += bytes;
        if (is_read(s, (lti_ref){m->copy, (uint32_t)i})) asked += bytes;
    }
    return asked * 2 > all && !is_stored_so(s, copy) ? asked : 0;
}

/* Clones that save something, and those that such a clone is made from. Returns the bytes saved. */
static size_t choose(settler *s)
{
    const lt_graph *g = s->k->g;
    size_t saved = 0;
    for (int i = 0; i < s->k->n_maybe; i++) s->k->maybe[i].refused = !is_possible(s, &s->k->maybe[i]);
    for (int i = s->k->n_maybe; i-- > 0;) { /* what a clone reads was recorded before it */
        lti_maybe *m = &s->k->maybe[i];
        size_t bytes = m->refused ? 0 : saving(s, m);
        saved += bytes;
        m->refused |= bytes == 0 && !m->wanted;
        const lti_node *copy = &g->node[m->copy];
        for (int j = 0; !m->refused && j < copy->n_in; j++) {
            lti_ref r = lti_root(g->node, copy->in[j]);
            if (s->copy[r.node] && !is_read(s, r)) s->k->maybe[s->copy[r.node] - 1].wanted = true;
        }
    }
    return saved;
}

/* Readers of refused clones get what they would have got. */
static void redirect(settler *s)
{
    lt_graph *g = s->k->g;
    for (uint32_t i = s->k->count; i < g->count; i++)
        for (int j = 0; j < g->node[i].n_in; j++) {
            lti_ref *r = &g->node[i].in[j];
            if (!s->copy[r->node]) continue;
            const lti_maybe *m = &s->k->maybe[s->copy[r->node] - 1];
            if (m->refused) *r = (lti_ref){m->otherwise[r->output].node, m->otherwise[r->output].output};
        }
}

bool lti_keep_settle(lti_keeper *k)
{
    settler s;
    bool ok = settler_init(&s, k);
    bool scarce = k->g->store != LT_F32 || k->g->checkpoints; /* the caller has said so */
    bool none = ok && choose(&s) < lti_keep_worth && !scarce;
    for (int i = 0; none && i < k->n_maybe; i++) k->maybe[i].refused = true;
    if (ok) redirect(&s);
    lti_free(k->g->ctx, s.first);
    lti_free(k->g->ctx, s.read);
    lti_free(k->g->ctx, s.copy);
    return ok;
}
