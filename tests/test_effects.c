/* test_effects.c - the order of side effects, and handles used where they must not be. Each case once went wrong. */
#include "lathe/attach.h"
#include "lathe/nn.h"
#include "lathe/optim.h"
#include "tests/testing.h"

#include <string.h>

/* A scalar param with a value. */
static lt_param *number(ts_bed *t, const char *name, double value)
{
    lt_param *p = NULL;
    if (!TS_OK(t->ctx, lt_params_add(t->params, name, LT_F32, 2, (int64_t[]){1, 1}, LT_STATE, &p))) return NULL;
    *(lt_real *)lt_param_data(p) = (lt_real)value;
    lt_param_touch(p);
    return p;
}

static double only(ts_bed *t, lt_t y)
{
    lt_real out = 0;
    ts_value(t->ctx, y, 1, &out);
    return (double)out;
}

/* y = x s; s is then overwritten; the gradient, recorded later, reads the s of the forward. */
static void backward_reads_the_old_value(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_param *x = number(&t, "x", 2), *s = number(&t, "s", 3);
    lt_t vx = lt_param_value(t.g, x), dx;
    lt_t y = lt_mul(vx, lt_param_value(t.g, s));
    lt_assign(s, lt_scale(lt_param_value(t.g, s), 5));
    lt_grad(lt_sum_all(y), 1, &vx, &dx);
    TS_CHECK(only(&t, dx) == 3, "the gradient read the s that came later");
    ts_bed_drop(&t);
}

/* A product that reads w must not move behind the assignment to w to be fused with its sum. */
static void fusion_does_not_cross_an_effect(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_param *w = number(&t, "w", 4), *b = number(&t, "b", 0), *x = number(&t, "x", 1);
    lt_t y = lt_matmul(lt_param_value(t.g, x), lt_param_value(t.g, w), 0);
    lt_assign(w, lt_scale(lt_param_value(t.g, w), 10));
    lt_t z = lt_add(lt_param_value(t.g, b), y);
    TS_CHECK(only(&t, z) == 4, "the product read the w that came later");
    ts_bed_drop(&t);
}

static void seeds_have_the_shape_of_their_value(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_t x = lt_input(t.g, "x", LT_F32, 2, (int64_t[]){3, 4}), dx;
    lt_grad_seeded(lt_square(x), lt_constant(t.g, 1), 1, &x, &dx);
    TS_CHECK(strstr(lt_graph_message(t.g), "a seed [] for a value [3,4]"), "%s", lt_graph_message(t.g));
    ts_bed_drop(&t);
}

static void mapped_params_are_not_written(void)
{
    static const lt_real fixed[4] = {1, 2, 3, 4};
    ts_bed t;
    lt_param *p = NULL;
    if (!ts_bed_make(&t)) return;
    if (TS_OK(t.ctx, lt_params_map(t.params, "fixed", LT_F32, 1, (int64_t[]){4}, fixed, &p))) {
        lt_assign(p, lt_scale(lt_param_value(t.g, p), 2));
        TS_CHECK(strstr(lt_graph_message(t.g), "'fixed' is mapped"), "%s", lt_graph_message(t.g));
        lt_init_constant(p, 7);
        TS_CHECK(fixed[0] == 1 && lt_param_mapped(p), "a mapped array was filled");
    }
    ts_bed_drop(&t);
}

static int weight_calls;

static lt_t doubled(lt_t w, const lt_site *site, void *config)
{
    (void)site, (void)config;
    weight_calls++;
    return lt_scale(w, 2);
}

/* Linear and head by default: the head of a tied matrix is transformed, the embedding before it is not. */
static void a_tied_head_keeps_its_hook(void)
{
    ts_bed t;
    lt_param *w = NULL;
    if (!ts_bed_make(&t)) return;
    if (!TS_OK(t.ctx, lt_params_add(t.params, "embd.weight", LT_F32, 2, (int64_t[]){1, 1}, LT_WEIGHT, &w))) return;
    lt_init_constant(w, 2);
    weight_calls = 0;
    lt_attach(t.g, &(lt_attachment){.size = sizeof(lt_attachment), .weight = doubled});
    lt_t ids = lt_index_input(t.g, "ids", 1, (int64_t[]){1}, 0, 1);
    lt_t x = lt_nn_embedding(ids, "embd");
    lt_t y = lt_nn_head(lt_nn_head(x, "one", "embd.weight"), "two", "embd.weight");
    lt_plan *plan = NULL;
    if (TS_OK(t.ctx, lt_compile(t.g, NULL, 1, &y, &plan)) && TS_OK(t.ctx, lt_bind(plan, "ids", &(int32_t){0})) &&
        TS_OK(t.ctx, lt_run(plan)))
        TS_CHECK(*(const lt_real *)lt_result(plan, 0) == 2 * 4 * 4 && weight_calls == 1, "%g with %d calls",
                 (double)*(const lt_real *)lt_result(plan, 0), weight_calls);
    lt_plan_free(plan);
    ts_bed_drop(&t);
}

static void two_losses_add_up(void)
{
    ts_bed t;
    lt_param *w = NULL;
    lt_optimizer *optimizer = NULL;
    lt_plan *plan = NULL;
    if (!ts_bed_make(&t)) return;
    lt_optimizer_config c;
    lt_optimizer_config_init(&c);
    if (TS_OK(t.ctx, lt_params_add(t.params, "w", LT_F32, 1, (int64_t[]){1}, LT_WEIGHT, &w)) &&
        TS_OK(t.ctx, lt_optimizer_create(t.ctx, t.params, &c, &optimizer))) {
        lt_t v = lt_param_value(t.g, w);
        lt_optimizer_accumulate(optimizer, t.g, lt_sum_all(v));
        lt_optimizer_accumulate(optimizer, t.g, lt_scale(lt_sum_all(v), 10));
        if (TS_OK(t.ctx, lt_compile(t.g, NULL, 0, NULL, &plan)) && TS_OK(t.ctx, lt_run(plan)) &&
            TS_OK(t.ctx, lt_run(plan))) {
            lt_param *sum = lt_params_find(t.params, "w:grad");
            TS_CHECK(sum && *(const lt_real *)lt_param_read(sum) == 11, "the gradients of two losses do not add up");
        }
    }
    lt_plan_free(plan);
    lt_optimizer_free(optimizer);
    ts_bed_drop(&t);
}

/* Accumulating and updating recorded in one graph: each plan holds its phase alone. */
static void one_recipe_two_plans(void)
{
    ts_bed t;
    lt_param *w = NULL;
    lt_optimizer *optimizer = NULL;
    lt_plan *plan[2] = {NULL, NULL};
    if (!ts_bed_make(&t)) return;
    lt_optimizer_config c;
    lt_optimizer_config_init(&c);
    c.kind = LT_SGD, c.weight_decay = 0;
    if (TS_OK(t.ctx, lt_params_add(t.params, "w", LT_F32, 1, (int64_t[]){1}, LT_WEIGHT, &w)) &&
        TS_OK(t.ctx, lt_optimizer_create(t.ctx, t.params, &c, &optimizer))) {
        lt_t x = lt_input(t.g, "x", LT_F32, 1, (int64_t[]){1});
        lt_optimizer_accumulate(optimizer, t.g, lt_sum_all(lt_mul(lt_param_value(t.g, w), x)));
        lt_optimizer_apply(optimizer, t.g);
        bool ok = true;
        for (int phase = 0; phase < 2 && ok; phase++) {
            lt_compile_options o;
            lt_compile_options_init(&o);
            o.phases = 1u << phase;
            ok = TS_OK(t.ctx, lt_compile(t.g, &o, 0, NULL, &plan[phase]));
        }
        TS_CHECK(ok && lt_plan_has(plan[0], "x") && !lt_plan_has(plan[1], "x"), "the update reads no batch");
        lt_real batch = 3;
        if (ok && TS_OK(t.ctx, lt_bind(plan[0], "x", &batch)) && TS_OK(t.ctx, lt_run(plan[0])) &&
            TS_OK(t.ctx, lt_set(plan[0], "fresh", 0)) && TS_OK(t.ctx, lt_run(plan[0])) &&
            TS_OK(t.ctx, lt_set(plan[1], "lr", 0.5)) && TS_OK(t.ctx, lt_run(plan[1])))
            TS_CHECK(*(const lt_real *)lt_param_read(w) == -3, "w is %g", (double)*(const lt_real *)lt_param_read(w));
    }
    lt_plan_free(plan[0]);
    lt_plan_free(plan[1]);
    lt_optimizer_free(optimizer);
    ts_bed_drop(&t);
}

static void names_keep_their_bounds(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_index_input(t.g, "i", 1, (int64_t[]){2}, 0, 100);
    TS_CHECK(lt_is_nil(lt_index_input(t.g, "i", 1, (int64_t[]){2}, 0, 5)), "another bound under the same name");
    ts_bed_again(&t);
    TS_CHECK(lt_is_nil(lt_scalar(t.g, "", 1)), "a scalar without a name");
    ts_bed_again(&t);
    TS_CHECK(lt_is_nil(lt_input(t.g, "", LT_F32, 0, NULL)), "an input without a name");
    ts_bed_again(&t);
    TS_CHECK(lt_is_nil(lt_input(t.g, "q", LT_Q4_0, 2, (int64_t[]){3, 5})), "15 elements are no whole blocks");
    ts_bed_drop(&t);
}

/* Values for a build that fails, then succeeds: the cache must not lose its live plans. */
static lt_status build(void *user, lt_plan_key key, lt_arena *arena, lt_plan **plan)
{
    ts_bed *t = user;
    if (key.phase == 9) return lti_fail(t->ctx, LT_EINVAL, "this one fails");
    lt_compile_options o;
    lt_compile_options_init(&o);
    o.arena = arena;
    lt_t y = lt_scale(lt_scalar(t->g, "s", 3), 2);
    return lt_compile(t->g, &o, 1, &y, plan);
}

static void failed_builds_evict_nothing(void)
{
    ts_bed t;
    lt_plan_cache *cache = NULL;
    lt_plan *a = NULL, *b = NULL;
    if (!ts_bed_make(&t)) return;
    if (TS_OK(t.ctx, lt_plan_cache_create(t.ctx, 2, build, &t, &cache))) {
        TS_OK(t.ctx, lt_plan_cache_get(cache, (lt_plan_key){0, 1, 1}, &a));
        for (int i = 0; i < 3; i++)
            TS_CHECK(lt_plan_cache_get(cache, (lt_plan_key){9, i, 1}, &b) == LT_EINVAL, "a build that must fail");
        TS_OK(t.ctx, lt_plan_cache_get(cache, (lt_plan_key){0, 2, 1}, &b));
        if (a && TS_OK(t.ctx, lt_run(a)))
            TS_CHECK(*(const lt_real *)lt_result(a, 0) == 6, "the first plan still gives its value");
    }
    lt_plan_cache_free(cache);
    ts_bed_drop(&t);
}

int lti_suite_effects(void)
{
    const ts_test tests[] = {{"the backward reads the value from before an effect", backward_reads_the_old_value},
                             {"fusing does not cross an effect", fusion_does_not_cross_an_effect},
                             {"seeds have the shape of their value", seeds_have_the_shape_of_their_value},
                             {"mapped params are not written", mapped_params_are_not_written},
                             {"a tied head keeps its hook", a_tied_head_keeps_its_hook},
                             {"two losses add up", two_losses_add_up},
                             {"one recipe, two plans", one_recipe_two_plans},
                             {"names keep their bounds", names_keep_their_bounds},
                             {"failed builds evict nothing", failed_builds_evict_nothing}};
    return ts_suite("effects", LTI_COUNT(tests), tests);
}
