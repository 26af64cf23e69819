/* recipe.c - one recording function a phase, plans cached by (phase, batch, length).
 *
 * Lengths are padded to buckets, so a run compiles at most 16 plans a phase; all of them share one arena. */
#include "train/recipe.h"

#include <stdlib.h>
#include <string.h>

#define PLANS 48

lt_status lti_check_model(lt_ctx *ctx, const lt_model *model, bool to_train)
{
    if (lt_transformer_is_encoder(lt_model_config(model)))
        return lti_fail(ctx, LT_EINVAL, "%s is an encoder: it predicts no next token; this is for decoders",
                        lt_model_family(model));
    if (to_train && lt_model_frozen(model))
        return lti_fail(ctx, LT_EINVAL,
                        "a model opened frozen cannot be trained: its tensors stay in their file; open it with "
                        "lt_model_open");
    return LT_OK;
}

/* ---- Recording ---- */

static lt_t record_loss(const lti_recipe *r, lt_graph *g, lt_plan_key key, lt_t norm)
{
    const int64_t B = key.batch, T = key.length;
    const lt_transformer_config *c = lt_model_config(r->model);
    bool quantized = r->quant && key.phase != LTI_TRAIN_FLOAT;
    if (quantized) lt_qat_attach(g, r->quant);
    lt_model_input in = {.tokens = lt_index_input(g, "tokens", 2, (int64_t[]){B, T}, 0, (int32_t)c->vocab)};
    lt_t targets = lt_index_input(g, "targets", 2, (int64_t[]){B, T}, -1, (int32_t)c->vocab);
    if (r->spans) in.spans = lt_index_input(g, "spans", 3, (int64_t[]){B, T, 2}, 0, INT32_MAX);
    if (r->spans && lt_transformer_learns_positions(c))
        in.positions = lt_index_input(g, "positions", 2, (int64_t[]){B, T}, 0, (int32_t)c->context);
    return lt_model_loss(r->model, g, &in, targets, norm);
}

static int record(const lti_recipe *r, lt_graph *g, lt_plan_key key, lt_t results[2])
{
    if (key.phase == LTI_UPDATE) {
        lt_optimizer_apply(r->optimizer, g);
        results[0] = lt_tapped(g, "grad_norm");
        results[1] = lt_tapped(g, "update_ok");
        return 2;
    }
    if (key.phase == LTI_EVALUATE) {
        results[0] = record_loss(r, g, key, lt_constant(g, 1));
        return 1;
    }
    results[0] = record_loss(r, g, key, lt_scalar(g, "norm", 1));
    if (r->fused)
        lt_optimizer_fused(r->optimizer, g, results[0]);
    else
        lt_optimizer_accumulate(r->optimizer, g, results[0]);
    return 1;
}

static lt_status compile(lti_recipe *r, lt_plan_key key, const lt_compile_options *options, lt_plan **plan)
{
    lt_graph *g;
    LTI_TRY(lt_graph_create(r->ctx, lt_model_params(r->model), &g));
    lt_graph_seed(g, r->seed);
    lt_t results[2];
    int n = record(r, g, key, results);
    lt_status status = lt_compile(g, options, n, results, plan);
    lt_graph_free(g);
    return status;
}

static lt_status build(void *user, lt_plan_key key, lt_arena *arena, lt_plan **plan)
{
    lt_compile_options options;
    lt_compile_options_init(&options);
    options.arena = arena;
    return compile(user, key, &options, plan);
}

/* ---- Plans ---- */

lt_status lti_recipe_open(lti_recipe *r)
{
    return lt_plan_cache_create(r->ctx, PLANS, build, r, &r->plans);
}

static void free_batch(lti_recipe *r)
{
    int32_t **parts[] = {&r->tokens, &r->targets, &r->bounds, &r->positions};
    for (int i = 0; i < LTI_COUNT(parts); i++) {
        lti_free(r->ctx, *parts[i]);
        *parts[i] = NULL;
    }
    r->capacity = 0;
}

void lti_recipe_close(lti_recipe *r)
{
    lt_plan_cache_free(r->plans);
    r->plans = NULL;
    free_batch(r);
}

lt_status lti_recipe_reserve(lti_recipe *r, int64_t count)
{
    if (count <= r->capacity) return LT_OK;
    free_batch(r);
    size_t n = (size_t)count;
    r->tokens = lti_alloc_array(r->ctx, n, sizeof *r->tokens);
    r->targets = lti_alloc_array(r->ctx, n, sizeof *r->targets);
    if (!r->tokens || !r->targets) return LT_ENOMEM;
    if (r->spans) {
        r->bounds = lti_alloc_array(r->ctx, n, 2 * sizeof *r->bounds);
        r->positions = lti_alloc_array(r->ctx, n, sizeof *r->positions);
        if (!r->bounds || !r->positions) return LT_ENOMEM;
    }
    r->capacity = count;
    return LT_OK;
}

lt_status lti_recipe_bind(lti_recipe *r, lt_plan *plan, int64_t B, int64_t T)
{
    LTI_TRY(lt_bind(plan, "tokens", r->tokens));
    LTI_TRY(lt_bind(plan, "targets", r->targets));
    if (!r->spans) return LT_OK;
    LTI_TRY(lt_bind(plan, "spans", r->bounds));
    if (!lt_plan_has(plan, "positions")) return LT_OK;
    for (int64_t i = 0; i < B * T; i++) r->positions[i] = (int32_t)(i % T) - r->bounds[2 * i];
    return lt_bind(plan, "positions", r->positions);
}

lt_status lti_recipe_plan(lti_recipe *r, lti_phase phase, int64_t batch, int64_t length, lt_plan **plan)
{
    lt_plan_key key = {(int32_t)phase, (int32_t)batch, (int32_t)length};
    return lt_plan_cache_get(r->plans, key, plan);
}

lt_status lti_recipe_measure(lti_recipe *r, lti_phase phase, int64_t batch, int64_t length, size_t *bytes)
{
    lt_compile_options options;
    lt_compile_options_init(&options);
    options.measure = true;
    lt_plan *plan;
    LTI_TRY(compile(r, (lt_plan_key){(int32_t)phase, (int32_t)batch, (int32_t)length}, &options, &plan));
    *bytes = lt_plan_arena_bytes(plan);
    lt_plan_free(plan);
    return LT_OK;
}

/* ---- Evaluation: rows by falling length, so that a batch pads little ---- */

int64_t lti_eval_batch(const lt_dataset *data)
{
    int64_t longest = lt_dataset_longest(data);
    int64_t rows = 4096 / (longest > 0 ? longest : 1);
    return rows < 1 ? 1 : rows > 64 ? 64 : rows;
}

typedef struct row_length {
    int64_t row, length;
} row_length;

static int longer_first(const void *a, const void *b)
{
    const row_length *x = a, *y = b;
    if (x->length != y->length) return x->length < y->length ? 1 : -1;
    return x->row < y->row ? -1 : x->row > y->row;
}

/* Target of position t: the next id, when it is scored and of the same document. */
static int32_t target_at(const int32_t *ids, const uint8_t *scored, const int32_t *starts, int64_t t)
{
    if ((scored && !scored[t + 1]) || (starts && starts[t + 1] != starts[t])) return -1;
    return ids[t + 1];
}

/* Rows rows[0 .. n) as tokens and targets [n, T]; returns the scored positions. */
static int64_t fill_rows(lti_recipe *r, const lt_dataset *data, const row_length *rows, int64_t n, int64_t T)
{
    int64_t count = 0;
    memset(r->tokens, 0, (size_t)(n * T) * sizeof *r->tokens);
    for (int64_t i = 0; i < n * T; i++) r->targets[i] = -1;
    for (int64_t i = 0; r->spans && i < n * T; i++) {
        r->bounds[2 * i] = (int32_t)(i % T);
        r->bounds[2 * i + 1] = (int32_t)T;
    }
    for (int64_t b = 0; b < n; b++) {
        int64_t length;
        const int32_t *ids = lt_dataset_row(data, rows[b].row, &length);
        const uint8_t *scored = lt_dataset_row_scored(data, rows[b].row);
        const int32_t *starts = lt_dataset_row_starts(data, rows[b].row);
        memcpy(r->tokens + b * T, ids, (size_t)length * sizeof *ids);
        for (int64_t t = 0; t + 1 < length; t++) {
            int32_t target = target_at(ids, scored, starts, t);
            r->targets[b * T + t] = target;
            count += target >= 0;
        }
        for (int64_t t = 0; r->spans && t < length; t++) r->bounds[2 * (b * T + t)] = starts ? starts[t] : 0;
    }
    return count;
}

static lt_status evaluate_sorted(lti_recipe *r, const lt_dataset *data, int64_t batch, const row_length *rows,
                                 double *nll_sum, int64_t *scored)
{
    int64_t n = lt_dataset_rows(data), longest = lt_dataset_longest(data);
    for (int64_t i = 0; i < n; i += batch) {
        int64_t B = n - i < batch ? n - i : batch, T = lt_bucket(rows[i].length, longest);
        lt_plan *plan;
        LTI_TRY(lti_recipe_plan(r, LTI_EVALUATE, B, T, &plan));
        *scored += fill_rows(r, data, rows + i, B, T);
        LTI_TRY(lti_recipe_bind(r, plan, B, T));
        LTI_TRY(lt_run(plan));
        *nll_sum += (double)*(const lt_real *)lt_result(plan, 0);
    }
    return LT_OK;
}

lt_status lti_recipe_evaluate(lti_recipe *r, const lt_dataset *data, int64_t batch, double *nll_sum, int64_t *scored)
{
    *nll_sum = 0;
    *scored = 0;
    int64_t n = lt_dataset_rows(data);
    LTI_TRY(lti_recipe_reserve(r, batch * lt_dataset_longest(data)));
    row_length *rows = lti_alloc_array(r->ctx, (size_t)n + 1, sizeof *rows);
    if (!rows) return LT_ENOMEM;
    for (int64_t i = 0; i < n; i++) {
        rows[i].row = i;
        lt_dataset_row(data, i, &rows[i].length);
    }
    qsort(rows, (size_t)n, sizeof *rows, longer_first);
    lt_status status = evaluate_sorted(r, data, batch, rows, nll_sum, scored);
    lti_free(r->ctx, rows);
    return status;
}
