/* test_integer_ops.c - integer products in graphs: every pair of activations and weight against the same product
 * recorded with decoded factors in f32; heads; checkpointed segments, bf16, int8 gradients; what is kept for the
 * backward and its forecast; policies whose training, evaluation and files agree. The kernels are in test_integer.c, the
 * ops one by one in the sweep (rows_integer.c). */
#include "autograd/node.h"
#include "autograd/ops/head_kind.h"
#include "kernels/integer.h"
#include "kernels/lattice/lattice.h"
#include "lathe/models.h"
#include "lathe/qat.h"
#include "tests/lattice_blocks.h"
#include "tests/toys.h"

#include <math.h>
#include <string.h>

#define SHAPE(...)                                                                                                     \
    sizeof((int64_t[]){__VA_ARGS__}) / 8, (int64_t[])                                                                  \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

enum { M = 37, N = 45, K = 512 };

/* ---- One pair ---- */

/* A weight [N, K] of the type: encoded from numbers, or random blocks where there is no encoder. */
static lt_t weight_of(ts_bed *bed, lt_dtype type, lt_t *leaf)
{
    lt_param *w = lt_params_find(bed->params, "w");
    *leaf = lt_param_value(bed->g, w);
    if (type == LT_I8) return lt_quantize_rows(*leaf);
    return lti_can_quantize(type) ? lt_quantize(*leaf, type) : *leaf;
}

static bool make_pair(ts_bed *bed, lt_dtype type)
{
    if (!ts_bed_make(bed)) return false;
    ts_weight(bed, "x", 1, SHAPE(M, K));
    ts_weight(bed, "dy", 1, SHAPE(M, N));
    if (type == LT_I8 || lti_can_quantize(type)) return ts_weight(bed, "w", 1, SHAPE(N, K)) != NULL;
    lt_param *w = NULL;
    if (!TS_OK(bed->ctx, lt_params_add(bed->params, "w", type, SHAPE(N, K), LT_WEIGHT, &w))) return false;
    int lattice = 0;
    while (lattice < TS_LATTICES && ts_lattices[lattice].type != type) lattice++;
    if (!TS_CHECK(lattice < TS_LATTICES, "%s has no test blocks", lt_dtype_name(type))) return false;
    ts_make_moderate_blocks(lattice, N * K / lt_dtype_block(type), lt_param_data(w));
    lt_param_touch(w);
    return true;
}

/* y, dx and, where the weight has one, dw; `composite`: of decoded factors. Returns how many numbers. */
static int64_t run_pair(ts_bed *bed, lt_dtype act, lt_dtype type, bool composite, lt_real *out)
{
    if (!ts_bed_again(bed)) return 0;
    lt_t in[2], grads[2], all[3];
    in[0] = lt_param_value(bed->g, lt_params_find(bed->params, "x"));
    lt_t dy = lt_param_value(bed->g, lt_params_find(bed->params, "dy"));
    lt_t a = lt_quantize_activations(in[0], act), b = weight_of(bed, type, &in[1]);
    bool trained = b.node != in[1].node;
    if (composite) a = lt_dequantize(a), b = lt_dequantize(b);
    all[0] = lt_matmul(a, b, LT_TRANSPOSE_B);
    lt_grad_seeded(all[0], dy, 1 + (int)trained, in, grads);
    all[1] = grads[0], all[2] = grads[1];
    if (!lt_is_nil(all[0]))
        TS_CHECK(!strcmp(lti_node_of(all[0])->op->name, composite ? "matmul" : "matmul_integer"), "%s x %s: a %s",
                 lt_dtype_name(act), lt_dtype_name(type), lti_node_of(all[0])->op->name);
    lt_plan *plan = NULL;
    const int64_t counts[3] = {M * N, M * K, N * K};
    int64_t total = 0;
    if (TS_OK(bed->ctx, ts_compile(bed->g, TS_PLANNED, 2 + (int)trained, all, &plan)) && TS_OK(bed->ctx, lt_run(plan)))
        for (int i = 0; i < 2 + (int)trained; i++) {
            memcpy(out + total, lt_result(plan, i), (size_t)counts[i] * sizeof *out);
            total += counts[i];
        }
    lt_plan_free(plan);
    return total;
}

/* What the pair may be off: float summation, and in Q8_1 the sum that minima are multiplied with, which is an f16. */
static double tolerance(lt_dtype act)
{
    return act == LT_Q8_1 ? 2e-3 : ts_tolerance(1e-6, 2e-5);
}

static void check_pair(lt_dtype act, lt_dtype type)
{
    static lt_real got[M * N + M * K + N * K], want[M * N + M * K + N * K];
    ts_bed bed;
    if (!make_pair(&bed, type)) return;
    int64_t n = run_pair(&bed, act, type, false, got), k = run_pair(&bed, act, type, true, want);
    TS_CHECK(n >= M * N + M * K && n == k, "%s x %s: it runs", lt_dtype_name(act), lt_dtype_name(type));
    const int64_t at[4] = {0, M * N, M * N + M * K, n};
    for (int i = 0; i < 3 && at[i] < n; i++) {
        double d = ts_distance_real(at[i + 1] - at[i], got + at[i], want + at[i]);
        TS_CHECK(d < tolerance(act), "%s x %s: %s is off by %g", lt_dtype_name(act), lt_dtype_name(type),
                 i == 0   ? "y"
                 : i == 1 ? "dx"
                          : "dw",
                 d);
    }
    ts_bed_drop(&bed);
}

static void every_pair(void)
{
    int pairs = 0;
    for (lt_dtype type = 0; type < LT_DTYPE_COUNT; type++) {
        lt_dtype own = lt_activation_type(type);
        if (!lt_dtype_is_lattice(type) || own == LT_F32) continue;
        TS_CHECK(lti_igemm_takes(own, type) && lti_igemm_takes(LT_I8, type), "%s is taken", lt_dtype_name(type));
        check_pair(own, type);
        check_pair(LT_I8, type);
        pairs++;
    }
    TS_CHECK(pairs >= 10, "%d lattices are multiplied in integers", pairs);
    check_pair(LT_I8, LT_I8);
}

/* ---- Heads ---- */

enum { V = 70, C = 256, ROWS = 90 };

/* loss, dx, dw */
static bool run_head(ts_bed *bed, lt_dtype act, lt_dtype type, bool composite, bool bf16, lt_real *out)
{
    static int32_t target[ROWS];
    for (int i = 0; i < ROWS; i++) target[i] = i % 4 ? i * 7 % V : -1;
    if (!ts_bed_again(bed)) return false;
    if (bf16) lt_compute(bed->g, LT_BF16);
    lt_t in[2], all[3], w;
    in[0] = lt_param_value(bed->g, lt_params_find(bed->params, "x"));
    in[1] = lt_param_value(bed->g, lt_params_find(bed->params, "w"));
    lt_t x = lt_quantize_activations(in[0], act);
    w = type == LT_I8 ? lt_quantize_rows(in[1]) : lt_quantize(in[1], type);
    if (composite) x = lt_dequantize(x), w = lt_dequantize(w);
    lt_head_term term = {.kind = lt_head_cross_entropy(), .weight = 1};
    term.input = lt_index_input(bed->g, "target", SHAPE(ROWS), -1, V);
    all[0] = lt_head_loss(x, w, 1, &term, lt_nil(bed->g));
    lt_grad(all[0], 2, in, all + 1);
    lt_plan *plan = NULL;
    bool ok = TS_OK(bed->ctx, ts_compile(bed->g, TS_PLANNED, 3, all, &plan)) &&
              TS_OK(bed->ctx, lt_bind(plan, "target", target)) && TS_OK(bed->ctx, lt_run(plan));
    const int64_t counts[] = {1, ROWS * C, V * C};
    for (int i = 0; ok && i < 3; out += counts[i++]) memcpy(out, lt_result(plan, i), (size_t)counts[i] * sizeof *out);
    lt_plan_free(plan);
    return ok;
}

static void heads(void)
{
    static lt_real got[1 + ROWS * C + V * C], want[1 + ROWS * C + V * C];
    const lt_dtype pairs[][2] = {{LT_Q8_0, LT_Q4_0}, {LT_Q8_0, LT_Q8_0}, {LT_Q8_1, LT_Q4_1},
                                 {LT_I8, LT_Q8_0},   {LT_I8, LT_I8},     {LT_Q8_K, LT_Q4_K}};
    const int64_t before = lti_head_chunk_bytes;
    ts_bed bed;
    if (!ts_bed_make(&bed)) return;
    ts_weight(&bed, "x", 1, SHAPE(ROWS, C));
    ts_weight(&bed, "w", 0.1, SHAPE(V, C));
    for (int i = 0; i < 4 * LTI_COUNT(pairs); i++) {
        const lt_dtype *p = pairs[i / 4];
        bool bf16 = i & 1;
        if (lt_dtype_is_lattice(p[1]) && !lti_can_quantize(p[1])) continue;
        lti_head_chunk_bytes = i & 2 ? 1 : before; /* 64 rows, then a rest */
        if (!run_head(&bed, p[0], p[1], false, bf16, got) || !run_head(&bed, p[0], p[1], true, false, want)) break;
        double bound = bf16 ? 2e-2 : tolerance(p[0]);
        double d[] = {fabs((double)(got[0] - want[0])) / (double)want[0], ts_distance_real(ROWS * C, got + 1, want + 1),
                      ts_distance_real(V * C, got + 1 + ROWS * C, want + 1 + ROWS * C)};
        TS_CHECK(d[0] < tolerance(p[0]) && d[1] < bound && d[2] < bound,
                 "%s x %s, bf16 %d: loss, dx, dw are off by %g, %g, %g", lt_dtype_name(p[0]), lt_dtype_name(p[1]), bf16,
                 d[0], d[1], d[2]);
    }
    lti_head_chunk_bytes = before;
    ts_bed_drop(&bed);
}

/* ---- Chains of layers ---- */

enum { LAYERS = 6, WIDE = 256, SHORT = 64, LONG = 512 };

typedef struct chain {
    lt_dtype act, type; /* LT_F32: a chain in f32 */
    bool segments, bf16, integer_backward, long_rows;
} chain;

/* x = gelu(x w^T) + gelu(x v^T), layer after layer; two products read one x. */
static lt_t chain_loss(ts_bed *bed, const chain *c, lt_t *wrt)
{
    static const char *const names[] = {"a0", "b0", "a1", "b1", "a2", "b2", "a3", "b3", "a4", "b4", "a5", "b5"};
    lt_graph *g = bed->g;
    lt_t x = lt_param_value(g, lt_params_find(bed->params, c->long_rows ? "long" : "x"));
    if (c->bf16) lt_compute(g, LT_BF16);
    lt_integer_backward(g, c->integer_backward);
    for (int i = 0; i < LAYERS; i++) {
        lt_t y[2];
        if (c->segments) lt_checkpoint_begin(g);
        x = lt_scale(x, 0.7);
        for (int k = 0; k < 2; k++) {
            lt_t w = wrt[2 * i + k] = lt_param_value(g, lt_params_find(bed->params, names[2 * i + k]));
            lt_t in = c->act == LT_F32 ? x : lt_quantize_activations(x, c->act);
            if (c->type != LT_F32) w = c->type == LT_I8 ? lt_quantize_rows(w) : lt_quantize(w, c->type);
            y[k] = lt_gelu(lt_matmul(in, w, LT_TRANSPOSE_B));
        }
        x = lt_add(y[0], y[1]);
        if (c->segments) lt_checkpoint_end(g);
    }
    return lt_mean_all(lt_square(x));
}

static bool make_chain(ts_bed *bed)
{
    if (!ts_bed_make(bed)) return false;
    ts_weight(bed, "x", 1, SHAPE(SHORT, WIDE));
    ts_weight(bed, "long", 1, SHAPE(LONG, WIDE));
    for (int i = 0; i < 2 * LAYERS; i++) {
        char name[8] = {i % 2 ? 'b' : 'a', (char)('0' + i / 2)};
        ts_weight(bed, name, 0.06, SHAPE(WIDE, WIDE));
    }
    return true;
}

/* The gradients, one after the other. False: it did not run. */
static bool run_chain(ts_bed *bed, const chain *c, lt_real *out)
{
    lt_t wrt[2 * LAYERS], dx[2 * LAYERS];
    if (!ts_bed_again(bed)) return false;
    lt_t loss = chain_loss(bed, c, wrt);
    lt_grad(loss, 2 * LAYERS, wrt, dx);
    lt_plan *plan = NULL;
    bool ok = TS_OK(bed->ctx, ts_compile(bed->g, TS_PLANNED, 2 * LAYERS, dx, &plan)) && TS_OK(bed->ctx, lt_run(plan));
    for (int i = 0; ok && i < 2 * LAYERS; i++)
        memcpy(out + i * WIDE * WIDE, lt_result(plan, i), (size_t)(WIDE * WIDE) * sizeof *out);
    lt_plan_free(plan);
    return ok;
}

/* The most bytes that values of the chain take at one moment. A plan that is only measured says what a real one takes. */
static double live_bytes(ts_bed *bed, const chain *c)
{
    lt_t wrt[2 * LAYERS], dx[2 * LAYERS];
    lt_compile_options options;
    lt_plan *plan[2] = {NULL, NULL};
    double live = NAN;
    if (!ts_bed_again(bed)) return live;
    lt_grad(chain_loss(bed, c, wrt), 2 * LAYERS, wrt, dx);
    lt_compile_options_init(&options);
    bool ok = TS_OK(bed->ctx, lt_compile(bed->g, &options, 2 * LAYERS, dx, &plan[0]));
    options.measure = true;
    if (ok && TS_OK(bed->ctx, lt_compile(bed->g, &options, 2 * LAYERS, dx, &plan[1]))) {
        live = (double)lt_plan_live_bytes(plan[0]);
        TS_CHECK(lt_plan_arena_bytes(plan[0]) == lt_plan_arena_bytes(plan[1]), "the forecast is %zu bytes of %zu",
                 lt_plan_arena_bytes(plan[1]), lt_plan_arena_bytes(plan[0]));
    }
    lt_plan_free(plan[0]);
    lt_plan_free(plan[1]);
    return live;
}

static lt_real grads[2][2 * LAYERS * WIDE * WIDE];
enum { ALL = 2 * LAYERS * WIDE * WIDE };

static void segments_and_threads_change_no_bit(void)
{
    const lt_dtype pairs[][2] = {{LT_Q8_0, LT_Q4_0}, {LT_I8, LT_I8}, {LT_I8, LT_Q8_0}};
    int before = lt_threads();
    ts_bed bed;
    if (!make_chain(&bed)) return;
    for (int i = 0; i < 2 * LTI_COUNT(pairs); i++) {
        chain c = {.act = pairs[i / 2][0], .type = pairs[i / 2][1], .bf16 = i & 1};
        lt_set_threads(1);
        if (!run_chain(&bed, &c, grads[0])) break;
        lt_set_threads(3);
        run_chain(&bed, &c, grads[1]);
        TS_CHECK(ts_same_bytes(sizeof grads[0], grads[0], grads[1]), "pair %d: 1 and 3 threads differ", i);
        c.segments = true;
        run_chain(&bed, &c, grads[1]);
        TS_CHECK(ts_same_bytes(sizeof grads[0], grads[0], grads[1]), "pair %d: segments change gradients", i);
    }
    lt_set_threads(before);
    ts_bed_drop(&bed);
}

/* Of the largest gradient; small ones are sums that cancel. */
static double apart(void)
{
    double top = 0, most = 0;
    for (int64_t i = 0; i < ALL; i++) {
        top = fmax(top, fabs((double)grads[0][i]));
        most = fmax(most, fabs((double)(grads[0][i] - grads[1][i])));
    }
    return most / top;
}

static void backwards_in_fewer_bits(void)
{
    const lt_dtype pairs[][2] = {{LT_Q8_0, LT_Q4_0}, {LT_I8, LT_I8}};
    ts_bed bed;
    if (!make_chain(&bed)) return;
    for (int i = 0; i < LTI_COUNT(pairs); i++) {
        chain c = {.act = pairs[i][0], .type = pairs[i][1]};
        if (!run_chain(&bed, &c, grads[0])) break;
        c.bf16 = true;
        run_chain(&bed, &c, grads[1]);
        double d = apart();
        TS_CHECK(d > 1e-6 && d < 0.02, "pair %d: a backward in bf16 is off by %g", i, d);
        c.bf16 = false, c.integer_backward = true;
        run_chain(&bed, &c, grads[1]);
        d = apart();
        TS_CHECK(d > 1e-6 && d < 0.05, "pair %d: a backward in int8 is off by %g", i, d);
    }
    ts_bed_drop(&bed);
}

static int count_ops(const lt_graph *g, const char *op)
{
    int n = 0;
    for (uint32_t i = 0; i < g->count; i++) n += !strcmp(g->node[i].op->name, op);
    return n;
}

/* Of each layer the backward keeps the input once, in 34/32 bytes an element, and two values for the gelus. */
static void what_is_kept(void)
{
    ts_bed bed;
    lt_t wrt[2 * LAYERS];
    if (!make_chain(&bed)) return;
    chain c = {.act = LT_Q8_0, .type = LT_Q4_0, .long_rows = true}, f = c;
    f.act = LT_F32;
    double saved = live_bytes(&bed, &f) - live_bytes(&bed, &c), element = (double)sizeof(lt_real) - 34.0 / 32;
    double all = (LAYERS - 1) * LONG * WIDE * element; /* at the peak, one layer's may be there in f32 */
    TS_CHECK(saved > 0.99 * all, "%g bytes less are alive; %g were expected", saved, all);
    if (ts_bed_again(&bed)) {
        chain_loss(&bed, &c, wrt);
        TS_CHECK(count_ops(bed.g, "quantize_activations") == LAYERS, "products that read one x share its codes: %d",
                 count_ops(bed.g, "quantize_activations"));
    }
    ts_bed_drop(&bed);
}

/* ---- What is refused ---- */

static void refuse(ts_bed *bed, lt_t y, const char *what)
{
    TS_CHECK(lt_is_nil(y) && lt_graph_status(bed->g) == LT_EINVAL && strstr(lt_graph_message(bed->g), what),
             "wanted '%s', got: %s", what, lt_graph_message(bed->g));
    ts_bed_again(bed);
}

static void refused(void)
{
    ts_bed bed;
    if (!ts_bed_make(&bed)) return;
#define IN(name, type, ...) lt_input(bed.g, name, type, SHAPE(__VA_ARGS__))
    refuse(&bed, lt_quantize_activations(IN("x", LT_F32, 4, 48), LT_Q8_0), "no multiple of the 32 elements");
    refuse(&bed, lt_quantize_activations(IN("x", LT_F32, 4, 64), LT_Q8_K), "no multiple of the 256 elements");
    refuse(&bed, lt_quantize_activations(IN("x", LT_F32, 4, 64), LT_Q4_0), "activations become");
    refuse(&bed, lt_quantize_activations(IN("x", LT_BF16, 4, 64), LT_Q8_0), "f32");
    refuse(&bed, lt_quantize_rows(IN("w", LT_F32, 2, 4, 64)), "[N, K]");
    refuse(&bed, lt_matmul(IN("x", LT_F32, 4, 64), IN("w", LT_I8, 7, 64), LT_TRANSPOSE_B), "scales of int8 codes");
    lt_t codes = lt_quantize_activations(IN("x", LT_F32, 4, 64), LT_I8);
    refuse(&bed, lt_dequantize(lt_reshape(codes, SHAPE(8, 32))), "scales of int8 codes");
    codes = lt_quantize_activations(IN("x", LT_F32, 4, 64), LT_I8);
    refuse(&bed, lt_matmul(codes, IN("w", LT_Q8_0, 7, 96), LT_TRANSPOSE_B), "[4,64] with [7,96] transposed");
#undef IN
    ts_bed_drop(&bed);
}

static lt_status attempt(lt_ctx *ctx, void *arg)
{
    lt_params *params = NULL;
    lt_graph *g = NULL;
    lt_plan *plan = NULL;
    (void)arg;
    lt_status status = lt_params_create(ctx, &params);
    if (status == LT_OK) status = lt_params_add(params, "w", LT_F32, SHAPE(9, 64), LT_WEIGHT, NULL);
    if (status == LT_OK) status = lt_graph_create(ctx, params, &g);
    if (status == LT_OK) {
        lt_t w = lt_param_value(g, lt_params_find(params, "w")), x = lt_input(g, "x", LT_F32, SHAPE(4, 64)), dw;
        lt_integer_backward(g, true);
        lt_checkpoint_begin(g);
        lt_t h = lt_matmul(lt_quantize_activations(x, LT_I8), lt_quantize_rows(w), LT_TRANSPOSE_B);
        lt_checkpoint_end(g);
        h = lt_matmul(h, lt_quantize_rows(w), 0);
        lt_t target = lt_index_input(g, "target", SHAPE(4), 0, 9);
        lt_head_term term = {.kind = lt_head_cross_entropy(), .weight = 1, .input = target};
        lt_t loss = lt_head_loss(lt_quantize_activations(h, LT_Q8_0), lt_quantize(w, LT_Q8_0), 1, &term, lt_nil(g));
        lt_grad(loss, 1, &w, &dw);
        status = ts_compile(g, TS_PLANNED, 2, (lt_t[]){loss, dw}, &plan);
    }
    lt_plan_free(plan);
    lt_graph_free(g);
    lt_params_free(params);
    return status;
}

static void allocations_fail(void)
{
    TS_CHECK(ts_every_allocation_fails("an integer step", attempt, NULL) > 20, "many allocations were tried");
}

/* ---- Policies ---- */

enum { LENGTH = 12 };

/* The loss of `params` under the policy. */
static double policy_loss(const lt_model *m, lt_params *params, const lt_quant_policy *policy, int *integers)
{
    lt_ctx *ctx = lt_params_ctx(params);
    lt_graph *g = NULL;
    lt_plan *plan = NULL;
    int32_t tokens[LENGTH];
    double loss = NAN;
    for (int i = 0; i < LENGTH; i++) tokens[i] = 97 + i * i % 26;
    if (!TS_OK(ctx, lt_graph_create(ctx, params, &g))) return loss;
    lt_qat_attach(g, policy);
    lt_t index = lt_index_input(g, "tokens", SHAPE(1, LENGTH), 0, 258);
    lt_t y = lt_model_loss(m, g, &(lt_model_input){.tokens = index}, index, lt_nil(g));
    *integers = count_ops(g, "matmul_integer");
    if (TS_OK(ctx, lt_compile(g, NULL, 1, &y, &plan)) && TS_OK(ctx, lt_bind(plan, "tokens", tokens)) &&
        TS_OK(ctx, lt_run(plan)))
        loss = (double)*(const lt_real *)lt_result(plan, 0);
    lt_plan_free(plan);
    lt_graph_free(g);
    return loss;
}

/* Training's numbers are those of the codes, and rounding activations changes them a little. */
static void policies(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_model *m = toy_model(ctx, TOY_INIT, 5);
    const lt_dtype types[] = {LT_Q4_0, LT_Q8_0, LT_Q5_1};
    for (int i = 0; i < 2 * LTI_COUNT(types); i++) {
        lt_quant_policy policy;
        lt_params *codes = NULL;
        int plain = 0, integers = 0, of_codes = 0;
        lt_quant_policy_init(&policy);
        policy.weights = policy.embedding = lt_scheme_of(types[i / 2]);
        double without = policy_loss(m, lt_model_params(m), &policy, &plain);
        policy.activations = i % 2 ? LT_ACT_INT8_TOKEN : LT_ACT_RUNTIME;
        double latent = policy_loss(m, lt_model_params(m), &policy, &integers);
        if (!TS_OK(ctx, lt_quantize_params(lt_model_params(m), &policy, &codes))) break;
        double coded = policy_loss(m, codes, &policy, &of_codes);
        lt_params_free(codes);
        TS_CHECK(plain == 0 && integers == 14 && of_codes == 14, "%d, %d, %d integer products", plain, integers,
                 of_codes);
        TS_CHECK(latent == coded, "policy %d: the loss is %.9g, of the codes %.9g", i, latent, coded);
        TS_CHECK(latent != without && fabs(latent - without) < 0.02 * without, "policy %d: %g with f32 activations, %g",
                 i, without, latent);
    }
    lt_model_free(m);
    lt_ctx_free(ctx);
}

static void names(void)
{
    for (lt_activations a = LT_ACT_NONE; a <= LT_ACT_INT8_STATIC; a++) {
        lt_activations back = LT_ACT_INT8_STATIC + 1;
        TS_CHECK(lt_activations_parse(lt_activations_name(a), &back) && back == a, "%s", lt_activations_name(a));
    }
    lt_activations none = LT_ACT_RUNTIME;
    TS_CHECK(!lt_activations_parse("int9", &none) && none == LT_ACT_RUNTIME, "int9 is no kind of activations");
}

int lti_suite_integer_ops(void)
{
    const ts_test tests[] = {{"every pair", every_pair},
                             {"heads", heads},
                             {"segments and threads", segments_and_threads_change_no_bit},
                             {"backwards in fewer bits", backwards_in_fewer_bits},
                             {"what is kept", what_is_kept},
                             {"refused", refused},
                             {"allocations fail", allocations_fail},
                             {"policies", policies},
                             {"names", names}};
    return ts_suite("integer_ops", LTI_COUNT(tests), tests);
}
