/* verb_eval.c - lathe eval: what a model can do, what compressing it has changed, gates, and the logits, to compare
 * with other programs. */
#include "cli/eval_options.h"
#include "cli/int8_model.h"
#include "data/sets/set_rows.h"
#include "lathe/plan.h"
#include "qat/policy.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* What is open during a call. */
typedef struct opened {
    lt_model *base, *coded, *reference;
    lt_model *model; /* the one that is evaluated: base or coded */
    lt_chat *chat;
    cli_quant quant;
    lt_quant_policy policy; /* borrows from `quant` */
    bool quantized;
    cli_trained trained;            /* how the model was trained, where its directory says so */
    char *label_prompt, *delimiter; /* with \n as a line end */
} opened;

/* ---- Logits of the first window ---- */

/* Records and runs the model on one row. */
static lt_status run_window(lt_model *model, const lt_quant_policy *policy, const int32_t *row, int64_t length,
                            FILE *file)
{
    lt_ctx *ctx = lt_params_ctx(lt_model_params(model));
    const int64_t vocab = lt_model_vocab(model);
    lt_graph *g = NULL;
    lt_plan *plan = NULL;
    lt_status status = lt_graph_create(ctx, lt_model_params(model), &g);
    if (status == LT_OK) {
        lt_training(g, false);
        if (policy) lt_qat_attach(g, policy);
        lt_t tokens = lt_index_input(g, "tokens", 2, (int64_t[]){1, length}, 0, (int32_t)vocab);
        lt_t logits = lt_model_logits(model, g, &(lt_model_input){.tokens = tokens}); /* [1, T, V] */
        status = lt_compile(g, NULL, 1, &logits, &plan);
    }
    if (status == LT_OK) status = lt_bind(plan, "tokens", row);
    if (status == LT_OK) status = lt_run(plan);
    if (status == LT_OK) {
        const lt_real *z = lt_result(plan, 0);
        for (int64_t i = 0; i < length * vocab; i++) {
            float value = (float)z[i];
            fwrite(&value, sizeof value, 1, file);
        }
    }
    lt_plan_free(plan);
    lt_graph_free(g);
    return status;
}

static int write_logits(cli *c, const char *path, const opened *m, const lt_dataset *data)
{
    int64_t length;
    const int32_t *row = lt_dataset_row(data, 0, &length);
    FILE *file = fopen(path, "wbe");
    if (!file) return cli_fail(c, EXIT_IO, "%s: cannot write the logits: %s", path, strerror(errno));
    lt_status status = run_window(m->model, m->quantized ? &m->policy : NULL, row, length, file);
    bool lost = ferror(file);
    if ((fclose(file) || lost) && status == LT_OK)
        return cli_fail(c, EXIT_IO, "%s: the logits could not be written whole: %s", path, strerror(errno));
    if (status != LT_OK) return cli_fail_status(c, status, false);
    cli_say(c, "logits      %s: [%" PRId64 ", %" PRId64 "] f32", path, length, lt_model_vocab(m->model));
    return EXIT_DONE;
}

static int dump_logits(cli *c, const eval_options *o, const opened *m, const lt_dataset_options *rows)
{
    if (!o->dump_logits) return EXIT_DONE;
    if (!o->data || lt_model_reads(m->model) != LT_DATA_TOKENS)
        return cli_fail(c, EXIT_USAGE, "--dump-logits is for a decoder and the text of --data");
    lt_dataset *data;
    lt_status status = lt_dataset_open(c->ctx, o->data, lt_model_tokenizer(m->model), rows, &data);
    if (status != LT_OK) return cli_fail_status(c, status, true);
    int code = write_logits(c, o->dump_logits, m, data);
    lt_dataset_free(data);
    return code;
}

/* ---- Options of the library ---- */

static lt_split choose_split(cli *c, const eval_options *o)
{
    static const struct {
        const char *name;
        lt_split split;
    } splits[] = {{"train", LT_SPLIT_TRAIN}, {"valid", LT_SPLIT_VALID}, {"test", LT_SPLIT_TEST}};
    for (int i = 0; i < 3; i++)
        if (!strcmp(o->split, splits[i].name)) return splits[i].split;
    if (!strcmp(o->split, "all") || !o->data || !cli_is_directory(o->data)) return LT_SPLIT_ALL;
    return lti_set_has_test(c->ctx, o->data) ? LT_SPLIT_TEST : LT_SPLIT_VALID;
}

/* What was typed, "\n" and "\t" as the characters they mean, to be freed; NULL for NULL. */
static char *unescape(const char *typed)
{
    char *text = typed ? strdup(typed) : NULL, *out = text;
    for (const char *p = text; p && *p; p++) {
        bool pair = *p == '\\' && (p[1] == 'n' || p[1] == 't' || p[1] == '\\');
        if (pair) p++;
        *out++ = (char)(!pair ? *p : *p == 'n' ? '\n' : *p == 't' ? '\t' : '\\');
    }
    if (text) *out = 0;
    return text;
}

static int fill_options(cli *c, const eval_options *o, opened *m, lt_eval_options *e)
{
    int64_t context = lt_model_context(m->base);
    m->label_prompt = unescape(o->label_prompt);
    m->delimiter = unescape(o->delimiter);
    bool given = cli_settings_given(c->settings, "max_seq_length");
    lt_eval_options_init(e);
    e->model = m->model;
    e->reference = m->reference;
    e->quant = m->quantized ? &m->policy : NULL;
    e->data = o->data, e->suite = o->suite, e->task = o->task;
    e->slice = o->slice, e->perturb = o->perturb;
    e->label_prompt = m->label_prompt, e->delimiter = m->delimiter;
    e->batch_size = o->batch_size, e->limit = o->limit;
    e->details = o->details, e->resamples = o->resamples;
    e->samples = o->samples, e->sample_tokens = o->sample_tokens, e->temperature = o->temperature;
    e->seed = (uint64_t)o->common.seed;
    e->task_length = given ? o->max_seq_length : 0;
    e->stop = &cli_stop;
    e->on_progress = cli_on_count;
    e->rows.max_seq_length = given || context == 0 || o->max_seq_length < context ? o->max_seq_length : context;
    e->rows.split = choose_split(c, o);
    e->rows.valid_fraction = o->valid_fraction;
    const char *data = o->data ? o->data : o->suite;
    lt_tokenizer *tokenizer = lt_model_tokenizer(m->base);
    return data && tokenizer ? cli_rows_options(c, &o->rows, data, tokenizer, &e->rows, &m->chat) : EXIT_DONE;
}

/* ---- What it was trained with ---- */

/* Float beside codes is asked for by saying nothing: of a model that was trained on a grid it is said. */
static void note_training(cli *c, const eval_options *o, const opened *m)
{
    const char *type = cli_trained_word(&m->trained, "qat"),
               *activations = cli_trained_word(&m->trained, "qat_activations");
    if (m->quantized || o->codes || o->int8 || !*type || !strcmp(type, "f32")) return;
    bool is_static = !strcmp(activations, "int8_static");
    cli_warn(c,
             "%s was trained with --qat %s --qat-activations %s, and is evaluated in float here: give both%s, or the "
             "codes that were exported",
             o->model, type, activations, is_static ? ", or --int8" : "");
}

/* What was not typed is as in the training. */
static int adopt_words(cli *c, opened *m)
{
    if (!cli_settings_given(c->settings, "qat_activations")) m->quant.activations = NULL;
    return cli_trained_adopt(c, &m->trained, &m->quant);
}

static int check_static(cli *c, const eval_options *o, const opened *m)
{
    if (!o->int8 || m->policy.activations == LT_ACT_INT8_STATIC) return EXIT_DONE;
    if (!strcmp(cli_trained_word(&m->trained, "qat_activations"), "int8_static"))
        return cli_fail(c, EXIT_USAGE,
                        "--int8: integers need static activations, and %s was trained with them: leave "
                        "--qat-activations out",
                        o->model);
    return cli_fail(c, EXIT_USAGE, "--int8: %s %s static activations, which integers need: %s", o->model,
                    m->trained.words ? "was trained without" : "says nothing of", CLI_INT8_HOW);
}

static int choose_policy(cli *c, const eval_options *o, opened *m)
{
    int code = cli_trained_read(c, o->model, &m->trained);
    if (!code && o->int8) code = adopt_words(c, m);
    if (!code) code = cli_quant_policy(c, &m->quant, &m->policy, &m->quantized);
    if (code) return code;
    note_training(c, o, m);
    m->policy.on_grid = o->codes != NULL && !o->int8; /* --qat then says which layers round their activations */
    return check_static(c, o, m);
}

/* Codes that were trained with static activations have their grids with them: they are used without being asked for. */
static int choose_activations(cli *c, const eval_options *o, opened *m)
{
    if (!m->coded) return cli_int8_grids(c, m->base, o->model, &m->policy);
    bool there = cli_has_grids(m->coded), asked = m->policy.activations == LT_ACT_INT8_STATIC;
    if (asked && !there)
        return cli_fail(c, EXIT_USAGE,
                        "%s has no scales of static activations: it was exported by a run without --qat-activations "
                        "int8_static; leave them out",
                        o->codes);
    if (!there || m->policy.activations != LT_ACT_NONE || cli_settings_given(c->settings, "qat_activations"))
        return EXIT_DONE;
    m->policy.activations = LT_ACT_INT8_STATIC;
    m->quantized = true;
    cli_say(c, "activations are rounded to the static grids in %s, as in training", o->codes);
    return EXIT_DONE;
}

/* ---- The verb ---- */

static lt_status open_models(cli *c, const eval_options *o, opened *m)
{
    bool stay = lti_quant_weights_stay(&m->policy) || m->policy.on_grid; /* none is rounded: as the files have them */
    lt_status status =
        stay ? lt_model_open_frozen(c->ctx, o->model, &m->base) : lt_model_open(c->ctx, o->model, &m->base);
    if (status == LT_OK && o->codes && !o->int8) status = lt_model_with_codes(m->base, o->codes, &m->coded);
    if (status == LT_OK && o->reference) status = lt_model_open_frozen(c->ctx, o->reference, &m->reference);
    m->model = m->coded ? m->coded : m->base;
    return status;
}

/* The report as an object, empty when only golden outputs are asked for; NULL with *code. */
static json_t *evaluate(cli *c, const lt_eval_options *e, int *code)
{
    char *text;
    *code = EXIT_DONE;
    if (!e->data && !e->suite) return json_object();
    lt_status status = lt_eval_run(c->ctx, e, &text);
    cli_count_end(e->user);
    /* what does not fit the model or the data is the caller's; the rest is the files' */
    *code = status == LT_OK ? EXIT_DONE : cli_fail_status(c, status, status != LT_EINVAL);
    json_t *report = status == LT_OK ? json_loads(text, 0, NULL) : NULL;
    if (status == LT_OK && !report) *code = cli_fail(c, EXIT_MEMORY, "memory is out");
    if (status == LT_OK) lt_string_free(c->ctx, text);
    return report;
}

/* All numbers there are, golden outputs first: they are few, and their rows are checked before hours of evaluation.
 * NULL with *code. */
static json_t *measure(cli *c, const eval_options *o, opened *m, const lt_eval_options *e, int *code)
{
    cli_golden_call golden = {
        .o = &o->golden, .rows = &o->rows, .model = m->model, .model_name = o->model, .quant = e->quant};
    json_t *first = json_object();
    *code = cli_eval_golden(c, &golden, first);
    json_t *report = *code ? NULL : evaluate(c, e, code);
    if (report && json_object_update(report, first)) *code = cli_fail(c, EXIT_MEMORY, "memory is out");
    json_decref(first);
    if (!report || *code) return report;
    lt_tokenizer *tokenizer = lt_model_tokenizer(m->base); /* without one there is no text to describe */
    *code = cli_eval_drift(c, &o->golden, tokenizer ? o->data : NULL, &e->rows, o->limit, tokenizer, report);
    return report;
}

static int run(cli *c, const eval_options *o, opened *m)
{
    lt_eval_options e;
    cli_count line = {.cli = c, .last = cli_seconds()};
    int code = fill_options(c, o, m, &e);
    if (code) return code;
    e.user = &line;
    const cli_int8_call integers = {c, m->base, &m->policy, o->data, o->codes, &e.rows};
    json_t *report = NULL;
    if (o->int8)
        code = cli_eval_int8(&integers, &report);
    else
        report = measure(c, o, m, &e, &code);
    if (!report) return code;
    if (!code) code = dump_logits(c, o, m, &e.rows);
    if (!code) code = cli_eval_judge(c, &o->gates, report);
    if (code && code != EXIT_GATE) {
        json_decref(report);
        return code;
    }
    if (c->json) {
        int written = cli_answer(c, report);
        return code ? code : written;
    }
    if (o->int8)
        cli_eval_int8_print(report);
    else if (e.data || e.suite)
        cli_eval_print(report);
    cli_golden_print(report);
    json_decref(report);
    return code;
}

int cli_eval(cli *c, void *target)
{
    eval_options *o = target;
    if (!o->model) return cli_fail(c, EXIT_USAGE, "no model; give --model DIR");
    int code = cli_golden_check(c, &o->golden);
    if (code) return code;
    if (o->data ? o->suite != NULL : !o->suite && !o->golden.prompts)
        return cli_fail(c, EXIT_USAGE,
                        o->data ? "--data and --suite exclude each other"
                                : "no data; give --data FILE or a directory, or --suite DIR");
    bool more = o->reference || o->golden.prompts || o->dump_logits || o->slice || o->perturb || o->limit ||
                o->samples || o->details || o->batch_size;
    if (o->int8 && (!o->data || more))
        return cli_fail(c, EXIT_USAGE,
                        "--int8 compares two networks on all rows of --data, and does nothing else: leave --reference, "
                        "--slice, --perturb, --limit, --samples, --details, --batch-size, --dump-logits and golden "
                        "outputs out");
    code = cli_eval_check_gates(c, &o->gates);
    if (code) return code;
    opened m = {.quant = o->quant};
    code = choose_policy(c, o, &m);
    lt_status status = code ? LT_OK : open_models(c, o, &m);
    if (!code && status != LT_OK) code = cli_fail_status(c, status, true);
    if (!code) code = cli_quant_scales(c, m.base, o->model, &m.policy);
    if (!code) code = choose_activations(c, o, &m);
    if (!code) code = cli_quant_products(c, m.model, &m.policy);
    if (!code) code = run(c, o, &m);
    cli_quant_free(&m.quant);
    cli_trained_free(&m.trained);
    free(m.label_prompt);
    free(m.delimiter);
    lt_chat_free(m.chat);
    lt_model_free(m.reference);
    lt_model_free(m.coded);
    lt_model_free(m.base);
    return code;
}
