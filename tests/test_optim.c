/* test_optim.c - optimizers: rates against closed forms, updates against the formulas in double, groups, clipping, steps
 * that are left out, and every refusal. Trainings against PyTorch are in test_goldens.c. */
#include "lathe/optim.h"
#include "tests/data_files.h"

#include <math.h>

#define SHAPE(...)                                                                                                     \
    sizeof((int64_t[]){__VA_ARGS__}) / 8, (int64_t[])                                                                  \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

/* ---- Rates ---- */

static double shape_of(lt_schedule_kind kind, double x) /* from the end of the warmup, 0, to the end, 1 */
{
    switch (kind) {
    case LT_LR_LINEAR: return 1 - x;
    case LT_LR_COSINE: return 0.5 * (1 + cos(3.14159265358979323846 * x));
    default: return 1;
    }
}

static void schedules(void)
{
    lt_schedule s;
    lt_schedule_init(&s);
    TS_CHECK(s.size == sizeof s && s.kind == LT_LR_CONSTANT && s.lr == 1e-3 && lt_lr_at(&s, 7, 10) == 1e-3, "defaults");
    const lt_schedule_kind kinds[] = {LT_LR_CONSTANT, LT_LR_LINEAR, LT_LR_COSINE};
    for (int i = 0; i < 3; i++) {
        s.kind = kinds[i], s.lr = 0.5, s.warmup_ratio = 0.1, s.min_ratio = 0.2;
        for (int64_t t = 1; t <= 100; t++) {
            double fall = s.min_ratio + (1 - s.min_ratio) * shape_of(s.kind, (double)(t - 11) / 90);
            double want = t <= 10 ? 0.5 * (double)t / 11 : s.kind == LT_LR_CONSTANT ? 0.5 : 0.5 * fall;
            TS_CHECK(fabs(lt_lr_at(&s, t, 100) - want) < 1e-12, "schedule %d, step %lld: %g, not %g", i, (long long)t,
                     lt_lr_at(&s, t, 100), want);
        }
        TS_CHECK(lt_lr_at(&s, 11, 100) == 0.5, "the step after the warmup has the peak");
        TS_CHECK(lt_lr_at(&s, 0, 100) == 0, "there is no step 0");
        TS_CHECK(fabs(lt_lr_at(&s, 1000, 100) - (i ? 0.1 : 0.5)) < 1e-12, "beyond the end it stays: %g",
                 lt_lr_at(&s, 1000, 100));
    }
    lt_schedule_init(&s);
    s.kind = LT_LR_WSD, s.lr = 1, s.warmup_steps = 5, s.decay_ratio = 0.2, s.warmup_ratio = 0.9;
    for (int64_t t = 1; t <= 50; t++) {
        double want = t <= 5 ? (double)t / 6 : t <= 40 ? 1 : 1 - (double)(t - 41) / 10;
        TS_CHECK(fabs(lt_lr_at(&s, t, 50) - want) < 1e-12, "wsd, step %lld: %g, not %g", (long long)t,
                 lt_lr_at(&s, t, 50), want);
    }
    s.decay_ratio = 1; /* the decay begins after the warmup at the earliest */
    TS_CHECK(fabs(lt_lr_at(&s, 6, 50) - 1) < 1e-12 && lt_lr_at(&s, 50, 50) < 0.03, "wsd with no stable part");
    s.warmup_steps = 80;
    TS_CHECK(fabs(lt_lr_at(&s, 50, 50) - 50.0 / 81) < 1e-12, "a warmup longer than the run");
    lt_schedule_kind kind = LT_LR_CONSTANT;
    TS_CHECK(lt_schedule_parse("wsd", &kind) && kind == LT_LR_WSD && lt_schedule_parse("cosine", &kind) &&
                 kind == LT_LR_COSINE && !lt_schedule_parse("Cosine", &kind) && !lt_schedule_parse("", &kind) &&
                 kind == LT_LR_COSINE,
             "names");
}

/* ---- Updates against the formulas ---- */

enum { N = 40000, ROUNDS = 4 }; /* more than one slice of work */

/* The loss whose gradient in w is c: sum of w * c. */
static lt_t linear_loss(ts_bed *t, lt_param *w, const char *name)
{
    lt_t c = lt_input(t->g, name, LT_F32, lt_param_rank(w), lt_param_shape(w));
    return lt_sum_all(lt_mul(lt_param_value(t->g, w), c));
}

static void step_in_double(const lt_optimizer_config *c, int64_t t, double lr, const double *g, double *w, double *m,
                           double *v)
{
    for (int i = 0; i < N; i++) {
        if (c->kind == LT_ADAMW) {
            m[i] = c->beta1 * m[i] + (1 - c->beta1) * g[i];
            v[i] = c->beta2 * v[i] + (1 - c->beta2) * g[i] * g[i];
            double mean = m[i] / (1 - pow(c->beta1, (double)t)), square = v[i] / (1 - pow(c->beta2, (double)t));
            w[i] = w[i] * (1 - lr * c->weight_decay) - lr * mean / (sqrt(square) + c->eps);
        } else {
            double d = g[i] + c->weight_decay * w[i];
            if (c->momentum != 0) m[i] = c->momentum * m[i] + d;
            w[i] -= lr * (c->momentum == 0 ? d : c->nesterov ? d + c->momentum * m[i] : m[i]);
        }
    }
}

static void updates_follow_the_formulas(void)
{
    const struct {
        lt_optimizer_kind kind;
        double momentum, decay;
        bool nesterov;
    } cases[] = {{LT_ADAMW, 0, 0, false}, {LT_ADAMW, 0, 0.1, false}, {LT_SGD, 0, 0, false},
                 {LT_SGD, 0, 0.1, false}, {LT_SGD, 0.9, 0.1, false}, {LT_SGD, 0.9, 0.1, true}};
    static double w[N], m[N], v[N], g[N];
    static lt_real c[N];
    for (int k = 0; k < LTI_COUNT(cases); k++) {
        ts_bed t;
        if (!ts_bed_make(&t)) return;
        lt_param *p = ts_weight(&t, "w", 1, SHAPE(N));
        lt_optimizer_config config;
        lt_optimizer_config_init(&config);
        config.kind = cases[k].kind, config.momentum = cases[k].momentum;
        config.beta1 = 0.9, config.beta2 = 0.999, config.eps = 1e-8;
        config.weight_decay = cases[k].decay, config.nesterov = cases[k].nesterov;
        lt_optimizer *opt = NULL;
        lt_plan *plan = NULL;
        for (int i = 0; i < N; i++) w[i] = (double)((const lt_real *)lt_param_read(p))[i], m[i] = v[i] = 0;
        TS_OK(t.ctx, lt_optimizer_create(t.ctx, t.params, &config, &opt));
        lt_t loss = linear_loss(&t, p, "c");
        TS_OK(t.ctx, lt_optimizer_fused(opt, t.g, loss));
        if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 1, &loss, &plan)) && TS_OK(t.ctx, lt_bind(plan, "c", c)))
            for (int64_t round = 1; round <= ROUNDS; round++) {
                double lr = 0.1 / (double)round;
                ts_fill_normal(round % 2 ? "odd" : "even", N, 1, c);
                for (int i = 0; i < N; i++) g[i] = (double)c[i];
                TS_OK(t.ctx, lt_set(plan, "lr", lr));
                if (lt_plan_has(plan, "step")) TS_OK(t.ctx, lt_set(plan, "step", (double)round));
                TS_OK(t.ctx, lt_run(plan));
                step_in_double(&config, round, lr, g, w, m, v);
                double d = ts_distance(N, lt_param_read(p), w);
                TS_CHECK(d < ts_tolerance(1e-13, 2e-6), "case %d, step %lld: %g", k, (long long)round, d);
            }
        lt_plan_free(plan);
        lt_optimizer_free(opt);
        ts_bed_drop(&t);
    }
}

/* ---- Groups ---- */

static void groups_choose(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    static const char *const names[] = {"a.weight", "a.bias", "b.weight", "b.bias", "c.weight", "alone"};
    lt_param *p[6];
    lt_t loss = lt_constant(t.g, 0);
    for (int i = 0; i < 6; i++) {
        p[i] = ts_weight(&t, names[i], 0, SHAPE(3));
        for (int k = 0; k < 3; k++) ((lt_real *)lt_param_data(p[i]))[k] = 1;
        if (i < 5) loss = lt_add(loss, lt_sum_all(lt_param_value(t.g, p[i]))); /* gradients of 1; "alone" has none */
    }
    lt_param_set_trainable(p[4], false);
    const lt_optimizer_group groups[] = {{"b.*", 0, -1, true}, {"*.bias", 10, 0, false}, {"a.*", 2, 0.25, false}};
    lt_optimizer_config config;
    lt_optimizer_config_init(&config);
    config.kind = LT_SGD, config.weight_decay = 0.5, config.groups = groups, config.n_groups = 3;
    lt_optimizer *opt = NULL;
    lt_plan *plan = NULL;
    TS_OK(t.ctx, lt_optimizer_create(t.ctx, t.params, &config, &opt));
    TS_CHECK(lt_optimizer_count(opt) == 3 && lt_optimizer_param(opt, 0) == p[0] && lt_optimizer_param(opt, 1) == p[1] &&
                 lt_optimizer_param(opt, 2) == p[5] && !lt_optimizer_param(opt, 3) && !lt_optimizer_param(opt, -1),
             "%d parameters are trained", lt_optimizer_count(opt));
    TS_CHECK(lt_optimizer_bytes(opt) == 0, "no momentum, no moments");
    TS_OK(t.ctx, lt_optimizer_fused(opt, t.g, loss));
    if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 1, &loss, &plan)) && TS_OK(t.ctx, lt_set(plan, "lr", 0.01)) &&
        TS_OK(t.ctx, lt_run(plan))) {
        const double want[] = {1 - 0.02 * (1 + 0.25), 1 - 0.1, 1, 1, 1, 1};
        for (int i = 0; i < 6; i++) {
            double now = (double)((const lt_real *)lt_param_read(p[i]))[2];
            TS_CHECK(fabs(now - want[i]) < 1e-6, "%s is %g, not %g", names[i], now, want[i]);
        }
    }
    lt_plan_free(plan);
    lt_optimizer_free(opt);
    ts_bed_drop(&t);
}

static void moments_are_kept(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_param *w = ts_weight(&t, "w", 1, SHAPE(4, 5));
    lt_optimizer_config config;
    lt_optimizer_config_init(&config);
    lt_optimizer *one = NULL, *two = NULL;
    TS_OK(t.ctx, lt_optimizer_create(t.ctx, t.params, &config, &one));
    lt_param *m = lt_params_find(t.params, "w:adam.m"), *v = lt_params_find(t.params, "w:adam.v");
    TS_CHECK(m && v && lt_param_role(m) == LT_STATE && !lt_param_trainable(m), "moments are state");
    TS_CHECK(lt_optimizer_bytes(one) == 2 * lt_param_bytes(w), "%zu bytes of moments", lt_optimizer_bytes(one));
    ((lt_real *)lt_param_data(m))[0] = 3;
    TS_OK(t.ctx, lt_optimizer_create(t.ctx, t.params, &config, &two));
    TS_CHECK(lt_params_count(t.params) == 3 && ((const lt_real *)lt_param_read(m))[0] == 3, "and gone on with");
    lt_optimizer_free(one);
    lt_optimizer_free(two);
    lt_optimizer_free(NULL);
    ts_bed_drop(&t);
}

/* ---- Norms, clipping, flags ---- */

static void norms_and_factors(void)
{
    enum { TENSORS = 37 };
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_t x[TENSORS];
    double sum = 0;
    for (int i = 0; i < TENSORS; i++) {
        char name[16];
        snprintf(name, sizeof name, "x%d", i);
        lt_param *p = ts_weight(&t, name, 1, SHAPE(3, 7 + i));
        for (int64_t k = 0; k < lt_param_count(p); k++) sum += pow((double)((const lt_real *)lt_param_read(p))[k], 2);
        x[i] = lt_param_value(t.g, p);
    }
    lt_t norm = lt_global_norm(TENSORS, x), one = lt_global_norm(1, x);
    lt_t y[5] = {norm, lt_clip_factor(norm, 2.5), lt_clip_factor(norm, 1e6), lt_finite_flag(16, x), one};
    lt_plan *plan = NULL;
    if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 5, y, &plan)) && TS_OK(t.ctx, lt_run(plan))) {
        double n = (double)*(const lt_real *)lt_result(plan, 0), f = (double)*(const lt_real *)lt_result(plan, 1);
        TS_CHECK(fabs(n - sqrt(sum)) < ts_tolerance(1e-13, 1e-6) * n, "norm %g, not %g", n, sqrt(sum));
        TS_CHECK(fabs(f - 2.5 / (n + 1e-6)) < 1e-6 * f, "factor %g", f);
        TS_CHECK(*(const lt_real *)lt_result(plan, 2) == 1, "a small norm is not clipped");
        TS_CHECK(*(const lt_real *)lt_result(plan, 3) == 1, "all are finite");
        const double broken[] = {NAN, INFINITY, -INFINITY};
        for (int i = 0; i < 3; i++) {
            lt_param *p = lt_params_find(t.params, "x15");
            ((lt_real *)lt_param_data(p))[lt_param_count(p) - 1] = (lt_real)broken[i];
            lt_param_touch(p);
            TS_OK(t.ctx, lt_run(plan));
            TS_CHECK(*(const lt_real *)lt_result(plan, 3) == 0, "%g is seen", broken[i]);
            TS_CHECK(!isfinite((double)*(const lt_real *)lt_result(plan, 0)), "and spoils the norm");
        }
    }
    lt_plan_free(plan);
    ts_bed_again(&t);
    lt_t index = lt_index_input(t.g, "i", SHAPE(3), 0, 4);
    lt_global_norm(1, &index);
    TS_CHECK(strstr(lt_graph_message(t.g), "sum_squares: operand 0 is i32; f32 is wanted"), "%s",
             lt_graph_message(t.g));
    ts_bed_drop(&t);
}

static double first_of(const lt_param *p)
{
    return (double)((const lt_real *)lt_param_read(p))[0];
}

/* Split: sums over micro-batches, clipped; a sum that is not finite changes nothing. */
static void sums_are_clipped_and_checked(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_param *w = ts_weight(&t, "w", 0, SHAPE(4)), *other = ts_weight(&t, "other", 0, SHAPE(2));
    lt_optimizer_config config;
    lt_optimizer_config_init(&config);
    config.kind = LT_SGD, config.momentum = 0.5, config.weight_decay = 0, config.max_grad_norm = 1;
    lt_optimizer *opt = NULL;
    lt_plan *gather = NULL, *update = NULL;
    lt_real c[4] = {3, 0, 4, 0};
    TS_OK(t.ctx, lt_optimizer_create(t.ctx, t.params, &config, &opt));
    lt_t loss = linear_loss(&t, w, "c");
    TS_OK(t.ctx, lt_optimizer_accumulate(opt, t.g, loss));
    TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 1, &loss, &gather));
    ts_bed_again(&t);
    TS_OK(t.ctx, lt_optimizer_apply(opt, t.g));
    lt_t results[2] = {lt_tapped(t.g, "grad_norm"), lt_tapped(t.g, "update_ok")};
    TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 2, results, &update));
    if (!gather || !update) return;
    TS_CHECK(lt_params_find(t.params, "w:grad") && !lt_params_find(t.params, "other:grad"),
             "sums only where there is one");
    TS_OK(t.ctx, lt_bind(gather, "c", c));
    TS_OK(t.ctx, lt_set(update, "lr", 0.1));
    for (int micro = 0; micro < 2; micro++) {
        TS_OK(t.ctx, lt_set(gather, "fresh", micro == 0));
        TS_OK(t.ctx, lt_run(gather));
    }
    TS_OK(t.ctx, lt_run(update));
    TS_CHECK(fabs((double)*(const lt_real *)lt_result(update, 0) - 10) < 1e-5, "two times (3, 4) has norm 10");
    TS_CHECK(fabs(first_of(w) + 0.1 * 0.6) < 1e-6, "clipped to 1: %g", first_of(w));
    lt_param *momentum = lt_params_find(t.params, "w:sgd.u");
    double w0 = first_of(w), u0 = first_of(momentum);
    c[1] = (lt_real)NAN;
    TS_OK(t.ctx, lt_set(gather, "fresh", 1));
    TS_OK(t.ctx, lt_run(gather));
    TS_OK(t.ctx, lt_run(update));
    TS_CHECK(*(const lt_real *)lt_result(update, 1) == 0 && first_of(w) == w0 && first_of(momentum) == u0,
             "a step that is not finite changes neither weight nor momentum");
    c[1] = 0;
    TS_OK(t.ctx, lt_run(gather));
    TS_OK(t.ctx, lt_run(update));
    TS_CHECK(*(const lt_real *)lt_result(update, 1) == 1 && first_of(w) != w0 && isfinite(first_of(w)),
             "a fresh sum forgets the NaN: %g", first_of(w));
    TS_CHECK(first_of(other) == 0, "what the loss does not know stays");
    lt_plan_free(gather);
    lt_plan_free(update);
    lt_optimizer_free(opt);
    ts_bed_drop(&t);
}

static void fused_steps_check_the_loss(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_param *w = ts_weight(&t, "w", 1, SHAPE(2));
    lt_optimizer_config config;
    lt_optimizer_config_init(&config);
    lt_optimizer *opt = NULL;
    lt_plan *plan = NULL;
    lt_real c[2] = {1, (lt_real)INFINITY};
    TS_OK(t.ctx, lt_optimizer_create(t.ctx, t.params, &config, &opt));
    lt_t loss = linear_loss(&t, w, "c");
    TS_OK(t.ctx, lt_optimizer_fused(opt, t.g, loss));
    lt_t out[2] = {loss, lt_tapped(t.g, "update_ok")};
    if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 2, out, &plan)) && TS_OK(t.ctx, lt_bind(plan, "c", c))) {
        double before = first_of(w);
        TS_REFUSED(t.ctx, (c[1] = 1, lt_run(plan)), LT_EINVAL, "step 0; steps count from 1: set the scalar \"step\"");
        TS_OK(t.ctx, lt_set(plan, "step", 1));
        TS_OK(t.ctx, lt_set(plan, "lr", 0.1));
        c[1] = (lt_real)INFINITY;
        TS_OK(t.ctx, lt_run(plan));
        TS_CHECK(*(const lt_real *)lt_result(plan, 1) == 0 && first_of(w) == before &&
                     first_of(lt_params_find(t.params, "w:adam.v")) == 0,
                 "no update");
        c[1] = 1;
        TS_OK(t.ctx, lt_run(plan));
        TS_CHECK(*(const lt_real *)lt_result(plan, 1) == 1 && first_of(w) != before, "an update");
    }
    lt_plan_free(plan);
    lt_optimizer_free(opt);
    ts_bed_drop(&t);
}

/* ---- Refusals ---- */

static void wrong_configurations(void)
{
    static const char *const words[] = {
        "optimizer: call lt_optimizer_config_init first",
        "optimizer: kind 9",
        "beta1 1, beta2 0.999, momentum 0; each is to be in [0, 1)",
        "beta2 1.5",
        "momentum 1;",
        "eps 0, weight_decay 0.01, max_grad_norm 0; none may be negative",
        "weight_decay -1",
        "max_grad_norm nan",
        "nesterov wants a momentum above 0",
        "none of 1 parameters is trainable",
    };
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_param *w = ts_weight(&t, "w", 1, SHAPE(2));
    for (int i = 0; i < LTI_COUNT(words); i++) {
        lt_optimizer_config c;
        const lt_optimizer_group all = {NULL, 0, 0, true};
        lt_optimizer_config_init(&c);
        lt_optimizer *opt = NULL;
        switch (i) {
        case 0: c.size = 3; break;
        case 1: c.kind = (lt_optimizer_kind)9; break;
        case 2: c.beta1 = 1; break;
        case 3: c.beta2 = 1.5; break;
        case 4: c.momentum = 1; break;
        case 5: c.eps = 0; break;
        case 6: c.weight_decay = -1; break;
        case 7: c.max_grad_norm = NAN; break;
        case 8: c.nesterov = true; break;
        default: c.groups = &all, c.n_groups = 1; break;
        }
        TS_REFUSED(t.ctx, lt_optimizer_create(t.ctx, t.params, &c, &opt), LT_EINVAL, words[i]);
        TS_CHECK(opt == NULL, "no optimizer");
    }
    lt_optimizer_config c;
    lt_optimizer_config_init(&c);
    lt_optimizer *opt = NULL;
    TS_OK(t.ctx, lt_params_add(t.params, "w:adam.v", LT_F32, SHAPE(3), LT_STATE, NULL));
    TS_REFUSED(t.ctx, lt_optimizer_create(t.ctx, t.params, &c, &opt), LT_EINVAL,
               "'w:adam.v' exists with another type or shape than its weight's");
    lt_param_set_trainable(w, false);
    char name[300];
    memset(name, 'n', sizeof name);
    name[254] = 0;
    ts_weight(&t, name, 1, SHAPE(2));
    TS_REFUSED(t.ctx, lt_optimizer_create(t.ctx, t.params, &c, &opt), LT_EINVAL, "is too long");
    ts_bed_drop(&t);
}

static void wrong_recordings(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_param *w = ts_weight(&t, "w", 1, SHAPE(2)), *u = ts_weight(&t, "u", 1, SHAPE(3));
    lt_optimizer_config c;
    lt_optimizer_config_init(&c);
    c.max_grad_norm = 1;
    lt_optimizer *opt = NULL;
    TS_OK(t.ctx, lt_optimizer_create(t.ctx, t.params, &c, &opt));
    lt_adamw_config adamw;
    lt_sgd_config sgd;
    lt_adamw_config_init(&adamw);
    lt_sgd_config_init(&sgd);
    TS_CHECK(adamw.beta2 == 0.999 && adamw.lr_multiplier == 1 && sgd.lr_multiplier == 1 && sgd.momentum == 0,
             "defaults");
    static const char *const words[] = {
        "fused updates cannot clip: the norm is known only after the last gradient",
        "there are no gradients; record lt_optimizer_accumulate first",
        "adamw: a parameter or a moment is NULL",
        "adamw: moment 'u' and its weight are to be f32 of one shape",
        "sgd: the parameter or its momentum is NULL",
        "sgd: moment 'u' and its weight are to be f32 of one shape",
        "gradient f32 [3] of a parameter f32 [2]; type and shape are to be equal",
        "input 1 [2] is to be a single number",
        "gradient f32 [3] of a parameter f32 [2]",
    };
    for (int i = 0; i < LTI_COUNT(words); i++) {
        ts_bed_again(&t);
        lt_t lr = lt_scalar(t.g, "lr", 0), nil = lt_nil(t.g), g = lt_param_value(t.g, w), h = lt_param_value(t.g, u);
        switch (i) {
        case 0: TS_CHECK(lt_optimizer_fused(opt, t.g, lt_sum_all(g)) == LT_EINVAL, "fused"); break;
        case 1: TS_CHECK(lt_optimizer_apply(opt, t.g) == LT_EINVAL, "apply"); break;
        case 2: lt_adamw(w, NULL, w, g, lr, lr, nil, nil, &adamw); break;
        case 3: lt_adamw(w, w, u, g, lr, lr, nil, nil, &adamw); break;
        case 4: sgd.momentum = 0.9, lt_sgd(w, NULL, g, lr, nil, nil, &sgd); break;
        case 5: lt_sgd(w, u, g, lr, nil, nil, &sgd); break;
        case 6: sgd.momentum = 0, lt_sgd(w, NULL, h, lr, nil, nil, &sgd); break;
        case 7: lt_sgd(w, NULL, g, g, nil, nil, &sgd); break;
        default: lt_adamw(w, w, w, h, lr, lr, nil, nil, &adamw); break;
        }
        TS_CHECK(lt_graph_status(t.g) == LT_EINVAL && strstr(lt_graph_message(t.g), words[i]),
                 "case %d: '%s', not '%s'", i, lt_graph_message(t.g), words[i]);
        TS_CHECK(lt_optimizer_fused(opt, t.g, nil) == LT_EINVAL &&
                     lt_optimizer_accumulate(opt, t.g, nil) == LT_EINVAL && lt_optimizer_apply(opt, t.g) == LT_EINVAL &&
                     strstr(lt_graph_message(t.g), words[i]),
                 "the first error stays");
        TS_CHECK(lt_is_nil(lt_sgd(w, NULL, nil, lr, nil, nil, &sgd)) &&
                     lt_is_nil(lt_adamw(w, w, w, nil, lr, lr, nil, nil, &adamw)),
                 "nil in, nil out");
    }
    lt_optimizer_free(opt);
    ts_bed_drop(&t);
}

/* ---- Memory ---- */

static lt_status attempt(lt_ctx *ctx, void *arg)
{
    (void)arg;
    lt_params *params = NULL;
    lt_graph *g = NULL;
    lt_plan *plan = NULL;
    lt_optimizer *opt = NULL;
    lt_optimizer_config c;
    lt_optimizer_config_init(&c);
    c.max_grad_norm = 1;
    lt_status status = lt_params_create(ctx, &params);
    if (status == LT_OK) status = lt_params_add(params, "w", LT_F32, SHAPE(8, 3), LT_WEIGHT, NULL);
    if (status == LT_OK) status = lt_optimizer_create(ctx, params, &c, &opt);
    for (int part = 0; status == LT_OK && part < 2; part++) {
        status = lt_graph_create(ctx, params, &g);
        if (status != LT_OK) break;
        status = part ? lt_optimizer_apply(opt, g)
                      : lt_optimizer_accumulate(opt, g, lt_sum_all(lt_param_value(g, lt_params_find(params, "w"))));
        if (status != LT_OK) lti_fail(ctx, status, "%s", lt_graph_message(g));
        if (status == LT_OK) status = lt_compile(g, NULL, 0, NULL, &plan);
        lt_plan_free(plan);
        lt_graph_free(g);
        plan = NULL;
    }
    lt_optimizer_free(opt);
    lt_params_free(params);
    return status;
}

static void every_allocation_may_fail(void)
{
    int64_t n = ts_every_allocation_fails("an optimizer", attempt, NULL);
    TS_CHECK(n > 20, "only %lld allocations were tried", (long long)n);
}

int lti_suite_optim(void)
{
    const ts_test tests[] = {{"schedules", schedules},
                             {"formulas", updates_follow_the_formulas},
                             {"groups", groups_choose},
                             {"moments", moments_are_kept},
                             {"norms and factors", norms_and_factors},
                             {"sums", sums_are_clipped_and_checked},
                             {"fused steps", fused_steps_check_the_loss},
                             {"wrong configurations", wrong_configurations},
                             {"wrong recordings", wrong_recordings},
                             {"every allocation may fail", every_allocation_may_fail}};
    return ts_suite("optim", LTI_COUNT(tests), tests);
}
