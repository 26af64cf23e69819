/* eval_print.c - a report of `lathe eval` as tables. Everything printed is also in --json; columns and tables without a
 * number in them are left out. */
#include "cli/eval_options.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static const char *text(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

/* Names from files in one cell. */
static void put_name(FILE *file, const char *name)
{
    for (int i = 0; name[i] && i < 160; i++) fputc((unsigned char)name[i] < 32 || name[i] == 127 ? ' ' : name[i], file);
}

static void put_cell(FILE *file, const char *before, double value, const char *format)
{
    fputs(before, file);
    if (isfinite(value))
        fprintf(file, format[0] == 'i' ? "%.0f" : format[0] == 'p' ? "%.4f" : "%.4f", value);
    else
        fputs("-", file);
}

/* A table written to memory, then lined up. */
typedef struct table {
    FILE *file;
    char *text;
    size_t size;
} table;

static bool open_table(table *t)
{
    *t = (table){NULL, NULL, 0};
    t->file = open_memstream(&t->text, &t->size);
    return t->file != NULL;
}

static void close_table(table *t, const char *title)
{
    fclose(t->file);
    if (*title) printf("\n%s\n", title);
    if (t->text) cli_table(stdout, t->text);
    free(t->text);
}

/* ---- One line a metric ---- */

static void put_interval(FILE *file, const json_t *intervals, const char *key)
{
    const json_t *pair = json_object_get(intervals, key);
    if (json_array_size(pair) == 2 && json_is_number(json_array_get(pair, 0)))
        fprintf(file, "\t%.4f .. %.4f", json_number_value(json_array_get(pair, 0)),
                json_number_value(json_array_get(pair, 1)));
    else
        fputs("\t-", file);
}

static void print_metrics(const json_t *report)
{
    static const char *const keys[] = {"perplexity", "nll", "accuracy",       "accuracy_norm",
                                       "macro_f1",   "kl",  "top1_agreement", "flipped"};
    const json_t *reference = json_object_get(report, "reference"), *intervals = json_object_get(report, "intervals");
    table t;
    if (!open_table(&t)) return;
    fprintf(t.file, "metric\tvalue%s%s%s\n", intervals ? "\t95 %" : "", reference ? "\treference" : "",
            reference && intervals ? "\tdifference, 95 %" : "");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        double value = number(report, keys[i]);
        if (!json_object_get(report, keys[i])) continue;
        fprintf(t.file, "%s\t%.*f", keys[i], i == 7 ? 0 : 6, value);
        if (intervals) put_interval(t.file, intervals, keys[i]);
        if (reference) put_cell(t.file, "\t", number(reference, keys[i]), "p");
        if (reference && intervals) put_interval(t.file, json_object_get(intervals, "difference"), keys[i]);
        fputc('\n', t.file);
    }
    close_table(&t, "");
}

static void print_plain(const json_t *report)
{
    printf("perplexity  %.6f\nnll         %.6f\n", number(report, "perplexity"), number(report, "nll"));
}

/* ---- Tables of reports: slices, perturbations, tasks ---- */

typedef struct column {
    const char *key, *title, *format; /* key with "reference/" before it: the reference's */
} column;

static const column columns[] = {
    {"documents", "items", "i"},        {"tokens", "tokens", "i"},
    {"perplexity", "perplexity", "p"},  {"reference/perplexity", "reference", "p"},
    {"accuracy", "accuracy", "p"},      {"reference/accuracy", "reference", "p"},
    {"accuracy_norm", "acc_norm", "p"}, {"reference/accuracy_norm", "reference", "p"},
    {"macro_f1", "macro F1", "p"},      {"kl", "KL", "p"},
    {"top1_agreement", "top-1", "p"},
};
enum { COLUMNS = sizeof columns / sizeof *columns };

static double cell(const json_t *report, const char *key)
{
    const char *slash = strchr(key, '/');
    return slash ? number(json_object_get(report, "reference"), slash + 1) : number(report, key);
}

/* `first` (may be NULL) is the report the others are variations of. */
static void print_group(const char *title, const char *head, const json_t *first, const json_t *reports)
{
    bool used[COLUMNS] = {false};
    const char *name;
    json_t *report;
    table t;
    if (json_object_size(reports) == 0 || !open_table(&t)) return;
    json_object_foreach((json_t *)reports, name, report) for (int i = 0; i < COLUMNS; i++) used[i] =
        used[i] || isfinite(cell(report, columns[i].key));
    fputs(head, t.file);
    for (int i = 0; i < COLUMNS; i++)
        if (used[i]) fprintf(t.file, "\t%s", columns[i].title);
    fputc('\n', t.file);
    if (first) {
        fputs("as it is", t.file);
        for (int i = 0; i < COLUMNS; i++)
            if (used[i]) put_cell(t.file, "\t", cell(first, columns[i].key), columns[i].format);
        fputc('\n', t.file);
    }
    json_object_foreach((json_t *)reports, name, report)
    {
        put_name(t.file, name);
        for (int i = 0; i < COLUMNS; i++)
            if (used[i]) put_cell(t.file, "\t", cell(report, columns[i].key), columns[i].format);
        fputc('\n', t.file);
    }
    close_table(&t, title);
}

/* ---- Lists ---- */

static void print_worst(const json_t *report)
{
    const json_t *list = json_object_get(report, "worst");
    size_t i;
    json_t *one;
    if (json_array_size(list) == 0) return;
    printf("\nwhat changed most\n");
    json_array_foreach((json_t *)list, i, one)
    {
        put_name(stdout, text(one, "where"));
        printf("  KL %.4f, perplexity %.4f from %.4f\n    ", number(one, "kl"), number(one, "perplexity"),
               number(one, "reference_perplexity"));
        put_name(stdout, text(one, "text"));
        putchar('\n');
    }
}

static void print_flips(const json_t *report)
{
    const json_t *list = json_object_get(report, "flips");
    size_t i;
    json_t *one;
    if (json_array_size(list) == 0) return;
    printf("\nanswers that flipped: %.0f\n", number(report, "flipped"));
    json_array_foreach((json_t *)list, i, one)
    {
        static const char *const keys[] = {"text", "before", "after", "gold"};
        put_name(stdout, text(one, "where"));
        for (int k = 0; k < 4; k++) {
            printf(k ? "\n    %-6s  " : "\n    ", keys[k]);
            put_name(stdout, text(one, keys[k]));
        }
        putchar('\n');
    }
}

static void print_confusions(const json_t *report)
{
    const json_t *list = json_object_get(report, "confusions");
    size_t i;
    json_t *one;
    table t;
    if (json_array_size(list) == 0 || !open_table(&t)) return;
    fputs("label\ttaken for\ttimes\n", t.file);
    json_array_foreach((json_t *)list, i, one)
    {
        put_name(t.file, text(one, "gold"));
        fputc('\t', t.file);
        put_name(t.file, text(one, "answer"));
        put_cell(t.file, "\t", number(one, "count"), "i");
        fputc('\n', t.file);
    }
    close_table(&t, "confused most");
}

static void print_positions(const json_t *report)
{
    const json_t *list = json_object_get(report, "by_position");
    size_t i;
    json_t *one;
    table t;
    if (json_array_size(list) == 0 || !open_table(&t)) return;
    bool reference = json_object_get(report, "reference");
    fprintf(t.file, "position\ttokens\tperplexity%s\n", reference ? "\treference" : "");
    json_array_foreach((json_t *)list, i, one)
    {
        fprintf(t.file, "%.0f - %.0f", number(one, "from"), number(one, "to"));
        put_cell(t.file, "\t", number(one, "tokens"), "i");
        put_cell(t.file, "\t", number(one, "perplexity"), "p");
        if (reference) put_cell(t.file, "\t", number(one, "reference_perplexity"), "p");
        fputc('\n', t.file);
    }
    close_table(&t, "by position");
}

static void print_diversity(const json_t *report)
{
    const json_t *d = json_object_get(report, "diversity");
    if (!d) return;
    printf(
        "\nsamples     %.0f texts of %.0f tokens: distinct-1 %.3f, distinct-2 %.3f, distinct-3 %.3f, repetition %.3f, "
        "self-overlap %.3f\n",
        number(d, "samples"), number(d, "tokens"), number(d, "distinct_1"), number(d, "distinct_2"),
        number(d, "distinct_3"), number(d, "repetition"), number(d, "self_overlap"));
}

static int64_t whole(const json_t *report, const char *key)
{
    double value = number(report, key);
    return isfinite(value) ? (int64_t)value : 0;
}

static void print_sizes(const json_t *report)
{
    char b[4][32];
    int64_t parameters = whole(report, "parameters"), nonzero = whole(report, "nonzero_parameters");
    printf("scored      %s tokens of %s documents in %.1f s, %.0f tok/s\n",
           cli_thousands(b[0], whole(report, "tokens")), cli_thousands(b[1], whole(report, "documents")),
           number(report, "seconds"), number(report, "tokens_per_second"));
    if (json_object_get(report, "truncated"))
        printf("cut         %s rows that were longer than the model's context\n",
               cli_thousands(b[0], whole(report, "truncated")));
    if (json_object_get(report, "skipped_rows"))
        printf("left out    %s rows that cannot be used\n", cli_thousands(b[0], whole(report, "skipped_rows")));
    printf("weights     %s, %s parameters", cli_bytes(b[0], (uint64_t)whole(report, "model_bytes")),
           cli_thousands(b[1], parameters));
    if (nonzero < parameters) printf(", %s not zero", cli_thousands(b[2], nonzero));
    printf("\nmemory      %s at most\n", cli_bytes(b[3], (uint64_t)whole(report, "peak_rss_bytes")));
}

void cli_eval_print(const json_t *report)
{
    bool plain = !json_object_get(report, "intervals") && !json_object_get(report, "reference") &&
                 !json_object_get(report, "accuracy");
    if (plain)
        print_plain(report);
    else
        print_metrics(report);
    print_sizes(report);
    const json_t *closed = json_object_get(report, "closed_book");
    json_t *books = closed ? json_pack("{s:O}", "without context", closed) : NULL;
    print_group("open book", "book", report, books);
    json_decref(books);
    print_group("families", "family", NULL, json_object_get(report, "families"));
    print_group("tasks", "task", NULL, json_object_get(report, "tasks"));
    print_group("slices", "slice", NULL, json_object_get(report, "slices"));
    print_group("perturbed inputs", "input", report, json_object_get(report, "perturbed"));
    print_confusions(report);
    print_positions(report);
    print_worst(report);
    print_flips(report);
    print_diversity(report);
}
