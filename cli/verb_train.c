/* verb_train.c - lathe train: training and fine-tuning, on the grid that ships when --qat is given.
 *
 * The order is: read everything, refuse what cannot work, evaluate what was there before, train, save, export, and
 * evaluate what ships: the exported codes, read back from their file, not the weights they came from. */
#include "cli/train_run.h"
#include "lathe/ptq.h"
#include "qat/policy.h"
#include "train/loop.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Losses that are one to 6 digits of perplexity, and losses of the same numbers. */
#define SAME_LOSS 1e-6
#define LIKE_LOSS 1e-3

/* What is counted: in sums, and a second. */
static const char *unit(const train_run *r)
{
    return lt_model_classes(r->model) ? "rows" : "tokens";
}

static const char *rate(const train_run *r)
{
    return lt_model_classes(r->model) ? "rows/s" : "tok/s";
}

/* What measuring takes is in no forecast of the training, and over before it: the limit holds for both. */
static int check_bits_memory(train_run *r)
{
    cli *c = r->cli;
    char b[2][32];
    uint64_t bytes, limit = r->o->config.memory_limit;
    lt_status status = lt_auto_bits_memory(r->model, r->train, &r->o->config.quant, &bytes);
    if (status != LT_OK) return cli_fail_status(c, status, status != LT_EINVAL);
    bytes += lt_memory_now().rss;
    if (!limit || bytes <= limit) return EXIT_DONE;
    return cli_fail(c, EXIT_MEMORY,
                    "--auto-bits measures with %s (a double a weight and the gradients of a row), and --memory-limit "
                    "is %s; name types with --qat, or leave layers out with --qat-targets",
                    cli_bytes(b[0], bytes), cli_bytes(b[1], limit));
}

/* --auto-bits: rules for every linear layer, and the table they come from. */
static int choose_bits(train_run *r)
{
    cli *c = r->cli;
    lt_quant_policy *policy = &r->o->config.quant;
    if (r->o->auto_bits == 0) return EXIT_DONE;
    int code = check_bits_memory(r);
    if (code) return code;
    cli_say(c, "choosing types for %g bits a weight, by the rise of the loss on the training data", r->o->auto_bits);
    lt_status status = lt_auto_bits_choose(r->model, r->train, policy, r->o->auto_bits, &r->bits);
    if (status != LT_OK) return cli_fail_status(c, status, status != LT_EINVAL);
    double bits, rise;
    const char *table = lt_auto_bits_table(r->bits, &bits, &rise);
    if (!c->quiet) cli_table(stderr, table);
    cli_say(c, "%.3f bits a weight; the loss is thought to rise by %.3g when rounded without training", bits, rise);
    policy->rules = lt_auto_bits_rules(r->bits, &policy->n_rules);
    r->quantized = true;
    return EXIT_DONE;
}

/* --qat-init: weights that round better, before the first step. A checkpoint that the run goes on from has them. */
static int start_weights(train_run *r)
{
    cli *c = r->cli;
    lt_ptq_config config;
    lt_ptq *done;
    lt_ptq_config_init(&config);
    if (!lt_ptq_method_parse(r->o->config.qat_init, &config.method)) return EXIT_DONE;
    cli_say(c, "preparing the weights by %s, on up to %" PRId64 " rows of the training data", r->o->config.qat_init,
            config.rows);
    config.start = true;
    lt_status status = lt_ptq_run(r->model, r->train, &r->o->config.quant, &config, &done);
    if (status == LT_OK) lt_ptq_free(done);
    return status == LT_OK ? EXIT_DONE : cli_fail_status(c, status, false);
}

/* --qat-fold-norms: the numbers that are rounded from now on are those that ship. */
static int fold_norms(train_run *r)
{
    cli *c = r->cli;
    if (!r->o->fold_norms) return EXIT_DONE;
    if (!r->was_there)
        return cli_fail(c, EXIT_USAGE,
                        "--qat-fold-norms folds averages that training has found: train in float first, and give its "
                        "--out as --model");
    if (lt_model_fold(r->model) == LT_OK) return EXIT_DONE;
    return cli_fail(c, EXIT_USAGE, "--qat-fold-norms: %s", lt_ctx_message(c->ctx));
}

/* Of static activations nothing was observed yet: weights alone are rounded then. */
static lt_status measure_rounded(train_run *r)
{
    lt_quant_policy policy = r->o->config.quant;
    if (policy.activations == LT_ACT_INT8_STATIC) policy.activations = LT_ACT_NONE;
    policy.integer_backward = false;
    return lt_evaluate(r->model, r->valid, &policy, 0, &r->before_codes);
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
    cli_say(r->cli, "evaluating the model as it is, on %" PRId64 " %s", lt_dataset_scored(r->valid), unit(r));
    status = lt_evaluate(r->model, r->valid, NULL, 0, &r->before);
    if (status == LT_OK && r->quantized) status = measure_rounded(r);
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

static lt_export_options export_options(const train_run *r)
{
    lt_export_options o;
    lt_export_options_init(&o);
    o.other = r->o->export_type ? &r->other : NULL;
    o.allow_other = r->o->export_other_type;
    o.name = cli_last_part(r->o->config.out);
    o.base = cli_last_part(r->o->model);
    o.recipe = r->yaml;
    o.steps = r->result.steps;
    o.tokens = r->result.tokens;
    o.data_hash = lt_dataset_hash(r->train);
    o.valid_hash = r->valid ? lt_dataset_hash(r->valid) : NULL;
    o.valid_nll = r->valid ? r->result.valid_loss : 0;
    o.before_nll = r->before.tokens ? r->before.nll : 0;
    return o;
}

/* How the codes of a file are evaluated: as they are, with the activations of training. */
static lt_quant_policy policy_of_codes(const train_run *r)
{
    lt_quant_policy policy = r->o->config.quant;
    policy.on_grid = true;
    return policy;
}

static lt_status measure_codes(train_run *r)
{
    lt_quant_policy policy = policy_of_codes(r);
    lt_model *coded = NULL;
    lt_status status = cli_train_open_codes(r, &coded);
    if (status == LT_OK) status = lt_evaluate(coded, r->valid, &policy, 0, &r->after_codes);
    lt_model_free(coded);
    return status;
}

/* A run that was finished before has validated then, on other data perhaps. */
static lt_status validate_again(train_run *r)
{
    lt_eval_result now;
    if (!r->valid || (r->result.tokens_per_second > 0 && isfinite(r->result.valid_loss))) return LT_OK;
    lt_status status = lt_evaluate(r->model, r->valid, &r->o->config.quant, 0, &now);
    if (status == LT_OK) r->result.valid_loss = now.nll, r->result.accuracy = now.accuracy;
    return status;
}

/* What ships has the loss that training ended with: perplexity to 6 digits. Bits may differ where the file's numbers are
 * multiplied in another type or order than codes were; rounded activations make more of that. */
static lt_status check_loss(const train_run *r)
{
    double trained = r->result.valid_loss, read = r->after_codes.nll, off = fabs(read - trained);
    if (r->exported.other || off <= SAME_LOSS) return LT_OK;
    if (off <= LIKE_LOSS) {
        cli_warn(r->cli, "%s has a loss of %.9g where training ended with %.9g: sums in another order", r->codes_path,
                 read, trained);
        return LT_OK;
    }
    return lti_fail(
        r->cli->ctx, LT_EFORMAT,
        "%s: what was written has a loss of %.9g where training ended with %.9g: the file is not the model that "
        "was trained; please report the options of this run",
        r->codes_path, read, trained);
}

/* The file, the evaluation of what is in it, and the card. */
static lt_status export_and_measure(train_run *r)
{
    lt_export_options how = export_options(r);
    lt_status status = cli_train_write(r, &how);
    if (status == LT_OK && r->exported.other)
        cli_warn(r->cli,
                 "%s is not what was trained: the weights were rounded a second time and moved by %.2g %% (root mean "
                 "square); perplexity rises with it",
                 r->codes_path, 100 * r->exported.moved);
    if (status == LT_OK && r->valid) status = measure_codes(r);
    if (status == LT_OK) status = cli_train_card(r, &how);
    return status == LT_OK && r->valid ? check_loss(r) : status;
}

static int finish(train_run *r)
{
    cli *c = r->cli;
    char dtype[8];
    snprintf(dtype, sizeof dtype, "%s", r->o->save_dtype);
    for (char *at = dtype; *at; at++) *at = (char)toupper((unsigned char)*at);
    lt_status status = lt_model_save(r->model, r->o->config.out, dtype);
    if (status == LT_OK)
        status = lt_model_save_grids(r->model, r->quantized ? &r->o->config.quant : NULL, r->o->config.out);
    if (status == LT_OK && r->o->cluster.clusters)
        status = cli_packed_write(c, r->model, &r->o->config.cluster, r->o->config.out, &r->packed);
    if (status == LT_OK && r->valid) status = lt_evaluate(r->model, r->valid, NULL, 0, &r->after);
    if (status == LT_OK && r->packed.path) status = cli_train_clusters_card(r);
    if (status == LT_OK && r->quantized) status = validate_again(r);
    if (status == LT_OK && r->quantized) status = export_and_measure(r);
    return status == LT_OK ? EXIT_DONE : cli_fail_status(c, status, false);
}

static void add_row(FILE *file, const char *name, const lt_eval_result *e, bool classes)
{
    char bytes[32];
    if (e->tokens == 0) return;
    fprintf(file, "%s\t%.4f\t%.5f\t%s\t%.0f\n", name, classes ? e->accuracy : e->perplexity, e->nll,
            cli_bytes(bytes, e->model_bytes), e->tokens_per_second);
}

static char *make_table(const train_run *r)
{
    char *table = NULL;
    size_t size;
    bool classes = lt_model_classes(r->model) > 0;
    FILE *file = open_memstream(&table, &size);
    if (!file) return NULL;
    fprintf(file, "validation\t%s\tnll\tweights\t%s\n", classes ? "accuracy" : "perplexity", rate(r));
    add_row(file, "before, float", &r->before, classes);
    add_row(file, "before, rounded", &r->before_codes, classes);
    add_row(file, "after, float", &r->after, classes);
    add_row(file, "after, exported codes", &r->after_codes, classes);
    if (fclose(file) == 0) return table;
    free(table);
    return NULL;
}

/* The run itself, then those of --compare. */
static lt_status write_report(train_run *r, const char *table)
{
    const lt_train_config *config = &r->o->config;
    return lti_report_runs(r->cli->ctx, config->out, "train", config->compare, table);
}

#define PROOF " (read back; their loss is that of training's last validation"

/* Whether the file gives the very loss that training ended with: what was trained is what ships. */
static bool same_bits(const train_run *r)
{
    return r->quantized && r->valid && r->after_codes.nll == r->result.valid_loss;
}

static void tell_codes(const train_run *r)
{
    printf("codes       %s", r->codes_path);
    if (r->valid && same_bits(r))
        printf(PROOF ", bit for bit)");
    else if (r->valid && !r->exported.other)
        printf(PROOF " but for %.2g)", r->after_codes.nll - r->result.valid_loss);
    putchar('\n');
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
    bool classes = lt_model_classes(r->model) > 0;
    if (final->tokens && !classes) json_object_set_new(o, "perplexity", cli_real(final->perplexity));
    if (final->tokens && classes) json_object_set_new(o, "accuracy", cli_real(final->accuracy));
    if (r->before.tokens) json_object_set_new(o, "before", cli_eval_json(&r->before));
    if (r->before_codes.tokens) json_object_set_new(o, "before_rounded", cli_eval_json(&r->before_codes));
    if (r->after.tokens) json_object_set_new(o, "after", cli_eval_json(&r->after));
    if (r->after_codes.tokens) json_object_set_new(o, "exported", cli_eval_json(&r->after_codes));
    if (r->quantized) {
        const lt_exported *e = &r->exported;
        json_object_set_new(o, "export", json_string(r->codes_path));
        json_object_set_new(o, "proof",
                            json_pack("{s:I, s:I, s:I, s:b}", "tensors", (json_int_t)e->tensors, "weights",
                                      (json_int_t)e->weights, "bytes", (json_int_t)e->bytes, "identical", !e->other));
    }
    if (r->packed.path) json_object_set_new(o, "clusters", cli_packed_json(&r->packed));
    if (r->after_codes.tokens) {
        json_object_set_new(o, "export_is_what_was_trained", json_boolean(same_bits(r)));
        json_object_set_new(o, "export_loss_difference", cli_real(r->after_codes.nll - r->result.valid_loss));
    }
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
        printf("%" PRId64 " steps in %s, %.0f %s, loss %.4f -> %.4f\n", r->result.steps,
               cli_clock(clock, r->result.seconds), r->result.tokens_per_second, rate(r), r->result.first_loss,
               r->result.last_loss);
        if (table) cli_table(stdout, table);
        if (r->exported.report) cli_put_clean(stdout, r->exported.report, strlen(r->exported.report));
        printf("model       %s\nreport      %s/report.html\n", r->o->config.out, r->o->config.out);
        if (r->packed.path) cli_packed_tell(&r->packed);
        if (r->quantized) tell_codes(r);
    }
    free(table);
    return code;
}

static void train_free(train_run *r)
{
    lt_dataset_free(r->train);
    lt_dataset_free(r->valid);
    lt_auto_bits_free(r->bits);
    lt_model_free(r->model);
    if (r->exported.report) lt_string_free(r->cli->ctx, r->exported.report);
    cli_packed_free(r->cli, &r->packed);
    cli_quant_free(&r->o->quant);
    free(r->yaml);
    free(r->codes_path);
}

/* What cannot be exported is said before the training, not after it. */
static int check_export(const train_run *r)
{
    const lt_quant_policy *written = r->o->export_type ? &r->other : &r->o->config.quant;
    if (!(r->quantized || r->o->auto_bits > 0) || strcmp(r->o->export_format, "file")) return EXIT_DONE;
    if (lt_export_check(r->model, written, r->codes_path) == LT_OK) return EXIT_DONE;
    return cli_fail(r->cli, EXIT_USAGE, "--export: %s", lt_ctx_message(r->cli->ctx));
}

/* A policy that would do less than it says is refused before anything is measured; the table before step 1 has the rest. */
static int check_policy(const train_run *r)
{
    const lt_params *params = lt_model_params(r->model);
    cli *c = r->cli;
    if (r->quantized && lti_quant_check_params(params, &r->o->config.quant) != LT_OK)
        return cli_fail(c, EXIT_USAGE, "%s", lt_ctx_message(c->ctx));
    if (r->o->export_type && lti_quant_check_params(params, &r->other) != LT_OK)
        return cli_fail(c, EXIT_USAGE, "--export-type: %s", lt_ctx_message(c->ctx));
    return EXIT_DONE;
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
    int code = cli_train_need(c, r.o);
    if (code) return code;
    code = cli_train_complete(&r);
    r.yaml = cli_settings_yaml(c->settings);
    r.codes_path = cli_train_export_path(&r);
    if (!code && (!r.yaml || !r.codes_path)) code = cli_fail(c, EXIT_MEMORY, "out of memory at the start");
    if (!code) code = cli_train_open(&r);
    if (!code) code = cli_train_check_format(&r);
    if (!code) code = check_export(&r);
    if (!code) code = prepare_output(&r);
    if (!code) code = fold_norms(&r);
    if (!code) code = choose_bits(&r);
    if (!code) code = check_policy(&r);
    if (!code && r.o->lr_find) {
        code = start_weights(&r);
        if (!code) code = cli_train_lr_find(&r);
        train_free(&r);
        return code;
    }
    if (!code) code = measure_before(&r);
    if (!code) code = start_weights(&r);
    if (!code) code = train_it(&r);
    if (!code) code = finish(&r);
    if (!code) code = tell(&r);
    train_free(&r);
    return code;
}
