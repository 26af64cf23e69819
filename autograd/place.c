/* place.c - an offset in one arena for every value: live intervals, largest first (Pisarchyk and Lee, 2020,
 * "greedy by size").
 *
 * A value may take over the place of an input that dies where it is made, when the op allows that; then the two are
 * one buffer with a longer life. Views share their source's buffer. Scratch lives for one step. */
#include "autograd/compile.h"

#include <stdlib.h>
#include <string.h>

static size_t value_bytes(const lti_value *v)
{
    size_t bytes = 0;
    lti_dtype_size(v->type, lti_value_count(v), &bytes);
    return (bytes + 63) / 64 * 64;
}

static uint32_t *buffer_of(lti_compiler *c, lti_ref r)
{
    return &c->buffer[c->slot[r.node] + r.output];
}

/* Position of the last reader of each buffer's first owner; results live to the end. Indexed by slot. */
static void last_reads(const lti_compiler *c, uint32_t *last)
{
    memset(last, 0, (c->n_slots + 1u) * sizeof *last);
    for (uint32_t t = 0; t < c->n_order; t++) {
        const lti_node *n = &c->node[c->order[t]];
        for (int k = 0; k < n->n_in; k++) {
            lti_ref r = lti_root(c->node, n->in[k]);
            last[c->slot[r.node] + r.output] = t;
        }
    }
    for (int i = 0; i < c->n_results; i++) {
        lti_ref r = lti_root(c->node, c->result[i]);
        last[c->slot[r.node] + r.output] = c->n_order;
    }
}

static uint32_t new_buffer(lti_compiler *c, size_t bytes, uint32_t first, uint32_t last, bool scratch)
{
    c->buffers[c->n_buffers] = (lti_buffer){.bytes = bytes, .first = first, .last = last, .scratch = scratch};
    return c->n_buffers++;
}

/* The buffer of an input of n that output k may take over at position t, or LTI_NONE. */
static uint32_t takeover(lti_compiler *c, const lti_node *n, int k, uint32_t t)
{
    unsigned allowed = n->op->in_place[k];
    for (int j = 0; j < n->n_in; j++) {
        if (!(allowed >> j & 1)) continue;
        uint32_t b = *buffer_of(c, lti_root(c->node, n->in[j]));
        if (b == LTI_NONE || c->buffers[b].last != t) continue;
        const lti_value *in = &c->node[n->in[j].node].out[n->in[j].output];
        if (in->type != n->out[k].type || value_bytes(in) != c->buffers[b].bytes ||
            lti_value_count(in) != lti_value_count(&n->out[k]))
            continue;
        bool alone = true; /* no input that must stay whole lies there (another output that took it moved `last`) */
        for (int i = 0; i < n->n_in; i++)
            if (!(allowed >> i & 1) && *buffer_of(c, lti_root(c->node, n->in[i])) == b) alone = false;
        if (alone) return b;
    }
    return LTI_NONE;
}

static void buffers_of_node(lti_compiler *c, uint32_t index, uint32_t t, const uint32_t *last)
{
    const lti_node *n = &c->node[index];
    if (n->op->flags & LTI_LEAF) return;
    for (int k = 0; k < n->op->n_out; k++) {
        uint32_t slot = c->slot[index] + (uint32_t)k;
        if (k == 0 && n->op->flags & (LTI_EFFECT | LTI_VIEW)) {
            if (n->op->flags & LTI_VIEW) c->buffer[slot] = *buffer_of(c, lti_root(c->node, n->in[0]));
            continue;
        }
        if (c->readers[slot] == 0) continue;
        uint32_t end = last[slot] > t ? last[slot] : t;
        uint32_t b = c->options.no_reuse ? LTI_NONE : takeover(c, n, k, t);
        if (b != LTI_NONE)
            c->buffers[b].last = end;
        else
            b = new_buffer(c, value_bytes(&n->out[k]), t, end, false);
        c->buffer[slot] = b;
    }
}

/* ---- Offsets ---- */

static int larger_first(const void *a, const void *b)
{
    const lti_buffer *x = *(lti_buffer *const *)a, *y = *(lti_buffer *const *)b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return x < y ? -1 : x > y;
}

/* The lowest gap that fits b among the buffers already placed (sorted by offset) that live at the same time. */
static size_t lowest_gap(lti_buffer **placed, uint32_t n, const lti_buffer *b, bool no_reuse)
{
    size_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        const lti_buffer *p = placed[i];
        if (!no_reuse && (p->last < b->first || p->first > b->last)) continue;
        if (p->offset >= at + b->bytes) break;
        if (p->offset + p->bytes > at) at = p->offset + p->bytes;
    }
    return at;
}

static void insert_sorted(lti_buffer **placed, uint32_t n, lti_buffer *b)
{
    uint32_t i = n;
    for (; i > 0 && placed[i - 1]->offset > b->offset; i--) placed[i] = placed[i - 1];
    placed[i] = b;
}

static lt_status assign_offsets(lti_compiler *c)
{
    lti_buffer **sorted = lti_alloc_array(c->ctx, 2 * (c->n_buffers + 1u), sizeof *sorted);
    if (!sorted) return LT_ENOMEM;
    lti_buffer **placed = sorted + c->n_buffers;
    for (uint32_t i = 0; i < c->n_buffers; i++) sorted[i] = &c->buffers[i];
    qsort(sorted, c->n_buffers, sizeof *sorted, larger_first);
    for (uint32_t i = 0; i < c->n_buffers; i++) {
        lti_buffer *b = sorted[i];
        b->offset = lowest_gap(placed, i, b, c->options.no_reuse);
        insert_sorted(placed, i, b);
        if (b->offset + b->bytes > c->arena_bytes) c->arena_bytes = b->offset + b->bytes;
    }
    lti_free(c->ctx, sorted);
    return LT_OK;
}

/* Largest sum of bytes alive at one position: what no planner can go below. */
static lt_status measure_live(lti_compiler *c)
{
    size_t *change = lti_alloc_array(c->ctx, c->n_order + 2u, sizeof *change); /* wraps below 0 and back */
    if (!change) return LT_ENOMEM;
    for (uint32_t i = 0; i < c->n_buffers; i++) {
        change[c->buffers[i].first] += c->buffers[i].bytes;
        uint32_t end = c->buffers[i].last < c->n_order ? c->buffers[i].last + 1 : c->n_order + 1;
        change[end] -= c->buffers[i].bytes;
    }
    size_t now = 0;
    for (uint32_t t = 0; t <= c->n_order; t++) {
        now += change[t];
        if (now > c->live_bytes) c->live_bytes = now;
    }
    lti_free(c->ctx, change);
    return LT_OK;
}

lt_status lti_place(lti_compiler *c, const size_t *scratch, uint32_t *scratch_buffer)
{
    uint32_t *last = lti_alloc_array(c->ctx, c->n_slots + 1u, sizeof *last);
    c->buffers = lti_alloc_array(c->ctx, c->n_slots + c->n_order + 1u, sizeof *c->buffers);
    if (!last || !c->buffers) {
        lti_free(c->ctx, last);
        return LT_ENOMEM;
    }
    last_reads(c, last);
    for (uint32_t i = 0; i < c->n_slots; i++) c->buffer[i] = LTI_NONE;
    for (uint32_t t = 0; t < c->n_order; t++) {
        buffers_of_node(c, c->order[t], t, last);
        scratch_buffer[t] = scratch[t] ? new_buffer(c, (scratch[t] + 63) / 64 * 64, t, t, true) : LTI_NONE;
    }
    lti_free(c->ctx, last);
    LTI_TRY(assign_offsets(c));
    return measure_live(c);
}
