/* verb_bench.c - lathe bench: whole training steps of a Llama of random weights on random tokens, or with --model a
 * model at work (bench_model.c).
 *
 * What is timed is what `lathe train` runs without clipping: one plan that holds forward, backward and the AdamW
 * updates. The same shapes, batch and median are those of other programs' step timers, so numbers can stand side by
 * side; the first step, which packs weights and touches memory for the first time, is reported apart. */
#include "cli/bench_model.h"
#include "lathe/optim.h"
#include "lathe/plan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct bench_options {
    cli_common common;
    const char *step, *shape;
    int64_t batch, seq, steps;
    const char *type;
    cli_bench_model model;
} bench_options;

#define AT(field) offsetof(bench_options, field)
#define GROUP "Step"
#define USE "A model at work"

static const cli_option options[] = {
    {"step", CLI_CHOICE, AT(step), "full", GROUP, "what is trained", .choices = "full|qat",
     .later = "lora|qlora|dora|kd"},
    {"shape", CLI_CHOICE, AT(shape), "smollm2", GROUP, "smollm2: 135 million parameters; tiny: 260 thousand",
     .choices = "smollm2|tiny"},
    {"batch", CLI_INT, AT(batch), "4", GROUP, "rows", .low = 1, .high = 65536},
    {"seq", CLI_INT, AT(seq), "256", GROUP, "positions a row", .low = 2, .high = 65536},
    {"steps", CLI_INT, AT(steps), "4", GROUP, "timed steps, after one that is not; the median counts", .low = 1,
     .high = 100000},
    {"qat_type", CLI_CHOICE, AT(type), "q4_0", GROUP, "type of the linear layers in --step qat", .choices = "q4_0|q8_0",
     .later = CLI_QUANT_LATER},
    {"model", CLI_TEXT, AT(model.model), .group = USE, .value = "M",
     .help = "time this model's generation, not training: Hugging Face directory, lathe checkpoint or .gguf"},
    {"prompt_tokens", CLI_INT, AT(model.prompt_tokens), "128", USE, "tokens read before the first new one", .low = 1,
     .high = 1 << 24},
    {"tokens", CLI_INT, AT(model.tokens), "64", USE, "timed tokens, one by one", .low = 1, .high = 1 << 24},
    {"batch_size", CLI_INT, AT(model.batch_size), "4", USE, "rows at once, besides one alone; 1: only that", .low = 1,
     .high = 4096},
};
static const char *const later[] = {"kernels", NULL};

static int verb_bench(cli *cli, void *target);

const cli_verb cli_verb_bench = {
    .name = "bench",
    .summary = "training steps, or a model's generation, timed on this machine",
    .usage = "[options]",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .target_bytes = sizeof(bench_options),
    .later = later,
    .run = verb_bench,
};

static const struct shape {
    const char *name;
    int64_t vocab, dim, hidden, layers, heads, kv_heads;
} shapes[] = {{"smollm2", 49152, 576, 1536, 30, 9, 3}, {"tiny", 512, 64, 172, 5, 8, 4}};

typedef struct bench {
    const bench_options *o;
    lt_ctx *ctx;
    lt_transformer_config config;
    lt_quant_policy policy;
    lt_params *params;
    lt_optimizer *optimizer;
    lt_graph *graph;
    lt_plan *plan;
    int32_t *tokens, *targets; /* [batch, seq] */
    double *seconds;           /* [steps + 1] */
    double products, all;      /* seconds in matrix products, and in all operators */
} bench;

static void bench_free(bench *b)
{
    lt_plan_free(b->plan);
    lt_graph_free(b->graph);
    lt_optimizer_free(b->optimizer);
    lt_params_free(b->params);
    free(b->tokens);
    free(b->targets);
    free(b->seconds);
}

static void choose_config(bench *b)
{
    const struct shape *s = shapes;
    while (strcmp(s->name, b->o->shape)) s++;
    lt_transformer_config_init(&b->config, LT_LLAMA);
    b->config.vocab = s->vocab, b->config.dim = s->dim, b->config.hidden = s->hidden, b->config.layers = s->layers;
    b->config.heads = s->heads, b->config.kv_heads = s->kv_heads;
    b->config.rope_theta = 1e5;
    b->config.tied = true;
    lt_quant_policy_init(&b->policy);
    lt_dtype_parse(b->o->type, &b->policy.type);
}

static lt_status record(bench *b)
{
    const bench_options *o = b->o;
    int64_t shape[] = {o->batch, o->seq};
    int32_t vocab = (int32_t)b->config.vocab;
    lt_status status = lt_params_create(b->ctx, &b->params);
    if (status == LT_OK) status = lt_transformer_params(b->params, &b->config, (uint64_t)o->common.seed);
    lt_optimizer_config adamw;
    lt_optimizer_config_init(&adamw);
    adamw.weight_decay = 0;
    if (status == LT_OK) status = lt_optimizer_create(b->ctx, b->params, &adamw, &b->optimizer);
    if (status == LT_OK) status = lt_graph_create(b->ctx, b->params, &b->graph);
    if (status != LT_OK) return status;
    lt_graph *g = b->graph;
    if (!strcmp(o->step, "qat")) lt_qat_attach(g, &b->policy);
    lt_t tokens = lt_index_input(g, "tokens", 2, shape, 0, vocab);    /* [B, T] */
    lt_t targets = lt_index_input(g, "targets", 2, shape, -1, vocab); /* [B, T] */
    lt_t loss = lt_transformer_loss(g, &b->config, &(lt_model_input){.tokens = tokens}, targets, lt_nil(g));
    status = lt_optimizer_fused(b->optimizer, g, loss);
    if (status == LT_OK) status = lt_compile(g, NULL, 1, &loss, &b->plan);
    return status;
}

static lt_status make_tokens(bench *b)
{
    int64_t n = b->o->batch * b->o->seq;
    uint64_t state = (uint64_t)b->o->common.seed * 2 + 1;
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

static void add_time(void *user, const char *op, double seconds, int64_t calls)
{
    bench *b = user;
    (void)calls;
    b->all += seconds;
    if (!strncmp(op, "matmul", 6) || !strncmp(op, "head_loss", 9)) b->products += seconds;
}

/* The first step, then the timed ones. LT_EINTERRUPTED when a signal came. */
static lt_status run_steps(bench *b, cli *c)
{
    lt_status status = LT_OK;
    for (int64_t i = 0; i <= b->o->steps && status == LT_OK; i++) {
        if (cli_stop) return LT_EINTERRUPTED;
        if (i == 1) lt_plan_timing(b->plan, true);
        double start = cli_seconds();
        status = lt_set(b->plan, "step", (double)(i + 1));
        if (status == LT_OK) status = lt_set(b->plan, "lr", 1e-4);
        if (status == LT_OK) status = lt_run(b->plan);
        b->seconds[i] = cli_seconds() - start;
        if (status == LT_OK)
            cli_say(c, "step %" PRId64 "/%" PRId64 "  loss %.4f  %.3f s%s", i, b->o->steps,
                    (double)*(const lt_real *)lt_result(b->plan, 0), b->seconds[i], i ? "" : "  (not counted)");
    }
    if (status == LT_OK) lt_plan_times(b->plan, add_time, b);
    return status;
}

static int compare_reals(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int report(bench *b, cli *c)
{
    const bench_options *o = b->o;
    int64_t n = o->steps, parameters = 0;
    qsort(b->seconds + 1, (size_t)n, sizeof *b->seconds, compare_reals);
    double median = (b->seconds[1 + (n - 1) / 2] + b->seconds[1 + n / 2]) / 2;
    double rate = (double)(o->batch * o->seq) / median, share = b->all > 0 ? b->products / b->all : 0;
    uint64_t peak = lt_memory_now().peak_rss;
    for (int i = 0; i < lt_optimizer_count(b->optimizer); i++)
        parameters += lt_param_count(lt_optimizer_param(b->optimizer, i));
    if (c->json)
        return cli_answer(
            c, json_pack("{s:s, s:s, s:I, s:I, s:I, s:i, s:o, s:o, s:I, s:o, s:o, s:I, s:s}", "step", o->step, "shape",
                         o->shape, "batch", (json_int_t)o->batch, "seq", (json_int_t)o->seq, "steps", (json_int_t)n,
                         "threads", lt_threads(), "tokens_per_second", cli_real(rate), "step_seconds", cli_real(median),
                         "peak_rss_bytes", (json_int_t)peak, "gemm_share", cli_real(share), "first_step_seconds",
                         cli_real(b->seconds[0]), "trainable", (json_int_t)parameters, "kernels", lt_kernels_in_use()));
    char text[2][32];
    printf("%s %s, batch %" PRId64 " x %" PRId64 ", %d threads, %s\n", o->shape, o->step, o->batch, o->seq,
           lt_threads(), lt_kernels_in_use());
    printf("%.1f tok/s (median of %" PRId64 " steps: %.3f s; first step %.3f s)\n", rate, n, median, b->seconds[0]);
    printf("%.0f%% of the time in matrix products, %s at most, %s trainable parameters\n", 100 * share,
           cli_bytes(text[0], peak), cli_thousands(text[1], parameters));
    return EXIT_DONE;
}

/* Options of the one measurement given to the other would be passed over in silence. */
static int check_options(cli *c, const bench_options *o)
{
    bool given = o->model.model != NULL;
    static const char *const of_steps[] = {"step", "shape", "batch", "seq", "steps", "qat_type", NULL};
    static const char *const of_model[] = {"prompt_tokens", "tokens", "batch_size", NULL};
    for (const char *const *name = given ? of_steps : of_model; *name; name++)
        if (cli_settings_given(c->settings, *name))
            return cli_fail(c, EXIT_USAGE,
                            given ? "%s is about training steps; leave it out with --model" : "%s goes with --model M",
                            *name);
    return EXIT_DONE;
}

static int verb_bench(cli *c, void *target)
{
    const bench_options *o = target;
    int checked = check_options(c, o);
    if (checked) return checked;
    if (o->model.model) return cli_bench_model_run(c, &o->model, o->common.seed);
    bench b = {.o = o, .ctx = c->ctx};
    choose_config(&b);
    lt_status status = record(&b);
    if (status == LT_OK) status = make_tokens(&b);
    if (status == LT_OK) status = run_steps(&b, c);
    int code = status == LT_OK             ? report(&b, c)
               : status == LT_EINTERRUPTED ? cli_fail(c, EXIT_SIGNAL + cli_stop, "stopped by a signal")
                                           : cli_fail_status(c, status, false);
    bench_free(&b);
    return code;
}
