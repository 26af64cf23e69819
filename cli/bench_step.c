/* bench_step.c - whole training steps of a Llama of random weights on random tokens, for one or several numbers of
 * threads.
 *
 * What is timed is what `lathe train` runs: without clipping one plan that holds forward, backward and updates; with it
 * a plan that sums gradients and one that updates. Shapes, batch and median are those of other programs' step timers,
 * so numbers can stand side by side; the first step, which packs weights and touches memory for the first time, is
 * reported apart. */
#include "cli/bench_step.h"
#include "base/order.h"
#include "cli/machine.h"
#include "kernels/compute_choice.h"
#include "kernels/gemm.h"
#include "lathe/optim.h"
#include "lathe/plan.h"
#include "train/op_times.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_THREAD_COUNTS = 16 };

/* What one number of threads gave. */
typedef struct timing {
    int threads;
    double median, first; /* seconds a step */
    double provider;      /* share of the threads' time inside the provider of products */
    lt_op_share shares[LTI_MOST_OPS];
    int n_shares;
} timing;

typedef struct bench {
    cli *cli;
    const cli_bench_step *o;
    int64_t seed;
    lt_transformer_config config;
    lt_quant_policy policy;
    lt_dtype compute;
    lt_params *params;
    lt_optimizer *optimizer;
    lt_arena *arena;
    lt_plan *plan, *update;    /* update: NULL when it is fused into the plan */
    int32_t *tokens, *targets; /* [batch, seq] */
    double *seconds;           /* [steps + 1] */
    lti_op_times times;
    int64_t trainable;
    timing timings[MOST_THREAD_COUNTS];
    int n_timings;
} bench;

/* ---- What is trained ---- */

static const struct shape {
    const char *name, *init;
} shapes[] = {{"smollm2", "vocab=49152,dim=576,hidden=1536,layers=30,heads=9,kv_heads=3"},
              {"tiny", "vocab=512,dim=64,hidden=172,layers=5,heads=8,kv_heads=4"}};

/* "dim=256,layers=4" into the config. False: not a list of known sizes. */
static bool read_sizes(const char *text, lt_transformer_config *c)
{
    const struct {
        const char *key;
        int64_t *value;
    } keys[] = {{"vocab", &c->vocab},   {"dim", &c->dim},     {"hidden", &c->hidden},
                {"layers", &c->layers}, {"heads", &c->heads}, {"kv_heads", &c->kv_heads}};
    while (*text) {
        char key[16];
        long long value;
        int used = 0, k = 0;
        if (sscanf(text, "%15[a-z_]=%lld%n", key, &value, &used) != 2 || value < 1 || value > 1 << 28) return false;
        while (k < LTI_COUNT(keys) && strcmp(keys[k].key, key) != 0) k++;
        if (k == LTI_COUNT(keys)) return false;
        *keys[k].value = value;
        text += used;
        if (*text == ',') text++;
    }
    return true;
}

static int choose_config(bench *b)
{
    const char *init = b->o->shape;
    for (int i = 0; i < LTI_COUNT(shapes); i++)
        if (!strcmp(shapes[i].name, init)) init = shapes[i].init;
    lt_transformer_config *c = &b->config;
    lt_transformer_config_init(c, LT_LLAMA);
    c->vocab = 512, c->dim = 256, c->hidden = 768, c->layers = 4, c->heads = 4, c->kv_heads = 4;
    if (!read_sizes(init, c))
        return cli_fail(b->cli, EXIT_USAGE,
                        "--shape '%s' is neither smollm2, tiny nor sizes like "
                        "vocab=512,dim=256,hidden=768,layers=4,heads=4,kv_heads=4",
                        b->o->shape);
    c->rope_theta = 1e5;
    c->tied = true;
    c->checkpoint = b->o->checkpoint;
    if (b->o->seq > c->context) c->context = b->o->seq;
    lt_quant_policy_init(&b->policy);
    if (lt_quant_policy_parse(b->cli->ctx, b->o->qat_type, &b->policy) != LT_OK)
        return cli_fail(b->cli, EXIT_USAGE, "--qat-type: %s", lt_ctx_message(b->cli->ctx));
    if (b->o->qat_activations) lt_activations_parse(b->o->qat_activations, &b->policy.activations);
    b->compute = LT_F32;
    if (!strcmp(b->o->compute, "bf16")) b->compute = LT_BF16;
    double f32, bf16;
    if (!strcmp(b->o->compute, "auto")) b->compute = lti_compute_auto(b->cli->ctx, &f32, &bf16);
    return EXIT_DONE;
}

static lt_status make_optimizer(bench *b)
{
    lt_optimizer_config config;
    lt_optimizer_config_init(&config);
    lt_optimizer_parse(b->o->optimizer, &config.kind);
    config.weight_decay = 0;
    config.max_grad_norm = b->o->max_grad_norm;
    return lt_optimizer_create(b->cli->ctx, b->params, &config, &b->optimizer);
}

/* Records the step; `loss` is its loss. */
static lt_status record(bench *b, lt_graph *g, lt_t *loss)
{
    int64_t shape[] = {b->o->batch, b->o->seq};
    int32_t vocab = (int32_t)b->config.vocab;
    lt_compute(g, b->compute);
    lt_weight_copies(g, b->o->max_grad_norm > 0);
    if (!strcmp(b->o->store, "bf16")) lt_store_activations(g, LT_BF16);
    if (!strcmp(b->o->step, "qat")) lt_qat_attach(g, &b->policy);
    lt_t tokens = lt_index_input(g, "tokens", 2, shape, 0, vocab);    /* [B, T] */
    lt_t targets = lt_index_input(g, "targets", 2, shape, -1, vocab); /* [B, T] */
    *loss = lt_transformer_loss(g, &b->config, &(lt_model_input){.tokens = tokens}, targets, lt_nil(g));
    if (b->o->max_grad_norm == 0) return lt_optimizer_fused(b->optimizer, g, *loss);
    lt_status status = lt_optimizer_accumulate(b->optimizer, g, *loss);
    return status == LT_OK ? lt_optimizer_apply(b->optimizer, g) : status;
}

/* One plan when updates are fused; else phase 0 and phase 1 of the recipe. */
static lt_status compile(bench *b, lt_graph *g, lt_t loss)
{
    lt_compile_options options;
    lt_compile_options_init(&options);
    options.arena = b->arena;
    bool split = b->o->max_grad_norm > 0;
    if (split) options.phases = 1;
    lt_status status = lt_compile(g, &options, 1, &loss, &b->plan);
    options.phases = 2;
    lt_t norm = lt_tapped(g, "grad_norm");
    if (status == LT_OK && split) status = lt_compile(g, &options, 1, &norm, &b->update);
    return status;
}

static lt_status make_tokens(bench *b)
{
    int64_t n = b->o->batch * b->o->seq;
    uint64_t state = (uint64_t)b->seed * 2 + 1;
    b->tokens = malloc((size_t)n * sizeof *b->tokens);
    b->targets = malloc((size_t)n * sizeof *b->targets);
    b->seconds = calloc((size_t)b->o->steps + 1, sizeof *b->seconds);
    if (!b->tokens || !b->targets || !b->seconds) return LT_ENOMEM;
    for (int64_t i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX generator */
        b->tokens[i] = (int32_t)((state >> 33) % (uint64_t)b->config.vocab);
    }
    for (int64_t i = 0; i < n; i++) b->targets[i] = (i + 1) % b->o->seq ? b->tokens[i + 1] : -1;
    lt_status status = lt_bind(b->plan, "tokens", b->tokens);
    return status == LT_OK ? lt_bind(b->plan, "targets", b->targets) : status;
}

static lt_status set_up(bench *b)
{
    lt_ctx *ctx = b->cli->ctx;
    lt_graph *g = NULL;
    lt_t loss;
    lt_status status = lt_params_create(ctx, &b->params);
    if (status == LT_OK) status = lt_transformer_params(b->params, &b->config, (uint64_t)b->seed);
    if (status == LT_OK) status = make_optimizer(b);
    if (status == LT_OK) status = lt_arena_create(ctx, &b->arena);
    if (status == LT_OK) status = lt_graph_create(ctx, b->params, &g);
    if (status == LT_OK) status = record(b, g, &loss);
    if (status == LT_OK) status = compile(b, g, loss);
    lt_graph_free(g);
    return status == LT_OK ? make_tokens(b) : status;
}

static void tear_down(bench *b)
{
    lt_plan_free(b->plan);
    lt_plan_free(b->update);
    lt_arena_free(b->arena);
    lt_optimizer_free(b->optimizer);
    lt_params_free(b->params);
    free(b->tokens);
    free(b->targets);
    free(b->seconds);
    b->plan = b->update = NULL, b->arena = NULL, b->optimizer = NULL, b->params = NULL;
    b->tokens = b->targets = NULL, b->seconds = NULL;
}

/* ---- Steps ---- */

static lt_status run_plan(bench *b, lt_plan *plan, int64_t step)
{
    const struct {
        const char *name;
        double value;
    } numbers[] = {{"step", (double)step}, {"lr", 1e-4}, {"fresh", 1}};
    lt_status status = LT_OK;
    for (int i = 0; i < LTI_COUNT(numbers) && status == LT_OK; i++)
        if (lt_plan_has(plan, numbers[i].name)) status = lt_set(plan, numbers[i].name, numbers[i].value);
    return status == LT_OK ? lti_op_times_run(&b->times, plan) : status;
}

/* The first step, then the timed ones. LT_EINTERRUPTED when a signal came. */
static lt_status run_steps(bench *b)
{
    lt_status status = LT_OK;
    for (int64_t i = 0; i <= b->o->steps && status == LT_OK; i++) {
        if (cli_stop) return LT_EINTERRUPTED;
        if (i == 1) {
            lti_op_times_take(&b->times);
            lti_gemm_timing(true);
        }
        double start = cli_seconds();
        status = run_plan(b, b->plan, i + 1);
        double loss = status == LT_OK ? (double)*(const lt_real *)lt_result(b->plan, 0) : 0;
        if (status == LT_OK && b->update) status = run_plan(b, b->update, i + 1);
        b->seconds[i] = cli_seconds() - start;
        if (status == LT_OK)
            cli_say(b->cli, "step %" PRId64 "/%" PRId64 "  loss %.4f  %.3f s%s", i, b->o->steps, loss, b->seconds[i],
                    i ? "" : "  (not counted)");
    }
    return status;
}

static void take_timing(bench *b, int threads)
{
    timing *t = &b->timings[b->n_timings++];
    int64_t n = b->o->steps;
    double all = 0;
    for (int64_t i = 1; i <= n; i++) all += b->seconds[i];
    t->threads = threads;
    t->first = b->seconds[0];
    qsort(b->seconds + 1, (size_t)n, sizeof *b->seconds, lti_ascending);
    t->median = (b->seconds[1 + (n - 1) / 2] + b->seconds[1 + n / 2]) / 2;
    t->provider = lti_gemm_timing(false) / (all * threads);
    t->n_shares = lti_op_times_take(&b->times);
    memcpy(t->shares, b->times.shares, sizeof t->shares);
    b->trainable = 0;
    for (int i = 0; i < lt_optimizer_count(b->optimizer); i++)
        b->trainable += lt_param_count(lt_optimizer_param(b->optimizer, i));
}

static lt_status measure(bench *b, int threads)
{
    if (threads > 0) lt_set_threads(threads);
    lt_status status = set_up(b);
    if (status == LT_OK) status = run_steps(b);
    if (status == LT_OK) take_timing(b, lt_threads());
    tear_down(b);
    return status;
}

/* ---- The answer ---- */

static bool is_product(const char *op)
{
    return !strncmp(op, "matmul", 6) || !strncmp(op, "head_loss", 9);
}

static double product_share(const timing *t)
{
    double share = 0;
    for (int i = 0; i < t->n_shares; i++) share += is_product(t->shares[i].op) ? t->shares[i].share : 0;
    return share;
}

static double rate(const bench *b, const timing *t)
{
    return (double)(b->o->batch * b->o->seq) / t->median;
}

/* Of the run with most threads against the one with fewest: speed-up by added threads, and the share of the latter's
 * time that did not become shorter (Amdahl, 1967). */
static void scaling(const timing *few, const timing *many, double *efficiency, double *serial)
{
    double n = (double)many->threads / few->threads, ratio = many->median / few->median;
    *efficiency = 1 / (ratio * n);
    *serial = n > 1 ? (ratio - 1 / n) / (1 - 1 / n) : NAN;
}

static json_t *times_json(const timing *t)
{
    json_t *times = json_object();
    for (int i = 0; i < t->n_shares; i++) json_object_set_new(times, t->shares[i].op, json_real(t->shares[i].share));
    return times;
}

static json_t *timings_json(const bench *b)
{
    json_t *list = json_array();
    for (int i = 0; i < b->n_timings; i++) {
        const timing *t = &b->timings[i];
        json_array_append_new(list, json_pack("{s:i, s:o, s:o, s:o}", "threads", t->threads, "tokens_per_second",
                                              cli_real(rate(b, t)), "step_seconds", cli_real(t->median), "gemm_share",
                                              cli_real(product_share(t))));
    }
    return list;
}

static int answer(const bench *b, const timing *t, uint64_t peak)
{
    const cli_bench_step *o = b->o;
    json_t *json = json_pack(
        "{s:s, s:s, s:I, s:I, s:I, s:i, s:s, s:s, s:o, s:o, s:I, s:o, s:o, s:o, s:I, s:s, s:o}", "step", o->step,
        "shape", o->shape, "batch", (json_int_t)o->batch, "seq", (json_int_t)o->seq, "steps", (json_int_t)o->steps,
        "threads", t->threads, "compute", lt_dtype_name(b->compute), "optimizer", o->optimizer, "tokens_per_second",
        cli_real(rate(b, t)), "step_seconds", cli_real(t->median), "peak_rss_bytes", (json_int_t)peak, "gemm_share",
        cli_real(product_share(t)), "provider_share", cli_real(t->provider), "first_step_seconds", cli_real(t->first),
        "trainable", (json_int_t)b->trainable, "kernels", lt_kernels_in_use(), "times", times_json(t));
    if (b->n_timings > 1) {
        double efficiency, serial;
        scaling(&b->timings[0], t, &efficiency, &serial);
        json_object_set_new(json, "by_threads", timings_json(b));
        json_object_set_new(json, "parallel_efficiency", cli_real(efficiency));
        json_object_set_new(json, "serial_share", cli_real(serial));
    }
    return cli_answer(b->cli, json);
}

static void print_shares(const timing *t)
{
    double rest = 1;
    printf("time by operator:");
    for (int i = 0; i < t->n_shares && t->shares[i].share >= 0.01; i++) {
        printf("%s %s %.1f%%", i ? "," : "", t->shares[i].op, 100 * t->shares[i].share);
        rest -= t->shares[i].share;
    }
    printf(", all others %.1f%%\n", 100 * (rest > 0 ? rest : 0));
}

static int report(const bench *b)
{
    const cli_bench_step *o = b->o;
    const timing *t = &b->timings[b->n_timings - 1];
    uint64_t peak = lt_memory_now().peak_rss;
    if (b->cli->json) return answer(b, t, peak);
    char text[2][32];
    printf("%s %s, batch %" PRId64 " x %" PRId64 ", %s, %s, %s\n", o->shape, o->step, o->batch, o->seq,
           lt_dtype_name(b->compute), o->optimizer, lt_kernels_in_use());
    for (int i = 0; i < b->n_timings; i++) {
        const timing *one = &b->timings[i];
        printf("%d threads: %.1f tok/s (median of %" PRId64 " steps: %.3f s; first step %.3f s)\n", one->threads,
               rate(b, one), o->steps, one->median, one->first);
    }
    if (b->n_timings > 1) {
        double efficiency, serial;
        scaling(&b->timings[0], t, &efficiency, &serial);
        printf("parallel efficiency %.0f%%", 100 * efficiency);
        if (isfinite(serial)) printf(", serial share %.1f%%", 100 * serial);
        printf("\n");
    }
    printf("%.0f%% of the time in matrix products, %.0f%% of the threads' time in %s; %s at most, %s trainable "
           "parameters\n",
           100 * product_share(t), 100 * t->provider, lti_gemm_provider(), cli_bytes(text[0], peak),
           cli_thousands(text[1], b->trainable));
    print_shares(t);
    return EXIT_DONE;
}

/* "1,2" -> counts, each more than the one before; how many, 0 when it is no such list. A 0 stands alone. */
static int read_threads(const char *text, int counts[MOST_THREAD_COUNTS])
{
    for (int n = 0; n < MOST_THREAD_COUNTS;) {
        int value, used = 0;
        if (sscanf(text, "%d%n", &value, &used) != 1 || value < 0 || value > 4096) return 0;
        if (n > 0 && (counts[0] == 0 || value <= counts[n - 1])) return 0;
        counts[n++] = value;
        text += used;
        if (!*text) return n;
        if (*text++ != ',') return 0;
    }
    return 0;
}

int cli_bench_step_run(cli *c, const cli_bench_step *options, int64_t seed)
{
    int counts[MOST_THREAD_COUNTS], n = read_threads(options->threads, counts);
    if (n == 0)
        return cli_fail(c, EXIT_USAGE, "--threads '%s': a number of threads, or up to %d growing ones like 1,2",
                        options->threads, MOST_THREAD_COUNTS);
    bench *b = calloc(1, sizeof *b);
    if (!b) return cli_fail(c, EXIT_MEMORY, "out of memory at the start");
    b->cli = c, b->o = options, b->seed = seed;
    int code = choose_config(b);
    for (int i = 0; i < n && code == EXIT_DONE; i++) {
        lt_status status = measure(b, counts[i]);
        if (status == LT_EINTERRUPTED)
            code = cli_fail(c, EXIT_SIGNAL + cli_stop, "stopped by a signal");
        else if (status != LT_OK)
            code = cli_fail_status(c, status, false);
    }
    if (code == EXIT_DONE) code = report(b);
    free(b);
    return code;
}
