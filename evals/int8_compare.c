/* int8_compare.c - a network in integers against the model it was made of: loss, accuracy, speed and bytes.
 *
 * Rows go to both through the same arrays (train/feed.h), and both take turns, so that what else the machine does meets
 * both. Losses come from the integers' logits in double; the model's are those of lt_evaluate. */
#include "base/clock.h"
#include "base/order.h"
#include "infer/int8_layers.h"
#include "models/model.h"
#include "train/recipe.h"

#include <math.h>
#include <stdlib.h>

enum { TURNS = 3, MOST_LOGITS = 1 << 24 };

typedef struct comparing {
    lt_ctx *ctx;
    lt_model *model;
    lt_int8 *net;
    const lt_dataset *data;
    lti_feed feed;                       /* of the integers */
    int64_t batch, steps, places, width; /* steps: a row; places: logits' rows a row; width: of one */
    int32_t *lengths;                    /* [batch], of classifiers of texts; or NULL */
    lt_real *logits;                     /* [batch, places, width] */
    int64_t *order;
} comparing;

/* ---- The integers ---- */

/* -log p of the class, and whether it is the likeliest (the first of equals). */
static double row_nll(int64_t n, const lt_real *z, int32_t class, bool *right)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (z[i] > z[best]) best = i;
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += exp((double)z[i] - (double)z[best]);
    *right = best == class;
    return log(sum) + (double)z[best] - (double)z[class];
}

static void score_batch(comparing *c, int64_t rows, lti_scores *scores)
{
    for (int64_t i = 0; i < rows * c->places; i++) {
        bool right;
        if (c->feed.targets[i] < 0) continue;
        scores->nll_sum += row_nll(c->width, c->logits + i * c->width, c->feed.targets[i], &right);
        scores->right += right;
        scores->scored++;
    }
}

static lt_status run_integers(comparing *c, lti_scores *scores)
{
    int64_t n = lt_dataset_rows(c->data), B = c->batch, T = c->steps;
    const lti_row_layout *l = &c->feed.layout;
    *scores = (lti_scores){0};
    for (int64_t i = 0; i < n; i += B) {
        int64_t rows = n - i < B ? n - i : B;
        lti_feed_fill(&c->feed, c->data, rows, c->order + i, rows, T);
        for (int64_t b = 0; b < rows && c->lengths; b++) c->lengths[b] = c->feed.last[b] - (int32_t)(b * T) + 1;
        const void *x = l->kind == LT_DATA_NUMBERS ? (const void *)c->feed.x : c->feed.tokens;
        LTI_TRY(lt_int8_run(c->net, rows, x, c->lengths, c->logits));
        score_batch(c, rows, scores);
    }
    return LT_OK;
}

/* ---- Which rows ---- */

static bool is_recurrent(const comparing *c)
{
    return c->net->network == &lti_network_lstm || c->net->network == &lti_network_gru;
}

/* What a network reads of a row is known from its own config alone: rows of others would be read past their ends. */
static lt_status check_inputs(const comparing *c)
{
    static const char *const sizes[] = {"height", "width", "channels", "inputs", "vocab"};
    lti_network_config made = c->net->config, there = c->model->net; /* keys give places to write */
    for (int i = 0; i < LTI_COUNT(sizes); i++) {
        const int64_t *a = lti_network_count(c->net->network, &made, sizes[i]),
                      *b = lti_network_count(c->net->network, &there, sizes[i]);
        if (a && b && *a != *b)
            return lti_fail(c->ctx, LT_EINVAL,
                            "int8: the network was made for '%s' of %lld, and the model and its rows have %lld: it is "
                            "another model's",
                            sizes[i], (long long)*a, (long long)*b);
    }
    return LT_OK;
}

/* Rows the network has been made for. */
static lt_status check_rows(const comparing *c)
{
    const lti_row_layout *l = &c->feed.layout;
    int64_t outputs = lt_int8_outputs(c->net), classes = lt_model_classes(c->model),
            wanted = classes ? classes : c->net->size * lt_model_vocab(c->model);
    int64_t steps = l->kind == LT_DATA_NUMBERS ? l->shape[0] : lt_dataset_longest(c->data);
    if (c->net->network != c->model->network || outputs != wanted)
        return lti_fail(c->ctx, LT_EINVAL, "int8: the network is no %s of %lld outputs a row: it is another model's",
                        lt_model_family(c->model), (long long)wanted);
    LTI_TRY(check_inputs(c));
    if (!is_recurrent(c)) return LT_OK;
    bool fits = l->kind == LT_DATA_NUMBERS ? steps == c->net->size : steps <= c->net->size;
    if (fits) return LT_OK;
    return lti_fail(c->ctx, LT_EINVAL,
                    "int8: the network was made for %lld steps, and rows have %lld: make it for those",
                    (long long)c->net->size, (long long)steps);
}

static lt_status reserve(comparing *c)
{
    lt_ctx *ctx = c->ctx;
    int64_t n = lt_dataset_rows(c->data), outputs = lt_int8_outputs(c->net);
    c->steps = is_recurrent(c) ? c->net->size : 1;
    c->places = lt_model_classes(c->model) ? 1 : c->steps;
    c->width = outputs / c->places;
    c->batch = lti_eval_batch(c->data);
    if (c->batch > MOST_LOGITS / outputs) c->batch = MOST_LOGITS / outputs;
    if (c->batch > n) c->batch = n;
    if (c->batch < 1) c->batch = 1;
    LTI_TRY(lti_feed_reserve(&c->feed, c->batch, c->steps));
    c->logits = lti_alloc_array(ctx, (size_t)c->batch * (size_t)outputs, sizeof *c->logits);
    c->order = c->logits ? lti_alloc_array(ctx, (size_t)n, sizeof *c->order) : NULL;
    if (!c->order) return LT_ENOMEM;
    for (int64_t i = 0; i < n; i++) c->order[i] = i;
    if (!c->feed.layout.last) return LT_OK;
    c->lengths = lti_alloc_array(ctx, (size_t)c->batch, sizeof *c->lengths);
    return c->lengths ? LT_OK : LT_ENOMEM;
}

/* ---- Both ---- */

static void take_scores(const lti_recipe *r, const lti_scores *s, lt_int8_scores *scores)
{
    scores->nll = s->scored ? s->nll_sum / (double)s->scored : NAN;
    scores->accuracy = lti_accuracy(r, s);
}

static double median_rate(int64_t rows, double seconds[TURNS])
{
    qsort(seconds, TURNS, sizeof *seconds, lti_ascending);
    return (double)rows / (seconds[TURNS / 2] > 0 ? seconds[TURNS / 2] : 1e-9);
}

/* The first turn is not counted: it compiles and warms up. */
static lt_status take_turns(comparing *c, lti_recipe *real, lt_int8_comparison *result)
{
    double seconds[2][TURNS];
    lti_scores scores[2];
    for (int turn = -1; turn < TURNS; turn++)
        for (int k = 0; k < 2; k++) {
            double start = lti_seconds();
            LTI_TRY(k ? run_integers(c, &scores[1])
                      : lti_recipe_evaluate(real, LTI_EVALUATE, c->data, lti_eval_batch(c->data), &scores[0]));
            if (turn >= 0) seconds[k][turn] = lti_seconds() - start;
        }
    take_scores(real, &scores[0], &result->real);
    take_scores(real, &scores[1], &result->integers);
    result->scored = scores[1].scored;
    result->real.rows_per_second = median_rate(result->rows, seconds[0]);
    result->integers.rows_per_second = median_rate(result->rows, seconds[1]);
    return LT_OK;
}

static lt_status compare(comparing *c, lt_int8_comparison *result)
{
    LTI_TRY(check_rows(c));
    LTI_TRY(reserve(c));
    lti_recipe real = {.ctx = c->ctx, .model = c->model, .layout = c->feed.layout};
    LTI_TRY(lti_recipe_open(&real));
    lt_status status = take_turns(c, &real, result);
    lti_recipe_close(&real);
    return status;
}

lt_status lt_int8_compare(lt_model *model, const lt_quant_policy *policy, lt_int8 *net, const lt_dataset *data,
                          lt_int8_comparison *result)
{
    lt_ctx *ctx = model->ctx;
    lt_eval_result e = {0};
    *result = (lt_int8_comparison){.rows = lt_dataset_rows(data)};
    result->simulated = (lt_int8_scores){.nll = NAN, .accuracy = NAN, .rows_per_second = NAN};
    if (result->rows == 0) return lti_fail(ctx, LT_EINVAL, "there is nothing to evaluate: the data has no row");
    LTI_TRY(lti_check_model(ctx, model, data, false));
    comparing c = {.ctx = ctx, .model = model, .net = net, .data = data};
    c.feed = (lti_feed){.ctx = ctx, .layout = lti_row_layout_of(model, data, NULL)};
    lt_status status = compare(&c, result);
    lti_feed_free(&c.feed);
    lti_free(ctx, c.lengths);
    lti_free(ctx, c.logits);
    lti_free(ctx, c.order);
    if (status == LT_OK && policy) status = lt_evaluate(model, data, policy, 0, &e);
    if (status == LT_OK && policy) result->simulated = (lt_int8_scores){e.nll, e.accuracy, NAN, e.model_bytes};
    e = (lt_eval_result){0};
    lti_describe_model(model, NULL, &e);
    result->real.bytes = e.model_bytes;
    result->integers.bytes = lt_int8_bytes(net);
    return status;
}
