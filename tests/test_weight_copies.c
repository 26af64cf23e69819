/* test_weight_copies.c - in graphs that compute in bf16, products read rounded copies of their weights that lie in params
 * (lti_rounded in ops/derived.c). The oracle casts by hand: both ways have to give the same bits, with 1 and 2 threads,
 * with and without checkpointed segments, over updates, swaps of averages and a change of params. Then how often is
 * converted, what gets no copy, and the head's gradient, which is made late where memory is short. */
#include "kernels/gemm.h"
#include "lathe/optim.h"
#include "lathe/qat.h"
#include "tests/testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 128, C = 64, HIDDEN = 160, V = 192, LAYERS = 2, STEPS = 3, MOST_PARAMS = 64 };

/* How a step is recorded: rounded by hand or by the products, in segments or not. */
typedef struct way {
    bool by_hand, segments, quantized, copied; /* copied: asked for by name, as segments have to */
    lt_dtype compute;
} way;

static bool add_net(ts_bed *bed)
{
    char name[32];
    bool ok = ts_weight(bed, "embd", 0.5, 2, (int64_t[]){V, C}) != NULL;
    for (int l = 0; l < LAYERS && ok; l++) {
        snprintf(name, sizeof name, "up.%d", l);
        ok = ts_weight(bed, name, 0.2, 2, (int64_t[]){HIDDEN, C}) != NULL;
        snprintf(name, sizeof name, "down.%d", l);
        ok = ok && ts_weight(bed, name, 0.2, 2, (int64_t[]){C, HIDDEN}) != NULL;
    }
    return ok;
}

static lt_t factor(ts_bed *bed, const way *w, const char *name, int layer)
{
    char text[32];
    snprintf(text, sizeof text, "%s.%d", name, layer);
    lt_param *param = lt_params_find(bed->params, layer < 0 ? name : text);
    if (w->copied) return lt_derived(bed->g, param, LT_BF16);
    lt_t value = lt_param_value(bed->g, param);
    if (w->quantized) return lt_quantize(value, LT_Q8_0);
    return w->by_hand ? lt_cast(value, LT_BF16) : value;
}

/* Embedding, residual layers, and a head that is the embedding again. */
static lt_t net_loss(ts_bed *bed, const way *w)
{
    lt_t ids = lt_index_input(bed->g, "ids", 1, (int64_t[]){ROWS}, 0, V);
    lt_t x = lt_gather(lt_param_value(bed->g, lt_params_find(bed->params, "embd")), ids); /* [ROWS, C] */
    lt_compute(bed->g, w->compute);
    for (int l = 0; l < LAYERS; l++) {
        if (w->segments) lt_checkpoint_begin(bed->g);
        lt_t h = lt_silu(lt_matmul(x, factor(bed, w, "up", l), LT_TRANSPOSE_B)); /* [ROWS, HIDDEN] */
        x = lt_add(x, lt_matmul(h, factor(bed, w, "down", l), LT_TRANSPOSE_B));
        if (w->segments) lt_checkpoint_end(bed->g);
    }
    lt_head_term term = {.kind = lt_head_cross_entropy(), .weight = 1};
    term.input = lt_index_input(bed->g, "targets", 1, (int64_t[]){ROWS}, -1, V);
    return lt_head_loss(x, factor(bed, w, "embd", -1), 1, &term, lt_nil(bed->g));
}

static lt_status bind_rows(lt_plan *plan)
{
    static int32_t ids[ROWS], targets[ROWS];
    for (int i = 0; i < ROWS; i++) ids[i] = i * 37 % V, targets[i] = i % 9 ? i * 53 % V : -1;
    lt_status status = lt_bind(plan, "ids", ids);
    return status == LT_OK ? lt_bind(plan, "targets", targets) : status;
}

static lt_status make_optimizer(ts_bed *bed, double ema_decay, lt_optimizer **optimizer)
{
    lt_optimizer_config c;
    lt_optimizer_config_init(&c);
    c.ema_decay = ema_decay;
    return lt_optimizer_create(bed->ctx, bed->params, &c, optimizer);
}

/* A plan of forward, backward and updates over the bed's params. */
static bool make_step(ts_bed *bed, const way *w, lt_optimizer *optimizer, lt_plan **plan)
{
    *plan = NULL;
    if (!ts_bed_again(bed)) return false;
    lt_t loss = net_loss(bed, w);
    return TS_OK(bed->ctx, lt_optimizer_fused(optimizer, bed->g, loss)) &&
           TS_OK(bed->ctx, ts_compile(bed->g, TS_PLANNED, 1, &loss, plan)) && TS_OK(bed->ctx, bind_rows(*plan));
}

static bool run_steps(ts_bed *bed, lt_plan *plan, int from, int to, lt_real *loss)
{
    bool ok = true;
    for (int i = from; i < to && ok; i++) {
        ok = TS_OK(bed->ctx, lt_set(plan, "lr", 0.01)) && TS_OK(bed->ctx, lt_set(plan, "step", i + 1)) &&
             TS_OK(bed->ctx, lt_run(plan));
        if (ok) loss[i] = *(const lt_real *)lt_result(plan, 0);
    }
    return ok;
}

/* All that a checkpoint would hold, one array behind the other; returns how many bytes. */
static size_t saved_bytes(const lt_params *params, char *to)
{
    size_t bytes = 0;
    for (int i = 0; i < lt_params_count(params); i++) {
        const lt_param *p = lt_params_at(params, i);
        if (lt_param_role(p) == LT_SCRATCH) continue;
        if (to) memcpy(to + bytes, lt_param_read(p), lt_param_bytes(p));
        bytes += lt_param_bytes(p);
    }
    return bytes;
}

/* ---- The same numbers ---- */

typedef struct outcome {
    lt_real loss[STEPS];
    char *saved;
    size_t bytes;
} outcome;

static bool train(const way *w, int threads, outcome *out)
{
    ts_bed bed;
    lt_optimizer *optimizer = NULL;
    lt_plan *plan = NULL;
    int before = lt_threads();
    memset(out, 0, sizeof *out);
    if (!ts_bed_make(&bed)) return false;
    lt_set_threads(threads);
    bool ok = add_net(&bed) && TS_OK(bed.ctx, make_optimizer(&bed, 0, &optimizer)) &&
              make_step(&bed, w, optimizer, &plan) && run_steps(&bed, plan, 0, STEPS, out->loss);
    out->bytes = saved_bytes(bed.params, NULL);
    out->saved = malloc(out->bytes);
    if (ok) saved_bytes(bed.params, out->saved);
    lt_plan_free(plan);
    lt_optimizer_free(optimizer);
    lt_set_threads(before);
    ts_bed_drop(&bed);
    return ok;
}

static void the_same_bits_as_casts(void)
{
    outcome want, got;
    bool ok = train(&(way){.by_hand = true, .compute = LT_BF16}, 1, &want);
    TS_CHECK(ok && want.loss[0] != want.loss[1], "nothing is learned: %g, %g", (double)want.loss[0],
             (double)want.loss[1]);
    for (int i = 0; i < 12 && ok; i++) {
        way w = {.by_hand = i & 4, .copied = i & 8, .segments = i & 2, .compute = LT_BF16};
        ok = train(&w, 1 + (i & 1), &got);
        TS_CHECK(ok && ts_same_bytes(sizeof want.loss, got.loss, want.loss),
                 "way %d: the last loss is %.9g, by casts %.9g", i, (double)got.loss[STEPS - 1],
                 (double)want.loss[STEPS - 1]);
        TS_CHECK(ok && got.bytes == want.bytes && ts_same_bytes(want.bytes, got.saved, want.saved),
                 "way %d: weights or moments are others than by casts", i);
        free(got.saved);
    }
    free(want.saved);
}

/* A state that is taken to params of its own, where no copy lies yet, goes on with the same bits. */
static void going_on_elsewhere(void)
{
    ts_bed bed[2];
    lt_optimizer *optimizer[2] = {NULL, NULL};
    lt_plan *plan[2] = {NULL, NULL};
    const way w = {.compute = LT_BF16};
    lt_real loss[2][STEPS] = {{0}};
    bool ok = true;
    for (int i = 0; i < 2; i++) {
        if (!ts_bed_make(&bed[i])) return;
        ok = ok && add_net(&bed[i]) && TS_OK(bed[i].ctx, make_optimizer(&bed[i], 0, &optimizer[i]));
    }
    ok = ok && make_step(&bed[0], &w, optimizer[0], &plan[0]) && run_steps(&bed[0], plan[0], 0, STEPS - 1, loss[0]);
    for (int i = 0; ok && i < lt_params_count(bed[0].params); i++) {
        const lt_param *from = lt_params_at(bed[0].params, i);
        lt_param *to = lt_params_find(bed[1].params, lt_param_name(from));
        if (lt_param_role(from) == LT_SCRATCH || !TS_CHECK(to != NULL, "no %s", lt_param_name(from))) continue;
        memcpy(lt_param_data(to), lt_param_read(from), lt_param_bytes(to));
        lt_param_touch(to);
    }
    ok = ok && make_step(&bed[1], &w, optimizer[1], &plan[1]);
    for (int i = 0; i < 2 && ok; i++) ok = run_steps(&bed[i], plan[i], STEPS - 1, STEPS, loss[i]);
    TS_CHECK(ok && loss[0][STEPS - 1] == loss[1][STEPS - 1], "a loss of %.9g, and %.9g elsewhere",
             (double)loss[0][STEPS - 1], (double)loss[1][STEPS - 1]);
    size_t n = saved_bytes(bed[0].params, NULL);
    char *a = malloc(n), *b = malloc(n);
    if (ok && n == saved_bytes(bed[1].params, b)) saved_bytes(bed[0].params, a);
    TS_CHECK(ok && ts_same_bytes(n, a, b), "weights go other ways elsewhere");
    free(a);
    free(b);
    for (int i = 0; i < 2; i++) {
        lt_plan_free(plan[i]);
        lt_optimizer_free(optimizer[i]);
        ts_bed_drop(&bed[i]);
    }
}

/* ---- How often ---- */

/* A loss and its gradients; nothing is written. */
static bool make_gradients(ts_bed *bed, const way *w, lt_plan **plan)
{
    lt_t all[1 + MOST_PARAMS], wrt[MOST_PARAMS];
    int n = 0;
    if (!ts_bed_again(bed)) return false;
    all[0] = net_loss(bed, w);
    for (int i = 0; i < lt_params_count(bed->params); i++) {
        lt_param *p = lt_params_at(bed->params, i);
        if (lt_param_trainable(p)) wrt[n++] = lt_param_value(bed->g, p);
    }
    lt_grad(all[0], n, wrt, all + 1);
    for (int i = 1; i <= n; i++)
        TS_CHECK(lt_type(all[i]) == LT_F32 && !lt_is_nil(all[i]), "gradient %d is nil or not f32", i);
    return TS_OK(bed->ctx, ts_compile(bed->g, TS_PLANNED, 1 + n, all, plan)) && TS_OK(bed->ctx, bind_rows(*plan));
}

static lt_real loss_of(ts_bed *bed, lt_plan *plan)
{
    return TS_OK(bed->ctx, lt_run(plan)) ? *(const lt_real *)lt_result(plan, 0) : (lt_real)-1;
}

/* Forward, a segment's second run and backward read one copy; a tied matrix has one; another plan, and another
 * micro-batch, converts nothing. A copy that was spoiled shows who reads it and when it is made again. */
static void once_an_update(void)
{
    enum { WEIGHTS = 1 + 2 * LAYERS };
    ts_bed bed;
    lt_plan *plan[2] = {NULL, NULL};
    if (!ts_bed_make(&bed)) return;
    bool ok = add_net(&bed);
    for (int i = 0; i < 2 && ok; i++) {
        ok = make_gradients(&bed, &(way){.segments = i, .copied = i, .compute = LT_BF16}, &plan[i]);
        if (!ok) break;
        int copies = ts_count_steps(&bed, plan[i], "derived"), casts = ts_count_steps(&bed, plan[i], "cast");
        int want = 1 + (i ? 6 : 4) * LAYERS; /* the head's x; x and dy of two products, in a segment x twice */
        TS_CHECK(copies == WEIGHTS, "%d copies are made of %d weights", copies, WEIGHTS);
        TS_CHECK(casts == want, "%d casts of what is no weight, instead of %d", casts, want);
    }
    lt_param *copy = lt_params_find(bed.params, "up.1:bf16"), *w = lt_params_find(bed.params, "up.1");
    ok = ok && TS_CHECK(copy && lt_param_role(copy) == LT_SCRATCH && lt_param_type(copy) == LT_BF16, "no up.1:bf16");
    if (ok) {
        lt_real fresh = loss_of(&bed, plan[0]);
        memset(lt_param_data(copy), 0, lt_param_bytes(copy));
        lt_real spoiled = loss_of(&bed, plan[0]), beside = loss_of(&bed, plan[1]);
        TS_CHECK(spoiled != fresh && beside == spoiled, "converted again: %g, %g, %g", (double)fresh, (double)spoiled,
                 (double)beside);
        lt_param_touch(w);
        beside = loss_of(&bed, plan[1]);
        TS_CHECK(beside == fresh && loss_of(&bed, plan[0]) == fresh, "not converted after a write");
    }
    lt_plan_free(plan[0]);
    lt_plan_free(plan[1]);
    ts_bed_drop(&bed);
}

/* Averages take the weights' place and give it back: the copies follow. */
static void averages_swap(void)
{
    ts_bed bed;
    lt_optimizer *optimizer = NULL;
    lt_plan *step = NULL, *plan = NULL, *by_hand = NULL;
    lt_real loss[STEPS];
    if (!ts_bed_make(&bed)) return;
    bool ok = add_net(&bed) && TS_OK(bed.ctx, make_optimizer(&bed, 0.5, &optimizer)) &&
              make_step(&bed, &(way){.compute = LT_BF16}, optimizer, &step) &&
              make_gradients(&bed, &(way){.compute = LT_BF16}, &plan) &&
              make_gradients(&bed, &(way){.by_hand = true, .compute = LT_BF16}, &by_hand) &&
              run_steps(&bed, step, 0, STEPS, loss);
    lt_real seen[3] = {0};
    for (int i = 0; i < 3 && ok; i++) {
        seen[i] = loss_of(&bed, plan);
        TS_CHECK(seen[i] == loss_of(&bed, by_hand), "swap %d: the copies are stale", i);
        lt_optimizer_swap_ema(optimizer);
    }
    TS_CHECK(ok && seen[0] != seen[1] && seen[0] == seen[2], "losses %g, %g, %g", (double)seen[0], (double)seen[1],
             (double)seen[2]);
    lt_plan_free(step);
    lt_plan_free(plan);
    lt_plan_free(by_hand);
    lt_optimizer_free(optimizer);
    ts_bed_drop(&bed);
}

/* ---- What gets no copy ---- */

static lt_t square(ts_bed *bed, lt_params *from, const char *name)
{
    lt_compute(bed->g, LT_BF16);
    lt_t x = lt_input(bed->g, "x", LT_F32, 2, (int64_t[]){128, 128});
    return lt_matmul(x, lt_param_value(bed->g, lt_params_find(from, name)), LT_TRANSPOSE_B);
}

/* Runs y and compares it with the product of `w` by hand; checks how many copies the plan makes. */
static void check_square(ts_bed *bed, lt_t y, const lt_real *w, int copies, const char *what)
{
    enum { N = 128 };
    static lt_real x[N * N];
    static double want[N * N];
    lt_plan *plan = NULL;
    ts_fill_normal("x", N * N, 1, x);
    for (int64_t i = 0; i < N * N; i++) {
        want[i] = 0;
        for (int64_t k = 0; k < N; k++) want[i] += (double)x[i / N * N + k] * (double)w[i % N * N + k];
    }
    if (TS_OK(bed->ctx, ts_compile(bed->g, TS_PLANNED, 1, &y, &plan)) && TS_OK(bed->ctx, lt_bind(plan, "x", x)) &&
        TS_OK(bed->ctx, lt_run(plan))) {
        double off = ts_distance(N * N, lt_result(plan, 0), want);
        TS_CHECK(off < 0.02, "%s: the product is off by %g", what, off);
        TS_CHECK(ts_count_steps(bed, plan, "derived") == copies, "%s: %d copies are made", what,
                 ts_count_steps(bed, plan, "derived"));
    }
    lt_plan_free(plan);
}

static void no_copy(void)
{
    ts_bed mine, other;
    if (!ts_bed_make(&mine) || !ts_bed_make(&other)) return;
    lt_param *w = ts_weight(&mine, "w", 1, 2, (int64_t[]){128, 128});
    lt_param *theirs = ts_weight(&other, "w", -2, 2, (int64_t[]){128, 128});
    check_square(&mine, square(&mine, mine.params, "w"), lt_param_read(w), 1, "a weight");
    if (!ts_bed_again(&mine)) return;
    check_square(&mine, square(&mine, other.params, "w"), lt_param_read(theirs), 0, "another model's of that name");
    if (!ts_bed_again(&mine)) return;
    lt_assign(w, lt_scale(lt_param_value(mine.g, w), 3));
    lt_t y = square(&mine, mine.params, "w");
    lt_real *tripled = malloc(lt_param_bytes(w));
    for (int64_t i = 0; i < lt_param_count(w); i++) tripled[i] = 3 * ((const lt_real *)lt_param_read(w))[i];
    check_square(&mine, y, tripled, 0, "a weight that was written");
    free(tripled);
    if (!ts_bed_again(&mine)) return;
    lt_graph *alone = NULL; /* a graph without params */
    if (TS_OK(mine.ctx, lt_graph_create(mine.ctx, NULL, &alone))) {
        ts_bed bare = {.ctx = mine.ctx, .params = NULL, .g = alone};
        check_square(&bare, square(&bare, mine.params, "w"), lt_param_read(w), 0, "a graph without params");
        lt_graph_free(alone);
    }
    ts_bed_drop(&other);
    if (!ts_bed_again(&mine)) return;
    TS_OK(mine.ctx, lt_params_add(mine.params, "u:bf16", LT_BF16, 2, (int64_t[]){128, 128}, LT_WEIGHT, NULL));
    ts_weight(&mine, "u", 1, 2, (int64_t[]){128, 128});
    square(&mine, mine.params, "u");
    TS_CHECK(strstr(lt_graph_message(mine.g), "'u:bf16' exists"), "%s", lt_graph_message(mine.g));
    ts_bed_drop(&mine);
}

/* ---- The head's gradient ---- */

/* Where memory is short the head runs twice, the second time when its gradient is due, whatever its weight is read as;
 * and weights get no copies unasked. */
static void a_late_head(void)
{
    static const way ways[] = {{.compute = LT_F32, .segments = true},
                               {.compute = LT_BF16, .segments = true},
                               {.compute = LT_BF16, .segments = true, .copied = true},
                               {.compute = LT_F32, .segments = true, .quantized = true},
                               {.compute = LT_BF16}};
    ts_bed bed;
    lt_optimizer *optimizer = NULL;
    if (!ts_bed_make(&bed)) return;
    bool ok = add_net(&bed) && TS_OK(bed.ctx, make_optimizer(&bed, 0, &optimizer));
    for (int i = 0; i < LTI_COUNT(ways) && ok; i++) {
        lt_plan *plan = NULL;
        ok = make_step(&bed, &ways[i], optimizer, &plan);
        if (!ok) break;
        int want = ways[i].segments ? 2 : 1, heads = ts_count_steps(&bed, plan, "head_loss");
        TS_CHECK(heads == want, "way %d: the head runs %d times instead of %d", i, heads, want);
        bool copies = ts_count_steps(&bed, plan, "derived") > 0;
        TS_CHECK(copies == (ways[i].copied || (ways[i].compute == LT_BF16 && !ways[i].segments)),
                 "way %d: weights are %scopied", i, copies ? "" : "not ");
        lt_plan_free(plan);
    }
    lt_optimizer_free(optimizer);
    ts_bed_drop(&bed);
}

/* A tied head around three segments, each as many products wide. */
typedef struct tied_net {
    int64_t words, width;
    int products;
} tied_net;

enum { N = 64, MOST_PRODUCTS = 24 };

static lt_status tied_live_bytes(lt_ctx *ctx, const tied_net *net, lt_dtype compute, size_t *bytes)
{
    lt_params *params = NULL;
    lt_optimizer *optimizer = NULL;
    lt_plan *plan = NULL;
    lt_graph *g = NULL;
    LTI_TRY(lt_params_create(ctx, &params));
    const int64_t head[2] = {net->words, net->width}, layer[2] = {net->width, net->width};
    lt_status status = lt_params_add(params, "head", LT_F32, 2, head, LT_WEIGHT, NULL);
    if (status == LT_OK) status = lt_params_add(params, "w", LT_F32, 2, layer, LT_WEIGHT, NULL);
    lt_optimizer_config c;
    lt_optimizer_config_init(&c);
    if (status == LT_OK) status = lt_optimizer_create(ctx, params, &c, &optimizer);
    if (status == LT_OK) status = lt_graph_create(ctx, params, &g);
    if (status == LT_OK) {
        lt_compute(g, compute);
        lt_t head_w = lt_param_value(g, lt_params_find(params, "head")),
             w = lt_param_value(g, lt_params_find(params, "w"));
        lt_t x = lt_gather(head_w, lt_index_input(g, "ids", 1, (int64_t[]){N}, 0, net->words)); /* [N, width] */
        for (int l = 0; l < 3; l++) {
            lt_checkpoint_begin(g);
            lt_t wide[MOST_PRODUCTS];
            for (int i = 0; i < net->products; i++) wide[i] = lt_silu(lt_matmul(x, w, LT_TRANSPOSE_B));
            for (int i = 0; i < net->products; i++) x = lt_add(x, lt_square(wide[i]));
            lt_checkpoint_end(g);
        }
        lt_head_term term = {.kind = lt_head_cross_entropy(), .weight = 1};
        term.input = lt_index_input(g, "targets", 1, (int64_t[]){N}, -1, net->words);
        lt_t loss = lt_head_loss(x, head_w, 1, &term, lt_nil(g));
        status = lt_optimizer_fused(optimizer, g, loss);
        if (status == LT_OK) status = ts_compile(g, TS_PLANNED, 1, &loss, &plan);
    }
    if (status == LT_OK) *bytes = lt_plan_live_bytes(plan);
    lt_plan_free(plan);
    lt_graph_free(g);
    lt_optimizer_free(optimizer);
    lt_params_free(params);
    return status;
}

/* The gradient of 2 MB does not wait in the arena for the look-up's; what bf16 needs more is less than the rounded table. */
static void as_little_memory(void)
{
    const tied_net net = {1024, 512, MOST_PRODUCTS};
    size_t f32 = 0, bf16 = 0;
    lt_ctx *ctx = lt_ctx_create(NULL);
    if (TS_OK(ctx, tied_live_bytes(ctx, &net, LT_F32, &f32)) && TS_OK(ctx, tied_live_bytes(ctx, &net, LT_BF16, &bf16)))
        /* Where factors are decoded first, the panels for that are larger than what such small layers save. */
        TS_CHECK(bf16 <= f32 + (size_t)(net.words * net.width) * sizeof(uint16_t) || !lti_gemm_native_bf16(),
                 "%zu bytes alive in bf16, %zu in f32", bf16, f32);
    lt_ctx_free(ctx);
}

/* ---- Failing allocations ---- */

static lt_status attempt(lt_ctx *ctx, void *arg)
{
    (void)arg;
    size_t bytes;
    return tied_live_bytes(ctx, &(tied_net){256, 128, 2}, LT_BF16, &bytes);
}

static void allocations(void)
{
    ts_every_allocation_fails("a step with copies", attempt, NULL);
}

int lti_suite_weight_copies(void)
{
    const ts_test tests[] = {{"the same bits as casts", the_same_bits_as_casts},
                             {"going on elsewhere", going_on_elsewhere},
                             {"once an update", once_an_update},
                             {"averages", averages_swap},
                             {"no copy", no_copy},
                             {"a late head", a_late_head},
                             {"as little memory", as_little_memory},
                             {"allocations", allocations}};
    return ts_suite("weight_copies", LTI_COUNT(tests), tests);
}
