/* bench_model.c - lathe bench --model: what a user of the model waits for.
 *
 * A prompt of random tokens is read, then the most likely token is appended again and again: for one row, and for
 * several at once. A step reads every weight but a lookup's, so bytes over time says how near generation is to what the
 * memory gives; the share is of the bandwidth measured in the same run. Times are of lt_session_prefill and
 * lt_session_step with the choice of the token; the first prompt, which plans and touches pages for the first time, is
 * reported apart. */
#include "cli/bench_model.h"

#include "base/order.h"
#include "cli/machine.h"
#include "lathe/infer.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPT_RUNS = 3 };

typedef struct bench_case {
    int64_t rows;
    double cold, first;   /* seconds to the first token: of the first prompt, and the median of later ones */
    double p50, p95, sum; /* seconds a step, and of all */
    double joules;        /* of all steps */
    uint64_t cache_bytes;
} bench_case;

typedef struct model_bench {
    cli *cli;
    const cli_bench_model *o;
    lt_model *model;
    lt_ids prompt;
    double *seconds; /* [tokens] */
    double open_seconds, bandwidth;
    uint64_t peak;         /* before the bandwidth was measured, which takes memory itself */
    uint64_t weight_bytes; /* that a step reads */
    cli_energy energy;
    bench_case cases[2];
    int n_cases;
} model_bench;

/* Weights that a step reads whole; of tables that are only looked up it reads a row. */
static uint64_t read_bytes(const lt_model *model)
{
    const lt_params *params = lt_model_params(model);
    bool tied = !lt_params_find(params, "output.weight");
    uint64_t bytes = 0;
    for (int i = 0; i < lt_params_count(params); i++) {
        const lt_param *p = lt_params_at(params, i);
        const char *name = lt_param_name(p);
        bool table = !strcmp(name, "position_embd.weight") || (!tied && !strcmp(name, "token_embd.weight"));
        if (lt_param_role(p) == LT_WEIGHT && !table) bytes += lt_param_bytes(p);
    }
    return bytes;
}

static int32_t most_likely(const lt_real *logits, int64_t vocab)
{
    int64_t best = 0;
    for (int64_t i = 1; i < vocab; i++)
        if (logits[i] > logits[best]) best = i;
    return (int32_t)best;
}

/* The q-quantile: the smallest that at least that share does not pass. */
static double quantile(int64_t n, const double *sorted, double q)
{
    int64_t at = (int64_t)ceil(q * (double)n) - 1;
    return sorted[at < 0 ? 0 : at];
}

/* ---- Measuring ---- */

static lt_status time_prompts(model_bench *b, bench_case *r, lt_session *session, const lt_ids *prompts, int32_t *ids)
{
    int64_t vocab = lt_model_vocab(b->model);
    double seconds[PROMPT_RUNS + 1];
    for (int i = 0; i <= PROMPT_RUNS; i++) {
        const lt_real *logits;
        if (cli_stop) return LT_EINTERRUPTED;
        double start = cli_seconds();
        lt_status status = lt_session_prefill(session, (int)r->rows, prompts, &logits);
        if (status != LT_OK) return status;
        for (int64_t k = 0; k < r->rows; k++) ids[k] = most_likely(logits + k * vocab, vocab);
        seconds[i] = cli_seconds() - start;
    }
    r->cold = seconds[0];
    qsort(seconds + 1, PROMPT_RUNS, sizeof *seconds, lti_ascending);
    r->first = seconds[1 + PROMPT_RUNS / 2];
    return LT_OK;
}

static lt_status time_steps(model_bench *b, bench_case *r, lt_session *session, int32_t *ids)
{
    int64_t vocab = lt_model_vocab(b->model), n = b->o->tokens;
    const lt_real *logits;
    lt_status status = lt_session_step(session, ids, &logits); /* plans; not counted */
    cli_energy_start(&b->energy);
    for (int64_t i = 0; i < n && status == LT_OK; i++) {
        if (cli_stop) return LT_EINTERRUPTED;
        double start = cli_seconds();
        status = lt_session_step(session, ids, &logits);
        for (int64_t k = 0; k < r->rows && status == LT_OK; k++) ids[k] = most_likely(logits + k * vocab, vocab);
        b->seconds[i] = cli_seconds() - start;
        r->sum += b->seconds[i];
    }
    r->joules = cli_energy_joules(&b->energy);
    qsort(b->seconds, (size_t)n, sizeof *b->seconds, lti_ascending);
    r->p50 = quantile(n, b->seconds, 0.5);
    r->p95 = quantile(n, b->seconds, 0.95);
    return status;
}

static lt_status run_case(model_bench *b, int64_t rows)
{
    bench_case *r = &b->cases[b->n_cases++];
    *r = (bench_case){.rows = rows};
    lt_session *session = NULL;
    lt_session_options options;
    lt_session_options_init(&options);
    options.batch = rows;
    options.length = b->o->prompt_tokens + b->o->tokens + 1;
    lt_ids *prompts = malloc((size_t)rows * sizeof *prompts);
    int32_t *ids = malloc((size_t)rows * sizeof *ids);
    lt_status status = prompts && ids ? lt_session_create(b->model, &options, &session) : LT_ENOMEM;
    for (int64_t k = 0; k < rows && status == LT_OK; k++) prompts[k] = b->prompt;
    if (status == LT_OK) {
        r->cache_bytes = lt_session_cache_bytes(session);
        status = time_prompts(b, r, session, prompts, ids);
    }
    if (status == LT_OK) status = time_steps(b, r, session, ids);
    lt_session_free(session);
    free(prompts);
    free(ids);
    return status;
}

static lt_status prepare(model_bench *b, int64_t seed)
{
    double start = cli_seconds();
    lt_status status = lt_model_open_frozen(b->cli->ctx, b->o->model, &b->model);
    if (status != LT_OK) return status;
    b->open_seconds = cli_seconds() - start;
    b->weight_bytes = read_bytes(b->model);
    b->seconds = calloc((size_t)b->o->tokens, sizeof *b->seconds);
    b->prompt.ids = calloc((size_t)b->o->prompt_tokens, sizeof *b->prompt.ids);
    b->prompt.count = b->o->prompt_tokens;
    if (!b->seconds || !b->prompt.ids) return LT_ENOMEM;
    uint64_t state = (uint64_t)seed * 2 + 1;
    int64_t vocab = lt_model_vocab(b->model); /* 0: it reads numbers, as the session will say */
    for (int64_t i = 0; i < b->prompt.count && vocab > 0; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX generator */
        b->prompt.ids[i] = (int32_t)((state >> 33) % (uint64_t)vocab);
    }
    return LT_OK;
}

/* ---- Results ---- */

static double gigabytes(const model_bench *b, const bench_case *r)
{
    return 1e-9 * (double)b->weight_bytes / r->p50;
}

static double share(const model_bench *b, const bench_case *r)
{
    return b->bandwidth > 0 ? 1e9 * gigabytes(b, r) / b->bandwidth : NAN;
}

static json_t *case_json(const model_bench *b, const bench_case *r)
{
    double tokens = (double)(r->rows * b->o->tokens), prompt = (double)(r->rows * b->o->prompt_tokens);
    return json_pack("{s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:f, s:o, s:o, s:I}", "batch", (json_int_t)r->rows,
                     "first_token_seconds", r->first, "first_token_cold_seconds", r->cold, "prompt_tokens_per_second",
                     prompt / r->first, "ms_per_token_p50", 1e3 * r->p50, "ms_per_token_p95", 1e3 * r->p95,
                     "tokens_per_second", tokens / r->sum, "weight_bytes_per_token",
                     (json_int_t)(b->weight_bytes / (uint64_t)r->rows), "gigabytes_per_second", gigabytes(b, r),
                     "bandwidth_share", cli_real(share(b, r)), "joules_per_token", cli_real(r->joules / tokens),
                     "cache_bytes", (json_int_t)r->cache_bytes);
}

static int answer(const model_bench *b)
{
    json_t *cases = json_array();
    for (int i = 0; i < b->n_cases; i++) json_array_append_new(cases, case_json(b, &b->cases[i]));
    const char *reason = b->energy.count ? NULL : b->energy.reason;
    return cli_answer(b->cli,
                      json_pack("{s:s, s:s, s:I, s:I, s:o, s:f, s:o, s:s?, s:i, s:s, s:I}", "model", b->o->model,
                                "family", lt_model_family(b->model), "prompt_tokens", (json_int_t)b->o->prompt_tokens,
                                "tokens", (json_int_t)b->o->tokens, "batches", cases, "open_seconds", b->open_seconds,
                                "memory_gigabytes_per_second", cli_real(b->bandwidth > 0 ? 1e-9 * b->bandwidth : NAN),
                                "no_joules_because", reason, "threads", lt_threads(), "kernels", lt_kernels_in_use(),
                                "peak_rss_bytes", (json_int_t)b->peak));
}

static void print(const model_bench *b)
{
    char text[1024], bytes[32];
    int used = snprintf(text, sizeof text,
                        "batch\tfirst token s\tcold s\tms/token p50\tp95\ttok/s\tGB/s\tof memory %%\tJ/token\n");
    for (int i = 0; i < b->n_cases; i++) {
        const bench_case *r = &b->cases[i];
        double tokens = (double)(r->rows * b->o->tokens);
        char joules[32];
        snprintf(joules, sizeof joules, isnan(r->joules) ? "-" : "%.3f", r->joules / tokens);
        used += snprintf(text + used, sizeof text - (size_t)used,
                         "%" PRId64 "\t%.3f\t%.3f\t%.2f\t%.2f\t%.1f\t%.2f\t%.0f\t%s\n", r->rows, r->first, r->cold,
                         1e3 * r->p50, 1e3 * r->p95, tokens / r->sum, gigabytes(b, r), 100 * share(b, r), joules);
    }
    printf("%s, %d threads, %s\n", b->o->model, lt_threads(), lt_kernels_in_use());
    printf("%" PRId64 " tokens after %" PRId64 "; a step reads %s of weights; memory gives %.1f GB/s\n\n", b->o->tokens,
           b->o->prompt_tokens, cli_bytes(bytes, b->weight_bytes), 1e-9 * b->bandwidth);
    cli_table(stdout, text);
    if (!b->energy.count) printf("\nno joules: %s\n", b->energy.reason);
}

int cli_bench_model_run(cli *c, const cli_bench_model *options, int64_t seed)
{
    model_bench b = {.cli = c, .o = options};
    lt_status status = prepare(&b, seed);
    bool reading = status != LT_OK;
    if (!reading) {
        status = run_case(&b, 1);
        if (status == LT_OK && options->batch_size > 1) status = run_case(&b, options->batch_size);
        b.peak = lt_memory_now().peak_rss;
        if (status == LT_OK) b.bandwidth = cli_memory_bandwidth();
    }
    int code = EXIT_DONE;
    if (status == LT_EINTERRUPTED)
        code = cli_fail(c, EXIT_SIGNAL + cli_stop, "stopped by a signal");
    else if (status != LT_OK)
        code = cli_fail_status(c, status, reading);
    else if (c->json)
        code = answer(&b);
    else
        print(&b);
    free(b.seconds);
    free(b.prompt.ids);
    lt_model_free(b.model);
    return code;
}
