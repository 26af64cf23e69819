/* test_export.c - a model's codes as a GGUF file: the proof and what it notices, other grids, keys and the card. Codes as
 * safetensors are in test_qat.c; llama.cpp's view is checked by scripts/check_export.py. */
#include "lathe/gguf.h"
#include "models/codes_gguf.h"
#include "models/model.h"
#include "tests/toys.h"

#include <math.h>

static lt_quant_policy policy_of(lt_dtype type, lt_dtype embedding)
{
    lt_quant_policy policy;
    lt_quant_policy_init(&policy);
    policy.weights.type = type;
    policy.embedding.type = embedding;
    return policy;
}

/* ---- What is written is what was evaluated ---- */

static const char *const shapes[] = {"llama:layers=2,dim=32,hidden=48,heads=4,kv_heads=2,context=64,tied=0",
                                     "gemma3:layers=2,dim=32,hidden=64,heads=4,kv_heads=2,context=64",
                                     "gpt2:layers=2,dim=32,hidden=64,heads=4,context=64",
                                     "qwen2:layers=2,dim=32,hidden=64,heads=4,kv_heads=2,context=64",
                                     "bitnet:layers=2,dim=32,hidden=64,heads=4,kv_heads=2,context=64"};
static const lt_dtype types[][2] = {{LT_Q4_0, LT_Q8_0}, {LT_Q8_0, LT_F32}, {LT_BF16, LT_F16}, {LT_Q5_1, LT_Q4_1}};

static void same_perplexity(ts_place *p, lt_model *m, const lt_quant_policy *policy, const char *path, const char *what)
{
    lt_model *file = NULL;
    lt_eval_result trained, shipped;
    lt_dataset *text = toy_text(p->ctx, m, LT_SPLIT_ALL);
    if (TS_OK(p->ctx, lt_model_open_frozen(p->ctx, path, &file)) &&
        TS_OK(p->ctx, lt_evaluate(m, text, policy, 0, &trained)) &&
        TS_OK(p->ctx, lt_evaluate(file, text, NULL, 0, &shipped)))
        TS_CHECK(fabs(trained.perplexity - shipped.perplexity) < 2e-6 * trained.perplexity &&
                     trained.tokens == shipped.tokens,
                 "%s: perplexity %.9g in training, %.9g of the file", what, trained.perplexity, shipped.perplexity);
    lt_dataset_free(text);
    lt_model_free(file);
}

static void exported_files(void)
{
    for (int s = 0; s < LTI_COUNT(shapes); s++) {
        ts_place p = ts_open_place();
        lt_model *m = toy_model(p.ctx, shapes[s], 5);
        for (int i = 0; i < LTI_COUNT(types); i++) {
            lt_quant_policy policy = policy_of(types[i][0], types[i][1]);
            lt_exported e;
            char what[96];
            snprintf(what, sizeof what, "%.12s with %s", shapes[s], lt_dtype_name(types[i][0]));
            if (!TS_OK(p.ctx, lt_export(m, &policy, ts_at(&p, "model.gguf"), NULL, &e))) continue;
            TS_CHECK(e.weights == lt_model_parameters(m) && e.tensors == lt_params_count(lt_model_params(m)) &&
                         !e.other,
                     "%s: all is compared", what);
            TS_CHECK(e.report && strstr(e.report, "read back: ") && strstr(e.report, " bytes: identical\n"), "%s: %s",
                     what, e.report);
            same_perplexity(&p, m, &policy, ts_at(&p, "model.gguf"), what);
            lt_string_free(p.ctx, e.report);
        }
        lt_model_free(m);
        ts_close_place(&p);
    }
}

/* ---- What the proof notices ---- */

static long offset_of(lt_ctx *ctx, const char *path, const char *tensor)
{
    lt_gguf *g = NULL;
    long at = 0;
    if (TS_OK(ctx, lt_gguf_open(ctx, path, &g))) at = (long)lt_gguf_tensor(g, lt_gguf_find(g, tensor))->offset;
    lt_gguf_close(g);
    return at;
}

static void proof_notices(void)
{
    static const char *const tensors[] = {"blk.0.attn_q.weight", "blk.1.ffn_down.weight", "token_embd.weight",
                                          "output_norm.weight"};
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, shapes[0], 5);
    lt_quant_policy policy = policy_of(LT_Q4_0, LT_Q8_0);
    lt_params *codes = NULL;
    char path[256];
    snprintf(path, sizeof path, "%s", ts_at(&p, "model.gguf"));
    TS_OK(p.ctx, lt_quantize_params(lt_model_params(m), &policy, &codes));
    lti_codes_file file = {.model = m, .codes = codes, .path = path};
    lti_codes_proof proof;
    for (int i = 0; i < LTI_COUNT(tensors); i++) {
        TS_OK(p.ctx, lti_codes_write(&file, NULL));
        TS_OK(p.ctx, lti_codes_prove(&file, &proof));
        toy_flip(path, offset_of(p.ctx, path, tensors[i]) + 17);
        TS_REFUSED(p.ctx, lti_codes_prove(&file, &proof), LT_EIO, tensors[i]);
    }
    lt_param *w = lt_params_find(codes, "output_norm.weight");
    TS_OK(p.ctx, lti_codes_write(&file, NULL));
    ((lt_real *)lt_param_data(w))[3] += (lt_real)0.5;
    TS_REFUSED(p.ctx, lti_codes_prove(&file, &proof), LT_EIO, "'output_norm.weight' reads back differently");
    lt_params_free(codes);
    lt_model_free(m);
    ts_close_place(&p);
}

/* ---- Other grids than the trained one ---- */

static void other_types(void)
{
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, TOY_INIT, 5);
    lt_quant_policy policy = policy_of(LT_Q4_0, LT_F32), other = policy_of(LT_Q8_0, LT_F32);
    lt_export_options o;
    lt_exported e;
    lt_export_options_init(&o);
    o.other = &other;
    TS_REFUSED(p.ctx, lt_export(m, &policy, ts_at(&p, "model.gguf"), &o, &e), LT_EINVAL,
               "'blk.0.attn_q.weight' was trained on q4_0 and would be written as q8_0");
    TS_CHECK(!toy_exists(ts_at(&p, "model.gguf")) && !e.report, "no file");
    o.allow_other = true;
    if (TS_OK(p.ctx, lt_export(m, &policy, ts_at(&p, "model.gguf"), &o, &e))) {
        TS_CHECK(e.other && e.moved > 0 && e.moved < 0.05, "moved by %g", e.moved);
        lt_string_free(p.ctx, e.report);
    }
    o.allow_other = false;
    other = policy_of(LT_F32, LT_F32); /* holds the same values */
    if (TS_OK(p.ctx, lt_export(m, &policy, ts_at(&p, "model.gguf"), &o, &e))) {
        TS_CHECK(!e.other && e.moved == 0, "nothing moves");
        lt_string_free(p.ctx, e.report);
    }
    lt_quant_policy integers = policy;
    integers.weights = (lt_scheme){.kind = LT_SCHEME_INT, .bits = 4, .per = LT_PER_CHANNEL};
    TS_REFUSED(p.ctx, lt_export(m, &integers, ts_at(&p, "model.gguf"), NULL, &e), LT_EUNSUPPORTED,
               "'blk.0.attn_q.weight' is on the grid int4");
    lt_model_free(m);
    ts_close_place(&p);
}

/* Ternary weights are held by the ternary types, all but the sixteen bits of a scale. */
static void ternary_weights(void)
{
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, "llama:layers=1,dim=256,hidden=256,heads=4,kv_heads=2,context=64", 5);
    lt_quant_policy policy = policy_of(LT_F32, LT_F32), other = policy_of(LT_TQ2_0, LT_F32);
    policy.weights = (lt_scheme){.kind = LT_SCHEME_TERNARY, .per = LT_PER_TENSOR};
    static const lt_dtype held[] = {LT_TQ2_0, LT_TQ1_0, LT_Q8_0};
    lt_export_options o;
    lt_exported e;
    lt_export_options_init(&o);
    o.other = &other;
    for (int i = 0; i < LTI_COUNT(held); i++) {
        other.weights.type = held[i];
        if (!TS_OK(p.ctx, lt_export(m, &policy, ts_at(&p, "model.gguf"), &o, &e))) break;
        TS_CHECK(!e.other && e.moved < 1e-3, "%s holds the trits; scales moved by %g", lt_dtype_name(held[i]), e.moved);
        lt_string_free(p.ctx, e.report);
    }
    other.weights.type = LT_Q4_0; /* reaches 7/8 on one side */
    TS_REFUSED(p.ctx, lt_export(m, &policy, ts_at(&p, "model.gguf"), &o, &e), LT_EINVAL, "was trained on ternary");
    lt_model_free(m);
    ts_close_place(&p);
}

/* Trained with scales of sixteen bits they are held to the last bit, and what they meet is rounded alike: the file's
 * perplexity is the final evaluation's, bit for bit (GGUF has f32, also of the double build's norms). */
static void ternary_to_the_bit(void)
{
    static const char *const words[] = {"ternary:half", "ternary:channel,half", "ternary:g256,half"};
    static const lt_activations met[] = {LT_ACT_NONE, LT_ACT_RUNTIME, LT_ACT_INT8_TOKEN};
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, "bitnet:layers=1,dim=256,hidden=256,heads=4,kv_heads=2,context=64", 5), *file = NULL;
    lt_dataset *text = toy_text(p.ctx, m, LT_SPLIT_ALL);
    for (int i = 0; i < 6; i++) {
        lt_quant_policy policy = policy_of(LT_F32, LT_F32), other = policy_of(i < 3 ? LT_TQ2_0 : LT_TQ1_0, LT_F32);
        lt_quant_policy read = {.size = sizeof read, .activations = met[i % 3]};
        lt_eval_result trained, shipped;
        lt_export_options o;
        lt_exported e;
        lt_export_options_init(&o);
        o.other = &other;
        TS_OK(p.ctx, lt_scheme_parse(p.ctx, words[i % 3], &policy.weights));
        policy.activations = met[i % 3];
        if (!TS_OK(p.ctx, lt_export(m, &policy, ts_at(&p, "model.gguf"), &o, &e))) break;
        TS_CHECK(!e.other && e.moved == 0, "%s: nothing moves, not even scales, by %g", words[i % 3], e.moved);
        lt_string_free(p.ctx, e.report);
        if (TS_OK(p.ctx, lt_model_with_codes(m, ts_at(&p, "model.gguf"), &file)) &&
            TS_OK(p.ctx, lt_evaluate(m, text, &policy, 0, &trained)) &&
            TS_OK(p.ctx, lt_evaluate(file, text, &read, 0, &shipped)))
            TS_CHECK(fabs(trained.nll - shipped.nll) <= ts_tolerance(1e-7, 0) * trained.nll,
                     "%s, %s: nll %.9g trained, %.9g of the file", words[i % 3], lt_activations_name(met[i % 3]),
                     trained.nll, shipped.nll);
        lt_model_free(file);
        file = NULL;
    }
    lt_dataset_free(text);
    lt_model_free(m);
    ts_close_place(&p);
}

/* What llama.cpp's graph of bitnet does not compute, or does not load, is not written. */
static void bitnets_without_a_place(void)
{
    const struct {
        const char *init, *words;
        lt_activation activation;
        bool bias;
    } cases[] = {{",tied=0", "no place for a head of its own", LT_SILU, false},
                 {"", "relu2 would run as silu", LT_RELU2, false},
                 {"", "no place for biases", LT_SILU, true}};
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        ts_place p = ts_open_place();
        char init[128];
        lt_exported e;
        snprintf(init, sizeof init, "bitnet:layers=1,dim=32,hidden=64,heads=4,kv_heads=2,context=64%s", cases[i].init);
        lt_model *m = toy_model(p.ctx, init, 5);
        m->config.activation = cases[i].activation;
        m->config.output_bias = cases[i].bias;
        if (cases[i].bias)
            TS_OK(p.ctx,
                  lt_params_add(m->params, "blk.0.attn_output.bias", LT_F32, 1, &(int64_t){32}, LT_WEIGHT, NULL));
        lt_quant_policy policy = policy_of(LT_Q4_0, LT_F32);
        TS_REFUSED(p.ctx, lt_export(m, &policy, ts_at(&p, "model.gguf"), NULL, &e), LT_EUNSUPPORTED, cases[i].words);
        lt_model_free(m);
        ts_close_place(&p);
    }
}

/* ---- Keys and the card ---- */

static bool key_is(const lt_gguf *g, const char *key, const char *value)
{
    lt_gguf_string s;
    return lt_gguf_text(g, key, &s) && s.bytes == (int64_t)strlen(value) && !memcmp(s.text, value, strlen(value));
}

static void keys_and_card(void)
{
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, TOY_INIT, 5);
    const lt_quant_rule rule = {"*.ffn_up.weight", lt_scheme_of(LT_Q8_0)};
    lt_quant_policy policy = policy_of(LT_F32, LT_F32);
    policy.mix = "q4_k_m", policy.rules = &rule, policy.n_rules = 1;
    lt_export_options o;
    lt_exported e;
    lt_export_options_init(&o);
    o.name = "toy", o.base = "grown-up", o.steps = 12, o.tokens = 345, o.data_hash = "abc", o.valid_nll = 1.5;
    o.recipe = "steps: 12\n", o.before_nll = 2.25;
    lt_gguf *g = NULL;
    uint64_t number = 0;
    if (!TS_OK(p.ctx, lt_export(m, &policy, ts_at(&p, "model.gguf"), &o, &e))) return;
    if (TS_OK(p.ctx, lt_gguf_open(p.ctx, ts_at(&p, "model.gguf"), &g)))
        TS_CHECK(key_is(g, "general.name", "toy") && key_is(g, "general.base_model.0.name", "grown-up") &&
                     key_is(g, "lathe.qat.type", "q4_k_m") && key_is(g, "lathe.train.steps", "12") &&
                     key_is(g, "lathe.qat.rules", "*.ffn_up.weight=q8_0") && key_is(g, "lathe.valid.nll", "1.5") &&
                     key_is(g, "lathe.valid.nll_before", "2.25") && !lt_gguf_get(g, "lathe.ptq.method") &&
                     key_is(g, "lathe.train.data_xxh3", "abc") && lt_gguf_uint(g, "general.file_type", &number) &&
                     number == 15,
                 "keys say how it was made");
    lt_gguf_close(g);
    lt_eval_result result = {.perplexity = 4.5, .nll = 1.5, .accuracy = NAN, .tokens = 7, .model_bytes = 99},
                   none = {0};
    const lt_card_row rows[] = {{"before", &none}, {"this file", &result}};
    TS_OK(p.ctx, lt_export_card(m, ts_at(&p, "model.gguf"), &o, &e, 2, rows));
    size_t size;
    char *card = toy_read(ts_at(&p, "README.md"), &size);
    TS_CHECK(card && strstr(card, "# toy\n") && strstr(card, "| this file | 4.5 | 1.500000 | 7 | 99 |") &&
                 !strstr(card, "| before |") && strstr(card, "identical") && strstr(card, "base model: grown-up") &&
                 strstr(card, "steps: 12 (345 tokens)") && strstr(card, "```yaml\nsteps: 12\n```"),
             "the card: %s", card);
    free(card);
    TS_OK(p.ctx, lt_export_card(m, ts_at(&p, "model.gguf"), &o, &e, 2, rows)); /* ours is replaced */
    TS_CHECK(!toy_exists(ts_at(&p, "model.gguf.README.md")), "ours is replaced");
    TS_OK(p.ctx, lti_file_write_atomic(p.ctx, ts_at(&p, "README.md"), "mine\n", 5));
    TS_OK(p.ctx, lt_export_card(m, ts_at(&p, "model.gguf"), &o, &e, 2, rows));
    card = toy_read(ts_at(&p, "README.md"), &size);
    TS_CHECK(card && !strcmp(card, "mine\n") && toy_exists(ts_at(&p, "model.gguf.README.md")), "another's is left");
    free(card);
    lt_string_free(p.ctx, e.report);
    lt_model_free(m);
    ts_close_place(&p);
}

/* A card of codes made after training speaks of no training, and says what was measured on. */
static void card_of_a_method(void)
{
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, TOY_INIT, 5);
    lt_quant_policy policy = policy_of(LT_Q8_0, LT_F32);
    lt_export_options o;
    lt_exported e;
    lt_export_options_init(&o);
    o.name = "toy", o.method = "gptq", o.calibration_hash = "c0ffee", o.calibration_rows = 9;
    o.measured_on = "a few rows", o.valid_hash = "beef", o.before_nll = 1, o.valid_nll = 1.25;
    lt_gguf *g = NULL;
    if (!TS_OK(p.ctx, lt_export(m, &policy, ts_at(&p, "model.gguf"), &o, &e))) return;
    if (TS_OK(p.ctx, lt_gguf_open(p.ctx, ts_at(&p, "model.gguf"), &g)))
        TS_CHECK(key_is(g, "lathe.ptq.method", "gptq") && key_is(g, "lathe.ptq.calibration_xxh3", "c0ffee") &&
                     key_is(g, "lathe.ptq.calibration_rows", "9") && key_is(g, "lathe.valid.data", "a few rows") &&
                     key_is(g, "lathe.valid.data_xxh3", "beef") && key_is(g, "lathe.valid.nll_before", "1") &&
                     key_is(g, "lathe.valid.nll", "1.25"),
                 "keys say what was read and measured");
    lt_gguf_close(g);
    lt_eval_result result = {.perplexity = 3.5, .nll = 1.25, .accuracy = NAN, .tokens = 7, .model_bytes = 99};
    TS_OK(p.ctx, lt_export_card(m, ts_at(&p, "model.gguf"), &o, &e, 1, &(lt_card_row){"after", &result}));
    char *card = toy_read(ts_at(&p, "README.md"), NULL);
    TS_CHECK(card && strstr(card, "quantized after its training, by gptq: ") && !strstr(card, "training ended") &&
                 !strstr(card, "final evaluation") && strstr(card, "On a few rows.") &&
                 !strstr(card, "alidation data") &&
                 strstr(card, "- method: gptq, after training\n- calibration data (XXH3-128): c0ffee\n"
                              "- calibration rows, at most: 9\n"),
             "the card: %s", card);
    free(card);
    lt_string_free(p.ctx, e.report);
    lt_model_free(m);
    ts_close_place(&p);
}

/* ---- Memory ---- */

static lt_status attempt(lt_ctx *ctx, void *arg, bool *survived)
{
    lt_model *m, *file = NULL;
    lt_exported e = {0};
    lt_export_options o;
    lt_quant_policy policy = policy_of(LT_Q4_0, LT_Q4_0), other = policy_of(LT_Q8_0, LT_F16);
    (void)survived;
    lt_export_options_init(&o);
    o.other = &other, o.allow_other = true;
    lt_status status = lt_model_create(ctx, "llama:layers=1,dim=32,hidden=48,heads=2", NULL, 1, &m);
    if (status == LT_OK) status = lt_export(m, &policy, arg, &o, &e);
    if (status == LT_OK) status = lt_export_card(m, arg, &o, &e, 0, NULL);
    if (status == LT_OK) status = lt_model_with_codes(m, arg, &file);
    lt_string_free(ctx, e.report);
    lt_model_free(file);
    lt_model_free(m);
    return status;
}

static void every_allocation_fails(void)
{
    ts_place p = ts_open_place();
    char path[256];
    snprintf(path, sizeof path, "%s", ts_at(&p, "model.gguf"));
    toy_allocations_fail("exporting to GGUF", 600, attempt, path);
    ts_close_place(&p);
}

int lti_suite_export(void)
{
    const ts_test tests[] = {{"exported files", exported_files},
                             {"the proof notices", proof_notices},
                             {"other types", other_types},
                             {"ternary weights", ternary_weights},
                             {"ternary to the bit", ternary_to_the_bit},
                             {"bitnets without a place", bitnets_without_a_place},
                             {"keys and the card", keys_and_card},
                             {"a card of a method", card_of_a_method},
                             {"every allocation fails", every_allocation_fails}};
    return ts_suite("export", LTI_COUNT(tests), tests) || toy_one_thread("export");
}
