/* test_qat.c - quantization as a policy on a model: which tensor gets which type, what the forward and the gradients are
 * on the grid, and codes as files. The lattices themselves are in test_blocks.c and test_lattices.c. */
#include "lathe/qat.h"
#include "tests/toys.h"

#include <math.h>

#define SHAPE(...)                                                                                                     \
    sizeof((int64_t[]){__VA_ARGS__}) / 8, (int64_t[])                                                                  \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

/* ffn_down has rows of 48, no multiple of a block. */
#define FALLBACK_INIT "llama:layers=2,dim=32,hidden=48,heads=4,kv_heads=2,context=64"

static lt_quant_policy policy_of(lt_dtype type, lt_dtype embedding)
{
    lt_quant_policy policy;
    lt_quant_policy_init(&policy);
    policy.weights.type = type;
    policy.embedding.type = embedding;
    return policy;
}

static const lt_dtype policies[][2] = {{LT_Q4_0, LT_F32}, {LT_Q8_0, LT_Q8_0}, {LT_Q4_0, LT_Q8_0},
                                       {LT_F16, LT_F16},  {LT_BF16, LT_F32},  {LT_F32, LT_Q4_0}};

/* ---- Rules ---- */

static void rules(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_quant_policy p = policy_of(LT_Q4_0, LT_Q8_0), none;
    lt_quant_policy_init(&none);
    TS_CHECK(none.size == sizeof none && lt_quant_policy_empty(&none) && !none.targets, "defaults");
    const struct {
        const char *name;
        int rank;
        int64_t shape[3];
        lt_dtype type;
    } cases[] = {{"blk.0.attn_q.weight", 2, {32, 64}, LT_Q4_0},
                 {"blk.0.ffn_down.weight", 2, {32, 48}, LT_F16},
                 {"token_embd.weight", 2, {10, 64}, LT_Q8_0},
                 {"output.weight", 2, {10, 64}, LT_Q8_0},
                 {"output_norm.weight", 1, {64}, LT_F32},
                 {"blk.0.attn_norm.weight", 2, {64, 64}, LT_F32},
                 {"blk.0.attn_q.bias", 1, {64}, LT_F32},
                 {"blk.0.gate.bias", 2, {64, 64}, LT_F32},
                 {"blk.0.weight", 1, {64}, LT_F32},
                 {"conv.weight", 3, {8, 8, 64}, LT_F32}};
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        lt_param *w = ts_weight(&t, cases[i].name, 1, cases[i].rank, cases[i].shape);
        TS_CHECK(lt_quant_type(&p, w) == cases[i].type, "%s becomes %s", cases[i].name,
                 lt_dtype_name(lt_quant_type(&p, w)));
        TS_CHECK(lt_quant_type(&none, w) == LT_F32, "%s stays without a policy", cases[i].name);
    }
    lt_param *state = NULL;
    TS_OK(t.ctx, lt_params_add(t.params, "blk.0.mask.weight", LT_F32, SHAPE(32, 32), LT_STATE, &state));
    TS_CHECK(lt_quant_type(&p, state) == LT_F32, "state is not quantized");
    p.targets = "*.attn_*";
    TS_CHECK(lt_quant_type(&p, lt_params_find(t.params, "blk.0.attn_q.weight")) == LT_Q4_0 &&
                 lt_quant_type(&p, lt_params_find(t.params, "blk.0.ffn_down.weight")) == LT_F32 &&
                 lt_quant_type(&p, lt_params_find(t.params, "token_embd.weight")) == LT_Q8_0,
             "targets choose among linear layers");
    ts_bed_drop(&t);
}

/* ---- On the grid: forward and gradients ---- */

enum { LENGTH = 12, MOST = 600000 };

/* The loss and the gradients of all weights of `params` (by the model's names), through the policy when there is one. */
static int64_t loss_and_gradients(const lt_model *m, lt_params *params, const lt_quant_policy *policy, lt_real *out)
{
    lt_ctx *ctx = lt_params_ctx(params);
    lt_graph *g = NULL;
    lt_plan *plan = NULL;
    lt_t wrt[32], dx[33];
    int32_t tokens[LENGTH];
    int n = 0;
    int64_t total = 0;
    for (int i = 0; i < LENGTH; i++) tokens[i] = 97 + i * i % 26;
    if (!TS_OK(ctx, lt_graph_create(ctx, params, &g))) return 0;
    if (policy) lt_qat_attach(g, policy);
    lt_t index = lt_index_input(g, "tokens", SHAPE(1, LENGTH), 0, 258);
    lt_t loss = lt_model_loss(m, g, &(lt_model_input){.tokens = index}, index, lt_nil(g));
    for (int i = 0; i < lt_params_count(params); i++) wrt[n++] = lt_param_value(g, lt_params_at(params, i));
    lt_grad(loss, n, wrt, dx);
    dx[n] = loss;
    if (TS_OK(ctx, lt_compile(g, NULL, n + 1, dx, &plan)) && TS_OK(ctx, lt_bind(plan, "tokens", tokens)) &&
        TS_OK(ctx, lt_run(plan)))
        for (int i = 0; i <= n; i++) {
            int64_t count = i < n ? lt_param_count(lt_params_at(params, i)) : 1;
            memcpy(out + total, lt_result(plan, i), (size_t)count * sizeof *out);
            total += count;
        }
    lt_plan_free(plan);
    lt_graph_free(g);
    return total;
}

/* The loss and the gradients through the policy are those at the values of its codes. */
static void sees_the_values(lt_model *m, const lt_quant_policy *policy, const char *what)
{
    static lt_real through[MOST], direct[MOST];
    lt_ctx *ctx = lt_params_ctx(lt_model_params(m));
    lt_params *codes = NULL, *values = NULL;
    if (TS_OK(ctx, lt_quantize_params(lt_model_params(m), policy, &codes)) &&
        TS_OK(ctx, lt_dequantize_params(codes, &values))) {
        int64_t n = loss_and_gradients(m, lt_model_params(m), policy, through), at = 0;
        int64_t k = loss_and_gradients(m, values, NULL, direct);
        TS_CHECK(n > 1000 && n == k, "as many numbers: %lld and %lld", (long long)n, (long long)k);
        TS_CHECK(fabs((double)(through[n - 1] - direct[n - 1])) < ts_tolerance(1e-12, 1e-6) * (double)direct[n - 1],
                 "%s: losses %.9g and %.9g", what, (double)through[n - 1], (double)direct[n - 1]);
        for (int w = 0; w < lt_params_count(values); w++) {
            lt_param *p = lt_params_at(values, w);
            double d = ts_distance_real(lt_param_count(p), through + at, direct + at);
            TS_CHECK(d < ts_tolerance(1e-10, 1e-5), "%s: the gradient of '%s' does not pass straight: %g", what,
                     lt_param_name(p), d);
            at += lt_param_count(p);
        }
    }
    lt_params_free(codes);
    lt_params_free(values);
}

static void training_sees_the_values_of_the_codes(void)
{
    static const char *const ternary[] = {"ternary", "ternary:half", "ternary:channel,half", "ternary:g128,half"};
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_model *m = toy_model(ctx, FALLBACK_INIT ",tied=0", 5);
    for (int i = 0; i < LTI_COUNT(policies); i++) {
        lt_quant_policy policy = policy_of(policies[i][0], policies[i][1]);
        sees_the_values(m, &policy, lt_dtype_name(policies[i][0]));
    }
    lt_model_free(m);
    m = toy_model(ctx, "bitnet:layers=1,dim=256,hidden=256,heads=4,kv_heads=2,context=64",
                  5); /* rows of whole blocks */
    for (int i = 0; i < LTI_COUNT(ternary); i++) {
        lt_quant_policy policy = policy_of(LT_F32, LT_F32);
        TS_OK(ctx, lt_scheme_parse(ctx, ternary[i], &policy.weights));
        sees_the_values(m, &policy, ternary[i]);
    }
    lt_model_free(m);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

static void codes_are_fixed_points(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_model *m = toy_model(ctx, FALLBACK_INIT, 5);
    lt_quant_policy policy = policy_of(LT_Q8_0, LT_Q4_0);
    lt_params *codes = NULL, *values = NULL, *again = NULL, *refused = NULL;
    TS_OK(ctx, lt_quantize_params(lt_model_params(m), &policy, &codes));
    TS_OK(ctx, lt_dequantize_params(codes, &values));
    TS_OK(ctx, lt_quantize_params(values, &policy, &again));
    for (int i = 0; i < lt_params_count(codes); i++) {
        const lt_param *a = lt_params_at(codes, i), *b = lt_params_at(again, i);
        const lt_param *w = lt_params_find(lt_model_params(m), lt_param_name(a));
        TS_CHECK(lt_param_type(a) == lt_quant_type(&policy, w), "'%s' is %s", lt_param_name(a),
                 lt_dtype_name(lt_param_type(a)));
        TS_CHECK(lt_param_type(lt_params_at(values, i)) == LT_F32, "values are numbers again");
        if (lt_param_type(a) != LT_Q8_0)
            TS_CHECK(ts_same_bytes(lt_param_bytes(a), lt_param_read(a), lt_param_read(b)),
                     "'%s' changes when quantized twice", lt_param_name(a));
        TS_CHECK(lt_param_bytes(a) ==
                     (size_t)(lt_param_count(a) / lt_dtype_block(lt_param_type(a))) * lt_dtype_bytes(lt_param_type(a)),
                 "'%s' takes %zu bytes", lt_param_name(a), lt_param_bytes(a));
    }
    TS_REFUSED(ctx, lt_quantize_params(codes, &policy, &refused), LT_EINVAL,
               "cannot quantize 'token_embd.weight': it is q4_0 already");
    lt_params_free(codes);
    lt_params_free(values);
    lt_params_free(again);
    lt_model_free(m);
    lt_ctx_free(ctx);
}

static void non_finite_weights_are_named(void)
{
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, TOY_INIT, 5);
    lt_quant_policy policy = policy_of(LT_Q4_0, LT_F32);
    lt_params *codes = NULL;
    lt_param *w = lt_params_find(lt_model_params(m), "blk.1.ffn_up.weight");
    const double broken[] = {NAN, INFINITY};
    for (int i = 0; i < 2; i++) {
        ((lt_real *)lt_param_data(w))[77] = (lt_real)broken[i];
        lt_param_touch(w);
        TS_REFUSED(p.ctx, lt_quantize_params(lt_model_params(m), &policy, &codes), LT_ENONFINITE,
                   "cannot quantize 'blk.1.ffn_up.weight': it holds a NaN or an infinity");
        TS_CHECK(codes == NULL, "no codes");
        TS_REFUSED(p.ctx, lt_export_codes(m, &policy, ts_at(&p, "codes.safetensors"), NULL), LT_ENONFINITE,
                   "blk.1.ffn_up.weight");
        TS_CHECK(!toy_exists(ts_at(&p, "codes.safetensors")), "no file");
    }
    lt_model_free(m);
    ts_close_place(&p);
}

static void impossible_policies(void)
{
    static const lt_dtype types[] = {LT_I8, LT_I32, LT_DTYPE_COUNT};
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, TOY_INIT, 5);
    for (int i = 0; i < LTI_COUNT(types); i++) {
        lt_quant_policy policy = policy_of(types[i], LT_F32);
        lt_params *codes = NULL;
        lt_eval_result e;
        lt_dataset *text = toy_text(p.ctx, m, LT_SPLIT_ALL);
        TS_REFUSED(p.ctx, lt_quantize_params(lt_model_params(m), &policy, &codes), LT_EINVAL,
                   "no type to deploy weights in; f32, f16, bf16 and the lattices are");
        TS_REFUSED(p.ctx, lt_evaluate(m, text, &policy, 0, &e), LT_EINVAL, "no type to deploy weights in");
        TS_CHECK(codes == NULL, "no codes");
        policy = policy_of(LT_F32, types[i]);
        TS_REFUSED(p.ctx, lt_quantize_params(lt_model_params(m), &policy, &codes), LT_EINVAL, "embedding");
        lt_dataset_free(text);
    }
    lt_model_free(m);
    ts_close_place(&p);
}

/* ---- Codes as files ---- */

static void exported_codes_evaluate_the_same(void)
{
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, FALLBACK_INIT, 6);
    lt_dataset *text = toy_text(p.ctx, m, LT_SPLIT_ALL);
    for (int i = 0; i < LTI_COUNT(policies); i++) {
        lt_quant_policy policy = policy_of(policies[i][0], policies[i][1]);
        lt_eval_result trained, deployed;
        lt_params *codes = NULL;
        lt_model *coded = NULL;
        const char *path = ts_at(&p, "codes.safetensors");
        if (!TS_OK(p.ctx, lt_export_codes(m, &policy, path, NULL)) ||
            !TS_OK(p.ctx, lt_model_with_codes(m, path, &coded)) ||
            !TS_OK(p.ctx, lt_quantize_params(lt_model_params(m), &policy, &codes)))
            break;
        for (int k = 0; k < lt_params_count(codes); k++) {
            const lt_param *a = lt_params_at(codes, k);
            const lt_param *b = lt_params_find(lt_model_params(coded), lt_param_name(a));
            TS_CHECK(b && lt_param_type(a) == lt_param_type(b) &&
                         ts_same_bytes(lt_param_bytes(a), lt_param_read(a), lt_param_read(b)),
                     "policy %d: '%s' reads back", i, lt_param_name(a));
            TS_CHECK(!lt_param_trainable(b), "codes are frozen");
        }
        TS_OK(p.ctx, lt_evaluate(m, text, &policy, 0, &trained));
        TS_OK(p.ctx, lt_evaluate(coded, text, NULL, 0, &deployed));
        TS_CHECK(fabs(trained.nll - deployed.nll) < ts_tolerance(1e-12, 1e-6) * trained.nll &&
                     trained.tokens == deployed.tokens,
                 "policy %d: nll %.9g in training, %.9g deployed", i, trained.nll, deployed.nll);
        TS_CHECK(deployed.model_bytes == trained.model_bytes && deployed.parameters == trained.parameters &&
                     deployed.model_bytes < lt_params_bytes(lt_model_params(m)),
                 "%llu bytes", (unsigned long long)deployed.model_bytes);
        lt_params_free(codes);
        lt_model_free(coded);
    }
    lt_dataset_free(text);
    lt_model_free(m);
    ts_close_place(&p);
}

static void reports_name_fallbacks(void)
{
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, FALLBACK_INIT, 6);
    char *report = NULL;
    lt_quant_policy policy = policy_of(LT_Q4_0, LT_F16);
    TS_OK(p.ctx, lt_export_codes(m, &policy, ts_at(&p, "codes.safetensors"), &report));
    TS_CHECK(report && strstr(report, "blk.1.ffn_down.weight: rows of 48 are no multiple of 32: f16 instead of q4_0\n"),
             "the fallback is named: %s", report);
    TS_CHECK(report && !strstr(report, "token_embd"), "a chosen f16 is no fallback: %s", report);
    TS_CHECK(report && strstr(report, "q4_0    12 tensors") && strstr(report, "f16      3 tensors"), "counts: %s",
             report);
    lt_string_free(p.ctx, report);
    lt_model_free(m);
    m = toy_model(p.ctx, "llama:layers=1,dim=40,hidden=64,heads=4,kv_heads=2", 6);
    policy = policy_of(LT_F32, LT_Q8_0);
    TS_OK(p.ctx, lt_export_codes(m, &policy, ts_at(&p, "codes.safetensors"), &report));
    TS_CHECK(report && strstr(report, "token_embd.weight: rows of 40 are no multiple of 32: f16 instead of q8_0\n"),
             "of the embedding, too: %s", report);
    lt_string_free(p.ctx, report);
    TS_REFUSED(p.ctx, lt_export_codes(m, &policy, ts_at(&p, "nowhere/codes.safetensors"), &report), LT_EIO, "nowhere");
    TS_CHECK(report == NULL, "no report of a failed export");
    lt_model_free(m);
    ts_close_place(&p);
}

static lt_status try_codes(lt_model *m, const char *path)
{
    lt_model *coded;
    lt_status status = lt_model_with_codes(m, path, &coded);
    TS_CHECK((status == LT_OK) == (coded != NULL), "a model or NULL");
    lt_model_free(coded);
    return status;
}

static void damaged_codes(void)
{
    static const char *const types[] = {
        "type:token_embd.weight",   "type:blk.0.attn_q.weight",      "type:blk.0.attn_k.weight",
        "type:blk.0.attn_v.weight", "type:blk.0.attn_output.weight", "type:blk.0.ffn_gate.weight",
        "type:blk.0.ffn_up.weight", "type:blk.0.ffn_down.weight",    NULL};
    static const struct {
        toy_edit edit;
        const char *words;
    } cases[] = {
        {{.drop = "blk.0.attn_v.weight"}, "tensor 'blk.0.attn_v.weight' is missing"},
        {{.meta_key = "type:blk.0.attn_q.weight"},
         "tensor 'blk.0.attn_q.weight' is U8; no type lathe knows is stored so"},
        {{.meta_key = "type:blk.0.attn_q.weight", .meta_value = "q9_9"}, "tensor 'blk.0.attn_q.weight' is U8"},
        {{.meta_key = "type:blk.0.attn_q.weight", .meta_value = "f16"}, "tensor 'blk.0.attn_q.weight' is U8"},
        {{.meta_key = "type:blk.0.attn_q.weight", .meta_value = "q8_0"}, "tensor 'blk.0.attn_q.weight'"},
        {{.meta_key = "type:output_norm.weight", .meta_value = "q8_0"}, "tensor 'output_norm.weight'"},
        {{.reshape = "blk.0.ffn_up.weight"}, "tensor 'blk.0.ffn_up.weight'"},
        {{.reshape = "output_norm.weight"}, "tensor 'output_norm.weight'"},
        {{.retype = "output_norm.weight", .as = LT_STORED_I32}, "tensor 'output_norm.weight' is I32"},
        {{.retype = "output_norm.weight", .as = LT_STORED_F16}, "tensor 'output_norm.weight'"},
    };
    ts_place p = ts_open_place();
    char whole[256], broken[256];
    snprintf(whole, sizeof whole, "%s", ts_at(&p, "whole.safetensors"));
    snprintf(broken, sizeof broken, "%s", ts_at(&p, "broken.safetensors"));
    lt_model *m = toy_model(p.ctx, "llama:layers=1,dim=32,hidden=64,heads=4,kv_heads=2", 6);
    lt_quant_policy policy = policy_of(LT_Q4_0, LT_Q4_0);
    TS_OK(p.ctx, lt_export_codes(m, &policy, whole, NULL));
    toy_rewrite(p.ctx, whole, broken, &(toy_edit){.copied = types});
    TS_OK(p.ctx, try_codes(m, broken)); /* the copy without a change */
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        toy_edit edit = cases[i].edit;
        edit.copied = types;
        toy_rewrite(p.ctx, whole, broken, &edit);
        TS_REFUSED(p.ctx, try_codes(m, broken), LT_EFORMAT, cases[i].words);
        TS_CHECK(strstr(lt_ctx_message(p.ctx), "broken.safetensors"), "case %d names the file", i);
    }
    toy_cut(whole, 5);
    TS_REFUSED(p.ctx, try_codes(m, whole), LT_EFORMAT, "whole.safetensors");
    TS_REFUSED(p.ctx, try_codes(m, "/nonexistent.safetensors"), LT_EIO, "/nonexistent.safetensors");
    lt_model_free(m);
    ts_close_place(&p);
}

static void coded_models_are_for_reading(void)
{
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, TOY_INIT, 6), *coded = NULL;
    lt_quant_policy policy = policy_of(LT_Q8_0, LT_Q8_0);
    TS_OK(p.ctx, lt_export_codes(m, &policy, ts_at(&p, "codes.safetensors"), NULL));
    if (TS_OK(p.ctx, lt_model_with_codes(m, ts_at(&p, "codes.safetensors"), &coded))) {
        TS_CHECK(lt_model_tokenizer(coded) == lt_model_tokenizer(m), "the tokenizer is shared");
        TS_REFUSED(p.ctx, lt_model_save(coded, ts_at(&p, "saved"), "F32"), LT_EINVAL,
                   "tensors are a file's (opened frozen, or of codes)");
        lt_dataset *text = toy_text(p.ctx, m, LT_SPLIT_ALL);
        lt_train_config c;
        lt_train_result r;
        lt_train_config_init(&c);
        c.steps = 1;
        TS_REFUSED(p.ctx, lt_train(coded, text, NULL, &c, &r), LT_EINVAL, "cannot be trained");
        lt_dataset_free(text);
    }
    lt_model_free(coded);
    lt_model_free(m);
    ts_close_place(&p);
}

int lti_suite_qat(void)
{
    const ts_test tests[] = {{"rules", rules},
                             {"training sees the codes", training_sees_the_values_of_the_codes},
                             {"codes are fixed points", codes_are_fixed_points},
                             {"non-finite weights", non_finite_weights_are_named},
                             {"impossible policies", impossible_policies},
                             {"exported codes", exported_codes_evaluate_the_same},
                             {"reports name fallbacks", reports_name_fallbacks},
                             {"damaged codes", damaged_codes},
                             {"coded models", coded_models_are_for_reading}};
    return ts_suite("qat", LTI_COUNT(tests), tests) || toy_one_thread("qat");
}
