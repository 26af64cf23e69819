/* recipe.c - one recording function a phase, plans cached by (phase, batch, length).
 *
 * Lengths are padded to buckets, so a run compiles at most 16 plans a phase; all of them share one arena. Evaluation
 * always computes in f32 and keeps nothing for a backward: its numbers mean the same whatever training does. */
#include "train/recipe.h"

#include <math.h>
#include <stdlib.h>

#define PLANS 48

lt_status lti_check_model(lt_ctx *ctx, const lt_model *model, const lt_dataset *data, bool to_train)
{
    LTI_TRY(lt_model_check_data(model, data));
    if (to_train && lt_model_frozen(model))
        return lti_fail(ctx, LT_EINVAL,
                        "a model opened frozen cannot be trained: its tensors stay in their file; open it with "
                        "lt_model_open");
    if (lt_dataset_packed(data) && !lt_model_is_transformer(model))
        return lti_fail(ctx, LT_EINVAL,
                        "this %s reads a row from its first position to its last: rows cannot be packed",
                        lt_model_family(model));
    return LT_OK;
}

/* ---- Recording ---- */

static int record_evaluation(const lti_recipe *r, lt_graph *g, lt_plan_key key, lt_t results[2])
{
    lt_t targets;
    lt_training(g, false);
    if (r->quant && key.phase != LTI_EVALUATE_FLOAT) lt_qat_attach(g, r->quant);
    if (r->cluster) lt_cluster_attach(g, r->cluster);
    lt_model_input in = lti_feed_record(&r->layout, g, key.batch, key.length, &targets);
    if (r->layout.kind == LT_DATA_TOKENS) {
        results[0] = lt_model_loss(r->model, g, &in, targets, lt_constant(g, 1));
        return 1;
    }
    results[1] = lt_model_logits(r->model, g, &in); /* [B, classes] */
    results[0] = lt_cross_entropy(results[1], targets, lt_constant(g, 1));
    return 2;
}

static lt_t record_loss(const lti_recipe *r, lt_graph *g, lt_plan_key key)
{
    lt_t targets;
    if (r->quant && key.phase != LTI_TRAIN_FLOAT) lt_qat_attach(g, r->quant);
    if (r->cluster) lt_cluster_attach(g, r->cluster);
    if (r->compute == LT_BF16) lt_compute(g, LT_BF16);
    lt_weight_copies(g, !r->fused);
    if (r->store == LT_BF16) lt_store_activations(g, LT_BF16);
    lt_model_input in = lti_feed_record(&r->layout, g, key.batch, key.length, &targets);
    return lt_model_loss_smooth(r->model, g, &in, targets, lt_scalar(g, "norm", 1), r->smoothing);
}

static int record(const lti_recipe *r, lt_graph *g, lt_plan_key key, lt_t results[2])
{
    if (key.phase == LTI_EVALUATE || key.phase == LTI_EVALUATE_FLOAT) return record_evaluation(r, g, key, results);
    if (key.phase == LTI_UPDATE) {
        lt_optimizer_apply(r->optimizer, g);
        lt_phase(g, 1);
        if (r->quant) lt_qat_after_update(g, r->quant);
        if (r->cluster) lt_cluster_after_update(g, r->cluster);
        lt_phase(g, 0);
        results[0] = lt_tapped(g, "grad_norm");
        results[1] = lt_tapped(g, "update_ok");
        return 2;
    }
    results[0] = record_loss(r, g, key);
    if (r->fused)
        lt_optimizer_fused(r->optimizer, g, results[0]);
    else
        lt_optimizer_accumulate(r->optimizer, g, results[0]);
    if (r->fused && r->quant && key.phase == LTI_TRAIN) lt_qat_after_update(g, r->quant);
    if (r->fused && r->cluster) lt_cluster_after_update(g, r->cluster);
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
    r->feed = (lti_feed){.ctx = r->ctx, .layout = r->layout};
    return lt_plan_cache_create(r->ctx, PLANS, build, r, &r->plans);
}

void lti_recipe_close(lti_recipe *r)
{
    lt_plan_cache_free(r->plans);
    r->plans = NULL;
    lti_feed_free(&r->feed);
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
    const int64_t most = lt_dataset_kind_of(data) == LT_DATA_NUMBERS ? 256 : 64;
    int64_t longest = lt_dataset_longest(data), rows = 4096 / (longest > 0 ? longest : 1);
    return rows < 1 ? 1 : rows > most ? most : rows;
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

/* The rows by falling length. */
static lt_status sort_rows(lt_ctx *ctx, const lt_dataset *data, int64_t **order)
{
    int64_t n = lt_dataset_rows(data);
    row_length *rows = lti_alloc_array(ctx, (size_t)n + 1, sizeof *rows);
    *order = rows ? lti_alloc_array(ctx, (size_t)n + 1, sizeof **order) : NULL;
    if (*order) {
        for (int64_t i = 0; i < n; i++) {
            rows[i].row = i;
            lt_dataset_row(data, i, &rows[i].length);
        }
        qsort(rows, (size_t)n, sizeof *rows, longer_first);
        for (int64_t i = 0; i < n; i++) (*order)[i] = rows[i].row;
    }
    lti_free(ctx, rows);
    return *order ? LT_OK : LT_ENOMEM;
}

static int64_t count_right(const lti_feed *feed, int64_t B, const lt_real *logits)
{
    int64_t right = 0, classes = feed->layout.classes;
    for (int64_t b = 0; b < B; b++) {
        const lt_real *z = logits + b * classes;
        int64_t best = 0;
        for (int64_t c = 1; c < classes; c++)
            if (z[c] > z[best]) best = c;
        right += best == feed->targets[b];
    }
    return right;
}

static lt_status evaluate_sorted(lti_recipe *r, lti_phase phase, const lt_dataset *data, int64_t batch,
                                 const int64_t *order, lti_scores *scores)
{
    int64_t n = lt_dataset_rows(data), longest = lt_dataset_longest(data);
    for (int64_t i = 0; i < n; i += batch) {
        int64_t B = n - i < batch ? n - i : batch, length;
        lt_plan *plan;
        lt_dataset_row(data, order[i], &length);
        int64_t T = lt_bucket(length, longest);
        LTI_TRY(lti_recipe_plan(r, phase, B, T, &plan));
        lti_feed_fill(&r->feed, data, B, order + i, B, T);
        LTI_TRY(lti_feed_bind(&r->feed, plan));
        LTI_TRY(lt_run(plan));
        scores->nll_sum += (double)*(const lt_real *)lt_result(plan, 0);
        scores->scored += lti_feed_targets(&r->feed, B, T);
        if (r->layout.kind != LT_DATA_TOKENS) scores->right += count_right(&r->feed, B, lt_result(plan, 1));
    }
    return LT_OK;
}

lt_status lti_recipe_evaluate(lti_recipe *r, lti_phase phase, const lt_dataset *data, int64_t batch, lti_scores *scores)
{
    *scores = (lti_scores){0};
    LTI_TRY(lti_feed_reserve(&r->feed, batch, lt_dataset_longest(data)));
    int64_t *order;
    LTI_TRY(sort_rows(r->ctx, data, &order));
    lt_status status = evaluate_sorted(r, phase, data, batch, order, scores);
    lti_free(r->ctx, order);
    return status;
}

double lti_accuracy(const lti_recipe *r, const lti_scores *scores)
{
    if (r->layout.kind == LT_DATA_TOKENS || scores->scored == 0) return NAN;
    return (double)scores->right / (double)scores->scored;
}
