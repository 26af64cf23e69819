/* test_sampling.c - what is drawn from logits, against probabilities worked out here the slow way: all ids sorted, each
 * filter applied to normalised probabilities as its paper says. Draws are judged by chi square. */
#include "infer/sampler.h"
#include "tests/data_files.h"

#include <math.h>

enum { VOCAB = 12, DRAWS = 20000 };

static const lt_real scores[VOCAB] = {(lt_real)1.5,  (lt_real)-0.5, (lt_real)2.0,  (lt_real)0.25,
                                      (lt_real)2.0,  (lt_real)-3,   (lt_real)0.75, (lt_real)1.0,
                                      (lt_real)-1.0, (lt_real)0.5,  (lt_real)-8,   (lt_real)1.25};

/* ---- The oracle ---- */

typedef struct choice {
    double p;
    int id;
} choice;

static int likelier(const void *a, const void *b)
{
    const choice *x = a, *y = b;
    if (x->p != y->p) return x->p < y->p ? 1 : -1;
    return x->id - y->id;
}

/* Leaves the first `kept` and makes them sum to 1. */
static void keep(choice *list, int kept)
{
    double sum = 0;
    for (int i = kept; i < VOCAB; i++) list[i].p = 0;
    for (int i = 0; i < kept; i++) sum += list[i].p;
    for (int i = 0; i < kept; i++) list[i].p /= sum;
}

static void oracle(const lt_sampling *how, const lt_ids *history, double p[VOCAB])
{
    choice list[VOCAB];
    bool seen[VOCAB] = {false};
    for (int64_t i = 0; i < history->count; i++) seen[history->ids[i]] = true;
    for (int i = 0; i < VOCAB; i++) {
        double z = (double)scores[i];
        if (seen[i]) z = z < 0 ? z * how->repetition_penalty : z / how->repetition_penalty;
        list[i] = (choice){exp(z / how->temperature), i};
    }
    keep(list, VOCAB);
    qsort(list, VOCAB, sizeof *list, likelier);
    int kept = how->top_k > 0 && how->top_k < VOCAB ? (int)how->top_k : VOCAB;
    keep(list, kept);
    if (how->top_p < 1) {
        int n = 0;
        for (double sum = 0; n < kept && (n == 0 || sum < how->top_p); n++) sum += list[n].p;
        keep(list, kept = n);
    }
    int n = 0;
    while (n < kept && list[n].p >= how->min_p * list[0].p) n++;
    keep(list, n);
    for (int i = 0; i < VOCAB; i++) p[list[i].id] = list[i].p;
}

/* ---- Distributions ---- */

static void judge(const char *name, const lt_sampling *how, const lt_ids *history)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lti_sampler sampler;
    double p[VOCAB], square = 0;
    int64_t counts[VOCAB] = {0};
    int free_choices = -1;
    oracle(how, history, p);
    if (TS_OK(ctx, lti_sampling_check(ctx, how)) && TS_OK(ctx, lti_sampler_open(ctx, how, VOCAB, &sampler))) {
        for (int64_t t = 0; t < DRAWS; t++) counts[lti_sampler_draw(&sampler, scores, history, 3, t)]++;
        lti_sampler_close(&sampler);
    }
    for (int i = 0; i < VOCAB; i++) {
        if (p[i] == 0) TS_CHECK(counts[i] == 0, "%s: id %d was drawn %lld times", name, i, (long long)counts[i]);
        if (p[i] * DRAWS < 5) continue; /* too rare for the statistic */
        square += pow((double)counts[i] - p[i] * DRAWS, 2) / (p[i] * DRAWS);
        free_choices++;
    }
    /* Wilson and Hilferty's cube: normal for any number of choices. 4 deviations: once in 30,000 seeds. */
    double k = free_choices, z = k > 0 ? (cbrt(square / k) - (1 - 2 / (9 * k))) / sqrt(2 / (9 * k)) : 0;
    TS_CHECK(z < 4, "%s: chi square %g of %g choices", name, square, k);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

static void distributions(void)
{
    const struct {
        const char *name;
        double temperature;
        int64_t top_k;
        double top_p, min_p, penalty;
    } cases[] = {{"plain", 1, 0, 1, 0, 1},
                 {"cold", 0.4, 0, 1, 0, 1},
                 {"hot", 5, 0, 1, 0, 1},
                 {"top 5", 1, 5, 1, 0, 1},
                 {"top 1 of equals", 1, 1, 1, 0, 1},
                 {"top k of all", 1, VOCAB, 1, 0, 1},
                 {"top k of more", 1, 100, 1, 0, 1},
                 {"top p", 1, 0, 0.8, 0, 1},
                 {"top p of few", 1, 0, 0.3, 0, 1},
                 {"top p 0", 1, 0, 0, 0, 1},
                 {"nearly all", 1, 0, 0.9999999, 0, 1},
                 {"min p", 1, 0, 1, 0.3, 1},
                 {"min p 1: the equals", 1, 0, 1, 1, 1},
                 {"top k, then top p of what is left", 1, 6, 0.7, 0, 1},
                 {"all of them", 0.8, 7, 0.9, 0.25, 1.3},
                 {"penalty", 1, 0, 1, 0, 2},
                 {"reward", 1, 0, 1, 0, 0.5}};
    int32_t ids[] = {2, 5, 2, 2, 7};
    lt_ids history = {ids, 5, 5};
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        lt_sampling how;
        lt_sampling_init(&how);
        how.seed = 1 + ts_seed();
        how.temperature = cases[i].temperature;
        how.top_k = cases[i].top_k;
        how.top_p = cases[i].top_p;
        how.min_p = cases[i].min_p;
        how.repetition_penalty = cases[i].penalty;
        judge(cases[i].name, &how, &history);
    }
}

/* ---- Edges ---- */

static int32_t sample(lt_ctx *ctx, const lt_sampling *how, int64_t n, const lt_real *z, int row, int64_t token)
{
    int32_t id = -1;
    TS_OK(ctx, lt_sample(ctx, how, n, z, &(lt_ids){0}, row, token, &id));
    return id;
}

static void greedy(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_sampling how;
    lt_sampling_init(&how);
    TS_CHECK(sample(ctx, &how, VOCAB, scores, 0, 0) == 2, "the first of equals");
    how.repetition_penalty = 1.5;
    int32_t ids[] = {2, 99, -4}, id;
    TS_OK(ctx, lt_sample(ctx, &how, VOCAB, scores, &(lt_ids){ids, 3, 3}, 0, 0, &id));
    TS_CHECK(id == 4, "its equal, after a penalty; ids of no row are passed over");
    TS_OK(ctx, lt_sample(ctx, &how, VOCAB, scores, NULL, 0, 0, &id));
    TS_CHECK(id == 2, "no history, no penalty");
    lt_real below[3] = {-5, (lt_real)-4.5, (lt_real)-4.4};
    TS_OK(ctx, lt_sample(ctx, &how, 3, below, &(lt_ids){(int32_t[]){2}, 1, 1}, 0, 0, &id));
    TS_CHECK(id == 1, "negative scores are multiplied");
    lt_ctx_free(ctx);
}

/* Probabilities 1/6, 1/3, 1/6, 1/3: bounds on either side of their sums. */
static void bounds(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_real z[4] = {0};
    z[1] = (lt_real)log(2), z[3] = (lt_real)log(2);
    const struct {
        double top_p, min_p;
        int kept;
    } cases[] = {{0.33, 0, 1}, {0.34, 0, 2}, {0.66, 0, 2}, {0.67, 0, 3}, {0.84, 0, 4}, {1, 0.49, 4}, {1, 0.51, 2}};
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        bool drawn[4] = {false};
        int kept = 0;
        lt_sampling how;
        lt_sampling_init(&how);
        how.temperature = 1, how.top_p = cases[i].top_p, how.min_p = cases[i].min_p;
        for (int64_t t = 0; t < 400; t++) drawn[sample(ctx, &how, 4, z, 0, t)] = true;
        for (int k = 0; k < 4; k++) kept += drawn[k];
        TS_CHECK(kept == cases[i].kept && drawn[1], "top p %g, min p %g: %d ids were drawn", cases[i].top_p,
                 cases[i].min_p, kept);
        if (kept == 3) TS_CHECK(drawn[0] && !drawn[2], "of equals the first ids stay");
    }
    lt_ctx_free(ctx);
}

static void extremes(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_sampling how;
    lt_sampling_init(&how);
    lt_real far[3] = {(lt_real)-3e38, (lt_real)3e38, (lt_real)2.9e38}, one[1] = {4};
    for (int i = 0; i < 3; i++) {
        how.temperature = (double[]){1e-300, 1, 1e6}[i];
        for (int64_t t = 0; t < 20; t++) {
            TS_CHECK(sample(ctx, &how, 3, far, 0, t) == 1, "far apart, temperature %g", how.temperature);
            TS_CHECK(sample(ctx, &how, 1, one, 0, t) == 0, "the only one");
        }
    }
    how.top_k = 2, how.top_p = 0.5;
    TS_CHECK(sample(ctx, &how, 3, far, 0, 0) == 1, "weights of 0 are never drawn");
    lt_ctx_free(ctx);
}

/* A draw depends on (seed, row, token) and on nothing drawn before. */
static void keys(void)
{
    enum { N = 64 };
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_sampling how;
    lt_sampling_init(&how);
    how.temperature = 2, how.seed = 5;
    int32_t first[N], equal[3] = {0};
    for (int t = 0; t < N; t++) first[t] = sample(ctx, &how, VOCAB, scores, 1, t);
    for (int t = N - 1; t >= 0; t--) {
        TS_CHECK(sample(ctx, &how, VOCAB, scores, 1, t) == first[t], "token %d again, in another order", t);
        equal[0] += sample(ctx, &how, VOCAB, scores, 2, t) == first[t];
        equal[1] += sample(ctx, &how, VOCAB, scores, 1, t + N) == first[t];
        how.seed = 6;
        equal[2] += sample(ctx, &how, VOCAB, scores, 1, t) == first[t];
        how.seed = 5;
    }
    for (int i = 0; i < 3; i++) TS_CHECK(equal[i] < N / 2, "another key draws other ids: %d are equal", equal[i]);
    lt_ctx_free(ctx);
}

/* A vocabulary as large as models have, top k and top p through the heap, against the sorted oracle's rule. */
static void large_vocabulary(void)
{
    enum { N = 50000, K = 40 };
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_real *z = calloc(N, sizeof *z);
    ts_fill_normal("logits", N, 3, z);
    lt_sampling how;
    lt_sampling_init(&how);
    how.temperature = 1, how.top_k = K;
    for (int64_t t = 0; t < 50; t++) {
        int32_t id = sample(ctx, &how, N, z, 0, t);
        int64_t before = 0;
        for (int64_t i = 0; i < N; i++) before += z[i] > z[id] || (z[i] == z[id] && i < id);
        TS_CHECK(before < K, "%lld ids are likelier than the one drawn of the first %d", (long long)before, K);
    }
    how.top_k = 0, how.top_p = 0.2;
    double sum = 0, above;
    for (int64_t i = 0; i < N; i++) sum += exp((double)z[i]);
    for (int64_t t = 0; t < 50; t++) {
        int32_t id = sample(ctx, &how, N, z, 0, t);
        above = 0;
        for (int64_t i = 0; i < N; i++) above += z[i] > z[id] ? exp((double)z[i]) : 0;
        TS_CHECK(above < 0.2 * sum, "those before the one drawn have %g already", above / sum);
    }
    free(z);
    lt_ctx_free(ctx);
}

static void refused(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    const lt_real nan[2] = {1, (lt_real)NAN};
    int32_t id;
    lt_sampling how;
#define REFUSED(field, value, words)                                                                                   \
    lt_sampling_init(&how);                                                                                            \
    how.field = (value);                                                                                               \
    TS_REFUSED(ctx, lt_sample(ctx, &how, VOCAB, scores, NULL, 0, 0, &id), LT_EINVAL, words)
    REFUSED(temperature, -0.1, "temperature is -0.1");
    REFUSED(temperature, NAN, "temperature");
    REFUSED(temperature, INFINITY, "temperature");
    REFUSED(top_k, -1, "top_k");
    REFUSED(top_p, 1.01, "top_p");
    REFUSED(min_p, -0.5, "min_p");
    REFUSED(repetition_penalty, 0, "repetition_penalty");
    REFUSED(max_tokens, 0, "max_tokens");
    REFUSED(n_end, 17, "17 ids");
    REFUSED(n_stop, 1, "stop texts");
    REFUSED(size, 8, "lt_sampling_init");
    lt_sampling_init(&how);
    how.n_stop = 2;
    how.stop = (const char *const[]){"fine", ""};
    TS_REFUSED(ctx, lt_sample(ctx, &how, VOCAB, scores, NULL, 0, 0, &id), LT_EINVAL, "stop text 1 is empty");
    how.stop = (const char *const[]){"fine", "\xC3"};
    TS_REFUSED(ctx, lt_sample(ctx, &how, VOCAB, scores, NULL, 0, 0, &id), LT_EINVAL, "stop text 1 is not UTF-8");
    lt_sampling_init(&how);
    TS_REFUSED(ctx, lt_sample(ctx, &how, 2, nan, NULL, 0, 0, &id), LT_ENONFINITE, "NaN");
    TS_REFUSED(ctx, lt_sample(ctx, &how, 0, nan, NULL, 0, 0, &id), LT_EINVAL, "a vocabulary of 0");
    lt_ctx_free(ctx);
}

int lti_suite_sampling(void)
{
    const ts_test tests[] = {
        {"distributions", distributions}, {"greedy", greedy}, {"bounds", bounds},
        {"extremes", extremes},           {"keys", keys},     {"a large vocabulary", large_vocabulary},
        {"what is refused", refused}};
    return ts_suite("sampling", LTI_COUNT(tests), tests);
}
