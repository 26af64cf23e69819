/* test_learned_scales.c - integer grids as a policy: learned scales as params, what training and exports make of them, the
 * bits of an interrupted run, frozen codes, damping, the share of flips, and memory. */
#include "autograd/ops/lattice_codes.h"
#include "autograd/ops/lattice_convert.h"
#include "qat/flips.h"
#include "qat/learned_scales.h"
#include "tests/oracle_grids.h"
#include "tests/toy_run.h"

#include <math.h>

static lt_quant_policy policy_of(lt_ctx *ctx, const char *weights, lt_scale_rule rule)
{
    lt_quant_policy p;
    lt_quant_policy_init(&p);
    TS_OK(ctx, lt_scheme_parse(ctx, weights, &p.weights));
    p.scale = rule;
    return p;
}

/* ---- Params ---- */

static void scales_are_params(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_model *m = toy_model(ctx, "llama:layers=2,dim=32,hidden=44,heads=4,kv_heads=2,context=64", 5);
    lt_params *params = lt_model_params(m);
    lt_quant_policy p = policy_of(ctx, "int3:g32", LT_SCALE_LSQ);
    TS_OK(ctx, lt_qat_prepare(params, &p));
    lt_param *w = lt_params_find(params, "blk.1.ffn_down.weight"), *s = lti_learned_find(params, w, "scale");
    if (!TS_CHECK(s && lt_param_count(s) == 32 * 2, "rows of 44 have two groups")) return;
    TS_CHECK(lt_param_role(s) == LT_STATE && lt_param_trainable(s), "state that is trained");
    TS_CHECK(!lt_params_find(params, "token_embd.weight:scale") &&
                 !lt_params_find(params, "blk.0.attn_norm.weight:scale"),
             "what stays float has none");
    /* the mse-searched scale: with it, the grid of the rule MSE comes out */
    static lt_real on[32 * 44], off[32 * 44];
    lti_grid_now now;
    TS_OK(ctx, lti_grid_now_make(params, &p, &p.weights, w, 0, 32, &now));
    lti_on_grids(&now.attr, &now.groups, lt_param_read(w), now.scale, now.offset, on);
    lti_grid_now_free(ctx, &now);
    TS_OK(ctx, lt_scheme_apply(ctx, &p.weights, LT_SCALE_MSE, 32, 44, lt_param_read(w), off));
    TS_CHECK(ts_same_bytes(sizeof on, on, off), "LSQ starts from the mse-searched scale");
    int before = lt_params_count(params);
    lt_real changed = ((lt_real *)lt_param_data(s))[3] *= 2;
    TS_OK(ctx, lt_qat_prepare(params, &p));
    TS_CHECK(lt_params_count(params) == before && ((lt_real *)lt_param_data(s))[3] == changed, "what is there stays");
    p.weights.group = 16;
    TS_REFUSED(ctx, lt_qat_prepare(params, &p), LT_EINVAL, "another grid");
    lt_quant_policy others[] = {policy_of(ctx, "int4:asym", LT_SCALE_LSQ), policy_of(ctx, "int4:asym", LT_SCALE_PACT),
                                policy_of(ctx, "q4_0", LT_SCALE_DYNAMIC),  policy_of(ctx, "int4", LT_SCALE_DYNAMIC),
                                policy_of(ctx, "q4_0", LT_SCALE_DYNAMIC),  policy_of(ctx, "int4", LT_SCALE_LSQ),
                                policy_of(ctx, "int4", LT_SCALE_LSQ_PLUS), policy_of(ctx, "ternary", LT_SCALE_RANGE)};
    others[2].freeze_threshold = 0.1, others[3].damping = -1, others[4].gradient = LT_ROUND_PROX;
    for (int i = 5; i < LTI_COUNT(others); i++) others[i].gradient = LT_ROUND_PROX;
    const char *const says[] = {"lsq+",
                                "pact",
                                "freeze_threshold",
                                "damping",
                                "proximal",
                                "'lsq' are learned",
                                "'lsq+' are learned",
                                "'range' are learned"};
    for (int i = 0; i < LTI_COUNT(others); i++) TS_REFUSED(ctx, lt_qat_prepare(params, &others[i]), LT_EINVAL, says[i]);
    lt_model_free(m);
    lt_ctx_free(ctx);
}

static void starts(void)
{
    const struct {
        const char *scheme;
        lt_scale_rule rule;
    } cases[] = {{"int4:channel", LT_SCALE_LSQ_PLUS}, {"int4:g32,asym", LT_SCALE_LSQ_PLUS},
                 {"int8:tensor", LT_SCALE_RANGE},     {"int4:g32,asym", LT_SCALE_RANGE},
                 {"ternary:g32", LT_SCALE_LSQ},       {"int2:g32", LT_SCALE_LSQ}};
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        ts_bed t;
        if (!ts_bed_make(&t)) return;
        lt_param *w = ts_weight(&t, "fc.weight", 0.1, 2, (int64_t[]){8, 76});
        lt_quant_policy p = policy_of(t.ctx, cases[i].scheme, cases[i].rule);
        lt_params *codes = NULL;
        TS_OK(t.ctx, lt_qat_prepare(t.params, &p));
        if (TS_OK(t.ctx, lt_quantize_params(t.params, &p, &codes))) {
            const lt_real *x = lt_param_read(w), *y = lt_param_read(lt_params_find(codes, "fc.weight"));
            double error = 0, power = 0;
            for (int k = 0; k < 8 * 76; k++) {
                error += pow((double)(y[k] - x[k]), 2);
                power += pow((double)x[k], 2);
            }
            double most = strstr(cases[i].scheme, "int8") ? 0.01 : strstr(cases[i].scheme, "int4") ? 0.2 : 0.55;
            TS_CHECK(sqrt(error / power) < most, "%s starts at an error of %g", cases[i].scheme, sqrt(error / power));
            TS_CHECK(lt_params_count(codes) == 1, "codes hold weights alone");
        }
        lt_params_free(codes);
        ts_bed_drop(&t);
    }
}

static lt_status prepare_once(lt_ctx *ctx, void *arg)
{
    lt_params *params, *codes = NULL;
    lt_param *w;
    LTI_TRY(lt_params_create(ctx, &params));
    lt_status status = lt_params_add(params, "fc.weight", LT_F32, 2, (int64_t[]){4, 40}, LT_WEIGHT, &w);
    if (status == LT_OK) status = lt_qat_prepare(params, arg);
    if (status == LT_OK) status = lti_flips_start(params, arg);
    double share;
    if (status == LT_OK) status = lti_flips_share(params, arg, &share);
    if (status == LT_OK) status = lt_quantize_params(params, arg, &codes);
    lt_params_free(codes);
    lt_params_free(params);
    return status;
}

static void out_of_memory(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_quant_policy p = policy_of(ctx, "int4:g32,asym", LT_SCALE_LSQ_PLUS);
    p.freeze_threshold = 0.1;
    lt_ctx_free(ctx);
    ts_every_allocation_fails("learned scales", prepare_once, &p);
}

/* ---- Training ---- */

static void learn_scales(toy_run *r)
{
    r->config.quant = policy_of(r->ctx, "int3:g32", LT_SCALE_LSQ);
}

static void learn_offsets_fused(toy_run *r)
{
    r->config.quant = policy_of(r->ctx, "int4:g16,asym", LT_SCALE_LSQ_PLUS);
    r->config.max_grad_norm = 0;
}

static void freeze_codes(toy_run *r)
{
    r->config.quant = policy_of(r->ctx, "int2:g32", LT_SCALE_DYNAMIC);
    r->config.quant.freeze_threshold = 0.015, r->config.quant.damping = 1e-3;
    r->config.learning_rate = 0.02, r->config.grad_accumulation_steps = 2;
}

static void draw_to_the_grid(toy_run *r)
{
    r->config.quant = policy_of(r->ctx, "ternary:g32", LT_SCALE_DYNAMIC);
    r->config.quant.gradient = LT_ROUND_PROX;
    r->config.qat_start = 0.25, r->config.log_every = 2;
}

static void stopping_changes_no_bit(void)
{
    toy_stopped_and_resumed("learned scales", learn_scales, TOY_STOPS(2, 6));
    toy_stopped_and_resumed("learned offsets, fused", learn_offsets_fused, TOY_STOPS(5));
    toy_stopped_and_resumed("frozen codes", freeze_codes, TOY_STOPS(7));
    toy_stopped_and_resumed("proximal", draw_to_the_grid, TOY_STOPS(2, 6));
}

/* A run of `change`, to be looked into; the model is to be freed. */
static toy_run trained(ts_place *p, void (*change)(toy_run *r))
{
    static char out[512];
    snprintf(out, sizeof out, "%s/run", p->dir);
    toy_run r = toy_new_run(p, out);
    change(&r);
    TS_OK(p->ctx, toy_go(&r));
    return r;
}

static void scales_are_trained(void)
{
    ts_place p = ts_open_place();
    toy_run r = trained(&p, learn_scales);
    lt_model *fresh = toy_model(p.ctx, r.init, 21);
    TS_OK(p.ctx, lt_qat_prepare(lt_model_params(fresh), &r.config.quant));
    const char *name = "blk.0.attn_q.weight:scale";
    const lt_param *a = lt_params_find(lt_model_params(r.model), name),
                   *b = lt_params_find(lt_model_params(fresh), name);
    double most = 0, steps = STEPS * 0.1 * r.config.learning_rate;
    for (int64_t i = 0; a && b && i < lt_param_count(a); i++)
        most =
            fmax(most, fabs((double)(((const lt_real *)lt_param_read(a))[i] - ((const lt_real *)lt_param_read(b))[i])));
    TS_CHECK(most > 1e-5 && most < steps, "scales move, at a tenth of the rate: %g", most);
    TS_CHECK(r.result.last_loss < r.result.first_loss, "loss %g to %g", r.result.first_loss, r.result.last_loss);
    /* what is exported is what was evaluated: f32 weights on the learned grid have the loss of the last validation */
    lt_params *codes = NULL;
    TS_OK(p.ctx, lt_quantize_params(lt_model_params(r.model), &r.config.quant, &codes));
    for (int i = 0; codes && i < lt_params_count(codes); i++) {
        lt_param *to = lt_params_find(lt_model_params(fresh), lt_param_name(lt_params_at(codes, i)));
        memcpy(lt_param_data(to), lt_param_read(lt_params_at(codes, i)), lt_param_bytes(to));
    }
    lt_eval_result e;
    lt_dataset *valid = toy_text(p.ctx, fresh, LT_SPLIT_VALID);
    TS_OK(p.ctx, lt_evaluate(fresh, valid, NULL, 0, &e));
    TS_CHECK(fabs(e.nll - r.result.valid_loss) < 1e-5 * e.nll, "evaluated %.9g, exported %.9g", r.result.valid_loss,
             e.nll);
    lt_dataset_free(valid);
    lt_params_free(codes);
    lt_model_free(fresh);
    lt_model_free(r.model);
    ts_close_place(&p);
}

static void frozen_weights_lie_on_their_code(void)
{
    ts_place p = ts_open_place();
    toy_run r = trained(&p, freeze_codes);
    lt_params *params = lt_model_params(r.model);
    const lt_param *w = lt_params_find(params, "blk.1.ffn_up.weight");
    const lt_real *x = lt_param_read(w), *flips = lt_param_read(lti_learned_find(params, w, "flips"));
    static lt_real y[64 * 32];
    int held = 0, off = 0;
    TS_OK(p.ctx, lt_scheme_apply(p.ctx, &r.config.quant.weights, LT_SCALE_DYNAMIC, 64, 32, x, y));
    for (int i = 0; i < 64 * 32; i++) {
        held += flips[i] == 2;
        off += flips[i] == 2 && fabs((double)(x[i] - y[i])) > 1e-6;
    }
    TS_CHECK(held > 0 && held < 64 * 32 && off == 0, "%d of %d are held, %d of them off their code", held, 64 * 32,
             off);
    lt_model_free(r.model);
    ts_close_place(&p);
}

static void flips_are_told(void)
{
    ts_place p = ts_open_place();
    lt_params *params;
    lt_quant_policy policy = policy_of(p.ctx, "int4:g32", LT_SCALE_DYNAMIC);
    double share = 0;
    const lt_dtype types[] = {LT_F32, LT_Q4_0, LT_Q8_0};
    for (int i = 0; i < LTI_COUNT(types); i++) {
        lt_param *w;
        if (types[i] != LT_F32) policy = policy_of(p.ctx, lt_dtype_name(types[i]), LT_SCALE_DYNAMIC);
        if (!TS_OK(p.ctx, lt_params_create(p.ctx, &params))) return;
        TS_OK(p.ctx, lt_params_add(params, "fc.weight", LT_F32, 2, (int64_t[]){4, 64}, LT_WEIGHT, &w));
        ts_fill_normal("flips", 256, 1, lt_param_data(w));
        TS_OK(p.ctx, lti_flips_start(params, &policy));
        TS_OK(p.ctx, lti_flips_share(params, &policy, &share));
        TS_CHECK(share == 0, "%s: nothing moved: %g", lt_dtype_name(types[i]), share);
        lt_real *x = lt_param_data(w);
        for (int k = 0; k < 256; k++) x[k] *= 4; /* scales change, codes do not */
        TS_OK(p.ctx, lti_flips_share(params, &policy, &share));
        TS_CHECK(share == 0, "%s: scales moved: %g", lt_dtype_name(types[i]), share);
        for (int k = 0; k < 16; k++) { /* a block of 32 backwards */
            lt_real last = x[31 - k];
            x[31 - k] = x[k], x[k] = last;
        }
        TS_OK(p.ctx, lti_flips_share(params, &policy, &share));
        TS_CHECK(share > 0.05 && share <= 0.125, "%s: an eighth was turned: %g", lt_dtype_name(types[i]), share);
        lt_params_free(params);
    }
    toy_run r = trained(&p, learn_scales);
    char *text = toy_read(ts_at(&p, "run/metrics.jsonl"), NULL);
    TS_CHECK(text && strstr(text, "\"flips\":0."), "metrics.jsonl tells of flips");
    free(text);
    lt_model_free(r.model);
    ts_close_place(&p);
}

/* ---- Codes of lattices ---- */

static void codes_without_scales(void)
{
    const lt_dtype types[] = {LT_Q4_0, LT_Q4_1, LT_Q5_0, LT_Q5_1, LT_Q8_0};
    lt_real x[256], y[256], least[LTI_MOST_BLOCK], most[LTI_MOST_BLOCK];
    uint8_t blocks[1024];
    int8_t codes[256];
    ts_fill_normal("codes", 256, 1, x);
    for (int i = 0; i < LTI_COUNT(types); i++) {
        int64_t size = lt_dtype_block(types[i]);
        lti_encode(256, x, types[i], blocks);
        lti_decode(256, types[i], blocks, y);
        TS_CHECK(lti_lattice_codes(types[i], 256, blocks, codes), "%s has codes", lt_dtype_name(types[i]));
        for (int64_t b = 0; b < 256 / size; b++) {
            lti_lattice_reach(types[i], blocks + (size_t)b * lt_dtype_bytes(types[i]), least, most);
            for (int64_t k = b * size; k < (b + 1) * size; k++) {
                TS_CHECK(y[k] >= least[k % size] && y[k] <= most[k % size], "%s: values are within the reach",
                         lt_dtype_name(types[i]));
                for (int64_t j = b * size; j < k; j++)
                    if ((codes[k] == codes[j]) != (y[k] == y[j]))
                        TS_CHECK(false, "%s: codes %d and %d of values %g and %g", lt_dtype_name(types[i]), codes[k],
                                 codes[j], (double)y[k], (double)y[j]);
            }
        }
    }
    TS_CHECK(!lti_lattice_codes(LT_F32, 256, x, codes) && lti_lattice_reach(LT_F32, x, least, most) < 0,
             "f32 has none");
}

/* ---- Memory: values on a grid are made again for the backward ---- */

static size_t arena_of(const lt_model *m, const lt_quant_policy *policy)
{
    lt_graph *g = NULL;
    lt_plan *plan = NULL;
    lt_params *params = lt_model_params(m);
    lt_ctx *ctx = lt_params_ctx(params);
    lt_t wrt[256], dx[256];
    int n = 0;
    size_t bytes = 0;
    if (!TS_OK(ctx, lt_graph_create(ctx, params, &g))) return 0;
    if (policy) lt_qat_attach(g, policy);
    lt_t index = lt_index_input(g, "tokens", 2, (int64_t[]){1, 8}, 0, 258);
    lt_t loss = lt_model_loss(m, g, &(lt_model_input){.tokens = index}, index, lt_nil(g));
    for (int i = 0; i < lt_params_count(params); i++)
        if (lt_param_trainable(lt_params_at(params, i))) wrt[n++] = lt_param_value(g, lt_params_at(params, i));
    lt_grad(loss, n, wrt, dx);
    for (int i = 0; i < n; i++) /* consumed at once, as updates do */
        if (!lt_is_nil(dx[i])) loss = lt_add(loss, lt_sum_all(lt_square(dx[i])));
    if (TS_OK(ctx, lt_compile(g, NULL, 1, &loss, &plan))) bytes = lt_plan_arena_bytes(plan);
    lt_plan_free(plan);
    lt_graph_free(g);
    return bytes;
}

static void no_second_copy_of_weights(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_model *m = toy_model(ctx, "llama:layers=8,dim=64,hidden=256,heads=4,kv_heads=2,context=64", 5);
    lt_quant_policy lsq = policy_of(ctx, "int4:g32", LT_SCALE_LSQ), mse = policy_of(ctx, "int4:g32", LT_SCALE_MSE);
    size_t plain = arena_of(m, NULL), searched = arena_of(m, &mse), weights = lt_params_bytes(lt_model_params(m));
    TS_OK(ctx, lt_qat_prepare(lt_model_params(m), &lsq));
    size_t learned = arena_of(m, &lsq);
    TS_CHECK(searched < plain + weights / 8 && learned < plain + weights / 8,
             "arenas: float %zu, mse %zu, lsq %zu, weights %zu", plain, searched, learned, weights);
    lt_model_free(m);
    lt_ctx_free(ctx);
}

int lti_suite_learned_scales(void)
{
    const ts_test tests[] = {{"scales are params", scales_are_params},
                             {"starts", starts},
                             {"out of memory", out_of_memory},
                             {"stopping changes no bit", stopping_changes_no_bit},
                             {"scales are trained", scales_are_trained},
                             {"frozen weights lie on their code", frozen_weights_lie_on_their_code},
                             {"flips are told", flips_are_told},
                             {"codes without scales", codes_without_scales},
                             {"no second copy of weights", no_second_copy_of_weights}};
    return ts_suite("learned_scales", LTI_COUNT(tests), tests) || toy_one_thread("learned_scales");
}
