/* test_static_learned.c - scales of static activations that training learns: their gradients against the formulas, the
 * batches they start from, bad starts that training mends, what is kept behind an update, whole runs. And products of static
 * activations in integers, beside the same product of the same numbers in float. */
#include "autograd/ops/observe_range.h"
#include "base/text.h"
#include "lathe/nn.h"
#include "lathe/optim.h"
#include "lathe/qat.h"
#include "tests/toy_run.h"

#include <float.h>
#include <math.h>

static lt_param *grid_param(ts_bed *t, double scale, double lowest)
{
    lt_param *grid = NULL;
    if (!TS_OK(t->ctx, lt_params_add(t->params, "grid", LT_F32, 1, &(int64_t){2}, LT_STATE, &grid))) return NULL;
    lt_real *g = lt_param_data(grid);
    g[0] = (lt_real)scale, g[1] = (lt_real)lowest;
    return grid;
}

/* ---- Gradients ---- */

typedef struct gradients {
    int64_t n;
    lt_real *dx, ds[2];
} gradients;

/* Of <dy, y> by x and by the grid. */
static void differentiate(lt_observer rule, double scale, double lowest, double on, const lt_real *x, const lt_real *dy,
                          gradients *out)
{
    ts_bed t;
    lt_plan *plan = NULL;
    if (!ts_bed_make(&t)) return;
    lt_t g = lt_param_value(t.g, grid_param(&t, scale, lowest)), d[2];
    lt_t v = lt_input(t.g, "x", LT_F32, 1, &out->n), seed = lt_input(t.g, "dy", LT_F32, 1, &out->n);
    lt_t y = lt_fake_quant_learned(v, g, lt_scalar(t.g, "on", on), rule);
    lt_grad_seeded(y, seed, 2, (lt_t[]){v, g}, d);
    if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 2, d, &plan)) && TS_OK(t.ctx, lt_bind(plan, "x", x)) &&
        TS_OK(t.ctx, lt_bind(plan, "dy", dy)) && TS_OK(t.ctx, lt_run(plan))) {
        memcpy(out->dx, lt_result(plan, 0), (size_t)out->n * sizeof *out->dx);
        memcpy(out->ds, lt_result(plan, 1), sizeof out->ds);
    }
    lt_plan_free(plan);
    ts_bed_drop(&t);
}

/* The formulas of the papers, in double; what decides a code is rounded as the kernels do. */
static double expected(lt_observer rule, double scale, double lowest, int64_t n, const lt_real *x, const lt_real *dy,
                       lt_real *dx)
{
    double high = lowest < 0 ? 127 : 255, sum = 0;
    bool pact = rule == LT_OBSERVE_PACT && lowest == 0;
    lt_real s = (lt_real)scale, bound = (lt_real)high * s;
    for (int64_t i = 0; i < n; i++) {
        double v = (double)(x[i] * (1 / s)), code = rint(v), d = (double)dy[i];
        bool inside = pact ? x[i] >= 0 && x[i] < bound : code >= lowest && code <= high;
        dx[i] = inside ? dy[i] : 0;
        if (pact)
            sum += x[i] >= bound ? d : 0;
        else
            sum += d * (inside ? code - (double)x[i] / (double)s : code < lowest ? lowest : high);
    }
    return pact ? sum / 255 : sum / sqrt((double)n * high);
}

static void gradients_by_formula(void)
{
    enum { MOST = 2 * 65536 + 1234 };
    static lt_real x[MOST], dy[MOST], dx[MOST], want[MOST], again[MOST];
    const struct {
        lt_observer rule;
        double scale, lowest;
        int64_t n;
    } cases[] = {{LT_OBSERVE_LSQ, 0.01, -127, 37},    {LT_OBSERVE_LSQ, 0.004, 0, 37},
                 {LT_OBSERVE_PACT, 0.004, 0, 37},     {LT_OBSERVE_PACT, 0.01, -127, 37},
                 {LT_OBSERVE_LSQ, 0.013, -127, MOST}, {LT_OBSERVE_PACT, 0.006, 0, MOST}};
    int threads = lt_threads();
    ts_fill_normal("activations", MOST, 1, x);
    ts_fill_normal("cotangents", MOST, 1, dy);
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        gradients one = {.n = cases[i].n, .dx = dx}, three = {.n = cases[i].n, .dx = again};
        if (cases[i].lowest == 0) x[3] = (lt_real)255 * (lt_real)cases[i].scale; /* the bound itself is outside */
        double s = expected(cases[i].rule, cases[i].scale, cases[i].lowest, one.n, x, dy, want);
        lt_set_threads(1);
        differentiate(cases[i].rule, cases[i].scale, cases[i].lowest, 1, x, dy, &one);
        lt_set_threads(3);
        differentiate(cases[i].rule, cases[i].scale, cases[i].lowest, 1, x, dy, &three);
        lt_set_threads(threads);
        TS_CHECK(fabs((double)one.ds[0] - s) <= ts_tolerance(1e-12, 2e-5) * (1 + fabs(s)) && one.ds[1] == 0,
                 "case %d: ds %.9g and %g, not %.9g and 0", i, (double)one.ds[0], (double)one.ds[1], s);
        TS_CHECK(ts_same_bytes((size_t)one.n * sizeof *dx, dx, want), "case %d: dx", i);
        TS_CHECK(ts_same_bytes(sizeof one.ds, one.ds, three.ds) && ts_same_bytes((size_t)one.n * sizeof *dx, dx, again),
                 "case %d: three threads have other bits", i);
        differentiate(cases[i].rule, cases[i].scale, cases[i].lowest, 0, x, dy, &one);
        TS_CHECK(one.ds[0] == 0 && ts_same_bytes((size_t)one.n * sizeof *dx, dx, dy), "case %d, off: ds %g", i,
                 (double)one.ds[0]);
    }
}

/* ---- Starts ---- */

/* The mean of the first batches' ends; later ones change nothing, not even the sign of the codes. */
static void first_batches(void)
{
    enum { N = 40, WARM = 3 };
    ts_bed t;
    lt_observe_config c;
    lt_param *scale, *range;
    lt_plan *plan = NULL;
    lt_observe_config_init(&c);
    TS_CHECK(c.warm_up == 16, "16 batches");
    c.kind = LT_OBSERVE_LSQ, c.warm_up = WARM;
    if (!ts_bed_make(&t) || !TS_OK(t.ctx, lt_observe_params(t.params, "site", &c, &scale, &range))) return;
    TS_CHECK(lt_param_trainable(scale) && !lt_param_trainable(range), "the scale is trained, the range is not");
    lt_t y = lt_observe(lt_input(t.g, "x", LT_F32, 1, &(int64_t){N}), scale, range, &c, lt_scalar(t.g, "on", 1));
    if (!TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 1, &y, &plan))) return;
    double sum = 0;
    for (int batch = 0; batch < WARM + 3; batch++) {
        lt_real x[N];
        double most = 0;
        ts_fill_normal(batch == 2 ? "third" : "batch", N, 1 + batch, x);
        for (int i = 0; i < N; i++) x[i] = (lt_real)fabs((double)x[i]);
        for (int i = 0; i < N; i++) most = fmax(most, (double)x[i]);
        if (batch == WARM) x[5] = -1;
        TS_OK(t.ctx, lt_bind(plan, "x", x));
        TS_OK(t.ctx, lt_run(plan));
        if (batch < WARM) sum += most;
        double want = sum / (batch < WARM ? batch + 1 : WARM) / 255;
        const lt_real *s = lt_param_read(scale);
        TS_CHECK(fabs((double)s[0] - want) <= 1e-6 * want && s[1] == 0, "batch %d: %g, %g, not %g", batch, (double)s[0],
                 (double)s[1], want);
    }
    c.kind = LT_OBSERVE_AVERAGE;
    TS_OK(t.ctx, lt_observe_params(t.params, "site", &c, &scale, &range));
    TS_CHECK(!lt_param_trainable(scale), "observed only: no optimizer is to take it");
    lt_plan_free(plan);
    ts_bed_drop(&t);
}

/* ---- Training ---- */

enum { ROWS = 32, IN = 24, OUT = 8 };

typedef struct fit {
    double before, after, scale;
} fit;

/* A linear layer that stays is to give what it gives in float, from a scale `factor` times as large as it should be: the
 * loss is what rounding x does. */
static fit fitted(lt_observer kind, double factor, bool is_signed, bool learns)
{
    ts_bed t;
    fit f = {NAN, NAN, NAN};
    if (!ts_bed_make(&t)) return f;
    lt_real x[ROWS * IN], y[ROWS * OUT];
    lt_optimizer *opt = NULL;
    lt_plan *plan = NULL;
    lt_optimizer_config oc;
    lt_quant_policy policy;
    lt_optimizer_config_init(&oc);
    oc.kind = LT_ADAMW, oc.weight_decay = 0, oc.max_grad_norm = 0;
    lt_quant_policy_init(&policy);
    policy.weights = (lt_scheme){.kind = LT_SCHEME_INT, .bits = 8, .per = LT_PER_CHANNEL};
    policy.activations = LT_ACT_INT8_STATIC, policy.observer = kind;
    ts_fill_normal("fit x", ROWS * IN, 1, x);
    for (int i = 0; i < ROWS * IN && !is_signed; i++) x[i] = (lt_real)fabs((double)x[i]);
    lt_param *w = ts_weight(&t, "fc.weight", 0.3, 2, (int64_t[]){OUT, IN});
    const lt_real *v = lt_param_read(w);
    for (int i = 0; i < ROWS * OUT; i++) {
        double sum = 0;
        for (int k = 0; k < IN; k++) sum += (double)x[i / OUT * IN + k] * (double)v[i % OUT * IN + k];
        y[i] = (lt_real)sum;
    }
    TS_OK(t.ctx, lt_qat_prepare(t.params, &policy));
    lt_param *scale = lt_params_find(t.params, "fc:act_scale"), *range = lt_params_find(t.params, "fc:act_range");
    lt_real *s = lt_param_data(scale);
    s[0] = (lt_real)(factor * 3 / (is_signed ? 127 : 255)), s[1] = is_signed ? -127 : 0;
    ((lt_real *)lt_param_data(range))[LTI_SEEN] = 16; /* the first batches are over */
    lt_param_set_trainable(scale, true);
    lt_param_set_trainable(w, false);
    if (TS_OK(t.ctx, lt_optimizer_create(t.ctx, t.params, &oc, &opt))) {
        lt_qat_attach(t.g, &policy);
        lt_t z = lt_nn_linear(lt_input(t.g, "x", LT_F32, 2, (int64_t[]){ROWS, IN}), "fc");
        lt_t loss = lt_mse(z, lt_input(t.g, "y", LT_F32, 2, (int64_t[]){ROWS, OUT}));
        lt_optimizer_fused(opt, t.g, loss);
        lt_qat_after_update(t.g, &policy);
        if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 1, &loss, &plan))) TS_OK(t.ctx, lt_bind(plan, "x", x));
    }
    for (int step = 1; plan && step <= 400; step++) {
        TS_OK(t.ctx, lt_bind(plan, "y", y));
        TS_OK(t.ctx, lt_set(plan, "lr", learns ? 0.01 * (1 - step / 401.0) : 0));
        TS_OK(t.ctx, lt_set(plan, "step", step));
        if (!TS_OK(t.ctx, lt_run(plan))) break;
        f.after = (double)*(const lt_real *)lt_result(plan, 0);
        if (step == 1) f.before = f.after;
    }
    f.scale = (double)s[0];
    TS_CHECK(s[1] == (is_signed ? -127 : 0), "the lowest code became %g", (double)s[1]);
    lt_plan_free(plan);
    lt_optimizer_free(opt);
    ts_bed_drop(&t);
    return f;
}

static void bad_starts_are_mended(void)
{
    const struct {
        lt_observer kind;
        double factor;
        bool is_signed;
    } cases[] = {{LT_OBSERVE_LSQ, 40, true},
                 {LT_OBSERVE_LSQ, 60, false},
                 {LT_OBSERVE_PACT, 40, true},
                 {LT_OBSERVE_LSQ, 0.05, true},
                 {LT_OBSERVE_PACT, 0.05, false}};
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        fit left = fitted(cases[i].kind, cases[i].factor, cases[i].is_signed, false);
        fit learned = fitted(cases[i].kind, cases[i].factor, cases[i].is_signed, true);
        TS_CHECK(learned.before == left.before && learned.after < 0.1 * left.after,
                 "case %d: loss %g falls to %g, and to %g where the scale is left", i, learned.before, learned.after,
                 left.after);
    }
}

/* ---- Behind an update ---- */

static void behind_an_update(void)
{
    ts_bed t;
    lt_param *scale, *range, *average;
    lt_quant_policy policy;
    lt_observe_config c;
    lt_observe_config_init(&c);
    lt_quant_policy_init(&policy);
    policy.activations = LT_ACT_INT8_STATIC, policy.observer = c.kind = LT_OBSERVE_LSQ;
    if (!ts_bed_make(&t) || !TS_OK(t.ctx, lt_observe_params(t.params, "a", &c, &scale, &range)) ||
        !TS_OK(t.ctx, lt_params_add(t.params, "a:act_scale:ema", LT_F32, 1, &(int64_t){2}, LT_STATE, &average)))
        return;
    const struct {
        double seen, scale, average, want_scale, want_average;
    } cases[] = {{0, -0.5, 0, -0.5, -0.5}, /* nothing was seen: it counts as none */
                 {1, -0.5, 0, FLT_EPSILON, FLT_EPSILON},
                 {15, 0.25, 0.75, 0.25, 0.25},
                 {16, 0.25, 0.75, 0.25, 0.75}};
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        lt_real *s = lt_param_data(scale), *r = lt_param_data(range), *a = lt_param_data(average);
        s[0] = (lt_real)cases[i].scale, s[1] = -127, r[LTI_SEEN] = (lt_real)cases[i].seen;
        a[0] = (lt_real)cases[i].average, a[1] = (lt_real)-126.99;
        lt_plan *plan = NULL;
        if (!ts_bed_again(&t)) return;
        lt_qat_after_update(t.g, &policy);
        lt_t y = lt_constant(t.g, 1);
        if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 1, &y, &plan))) TS_OK(t.ctx, lt_run(plan));
        lt_plan_free(plan);
        TS_CHECK((double)s[0] == cases[i].want_scale && (double)a[0] == cases[i].want_average && a[1] == -127,
                 "case %d: scale %g, average %g, %g", i, (double)s[0], (double)a[0], (double)a[1]);
    }
    ts_bed_drop(&t);
}

/* ---- Runs ---- */

/* Two batches a step, so that the first 16 are over in the middle. */
static void learn(toy_run *r)
{
    lt_quant_policy *p = &r->config.quant;
    p->weights = (lt_scheme){.kind = LT_SCHEME_INT, .bits = 8, .per = LT_PER_CHANNEL};
    p->activations = LT_ACT_INT8_STATIC, p->observer = LT_OBSERVE_LSQ;
    r->config.grad_accumulation_steps = 2;
}

static void observe(toy_run *r)
{
    learn(r);
    r->config.quant.observer = LT_OBSERVE_AVERAGE;
}

static void learn_averaged(toy_run *r)
{
    learn(r);
    r->config.ema_decay = 0.9, r->config.weight_decay = 0.1;
}

static void stopping_changes_no_bit(void)
{
    toy_stopped_and_resumed("learned activations", learn, TOY_STOPS(3, 7, 8, 10));
    toy_stopped_and_resumed("learned activations, averaged", learn_averaged, TOY_STOPS(9));
}

/* Moved at a tenth of the rate by the steps that were left, and what a finished run leaves is what it evaluated with. */
static void learned_in_a_run(void)
{
    ts_place p = ts_open_place();
    char out[512], final[600];
    snprintf(out, sizeof out, "%s/run", p.dir);
    toy_run r = toy_new_run(&p, out);
    lt_model *read = NULL;
    lt_eval_result e = {0};
    int taken = 0;
    learn(&r);
    snprintf(final, sizeof final, "%s", out);
    bool ok = TS_OK(p.ctx, toy_go(&r)) && TS_OK(p.ctx, lt_model_save(r.model, final, "F32")) &&
              TS_OK(p.ctx, lt_model_save_grids(r.model, &r.config.quant, final));
    const lt_params *params = ok ? lt_model_params(r.model) : NULL;
    int learned = 0;
    for (int i = 0; params && i < lt_params_count(params); i++) {
        const lt_param *s = lt_params_at(params, i);
        char name[256];
        if (!lti_ends_with(lt_param_name(s), ":act_scale")) continue;
        snprintf(name, sizeof name, "%.*srange", (int)strlen(lt_param_name(s)) - 5, lt_param_name(s));
        const lt_real *x = lt_param_read(s), *range = lt_param_read(lt_params_find(params, name));
        double start = fmax(fabs((double)range[LTI_LEAST]), fabs((double)range[LTI_MOST])) / 127;
        double moved = fabs((double)x[0] - start), most = 5 * 0.1 * r.config.learning_rate;
        TS_CHECK(range[LTI_SEEN] == 16 && x[1] == -127 && moved <= most, "%s: %g batches, %g, moved by %g of %g", name,
                 (double)range[LTI_SEEN], (double)x[1], moved, most);
        learned += moved > 1e-5;
    }
    TS_CHECK(learned >= 10, "%d scales were learned", learned);
    lt_dataset *valid = ok ? toy_text(p.ctx, r.model, LT_SPLIT_VALID) : NULL;
    if (valid && TS_OK(p.ctx, lt_model_open(p.ctx, final, &read)) &&
        TS_OK(p.ctx, lt_model_take_grids(read, final, &taken)) &&
        TS_OK(p.ctx, lt_evaluate(read, valid, &r.config.quant, 0, &e)))
        TS_CHECK(taken > 0 && fabs(e.nll - r.result.valid_loss) <= ts_tolerance(1e-6, 1e-9) * e.nll,
                 "%d grids: %.9g, evaluated %.9g", taken, e.nll, r.result.valid_loss);
    lt_dataset_free(valid);
    lt_model_free(read);
    lt_model_free(r.model);
    ts_close_place(&p);
}

/* ---- In integers ---- */

typedef struct product {
    int64_t rows, columns, out; /* x [rows, columns], w [out, columns] */
    double scale, lowest;
    const char *weights;
    lt_scale_rule rule;
    bool integer_backward;
} product;

enum { MOST_NUMBERS = 160 * 130 };

typedef struct results {
    lt_real y[MOST_NUMBERS], dx[MOST_NUMBERS], dw[MOST_NUMBERS];
    int steps;
} results;

/* x w^T of both on their grids, and its gradients; `apart`: w comes through another node, so that nothing is found. */
static void multiply(const product *c, bool apart, double on, double broken, results *out)
{
    ts_bed t;
    lt_plan *plan = NULL;
    static lt_real x[MOST_NUMBERS], seed[MOST_NUMBERS];
    if (!ts_bed_make(&t)) return;
    lt_param *w = ts_weight(&t, "w", 0.3, 2, (int64_t[]){c->out, c->columns}), *learned = NULL;
    lt_fake_quant_config config;
    lt_scheme s;
    lt_fake_quant_config_init(&config);
    TS_OK(t.ctx, lt_scheme_parse(t.ctx, c->weights, &s));
    config.scale = c->rule, config.learned = config.offset = lt_nil(t.g);
    if (c->rule == LT_SCALE_LSQ && TS_OK(t.ctx, lt_params_add(t.params, "t", LT_F32, 1, &c->out, LT_STATE, &learned))) {
        for (int64_t i = 0; i < c->out; i++) ((lt_real *)lt_param_data(learned))[i] = (lt_real)(i ? 0.004 : -1);
        config.learned = lt_param_value(t.g, learned);
    }
    ts_fill_normal("x of a product", c->rows * c->columns, 1, x);
    ts_fill_normal("dy of a product", c->rows * c->out, 1, seed);
    x[0] = (lt_real)(broken != 0 ? broken : (double)x[0]);
    if (c->integer_backward) lt_integer_backward(t.g, true);
    lt_t v = lt_input(t.g, "x", LT_F32, 2, (int64_t[]){c->rows, c->columns}), wv = lt_param_value(t.g, w), d[3];
    lt_t xq =
        lt_fake_quant_static(v, lt_param_value(t.g, grid_param(&t, c->scale, c->lowest)), lt_scalar(t.g, "on", on));
    lt_t wq = lt_fake_quant(wv, &s, &config);
    d[0] = lt_matmul(xq, apart ? lt_scale(wq, 1) : wq, LT_TRANSPOSE_B);
    lt_grad_seeded(d[0], lt_input(t.g, "dy", LT_F32, 2, (int64_t[]){c->rows, c->out}), 2, (lt_t[]){v, wv}, d + 1);
    if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 3, d, &plan)) && TS_OK(t.ctx, lt_bind(plan, "x", x)) &&
        TS_OK(t.ctx, lt_bind(plan, "dy", seed)) && TS_OK(t.ctx, lt_run(plan))) {
        memcpy(out->y, lt_result(plan, 0), (size_t)(c->rows * c->out) * sizeof *out->y);
        memcpy(out->dx, lt_result(plan, 1), (size_t)(c->rows * c->columns) * sizeof *out->dx);
        memcpy(out->dw, lt_result(plan, 2), (size_t)(c->out * c->columns) * sizeof *out->dw);
        out->steps = ts_count_steps(&t, plan, "matmul_static");
    }
    lt_plan_free(plan);
    ts_bed_drop(&t);
}

static void integers_and_floats(void)
{
    const struct {
        product p;
        int steps;
    } cases[] = {{{7, 33, 5, 0.02, -127, "int8:channel", LT_SCALE_DYNAMIC, false}, 1},
                 {{130, 96, 70, 0.02, -127, "int8:channel", LT_SCALE_DYNAMIC, false}, 1},
                 {{130, 96, 70, 0.01, 0, "int8:channel", LT_SCALE_DYNAMIC, false}, 1},
                 {{7, 33, 5, 0, 0, "int8:channel", LT_SCALE_DYNAMIC, false}, 1},
                 {{1, 33, 5, 0.02, -127, "int8:channel,full", LT_SCALE_MSE, false}, 1},
                 {{7, 33, 5, 0.02, -127, "int4:channel", LT_SCALE_LSQ, false}, 1},
                 {{70, 96, 40, 0.02, -127, "int8:channel", LT_SCALE_DYNAMIC, true}, 1},
                 {{7, 64, 5, 0.02, -127, "int8:g32", LT_SCALE_DYNAMIC, false}, 0},
                 {{7, 33, 5, 0.02, -127, "int8:channel,asym", LT_SCALE_DYNAMIC, false}, 0}};
    static results whole, real, again;
    int threads = lt_threads();
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        const product *c = &cases[i].p;
        double near = ts_tolerance(1e-13, 2e-6), off = c->integer_backward ? 0.02 : near;
        lt_set_threads(1);
        multiply(c, false, 1, 0, &whole);
        multiply(c, true, 1, 0, &real);
        lt_set_threads(3);
        multiply(c, false, 1, 0, &again);
        lt_set_threads(threads);
        double y = ts_distance_real(c->rows * c->out, whole.y, real.y);
        double dx = ts_distance_real(c->rows * c->columns, whole.dx, real.dx);
        double dw = ts_distance_real(c->out * c->columns, whole.dw, real.dw);
        TS_CHECK(whole.steps == cases[i].steps && real.steps == 0, "case %d: %d products in integers", i, whole.steps);
        TS_CHECK(y <= near && dx <= off && dw <= near, "case %d: y %g, dx %g, dw %g", i, y, dx, dw);
        TS_CHECK(!c->integer_backward || dx > near, "case %d: dx is no sum of integers: %g", i, dx);
        TS_CHECK(ts_same_bytes(sizeof whole.y, whole.y, again.y) && ts_same_bytes(sizeof whole.dw, whole.dw, again.dw),
                 "case %d: three threads have other bits", i);
    }
}

/* Off, the numbers are not on the grid; and a number that is none spoils its row alone. */
static void off_and_broken(void)
{
    const product c = {7, 33, 5, 0.02, -127, "int8:channel", LT_SCALE_DYNAMIC, false};
    static results a, b;
    multiply(&c, false, 0, 0, &a);
    multiply(&c, true, 0, 0, &b);
    double y = ts_distance_real(7 * 5, a.y, b.y);
    TS_CHECK(a.steps == 1 && y <= ts_tolerance(1e-13, 2e-6), "off: y %g", y);
    multiply(&c, false, 1, NAN, &a);
    bool nan = true, finite = true;
    for (int i = 0; i < 5; i++) nan &= isnan((double)a.y[i]);
    for (int i = 5; i < 35; i++) finite &= isfinite((double)a.y[i]);
    TS_CHECK(nan && finite, "the row with a NaN is NaN (%d), others are not (%d)", nan, finite);
}

/* Layers of a model's plan are found in training. Evaluation stays in floats, as that of the exported numbers. */
static void a_models_products(void)
{
    ts_place p = ts_open_place();
    toy_run r = toy_new_run(&p, NULL), q = r;
    r.config.save_every = q.config.save_every = 0;
    observe(&r);
    learn(&q);
    q.config.steps = r.config.steps = STEPS;
    TS_OK(p.ctx, toy_go(&r));
    TS_OK(p.ctx, toy_go(&q));
    TS_CHECK(r.result.last_loss < r.result.first_loss && q.result.last_loss < q.result.first_loss,
             "loss %g to %g, learned %g to %g", r.result.first_loss, r.result.last_loss, q.result.first_loss,
             q.result.last_loss);
    for (int training = 0; training < 2; training++) {
        ts_bed t = {.ctx = p.ctx, .params = lt_model_params(r.model)};
        lt_plan *plan = NULL;
        const int64_t shape[2] = {1, 8};
        TS_OK(p.ctx, lt_graph_create(p.ctx, t.params, &t.g));
        lt_training(t.g, training);
        lt_qat_attach(t.g, &r.config.quant);
        lt_t z = lt_model_logits(r.model, t.g, &(lt_model_input){.tokens = lt_input(t.g, "tokens", LT_I32, 2, shape)});
        if (TS_OK(p.ctx, ts_compile(t.g, TS_PLANNED, 1, &z, &plan))) {
            int n = ts_count_steps(&t, plan, "matmul_static") + ts_count_steps(&t, plan, "matmul_static_add");
            TS_CHECK(n == 14 * training, "training %d: %d products of 14 are in integers", training, n);
        }
        lt_plan_free(plan);
        lt_graph_free(t.g);
    }
    lt_model_free(r.model);
    lt_model_free(q.model);
    ts_close_place(&p);
}

int lti_suite_static_learned(void)
{
    static const ts_test tests[] = {{"gradients by formula", gradients_by_formula},
                                    {"the first batches", first_batches},
                                    {"bad starts are mended", bad_starts_are_mended},
                                    {"behind an update", behind_an_update},
                                    {"stopping changes no bit", stopping_changes_no_bit},
                                    {"learned in a run", learned_in_a_run},
                                    {"integers and floats", integers_and_floats},
                                    {"off, and broken", off_and_broken},
                                    {"a model's products", a_models_products}};
    return ts_suite("static_learned", LTI_COUNT(tests), tests) || toy_one_thread("static_learned");
}
