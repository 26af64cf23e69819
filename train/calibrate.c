/* calibrate.c - see calibrate.h.
 *
 * Input hooks tap what each layer reads, and a plan whose results are the taps is run row by row: nothing of the model is
 * computed that no tap needs, so a pass over one block's layers stops behind that block. Positions that only pad a row to
 * its bucket are left out. Sums are in double, in the order of rows; products x'x of one row come from the gemm kernels.
 * Ops with side effects in the graph were the alternative; they would have needed a param for each sum. */
#include "train/calibrate.h"

#include "base/par.h"
#include "kernels/gemm.h"
#include "train/recipe.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define TAP "calibration"

enum { PLANS = 16 };

typedef struct run {
    const lti_calibration *c;
    lt_ctx *ctx;
    lt_imatrix *found;
    lti_feed feed;
    lt_plan_cache *plans;
    lt_t *taps; /* while a graph is recorded: [count] */
    lt_real *gram;
    size_t gram_room;
    lt_status failed; /* in a hook, which has no status */
} run;

/* ---- The list ---- */

lti_site_inputs *lti_imatrix_add(lt_imatrix *m, const char *site, const char *weight)
{
    if (m->count == m->room) {
        size_t room = 2 * (size_t)m->room + 16;
        lti_site_inputs *list = lti_realloc(m->ctx, m->list, (size_t)m->room * sizeof *list, room * sizeof *list);
        if (!list) return NULL;
        m->list = list;
        m->room = (int)room;
    }
    lti_site_inputs s = {.site = site ? lti_strdup(m->ctx, site) : NULL, .weight = lti_strdup(m->ctx, weight)};
    if (!s.weight || (site && !s.site)) {
        lti_free(m->ctx, s.site);
        lti_free(m->ctx, s.weight);
        return NULL;
    }
    m->list[m->count] = s;
    return &m->list[m->count++];
}

static void inputs_free(lt_ctx *ctx, lti_inputs *in)
{
    if (!in) return;
    lti_free(ctx, in->squares);
    lti_free(ctx, in->absolutes);
    lti_free(ctx, in->largest);
    lti_free(ctx, in->gram);
    lti_free(ctx, in);
}

lt_status lti_inputs_new(lt_ctx *ctx, int64_t columns, bool all, bool gram, lti_inputs **inputs)
{
    size_t n = (size_t)columns + 1;
    *inputs = NULL;
    lti_inputs *in = lti_alloc(ctx, sizeof *in);
    if (!in) return LT_ENOMEM;
    in->columns = columns;
    bool good = (in->squares = lti_alloc_array(ctx, n, sizeof(double)));
    if (good && all) good = (in->absolutes = lti_alloc_array(ctx, n, sizeof(double)));
    if (good && all) good = (in->largest = lti_alloc_array(ctx, n, sizeof(double)));
    if (good && gram) good = (in->gram = lti_alloc_array(ctx, (size_t)columns * n, sizeof(double)));
    if (good)
        *inputs = in;
    else
        inputs_free(ctx, in);
    return good ? LT_OK : LT_ENOMEM;
}

void lt_imatrix_free(lt_imatrix *m)
{
    if (!m) return;
    for (int i = 0; i < m->count; i++) {
        lti_free(m->ctx, m->list[i].site);
        lti_free(m->ctx, m->list[i].weight);
        if (m->list[i].owner) inputs_free(m->ctx, m->list[i].inputs);
    }
    lti_free(m->ctx, m->list);
    lti_free(m->ctx, m);
}

lti_inputs *lti_inputs_of(const lt_imatrix *m, const char *weight)
{
    for (int i = 0; m && i < m->count; i++)
        if (strcmp(m->list[i].weight, weight) == 0) return m->list[i].inputs;
    return NULL;
}

int lt_imatrix_count(const lt_imatrix *m)
{
    return m->count;
}

/* ---- Recording ---- */

static int index_of(const run *r, const char *site)
{
    for (int i = 0; i < r->found->count; i++)
        if (strcmp(r->found->list[i].site, site) == 0) return i;
    return -1;
}

static lt_t tap_input(lt_t x, const lt_site *site, void *config)
{
    run *r = config;
    if (r->failed != LT_OK || !site->param || !r->c->wanted(r->c->user, site->param)) return x;
    if (index_of(r, site->name) < 0 && !lti_imatrix_add(r->found, site->name, lt_param_name(site->param)))
        r->failed = LT_ENOMEM;
    return r->failed == LT_OK ? lt_tap(x, TAP) : x;
}

static bool same_value(lt_t a, lt_t b)
{
    return a.node == b.node && a.output == b.output;
}

/* A place for what each site reads; one for all that read the same value. */
static lt_status share_inputs(run *r, int64_t T)
{
    for (int i = 0; i < r->found->count; i++) {
        lti_site_inputs *s = &r->found->list[i];
        int64_t positions = 1;
        for (int k = 0; k < lt_rank(r->taps[i]) - 1; k++) positions *= lt_dim(r->taps[i], k);
        s->reads = positions == T ? 0 : positions;
        for (int k = 0; k < i && !s->inputs; k++)
            if (same_value(r->taps[k], r->taps[i])) s->inputs = r->found->list[k].inputs;
        if (s->inputs) continue;
        LTI_TRY(lti_inputs_new(r->ctx, lt_dim(r->taps[i], -1), true, r->c->grams, &s->inputs));
        s->owner = true;
    }
    return LT_OK;
}

static lt_status find_taps(run *r, lt_graph *g, int64_t T)
{
    lti_free(r->ctx, r->taps);
    r->taps = lti_alloc_array(r->ctx, (size_t)r->found->count + 1, sizeof *r->taps);
    if (!r->taps) return LT_ENOMEM;
    for (int i = 0; i < r->found->count; i++) {
        char name[256];
        snprintf(name, sizeof name, "%s." TAP, r->found->list[i].site);
        r->taps[i] = lt_tapped(g, name);
        if (lt_is_nil(r->taps[i]) && lt_graph_status(g) == LT_OK)
            return lti_fail(r->ctx, LT_EUNSUPPORTED, "calibration: '%s' does not read the same for every row",
                            r->found->list[i].site);
    }
    return lt_graph_status(g) == LT_OK ? share_inputs(r, T) : LT_OK; /* the compiler reports the graph's error */
}

static lt_status record(run *r, lt_graph *g, lt_plan_key key, lt_arena *arena, lt_plan **plan)
{
    lt_t targets;
    bool texts = r->feed.layout.kind != LT_DATA_NUMBERS;
    lt_attachment a = {.size = sizeof a, .kinds = LT_SITE_LINEAR | LT_SITE_HEAD, .input = tap_input, .config = r};
    lt_training(g, false);
    lt_attach(g, &a);
    lt_model_input in = lti_feed_record(&r->feed.layout, g, key.batch, key.length, &targets);
    (void)lt_model_logits(r->c->model, g, &in);
    if (r->failed != LT_OK) return r->failed;
    LTI_TRY(find_taps(r, g, texts ? key.length : 0));
    lt_compile_options options;
    lt_compile_options_init(&options);
    options.arena = arena;
    options.phases = 0;
    return lt_compile(g, &options, r->found->count, r->taps, plan);
}

static lt_status build(void *user, lt_plan_key key, lt_arena *arena, lt_plan **plan)
{
    run *r = user;
    lt_graph *g;
    LTI_TRY(lt_graph_create(r->ctx, lt_model_params(r->c->model), &g));
    lt_status status = record(r, g, key, arena, plan);
    lt_graph_free(g);
    return status;
}

/* ---- Sums ---- */

typedef struct columns_job {
    lti_inputs *in;
    const lt_real *x; /* [n, columns] */
    int64_t n;
} columns_job;

static void add_columns(void *arg, int64_t task, int thread)
{
    const columns_job *j = arg;
    int64_t K = j->in->columns, begin = task * 64, end = begin + 64 < K ? begin + 64 : K;
    (void)thread;
    for (int64_t i = 0; i < j->n; i++)
        for (int64_t k = begin; k < end; k++) {
            double v = fabs((double)j->x[i * K + k]);
            j->in->squares[k] += v * v;
            j->in->absolutes[k] += v;
            if (!(v <= j->in->largest[k])) j->in->largest[k] = v;
        }
}

static void add_gram_row(void *arg, int64_t row, int thread)
{
    const columns_job *j = arg;
    int64_t K = j->in->columns;
    (void)thread;
    for (int64_t k = 0; k < K; k++) j->in->gram[row * K + k] += (double)j->x[row * K + k];
}

/* gram += x' x */
static lt_status add_gram(run *r, const columns_job *job)
{
    int64_t K = job->in->columns;
    lti_gemm *gemm;
    lti_gemm_shape shape = {.m = K, .n = K, .k = job->n, .ta = true};
    size_t room = (size_t)K * (size_t)K;
    if (room > r->gram_room) {
        lti_free(r->ctx, r->gram);
        r->gram_room = 0;
        r->gram = lti_alloc_array(r->ctx, room, sizeof *r->gram);
        if (!r->gram) return LT_ENOMEM;
        r->gram_room = room;
    }
    LTI_TRY(lti_gemm_create(r->ctx, &shape, &gemm));
    void *scratch = lti_alloc(r->ctx, lti_gemm_scratch(gemm));
    lt_status status = scratch ? lti_gemm_run(gemm, job->x, job->x, r->gram, scratch) : LT_ENOMEM;
    if (status == LT_OK) lti_par(K, add_gram_row, &(columns_job){job->in, r->gram, job->n});
    lti_free(r->ctx, scratch);
    lti_gemm_free(r->ctx, gemm);
    return status;
}

static lt_status add_inputs(run *r, lti_inputs *in, const lt_real *x, int64_t n)
{
    columns_job job = {in, x, n};
    in->positions += (double)n;
    lti_par((in->columns + 63) / 64, add_columns, &job);
    return in->gram ? add_gram(r, &job) : LT_OK;
}

static lt_status run_row(run *r, int64_t row)
{
    int64_t length = 1, T = 1;
    lt_plan *plan;
    bool texts = r->feed.layout.kind != LT_DATA_NUMBERS;
    if (texts) {
        lt_dataset_row(r->c->data, row, &length);
        T = lt_bucket(length, lt_dataset_longest(r->c->data));
    }
    LTI_TRY(lt_plan_cache_get(r->plans, (lt_plan_key){0, 1, (int32_t)T}, &plan));
    lti_feed_fill(&r->feed, r->c->data, 1, &row, 1, T);
    LTI_TRY(lti_feed_bind(&r->feed, plan));
    LTI_TRY(lt_run(plan));
    for (int i = 0; i < r->found->count; i++) {
        lti_site_inputs *s = &r->found->list[i];
        if (!s->owner) continue;
        LTI_TRY(add_inputs(r, s->inputs, lt_result(plan, i), s->reads ? s->reads : length));
    }
    return LT_OK;
}

/* ---- The whole ---- */

static lt_status run_rows(run *r)
{
    const lti_calibration *c = r->c;
    int64_t rows = lt_dataset_rows(c->data), n = rows < c->rows ? rows : c->rows;
    bool numbers = r->feed.layout.kind == LT_DATA_NUMBERS;
    if (n <= 0) return lti_fail(r->ctx, LT_EINVAL, "calibration: the data has no row");
    LTI_TRY(lti_feed_reserve(&r->feed, 1, numbers ? 1 : lt_dataset_longest(c->data)));
    LTI_TRY(lt_plan_cache_create(r->ctx, PLANS, build, r, &r->plans));
    r->found->rows = n;
    r->found->longest = numbers ? 1 : lt_dataset_longest(c->data);
    for (int64_t i = 0; i < n; i++) {
        if (c->stop && *c->stop) return lti_fail(r->ctx, LT_EINTERRUPTED, "calibration was interrupted");
        LTI_TRY(run_row(r, i * rows / n));
    }
    return LT_OK;
}

lt_status lti_calibrate(const lti_calibration *c, lt_imatrix **measured)
{
    lt_ctx *ctx = lt_params_ctx(lt_model_params(c->model));
    *measured = NULL;
    LTI_TRY(lti_check_model(ctx, c->model, c->data, true));
    run r = {.c = c, .ctx = ctx, .found = lti_alloc(ctx, sizeof *r.found)};
    if (!r.found) return LT_ENOMEM;
    r.found->ctx = ctx;
    r.feed = (lti_feed){.ctx = ctx, .layout = lti_row_layout_of(c->model, c->data, NULL)};
    bool checkpoints = lt_model_checkpoints(c->model);
    lt_model_set_checkpoint(c->model, false); /* taps are results of the forward itself */
    lt_status status = run_rows(&r);
    lt_model_set_checkpoint(c->model, checkpoints);
    lt_plan_cache_free(r.plans);
    lti_feed_free(&r.feed);
    lti_free(ctx, r.taps);
    lti_free(ctx, r.gram);
    if (status == LT_OK)
        *measured = r.found;
    else
        lt_imatrix_free(r.found);
    return status;
}

static bool every_matrix(void *user, const lt_param *weight)
{
    (void)user;
    return lt_param_rank(weight) == 2;
}

lt_status lt_imatrix_measure(lt_model *model, const lt_dataset *data, int64_t rows, lt_imatrix **imatrix)
{
    lti_calibration c = {.model = model, .data = data, .rows = rows, .wanted = every_matrix};
    return lti_calibrate(&c, imatrix);
}
