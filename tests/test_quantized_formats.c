/* test_quantized_formats.c - quantized safetensors as other programs have them: what is written is what was evaluated,
 * what those programs wrote is read as they read it (tests/golden/quantized, by scripts/goldens_quantized.py), what is
 * damaged or beyond a format is refused. Whole models in those programs: scripts/check_quantized_formats.py. */
#include "lathe/ptq.h"
#include "models/packed.h"
#include "tests/toys.h"

#include <math.h>

#define SHAPE "llama:layers=2,dim=64,hidden=128,heads=4,kv_heads=2,context=64"

typedef struct format_case {
    lt_quant_format format;
    const char *word; /* NULL: the format's own */
    lt_scale_rule scale;
    const char *config; /* what config.json says, among others */
} format_case;

static const format_case cases[] = {
    {LT_QUANT_COMPRESSED, NULL, LT_SCALE_DYNAMIC, "\"format\": \"int-quantized\""},
    {LT_QUANT_COMPRESSED, "w8a8", LT_SCALE_MSE, "\"strategy\": \"token\""},
    {LT_QUANT_COMPRESSED, "w8a8", LT_SCALE_LSQ, "\"quant_method\": \"compressed-tensors\""},
    {LT_QUANT_BNB, NULL, LT_SCALE_DYNAMIC, "\"bnb_4bit_use_double_quant\": true"},
    {LT_QUANT_BNB, "nf4", LT_SCALE_DYNAMIC, "\"bnb_4bit_quant_type\": \"nf4\""},
    {LT_QUANT_BNB, "fp4", LT_SCALE_DYNAMIC, "\"bnb_4bit_use_double_quant\": false"},
    {LT_QUANT_BNB, "fp4:dq", LT_SCALE_DYNAMIC, "\"bnb_4bit_quant_type\": \"fp4\""},
    {LT_QUANT_GPTQ, "int4:g32", LT_SCALE_DYNAMIC, "\"checkpoint_format\": \"gptq\""},
    {LT_QUANT_GPTQ, "int4:g64,asym", LT_SCALE_DYNAMIC, "\"checkpoint_format\": \"gptq_v2\""},
    {LT_QUANT_GPTQ, "int4:full", LT_SCALE_MSE, "\"group_size\": -1"},
    {LT_QUANT_GPTQ, "int8:g16,asym", LT_SCALE_DYNAMIC, "\"bits\": 8"},
    {LT_QUANT_GPTQ, "int4:g32", LT_SCALE_LSQ, "\"sym\": true"},
    {LT_QUANT_GPTQ, "int4:g32", LT_SCALE_RANGE, "\"desc_act\": false"},
    {LT_QUANT_AWQ, "int4:g64,asym", LT_SCALE_DYNAMIC, "\"version\": \"gemm\""},
    {LT_QUANT_AWQ, "int4:g32,full", LT_SCALE_DYNAMIC, "\"zero_point\": true"},
};

/* Weights with rows that are one-sided, zero, or have one large number. */
static lt_model *odd_model(lt_ctx *ctx, const char *init)
{
    lt_model *m = toy_model(ctx, init, 7);
    lt_param *p = m ? lt_params_find(lt_model_params(m), "blk.0.ffn_up.weight") : NULL;
    int64_t columns = p ? lt_param_shape(p)[1] : 0;
    for (int64_t i = 0; i < 4 * columns; i++) {
        lt_real *x = (lt_real *)lt_param_data(p) + i;
        if (i < columns) *x = (lt_real)fabs((double)*x) + (lt_real)0.25;
        if (i >= columns && i < 2 * columns) *x = -(lt_real)fabs((double)*x);
        if (i >= 2 * columns && i < 3 * columns) *x = 0;
        if (i == 3 * columns) *x = 40;
    }
    if (p) lt_param_touch(p);
    return m;
}

static bool policy_for(lt_ctx *ctx, const format_case *c, lt_params *params, lt_quant_policy *policy)
{
    lt_quant_policy_init(policy);
    policy->scale = c->scale;
    if (c->word && !TS_OK(ctx, lt_quant_policy_parse(ctx, c->word, policy))) return false;
    return TS_OK(ctx, lt_quant_format_policy(ctx, c->format, policy)) && TS_OK(ctx, lt_qat_prepare(params, policy));
}

/* What opens from the directory has the numbers of the evaluation. */
static void same_numbers(lt_model *m, const lt_quant_policy *policy, const char *directory, const char *what)
{
    lt_ctx *ctx = lt_params_ctx(lt_model_params(m));
    lt_params *codes = NULL, *meant = NULL;
    lt_model *read = NULL;
    int64_t compared = 0, wrong = 0;
    if (TS_OK(ctx, lt_quantize_params(lt_model_params(m), policy, &codes)) &&
        TS_OK(ctx, lt_dequantize_params(codes, &meant)) && TS_OK(ctx, lt_model_open(ctx, directory, &read)))
        for (int i = 0; i < lt_params_count(meant); i++) {
            const lt_param *p = lt_params_at(meant, i), *q = lt_params_find(lt_model_params(read), lt_param_name(p));
            const lt_real *a = lt_param_read(p), *b = q ? lt_param_read(q) : NULL;
            for (int64_t k = 0; b && k < lt_param_count(p); k++, compared++) wrong += a[k] != b[k];
        }
    TS_CHECK(compared == lt_model_parameters(m) && wrong == 0, "%s: %lld of %lld numbers differ", what,
             (long long)wrong, (long long)compared);
    lt_model_free(read);
    lt_params_free(meant);
    lt_params_free(codes);
}

static void check_config(ts_place *p, const char *text, const char *what)
{
    char *config = toy_read(ts_at(p, "model/config.json"), NULL);
    TS_CHECK(config && strstr(config, text), "%s: config.json says %s: %s", what, text, config ? config : "");
    free(config);
}

static void round_trips(void)
{
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        ts_place p = ts_open_place();
        lt_model *m = odd_model(p.ctx, SHAPE);
        lt_quant_policy policy;
        lt_exported e = {0};
        char what[96], name[LT_SCHEME_TEXT], directory[256];
        snprintf(directory, sizeof directory, "%s", ts_at(&p, "model"));
        if (policy_for(p.ctx, &cases[i], lt_model_params(m), &policy)) {
            snprintf(what, sizeof what, "%s %s %s", lt_quant_format_name(cases[i].format),
                     lt_scheme_name(&policy.weights, name), lt_scale_rule_name(policy.scale));
            if (TS_OK(p.ctx, lt_export_quantized(m, &policy, cases[i].format, directory, NULL, &e))) {
                TS_CHECK(e.weights == lt_model_parameters(m) && strstr(e.report, "bytes: identical\n"), "%s: %s", what,
                         e.report);
                TS_CHECK(e.bytes < 2 * (uint64_t)e.weights * sizeof(lt_real) / 3, "%s: %llu bytes", what,
                         (unsigned long long)e.bytes);
                same_numbers(m, &policy, directory, what);
                check_config(&p, cases[i].config, what);
                lt_string_free(p.ctx, e.report);
            }
        }
        lt_model_free(m);
        ts_close_place(&p);
    }
}

/* Codes of a quantization after training, whose scales nobody kept. */
static void given_codes(void)
{
    static const struct {
        lt_quant_format format;
        const char *word;
        lt_ptq_method method;
    } rows[] = {
        {LT_QUANT_GPTQ, "int4:g32", LT_PTQ_MSE},
        {LT_QUANT_GPTQ, "int4:g64,asym", LT_PTQ_MSE},
        {LT_QUANT_GPTQ, "int8:g32,full", LT_PTQ_MSE},
        {LT_QUANT_AWQ, "int4:g32,asym", LT_PTQ_RTN},
        {LT_QUANT_COMPRESSED, "w8a8", LT_PTQ_RTN},
        {LT_QUANT_COMPRESSED, "w8a8", LT_PTQ_MSE},
        {LT_QUANT_BNB, "nf4", LT_PTQ_RTN},
        {LT_QUANT_BNB, "nf4:dq", LT_PTQ_RTN},
    };
    for (int i = 0; i < LTI_COUNT(rows); i++) {
        ts_place p = ts_open_place();
        lt_model *m = odd_model(p.ctx, SHAPE), *read = NULL;
        lt_quant_policy policy;
        lt_ptq_config config;
        lt_ptq *done = NULL;
        lt_exported e = {0};
        lt_export_options o;
        lt_export_options_init(&o);
        lt_ptq_config_init(&config);
        config.method = rows[i].method;
        lt_quant_policy_init(&policy);
        TS_OK(p.ctx, lt_quant_policy_parse(p.ctx, rows[i].word, &policy));
        TS_OK(p.ctx, lt_quant_format_policy(p.ctx, rows[i].format, &policy));
        if (TS_OK(p.ctx, lt_ptq_run(m, NULL, &policy, &config, &done))) {
            o.codes = lt_ptq_codes(done);
            if (TS_OK(p.ctx, lt_export_quantized(m, &policy, rows[i].format, ts_at(&p, "model"), &o, &e)) &&
                TS_OK(p.ctx, lt_model_open(p.ctx, ts_at(&p, "model"), &read)))
                toy_same_weights(m, read, rows[i].word); /* the run left the codes' values in the model */
        }
        if (e.report) lt_string_free(p.ctx, e.report);
        lt_model_free(read);
        lt_ptq_free(done);
        lt_model_free(m);
        ts_close_place(&p);
    }
}

/* ---- Scales in f16 ---- */

/* The type's own rounding by its definition: 11 significant bits, steps of 2^-24 at least. */
static double to_half(double x)
{
    int exponent;
    if (x == 0) return 0;
    (void)frexp(x, &exponent);
    double step = ldexp(1, exponent - 11 < -24 ? -24 : exponent - 11);
    return rint(x / step) * step;
}

static void half_scales(void)
{
    enum { ROWS = 6, COLUMNS = 48, GROUP = 16 };
    static const char *const words[] = {"int4:g16,half", "int4:g16,asym,half", "int8:g16,full,half"};
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_real x[ROWS * COLUMNS], y[ROWS * COLUMNS];
    ts_fill_normal("half scales", ROWS * COLUMNS, 0.03, x);
    for (int i = 0; i < GROUP; i++) x[i] = 0, x[GROUP + i] *= (lt_real)1e-6; /* zeros; scales that are subnormal */
    for (int w = 0; w < LTI_COUNT(words); w++) {
        lt_scheme s;
        char name[LT_SCHEME_TEXT];
        TS_OK(ctx, lt_scheme_parse(ctx, words[w], &s));
        TS_CHECK(s.half_scales && strcmp(lt_scheme_name(&s, name), words[w]) == 0, "%s: %s", words[w], name);
        TS_OK(ctx, lt_scheme_apply(ctx, &s, LT_SCALE_DYNAMIC, ROWS, COLUMNS, x, y));
        double most = ldexp(1, s.bits) - 1, q = ldexp(1, s.bits - 1) - 1, wrong = 0;
        for (int g = 0; g < ROWS * COLUMNS / GROUP; g++) {
            const lt_real *v = x + g * GROUP;
            double low = 0, high = 0;
            for (int i = 0; i < GROUP; i++) low = fmin(low, (double)v[i]), high = fmax(high, (double)v[i]);
            double full = s.asymmetric ? (high - low) / most : fmax(-low, high) / (q + (s.full_range ? 0.5 : 0));
            double scale = to_half(full), zero = s.asymmetric && full > 0 ? rint(-low / full) : 0;
            double lo = s.asymmetric ? -zero : s.full_range ? -q - 1 : -q, hi = s.asymmetric ? most - zero : q;
            for (int i = 0; i < GROUP; i++) {
                double code = scale > 0 ? fmin(fmax(rint((double)v[i] / scale), lo), hi) : 0;
                wrong += fabs(code * scale - (double)y[g * GROUP + i]) > 1e-6 * scale;
            }
        }
        TS_CHECK(wrong <= 1, "%s: %g numbers are elsewhere", words[w], wrong); /* a tie may fall to the other side */
    }
    lt_ctx_free(ctx);
}

/* ---- Shapes and grids that are not packed ---- */

static void left_alone(void)
{
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, "qwen2:layers=2,dim=96,hidden=128,heads=4,kv_heads=2,context=64,tied=0", 3);
    const lt_quant_rule rule = {.pattern = "blk.1.ffn_down.weight", .scheme = {.type = LT_BF16}};
    lt_quant_policy policy;
    lt_exported e = {0};
    char directory[256];
    snprintf(directory, sizeof directory, "%s", ts_at(&p, "model"));
    lt_quant_policy_init(&policy);
    TS_OK(p.ctx, lt_quant_policy_parse(p.ctx, "int4:g64", &policy));
    policy.rules = &rule, policy.n_rules = 1;
    TS_OK(p.ctx, lt_quant_format_policy(p.ctx, LT_QUANT_GPTQ, &policy));
    if (TS_OK(p.ctx, lt_export_quantized(m, &policy, LT_QUANT_GPTQ, directory, NULL, &e))) {
        TS_CHECK(strstr(e.report, "12 of these are written as numbers: gptq packs rows of whole groups"), "%s",
                 e.report);
        same_numbers(m, &policy, directory, "rows of 96");
        check_config(&p, "-:model\\\\.layers\\\\.1\\\\.mlp\\\\.down_proj$", "the rule's tensor");
        check_config(&p, "\"mlp.down_proj\"", "what is packed in a block");
        lt_string_free(p.ctx, e.report);
    }
    policy.weights.group = 128;
    TS_REFUSED(p.ctx,
               lt_export_quantized(
                   m, &(lt_quant_policy){.size = sizeof policy, .weights = policy.weights, .targets = "*attn*"},
                   LT_QUANT_GPTQ, directory, NULL, &e),
               LT_EUNSUPPORTED, "no weight of the model can be packed");
    lt_model_free(m);
    ts_close_place(&p);
}

static void refusals(void)
{
    static const struct {
        lt_quant_format format;
        const char *word, *why;
        lt_activations activations;
        lt_scale_rule scale;
    } rows[] = {
        {LT_QUANT_GPTQ, "q4_0", "gptq has no place for weights on the grid q4_0; it holds int4", 0, 0},
        {LT_QUANT_GPTQ, "q4_k_m", "on the grid q4_k_m", 0, 0},
        {LT_QUANT_AWQ, "int8:g128", "awq has no place", 0, 0},
        {LT_QUANT_BNB, "int4:g64", "it holds nf4", 0, 0},
        {LT_QUANT_COMPRESSED, "int8", "is run with activations 'int8_token'", 0, 0},
        {LT_QUANT_COMPRESSED, "int8:asym", "it holds w8a8", LT_ACT_INT8_TOKEN, 0},
        {LT_QUANT_BNB, "nf4", "is run with activations 'none'", LT_ACT_INT8_TOKEN, 0},
        {LT_QUANT_GPTQ, "int4:g32", "no place for learned offsets", 0, LT_SCALE_LSQ_PLUS},
    };
    lt_ctx *ctx = lt_ctx_create(NULL);
    for (int i = 0; i < LTI_COUNT(rows); i++) {
        lt_quant_policy policy;
        lt_quant_policy_init(&policy);
        TS_OK(ctx, lt_quant_policy_parse(ctx, rows[i].word, &policy));
        policy.activations = rows[i].activations;
        policy.scale = rows[i].scale;
        TS_REFUSED(ctx, lt_quant_format_policy(ctx, rows[i].format, &policy), LT_EINVAL, rows[i].why);
    }
    lt_quant_format format;
    TS_CHECK(!lt_quant_format_parse("ggml", &format), "no such format");
    lt_ctx_free(ctx);
}

/* Scales in f32 are not rounded behind the back of a training. */
static void refused_models(void)
{
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, SHAPE, 3), *gpt2, *mlp = NULL;
    lt_quant_policy policy;
    lt_exported e;
    char directory[256];
    snprintf(directory, sizeof directory, "%s", ts_at(&p, "model"));
    lt_quant_policy_init(&policy);
    TS_OK(p.ctx, lt_quant_policy_parse(p.ctx, "int4:g32", &policy));
    TS_REFUSED(p.ctx, lt_export_quantized(m, &policy, LT_QUANT_GPTQ, directory, NULL, &e), LT_EINVAL, "int4:g128,half");
    policy.weights.half_scales = true;
    lt_export_options o;
    lt_export_options_init(&o);
    o.other = &policy;
    TS_REFUSED(p.ctx, lt_export_quantized(m, &policy, LT_QUANT_GPTQ, directory, &o, &e), LT_EINVAL, "another grid");
    gpt2 = toy_model(p.ctx, "gpt2:layers=1,dim=64,hidden=128,heads=4,context=64", 3);
    TS_REFUSED(p.ctx, lt_export_quantized(gpt2, &policy, LT_QUANT_GPTQ, directory, NULL, &e), LT_EUNSUPPORTED,
               "lies otherwise in Hugging Face's files");
    lt_param *w = lt_params_find(lt_model_params(m), "blk.0.attn_q.weight");
    ((lt_real *)lt_param_data(w))[5] = (lt_real)1e9;
    TS_REFUSED(p.ctx, lt_export_quantized(m, &policy, LT_QUANT_GPTQ, directory, NULL, &e), LT_EUNSUPPORTED,
               "'blk.0.attn_q.weight': group 0");
    ((lt_real *)lt_param_data(w))[5] = NAN;
    TS_REFUSED(p.ctx, lt_export_quantized(m, &policy, LT_QUANT_GPTQ, directory, NULL, &e), LT_ENONFINITE,
               "blk.0.attn_q.weight");
    TS_CHECK(!toy_exists(ts_at(&p, "model/model.safetensors")), "nothing is written");
    lt_model_free(mlp);
    lt_model_free(gpt2);
    lt_model_free(m);
    ts_close_place(&p);
}

/* ---- What other programs wrote ---- */

static const struct {
    const char *file;
    lti_packed packed;
} foreign[] = {
    {"bnb_nf4.safetensors", {.packing = LTI_PACKED_BNB}},
    {"bnb_nf4_double.safetensors", {.packing = LTI_PACKED_BNB}},
    {"bnb_fp4_128.safetensors", {.packing = LTI_PACKED_BNB}},
    {"compressed.safetensors", {.packing = LTI_PACKED_COMPRESSED}},
    {"gptq.safetensors", {.packing = LTI_PACKED_GPTQ, .bits = 4, .group = 32, .zeros_less_one = true}},
    {"gptq_v2_act_order.safetensors", {.packing = LTI_PACKED_GPTQ, .bits = 4, .group = 32}},
    {"awq.safetensors", {.packing = LTI_PACKED_AWQ, .bits = 4, .group = 32}},
    {"bitlinear.safetensors", {.packing = LTI_PACKED_TERNARY, .scale_divides = true}},
    {"autobitlinear.safetensors", {.packing = LTI_PACKED_TERNARY}},
};

static void foreign_files(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    for (int i = 0; i < LTI_COUNT(foreign); i++) {
        char path[128];
        lti_weights w = {.ctx = ctx};
        lti_weight expected;
        snprintf(path, sizeof path, "tests/golden/quantized/%s", foreign[i].file);
        if (!TS_OK(ctx, lt_tensors_open(ctx, path, &w.tensors))) continue;
        TS_CHECK(lti_packed_has(&foreign[i].packed, &w, "w.weight"), "%s: it is packed", path);
        if (TS_CHECK(lti_weights_find(&w, "expected", &expected) && expected.rank == 2, "%s: expected numbers", path)) {
            lti_tensor t = {.name = "w.weight", .rank = 2, .shape = {expected.shape[0], expected.shape[1]}};
            lt_real *meant = calloc((size_t)expected.elements, sizeof *meant),
                    *is = malloc((size_t)expected.elements * sizeof *is);
            int64_t wrong = 0;
            TS_OK(ctx, lti_weights_real(&w, &expected, meant));
            TS_OK(ctx, lti_packed_read(&foreign[i].packed, &w, &t, "w.weight", is));
            for (int64_t k = 0; k < expected.elements; k++) wrong += (float)is[k] != (float)meant[k];
            TS_CHECK(wrong == 0, "%s: %lld of %lld numbers differ", path, (long long)wrong,
                     (long long)expected.elements);
            free(meant);
            free(is);
        }
        lti_weights_close(&w);
    }
    lt_ctx_free(ctx);
}

/* ---- Damage ---- */

static void damaged(void)
{
    static const struct {
        lt_quant_format format;
        const char *word;
        toy_edit edit;
        const char *why;
    } rows[] = {
        {LT_QUANT_GPTQ, "int4:g32", {.drop = "model.layers.0.mlp.up_proj.qzeros"}, "up_proj.qzeros' is missing"},
        {LT_QUANT_GPTQ, "int4:g32", {.reshape = "model.layers.0.mlp.up_proj.scales"}, "up_proj.scales' is "},
        {LT_QUANT_GPTQ, "int4:g32", {.add = "model.layers.0.mlp.up_proj.extra"}, "extra' has no place"},
        {LT_QUANT_AWQ, "int4:g32", {.reshape = "model.layers.1.mlp.up_proj.qweight"}, "up_proj.qweight' is "},
        {LT_QUANT_BNB, "nf4:dq", {.drop = "model.layers.0.mlp.up_proj.weight.nested_quant_map"}, "is missing"},
        {LT_QUANT_BNB,
         "nf4:dq",
         {.drop = "model.layers.0.mlp.up_proj.weight.quant_state.bitsandbytes__nf4"},
         "quant_state of"},
        {LT_QUANT_BNB, "nf4", {.reshape = "model.layers.0.mlp.up_proj.weight.absmax"}, NULL},
        {LT_QUANT_COMPRESSED, "w8a8", {.drop = "model.layers.0.mlp.up_proj.weight"}, "up_proj.weight' is missing"},
    };
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, SHAPE, 3), *read;
    char directory[256], file[300], copy[300];
    snprintf(directory, sizeof directory, "%s", ts_at(&p, "model"));
    snprintf(file, sizeof file, "%s/model.safetensors", directory);
    snprintf(copy, sizeof copy, "%s", ts_at(&p, "copy.safetensors"));
    for (int i = 0; i < LTI_COUNT(rows); i++) {
        lt_quant_policy policy;
        lt_exported e = {0};
        lt_quant_policy_init(&policy);
        TS_OK(p.ctx, lt_quant_policy_parse(p.ctx, rows[i].word, &policy));
        TS_OK(p.ctx, lt_quant_format_policy(p.ctx, rows[i].format, &policy));
        if (!TS_OK(p.ctx, lt_export_quantized(m, &policy, rows[i].format, directory, NULL, &e))) continue;
        lt_string_free(p.ctx, e.report);
        toy_rewrite(p.ctx, file, copy, &rows[i].edit);
        TS_CHECK(rename(copy, file) == 0, "rename");
        read = NULL;
        lt_status status = lt_model_open(p.ctx, directory, &read);
        if (rows[i].why)
            TS_CHECK(status == LT_EFORMAT && strstr(lt_ctx_message(p.ctx), rows[i].why), "%s: %d %s", rows[i].why,
                     (int)status, lt_ctx_message(p.ctx));
        lt_model_free(read);
    }
    lt_model_free(m);
    ts_close_place(&p);
}

static void other_configs(void)
{
    static const struct {
        const char *json, *why;
    } rows[] = {
        {"{\"bits\": 4}", "'quant_method' is missing, which lathe does not implement"},
        {"{\"quant_method\": \"hqq\"}", "'quant_method' is \"hqq\""},
        {"{\"quant_method\": \"gptq\", \"bits\": 3}", "'bits' is 3"},
        {"{\"quant_method\": \"gptq\", \"checkpoint_format\": \"marlin\"}", "'checkpoint_format' is \"marlin\""},
        {"{\"quant_method\": \"gptq\", \"group_size\": 0}", "'group_size' is 0"},
        {"{\"quant_method\": \"awq\", \"version\": \"gemv\"}", "'version' is \"gemv\""},
        {"{\"quant_method\": \"bitsandbytes\", \"load_in_8bit\": true}", "'load_in_4bit' is missing"},
        {"{\"quant_method\": \"compressed-tensors\", \"format\": \"pack-quantized\"}", "'format' is"},
        {"7", "'quant_method' is missing"},
    };
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, SHAPE, 3), *read;
    char directory[256], config[300];
    snprintf(directory, sizeof directory, "%s", ts_at(&p, "model"));
    snprintf(config, sizeof config, "%s/config.json", directory);
    TS_OK(p.ctx, lt_model_save(m, directory, "F32"));
    for (int i = 0; i < LTI_COUNT(rows); i++) {
        toy_set_json(config, "quantization_config", rows[i].json);
        TS_REFUSED(p.ctx, lt_model_open(p.ctx, directory, &read), LT_EUNSUPPORTED, rows[i].why);
    }
    toy_set_json(config, "quantization_config", "null");
    if (TS_OK(p.ctx, lt_model_open(p.ctx, directory, &read))) lt_model_free(read);
    lt_model_free(m);
    ts_close_place(&p);
}

/* ---- Memory ---- */

typedef struct attempt_arg {
    lt_quant_format format;
    const char *word, *directory;
} attempt_arg;

static lt_status attempt(lt_ctx *ctx, void *arg, bool *survived)
{
    const attempt_arg *a = arg;
    lt_model *m = NULL, *read = NULL;
    lt_quant_policy policy;
    lt_exported e = {0};
    (void)survived;
    lt_quant_policy_init(&policy);
    lt_status status =
        lt_model_create(ctx, "llama:layers=1,dim=64,hidden=64,heads=4,kv_heads=2,context=64", NULL, 1, &m);
    if (status == LT_OK) status = lt_quant_policy_parse(ctx, a->word, &policy);
    if (status == LT_OK) status = lt_quant_format_policy(ctx, a->format, &policy);
    if (status == LT_OK) status = lt_export_quantized(m, &policy, a->format, a->directory, NULL, &e);
    if (status == LT_OK) status = lt_model_open(ctx, a->directory, &read);
    if (e.report) lt_string_free(ctx, e.report);
    lt_model_free(read);
    lt_model_free(m);
    return status;
}

static void allocations_fail(void)
{
    static const char *const words[] = {"int4:g32,asym", "int4:g32", "nf4:dq", "w8a8"};
    ts_place p = ts_open_place();
    char directory[256];
    snprintf(directory, sizeof directory, "%s", ts_at(&p, "model"));
    for (int i = 0; i < 4; i++) {
        attempt_arg arg = {(lt_quant_format)i, words[i], directory};
        toy_allocations_fail(words[i], 60, attempt, &arg);
    }
    ts_close_place(&p);
}

int lti_suite_quantized_formats(void)
{
    return ts_suite("quantized_formats", 10,
                    (ts_test[]){{"round trips", round_trips},
                                {"codes that are given", given_codes},
                                {"scales in f16", half_scales},
                                {"shapes and grids left alone", left_alone},
                                {"refused policies", refusals},
                                {"refused models", refused_models},
                                {"what other programs wrote", foreign_files},
                                {"damaged files", damaged},
                                {"other configs", other_configs},
                                {"allocations fail", allocations_fail}});
}
