/* verb_train.c - lathe train: training and fine-tuning, on the grid that ships when --qat is given.
 *
 * The order is: read everything, refuse what cannot work, evaluate what was there before, train, save, export, and
 * evaluate what ships: the exported codes, read back from their file, not the weights they came from. */
#include "cli/train_options.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One run. Everything is owned here and freed in train_free. */
typedef struct train_run {
    cli *cli;
    train_options *o;
    lt_model *model;
    lt_dataset *train, *valid;
    cli_progress progress;
    char *yaml, *codes_path, *export_report;
    bool quantized, was_there; /* was_there: --model, so that "before" means something */
    lt_train_result result;
    lt_eval_result before, before_codes, after, after_codes;
} train_run;

static int need(cli *c, const train_options *o)
{
    if (!o->model == !o->init)
        return cli_fail(c, EXIT_USAGE,
                        "%s; give --model DIR to go on from a model, or --init llama:layers=4,... for a "
                        "new one",
                        o->model ? "--model and --init exclude each other" : "no model");
    if (o->tokenizer && o->model)
        return cli_fail(c, EXIT_USAGE, "--tokenizer goes with --init; --model brings its own");
    if (!o->data)
        return cli_fail(c, EXIT_USAGE, "no data; give --data FILE.txt, FILE.jsonl or a directory with train.*");
    if (!o->config.out) return cli_fail(c, EXIT_USAGE, "no place for the result; give --out DIR");
    if (o->config.freeze && o->config.train_only)
        return cli_fail(c, EXIT_USAGE, "--freeze and --train-only exclude each other; give one of them");
    if (!o->quant.type && o->quant.targets)
        return cli_fail(c, EXIT_USAGE, "--qat-targets says which parameters --qat is for; give --qat TYPE too");
    if (o->export_path && !o->quant.type && !strcmp(o->quant.embedding, "f32"))
        return cli_fail(c, EXIT_USAGE, "--export writes the codes of --qat TYPE, which is missing");
    return EXIT_DONE;
}

static int open_model(train_run *r)
{
    cli *c = r->cli;
    const train_options *o = r->o;
    lt_status status = o->model ? lt_model_open(c->ctx, o->model, &r->model)
                                : lt_model_create(c->ctx, o->init, o->tokenizer, (uint64_t)o->common.seed, &r->model);
    if (status == LT_OK) return EXIT_DONE;
    /* What is wrong with a new model stands in the command line, unless its tokenizer is the file at fault. */
    return cli_fail_status(c, status, o->model || status != LT_EINVAL);
}

static int limit_length(train_run *r)
{
    cli *c = r->cli;
    train_options *o = r->o;
    int64_t context = lt_model_config(r->model)->context;
    if (o->config.max_seq_length > context && !cli_settings_given(c->settings, "max_seq_length"))
        o->config.max_seq_length = context;
    if (o->config.max_seq_length > context && lt_transformer_learns_positions(lt_model_config(r->model)))
        return cli_fail(c, EXIT_USAGE,
                        "--max-seq-length %" PRId64 ": this %s has %" PRId64 " positions; give at most that",
                        o->config.max_seq_length, lt_model_family(r->model), context);
    if (o->config.max_seq_length > context)
        cli_warn(c, "--max-seq-length %" PRId64 " passes the %" PRId64 " positions the model was made for",
                 o->config.max_seq_length, context);
    return EXIT_DONE;
}

static lt_status open_sets(train_run *r, lt_dataset_options *d)
{
    const train_options *o = r->o;
    lt_ctx *ctx = r->cli->ctx;
    lt_tokenizer *tokenizer = lt_model_tokenizer(r->model);
    d->max_seq_length = o->config.max_seq_length;
    d->valid_fraction = o->valid_fraction;
    bool split = !o->valid_data && o->valid_fraction > 0;
    d->split = split || (o->valid_data && cli_is_directory(o->data)) ? LT_SPLIT_TRAIN : LT_SPLIT_ALL;
    d->append_eos = o->append_eos;
    lt_status status = lt_dataset_open(ctx, o->data, tokenizer, d, &r->train);
    d->append_eos = false;
    d->split = split ? LT_SPLIT_VALID : LT_SPLIT_ALL;
    if (status == LT_OK && o->valid_data && cli_is_directory(o->valid_data)) d->split = LT_SPLIT_VALID;
    if (status == LT_OK && (split || o->valid_data))
        status = lt_dataset_open(ctx, split ? o->data : o->valid_data, tokenizer, d, &r->valid);
    return status;
}

static int open_data(train_run *r)
{
    cli *c = r->cli;
    lt_dataset_options d;
    lt_chat *chat;
    if (lt_transformer_is_encoder(lt_model_config(r->model)))
        return cli_fail(c, EXIT_USAGE, "%s is an encoder: it predicts no next token; lathe train is for decoders",
                        lt_model_family(r->model));
    lt_dataset_options_init(&d);
    int code = limit_length(r);
    if (!code) code = cli_rows_options(c, &r->o->rows, r->o->data, lt_model_tokenizer(r->model), &d, &chat);
    if (code) return code;
    lt_status status = open_sets(r, &d);
    lt_chat_free(chat);
    if (status != LT_OK) return cli_fail_status(c, status, true);
    if (strcmp(lt_dataset_form(r->train), "text")) cli_say(c, "rows        %s", lt_dataset_form(r->train));
    if (lt_dataset_skipped(r->train)) cli_warn(c, "%" PRId64 " bad rows were left out", lt_dataset_skipped(r->train));
    return EXIT_DONE;
}

/* What the model is worth before: in float, and rounded to the same grid without training. */
static int measure_before(train_run *r)
{
    lt_forecast forecast;
    const lt_train_config *config = &r->o->config;
    if (!r->was_there || !r->valid) return EXIT_DONE;
    lt_status status = lt_train_forecast(r->model, r->train, r->valid, config, &forecast);
    if (status != LT_OK) return cli_fail_status(r->cli, status, status != LT_EINVAL);
    if (forecast.total > forecast.available) return EXIT_DONE; /* lt_train will say so */
    cli_say(r->cli, "evaluating the model as it is, on %" PRId64 " tokens", lt_dataset_scored(r->valid));
    status = lt_evaluate(r->model, r->valid, NULL, 0, &r->before);
    if (status == LT_OK && r->quantized) status = lt_evaluate(r->model, r->valid, &config->quant, 0, &r->before_codes);
    return status == LT_OK ? EXIT_DONE : cli_fail_status(r->cli, status, false);
}

static int stopped(train_run *r)
{
    const lt_train_config *config = &r->o->config;
    cli *c = r->cli;
    const char *why = cli_stop == SIGTERM ? "SIGTERM" : cli_stop ? "SIGINT" : "--max-seconds";
    return cli_fail(c, EXIT_SIGNAL + (cli_stop ? cli_stop : SIGINT),
                    "stopped by %s; the state is saved under %s/checkpoints, and the same command goes on from there",
                    why, config->out);
}

static int train_it(train_run *r)
{
    cli *c = r->cli;
    lt_train_config *config = &r->o->config;
    config->command = c->command;
    config->config_yaml = r->yaml;
    config->stop = &cli_stop;
    config->on_start = cli_on_start;
    config->on_progress = cli_on_progress;
    config->user = &r->progress;
    r->progress = (cli_progress){.cli = c,
                                 .source = r->o->model ? r->o->model : r->o->init,
                                 .model = r->model,
                                 .batch_size = config->batch_size,
                                 .accumulation = config->grad_accumulation_steps,
                                 .every = cli_settings_given(c->settings, "log_every")};
    lt_status status = lt_train(r->model, r->train, r->valid, config, &r->result);
    cli_progress_end(&r->progress);
    if (status == LT_EINTERRUPTED) return stopped(r);
    return status == LT_OK ? EXIT_DONE : cli_fail_status(c, status, status == LT_EFORMAT);
}

/* The file, and the evaluation of what is in it. */
static lt_status export_and_measure(train_run *r)
{
    lt_train_config *config = &r->o->config;
    lt_status status = lt_export_codes(r->model, &config->quant, r->codes_path, &r->export_report);
    lt_model *coded = NULL;
    if (status == LT_OK && r->valid) status = lt_model_with_codes(r->model, r->codes_path, &coded);
    if (status == LT_OK && r->valid) status = lt_evaluate(coded, r->valid, NULL, 0, &r->after_codes);
    lt_model_free(coded);
    return status;
}

static int finish(train_run *r)
{
    cli *c = r->cli;
    char dtype[8];
    snprintf(dtype, sizeof dtype, "%s", r->o->save_dtype);
    for (char *at = dtype; *at; at++) *at = (char)toupper((unsigned char)*at);
    lt_status status = lt_model_save(r->model, r->o->config.out, dtype);
    if (status == LT_OK && r->valid) status = lt_evaluate(r->model, r->valid, NULL, 0, &r->after);
    if (status == LT_OK && r->quantized) status = export_and_measure(r);
    return status == LT_OK ? EXIT_DONE : cli_fail_status(c, status, false);
}

static void add_row(FILE *file, const char *name, const lt_eval_result *e)
{
    char bytes[32];
    if (e->tokens == 0) return;
    fprintf(file, "%s\t%.4f\t%.5f\t%s\t%.0f\n", name, e->perplexity, e->nll, cli_bytes(bytes, e->model_bytes),
            e->tokens_per_second);
}

static char *make_table(const train_run *r)
{
    char *table = NULL;
    size_t size;
    FILE *file = open_memstream(&table, &size);
    if (!file) return NULL;
    fprintf(file, "validation\tperplexity\tnll\tweights\ttok/s\n");
    add_row(file, "before, float", &r->before);
    add_row(file, "before, rounded", &r->before_codes);
    add_row(file, "after, float", &r->after);
    add_row(file, "after, exported codes", &r->after_codes);
    if (fclose(file) == 0) return table;
    free(table);
    return NULL;
}

static lt_status write_report(train_run *r, const char *table)
{
    const char *out = r->o->config.out, *name = "train";
    char *path = cli_join(out, "report.html"), *metrics = cli_join(out, "metrics.jsonl");
    const char *metrics_path = metrics;
    lt_status status = LT_ENOMEM;
    if (path && metrics) status = lt_report_write(r->cli->ctx, path, "lathe train", 1, &name, &metrics_path, table);
    free(path);
    free(metrics);
    return status;
}

#define PROOF " (read back; their loss is that of training's last validation, bit for bit)"

/* Whether the file gives the very loss that training ended with: what was trained is what ships. */
static bool same_bits(const train_run *r)
{
    return r->quantized && r->valid && r->after_codes.nll == r->result.valid_loss;
}

static json_t *json_result(const train_run *r)
{
    const lt_train_result *t = &r->result;
    const lt_forecast *f = &t->forecast;
    json_t *o =
        json_pack("{s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:s, s:{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}}",
                  "steps", (json_int_t)t->steps, "tokens", (json_int_t)t->tokens, "first_loss", cli_real(t->first_loss),
                  "loss", cli_real(t->last_loss), "valid_loss", r->valid ? cli_real(t->valid_loss) : json_null(),
                  "seconds", cli_real(t->seconds), "tokens_per_second", cli_real(t->tokens_per_second), "skipped_steps",
                  (json_int_t)t->skipped_steps, "rollbacks", (json_int_t)t->rollbacks, "peak_rss_bytes",
                  (json_int_t)t->peak_rss_bytes, "out", r->o->config.out, "forecast", "total", (json_int_t)f->total,
                  "available", (json_int_t)f->available, "weights", (json_int_t)f->weights, "gradients",
                  (json_int_t)f->gradients, "optimizer", (json_int_t)f->optimizer, "activations",
                  (json_int_t)f->activations, "data", (json_int_t)f->data, "process", (json_int_t)f->process);
    const lt_eval_result *final = r->quantized ? &r->after_codes : &r->after;
    if (!o) return NULL;
    if (final->tokens) json_object_set_new(o, "perplexity", cli_real(final->perplexity));
    if (r->before.tokens) json_object_set_new(o, "before", cli_eval_json(&r->before));
    if (r->before_codes.tokens) json_object_set_new(o, "before_rounded", cli_eval_json(&r->before_codes));
    if (r->after.tokens) json_object_set_new(o, "after", cli_eval_json(&r->after));
    if (r->after_codes.tokens) json_object_set_new(o, "exported", cli_eval_json(&r->after_codes));
    if (r->quantized) json_object_set_new(o, "export", json_string(r->codes_path));
    if (r->after_codes.tokens) json_object_set_new(o, "export_is_what_was_trained", json_boolean(same_bits(r)));
    return o;
}

static int tell(train_run *r)
{
    cli *c = r->cli;
    char *table = r->valid ? make_table(r) : NULL;
    lt_status status = write_report(r, table);
    int code = status == LT_OK ? EXIT_DONE : cli_fail_status(c, status, false);
    if (!code && c->json) {
        code = cli_answer(c, json_result(r));
    } else if (!code) {
        char clock[32];
        printf("%" PRId64 " steps in %s, %.0f tok/s, loss %.4f -> %.4f\n", r->result.steps,
               cli_clock(clock, r->result.seconds), r->result.tokens_per_second, r->result.first_loss,
               r->result.last_loss);
        if (table) cli_table(stdout, table);
        if (r->export_report) cli_put_clean(stdout, r->export_report, strlen(r->export_report));
        printf("model       %s\nreport      %s/report.html\n", r->o->config.out, r->o->config.out);
        if (r->quantized) printf("codes       %s%s\n", r->codes_path, same_bits(r) ? PROOF : "");
    }
    free(table);
    return code;
}

static void train_free(train_run *r)
{
    lt_dataset_free(r->train);
    lt_dataset_free(r->valid);
    lt_model_free(r->model);
    if (r->export_report) lt_string_free(r->cli->ctx, r->export_report);
    free(r->yaml);
    free(r->codes_path);
}

/* The table's fields lie inside the library's config: what the table does not name is set here. */
static void complete_config(train_run *r)
{
    lt_train_config defaults, *config = &r->o->config;
    lt_train_config_init(&defaults);
    config->size = defaults.size;
    config->seed = (uint64_t)r->o->common.seed;
    r->quantized = cli_quant_policy(&r->o->quant, &config->quant);
}

/* Places that cannot be written are found before the work, not after it. */
static int prepare_output(const train_run *r)
{
    int code = cli_make_output(r->cli, r->o->config.out);
    const char *slash = r->o->export_path ? strrchr(r->o->export_path, '/') : NULL;
    if (code || !slash || slash == r->o->export_path) return code;
    char *parent = strndup(r->o->export_path, (size_t)(slash - r->o->export_path));
    code = parent ? cli_make_output(r->cli, parent) : cli_fail(r->cli, EXIT_MEMORY, "out of memory at the start");
    free(parent);
    return code;
}

int cli_train(cli *c, void *target)
{
    train_run r = {.cli = c, .o = target};
    r.was_there = r.o->model;
    int code = need(c, r.o);
    if (code) return code;
    complete_config(&r);
    r.yaml = cli_settings_yaml(c->settings);
    r.codes_path = r.o->export_path ? strdup(r.o->export_path) : cli_join(r.o->config.out, "codes.safetensors");
    if (!r.yaml || !r.codes_path) code = cli_fail(c, EXIT_MEMORY, "out of memory at the start");
    if (!code) code = open_model(&r);
    if (!code) code = open_data(&r);
    if (!code) code = prepare_output(&r);
    if (!code) code = measure_before(&r);
    if (!code) code = train_it(&r);
    if (!code) code = finish(&r);
    if (!code) code = tell(&r);
    train_free(&r);
    return code;
}
