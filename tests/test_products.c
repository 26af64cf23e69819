/* test_products.c - what is counted of products (qat/products.h) against the nodes of recorded graphs, and policies that would
 * do nothing. */
#include "qat/products.h"

#include "autograd/node.h"
#include "qat/policy.h"
#include "tests/toys.h"

#define WIDE_INIT "llama:layers=1,dim=256,hidden=256,heads=4,kv_heads=2,context=64"

static lt_quant_policy policy_of(lt_ctx *ctx, const char *word, lt_activations activations)
{
    lt_quant_policy p;
    lt_quant_policy_init(&p);
    if (*word) TS_OK(ctx, lt_quant_policy_parse(ctx, word, &p));
    p.activations = activations;
    return p;
}

/* ---- Against recorded graphs ---- */

static const char *maker_of(const lt_graph *g, lti_ref ref)
{
    return g->node[ref.node].op->name;
}

/* Whether the node reads numbers that quantized activations stand for, or that lie on a static grid. */
static bool reads_rounded(const lt_graph *g, const lti_node *n)
{
    lti_ref in = lti_root(g->node, n->in[0]);
    if (strcmp(maker_of(g, in), "fake_quant_static") == 0) return true;
    if (strncmp(maker_of(g, in), "dequantize", 10)) return false;
    return strcmp(maker_of(g, g->node[in.node].in[0]), "quantize_activations") == 0;
}

static void count_nodes(const lt_graph *g, int *integer, int *simulated)
{
    *integer = *simulated = 0;
    for (uint32_t i = 0; i < g->count; i++) {
        const lti_node *n = &g->node[i];
        bool whole = strcmp(n->op->name, "matmul_integer") == 0 || strcmp(n->op->name, "matmul_static") == 0;
        *integer += whole;
        *simulated += !whole && strncmp(n->op->name, "matmul", 6) == 0 && reads_rounded(g, n);
    }
}

static void compare(lt_model *m, const lt_quant_policy *p, const char *what)
{
    lt_ctx *ctx = lt_params_ctx(lt_model_params(m));
    lt_graph *g = NULL;
    int integer, simulated;
    if (!TS_OK(ctx, lt_qat_prepare(lt_model_params(m), p))) return;
    if (!TS_OK(ctx, lt_graph_create(ctx, lt_model_params(m), &g))) return;
    lt_training(g, true);
    lt_qat_attach(g, p);
    lt_t tokens = lt_index_input(g, "tokens", 2, (int64_t[]){1, 8}, 0, (int32_t)lt_model_vocab(m));
    lt_model_logits(m, g, &(lt_model_input){.tokens = tokens});
    TS_OK(ctx, lt_graph_status(g));
    count_nodes(g, &integer, &simulated);
    lti_products n = lti_products_of(lt_model_params(m), p);
    TS_CHECK(n.integer == integer && n.simulated == simulated, "%s: %d and %d counted, %d and %d recorded", what,
             n.integer, n.simulated, integer, simulated);
    lt_graph_free(g);
}

static void as_recorded(void)
{
    static const char *const models[] = {TOY_INIT, WIDE_INIT, "gpt2:layers=1,dim=64,heads=2,context=32",
                                         "lstm:dim=32,hidden=32,layers=2"};
    const struct {
        const char *word, *embedding;
        lt_activations activations;
        lt_scale_rule scale;
        lt_round_gradient gradient;
        double damping;
    } cases[] = {{.word = "q4_0", .activations = LT_ACT_RUNTIME},
                 {.word = "q8_0", .embedding = "q8_0", .activations = LT_ACT_RUNTIME, .gradient = LT_ROUND_CLIP_X},
                 {.word = "q4_k", .embedding = "q6_k", .activations = LT_ACT_RUNTIME, .damping = 0.1},
                 {.word = "q4_k_m", .activations = LT_ACT_INT8_TOKEN},
                 {.word = "nf4", .activations = LT_ACT_INT8_TOKEN},
                 {.word = "int8:channel", .embedding = "int8:channel", .activations = LT_ACT_INT8_TOKEN},
                 {.word = "int8:channel", .activations = LT_ACT_INT8_TOKEN, .damping = 0.1},
                 {.word = "int8:channel", .activations = LT_ACT_INT8_TOKEN, .scale = LT_SCALE_LSQ},
                 {.word = "int8:channel", .activations = LT_ACT_INT8_TOKEN, .gradient = LT_ROUND_CLIP_CODE},
                 {.word = "int8:channel,asym", .activations = LT_ACT_INT8_TOKEN},
                 {.word = "int4:g32", .embedding = "q8_0", .activations = LT_ACT_INT8_TOKEN},
                 {.word = "ternary", .activations = LT_ACT_RUNTIME},
                 {.word = "ternary:half", .activations = LT_ACT_RUNTIME},
                 {.word = "ternary:half", .activations = LT_ACT_INT8_TOKEN, .gradient = LT_ROUND_PROX},
                 {.word = "fp8", .activations = LT_ACT_INT8_TOKEN},
                 {.word = "bf16", .activations = LT_ACT_INT8_TOKEN},
                 {.word = "int8:channel", .activations = LT_ACT_INT8_STATIC, .damping = 0.1},
                 {.word = "int4:channel", .activations = LT_ACT_INT8_STATIC, .scale = LT_SCALE_LSQ},
                 {.word = "int8:channel", .activations = LT_ACT_INT8_STATIC, .scale = LT_SCALE_RANGE},
                 {.word = "int8:channel", .activations = LT_ACT_INT8_STATIC, .gradient = LT_ROUND_PROX},
                 {.word = "int8:channel,asym", .activations = LT_ACT_INT8_STATIC},
                 {.word = "int4:g32", .activations = LT_ACT_INT8_STATIC},
                 {.word = "", .activations = LT_ACT_INT8_TOKEN}};
    lt_ctx *ctx = lt_ctx_create(NULL);
    for (int k = 0; k < LTI_COUNT(models); k++)
        for (int i = 0; i < LTI_COUNT(cases); i++) {
            char what[128];
            lt_quant_policy p = policy_of(ctx, cases[i].word, cases[i].activations);
            if (cases[i].embedding) TS_OK(ctx, lt_scheme_parse(ctx, cases[i].embedding, &p.embedding));
            p.scale = cases[i].scale, p.gradient = cases[i].gradient, p.damping = cases[i].damping;
            snprintf(what, sizeof what, "%.24s, case %d: %s", models[k], i, cases[i].word);
            lt_model *m = toy_model(ctx, models[k], 3); /* anew: what a policy has prepared stays */
            if (m) compare(m, &p, what);
            lt_model_free(m);
        }
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

/* ---- What is said ---- */

static void said(void)
{
    static const struct {
        const char *word, *pattern;
        lt_activations activations;
        const char *text;
    } cases[] = {
        {"q4_0", NULL, LT_ACT_NONE, ""},
        {"q4_0", NULL, LT_ACT_RUNTIME, "products: 14 in integers, 0 simulated in f32\n"},
        {"int4:g32", NULL, LT_ACT_INT8_TOKEN, "products: 0 in integers, 14 simulated in f32\n"},
        {"int8:channel", NULL, LT_ACT_INT8_STATIC,
         "products: 14 in integers (where something negative is seen), 0 simulated in f32\n"},
        {"int4:g32", "*.attn_q.weight", LT_ACT_RUNTIME,
         "products: 2 in integers, 0 simulated in f32\n"
         "activations are rounded at 2 of 14 linear layers; no runtime type is paired with int4:g32\n"},
        {"", "*.attn_q.weight", LT_ACT_RUNTIME,
         "products: 2 in integers, 0 simulated in f32\n"
         "activations are rounded at 2 of 14 linear layers; 'blk.0.attn_k.weight' is f32\n"},
    };
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_model *m = toy_model(ctx, TOY_INIT, 3);
    for (int i = 0; m && i < LTI_COUNT(cases); i++) {
        lti_text text = {.ctx = ctx};
        lt_quant_policy p = policy_of(ctx, cases[i].word, cases[i].activations);
        const lt_quant_rule rule = {cases[i].pattern, lt_scheme_of(LT_Q8_0)};
        p.rules = &rule, p.n_rules = cases[i].pattern != NULL;
        TS_OK(ctx, lti_quant_check_params(lt_model_params(m), &p));
        lti_products_describe(lt_model_params(m), &p, &text);
        const char *is = text.data ? text.data : "";
        TS_CHECK(strcmp(is, cases[i].text) == 0, "case %d: %s", i, is);
        lti_text_free(&text);
    }
    lt_model_free(m);
    lt_ctx_free(ctx);
}

/* ---- What is refused ---- */

static void refused(void)
{
    const lt_quant_rule lattice = {"*.attn_q.weight", lt_scheme_of(LT_Q8_0)},
                        none = {"*.attn_q.weight", {.kind = LT_SCHEME_INT, .bits = 4}};
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_model *m = toy_model(ctx, TOY_INIT, 3);
    const lt_params *params = lt_model_params(m);
    lt_quant_policy p = policy_of(ctx, "", LT_ACT_RUNTIME);
    TS_REFUSED(ctx, lti_quant_check_params(params, &p), LT_EINVAL, "nothing would be rounded");
    p.rules = &none, p.n_rules = 1;
    TS_REFUSED(ctx, lti_quant_check_params(params, &p), LT_EINVAL, "'blk.0.attn_q.weight' is int4");
    p.rules = &lattice;
    TS_OK(ctx, lti_quant_check_params(params, &p));
    p = policy_of(ctx, "int8:channel", LT_ACT_INT8_STATIC);
    TS_OK(ctx, lti_quant_check_params(params, &p));
    p.rules = &lattice, p.n_rules = 1;
    TS_REFUSED(ctx, lti_quant_check_params(params, &p), LT_EINVAL, "'blk.0.attn_q.weight' would be q8_0");
    p.n_rules = 0, p.embedding = lt_scheme_of(LT_Q8_0);
    TS_REFUSED(ctx, lti_quant_check_params(params, &p), LT_EINVAL, "weight' would be q8_0");
    p = policy_of(ctx, "int8:channel", LT_ACT_INT8_TOKEN);
    p.integer_backward = true;
    TS_OK(ctx, lti_quant_check_params(params, &p));
    p.damping = 0.1;
    TS_REFUSED(ctx, lti_quant_check_params(params, &p), LT_EINVAL, "sums of integers, and none is");
    p = policy_of(ctx, "int4:g32", LT_ACT_INT8_TOKEN);
    p.integer_backward = true;
    TS_REFUSED(ctx, lti_quant_check_params(params, &p), LT_EINVAL, "sums of integers, and none is");
    p.on_grid = true; /* codes are evaluated as they are */
    TS_OK(ctx, lti_quant_check_params(params, &p));
    lt_model_free(m);
    lt_ctx_free(ctx);
}

/* A model that is open as its file has it keeps its types: who asks for another grid is told. */
static void stored_types(void)
{
    ts_place place = ts_open_place();
    lt_model *m = toy_model(place.ctx, TOY_INIT, 3), *frozen = NULL, *open = NULL;
    lt_quant_policy p = policy_of(place.ctx, "q4_0", LT_ACT_NONE);
    TS_OK(place.ctx, lt_model_save(m, place.dir, "BF16"));
    if (TS_OK(place.ctx, lt_model_open_frozen(place.ctx, place.dir, &frozen)))
        TS_REFUSED(place.ctx, lti_quant_check_params(lt_model_params(frozen), &p), LT_EINVAL, "lt_model_open, which");
    if (TS_OK(place.ctx, lt_model_open(place.ctx, place.dir, &open)))
        TS_OK(place.ctx, lti_quant_check_params(lt_model_params(open), &p));
    lt_model_free(open);
    lt_model_free(frozen);
    lt_model_free(m);
    ts_close_place(&place);
}

int lti_suite_products(void)
{
    const ts_test tests[] = {
        {"as recorded", as_recorded}, {"said", said}, {"refused", refused}, {"stored types", stored_types}};
    return ts_suite("products", LTI_COUNT(tests), tests) || toy_one_thread("products");
}
