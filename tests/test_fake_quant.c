/* test_fake_quant.c - values on integer grids and the gradients of every rule: against the formulas (oracle_grids.h), against
 * PyTorch (scripts/goldens_quant.py); proximal maps; what has no number; what is refused. Learned scales in training are
 * in test_learned_scales.c. */
#include "lathe/scheme.h"

#include "autograd/op.h"
#include "tests/data_files.h"
#include "tests/golden.h"
#include "tests/oracle_grids.h"

#include <math.h>
#include <stdlib.h>

extern const lti_op lti_op_fake_quant;

/* ---- One rule, recorded and run ---- */

typedef struct rule_case {
    const char *scheme;
    lt_scale_rule rule;
    lt_round_gradient gradient;
    int64_t rows, columns;
    double factor;
} rule_case;

typedef struct rule_run {
    int64_t count, groups;
    bool learned, offset;
    lt_real *x, *dy, *s, *b;         /* in: weights, cotangent, learned scales and offsets */
    lt_real *y, *dx, *ds, *db;       /* out */
    double *in, *seed, *scale, *low; /* the same as double */
    ts_grid grid;
} rule_run;

static lt_real *reals(int64_t n)
{
    lt_real *x = calloc((size_t)n + 1, sizeof *x);
    if (!x) abort();
    return x;
}

static double *doubles(const lt_real *x, int64_t n)
{
    double *y = calloc((size_t)n + 1, sizeof *y);
    if (!y) abort();
    for (int64_t i = 0; i < n; i++) y[i] = (double)x[i];
    return y;
}

/* Scales for numbers of deviation 1: some of them lie outside. */
static void choose_learned(rule_run *r, const rule_case *c)
{
    double levels = pow(2, r->grid.scheme.kind == LT_SCHEME_INT ? r->grid.scheme.bits : 1);
    for (int64_t i = 0; i < r->groups; i++) {
        double u = 0.5 + ts_uniform("scale", i);
        bool steps = c->rule == LT_SCALE_LSQ || c->rule == LT_SCALE_LSQ_PLUS;
        r->s[i] = (lt_real)(steps ? 2.5 * u / levels : c->rule == LT_SCALE_RANGE ? 2 * u : u);
        r->b[i] = (lt_real)(0.7 * ts_normal("offset", i) - (r->grid.scheme.asymmetric ? 1 : 0));
    }
}

static void rule_make(rule_run *r, const rule_case *c)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    *r = (rule_run){.count = c->rows * c->columns};
    r->grid = (ts_grid){
        .rule = c->rule, .gradient = c->gradient, .factor = c->factor, .rows = c->rows, .columns = c->columns};
    TS_OK(ctx, lt_scheme_parse(ctx, c->scheme, &r->grid.scheme));
    lt_ctx_free(ctx);
    r->groups = ts_grid_groups(&r->grid);
    r->learned = c->rule > LT_SCALE_MSE;
    r->offset = c->rule == LT_SCALE_LSQ_PLUS || (c->rule == LT_SCALE_RANGE && r->grid.scheme.asymmetric);
    r->x = reals(r->count), r->dy = reals(r->count), r->y = reals(r->count), r->dx = reals(r->count);
    r->s = reals(r->groups), r->b = reals(r->groups), r->ds = reals(r->groups), r->db = reals(r->groups);
    ts_fill_normal("x", r->count, 1, r->x);
    ts_fill_normal("dy", r->count, 1, r->dy);
    choose_learned(r, c);
    r->scale = doubles(r->s, r->groups), r->low = doubles(r->b, r->groups);
    if (r->learned) r->grid.learned = r->scale;
    if (r->offset) r->grid.offset = r->low;
    if (r->learned) ts_grid_avoid_ties(&r->grid, r->x);
    r->in = doubles(r->x, r->count), r->seed = doubles(r->dy, r->count);
}

static void rule_drop(rule_run *r)
{
    void *all[] = {r->x, r->dy, r->y, r->dx, r->s, r->b, r->ds, r->db, r->in, r->seed, r->scale, r->low};
    for (int i = 0; i < LTI_COUNT(all); i++) free(all[i]);
}

static lt_param *filled(ts_bed *t, const char *name, int rank, const int64_t *shape, const lt_real *x)
{
    lt_param *p = ts_weight(t, name, 0, rank, shape);
    memcpy(lt_param_data(p), x, lt_param_bytes(p));
    return p;
}

/* y, dx, ds and db; false when it cannot be compiled. */
static bool rule_go(rule_run *r)
{
    ts_bed t;
    lt_plan *plan = NULL;
    const ts_grid *g = &r->grid;
    if (!ts_bed_make(&t)) return false;
    lt_fake_quant_config c;
    lt_fake_quant_config_init(&c);
    c.scale = g->rule, c.gradient = g->gradient, c.scale_gradient = g->factor;
    c.learned = c.offset = lt_nil(t.g);
    lt_t x = lt_param_value(t.g, filled(&t, "x", 2, (int64_t[]){g->rows, g->columns}, r->x)), wrt[3] = {x}, out[4];
    lt_t dy = lt_param_value(t.g, filled(&t, "dy", 2, (int64_t[]){g->rows, g->columns}, r->dy));
    int n = 1;
    if (r->learned) wrt[n++] = c.learned = lt_param_value(t.g, filled(&t, "s", 1, &r->groups, r->s));
    if (r->offset) wrt[n++] = c.offset = lt_param_value(t.g, filled(&t, "b", 1, &r->groups, r->b));
    out[0] = lt_fake_quant(x, &g->scheme, &c);
    lt_grad_seeded(out[0], dy, n, wrt, out + 1);
    bool ok = TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, n + 1, out, &plan)) && TS_OK(t.ctx, lt_run(plan));
    lt_real *to[] = {r->y, r->dx, r->ds, r->db};
    for (int i = 0; ok && i <= n; i++)
        memcpy(to[i], lt_result(plan, i), (size_t)(i < 2 ? r->count : r->groups) * sizeof(lt_real));
    lt_plan_free(plan);
    ts_bed_drop(&t);
    return ok;
}

/* The largest distance from the formulas. */
static double rule_distance(const rule_run *r)
{
    double *y = doubles(r->y, r->count), *dx = doubles(r->dx, r->count);
    double *ds = doubles(r->ds, r->groups), *db = doubles(r->db, r->groups);
    ts_grid_values(&r->grid, r->in, y);
    ts_grid_gradients(&r->grid, r->in, r->seed, dx, ds, db);
    double off = fmax(ts_distance(r->count, r->y, y), ts_distance(r->count, r->dx, dx));
    if (r->learned) off = fmax(off, ts_distance(r->groups, r->ds, ds));
    if (r->offset) off = fmax(off, ts_distance(r->groups, r->db, db));
    void *all[] = {y, dx, ds, db};
    for (int i = 0; i < LTI_COUNT(all); i++) free(all[i]);
    return off;
}

#define STE LT_ROUND_STE
#define BY_X LT_ROUND_CLIP_X
#define BY_CODE LT_ROUND_CLIP_CODE
static const rule_case rules[] = {
    {"int4:g32", LT_SCALE_DYNAMIC, STE, 5, 77, 0},
    {"int4:g32", LT_SCALE_DYNAMIC, BY_X, 5, 77, 0},
    {"int4:g32,full", LT_SCALE_DYNAMIC, BY_X, 5, 77, 0},
    {"int4:g32,full", LT_SCALE_DYNAMIC, BY_CODE, 5, 77, 0},
    {"int3:tensor", LT_SCALE_MSE, BY_X, 5, 77, 0},
    {"int3:tensor", LT_SCALE_MSE, BY_CODE, 5, 77, 0},
    {"int8:channel,asym", LT_SCALE_DYNAMIC, BY_CODE, 5, 77, 0},
    {"ternary", LT_SCALE_DYNAMIC, BY_X, 5, 77, 0},
    {"ternary:g16", LT_SCALE_DYNAMIC, BY_CODE, 5, 77, 0},
    {"int3:g32", LT_SCALE_LSQ, STE, 5, 77, 0},
    {"int3:g32", LT_SCALE_LSQ, BY_CODE, 5, 77, 0},
    {"int2:channel", LT_SCALE_LSQ, BY_X, 5, 77, 0},
    {"int4:tensor,full", LT_SCALE_LSQ, STE, 5, 77, 0.25},
    {"int4:tensor,asym", LT_SCALE_LSQ, STE, 5, 77, 0},
    {"ternary:g16", LT_SCALE_LSQ, STE, 5, 77, 0},
    {"int4:g32", LT_SCALE_LSQ_PLUS, STE, 5, 77, 0},
    {"int4:channel,asym", LT_SCALE_LSQ_PLUS, STE, 5, 77, 0},
    {"int4:channel,asym", LT_SCALE_LSQ_PLUS, BY_CODE, 5, 77, 0.5},
    {"int4:tensor,asym", LT_SCALE_PACT, STE, 5, 77, 0},
    {"int8:channel,asym", LT_SCALE_PACT, STE, 5, 77, 0.1},
    {"int4:g32", LT_SCALE_RANGE, STE, 5, 77, 0},
    {"int8:tensor,full", LT_SCALE_RANGE, STE, 5, 77, 0},
    {"int4:g32,asym", LT_SCALE_RANGE, STE, 5, 77, 0},
    {"int8:channel,asym", LT_SCALE_RANGE, STE, 5, 77, 0.5},
    {"int4:tensor", LT_SCALE_LSQ, STE, 300, 457, 0}, /* a group of several tasks */
    {"int8:channel,asym", LT_SCALE_RANGE, STE, 2, 70001, 0},
    {"int4:g32", LT_SCALE_LSQ, STE, 300, 457, 0},
};

static void every_rule(void)
{
    for (int i = 0; i < LTI_COUNT(rules); i++) {
        rule_run r;
        rule_make(&r, &rules[i]);
        if (rule_go(&r)) {
            double off = rule_distance(&r), most = ts_tolerance(1e-11, 2e-5);
            TS_CHECK(off < most, "rule %d (%s): %g from the formula", i, rules[i].scheme, off);
        }
        rule_drop(&r);
    }
}

/* ---- Threads, mutants ---- */

static void threads_change_nothing(void)
{
    for (int i = LTI_COUNT(rules) - 3; i < LTI_COUNT(rules); i++) {
        rule_run one, three;
        int before = lt_threads();
        rule_make(&one, &rules[i]), rule_make(&three, &rules[i]);
        lti_par_beyond(true);
        lt_set_threads(1);
        bool ok = rule_go(&one);
        lt_set_threads(3);
        ok = ok && rule_go(&three);
        lti_par_beyond(false);
        lt_set_threads(before);
        size_t n = (size_t)one.count * sizeof(lt_real), k = (size_t)one.groups * sizeof(lt_real);
        TS_CHECK(ok && ts_same_bytes(n, one.y, three.y) && ts_same_bytes(n, one.dx, three.dx) &&
                     ts_same_bytes(k, one.ds, three.ds) && ts_same_bytes(k, one.db, three.db),
                 "rule %d: 1 and 3 threads differ", i);
        rule_drop(&one), rule_drop(&three);
    }
}

static int broken; /* which cotangent is tripled */

static void triple(const lti_op *op, lti_vjp *v)
{
    if (op == &lti_op_fake_quant && broken < v->n_in && v->need[broken]) v->dx[broken] = lt_scale(v->dx[broken], 3);
}

static void mutants_are_caught(void)
{
    for (int i = 0; i < LTI_COUNT(rules) - 3; i++)
        for (broken = 0; broken < 3; broken++) {
            rule_run r;
            rule_make(&r, &rules[i]);
            lti_vjp_mutate = triple;
            bool meant = broken == 0 || (broken == 1 && r.learned) || (broken == 2 && r.offset);
            if (meant && rule_go(&r)) TS_CHECK(rule_distance(&r) > 0.1, "rule %d, input %d tripled passes", i, broken);
            lti_vjp_mutate = NULL;
            rule_drop(&r);
        }
}

/* ---- PyTorch ---- */

static void load_numbers(const json_t *from, const char *key, double *to, int64_t n)
{
    const json_t *list = json_object_get(from, key);
    for (int64_t i = 0; i < n; i++) to[i] = json_number_value(json_array_get(list, (size_t)i));
}

/* Inputs of a golden case as of rule `c`, run. */
static void golden_run(rule_run *r, const rule_case *c, const json_t *json)
{
    uint32_t stream = (uint32_t)gd_number(json, "stream");
    rule_make(r, c);
    gd_fill(r->x, r->count, stream, 1, false);
    gd_fill(r->dy, r->count, stream + 2, 1, false);
    if (r->learned && json_object_get(json, "bound")) r->s[0] = (lt_real)gd_number(json, "bound");
    if (r->learned && json_object_get(json, "scale")) {
        load_numbers(json, "scale", r->scale, r->groups);
        for (int64_t i = 0; i < r->groups; i++) r->s[i] = (lt_real)r->scale[i];
    }
}

static void golden_rules(const json_t *all, const char *key, lt_scale_rule rule)
{
    const json_t *json;
    size_t i;
    int64_t rows = (int64_t)gd_number(all, "rows"), columns = (int64_t)gd_number(all, "columns");
    json_array_foreach(json_object_get(all, key), i, json)
    {
        char scheme[48];
        int bits = (int)gd_number(json, "bits"),
            group = json_object_get(json, "group") ? (int)gd_number(json, "group") : 0;
        snprintf(scheme, sizeof scheme, group ? "int%d:g%d" : "int%d:tensor,asym", bits, group);
        rule_case c = {scheme, rule, STE, rows, columns, 0};
        rule_run r;
        golden_run(&r, &c, json);
        if (rule_go(&r)) {
            gd_array(r.y, json_object_get(json, "y"), 1e-6, "values");
            if (r.learned) gd_array(r.dx, json_object_get(json, "dx"), 1e-6, "gradient");
            if (rule == LT_SCALE_LSQ) gd_array(r.ds, json_object_get(json, "ds"), 2e-5, "gradient of scales");
            if (rule == LT_SCALE_PACT) gd_near((double)r.ds[0], gd_number(json, "da"), 2e-5, "gradient of the bound");
        }
        rule_drop(&r);
    }
}

/* Scales and zero points that somebody else chose: a learned range with the same grid. */
static void golden_affine(const json_t *all)
{
    const json_t *json;
    size_t i;
    int64_t rows = (int64_t)gd_number(all, "rows"), columns = (int64_t)gd_number(all, "columns");
    json_array_foreach(json_object_get(all, "affine"), i, json)
    {
        double scale[16], zero[16], levels = pow(2, gd_number(json, "bits")) - 1;
        rule_case c = {
            levels < 16 ? "int4:channel,asym" : "int8:channel,asym", LT_SCALE_RANGE, BY_CODE, rows, columns, 0};
        rule_run r;
        golden_run(&r, &c, json);
        load_numbers(json, "scale", scale, rows);
        load_numbers(json, "zero", zero, rows);
        for (int64_t k = 0; k < rows; k++) {
            r.s[k] = (lt_real)(levels * scale[k]);
            r.b[k] = (lt_real)(-zero[k] * scale[k]);
        }
        if (rule_go(&r)) {
            gd_array(r.y, json_object_get(json, "y"), 1e-5, "affine values");
            gd_array(r.dx, json_object_get(json, "dx"), 1e-6, "affine gradient");
        }
        rule_drop(&r);
    }
}

static void as_pytorch(void)
{
    json_t *all = gd_load("quant.json");
    if (!all) return;
    golden_affine(all);
    golden_rules(all, "lsq", LT_SCALE_LSQ);
    golden_rules(all, "pact", LT_SCALE_PACT);
    golden_rules(all, "mse", LT_SCALE_MSE);
    json_decref(all);
}

/* ---- Groups of zeros, NaN and infinities ---- */

static void numbers_that_are_none(void)
{
    const char *const grids[] = {"int4:g8", "int8:g8,asym", "ternary:g8", "int3:g8,full"};
    lt_ctx *ctx = lt_ctx_create(NULL);
    for (int i = 0; i < LTI_COUNT(grids); i++)
        for (int mse = 0; mse < 2; mse++) {
            lt_scheme s;
            lt_real x[40] = {0}, y[40];
            for (int k = 8; k < 40; k++) x[k] = (lt_real)(0.01 * k);
            x[19] = NAN, x[27] = INFINITY;
            for (int k = 32; k < 40; k++) x[k] = (lt_real)(k % 2 ? 1e-42 : 0);
            TS_OK(ctx, lt_scheme_parse(ctx, grids[i], &s));
            TS_OK(ctx, lt_scheme_apply(ctx, &s, mse ? LT_SCALE_MSE : LT_SCALE_DYNAMIC, 1, 40, x, y));
            bool nan = false, infinite = false;
            for (int k = 0; k < 8; k++) TS_CHECK(y[k] == 0, "%s: zeros stay zeros, %g", grids[i], (double)y[k]);
            for (int k = 8; k < 16; k++) TS_CHECK(isfinite(y[k]), "%s: the next group is left alone", grids[i]);
            for (int k = 16; k < 24; k++) nan |= isnan(y[k]);
            for (int k = 24; k < 32; k++) infinite |= !isfinite(y[k]);
            for (int k = 32; k < 40; k++)
                TS_CHECK(fabs((double)y[k]) < 2e-5, "%s: nearly zeros, %g", grids[i], (double)y[k]);
            TS_CHECK(nan && infinite, "%s: NaN and infinity are not hidden", grids[i]);
        }
    lt_ctx_free(ctx);
}

/* ---- 8-bit floats ---- */

/* Nearest even with `bits` of mantissa and least exponent `least`. */
static double float8(double x, int bits, int least, double largest)
{
    int e;
    frexp(x, &e);
    double step = ldexp(1, (e - 1 < least ? least : e - 1) - bits);
    return fmin(fmax(rint(x / step) * step, -largest), largest);
}

static void eight_bit_floats(void)
{
    enum { ROWS = 3, COLUMNS = 300 };
    static lt_real x[ROWS * COLUMNS], y[ROWS * COLUMNS];
    lt_ctx *ctx = lt_ctx_create(NULL);
    const char *const words[] = {"fp8", "fp8:e5m2,tensor"};
    ts_fill_normal("fp8", ROWS * COLUMNS, 3, x);
    x[5] = 0, x[6] = (lt_real)1e-4;
    for (int i = 0; i < 2; i++) {
        lt_scheme s;
        double worst = 0, most = 0, largest = i ? 57344 : 448;
        TS_OK(ctx, lt_scheme_parse(ctx, words[i], &s));
        TS_OK(ctx, lt_scheme_apply(ctx, &s, LT_SCALE_DYNAMIC, ROWS, COLUMNS, x, y));
        for (int k = 0; k < ROWS * COLUMNS; k++) {
            int first = i ? 0 : k / COLUMNS * COLUMNS, last = i ? ROWS * COLUMNS : first + COLUMNS;
            if (k == first) most = 0;
            for (int j = first; j < last && k == first; j++) most = fmax(most, fabs((double)x[j]));
            lt_real scale = (lt_real)most / (lt_real)largest, inverse = 1 / scale;
            double want = float8((double)(x[k] * inverse), i ? 2 : 3, i ? -14 : -6, largest) * (double)scale;
            worst = fmax(worst, fabs((double)y[k] - want) / most);
        }
        TS_CHECK(worst < ts_tolerance(1e-14, 1e-7), "%s: %g off", words[i], worst);
        TS_REFUSED(ctx, lt_scheme_apply(ctx, &s, LT_SCALE_MSE, ROWS, COLUMNS, x, y), LT_EINVAL, "no uniform grid");
    }
    lt_ctx_free(ctx);
}

/* ---- Proximal maps ---- */

/* The map at progress t, element by element as the paper has it. */
static double proximal(double v, double t, double q)
{
    double h = 1 / (1 + exp(10 * (t - 0.5))), h0 = 1 / (1 + exp(-5.0)), h1 = 1 / (1 + exp(5.0));
    double r = t >= 1 ? 0 : (h - h1) / (h0 - h1), low = floor(v), w;
    if (r == 0) return fmin(fmax(rint(v), -q), q);
    w = low + 0.5 + (v - low - 0.5) / r;
    return fmin(fmax(fmin(fmax(w, low), low + 1), -q), q);
}

static void drawn_to_the_grid(void)
{
    enum { N = 64 };
    ts_bed t;
    lt_plan *plan = NULL;
    lt_real x[N], y[N];
    lt_scheme s;
    lt_fake_quant_config c;
    if (!ts_bed_make(&t)) return;
    lt_fake_quant_config_init(&c);
    TS_OK(t.ctx, lt_scheme_parse(t.ctx, "int3:g32", &s));
    ts_fill_normal("prox", N, 1, x);
    lt_param *p = filled(&t, "x", 2, (int64_t[]){2, 32}, x);
    for (int training = 1; training >= 0; training--) {
        ts_bed_again(&t);
        lt_training(t.g, training);
        c.learned = c.offset = lt_nil(t.g), c.gradient = LT_ROUND_PROX;
        lt_t w = lt_param_value(t.g, p), out[2] = {lt_fake_quant(w, &s, &c)};
        lt_grad_seeded(out[0], w, 1, &w, &out[1]); /* dx = dy */
        if (!TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 2, out, &plan))) break;
        for (int k = 0; k <= 4; k++) {
            if (lt_plan_has(plan, "qat_progress")) TS_OK(t.ctx, lt_set(plan, "qat_progress", 0.25 * k));
            TS_OK(t.ctx, lt_run(plan));
            memcpy(y, lt_result(plan, 0), sizeof y);
            double worst = 0;
            for (int i = 0; i < N; i++) {
                double most = 0, step;
                for (int j = i / 32 * 32; j < i / 32 * 32 + 32; j++) most = fmax(most, fabs((double)x[j]));
                step = most / 3;
                worst =
                    fmax(worst, fabs((double)y[i] - step * proximal((double)x[i] / step, training ? 0.25 * k : 1, 3)));
            }
            TS_CHECK(worst < ts_tolerance(1e-12, 2e-4), "training %d, progress %g: %g off", training, 0.25 * k, worst);
            TS_CHECK(ts_same_bytes(sizeof x, lt_result(plan, 1), x), "the gradient passes");
        }
        lt_plan_free(plan);
        plan = NULL;
    }
    ts_bed_drop(&t);
}

/* ---- Refused ---- */

static void refused_one(const char *word, lt_scheme scheme, const lt_fake_quant_config *given, bool learned,
                        const char *says)
{
    ts_bed t;
    lt_plan *plan = NULL;
    if (!ts_bed_make(&t)) return;
    lt_fake_quant_config c = *given;
    if (word && !TS_OK(t.ctx, lt_scheme_parse(t.ctx, word, &scheme))) return;
    lt_t x = lt_param_value(t.g, ts_weight(&t, "x", 1, 2, (int64_t[]){2, 40}));
    c.learned = c.offset = lt_nil(t.g);
    if (learned) c.learned = lt_param_value(t.g, ts_weight(&t, "s", 1, 1, (int64_t[]){3}));
    lt_t y = lt_fake_quant(x, &scheme, &c);
    TS_CHECK(lt_compile(t.g, NULL, 1, &y, &plan) == LT_EINVAL && strstr(lt_ctx_message(t.ctx), says), "%s: '%s'", says,
             lt_ctx_message(t.ctx));
    lt_plan_free(plan);
    ts_bed_drop(&t);
}

static void what_does_not_go_together(void)
{
    const struct {
        const char *word;
        lt_scale_rule rule;
        lt_round_gradient gradient;
        bool learned;
        const char *says;
    } cases[] = {{"q4_0", 0, 0, false, "no multiple of the 32"},
                 {"q4_0", 0, LT_ROUND_PROX, false, "proximal"},
                 {"q8_0", LT_SCALE_LSQ, 0, true, "its own"},
                 {"int4:g32", LT_SCALE_LSQ, 0, true, "the scheme has 4"},
                 {"int4:g32", LT_SCALE_LSQ, 0, false, "give them as `learned`"},
                 {"int4:g32", LT_SCALE_DYNAMIC, 0, true, "learns nothing"},
                 {"int4:g32", LT_SCALE_LSQ_PLUS, 0, true, "give them as `offset`"},
                 {"int4:g32", LT_SCALE_PACT, 0, true, "asymmetric"},
                 {"int4:channel", LT_SCALE_LSQ, LT_ROUND_PROX, true, "moves numbers and no scales"},
                 {"ternary:channel", LT_SCALE_LSQ_PLUS, LT_ROUND_PROX, true, "moves numbers and no scales"},
                 {"int4:tensor,asym", LT_SCALE_PACT, LT_ROUND_PROX, true, "moves numbers and no scales"},
                 {"int4:channel", LT_SCALE_RANGE, LT_ROUND_PROX, true, "moves numbers and no scales"}};
    lt_fake_quant_config c;
    lt_fake_quant_config_init(&c);
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        c.scale = cases[i].rule, c.gradient = cases[i].gradient;
        refused_one(cases[i].word, (lt_scheme){0}, &c, cases[i].learned, cases[i].says);
    }
    lt_fake_quant_config_init(&c);
    refused_one(NULL, (lt_scheme){.kind = LT_SCHEME_INT, .bits = 9}, &c, false, "2 to 8 bits");
    refused_one(NULL, (lt_scheme){.kind = LT_SCHEME_INT, .bits = 4, .per = LT_PER_GROUP}, &c, false, "at least one");
    refused_one(NULL, (lt_scheme){.kind = LT_SCHEME_INT, .bits = 4, .asymmetric = true, .full_range = true}, &c, false,
                "without full");
    c.size = 3;
    refused_one("int4", (lt_scheme){0}, &c, false, "config_init");
}

int lti_suite_fake_quant(void)
{
    const ts_test tests[] = {{"every rule", every_rule},
                             {"threads change nothing", threads_change_nothing},
                             {"mutants are caught", mutants_are_caught},
                             {"as PyTorch", as_pytorch},
                             {"numbers that are none", numbers_that_are_none},
                             {"8-bit floats", eight_bit_floats},
                             {"drawn to the grid", drawn_to_the_grid},
                             {"what does not go together", what_does_not_go_together}};
    return ts_suite("fake_quant", LTI_COUNT(tests), tests);
}
