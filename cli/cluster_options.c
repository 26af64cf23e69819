/* cluster_options.c - from the words of --clusters and its companions to codebooks, and what came of them. */
#include "cli/cluster_options.h"

#include "train/export.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void cli_cluster_config(const cli_cluster *o, int64_t seed, lt_cluster_config *config)
{
    lt_cluster_config_init(config);
    config->clusters = o->clusters;
    config->per = o->per && !strcmp(o->per, "channel") ? LT_PER_CHANNEL : LT_PER_TENSOR;
    if (o->mode) (void)lt_cluster_mode_parse(o->mode, &config->mode); /* both are of their choices */
    if (o->start) (void)lt_cluster_start_parse(o->start, &config->start);
    config->preserve_zeros = o->preserve_zeros;
    config->targets = o->targets;
    config->seed = (uint64_t)seed;
}

lt_status cli_packed_write(cli *c, lt_model *model, const lt_cluster_config *config, const char *out,
                           cli_packed *packed)
{
    packed->path = cli_join(out, "clusters.safetensors");
    if (!packed->path) return LT_ENOMEM;
    (void)c;
    return lt_cluster_write(lt_model_params(model), config, packed->path, &packed->report);
}

lt_status cli_packed_card(cli *c, const lt_cluster_config *config, const char *made, const lt_pair *facts, int n,
                          const cli_packed *packed)
{
    enum { MOST = 12 };
    char clusters[48], what[256];
    lt_pair all[MOST] = {{"clusters", clusters}, {"zeros kept", config->preserve_zeros ? "yes" : NULL}};
    const lti_card card = {.what = what, .table = packed->report.table, .facts = all, .n = 2 + n};
    for (int i = 0; i < n && i + 2 < MOST; i++) all[i + 2] = facts[i];
    snprintf(clusters, sizeof clusters, "%" PRId64 " a %s", config->clusters,
             config->per == LT_PER_CHANNEL ? "channel" : "tensor");
    snprintf(what, sizeof what,
             "holds codebooks and indices; model.safetensors beside it the same weights as numbers. %s; read back, "
             "every number compared.",
             made);
    return lti_card_write(c->ctx, packed->path, &card);
}

json_t *cli_packed_json(const cli_packed *p)
{
    const lt_cluster_report *r = &p->report;
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "path", p->path, "tensors",
                     (json_int_t)r->tensors, "weights", (json_int_t)r->weights, "float_bytes",
                     (json_int_t)r->float_bytes, "codebook_bytes", (json_int_t)r->codebook_bytes, "index_bytes",
                     (json_int_t)r->index_bytes, "packed_bytes", (json_int_t)(r->codebook_bytes + r->index_bytes),
                     "zlib_bytes", (json_int_t)r->zlib_bytes, "other_bytes", (json_int_t)r->other_bytes, "file_bytes",
                     (json_int_t)r->file_bytes);
}

void cli_packed_tell(const cli_packed *p)
{
    char weights[32], before[32], now[32], books[32], indices[32], zlib[32];
    const lt_cluster_report *r = &p->report;
    printf("clusters    %s weights of %" PRId64 " matrices: %s -> %s (codebooks %s, indices %s; through zlib %s)\n",
           cli_thousands(weights, r->weights), r->tensors, cli_bytes(before, r->float_bytes),
           cli_bytes(now, r->codebook_bytes + r->index_bytes), cli_bytes(books, r->codebook_bytes),
           cli_bytes(indices, r->index_bytes), cli_bytes(zlib, r->zlib_bytes));
    printf("packed      %s (read back, every number compared)\n", p->path);
}

void cli_packed_free(cli *c, cli_packed *p)
{
    if (p->report.table) lt_string_free(c->ctx, p->report.table);
    free(p->path);
    *p = (cli_packed){0};
}
