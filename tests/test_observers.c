/* test_observers.c - ranges that observers find, against their definitions and (the histogram's) PyTorch's numbers
 * (scripts/goldens_observers.py); batches that are passed over; histograms that grow; static activations as a policy
 * has them: which sites have params, what is rounded, what is refused. */
#include "autograd/ops/observe_range.h"
#include "lathe/models.h"
#include "lathe/nn.h"
#include "lathe/optim.h"
#include "lathe/qat.h"
#include "tests/data_files.h"

#include <float.h>
#include <math.h>

enum { N = 20000 };

/* u^3 / (1.01 - |u|) of a linear congruential generator: long tails. */
static void stream(lt_real *x)
{
    uint32_t state = 1;
    for (int i = 0; i < N; i++) {
        state = state * 1664525u + 1013904223u;
        double u = (double)(int32_t)state / 2147483648.0;
        x[i] = (lt_real)(float)(u * u * u / (1.01 - fabs(u)));
    }
}

typedef struct bench {
    ts_bed t;
    lt_param *scale, *range;
    lt_plan *plan;
} bench;

/* A plan that observes n numbers "x". */
static bool make(bench *b, const lt_observe_config *c, int64_t n)
{
    *b = (bench){0};
    if (!ts_bed_make(&b->t)) return false;
    if (!TS_OK(b->t.ctx, lt_observe_params(b->t.params, "site", c, &b->scale, &b->range))) return false;
    lt_t x = lt_input(b->t.g, "x", LT_F32, 1, &n);
    lt_t y = lt_observe(x, b->scale, b->range, c, lt_scalar(b->t.g, "act_observe", 1));
    return TS_OK(b->t.ctx, ts_compile(b->t.g, TS_PLANNED, 1, &y, &b->plan));
}

static bool see(bench *b, const lt_real *x)
{
    return TS_OK(b->t.ctx, lt_bind(b->plan, "x", x)) && TS_OK(b->t.ctx, lt_run(b->plan));
}

static const lt_real *numbers(const lt_param *p)
{
    return lt_param_read(p);
}

static void drop(bench *b)
{
    lt_plan_free(b->plan);
    ts_bed_drop(&b->t);
}

static bool near(double a, double b, double tolerance)
{
    return fabs(a - b) <= tolerance * fmax(fabs(a), fabs(b));
}

/* ---- Batches ---- */

static void averages_and_extremes(void)
{
    enum { n = 37, BATCHES = 4 };
    static const double rates[] = {0.01, 0.001, 1};
    for (int kind = LT_OBSERVE_AVERAGE; kind <= LT_OBSERVE_MINMAX; kind++)
        for (int i = 0; i < LTI_COUNT(rates); i++) {
            bench b;
            lt_observe_config c;
            lt_observe_config_init(&c);
            c.kind = (lt_observer)kind, c.rate = rates[i];
            if (!make(&b, &c, n)) return;
            double low = 0, high = 0, tolerance = ts_tolerance(1e-13, 1e-5);
            for (int batch = 0; batch < BATCHES; batch++) {
                lt_real x[n];
                double least = INFINITY, most = -INFINITY;
                ts_fill_normal("batch", n, 1 + batch % 3, x);
                for (int k = 0; k < n; k++) least = fmin(least, (double)x[k]), most = fmax(most, (double)x[k]);
                double rate = batch ? c.rate : 1;
                low = kind == LT_OBSERVE_MINMAX ? fmin(batch ? low : least, least) : low + rate * (least - low);
                high = kind == LT_OBSERVE_MINMAX ? fmax(batch ? high : most, most) : high + rate * (most - high);
                if (!see(&b, x)) break;
                double scale = fmax(fabs(low), fabs(high)) / 127;
                TS_CHECK(near((double)numbers(b.scale)[0], scale, tolerance) && numbers(b.scale)[1] == -127,
                         "kind %d rate %g batch %d: scale %g lowest %g; %g is expected", kind, c.rate, batch,
                         (double)numbers(b.scale)[0], (double)numbers(b.scale)[1], scale);
            }
            drop(&b);
        }
}

/* Behind a ReLU codes are 0 .. 255, unless told; zeros alone have the least scale. */
static void one_sided(void)
{
    lt_real x[8] = {0, 1, 2, 0, 4, 5.5, 0, 3}, zeros[8] = {0};
    for (int is_signed = 0; is_signed < 2; is_signed++) {
        bench b;
        lt_observe_config c;
        lt_observe_config_init(&c);
        c.is_signed = is_signed;
        if (!make(&b, &c, 8) || !see(&b, zeros)) return;
        TS_CHECK((double)numbers(b.scale)[0] == (double)FLT_EPSILON, "zeros: scale %g", (double)numbers(b.scale)[0]);
        drop(&b);
        if (!make(&b, &c, 8) || !see(&b, x)) return;
        const lt_real *s = numbers(b.scale);
        TS_CHECK(near((double)s[0], 5.5 / (is_signed ? 127 : 255), 1e-6) && s[1] == (is_signed ? -127 : 0),
                 "signed %d: scale %g lowest %g", is_signed, (double)s[0], (double)s[1]);
        drop(&b);
    }
}

/* Switched off, and of batches that are not finite, nothing is taken. */
static void passed_over(void)
{
    for (int kind = 0; kind <= LT_OBSERVE_PACT; kind++) {
        static lt_real before[4096];
        lt_real x[8] = {1, -2, 3, 0.5, 0, 1, 1, 2};
        bench b;
        lt_observe_config c;
        lt_observe_config_init(&c);
        c.kind = (lt_observer)kind;
        if (!make(&b, &c, 8)) return;
        bool ok = TS_OK(b.t.ctx, lt_set(b.plan, "act_observe", 0)) && see(&b, x);
        TS_CHECK(ok && numbers(b.scale)[0] == 0 && numbers(b.range)[LTI_SEEN] == 0, "kind %d: off, and it saw", kind);
        ok = TS_OK(b.t.ctx, lt_set(b.plan, "act_observe", 1)) && see(&b, x);
        size_t bytes = lt_param_bytes(b.range);
        memcpy(before, numbers(b.range), bytes);
        const lt_real bad[] = {NAN, INFINITY, -INFINITY};
        for (int i = 0; i < 3 && ok; i++) {
            x[3] = bad[i];
            ok = see(&b, x);
            TS_CHECK(ts_same_bytes(bytes, before, numbers(b.range)), "kind %d: %g was taken", kind, (double)bad[i]);
        }
        drop(&b);
    }
}

/* ---- Histograms ---- */

static void see_stream(bench *b, lt_observer kind, double percentile, const lt_real *x)
{
    lt_observe_config c;
    lt_observe_config_init(&c);
    c.kind = kind, c.percentile = percentile;
    if (make(b, &c, N)) see(b, x);
}

static void percentiles(void)
{
    static lt_real x[N];
    static double sorted[N];
    static const double percents[] = {99, 99.9, 100};
    stream(x);
    for (int i = 0; i < N; i++) x[i] = (lt_real)fabs((double)x[i]);
    for (int i = 0; i < N; i++) sorted[i] = (double)x[i];
    qsort(sorted, N, sizeof *sorted, ts_ascending);
    double bin = (sorted[N - 1] - sorted[0]) / LTI_BINS;
    for (int i = 0; i < LTI_COUNT(percents); i++) {
        bench b;
        see_stream(&b, LT_OBSERVE_PERCENTILE, percents[i], x);
        double want = sorted[N - 1 - (int)floor((100 - percents[i]) / 100 * N + 1e-6)];
        double got = (double)numbers(b.scale)[0] * 255;
        TS_CHECK(fabs(got - want) <= 1.5 * bin, "%g %%: %g, not %g within a bin of %g", percents[i], got, want, bin);
        drop(&b);
    }
}

static double error_of(const lt_real *x, double scale, double low, double high)
{
    double error = 0;
    for (int i = 0; i < N; i++) {
        double e = (double)x[i] - fmin(fmax(rint((double)x[i] / scale), low), high) * scale;
        error += e * e;
    }
    return error;
}

/* Of the ranges looked at, none has an error of the numbers themselves that is much less. */
static void least_error(void)
{
    static lt_real x[N];
    for (int is_signed = 0; is_signed < 2; is_signed++) {
        bench b;
        stream(x);
        double most = 0, best = INFINITY, low = is_signed ? -127 : 0, high = is_signed ? 127 : 255;
        for (int i = 0; i < N; i++) {
            if (!is_signed) x[i] = (lt_real)fabs((double)x[i]);
            most = fmax(most, fabs((double)x[i]));
        }
        for (int i = 0; i < 80; i++) best = fmin(best, error_of(x, most * (1 - i * 0.01) / high, low, high));
        see_stream(&b, LT_OBSERVE_MSE, 99.99, x);
        double got = error_of(x, (double)numbers(b.scale)[0], low, high);
        TS_CHECK(got <= 1.02 * best, "signed %d: error %g, the best is %g", is_signed, got, best);
        drop(&b);
    }
}

/* The same ends as PyTorch's, to a bin. */
static void as_torch(void)
{
    static const double want[][2] = {
        {-98.9653549, 98.3839188}, {6.31775141e-16, 98.722084}, {3.99139812e-31, 9678.64746}};
    static lt_real x[N];
    for (int k = 0; k < LTI_COUNT(want); k++) {
        bench b;
        double chosen[2];
        stream(x);
        for (int i = 0; i < N; i++) x[i] = k == 0 ? x[i] : k == 1 ? (lt_real)fabs((double)x[i]) : x[i] * x[i];
        see_stream(&b, LT_OBSERVE_HISTOGRAM, 99.99, x);
        lt_observe_config c;
        lt_observe_config_init(&c);
        c.kind = LT_OBSERVE_HISTOGRAM;
        const lt_real *range = numbers(b.range);
        lti_range_chosen(&c, range, chosen);
        double bin = ((double)range[LTI_MOST] - (double)range[LTI_LEAST]) / LTI_BINS;
        TS_CHECK(fabs(chosen[0] - want[k][0]) < 1.5 * bin && fabs(chosen[1] - want[k][1]) < 1.5 * bin,
                 "stream %d: %g .. %g, not %g .. %g (a bin is %g)", k, chosen[0], chosen[1], want[k][0], want[k][1],
                 bin);
        drop(&b);
    }
}

/* Numbers outside widen it to that side; none is lost, and each lies where its bin says. */
static void histograms_grow(void)
{
    enum { n = 64 };
    static const double factors[] = {1, 5, 0.1, 40, 3};
    bench b;
    lt_observe_config c;
    lt_observe_config_init(&c);
    c.kind = LT_OBSERVE_MSE;
    if (!make(&b, &c, n)) return;
    static lt_real all[LTI_COUNT(factors) * n];
    for (int k = 0; k < LTI_COUNT(factors); k++) {
        ts_fill_normal("grows", n, factors[k], all + k * n);
        if (!see(&b, all + k * n)) break;
    }
    const lt_real *range = numbers(b.range);
    double total = 0, width = ((double)range[LTI_MOST] - (double)range[LTI_LEAST]) / LTI_BINS;
    static double want[LTI_BINS], got[LTI_BINS];
    for (int i = 0; i < LTI_COUNT(all); i++)
        want[(int)fmin(LTI_BINS - 1, floor(((double)all[i] - (double)range[LTI_LEAST]) / width))]++;
    double sum = 0, least = INFINITY;
    for (int i = 0; i < LTI_BINS; i++) {
        total += got[i] = (double)range[LTI_COUNTS + i];
        sum += want[i] - got[i];
        least = fmin(least, -fabs(sum)); /* a number at an edge may be a bin off */
    }
    TS_CHECK(total == LTI_COUNT(all) && sum == 0 && least >= -2, "%g of %d numbers; cumulated counts differ by %g",
             total, LTI_COUNT(all), -least);
    drop(&b);
}

/* ---- Rounding ---- */

static void switched_off(void)
{
    lt_real x[6] = {-9, -0.3, 0.1, 0.26, 3, 9}, y[6];
    for (int turn = 0; turn < 3; turn++) {
        ts_bed t;
        lt_param *grid;
        if (!ts_bed_make(&t) ||
            !TS_OK(t.ctx, lt_params_add(t.params, "grid", LT_F32, 1, &(int64_t){2}, LT_STATE, &grid)))
            return;
        lt_real *g = lt_param_data(grid);
        g[0] = turn == 1 ? 0 : (lt_real)0.25, g[1] = -127;
        lt_plan *plan = NULL;
        lt_t v = lt_fake_quant_static(lt_input(t.g, "x", LT_F32, 1, &(int64_t){6}), lt_param_value(t.g, grid),
                                      lt_scalar(t.g, "act_quant", turn != 2));
        if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 1, &v, &plan)) && TS_OK(t.ctx, lt_bind(plan, "x", x)) &&
            TS_OK(t.ctx, lt_run(plan))) {
            memcpy(y, lt_result(plan, 0), sizeof y);
            for (int i = 0; i < 6; i++) {
                double want = turn ? (double)x[i] : fmin(fmax(rint((double)x[i] * 4), -127), 127) / 4;
                TS_CHECK((double)y[i] == want, "turn %d: %g becomes %g, not %g", turn, (double)x[i], (double)y[i],
                         want);
            }
        }
        lt_plan_free(plan);
        ts_bed_drop(&t);
    }
}

/* ---- The policy ---- */

static lt_cnn_config small_cnn(void)
{
    lt_cnn_config c;
    lt_cnn_config_init(&c);
    c.height = c.width = 6, c.channels = 2, c.classes = 3, c.filters = 4, c.stages = 2;
    return c;
}

static lt_quant_policy static_policy(int bits)
{
    lt_quant_policy p;
    lt_quant_policy_init(&p);
    p.weights = (lt_scheme){.kind = LT_SCHEME_INT, .bits = bits, .per = LT_PER_CHANNEL};
    p.activations = LT_ACT_INT8_STATIC;
    return p;
}

static bool has(const lt_params *params, const char *name)
{
    const lt_param *p = lt_params_find(params, name);
    return p && lt_param_role(p) == LT_STATE && !lt_param_trainable(p);
}

/* Every site of a CNN has its params before and after recording; training fills them, evaluating leaves them. */
static void sites_of_a_cnn(void)
{
    static const char *const sites[] = {"stem.conv",
                                        "stage.0.0.conv1",
                                        "stage.0.0.conv2",
                                        "stage.1.0.conv1",
                                        "stage.1.0.conv2",
                                        "stage.1.0.shortcut.conv",
                                        "head"};
    ts_bed t;
    lt_cnn_config c = small_cnn();
    lt_quant_policy policy = static_policy(8);
    lt_real x[5 * 72];
    if (!ts_bed_make(&t) || !TS_OK(t.ctx, lt_cnn_params(t.params, &c, 1)) ||
        !TS_OK(t.ctx, lt_qat_prepare(t.params, &policy)))
        return;
    int before = lt_params_count(t.params);
    ts_fill_normal("images", LTI_COUNT(x), 1, x);
    for (int turn = 0; turn < 3; turn++) { /* evaluating, training, calibrating */
        lt_plan *plan = NULL;
        ts_bed_again(&t);
        lt_training(t.g, turn == 1);
        policy.calibrate = turn == 2;
        lt_qat_attach(t.g, &policy);
        lt_t z = lt_cnn_logits(t.g, &c, lt_input(t.g, "x", LT_F32, 4, (int64_t[]){5, 6, 6, 2}));
        if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 1, &z, &plan)) && TS_OK(t.ctx, lt_bind(plan, "x", x)))
            TS_OK(t.ctx, lt_run(plan));
        lt_plan_free(plan);
        for (int i = 0; i < LTI_COUNT(sites); i++) {
            char name[64];
            snprintf(name, sizeof name, "%s:act_scale", sites[i]);
            const lt_param *p = lt_params_find(t.params, name);
            TS_CHECK(has(t.params, name) && p, "there is no '%s'", name);
            snprintf(name, sizeof name, "%s:act_range", sites[i]);
            if (!p || !has(t.params, name)) continue;
            int seen = (int)numbers(lt_params_find(t.params, name))[LTI_SEEN];
            TS_CHECK(seen == turn && (numbers(p)[0] > 0) == (turn > 0), "turn %d: %s was seen %d times", turn, name,
                     seen);
            TS_CHECK(turn == 0 || numbers(p)[1] == (i == 0 ? -127 : 0), "%s: lowest code %g", sites[i],
                     (double)numbers(p)[1]);
        }
    }
    TS_CHECK(lt_params_count(t.params) == before, "recording added %d params", lt_params_count(t.params) - before);
    const lt_real *a = numbers(lt_params_find(t.params, "stage.1.0.conv1:act_scale"));
    const lt_real *b = numbers(lt_params_find(t.params, "stage.1.0.shortcut.conv:act_scale"));
    TS_CHECK(ts_same_bytes(2 * sizeof *a, a, b), "two sites of one image have scales %g and %g", (double)a[0],
             (double)b[0]);
    ts_bed_drop(&t);
}

/* Filters and recurrent matrices on integer grids; lattices leave them; groups run along a whole filter. */
static void what_is_meant(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_param *filters = ts_weight(&t, "conv.weight", 1, 4, (int64_t[]){4, 8, 3, 3});
    lt_param *state = ts_weight(&t, "rnn.0.weight_hh", 1, 2, (int64_t[]){64, 32});
    lt_quant_policy p = static_policy(4);
    lt_scheme s = lt_quant_scheme(&p, filters), u = lt_quant_scheme(&p, state);
    TS_CHECK(s.bits == 4 && u.bits == 4, "an integer grid means filters and states");
    p.weights = lt_scheme_of(LT_Q4_0);
    TS_CHECK(lt_quant_type(&p, filters) == LT_F32 && lt_quant_type(&p, state) == LT_F32,
             "a lattice does not mean them");
    TS_REFUSED(t.ctx, lt_qat_prepare(t.params, &p), LT_EINVAL, "int8_static");
    p.activations = LT_ACT_NONE;
    p.weights = (lt_scheme){.kind = LT_SCHEME_INT, .bits = 3, .per = LT_PER_GROUP, .group = 24};
    lt_real want[4 * 72], got[4 * 72];
    if (TS_OK(t.ctx, lt_scheme_apply(t.ctx, &p.weights, LT_SCALE_DYNAMIC, 4, 72, lt_param_read(filters), want))) {
        lt_qat_attach(t.g, &p);
        lt_conv_config how;
        lt_conv_config_init(&how);
        lt_plan *plan = NULL;
        lt_site site = {.graph = t.g, .name = "conv", .kind = LT_SITE_CONV, .param = filters};
        lt_t w = lt_site_weight(&site);
        if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 1, &w, &plan)) && TS_OK(t.ctx, lt_run(plan)))
            memcpy(got, lt_result(plan, 0), sizeof got);
        TS_CHECK(lt_rank(w) == 4 && ts_same_bytes(sizeof got, got, want), "filters in groups of 24 of 72");
        lt_plan_free(plan);
    }
    ts_bed_drop(&t);
}

static void names_and_refusals(void)
{
    ts_bed t;
    lt_param *scale, *range;
    lt_observe_config c;
    if (!ts_bed_make(&t)) return;
    for (int k = 0; k <= LT_OBSERVE_PACT; k++) {
        lt_observer back = LT_OBSERVE_AVERAGE;
        TS_CHECK(lt_observer_parse(lt_observer_name((lt_observer)k), &back) && (int)back == k, "observer %d", k);
    }
    lt_observer unused;
    TS_CHECK(!lt_observer_parse("median", &unused), "'median' is an observer");
    lt_observe_config_init(&c);
    TS_OK(t.ctx, lt_observe_params(t.params, "a", &c, &scale, &range));
    c.kind = LT_OBSERVE_HISTOGRAM;
    TS_REFUSED(t.ctx, lt_observe_params(t.params, "a", &c, &scale, &range), LT_EINVAL, "another kind of observer");
    lt_t x = lt_input(t.g, "x", LT_F32, 1, &(int64_t){4});
    lt_observe(x, scale, range, &c, lt_scalar(t.g, "on", 1));
    TS_CHECK(lt_graph_status(t.g) == LT_EINVAL && strstr(lt_graph_message(t.g), "lt_observe_params"), "%s",
             lt_graph_message(t.g));
    ts_bed_again(&t);
    c.kind = LT_OBSERVE_AVERAGE, c.rate = 0;
    lt_observe(lt_input(t.g, "x", LT_F32, 1, &(int64_t){4}), scale, range, &c, lt_scalar(t.g, "on", 1));
    TS_CHECK(lt_graph_status(t.g) == LT_EINVAL && strstr(lt_graph_message(t.g), "rate"), "%s", lt_graph_message(t.g));
    ts_bed_again(&t);
    x = lt_input(t.g, "x", LT_F32, 1, &(int64_t){4});
    lt_fake_quant_static(x, x, lt_scalar(t.g, "on", 1));
    TS_CHECK(lt_graph_status(t.g) == LT_EINVAL && strstr(lt_graph_message(t.g), "lowest code"), "%s",
             lt_graph_message(t.g));
    ts_bed_drop(&t);
}

int lti_suite_observers(void)
{
    static const ts_test tests[] = {{"moving averages and extremes", averages_and_extremes},
                                    {"one side, both sides, zeros", one_sided},
                                    {"what is passed over", passed_over},
                                    {"percentiles", percentiles},
                                    {"least squared error", least_error},
                                    {"histograms as PyTorch", as_torch},
                                    {"histograms grow", histograms_grow},
                                    {"switched off, or nothing seen", switched_off},
                                    {"the sites of a CNN", sites_of_a_cnn},
                                    {"filters and states", what_is_meant},
                                    {"names and refusals", names_and_refusals}};
    return ts_suite("observers", LTI_COUNT(tests), tests);
}
