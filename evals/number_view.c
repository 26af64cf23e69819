/* number_view.c - classification of rows of numbers: images, vectors, series.
 *
 * There is no text to perturb or to slice, so the view is made from the data set itself: one batch of a fixed size at a
 * time, the last one filled up, through one plan a model. */
#include "base/clock.h"
#include "evals/eval.h"
#include "kernels/kernels.h"
#include "lathe/plan.h"
#include "qat/policy.h"
#include "train/recipe.h"

enum { BATCH = 64 };

/* One of the two models at work. */
typedef struct side {
    lt_plan *plan;
    const lt_real *logits; /* [batch, classes] */
} side;

static lt_status make_plan(lti_eval *e, lt_model *model, const lt_quant_policy *quant, const lt_dataset *data,
                           int64_t batch, side *s)
{
    int64_t shape[LT_MAX_RANK + 1] = {batch};
    int rank = lt_dataset_row_shape(data, shape + 1);
    lt_graph *g;
    LTI_TRY(lt_graph_create(e->ctx, lt_model_params(model), &g));
    lt_training(g, false);
    if (quant) lt_qat_attach(g, quant);
    lt_t x = lt_input(g, "x", LT_F32, rank + 1, shape);
    lt_t logits = lt_model_logits(model, g, &(lt_model_input){.x = x}); /* [batch, classes] */
    lt_status status = lt_compile(g, NULL, 1, &logits, &s->plan);
    lt_graph_free(g);
    return status;
}

static lt_status run(lti_eval *e, side *s, const lt_real *x, int64_t count)
{
    LTI_TRY(lt_bind(s->plan, "x", x));
    LTI_TRY(lt_run(s->plan));
    s->logits = lt_result(s->plan, 0);
    if (lti_k()->all_finite(count, s->logits)) return LT_OK;
    return lti_fail(e->ctx, LT_ENONFINITE, "the class scores are not finite: the model's weights are broken");
}

/* The batch that was chosen last, as items from `at` on. */
static lt_status score_batch(lti_eval *e, lti_view *view, side sides[2], const lt_batches *batches, int64_t B,
                             lt_real *x, int32_t *classes, int64_t at)
{
    int64_t n = lt_model_classes(e->o->model);
    double start = lti_seconds();
    LTI_TRY(lt_batches_fill_numbers(batches, B, x, classes));
    for (int k = 0; k < 2 && sides[k].plan; k++) LTI_TRY(run(e, &sides[k], x, B * n));
    e->seconds += lti_seconds() - start;
    for (int64_t i = 0; i < B && at + i < view->count; i++) {
        lti_item *item = &view->items[at + i];
        *item = (lti_item){.slice = -1, .gold = classes[i], .tokens = 1, .compared = 1};
        lti_class_item(item, n, sides[0].logits + i * n, sides[1].plan ? sides[1].logits + i * n : NULL);
    }
    return LT_OK;
}

static lt_status score_all(lti_eval *e, lti_view *view, side sides[2], lt_batches *batches, int64_t B, lt_real *x,
                           int32_t *classes)
{
    for (int64_t at = 0; at < view->count; at += B) {
        lt_batch batch;
        if (e->o->on_progress) e->o->on_progress(e->o->user, e->what, at, view->count);
        if (e->o->stop && *e->o->stop) return lti_fail(e->ctx, LT_EINTERRUPTED, "interrupted; nothing was written");
        LTI_TRY(lt_batches_next(batches, &batch));
        LTI_TRY(score_batch(e, view, sides, batches, B, x, classes, at));
    }
    if (e->o->on_progress) e->o->on_progress(e->o->user, e->what, view->count, view->count);
    return LT_OK;
}

static lt_status run_rows(lti_eval *e, const lt_dataset *data, lti_view *view)
{
    int64_t B = e->o->batch_size ? e->o->batch_size : BATCH, shape[LT_MAX_RANK], numbers = 1;
    if (B > view->count) B = view->count;
    for (int rank = lt_dataset_row_shape(data, shape), k = 0; k < rank; k++) numbers *= shape[k];
    side sides[2] = {{NULL, NULL}, {NULL, NULL}};
    lt_batches *batches = NULL;
    lt_real *x = lti_alloc_array(e->ctx, (size_t)(B * numbers), sizeof *x);
    int32_t *classes = lti_alloc_array(e->ctx, (size_t)B, sizeof *classes);
    lt_status status = x && classes ? lt_batches_create(e->ctx, data, NULL, B, 0, false, &batches) : LT_ENOMEM;
    if (status == LT_OK) status = make_plan(e, e->o->model, e->o->quant, data, B, &sides[0]);
    if (status == LT_OK && e->o->reference) status = make_plan(e, e->o->reference, NULL, data, B, &sides[1]);
    if (status == LT_OK) status = score_all(e, view, sides, batches, B, x, classes);
    for (int k = 0; k < 2; k++) lt_plan_free(sides[k].plan);
    lt_batches_free(batches);
    lti_free(e->ctx, x);
    lti_free(e->ctx, classes);
    return status;
}

static lt_status fill_view(lti_eval *e, const lt_dataset *data, lti_view *view)
{
    const lt_eval_options *o = e->o;
    int64_t rows = lt_dataset_rows(data);
    LTI_TRY(lti_quant_check(e->ctx, o->quant));
    LTI_TRY(lt_model_check_data(o->model, data));
    if (o->reference) LTI_TRY(lt_model_check_data(o->reference, data));
    if (o->reference && lt_model_classes(o->reference) != lt_model_classes(o->model))
        return lti_fail(e->ctx, LT_EINVAL, "the reference has %lld classes and the model %lld: they cannot be compared",
                        (long long)lt_model_classes(o->reference), (long long)lt_model_classes(o->model));
    LTI_TRY(lti_view_items(view, o->limit && o->limit < rows ? o->limit : rows));
    LTI_TRY(lti_class_labels(e, view));
    view->answers = view->classes = true;
    view->tokens = view->count;
    return run_rows(e, data, view);
}

lt_status lti_view_numbers(lti_eval *e, lti_view *view)
{
    lt_dataset *data;
    e->seconds = 0;
    LTI_TRY(lt_dataset_open_numbers(e->ctx, e->o->data, &e->o->rows, &data));
    lt_status status = fill_view(e, data, view);
    lt_dataset_free(data);
    view->seconds = e->seconds;
    return status;
}
