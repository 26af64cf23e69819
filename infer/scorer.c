/* scorer.c - see scorer.h.
 *
 * Rows are taken by falling length in batches padded to a bucket. A plan gives the hidden state [B, T, C]; the rows of
 * it that predict something asked for are gathered over batches until a chunk is full, and the head is run on that
 * chunk: [positions, vocabulary] logits never exist as a whole, a choice of three tokens costs three rows of the head
 * and not its context's, and the head's product nearly always has the same shape, so that its result does not depend on
 * what else is in the batch. The last chunk is padded with zeros to the next of a few sizes.
 *
 * The head loss (autograd/ops/head_loss.c) does the same for a sum; it hands out no single positions, which is why it
 * is not used here. Model and reference have a plan cache each, so that logits of both can be looked at together.
 *
 * KL(p || q) = sum_v p_v (log p_v - log q_v) is summed in double from differences of logits:
 * log p_v - log q_v = (a_v - b_v) - (lse a - lse b), which is exact where the two models agree. */
#include "infer/scorer.h"

#include "base/par.h"
#include "kernels/kernels.h"
#include "lathe/plan.h"
#include "models/model.h"
#include "qat/policy.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES ((int64_t)64 << 20) /* of logits */
enum { PLANS = 40, MOST_ROWS = 1024, LEAST_ROWS = 16, BATCH_POSITIONS = 4096, MOST_BATCH = 64 };

typedef enum phase { PHASE_HIDDEN, PHASE_HEAD, PHASE_CLASSES } phase;

/* One of the two models. */
typedef struct side {
    lt_model *model;
    const lt_quant_policy *quant;
    int64_t width; /* of its hidden states */
    lt_plan_cache *plans;
    lt_real *x;       /* [chunk, C]: hidden rows that wait for the head */
    const lt_real *z; /* [rows, V]: logits of the chunk just run */
} side;

struct lti_scorer {
    lt_ctx *ctx;
    lti_scorer_options o;
    side sides[2];
    int n_sides;
    int64_t vocab, chunk, waiting;
    lti_score **places; /* [chunk]: where a waiting row's answer goes */
    int32_t *targets;   /* [chunk] */
    int32_t *tokens;    /* [room] */
    int32_t *spans;     /* [room, 2], classifiers only */
    int32_t *last;      /* [room], likewise: where each text ends */
    int64_t room;
    bool classifier; /* of texts: it predicts no next token */
};

/* ---- Plans ---- */

static lt_t record(const side *s, lt_graph *g, lt_plan_key key)
{
    const int64_t B = key.batch, T = key.length, vocab = lt_model_vocab(s->model);
    lt_training(g, false);
    if (s->quant) lt_qat_attach(g, s->quant);
    if (key.phase == PHASE_HEAD) {
        lt_t x = lt_input(g, "x", LT_F32, 2, (int64_t[]){B, s->width});
        return lti_model_head(s->model, g, x, lt_nil(g)); /* [B, V] */
    }
    lt_model_input in = {.tokens = lt_index_input(g, "tokens", 2, (int64_t[]){B, T}, 0, (int32_t)vocab)};
    if (key.phase == PHASE_HIDDEN) return lt_model_hidden(s->model, g, &in); /* [B, T, C] */
    if (lt_model_is_transformer(s->model))
        in.spans = lt_index_input(g, "spans", 3, (int64_t[]){B, T, 2}, 0, INT32_MAX);
    else
        in.last = lt_index_input(g, "last", 1, &B, 0, (int32_t)(B * T));
    return lt_model_logits(s->model, g, &in); /* [B, classes] */
}

static lt_status build(void *user, lt_plan_key key, lt_arena *arena, lt_plan **plan)
{
    const side *s = user;
    lt_params *params = lt_model_params(s->model);
    lt_compile_options options;
    lt_compile_options_init(&options);
    options.arena = arena;
    lt_graph *g;
    LTI_TRY(lt_graph_create(lt_params_ctx(params), params, &g));
    lt_t y = record(s, g, key);
    lt_status status = lt_compile(g, &options, 1, &y, plan);
    lt_graph_free(g);
    return status;
}

static lt_status plan_of(const side *s, phase what, int64_t batch, int64_t length, lt_plan **plan)
{
    return lt_plan_cache_get(s->plans, (lt_plan_key){(int32_t)what, (int32_t)batch, (int32_t)length}, plan);
}

/* ---- Making ---- */

/* Both models must mean the same by an id. Padding behind the last token is no difference. */
static lt_status check_vocabulary(lt_ctx *ctx, const lti_scorer_options *o)
{
    lti_network_facts a = lti_model_facts(o->model), b = lti_model_facts(o->reference);
    if (a.vocab != b.vocab || a.classes != b.classes || a.reads != b.reads)
        return lti_fail(ctx, LT_EINVAL,
                        "the reference has %lld tokens and %lld classes, the model %lld and %lld: only models of "
                        "one vocabulary can be compared",
                        (long long)b.vocab, (long long)b.classes, (long long)a.vocab, (long long)a.classes);
    const lt_tokenizer *one = lt_model_tokenizer(o->model), *two = lt_model_tokenizer(o->reference);
    for (int32_t id = 0; id < a.vocab; id++) {
        int64_t n = 0, m = 0;
        const char *x = lt_tokenizer_token(one, id, &n), *y = lt_tokenizer_token(two, id, &m);
        if (x && y && (n != m || memcmp(x, y, (size_t)n)))
            return lti_fail(ctx, LT_EINVAL,
                            "token %d is '%.*s' to the reference and '%.*s' to the model: they have different "
                            "tokenizers and cannot be compared",
                            (int)id, (int)m, y, (int)n, x);
    }
    return LT_OK;
}

static lt_status make(lti_scorer *s)
{
    s->classifier = lt_model_reads(s->o.model) != LT_DATA_TOKENS;
    s->vocab = lt_model_vocab(s->o.model);
    s->chunk = LEAST_ROWS;
    while (s->chunk < MOST_ROWS && 2 * s->chunk * s->vocab * (int64_t)sizeof(lt_real) <= CHUNK_BYTES) s->chunk *= 2;
    s->n_sides = s->o.reference ? 2 : 1;
    s->sides[0] = (side){.model = s->o.model, .quant = s->o.quant};
    s->sides[1] = (side){.model = s->o.reference};
    for (int i = 0; i < s->n_sides; i++) {
        side *one = &s->sides[i];
        one->width = lti_model_facts(one->model).width;
        LTI_TRY(lt_plan_cache_create(s->ctx, PLANS, build, one, &one->plans));
        one->x = lti_alloc_array(s->ctx, (size_t)(s->chunk * one->width), sizeof *one->x);
        if (!one->x) return LT_ENOMEM;
    }
    s->places = lti_alloc_array(s->ctx, (size_t)s->chunk, sizeof *s->places);
    s->targets = lti_alloc_array(s->ctx, (size_t)s->chunk, sizeof *s->targets);
    return s->places && s->targets ? LT_OK : LT_ENOMEM;
}

lt_status lti_scorer_create(lt_ctx *ctx, const lti_scorer_options *options, lti_scorer **scorer)
{
    *scorer = NULL;
    LTI_TRY(lti_quant_check(ctx, options->quant));
    if (lt_model_reads(options->model) == LT_DATA_NUMBERS)
        return lti_fail(ctx, LT_EINVAL, "this %s reads numbers: it has nothing to say about a text",
                        lt_model_family(options->model));
    if (options->reference) LTI_TRY(check_vocabulary(ctx, options));
    lti_scorer *s = lti_alloc(ctx, sizeof *s);
    if (!s) return LT_ENOMEM;
    *s = (lti_scorer){.ctx = ctx, .o = *options};
    lt_status status = make(s);
    if (status == LT_OK)
        *scorer = s;
    else
        lti_scorer_free(s);
    return status;
}

void lti_scorer_free(lti_scorer *s)
{
    if (!s) return;
    for (int i = 0; i < 2; i++) {
        lt_plan_cache_free(s->sides[i].plans);
        lti_free(s->ctx, s->sides[i].x);
    }
    lti_free(s->ctx, s->places);
    lti_free(s->ctx, s->targets);
    lti_free(s->ctx, s->tokens);
    lti_free(s->ctx, s->spans);
    lti_free(s->ctx, s->last);
    lti_free(s->ctx, s);
}

/* ---- Batches ---- */

typedef struct row_length {
    int64_t row, length;
} row_length;

static int longer_first(const void *a, const void *b)
{
    const row_length *x = a, *y = b;
    if (x->length != y->length) return x->length < y->length ? 1 : -1;
    return x->row < y->row ? -1 : x->row > y->row;
}

static lt_status sort_rows(lti_scorer *s, int64_t n, const lti_score_row *rows, row_length **sorted)
{
    *sorted = lti_alloc_array(s->ctx, (size_t)n + 1, sizeof **sorted);
    if (!*sorted) return LT_ENOMEM;
    for (int64_t i = 0; i < n; i++) (*sorted)[i] = (row_length){i, rows[i].length};
    qsort(*sorted, (size_t)n, sizeof **sorted, longer_first);
    return LT_OK;
}

static int64_t batch_rows(const lti_scorer *s, int64_t T)
{
    if (s->o.batch > 0) return s->o.batch;
    int64_t rows = BATCH_POSITIONS / T;
    return rows < 1 ? 1 : rows > MOST_BATCH ? MOST_BATCH : rows;
}

static lt_status reserve(lti_scorer *s, int64_t count)
{
    if (count <= s->room) return LT_OK;
    lti_free(s->ctx, s->tokens);
    lti_free(s->ctx, s->spans);
    lti_free(s->ctx, s->last);
    s->spans = s->last = NULL;
    s->room = 0;
    s->tokens = lti_alloc_array(s->ctx, (size_t)count, sizeof *s->tokens);
    if (s->classifier) s->spans = lti_alloc_array(s->ctx, 2 * (size_t)count, sizeof *s->spans);
    if (s->classifier) s->last = lti_alloc_array(s->ctx, (size_t)count, sizeof *s->last);
    if (!s->tokens || (s->classifier && (!s->spans || !s->last))) return LT_ENOMEM;
    s->room = count;
    return LT_OK;
}

/* Rows sorted[0 .. B) as tokens [B, T]. Padding of an encoder sees itself alone; a decoder's is seen by nobody. */
static lt_status fill(lti_scorer *s, const lti_score_row *rows, const row_length *sorted, int64_t B, int64_t T)
{
    LTI_TRY(reserve(s, B * T));
    memset(s->tokens, 0, (size_t)(B * T) * sizeof *s->tokens);
    for (int64_t b = 0; b < B; b++) {
        const lti_score_row *row = &rows[sorted[b].row];
        memcpy(s->tokens + b * T, row->ids, (size_t)row->length * sizeof *row->ids);
        if (s->classifier) s->last[b] = (int32_t)(b * T + row->length - 1);
        for (int64_t t = 0; s->classifier && t < T; t++) {
            bool inside = t < row->length;
            s->spans[2 * (b * T + t)] = inside ? 0 : (int32_t)t;
            s->spans[2 * (b * T + t) + 1] = (int32_t)(inside ? row->length : t + 1);
        }
    }
    return LT_OK;
}

static lt_status run(lti_scorer *s, side *one, phase what, int64_t B, int64_t T, const lt_real **result)
{
    lt_plan *plan;
    LTI_TRY(plan_of(one, what, B, T, &plan));
    LTI_TRY(lt_bind(plan, "tokens", s->tokens));
    if (lt_plan_has(plan, "spans")) LTI_TRY(lt_bind(plan, "spans", s->spans));
    if (lt_plan_has(plan, "last")) LTI_TRY(lt_bind(plan, "last", s->last));
    LTI_TRY(lt_run(plan));
    *result = lt_result(plan, 0);
    return LT_OK;
}

/* ---- The head, on a chunk of rows ---- */

static double log_sum_exp(int64_t n, const lt_real *z)
{
    return lti_k()->cross_entropy(n, z, 0, 0, NULL) + (double)z[0];
}

static int32_t first_best(int64_t n, const lt_real *z)
{
    lt_real most = lti_k()->max(n, z);
    int64_t i = 0;
    while (i < n && z[i] != most) i++;
    return i < n ? (int32_t)i : -1;
}

/* KL(softmax(a) || softmax(b)) */
static double divergence(int64_t n, const lt_real *a, double lse_a, const lt_real *b, double lse_b)
{
    enum { BLOCK = 256 };
    lt_real p[BLOCK];
    double sum = 0, shift = lse_a - lse_b;
    for (int64_t i = 0; i < n; i += BLOCK) {
        int64_t m = n - i < BLOCK ? n - i : BLOCK;
        for (int64_t k = 0; k < m; k++) p[k] = (lt_real)((double)a[i + k] - lse_a);
        lti_k()->exp(m, p, p);
        for (int64_t k = 0; k < m; k++)
            if (p[k] > 0) sum += (double)p[k] * ((double)a[i + k] - (double)b[i + k] - shift);
    }
    return sum < 0 ? 0 : sum;
}

static void score_row(void *arg, int64_t i, int thread)
{
    (void)thread;
    lti_scorer *s = arg;
    int64_t V = s->vocab;
    const lt_real *z = s->sides[0].z + i * V, *reference = s->n_sides > 1 ? s->sides[1].z + i * V : NULL;
    int32_t target = s->targets[i];
    double lse = log_sum_exp(V, z);
    lti_score score = {.logp = (double)z[target] - lse, .best = first_best(V, z), .ref_best = -1};
    if (reference) {
        double ref_lse = log_sum_exp(V, reference);
        score.ref_logp = (double)reference[target] - ref_lse;
        score.ref_best = first_best(V, reference);
        score.divergence = divergence(V, reference, ref_lse, z, lse);
    }
    *s->places[i] = score;
}

/* Runs the head on what waits. */
static lt_status flush(lti_scorer *s)
{
    if (s->waiting == 0) return LT_OK;
    int64_t rows = s->chunk;
    while (rows > LEAST_ROWS && rows / 2 >= s->waiting) rows /= 2;
    for (int i = 0; i < s->n_sides; i++) {
        side *one = &s->sides[i];
        lt_plan *plan;
        int64_t C = one->width;
        memset(one->x + s->waiting * C, 0, (size_t)((rows - s->waiting) * C) * sizeof *one->x);
        LTI_TRY(plan_of(one, PHASE_HEAD, rows, 0, &plan));
        LTI_TRY(lt_bind(plan, "x", one->x));
        LTI_TRY(lt_run(plan));
        one->z = lt_result(plan, 0);
    }
    lti_par(s->waiting, score_row, s);
    for (int64_t i = 0; i < s->waiting; i++) {
        const lti_score *score = s->places[i];
        bool fine = isfinite(score->logp) && isfinite(score->ref_logp) && isfinite(score->divergence);
        if (!fine)
            return lti_fail(s->ctx, LT_ENONFINITE,
                            "the log-probability of a token is %g (reference: %g): weights or activations are not "
                            "finite",
                            score->logp, score->ref_logp);
    }
    s->waiting = 0;
    return LT_OK;
}

/* ---- Rows of a decoder ---- */

/* Copies hidden rows of side k; the first side also notes targets and places. `at`: what waits already. */
static void gather(lti_scorer *s, int k, const lti_score_row *row, const lt_real *hidden, int64_t *t, int64_t *at)
{
    int64_t C = s->sides[k].width;
    for (; *t < row->to && *at < s->chunk; ++*t) {
        if (row->scored && !row->scored[*t]) {
            row->scores[*t - row->from] = (lti_score){.best = -1, .ref_best = -1};
            continue;
        }
        memcpy(s->sides[k].x + *at * C, hidden + (*t - 1) * C, (size_t)C * sizeof *hidden);
        s->targets[*at] = row->ids[*t];
        s->places[(*at)++] = &row->scores[*t - row->from];
    }
}

/* Hidden states of a batch, kept in a copy: the head's plans use the same arena. */
static lt_status hidden_of(lti_scorer *s, int64_t B, int64_t T, lt_real *kept[2])
{
    for (int k = 0; k < s->n_sides; k++) {
        const lt_real *x;
        size_t bytes = (size_t)(B * T * s->sides[k].width) * sizeof *x;
        LTI_TRY(run(s, &s->sides[k], PHASE_HIDDEN, B, T, &x));
        kept[k] = lti_alloc(s->ctx, bytes);
        if (!kept[k]) return LT_ENOMEM;
        memcpy(kept[k], x, bytes);
    }
    return LT_OK;
}

static lt_status score_batch(lti_scorer *s, const lti_score_row *rows, const row_length *sorted, int64_t B, int64_t T)
{
    lt_real *kept[2] = {NULL, NULL};
    lt_status status = hidden_of(s, B, T, kept);
    for (int64_t b = 0; b < B && status == LT_OK; b++) {
        const lti_score_row *row = &rows[sorted[b].row];
        for (int64_t t = row->from; t < row->to && status == LT_OK;) {
            int64_t next = t, at = s->waiting;
            for (int k = 0; k < s->n_sides; k++) {
                next = t, at = s->waiting;
                gather(s, k, row, kept[k] + b * T * s->sides[k].width, &next, &at);
            }
            t = next, s->waiting = at;
            if (s->waiting == s->chunk) status = flush(s);
        }
    }
    lti_free(s->ctx, kept[0]);
    lti_free(s->ctx, kept[1]);
    return status;
}

static lt_status check_rows(const lti_scorer *s, int64_t n, const lti_score_row *rows)
{
    for (int64_t i = 0; i < n; i++) {
        const lti_score_row *r = &rows[i];
        bool range = s->classifier ? r->length >= 1 : r->from >= 1 && r->from <= r->to && r->to <= r->length;
        if (!range) return lti_fail(s->ctx, LT_EINVAL, "row %lld predicts nothing that is in it", (long long)i);
    }
    return LT_OK;
}

static lt_status pause_here(lti_scorer *s, int64_t done, int64_t n)
{
    if (s->o.on_progress) s->o.on_progress(s->o.user, done, n);
    if (s->o.stop && *s->o.stop) return lti_fail(s->ctx, LT_EINTERRUPTED, "interrupted; nothing was written");
    return LT_OK;
}

static lt_status score_sorted(lti_scorer *s, int64_t n, const lti_score_row *rows, const row_length *sorted)
{
    s->waiting = 0;
    for (int64_t i = 0; i < n;) {
        int64_t T = lt_bucket(sorted[i].length, sorted[0].length), B = batch_rows(s, T);
        if (B > n - i) B = n - i;
        LTI_TRY(fill(s, rows, sorted + i, B, T));
        LTI_TRY(score_batch(s, rows, sorted + i, B, T));
        i += B;
        LTI_TRY(pause_here(s, i, n));
    }
    return flush(s);
}

lt_status lti_scorer_run(lti_scorer *s, int64_t n, const lti_score_row *rows)
{
    if (s->classifier)
        return lti_fail(s->ctx, LT_EINVAL,
                        "this %s is a classifier: it predicts no next token; give it rows of text and label",
                        lt_model_family(s->o.model));
    LTI_TRY(check_rows(s, n, rows));
    row_length *sorted;
    LTI_TRY(sort_rows(s, n, rows, &sorted));
    lt_status status = score_sorted(s, n, rows, sorted);
    lti_free(s->ctx, sorted);
    return status;
}

/* ---- Rows of a classifier ---- */

static lt_status classify_sorted(lti_scorer *s, int64_t n, const lti_score_row *rows, const row_length *sorted,
                                 lt_real *const out[2])
{
    int64_t K = lt_model_classes(s->o.model);
    for (int64_t i = 0; i < n;) {
        int64_t T = lt_bucket(sorted[i].length, sorted[0].length), B = batch_rows(s, T);
        if (B > n - i) B = n - i;
        LTI_TRY(fill(s, rows, sorted + i, B, T));
        for (int k = 0; k < s->n_sides; k++) {
            const lt_real *z;
            LTI_TRY(run(s, &s->sides[k], PHASE_CLASSES, B, T, &z));
            if (!lti_k()->all_finite(B * K, z))
                return lti_fail(s->ctx, LT_ENONFINITE, "the %s's class scores are not finite",
                                k ? "reference" : "model");
            for (int64_t b = 0; b < B; b++) memcpy(out[k] + sorted[i + b].row * K, z + b * K, (size_t)K * sizeof *z);
        }
        i += B;
        LTI_TRY(pause_here(s, i, n));
    }
    return LT_OK;
}

lt_status lti_scorer_classes(lti_scorer *s, int64_t n, const lti_score_row *rows, lt_real *logits, lt_real *ref_logits)
{
    if (!s->classifier) return lti_fail(s->ctx, LT_EINVAL, "%s has no head of classes", lt_model_family(s->o.model));
    LTI_TRY(check_rows(s, n, rows));
    row_length *sorted;
    LTI_TRY(sort_rows(s, n, rows, &sorted));
    lt_status status = classify_sorted(s, n, rows, sorted, (lt_real *const[]){logits, ref_logits});
    lti_free(s->ctx, sorted);
    return status;
}
