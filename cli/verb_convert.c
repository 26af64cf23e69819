/* verb_convert.c - lathe convert: models between Hugging Face directories and GGUF files, and files of tensors. */
#include "cli/int8_model.h"
#include "lathe/convert.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct convert_options {
    cli_common common;
    const char *in, *out, *to, *type;
} convert_options;

#define AT(field) offsetof(convert_options, field)

static const cli_option options[] = {
    {"in", CLI_TEXT, AT(in), .group = "Files", .value = "PATH", .flags = CLI_POSITIONAL,
     .help =
         "Hugging Face directory, checkpoint, .gguf; or a file of tensors: .safetensors, .h5, .gguf. The first word"},
    {"out", CLI_TEXT, AT(out), .group = "Files", .value = "PATH", .flags = CLI_POSITIONAL,
     .help = "what to write: a directory, .gguf, .safetensors or .h5. The second word"},
    {"to", CLI_CHOICE, AT(to), "auto", "Files",
     "format of the output; auto: by its name. int8: a cnn, mlp, lstm or gru that was trained with int8_static "
     "activations, as a "
     "network in integers in a .safetensors file (lathe/int8.h)",
     .choices = "auto|hf|gguf|safetensors|hdf5|int8", .later = "peft|mlx|onnx|c"},
    {"type", CLI_TEXT, AT(type), .group = "Files", .value = "TYPE",
     .help = "type of the matrices: f32, f16, bf16; as stored when left out. For .gguf also llama-quantize's names, "
             "which say what each tensor gets: q8_0, q4_0, q4_k_m, q6_k, ..; rounded to nearest"},
};

static int verb_convert(cli *cli, void *target);

const cli_verb cli_verb_convert = {
    .name = "convert",
    .summary = "a model or a file of tensors in another format",
    .usage = "IN OUT [--type TYPE]",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .target_bytes = sizeof(convert_options),
    .run = verb_convert,
};

static bool names_tensors(const char *path)
{
    return cli_ends_with(path, ".safetensors") || cli_ends_with(path, ".h5") || cli_ends_with(path, ".hdf5");
}

/* --to must agree with how the output is called: the name is what others go by. */
static int check_format(cli *c, const convert_options *o)
{
    bool gguf = cli_ends_with(o->out, ".gguf"), safetensors = cli_ends_with(o->out, ".safetensors");
    bool hdf5 = cli_ends_with(o->out, ".h5") || cli_ends_with(o->out, ".hdf5"), file = gguf || safetensors || hdf5;
    bool agrees = !strcmp(o->to, "auto") || (!strcmp(o->to, "gguf") && gguf) || (!strcmp(o->to, "hf") && !file) ||
                  (!strcmp(o->to, "safetensors") && safetensors) || (!strcmp(o->to, "int8") && safetensors) ||
                  (!strcmp(o->to, "hdf5") && hdf5);
    if (agrees) return EXIT_DONE;
    return cli_fail(c, EXIT_USAGE,
                    "--to %s, but '%s' is called otherwise; end it in .gguf, .safetensors, .h5, or name a "
                    "directory for hf",
                    o->to, o->out);
}

/* A file with tensors alone on one of the sides: no model. */
static bool of_tensors(const convert_options *o)
{
    return names_tensors(o->in) || names_tensors(o->out);
}

/* Whether the input can be opened: then what failed with LT_EIO was writing. Asked after a failure only. */
static bool opens(const convert_options *o)
{
    struct stat info;
    if (of_tensors(o)) return stat(o->in, &info) == 0 && S_ISREG(info.st_mode) && access(o->in, R_OK) == 0;
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_model *model = NULL;
    bool good = ctx && lt_model_open_frozen(ctx, o->in, &model) == LT_OK;
    lt_model_free(model);
    lt_ctx_free(ctx);
    return good;
}

static uint64_t written_bytes(const char *path)
{
    struct stat info;
    char *weights = cli_is_directory(path) ? cli_join(path, "model.safetensors") : strdup(path);
    uint64_t bytes = weights && stat(weights, &info) == 0 ? (uint64_t)info.st_size : 0;
    free(weights);
    return bytes;
}

/* The rest of the verb: the report is lt_convert's or cli_int8_write's. */
static int answer(cli *c, const convert_options *o, const char *report, double start)
{
    uint64_t bytes = written_bytes(o->out);
    if (c->json)
        return cli_answer(c, json_pack("{s:s, s:s, s:I, s:f, s:s}", "in", o->in, "out", o->out, "bytes",
                                       (json_int_t)bytes, "seconds", cli_seconds() - start, "report", report));
    char b[32];
    cli_put_clean(stdout, report, strlen(report));
    printf("%s: %s\n", o->out, cli_bytes(b, bytes));
    return EXIT_DONE;
}

static int convert_to_int8(cli *c, const convert_options *o)
{
    char *report = NULL;
    double start = cli_seconds();
    if (o->type) return cli_fail(c, EXIT_USAGE, "--type is not for --to int8: codes have the bits of their training");
    int code = cli_int8_write(c, o->in, o->out, &report);
    if (!code) code = answer(c, o, report, start);
    free(report);
    return code;
}

static int verb_convert(cli *c, void *target)
{
    const convert_options *o = target;
    char *report = NULL;
    if (!o->in || !o->out) return cli_fail(c, EXIT_USAGE, "two paths are needed; write lathe convert IN OUT");
    int code = check_format(c, o);
    if (code) return code;
    if (!strcmp(o->to, "int8")) return convert_to_int8(c, o);
    if (of_tensors(o) && o->type)
        return cli_fail(c, EXIT_USAGE, "--type is for models; files of tensors keep their types");
    lt_convert_options how;
    lt_convert_options_init(&how);
    how.type = o->type;
    double start = cli_seconds();
    lt_status status = of_tensors(o) ? lt_tensors_convert(c->ctx, o->in, o->out, &report)
                                     : lt_convert(c->ctx, o->in, o->out, &how, &report);
    if (status != LT_OK) return cli_fail_status(c, status, status != LT_EINVAL && (status != LT_EIO || !opens(o)));
    code = answer(c, o, report, start);
    lt_string_free(c->ctx, report);
    return code;
}
