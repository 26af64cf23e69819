/* awq.c - scales of input channels that make the columns which matter round better.
 *
 * Multiplying a column by s and dividing its source by s changes nothing in float. A large s gives a column finer steps
 * beside its neighbours: Lin et al. (AWQ, 2023) take s = x^r / w^(1 - r) with x the mean size of the channel, w that of its
 * weights in shares of their group's largest, or w left out, and search r in twentieths. What is compared here is
 * sum d H d' over the layers that read the channel, d what rounding did to a row and H the sum of x x': their outputs' squared
 * error, exactly, without running the model again. Xiao et al. (SmoothQuant, 2022) set s = max |x|^a / max |w|^(1 - a) so
 * that activations lose their outliers to the weights. */
#include "kernels/gemm.h"
#include "qat/rounding.h"

#include <math.h>
#include <string.h>

enum { GRID = 20, GROUP = 128 };

typedef struct search {
    lt_ctx *ctx;
    const lti_readers *readers;
    const lti_inputs *in;
    double *size, *share;         /* [channels]: mean |x|; mean |w| in shares of the group's largest */
    double *scale;                /* [channels] at hand */
    lt_real *gram;                /* [K, K], a position's mean */
    lt_real *scaled, *lost, *far; /* [largest rows, K] */
} search;

static int64_t channel_of(const lti_readers *r, int64_t column)
{
    return r->channel ? r->channel[column] : column;
}

/* ---- What is known of the channels ---- */

static void add_shares(const lti_rounding *layer, double *column)
{
    int64_t K = layer->columns, group = layer->scheme.per == LT_PER_GROUP ? layer->scheme.group : GROUP;
    for (int64_t row = 0; row < layer->rows; row++)
        for (int64_t at = 0; at < K; at += group) {
            const lt_real *w = layer->w + row * K + at;
            int64_t n = K - at < group ? K - at : group;
            double largest = 1e-30;
            for (int64_t i = 0; i < n; i++) largest = fmax(largest, fabs((double)w[i]));
            for (int64_t i = 0; i < n; i++) column[at + i] += fabs((double)w[i]) / largest;
        }
}

static lt_status know_channels(search *s)
{
    const lti_readers *r = s->readers;
    double rows = 0, *column = lti_alloc_array(s->ctx, (size_t)r->columns + 1, sizeof *column);
    double *count = lti_alloc_array(s->ctx, (size_t)r->channels + 1, sizeof *count);
    for (int i = 0; column && count && i < r->n; i++) {
        add_shares(&r->layers[i], column);
        rows += (double)r->layers[i].rows;
    }
    for (int64_t k = 0; column && count && k < r->columns; k++) {
        int64_t c = channel_of(r, k);
        s->size[c] += s->in->absolutes[k] / s->in->positions;
        s->share[c] += column[k] / rows;
        count[c] += 1;
    }
    for (int64_t c = 0; column && count && c < r->channels; c++)
        if (count[c] > 0) s->size[c] /= count[c], s->share[c] /= count[c];
    bool good = column && count;
    lti_free(s->ctx, column);
    lti_free(s->ctx, count);
    return good ? LT_OK : LT_ENOMEM;
}

/* Candidate `index`: 0 is all ones. The scales' largest times their least is 1. */
static void candidate(search *s, int index)
{
    double r = (double)(index % GRID) / GRID, least = INFINITY, most = 0;
    bool both = index >= GRID;
    for (int64_t c = 0; c < s->readers->channels; c++) {
        double v = pow(s->size[c], r);
        if (both) v /= pow(s->share[c], 1 - r) + 1e-4;
        s->scale[c] = v > 1e-4 ? v : 1e-4;
        least = fmin(least, s->scale[c]);
        most = fmax(most, s->scale[c]);
    }
    double middle = sqrt(least * most);
    for (int64_t c = 0; c < s->readers->channels; c++) s->scale[c] /= middle;
}

/* ---- What rounding costs then ---- */

typedef struct row_job {
    const search *s;
    const lti_rounding *layer;
} row_job;

static void scale_row(void *arg, int64_t row, int thread)
{
    const row_job *j = arg;
    int64_t K = j->layer->columns;
    (void)thread;
    for (int64_t k = 0; k < K; k++)
        j->s->scaled[row * K + k] = j->layer->w[row * K + k] * (lt_real)j->s->scale[channel_of(j->s->readers, k)];
}

static void lost_row(void *arg, int64_t row, int thread)
{
    const row_job *j = arg;
    int64_t K = j->layer->columns;
    (void)thread;
    for (int64_t k = 0; k < K; k++) {
        lt_real back = j->layer->values[row * K + k] / (lt_real)j->s->scale[channel_of(j->s->readers, k)];
        j->s->lost[row * K + k] = back - j->layer->w[row * K + k];
    }
}

/* far = lost gram [rows, K] */
static lt_status through_gram(const search *s, const lti_rounding *layer)
{
    lti_gemm *gemm;
    lti_gemm_shape shape = {.m = layer->rows, .n = layer->columns, .k = layer->columns};
    LTI_TRY(lti_gemm_create(s->ctx, &shape, &gemm));
    void *scratch = lti_alloc(s->ctx, lti_gemm_scratch(gemm));
    lt_status status = scratch ? lti_gemm_run(gemm, s->lost, s->gram, s->far, scratch) : LT_ENOMEM;
    lti_free(s->ctx, scratch);
    lti_gemm_free(s->ctx, gemm);
    return status;
}

static lt_status cost_of(search *s, double *cost)
{
    *cost = 0;
    for (int i = 0; i < s->readers->n; i++) {
        const lti_rounding *layer = &s->readers->layers[i];
        row_job job = {s, layer};
        lti_rounding scaled = *layer;
        scaled.w = s->scaled;
        lti_par(layer->rows, scale_row, &job);
        LTI_TRY(lti_round_nearest(&scaled));
        lti_par(layer->rows, lost_row, &job);
        LTI_TRY(through_gram(s, layer));
        for (int64_t k = 0; k < layer->rows * layer->columns; k++) *cost += (double)s->lost[k] * (double)s->far[k];
    }
    return LT_OK;
}

/* ---- The search ---- */

static lt_status reserve(search *s)
{
    const lti_readers *r = s->readers;
    size_t K = (size_t)r->columns, rows = 0, channels = (size_t)r->channels + 1;
    for (int i = 0; i < r->n; i++)
        if ((size_t)r->layers[i].rows > rows) rows = (size_t)r->layers[i].rows;
    s->size = lti_alloc_array(s->ctx, channels, sizeof *s->size);
    s->share = lti_alloc_array(s->ctx, channels, sizeof *s->share);
    s->scale = lti_alloc_array(s->ctx, channels, sizeof *s->scale);
    s->gram = lti_alloc_array(s->ctx, K * K + 1, sizeof *s->gram);
    s->scaled = lti_alloc_array(s->ctx, rows * K + 1, sizeof *s->scaled);
    s->lost = lti_alloc_array(s->ctx, rows * K + 1, sizeof *s->lost);
    s->far = lti_alloc_array(s->ctx, rows * K + 1, sizeof *s->far);
    return s->size && s->share && s->scale && s->gram && s->scaled && s->lost && s->far ? LT_OK : LT_ENOMEM;
}

static void release(search *s)
{
    void *all[] = {s->size, s->share, s->scale, s->gram, s->scaled, s->lost, s->far};
    for (int i = 0; i < LTI_COUNT(all); i++) lti_free(s->ctx, all[i]);
}

lt_status lti_awq_scales(lt_ctx *ctx, const lti_readers *readers, const lti_inputs *in, double *scale)
{
    search s = {.ctx = ctx, .readers = readers, .in = in};
    double best = INFINITY, cost;
    lt_status status = reserve(&s);
    if (status == LT_OK) status = know_channels(&s);
    for (int64_t i = 0; i < readers->columns * readers->columns && status == LT_OK; i++)
        s.gram[i] = (lt_real)(in->gram[i] / in->positions);
    for (int64_t c = 0; c < readers->channels; c++) scale[c] = 1;
    for (int i = 0; i < 2 * GRID && status == LT_OK; i++) {
        candidate(&s, i);
        status = cost_of(&s, &cost);
        if (status != LT_OK || !(cost < best)) continue;
        best = cost;
        memcpy(scale, s.scale, (size_t)readers->channels * sizeof *scale);
    }
    release(&s);
    return status;
}

/* ---- SmoothQuant ---- */

void lti_smooth_scales(const lti_readers *r, const lti_inputs *in, double alpha, double *scale)
{
    for (int64_t k = 0; k < r->columns; k++) scale[k] = 0;
    for (int i = 0; i < r->n; i++) /* the largest weight of each column */
        for (int64_t k = 0; k < r->layers[i].rows * r->columns; k++)
            scale[k % r->columns] = fmax(scale[k % r->columns], fabs((double)r->layers[i].w[k]));
    for (int64_t k = 0; k < r->columns; k++) {
        double w = scale[k], x = in->largest[k];
        scale[k] = w > 0 && x > 0 ? fmax(pow(x, alpha) / pow(w, 1 - alpha), 1e-5) : 1;
    }
}
