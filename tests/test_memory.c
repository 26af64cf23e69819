/* test_memory.c - what the backward keeps: checkpointing, cheap recomputation, storage types, the arena. */
#include "tests/oracle_ops.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DIMS(...)                                                                                                      \
    sizeof((int64_t[]){__VA_ARGS__}) / 8, (int64_t[])                                                                  \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

enum { ROWS = 64, WIDTH = 24, HIDDEN = 96, LAYERS = 4 };

typedef enum trick { PLAIN, CHECKPOINT, RECOMPUTE } trick;

typedef struct net {
    ts_bed bed;
    lt_plan *plan;
    lt_t out[1 + 2 * LAYERS]; /* loss, gradients */
} net;

static void add_weights(ts_bed *t)
{
    for (int l = 0; l < LAYERS; l++) {
        char up[16] = "up.0", down[16] = "down.0";
        up[3] = down[5] = (char)('0' + l);
        ts_weight(t, up, 0.2, DIMS(HIDDEN, WIDTH));
        ts_weight(t, down, 0.1, DIMS(WIDTH, HIDDEN));
    }
}

/* x + W2 dropout(gelu(W1 norm(x))), four times; the loss is the mean square. */
static bool record_net(net *n, trick how, ts_mode mode)
{
    lt_t wrt[2 * LAYERS];
    ts_bed *t = &n->bed;
    lt_graph_seed(t->g, 5);
    lt_recompute_cheap(t->g, how == RECOMPUTE);
    lt_t x = lt_input(t->g, "x", LT_F32, DIMS(ROWS, WIDTH));
    for (int l = 0; l < LAYERS; l++) {
        char up[16] = "up.0", down[16] = "down.0";
        up[3] = down[5] = (char)('0' + l);
        wrt[2 * l] = lt_param_value(t->g, lt_params_find(t->params, up));
        wrt[2 * l + 1] = lt_param_value(t->g, lt_params_find(t->params, down));
        lt_scope(t->g, "blk.%d", l);
        if (how == CHECKPOINT) lt_checkpoint_begin(t->g);
        lt_t h = lt_gelu(lt_matmul(lt_softmax(x), wrt[2 * l], LT_TRANSPOSE_B)); /* [ROWS, HIDDEN] */
        x = lt_add(x, lt_matmul(lt_dropout(h, 0.25), wrt[2 * l + 1], LT_TRANSPOSE_B));
        if (how == CHECKPOINT) lt_checkpoint_end(t->g);
        lt_scope_end(t->g);
    }
    n->out[0] = lt_mean_all(lt_square(x));
    lt_grad(n->out[0], 2 * LAYERS, wrt, n->out + 1);
    return TS_OK(t->ctx, ts_compile(t->g, mode, 1 + 2 * LAYERS, n->out, &n->plan));
}

static bool run_net(net *n)
{
    static lt_real x[ROWS * WIDTH];
    ts_fill_normal("net", ROWS * WIDTH, 1, x);
    return TS_OK(n->bed.ctx, lt_bind(n->plan, "x", x)) && TS_OK(n->bed.ctx, lt_set(n->plan, "step", 11)) &&
           TS_OK(n->bed.ctx, lt_run(n->plan));
}

static bool open_net(net *n, trick how, ts_mode mode)
{
    *n = (net){.plan = NULL};
    if (!ts_bed_make(&n->bed)) return false;
    add_weights(&n->bed);
    return record_net(n, how, mode) && run_net(n);
}

static void close_net(net *n)
{
    lt_plan_free(n->plan);
    ts_bed_drop(&n->bed);
}

static void compare_nets(const net *a, const net *b, const char *what)
{
    for (int i = 0; i <= 2 * LAYERS; i++) {
        size_t bytes = (size_t)lt_count(a->out[i]) * sizeof(lt_real);
        TS_CHECK(ts_same_bytes(bytes, lt_result(a->plan, i), lt_result(b->plan, i)), "%s: output %d differs", what, i);
    }
}

static void recomputed_gradients_are_the_same(void)
{
    net plain, other;
    if (open_net(&plain, PLAIN, TS_PLANNED)) {
        size_t full = lt_plan_arena_bytes(plain.plan);
        for (trick how = CHECKPOINT; how <= RECOMPUTE; how++) {
            const char *name = how == CHECKPOINT ? "checkpointing" : "recomputing what is cheap";
            if (open_net(&other, how, TS_PLANNED)) {
                compare_nets(&plain, &other, name);
                size_t less = lt_plan_arena_bytes(other.plan);
                TS_CHECK(less < full, "%s: the arena is %zu bytes, %zu without", name, less, full);
                if (how == CHECKPOINT)
                    TS_CHECK((double)less < 0.75 * (double)full, "checkpointing saves little: %zu of %zu bytes", less,
                             full);
            }
            close_net(&other);
        }
    }
    close_net(&plain);
}

static void checkpointed_plans_equal_no_reuse(void)
{
    net a, b;
    if (open_net(&a, CHECKPOINT, TS_PLANNED) && open_net(&b, CHECKPOINT, TS_NO_REUSE)) compare_nets(&a, &b, "no reuse");
    close_net(&a);
    close_net(&b);
}

static void dropout_depends_on_step_seed_and_scope(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_t x = lt_input(t.g, "x", LT_F32, DIMS(1000)), y[5];
    for (int i = 0; i < 5; i++) {
        if (i == 3) lt_graph_seed(t.g, 99);
        lt_scope(t.g, i == 1 ? "other" : "site");
        y[i] = lt_dropout(x, 0.5); /* 0, 2, 4: the first, second and third of "site" */
        lt_scope_end(t.g);
    }
    TS_CHECK(lt_dropout(x, 0).node == x.node, "p = 0 is x");
    lt_plan *plan = NULL;
    if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 5, y, &plan))) {
        static lt_real ones[1000], first[1000];
        for (int i = 0; i < 1000; i++) ones[i] = 1;
        TS_OK(t.ctx, lt_bind(plan, "x", ones));
        TS_OK(t.ctx, lt_set(plan, "step", 1));
        TS_OK(t.ctx, lt_run(plan));
        memcpy(first, lt_result(plan, 0), sizeof first);
        int kept = 0;
        for (int i = 0; i < 1000; i++) kept += first[i] != 0;
        TS_CHECK(kept > 400 && kept < 600, "half are kept: %d of 1000", kept);
        for (int i = 1; i < 5; i++)
            TS_CHECK(!ts_same_bytes(sizeof first, first, lt_result(plan, i)), "dropout %d repeats the first", i);
        TS_OK(t.ctx, lt_set(plan, "step", 2));
        TS_OK(t.ctx, lt_run(plan));
        TS_CHECK(!ts_same_bytes(sizeof first, first, lt_result(plan, 0)), "another step, other numbers");
        TS_OK(t.ctx, lt_set(plan, "step", 1));
        TS_OK(t.ctx, lt_run(plan));
        TS_CHECK(ts_same_bytes(sizeof first, first, lt_result(plan, 0)), "the same step, the same numbers");
    }
    lt_plan_free(plan);
    ts_bed_drop(&t);
}

static void effects_do_not_stand_in_segments(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_param *w = ts_weight(&t, "w", 1, DIMS(4));
    lt_t x = lt_param_value(t.g, w), dx;
    lt_checkpoint_begin(t.g);
    lt_t y = lt_square(lt_assign(w, lt_exp(x)));
    lt_checkpoint_end(t.g);
    lt_grad(lt_sum_all(y), 1, &x, &dx);
    TS_CHECK(lt_graph_status(t.g) == LT_EINVAL, "a write in a recomputed segment is an error");
    ts_bed_drop(&t);
}

/* y = h^2 with h kept in bf16: the value is exact, the gradient is 2 bf16(h). */
static void values_are_kept_in_fewer_bits(void)
{
    enum { N = 500 };
    static lt_real x[N];
    ts_fill_normal("kept", N, 1, x);
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_t leaf = lt_input(t.g, "x", LT_F32, DIMS(N)), dx;
    lt_t y = lt_square(lt_store(lt_scale(leaf, 1.5), LT_BF16));
    lt_grad(lt_sum_all(y), 1, &leaf, &dx);
    lt_plan *plan = NULL;
    if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 2, (lt_t[]){y, dx}, &plan)) && TS_OK(t.ctx, lt_bind(plan, "x", x)) &&
        TS_OK(t.ctx, lt_run(plan))) {
        const lt_real *v = lt_result(plan, 0), *d = lt_result(plan, 1);
        int wrong = 0, rounded = 0;
        for (int i = 0; i < N; i++) {
            lt_real h = x[i] * (lt_real)1.5;
            double kept = ts_from_bf16(ts_to_bf16((double)h));
            wrong += v[i] != h * h || fabs((double)d[i] - 3 * kept) > 1e-6 * fabs(kept);
            rounded += kept != (double)h;
        }
        TS_CHECK(wrong == 0 && rounded > N / 2, "%d of %d are wrong", wrong, N);
    }
    lt_plan_free(plan);
    ts_bed_drop(&t);
}

static size_t arena_of_chain(lt_dtype type)
{
    ts_bed t;
    size_t bytes = 0;
    if (!ts_bed_make(&t)) return 0;
    lt_t x = lt_input(t.g, "x", LT_F32, DIMS(4096)), y = x, dx;
    for (int i = 0; i < 8; i++) y = lt_silu(lt_store(lt_scale(y, 1.1), type));
    lt_grad(lt_sum_all(y), 1, &x, &dx);
    lt_plan *plan = NULL;
    if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 1, &dx, &plan))) bytes = lt_plan_arena_bytes(plan);
    lt_plan_free(plan);
    ts_bed_drop(&t);
    return bytes;
}

static void fewer_bits_take_less_room(void)
{
    size_t full = arena_of_chain(LT_F32), half = arena_of_chain(LT_BF16);
    TS_CHECK((double)half < 0.8 * (double)full, "eight values kept in bf16: %zu bytes, %zu in full", half, full);
}

/* ---- The arena ---- */

static void the_arena_is_near_its_bound(void)
{
    net n;
    if (open_net(&n, PLAIN, TS_PLANNED)) {
        size_t arena = lt_plan_arena_bytes(n.plan), live = lt_plan_live_bytes(n.plan);
        TS_CHECK(live > 0 && arena >= live, "the bound is a bound: %zu, %zu", live, arena);
        TS_CHECK((double)arena <= 1.1 * (double)live, "the arena is %zu bytes, %zu live: over 10 %% more", arena, live);
    }
    close_net(&n);
}

static void plans_share_an_arena(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_arena *arena = NULL;
    lt_plan *plan[3] = {NULL};
    const int64_t sizes[3] = {100, 5000, 20};
    size_t largest = 0;
    if (TS_OK(t.ctx, lt_arena_create(t.ctx, &arena)))
        for (int i = 0; i < 3; i++) {
            lt_compile_options options;
            lt_compile_options_init(&options);
            options.arena = arena;
            options.poison = true;
            lt_t y = lt_exp(lt_log(lt_expand(lt_scalar(t.g, "x", 2), 1, &sizes[i])));
            if (!TS_OK(t.ctx, lt_compile(t.g, &options, 1, &y, &plan[i]))) break;
            if (lt_plan_arena_bytes(plan[i]) > largest) largest = lt_plan_arena_bytes(plan[i]);
        }
    TS_CHECK(arena && lt_arena_bytes(arena) >= largest, "the arena is as large as the largest plan");
    for (int round = 0; plan[2] && round < 2; round++)
        for (int i = 0; i < 3; i++) {
            TS_OK(t.ctx, lt_run(plan[i]));
            double last = (double)((const lt_real *)lt_result(plan[i], 0))[sizes[i] - 1];
            TS_CHECK(fabs(last - 2) < 1e-5, "plan %d runs in the shared arena: %g", i, last);
        }
    for (int i = 0; i < 3; i++) lt_plan_free(plan[i]);
    lt_arena_free(arena);
    ts_bed_drop(&t);
}

static void a_forecast_allocates_no_arena(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_t y = lt_exp(lt_square(lt_input(t.g, "x", LT_F32, DIMS(1000, 1000))));
    lt_compile_options options;
    lt_compile_options_init(&options);
    options.measure = true;
    lt_plan *forecast = NULL, *plan = NULL;
    if (TS_OK(t.ctx, lt_compile(t.g, &options, 1, &y, &forecast))) {
        TS_CHECK(lt_ctx_peak_bytes(t.ctx) < 1000000, "a forecast took %zu bytes", lt_ctx_peak_bytes(t.ctx));
        TS_CHECK(lt_run(forecast) != LT_OK, "a forecast cannot run");
        options.measure = false;
        if (TS_OK(t.ctx, lt_compile(t.g, &options, 1, &y, &plan)))
            TS_CHECK(lt_plan_arena_bytes(plan) == lt_plan_arena_bytes(forecast), "the forecast is what the plan takes");
    }
    lt_plan_free(forecast);
    lt_plan_free(plan);
    ts_bed_drop(&t);
}

/* ---- Failing allocations ---- */

static lt_status attempt_net(lt_ctx *ctx, void *arg)
{
    lt_params *params = NULL;
    lt_graph *g = NULL;
    lt_plan *plan = NULL;
    (void)arg;
    lt_status status = lt_params_create(ctx, &params);
    if (status == LT_OK) status = lt_params_add(params, "w", LT_F32, DIMS(8, 32), LT_WEIGHT, NULL);
    if (status == LT_OK) status = lt_graph_create(ctx, params, &g);
    if (status == LT_OK) {
        lt_scope(g, "blk.%d", 1);
        lt_t w = lt_param_value(g, lt_params_find(params, "w")), dw;
        lt_t x = lt_input(g, "x", LT_F32, DIMS(4, 32));
        lt_checkpoint_begin(g);
        lt_t y = lt_dropout(lt_gelu(lt_matmul(x, lt_quantize(w, LT_Q8_0), LT_TRANSPOSE_B)), 0.1);
        lt_checkpoint_end(g);
        lt_tap(y, "hidden");
        lt_t loss = lt_mean_all(lt_square(lt_store(y, LT_BF16)));
        lt_grad(loss, 1, &w, &dw);
        lt_assign(lt_params_find(params, "w"), lt_sub(w, dw));
        lt_t copy = lt_dequantize(lt_derived(g, lt_params_find(params, "w"), LT_Q4_0));
        lt_scope_end(g);
        status = ts_compile(g, TS_PLANNED, 2, (lt_t[]){loss, copy}, &plan);
    }
    char *text = NULL;
    if (status == LT_OK) status = lt_plan_table(plan, &text);
    lt_string_free(ctx, text);
    lt_plan_free(plan);
    lt_graph_free(g);
    lt_params_free(params);
    return status;
}

static void every_allocation_of_a_step_may_fail(void)
{
    int64_t n = ts_every_allocation_fails("a training step", attempt_net, NULL);
    TS_CHECK(n > 20, "only %lld allocations were tried", (long long)n);
}

int lti_suite_memory(void)
{
    const ts_test tests[] = {{"recomputed gradients", recomputed_gradients_are_the_same},
                             {"checkpointed plans", checkpointed_plans_equal_no_reuse},
                             {"dropout", dropout_depends_on_step_seed_and_scope},
                             {"effects in segments", effects_do_not_stand_in_segments},
                             {"fewer bits", values_are_kept_in_fewer_bits},
                             {"fewer bits, less room", fewer_bits_take_less_room},
                             {"the arena is near its bound", the_arena_is_near_its_bound},
                             {"plans share an arena", plans_share_an_arena},
                             {"forecast", a_forecast_allocates_no_arena},
                             {"every allocation may fail", every_allocation_of_a_step_may_fail}};
    return ts_suite("memory", LTI_COUNT(tests), tests);
}
