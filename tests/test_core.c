/* test_core.c - the engine's seams as graph.h and plan.h promise them: errors, scalars, effects, phases, plans.
 *
 * test_memory.c has checkpointing, storage types and the arena; test_hooks.c attachments, decoding and heads. */
#include "tests/testing.h"

#include <math.h>
#include <string.h>

#define DIMS(...)                                                                                                      \
    sizeof((int64_t[]){__VA_ARGS__}) / 8, (int64_t[])                                                                  \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

static bool tells(const char *message, const char *part)
{
    return strstr(message, part) != NULL;
}

/* ---- Recording ---- */

static void errors_are_sticky(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_t a = lt_input(t.g, "a", LT_F32, DIMS(32, 64)), b = lt_input(t.g, "b", LT_F32, DIMS(48, 64));
    lt_scope(t.g, "blk.%d", 3);
    lt_scope(t.g, "attn_q");
    lt_t bad = lt_matmul(a, b, 0);
    lt_scope_end(t.g);
    lt_scope_end(t.g);
    TS_CHECK(lt_is_nil(bad), "a wrong product is nil");
    const char *want = "blk.3.attn_q: matmul: [32,64] with [48,64]";
    TS_CHECK(lt_graph_status(t.g) == LT_EINVAL, "the graph holds LT_EINVAL");
    TS_CHECK(tells(lt_graph_message(t.g), want), "\"%s\" does not say \"%s\"", lt_graph_message(t.g), want);
    lt_t after = lt_add(bad, a);
    TS_CHECK(lt_is_nil(after) && lt_rank(after) == 0 && lt_dim(after, 0) == 0, "later operators return nil");
    TS_CHECK(lt_is_nil(lt_exp(a)), "also where the inputs are fine");
    lt_reshape(a, DIMS(5, 5));
    TS_CHECK(tells(lt_graph_message(t.g), want), "the first error stays");
    lt_plan *plan = NULL;
    TS_CHECK(lt_compile(t.g, NULL, 1, &after, &plan) == LT_EINVAL && !plan, "lt_compile returns the error");
    TS_CHECK(tells(lt_ctx_message(t.ctx), want), "and its message: \"%s\"", lt_ctx_message(t.ctx));
    ts_bed_drop(&t);
}

static void wrong_arguments_are_errors(void)
{
    for (int k = 0; k < 9; k++) {
        ts_bed t;
        if (!ts_bed_make(&t)) return;
        lt_t x = lt_input(t.g, "x", LT_F32, DIMS(4, 6)), y = lt_input(t.g, "y", LT_F32, DIMS(5, 6)), dx;
        lt_t i = lt_index_input(t.g, "i", DIMS(3), 0, 4);
        switch (k) {
        case 0: lt_add(x, y); break;
        case 1: lt_slice(x, 0, 2, 5); break;
        case 2: lt_permute(x, (int[]){0, 0}); break;
        case 3: lt_sum(x, 2, (int[]){1, -1}, false); break;
        case 4: lt_gather(x, y); break;
        case 5: lt_quantize(x, LT_Q4_0); break;
        case 6: lt_grad(x, 1, &x, &dx); break;
        case 7: lt_param_value(t.g, NULL); break;
        default: lt_exp(i); break;
        }
        TS_CHECK(lt_graph_status(t.g) == LT_EINVAL && lt_graph_message(t.g)[0], "wrong argument %d is an error (%s)", k,
                 lt_status_name(lt_graph_status(t.g)));
        ts_bed_drop(&t);
    }
}

static void graphs_do_not_mix(void)
{
    ts_bed t, u;
    if (!ts_bed_make(&t) || !ts_bed_make(&u)) return;
    lt_t a = lt_input(t.g, "a", LT_F32, DIMS(3)), b = lt_input(u.g, "b", LT_F32, DIMS(3));
    lt_t c = lt_add(a, b);
    TS_CHECK(lt_is_nil(c), "a sum of values of two graphs is nil");
    TS_CHECK(lt_graph_status(t.g) == LT_EINVAL || lt_graph_status(u.g) == LT_EINVAL, "and an error of a graph");
    ts_bed_drop(&t);
    ts_bed_drop(&u);
}

static void names_and_taps(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_scope(t.g, "model");
    lt_scope(t.g, "blk.%d", 3);
    const char *name = lt_scoped(t.g, "attn_q.weight");
    lt_t x = lt_input(t.g, "x", LT_F32, DIMS(2));
    lt_tap(x, "hidden");
    lt_scope_end(t.g);
    lt_scope_end(t.g);
    TS_CHECK(name && strcmp(name, "model.blk.3.attn_q.weight") == 0, "scoped name is %s", name ? name : "NULL");
    lt_t tapped = lt_tapped(t.g, "model.blk.3.hidden");
    TS_CHECK(!lt_is_nil(tapped) && tapped.node == x.node, "a tap is found under its full name");
    TS_CHECK(lt_is_nil(lt_tapped(t.g, "hidden")) && lt_graph_status(t.g) == LT_OK, "a missing tap is nil, no error");
    ts_bed_drop(&t);
}

static void gradients_of_special_values(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_real x[3] = {1, -2, (lt_real)0.5};
    lt_t leaf = lt_input(t.g, "x", LT_F32, DIMS(3)), other = lt_input(t.g, "other", LT_F32, DIMS(3));
    lt_t squared = lt_mul(leaf, leaf);
    lt_t loss = lt_sum_all(lt_add(squared, lt_detach(lt_exp(leaf))));
    lt_t wrt[3] = {leaf, other, squared}, dx[3];
    lt_grad(loss, 3, wrt, dx);
    TS_CHECK(lt_is_nil(dx[1]) && !lt_is_nil(dx[0]) && !lt_is_nil(dx[2]), "nil where the loss does not depend on it");
    lt_plan *plan = NULL;
    if (TS_OK(t.ctx, lt_compile(t.g, NULL, 2, (lt_t[]){dx[0], dx[2]}, &plan)) && TS_OK(t.ctx, lt_bind(plan, "x", x)) &&
        TS_OK(t.ctx, lt_run(plan))) {
        const lt_real *d = lt_result(plan, 0), *one = lt_result(plan, 1);
        for (int i = 0; i < 3; i++)
            TS_CHECK(d[i] == 2 * x[i] && one[i] == 1, "d x*x = 2 x, and detach cuts: %g, %g", (double)d[i],
                     (double)one[i]);
    }
    lt_plan_free(plan);
    ts_bed_drop(&t);
}

/* ---- Running ---- */

static void scalars_and_inputs(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_t x = lt_input(t.g, "x", LT_F32, DIMS(2));
    lt_t y = lt_add(lt_mul(x, lt_scalar(t.g, "rate", 3)), lt_scalar(t.g, "rate", 3));
    lt_plan *plan = NULL;
    if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 1, &y, &plan))) {
        lt_real a[2] = {1, 2}, b[2] = {10, 20};
        TS_CHECK(lt_run(plan) == LT_EINVAL && tells(lt_ctx_message(t.ctx), "x"), "an input never bound is an error");
        TS_OK(t.ctx, lt_bind(plan, "x", a));
        TS_OK(t.ctx, lt_run(plan));
        TS_CHECK(((const lt_real *)lt_result(plan, 0))[1] == 9, "a scalar starts at its value");
        TS_OK(t.ctx, lt_set(plan, "rate", 0.5));
        a[1] = 4;
        TS_OK(t.ctx, lt_run(plan));
        TS_CHECK(((const lt_real *)lt_result(plan, 0))[1] == (lt_real)2.5, "lt_set and new data count at the next run");
        TS_OK(t.ctx, lt_bind(plan, "x", b));
        TS_OK(t.ctx, lt_run(plan));
        TS_CHECK(((const lt_real *)lt_result(plan, 0))[0] == (lt_real)5.5, "a second lt_bind replaces the first");
        TS_CHECK(lt_bind(plan, "nobody", a) == LT_EINVAL && lt_set(plan, "nobody", 1) == LT_EINVAL, "unknown names");
        TS_CHECK(lt_plan_has(plan, "x") && lt_plan_has(plan, "rate") && !lt_plan_has(plan, "nobody"), "lt_plan_has");
    }
    lt_plan_free(plan);
    ts_bed_drop(&t);
}

static void indices_are_checked(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_t table = lt_param_value(t.g, ts_weight(&t, "table", 1, DIMS(5, 2)));
    lt_t y = lt_gather(table, lt_index_input(t.g, "tokens", DIMS(3), 0, 5));
    lt_plan *plan = NULL;
    if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 1, &y, &plan))) {
        TS_CHECK(lt_bind(plan, "tokens", (int32_t[]){0, 5, 1}) == LT_EINVAL, "an index at the bound is refused");
        TS_CHECK(tells(lt_ctx_message(t.ctx), "tokens") && tells(lt_ctx_message(t.ctx), "1") &&
                     tells(lt_ctx_message(t.ctx), "5"),
                 "the message tells input, element, value: %s", lt_ctx_message(t.ctx));
        TS_CHECK(lt_bind(plan, "tokens", (int32_t[]){0, 1, -1}) == LT_EINVAL, "a negative index is refused");
        TS_OK(t.ctx, lt_bind(plan, "tokens", (int32_t[]){0, 4, 1}));
        TS_OK(t.ctx, lt_run(plan));
    }
    lt_plan_free(plan);
    ts_bed_drop(&t);
}

static void non_finite_values_are_named(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_t x = lt_input(t.g, "x", LT_F32, DIMS(4));
    lt_scope(t.g, "blk.1");
    lt_t y = lt_exp(lt_log(x));
    lt_scope_end(t.g);
    lt_plan *plan = NULL;
    if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 1, &y, &plan))) {
        TS_OK(t.ctx, lt_bind(plan, "x", (lt_real[]){1, 2, 3, 4}));
        TS_OK(t.ctx, lt_run_debug(plan));
        TS_OK(t.ctx, lt_bind(plan, "x", (lt_real[]){1, 2, -3, 4}));
        TS_OK(t.ctx, lt_run(plan));
        TS_CHECK(lt_run_debug(plan) == LT_ENONFINITE, "lt_run_debug sees the NaN");
        const char *m = lt_ctx_message(t.ctx);
        TS_CHECK(tells(m, "blk.1") && tells(m, "log") && !tells(m, "exp"), "and names the first node: %s", m);
    }
    lt_plan_free(plan);
    ts_bed_drop(&t);
}

static void a_plan_outlives_its_graph(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_param *w = ts_weight(&t, "w", 1, DIMS(4));
    lt_t y = lt_scale(lt_param_value(t.g, w), 2);
    lt_plan *plan = NULL;
    if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 1, &y, &plan))) {
        lt_graph_free(t.g);
        t.g = NULL;
        TS_OK(t.ctx, lt_run(plan));
        TS_CHECK(((const lt_real *)lt_result(plan, 0))[3] == 2 * ((const lt_real *)lt_param_read(w))[3],
                 "it still runs");
    }
    lt_plan_free(plan);
    ts_bed_drop(&t);
}

static void count_times(void *user, const char *op, double seconds, int64_t calls)
{
    int64_t *seen = user;
    if (strcmp(op, "matmul") == 0 && seconds >= 0) *seen += calls;
}

static void tables_and_times(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_scope(t.g, "layer.7");
    lt_t y = lt_matmul(lt_param_value(t.g, ts_weight(&t, "a", 1, DIMS(3, 5))),
                       lt_param_value(t.g, ts_weight(&t, "b", 1, DIMS(5, 2))), 0);
    lt_scope_end(t.g);
    y = lt_exp(y);
    lt_plan *plan = NULL;
    char *text = NULL;
    if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 1, &y, &plan)) && TS_OK(t.ctx, lt_plan_table(plan, &text))) {
        int lines = 0;
        for (const char *p = text; *p; p++) lines += *p == '\n';
        TS_CHECK(lines >= lt_plan_steps(plan) && lines <= lt_plan_steps(plan) + 2,
                 "one line a step: %d lines, %d steps", lines, lt_plan_steps(plan));
        TS_CHECK(tells(text, "layer.7") && tells(text, "matmul") && tells(text, "[3,2]"), "the table:\n%s", text);
        lt_string_free(t.ctx, text);
        lt_plan_timing(plan, true);
        TS_OK(t.ctx, lt_run(plan));
        TS_OK(t.ctx, lt_run(plan));
        int64_t calls = 0;
        lt_plan_times(plan, count_times, &calls);
        TS_CHECK(calls == 2, "matmul ran %lld times", (long long)calls);
    }
    lt_plan_free(plan);
    ts_bed_drop(&t);
}

/* ---- Effects ---- */

static void readers_and_writers_keep_their_order(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_param *w = ts_weight(&t, "w", 1, DIMS(300));
    lt_real old[300];
    lt_t before = lt_scale(lt_param_value(t.g, w), 2);
    lt_t value = lt_assign(w, lt_shift(lt_param_value(t.g, w), 1));
    lt_t after = lt_scale(lt_param_value(t.g, w), 2);
    lt_plan *plan = NULL;
    if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 3, (lt_t[]){after, before, value}, &plan)))
        for (int round = 0; round < 3; round++) {
            memcpy(old, lt_param_read(w), sizeof old);
            uint64_t version = lt_param_version(w);
            TS_OK(t.ctx, lt_run(plan));
            const lt_real *a = lt_result(plan, 0), *b = lt_result(plan, 1), *v = lt_result(plan, 2);
            const lt_real *now = lt_param_read(w);
            bool ok = true;
            for (int i = 0; i < 300; i++)
                ok &= b[i] == 2 * old[i] && now[i] == old[i] + 1 && v[i] == now[i] && a[i] == 2 * now[i];
            TS_CHECK(ok, "a reader recorded before a write sees the old value, one after it the new");
            TS_CHECK(lt_param_version(w) > version, "a write raises the version");
        }
    lt_plan_free(plan);
    ts_bed_drop(&t);
}

static void phases_select_effects(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_param *w = ts_weight(&t, "w", 1, DIMS(4)), *sum = ts_weight(&t, "sum", 1, DIMS(4));
    lt_real w0[4], first[4];
    memcpy(w0, lt_param_read(w), sizeof w0);
    lt_t g = lt_square(lt_param_value(t.g, w));
    lt_phase(t.g, 0);
    lt_accumulate(sum, g, lt_scalar(t.g, "fresh", 1));
    lt_phase(t.g, 1);
    lt_assign(w, lt_sub(lt_param_value(t.g, w), lt_param_value(t.g, sum)));
    lt_compile_options gather, update;
    lt_compile_options_init(&gather);
    update = gather;
    gather.phases = 1u << 0;
    update.phases = 1u << 1;
    lt_plan *a = NULL, *b = NULL;
    if (TS_OK(t.ctx, lt_compile(t.g, &gather, 0, NULL, &a)) && TS_OK(t.ctx, lt_compile(t.g, &update, 0, NULL, &b))) {
        TS_OK(t.ctx, lt_run(a));
        memcpy(first, lt_param_read(sum), sizeof first);
        TS_OK(t.ctx, lt_set(a, "fresh", 0));
        TS_OK(t.ctx, lt_run(a));
        const lt_real *s = lt_param_read(sum), *now = lt_param_read(w);
        for (int i = 0; i < 4; i++) {
            TS_CHECK(first[i] == w0[i] * w0[i], "fresh 1: the sum begins anew");
            TS_CHECK(s[i] == first[i] + first[i], "fresh 0: it grows");
            TS_CHECK(now[i] == w0[i], "the update belongs to the other phase");
        }
        memcpy(first, s, sizeof first);
        TS_OK(t.ctx, lt_run(b));
        for (int i = 0; i < 4; i++)
            TS_CHECK(now[i] == w0[i] - first[i] && s[i] == first[i], "phase 1 updates and does not accumulate");
    }
    lt_plan_free(a);
    lt_plan_free(b);
    ts_bed_drop(&t);
}

static double first_after_run(ts_bed *t, lt_plan *plan)
{
    if (!TS_OK(t->ctx, lt_run(plan))) return 0;
    return (double)((const lt_real *)lt_result(plan, 0))[0];
}

static void derived_copies_follow_their_source(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_param *w = ts_weight(&t, "w", 1, DIMS(2, 64));
    lt_t y = lt_dequantize(lt_derived(t.g, w, LT_Q8_0));
    lt_plan *a = NULL, *b = NULL;
    if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 1, &y, &a)) && TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 1, &y, &b))) {
        lt_real *data = lt_param_data(w);
        const lt_param *copy = lt_params_find(t.params, "w:q8_0");
        TS_CHECK(copy && lt_param_type(copy) == LT_Q8_0 && lt_param_role(copy) == LT_SCRATCH, "the copy is w:q8_0");
        data[0] = 5;
        lt_param_touch(w);
        double seen = first_after_run(&t, a);
        TS_CHECK(fabs(seen - 5) < 0.01, "the copy is made: %g", seen);
        data[0] = 7;
        seen = first_after_run(&t, a);
        TS_CHECK(fabs(seen - 5) < 0.01, "and kept while the version stays: %g", seen);
        lt_param_touch(w);
        seen = first_after_run(&t, b);
        TS_CHECK(fabs(seen - 7) < 0.01, "whichever plan runs next makes it again: %g", seen);
        data[0] = 9;
        seen = first_after_run(&t, a);
        TS_CHECK(fabs(seen - 7) < 0.01, "the other plan uses it: %g", seen);
    }
    lt_plan_free(a);
    lt_plan_free(b);
    ts_bed_drop(&t);
}

static void an_update_makes_copies_stale(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_param *w = ts_weight(&t, "w", 0, DIMS(32));
    lt_assign(w, lt_shift(lt_param_value(t.g, w), 1));
    lt_t y = lt_cast(lt_derived(t.g, w, LT_BF16), LT_F32);
    lt_plan *plan = NULL;
    if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 1, &y, &plan)))
        for (int round = 1; round < 4; round++) {
            TS_OK(t.ctx, lt_run(plan));
            double now = (double)((const lt_real *)lt_param_read(w))[5];
            double seen = (double)((const lt_real *)lt_result(plan, 0))[5];
            TS_CHECK(now == round && (seen == now || seen == now - 1), "round %d: w is %g, its copy %g", round, now,
                     seen);
        }
    lt_plan_free(plan);
    ts_bed_drop(&t);
}

/* ---- Cache ---- */

typedef struct builder {
    ts_bed bed;
    int built;
    lt_plan_key last;
} builder;

static lt_status build(void *user, lt_plan_key key, lt_arena *arena, lt_plan **plan)
{
    builder *b = user;
    b->built++;
    b->last = key;
    if (key.phase == 9) return lti_fail(b->bed.ctx, LT_EUNSUPPORTED, "no plan for phase 9");
    if (!ts_bed_again(&b->bed)) return LT_ENOMEM;
    lt_t y = lt_exp(lt_input(b->bed.g, "x", LT_F32, DIMS(key.batch, key.length)));
    lt_compile_options options;
    lt_compile_options_init(&options);
    options.arena = arena;
    return lt_compile(b->bed.g, &options, 1, &y, plan);
}

static void plans_are_cached(void)
{
    builder b = {.built = 0};
    if (!ts_bed_make(&b.bed)) return;
    lt_plan_cache *cache = NULL;
    if (TS_OK(b.bed.ctx, lt_plan_cache_create(b.bed.ctx, 2, build, &b, &cache))) {
        const struct {
            int32_t length;
            int built; /* afterwards */
        } steps[] = {{32, 1}, {64, 2}, {32, 2}, {96, 3}, {32, 3}, {64, 4}, {32, 4}, {96, 5}};
        lt_plan *plan = NULL;
        for (int i = 0; i < LTI_COUNT(steps); i++) {
            TS_OK(b.bed.ctx, lt_plan_cache_get(cache, (lt_plan_key){0, 2, steps[i].length}, &plan));
            TS_CHECK(b.built == steps[i].built, "request %d: %d plans built, not %d", i, b.built, steps[i].built);
            lt_real x[2 * 96] = {0};
            TS_OK(b.bed.ctx, lt_bind(plan, "x", x));
            TS_OK(b.bed.ctx, lt_run(plan));
            TS_CHECK(((const lt_real *)lt_result(plan, 0))[2 * steps[i].length - 1] == 1, "the plan runs");
        }
        TS_CHECK(lt_arena_bytes(lt_plan_cache_arena(cache)) >= 2 * 96 * sizeof(lt_real), "one arena for all");
        TS_CHECK(lt_plan_cache_get(cache, (lt_plan_key){9, 1, 1}, &plan) == LT_EUNSUPPORTED, "the builder's error");
        TS_OK(b.bed.ctx, lt_plan_cache_get(cache, (lt_plan_key){0, 2, 96}, &plan));
    }
    lt_plan_cache_free(cache);
    ts_bed_drop(&b.bed);
}

static void lengths_fall_into_buckets(void)
{
    const int64_t fixed[][3] = {{1, 128, 32},   {32, 128, 32}, {33, 128, 64},  {100, 100, 100},
                                {97, 100, 100}, {5, 20, 20},   {128, 128, 128}};
    for (int i = 0; i < LTI_COUNT(fixed); i++)
        TS_CHECK(lt_bucket(fixed[i][0], fixed[i][1]) == fixed[i][2], "bucket of %lld among %lld",
                 (long long)fixed[i][0], (long long)fixed[i][1]);
    for (int64_t longest = 1; longest < 3000; longest += 61) {
        int64_t last = 0, buckets = 0;
        bool ok = true;
        for (int64_t length = 1; length <= longest; length++) {
            int64_t b = lt_bucket(length, longest);
            ok &= b >= length && b <= longest && b >= last;
            buckets += b != last;
            last = b;
        }
        TS_CHECK(ok && buckets <= 16, "up to %lld: %lld buckets", (long long)longest, (long long)buckets);
    }
}

int lti_suite_core(void)
{
    const ts_test tests[] = {{"errors are sticky", errors_are_sticky},
                             {"wrong arguments", wrong_arguments_are_errors},
                             {"graphs do not mix", graphs_do_not_mix},
                             {"names and taps", names_and_taps},
                             {"gradients of special values", gradients_of_special_values},
                             {"scalars and inputs", scalars_and_inputs},
                             {"indices are checked", indices_are_checked},
                             {"non-finite values are named", non_finite_values_are_named},
                             {"a plan outlives its graph", a_plan_outlives_its_graph},
                             {"tables and times", tables_and_times},
                             {"readers and writers", readers_and_writers_keep_their_order},
                             {"phases", phases_select_effects},
                             {"derived copies", derived_copies_follow_their_source},
                             {"an update makes copies stale", an_update_makes_copies_stale},
                             {"plan cache", plans_are_cached},
                             {"buckets", lengths_fall_into_buckets}};
    return ts_suite("core", LTI_COUNT(tests), tests);
}
