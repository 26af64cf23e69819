/* set_pack.c - whole rows behind one another in one window.
 *
 * First fit in order: a row goes into the first window that has room for it, a new one when none has. Nothing is cut,
 * and equal data are packed alike. The first window with room is found in a tree of the largest room among its leaves,
 * O(log n) a row. Best fit or sorting by length would fill a percent or two more, and mix rows from everywhere.
 *
 * Each document remembers where it begins, so that attention can keep to it, and its first id is not predicted: the
 * document before does not lead to it. */
#include "data/sets/set_rows.h"

#include <string.h>

typedef struct packing {
    int64_t leaves;  /* a power of two */
    int32_t *room;   /* [2 * leaves]: node i has children 2i and 2i + 1 */
    int64_t *window; /* [rows] where each row goes */
    int64_t windows;
    uint8_t *scored; /* the new blocks */
    int32_t *starts;
    lt_ids ids;
    lti_set_row *rows; /* [windows] */
} packing;

/* The first window with room for `length`; it gets that much smaller. */
static int64_t place(packing *p, int32_t length)
{
    int64_t node = 1;
    while (node < p->leaves) node = p->room[2 * node] >= length ? 2 * node : 2 * node + 1;
    int64_t window = node - p->leaves;
    p->room[node] -= length;
    for (node /= 2; node >= 1; node /= 2)
        p->room[node] = p->room[2 * node] > p->room[2 * node + 1] ? p->room[2 * node] : p->room[2 * node + 1];
    return window;
}

static lt_status choose(const lt_dataset *set, packing *p, int64_t positions)
{
    for (p->leaves = 1; p->leaves < set->row_count;) p->leaves *= 2;
    p->room = lti_alloc_array(set->ctx, (size_t)p->leaves * 2, sizeof *p->room);
    p->window = lti_alloc_array(set->ctx, (size_t)set->row_count, sizeof *p->window);
    if (!p->room || !p->window) return LT_ENOMEM;
    for (int64_t i = 1; i < 2 * p->leaves; i++) p->room[i] = (int32_t)positions;
    for (int64_t i = 0; i < set->row_count; i++) {
        p->window[i] = place(p, (int32_t)set->rows[i].length);
        if (p->window[i] >= p->windows) p->windows = p->window[i] + 1;
    }
    return LT_OK;
}

/* Lengths and beginnings of the windows. */
static lt_status lay_out(const lt_dataset *set, packing *p)
{
    p->rows = lti_alloc_array(set->ctx, (size_t)p->windows, sizeof *p->rows);
    if (!p->rows) return LT_ENOMEM;
    for (int64_t i = 0; i < set->row_count; i++) {
        lti_set_row *row = &p->rows[p->window[i]];
        row->several = row->length > 0;
        if (!row->several) row->document = set->rows[i].document;
        row->length += set->rows[i].length;
    }
    for (int64_t w = 1; w < p->windows; w++) p->rows[w].begin = p->rows[w - 1].begin + p->rows[w - 1].length;
    return LT_OK;
}

/* Rows go to their windows in order; room[w] now counts what window w holds. */
static lt_status copy(const lt_dataset *set, packing *p)
{
    size_t n = (size_t)set->ids.count;
    p->ids = (lt_ids){lti_alloc_array(set->ctx, n, sizeof(int32_t)), set->ids.count, set->ids.count};
    p->scored = lti_alloc(set->ctx, n);
    p->starts = lti_alloc_array(set->ctx, n, sizeof *p->starts);
    if (!p->ids.ids || !p->scored || !p->starts) return LT_ENOMEM;
    memset(p->room, 0, (size_t)p->windows * sizeof *p->room);
    for (int64_t i = 0; i < set->row_count; i++) {
        const lti_set_row *from = &set->rows[i];
        int32_t *held = &p->room[p->window[i]];
        int64_t at = p->rows[p->window[i]].begin + *held;
        memcpy(p->ids.ids + at, set->ids.ids + from->begin, (size_t)from->length * sizeof(int32_t));
        for (int64_t t = 0; t < from->length; t++) {
            p->scored[at + t] = set->scored ? set->scored[from->begin + t] : t > 0;
            p->starts[at + t] = *held;
        }
        *held += (int32_t)from->length;
    }
    return LT_OK;
}

static void drop(lt_ctx *ctx, packing *p)
{
    lti_free(ctx, p->room);
    lti_free(ctx, p->window);
    lti_free(ctx, p->rows);
    lti_free(ctx, p->scored);
    lti_free(ctx, p->starts);
    lt_ids_free(ctx, &p->ids);
}

#define SWAP(type, a, b)                                                                                               \
    do {                                                                                                               \
        type swapped = (a);                                                                                            \
        (a) = (b);                                                                                                     \
        (b) = swapped;                                                                                                 \
    } while (0)

lt_status lti_set_pack(lt_dataset *set, int64_t positions)
{
    packing p = {.leaves = 1};
    lt_status status = choose(set, &p, positions);
    bool together = p.windows < set->row_count;
    if (status == LT_OK && together) status = lay_out(set, &p);
    if (status == LT_OK && together) status = copy(set, &p);
    if (status == LT_OK && together) {
        SWAP(lt_ids, set->ids, p.ids);
        SWAP(uint8_t *, set->scored, p.scored);
        SWAP(lti_set_row *, set->rows, p.rows);
        SWAP(int32_t *, set->starts, p.starts);
        set->row_count = set->row_room = p.windows;
        set->scored_room = set->ids.count;
    }
    drop(set->ctx, &p);
    return status;
}
