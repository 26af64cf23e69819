/* test_goldens.c - the engine against PyTorch in float64.
 *
 * scripts/goldens.py wrote tests/golden/ by hand; nothing of Python runs here. Both sides make weights and data with
 * the same generator (golden.c), so the files hold results only: outputs and gradients of single operators, losses,
 * norms and final weights of short trainings. The double build has to agree to 1e-9 and better: there a wrong
 * convention (a bias correction, an epsilon inside or outside a root, a mean over masked rows) cannot hide behind
 * rounding, as it can in float.
 *
 * LT_GOLDEN is the directory of the files (default tests/golden), LT_DATA that of the published models
 * (default ../shared/data; tests that need it say that they are skipped when it is absent).
 */
#include "tests/golden.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* clang-format off */
#define BUILD(name, ...) static lt_t build_##name(const json_t *c, const lt_t *x) { (void)c; return __VA_ARGS__; }
/* clang-format on */
BUILD(gelu, lt_gelu(x[0]))
BUILD(gelu_tanh, lt_gelu_tanh(x[0]))
BUILD(silu, lt_silu(x[0]))
BUILD(softmax, lt_softmax(x[0]))
BUILD(log_softmax, lt_log_softmax(x[0]))
BUILD(swiglu, lt_swiglu(x[0], x[1]))
BUILD(layer_norm, lt_layer_norm(x[0], x[1], x[2], gd_number(c, "eps")))
BUILD(rms_norm, lt_rms_norm(x[0], x[1], gd_number(c, "eps")))
BUILD(kl_div, lt_kl_div(x[0], x[1], gd_number(c, "temperature")))

static lt_t build_rope(const json_t *c, const lt_t *x)
{
    lt_rope_config config;
    lt_rope_config_init(&config);
    config.theta = gd_number(c, "theta");
    config.interleaved = json_is_true(json_object_get(c, "interleaved"));
    double first = gd_number(c, "first");
    return lt_rope(x[0], first > 0 ? lt_scalar(x[0].graph, "first", first) : lt_nil(x[0].graph), &config);
}

static lt_attention_config attention_config(const json_t *c)
{
    lt_attention_config config;
    lt_attention_config_init(&config);
    config.causal = json_is_true(json_object_get(c, "causal"));
    return config;
}

static lt_t build_attention(const json_t *c, const lt_t *x)
{
    lt_attention_config config = attention_config(c);
    return lt_attention(x[0], x[1], x[2], lt_nil(x[0].graph), &config);
}

static lt_t build_attention_composite(const json_t *c, const lt_t *x)
{
    lt_attention_config config = attention_config(c);
    return lt_attention_composite(x[0], x[1], x[2], &config, NULL);
}

/* The index input "target", of as many elements as the case lists; values go in at bind. */
static lt_t target_input(const json_t *c, lt_t z)
{
    int64_t n = (int64_t)json_array_size(json_object_get(c, "target"));
    return lt_index_input(z.graph, "target", 1, &n, -1, 7);
}

static lt_t build_cross_entropy(const json_t *c, const lt_t *x)
{
    lt_graph *g = x[0].graph;
    bool given = json_object_get(c, "norm");
    return lt_cross_entropy(x[0], target_input(c, x[0]),
                            given ? lt_scalar(g, "norm", gd_number(c, "norm")) : lt_nil(g));
}

static lt_t build_head_loss(const json_t *c, const lt_t *x)
{
    const json_t *w = json_object_get(c, "weights");
    lt_head_term terms[2] = {{.kind = lt_head_cross_entropy(),
                              .weight = json_number_value(json_array_get(w, 0)),
                              .input = target_input(c, x[0])},
                             {.kind = lt_head_kl(),
                              .weight = json_number_value(json_array_get(w, 1)),
                              .temperature = gd_number(c, "temperature"),
                              .input = x[2]}};
    return lt_head_loss(x[0], x[1], 2, terms, lt_nil(x[0].graph));
}

typedef struct op_build {
    const char *op, *variant;
    lt_t (*build)(const json_t *c, const lt_t *x);
} op_build;

static const op_build op_builds[] = {
    {"gelu", "", build_gelu},
    {"gelu_tanh", "", build_gelu_tanh},
    {"silu", "", build_silu},
    {"softmax", "", build_softmax},
    {"log_softmax", "", build_log_softmax},
    {"swiglu", "", build_swiglu},
    {"layer_norm", "", build_layer_norm},
    {"rms_norm", "", build_rms_norm},
    {"rope", "", build_rope},
    {"attention", "", build_attention},
    {"attention", " (composite)", build_attention_composite},
    {"cross_entropy", "", build_cross_entropy},
    {"kl_div", "", build_kl_div},
    {"head_loss", "", build_head_loss},
};

enum { MAX_INPUTS = 4, MAX_VALUES = 512 };

typedef struct op_data {
    lt_real x[MAX_INPUTS + 1][MAX_VALUES]; /* the last used is the cotangent */
    int32_t target[MAX_VALUES];
} op_data;

static lt_status bind_op(lt_plan *plan, const json_t *c, op_data *data, int n)
{
    static const char *const names[] = {"x0", "x1", "x2", "x3"};
    lt_status status = LT_OK;
    for (int i = 0; i < n && status == LT_OK; i++)
        if (lt_plan_has(plan, names[i])) status = lt_bind(plan, names[i], data->x[i]);
    const json_t *target = json_object_get(c, "target");
    for (size_t i = 0; i < json_array_size(target); i++)
        data->target[i] = (int32_t)json_integer_value(json_array_get(target, i));
    if (target && status == LT_OK) status = lt_bind(plan, "target", data->target);
    return status == LT_OK && lt_plan_has(plan, "dy") ? lt_bind(plan, "dy", data->x[n]) : status;
}

/* Compiles y and the gradients that exist (a teacher has none), runs, compares. */
static void judge_op(lt_ctx *ctx, lt_graph *g, const json_t *c, const char *what, lt_t y, int n, const lt_t *x, lt_t dy,
                     op_data *data)
{
    double tolerance = ts_tolerance(1e-12, 2e-5);
    const json_t *want = json_object_get(c, "gradients");
    lt_t out[1 + MAX_INPUTS] = {y}, dx[MAX_INPUTS];
    int at[MAX_INPUTS], n_out = 1;
    lt_grad_seeded(y, dy, n, x, dx);
    for (int i = 0; i < n; i++) {
        bool wanted = !json_is_null(json_array_get(want, (size_t)i));
        if (lt_graph_status(g) == LT_OK)
            TS_CHECK(lt_is_nil(dx[i]) == !wanted, "%s: input %d has %s gradient", what, i, wanted ? "no" : "a");
        if (wanted) {
            at[i] = n_out;
            out[n_out++] = dx[i];
        }
    }
    lt_plan *plan = NULL;
    lt_status status = lt_compile(g, NULL, n_out, out, &plan);
    if (status == LT_OK) status = bind_op(plan, c, data, n);
    if (status == LT_OK) status = lt_run(plan);
    TS_CHECK(status == LT_OK, "%s: %s", what, lt_ctx_message(ctx));
    if (status == LT_OK) gd_array(lt_result(plan, 0), json_object_get(c, "y"), tolerance, what);
    for (int i = 0; i < n && status == LT_OK; i++) {
        const json_t *d = json_array_get(want, (size_t)i);
        char label[128];
        snprintf(label, sizeof label, "%s: gradient of input %d", what, i);
        if (!json_is_null(d)) gd_array(lt_result(plan, at[i]), d, tolerance, label);
    }
    lt_plan_free(plan);
}

static void run_op(lt_ctx *ctx, const json_t *c, const op_build *b, op_data *data)
{
    static const char *const names[] = {"x0", "x1", "x2", "x3"};
    const json_t *inputs = json_object_get(c, "inputs"), *cotangent = json_object_get(c, "cotangent");
    int n = (int)json_array_size(inputs);
    lt_graph *g = NULL;
    if (!TS_OK(ctx, lt_graph_create(ctx, NULL, &g))) return;
    lt_t x[MAX_INPUTS];
    int64_t shape[LT_MAX_RANK];
    for (int i = 0; i < n; i++) {
        const json_t *in = json_array_get(inputs, (size_t)i);
        int rank = gd_shape(in, "shape", shape);
        gd_fill(data->x[i], gd_count(rank, shape), (uint32_t)gd_number(in, "stream"), gd_number(in, "scale"), false);
        x[i] = lt_input(g, names[i], LT_F32, rank, shape);
    }
    int rank = gd_shape(c, "shape", shape);
    gd_fill(data->x[n], gd_count(rank, shape), (uint32_t)gd_number(cotangent, "stream"), gd_number(cotangent, "scale"),
            false);
    char what[64];
    snprintf(what, sizeof what, "%s%s", b->op, b->variant);
    judge_op(ctx, g, c, what, b->build(c, x), n, x, lt_input(g, "dy", LT_F32, rank, shape), data);
    lt_graph_free(g);
}

static void test_ops(void)
{
    json_t *root = gd_load("ops.json");
    lt_ctx *ctx = lt_ctx_create(NULL);
    op_data *data = calloc(1, sizeof *data);
    const json_t *c;
    size_t i;
    json_array_foreach(json_object_get(root, "cases"), i, c)
    {
        int built = 0;
        for (size_t k = 0; k < sizeof op_builds / sizeof op_builds[0]; k++) {
            if (strcmp(op_builds[k].op, gd_text(c, "op")) != 0) continue;
            run_op(ctx, c, &op_builds[k], data);
            built++;
        }
        TS_CHECK(built > 0, "%s: the file has it, this test does not", gd_text(c, "op"));
    }
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes stay allocated", lt_ctx_live_bytes(ctx));
    free(data);
    lt_ctx_free(ctx);
    json_decref(root);
}

int lti_suite_goldens(void)
{
    return ts_suite("goldens", 6,
                    (ts_test[]){{"single operators", test_ops},
                                {"first losses and gradients", gd_test_start},
                                {"perceptron", gd_test_mlp},
                                {"llama", gd_test_llama},
                                {"llama on a lattice", gd_test_qat},
                                {"stories260K", gd_test_stories}});
}
