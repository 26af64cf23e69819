/* feed.c - see feed.h. What is recorded, filled and bound stands in one file, since the three must agree by name. */
#include "train/feed.h"

#include "data/sets/fill_rows.h"

#include <string.h>

lti_row_layout lti_row_layout_of(const lt_model *model, const lt_dataset *data, const lt_dataset *other)
{
    const lt_transformer_config *c = lt_model_config(model);
    bool packed = lt_dataset_packed(data) || (other && lt_dataset_packed(other));
    lti_row_layout l = {.kind = lt_dataset_kind_of(data),
                        .vocab = lt_model_vocab(model),
                        .context = lt_model_context(model),
                        .classes = lt_model_classes(model),
                        .d = 1};
    l.spans = packed || (l.kind == LT_DATA_LABELLED && c);
    l.positions = packed && c && lt_transformer_learns_positions(c);
    l.last = l.kind == LT_DATA_LABELLED && !c;
    l.rank = lt_dataset_row_shape(data, l.shape);
    for (int i = 0; i < l.rank; i++) l.d *= l.shape[i];
    return l;
}

/* ---- Room ---- */

/* Elements of each array. */
typedef struct sizes {
    int64_t tokens, targets, bounds, positions, last, x;
} sizes;

static sizes sizes_of(const lti_row_layout *l, int64_t rows, int64_t cells)
{
    bool numbers = l->kind == LT_DATA_NUMBERS, tokens = l->kind == LT_DATA_TOKENS;
    return (sizes){.tokens = numbers ? 0 : cells,
                   .targets = tokens ? cells : rows,
                   .bounds = l->spans ? 2 * cells : 0,
                   .positions = l->positions ? cells : 0,
                   .last = numbers || tokens ? 0 : rows, /* filled with the tokens, read or not */
                   .x = numbers ? rows * l->d : 0};
}

size_t lti_feed_bytes(const lti_row_layout *l, int64_t B, int64_t T)
{
    sizes n = sizes_of(l, B, B * T);
    return (size_t)(n.tokens + n.targets + n.bounds + n.positions + n.last) * sizeof(int32_t) +
           (size_t)n.x * sizeof(lt_real);
}

void lti_feed_free(lti_feed *f)
{
    int32_t **parts[] = {&f->tokens, &f->targets, &f->bounds, &f->positions, &f->last};
    for (int i = 0; i < LTI_COUNT(parts); i++) {
        lti_free(f->ctx, *parts[i]);
        *parts[i] = NULL;
    }
    lti_free(f->ctx, f->x);
    f->x = NULL;
    f->rows = f->cells = 0;
}

lt_status lti_feed_reserve(lti_feed *f, int64_t B, int64_t T)
{
    if (B <= f->rows && B * T <= f->cells) return LT_OK;
    int64_t rows = B > f->rows ? B : f->rows, cells = B * T > f->cells ? B * T : f->cells;
    lti_feed_free(f);
    sizes n = sizes_of(&f->layout, rows, cells);
    const struct {
        int32_t **to;
        int64_t count;
    } parts[] = {{&f->tokens, n.tokens},
                 {&f->targets, n.targets},
                 {&f->bounds, n.bounds},
                 {&f->positions, n.positions},
                 {&f->last, n.last}};
    for (int i = 0; i < LTI_COUNT(parts); i++) {
        if (parts[i].count == 0) continue;
        *parts[i].to = lti_alloc_array(f->ctx, (size_t)parts[i].count, sizeof **parts[i].to);
        if (!*parts[i].to) return LT_ENOMEM;
    }
    if (n.x && !(f->x = lti_alloc_array(f->ctx, (size_t)n.x, sizeof *f->x))) return LT_ENOMEM;
    f->rows = rows;
    f->cells = cells;
    return LT_OK;
}

/* ---- Filling, recording, binding ---- */

void lti_feed_fill(lti_feed *f, const lt_dataset *data, int64_t n, const int64_t *rows, int64_t B, int64_t T)
{
    if (f->layout.kind == LT_DATA_NUMBERS)
        lti_fill_numbers(data, n, rows, B, f->x, f->targets);
    else if (f->layout.kind == LT_DATA_LABELLED)
        lti_fill_labelled(data, n, rows, B, T, f->tokens, f->targets, f->last);
    else
        lti_fill_tokens(data, n, rows, B, T, f->tokens, f->targets);
    if (f->layout.spans) lti_fill_spans(data, n, rows, B, T, f->bounds);
    for (int64_t i = 0; f->layout.positions && i < B * T; i++) f->positions[i] = (int32_t)(i % T) - f->bounds[2 * i];
}

int64_t lti_feed_targets(const lti_feed *f, int64_t B, int64_t T)
{
    int64_t count = 0, n = f->layout.kind == LT_DATA_TOKENS ? B * T : B;
    for (int64_t i = 0; i < n; i++) count += f->targets[i] >= 0;
    return count;
}

lt_model_input lti_feed_record(const lti_row_layout *l, lt_graph *g, int64_t B, int64_t T, lt_t *targets)
{
    bool tokens = l->kind == LT_DATA_TOKENS;
    lt_model_input in = {.x = lt_nil(g)};
    if (l->kind == LT_DATA_NUMBERS) {
        int64_t shape[LT_MAX_RANK] = {B};
        for (int i = 0; i < l->rank; i++) shape[i + 1] = l->shape[i];
        in.x = lt_input(g, "x", LT_F32, l->rank + 1, shape);
    } else {
        in.tokens = lt_index_input(g, "tokens", 2, (int64_t[]){B, T}, 0, (int32_t)l->vocab);
    }
    *targets =
        lt_index_input(g, "targets", tokens ? 2 : 1, (int64_t[]){B, T}, -1, (int32_t)(tokens ? l->vocab : l->classes));
    if (l->spans) in.spans = lt_index_input(g, "spans", 3, (int64_t[]){B, T, 2}, 0, INT32_MAX);
    if (l->positions) in.positions = lt_index_input(g, "positions", 2, (int64_t[]){B, T}, 0, (int32_t)l->context);
    if (l->last) in.last = lt_index_input(g, "last", 1, (int64_t[]){B}, 0, (int32_t)(B * T));
    return in;
}

lt_status lti_feed_bind(const lti_feed *f, lt_plan *plan)
{
    const lti_row_layout *l = &f->layout;
    const struct {
        const char *name;
        const void *data;
        bool there;
    } parts[] = {{"tokens", f->tokens, l->kind != LT_DATA_NUMBERS},
                 {"x", f->x, l->kind == LT_DATA_NUMBERS},
                 {"targets", f->targets, true},
                 {"spans", f->bounds, l->spans},
                 {"positions", f->positions, l->positions},
                 {"last", f->last, l->last}};
    for (int i = 0; i < LTI_COUNT(parts); i++)
        if (parts[i].there && lt_plan_has(plan, parts[i].name)) LTI_TRY(lt_bind(plan, parts[i].name, parts[i].data));
    return LT_OK;
}
