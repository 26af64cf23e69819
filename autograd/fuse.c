/* fuse.c - selecting and rewriting nodes before they are ordered: dead code, common subexpressions, fusion.
 *
 * Lazy clones are never merged with their original: they exist to be computed a second time. (Casts of one clone are
 * merged with each other, as those of its original were.) They are fused as their original is, so that the second time
 * gives the same bits. */
#include "autograd/compile.h"

#include <string.h>

extern const lti_op lti_op_cast, lti_op_reshape;

lti_ref lti_root(const lti_node *node, lti_ref r)
{
    while (node[r.node].op->flags & LTI_VIEW && r.output == 0) r = node[r.node].in[0];
    return r;
}

lt_param *lti_param_of(const lti_compiler *c, lti_ref r)
{
    r = lti_root(c->node, r);
    const lti_node *n = &c->node[r.node];
    bool holds = r.output == 0 && (n->op == &lti_op_param || n->op->flags & LTI_EFFECT);
    return holds ? n->param[0] : NULL;
}

/* ---- Dead code ---- */

static bool is_root(const lti_compiler *c, uint32_t i)
{
    const lti_node *n = &c->node[i];
    return (n->op->flags & (LTI_EFFECT | LTI_KEEP)) == LTI_EFFECT && c->options.phases >> n->phase & 1;
}

static void mark_live(lti_compiler *c)
{
    memset(c->live, 0, c->count * sizeof *c->live);
    for (int r = 0; r < c->n_results; r++) c->live[c->result[r].node] = true;
    for (uint32_t i = c->count; i-- > 0;) {
        const lti_node *n = &c->node[i];
        if (is_root(c, i)) c->live[i] = true;
        if (!c->live[i]) continue;
        for (int k = 0; k < n->n_in; k++) c->live[n->in[k].node] = true;
    }
}

/* ---- Common subexpressions ---- */

static bool mergeable(const lti_node *n)
{
    bool lazy = n->flags & LTI_NODE_LAZY && n->op != &lti_op_cast;
    return !(n->op->flags & (LTI_EFFECT | LTI_NO_CSE)) && !lazy && n->after == LTI_NONE;
}

/* A cast looks at elements alone: casts of one value and of a view of it are one. */
static lti_ref essence(const lti_compiler *c, const lti_node *n, int k)
{
    return n->op == &lti_op_cast ? lti_root(c->node, n->in[k]) : n->in[k];
}

static uint64_t hash_node(const lti_compiler *c, const lti_node *n)
{
    uint64_t h = (uintptr_t)n->op;
    for (int k = 0; k < n->n_in; k++) {
        lti_ref r = essence(c, n, k);
        h = (h ^ ((uint64_t)r.node << 4 | r.output)) * 0x9E3779B97F4A7C15u;
    }
    const unsigned char *attr = n->attr;
    for (size_t k = 0; k < n->attr_size; k++) h = (h ^ attr[k]) * 1099511628211u;
    return h ^ h >> 29;
}

static bool equal_nodes(const lti_compiler *c, const lti_node *a, const lti_node *b)
{
    if (a->op != b->op || a->n_in != b->n_in || a->attr_size != b->attr_size || a->segment != b->segment) return false;
    if ((a->flags ^ b->flags) & LTI_NODE_LAZY) return false;
    for (int k = 0; k < a->n_in; k++) {
        lti_ref x = essence(c, a, k), y = essence(c, b, k);
        if (x.node != y.node || x.output != y.output) return false;
    }
    return memcmp(a->attr, b->attr, a->attr_size) == 0;
}

/* `n` is what node `first` is: it takes its place, or shows it under its own shape. Returns what its readers read. */
static uint32_t merge(lti_compiler *c, uint32_t n, uint32_t first)
{
    if (lti_value_same(&c->node[n].out[0], &c->node[first].out[0])) return first;
    c->node[n].op = &lti_op_reshape;
    c->node[n].in[0] = (lti_ref){first, 0};
    return n;
}

/* Every input is redirected to the first node that equals its producer. */
static lt_status merge_equal(lti_compiler *c)
{
    uint32_t size = 64;
    while (size < 2 * c->count) size *= 2;
    uint32_t *table = lti_alloc_array(c->ctx, (size_t)size + c->count, sizeof *table); /* node + 1; 0: free */
    if (!table) return LT_ENOMEM;
    uint32_t *same = table + size; /* [count] */
    for (uint32_t i = 0; i < c->count; i++) {
        lti_node *n = &c->node[i];
        same[i] = i;
        if (!c->live[i]) continue;
        for (int k = 0; k < n->n_in; k++) n->in[k].node = same[n->in[k].node];
        if (!mergeable(n)) continue;
        uint32_t h = (uint32_t)hash_node(c, n) & (size - 1);
        while (table[h] && !equal_nodes(c, &c->node[table[h] - 1], n)) h = (h + 1) & (size - 1);
        if (table[h])
            same[i] = merge(c, i, table[h] - 1);
        else
            table[h] = i + 1;
    }
    for (int r = 0; r < c->n_results; r++) c->result[r].node = same[c->result[r].node];
    lti_free(c->ctx, table);
    return LT_OK;
}

/* ---- Fusion: add(addend, product) -> product that starts from addend ---- */

static void count_readers(lti_compiler *c)
{
    memset(c->readers, 0, (c->n_slots + 1u) * sizeof *c->readers);
    for (uint32_t i = 0; i < c->count; i++)
        for (int k = 0; c->live[i] && k < c->node[i].n_in; k++)
            c->readers[c->slot[c->node[i].in[k].node] + c->node[i].in[k].output]++;
    for (int r = 0; r < c->n_results; r++) c->readers[c->slot[c->result[r].node] + c->result[r].output]++;
}

/* Whether a live side effect between the product and the sum writes what the product reads. */
static bool overwritten_between(const lti_compiler *c, uint32_t product, uint32_t sum)
{
    const lti_node *n = &c->node[product];
    for (uint32_t e = product + 1; e < sum; e++) {
        if (!c->live[e] || !(c->node[e].op->flags & LTI_EFFECT)) continue;
        for (int k = 0; k < n->n_in; k++)
            for (int p = 0; p < c->node[e].n_params; p++)
                if (lti_param_of(c, n->in[k]) == c->node[e].param[p]) return true;
    }
    return false;
}

/* The node behind input k of an addition, when it can start from the other input and nobody else reads it. */
static const lti_node *fusible(const lti_compiler *c, const lti_node *sum, int k)
{
    lti_ref r = sum->in[k];
    const lti_node *n = &c->node[r.node];
    if (!n->op->accumulate || r.output || n->flags != sum->flags || n->n_in >= LTI_MAX_IN) return NULL;
    if (c->readers[c->slot[r.node]] != 1 || overwritten_between(c, r.node, (uint32_t)(sum - c->node))) return NULL;
    const lti_value *other = &c->node[sum->in[1 - k].node].out[sum->in[1 - k].output];
    return lti_value_same(&n->out[0], other) && lti_value_same(&n->out[0], &sum->out[0]) ? n : NULL;
}

static lt_status fuse_sum(lti_compiler *c, lti_node *sum)
{
    int k = sum->in[1].node > sum->in[0].node ? 1 : 0; /* the later product starts from what came before */
    const lti_node *product = fusible(c, sum, k);
    if (!product) product = fusible(c, sum, k = 1 - k);
    if (!product) return LT_OK;
    lti_ref *in = lti_graph_alloc(c->graph, (product->n_in + 1u) * sizeof *in);
    if (!in) return LT_ENOMEM;
    memcpy(in, product->in, product->n_in * sizeof *in);
    in[product->n_in] = sum->in[1 - k];
    sum->op = product->op->accumulate;
    sum->in = in;
    sum->n_in = (uint8_t)(product->n_in + 1);
    sum->attr = product->attr;
    sum->attr_size = product->attr_size;
    sum->name = product->name;
    return LT_OK;
}

static bool is_sum(const lti_node *n)
{
    return n->n_in == 2 && strcmp(n->op->name, "add") == 0;
}

lt_status lti_select(lti_compiler *c)
{
    mark_live(c);
    LTI_TRY(merge_equal(c));
    mark_live(c);
    for (uint32_t i = 0; i < c->count; i++) {
        if (!c->live[i] || !is_sum(&c->node[i])) continue;
        count_readers(c);
        LTI_TRY(fuse_sum(c, &c->node[i]));
        mark_live(c);
    }
    count_readers(c);
    return LT_OK;
}
