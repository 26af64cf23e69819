/* eval_golden.c - see eval_golden.h. What is added is the library's report, as it is: whatever stands in it a gate can
 * address. Drift comes last, so that it sees golden outputs too. */
#include "cli/eval_golden.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_ROWS = 5 };

int cli_golden_check(cli *c, const cli_golden *o)
{
    if ((o->golden || o->write) && !o->prompts)
        return cli_fail(c, EXIT_USAGE, "%s needs the rows it is about; give --prompts FILE",
                        o->golden ? "--golden" : "--golden-write");
    if (o->prompts && !o->golden && !o->write)
        return cli_fail(c, EXIT_USAGE,
                        "--prompts needs --golden FILE to compare with or --golden-write FILE; lathe generate shows "
                        "what a model says");
    if (!o->prompts && cli_settings_given(c->settings, "max_tokens"))
        return cli_fail(c, EXIT_USAGE, "--max-tokens is for --prompts");
    if (!o->baseline) return EXIT_DONE;
    /* whether it can be read; that an empty report has no number in common with it is no news */
    char *drift;
    lt_status status = lt_baseline_compare(c->ctx, o->baseline, "{}", &drift);
    if (status == LT_EINVAL) return EXIT_DONE;
    return status == LT_OK ? EXIT_DONE : cli_fail_status(c, status, true);
}

/* ---- Golden outputs ---- */

/* Adds the library's text as an object; frees it. */
static int add_part(cli *c, json_t *report, const char *key, char *text)
{
    json_t *part = json_loads(text, JSON_ALLOW_NUL, NULL);
    lt_string_free(c->ctx, text);
    if (part && json_object_set_new(report, key, part) == 0) return EXIT_DONE;
    return cli_fail(c, EXIT_MEMORY, "memory is out");
}

int cli_eval_golden(cli *c, const cli_golden_call *call, json_t *report)
{
    if (!call->o->prompts) return EXIT_DONE;
    if (!lt_model_tokenizer(call->model))
        return cli_fail(c, EXIT_USAGE, "this %s reads numbers: golden outputs are of models that write text",
                        lt_model_family(call->model));
    cli_count progress = {.cli = c, .last = cli_seconds()};
    lt_dataset_options rows; /* only its chat is of use here */
    lt_chat *chat;
    lt_golden_options g;
    char *text;
    lt_dataset_options_init(&rows);
    int code = cli_rows_options(c, call->rows, call->o->prompts, lt_model_tokenizer(call->model), &rows, &chat);
    if (code) return code;
    lt_golden_options_init(&g);
    g.prompts = call->o->prompts, g.golden = call->o->golden, g.write = call->o->write;
    g.max_tokens = call->o->max_tokens;
    g.chat = chat;
    g.quant = call->quant;
    g.model_name = call->model_name;
    g.stop = &cli_stop;
    g.on_progress = cli_on_count;
    g.user = &progress;
    lt_status status = lt_golden_run(c->ctx, call->model, &g, &text);
    cli_count_end(&progress);
    bool writing = status == LT_EIO && g.write && strstr(lt_ctx_message(c->ctx), g.write);
    code = status == LT_OK ? add_part(c, report, "golden", text)
                           : cli_fail_status(c, status, status != LT_EINVAL && !writing);
    lt_chat_free(chat);
    if (!code && g.write) cli_say(c, "goldens     %s", g.write);
    json_int_t unchecked = json_integer_value(json_object_get(json_object_get(report, "golden"), "unchecked"));
    if (!code && g.golden && unchecked)
        cli_warn(c, "%" JSON_INTEGER_FORMAT " of the prompts have no golden: nothing is expected of them", unchecked);
    return code;
}

/* ---- Drift ---- */

static int compare(cli *c, const char *baseline, json_t *report)
{
    char *now = json_dumps(report, JSON_COMPACT), *drift;
    if (!now) return cli_fail(c, EXIT_MEMORY, "memory is out");
    lt_status status = lt_baseline_compare(c->ctx, baseline, now, &drift);
    free(now);
    return status == LT_OK ? add_part(c, report, "drift", drift) : cli_fail_status(c, status, true);
}

int cli_eval_drift(cli *c, const cli_golden *o, const char *data, const lt_dataset_options *rows, int64_t limit,
                   lt_tokenizer *tokenizer, json_t *report)
{
    char *profile;
    int code = EXIT_DONE;
    if (data) {
        lt_status status = lt_data_profile(c->ctx, data, tokenizer, rows, limit, &profile);
        code = status == LT_OK ? add_part(c, report, "data_profile", profile) : cli_fail_status(c, status, true);
    }
    return code || !o->baseline ? code : compare(c, o->baseline, report);
}

/* ---- For a person ---- */

static void put_share(const json_t *golden, const char *key, const char *what)
{
    const json_t *share = json_object_get(golden, key);
    if (json_is_number(share)) printf("%s %.1f %%, ", what, 100 * json_number_value(share));
}

/* Text from a model, on one line. */
static void put_quoted(const json_t *text)
{
    putchar('\'');
    for (const char *p = json_string_value(text); p && *p; p++) putchar((unsigned char)*p < 32 || *p == 127 ? ' ' : *p);
    putchar('\'');
}

static void put_row_name(const json_t *row)
{
    const json_t *id = json_object_get(row, "id"), *line = json_object_get(row, "line");
    if (json_is_integer(line)) fputs("line ", stdout);
    if (json_is_integer(id) || json_is_integer(line))
        printf("%" JSON_INTEGER_FORMAT, json_integer_value(id ? id : line));
    else
        put_quoted(id ? id : json_object_get(row, "prompt"));
}

static void print_row(const json_t *row)
{
    const json_t *first = json_object_get(row, "first_divergence"), *error = json_object_get(row, "regex_error");
    fputs("  ", stdout);
    put_row_name(row);
    if (first) {
        printf(": at token %" JSON_INTEGER_FORMAT ", byte %" JSON_INTEGER_FORMAT ", ",
               json_integer_value(json_object_get(first, "token")), json_integer_value(json_object_get(first, "byte")));
        put_quoted(json_object_get(first, "expected"));
        fputs(" was expected and came ", stdout);
        put_quoted(json_object_get(first, "got"));
    }
    for (size_t i = 0; i < json_array_size(json_object_get(row, "missing")); i++) {
        fputs("; it does not say ", stdout);
        put_quoted(json_array_get(json_object_get(row, "missing"), i));
    }
    for (size_t i = 0; i < json_array_size(json_object_get(row, "unwanted")); i++) {
        fputs("; it says ", stdout);
        put_quoted(json_array_get(json_object_get(row, "unwanted"), i));
    }
    if (json_is_false(json_object_get(row, "regex")))
        printf("; %s", error ? json_string_value(error) : "the pattern is not found");
    putchar('\n');
}

static void print_golden(const json_t *golden)
{
    const json_t *rows = json_object_get(golden, "rows"), *mean = json_object_get(golden, "first_divergence_mean");
    int shown = 0;
    printf("golden      ");
    put_share(golden, "exact", "exact");
    put_share(golden, "contains", "contains");
    put_share(golden, "regex", "regex");
    put_share(golden, "passed", "passed");
    printf("%" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT " prompts compared\n",
           json_integer_value(json_object_get(golden, "items")),
           json_integer_value(json_object_get(golden, "prompts")));
    if (json_is_number(mean))
        printf("            %" JSON_INTEGER_FORMAT " differ, on average from token %.1f on\n",
               json_integer_value(json_object_get(golden, "diverged")), json_number_value(mean));
    for (size_t i = 0; i < json_array_size(rows) && shown < SHOWN_ROWS; i++) {
        if (!json_is_false(json_object_get(json_array_get(rows, i), "passed"))) continue;
        print_row(json_array_get(rows, i));
        shown++;
    }
}

static void put_change(FILE *file, const char *of, const char *key, const json_t *changes)
{
    const json_t *change = json_object_get(changes, key), *ratio = json_object_get(change, "ratio");
    if (!json_is_number(json_object_get(change, "new"))) return;
    fprintf(file, "%s%s\t%.6g\t%.6g\t%+.4g\t", of, key, json_number_value(json_object_get(change, "old")),
            json_number_value(json_object_get(change, "new")),
            json_number_value(json_object_get(change, "difference")));
    if (json_is_number(ratio))
        fprintf(file, "%.4f\t", json_number_value(ratio));
    else
        fputs("-\t", file);
    fprintf(file, "%s\n", json_is_true(json_object_get(change, "outside")) ? "outside both intervals" : "");
}

static void print_drift(const json_t *drift)
{
    static const char *const keys[] = {"perplexity", "nll", "accuracy",       "accuracy_norm",
                                       "macro_f1",   "kl",  "top1_agreement", "model_bytes"};
    static const char *const of_data[] = {"documents",           "tokens_per_document", "bytes_per_token",
                                          "vocabulary_coverage", "unknown_share",       "byte_share"};
    static const char *const of_golden[] = {"exact", "passed"};
    const json_t *data = json_object_get(drift, "data"), *golden = json_object_get(drift, "golden");
    char *text = NULL;
    size_t size;
    FILE *file = open_memstream(&text, &size);
    if (!file) return;
    fputs("drift\told\tnew\tdifference\tratio\t\n", file);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) put_change(file, "", keys[i], drift);
    for (size_t i = 0; golden && i < sizeof of_golden / sizeof *of_golden; i++)
        put_change(file, "golden ", of_golden[i], golden);
    for (size_t i = 0; data && i < sizeof of_data / sizeof *of_data; i++) put_change(file, "data ", of_data[i], data);
    if (fclose(file) == 0) cli_table(stdout, text);
    free(text);
    if (!data) return;
    bool same = json_is_true(json_object_get(data, "same"));
    printf("data        %s", same ? "the same\n" : "another");
    if (!same) printf("; its tokens are %.4g nats from the old ones\n", json_number_value(json_object_get(data, "kl")));
}

void cli_golden_print(const json_t *report)
{
    const json_t *golden = json_object_get(report, "golden"), *drift = json_object_get(report, "drift");
    if (golden && json_integer_value(json_object_get(golden, "items"))) print_golden(golden);
    if (drift) print_drift(drift);
}
