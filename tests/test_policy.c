/* test_policy.c - which grid each tensor gets: the mixes against what llama-quantize chose itself (golden/mixes.json, made
 * by scripts/goldens_mixes.py), the words for policies, rules, and what is refused. Export is in test_export.c. */
#include "data/formats/type_mix.h"
#include "qat/policy.h"
#include "tests/golden.h"
#include "tests/toys.h"

/* ---- Mixes ---- */

/* A model's matrices as params that are mapped to nothing much: only names and shapes count. */
typedef struct shaped {
    lt_params *params;
    int64_t layers, dim, hidden, keys;
    bool tied, fused;
} shaped;

static void add_matrix(shaped *s, const char *format, int64_t layer, int64_t rows, int64_t columns)
{
    static lt_real nothing;
    char name[64];
    lt_ctx *ctx = lt_params_ctx(s->params);
    snprintf(name, sizeof name, format, (int)layer);
    TS_OK(ctx, lt_params_map(s->params, name, LT_F32, 2, (int64_t[]){rows, columns}, &nothing, NULL));
}

static void add_layer(shaped *s, int64_t i)
{
    int64_t d = s->dim, f = s->hidden, k = s->keys;
    if (s->fused) {
        add_matrix(s, "blk.%d.attn_qkv.weight", i, d + 2 * k, d);
    } else {
        add_matrix(s, "blk.%d.attn_q.weight", i, d, d);
        add_matrix(s, "blk.%d.attn_k.weight", i, k, d);
        add_matrix(s, "blk.%d.attn_v.weight", i, k, d);
        add_matrix(s, "blk.%d.ffn_gate.weight", i, f, d);
    }
    add_matrix(s, "blk.%d.attn_output.weight", i, d, d);
    add_matrix(s, "blk.%d.ffn_up.weight", i, f, d);
    add_matrix(s, "blk.%d.ffn_down.weight", i, d, f);
}

static shaped shape_model(lt_ctx *ctx, const json_t *m)
{
    int64_t heads = json_integer_value(json_object_get(m, "heads"));
    shaped s = {.layers = json_integer_value(json_object_get(m, "layers")),
                .dim = json_integer_value(json_object_get(m, "dim")),
                .hidden = json_integer_value(json_object_get(m, "hidden")),
                .tied = json_is_true(json_object_get(m, "tied")),
                .fused = json_is_true(json_object_get(m, "gpt2"))};
    s.keys = s.dim / heads * json_integer_value(json_object_get(m, "keys"));
    if (!TS_OK(ctx, lt_params_create(ctx, &s.params))) return s;
    add_matrix(&s, "token_embd.weight", 0, 64, s.dim);
    if (s.fused) add_matrix(&s, "position_embd.weight", 0, 64, s.dim);
    if (!s.tied) add_matrix(&s, "output.weight", 0, 64, s.dim);
    for (int64_t i = 0; i < s.layers; i++) add_layer(&s, i);
    return s;
}

/* The type golden has for one layer of a part: [[type, how many layers], ..]. */
static const char *type_of(const json_t *runs, int64_t layer)
{
    size_t i;
    json_t *run;
    json_array_foreach(runs, i, run)
    {
        int64_t n = json_integer_value(json_array_get(run, 1));
        if (layer < n) return json_string_value(json_array_get(run, 0));
        layer -= n;
    }
    return "none";
}

static int check_mix(const shaped *s, const char *model, const char *mix, const json_t *parts)
{
    lt_quant_policy policy;
    lt_quant_policy_init(&policy);
    policy.mix = mix;
    int checked = 0;
    for (int i = 0; i < lt_params_count(s->params); i++) {
        const lt_param *p = lt_params_at(s->params, i);
        const char *name = lt_param_name(p), *part = name;
        int layer = 0, at = 0;
        if (sscanf(name, "blk.%d.%n", &layer, &at) == 1) part = name + at;
        const char *is = lt_dtype_name(lt_quant_type(&policy, p)), *want = type_of(json_object_get(parts, part), layer);
        TS_CHECK(strcmp(is, want) == 0, "%s as %s: %s is %s, llama-quantize makes it %s", model, mix, name, is, want);
        checked++;
    }
    return checked;
}

static void mixes(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    json_t *golden = gd_load("mixes.json"), *m, *types;
    const char *model, *mix;
    int checked = 0;
    json_object_foreach(json_object_get(golden, "models"), model, m)
    {
        shaped s = shape_model(ctx, m);
        json_object_foreach(json_object_get(json_object_get(golden, "types"), model), mix, types)
        {
            checked += check_mix(&s, model, mix, json_object_get(types, "tensors"));
            const lti_mix *found = lti_mix_named(mix);
            TS_CHECK(found && found->number == json_integer_value(json_object_get(types, "file_type")),
                     "%s has its number", mix);
        }
        lt_params_free(s.params);
    }
    TS_CHECK(checked > 5000, "%d tensors were compared", checked);
    json_decref(golden);
    TS_CHECK(!strcmp(lti_mix_named("q4_k")->name, "q4_k_m") && !lti_mix_named("q9_k") && !lti_mix_named("mxfp4"),
             "names and aliases");
    lt_ctx_free(ctx);
}

/* ---- Words ---- */

static void words(void)
{
    static const struct {
        const char *text, *name, *mix;
        lt_activations activations;
    } good[] = {{"q4_0", "q4_0", NULL, LT_ACT_NONE},           {"f16", "f16", NULL, LT_ACT_NONE},
                {"q4_k", "q4_k", NULL, LT_ACT_NONE},           {"q4_k_m", "q4_k_m", "q4_k_m", LT_ACT_NONE},
                {"mix:q4_0", "mix:q4_0", "q4_0", LT_ACT_NONE}, {"mix:q4_k", "q4_k_m", "q4_k_m", LT_ACT_NONE},
                {"int4:g32", "int4:g32", NULL, LT_ACT_NONE},   {"w4a16", "int4:g128", NULL, LT_ACT_NONE},
                {"w8a8", "int8", NULL, LT_ACT_INT8_TOKEN}};
    static const char *const bad[][2] = {
        {"q9", "q4_k_m"}, {"mix:mxfp4", "'mxfp4' is no mix"}, {"mix:", "is no mix"}, {"", "w8a8"}};
    lt_ctx *ctx = lt_ctx_create(NULL);
    for (int i = 0; i < LTI_COUNT(good); i++) {
        lt_quant_policy p;
        char name[LT_SCHEME_TEXT];
        lt_quant_policy_init(&p);
        if (!TS_OK(ctx, lt_quant_policy_parse(ctx, good[i].text, &p))) continue;
        TS_CHECK(!strncmp(lt_quant_policy_name(&p, name), good[i].name, strlen(good[i].name)), "%s is called %s",
                 good[i].text, name);
        TS_CHECK(!p.mix == !good[i].mix && (!p.mix || !strcmp(p.mix, good[i].mix)), "%s: the mix", good[i].text);
        TS_CHECK(p.activations == good[i].activations && !lt_quant_policy_empty(&p), "%s: activations", good[i].text);
    }
    for (int i = 0; i < LTI_COUNT(bad); i++) {
        lt_quant_policy p;
        lt_quant_policy_init(&p);
        TS_REFUSED(ctx, lt_quant_policy_parse(ctx, bad[i][0], &p), LT_EINVAL, bad[i][1]);
    }
    for (int i = 0; i <= LT_SCALE_RANGE; i++) {
        lt_scale_rule rule;
        TS_CHECK(lt_scale_rule_parse(lt_scale_rule_name(i), &rule) && (int)rule == i, "scale rule %d", i);
    }
    for (int i = 0; i <= LT_ROUND_PROX; i++) {
        lt_round_gradient gradient;
        TS_CHECK(lt_round_gradient_parse(lt_round_gradient_name(i), &gradient) && (int)gradient == i, "gradient %d", i);
    }
    char rule[] = "*.ffn_down.weight=q6_k", none[] = "q6_k", half[] = "=q6_k", grid[] = "a=q9";
    lt_quant_rule r;
    TS_OK(ctx, lt_quant_rule_parse(ctx, rule, &r));
    TS_CHECK(!strcmp(r.pattern, "*.ffn_down.weight") && r.scheme.type == LT_Q6_K, "a rule");
    TS_REFUSED(ctx, lt_quant_rule_parse(ctx, none, &r), LT_EINVAL, "PATTERN=TYPE");
    TS_REFUSED(ctx, lt_quant_rule_parse(ctx, half, &r), LT_EINVAL, "PATTERN=TYPE");
    TS_REFUSED(ctx, lt_quant_rule_parse(ctx, grid, &r), LT_EINVAL, "q9");
    lt_ctx_free(ctx);
}

/* ---- Rules ---- */

static void rules_come_first(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    json_t *m = json_pack("{s:i, s:i, s:i, s:i, s:i, s:b}", "layers", 2, "dim", 256, "hidden", 256, "heads", 4, "keys",
                          4, "tied", 0);
    shaped s = shape_model(ctx, m);
    lt_quant_policy p;
    lt_quant_policy_init(&p);
    const lt_quant_rule rules[] = {{"blk.1.ffn_down.weight", lt_scheme_of(LT_Q8_0)},
                                   {"*.ffn_down.weight", lt_scheme_of(LT_F16)},
                                   {"output.weight", lt_scheme_of(LT_Q5_1)}};
    p.rules = rules, p.n_rules = 3;
    TS_CHECK(!lt_quant_policy_empty(&p) && !lti_quant_weights_stay(&p), "rules alone quantize");
    p.weights.type = LT_Q4_0, p.embedding.type = LT_Q4_1;
    p.targets = "*.attn_*";
    const struct {
        const char *name;
        lt_dtype plain, mixed;
    } cases[] = {{"blk.0.ffn_down.weight", LT_F16, LT_F16}, {"blk.1.ffn_down.weight", LT_Q8_0, LT_Q8_0},
                 {"blk.0.ffn_up.weight", LT_F32, LT_F32},   {"blk.0.attn_q.weight", LT_Q4_0, LT_Q4_K},
                 {"blk.1.attn_v.weight", LT_Q4_0, LT_Q6_K}, {"token_embd.weight", LT_Q4_1, LT_Q4_K},
                 {"output.weight", LT_Q5_1, LT_Q5_1}};
    for (int mixed = 0; mixed < 2; mixed++, p.mix = "q4_k_m")
        for (int i = 0; i < LTI_COUNT(cases); i++) {
            lt_dtype is = lt_quant_type(&p, lt_params_find(s.params, cases[i].name));
            lt_dtype want = mixed ? cases[i].mixed : cases[i].plain;
            TS_CHECK(is == want, "%s%s: %s and not %s", cases[i].name, mixed ? " in a mix" : "", lt_dtype_name(is),
                     lt_dtype_name(want));
        }
    lt_params_free(s.params);
    json_decref(m);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

/* ---- Refusals ---- */

static void refused_policies(void)
{
    const struct {
        lt_quant_policy p;
        const char *words;
    } cases[] = {
        {{.weights = {.type = LT_Q4_0}, .scale = LT_SCALE_LSQ}, "scales of lattices are made of the weights, not lsq"},
        {{.mix = "q4_k_m", .scale = LT_SCALE_MSE}, "scales of lattices"},
        {{.weights = {.kind = LT_SCHEME_INT, .bits = 4}, .scale = LT_SCALE_PACT}, "pact"},
        {{.weights = {.kind = LT_SCHEME_INT, .bits = 8}, .activations = LT_ACT_RUNTIME}, "take int8_token"},
        {{.weights = {.type = LT_Q4_0}, .activations = LT_ACT_INT8_STATIC}, "int8_static"},
        {{.mix = "q9_k_m"}, "'q9_k_m' is no mix; q2_k"},
        {{.n_rules = 1, .rules = &(lt_quant_rule){"*.ffn*", {.type = LT_I32}}}, "i32 is no type to deploy weights in"},
    };
    lt_ctx *ctx = lt_ctx_create(NULL);
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        lt_quant_policy p = cases[i].p;
        TS_REFUSED(ctx, lti_quant_check(ctx, &p), LT_EINVAL, "lt_quant_policy_init");
        p.size = sizeof p;
        TS_REFUSED(ctx, lti_quant_check(ctx, &p), LT_EINVAL, cases[i].words);
    }
    lt_ctx_free(ctx);
}

/* Ternary weights are exported in types that llama.cpp multiplies with q8_k: the runtime of training is that one. */
static void runtime_of_ternary(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_quant_policy p;
    lt_quant_policy_init(&p);
    p.weights = (lt_scheme){.kind = LT_SCHEME_TERNARY};
    p.activations = LT_ACT_RUNTIME;
    TS_OK(ctx, lti_quant_check(ctx, &p));
    TS_CHECK(lti_quant_pair(&p.weights) == LT_Q8_K, "q8_k");
    lt_scheme integers = {.kind = LT_SCHEME_INT, .bits = 8}, lattice = lt_scheme_of(LT_Q4_1);
    TS_CHECK(lti_quant_pair(&integers) == LT_F32 && lti_quant_pair(&lattice) == LT_Q8_1, "the others");
    lt_ctx_free(ctx);
}

static lt_status go_on(ts_place *place, const lt_dataset *text, const lt_quant_policy *policy, int64_t steps)
{
    lt_model *m = toy_model(place->ctx, TOY_INIT, 3); /* as after a restart */
    lt_train_config c;
    lt_train_result r;
    lt_train_config_init(&c);
    c.out = place->dir, c.steps = 4, c.save_every = 2, c.batch_size = 2, c.quant = *policy;
    c.max_seconds = steps ? 1e-9 : 0; /* saves and stops after the first step */
    lt_status status = lt_train(m, text, NULL, &c, &r);
    lt_model_free(m);
    return status;
}

/* A run goes on with the very policy it began with. */
static void resume_compares_policies(void)
{
    ts_place place = ts_open_place();
    lt_model *m = toy_model(place.ctx, TOY_INIT, 3);
    lt_dataset *text = toy_text(place.ctx, m, LT_SPLIT_ALL);
    const lt_quant_rule rule = {"*.ffn_up.weight", lt_scheme_of(LT_Q8_0)};
    lt_quant_policy began, other;
    lt_quant_policy_init(&began);
    began.weights.type = LT_Q4_0, began.rules = &rule, began.n_rules = 1;
    TS_CHECK(go_on(&place, text, &began, 1) == LT_EINTERRUPTED, "a run is stopped: %s", lt_ctx_message(place.ctx));
    other = began, other.n_rules = 0;
    TS_REFUSED(place.ctx, go_on(&place, text, &other, 0), LT_EINVAL,
               "'blk.0.ffn_up.weight' was trained on q8_0 and would be on q4_0 now");
    other = began, other.mix = "q4_0";
    TS_REFUSED(place.ctx, go_on(&place, text, &other, 0), LT_EINVAL,
               "'token_embd.weight' was trained on f32 and would be on q8_0 now");
    other = began, other.activations = LT_ACT_RUNTIME;
    TS_REFUSED(place.ctx, go_on(&place, text, &other, 0), LT_EINVAL, "qat_activations was 'none' and is 'runtime'");
    other = began, other.gradient = LT_ROUND_CLIP_X;
    TS_REFUSED(place.ctx, go_on(&place, text, &other, 0), LT_EINVAL, "qat_gradient was 'ste' and is 'clip'");
    TS_OK(place.ctx, go_on(&place, text, &began, 0));
    lt_dataset_free(text);
    lt_model_free(m);
    ts_close_place(&place);
}

int lti_suite_policy(void)
{
    const ts_test tests[] = {{"mixes", mixes},
                             {"words", words},
                             {"rules come first", rules_come_first},
                             {"refused policies", refused_policies},
                             {"runtime of ternary", runtime_of_ternary},
                             {"resume compares policies", resume_compares_policies}};
    return ts_suite("policy", LTI_COUNT(tests), tests) || toy_one_thread("policy");
}
