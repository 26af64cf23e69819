/* recipe.c - one recording function a phase, plans cached by (phase, batch, length).
 *
 * Lengths are padded to buckets, so a run compiles at most 16 plans a phase; all of them share one arena. */
#include "train/recipe.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PLANS 48

double lti_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- Recording ---- */

static lt_t record_loss(const lti_recipe *r, lt_graph *g, lt_plan_key key, lt_t norm)
{
    int64_t shape[] = {key.batch, key.length};
    int32_t vocab = (int32_t)lt_model_config(r->model)->vocab;
    bool quantized = r->quant && key.phase != LTI_TRAIN_FLOAT;
    if (quantized) lt_qat_attach(g, r->quant);
    lt_t tokens = lt_index_input(g, "tokens", 2, shape, 0, vocab);
    lt_t targets = lt_index_input(g, "targets", 2, shape, -1, vocab);
    return lt_model_loss(r->model, g, tokens, targets, norm);
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

void lti_recipe_close(lti_recipe *r)
{
    lt_plan_cache_free(r->plans);
    lti_free(r->ctx, r->tokens);
    lti_free(r->ctx, r->targets);
    r->plans = NULL;
    r->tokens = r->targets = NULL;
}

lt_status lti_recipe_reserve(lti_recipe *r, int64_t count)
{
    if (count <= r->capacity) return LT_OK;
    lti_free(r->ctx, r->tokens);
    lti_free(r->ctx, r->targets);
    r->capacity = 0;
    r->tokens = lti_alloc_array(r->ctx, (size_t)count, sizeof *r->tokens);
    r->targets = lti_alloc_array(r->ctx, (size_t)count, sizeof *r->targets);
    if (!r->tokens || !r->targets) return LT_ENOMEM;
    r->capacity = count;
    return LT_OK;
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

/* Rows rows[0 .. n) as tokens and targets [n, T]; returns the scored positions. */
static int64_t fill_rows(lti_recipe *r, const lt_dataset *data, const row_length *rows, int64_t n, int64_t T)
{
    int64_t scored = 0;
    memset(r->tokens, 0, (size_t)(n * T) * sizeof *r->tokens);
    for (int64_t i = 0; i < n * T; i++) r->targets[i] = -1;
    for (int64_t b = 0; b < n; b++) {
        int64_t length;
        const int32_t *ids = lt_dataset_row(data, rows[b].row, &length);
        memcpy(r->tokens + b * T, ids, (size_t)length * sizeof *ids);
        memcpy(r->targets + b * T, ids + 1, (size_t)(length - 1) * sizeof *ids);
        scored += length - 1;
    }
    return scored;
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
        LTI_TRY(lt_bind(plan, "tokens", r->tokens));
        LTI_TRY(lt_bind(plan, "targets", r->targets));
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
