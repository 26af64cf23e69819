/* eval_int8.c - lathe eval --int8: a network in integers beside the model it is made of, in the same run. */
#include "cli/eval_options.h"
#include "cli/int8_model.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static lt_status open_rows(const cli_int8_call *call, lt_dataset **set)
{
    lt_ctx *ctx = call->cli->ctx;
    lt_dataset *like = NULL;
    lt_dataset_kind kind = lt_model_reads(call->model);
    if (kind == LT_DATA_NUMBERS) return lt_dataset_open_numbers(ctx, call->data, call->rows, set);
    lt_tokenizer *tokenizer = lt_model_tokenizer(call->model);
    if (kind == LT_DATA_TOKENS) return lt_dataset_open(ctx, call->data, tokenizer, call->rows, set);
    lt_status status = cli_labels_of(ctx, call->model, &like);
    if (status == LT_OK) status = lt_dataset_open_labelled(ctx, call->data, tokenizer, call->rows, like, set);
    lt_dataset_free(like);
    return status;
}

/* Steps of a recurrent network; others choose how many rows they compute at a time. */
static int64_t size_for(const lt_model *model, const lt_dataset *set)
{
    int64_t shape[LT_MAX_RANK] = {0};
    const char *family = lt_model_family(model);
    if (lt_dataset_kind_of(set) != LT_DATA_NUMBERS) return lt_dataset_longest(set);
    lt_dataset_row_shape(set, shape);
    return !strcmp(family, "lstm") || !strcmp(family, "gru") ? shape[0] : 0;
}

static lt_status compare(const cli_int8_call *call, const lt_dataset *set, lt_int8_comparison *result, char made[48])
{
    lt_ctx *ctx = call->cli->ctx;
    lt_int8 *net = NULL;
    int64_t size = size_for(call->model, set);
    lt_status status =
        call->file ? lt_int8_open(ctx, call->file, size, &net) : lt_model_int8(call->model, call->policy, size, &net);
    if (status == LT_OK) status = lt_int8_compare(call->model, call->policy, net, set, result);
    if (status == LT_OK) snprintf(made, 48, "%s", lt_int8_provider(net));
    lt_int8_free(net);
    return status;
}

static json_t *scores_json(const lt_int8_scores *s)
{
    return json_pack("{s:o,s:o,s:o,s:I}", "nll", cli_real(s->nll), "accuracy", cli_real(s->accuracy), "rows_per_second",
                     cli_real(s->rows_per_second), "bytes", (json_int_t)s->bytes);
}

int cli_eval_int8(const cli_int8_call *call, json_t **report)
{
    cli *c = call->cli;
    lt_dataset *set = NULL;
    lt_int8_comparison r;
    char provider[48];
    lt_status status = open_rows(call, &set);
    bool reading = status != LT_OK;
    if (status == LT_OK) status = compare(call, set, &r, provider);
    lt_dataset_free(set);
    if (status != LT_OK) return cli_fail_status(c, status, reading || status != LT_EINVAL);
    *report = json_pack(
        "{s:s,s:I,s:I,s:o,s:o,s:o,s:s,s:{s:o,s:o,s:o}}", "kind", "int8", "documents", (json_int_t)r.rows, "tokens",
        (json_int_t)r.scored, "nll", cli_real(r.integers.nll), "accuracy", cli_real(r.integers.accuracy), "perplexity",
        cli_real(lt_model_classes(call->model) ? NAN : exp(r.integers.nll)), "provider", provider, "int8", "float",
        scores_json(&r.real), "simulated", scores_json(&r.simulated), "integers", scores_json(&r.integers));
    return *report ? EXIT_DONE : cli_fail(c, EXIT_MEMORY, "memory is out");
}

/* ---- As a person reads it ---- */

static double number(const json_t *side, const char *key)
{
    const json_t *value = json_object_get(side, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static void put(FILE *file, const char *format, double value)
{
    if (isfinite(value))
        fprintf(file, format, value);
    else
        fputs("\t-", file);
}

void cli_eval_int8_print(const json_t *report)
{
    static const char *const names[] = {"float", "simulated", "integers"};
    const json_t *sides = json_object_get(report, "int8");
    char *table = NULL;
    size_t size;
    FILE *file = open_memstream(&table, &size);
    if (!file) return;
    fprintf(file, "\taccuracy\tnll\trows/s\tbytes\n");
    for (int i = 0; i < 3; i++) {
        const json_t *side = json_object_get(sides, names[i]);
        fputs(names[i], file);
        put(file, "\t%.4f", number(side, "accuracy"));
        put(file, "\t%.5f", number(side, "nll"));
        put(file, "\t%.0f", number(side, "rows_per_second"));
        put(file, "\t%.0f", number(side, "bytes"));
        fputc('\n', file);
    }
    fclose(file);
    if (table) cli_table(stdout, table);
    free(table);
    const json_t *real = json_object_get(sides, "float"), *integers = json_object_get(sides, "integers");
    printf("integers    %.2f times as fast, %.3f of the bytes, products by %s\n",
           number(integers, "rows_per_second") / number(real, "rows_per_second"),
           number(integers, "bytes") / number(real, "bytes"), json_string_value(json_object_get(report, "provider")));
}
