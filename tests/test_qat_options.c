/* test_qat_options.c - options of training on a grid: scales of K-quants that are kept, the integer backward, evaluation
 * before the switch, scales that a checkpoint brings along, what a resume compares, endings of exports, and files whose
 * rotated rows lie in another order. */
#include "kernels/integer.h"
#include "lathe/infer.h"
#include "qat/kept_scales.h"
#include "tests/toy_run.h"

#include <math.h>

/* Rows of whole blocks of 256. */
#define WIDE_INIT "llama:layers=1,dim=256,hidden=256,heads=4,kv_heads=2,context=64"
enum { EVERY = 4, BLOCK = 144, SCALES = 16, LOGITS = 64 }; /* bytes of a block of q4_k, of its scales and minima */

static lt_quant_policy policy_of(lt_ctx *ctx, const char *word)
{
    lt_quant_policy p;
    lt_quant_policy_init(&p);
    TS_OK(ctx, lt_quant_policy_parse(ctx, word, &p));
    return p;
}

/* ---- Kept scales ---- */

/* A run that is looked at after each step. */
typedef struct watched {
    toy_run run;
    uint8_t *before; /* the kept blocks after the last step */
    int64_t changed; /* bit s: step s + 1 changed them */
    bool seen;       /* an operator */
    const char *op;
} watched;

static void watch(void *user, const lt_train_progress *p)
{
    watched *w = user;
    const lt_param *kept = lt_params_find(lt_model_params(w->run.model), "blk.0.ffn_up.weight:kept");
    for (int i = 0; i < p->n_times; i++) w->seen |= w->op && strcmp(p->times[i].op, w->op) == 0;
    if (!kept) return;
    if (!w->before) w->before = calloc(1, lt_param_bytes(kept));
    if (memcmp(w->before, lt_param_read(kept), lt_param_bytes(kept))) w->changed |= (int64_t)1 << (p->step - 1);
    memcpy(w->before, lt_param_read(kept), lt_param_bytes(kept));
}

/* Trains; the model and the validation rows stay. */
static bool train_watched(watched *w, ts_place *p, const char *init, lt_dataset **valid)
{
    lt_train_config *c = &w->run.config;
    w->run.model = toy_model(p->ctx, init, 21);
    lt_dataset *train = toy_text(p->ctx, w->run.model, LT_SPLIT_TRAIN);
    *valid = toy_text(p->ctx, w->run.model, LT_SPLIT_VALID);
    c->save_every = 0, c->log_every = 1, c->user = w, c->on_progress = watch;
    bool done = TS_OK(p->ctx, lt_train(w->run.model, train, *valid, c, &w->run.result));
    lt_dataset_free(train);
    return done;
}

/* Blocks whose scales are the kept ones, of `of`. */
static int blocks_with_scales(const lt_param *codes, const lt_param *kept, int *of)
{
    const uint8_t *a = lt_param_read(codes), *b = lt_param_read(kept);
    int same = 0;
    *of = (int)(lt_param_bytes(codes) / BLOCK);
    for (int i = 0; i < *of; i++) same += memcmp(a + i * BLOCK, b + i * BLOCK, SCALES) == 0;
    return same;
}

/* The first logits of a session behind a few ids. */
static void session_logits(lt_model *m, const lt_quant_policy *policy, lt_real z[LOGITS])
{
    lt_ctx *ctx = lt_params_ctx(lt_model_params(m));
    lt_session_options o = {.size = sizeof o, .batch = 1, .quant = policy};
    lt_session *s = NULL;
    const lt_real *logits;
    if (TS_OK(ctx, lt_session_create(m, &o, &s)) &&
        TS_OK(ctx, lt_session_prefill(s, 1, &(lt_ids){(int32_t[]){3, 1, 4, 1}, 4, 4}, &logits)))
        memcpy(z, logits, LOGITS * sizeof *z);
    lt_session_free(s);
}

/* A session of the trained model gives what one of the exported codes does. */
static void check_session(const toy_run *r, lt_model *coded, const lt_quant_policy *grid, const lt_quant_policy *anew)
{
    lt_real z[3][LOGITS] = {{0}};
    session_logits(coded, grid, z[0]);
    session_logits(r->model, &r->config.quant, z[1]);
    session_logits(r->model, anew, z[2]);
    double kept = ts_distance_real(LOGITS, z[1], z[0]), fresh = ts_distance_real(LOGITS, z[2], z[0]);
    TS_CHECK(kept < 1e-6 && fresh > 1e-5, "a session: %g from the codes', with scales made anew %g", kept, fresh);
}

/* What is exported has the kept scales, and is what the last evaluation computed with. */
static void check_shipped(watched *w, ts_place *p, const lt_dataset *valid)
{
    lt_quant_policy kept = w->run.config.quant, anew = kept;
    lt_params *codes = NULL, *others = NULL;
    lt_model *coded = NULL;
    lt_eval_result e, shipped, searched;
    const lt_params *params = lt_model_params(w->run.model);
    const lt_param *scales = lt_params_find(params, "blk.0.ffn_up.weight:kept");
    anew.scale_every = 1;
    int of, same = 0, by_chance = 0;
    if (TS_OK(p->ctx, lt_quantize_params(params, &kept, &codes)) &&
        TS_OK(p->ctx, lt_quantize_params(params, &anew, &others))) {
        same = blocks_with_scales(lt_params_find(codes, "blk.0.ffn_up.weight"), scales, &of);
        by_chance = blocks_with_scales(lt_params_find(others, "blk.0.ffn_up.weight"), scales, &of);
        TS_CHECK(same == of && by_chance < of, "%d and %d of %d blocks have the kept scales", same, by_chance, of);
    }
    TS_OK(p->ctx, lt_evaluate(w->run.model, valid, &kept, 0, &e));
    TS_OK(p->ctx, lt_evaluate(w->run.model, valid, &anew, 0, &searched));
    TS_CHECK(e.nll == w->run.result.valid_loss && e.nll != searched.nll, "%.9g, trained %.9g, searched anew %.9g",
             e.nll, w->run.result.valid_loss, searched.nll);
    kept.on_grid = true;
    if (TS_OK(p->ctx, lt_export_codes(w->run.model, &w->run.config.quant, ts_at(p, "codes.safetensors"), NULL)) &&
        TS_OK(p->ctx, lt_model_with_codes(w->run.model, ts_at(p, "codes.safetensors"), &coded)) &&
        TS_OK(p->ctx, lt_evaluate(coded, valid, &kept, 0, &shipped)))
        TS_CHECK(fabs(shipped.nll - e.nll) <= 1e-6 * e.nll, "shipped %.9g, trained %.9g", shipped.nll, e.nll);
    if (coded) check_session(&w->run, coded, &kept, &anew);
    lt_model_free(coded);
    lt_params_free(codes);
    lt_params_free(others);
}

static void scales_are_kept(void)
{
    const struct {
        double start;
        int64_t changed;
    } cases[] = {{0, 0x111}, {0.25, 0x885}}; /* steps 1, 5, 9; the first look, the switch behind step 3, 8, 12 */
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        ts_place p = ts_open_place();
        watched w = {.run = toy_new_run(&p, NULL)};
        lt_dataset *valid;
        w.run.config.quant = policy_of(p.ctx, "q4_k"), w.run.config.quant.activations = LT_ACT_RUNTIME;
        w.run.config.quant.scale_every = EVERY, w.run.config.qat_start = cases[i].start;
        if (i) w.run.config.ema_decay = 0.9;
        if (train_watched(&w, &p, WIDE_INIT, &valid)) {
            TS_CHECK(w.changed == cases[i].changed, "start %g: scales change in steps %llx", cases[i].start,
                     (unsigned long long)w.changed);
            check_shipped(&w, &p, valid);
        }
        free(w.before);
        lt_dataset_free(valid);
        lt_model_free(w.run.model);
        ts_close_place(&p);
    }
}

static void keep_scales(toy_run *r)
{
    r->init = WIDE_INIT;
    r->config.quant = policy_of(r->ctx, "q5_k"), r->config.quant.scale_every = 5;
}

static void keep_scales_late(toy_run *r)
{
    keep_scales(r);
    r->config.quant = policy_of(r->ctx, "q2_k"), r->config.quant.scale_every = 5, r->config.qat_start = 0.3;
    r->config.batch_size = 2, r->config.grad_accumulation_steps = 2;
}

static void stopping_with_kept_scales(void)
{
    toy_stopped_and_resumed("kept scales", keep_scales, TOY_STOPS(-1, 2, 5, 7));
    toy_stopped_and_resumed("kept scales from the switch on", keep_scales_late, TOY_STOPS(3, 8));
}

static void kept_scales_refused(void)
{
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, TOY_INIT, 21);
    lt_quant_policy policy = policy_of(p.ctx, "q4_k"); /* rows of 32 fall back to q5_0 */
    policy.scale_every = 2;
    TS_REFUSED(p.ctx, lt_qat_prepare(lt_model_params(m), &policy), LT_EINVAL, "scale_every 2 keeps scales of K-quants");
    policy.scale_every = -1;
    TS_REFUSED(p.ctx, lt_qat_prepare(lt_model_params(m), &policy), LT_EINVAL, "scale_every is -1");
    lt_model_free(m);
    m = toy_model(p.ctx, WIDE_INIT, 21);
    policy.scale_every = 2;
    TS_OK(p.ctx, lt_qat_prepare(lt_model_params(m), &policy));
    policy.weights.type = LT_Q6_K;
    TS_REFUSED(p.ctx, lt_qat_prepare(lt_model_params(m), &policy), LT_EINVAL,
               "'blk.0.attn_q.weight:kept' keeps scales of q4_k and the policy asks for q6_k");
    lt_model_free(m);
    ts_close_place(&p);
}

/* ---- The integer backward ---- */

static void backward_reaches_the_graph(void)
{
    double loss[2];
    for (int on = 0; on < 2; on++) {
        ts_place p = ts_open_place();
        watched w = {.run = toy_new_run(&p, NULL), .op = "quantize_transposed"};
        lt_dataset *valid;
        w.run.config.quant = policy_of(p.ctx, "q8_0"), w.run.config.quant.activations = LT_ACT_RUNTIME;
        w.run.config.quant.integer_backward = on, w.run.config.steps = 2;
        train_watched(&w, &p, TOY_INIT, &valid);
        loss[on] = w.run.result.last_loss;
        TS_CHECK(w.seen == (on && lti_igemm_takes(LT_I8, LT_I8)), "%d: weights are transposed as int8: %d", on, w.seen);
        lt_dataset_free(valid);
        lt_model_free(w.run.model);
        ts_close_place(&p);
    }
    TS_CHECK(loss[0] != loss[1] && fabs(loss[0] - loss[1]) < 0.05 * loss[0], "losses %.9g and %.9g", loss[0], loss[1]);
}

static void integer_backward(toy_run *r)
{
    r->config.quant = policy_of(r->ctx, "q4_0"), r->config.quant.activations = LT_ACT_INT8_TOKEN;
    r->config.quant.integer_backward = true;
}

static void stopping_with_integer_backward(void)
{
    toy_stopped_and_resumed("integer backward", integer_backward, TOY_STOPS(5));
    ts_place p = ts_open_place();
    toy_run r = toy_new_run(&p, NULL);
    r.config.save_every = 0, r.config.quant = policy_of(p.ctx, "q4_0"), r.config.quant.integer_backward = true;
    TS_REFUSED(p.ctx, toy_go_once(&r), LT_EINVAL, "an integer backward belongs to integer products");
    ts_close_place(&p);
}

/* ---- Before the switch ---- */

typedef struct switching {
    toy_run run;
    lt_dataset *valid;
    int compared;
} switching;

/* The validation of each step against an evaluation of the weights that it has left, in float before the switch. */
static void compare_validation(void *user, const lt_train_progress *p)
{
    switching *s = user;
    lt_eval_result e;
    bool grid = p->step >= 6;
    if (!TS_OK(s->run.ctx, lt_evaluate(s->run.model, s->valid, grid ? &s->run.config.quant : NULL, 0, &e))) return;
    TS_CHECK(p->valid_loss == e.nll, "step %lld: validated %.9g, evaluated %s %.9g", (long long)p->step, p->valid_loss,
             grid ? "on the grid" : "in float", e.nll);
    s->compared++;
}

static void float_before_the_switch(void)
{
    for (int all = 0; all < 2; all++) {
        ts_place p = ts_open_place();
        switching s = {.run = toy_new_run(&p, NULL)};
        lt_train_config *c = &s.run.config;
        c->quant = policy_of(p.ctx, "int3:g16"), c->quant.scale = LT_SCALE_LSQ;
        c->qat_start = all ? 1 : 0.5, c->steps = all ? 6 : STEPS;
        c->eval_every = c->log_every = 1, c->save_every = 0, c->learning_rate = 0.02;
        c->user = &s, c->on_progress = compare_validation;
        s.run.model = toy_model(p.ctx, TOY_INIT, 21);
        s.valid = toy_text(p.ctx, s.run.model, LT_SPLIT_VALID);
        lt_dataset *train = toy_text(p.ctx, s.run.model, LT_SPLIT_TRAIN);
        TS_OK(p.ctx, lt_train(s.run.model, train, s.valid, c, &s.run.result));
        TS_CHECK(s.compared == c->steps, "%d validations", s.compared);
        lt_quant_policy fresh = c->quant;
        lt_eval_result e, f;
        fresh.scale = LT_SCALE_MSE; /* where LSQ's begin: those of the first weights would be far off */
        if (all && TS_OK(p.ctx, lt_evaluate(s.run.model, s.valid, &fresh, 0, &f)) &&
            TS_OK(p.ctx, lt_evaluate(s.run.model, s.valid, &c->quant, 0, &e)))
            TS_CHECK(fabs(e.nll - f.nll) < 1e-3, "scales of the last weights %.9g, learned %.9g", f.nll, e.nll);
        lt_dataset_free(train);
        lt_dataset_free(s.valid);
        lt_model_free(s.run.model);
        ts_close_place(&p);
    }
}

/* ---- Scales of a run ---- */

/* Opened again and evaluated by a policy that says nothing of scales: the loss, NaN when refused. */
static double loss_of(ts_place *p, const char *path, bool frozen, const char *word, lt_run_scales wanted)
{
    lt_model *m = NULL;
    lt_eval_result e = {.nll = NAN};
    lt_run_scales found;
    lt_quant_policy policy = policy_of(p->ctx, word);
    if (!TS_OK(p->ctx, frozen ? lt_model_open_frozen(p->ctx, path, &m) : lt_model_open(p->ctx, path, &m))) return NAN;
    lt_dataset *valid = toy_text(p->ctx, m, LT_SPLIT_VALID);
    if (TS_OK(p->ctx, lt_model_take_scales(m, path, &policy, &found))) {
        TS_CHECK(found == wanted, "%s for %s: found %d", path, word, (int)found);
        TS_OK(p->ctx, lt_evaluate(m, valid, &policy, 0, &e));
    }
    lt_dataset_free(valid);
    lt_model_free(m);
    return e.nll;
}

static void refuse_finished(ts_place *p, const toy_run *r, const char *word)
{
    lt_model *m = NULL;
    lt_run_scales found;
    lt_quant_policy policy = policy_of(p->ctx, word);
    TS_OK(p->ctx, lt_model_save(r->model, r->out, "F32"));
    if (!TS_OK(p->ctx, lt_model_open(p->ctx, r->out, &m))) return;
    TS_REFUSED(p->ctx, lt_model_take_scales(m, r->out, &policy, &found), LT_EINVAL, "/checkpoints/ckpt-000012, or the");
    policy = policy_of(p->ctx, "int8");
    TS_OK(p->ctx, lt_model_take_scales(m, r->out, &policy, &found));
    TS_CHECK(found == LT_RUN_SCALES_OTHER && policy.scale == LT_SCALE_DYNAMIC, "int8: found %d", (int)found);
    lt_model_free(m);
}

static void scales_of_a_run(void)
{
    const struct {
        const char *word, *init;
        lt_scale_rule rule;
        int64_t every;
    } cases[] = {{"int3:g16", TOY_INIT, LT_SCALE_LSQ, 1},
                 {"int3:g16,asym", TOY_INIT, LT_SCALE_LSQ_PLUS, 1},
                 {"int4:g32,asym", TOY_INIT, LT_SCALE_RANGE, 1},
                 {"q3_k", WIDE_INIT, LT_SCALE_DYNAMIC, 8}};
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        ts_place p = ts_open_place();
        char out[512], path[600];
        snprintf(out, sizeof out, "%s", ts_at(&p, "run"));
        snprintf(path, sizeof path, "%s/checkpoints/ckpt-000012", out);
        toy_run r = toy_new_run(&p, out);
        r.init = cases[i].init, r.config.learning_rate = 0.02;
        r.config.quant = policy_of(p.ctx, cases[i].word);
        r.config.quant.scale = cases[i].rule, r.config.quant.scale_every = cases[i].every;
        if (TS_OK(p.ctx, toy_go(&r))) {
            for (int frozen = 0; frozen < 2; frozen++) {
                double loss = loss_of(&p, path, frozen, cases[i].word, LT_RUN_SCALES_TAKEN);
                TS_CHECK(loss == r.result.valid_loss, "%s: %.9g, trained %.9g", cases[i].word, loss,
                         r.result.valid_loss);
            }
            double other = loss_of(&p, path, false, "int8", LT_RUN_SCALES_OTHER);
            TS_CHECK(isfinite(other), "another grid has scales of its own: %g", other);
            refuse_finished(&p, &r, cases[i].word);
        }
        lt_model_free(r.model);
        ts_close_place(&p);
    }
}

static lt_status take_scales(lt_ctx *ctx, void *arg, bool *survived)
{
    lt_model *m;
    lt_run_scales found;
    lt_quant_policy policy;
    (void)survived;
    lt_quant_policy_init(&policy);
    policy.weights = (lt_scheme){.kind = LT_SCHEME_INT, .bits = 4, .per = LT_PER_CHANNEL};
    LTI_TRY(lt_model_open(ctx, arg, &m));
    lt_status status = lt_model_take_scales(m, arg, &policy, &found);
    TS_CHECK(status != LT_OK || found == LT_RUN_SCALES_TAKEN, "found %d", (int)found);
    lt_model_free(m);
    return status;
}

static void taking_scales_without_memory(void)
{
    ts_place p = ts_open_place();
    toy_run r = toy_new_run(&p, ts_at(&p, "run"));
    char out[512], path[600];
    snprintf(out, sizeof out, "%s", p.path);
    snprintf(path, sizeof path, "%s/checkpoints/ckpt-000002", out);
    r.out = out, r.config.steps = 2, r.config.quant = policy_of(p.ctx, "int4"), r.config.quant.scale = LT_SCALE_LSQ;
    TS_OK(p.ctx, toy_go_once(&r));
    toy_allocations_fail("taking scales", 200, take_scales, path);
    ts_close_place(&p);
}

/* ---- What a resume compares ---- */

static void changed_grids(void)
{
    static const char *const words[] = {
        "'blk.1.ffn_up.weight' was trained on q4_0 and would be on q8_0 now; use the old types",
        "'token_embd.weight' was trained on f32 and would be on q8_0 now",
        "'blk.0.attn_q.weight' was trained on q4_0 and would be on f32 now",
        "'blk.0.attn_q.weight' was trained on q4_0 and would be on int4 now",
        "qat_init was 'none' and is 'gptq' now",
        "qat_backward was 'auto' and is 'int8' now",
        "qat_scale_every was 1 and is 3 now",
    };
    ts_place p = ts_open_place();
    toy_run r = toy_new_run(&p, p.dir);
    r.config.quant = policy_of(p.ctx, "q4_0"), r.config.quant.activations = LT_ACT_INT8_TOKEN, r.stop_after = 2;
    TS_REFUSED(p.ctx, toy_go_once(&r), LT_EINTERRUPTED, "stopped after step 2");
    for (int i = 0; i < LTI_COUNT(words); i++) {
        toy_run q = r;
        const lt_quant_rule rules[] = {{"blk.1.ffn_up.weight", lt_scheme_of(LT_Q8_0)},
                                       {"*.attn_q.weight", lt_scheme_of(LT_F32)}};
        lt_quant_policy *policy = &q.config.quant;
        q.stop_after = 0;
        switch (i) {
        case 0: policy->rules = &rules[0], policy->n_rules = 1; break;
        case 1: policy->embedding.type = LT_Q8_0; break;
        case 2: policy->rules = &rules[1], policy->n_rules = 1; break;
        case 3: policy->weights = (lt_scheme){.kind = LT_SCHEME_INT, .bits = 4, .per = LT_PER_CHANNEL}; break;
        case 4: q.config.qat_init = "gptq"; break;
        case 5: policy->integer_backward = true; break;
        default: policy->scale_every = 3; break;
        }
        bool refused_before = i == 6; /* q4_0 has no scales to keep */
        TS_REFUSED(p.ctx, toy_go_once(&q), LT_EINVAL, refused_before ? "scale_every 3" : words[i]);
    }
    r.stop_after = 0;
    TS_OK(p.ctx, toy_go_once(&r));
    ts_close_place(&p);
}

/* ---- Exports ---- */

static void endings(void)
{
    static const char *const wrong[] = {"model.bin", "model", "gguf", "model.gguf.tmp", "model.h5"};
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, TOY_INIT, 5);
    lt_quant_policy policy = policy_of(p.ctx, "q4_0");
    for (int i = 0; i < LTI_COUNT(wrong); i++) {
        lt_exported e;
        TS_REFUSED(p.ctx, lt_export_check(m, &policy, wrong[i]), LT_EINVAL, ".gguf is llama.cpp's, .safetensors lathe");
        TS_REFUSED(p.ctx, lt_export(m, &policy, ts_at(&p, wrong[i]), NULL, &e), LT_EINVAL, "names no format to export");
        TS_CHECK(!toy_exists(ts_at(&p, wrong[i])) && !e.report, "%s is not written", wrong[i]);
    }
    TS_OK(p.ctx, lt_export_check(m, &policy, "a.gguf"));
    TS_OK(p.ctx, lt_export_check(m, &policy, "a.safetensors"));
    lt_model_free(m);
    ts_close_place(&p);
}

/* A .gguf has the rows of queries and keys in another order, and f32. Products are the same, so the loss is: with rounded
 * activations a last bit that differs would tip codes. */
static void rotated_rows(void)
{
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, "llama:layers=4,dim=128,hidden=256,heads=2,kv_heads=2,context=64", 5), *model = NULL,
             *codes = NULL;
    lt_dataset *text = toy_text(p.ctx, m, LT_SPLIT_ALL);
    lt_quant_policy policy = policy_of(p.ctx, "q4_0");
    policy.activations = LT_ACT_RUNTIME;
    lt_eval_result trained, of_model, of_codes;
    TS_OK(p.ctx, lt_export_codes(m, &policy, ts_at(&p, "m.gguf"), NULL));
    TS_OK(p.ctx, lt_evaluate(m, text, &policy, 0, &trained));
    policy.on_grid = true;
    if (TS_OK(p.ctx, lt_model_open_frozen(p.ctx, ts_at(&p, "m.gguf"), &model)) &&
        TS_OK(p.ctx, lt_model_with_codes(m, ts_at(&p, "m.gguf"), &codes)) &&
        TS_OK(p.ctx, lt_evaluate(model, text, &policy, 0, &of_model)) &&
        TS_OK(p.ctx, lt_evaluate(codes, text, &policy, 0, &of_codes)))
        TS_CHECK(fabs(of_model.nll - of_codes.nll) <= 1e-9 * of_codes.nll &&
                     fabs(of_model.nll - trained.nll) <= ts_tolerance(1e-6, 1e-7) * trained.nll,
                 "%.12g, of the file's codes %.12g, trained %.12g", of_model.nll, of_codes.nll, trained.nll);
    lt_model_free(codes);
    lt_model_free(model);
    lt_dataset_free(text);
    lt_model_free(m);
    ts_close_place(&p);
}

/* ---- Memory of a choice ---- */

static void memory_of_auto_bits(void)
{
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, WIDE_INIT, 5);
    lt_dataset *text = toy_text(p.ctx, m, LT_SPLIT_ALL);
    lt_quant_policy policy;
    lt_auto_bits *a = NULL;
    uint64_t bytes = 0, weights = 0;
    lt_quant_policy_init(&policy);
    for (int i = 0; i < lt_params_count(lt_model_params(m)); i++) {
        const lt_param *w = lt_params_at(lt_model_params(m), i);
        if (strncmp(lt_param_name(w), "blk.", 4) == 0 && lt_param_rank(w) == 2) weights += (uint64_t)lt_param_count(w);
    }
    TS_OK(p.ctx, lt_auto_bits_memory(m, text, &policy, &bytes));
    uint64_t before = lt_ctx_live_bytes(p.ctx);
    TS_OK(p.ctx, lt_auto_bits_choose(m, text, &policy, 6, &a));
    uint64_t taken = lt_ctx_peak_bytes(p.ctx) - before;
    TS_CHECK(bytes > 8 * weights && taken > 0.8 * (double)bytes && taken < 1.2 * (double)bytes,
             "%llu bytes for %llu weights, and %llu were taken", (unsigned long long)bytes, (unsigned long long)weights,
             (unsigned long long)taken);
    lt_auto_bits_free(a);
    lt_dataset_free(text);
    lt_model_free(m);
    ts_close_place(&p);
}

int lti_suite_qat_options(void)
{
    const ts_test tests[] = {{"scales are kept", scales_are_kept},
                             {"stopping with kept scales", stopping_with_kept_scales},
                             {"kept scales refused", kept_scales_refused},
                             {"the backward reaches the graph", backward_reaches_the_graph},
                             {"stopping with the integer backward", stopping_with_integer_backward},
                             {"float before the switch", float_before_the_switch},
                             {"scales of a run", scales_of_a_run},
                             {"taking scales without memory", taking_scales_without_memory},
                             {"changed grids", changed_grids},
                             {"endings", endings},
                             {"rotated rows", rotated_rows},
                             {"memory of auto bits", memory_of_auto_bits}};
    return ts_suite("qat_options", LTI_COUNT(tests), tests) || toy_one_thread("qat_options");
}
