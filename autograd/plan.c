/* plan.c - lowering: from selected, ordered nodes to prepared steps with a place for every argument.
 *
 * Steps are prepared before places are given, because preparing states the scratch. A plan copies names, attrs and
 * shapes, so that its graph may be freed. */
#include "autograd/compile.h"
#include "autograd/param.h"
#include "autograd/planned.h"

#include <string.h>

void lt_compile_options_init(lt_compile_options *options)
{
    *options = (lt_compile_options){.size = sizeof *options, .phases = UINT32_MAX};
}

/* ---- The compiler's tables ---- */

static void compiler_free(lti_compiler *c)
{
    void *tables[] = {c->node, c->live, c->result, c->order, c->slot, c->readers, c->buffer, c->buffers};
    for (int i = 0; i < LTI_COUNT(tables); i++) lti_free(c->ctx, tables[i]);
}

/* Fusing rewrites inputs, so every node gets a private list of them. */
static lt_status copy_nodes(lti_compiler *c)
{
    size_t refs = 0;
    for (uint32_t i = 0; i < c->count; i++) refs += c->graph->node[i].n_in;
    size_t head = (c->count + 1u) * sizeof *c->node;
    c->node = lti_alloc(c->ctx, head + refs * sizeof(lti_ref));
    if (!c->node) return LT_ENOMEM;
    lti_ref *in = (lti_ref *)((char *)c->node + head);
    if (c->count) memcpy(c->node, c->graph->node, c->count * sizeof *c->node);
    for (uint32_t i = 0; i < c->count; i++) {
        for (int k = 0; k < c->node[i].n_in; k++) in[k] = c->graph->node[i].in[k];
        c->node[i].in = in;
        in += c->node[i].n_in;
    }
    return LT_OK;
}

static lt_status compiler_init(lti_compiler *c, int n, const lt_t *outputs)
{
    lt_graph *g = c->graph;
    c->count = g->count;
    size_t nodes = c->count + 1u;
    LTI_TRY(copy_nodes(c));
    c->live = lti_alloc_array(c->ctx, nodes, sizeof *c->live);
    c->order = lti_alloc_array(c->ctx, nodes, sizeof *c->order);
    c->slot = lti_alloc_array(c->ctx, nodes, sizeof *c->slot);
    c->result = lti_alloc_array(c->ctx, (size_t)n + 1, sizeof *c->result);
    if (!c->live || !c->order || !c->slot || !c->result) return LT_ENOMEM;
    for (uint32_t i = 0; i < c->count; i++) {
        c->slot[i] = c->n_slots;
        c->n_slots += (uint32_t)g->node[i].op->n_out;
    }
    c->readers = lti_alloc_array(c->ctx, c->n_slots + 1u, sizeof *c->readers);
    c->buffer = lti_alloc_array(c->ctx, c->n_slots + 1u, sizeof *c->buffer);
    if (!c->readers || !c->buffer) return LT_ENOMEM;
    for (int i = 0; i < n; i++) {
        if (lt_is_nil(outputs[i]) || outputs[i].graph != g)
            return lti_fail(c->ctx, LT_EINVAL, "lt_compile: output %d is nil or of another graph", i);
        c->result[c->n_results++] = (lti_ref){outputs[i].node, outputs[i].output};
    }
    return LT_OK;
}

/* ---- Steps ---- */

static bool is_step(const lti_node *n)
{
    return !(n->op->flags & (LTI_LEAF | LTI_VIEW));
}

static void fill_arg(lti_arg *arg, const lti_value *v)
{
    *arg = (lti_arg){.type = v->type, .rank = v->rank, .count = lti_value_count(v)};
    memcpy(arg->dim, v->dim, sizeof arg->dim);
}

static void count_steps(const lti_compiler *c, lt_plan *p, size_t *text)
{
    *text = 0;
    for (uint32_t t = 0; t < c->n_order; t++) {
        const lti_node *n = &c->node[c->order[t]];
        if (n->op == &lti_op_input) p->n_inputs++;
        if (n->op == &lti_op_scalar || n->op == &lti_op_constant) p->n_numbers++;
        if (!is_step(n)) continue;
        p->n_steps++;
        p->n_args += n->n_in + n->op->n_out;
        *text += (strlen(n->name) + 16) / 16 * 16 + (n->attr_size + 16) / 16 * 16;
    }
}

static lt_status plan_tables(lt_plan *p, size_t text)
{
    lt_ctx *ctx = p->ctx;
    p->step = lti_alloc_array(ctx, (size_t)p->n_steps + 1, sizeof *p->step);
    p->arg = lti_alloc_array(ctx, (size_t)p->n_args + 1, sizeof *p->arg);
    p->location = lti_alloc_array(ctx, (size_t)p->n_args + 1, sizeof *p->location);
    p->scratch_offset = lti_alloc_array(ctx, (size_t)p->n_steps + 1, sizeof *p->scratch_offset);
    p->time_of = lti_alloc_array(ctx, (size_t)p->n_steps + 1, sizeof *p->time_of);
    p->times = lti_alloc_array(ctx, (size_t)p->n_steps + 1, sizeof *p->times);
    p->input = lti_alloc_array(ctx, (size_t)p->n_inputs + 1, sizeof *p->input);
    p->number = lti_alloc_array(ctx, (size_t)p->n_numbers + 1, sizeof *p->number);
    p->result = lti_alloc_array(ctx, (size_t)p->n_results + 1, sizeof *p->result);
    p->result_location = lti_alloc_array(ctx, (size_t)p->n_results + 1, sizeof *p->result_location);
    p->text = lti_alloc(ctx, text);
    bool ok = p->step && p->arg && p->location && p->scratch_offset && p->time_of && p->times && p->input &&
              p->number && p->result && p->result_location && p->text;
    return ok ? LT_OK : LT_ENOMEM;
}

static int time_slot(lt_plan *p, const lti_op *op)
{
    for (int i = 0; i < p->n_times; i++)
        if (p->times[i].op == op) return i;
    p->times[p->n_times].op = op;
    return p->n_times++;
}

/* A leaf's entry in the plan's tables; remembered in `entry` (indexed by node). */
static void fill_leaf(lt_plan *p, const lti_node *n, int *entry, int *inputs, int *numbers)
{
    const lti_leaf_attr *attr = n->attr;
    if (n->op == &lti_op_input) {
        lti_bound_input *in = &p->input[*inputs];
        memcpy(in->name, attr->name, sizeof in->name);
        fill_arg(&in->value, &n->out[0]);
        in->lowest = attr->lowest, in->bound = attr->bound, in->checked = attr->checked;
        *entry = (*inputs)++;
    } else if (n->op != &lti_op_param) {
        memcpy(p->number[*numbers].name, attr->name, sizeof attr->name);
        p->number[*numbers].value = (lt_real)attr->value;
        *entry = (*numbers)++;
    }
}

static void fill_step(const lti_compiler *c, lt_plan *p, lti_step *s, uint32_t index, int *args, char **text)
{
    static char read_by_somebody;
    const lti_node *n = &c->node[index];
    *s = (lti_step){.op = n->op, .ctx = p->ctx, .n_in = n->n_in, .n_out = n->op->n_out, .n_params = n->n_params};
    s->name = strcpy(*text, n->name);
    *text += (strlen(n->name) + 16) / 16 * 16;
    s->attr = memcpy(*text, n->attr, n->attr_size);
    *text += (n->attr_size + 16) / 16 * 16;
    memcpy(s->param, n->param, sizeof s->param);
    s->in = &p->arg[*args];
    s->out = s->in + n->n_in;
    *args += n->n_in + n->op->n_out;
    for (int k = 0; k < n->n_in; k++) fill_arg(&s->in[k], &c->node[n->in[k].node].out[n->in[k].output]);
    for (int k = 0; k < n->op->n_out; k++) {
        fill_arg(&s->out[k], &n->out[k]);
        bool read = c->readers[c->slot[index] + (uint32_t)k] > 0 || (k == 0 && n->op->flags & LTI_EFFECT);
        s->out[k].data = read ? &read_by_somebody : NULL;
    }
}

static lt_status prepare_steps(lt_plan *p)
{
    for (int i = 0; i < p->n_steps; i++) {
        lti_step *s = &p->step[i];
        if (!s->op->prepare) continue;
        lt_status status = s->op->prepare(s);
        if (status == LT_OK) continue;
        lti_fail_in(p->ctx, "%s%s%s", s->name, *s->name ? ": " : "", s->op->name);
        return status;
    }
    return LT_OK;
}

/* ---- Places ---- */

static lti_location locate(const lti_compiler *c, lt_plan *p, const int *entry, lti_ref r)
{
    r = lti_root(c->node, r);
    const lti_node *n = &c->node[r.node];
    lt_param *param = lti_param_of(c, r);
    if (param) return (lti_location){.where = LTI_FIXED, .fixed = param->data, .param = param};
    if (n->op == &lti_op_input) return (lti_location){.where = LTI_BOUND, .input = entry[r.node]};
    if (n->op->flags & LTI_LEAF) return (lti_location){.where = LTI_FIXED, .fixed = &p->number[entry[r.node]].value};
    uint32_t b = c->buffer[c->slot[r.node] + r.output];
    if (b == LTI_NONE) return (lti_location){.where = LTI_NOWHERE};
    return (lti_location){.where = LTI_IN_ARENA, .offset = c->buffers[b].offset};
}

static void locate_all(const lti_compiler *c, lt_plan *p, const int *entry, const uint32_t *scratch_buffer)
{
    int step = 0, arg = 0;
    for (uint32_t t = 0; t < c->n_order; t++) {
        const lti_node *n = &c->node[c->order[t]];
        if (!is_step(n)) continue;
        if (scratch_buffer[t] != LTI_NONE) p->scratch_offset[step] = c->buffers[scratch_buffer[t]].offset;
        for (int k = 0; k < n->n_in; k++) p->location[arg++] = locate(c, p, entry, n->in[k]);
        for (int k = 0; k < n->op->n_out; k++)
            p->location[arg++] = locate(c, p, entry, (lti_ref){c->order[t], (uint32_t)k});
        step++;
    }
    for (int i = 0; i < c->n_results; i++) {
        p->result_location[i] = locate(c, p, entry, c->result[i]);
        fill_arg(&p->result[i], &c->node[c->result[i].node].out[c->result[i].output]);
    }
}

/* Steps in order, prepared; then scratch is known and everything gets its place. `entry` is a leaf's index. */
static lt_status lower_with(lti_compiler *c, lt_plan *p, int *entry, size_t *scratch, uint32_t *scratch_buffer)
{
    int step = 0, args = 0, inputs = 0, numbers = 0;
    char *text = p->text;
    for (uint32_t t = 0; t < c->n_order; t++) {
        const lti_node *n = &c->node[c->order[t]];
        if (n->op->flags & LTI_LEAF) fill_leaf(p, n, &entry[c->order[t]], &inputs, &numbers);
        if (!is_step(n)) continue;
        fill_step(c, p, &p->step[step], c->order[t], &args, &text);
        p->time_of[step] = time_slot(p, n->op);
        step++;
    }
    LTI_TRY(prepare_steps(p));
    step = 0;
    for (uint32_t t = 0; t < c->n_order; t++)
        scratch[t] = is_step(&c->node[c->order[t]]) ? p->step[step++].scratch_bytes : 0;
    LTI_TRY(lti_place(c, scratch, scratch_buffer));
    locate_all(c, p, entry, scratch_buffer);
    p->arena_bytes = c->arena_bytes;
    p->live_bytes = c->live_bytes;
    return LT_OK;
}

static lt_status lower(lti_compiler *c, lt_plan *p)
{
    size_t text;
    p->n_results = c->n_results;
    count_steps(c, p, &text);
    LTI_TRY(plan_tables(p, text + 64));
    int *entry = lti_alloc_array(c->ctx, c->count + 1u, sizeof *entry);
    size_t *scratch = lti_alloc_array(c->ctx, c->n_order + 1u, sizeof *scratch);
    uint32_t *scratch_buffer = lti_alloc_array(c->ctx, c->n_order + 1u, sizeof *scratch_buffer);
    lt_status status =
        entry && scratch && scratch_buffer ? lower_with(c, p, entry, scratch, scratch_buffer) : LT_ENOMEM;
    lti_free(c->ctx, entry);
    lti_free(c->ctx, scratch);
    lti_free(c->ctx, scratch_buffer);
    return status;
}

/* ---- Arenas ---- */

lt_status lt_arena_create(lt_ctx *ctx, lt_arena **arena)
{
    *arena = lti_alloc(ctx, sizeof **arena);
    if (!*arena) return LT_ENOMEM;
    (*arena)->ctx = ctx;
    return LT_OK;
}

void lt_arena_free(lt_arena *arena)
{
    if (!arena) return;
    lti_free(arena->ctx, arena->data);
    lti_free(arena->ctx, arena);
}

size_t lt_arena_bytes(const lt_arena *arena)
{
    return arena->bytes;
}

/* Contents are not kept: no plan's values outlive its run but its results, until the next compile. */
static lt_status arena_reserve(lt_arena *arena, size_t bytes)
{
    if (bytes <= arena->bytes) return LT_OK;
    lti_free(arena->ctx, arena->data);
    arena->bytes = 0;
    arena->data = lti_alloc(arena->ctx, bytes);
    if (!arena->data) return LT_ENOMEM;
    arena->bytes = bytes;
    return LT_OK;
}

/* ---- Compile ---- */

static lt_status compile(lti_compiler *c, lt_plan *p, int n, const lt_t *outputs)
{
    LTI_TRY(compiler_init(c, n, outputs));
    LTI_TRY(lti_select(c));
    LTI_TRY(lti_order(c));
    LTI_TRY(lower(c, p));
    if (c->options.measure) return LT_OK;
    if (!p->arena) {
        p->owns_arena = true;
        LTI_TRY(lt_arena_create(p->ctx, &p->arena));
    }
    return arena_reserve(p->arena, p->arena_bytes);
}

lt_status lt_compile(lt_graph *graph, const lt_compile_options *options, int n, const lt_t *outputs, lt_plan **plan)
{
    *plan = NULL;
    lt_ctx *ctx = graph->ctx;
    if (graph->status != LT_OK) return lti_fail(ctx, graph->status, "%s", graph->message);
    lti_compiler c = {.ctx = ctx, .graph = graph};
    lt_compile_options_init(&c.options);
    if (options) c.options = *options;
    if (c.options.size != sizeof c.options)
        return lti_fail(ctx, LT_EINVAL, "lt_compile: call lt_compile_options_init first");
    lt_plan *p = lti_alloc(ctx, sizeof *p);
    if (!p) return LT_ENOMEM;
    p->ctx = ctx;
    p->arena = c.options.arena;
    p->measured = c.options.measure;
    p->poison = c.options.poison;
    lt_status status = compile(&c, p, n, outputs);
    compiler_free(&c);
    if (status != LT_OK) {
        lt_plan_free(p);
        return status;
    }
    *plan = p;
    return LT_OK;
}

void lt_plan_free(lt_plan *plan)
{
    if (!plan) return;
    lt_ctx *ctx = plan->ctx;
    for (int i = 0; plan->step && i < plan->n_steps; i++)
        if (plan->step[i].op && plan->step[i].op->release) plan->step[i].op->release(&plan->step[i]);
    void *tables[] = {plan->step,  plan->arg,    plan->location, plan->scratch_offset,  plan->time_of, plan->times,
                      plan->input, plan->number, plan->result,   plan->result_location, plan->text};
    for (int i = 0; i < LTI_COUNT(tables); i++) lti_free(ctx, tables[i]);
    if (plan->owns_arena) lt_arena_free(plan->arena);
    lti_free(ctx, plan);
}
