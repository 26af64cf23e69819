/* verb_quantize.c - lathe quantize: codes for a model that is done, or for a file of tensors, without training.
 *
 * What cannot be written is refused before the work: the output's name decides what it may hold. */
#include "base/ctx.h"
#include "cli/ptq_table.h"
#include "cli/quantize_measure.h"
#include "lathe/gguf.h"
#include "lathe/ptq.h"
#include "train/export.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct quantize_options {
    cli_common common;
    const char *model, *out, *format, *method, *data, *valid_data, *imatrix;
    cli_quant quant;
    cli_rows rows;
    int64_t calibration_rows, max_seq_length;
    double damping, alpha;
    bool act_order;
} quantize_options;

#define AT(field) offsetof(quantize_options, field)
#define FILES "Files"
#define TYPES "Types"
#define METHOD "Method"
#define DATA "Calibration data"

static const cli_option options[] = {
    {"model", CLI_TEXT, AT(model), .group = FILES, .value = "M",
     .help = "Hugging Face directory, .gguf or lathe checkpoint; or a file of tensors: .safetensors, .h5, .gguf"},
    {"out", CLI_TEXT, AT(out), .group = FILES, .value = "F",
     .help =
         "what to write: .gguf as llama.cpp reads it, .safetensors of codes, or a directory: a Hugging Face model of "
         "the codes' values, with codes.safetensors beside them"},

    {"format", CLI_CHOICE, AT(format), "auto", FILES,
     "auto: by the name of --out; else a directory " CLI_QUANT_FORMATS_HELP
     "--type is then the format's usual grid when left out",
     .choices = "auto|" CLI_QUANT_FORMATS},

    {"type", CLI_TEXT, AT(quant.type), .group = TYPES, .value = "TYPE",
     .help = "grid of the linear layers" CLI_QUANT_TYPES},
    {"embedding", CLI_TEXT, AT(quant.embedding), .group = TYPES, .value = "TYPE",
     .help = "type of the embedding and the head; left out: f32, or the mix's"},
    {"targets", CLI_TEXT, AT(quant.targets), .group = TYPES, .value = "GLOB",
     .help = "parameters --type is for; every linear layer when left out"},
    CLI_TENSOR_TYPE(AT, TYPES),

    {"method", CLI_CHOICE, AT(method), "rtn", METHOD,
     "rtn: to nearest; mse: scales searched; imatrix: the same, columns weighed by what they meet; gptq: later columns "
     "make up for earlier ones; awq: important channels scaled up before; smoothquant: outliers of activations moved "
     "into weights, for w8a8. Tensors whose type a method does not know are done by the next simpler one, and listed "
     "so",
     .choices = "rtn|mse|imatrix|gptq|awq|smoothquant"},
    {"damping", CLI_REAL, AT(damping), "0.01", METHOD, "gptq: added to the diagonal, as a share of its mean", .low = 0,
     .high = 100},
    {"act_order", CLI_SWITCH, AT(act_order), .group = METHOD,
     .help = "gptq: columns in falling order of what they meet; scales are made before"},
    {"alpha", CLI_REAL, AT(alpha), "0.5", METHOD, "smoothquant: how much of the outliers moves, 0 to 1", .low = 0,
     .high = 1},
    {"imatrix", CLI_TEXT, AT(imatrix), .group = METHOD, .value = "FILE",
     .help =
         "importance of columns as llama-imatrix has it (.gguf): read, or, with --data, measured and written there"},

    {"data", CLI_TEXT, AT(data), .group = DATA, .value = "PATH",
     .help =
         "text (documents separated by a line <|endoftext|>), .jsonl or a directory with train.*, much like what the "
         "model is for. imatrix, gptq, awq and smoothquant need it"},
    {"valid_data", CLI_TEXT, AT(valid_data), .group = DATA, .value = "PATH",
     .help = "data to measure the model on, before and after, for the table and the card. Left out: the valid part of "
             "--data's directory, or rows of --data itself, and then the card says so"},
    {"calibration_rows", CLI_INT, AT(calibration_rows), "128", DATA, "rows to read, evenly spread", .low = 1,
     .high = 1e9},
    {"max_seq_length", CLI_INT, AT(max_seq_length), "512", DATA, "positions a row, at most the model's context",
     .low = 2, .high = 1 << 20},
    CLI_ROW_OPTIONS(AT, DATA),
};

static int verb_quantize(cli *cli, void *target);

const cli_verb cli_verb_quantize = {
    .name = "quantize",
    .summary = "a model's or a file's tensors in fewer bits, without training",
    .usage = "--model M --type TYPE --out F [--method METHOD] [--data CALIB]",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .target_bytes = sizeof(quantize_options),
    .run = verb_quantize,
};

typedef struct quantizing {
    cli *cli;
    quantize_options *o;
    lt_model *model; /* NULL: a file of tensors */
    cli_quantize_data data;
    lt_imatrix *imatrix;
    lt_quant_policy policy;
    lt_ptq_config config;
    lt_ptq *done;
    lt_exported exported;
    char *codes_path; /* of a directory */
    cli_count count;
    int64_t finished;
    double seconds;
} quantizing;

/* ---- What is asked for ---- */

/* Options of a method that is not the one asked for would change nothing. */
static int check_method_options(cli *c, const quantize_options *o, lt_ptq_method method)
{
    const char *damping = cli_settings_given(c->settings, "damping") ? "--damping" : NULL,
               *gptq = o->act_order ? "--act-order" : damping;
    if (gptq && method != LT_PTQ_GPTQ)
        return cli_fail(c, EXIT_USAGE, "%s is for --method gptq, not %s; leave it out or give that method", gptq,
                        o->method);
    if (cli_settings_given(c->settings, "alpha") && method != LT_PTQ_SMOOTHQUANT)
        return cli_fail(c, EXIT_USAGE, "--alpha is for --method smoothquant, not %s; leave it out or give that method",
                        o->method);
    if (cli_settings_given(c->settings, "calibration_rows") && !o->data)
        return cli_fail(c, EXIT_USAGE, "--calibration-rows says how much of --data is read, which is missing");
    if (o->imatrix && method != LT_PTQ_IMATRIX)
        return cli_fail(c, EXIT_USAGE, "--imatrix is for --method imatrix, not %s", o->method);
    if (lt_ptq_method_reads_data(method) && !o->data && !o->imatrix)
        return cli_fail(c, EXIT_USAGE, "--method %s looks at what the layers read; give --data TEXT%s", o->method,
                        method == LT_PTQ_IMATRIX ? ", or --imatrix FILE of an earlier run" : "");
    if (o->data && !lt_ptq_method_reads_data(method))
        return cli_fail(c, EXIT_USAGE,
                        "--method %s reads no data; leave --data out, or take imatrix, gptq or awq. Figures before and "
                        "after are of --valid-data",
                        o->method);
    return EXIT_DONE;
}

static int need(cli *c, const quantize_options *o)
{
    lt_ptq_method method = LT_PTQ_RTN;
    if (!o->model) return cli_fail(c, EXIT_USAGE, "no model; give --model DIR, .gguf, or a file of tensors");
    if (!o->out)
        return cli_fail(c, EXIT_USAGE, "no place for the result; give --out FILE.gguf, FILE.safetensors or DIR");
    if (!o->quant.type && !o->quant.embedding && !o->quant.tensor_types.count && !strcmp(o->format, "auto"))
        return cli_fail(c, EXIT_USAGE, "no type; give --type q4_k_m, q4_0, int4:g32, w8a8, ...");
    (void)lt_ptq_method_parse(o->method, &method);
    return check_method_options(c, o, method);
}

static int make_policy(quantizing *q)
{
    cli *c = q->cli;
    quantize_options *o = q->o;
    lt_quant_policy probe;
    lt_scheme scheme;
    bool given;
    lt_quant_policy_init(&probe);
    if (o->quant.type && lt_quant_policy_parse(c->ctx, o->quant.type, &probe) != LT_OK)
        return cli_fail(c, EXIT_USAGE, "--type: %s", lt_ctx_message(c->ctx));
    if (o->quant.embedding && lt_scheme_parse(c->ctx, o->quant.embedding, &scheme) != LT_OK)
        return cli_fail(c, EXIT_USAGE, "--embedding: %s", lt_ctx_message(c->ctx));
    int code = cli_quant_policy(c, &o->quant, &q->policy, &given);
    lt_quant_format format;
    if (!code && lt_quant_format_parse(o->format, &format) &&
        lt_quant_format_policy(c->ctx, format, &q->policy) != LT_OK)
        return cli_fail(c, EXIT_USAGE, "--format: %s", lt_ctx_message(c->ctx));
    lt_ptq_config_init(&q->config);
    (void)lt_ptq_method_parse(o->method, &q->config.method);
    q->config.rows = o->calibration_rows;
    q->config.damping = o->damping;
    q->config.alpha = o->alpha;
    q->config.act_order = o->act_order;
    q->config.stop = &cli_stop;
    return code;
}

/* A file that holds tensors and no model. */
static bool is_tensors(const char *path)
{
    lt_gguf *g = NULL;
    lt_gguf_string text;
    if (cli_is_directory(path)) return false;
    if (cli_ends_with(path, ".safetensors") || cli_ends_with(path, ".h5") || cli_ends_with(path, ".hdf5")) return true;
    lt_ctx *ctx = lt_ctx_create(NULL);
    bool tensors = ctx && lt_gguf_open(ctx, path, &g) == LT_OK && !lt_gguf_text(g, "general.architecture", &text);
    lt_gguf_close(g);
    lt_ctx_free(ctx);
    return tensors;
}

/* ---- Opening ---- */

/* The card: of a directory beside the weights that its format packs. */
static lt_status write_card(quantizing *q, const char *path, const lt_export_options *o)
{
    const lt_card_row rows[] = {{"before, float", &q->data.before}, {"after, quantized", &q->data.after}};
    return lt_export_card(q->model, path, o, &q->exported, 2, rows);
}

static lt_status export_format(quantizing *q, lt_quant_format format, const lt_export_options *o)
{
    char *path = cli_join(q->o->out, "model.safetensors");
    lt_status status = path ? lt_export_quantized(q->model, &q->policy, format, q->o->out, o, &q->exported) : LT_ENOMEM;
    q->data.after.model_bytes = q->exported.bytes; /* packed; what was evaluated is not */
    if (status == LT_OK) status = write_card(q, path, o);
    free(path);
    return status;
}

static int open_imatrix(quantizing *q)
{
    cli *c = q->cli;
    const char *path = q->o->imatrix;
    if (!path) return EXIT_DONE;
    bool measure = q->data.read;
    if (measure) cli_say(c, "measuring what the layers read, on up to %" PRId64 " rows", q->config.rows);
    lt_status status = measure ? lt_imatrix_measure(q->model, q->data.read, q->config.rows, &q->imatrix)
                               : lt_imatrix_read(c->ctx, path, &q->imatrix);
    if (status == LT_OK && measure) status = lt_imatrix_write(q->imatrix, path, cli_last_part(q->o->data));
    q->config.imatrix = q->imatrix;
    return status == LT_OK ? EXIT_DONE : cli_fail_status(c, status, !measure);
}

/* What the output cannot hold is refused now. */
static int check_format(quantizing *q, lt_quant_format format)
{
    cli *c = q->cli;
    if (cli_ends_with(q->o->out, ".gguf") || cli_ends_with(q->o->out, ".safetensors"))
        return cli_fail(c, EXIT_USAGE, "--format %s is a directory, and '%s' is called as a file", q->o->format,
                        q->o->out);
    if (lt_quant_format_check(q->model, &q->policy, format) != LT_OK)
        return cli_fail(c, EXIT_USAGE, "--format: %s", lt_ctx_message(c->ctx));
    return cli_make_output(c, q->o->out);
}

static int check_output(quantizing *q)
{
    cli *c = q->cli;
    lt_quant_format format;
    if (lt_quant_format_parse(q->o->format, &format)) return check_format(q, format);
    lt_params *params = lt_model_params(q->model);
    char name[LT_SCHEME_TEXT];
    bool gguf = cli_ends_with(q->o->out, ".gguf"), file = gguf || cli_ends_with(q->o->out, ".safetensors");
    for (int i = 0; gguf && i < lt_params_count(params); i++) {
        lt_scheme s = lt_quant_scheme(&q->policy, lt_params_at(params, i));
        if (s.kind != LT_SCHEME_TYPE)
            return cli_fail(c, EXIT_USAGE,
                            "%s: GGUF has no type for %s, the grid of '%s'; write a .safetensors file or "
                            "a directory, or take a type it has (q4_0, q4_k_m, q8_0)",
                            q->o->out, lt_scheme_name(&s, name), lt_param_name(lt_params_at(params, i)));
    }
    if (file) return EXIT_DONE;
    int code = cli_make_output(c, q->o->out);
    q->codes_path = cli_join(q->o->out, "codes.safetensors");
    if (!code && !q->codes_path) code = cli_fail(c, EXIT_MEMORY, "out of memory at the start");
    return code;
}

/* ---- The work ---- */

static void on_tensor(void *user, const lt_ptq_tensor *tensor)
{
    quantizing *q = user;
    cli_on_count(&q->count, tensor->name, ++q->finished, lt_params_count(lt_model_params(q->model)));
}

static lt_status export_codes(quantizing *q)
{
    lt_export_options o;
    const char *path = q->codes_path ? q->codes_path : q->o->out;
    lt_export_options_init(&o);
    o.codes = lt_ptq_codes(q->done);
    o.method = q->o->method;
    o.name = cli_last_part(q->o->out);
    o.base = cli_last_part(q->o->model);
    if (q->data.read) o.calibration_hash = lt_dataset_hash(q->data.read), o.calibration_rows = q->o->calibration_rows;
    if (q->o->imatrix && !q->data.read) o.importance = cli_last_part(q->o->imatrix);
    if (q->data.before.tokens || q->data.after.tokens) {
        o.measured_on = q->data.on;
        o.valid_hash = lt_dataset_hash(q->data.measured);
        o.before_nll = q->data.before.nll, o.valid_nll = q->data.after.nll;
    }
    lt_quant_format format;
    if (lt_quant_format_parse(q->o->format, &format)) return export_format(q, format, &o);
    lt_status status = q->codes_path ? lt_model_save(q->model, q->o->out, "F32") : LT_OK;
    if (status == LT_OK) status = lt_export(q->model, &q->policy, path, &o, &q->exported);
    return status == LT_OK ? write_card(q, path, &o) : status;
}

static int quantize_model(quantizing *q)
{
    cli *c = q->cli;
    lt_status status = lt_model_open(c->ctx, q->o->model, &q->model);
    if (status != LT_OK) return cli_fail_status(c, status, true);
    int code = check_output(q);
    q->data.model = q->model;
    if (!code) code = cli_quantize_open(&q->data);
    if (!code) code = cli_quantize_measure(&q->data, NULL);
    if (!code) code = open_imatrix(q);
    if (code) return code;
    q->count = (cli_count){.cli = c, .last = cli_seconds()};
    q->config.on_tensor = on_tensor;
    q->config.user = q;
    status = lt_ptq_run(q->model, q->data.read, &q->policy, &q->config, &q->done);
    cli_count_end(&q->count);
    if (status == LT_EINTERRUPTED) return cli_fail(c, EXIT_SIGNAL + cli_stop, "stopped; nothing was written");
    if (status == LT_OK) code = cli_quantize_measure(&q->data, &q->policy);
    if (code) return code;
    if (status == LT_OK) status = export_codes(q);
    return status == LT_OK ? EXIT_DONE : cli_fail_status(c, status, status != LT_EINVAL && status != LT_EIO);
}

static lt_status write_tensors_card(const quantizing *q)
{
    lt_ctx *ctx = q->cli->ctx;
    char *table = cli_ptq_table(q->done), name[LT_SCHEME_TEXT];
    const lt_pair facts[] = {{"tensors from", cli_last_part(q->o->model)},
                             {"type", lt_quant_policy_name(&q->policy, name)},
                             {"method", q->o->method}};
    const lti_card card = {.what = "holds tensors quantized by their own numbers, without training and without data; "
                                   "every byte was read back and found identical. What they are worth in their model "
                                   "was not measured. error: root mean square of the change, of the weights' own.",
                           .table = table,
                           .facts = facts,
                           .n = 3};
    lt_status status = table ? lti_card_write(ctx, q->o->out, &card) : lti_fail(ctx, LT_ENOMEM, "out of memory");
    free(table);
    return status;
}

static int quantize_tensors(quantizing *q)
{
    cli *c = q->cli;
    if (q->o->valid_data)
        return cli_fail(c, EXIT_USAGE, "--valid-data is for models; '%s' is a file of tensors", q->o->model);
    lt_status status = lt_ptq_tensors_file(c->ctx, q->o->model, q->o->out, &q->policy, &q->config, &q->done);
    if (status == LT_EINVAL) return cli_fail(c, EXIT_USAGE, "%s", lt_ctx_message(c->ctx));
    if (status != LT_OK) return cli_fail_status(c, status, true);
    status = write_tensors_card(q);
    return status == LT_OK ? EXIT_DONE : cli_fail_status(c, status, false);
}

/* ---- What came of it ---- */

static int print_report(const quantizing *q)
{
    char *table = cli_ptq_table(q->done);
    if (!table) return cli_fail(q->cli, EXIT_MEMORY, "out of memory");
    cli_table(stdout, table);
    free(table);
    if (q->exported.report) cli_put_clean(stdout, q->exported.report, strlen(q->exported.report));
    cli_quantize_tell(&q->data);
    printf("%s in %.1f s\n", q->codes_path ? q->codes_path : q->o->out, q->seconds);
    return EXIT_DONE;
}

static int answer(const quantizing *q)
{
    size_t bytes;
    char name[LT_SCHEME_TEXT];
    json_t *list = cli_ptq_json(q->done, &bytes);
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:o, s:I, s:o}", "model", q->o->model, "type",
                          lt_quant_policy_name(&q->policy, name), "method", q->o->method, "out", q->o->out, "tensors",
                          list, "bytes", (json_int_t)bytes, "seconds", cli_real(q->seconds));
    if (o && q->exported.tensors)
        json_object_set_new(o, "proof",
                            json_pack("{s:I, s:I, s:I}", "tensors", (json_int_t)q->exported.tensors, "weights",
                                      (json_int_t)q->exported.weights, "bytes", (json_int_t)q->exported.bytes));
    if (o) cli_quantize_json(&q->data, o);
    return cli_answer(q->cli, o);
}

static int verb_quantize(cli *c, void *target)
{
    quantize_options *o = target;
    quantizing q = {.cli = c, .o = o};
    q.data = (cli_quantize_data){.cli = c, .calibration = o->data, .valid = o->valid_data, .rows = &o->rows};
    q.data.calibration_rows = o->calibration_rows, q.data.max_seq_length = o->max_seq_length;
    double begin = cli_seconds();
    int code = need(c, q.o);
    if (code) return code;
    code = make_policy(&q);
    if (!code && is_tensors(q.o->model) && strcmp(q.o->format, "auto"))
        code = cli_fail(c, EXIT_USAGE, "--format %s is for models; '%s' is a file of tensors", q.o->format, q.o->model);
    if (!code) code = is_tensors(q.o->model) ? quantize_tensors(&q) : quantize_model(&q);
    q.seconds = cli_seconds() - begin;
    if (!code) code = c->json ? answer(&q) : print_report(&q);
    if (q.exported.report) lt_string_free(c->ctx, q.exported.report);
    lt_ptq_free(q.done);
    lt_imatrix_free(q.imatrix);
    cli_quantize_close(&q.data);
    lt_model_free(q.model);
    cli_quant_free(&q.o->quant);
    free(q.codes_path);
    return code;
}
