/* quantize_measure.c - see quantize_measure.h.
 *
 * Text held back says most: --valid-data, else the valid part of --data's directory. A single file is read whole for
 * calibration, as its rows were asked for; then about as many of its rows are measured, and it is said that the method may
 * have read them. Measuring all of a large file would take longer than the quantization. */
#include "cli/quantize_measure.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Classes that are scored are the model's, by name. */
static lt_status open_labelled(cli_quantize_data *q, const char *path, const lt_dataset_options *d, bool scored,
                               lt_dataset **set)
{
    lt_ctx *ctx = q->cli->ctx;
    lt_dataset *like = NULL;
    lt_status status = scored ? cli_labels_of(ctx, q->model, &like) : LT_OK;
    if (status == LT_OK) status = lt_dataset_open_labelled(ctx, path, lt_model_tokenizer(q->model), d, like, set);
    lt_dataset_free(like);
    return status;
}

/* The rows of `path` into q->measured, or into q->read. */
static int open_set(cli_quantize_data *q, const char *path, lt_split split, double fraction, bool measured)
{
    cli *c = q->cli;
    lt_dataset **set = measured ? &q->measured : &q->read;
    lt_dataset_options d;
    lt_chat *chat = NULL;
    lt_status status;
    int64_t context = lt_model_context(q->model);
    lt_dataset_kind kind = lt_model_reads(q->model);
    int code = EXIT_DONE;
    lt_dataset_options_init(&d);
    cli_rows rows = *q->rows;
    if (path == q->valid && !cli_may_converse(path)) rows.chat_template = NULL; /* --data's */
    if (kind == LT_DATA_TOKENS) code = cli_rows_options(c, &rows, path, lt_model_tokenizer(q->model), &d, &chat);
    if (code) return code;
    d.max_seq_length = context && context < q->max_seq_length ? context : q->max_seq_length;
    d.split = split;
    if (fraction > 0) d.valid_fraction = fraction;
    d.skip_bad_rows = q->rows->skip_bad_rows;
    if (kind == LT_DATA_NUMBERS)
        status = lt_dataset_open_numbers(c->ctx, path, &d, set);
    else if (kind == LT_DATA_LABELLED)
        status = open_labelled(q, path, &d, measured, set);
    else
        status = lt_dataset_open(c->ctx, path, lt_model_tokenizer(q->model), &d, set);
    lt_chat_free(chat);
    if (status == LT_OK) return EXIT_DONE;
    if (!measured || q->valid) return cli_fail_status(c, status, true);
    cli_warn(c, "no figures before and after, which nobody asked for (--valid-data does): %s", lt_ctx_message(c->ctx));
    lt_ctx_clear(c->ctx);
    return EXIT_DONE;
}

/* About as many rows of the file as the method reads. */
static int open_sample(cli_quantize_data *q)
{
    int64_t rows = lt_dataset_rows(q->read);
    bool all = rows <= q->calibration_rows;
    snprintf(q->on, sizeof q->on, "%s",
             all ? "the calibration data, which the method has read"
                 : "rows of the file that calibration rows are from, some of them the same");
    if (!all) return open_set(q, q->calibration, LT_SPLIT_VALID, (double)q->calibration_rows / (double)rows, true);
    if (lt_model_reads(q->model) == LT_DATA_LABELLED) return open_set(q, q->calibration, LT_SPLIT_ALL, 0, true);
    q->measured = q->read;
    return EXIT_DONE;
}

int cli_quantize_open(cli_quantize_data *q)
{
    bool parts = q->calibration && cli_is_directory(q->calibration);
    int code = EXIT_DONE;
    snprintf(q->on, sizeof q->on, "the validation data");
    if (q->calibration) code = open_set(q, q->calibration, parts ? LT_SPLIT_TRAIN : LT_SPLIT_ALL, 0, false);
    if (code) return code;
    if (q->valid) return open_set(q, q->valid, cli_is_directory(q->valid) ? LT_SPLIT_VALID : LT_SPLIT_ALL, 0, true);
    if (parts) return open_set(q, q->calibration, LT_SPLIT_VALID, 0, true);
    return q->calibration ? open_sample(q) : EXIT_DONE;
}

void cli_quantize_close(cli_quantize_data *q)
{
    if (q->measured != q->read) lt_dataset_free(q->measured);
    lt_dataset_free(q->read);
    q->measured = q->read = NULL;
}

int cli_quantize_measure(cli_quantize_data *q, const lt_quant_policy *policy)
{
    cli *c = q->cli;
    lt_eval_result *result = policy ? &q->after : &q->before;
    lt_quant_policy codes;
    if (!q->measured) return EXIT_DONE;
    if (!policy) cli_say(c, "evaluating the model as it is, on %" PRId64 " rows", lt_dataset_rows(q->measured));
    if (policy) codes = *policy, codes.on_grid = true;
    lt_status status = lt_evaluate(q->model, q->measured, policy ? &codes : NULL, 0, result);
    if (status == LT_OK) return EXIT_DONE;
    *result = (lt_eval_result){0};
    if (q->valid) return cli_fail_status(c, status, status == LT_EINVAL);
    cli_warn(c, "no figures %s quantization: %s", policy ? "after" : "before", lt_ctx_message(c->ctx));
    lt_ctx_clear(c->ctx);
    return EXIT_DONE;
}

/* ---- Telling ---- */

static void add_row(FILE *file, const char *name, const lt_eval_result *e, bool classes)
{
    char bytes[32];
    if (e->tokens)
        fprintf(file, "%s\t%.4f\t%.5f\t%s\n", name, classes ? e->accuracy : e->perplexity, e->nll,
                cli_bytes(bytes, e->model_bytes));
}

void cli_quantize_tell(const cli_quantize_data *q)
{
    char *table = NULL;
    size_t size;
    FILE *file = q->before.tokens || q->after.tokens ? open_memstream(&table, &size) : NULL;
    if (!file) return;
    bool classes = lt_model_classes(q->model) > 0;
    fprintf(file, "measured\t%s\tnll\tweights\n", classes ? "accuracy" : "perplexity");
    add_row(file, "before, float", &q->before, classes);
    add_row(file, "after, quantized", &q->after, classes);
    if (fclose(file) == 0) cli_table(stdout, table);
    printf("on %s\n", q->on);
    free(table);
}

void cli_quantize_json(const cli_quantize_data *q, json_t *answer)
{
    if (q->before.tokens) json_object_set_new(answer, "before", cli_eval_json(&q->before));
    if (q->after.tokens) json_object_set_new(answer, "after", cli_eval_json(&q->after));
    if (q->before.tokens || q->after.tokens) json_object_set_new(answer, "measured_on", json_string(q->on));
}
