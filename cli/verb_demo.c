/* verb_demo.c - lathe demo: why one trains on the grid that ships, in minutes and without a network.
 *
 * A small Llama learns in float. From that same start it goes on for the same tokens twice: in float and then rounded
 * to Q4_0, which is what post-training quantization does, and on the Q4_0 grid. What is compared is what would ship:
 * codes read back from their files. */
#include "cli/cli.h"
#include "cli/demo_data.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

typedef struct demo_options {
    cli_common common;
    const char *out, *type;
    int64_t steps;
} demo_options;

#define AT(field) offsetof(demo_options, field)

static const cli_option options[] = {
    {"out", CLI_TEXT, AT(out), "lathe-demo", "Demo", "directory for models, codes and report.html", .value = "DIR"},
    {"steps", CLI_INT, AT(steps), "360", "Demo", "float steps; half as many follow on each of the two ways", .low = 4,
     .high = 1e6},
    {"qat", CLI_TEXT, AT(type), "q4_0", "Demo", "type to train for: q4_0, q8_0, q4_k_m, tq2_0, ..", .value = "TYPE"},
};

static int verb_demo(cli *cli, void *target);

const cli_verb cli_verb_demo = {
    .name = "demo",
    .summary = "the whole pipeline on built-in data, offline, in minutes; a table and report.html",
    .usage = "[--out DIR] [--steps N]",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .target_bytes = sizeof(demo_options),
    .run = verb_demo,
};

#define SHAPE "llama:layers=4,dim=256,hidden=768,heads=8,kv_heads=4"
enum { STORY_BYTES = 400 << 10, LENGTH = 256, BATCH = 8 };

/* The three trainings, in the order they run. */
enum { START, FLOAT, QAT, N_RUNS };
static const char *const run_names[N_RUNS] = {"float", "float, continued", "on the grid"};
static const char *const run_folders[N_RUNS] = {"start", "float", "qat"};

/* The rows of the table. */
enum { ROW_START, ROW_FLOAT, ROW_ROUNDED, ROW_QAT, N_ROWS };
static const char *const row_names[N_ROWS] = {"float, the start", "float, trained on", "rounded afterwards",
                                              "trained on the grid"};

typedef struct demo {
    cli *cli;
    const demo_options *o;
    cli_quant quant;
    lt_quant_policy policy; /* borrows from `quant` */
    lt_exported exported;   /* what was proved of the last export */
    char *codes[N_RUNS];    /* paths of exports */
    lt_dataset *train, *valid;
    char *folders[N_RUNS];
    lt_train_result runs[N_RUNS];
    lt_eval_result rows[N_ROWS];
} demo;

static lt_status open_data(demo *d)
{
    lt_ctx *ctx = d->cli->ctx;
    /* no more than a few steps read twice: what is held out would take longer than they */
    int64_t bytes, read_twice = 2 * d->o->steps * BATCH * LENGTH;
    int64_t story_bytes = read_twice < STORY_BYTES ? read_twice : STORY_BYTES;
    char *text = cli_demo_corpus((uint64_t)d->o->common.seed, story_bytes, &bytes);
    lt_tokenizer *tokenizer = NULL;
    lt_status status = text ? lt_tokenizer_bytes(ctx, &tokenizer) : LT_ENOMEM;
    lt_dataset_options how;
    lt_dataset_options_init(&how);
    how.max_seq_length = LENGTH;
    how.valid_fraction = 0.1;
    how.split = LT_SPLIT_TRAIN;
    if (status == LT_OK) status = lt_dataset_from_text(ctx, text, bytes, tokenizer, &how, &d->train);
    how.split = LT_SPLIT_VALID;
    if (status == LT_OK) status = lt_dataset_from_text(ctx, text, bytes, tokenizer, &how, &d->valid);
    lt_tokenizer_free(tokenizer);
    free(text);
    return status;
}

/* Trains `model` as run number `run` and saves it in the run's folder. */
static lt_status train(demo *d, lt_model *model, int run)
{
    lt_train_config config;
    cli_progress progress = {.cli = d->cli,
                             .title = run_names[run],
                             .source = SHAPE,
                             .model = model,
                             .batch_size = BATCH,
                             .accumulation = 1,
                             .brief = run != START};
    lt_train_config_init(&config);
    config.out = d->folders[run];
    config.steps = run == START ? d->o->steps : d->o->steps / 2;
    config.batch_size = BATCH;
    config.max_seq_length = LENGTH;
    config.learning_rate = run == START ? 2e-3 : 1e-3;
    config.seed = (uint64_t)(d->o->common.seed + (run != START)); /* both ways see the same rows in the same order */
    config.resume = "never";
    config.eval_every = config.steps >= 80 ? config.steps / 8 : 0;
    if (run == QAT) config.quant = d->policy;
    config.stop = &cli_stop;
    config.on_start = cli_on_start;
    config.on_progress = cli_on_progress;
    config.user = &progress;
    config.command = d->cli->command;
    lt_status status = lt_train(model, d->train, d->valid, &config, &d->runs[run]);
    cli_progress_end(&progress);
    return status == LT_OK ? lt_model_save(model, d->folders[run], "F32") : status;
}

static bool has_type(const demo *d)
{
    return d->policy.mix || d->policy.weights.kind == LT_SCHEME_TYPE;
}

/* Writes the model's codes beside it, as the file that runs elsewhere, and evaluates what is in the file as it is, with
 * the activations that the policy has. */
static lt_status export(demo *d, lt_model *model, int run, int row)
{
    lt_ctx *ctx = d->cli->ctx;
    lt_model *coded = NULL;
    lt_quant_policy as_is = d->policy;
    as_is.on_grid = true;
    lt_export_options how;
    lt_export_options_init(&how);
    how.name = "lathe-demo";
    how.steps = d->runs[run].steps, how.tokens = d->runs[run].tokens;
    how.data_hash = lt_dataset_hash(d->train), how.valid_hash = lt_dataset_hash(d->valid);
    if (d->exported.report) lt_string_free(ctx, d->exported.report);
    d->exported.report = NULL;
    char *path = cli_join(d->folders[run], has_type(d) ? "model.gguf" : "codes.safetensors");
    d->codes[run] = path;
    lt_status status = path ? lt_export(model, &d->policy, path, &how, &d->exported) : LT_ENOMEM;
    if (status == LT_OK) status = lt_model_with_codes(model, path, &coded);
    if (status == LT_OK) status = lt_evaluate(coded, d->valid, &as_is, 0, &d->rows[row]);
    lt_model_free(coded);
    const lt_card_row rows[] = {{"float, the start", &d->rows[ROW_START]}, {"this file", &d->rows[row]}};
    if (status == LT_OK) status = lt_export_card(model, path, &how, &d->exported, 2, rows);
    return status;
}

/* The float start, then both ways from it. */
static lt_status run_all(demo *d)
{
    lt_ctx *ctx = d->cli->ctx;
    lt_model *model = NULL;
    lt_status status = lt_model_create(ctx, SHAPE, NULL, (uint64_t)d->o->common.seed, &model);
    if (status == LT_OK) status = train(d, model, START);
    if (status == LT_OK) status = lt_evaluate(model, d->valid, NULL, 0, &d->rows[ROW_START]);
    for (int run = FLOAT; run < N_RUNS && status == LT_OK; run++) {
        lt_model_free(model);
        model = NULL;
        status = lt_model_open(ctx, d->folders[START], &model);
        if (status == LT_OK) status = train(d, model, run);
        if (status == LT_OK && run == FLOAT) status = lt_evaluate(model, d->valid, NULL, 0, &d->rows[ROW_FLOAT]);
        if (status == LT_OK) status = export(d, model, run, run == FLOAT ? ROW_ROUNDED : ROW_QAT);
    }
    lt_model_free(model);
    return status;
}

/* ---- Telling ---- */

static char *make_table(const demo *d)
{
    static const int trained_by[N_ROWS] = {START, FLOAT, FLOAT, QAT};
    char *table = NULL, bytes[32];
    size_t size;
    FILE *file = open_memstream(&table, &size);
    if (!file) return NULL;
    fprintf(file, "%s\tperplexity\tweights\tbytes\ttrained at\tevaluated at\n", d->o->type);
    for (int i = 0; i < N_ROWS; i++)
        fprintf(file, "%s\t%.4f\t%s\t%" PRIu64 "\t%.0f tok/s\t%.0f tok/s\n", row_names[i], d->rows[i].perplexity,
                cli_bytes(bytes, d->rows[i].model_bytes), d->rows[i].model_bytes,
                d->runs[trained_by[i]].tokens_per_second, d->rows[i].tokens_per_second);
    if (fclose(file) == 0) return table;
    free(table);
    return NULL;
}

static lt_status write_report(const demo *d, const char *table)
{
    char *path = cli_join(d->o->out, "report.html"), *metrics[N_RUNS];
    const char *paths[N_RUNS];
    lt_status status = path ? LT_OK : LT_ENOMEM;
    for (int i = 0; i < N_RUNS; i++) {
        paths[i] = metrics[i] = cli_join(d->folders[i], "metrics.jsonl");
        if (!metrics[i]) status = LT_ENOMEM;
    }
    if (status == LT_OK) status = lt_report_write(d->cli->ctx, path, "lathe demo", N_RUNS, run_names, paths, table);
    for (int i = 0; i < N_RUNS; i++) free(metrics[i]);
    free(path);
    return status;
}

/* Share of the loss by rounding (in nll) that training on the grid took back. */
static double recovered(const demo *d)
{
    double lost = d->rows[ROW_ROUNDED].nll - d->rows[ROW_FLOAT].nll;
    return lost > 0 ? (d->rows[ROW_ROUNDED].nll - d->rows[ROW_QAT].nll) / lost : 0;
}

static int answer(const demo *d, double seconds)
{
    static const char *const keys[N_ROWS] = {"start", "float", "rounded", "qat"};
    json_t *o = json_pack("{s:s, s:s, s:o, s:o, s:s, s:{s:I, s:I, s:I}}", "out", d->o->out, "type", d->o->type,
                          "seconds", cli_real(seconds), "recovered", cli_real(recovered(d)), "export", d->codes[QAT],
                          "proof", "tensors", (json_int_t)d->exported.tensors, "weights",
                          (json_int_t)d->exported.weights, "bytes", (json_int_t)d->exported.bytes);
    for (int i = 0; i < N_ROWS && o; i++) json_object_set_new(o, keys[i], cli_eval_json(&d->rows[i]));
    return cli_answer(d->cli, o);
}

static int tell(const demo *d, double seconds)
{
    char *table = make_table(d), clock[32];
    lt_status status = table ? write_report(d, table) : LT_ENOMEM;
    int code = status == LT_OK ? EXIT_DONE : cli_fail_status(d->cli, status, false);
    if (!code && d->cli->json) {
        code = answer(d, seconds);
    } else if (!code) {
        cli_table(stdout, table);
        double share = recovered(d);
        if (share > 0)
            printf(
                "\nTraining on the grid took back %.0f%%%s of what rounding afterwards lost, with the same bytes (nll "
                "%.4f -> %.4f; float %.4f).\n",
                share < 1 ? 100 * share : 100, share > 1 ? " and more" : "", d->rows[ROW_ROUNDED].nll,
                d->rows[ROW_QAT].nll, d->rows[ROW_FLOAT].nll);
        char t[3][32];
        printf("%s: %s tensors, %s weights, %s bytes, read back: identical to what was trained\n", d->codes[QAT],
               cli_thousands(t[0], d->exported.tensors), cli_thousands(t[1], d->exported.weights),
               cli_thousands(t[2], (int64_t)d->exported.bytes));
        printf("%s on %d threads; curves in %s/report.html\n", cli_clock(clock, seconds), lt_threads(), d->o->out);
    }
    free(table);
    return code;
}

static int prepare(demo *d)
{
    bool given;
    d->quant = (cli_quant){.type = d->o->type};
    int code = cli_quant_policy(d->cli, &d->quant, &d->policy, &given);
    if (!code && !d->policy.mix && d->policy.weights.kind == LT_SCHEME_TYPE) d->policy.embedding = d->policy.weights;
    for (int i = 0; i < N_RUNS && !code; i++) {
        d->folders[i] = cli_join(d->o->out, run_folders[i]);
        code = d->folders[i] ? cli_make_output(d->cli, d->folders[i])
                             : cli_fail(d->cli, EXIT_MEMORY, "out of memory at the start");
    }
    lt_status status = code ? LT_OK : open_data(d);
    return status == LT_OK ? code : cli_fail_status(d->cli, status, false);
}

static int verb_demo(cli *c, void *target)
{
    demo d = {.cli = c, .o = target};
    double start = cli_seconds();
    int code = prepare(&d);
    if (!code) {
        lt_status status = run_all(&d);
        if (status == LT_EINTERRUPTED)
            code = cli_fail(c, EXIT_SIGNAL + (cli_stop ? cli_stop : SIGINT), "stopped by a signal");
        else
            code = status == LT_OK ? tell(&d, cli_seconds() - start) : cli_fail_status(c, status, false);
    }
    for (int i = 0; i < N_RUNS; i++) {
        free(d.folders[i]);
        free(d.codes[i]);
    }
    if (d.exported.report) lt_string_free(c->ctx, d.exported.report);
    cli_quant_free(&d.quant);
    lt_dataset_free(d.train);
    lt_dataset_free(d.valid);
    return code;
}
