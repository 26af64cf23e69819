/* verb_quantize.c - lathe quantize: codes for a model that is done, or for a file of tensors, without training.
 *
 * What cannot be written is refused before the work: the output's name decides what it may hold. */
#include "base/ctx.h"
#include "cli/cli.h"
#include "lathe/gguf.h"
#include "lathe/ptq.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct quantize_options {
    cli_common common;
    const char *model, *out, *format, *method, *data, *imatrix;
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
    lt_dataset *data;
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

static int need(cli *c, const quantize_options *o)
{
    lt_ptq_method method = LT_PTQ_RTN;
    if (!o->model) return cli_fail(c, EXIT_USAGE, "no model; give --model DIR, .gguf, or a file of tensors");
    if (!o->out)
        return cli_fail(c, EXIT_USAGE, "no place for the result; give --out FILE.gguf, FILE.safetensors or DIR");
    if (!o->quant.type && !o->quant.embedding && !o->quant.tensor_types.count && !strcmp(o->format, "auto"))
        return cli_fail(c, EXIT_USAGE, "no type; give --type q4_k_m, q4_0, int4:g32, w8a8, ...");
    (void)lt_ptq_method_parse(o->method, &method);
    if (o->imatrix && method != LT_PTQ_IMATRIX)
        return cli_fail(c, EXIT_USAGE, "--imatrix is for --method imatrix, not %s", o->method);
    if (lt_ptq_method_reads_data(method) && !o->data && !o->imatrix)
        return cli_fail(c, EXIT_USAGE, "--method %s looks at what the layers read; give --data TEXT%s", o->method,
                        method == LT_PTQ_IMATRIX ? ", or --imatrix FILE of an earlier run" : "");
    if (o->data && !lt_ptq_method_reads_data(method))
        return cli_fail(c, EXIT_USAGE, "--method %s reads no data; leave --data out, or take imatrix, gptq or awq",
                        o->method);
    return EXIT_DONE;
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

/* Paths of this machine do not belong into a file that ships. */
static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static lt_status export_format(quantizing *q, lt_quant_format format, const lt_export_options *o)
{
    char *path = cli_join(q->o->out, "model.safetensors");
    lt_status status = path ? lt_export_quantized(q->model, &q->policy, format, q->o->out, o, &q->exported) : LT_ENOMEM;
    if (status == LT_OK) status = lt_export_card(q->model, path, o, &q->exported, 0, NULL);
    free(path);
    return status;
}

static lt_status open_rows(const quantizing *q, const lt_dataset_options *d, lt_dataset **data)
{
    lt_ctx *ctx = q->cli->ctx;
    lt_tokenizer *tokenizer = lt_model_tokenizer(q->model);
    const char *path = q->o->data;
    if (lt_model_reads(q->model) == LT_DATA_NUMBERS) return lt_dataset_open_numbers(ctx, path, d, data);
    if (lt_model_reads(q->model) == LT_DATA_LABELLED)
        return lt_dataset_open_labelled(ctx, path, tokenizer, d, NULL, data);
    return lt_dataset_open(ctx, path, tokenizer, d, data);
}

static int open_data(quantizing *q)
{
    cli *c = q->cli;
    lt_dataset_options d;
    lt_chat *chat = NULL;
    int64_t context = lt_model_context(q->model);
    lt_dataset_options_init(&d);
    int code = EXIT_DONE;
    if (!q->o->data) return code;
    if (lt_model_reads(q->model) == LT_DATA_TOKENS)
        code = cli_rows_options(c, &q->o->rows, q->o->data, lt_model_tokenizer(q->model), &d, &chat);
    if (code) return code;
    d.max_seq_length = context && context < q->o->max_seq_length ? context : q->o->max_seq_length;
    d.split = cli_is_directory(q->o->data) ? LT_SPLIT_TRAIN : LT_SPLIT_ALL;
    d.skip_bad_rows = q->o->rows.skip_bad_rows;
    lt_status status = open_rows(q, &d, &q->data);
    lt_chat_free(chat);
    return status == LT_OK ? EXIT_DONE : cli_fail_status(c, status, true);
}

static int open_imatrix(quantizing *q)
{
    cli *c = q->cli;
    const char *path = q->o->imatrix;
    if (!path) return EXIT_DONE;
    bool measure = q->data;
    if (measure) cli_say(c, "measuring what the layers read, on up to %" PRId64 " rows", q->config.rows);
    lt_status status = measure ? lt_imatrix_measure(q->model, q->data, q->config.rows, &q->imatrix)
                               : lt_imatrix_read(c->ctx, path, &q->imatrix);
    if (status == LT_OK && measure) status = lt_imatrix_write(q->imatrix, path, base_name(q->o->data));
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
    o.name = base_name(q->o->out);
    o.base = base_name(q->o->model);
    o.data_hash = q->data ? lt_dataset_hash(q->data) : NULL;
    lt_quant_format format;
    if (lt_quant_format_parse(q->o->format, &format)) return export_format(q, format, &o);
    lt_status status = q->codes_path ? lt_model_save(q->model, q->o->out, "F32") : LT_OK;
    if (status == LT_OK) status = lt_export(q->model, &q->policy, path, &o, &q->exported);
    if (status == LT_OK) status = lt_export_card(q->model, path, &o, &q->exported, 0, NULL);
    return status;
}

static int quantize_model(quantizing *q)
{
    cli *c = q->cli;
    lt_status status = lt_model_open(c->ctx, q->o->model, &q->model);
    if (status != LT_OK) return cli_fail_status(c, status, true);
    int code = check_output(q);
    if (!code) code = open_data(q);
    if (!code) code = open_imatrix(q);
    if (code) return code;
    q->count = (cli_count){.cli = c, .last = cli_seconds()};
    q->config.on_tensor = on_tensor;
    q->config.user = q;
    status = lt_ptq_run(q->model, q->data, &q->policy, &q->config, &q->done);
    cli_count_end(&q->count);
    if (status == LT_EINTERRUPTED) return cli_fail(c, EXIT_SIGNAL + cli_stop, "stopped; nothing was written");
    if (status == LT_OK) status = export_codes(q);
    return status == LT_OK ? EXIT_DONE : cli_fail_status(c, status, status != LT_EINVAL && status != LT_EIO);
}

static int quantize_tensors(quantizing *q)
{
    cli *c = q->cli;
    lt_status status = lt_ptq_tensors_file(c->ctx, q->o->model, q->o->out, &q->policy, &q->config, &q->done);
    if (status == LT_EINVAL) return cli_fail(c, EXIT_USAGE, "%s", lt_ctx_message(c->ctx));
    return status == LT_OK ? EXIT_DONE : cli_fail_status(c, status, true);
}

/* ---- What came of it ---- */

/* Tensors of one scheme and method, added up. */
typedef struct line {
    const lt_ptq_tensor *like;
    int64_t tensors;
    size_t bytes;
    double square, seconds;
} line;

static int add_up(const lt_ptq *done, line *lines, int room)
{
    int count, n = 0;
    const lt_ptq_tensor *t = lt_ptq_tensors(done, &count);
    for (int i = 0; i < count; i++) {
        int k = 0;
        while (k < n &&
               (strcmp(lines[k].like->method, t[i].method) || !lt_scheme_same(&lines[k].like->scheme, &t[i].scheme)))
            k++;
        if (k == n && n < room) lines[n++] = (line){.like = &t[i]};
        if (k == n) k = n - 1;
        lines[k].tensors++;
        lines[k].bytes += t[i].bytes;
        lines[k].square += t[i].error * t[i].error;
        lines[k].seconds += t[i].seconds;
    }
    return n;
}

static int print_table(const quantizing *q)
{
    enum { LINES = 64 };
    line lines[LINES];
    char name[LT_SCHEME_TEXT], *table = NULL;
    size_t size;
    int n = add_up(q->done, lines, LINES);
    FILE *file = open_memstream(&table, &size);
    if (!file) return cli_fail(q->cli, EXIT_MEMORY, "out of memory");
    fprintf(file, "type\tmethod\ttensors\tbytes\terror\tseconds\n");
    for (int i = 0; i < n; i++)
        fprintf(file, "%s\t%s\t%" PRId64 "\t%zu\t%.4f\t%.2f\n", lt_scheme_name(&lines[i].like->scheme, name),
                lines[i].like->method, lines[i].tensors, lines[i].bytes,
                sqrt(lines[i].square / (double)lines[i].tensors), lines[i].seconds);
    int code = fclose(file) ? cli_fail(q->cli, EXIT_MEMORY, "out of memory") : EXIT_DONE;
    if (!code) cli_table(stdout, table);
    free(table);
    if (!code && q->exported.report) cli_put_clean(stdout, q->exported.report, strlen(q->exported.report));
    if (!code) printf("%s in %.1f s\n", q->codes_path ? q->codes_path : q->o->out, q->seconds);
    return code;
}

static json_t *tensors_json(const quantizing *q, size_t *bytes)
{
    int count;
    char name[LT_SCHEME_TEXT];
    json_t *list = json_array();
    const lt_ptq_tensor *t = lt_ptq_tensors(q->done, &count);
    *bytes = 0;
    for (int i = 0; i < count; i++) {
        *bytes += t[i].bytes;
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:I, s:o, s:o}", "name", t[i].name, "type",
                                              lt_scheme_name(&t[i].scheme, name), "method", t[i].method, "bytes",
                                              (json_int_t)t[i].bytes, "error", cli_real(t[i].error), "seconds",
                                              cli_real(t[i].seconds)));
    }
    return list;
}

static int answer(const quantizing *q)
{
    size_t bytes;
    char name[LT_SCHEME_TEXT];
    json_t *list = tensors_json(q, &bytes);
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:o, s:I, s:o}", "model", q->o->model, "type",
                          lt_quant_policy_name(&q->policy, name), "method", q->o->method, "out", q->o->out, "tensors",
                          list, "bytes", (json_int_t)bytes, "seconds", cli_real(q->seconds));
    if (o && q->exported.tensors)
        json_object_set_new(o, "proof",
                            json_pack("{s:I, s:I, s:I}", "tensors", (json_int_t)q->exported.tensors, "weights",
                                      (json_int_t)q->exported.weights, "bytes", (json_int_t)q->exported.bytes));
    return cli_answer(q->cli, o);
}

static int verb_quantize(cli *c, void *target)
{
    quantizing q = {.cli = c, .o = target};
    double begin = cli_seconds();
    int code = need(c, q.o);
    if (code) return code;
    code = make_policy(&q);
    if (!code && is_tensors(q.o->model) && strcmp(q.o->format, "auto"))
        code = cli_fail(c, EXIT_USAGE, "--format %s is for models; '%s' is a file of tensors", q.o->format, q.o->model);
    if (!code) code = is_tensors(q.o->model) ? quantize_tensors(&q) : quantize_model(&q);
    q.seconds = cli_seconds() - begin;
    if (!code) code = c->json ? answer(&q) : print_table(&q);
    if (q.exported.report) lt_string_free(c->ctx, q.exported.report);
    lt_ptq_free(q.done);
    lt_imatrix_free(q.imatrix);
    lt_dataset_free(q.data);
    lt_model_free(q.model);
    cli_quant_free(&q.o->quant);
    free(q.codes_path);
    return code;
}
