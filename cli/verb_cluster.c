/* verb_cluster.c - lathe cluster: the weights of each matrix become a few values, without training.
 *
 * The result is a model that any program opens, and beside it the packed file, which holds the same numbers as codebooks
 * and indices. Training that goes on from there is `lathe train --clusters`. */
#include "cli/cluster_options.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct cluster_options {
    cli_common common;
    const char *model, *out, *save_dtype;
    cli_cluster cluster;
} cluster_options;

#define AT(field) offsetof(cluster_options, field)

static const cli_option options[] = {
    {"model", CLI_TEXT, AT(model), .group = "Files", .value = "M",
     .help = "Hugging Face directory, checkpoint or .gguf"},
    {"out", CLI_TEXT, AT(out), .group = "Files", .value = "DIR",
     .help = "gets the model with clustered weights, and clusters.safetensors: codebooks and packed indices"},
    {"save_dtype", CLI_CHOICE, AT(save_dtype), "f32", "Files", "type of the saved weights; f32 keeps centroids exactly",
     .choices = "f32|f16|bf16"},
    {"clusters", CLI_INT, AT(cluster.clusters), "16", "Clusters", "values of a codebook, 2 to 256", .low = 2,
     .high = 256},
    CLI_CLUSTER_OPTIONS(AT, "Clusters"),
};

static int verb_cluster(cli *cli, void *target);

const cli_verb cli_verb_cluster = {
    .name = "cluster",
    .summary = "weights of a model as a few shared values",
    .usage = "--model M --out DIR [--clusters 16]",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .target_bytes = sizeof(cluster_options),
    .run = verb_cluster,
};

static int tell(cli *c, const cluster_options *o, const cli_packed *packed, double moved, double seconds)
{
    if (c->json)
        return cli_answer(c, json_pack("{s:s, s:s, s:I, s:s, s:b, s:f, s:f, s:o}", "model", o->model, "out", o->out,
                                       "clusters", (json_int_t)o->cluster.clusters, "per", o->cluster.per,
                                       "preserve_zeros", (int)o->cluster.preserve_zeros, "moved", moved, "seconds",
                                       seconds, "packed", cli_packed_json(packed)));
    if (!c->quiet) cli_table(stdout, packed->report.table);
    printf("moved       %.2f %% (root mean square)\n", 100 * moved);
    cli_packed_tell(packed);
    printf("model       %s\n", o->out);
    return EXIT_DONE;
}

static int cluster_it(cli *c, const cluster_options *o, lt_model *model, cli_packed *packed)
{
    lt_cluster_config config;
    double moved, start = cli_seconds();
    lt_params *params = lt_model_params(model);
    cli_cluster_config(&o->cluster, o->common.seed, &config);
    cli_say(c, "looking for %" PRId64 " clusters a %s", config.clusters, o->cluster.per);
    lt_status status = lt_cluster_prepare(params, &config);
    if (status == LT_OK) status = lt_cluster_apply(params, &config, &moved);
    if (status == LT_ENONFINITE) return cli_fail(c, EXIT_INPUT, "%s: %s", o->model, lt_ctx_message(c->ctx));
    if (status != LT_OK) return cli_fail_status(c, status, false);
    int code = cli_make_output(c, o->out);
    if (code) return code;
    status = lt_model_save(model, o->out,
                           !strcmp(o->save_dtype, "f32") ? "F32"
                           : *o->save_dtype == 'f'       ? "F16"
                                                         : "BF16");
    if (status == LT_OK) status = cli_packed_write(c, model, &config, o->out, packed);
    char change[32];
    snprintf(change, sizeof change, "%.2f %%", 100 * moved);
    const lt_pair facts[] = {{"model", cli_last_part(o->model)}, {"weights moved by (root mean square)", change}};
    if (status == LT_OK) status = cli_packed_card(c, &config, "Made without training", facts, 2, packed);
    if (status != LT_OK) return cli_fail_status(c, status, false);
    return tell(c, o, packed, moved, cli_seconds() - start);
}

static int verb_cluster(cli *c, void *target)
{
    const cluster_options *o = target;
    lt_model *model = NULL;
    cli_packed packed = {0};
    if (!o->model) return cli_fail(c, EXIT_USAGE, "no model; give --model M");
    if (!o->out) return cli_fail(c, EXIT_USAGE, "no place for the result; give --out DIR");
    lt_status status = lt_model_open(c->ctx, o->model, &model);
    int code = status == LT_OK ? cluster_it(c, o, model, &packed) : cli_fail_status(c, status, true);
    lt_model_free(model);
    cli_packed_free(c, &packed);
    return code;
}
