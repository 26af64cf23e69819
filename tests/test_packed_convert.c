/* test_packed_convert.c - directories that other programs quantized, converted: GGUF and plain directories hold the very
 * numbers, in q4_0 or q8_0 where these have the same codes and scales; damaged parts are refused before anything is
 * written. */
#include "lathe/convert.h"
#include "lathe/train.h"
#include "models/convert_parts.h"
#include "tests/toys.h"

#include <unistd.h>

#define SHAPE "llama:layers=2,dim=64,hidden=128,heads=2,kv_heads=1,context=32"

static const struct {
    lt_quant_format format;
    const char *word, *kept; /* kept: the type that the report tells of; NULL: none, all is f32 */
} cases[] = {
    {LT_QUANT_GPTQ, "int4:g32", "q4_0"}, {LT_QUANT_GPTQ, "int4:g64", "q4_0"},
    {LT_QUANT_GPTQ, "int8:g32", "q8_0"}, {LT_QUANT_GPTQ, "int4:g32,asym", "q8_0"},
    {LT_QUANT_AWQ, "int4:g32", "q4_0"},  {LT_QUANT_AWQ, "int4:g64,asym", "q8_0"},
    {LT_QUANT_BNB, "nf4", NULL},         {LT_QUANT_BNB, "nf4:dq", NULL},
    {LT_QUANT_COMPRESSED, "w8a8", NULL},
};

/* The toy as the format has it, in p's "packed". */
static bool make_packed(ts_place *p, int i)
{
    lt_model *m = toy_model(p->ctx, SHAPE, 3);
    lt_quant_policy policy;
    lt_exported e = {0};
    char directory[512];
    snprintf(directory, sizeof directory, "%s", ts_at(p, "packed"));
    lt_quant_policy_init(&policy);
    bool ok = m && TS_OK(p->ctx, lt_quant_policy_parse(p->ctx, cases[i].word, &policy)) &&
              TS_OK(p->ctx, lt_quant_format_policy(p->ctx, cases[i].format, &policy));
    policy.embedding = lt_scheme_of(LT_F16); /* as such directories have it */
    ok = ok && TS_OK(p->ctx, lt_export_quantized(m, &policy, cases[i].format, directory, NULL, &e));
    if (ok) lt_string_free(p->ctx, e.report);
    lt_model_free(m);
    return ok;
}

/* Files keep floats: in the double build numbers are rounded on the way. */
static void same_numbers(const lt_model *a, const lt_model *b, const char *what)
{
    if (sizeof(lt_real) == sizeof(float)) toy_same_weights(a, b, what);
    for (int i = 0; i < lt_params_count(lt_model_params(a)); i++) {
        const lt_param *x = lt_params_at(lt_model_params(a), i),
                       *y = lt_params_find(lt_model_params(b), lt_param_name(x));
        double off = y ? ts_distance_real(lt_param_count(x), lt_param_read(y), lt_param_read(x)) : 1;
        TS_CHECK(off < 1e-6, "%s: '%s' is %g off", what, lt_param_name(x), off);
    }
}

static void same_model(ts_place *p, const char *a, const char *b, const char *what)
{
    lt_model *x = NULL, *y = NULL;
    if (TS_OK(p->ctx, lt_model_open(p->ctx, a, &x)) && TS_OK(p->ctx, lt_model_open(p->ctx, b, &y)))
        same_numbers(x, y, what);
    lt_model_free(x);
    lt_model_free(y);
}

/* Who loads the directory in the config's type must get the numbers unrounded. */
static void says_floats(const char *directory, const char *what)
{
    char path[600];
    snprintf(path, sizeof path, "%s/config.json", directory);
    json_t *json = json_load_file(path, 0, NULL);
    const char *type = json_string_value(json_object_get(json, "dtype"));
    if (!type) type = json_string_value(json_object_get(json, "torch_dtype"));
    TS_CHECK(type && !strcmp(type, "float32"), "%s: the config says %s", what, type ? type : "nothing");
    json_decref(json);
}

static void conversions(void)
{
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        ts_place p = ts_open_place();
        char packed[512], gguf[512], plain[512], line[32];
        char *report = NULL;
        snprintf(packed, sizeof packed, "%s", ts_at(&p, "packed"));
        snprintf(gguf, sizeof gguf, "%s", ts_at(&p, "model.gguf"));
        snprintf(plain, sizeof plain, "%s", ts_at(&p, "plain"));
        snprintf(line, sizeof line, "%s: 14 tensors", cases[i].kept ? cases[i].kept : "unpacked");
        if (make_packed(&p, i) && TS_OK(p.ctx, lt_convert(p.ctx, packed, gguf, NULL, &report))) {
            bool told = cases[i].kept ? strstr(report, line) && strstr(report, "kept: 14 quantized")
                                      : strstr(report, "unpacked: 14 quantized") != NULL;
            TS_CHECK(told, "%s: %s", cases[i].word, report);
            same_model(&p, packed, gguf, cases[i].word);
            lt_string_free(p.ctx, report);
        }
        if (TS_OK(p.ctx, lt_convert(p.ctx, packed, plain, NULL, &report))) {
            TS_CHECK(strstr(report, "unpacked: 14 quantized") != NULL, "%s: %s", cases[i].word, report);
            same_model(&p, packed, plain, cases[i].word);
            says_floats(plain, cases[i].word);
            lt_string_free(p.ctx, report);
        }
        ts_close_place(&p);
    }
}

/* A type that was asked for is given: blocks as they are where it is theirs. */
static void typed(void)
{
    ts_place p = ts_open_place();
    lt_convert_options o;
    char packed[512], *report = NULL;
    snprintf(packed, sizeof packed, "%s", ts_at(&p, "packed"));
    lt_convert_options_init(&o);
    o.type = "q4_0";
    if (make_packed(&p, 0) && TS_OK(p.ctx, lt_convert(p.ctx, packed, ts_at(&p, "a.gguf"), &o, &report))) {
        TS_CHECK(strstr(report, "kept: 14 quantized") != NULL, "%s", report);
        lt_string_free(p.ctx, report);
    }
    o.type = "q8_0";
    if (TS_OK(p.ctx, lt_convert(p.ctx, packed, ts_at(&p, "c.gguf"), &o, &report))) {
        TS_CHECK(strstr(report, "kept: 14 quantized") && strstr(report, "q8_0"), "%s", report);
        lt_string_free(p.ctx, report);
    }
    o.type = "q4_1";
    if (TS_OK(p.ctx, lt_convert(p.ctx, packed, ts_at(&p, "b.gguf"), &o, &report))) {
        TS_CHECK(strstr(report, "unpacked: 14 quantized") && strstr(report, "q4_1"), "%s", report);
        lt_string_free(p.ctx, report);
    }
    ts_close_place(&p);
}

static void damaged(void)
{
    ts_place p = ts_open_place();
    char packed[512], file[600], copy[600];
    snprintf(packed, sizeof packed, "%s", ts_at(&p, "packed"));
    snprintf(file, sizeof file, "%s/model.safetensors", packed);
    snprintf(copy, sizeof copy, "%s", ts_at(&p, "copy.safetensors"));
    if (make_packed(&p, 0)) {
        toy_rewrite(p.ctx, file, copy, &(toy_edit){.drop = "model.layers.0.mlp.up_proj.qzeros"});
        TS_CHECK(rename(copy, file) == 0, "rename");
        TS_REFUSED(p.ctx, lt_convert(p.ctx, packed, ts_at(&p, "x.gguf"), NULL, NULL), LT_EFORMAT, "qzeros' is missing");
        TS_CHECK(access(p.path, F_OK) != 0, "a file is there");
    }
    ts_close_place(&p);
}

/* Codes that the type which was found for them does not hold any more. */
static void changed(void)
{
    ts_place p = ts_open_place();
    lt_model *m = NULL;
    const void *bytes;
    if (make_packed(&p, 3) && TS_OK(p.ctx, lti_model_open_files(p.ctx, ts_at(&p, "packed"), &m))) {
        lti_conversion c = {.ctx = p.ctx, .model = m, .to_gguf = true};
        c.from = lti_side_hf(&m->config), c.to = lti_side_gguf(&m->config);
        TS_OK(p.ctx, lti_conversion_list(&c));
        for (int i = 0; i < c.count; i++) {
            if (!c.list[i].packed) continue;
            TS_OK(p.ctx, lti_move_tensor(&c.list[i], &bytes));
            c.list[i].type = c.list[i].lattice = LT_Q4_0;
            TS_REFUSED(p.ctx, lti_move_tensor(&c.list[i], &bytes), LT_EIO, "changed while it was converted");
            break;
        }
        lti_free(p.ctx, c.list);
        lti_free(p.ctx, c.buffer);
        lti_free(p.ctx, c.second);
    }
    lt_model_free(m);
    ts_close_place(&p);
}

static lt_status convert_once(lt_ctx *ctx, void *arg)
{
    const char *const *paths = arg;
    return lt_convert(ctx, paths[0], paths[1], NULL, NULL);
}

static void allocations_fail(void)
{
    ts_place p = ts_open_place();
    char packed[512], gguf[512];
    snprintf(packed, sizeof packed, "%s", ts_at(&p, "packed"));
    snprintf(gguf, sizeof gguf, "%s", ts_at(&p, "x.gguf"));
    const char *paths[] = {packed, gguf};
    if (make_packed(&p, 0)) {
        int64_t n = ts_every_allocation_fails("converting packed weights", convert_once, paths);
        TS_CHECK(n > 50, "%lld allocations", (long long)n);
    }
    ts_close_place(&p);
}

int lti_suite_packed_convert(void)
{
    const ts_test tests[] = {{"conversions", conversions},
                             {"typed", typed},
                             {"damaged", damaged},
                             {"changed", changed},
                             {"allocations fail", allocations_fail}};
    return ts_suite("packed_convert", LTI_COUNT(tests), tests);
}
