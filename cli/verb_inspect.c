/* verb_inspect.c - lathe inspect: what is in a file, and whether it is whole.
 *
 * A directory with a config.json is opened as a model, so that a config and tensors that contradict each other are
 * found here and not in the middle of something else; every .safetensors file is opened with all checks of the
 * format. */
#include "cli/inspect_files.h"
#include "data/formats/type_mix.h"
#include "lathe/convert.h"
#include "lathe/gguf.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct inspect_options {
    cli_common common;
    const char *path;
    bool summary;
    const char *as;
} inspect_options;

static const cli_option options[] = {
    {"path", CLI_TEXT, offsetof(inspect_options, path), .group = "Input", .value = "PATH", .flags = CLI_POSITIONAL,
     .help = ".safetensors, .gguf or .h5 file, model directory or checkpoint directory; also the first word without a "
             "flag"},
    {"summary", CLI_SWITCH, offsetof(inspect_options, summary), .group = "Input",
     .help = "totals without the list of tensors"},
    {"as", CLI_TEXT, offsetof(inspect_options, as), .group = "Input", .value = "TYPE",
     .help = "what the model would weigh in this type (f16, q8_0, q4_k_m, ...), from its config.json or .gguf alone"},
};

static int verb_inspect(cli *cli, void *target);

const cli_verb cli_verb_inspect = {
    .name = "inspect",
    .summary = "what is in a model or checkpoint; exit 3 with the reason if it is broken",
    .usage = "PATH [options]",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .target_bytes = sizeof(inspect_options),
    .run = verb_inspect,
};

/* A network's keys are those of its config.json, which opening it has checked. */
static json_t *describe_network(const lt_model *model, const char *path)
{
    static const char *const hidden[] = {"model_type", "dtype", "id2label"};
    const lt_tokenizer *tokenizer = lt_model_tokenizer(model);
    char *file = cli_join(path, "config.json");
    json_t *config = file ? json_load_file(file, 0, NULL) : NULL;
    json_t *o =
        json_pack("{s:s, s:I}", "family", lt_model_family(model), "parameters", (json_int_t)lt_model_parameters(model));
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++) json_object_del(config, hidden[i]);
    json_object_update(o, config);
    if (tokenizer) json_object_set_new(o, "tokenizer_tokens", json_integer(lt_tokenizer_vocab_size(tokenizer)));
    json_decref(config);
    free(file);
    return o;
}

static json_t *describe_transformer(const lt_model *model)
{
    const lt_transformer_config *m = lt_model_config(model);
    const lt_tokenizer *tokenizer = lt_model_tokenizer(model);
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:b, s:I, s:i}", "family", lt_model_family(model),
                     "parameters", (json_int_t)lt_model_parameters(model), "layers", (json_int_t)m->layers, "dim",
                     (json_int_t)m->dim, "hidden", (json_int_t)m->hidden, "heads", (json_int_t)m->heads, "kv_heads",
                     (json_int_t)m->kv_heads, "vocab", (json_int_t)m->vocab, "rope_theta", m->rope_theta, "tied",
                     m->tied, "context", (json_int_t)m->context, "tokenizer_tokens",
                     tokenizer ? (int)lt_tokenizer_vocab_size(tokenizer) : 0);
}

static int inspect_model(cli *c, const char *path, json_t *answer)
{
    lt_model *model;
    lt_status status = lt_model_open_frozen(c->ctx, path, &model);
    if (status != LT_OK) return cli_fail_status(c, status, true);
    json_object_set_new(answer, "model",
                        lt_model_is_transformer(model) ? describe_transformer(model) : describe_network(model, path));
    lt_model_free(model);
    return EXIT_DONE;
}

/* A checkpoint's manifest: the step, and whether its files still have the hashes they were saved with. */
static int inspect_checkpoint(cli *c, const char *directory, const char *manifest_path, json_t *answer)
{
    json_error_t where;
    json_t *manifest = json_load_file(manifest_path, 0, &where), *hash;
    const char *name;
    int code = EXIT_DONE;
    if (!manifest || !json_is_object(json_object_get(manifest, "xxh3")))
        code = cli_fail(c, EXIT_INPUT, "%s:%d: no manifest of a checkpoint: %s", manifest_path,
                        manifest ? 1 : where.line, manifest ? "it has no hashes" : where.text);
    json_object_foreach(json_object_get(manifest, "xxh3"), name, hash)
    {
        char found[33];
        char *path = code ? NULL : cli_join(directory, name);
        lt_status status = path ? lt_file_hash(c->ctx, path, found) : LT_OK;
        if (path && status != LT_OK)
            code = cli_fail_status(c, status, true);
        else if (path && (!json_is_string(hash) || strcmp(found, json_string_value(hash))))
            code = cli_fail(c, EXIT_INPUT, "%s: damaged: its XXH3-128 is %s, the manifest says %s", path, found,
                            json_is_string(hash) ? json_string_value(hash) : "nothing");
        free(path);
    }
    if (!code)
        json_object_set_new(
            answer, "checkpoint",
            json_pack("{s:I, s:b}", "step", json_integer_value(json_object_get(manifest, "step")), "whole", 1));
    json_decref(manifest);
    return code;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names in a directory that end so, sorted; *count of them, to be freed with the array. */
static char **list_names(const char *directory, const char *end, int *count)
{
    char **names = NULL;
    *count = 0;
    DIR *dir = opendir(directory);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char **grown = cli_ends_with(entry->d_name, end) ? realloc(names, (size_t)(*count + 1) * sizeof *names) : NULL;
        if (!grown) continue;
        names = grown;
        char *copy = strdup(entry->d_name);
        if (copy) names[(*count)++] = copy;
    }
    if (dir) closedir(dir);
    if (names) qsort(names, (size_t)*count, sizeof *names, compare_names);
    return names;
}

static int inspect_directory(cli *c, const char *path, json_t *answer)
{
    int n, code = EXIT_DONE;
    char **names = list_names(path, ".safetensors", &n);
    char *config = cli_join(path, "config.json");
    struct stat info;
    bool is_model = config && stat(config, &info) == 0;
    json_t *files = json_array();
    if (is_model) code = inspect_model(c, path, answer);
    char *manifest = cli_join(path, "manifest.json");
    if (!code && manifest && stat(manifest, &info) == 0) code = inspect_checkpoint(c, path, manifest, answer);
    free(manifest);
    if (!is_model && n == 0)
        code = cli_fail(c, EXIT_INPUT,
                        "%s: neither config.json nor a .safetensors file is in this directory; name the file itself",
                        path);
    for (int i = 0; i < n && !code; i++) {
        char *name = cli_join(path, names[i]);
        json_t *file = NULL;
        code = name ? cli_inspect_file(c, name, &file) : cli_fail(c, EXIT_MEMORY, "%s: out of memory", path);
        if (!code) json_array_append_new(files, file);
        free(name);
    }
    for (int i = 0; i < n; i++) free(names[i]);
    free(names);
    free(config);
    json_object_set_new(answer, "files", files);
    return code;
}

/* ---- As text ---- */

static void print_metadata(const json_t *metadata)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)metadata, key, value)
    {
        if (!strncmp(key, "type:", 5) || !strncmp(key, "shape:", 6)) continue; /* of codes: shown with the tensors */
        fputs("  ", stdout);
        cli_put_clean(stdout, key, 80);
        fputs(" = ", stdout);
        char *number = json_is_string(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
        cli_put_clean(stdout, json_is_string(value) ? json_string_value(value) : number ? number : "?", 200);
        fputc('\n', stdout);
        free(number);
    }
}

static void print_tensor(FILE *file, const json_t *t)
{
    char b[32];
    cli_put_clean(file, json_string_value(json_object_get(t, "name")), 200);
    fprintf(file, "\t%s\t[", json_string_value(json_object_get(t, "type")));
    json_t *shape = json_object_get(t, "shape");
    for (size_t k = 0; k < json_array_size(shape); k++)
        fprintf(file, "%s%" JSON_INTEGER_FORMAT, k ? ", " : "", json_integer_value(json_array_get(shape, k)));
    fprintf(file, "]\t%s\n", cli_bytes(b, (uint64_t)json_integer_value(json_object_get(t, "bytes"))));
}

static void print_file(const json_t *f, bool summary)
{
    char b[2][32];
    const char *type;
    json_t *value;
    cli_put_clean(stdout, json_string_value(json_object_get(f, "path")), 4096);
    printf(": %" JSON_INTEGER_FORMAT " tensors, %s elements, %s (", json_integer_value(json_object_get(f, "count")),
           cli_thousands(b[0], json_integer_value(json_object_get(f, "elements"))),
           cli_bytes(b[1], (uint64_t)json_integer_value(json_object_get(f, "bytes"))));
    const char *comma = "";
    json_object_foreach(json_object_get(f, "types"), type, value)
    {
        printf("%s%s %s", comma, type, cli_bytes(b[0], (uint64_t)json_integer_value(value)));
        comma = ", ";
    }
    puts(")");
    print_metadata(json_object_get(f, "metadata"));
    char *table = NULL;
    size_t size;
    FILE *rows = summary ? NULL : open_memstream(&table, &size);
    if (!rows) return;
    fputs("tensor\ttype\tshape\tsize\n", rows);
    json_t *tensors = json_object_get(f, "tensors");
    for (size_t i = 0; i < json_array_size(tensors); i++) print_tensor(rows, json_array_get(tensors, i));
    if (fclose(rows) == 0) cli_table(stdout, table);
    free(table);
}

static void print_answer(const json_t *answer, bool summary)
{
    const char *key;
    json_t *value;
    if (json_object_get(answer, "checkpoint"))
        printf("checkpoint of step %" JSON_INTEGER_FORMAT ", whole\n",
               json_integer_value(json_object_get(json_object_get(answer, "checkpoint"), "step")));
    json_object_foreach(json_object_get(answer, "model"), key, value)
    {
        printf("%-17s ", key);
        char *list = json_is_array(value) ? json_dumps(value, 0) : NULL; /* widths of layers */
        if (json_is_string(value))
            puts(json_string_value(value));
        else if (json_is_boolean(value))
            puts(json_is_true(value) ? "true" : "false");
        else if (list)
            puts(list);
        else
            printf("%.10g\n", json_number_value(value));
        free(list);
    }
    json_t *files = json_object_get(answer, "files");
    for (size_t i = 0; i < json_array_size(files); i++) print_file(json_array_get(files, i), summary);
}

/* A GGUF file with the keys of a model; adapters and files of tensors alone are listed only. */
static bool is_model(const char *path)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_gguf *g = NULL;
    lt_gguf_string text, type = {"model", 5};
    bool model = ctx && lt_gguf_open(ctx, path, &g) == LT_OK && lt_gguf_text(g, "general.architecture", &text) &&
                 lt_gguf_find(g, "token_embd.weight") >= 0;
    if (model) lt_gguf_text(g, "general.type", &type);
    model = model && type.bytes == 5 && !memcmp(type.text, "model", 5);
    lt_gguf_close(g);
    lt_ctx_free(ctx);
    return model;
}

/* --as TYPE: sizes by type, and the whole. */
static int forecast(cli *c, const inspect_options *o)
{
    lt_type_forecast f;
    lt_dtype type;
    if (!lti_mix_named(o->as) && !lt_dtype_parse(o->as, &type))
        return cli_fail(c, EXIT_USAGE,
                        "--as %s: no such type; f32, f16, bf16, q8_0, q4_0, q4_k_m, q6_k, tq1_0, ... are", o->as);
    lt_status status = lt_forecast_mix(c->ctx, o->path, o->as, &f);
    if (status != LT_OK) return cli_fail_status(c, status, status != LT_EINVAL);
    json_t *types = json_object();
    for (int i = 0; i < LT_DTYPE_COUNT; i++)
        if (f.tensors[i])
            json_object_set_new(
                types, lt_dtype_name((lt_dtype)i),
                json_pack("{s:I, s:I}", "tensors", (json_int_t)f.tensors[i], "bytes", (json_int_t)f.type_bytes[i]));
    double bits = f.parameters ? 8.0 * (double)f.bytes / (double)f.parameters : 0;
    if (c->json)
        return cli_answer(c, json_pack("{s:s, s:s, s:I, s:I, s:f, s:o}", "path", o->path, "as", o->as, "parameters",
                                       (json_int_t)f.parameters, "bytes", (json_int_t)f.bytes, "bits_per_weight", bits,
                                       "types", types));
    char b[2][32];
    const char *name;
    json_t *value;
    printf("%s as %s: %s in %s parameters, %.2f bits each\n", o->path, o->as, cli_bytes(b[0], f.bytes),
           cli_thousands(b[1], f.parameters), bits);
    json_object_foreach(types, name, value) printf(
        "  %-7s %" JSON_INTEGER_FORMAT " tensors, %s\n", name, json_integer_value(json_object_get(value, "tensors")),
        cli_bytes(b[0], (uint64_t)json_integer_value(json_object_get(value, "bytes"))));
    json_decref(types);
    return EXIT_DONE;
}

static int verb_inspect(cli *c, void *target)
{
    const inspect_options *o = target;
    struct stat info;
    if (!o->path) return cli_fail(c, EXIT_USAGE, "nothing to inspect; write lathe inspect PATH");
    if (stat(o->path, &info))
        return cli_fail(c, EXIT_INPUT, "%s: cannot be opened: %s; check the spelling", o->path, strerror(errno));
    if (o->as) return forecast(c, o);
    json_t *answer = json_pack("{s:s}", "path", o->path), *file = NULL;
    int code;
    if (S_ISDIR(info.st_mode)) {
        code = inspect_directory(c, o->path, answer);
    } else if (lt_gguf_is(o->path) && is_model(o->path)) {
        code = inspect_model(c, o->path, answer);
        if (!code) code = cli_inspect_file(c, o->path, &file);
        if (!code) json_object_set_new(answer, "files", json_pack("[o]", file));
    } else {
        code = cli_inspect_file(c, o->path, &file);
        if (!code) json_object_set_new(answer, "files", json_pack("[o]", file));
    }
    if (!code && c->json) return cli_answer(c, answer);
    if (!code) print_answer(answer, o->summary);
    json_decref(answer);
    return code;
}
