/* summary.c - from items to metrics, their intervals, and the same by slice. */
#include "evals/bootstrap.h"
#include "evals/eval.h"

#include <math.h>
#include <stdlib.h>

void lti_put(lti_eval *e, json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value)) e->lost = true;
}

json_t *lti_real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

/* ---- Columns of the items at hand; [0] the model's, [1] the reference's ---- */

typedef struct columns {
    int64_t n;
    double *block, *tokens, *nll[2], *right[2], *norm[2];
    double divergence, compared, agreed, flipped;
} columns;

static lt_status collect(lti_eval *e, const lti_view *view, int32_t slice, columns *c)
{
    size_t room = (size_t)view->count + 1;
    *c = (columns){.block = lti_alloc_array(e->ctx, room, 7 * sizeof(double))};
    if (!c->block) return LT_ENOMEM;
    c->tokens = c->block;
    for (int w = 0; w < 2; w++) {
        c->nll[w] = c->block + room * (size_t)(1 + w);
        c->right[w] = c->block + room * (size_t)(3 + w);
        c->norm[w] = c->block + room * (size_t)(5 + w);
    }
    for (int64_t i = 0; i < view->count; i++) {
        const lti_item *item = &view->items[i];
        if (slice >= 0 && item->slice != slice) continue;
        c->tokens[c->n] = (double)item->tokens;
        for (int w = 0; w < 2; w++) {
            c->nll[w][c->n] = item->nll[w];
            c->right[w][c->n] = item->right[w];
            c->norm[w][c->n] = item->right_norm[w];
        }
        c->n++;
        c->divergence += item->divergence;
        c->compared += (double)item->compared;
        c->agreed += (double)item->agreed;
        c->flipped += item->answer[0] != item->answer[1];
    }
    return LT_OK;
}

/* The metrics that are quotients of sums. */
typedef struct metric {
    const char *key;
    lti_ratio ratios[2];
} metric;

static int list_metrics(const lti_view *view, const columns *c, metric metrics[3])
{
    int n = 0;
    metrics[n++] = (metric){"perplexity", {{c->nll[0], c->tokens, true}, {c->nll[1], c->tokens, true}}};
    if (view->answers) metrics[n++] = (metric){"accuracy", {{c->right[0]}, {c->right[1]}}};
    if (view->normed) metrics[n++] = (metric){"accuracy_norm", {{c->norm[0]}, {c->norm[1]}}};
    return n;
}

/* ---- Numbers ---- */

static lt_status put_f1(lti_eval *e, const lti_view *view, int which, int32_t slice, json_t *into)
{
    if (!view->classes) return LT_OK;
    int64_t *counts = lti_alloc_array(e->ctx, (size_t)lti_view_labels(view)->count, 3 * sizeof *counts);
    if (!counts) return LT_ENOMEM;
    lti_put(e, into, "macro_f1", lti_real(lti_macro_f1(view, which, slice, counts)));
    lti_free(e->ctx, counts);
    return LT_OK;
}

static lt_status put_metrics(lti_eval *e, const lti_view *view, const columns *c, int which, int32_t slice,
                             json_t *into)
{
    metric metrics[3];
    int n = list_metrics(view, c, metrics);
    for (int i = 0; i < n; i++) {
        lti_put(e, into, metrics[i].key, lti_real(lti_ratio_of(c->n, &metrics[i].ratios[which])));
        if (i == 0)
            lti_put(e, into, "nll", lti_real(lti_ratio_of(c->n, &(lti_ratio){c->nll[which], c->tokens, false})));
    }
    return put_f1(e, view, which, slice, into);
}

static json_t *interval_json(const double interval[2])
{
    json_t *list = json_array();
    if (json_array_append_new(list, lti_real(interval[0])) || json_array_append_new(list, lti_real(interval[1]))) {
        json_decref(list);
        return NULL;
    }
    return list;
}

static lt_status put_intervals(lti_eval *e, const lti_view *view, const columns *c, json_t *into)
{
    if (e->o->resamples == 0) return LT_OK;
    json_t *own = json_object(), *difference = e->o->reference ? json_object() : NULL;
    metric metrics[3];
    int n = list_metrics(view, c, metrics);
    lt_status status = LT_OK;
    for (int i = 0; i < 2 * n && status == LT_OK; i++) {
        const metric *m = &metrics[i / 2];
        bool paired = i % 2;
        double interval[2];
        if (paired && !difference) continue;
        status = lti_bootstrap(e->ctx, c->n, &m->ratios[0], paired ? &m->ratios[1] : NULL, e->o->resamples, e->o->seed,
                               interval);
        if (status == LT_OK) lti_put(e, paired ? difference : own, m->key, interval_json(interval));
    }
    if (difference) lti_put(e, own, "difference", difference);
    lti_put(e, into, "intervals", own);
    return status;
}

static lt_status put_comparison(lti_eval *e, const lti_view *view, const columns *c, int32_t slice, json_t *into)
{
    lti_put(e, into, "kl", lti_real(c->divergence / c->compared));
    lti_put(e, into, "top1_agreement", lti_real(c->agreed / c->compared));
    if (view->answers) lti_put(e, into, "flipped", json_integer((json_int_t)c->flipped));
    json_t *reference = json_object();
    lt_status status = put_metrics(e, view, c, 1, slice, reference);
    lti_put(e, into, "reference", reference);
    return status;
}

static lt_status put_all(lti_eval *e, const lti_view *view, const columns *c, int32_t slice, json_t *into)
{
    double tokens = 0;
    for (int64_t i = 0; i < c->n; i++) tokens += c->tokens[i];
    lti_put(e, into, "documents", json_integer(c->n));
    if (view->answers) lti_put(e, into, "items", json_integer(c->n));
    lti_put(e, into, "tokens", json_integer((json_int_t)tokens));
    LTI_TRY(put_metrics(e, view, c, 0, slice, into));
    if (e->o->reference) LTI_TRY(put_comparison(e, view, c, slice, into));
    return put_intervals(e, view, c, into);
}

static void put_plain(lti_eval *e, const lt_eval_result *r, json_t *into)
{
    lti_put(e, into, "documents", json_integer(r->documents));
    lti_put(e, into, "tokens", json_integer(r->tokens));
    lti_put(e, into, "perplexity", lti_real(r->perplexity));
    lti_put(e, into, "nll", lti_real(r->nll));
}

lt_status lti_summarize(lti_eval *e, const lti_view *view, int32_t slice, json_t *into)
{
    if (view->plain) {
        put_plain(e, &view->result, into);
        return LT_OK;
    }
    columns c;
    LTI_TRY(collect(e, view, slice, &c));
    lt_status status = put_all(e, view, &c, slice, into);
    lti_free(e->ctx, c.block);
    return status;
}

/* ---- Slices ---- */

typedef struct slice_size {
    int32_t slice;
    int64_t size;
} slice_size;

static int larger_first(const void *a, const void *b)
{
    const slice_size *x = a, *y = b;
    if (x->size != y->size) return x->size < y->size ? 1 : -1;
    return x->slice - y->slice;
}

static lt_status put_slices(lti_eval *e, const lti_view *view, const slice_size *sizes, json_t *slices)
{
    const lti_names *names = lti_view_slices(view);
    for (int64_t i = 0; i < names->count; i++) {
        if (sizes[i].size == 0) continue;
        const char *name = lti_names_at(names, sizes[i].slice);
        json_t *one = json_object();
        lt_status status = lti_summarize(e, view, sizes[i].slice, one);
        lti_put(e, slices, *name ? name : "(empty)", one);
        if (status != LT_OK) return status;
    }
    return LT_OK;
}

lt_status lti_report_slices(lti_eval *e, const lti_view *view, json_t *into)
{
    int64_t n = lti_view_slices(view)->count;
    if (n == 0 || view->plain) return LT_OK;
    slice_size *sizes = lti_alloc_array(e->ctx, (size_t)n, sizeof *sizes);
    if (!sizes) return LT_ENOMEM;
    for (int64_t i = 0; i < n; i++) sizes[i].slice = (int32_t)i;
    for (int64_t i = 0; i < view->count; i++)
        if (view->items[i].slice >= 0) sizes[view->items[i].slice].size++;
    qsort(sizes, (size_t)n, sizeof *sizes, larger_first);
    json_t *slices = json_object();
    lt_status status = put_slices(e, view, sizes, slices);
    lti_put(e, into, "slices", slices);
    lti_free(e->ctx, sizes);
    return status;
}
