/* graph.c - recording: nodes, values, the sticky error. Names and scopes are in names.c.
 *
 * Nodes lie in one growing array; what they point to (names, attrs, shapes) lies in chunks that never move, so shapes
 * handed out stay valid. Nothing here knows any op: a node points at its descriptor. */
#include "autograd/node.h"
#include "autograd/param.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CHUNK_BYTES (64 * 1024)

lt_status lt_graph_create(lt_ctx *ctx, lt_params *params, lt_graph **graph)
{
    lt_graph *g = lti_alloc(ctx, sizeof *g);
    *graph = g;
    if (!g) return LT_ENOMEM;
    g->ctx = ctx;
    g->params = params;
    g->scope = "";
    g->compute = g->store = LT_F32;
    return LT_OK;
}

void lt_graph_free(lt_graph *graph)
{
    if (!graph) return;
    lt_ctx *ctx = graph->ctx;
    for (lti_chunk *c = graph->chunk, *next; c; c = next) {
        next = c->next;
        lti_free(ctx, c);
    }
    void *lists[] = {graph->node,         graph->scopes.list, graph->leaves.list, graph->taps.list,
                     graph->streams.list, graph->uses,        graph->attachments, graph->weights};
    for (int i = 0; i < LTI_COUNT(lists); i++) lti_free(ctx, lists[i]);
    lti_free(ctx, graph);
}

lt_status lt_graph_status(const lt_graph *graph)
{
    return graph->status;
}

const char *lt_graph_message(const lt_graph *graph)
{
    return graph->message;
}

lt_params *lt_graph_params(const lt_graph *graph)
{
    return graph->params;
}

void lt_graph_seed(lt_graph *graph, uint64_t seed)
{
    graph->seed = seed;
}

bool lti_graph_checkpoints(const lt_graph *graph)
{
    return graph->checkpoints;
}

uint64_t lti_graph_seed(const lt_graph *graph)
{
    return graph->seed;
}

/* ---- Memory ---- */

static lt_t out_of_memory(lt_graph *graph)
{
    return lti_graph_fail(graph, LT_ENOMEM, "%s", lt_ctx_message(graph->ctx));
}

void *lti_graph_alloc(lt_graph *graph, size_t bytes)
{
    bytes = (bytes + 15) / 16 * 16;
    size_t head = (sizeof(lti_chunk) + 15) / 16 * 16;
    lti_chunk *c = graph->chunk;
    if (!c || c->size - c->used < bytes) {
        size_t size = head + (bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES);
        c = lti_alloc(graph->ctx, size);
        if (!c) {
            out_of_memory(graph);
            return NULL;
        }
        *c = (lti_chunk){.next = graph->chunk, .used = head, .size = size};
        graph->chunk = c;
    }
    void *memory = (char *)c + c->used;
    c->used += bytes;
    return memory;
}

const char *lti_graph_text(lt_graph *graph, const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = lti_graph_alloc(graph, bytes);
    if (copy) memcpy(copy, text, bytes);
    return copy;
}

bool lti_graph_grow(lt_graph *graph, void **list, int count, int *capacity, size_t size)
{
    if (count < *capacity) return true;
    int larger = *capacity ? 2 * *capacity : 16;
    void *grown = lti_realloc(graph->ctx, *list, (size_t)count * size, (size_t)larger * size);
    if (!grown) {
        out_of_memory(graph);
        return false;
    }
    *list = grown;
    *capacity = larger;
    return true;
}

/* ---- Errors ---- */

static void fail(lt_graph *graph, lt_status status, const char *op, const char *format, va_list args)
{
    const char *place = graph->scope;
    char text[400];
    vsnprintf(text, sizeof text, format, args);
    if (graph->status != LT_OK) return;
    graph->status = status;
    snprintf(graph->message, sizeof graph->message, "%s%s%s%s%s", place, *place ? ": " : "", op, *op ? ": " : "", text);
}

lt_t lti_graph_fail(lt_graph *graph, lt_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fail(graph, status, "", format, args);
    va_end(args);
    return lt_nil(graph);
}

bool lti_shape_fail(const lti_shaper *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fail(s->graph, LT_EINVAL, s->op->name, format, args);
    va_end(args);
    return false;
}

/* ---- Values ---- */

int64_t lti_value_count(const lti_value *v)
{
    int64_t count = 1;
    for (int i = 0; i < v->rank; i++) count *= v->dim[i];
    return count;
}

bool lti_value_same(const lti_value *a, const lti_value *b)
{
    if (a->type != b->type || a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i]) return false;
    return true;
}

void lti_value_set(lti_value *v, lt_dtype type, int rank, const int64_t *dim)
{
    *v = (lti_value){.type = type, .storage = type, .rank = rank};
    for (int i = 0; i < rank; i++) v->dim[i] = dim[i];
}

const char *lti_dims(const lti_value *v, char *buffer)
{
    int n = snprintf(buffer, LTI_DIMS_TEXT, "[");
    for (int i = 0; i < v->rank; i++)
        n += snprintf(buffer + n, (size_t)(LTI_DIMS_TEXT - n), "%s%lld", i ? "," : "", (long long)v->dim[i]);
    snprintf(buffer + n, (size_t)(LTI_DIMS_TEXT - n), "]");
    return buffer;
}

lti_node *lti_node_of(lt_t x)
{
    return &x.graph->node[x.node];
}

lti_value *lti_value_of(lt_t x)
{
    return &lti_node_of(x)->out[x.output];
}

bool lt_is_nil(lt_t x)
{
    return !x.graph || x.node == LTI_NONE;
}

lt_t lt_nil(lt_graph *graph)
{
    return (lt_t){graph, LTI_NONE, 0};
}

lt_dtype lt_type(lt_t x)
{
    return lt_is_nil(x) ? LT_F32 : lti_value_of(x)->type;
}

int lt_rank(lt_t x)
{
    return lt_is_nil(x) ? 0 : lti_value_of(x)->rank;
}

int64_t lt_dim(lt_t x, int axis)
{
    int rank = lt_rank(x);
    if (axis < 0) axis += rank;
    return axis >= 0 && axis < rank ? lti_value_of(x)->dim[axis] : 0;
}

const int64_t *lt_shape(lt_t x)
{
    static const int64_t none[LT_MAX_RANK];
    return lt_is_nil(x) ? none : lti_value_of(x)->dim;
}

int64_t lt_count(lt_t x)
{
    return lt_is_nil(x) ? 0 : lti_value_count(lti_value_of(x));
}

lt_t lti_output(lt_t node, int k)
{
    return lt_is_nil(node) ? node : (lt_t){node.graph, node.node, (uint32_t)k};
}

bool lti_is_made_by(lt_t x, const lti_op *op, lt_t in)
{
    if (lt_is_nil(x) || x.output || lti_node_of(x)->op != op) return false;
    const lti_node *n = lti_node_of(x);
    return lt_is_nil(in) || (n->n_in > 0 && n->in[0].node == in.node && n->in[0].output == in.output);
}

/* ---- Nodes ---- */

/* Inputs must be values of this graph; fills the shaper's view of them. */
static bool check_inputs(lti_shaper *s, const lt_t *in)
{
    for (int i = 0; i < s->n_in; i++) {
        if (lt_is_nil(in[i])) return lti_shape_fail(s, "input %d is nil: it was never made", i);
        if (in[i].graph != s->graph) return lti_shape_fail(s, "input %d belongs to another graph", i);
        s->in[i] = lti_value_of(in[i]);
    }
    return true;
}

static bool fill_node(lt_graph *g, lti_node *node, const lti_shaper *s, const lt_t *in, size_t attr_size)
{
    const lti_op *op = s->op;
    node->op = op;
    node->name = g->scope;
    node->in = lti_graph_alloc(g, (size_t)s->n_in * sizeof *node->in + 1);
    node->out = lti_graph_alloc(g, (size_t)op->n_out * sizeof *node->out);
    node->attr = lti_graph_alloc(g, attr_size + 1);
    if (!node->in || !node->out || !node->attr) return false;
    for (int i = 0; i < s->n_in; i++) node->in[i] = (lti_ref){in[i].node, in[i].output};
    memcpy(node->out, s->out, (size_t)op->n_out * sizeof *node->out);
    if (attr_size) memcpy(node->attr, s->attr, attr_size);
    node->attr_size = attr_size;
    node->n_in = (uint8_t)s->n_in;
    node->after = LTI_NONE;
    node->segment = op->flags & (LTI_LEAF | LTI_EFFECT | LTI_KEEP) ? 0 : g->segment;
    node->phase = g->phase;
    return true;
}

/* The record of who reads and writes a param; made when it is not there. NULL when memory is out. */
static lti_writer_of *use_of(lt_graph *g, lt_param *param)
{
    for (int i = 0; i < g->n_uses; i++)
        if (g->uses[i].param == param) return &g->uses[i];
    if (!lti_graph_grow(g, (void **)&g->uses, g->n_uses, &g->uses_capacity, sizeof *g->uses)) return NULL;
    g->uses[g->n_uses] = (lti_writer_of){.param = param, .leaf = LTI_NONE, .writer = LTI_NONE};
    return &g->uses[g->n_uses++];
}

static bool note_writers(lt_graph *g, uint32_t index)
{
    lti_node *node = &g->node[index];
    for (int i = 0; i < node->n_params; i++) {
        lti_writer_of *use = use_of(g, node->param[i]);
        if (!use) return false;
        use->writer = index;
        use->first_output = i == 0;
        use->leaf = LTI_NONE;
    }
    return true;
}

lt_t lti_emit_params(lt_graph *g, const lti_op *op, int n_in, const lt_t *in, const void *attr, size_t attr_size,
                     int n_params, lt_param *const *params)
{
    if (g->status != LT_OK) return lt_nil(g);
    lti_shaper s = {.graph = g, .op = op, .attr = attr, .n_in = n_in};
    if (n_in < op->min_in || n_in > op->max_in) {
        lti_shape_fail(&s, "%d inputs, but it takes %d to %d", n_in, op->min_in, op->max_in);
        return lt_nil(g);
    }
    if ((op->flags & (LTI_EFFECT | LTI_KEEP)) == LTI_EFFECT && g->segment && !(g->segment & LTI_TRANSFORM)) {
        lti_shape_fail(&s, "a side effect cannot stand between lt_checkpoint_begin and lt_checkpoint_end");
        return lt_nil(g);
    }
    for (int i = 0; op->flags & LTI_EFFECT && i < n_params; i++)
        if (params[i]->mapped) {
            lti_shape_fail(&s, "'%s' is mapped from elsewhere and cannot be written", params[i]->name);
            return lt_nil(g);
        }
    if (!check_inputs(&s, in) || !op->shape(&s) ||
        !lti_graph_grow(g, (void **)&g->node, (int)g->count, &g->capacity, sizeof *g->node))
        return lt_nil(g);
    lti_node node = {0};
    if (!fill_node(g, &node, &s, in, attr_size)) return lt_nil(g);
    for (int i = 0; i < n_params; i++) node.param[i] = params[i];
    node.n_params = (uint8_t)n_params;
    uint32_t index = g->count;
    g->node[g->count++] = node;
    if (op->flags & LTI_EFFECT && !note_writers(g, index)) return lt_nil(g);
    return (lt_t){g, index, 0};
}

lt_t lti_emit(const lti_op *op, int n_in, const lt_t *in, const void *attr, size_t attr_size)
{
    lt_graph *g = NULL;
    for (int i = 0; i < n_in && !g; i++) g = in[i].graph;
    if (!g) return (lt_t){NULL, LTI_NONE, 0};
    return lti_emit_params(g, op, n_in, in, attr, attr_size, 0, NULL);
}

lt_t lt_param_value(lt_graph *g, lt_param *param)
{
    if (g->status != LT_OK) return lt_nil(g);
    if (!param) return lti_graph_fail(g, LT_EINVAL, "there is no such parameter");
    lti_writer_of *use = use_of(g, param);
    if (!use) return lt_nil(g);
    if (use->leaf != LTI_NONE) return (lt_t){g, use->leaf, 0};
    uint32_t after = use->writer;
    if (after != LTI_NONE && use->first_output && g->node[after].phase == g->phase) return (lt_t){g, after, 0};
    lt_t leaf = lti_emit_params(g, &lti_op_param, 0, NULL, &param, sizeof param, 1, &param);
    if (lt_is_nil(leaf)) return leaf;
    lti_node_of(leaf)->after = after;
    use->leaf = leaf.node;
    return leaf;
}

/* ---- Memory and phases ---- */

void lt_checkpoint_begin(lt_graph *g)
{
    if (g->segment)
        lti_graph_fail(g, LT_EINVAL, "lt_checkpoint_begin inside another checkpointed segment; segments do not nest");
    g->segment = ++g->segments;
    g->checkpoints = true;
}

void lt_checkpoint_end(lt_graph *g)
{
    if (!g->segment) lti_graph_fail(g, LT_EINVAL, "lt_checkpoint_end without lt_checkpoint_begin");
    g->segment = 0;
}

void lt_recompute_cheap(lt_graph *g, bool on)
{
    g->recompute_cheap = on;
}

static bool f32_or_bf16(lt_graph *g, const char *what, lt_dtype type)
{
    if (type == LT_F32 || type == LT_BF16) return true;
    lti_graph_fail(g, LT_EINVAL, "%s: %s is not possible; f32 and bf16 are", what, lt_dtype_name(type));
    return false;
}

void lt_compute(lt_graph *g, lt_dtype type)
{
    if (f32_or_bf16(g, "lt_compute", type)) g->compute = type;
}

lt_dtype lt_compute_type(const lt_graph *g)
{
    return g->compute;
}

void lt_store_activations(lt_graph *g, lt_dtype type)
{
    if (f32_or_bf16(g, "lt_store_activations", type)) g->store = type;
}

void lt_training(lt_graph *g, bool on)
{
    g->evaluating = !on;
}

bool lt_is_training(const lt_graph *g)
{
    return !g->evaluating;
}

lt_t lt_store(lt_t x, lt_dtype type)
{
    if (lt_is_nil(x)) return x;
    lti_value *v = lti_value_of(x);
    if (v->type != LT_F32 || (type != LT_F32 && type != LT_BF16 && type != LT_F16))
        return lti_graph_fail(x.graph, LT_EINVAL, "lt_store: %s cannot be kept as %s; f32 as bf16, f16 or f32 can",
                              lt_dtype_name(v->type), lt_dtype_name(type));
    v->storage = type;
    return x;
}

void lt_phase(lt_graph *g, int phase)
{
    if (phase < 0 || phase > 31)
        lti_graph_fail(g, LT_EINVAL, "lt_phase: %d is not in 0 to 31", phase);
    else
        g->phase = (uint8_t)phase;
}
