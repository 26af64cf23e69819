/* test_norms.c - batch norm over several batches: what the running averages become and when they stay, how it changes
 * between training and evaluation, its errors, its ReLU; folding; losses of no rows. Values and gradients of single
 * calls are the sweep's (rows_losses.c). */
#include "lathe/nn.h"
#include "tests/testing.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { B = 6, C = 5 };

static const lt_real *numbers(const lt_params *params, const char *name)
{
    const lt_param *p = lt_params_find(params, name);
    return p ? lt_param_read(p) : NULL;
}

static bool add(lt_params *params, const char *name, int rank, const int64_t *shape, double scale, double shift)
{
    lt_param *p = NULL;
    if (!TS_OK(lt_params_ctx(params), lt_params_add(params, name, LT_F32, rank, shape, LT_WEIGHT, &p))) return false;
    lt_real *v = lt_param_data(p);
    for (int64_t i = 0; i < lt_param_count(p); i++) v[i] = (lt_real)(scale * ts_normal(name, i) + shift);
    lt_param_touch(p);
    return true;
}

/* Gain, bias and running averages of n channels as "<name>.weight", .. */
static bool add_norm(lt_params *params, const char *name, int64_t n)
{
    const struct {
        const char *suffix;
        double scale, shift;
    } parts[] = {{"weight", 0.3, 1}, {"bias", 0.5, 0}, {"running_mean", 0.4, 0}, {"running_var", 0.1, 1}};
    for (int i = 0; i < LTI_COUNT(parts); i++) {
        char full[64];
        snprintf(full, sizeof full, "%s.%s", name, parts[i].suffix);
        if (!add(params, full, 1, &n, parts[i].scale, parts[i].shift)) return false;
    }
    return true;
}

static lt_t input(ts_bed *t, int64_t rows, int64_t n)
{
    return lt_input(t->g, "x", LT_F32, 2, (int64_t[]){rows, n});
}

/* Compiles y over input "x", runs it on `batches` arrays of `count` numbers one after the other, copies the last y. */
static bool run(ts_bed *t, lt_t y, int batches, int64_t count, const lt_real *x, lt_real *out)
{
    lt_plan *plan = NULL;
    bool ok = TS_OK(t->ctx, lt_compile(t->g, NULL, 1, &y, &plan));
    for (int i = 0; ok && i < batches; i++)
        ok = TS_OK(t->ctx, lt_bind(plan, "x", x + i * count)) && TS_OK(t->ctx, lt_run(plan));
    if (ok) memcpy(out, lt_result(plan, 0), (size_t)lt_count(y) * sizeof *out);
    lt_plan_free(plan);
    return ok;
}

/* What three batches leave in the averages, from their definition. */
static void averages_move(void)
{
    enum { BATCHES = 3 };
    lt_real x[BATCHES * B * C], y[B * C];
    double mean[C], var[C], momentum = 0.3;
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    ts_fill_normal("batches", LTI_COUNT(x), 2, x);
    if (add_norm(t.params, "bn", C)) {
        for (int j = 0; j < C; j++) {
            mean[j] = (double)numbers(t.params, "bn.running_mean")[j];
            var[j] = (double)numbers(t.params, "bn.running_var")[j];
        }
        for (int i = 0; i < BATCHES; i++)
            for (int j = 0; j < C; j++) {
                const lt_real *at = x + i * B * C + j;
                double m = 0, v = 0;
                for (int r = 0; r < B; r++) m += (double)at[r * C] / B;
                for (int r = 0; r < B; r++) v += ((double)at[r * C] - m) * ((double)at[r * C] - m) / (B - 1);
                mean[j] += momentum * (m - mean[j]);
                var[j] += momentum * (v - var[j]);
            }
        lt_batch_norm_config c;
        lt_batch_norm_config_init(&c);
        c.momentum = momentum;
        run(&t, lt_nn_batch_norm(input(&t, B, C), "bn", &c), BATCHES, B * C, x, y);
        double tolerance = ts_tolerance(1e-13, 1e-6);
        TS_CHECK(ts_distance(C, numbers(t.params, "bn.running_mean"), mean) < tolerance, "the running mean");
        TS_CHECK(ts_distance(C, numbers(t.params, "bn.running_var"), var) < tolerance, "the running variance");
    }
    ts_bed_drop(&t);
}

/* A batch with a NaN or an infinity, and a graph that evaluates, leave the averages as they are. */
static void averages_stay(void)
{
    const lt_real bad[] = {NAN, INFINITY, 1};
    for (int i = 0; i < LTI_COUNT(bad); i++) {
        lt_real x[B * C], y[B * C], before[2][C];
        ts_bed t;
        if (!ts_bed_make(&t)) return;
        ts_fill_normal("batch", B * C, 1, x);
        x[7] = bad[i];
        if (add_norm(t.params, "bn", C)) {
            memcpy(before[0], numbers(t.params, "bn.running_mean"), sizeof before[0]);
            memcpy(before[1], numbers(t.params, "bn.running_var"), sizeof before[1]);
            lt_training(t.g, i < 2);
            run(&t, lt_nn_batch_norm(input(&t, B, C), "bn", NULL), 1, B * C, x, y);
            TS_CHECK(ts_same_bytes(sizeof before[0], before[0], numbers(t.params, "bn.running_mean")) &&
                         ts_same_bytes(sizeof before[1], before[1], numbers(t.params, "bn.running_var")),
                     "case %d moved the averages", i);
        }
        ts_bed_drop(&t);
    }
}

/* A layer whose gain and bias are both frozen is frozen as a whole, in a graph that trains, too. */
static void frozen_layers(void)
{
    static const char *const frozen[] = {"bn.weight", "bn.bias"};
    lt_real x[B * C], evaluated[B * C], y[B * C], before[C];
    ts_bed t;
    if (!ts_bed_make(&t) || !add_norm(t.params, "bn", C)) return;
    ts_fill_normal("frozen", B * C, 1, x);
    lt_training(t.g, false);
    run(&t, lt_nn_batch_norm(input(&t, B, C), "bn", NULL), 1, B * C, x, evaluated);
    memcpy(before, numbers(t.params, "bn.running_mean"), sizeof before);
    for (int i = LTI_COUNT(frozen); i >= 0; i--) {
        for (int k = 0; k < LTI_COUNT(frozen); k++) lt_param_set_trainable(lt_params_find(t.params, frozen[k]), k >= i);
        ts_bed_again(&t);
        run(&t, lt_nn_batch_norm(input(&t, B, C), "bn", NULL), 1, B * C, x, y);
        bool stays = ts_same_bytes(sizeof before, before, numbers(t.params, "bn.running_mean"));
        bool same = ts_same_bytes(sizeof y, y, evaluated);
        TS_CHECK(stays == (i == 2) && same == (i == 2), "%d of 2 frozen: averages %s, %s values", i,
                 stays ? "stay" : "move", same ? "the same" : "other");
        memcpy(before, numbers(t.params, "bn.running_mean"), sizeof before);
    }
    ts_bed_drop(&t);
}

/* A mean that dwarfs the deviation costs no more than x's own rounding, and a constant channel is exactly its bias. */
static void large_means(void)
{
    lt_real x[B * 2], y[B * 2];
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    for (int r = 0; r < B; r++) {
        x[2 * r] = (lt_real)(100000 + r);
        x[2 * r + 1] = (lt_real)1e10;
    }
    if (add_norm(t.params, "bn", 2) && run(&t, lt_nn_batch_norm(input(&t, B, 2), "bn", NULL), 1, B * 2, x, y)) {
        const lt_real *w = numbers(t.params, "bn.weight"), *b = numbers(t.params, "bn.bias");
        for (int r = 0; r < B; r++) {
            double want = (r - 2.5) / sqrt(35.0 / 12 + 1e-5) * (double)w[0] + (double)b[0];
            TS_CHECK(fabs((double)y[2 * r] - want) < ts_tolerance(1e-10, 1e-5), "row %d: %.9g, not %.9g", r,
                     (double)y[2 * r], want);
            TS_CHECK(y[2 * r + 1] == b[1], "row %d of a constant channel is %.9g", r, (double)y[2 * r + 1]);
        }
    }
    ts_bed_drop(&t);
}

/* The ReLU in the same pass gives the bits of one after it, forward and backward, training or not. */
static void relu_inside(void)
{
    for (int evaluating = 0; evaluating < 2; evaluating++) {
        enum { ROWS = 40, N = 18, ALL = ROWS * N };
        static lt_real x[ALL], seed[ALL], out[2][2 * ALL + 2 * N];
        ts_fill_normal("relu x", ALL, 1, x);
        ts_fill_normal("relu seed", ALL, 1, seed);
        for (int apart = 0; apart < 2; apart++) {
            ts_bed t;
            lt_plan *plan = NULL;
            if (!ts_bed_make(&t) || !add_norm(t.params, "bn", N)) return;
            lt_training(t.g, !evaluating);
            lt_batch_norm_config c;
            lt_batch_norm_config_init(&c);
            c.relu = !apart;
            lt_t in = input(&t, ROWS, N), y = lt_nn_batch_norm(in, "bn", &c);
            if (apart) y = lt_relu(y);
            lt_t wrt[] = {in, lt_param_value(t.g, lt_params_find(t.params, "bn.weight")),
                          lt_param_value(t.g, lt_params_find(t.params, "bn.bias"))};
            lt_t all[4] = {y};
            lt_grad_seeded(y, lt_input(t.g, "seed", LT_F32, 2, (int64_t[]){ROWS, N}), 3, wrt, all + 1);
            if (TS_OK(t.ctx, lt_compile(t.g, NULL, 4, all, &plan)) && TS_OK(t.ctx, lt_bind(plan, "x", x)) &&
                TS_OK(t.ctx, lt_bind(plan, "seed", seed)) && TS_OK(t.ctx, lt_run(plan)))
                for (int k = 0, at = 0; k < 4; at += (int)lt_count(all[k++]))
                    memcpy(out[apart] + at, lt_result(plan, k), (size_t)lt_count(all[k]) * sizeof(lt_real));
            lt_plan_free(plan);
            ts_bed_drop(&t);
        }
        TS_CHECK(ts_same_bytes(sizeof out[0], out[0], out[1]), "ReLU inside and after differ (evaluating %d)",
                 evaluating);
    }
}

/* Where y is exactly 0, no gradient passes: the bias takes off what the norm gave a row, so that any other rounding of
 * the scale in the backward would count the row. */
static void relu_cuts_alike(void)
{
    enum { ROWS = 12, N = 64, ALL = ROWS * N };
    static lt_real x[ALL], y[ALL], out[ALL];
    ts_bed t;
    lt_plan *plan = NULL;
    lt_batch_norm_config c;
    lt_batch_norm_config_init(&c);
    ts_fill_normal("cut x", ALL, 1, x);
    if (!ts_bed_make(&t) || !add_norm(t.params, "bn", N)) return;
    lt_real *bias = lt_param_data(lt_params_find(t.params, "bn.bias"));
    memset(bias, 0, N * sizeof *bias);
    if (!run(&t, lt_nn_batch_norm(input(&t, ROWS, N), "bn", &c), 1, ALL, x, out)) return;
    for (int j = 0; j < N; j++) bias[j] = -out[j];
    c.relu = true;
    ts_bed_again(&t);
    lt_t all[2] = {lt_nn_batch_norm(input(&t, ROWS, N), "bn", &c)},
         b = lt_param_value(t.g, lt_params_find(t.params, "bn.bias"));
    lt_grad(lt_sum_all(all[0]), 1, &b, &all[1]);
    if (TS_OK(t.ctx, lt_compile(t.g, NULL, 2, all, &plan)) && TS_OK(t.ctx, lt_bind(plan, "x", x)) &&
        TS_OK(t.ctx, lt_run(plan))) {
        memcpy(y, lt_result(plan, 0), sizeof y);
        for (int j = 0; j < N; j++) {
            int passed = 0, counted = (int)((const lt_real *)lt_result(plan, 1))[j];
            for (int r = 0; r < ROWS; r++) passed += y[r * N + j] > 0;
            TS_CHECK(y[j] == 0 && passed == counted, "channel %d: %d rows pass, the backward has %d", j, passed,
                     counted);
        }
    }
    lt_plan_free(plan);
    ts_bed_drop(&t);
}

static void message(ts_bed *t, const char *want)
{
    TS_CHECK(lt_graph_status(t->g) == LT_EINVAL && strstr(lt_graph_message(t->g), want), "'%s' has no '%s'",
             lt_graph_message(t->g), want);
    ts_bed_again(t);
}

static void errors(void)
{
    ts_bed t;
    lt_param *p = NULL;
    if (!ts_bed_make(&t)) return;
    if (!add_norm(t.params, "bn", C) || !add(t.params, "lone.weight", 1, (int64_t[]){C}, 0, 1)) return;
    lt_t lone = lt_nn_batch_norm(input(&t, 1, C), "bn", NULL); /* the last, short batch of an epoch may be one row */
    TS_CHECK(!lt_is_nil(lone), "one value a channel takes the running averages");
    ts_bed_again(&t);
    lt_nn_batch_norm(input(&t, B, C), "lone", NULL);
    message(&t, "no parameter 'lone.bias'");
    lt_nn_group_norm(input(&t, B, C), "lone", 1, 1e-5);
    message(&t, "no parameter 'lone.bias'");
    lt_nn_group_norm(input(&t, B, C), "bn", 2, 1e-5);
    message(&t, "5 channels cannot be cut into 2 groups");
    lt_nn_batch_norm(input(&t, B, C + 1), "bn", NULL);
    message(&t, "x [6,6] with gain [5]");
    lt_checkpoint_begin(t.g);
    lt_nn_batch_norm(input(&t, B, C), "bn", NULL);
    lt_checkpoint_end(t.g);
    message(&t, "running_average: a side effect cannot stand between lt_checkpoint_begin and lt_checkpoint_end");
    lt_cross_entropy_smooth(input(&t, B, C), lt_index_input(t.g, "t", 1, (int64_t[]){B}, 0, C), lt_nil(t.g), 1);
    message(&t, "smoothing 1");
    lt_hinge(input(&t, B, C), lt_index_input(t.g, "t", 1, (int64_t[]){B}, 0, C), lt_nil(t.g), NAN);
    message(&t, "hinge: margin nan");
    lt_bce(input(&t, B, C), lt_scalar(t.g, "t", 1));
    message(&t, "logits [6,5] with targets []");
    p = lt_params_find(t.params, "lone.weight");
    lt_running_average(p, lt_scalar(t.g, "a", 1), 0.1);
    message(&t, "x [] into a parameter f32 [5]");
    lt_running_average(p, lt_param_value(t.g, p), 1.5);
    message(&t, "rate 1.5");
    ts_bed_drop(&t);
}

/* Recomputing what is cheap gives the same gradient: the clone's statistics are the original's, and nothing moves
 * twice. */
static void recomputed(void)
{
    lt_real x[B * C], dx[2][B * C], mean[2][C];
    ts_fill_normal("cheap", B * C, 1, x);
    for (int cheap = 0; cheap < 2; cheap++) {
        ts_bed t;
        if (!ts_bed_make(&t) || !add_norm(t.params, "bn", C)) return;
        lt_recompute_cheap(t.g, cheap);
        lt_t in = input(&t, B, C), d;
        lt_grad(lt_sum_all(lt_square(lt_tanh(lt_nn_batch_norm(in, "bn", NULL)))), 1, &in, &d);
        run(&t, d, 1, B * C, x, dx[cheap]);
        memcpy(mean[cheap], numbers(t.params, "bn.running_mean"), sizeof mean[0]);
        ts_bed_drop(&t);
    }
    TS_CHECK(ts_same_bytes(sizeof dx[0], dx[0], dx[1]), "recomputed gradients differ");
    TS_CHECK(ts_same_bytes(sizeof mean[0], mean[0], mean[1]), "recomputing moves the averages");
}

/* Masked targets only: the loss is 0 and so is its gradient. */
static void no_rows(void)
{
    const int32_t masked[B] = {-1, -1, -1, -1, -1, -1};
    for (int i = 0; i < 2; i++) {
        lt_real z[B * C];
        ts_bed t;
        lt_plan *plan = NULL;
        if (!ts_bed_make(&t)) return;
        ts_fill_normal("z", B * C, 1, z);
        lt_t in = input(&t, B, C), target = lt_index_input(t.g, "t", 1, (int64_t[]){B}, -1, C), out[2];
        out[0] = i ? lt_hinge(in, target, lt_nil(t.g), 1) : lt_cross_entropy_smooth(in, target, lt_nil(t.g), 0.1);
        lt_grad(out[0], 1, &in, &out[1]);
        if (TS_OK(t.ctx, lt_compile(t.g, NULL, 2, out, &plan)) && TS_OK(t.ctx, lt_bind(plan, "x", z)) &&
            TS_OK(t.ctx, lt_bind(plan, "t", masked)) && TS_OK(t.ctx, lt_run(plan))) {
            const lt_real *dz = lt_result(plan, 1);
            bool zero = *(const lt_real *)lt_result(plan, 0) == 0;
            for (int k = 0; k < B * C; k++) zero = zero && dz[k] == 0;
            TS_CHECK(zero, "loss %d of no rows", i);
        }
        lt_plan_free(plan);
        ts_bed_drop(&t);
    }
}

/* ---- Folding ---- */

enum { I = 4 };

static lt_t layer_and_norm(ts_bed *t, bool norm)
{
    lt_training(t->g, false);
    lt_t y = lt_nn_linear(input(t, B, I), "fc");
    return norm ? lt_nn_batch_norm(y, "bn", NULL) : y;
}

static void folds(void)
{
    for (int bias = 0; bias < 2; bias++) {
        lt_real x[B * I], before[B * C], after[B * C], with_norm[B * C];
        ts_bed t;
        if (!ts_bed_make(&t)) return;
        ts_fill_normal("fold x", B * I, 1, x);
        bool ok = add(t.params, "fc.weight", 2, (int64_t[]){C, I}, 1, 0) && add_norm(t.params, "bn", C) &&
                  (!bias || add(t.params, "fc.bias", 1, (int64_t[]){C}, 1, 0));
        if (ok && run(&t, layer_and_norm(&t, true), 1, B * I, x, before) &&
            TS_OK(t.ctx, lt_fold_batch_norm(t.params, "fc", "bn", 1e-5)) && ts_bed_again(&t) &&
            run(&t, layer_and_norm(&t, false), 1, B * I, x, after) && ts_bed_again(&t) &&
            run(&t, layer_and_norm(&t, true), 1, B * I, x, with_norm)) {
            TS_CHECK(ts_distance_real(B * C, after, before) < ts_tolerance(1e-14, 2e-6), "folded: another value");
            TS_CHECK(ts_same_bytes(sizeof after, after, with_norm), "the norm left in place is not the identity");
        }
        ts_bed_drop(&t);
    }
}

static void fold_fails(ts_bed *t, const char *conv, const char *norm, double eps, const char *want)
{
    TS_CHECK(lt_fold_batch_norm(t->params, conv, norm, eps) == LT_EINVAL && strstr(lt_ctx_message(t->ctx), want),
             "'%s' has no '%s'", lt_ctx_message(t->ctx), want);
}

static void fold_errors(void)
{
    static const lt_real fixed[C * I];
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    if (add_norm(t.params, "bn", C) && add_norm(t.params, "wide", C + 1) && add_norm(t.params, "odd", C) &&
        add(t.params, "fc.weight", 2, (int64_t[]){C, I}, 1, 0) &&
        add(t.params, "wrong.weight", 2, (int64_t[]){C, I}, 1, 0) &&
        add(t.params, "wrong.bias", 1, (int64_t[]){C + 2}, 1, 0) &&
        add(t.params, "half.weight", 1, (int64_t[]){C}, 1, 1) &&
        TS_OK(t.ctx, lt_params_map(t.params, "mapped.weight", LT_F32, 2, (int64_t[]){C, I}, fixed, NULL))) {
        ((lt_real *)lt_param_data(lt_params_find(t.params, "odd.running_var")))[2] = -1;
        int count = lt_params_count(t.params);
        fold_fails(&t, "none", "bn", 1e-5, "no parameter 'none.weight'");
        fold_fails(&t, "fc", "half", 1e-5, "no parameter 'half.bias'");
        fold_fails(&t, "half", "bn", 1e-5, "'half.weight' has rank 1");
        fold_fails(&t, "fc", "wide", 1e-5, "'wide.weight' has rank 1 and 6 numbers; there are 5 filters");
        fold_fails(&t, "wrong", "bn", 1e-5, "'wrong.bias' has rank 1 and 7 numbers");
        fold_fails(&t, "mapped", "bn", 1e-5, "'mapped.weight' is f32 in a mapped file");
        fold_fails(&t, "fc", "odd", 1e-5, "'odd.running_var'[2] is -1");
        fold_fails(&t, "fc", "bn", 2, "eps 2");
        TS_CHECK(lt_params_count(t.params) == count, "a failed fold adds a parameter");
    }
    ts_bed_drop(&t);
}

static lt_status fold_attempt(lt_ctx *ctx, void *arg)
{
    lt_params *params = NULL;
    const char *const names[] = {"bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"};
    lt_status status = lt_params_create(ctx, &params);
    for (int i = 0; status == LT_OK && i < LTI_COUNT(names); i++) {
        lt_param *p = NULL;
        status = lt_params_add(params, names[i], LT_F32, 1, (int64_t[]){C}, LT_WEIGHT, &p);
        if (status == LT_OK) lt_init_constant(p, 1);
    }
    if (status == LT_OK) status = lt_params_add(params, "fc.weight", LT_F32, 2, (int64_t[]){C, I}, LT_WEIGHT, NULL);
    if (status == LT_OK) status = lt_fold_batch_norm(params, "fc", "bn", 1e-5);
    lt_params_free(params);
    return status;
}

static void fold_without_memory(void)
{
    ts_every_allocation_fails("fold", fold_attempt, NULL);
}

int lti_suite_norms(void)
{
    const ts_test tests[] = {{"averages move", averages_move},
                             {"averages stay", averages_stay},
                             {"frozen layers", frozen_layers},
                             {"large means", large_means},
                             {"ReLU inside", relu_inside},
                             {"ReLU cuts alike", relu_cuts_alike},
                             {"errors", errors},
                             {"recomputed", recomputed},
                             {"losses of no rows", no_rows},
                             {"folding", folds},
                             {"folding's errors", fold_errors},
                             {"folding without memory", fold_without_memory}};
    return ts_suite("norms", LTI_COUNT(tests), tests);
}
