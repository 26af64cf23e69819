/* verb_eval.c - lathe eval: perplexity of a model, gates, and the logits, to compare with other programs. */
#include "cli/cli.h"
#include "lathe/plan.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct eval_options {
    cli_common common;
    const char *model, *codes, *data, *split, *dump_logits;
    double valid_fraction;
    int64_t max_seq_length, batch_size;
    cli_list gates;
    cli_quant quant;
} eval_options;

#define AT(field) offsetof(eval_options, field)
#define MODEL "Model"
#define DATA "Data"
#define OUTPUT "Output"

static const cli_option options[] = {
    {"model", CLI_TEXT, AT(model), .group = MODEL, .value = "DIR",
     .help = "Hugging Face directory or lathe checkpoint"},
    {"codes", CLI_TEXT, AT(codes), .group = MODEL, .value = "FILE",
     .help = "take the weights from these exported codes; --model gives config and tokenizer"},
    {"qat", CLI_CHOICE, AT(quant.type), .group = MODEL, .value = "TYPE", .choices = "q4_0|q8_0",
     .later = CLI_QUANT_LATER, .help = "round linear layers to this type (q4_0, q8_0) on the way, as training does"},
    {"qat_embedding", CLI_CHOICE, AT(quant.embedding), "f32", MODEL, "type of the embedding and a tied head",
     .choices = "f32|q4_0|q8_0", .later = CLI_QUANT_LATER},
    {"qat_targets", CLI_TEXT, AT(quant.targets), .group = MODEL, .value = "GLOB",
     .help = "parameters --qat is for; every linear layer when left out"},
    {"data", CLI_TEXT, AT(data), .group = DATA, .value = "PATH",
     .help = "text file, documents separated by a line <|endoftext|>, or a directory with test.txt or valid.txt"},
    {"split", CLI_CHOICE, AT(split), "auto", DATA,
     "part of the data; auto: all of a file, test or else valid of a directory",
     .choices = "auto|all|train|valid|test"},
    {"valid_fraction", CLI_REAL, AT(valid_fraction), "0.1", DATA,
     "of a file, for --split train and valid, as in training", .low = 1e-9, .high = 0.9},
    {"max_seq_length", CLI_INT, AT(max_seq_length), "512", DATA,
     "positions a window; windows do not overlap, and all but the first position are scored", .low = 2,
     .high = 1 << 20},
    {"batch_size", CLI_INT, AT(batch_size), "0", DATA, "windows at once; 0: chosen. The result does not depend on it",
     .low = 0, .high = 1 << 20},
    {"gate", CLI_LIST, AT(gates), .group = OUTPUT, .value = "'KEY<=X'",
     .help = "exit 1 unless it holds, for any number of --json: 'perplexity<=5.2'. May be repeated"},
    {"dump_logits", CLI_TEXT, AT(dump_logits), .group = OUTPUT, .value = "FILE",
     .help = "write the logits of the first window as raw f32 [positions, vocabulary]"},
};
static const char *const later[] = {"reference", "adapter", "dump", "limit", NULL};

static int verb_eval(cli *cli, void *target);

const cli_verb cli_verb_eval = {
    .name = "eval",
    .summary = "perplexity of a model on a text, with gates",
    .usage = "--model DIR --data PATH [options]",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .target_bytes = sizeof(eval_options),
    .later = later,
    .run = verb_eval,
};

/* ---- Gates ---- */
typedef struct gate {
    char key[40], op[3];
    double bound;
} gate;

static const char *const gate_keys[] = {
    "perplexity",     "nll",         "tokens",     "documents",         "seconds", "tokens_per_second",
    "peak_rss_bytes", "model_bytes", "parameters", "nonzero_parameters"};

static int parse_gate(cli *c, const char *text, gate *g)
{
    size_t key = strcspn(text, "<>=! "), at = key + strspn(text + key, " ");
    size_t op = strspn(text + at, "<>=");
    const char *number = text + at + op;
    char *end;
    static const char *const ops[] = {"<=", ">=", "<", ">", "=="};
    bool known = false;
    snprintf(g->key, sizeof g->key, "%.*s", (int)key, text);
    snprintf(g->op, sizeof g->op, "%.*s", (int)op, text + at);
    for (int i = 0; i < 5; i++) known = known || (op < 3 && !strcmp(ops[i], g->op));
    g->bound = strtod(number, &end);
    if (!known || end == number || end[strspn(end, " ")] || !isfinite(g->bound))
        return cli_fail(c, EXIT_USAGE, "--gate '%s' is no comparison; write 'KEY<=X' with <=, >=, <, > or ==", text);
    const char *nearest = "";
    int best = INT_MAX;
    for (size_t i = 0; i < sizeof gate_keys / sizeof *gate_keys; i++) {
        int distance = cli_distance(g->key, gate_keys[i]);
        if (!strcmp(g->key, gate_keys[i])) return EXIT_DONE;
        if (distance < best) best = distance, nearest = gate_keys[i];
    }
    return cli_fail(c, EXIT_USAGE, "--gate '%s': no result is called '%s'; did you mean '%s'?", text, g->key, nearest);
}

static bool gate_holds(const gate *g, double value)
{
    bool less = value<g->bound, equal = value == g->bound, more = value> g->bound;
    return (less && *g->op == '<') || (more && *g->op == '>') || (equal && strchr(g->op, '='));
}

static int check_gates(cli *c, const eval_options *o)
{
    gate g;
    for (int i = 0; i < o->gates.count; i++) {
        int code = parse_gate(c, o->gates.items[i], &g);
        if (code) return code;
    }
    return EXIT_DONE;
}

/* Judges all gates; adds them to the answer. */
static int judge(cli *c, const eval_options *o, json_t *answer)
{
    if (o->gates.count == 0) return EXIT_DONE;
    int code = EXIT_DONE;
    json_t *list = json_array();
    for (int i = 0; i < o->gates.count; i++) {
        gate g;
        int broken = parse_gate(c, o->gates.items[i], &g);
        if (broken) code = broken;
        json_t *number = json_object_get(answer, g.key);
        double value = json_is_number(number) ? json_number_value(number) : NAN;
        bool holds = gate_holds(&g, value);
        json_array_append_new(
            list, json_pack("{s:s, s:o, s:b}", "gate", o->gates.items[i], "value", cli_real(value), "passed", holds));
        if (holds) continue;
        cli_warn(c, "gate missed: %s, but %s is %.6g", o->gates.items[i], g.key, value);
        code = EXIT_GATE;
    }
    json_object_set_new(answer, "gates", list);
    return code;
}

/* ---- Logits of the first window ---- */

/* Records and runs the model on one row. */
static lt_status run_window(lt_model *model, const lt_quant_policy *policy, const int32_t *row, int64_t length,
                            FILE *file)
{
    lt_ctx *ctx = lt_params_ctx(lt_model_params(model));
    const lt_llama_config *config = lt_model_config(model);
    lt_graph *g = NULL;
    lt_plan *plan = NULL;
    lt_status status = lt_graph_create(ctx, lt_model_params(model), &g);
    if (status == LT_OK) {
        if (policy) lt_qat_attach(g, policy);
        lt_t tokens = lt_index_input(g, "tokens", 2, (int64_t[]){1, length}, 0, (int32_t)config->vocab);
        lt_t logits = lt_llama_head(g, config, lt_llama_hidden(g, config, tokens)); /* [1, T, V] */
        status = lt_compile(g, NULL, 1, &logits, &plan);
    }
    if (status == LT_OK) status = lt_bind(plan, "tokens", row);
    if (status == LT_OK) status = lt_run(plan);
    if (status == LT_OK) {
        const lt_real *z = lt_result(plan, 0);
        for (int64_t i = 0; i < length * config->vocab; i++) {
            float value = (float)z[i];
            fwrite(&value, sizeof value, 1, file);
        }
    }
    lt_plan_free(plan);
    lt_graph_free(g);
    return status;
}

static int dump_logits(cli *c, const eval_options *o, lt_model *model, const lt_dataset *data,
                       const lt_quant_policy *policy)
{
    int64_t length;
    const int32_t *row = lt_dataset_row(data, 0, &length);
    FILE *file = fopen(o->dump_logits, "wbe");
    if (!file) return cli_fail(c, EXIT_IO, "%s: cannot write the logits: %s", o->dump_logits, strerror(errno));
    lt_status status = run_window(model, policy, row, length, file);
    bool lost = ferror(file);
    if ((fclose(file) || lost) && status == LT_OK)
        return cli_fail(c, EXIT_IO, "%s: the logits could not be written whole: %s", o->dump_logits, strerror(errno));
    if (status != LT_OK) return cli_fail_status(c, status, false);
    cli_say(c, "logits      %s: [%" PRId64 ", %" PRId64 "] f32", o->dump_logits, length, lt_model_config(model)->vocab);
    return EXIT_DONE;
}

/* ---- The verb ---- */

static lt_split choose_split(const eval_options *o)
{
    static const struct {
        const char *name;
        lt_split split;
    } splits[] = {{"train", LT_SPLIT_TRAIN}, {"valid", LT_SPLIT_VALID}, {"test", LT_SPLIT_TEST}};
    for (int i = 0; i < 3; i++)
        if (!strcmp(o->split, splits[i].name)) return splits[i].split;
    if (!strcmp(o->split, "all") || !cli_is_directory(o->data)) return LT_SPLIT_ALL;
    char *test = cli_join(o->data, "test.txt");
    struct stat info;
    lt_split split = test && stat(test, &info) == 0 ? LT_SPLIT_TEST : LT_SPLIT_VALID;
    free(test);
    return split;
}

static lt_status open_model(cli *c, const eval_options *o, lt_model **base, lt_model **coded)
{
    lt_status status = lt_model_open(c->ctx, o->model, base);
    if (status == LT_OK && o->codes) status = lt_model_with_codes(*base, o->codes, coded);
    return status;
}

static void print_result(const lt_eval_result *r)
{
    char b[3][32];
    printf("perplexity  %.6f\nnll         %.6f\n", r->perplexity, r->nll);
    printf("scored      %s tokens of %s documents in %.1f s, %.0f tok/s\n", cli_thousands(b[0], r->tokens),
           cli_thousands(b[1], r->documents), r->seconds, r->tokens_per_second);
    printf("weights     %s, %s parameters", cli_bytes(b[0], r->model_bytes), cli_thousands(b[1], r->parameters));
    if (r->nonzero_parameters < r->parameters) printf(", %s not zero", cli_thousands(b[2], r->nonzero_parameters));
    printf("\nmemory      %s at most\n", cli_bytes(b[0], r->peak_rss_bytes));
}

static int evaluate(cli *c, const eval_options *o, lt_model *model, const lt_dataset *data)
{
    lt_quant_policy policy;
    bool quantized = cli_quant_policy(&o->quant, &policy);
    lt_eval_result result;
    lt_status status = lt_evaluate(model, data, quantized ? &policy : NULL, o->batch_size, &result);
    if (status != LT_OK) return cli_fail_status(c, status, false);
    int code = o->dump_logits ? dump_logits(c, o, model, data, quantized ? &policy : NULL) : EXIT_DONE;
    if (code) return code;
    json_t *answer = cli_eval_json(&result);
    code = judge(c, o, answer);
    if (c->json) {
        int written = cli_answer(c, answer);
        return code ? code : written;
    }
    json_decref(answer);
    print_result(&result);
    return code;
}

static int verb_eval(cli *c, void *target)
{
    eval_options *o = target;
    if (!o->model) return cli_fail(c, EXIT_USAGE, "no model; give --model DIR");
    if (!o->data) return cli_fail(c, EXIT_USAGE, "no data; give --data FILE.txt or a directory");
    if (o->codes && (o->quant.type || strcmp(o->quant.embedding, "f32")))
        return cli_fail(c, EXIT_USAGE, "--codes are quantized already; leave --qat and --qat-embedding out");
    int code = check_gates(c, o);
    if (code) return code;
    lt_model *base = NULL, *coded = NULL;
    lt_dataset *data = NULL;
    lt_status status = open_model(c, o, &base, &coded);
    if (status == LT_OK) {
        lt_dataset_options d;
        lt_dataset_options_init(&d);
        int64_t context = lt_model_config(base)->context;
        bool given = cli_settings_given(c->settings, "max_seq_length");
        d.max_seq_length = given || o->max_seq_length < context ? o->max_seq_length : context;
        d.split = choose_split(o);
        d.valid_fraction = o->valid_fraction;
        status = lt_dataset_open(c->ctx, o->data, lt_model_tokenizer(base), &d, &data);
    }
    if (status == LT_OK)
        code = evaluate(c, o, coded ? coded : base, data);
    else
        code = cli_fail_status(c, status, true);
    lt_dataset_free(data);
    lt_model_free(coded);
    lt_model_free(base);
    return code;
}
