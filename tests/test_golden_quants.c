/* test_golden_quants.c - goldens of quantized models: another grid, mix, or what activations are rounded to, is another
 * model of the same weights, and what older versions wrote is read. */
#include "evals/golden_outputs.h"
#include "tests/data_files.h"

#include <jansson.h>
#include <string.h>

typedef struct golden_bench {
    ts_place p;
    lt_model *model;
    lt_golden_options o;
} golden_bench;

/* The report's "source", to be freed; NULL when the call fails or there is none. */
static json_t *source_of(golden_bench *b)
{
    char *text = NULL;
    if (!TS_OK(b->p.ctx, lt_golden_run(b->p.ctx, b->model, &b->o, &text))) return NULL;
    json_t *report = json_loads(text, JSON_ALLOW_NUL, NULL), *source = json_incref(json_object_get(report, "source"));
    lt_string_free(b->p.ctx, text);
    json_decref(report);
    return source;
}

enum { QUANTS = 9 };
static const char *const quant_words[QUANTS] = {"none",
                                                "q4_k_m",
                                                "q5_k_m, activations runtime",
                                                "q5_k_m",
                                                "int8",
                                                "int8, embedding int8",
                                                "int8, activations int8_token",
                                                "int8, scales mse",
                                                "int8, of *attn*, *.ffn_down.weight=int4:g16"};

/* NULL: none. */
static const lt_quant_policy *quant_at(lt_ctx *ctx, int i, lt_quant_policy *p)
{
    static lt_quant_rule rule = {.pattern = "*.ffn_down.weight"};
    const char *mix = i == 1 ? "q4_k_m" : i < 4 ? "q5_k_m" : "int8";
    lt_quant_policy_init(p);
    TS_OK(ctx, lt_quant_policy_parse(ctx, mix, p));
    TS_OK(ctx, lt_scheme_parse(ctx, "int4:g16", &rule.scheme));
    if (i == 5) p->embedding = p->weights;
    if (i == 2 || i == 6) p->activations = i == 2 ? LT_ACT_RUNTIME : LT_ACT_INT8_TOKEN;
    if (i == 7) p->scale = LT_SCALE_MSE;
    if (i == 8) p->targets = "*attn*", p->n_rules = 1, p->rules = &rule;
    return i ? p : NULL;
}

static void written_by(golden_bench *b, int i, int j)
{
    lt_quant_policy p;
    b->o.quant = quant_at(b->p.ctx, j, &p);
    json_t *source = source_of(b);
    const char *words = json_string_value(json_object_get(source, "quant"));
    TS_CHECK(words && !strcmp(words, quant_words[i]), "%d: '%s', not '%s'", i, words ? words : "", quant_words[i]);
    TS_CHECK(json_is_true(json_object_get(source, "same_model")) == (i == j), "goldens of '%s', a model by '%s'",
             quant_words[i], quant_words[j]);
    json_decref(source);
}

static void quantized_models(void)
{
    char prompts[300], golden[300];
    lt_quant_policy p;
    golden_bench b = {.p = ts_open_place()};
    lt_golden_options_init(&b.o);
    snprintf(prompts, sizeof prompts, "%s/p.jsonl", b.p.dir);
    snprintf(golden, sizeof golden, "%s/g.jsonl", b.p.dir);
    b.o.prompts = prompts, b.o.max_tokens = 2;
    ts_put_text(&b.p, "p.jsonl", "{\"id\": \"x\", \"prompt\": \"ab\"}\n");
    const char *shape = "llama:layers=1,dim=32,hidden=32,heads=2,kv_heads=1,context=48";
    bool made = TS_OK(b.p.ctx, lt_model_create(b.p.ctx, shape, NULL, 3, &b.model));
    for (int i = 0; i < QUANTS && made; i++) {
        b.o.golden = NULL, b.o.write = golden, b.o.quant = quant_at(b.p.ctx, i, &p);
        json_decref(source_of(&b));
        b.o.golden = golden, b.o.write = NULL;
        for (int j = 0; j < QUANTS; j++) written_by(&b, i, j);
    }
    /* what was written for any mix: read, and of no model that is known */
    ts_put_text(&b.p, "g.jsonl", "{\"lathe_golden\": 1, \"quant\": \"f32\"}\n{\"id\": \"x\", \"output\": \"\"}\n");
    b.o.quant = quant_at(b.p.ctx, 1, &p);
    json_t *source = made ? source_of(&b) : NULL;
    TS_CHECK(json_is_false(json_object_get(source, "same_model")), "a mix of an older version");
    json_decref(source);
    lt_model_free(b.model);
    ts_close_place(&b.p);
}

int lti_suite_golden_quants(void)
{
    const ts_test tests[] = {{"quantized models", quantized_models}};
    return ts_suite("golden_quants", LTI_COUNT(tests), tests);
}
