/* test_sessions.c - a session gives what the whole forward gives: in one piece or several, alone or behind padding,
 * step by step, for every family of decoders. The oracle is lt_model_logits on each text alone, without a cache. */
#include "infer/session.h"
#include "tests/golden.h"
#include "tests/toys.h"

#include <math.h>

static const char *const families[] = {"llama", "llama3", "llama_linear", "llama_yarn", "mistral",
                                       "qwen2", "qwen3",  "gemma3",       "gpt2",       "bitnet"};

static lt_model *open_family(lt_ctx *ctx, const char *name)
{
    char path[600];
    lt_model *model = NULL;
    snprintf(path, sizeof path, "%s/families/%s", gd_directory(), name);
    TS_OK(ctx, lt_model_open_frozen(ctx, path, &model));
    return model;
}

/* Ids that depend on the row and the position alone. */
static int32_t id_at(int row, int64_t t, int64_t vocab)
{
    return (int32_t)((uint64_t)(row * 7919 + t * 104729 + t * t * 31) % (uint64_t)vocab);
}

enum { MOST = 8, LONGEST = 700 };

/* What a session is asked, and how far its rows reach. */
typedef struct script {
    const char *name;
    int n;
    int64_t lengths[MOST], steps, cache, batch;
} script;

static lt_status make_session(lt_model *model, int64_t batch, int64_t length, lt_session **s)
{
    lt_session_options o;
    lt_session_options_init(&o);
    o.batch = batch, o.length = length;
    return lt_session_create(model, &o, s);
}

/* The largest distance of logits [vocab] from those at position `at` of the row's text alone. */
static double distance(lt_model *model, int row, int64_t at, const lt_real *logits)
{
    int64_t vocab = lt_model_config(model)->vocab;
    int32_t ids[LONGEST];
    for (int64_t t = 0; t <= at; t++) ids[t] = id_at(row, t, vocab);
    lt_real *want = toy_logits(model, ids, at + 1);
    double worst = 0;
    for (int64_t i = 0; i < vocab; i++) {
        double d = fabs((double)logits[i] - (double)want[at * vocab + i]);
        if (!(d <= worst)) worst = isnan(d) ? INFINITY : d;
    }
    free(want);
    return worst;
}

static void judge_script(lt_model *model, const script *p)
{
    lt_ctx *ctx = lt_params_ctx(lt_model_params(model));
    int64_t vocab = lt_model_config(model)->vocab;
    lt_session *s = NULL;
    const lt_real *logits;
    lt_ids prompts[MOST];
    int32_t ids[MOST][LONGEST], next[MOST];
    double worst = 0;
    for (int b = 0; b < p->n; b++) {
        for (int64_t t = 0; t < p->lengths[b]; t++) ids[b][t] = id_at(b, t, vocab);
        prompts[b] = (lt_ids){ids[b], p->lengths[b], LONGEST};
    }
    if (!TS_OK(ctx, make_session(model, p->batch, p->cache, &s))) return;
    bool ok = TS_OK(ctx, lt_session_prefill(s, p->n, prompts, &logits));
    for (int64_t t = 0; ok && t <= p->steps; t++) {
        for (int b = 0; b < p->n; b++) {
            worst = fmax(worst, distance(model, b, p->lengths[b] - 1 + t, logits + b * vocab));
            next[b] = id_at(b, p->lengths[b] + t, vocab);
        }
        if (t < p->steps) ok = TS_OK(ctx, lt_session_step(s, next, &logits));
    }
    TS_CHECK(worst < ts_tolerance(1e-11, 1e-4), "%s, %s: logits are %g away from the whole's", lt_model_family(model),
             p->name, worst);
    lt_session_free(s);
}

static void each_family(const script *scripts, int n, const char *only)
{
    for (int i = 0; i < LTI_COUNT(families); i++) {
        if (only && strcmp(only, families[i])) continue;
        lt_ctx *ctx = lt_ctx_create(NULL);
        lt_model *model = open_family(ctx, families[i]);
        for (int k = 0; model && k < n; k++) judge_script(model, &scripts[k]);
        lt_model_free(model);
        TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
        lt_ctx_free(ctx);
    }
}

static void whole_and_steps(void)
{
    const script scripts[] = {
        {"one row", 1, {12}, 6, 32, 1},
        {"one id", 1, {1}, 6, 32, 1},
        {"padding up to the cache's end", 1, {20}, 2, 22, 1},
        {"lengths of 1, 12, 7 and 3", 4, {1, 12, 7, 3}, 6, 40, 4},
        {"fewer rows than the batch", 2, {5, 9}, 4, 32, 4},
        {"as long as GPT-2 goes", 2, {60, 31}, 4, 64, 2},
    };
    each_family(scripts, LTI_COUNT(scripts), NULL);
}

/* Longer than a piece is: 256 positions, or fewer of many rows. */
static void chunks(void)
{
    const script scripts[] = {
        {"two pieces", 1, {300}, 3, 320, 1},
        {"two pieces, the last up to the cache's end", 1, {300}, 2, 302, 1},
        {"two pieces, the last of one", 1, {257}, 2, 300, 1},
        {"one piece, whole", 1, {256}, 2, 300, 1},
        {"pieces of padding alone", 3, {600, 20, 300}, 2, 640, 3},
    };
    each_family(scripts, LTI_COUNT(scripts), "llama");
    each_family(scripts, LTI_COUNT(scripts), "mistral");
    each_family(scripts, LTI_COUNT(scripts), "gemma3");
}

/* 70 rows: pieces of 32 positions. Rows are alike in pairs; those of the same prompt are the same. */
static void many_rows(void)
{
    enum { ROWS = 70, LENGTH = 50 };
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_model *model = open_family(ctx, "llama");
    lt_session *s = NULL;
    const lt_real *logits;
    lt_ids prompts[ROWS];
    int32_t ids[2][LENGTH];
    int64_t vocab = lt_model_config(model)->vocab;
    for (int b = 0; b < 2; b++)
        for (int t = 0; t < LENGTH; t++) ids[b][t] = id_at(b, t, vocab);
    for (int b = 0; b < ROWS; b++) prompts[b] = (lt_ids){ids[b % 2], LENGTH - b % 2, LENGTH};
    if (TS_OK(ctx, make_session(model, ROWS, 64, &s)) && TS_OK(ctx, lt_session_prefill(s, ROWS, prompts, &logits))) {
        double worst = fmax(distance(model, 0, LENGTH - 1, logits), distance(model, 1, LENGTH - 2, logits + vocab));
        TS_CHECK(worst < ts_tolerance(1e-11, 1e-4), "logits are %g away from the whole's", worst);
        for (int b = 2; b < ROWS; b++)
            TS_CHECK(ts_same_bytes((size_t)vocab * sizeof(lt_real), logits + b * vocab, logits + b % 2 * vocab),
                     "row %d is row %d", b, b % 2);
    }
    lt_session_free(s);
    lt_model_free(model);
    lt_ctx_free(ctx);
}

/* ---- What a session leaves alone ---- */

static void several_sessions(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_model *model = toy_model(ctx, TOY_INIT, 3);
    lt_session *a = NULL, *b = NULL;
    const lt_real *x, *y;
    int32_t ids[] = {3, 5, 7, 11}, next[] = {13, 17};
    lt_ids prompts[2] = {{ids, 4, 4}, {ids, 2, 4}};
    int count = lt_params_count(lt_model_params(model));
    int64_t vocab = lt_model_config(model)->vocab;
    TS_OK(ctx, make_session(model, 2, 16, &a));
    TS_OK(ctx, make_session(model, 1, 32, &b));
    TS_CHECK(lt_params_count(lt_model_params(model)) == count, "the model's params are as they were");
    TS_CHECK(lt_session_length(a) == 16 && lt_session_cache_bytes(a) == 2 * 2 * 2 * 16 * 2 * 8 * sizeof(lt_real),
             "%llu bytes of caches", (unsigned long long)lt_session_cache_bytes(a));
    lt_session_free(a);
    TS_OK(ctx, make_session(model, 2, 16, &a));
    TS_OK(ctx, lt_session_prefill(a, 1, prompts, &x));
    TS_OK(ctx, lt_session_prefill(b, 1, prompts, &y));
    TS_CHECK(ts_same_bytes((size_t)vocab * sizeof *x, x, y), "one row of a session of two is a session of one");
    TS_OK(ctx, lt_session_prefill(a, 2, prompts, &x));
    TS_OK(ctx, lt_session_step(a, next, &x));
    TS_CHECK(lt_session_room(a) == 16 - 5, "%lld steps fit", (long long)lt_session_room(a));
    uint64_t before = lt_ctx_allocations(ctx);
    for (int i = 0; i < 8; i++) TS_OK(ctx, lt_session_step(a, next, &x));
    TS_CHECK(lt_ctx_allocations(ctx) == before, "a step allocates nothing");
    TS_OK(ctx, lt_session_prefill(a, 1, prompts, &x)); /* what was there is forgotten */
    TS_OK(ctx, lt_session_prefill(b, 1, prompts, &y));
    TS_CHECK(ts_same_bytes((size_t)vocab * sizeof *x, x, y), "a prefill begins anew");
    lt_session_free(a);
    lt_session_free(b);
    lt_model_free(model);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

static void same_for_any_threads(void)
{
    enum { STEPS = 3 };
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_model *model = toy_model(ctx, "llama:layers=2,dim=256,hidden=512,heads=8,kv_heads=2,context=512", 5);
    int64_t vocab = lt_model_config(model)->vocab, n = 2 * vocab * (STEPS + 1);
    lt_real *kept = calloc((size_t)n, sizeof *kept);
    int32_t ids[300], next[2] = {1, 2};
    for (int t = 0; t < 300; t++) ids[t] = id_at(0, t, vocab);
    lt_ids prompts[2] = {{ids, 300, 300}, {ids + 40, 200, 260}};
    int before = lt_threads();
    for (int threads = 1; threads <= 3; threads++) {
        lt_set_threads(threads);
        lt_session *s = NULL;
        const lt_real *logits;
        TS_OK(ctx, make_session(model, 2, 320, &s));
        TS_OK(ctx, lt_session_prefill(s, 2, prompts, &logits));
        for (int t = 0; t <= STEPS; t++) {
            size_t bytes = (size_t)(2 * vocab) * sizeof *logits;
            if (threads == 1) memcpy(kept + t * 2 * vocab, logits, bytes);
            TS_CHECK(ts_same_bytes(bytes, kept + t * 2 * vocab, logits), "%d threads, step %d", threads, t);
            if (t < STEPS) TS_OK(ctx, lt_session_step(s, next, &logits));
        }
        lt_session_free(s);
    }
    lt_set_threads(before);
    free(kept);
    lt_model_free(model);
    lt_ctx_free(ctx);
}

/* ---- Rounded weights ---- */

/* Logits of a graph with the policy attached, as training and evaluation have them. */
static lt_real *attached_logits(lt_model *model, const lt_quant_policy *policy, const int32_t *ids, int64_t T)
{
    lt_ctx *ctx = lt_params_ctx(lt_model_params(model));
    int64_t vocab = lt_model_config(model)->vocab;
    lt_real *last = calloc((size_t)vocab, sizeof *last);
    lt_graph *g = NULL;
    lt_plan *plan = NULL;
    TS_OK(ctx, lt_graph_create(ctx, lt_model_params(model), &g));
    lt_qat_attach(g, policy);
    lt_model_input in = {.tokens = lt_index_input(g, "tokens", 2, (int64_t[]){1, T}, 0, (int32_t)vocab)};
    lt_t y = lt_model_logits(model, g, &in);
    if (TS_OK(ctx, lt_compile(g, NULL, 1, &y, &plan)) && TS_OK(ctx, lt_bind(plan, "tokens", ids)) &&
        TS_OK(ctx, lt_run(plan)))
        memcpy(last, (const lt_real *)lt_result(plan, 0) + (T - 1) * vocab, (size_t)vocab * sizeof *last);
    lt_plan_free(plan);
    lt_graph_free(g);
    return last;
}

static void rounded_weights(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_model *model = toy_model(ctx, TOY_INIT, 7);
    lt_quant_policy policy;
    lt_quant_policy_init(&policy);
    policy.weights.type = LT_Q4_0, policy.embedding.type = LT_Q8_0;
    int32_t ids[] = {9, 8, 7, 6, 5};
    lt_ids prompt = {ids, 5, 5};
    int64_t vocab = lt_model_config(model)->vocab;
    lt_session_options o;
    lt_session_options_init(&o);
    o.length = 16, o.quant = &policy;
    lt_session *s = NULL;
    const lt_real *logits;
    lt_real *want = attached_logits(model, &policy, ids, 5), *plain = toy_logits(model, ids, 5);
    if (TS_OK(ctx, lt_session_create(model, &o, &s)) && TS_OK(ctx, lt_session_prefill(s, 1, &prompt, &logits))) {
        double d = ts_distance_real(vocab, logits, want), moved = ts_distance_real(vocab, logits, plain + 4 * vocab);
        TS_CHECK(d < ts_tolerance(1e-12, 1e-5) && moved > 1e-3, "%g from the attached policy, %g from no policy", d,
                 moved);
    }
    free(want);
    free(plain);
    lt_session_free(s);
    policy.size = 0;
    TS_REFUSED(ctx, lt_session_create(model, &o, &s), LT_EINVAL, "lt_quant_policy_init");
    policy.size = sizeof policy;
    ((lt_real *)lt_param_data(lt_params_find(lt_model_params(model), "blk.1.ffn_up.weight")))[7] = (lt_real)NAN;
    TS_REFUSED(ctx, lt_session_create(model, &o, &s), LT_ENONFINITE, "blk.1.ffn_up.weight");
    lt_model_free(model);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

/* ---- What is refused ---- */

static void refused_sessions(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_model *bert = open_family(ctx, "bert"), *gpt2 = open_family(ctx, "gpt2");
    lt_session *s = NULL;
    lt_session_options o;
    lt_session_options_init(&o);
    TS_REFUSED(ctx, lt_session_create(bert, NULL, &s), LT_EUNSUPPORTED, "bert is an encoder");
    TS_REFUSED(ctx, make_session(gpt2, 1, 65, &s), LT_EINVAL, "gpt2 learned 64");
    TS_REFUSED(ctx, make_session(gpt2, 0, 0, &s), LT_EINVAL, "a batch of 0 rows");
    TS_REFUSED(ctx, make_session(gpt2, 1, 1, &s), LT_EINVAL, "a cache of 1 positions");
    o.size = 3;
    TS_REFUSED(ctx, lt_session_create(gpt2, &o, &s), LT_EINVAL, "lt_session_options_init");
    TS_CHECK(s == NULL, "no session comes of it");
    if (TS_OK(ctx, lt_session_create(gpt2, NULL, &s)))
        TS_CHECK(lt_session_length(s) == 64, "the model's context, not %lld", (long long)lt_session_length(s));
    lt_session_free(s);
    lt_session_free(NULL);
    lt_model_free(bert);
    lt_model_free(gpt2);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

static void refused_prompts(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_model *model = toy_model(ctx, TOY_INIT, 3);
    lt_session *s = NULL;
    const lt_real *logits;
    int32_t ids[8] = {1, 2, 3, 4, 5, 6, 7, 258};
    lt_ids good[2] = {{ids, 3, 8}, {ids, 2, 8}}, bad[2] = {{ids, 3, 8}, {ids, 8, 8}};
    if (!TS_OK(ctx, make_session(model, 2, 10, &s))) return;
    TS_REFUSED(ctx, lt_session_step(s, ids, &logits), LT_EINVAL, "prefill first");
    TS_REFUSED(ctx, lt_session_prefill(s, 3, good, &logits), LT_EINVAL, "3 prompts in a session of 2 rows");
    TS_REFUSED(ctx, lt_session_prefill(s, 0, good, &logits), LT_EINVAL, "0 prompts");
    TS_REFUSED(ctx, lt_session_prefill(s, 2, bad, &logits), LT_EINVAL,
               "prompt 1: id 258 at position 7 is outside the vocabulary of 258");
    ids[7] = -1;
    TS_REFUSED(ctx, lt_session_prefill(s, 2, bad, &logits), LT_EINVAL, "prompt 1: id -1");
    bad[1].count = 0;
    TS_REFUSED(ctx, lt_session_prefill(s, 2, bad, &logits), LT_EINVAL, "prompt 1 is empty");
    bad[1].count = 10;
    TS_REFUSED(ctx, lt_session_prefill(s, 2, bad, &logits), LT_EINVAL, "prompt 1 has 10 ids");
    TS_CHECK(logits == NULL && lt_session_room(s) == 0, "nothing is there after a failure");
    TS_OK(ctx, lt_session_prefill(s, 2, good, &logits));
    TS_REFUSED(ctx, lt_session_step(s, (int32_t[]){1, 300}, &logits), LT_EINVAL, "id 300 at position 1");
    for (int i = 0; i < 7; i++) TS_OK(ctx, lt_session_step(s, ids, &logits));
    TS_REFUSED(ctx, lt_session_step(s, ids, &logits), LT_ELIMIT, "cache of 10 positions is full");
    TS_OK(ctx, lt_session_prefill(s, 2, good, &logits));
    for (int64_t i = 0; i < lt_model_config(model)->vocab * 32; i++)
        ((lt_real *)lt_param_data(lt_params_find(lt_model_params(model), "token_embd.weight")))[i] = (lt_real)NAN;
    TS_REFUSED(ctx, lt_session_step(s, ids, &logits), LT_ENONFINITE, "NaN or an infinity");
    TS_REFUSED(ctx, lt_session_step(s, ids, &logits), LT_EINVAL, "prefill first");
    lt_session_free(s);
    lt_model_free(model);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

static lt_status use_a_session(lt_ctx *ctx, void *arg)
{
    (void)arg;
    lt_model *model = NULL;
    lt_session *s = NULL;
    lt_quant_policy policy;
    lt_quant_policy_init(&policy);
    policy.weights.type = LT_Q8_0;
    lt_session_options o;
    lt_session_options_init(&o);
    o.batch = 2, o.length = 16, o.quant = &policy;
    int32_t ids[] = {1, 2, 3};
    lt_ids prompts[2] = {{ids, 3, 3}, {ids, 2, 3}};
    const lt_real *logits;
    lt_status status = lt_model_create(ctx, "llama:layers=1,dim=32,hidden=32,heads=2,context=16", NULL, 1, &model);
    if (status == LT_OK) status = lt_session_create(model, &o, &s);
    if (status == LT_OK) status = lt_session_prefill(s, 1, prompts, &logits);
    if (status == LT_OK) status = lt_session_prefill(s, 2, prompts, &logits);
    if (status == LT_OK) status = lt_session_step(s, ids, &logits);
    lt_session_free(s);
    lt_model_free(model);
    return status;
}

static void memory_runs_out(void)
{
    ts_every_allocation_fails("a session", use_a_session, NULL);
}

int lti_suite_sessions(void)
{
    const ts_test tests[] = {{"the whole and its steps", whole_and_steps},
                             {"pieces of long prompts", chunks},
                             {"many rows", many_rows},
                             {"several sessions", several_sessions},
                             {"any number of threads", same_for_any_threads},
                             {"rounded weights", rounded_weights},
                             {"refused sessions", refused_sessions},
                             {"refused prompts", refused_prompts},
                             {"memory runs out", memory_runs_out}};
    return ts_suite("sessions", LTI_COUNT(tests), tests) || toy_one_thread("sessions");
}
