/* names.c - what a graph knows by name: scopes, taps, random streams, inputs and scalars. */
#include "autograd/node.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- Names ---- */

static lti_named *name_find(lti_names *names, const char *name)
{
    for (int i = 0; i < names->count; i++)
        if (strcmp(names->list[i].name, name) == 0) return &names->list[i];
    return NULL;
}

static lti_named *name_add(lt_graph *g, lti_names *names, const char *name, lt_t value)
{
    const char *copy = lti_graph_text(g, name);
    if (!copy || !lti_graph_grow(g, (void **)&names->list, names->count, &names->capacity, sizeof *names->list))
        return NULL;
    names->list[names->count] = (lti_named){.name = copy, .value = value};
    return &names->list[names->count++];
}

void lt_scope(lt_graph *g, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const char *copy = lt_scoped(g, text);
    if (!copy ||
        !lti_graph_grow(g, (void **)&g->scopes.list, g->scopes.count, &g->scopes.capacity, sizeof *g->scopes.list))
        return;
    g->scopes.list[g->scopes.count++] = (lti_named){.name = g->scope};
    g->scope = copy;
}

void lt_scope_end(lt_graph *g)
{
    if (g->scopes.count)
        g->scope = g->scopes.list[--g->scopes.count].name;
    else
        lti_graph_fail(g, LT_EINVAL, "lt_scope_end without lt_scope");
}

const char *lt_scoped(lt_graph *g, const char *name)
{
    char full[512];
    snprintf(full, sizeof full, "%s%s%s", g->scope, *g->scope && *name ? "." : "", name);
    return lti_graph_text(g, full);
}

lt_t lt_tap(lt_t x, const char *name)
{
    if (lt_is_nil(x)) return x;
    const char *full = lt_scoped(x.graph, name);
    if (full) name_add(x.graph, &x.graph->taps, full, x);
    return x;
}

lt_t lt_tapped(lt_graph *g, const char *full_name)
{
    lti_named *found = name_find(&g->taps, full_name);
    return found ? found->value : lt_nil(g);
}

uint32_t lti_random_stream(lt_graph *g)
{
    lti_named *here = name_find(&g->streams, g->scope);
    if (!here) here = name_add(g, &g->streams, g->scope, lt_nil(g));
    if (!here) return 0;
    char text[600];
    snprintf(text, sizeof text, "%s#%u", g->scope, here->count++);
    return lti_rng_stream(text);
}

/* ---- Leaves by name ---- */

static lt_t named_leaf(lt_graph *g, const lti_op *op, const lti_leaf_attr *attr, lti_value *value)
{
    lti_named *known = name_find(&g->leaves, attr->name);
    if (known) {
        const lti_leaf_attr *had = lti_node_of(known->value)->attr;
        bool same = lti_node_of(known->value)->op == op && lti_value_same(lti_value_of(known->value), value) &&
                    had->checked == attr->checked && had->lowest == attr->lowest && had->bound == attr->bound;
        if (same) return known->value;
        return lti_graph_fail(g, LT_EINVAL, "'%s' is already the name of another input or scalar", attr->name);
    }
    lt_t leaf = lti_emit_params(g, op, 0, NULL, attr, sizeof *attr, 0, NULL);
    if (lt_is_nil(leaf)) return leaf;
    *lti_value_of(leaf) = *value;
    return name_add(g, &g->leaves, attr->name, leaf) ? leaf : lt_nil(g);
}

static lt_t input(lt_graph *g, lti_leaf_attr *attr, const char *name, lt_dtype type, int rank, const int64_t *shape)
{
    if (g->status != LT_OK) return lt_nil(g);
    if (!name || !*name || strlen(name) >= sizeof attr->name)
        return lti_graph_fail(g, LT_EINVAL, "an input's name has 1 to %zu characters", sizeof attr->name - 1);
    strcpy(attr->name, name);
    if (rank < 0 || rank > LT_MAX_RANK)
        return lti_graph_fail(g, LT_EINVAL, "input '%s': rank %d, but 0 to %d is possible", name, rank, LT_MAX_RANK);
    int64_t count = 1;
    for (int i = 0; i < rank; i++)
        if (shape[i] < 0 || __builtin_mul_overflow(count, shape[i], &count))
            return lti_graph_fail(g, LT_EINVAL, "input '%s': dimension %d is %lld", name, i, (long long)shape[i]);
    size_t bytes;
    int64_t block = lt_dtype_block(type);
    if (!lti_dtype_size(type, count, &bytes) || (block > 1 && (rank == 0 || shape[rank - 1] % block)))
        return lti_graph_fail(g, LT_EINVAL, "input '%s': its rows are no whole blocks of %s, or it is too large", name,
                              lt_dtype_name(type));
    lti_value value;
    lti_value_set(&value, type, rank, shape);
    return named_leaf(g, &lti_op_input, attr, &value);
}

lt_t lt_input(lt_graph *g, const char *name, lt_dtype type, int rank, const int64_t *shape)
{
    lti_leaf_attr attr = {.checked = false};
    return input(g, &attr, name, type, rank, shape);
}

lt_t lt_index_input(lt_graph *g, const char *name, int rank, const int64_t *shape, int32_t lowest, int32_t bound)
{
    lti_leaf_attr attr = {.checked = true, .lowest = lowest, .bound = bound};
    return input(g, &attr, name, LT_I32, rank, shape);
}

lt_t lt_scalar(lt_graph *g, const char *name, double value)
{
    lti_leaf_attr attr = {.value = value};
    if (!*name || strlen(name) >= sizeof attr.name)
        return lti_graph_fail(g, LT_EINVAL, "a scalar's name has 1 to %zu characters", sizeof attr.name - 1);
    strcpy(attr.name, name);
    lti_value v;
    lti_value_set(&v, LT_F32, 0, NULL);
    return g->status != LT_OK ? lt_nil(g) : named_leaf(g, &lti_op_scalar, &attr, &v);
}

lt_t lt_constant(lt_graph *g, double value)
{
    lti_leaf_attr attr = {.value = value};
    return lti_emit_params(g, &lti_op_constant, 0, NULL, &attr, sizeof attr, 0, NULL);
}
