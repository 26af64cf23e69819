/* test_storage.c - how little a training step keeps: values in bf16, cheap nodes computed again, updates in time,
 * gradients of a head made late, frozen weights in 16 bits. The judge is the same step without any of it. */
#include "autograd/keep.h"
#include "lathe/models.h"
#include "lathe/optim.h"
#include "tests/oracle_ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIMS(...)                                                                                                      \
    sizeof((int64_t[]){__VA_ARGS__}) / 8, (int64_t[])                                                                  \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

enum { BATCH = 2, LENGTH = 32, VOCAB = 96, MOST = 64 };

typedef struct way {
    const char *name;
    bool bf16, checkpoint, always, hooked; /* always: lt_recompute_cheap; hooked: each layer's weights times 1 */
    size_t worth;                          /* lti_keep_worth */
    int threads;                           /* 0: as it is */
} way;

static const way plain = {.name = "plain", .worth = SIZE_MAX};

typedef struct step {
    ts_bed bed;
    lt_transformer_config config;
    lt_plan *plan;
    int n;
    lt_real *gradient[MOST]; /* in the order of params */
    int64_t count[MOST];
} step;

static void small_llama(lt_transformer_config *c)
{
    lt_transformer_config_init(c, LT_LLAMA);
    c->vocab = VOCAB, c->dim = 64, c->hidden = 160, c->layers = 3, c->heads = 4, c->kv_heads = 2;
    c->tied = true;
}

static lt_t times_one(lt_t w, const lt_site *site, void *config)
{
    (void)site;
    (void)config;
    return lt_scale(w, 1);
}

static lt_t record_loss(step *s, const way *how, int64_t batch, int64_t length)
{
    lt_graph *g = s->bed.g;
    lt_attachment hook = {.size = sizeof hook, .kinds = LT_SITE_LINEAR, .weight = times_one};
    if (how->hooked) lt_attach(g, &hook);
    s->config.checkpoint = how->checkpoint;
    if (how->bf16) lt_store_activations(g, LT_BF16);
    lt_recompute_cheap(g, how->always);
    int32_t vocab = (int32_t)s->config.vocab;
    lt_t tokens = lt_index_input(g, "tokens", DIMS(batch, length), 0, vocab);
    lt_t targets = lt_index_input(g, "targets", DIMS(batch, length), -1, vocab);
    return lt_transformer_loss(g, &s->config, &(lt_model_input){.tokens = tokens}, targets, lt_nil(g));
}

static bool run_gradients(step *s)
{
    static int32_t tokens[BATCH * LENGTH], targets[BATCH * LENGTH];
    for (int i = 0; i < BATCH * LENGTH; i++) {
        tokens[i] = (int32_t)(VOCAB * ts_uniform("tokens", i));
        targets[i] = i % LENGTH ? (int32_t)(VOCAB * ts_uniform("targets", i)) : -1;
    }
    lt_ctx *ctx = s->bed.ctx;
    if (!TS_OK(ctx, lt_bind(s->plan, "tokens", tokens)) || !TS_OK(ctx, lt_bind(s->plan, "targets", targets)) ||
        !TS_OK(ctx, lt_run(s->plan)))
        return false;
    for (int i = 0; i < s->n; i++) {
        size_t bytes = (size_t)s->count[i] * sizeof(lt_real);
        s->gradient[i] = malloc(bytes);
        if (!s->gradient[i]) abort();
        memcpy(s->gradient[i], lt_result(s->plan, i), bytes);
    }
    return true;
}

/* Gradients of all weights of a small Llama. */
static bool open_step(step *s, const way *how)
{
    *s = (step){.n = 0};
    size_t worth = lti_keep_worth;
    int threads = lt_threads();
    lti_keep_worth = how->worth;
    if (how->threads) lt_set_threads(how->threads);
    small_llama(&s->config);
    lt_t wrt[MOST], gradient[MOST];
    bool ok = ts_bed_make(&s->bed) && TS_OK(s->bed.ctx, lt_transformer_params(s->bed.params, &s->config, 3));
    if (ok) {
        lt_t loss = record_loss(s, how, BATCH, LENGTH);
        s->n = lt_params_count(s->bed.params);
        for (int i = 0; i < s->n; i++) {
            lt_param *w = lt_params_at(s->bed.params, i);
            wrt[i] = lt_param_value(s->bed.g, w);
            s->count[i] = lt_param_count(w);
        }
        lt_grad(loss, s->n, wrt, gradient);
        ok = TS_OK(s->bed.ctx, ts_compile(s->bed.g, TS_PLANNED, s->n, gradient, &s->plan)) && run_gradients(s);
    }
    lti_keep_worth = worth;
    lt_set_threads(threads);
    return ok;
}

static void close_step(step *s)
{
    for (int i = 0; i < s->n; i++) free(s->gradient[i]);
    lt_plan_free(s->plan);
    ts_bed_drop(&s->bed);
}

static void same_bits(const step *a, const step *b, const char *what)
{
    for (int i = 0; i < a->n; i++)
        TS_CHECK(ts_same_bytes((size_t)a->count[i] * sizeof(lt_real), a->gradient[i], b->gradient[i]),
                 "%s: the gradient of %s differs", what, lt_param_name(lt_params_at(a->bed.params, i)));
}

/* Lines of the plan's table that hold all of the words; NULL words are passed over. */
static int lines_with(const lt_plan *plan, lt_ctx *ctx, const char *a, const char *b)
{
    char *table = NULL;
    int found = 0;
    if (!TS_OK(ctx, lt_plan_table(plan, &table))) return -1;
    for (char *line = strtok(table, "\n"); line; line = strtok(NULL, "\n"))
        found += strstr(line, a) && (!b || strstr(line, b));
    lt_string_free(ctx, table);
    return found;
}

static void computing_again_changes_no_bit(void)
{
    const way ways[] = {{.name = "what is kept anyway", .worth = 0},
                        {.name = "all that is cheap", .always = true, .worth = SIZE_MAX},
                        {.name = "segments", .checkpoint = true, .worth = SIZE_MAX},
                        {.name = "segments and cheap nodes", .checkpoint = true, .worth = 0},
                        {.name = "three threads", .worth = 0, .threads = 3}};
    step first, other;
    bool ok = open_step(&first, &plain);
    for (int i = 0; ok && i < LTI_COUNT(ways); i++) {
        if (open_step(&other, &ways[i])) {
            same_bits(&first, &other, ways[i].name);
            int twice = lines_with(other.plan, other.bed.ctx, " swiglu ", NULL), heads = ways[i].checkpoint ? 2 : 1;
            TS_CHECK(twice == 2 * first.config.layers, "%s: %d swiglu", ways[i].name, twice);
            TS_CHECK(lines_with(other.plan, other.bed.ctx, " head_loss ", NULL) == heads, "%s: the head runs %d times",
                     ways[i].name, heads);
        }
        close_step(&other);
    }
    if (ok)
        TS_CHECK(lines_with(first.plan, first.bed.ctx, " swiglu ", NULL) == first.config.layers,
                 "where it is not worth it nothing is computed again");
    close_step(&first);
}

/* Weight transforms are computed again too, but nobody has said that memory is short. */
static void weight_hooks_are_no_checkpoints(void)
{
    const way hooked = {.name = "weight hooks", .hooked = true, .worth = SIZE_MAX};
    step first, other;
    if (open_step(&first, &plain)) {
        if (open_step(&other, &hooked)) {
            same_bits(&first, &other, hooked.name);
            TS_CHECK(lines_with(other.plan, other.bed.ctx, " swiglu ", NULL) == first.config.layers,
                     "swiglu runs again");
            TS_CHECK(lines_with(other.plan, other.bed.ctx, " head_loss ", NULL) == 1, "the head runs twice");
        }
        close_step(&other);
    }
    close_step(&first);
}

/* ---- bf16 ---- */

static double relative(int64_t n, const lt_real *a, const lt_real *b)
{
    double distance = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)a[i] - (double)b[i];
        distance += d * d;
        size += (double)b[i] * (double)b[i];
    }
    return sqrt(distance / size);
}

static void stored_in_bf16_gradients_stay_near(void)
{
    const way narrow = {.name = "bf16", .bf16 = true, .worth = SIZE_MAX};
    const way others[] = {{.name = "bf16 with three threads", .bf16 = true, .worth = SIZE_MAX, .threads = 3},
                          {.name = "bf16, one thread", .bf16 = true, .worth = SIZE_MAX, .threads = 1}};
    const way again = {.name = "bf16, cheap nodes again", .bf16 = true, .worth = 0};
    const way segments = {.name = "bf16 in segments", .bf16 = true, .checkpoint = true, .worth = SIZE_MAX};
    const way *near[] = {&narrow, &again, &segments};
    step full, half, other;
    bool ok = open_step(&full, &plain);
    for (int k = 0; ok && k < LTI_COUNT(near); k++) {
        if (open_step(&half, near[k]))
            for (int i = 0; i < full.n; i++) {
                double d = relative(full.count[i], half.gradient[i], full.gradient[i]);
                TS_CHECK(d < 0.01, "%s: the gradient of %s is %g off", near[k]->name,
                         lt_param_name(lt_params_at(full.bed.params, i)), d);
                TS_CHECK(i || d > 0, "%s: nothing was rounded", near[k]->name);
            }
        close_step(&half);
    }
    ok = open_step(&half, &narrow);
    for (int i = 0; ok && i < LTI_COUNT(others); i++) {
        if (open_step(&other, &others[i])) same_bits(&half, &other, others[i].name);
        close_step(&other);
    }
    if (ok) { /* B, H, T and B, T: what attention and norms leave beside their result */
        TS_CHECK(lines_with(half.plan, half.bed.ctx, " cast ", "[2,32,4,16]") > 0, "attention's values are stored");
        TS_CHECK(lines_with(half.plan, half.bed.ctx, " cast ", "[2,4,32]") == 0, "its statistics stay");
        TS_CHECK(lines_with(half.plan, half.bed.ctx, " cast ", "[2,32] ") == 0, "a norm's statistics stay");
    }
    close_step(&half);
    close_step(&full);
}

/* Bytes of the arena of a whole step of a network whose activations outweigh all else. */
static size_t arena_of(const way *how)
{
    step s = {.n = 0};
    size_t bytes = 0, worth = lti_keep_worth;
    lti_keep_worth = how->worth;
    small_llama(&s.config);
    s.config.layers = 6;
    lt_optimizer_config sgd;
    lt_optimizer_config_init(&sgd);
    sgd.kind = LT_SGD;
    sgd.max_grad_norm = 0;
    lt_optimizer *opt = NULL;
    lt_compile_options options;
    lt_compile_options_init(&options);
    options.measure = true;
    if (ts_bed_make(&s.bed) && TS_OK(s.bed.ctx, lt_transformer_params(s.bed.params, &s.config, 3)) &&
        TS_OK(s.bed.ctx, lt_optimizer_create(s.bed.ctx, s.bed.params, &sgd, &opt))) {
        lt_t loss = record_loss(&s, how, 4, 128);
        if (TS_OK(s.bed.ctx, lt_optimizer_fused(opt, s.bed.g, loss)) &&
            TS_OK(s.bed.ctx, lt_compile(s.bed.g, &options, 1, &loss, &s.plan)))
            bytes = lt_plan_arena_bytes(s.plan);
    }
    lti_keep_worth = worth;
    lt_plan_free(s.plan);
    lt_optimizer_free(opt);
    ts_bed_drop(&s.bed);
    return bytes;
}

static void each_way_takes_less(void)
{
    static const struct {
        way how;
        double share; /* of the plain arena, at most; bf16 halves what is saved */
    } ways[] = {{{.name = "cheap nodes again", .worth = 0}, 0.75},
                {{.name = "bf16", .bf16 = true, .worth = SIZE_MAX}, 0.62},
                {{.name = "bf16, cheap nodes again", .bf16 = true, .worth = 0}, 0.5},
                {{.name = "segments", .checkpoint = true, .worth = SIZE_MAX}, 0.4},
                {{.name = "segments in bf16", .bf16 = true, .checkpoint = true, .worth = SIZE_MAX}, 0.34}};
    size_t full = arena_of(&plain);
    for (int i = 0; i < LTI_COUNT(ways); i++) {
        size_t bytes = arena_of(&ways[i].how);
        double share = (double)bytes / (double)full;
        TS_CHECK(bytes > 0 && share < ways[i].share + (sizeof(lt_real) == 8 ? 0.05 : 0),
                 "%s: %.3f of %zu bytes; at most %.2f are expected", ways[i].how.name, share, full, ways[i].share);
    }
}

/* y is cast by the forward, seen through a view, and read by two gradients: one narrow copy serves them all. */
static void one_narrow_copy_is_enough(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_store_activations(t.g, LT_BF16);
    lt_t x = lt_input(t.g, "x", LT_F32, DIMS(64, 32)), dx;
    lt_t w = lt_param_value(t.g, ts_weight(&t, "w", 1, DIMS(64, 32)));
    lt_t y = lt_scale(x, 1.5);
    lt_t cast = lt_cast(lt_cast(y, LT_BF16), LT_F32), seen = lt_reshape(y, DIMS(2048));
    lt_t shown = lt_reshape(w, DIMS(2048));
    lt_t loss = lt_add(lt_sum_all(lt_add(lt_mul(cast, y), y)), lt_sum_all(lt_mul(lt_square(seen), shown)));
    lt_grad(loss, 1, &x, &dx);
    lt_plan *plan = NULL;
    if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 1, &dx, &plan))) {
        int narrow = lines_with(plan, t.ctx, " cast ", "bf16");
        TS_CHECK(narrow == 1, "%d narrow copies: one of y; the weight and its view have none", narrow);
    }
    lt_plan_free(plan);
    ts_bed_drop(&t);
}

/* ---- Order ---- */

enum { CHAIN = 12, SIDE = 64 };

/* Steps between the first update and the end, of a chain of products. `parts`: accumulated, not fused. */
static void updates_come_in_time(bool parts)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    for (int i = 0; i < CHAIN; i++) {
        char name[16];
        snprintf(name, sizeof name, "w%d", i);
        ts_weight(&t, name, 0.1, DIMS(SIDE, SIDE));
    }
    lt_optimizer_config config;
    lt_optimizer_config_init(&config);
    config.max_grad_norm = parts ? 1 : 0;
    lt_optimizer *opt = NULL;
    lt_plan *plan = NULL;
    lt_compile_options options;
    lt_compile_options_init(&options);
    options.measure = true;
    options.phases = 1;
    if (TS_OK(t.ctx, lt_optimizer_create(t.ctx, t.params, &config, &opt))) {
        lt_t x = lt_input(t.g, "x", LT_F32, DIMS(4, SIDE));
        for (int i = 0; i < CHAIN; i++) x = lt_matmul(x, lt_param_value(t.g, lt_params_at(t.params, i)), 0);
        lt_t loss = lt_mean_all(lt_square(x));
        lt_status status = parts ? lt_optimizer_accumulate(opt, t.g, loss) : lt_optimizer_fused(opt, t.g, loss);
        if (TS_OK(t.ctx, status) && TS_OK(t.ctx, lt_compile(t.g, &options, 1, &loss, &plan))) {
            size_t bytes = lt_plan_arena_bytes(plan), all = CHAIN * SIDE * SIDE * sizeof(lt_real);
            TS_CHECK(bytes < all / 4, "%s: an arena of %zu bytes; all gradients are %zu",
                     parts ? "accumulated" : "fused", bytes, all);
        }
    }
    lt_plan_free(plan);
    lt_optimizer_free(opt);
    ts_bed_drop(&t);
}

static void gradients_die_in_their_updates(void)
{
    updates_come_in_time(false);
    updates_come_in_time(true);
}

/* ---- Frozen weights ---- */

enum { ROWS = 24, COLS = 48 };

/* x W^T and rows of W, with W in f32 holding `values`, or narrowed. */
static bool products(const lt_real *values, lt_dtype type, lt_real *out)
{
    static const int32_t index[3] = {5, 0, 23};
    static lt_real x[4 * COLS];
    ts_fill_normal("x", 4 * COLS, 1, x);
    ts_bed t;
    if (!ts_bed_make(&t)) return false;
    lt_param *w = ts_weight(&t, "w", 1, DIMS(ROWS, COLS));
    memcpy(lt_param_data(w), values, ROWS * COLS * sizeof *values);
    lt_param_set_trainable(w, false);
    bool ok = type == LT_F32 || TS_OK(t.ctx, lt_param_narrow(w, type));
    lt_t value = lt_param_value(t.g, w);
    lt_t y[2] = {lt_matmul(lt_input(t.g, "x", LT_F32, DIMS(4, COLS)), value, LT_TRANSPOSE_B),
                 lt_gather(value, lt_index_input(t.g, "i", DIMS(3), 0, ROWS))};
    lt_plan *plan = NULL;
    ok = ok && TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 2, y, &plan)) && TS_OK(t.ctx, lt_bind(plan, "x", x)) &&
         TS_OK(t.ctx, lt_bind(plan, "i", index)) && TS_OK(t.ctx, lt_run(plan));
    if (ok) {
        memcpy(out, lt_result(plan, 0), 4 * ROWS * sizeof *out);
        memcpy(out + 4 * ROWS, lt_result(plan, 1), 3 * COLS * sizeof *out);
    }
    lt_plan_free(plan);
    ts_bed_drop(&t);
    return ok;
}

static void narrowed_weights_compute_as_rounded_ones(void)
{
    enum { ALL = 4 * ROWS + 3 * COLS };
    static lt_real values[ROWS * COLS], rounded[ROWS * COLS], a[ALL], b[ALL];
    ts_fill_normal("values", ROWS * COLS, 1, values);
    for (int i = 0; i < ROWS * COLS; i++) rounded[i] = (lt_real)ts_from_bf16(ts_to_bf16((double)values[i]));
    if (!products(values, LT_BF16, a) || !products(rounded, LT_F32, b)) return;
    double d = ts_distance_real(4 * ROWS, a, b);
    TS_CHECK(d < ts_tolerance(1e-13, 1e-6), "the product differs by %g", d);
    TS_CHECK(ts_same_bytes(3 * COLS * sizeof *a, a + 4 * ROWS, b + 4 * ROWS), "gathered rows differ");
}

static void narrowing_halves_and_refuses(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_param *w = ts_weight(&t, "w", 1, DIMS(ROWS, COLS)), *v = ts_weight(&t, "v", 1, DIMS(COLS)), *state, *mapped;
    static const lt_real bytes[COLS];
    bool ok = TS_OK(t.ctx, lt_params_add(t.params, "m", LT_F32, DIMS(4, 4), LT_STATE, &state)) &&
              TS_OK(t.ctx, lt_params_map(t.params, "f", LT_F32, DIMS(4, 4), bytes, &mapped));
    if (ok) {
        lt_param_set_trainable(v, false);
        struct {
            lt_param *param;
            lt_dtype type;
            const char *why;
        } refused[] = {{w, LT_BF16, "trainable"},
                       {w, LT_Q8_0, "possible"},
                       {v, LT_BF16, "vectors"},
                       {state, LT_BF16, "state"},
                       {mapped, LT_BF16, "belong"}};
        for (int i = 0; i < LTI_COUNT(refused); i++) {
            lt_status status = lt_param_narrow(refused[i].param, refused[i].type);
            TS_CHECK(status == LT_EINVAL && strstr(lt_ctx_message(t.ctx), refused[i].why), "%s: %s: %s", refused[i].why,
                     lt_status_name(status), lt_ctx_message(t.ctx));
        }
        lt_param_set_trainable(w, false);
        size_t live = lt_ctx_live_bytes(t.ctx), half = ROWS * COLS * 2;
        uint64_t version = lt_param_version(w);
        TS_OK(t.ctx, lt_param_narrow(w, LT_BF16));
        TS_CHECK(lt_param_type(w) == LT_BF16 && lt_param_bytes(w) == half && lt_param_version(w) > version &&
                     !lt_param_trainable(w) && live - lt_ctx_live_bytes(t.ctx) == ROWS * COLS * sizeof(lt_real) - half,
                 "type %s, %zu bytes", lt_dtype_name(lt_param_type(w)), lt_param_bytes(w));
        TS_CHECK(lt_param_narrow(w, LT_F16) == LT_EINVAL, "what is narrow is not narrowed again");
    }
    ts_bed_drop(&t);
}

/* What was compiled for floats does not read halves past their end. */
static void plans_from_before_are_refused(void)
{
    ts_bed t;
    lt_plan *plan = NULL, *late = NULL;
    if (!ts_bed_make(&t)) return;
    lt_param *w = ts_weight(&t, "w", 1, DIMS(ROWS, COLS));
    lt_param_set_trainable(w, false);
    lt_t y = lt_square(lt_reshape(lt_param_value(t.g, w), DIMS(ROWS * COLS)));
    if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 1, &y, &plan)) && TS_OK(t.ctx, lt_run(plan)) &&
        TS_OK(t.ctx, lt_param_narrow(w, LT_BF16)) && TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 1, &y, &late))) {
        lt_plan *plans[] = {plan, late};
        for (int i = 0; i < LTI_COUNT(plans); i++)
            TS_CHECK(lt_run(plans[i]) == LT_EINVAL && strstr(lt_ctx_message(t.ctx), "'w' is bf16 now"), "plan %d: %s",
                     i, lt_ctx_message(t.ctx));
    }
    lt_plan_free(plan);
    lt_plan_free(late);
    ts_bed_drop(&t);
}

/* ---- Failing allocations ---- */

static lt_status attempt_storage(lt_ctx *ctx, void *arg)
{
    lt_params *params = NULL;
    lt_param *w = NULL;
    lt_graph *g = NULL;
    lt_plan *plan = NULL;
    (void)arg;
    lt_status status = lt_params_create(ctx, &params);
    if (status == LT_OK) status = lt_params_add(params, "w", LT_F32, DIMS(40, 40), LT_WEIGHT, &w);
    if (status == LT_OK) lt_param_set_trainable(w, false);
    if (status == LT_OK) status = lt_param_narrow(w, LT_BF16);
    if (status == LT_OK) status = lt_graph_create(ctx, params, &g);
    if (status == LT_OK) {
        lt_store_activations(g, LT_BF16);
        lt_t x = lt_input(g, "x", LT_F32, DIMS(32, 40)), dx;
        lt_t h = lt_swiglu(lt_scale(x, 2), lt_square(x));
        lt_t y = lt_matmul(h, lt_param_value(g, w), LT_TRANSPOSE_B);
        lt_grad(lt_sum_all(lt_mul(y, h)), 1, &x, &dx);
        status = ts_compile(g, TS_PLANNED, 1, &dx, &plan);
    }
    lt_plan_free(plan);
    lt_graph_free(g);
    lt_params_free(params);
    return status;
}

static void every_allocation_may_fail(void)
{
    size_t worth = lti_keep_worth;
    lti_keep_worth = 0;
    int64_t n = ts_every_allocation_fails("storing in bf16", attempt_storage, NULL);
    lti_keep_worth = worth;
    TS_CHECK(n > 20, "only %lld allocations were tried", (long long)n);
}

int lti_suite_storage(void)
{
    const ts_test tests[] = {{"computing again changes no bit", computing_again_changes_no_bit},
                             {"weight hooks", weight_hooks_are_no_checkpoints},
                             {"gradients of values in bf16", stored_in_bf16_gradients_stay_near},
                             {"each way takes less", each_way_takes_less},
                             {"one narrow copy is enough", one_narrow_copy_is_enough},
                             {"gradients die in their updates", gradients_die_in_their_updates},
                             {"narrowed weights", narrowed_weights_compute_as_rounded_ones},
                             {"narrowing halves and refuses", narrowing_halves_and_refuses},
                             {"plans from before", plans_from_before_are_refused},
                             {"every allocation may fail", every_allocation_may_fail}};
    return ts_suite("storage", LTI_COUNT(tests), tests);
}
