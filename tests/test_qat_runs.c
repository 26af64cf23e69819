/* test_qat_runs.c - grids in whole runs: scales that follow weights which something else has changed, policies that are
 * prepared twice, filters and recurrent weights, and weights that are not finite. */
#include "lathe/ptq.h"
#include "qat/flips.h"
#include "qat/hooks.h"
#include "qat/learned_scales.h"
#include "tests/toy_run.h"

#include <math.h>

static lt_quant_policy policy_of(lt_ctx *ctx, const char *word, lt_scale_rule rule)
{
    lt_quant_policy p;
    lt_quant_policy_init(&p);
    TS_OK(ctx, lt_quant_policy_parse(ctx, word, &p));
    p.scale = rule;
    return p;
}

/* ---- Scales that are started again ---- */

/* Whether what training on the grid keeps is the same in both; returns how many params were compared. */
static int same_companions(const lt_params *a, const lt_params *b, const char *what)
{
    const char *const kept[] = {":scale", ":offset", ":codes", ":flips"};
    int n = 0;
    for (int i = 0; i < lt_params_count(a); i++) {
        const lt_param *p = lt_params_at(a, i);
        const char *colon = strrchr(lt_param_name(p), ':');
        bool is_kept = false;
        for (int k = 0; k < LTI_COUNT(kept); k++) is_kept |= colon && strcmp(colon, kept[k]) == 0;
        if (!is_kept || lt_param_role(p) != LT_STATE || strcmp(lt_param_name(p), "qat:codes") == 0) continue;
        const lt_param *other = lt_params_find(b, lt_param_name(p));
        TS_CHECK(other && lt_param_bytes(p) == lt_param_bytes(other) &&
                     ts_same_bytes(lt_param_bytes(p), lt_param_read(p), lt_param_read(other)),
                 "%s: '%s' differs", what, lt_param_name(p));
        n++;
    }
    return n;
}

static lt_status start_by_awq(lt_model *m, const lt_dataset *data, const lt_quant_policy *policy)
{
    lt_ptq_config c;
    lt_ptq *done;
    lt_ptq_config_init(&c);
    c.method = LT_PTQ_AWQ, c.start = true;
    LTI_TRY(lt_ptq_run(m, data, policy, &c, &done));
    lt_ptq_free(done);
    return LT_OK;
}

/* As `lathe train --qat-init` does: a forecast, which prepares the grids, and only then other weights. */
static void scales_follow_a_start(void)
{
    const struct {
        const char *word;
        lt_scale_rule rule;
        double freeze;
    } cases[] = {
        {"int3:g32", LT_SCALE_LSQ, 0}, {"int4:g16,asym", LT_SCALE_LSQ_PLUS, 0.1}, {"int4:g32", LT_SCALE_DYNAMIC, 0.1}};
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        ts_place p = ts_open_place();
        lt_train_config c;
        lt_forecast forecast;
        lt_train_config_init(&c);
        c.steps = 4, c.quant = policy_of(p.ctx, cases[i].word, cases[i].rule);
        c.quant.freeze_threshold = cases[i].freeze;
        lt_model *early = toy_model(p.ctx, TOY_INIT, 21), *late = toy_model(p.ctx, TOY_INIT, 21);
        lt_dataset *data = toy_text(p.ctx, early, LT_SPLIT_TRAIN);
        TS_OK(p.ctx, lt_train_forecast(early, data, NULL, &c, &forecast));
        TS_OK(p.ctx, start_by_awq(early, data, &c.quant));
        TS_OK(p.ctx, lt_qat_prepare(lt_model_params(early), &c.quant));
        TS_OK(p.ctx, start_by_awq(late, data, &c.quant));
        TS_OK(p.ctx, lt_qat_prepare(lt_model_params(late), &c.quant));
        int n = same_companions(lt_model_params(early), lt_model_params(late), cases[i].word);
        TS_CHECK(n >= 14, "%s: %d params beside 14 weights", cases[i].word, n);
        lt_dataset_free(data);
        lt_model_free(early);
        lt_model_free(late);
        ts_close_place(&p);
    }
}

enum { FLOAT_STEPS = 6 };

static void learn_late(toy_run *r)
{
    r->config.quant = policy_of(r->ctx, "int4:g16,asym", LT_SCALE_LSQ_PLUS);
    r->config.quant.freeze_threshold = 0.05;
    r->config.qat_start = 0.5, r->config.ema_decay = 0.9;
}

static void learn_late_fused(toy_run *r)
{
    learn_late(r);
    r->config.max_grad_norm = 0, r->config.ema_decay = 0;
}

/* A run, and a model to hold the weights that it has before its first step on the grid. */
typedef struct switching {
    toy_run run;
    lt_model *then;
} switching;

static void keep_weights(void *user, const lt_train_progress *p)
{
    switching *s = user;
    lt_params *from = lt_model_params(s->run.model), *to = lt_model_params(s->then);
    for (int i = 0; p->step == FLOAT_STEPS && i < lt_params_count(to); i++) {
        lt_param *w = lt_params_at(to, i);
        memcpy(lt_param_data(w), lt_param_read(lt_params_find(from, lt_param_name(w))), lt_param_bytes(w));
        lt_param_touch(w);
    }
}

static double farthest(const lt_params *a, const lt_params *b, const char *name)
{
    const lt_param *p = lt_params_find(a, name), *q = lt_params_find(b, name);
    double most = 0;
    if (!TS_CHECK(p && q && lt_param_count(p) == lt_param_count(q), "'%s' is in both", name)) return NAN;
    const lt_real *x = lt_param_read(p), *y = lt_param_read(q);
    for (int64_t i = 0; i < lt_param_count(p); i++) most = fmax(most, fabs((double)(x[i] - y[i])));
    return most;
}

/* One step on the grid moves a scale by a tenth of the rate at most; float steps move weights much farther. */
static void scales_start_with_the_grid(void)
{
    ts_place p = ts_open_place();
    switching s = {.run = toy_new_run(&p, NULL)};
    lt_train_config *c = &s.run.config;
    lt_model *fresh = toy_model(p.ctx, TOY_INIT, 21);
    s.run.model = toy_model(p.ctx, TOY_INIT, 21), s.then = toy_model(p.ctx, TOY_INIT, 21);
    lt_dataset *data = toy_text(p.ctx, fresh, LT_SPLIT_TRAIN);
    c->quant = policy_of(p.ctx, "int3:g32", LT_SCALE_LSQ);
    c->steps = FLOAT_STEPS + 1, c->qat_start = (FLOAT_STEPS + 0.5) / (FLOAT_STEPS + 1);
    c->learning_rate = 0.02, c->log_every = 1, c->save_every = c->eval_every = 0;
    c->user = &s, c->on_progress = keep_weights;
    TS_OK(p.ctx, lt_train(s.run.model, data, NULL, c, &s.run.result));
    TS_OK(p.ctx, lt_qat_prepare(lt_model_params(fresh), &c->quant));
    TS_OK(p.ctx, lt_qat_prepare(lt_model_params(s.then), &c->quant));
    const char *name = "blk.1.ffn_up.weight:scale";
    double near = farthest(lt_model_params(s.run.model), lt_model_params(s.then), name);
    double far = farthest(lt_model_params(s.run.model), lt_model_params(fresh), name);
    TS_CHECK(near <= 0.0021 && far > 2 * near, "%g from the weights of the switch, %g from those of the start", near,
             far);
    lt_dataset_free(data);
    lt_model_free(fresh);
    lt_model_free(s.then);
    lt_model_free(s.run.model);
    ts_close_place(&p);
}

static void stopping_at_the_switch(void)
{
    toy_stopped_and_resumed("scales from the switch on", learn_late, TOY_STOPS(5, 6, 7));
    toy_stopped_and_resumed("scales from the switch on, fused", learn_late_fused, TOY_STOPS(6));
}

/* ---- Prepared twice ---- */

static void prepared_twice(void)
{
    const lt_round_gradient gradients[] = {LT_ROUND_STE, LT_ROUND_CLIP_X, LT_ROUND_CLIP_CODE, LT_ROUND_PROX};
    for (int i = 0; i < LTI_COUNT(gradients); i++) {
        ts_place p = ts_open_place();
        lt_train_config c;
        lt_forecast forecast;
        lt_train_result result;
        lt_train_config_init(&c);
        c.steps = 2, c.quant = policy_of(p.ctx, "int4:g32", LT_SCALE_DYNAMIC), c.quant.gradient = gradients[i];
        lt_model *m = toy_model(p.ctx, TOY_INIT, 21);
        lt_dataset *data = toy_text(p.ctx, m, LT_SPLIT_TRAIN);
        TS_OK(p.ctx, lt_train_forecast(m, data, NULL, &c, &forecast));
        TS_OK(p.ctx, lt_train(m, data, NULL, &c, &result));
        TS_CHECK(isfinite(result.last_loss), "%s: loss %g", lt_round_gradient_name(gradients[i]), result.last_loss);
        lt_dataset_free(data);
        lt_model_free(m);
        ts_close_place(&p);
    }
}

/* ---- Filters and recurrent weights ---- */

/* Rows of numbers half way between two codes of eight bits, where every way to compute a code gives another. */
static void fill_with_ties(lt_param *w)
{
    int64_t rows = lt_param_shape(w)[0], columns = lt_param_count(w) / rows;
    lt_real *x = lt_param_data(w);
    for (int64_t i = 0; i < rows * columns; i++) {
        double most = 1 + ts_uniform("most", i / columns), code = floor(120 * ts_uniform("code", i)) + 0.5;
        x[i] = (lt_real)(i % columns ? code * most / 127 : most);
    }
    lt_param_touch(w);
}

/* The numbers that products meet in a graph are those that are exported. */
static void exported_as_computed(void)
{
    const struct {
        const char *name;
        lt_site_kind kind;
        int rank;
        int64_t shape[4];
    } sites[] = {{"conv.weight", LT_SITE_CONV, 4, {8, 3, 3, 5}}, {"rnn.weight_ih", LT_SITE_RNN, 2, {32, 45}},
                 {"rnn.weight_hh", LT_SITE_RNN, 2, {32, 45}},    {"fc.weight", LT_SITE_LINEAR, 2, {32, 45}},
                 {"output.weight", LT_SITE_HEAD, 2, {32, 45}},   {"token_embd.weight", LT_SITE_EMBEDDING, 2, {32, 45}}};
    static lt_real y[32 * 45];
    for (int i = 0; i < LTI_COUNT(sites); i++) {
        ts_bed t;
        if (!ts_bed_make(&t)) return;
        lt_param *w = ts_weight(&t, sites[i].name, 1, sites[i].rank, sites[i].shape);
        lt_quant_policy policy = policy_of(t.ctx, "w8a8", LT_SCALE_DYNAMIC);
        lt_params *codes = NULL;
        fill_with_ties(w);
        policy.embedding = policy.weights;
        const lt_site site = {.graph = t.g, .name = "site", .kind = sites[i].kind, .param = w};
        lt_t on = lti_qat_weight(lt_param_value(t.g, w), &site, &policy);
        ts_value(t.ctx, lt_type(on) == LT_F32 ? on : lt_dequantize(on), lt_param_count(w), y);
        if (TS_OK(t.ctx, lt_quantize_params(t.params, &policy, &codes)))
            TS_CHECK(ts_same_bytes(lt_param_bytes(w), y, lt_param_read(lt_params_find(codes, sites[i].name))),
                     "%s: what is exported is not what was computed with", sites[i].name);
        lt_params_free(codes);
        ts_bed_drop(&t);
    }
}

static void run_updates(ts_bed *t, const lt_quant_policy *policy)
{
    lt_plan *plan = NULL;
    if (!ts_bed_again(t)) return;
    lt_qat_after_update(t->g, policy);
    lt_t y = lt_constant(t->g, 1);
    if (TS_OK(t->ctx, ts_compile(t->g, TS_PLANNED, 1, &y, &plan))) TS_OK(t->ctx, lt_run(plan));
    lt_plan_free(plan);
}

/* A filter is frozen as the row of all its numbers. */
static void filters_freeze_as_rows(void)
{
    const struct {
        const char *scheme;
        lt_scale_rule rule;
    } cases[] = {{"int4:g8", LT_SCALE_DYNAMIC},        {"int4:g8", LT_SCALE_LSQ},
                 {"int4:channel", LT_SCALE_DYNAMIC},   {"int4:g8,asym", LT_SCALE_MSE},
                 {"int4:g16,asym", LT_SCALE_LSQ_PLUS}, {"int3:tensor", LT_SCALE_LSQ}};
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        ts_bed t;
        if (!ts_bed_make(&t)) return;
        lt_param *w[2] = {ts_weight(&t, "conv.weight", 1, 4, (int64_t[]){4, 3, 3, 3}),
                          ts_weight(&t, "rows.weight", 1, 2, (int64_t[]){4, 27})};
        lt_quant_policy policy = policy_of(t.ctx, cases[i].scheme, cases[i].rule);
        policy.freeze_threshold = 0.005; /* the first flip holds a weight */
        memcpy(lt_param_data(w[1]), lt_param_read(w[0]), lt_param_bytes(w[0]));
        TS_OK(t.ctx, lt_qat_prepare(t.params, &policy));
        for (int k = 0; k < 2; k++) {
            lt_real *x = lt_param_data(w[k]);
            for (int n = 0; n < 4 * 27; n++) x[n] += (lt_real)(0.15 * ts_normal("moved", n));
            lt_param_touch(w[k]);
        }
        run_updates(&t, &policy);
        const char *const kept[] = {"codes", "flips"};
        for (int k = 0; k < 2; k++) {
            const lt_param *a = lti_learned_find(t.params, w[0], kept[k]),
                           *b = lti_learned_find(t.params, w[1], kept[k]);
            TS_CHECK(a && b && ts_same_bytes(lt_param_bytes(a), lt_param_read(a), lt_param_read(b)), "%s: %s differ",
                     cases[i].scheme, kept[k]);
        }
        const lt_real *flips = lt_param_read(lti_learned_find(t.params, w[0], "flips"));
        int held = 0;
        for (int n = 0; n < 4 * 27; n++) held += flips[n] == 2;
        TS_CHECK(held > 5 && held < 4 * 27, "%s: %d are held", cases[i].scheme, held);
        TS_CHECK(ts_same_bytes(lt_param_bytes(w[0]), lt_param_read(w[0]), lt_param_read(w[1])), "%s: weights differ",
                 cases[i].scheme);
        ts_bed_drop(&t);
    }
}

/* ---- Weights that are not finite ---- */

static void not_finite_by_name(void)
{
    const char *const says = "cannot quantize 'blk.1.ffn_up.weight': it holds a NaN or an infinity";
    const double broken[] = {NAN, INFINITY};
    for (int i = 0; i < 2; i++) {
        ts_place p = ts_open_place();
        toy_run r = toy_new_run(&p, NULL);
        lt_eval_result e;
        lt_forecast forecast;
        lt_auto_bits *bits;
        lt_quant_policy policy = policy_of(p.ctx, "q4_0", LT_SCALE_DYNAMIC), none;
        lt_quant_policy_init(&none);
        r.model = toy_model(p.ctx, TOY_INIT, 5);
        lt_dataset *data = toy_text(p.ctx, r.model, LT_SPLIT_TRAIN);
        toy_spoil(&r, broken[i]);
        r.config.quant = policy, r.config.save_every = 0;
        TS_REFUSED(p.ctx, lt_train_forecast(r.model, data, NULL, &r.config, &forecast), LT_ENONFINITE, says);
        TS_REFUSED(p.ctx, lt_train(r.model, data, NULL, &r.config, &r.result), LT_ENONFINITE, says);
        TS_REFUSED(p.ctx, lt_evaluate(r.model, data, &policy, 0, &e), LT_ENONFINITE, says);
        TS_REFUSED(p.ctx, lt_auto_bits_choose(r.model, data, &none, 6, &bits), LT_ENONFINITE, says);
        TS_REFUSED(p.ctx, lt_export_codes(r.model, &policy, ts_at(&p, "codes.safetensors"), NULL), LT_ENONFINITE, says);
        policy.targets = "blk.0.*"; /* what stays float is no affair of the grids' */
        TS_OK(p.ctx, lt_qat_prepare(lt_model_params(r.model), &policy));
        lt_dataset_free(data);
        lt_model_free(r.model);
        ts_close_place(&p);
    }
}

int lti_suite_qat_runs(void)
{
    const ts_test tests[] = {
        {"scales follow a start", scales_follow_a_start},   {"scales start with the grid", scales_start_with_the_grid},
        {"stopping at the switch", stopping_at_the_switch}, {"prepared twice", prepared_twice},
        {"exported as computed", exported_as_computed},     {"filters freeze as rows", filters_freeze_as_rows},
        {"not finite by name", not_finite_by_name}};
    return ts_suite("qat_runs", LTI_COUNT(tests), tests) || toy_one_thread("qat_runs");
}
