/* test_optim_rules.c - optimizers: which param is updated with what and how fast, rates by layer, Muon's matrices,
 * averages of weights, what is known by name, and every refusal of the newer kinds. */
#include "lathe/optim.h"
#include "optim/moments.h"
#include "tests/data_files.h"

#include <math.h>

#define SHAPE(...)                                                                                                     \
    sizeof((int64_t[]){__VA_ARGS__}) / 8, (int64_t[])                                                                  \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

static const lt_optimizer_kind kinds[] = {LT_ADAMW, LT_SGD, LT_ADAMW_8BIT, LT_LION, LT_MUON};
static const char *const kind_names[] = {"adamw", "sgd", "adamw_8bit", "lion", "muon"};

/* ---- Layers, groups ---- */

static void rates_fall_by_layer(void)
{
    static const struct {
        const char *name;
        int distance;
    } cases[] = {{"token_embd.weight", 5},
                 {"token_embd_norm.weight", 5},
                 {"token_types.weight", 5},
                 {"stem.conv.weight", 5},
                 {"blk.0.attn_q.weight", 4},
                 {"blk.3.ffn_up.weight", 1},
                 {"stage.2.0.conv1.weight", 2},
                 {"rnn.1.weight_hh", 3},
                 {"teacher.blk.1.attn_output.weight", 3},
                 {"output.weight", 0},
                 {"output_norm.weight", 0},
                 {"head.bias", 0},
                 {"blk.x.weight", 0},
                 {"blk.7", 0},
                 {"system.weight", 0}};
    enum { CASES = sizeof cases / sizeof cases[0] };
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_param *p[CASES];
    lt_t loss = lt_constant(t.g, 0);
    for (int i = 0; i < CASES; i++) {
        p[i] = ts_weight(&t, cases[i].name, 0, SHAPE(2));
        loss = lt_add(loss, lt_sum_all(lt_param_value(t.g, p[i])));
    }
    const lt_optimizer_group groups[] = {{"*.attn_q.*", 3, -1, false}, {"output.weight", 10, -1, false}};
    lt_optimizer_config c;
    lt_optimizer_config_init(&c);
    c.kind = LT_SGD, c.weight_decay = 0, c.layer_decay = 0.5, c.groups = groups, c.n_groups = 2;
    lt_optimizer *opt = NULL;
    lt_plan *plan = NULL;
    TS_OK(t.ctx, lt_optimizer_create(t.ctx, t.params, &c, &opt));
    TS_OK(t.ctx, lt_optimizer_fused(opt, t.g, loss));
    if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 1, &loss, &plan)) && TS_OK(t.ctx, lt_set(plan, "lr", 1)) &&
        TS_OK(t.ctx, lt_run(plan)))
        for (int i = 0; i < CASES; i++) {
            double want = -pow(0.5, cases[i].distance) * (i == 4 ? 3 : i == 9 ? 10 : 1);
            double got = (double)((const lt_real *)lt_param_read(p[i]))[1];
            TS_CHECK(fabs(got - want) < 1e-6, "%s moves by %g, not %g", cases[i].name, got, want);
        }
    lt_plan_free(plan);
    lt_optimizer_free(opt);
    ts_bed_drop(&t);
}

static void muon_takes_matrices(void)
{
    static const struct {
        const char *name, *pattern;
        int rank;
        bool matrix;
    } cases[] = {{"blk.0.attn_output.weight", NULL, 2, true},
                 {"blk.0.attn_q.bias", NULL, 1, false},
                 {"token_embd.weight", NULL, 2, false},
                 {"output.weight", NULL, 2, false},
                 {"head.weight", NULL, 2, false},
                 {"cls.output.weight", NULL, 2, false},
                 {"stage.0.0.conv1.weight", NULL, 4, true},
                 {"odd", NULL, 3, false},
                 {"output.weight", "out*", 2, true}};
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        ts_bed t;
        if (!ts_bed_make(&t)) return;
        ts_weight(&t, cases[i].name, 1, cases[i].rank, (int64_t[]){2, 3, 2, 1});
        lt_optimizer_config c;
        lt_optimizer_config_init(&c);
        c.kind = LT_MUON, c.muon_pattern = cases[i].pattern;
        lt_optimizer *opt = NULL;
        TS_OK(t.ctx, lt_optimizer_create(t.ctx, t.params, &c, &opt));
        char name[64];
        snprintf(name, sizeof name, "%s:%s", cases[i].name, cases[i].matrix ? "muon.u" : "adam.v");
        TS_CHECK(lt_params_find(t.params, name) != NULL, "there is no '%s'", name);
        lt_optimizer_free(opt);
        ts_bed_drop(&t);
    }
}

/* ---- Averages ---- */

static void averages_follow_and_swap(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_param *w = ts_weight(&t, "w", 1, SHAPE(5));
    lt_optimizer_config c;
    lt_optimizer_config_init(&c);
    c.kind = LT_SGD, c.weight_decay = 0, c.ema_decay = 0.75;
    lt_optimizer *opt = NULL, *again = NULL;
    lt_plan *plan = NULL;
    TS_OK(t.ctx, lt_optimizer_create(t.ctx, t.params, &c, &opt));
    lt_param *ema = lt_params_find(t.params, "w:ema");
    if (!TS_CHECK(ema && lt_param_role(ema) == LT_STATE && !lt_param_trainable(ema), "the average is state")) return;
    lt_real start = ((const lt_real *)lt_param_read(w))[2];
    TS_CHECK(ts_same_bytes(lt_param_bytes(w), lt_param_read(w), lt_param_read(ema)), "it starts as a copy");
    TS_CHECK(lt_optimizer_bytes(opt) == lt_param_bytes(w), "and is counted");
    lt_t loss = lt_sum_all(lt_param_value(t.g, w));
    TS_OK(t.ctx, lt_optimizer_fused(opt, t.g, loss));
    if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 1, &loss, &plan)) && TS_OK(t.ctx, lt_set(plan, "lr", 1)))
        for (int i = 0; i < 2; i++) TS_OK(t.ctx, lt_run(plan));
    double want = (double)start - 0.75 * 0.25 - 2 * 0.25; /* of start, start - 1, start - 2 */
    double now = (double)((const lt_real *)lt_param_read(ema))[2];
    TS_CHECK(fabs(now - want) < 1e-5, "the average is %g, not %g", now, want);
    uint64_t version = lt_param_version(w);
    lt_optimizer_swap_ema(opt);
    TS_CHECK((double)((const lt_real *)lt_param_read(w))[2] == now && lt_param_version(w) > version, "swapped");
    lt_optimizer_swap_ema(opt);
    TS_CHECK(fabs((double)(((const lt_real *)lt_param_read(w))[2] - start) + 2) < 1e-5, "and back");
    TS_OK(t.ctx, lt_optimizer_create(t.ctx, t.params, &c, &again));
    TS_CHECK((double)((const lt_real *)lt_param_read(ema))[2] == now, "another optimizer goes on with it");
    lti_forget_moments(t.params);
    TS_CHECK(ts_same_bytes(lt_param_bytes(w), lt_param_read(w), lt_param_read(ema)), "forgotten: a copy again");
    lt_plan_free(plan);
    lt_optimizer_free(opt);
    lt_optimizer_free(again);
    ts_bed_drop(&t);
}

static void moments_are_known_by_name(void)
{
    static const char *const moments[] = {"w:adam.m",  "w:adam.v",      "w:sgd.u",  "a.b:adam8.m",
                                          "w:adam8.v", "w:adam8.scale", "w:lion.m", "w:muon.u"};
    static const char *const others[] = {"w", "w:ema", "w:grad", "adam.m", "w:adam.m.x", "w:adam.mm", "w:scale", "w:"};
    for (int i = 0; i < LTI_COUNT(moments); i++) TS_CHECK(lti_is_moment(moments[i]), "%s is a moment", moments[i]);
    for (int i = 0; i < LTI_COUNT(others); i++) TS_CHECK(!lti_is_moment(others[i]), "%s is none", others[i]);
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_param *m = ts_weight(&t, "w:lion.m", 1, SHAPE(3)), *state = NULL;
    TS_OK(t.ctx, lt_params_add(t.params, "v:lion.m", LT_F32, SHAPE(3), LT_STATE, &state));
    ((lt_real *)lt_param_data(state))[1] = 4;
    uint64_t version = lt_param_version(state);
    lti_forget_moments(t.params);
    TS_CHECK(((const lt_real *)lt_param_read(state))[1] == 0 && lt_param_version(state) > version, "zeros");
    TS_CHECK(((const lt_real *)lt_param_read(m))[1] != 0, "a weight of that name stays");
    ts_bed_drop(&t);
}

/* ---- Refusals ---- */

static void wrong_numbers(void)
{
    static const char *const words[] = {"layer_decay 0 is", "layer_decay 1.5",    "ema_decay 1 in",
                                        "ema_decay -1",     "muon_lr_scale 0 is", "muon_pattern 'x*' names no trained"};
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    ts_weight(&t, "w", 1, SHAPE(2, 2));
    for (int i = 0; i < LTI_COUNT(words); i++) {
        lt_optimizer_config c;
        lt_optimizer_config_init(&c);
        c.kind = LT_MUON;
        switch (i) {
        case 0: c.layer_decay = 0; break;
        case 1: c.layer_decay = 1.5; break;
        case 2: c.ema_decay = 1; break;
        case 3: c.ema_decay = -1; break;
        case 4: c.muon_lr_scale = 0; break;
        default: c.muon_pattern = "x*"; break;
        }
        lt_optimizer *opt = NULL;
        TS_REFUSED(t.ctx, lt_optimizer_create(t.ctx, t.params, &c, &opt), LT_EINVAL, words[i]);
    }
    lt_optimizer_kind kind = LT_SGD;
    TS_CHECK(lt_optimizer_parse("adamw8bit", &kind) && kind == LT_ADAMW_8BIT && !lt_optimizer_parse("Lion", &kind) &&
                 kind == LT_ADAMW_8BIT,
             "names");
    for (int i = 0; i < LTI_COUNT(kinds); i++)
        TS_CHECK(lt_optimizer_parse(kind_names[i], &kind) && kind == kinds[i], "%s", kind_names[i]);
    ts_bed_drop(&t);
}

static void wrong_nodes(void)
{
    static const char *const words[] = {
        "lion: the parameter or its momentum is NULL",
        "lion: moment 'u' and its weight are to be f32 of one shape",
        "muon: the parameter or its momentum is NULL",
        "muon: moment 'u' and its weight are to be f32 of one shape",
        "muon: a parameter [3]; two axes or more are wanted",
        "adamw8: a parameter or a moment is NULL",
        "adamw8: 'w' has 4 elements: its codes are to be two i8 [256], its scales f32 [1,2]",
        "weight_average: there is no such parameter",
        "weight_average: gradient f32 [2,2] of a parameter f32 [3]",
        "muon: input 1 [2,2] is to be a single number",
    };
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_param *w = ts_weight(&t, "w", 1, SHAPE(2, 2)), *u = ts_weight(&t, "u", 1, SHAPE(3)), *codes = NULL;
    TS_OK(t.ctx, lt_params_add(t.params, "codes", LT_I8, SHAPE(256), LT_STATE, &codes));
    lt_lion_config lion;
    lt_muon_config muon;
    lt_adamw_config adamw;
    lt_lion_config_init(&lion);
    lt_muon_config_init(&muon);
    lt_adamw_config_init(&adamw);
    for (int i = 0; i < LTI_COUNT(words); i++) {
        ts_bed_again(&t);
        lt_t lr = lt_scalar(t.g, "lr", 0), nil = lt_nil(t.g), g = lt_param_value(t.g, w), h = lt_param_value(t.g, u);
        switch (i) {
        case 0: lt_lion(w, NULL, g, lr, nil, nil, &lion); break;
        case 1: lt_lion(w, u, g, lr, nil, nil, &lion); break;
        case 2: lt_muon(NULL, w, g, lr, nil, nil, &muon); break;
        case 3: lt_muon(w, u, g, lr, nil, nil, &muon); break;
        case 4: lt_muon(u, u, h, lr, nil, nil, &muon); break;
        case 5: lt_adamw_8bit(w, codes, codes, NULL, g, lr, lr, nil, nil, &adamw); break;
        case 6: lt_adamw_8bit(w, codes, codes, w, g, lr, lr, nil, nil, &adamw); break;
        case 7: lt_weight_average(NULL, g, nil, 0.5); break;
        case 8: lt_weight_average(u, g, nil, 0.5); break;
        default: lt_muon(w, w, g, g, nil, nil, &muon); break;
        }
        TS_CHECK(lt_graph_status(t.g) == LT_EINVAL && strstr(lt_graph_message(t.g), words[i]),
                 "case %d: '%s', not '%s'", i, lt_graph_message(t.g), words[i]);
        TS_CHECK(lt_is_nil(lt_lion(w, w, nil, lr, nil, nil, &lion)) &&
                     lt_is_nil(lt_muon(w, w, nil, lr, nil, nil, &muon)) &&
                     lt_is_nil(lt_adamw_8bit(w, codes, codes, w, nil, lr, lr, nil, nil, &adamw)) &&
                     lt_is_nil(lt_weight_average(w, nil, nil, 0.5)),
                 "nil in, nil out");
    }
    ts_bed_drop(&t);
}

int lti_suite_optim_rules(void)
{
    const ts_test tests[] = {{"rates by layer", rates_fall_by_layer}, {"matrices", muon_takes_matrices},
                             {"averages", averages_follow_and_swap},  {"moments by name", moments_are_known_by_name},
                             {"wrong numbers", wrong_numbers},        {"wrong nodes", wrong_nodes}};
    return ts_suite("optim_rules", LTI_COUNT(tests), tests);
}
