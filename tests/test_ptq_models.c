/* test_ptq_models.c - quantization of whole models after training: what the layers read, scales that are folded without
 * changing the function, codes that are the model, importance files, outliers, the order of the methods. */
#include "lathe/gguf.h"
#include "tests/toys.h"
#include "train/calibrate.h"
#include "train/folds.h"

#include <math.h>
#include <string.h>

static const lt_ptq_method methods[] = {LT_PTQ_RTN,  LT_PTQ_MSE, LT_PTQ_IMATRIX,
                                        LT_PTQ_GPTQ, LT_PTQ_AWQ, LT_PTQ_SMOOTHQUANT};

static lt_quant_policy policy_of(lt_ctx *ctx, const char *word)
{
    lt_quant_policy p;
    lt_quant_policy_init(&p);
    TS_OK(ctx, lt_quant_policy_parse(ctx, word, &p));
    return p;
}

static lt_status quantize(lt_model *m, const lt_dataset *data, const lt_quant_policy *policy, lt_ptq_method method,
                          lt_ptq **done)
{
    lt_ptq_config c;
    lt_ptq_config_init(&c);
    c.method = method;
    return lt_ptq_run(m, data, policy, &c, done);
}

static double nll_of(lt_model *m, const lt_dataset *data, const lt_quant_policy *policy)
{
    lt_eval_result r = {.nll = NAN};
    TS_OK(lt_params_ctx(lt_model_params(m)), lt_evaluate(m, data, policy, 0, &r));
    return r.nll;
}

/* ---- What the layers read ---- */

/* A linear classifier reads the rows themselves. */
static void sums_of_rows(void)
{
    enum { N = 20, D = 13 };
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_real x[N * D];
    int32_t y[N];
    ts_fill_normal("rows", N * D, 1, x);
    for (int i = 0; i < N; i++) y[i] = i % 3;
    lt_arrays arrays = {.n = N, .d = D, .x = x, .y = y, .classes = 3, .rank = 1, .shape = {D}};
    lt_dataset *data = NULL;
    lt_model *m = NULL;
    lt_imatrix *found = NULL;
    TS_OK(ctx, lt_dataset_from_arrays(ctx, &arrays, &data));
    TS_OK(ctx, lt_model_create_for(ctx, "mlp:hidden=0", NULL, data, 1, &m));
    if (data && m) TS_OK(ctx, lt_imatrix_measure(m, data, 100, &found));
    if (found && TS_CHECK(found->count == 1, "one layer, not %d", found->count)) {
        const lti_inputs *in = found->list[0].inputs;
        TS_CHECK(in->columns == D && in->positions == N, "%g rows of %lld", in->positions, (long long)in->columns);
        for (int k = 0; k < D; k++) {
            double squares = 0, sum = 0, most = 0;
            for (int i = 0; i < N; i++) {
                double v = fabs((double)x[i * D + k]);
                squares += v * v, sum += v, most = fmax(most, v);
            }
            TS_CHECK(fabs(squares - in->squares[k]) < 1e-9 && fabs(sum - in->absolutes[k]) < 1e-9 &&
                         most == in->largest[k],
                     "column %d", k);
        }
    }
    lt_imatrix_free(found);
    lt_model_free(m);
    lt_dataset_free(data);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "nothing leaks");
    lt_ctx_free(ctx);
}

static bool all_matrices(void *user, const lt_param *weight)
{
    (void)user;
    return lt_param_rank(weight) == 2;
}

/* Padding is not read; layers that read the same share sums; the diagonal of x'x is the sum of squares. */
static void sums_of_texts(void)
{
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, TOY_INIT, 1);
    lt_dataset *data = toy_text(p.ctx, m, LT_SPLIT_ALL);
    lti_calibration c = {.model = m, .data = data, .rows = 1000, .grams = true, .wanted = all_matrices};
    lt_imatrix *found = NULL;
    if (TS_OK(p.ctx, lti_calibrate(&c, &found))) {
        TS_CHECK(found->count == 15, "15 sites, not %d", found->count);
        for (int i = 0; i < found->count; i++) {
            const lti_inputs *in = found->list[i].inputs;
            double off = 0;
            TS_CHECK(in->positions == (double)lt_dataset_tokens(data), "%s: %g positions", found->list[i].site,
                     in->positions);
            for (int64_t k = 0; k < in->columns; k++)
                off = fmax(off, fabs(in->gram[k * (in->columns + 1)] - in->squares[k]) / (1e-9 + in->squares[k]));
            TS_CHECK(off < ts_tolerance(1e-12, 1e-5), "%s: the diagonal is off by %g", found->list[i].site, off);
        }
        const lti_inputs *q = lti_inputs_of(found, "blk.1.attn_q.weight");
        TS_CHECK(q && q == lti_inputs_of(found, "blk.1.attn_v.weight"), "q and v share what they read");
        TS_CHECK(q != lti_inputs_of(found, "blk.1.attn_output.weight"), "the output projection reads something else");
    }
    lt_imatrix_free(found);
    lt_dataset_free(data);
    lt_model_free(m);
    ts_close_place(&p);
}

/* ---- Folding ---- */

static void folded_functions(void)
{
    static const char *const inits[] = {TOY_INIT,
                                        "qwen2:layers=1,dim=32,hidden=48,heads=4,kv_heads=2,context=64",
                                        "qwen3:layers=1,dim=32,hidden=48,heads=4,kv_heads=4,context=64",
                                        "gemma3:layers=2,dim=32,hidden=48,heads=4,kv_heads=1,context=64",
                                        "gpt2:layers=1,dim=32,hidden=64,heads=4,context=64",
                                        "bitnet:layers=1,dim=32,hidden=48,heads=4,kv_heads=2,context=64"};
    static const int counts[] = {4, 4, 4, 4, 2, 4};
    const int32_t tokens[] = {256, 104, 101, 32, 120, 121, 33, 7};
    for (int i = 0; i < LTI_COUNT(inits); i++) {
        ts_place p = ts_open_place();
        lt_model *m = toy_model(p.ctx, inits[i], 3);
        lti_fold folds[LTI_MOST_FOLDS];
        double scale[256];
        for (int k = 0; k < lt_params_count(lt_model_params(m)); k++) { /* biases are not to be 0, nor gains 1 */
            lt_param *w = lt_params_at(lt_model_params(m), k);
            lt_real *v = lt_param_data(w);
            for (int64_t n = 0; lt_param_rank(w) == 1 && n < lt_param_count(w); n++)
                v[n] += (lt_real)(0.2 * ts_normal(lt_param_name(w), n));
            lt_param_touch(w);
        }
        lt_real *before = toy_logits(m, tokens, 8);
        int n = lti_folds_of(m, 0, true, folds);
        TS_CHECK(n == counts[i], "%s: %d folds, not %d", inits[i], n, counts[i]);
        for (int f = 0; f < n; f++) {
            for (int64_t k = 0; k < folds[f].channels; k++) scale[k] = exp(ts_normal("fold", 100 * f + k));
            lti_fold_apply(&folds[f], scale);
        }
        lt_real *after = toy_logits(m, tokens, 8);
        double far = ts_distance_real(8 * lt_model_vocab(m), after, before);
        TS_CHECK(far < ts_tolerance(1e-13, 1e-5), "%s: logits move by %g", inits[i], far);
        free(before), free(after);
        lt_model_free(m);
        ts_close_place(&p);
    }
}

/* ---- Whole models ---- */

/* The file of codes is the model as it stands afterwards, and its loss that of the codes. */
static void codes_are_the_model(void)
{
    static const char *const words[] = {"q4_0", "int4:g16", "q8_0"};
    ts_place p = ts_open_place();
    for (int i = 0; i < 3 * LTI_COUNT(methods); i++) {
        lt_ptq_method method = methods[i / 3];
        const char *what = lt_ptq_method_name(method);
        lt_model *m = toy_model(p.ctx, TOY_INIT, 1), *coded = NULL;
        lt_dataset *data = toy_text(p.ctx, m, LT_SPLIT_ALL);
        lt_quant_policy policy = policy_of(p.ctx, words[i % 3]);
        lt_ptq *done = NULL;
        lt_exported file;
        lt_export_options o;
        int count = 0;
        if (TS_OK(p.ctx, quantize(m, data, &policy, method, &done))) {
            const lt_ptq_tensor *t = lt_ptq_tensors(done, &count);
            TS_CHECK(count == 14, "%s %s: %d tensors", what, words[i % 3], count);
            for (int k = 0; k < count; k++)
                TS_CHECK(t[k].error > 0 && t[k].error < 0.5 && t[k].bytes > 0, "%s %s: %s: error %g", what,
                         words[i % 3], t[k].name, t[k].error);
            lt_export_options_init(&o);
            o.codes = lt_ptq_codes(done);
            o.method = what;
            if (TS_OK(p.ctx, lt_export(m, &policy, ts_at(&p, "codes.safetensors"), &o, &file))) {
                lt_string_free(p.ctx, file.report);
                TS_OK(p.ctx, lt_model_with_codes(m, ts_at(&p, "codes.safetensors"), &coded));
                double a = nll_of(coded, data, NULL), b = nll_of(m, data, NULL);
                TS_CHECK(a == b || fabs(a - b) < 1e-6, "%s %s: %.9g in the file, %.9g here", what, words[i % 3], a, b);
            }
        }
        lt_model_free(coded);
        lt_ptq_free(done);
        lt_dataset_free(data);
        lt_model_free(m);
    }
    ts_close_place(&p);
}

/* Equal bits for any number of threads; `start` leaves floats: the same function where channels were scaled. */
static void starts_and_threads(void)
{
    const int32_t tokens[] = {256, 104, 101, 32, 120, 121, 33, 7};
    ts_place p = ts_open_place();
    for (int i = 0; i < LTI_COUNT(methods); i++) {
        lt_quant_policy policy = policy_of(p.ctx, "int3:g16");
        lt_ptq_config c;
        lt_ptq *done;
        lt_model *models[3];
        lt_ptq_config_init(&c);
        c.method = methods[i];
        lt_real *before = NULL;
        for (int k = 0; k < 3; k++) {
            models[k] = toy_model(p.ctx, TOY_INIT, 1);
            lt_dataset *data = toy_text(p.ctx, models[k], LT_SPLIT_ALL);
            if (k == 2) before = toy_logits(models[k], tokens, 8);
            c.start = k == 2;
            lt_set_threads(k == 1 ? 2 : 1);
            if (TS_OK(p.ctx, lt_ptq_run(models[k], data, &policy, &c, &done))) lt_ptq_free(done);
            lt_dataset_free(data);
        }
        toy_same_weights(models[0], models[1], lt_ptq_method_name(c.method));
        lt_real *after = toy_logits(models[2], tokens, 8);
        double far = ts_distance_real(8 * lt_model_vocab(models[2]), after, before);
        bool moves = c.method == LT_PTQ_GPTQ;
        TS_CHECK(moves ? far > 1e-6 && far < 1 : far < ts_tolerance(1e-12, 1e-5), "%s: the start is off by %g",
                 lt_ptq_method_name(c.method), far);
        for (int k = 0; k < 3; k++) lt_model_free(models[k]);
        free(before), free(after);
    }
    ts_close_place(&p);
}

/* Grids a method does not know are done by a simpler one; embeddings are rounded by their numbers. */
static void fallbacks(void)
{
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, TOY_INIT, 1);
    lt_dataset *data = toy_text(p.ctx, m, LT_SPLIT_ALL);
    lt_quant_policy policy = policy_of(p.ctx, "q4_0");
    lt_quant_rule rules[] = {{"*.attn_q.weight", lt_scheme_of(LT_MXFP4)}, {"*.ffn_up.weight", lt_scheme_of(LT_F16)}};
    policy.rules = rules, policy.n_rules = 2;
    policy.embedding = lt_scheme_of(LT_Q4_0);
    lt_ptq *done = NULL;
    int count, wrong = 0;
    TS_OK(p.ctx, quantize(m, data, &policy, LT_PTQ_GPTQ, &done));
    const lt_ptq_tensor *t = done ? lt_ptq_tensors(done, &count) : NULL;
    for (int i = 0; t && i < count; i++) {
        const char *wanted = strstr(t[i].name, "attn_q.") || strstr(t[i].name, "ffn_up") ? "rtn"
                             : strstr(t[i].name, "token_embd")                           ? "mse"
                                                                                         : "gptq";
        wrong += strcmp(wanted, t[i].method) != 0;
    }
    TS_CHECK(t && count == 15 && wrong == 0, "%d of %d by another method", wrong, t ? count : 0);
    lt_ptq_free(done);
    lt_dataset_free(data);
    lt_model_free(m);
    ts_close_place(&p);
}

static void refusals(void)
{
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, TOY_INIT, 1);
    lt_dataset *data = toy_text(p.ctx, m, LT_SPLIT_ALL);
    lt_quant_policy policy = policy_of(p.ctx, "q4_0");
    lt_ptq *done;
    lt_ptq_config c;
    lt_ptq_config_init(&c);
    TS_REFUSED(p.ctx, quantize(m, NULL, &policy, LT_PTQ_AWQ, &done), LT_EINVAL, "calibration data");
    c.damping = NAN;
    TS_REFUSED(p.ctx, lt_ptq_run(m, NULL, &policy, &c, &done), LT_EINVAL, "damping");
    c.size = 1;
    TS_REFUSED(p.ctx, lt_ptq_run(m, NULL, &policy, &c, &done), LT_EINVAL, "lt_ptq_config_init");
    lt_param *w = lt_params_find(lt_model_params(m), "blk.1.ffn_down.weight");
    ((lt_real *)lt_param_data(w))[5] = NAN;
    lt_param_touch(w);
    TS_REFUSED(p.ctx, quantize(m, NULL, &policy, LT_PTQ_MSE, &done), LT_ENONFINITE, "'blk.1.ffn_down.weight'");
    TS_CHECK(done == NULL, "nothing is given");
    lt_dataset_free(data);
    lt_model_free(m);
    ts_close_place(&p);
}

/* ---- Files of importance ---- */

static void importance_files(void)
{
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, TOY_INIT, 1), *again = toy_model(p.ctx, TOY_INIT, 1);
    lt_model *other = toy_model(p.ctx, "llama:layers=2,dim=64,hidden=64,heads=4,kv_heads=2,context=64", 1);
    lt_dataset *data = toy_text(p.ctx, m, LT_SPLIT_ALL);
    lt_quant_policy policy = policy_of(p.ctx, "q4_0");
    lt_imatrix *found = NULL, *read = NULL;
    lt_ptq *done = NULL;
    lt_ptq_config c;
    TS_OK(p.ctx, lt_imatrix_measure(m, data, 128, &found));
    TS_OK(p.ctx, lt_imatrix_write(found, ts_at(&p, "i.gguf"), "text.txt"));
    if (TS_OK(p.ctx, lt_imatrix_read(p.ctx, ts_at(&p, "i.gguf"), &read))) {
        TS_CHECK(lt_imatrix_count(read) == lt_imatrix_count(found), "%d tensors", lt_imatrix_count(read));
        const lti_inputs *a = lti_inputs_of(found, "blk.0.ffn_down.weight"),
                         *b = lti_inputs_of(read, "blk.0.ffn_down.weight");
        TS_CHECK(a && b && a->columns == b->columns && a->positions == b->positions, "the same tensor");
        for (int64_t k = 0; a && b && k < a->columns; k++)
            TS_CHECK((float)a->squares[k] == (float)b->squares[k], "column %lld", (long long)k);
        TS_OK(p.ctx, quantize(m, data, &policy, LT_PTQ_IMATRIX, &done));
        lt_ptq_free(done);
        lt_ptq_config_init(&c);
        c.method = LT_PTQ_IMATRIX, c.imatrix = read;
        TS_OK(p.ctx, lt_ptq_run(again, NULL, &policy, &c, &done));
        lt_ptq_free(done);
        toy_same_weights(m, again, "measured and read");
        TS_REFUSED(p.ctx, lt_ptq_run(other, NULL, &policy, &c, &done), LT_EINVAL, "another model");
    }
    lt_gguf_entry lonely = {.name = "a.weight.in_sum2", .rank = 1, .shape = {2}, .data = (float[]){1, -2}};
    lt_gguf_entry both[] = {lonely, {.name = "a.weight.counts", .rank = 1, .shape = {1}, .data = (float[]){3}}};
    lt_imatrix *none;
    TS_OK(p.ctx, lt_gguf_write(p.ctx, ts_at(&p, "x.gguf"), NULL, 0, &lonely, 1, NULL));
    TS_REFUSED(p.ctx, lt_imatrix_read(p.ctx, ts_at(&p, "x.gguf"), &none), LT_EFORMAT, "beside it");
    TS_OK(p.ctx, lt_gguf_write(p.ctx, ts_at(&p, "x.gguf"), NULL, 0, both, 2, NULL));
    TS_REFUSED(p.ctx, lt_imatrix_read(p.ctx, ts_at(&p, "x.gguf"), &none), LT_EFORMAT, "no sum of squares");
    TS_OK(p.ctx, lt_gguf_write(p.ctx, ts_at(&p, "x.gguf"), NULL, 0, both + 1, 1, NULL));
    TS_REFUSED(p.ctx, lt_imatrix_read(p.ctx, ts_at(&p, "x.gguf"), &none), LT_EFORMAT, "no imatrix");
    lt_imatrix_free(found);
    lt_imatrix_free(read);
    lt_dataset_free(data);
    lt_model_free(m), lt_model_free(again), lt_model_free(other);
    ts_close_place(&p);
}

/* ---- A model that has learned something ---- */

#define STORIES "models/stories260K/hf/model.safetensors"

static lt_dataset *stories(lt_ctx *ctx, const lt_model *m, lt_split split, int64_t length)
{
    lt_dataset_options o;
    lt_dataset *set = NULL;
    lt_dataset_options_init(&o);
    o.split = split, o.valid_fraction = 0.08, o.max_seq_length = length;
    TS_OK(ctx, lt_dataset_open(ctx, ts_data("text/tinystories-1700.txt"), lt_model_tokenizer(m), &o, &set));
    return set;
}

static double nll_after(lt_ctx *ctx, lt_ptq_method method, const char *word)
{
    lt_model *m = NULL;
    double nll = NAN;
    lt_ptq *done = NULL;
    lt_quant_policy policy = policy_of(ctx, word);
    if (!TS_OK(ctx, lt_model_open(ctx, ts_data("models/stories260K/hf"), &m))) return nll;
    lt_dataset *train = stories(ctx, m, LT_SPLIT_TRAIN, 256), *valid = stories(ctx, m, LT_SPLIT_VALID, 256);
    if (train && valid && TS_OK(ctx, quantize(m, train, &policy, method, &done))) nll = nll_of(m, valid, NULL);
    lt_ptq_free(done);
    lt_dataset_free(train);
    lt_dataset_free(valid);
    lt_model_free(m);
    return nll;
}

static void methods_in_order(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    for (int bits = 3; bits <= 4; bits++) {
        const char *word = bits == 3 ? "int3:g32" : "int4:g32";
        double nll[5];
        for (int i = 0; i < 5; i++) nll[i] = nll_after(ctx, methods[i], word);
        TS_CHECK(nll[3] < nll[1] && nll[4] < nll[1] && nll[1] < nll[0] && nll[2] < nll[0],
                 "%d bits: rtn %g, mse %g, imatrix %g, gptq %g, awq %g", bits, nll[0], nll[1], nll[2], nll[3], nll[4]);
    }
    double plain = nll_after(ctx, LT_PTQ_RTN, "q4_0"), gptq = nll_after(ctx, LT_PTQ_GPTQ, "q4_0");
    TS_CHECK(gptq < plain, "q4_0: rtn %g, gptq %g", plain, gptq);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "nothing leaks");
    lt_ctx_free(ctx);
}

/* Some channels of every norm times 50, and what reads them by as much less: the same function. */
static void plant_outliers(lt_model *m)
{
    lti_fold folds[LTI_MOST_FOLDS];
    double scale[64];
    for (int64_t block = 0; block < lt_model_config(m)->layers; block++) {
        int n = lti_folds_of(m, block, false, folds);
        for (int k = 0; k < 64; k++) scale[k] = k % 16 == 3 ? 1.0 / 50 : 1;
        for (int f = 0; f < n; f++) lti_fold_apply(&folds[f], scale);
    }
}

static void outliers(void)
{
    ts_place p = ts_open_place();
    lt_quant_policy policy = policy_of(p.ctx, "w8a8"), activations;
    lt_model *m = NULL;
    lt_ptq *done = NULL;
    lt_quant_policy_init(&activations);
    activations.activations = policy.activations;
    TS_OK(p.ctx, lt_model_open(p.ctx, ts_data("models/stories260K/hf"), &m));
    lt_dataset *train = stories(p.ctx, m, LT_SPLIT_TRAIN, 256), *valid = stories(p.ctx, m, LT_SPLIT_VALID, 256);
    double plain = nll_of(m, valid, NULL), bare = nll_of(m, valid, &policy);
    plant_outliers(m);
    double planted = nll_of(m, valid, NULL), lost = nll_of(m, valid, &policy);
    TS_CHECK(fabs(planted - plain) < 1e-4, "the same function: %g and %g", plain, planted);
    TS_CHECK(lost - plain > 5 * (bare - plain) && lost - plain > 1e-3, "outliers cost %g, without them %g",
             lost - plain, bare - plain);
    TS_OK(p.ctx, quantize(m, train, &policy, LT_PTQ_SMOOTHQUANT, &done));
    double smooth = nll_of(m, valid, &policy);
    TS_CHECK(lost - smooth >= 0.8 * (lost - plain), "W8A8 loses %g; smoothed %g", lost - plain, smooth - plain);
    lt_ptq_free(done);
    lt_dataset_free(train);
    lt_dataset_free(valid);
    lt_model_free(m);
    ts_close_place(&p);
}

/* ---- Memory ---- */

static lt_status attempt(lt_ctx *ctx, void *arg, bool *survived)
{
    lt_model *m;
    lt_dataset *set = NULL;
    lt_ptq *done = NULL;
    lt_ptq_config c;
    lt_dataset_options o;
    lt_quant_policy policy;
    (void)survived;
    lt_ptq_config_init(&c);
    c.method = *(const lt_ptq_method *)arg;
    c.start = true;
    lt_quant_policy_init(&policy);
    policy.weights = lt_scheme_of(LT_Q4_0);
    lt_dataset_options_init(&o);
    o.max_seq_length = 8;
    lt_status status = lt_model_create(ctx, "llama:layers=1,dim=32,hidden=32,heads=2", NULL, 1, &m);
    if (status == LT_OK) status = lt_dataset_from_text(ctx, "a short text", 12, lt_model_tokenizer(m), &o, &set);
    if (status == LT_OK) status = lt_ptq_run(m, set, &policy, &c, &done);
    lt_ptq_free(done);
    lt_dataset_free(set);
    lt_model_free(m);
    return status;
}

static void every_allocation_fails(void)
{
    for (int i = 1; i < LTI_COUNT(methods); i++)
        toy_allocations_fail(lt_ptq_method_name(methods[i]), 150, attempt, (void *)(uintptr_t)&methods[i]);
}

static bool slow_build(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(LTI_COUNTS_LINES)
    return true;
#else
    return sizeof(lt_real) == 8 || strncmp(lt_kernels_in_use(), "ref", 3) == 0;
#endif
}

int lti_suite_ptq_models(void)
{
    const ts_test tests[] = {{"sums of rows", sums_of_rows},
                             {"sums of texts", sums_of_texts},
                             {"folded functions", folded_functions},
                             {"codes are the model", codes_are_the_model},
                             {"starts and threads", starts_and_threads},
                             {"fallbacks", fallbacks},
                             {"refusals", refusals},
                             {"importance files", importance_files},
                             {"every allocation fails", every_allocation_fails}};
    if (ts_suite("ptq_models", LTI_COUNT(tests), tests)) return 1;
    if (slow_build()) { /* the stories take minutes there, and say nothing more */
        printf("methods in order, outliers [SKIPPED: plain kernels, sanitizers or coverage]\n");
        return toy_one_thread("ptq_models");
    }
    CU_pSuite suite = CU_get_suite("ptq_models");
    if (!suite || ts_add_with_data(suite, "methods in order", STORIES, methods_in_order)) return 1;
    return ts_add_with_data(suite, "outliers", STORIES, outliers) || toy_one_thread("ptq_models");
}
