/* cluster_options.h - what `lathe cluster` and `lathe train --clusters` share. */
#ifndef CLI_CLUSTER_OPTIONS_H
#define CLI_CLUSTER_OPTIONS_H

#include "cli/cli.h"

typedef struct cli_cluster {
    int64_t clusters;
    const char *mode, *per, *start, *targets; /* mode: training alone */
    bool preserve_zeros;
} cli_cluster;

#define CLI_CLUSTER_OPTIONS(AT, group_)                                                                                \
    {"cluster_per",                                                                                                    \
     CLI_CHOICE,                                                                                                       \
     AT(cluster.per),                                                                                                  \
     "tensor",                                                                                                         \
     group_,                                                                                                           \
     "what shares a codebook: a matrix, or each of its rows",                                                          \
     .choices = "tensor|channel"},                                                                                     \
        {"cluster_start",                                                                                              \
         CLI_CHOICE,                                                                                                   \
         AT(cluster.start),                                                                                            \
         "kmeans++",                                                                                                   \
         group_,                                                                                                       \
         "where k-means begins: the best of a few draws by squared distance, or equal shares of the weights",          \
         .choices = "kmeans++|quantiles"},                                                                             \
        {"cluster_preserve_zeros", CLI_SWITCH, AT(cluster.preserve_zeros), .group = group_,                            \
         .help = "one centroid is 0: weights that are 0 stay 0"},                                                      \
    {                                                                                                                  \
        "cluster_targets", CLI_TEXT, AT(cluster.targets),                                                              \
            .group = group_, .value = "GLOB",                                                                          \
            .help = "parameters to cluster; every matrix but embeddings and the head when left out"                    \
    }

void cli_cluster_config(const cli_cluster *options, int64_t seed, lt_cluster_config *config);

/* The packed file of a model whose weights are centroids: OUT/clusters.safetensors. */
typedef struct cli_packed {
    char *path;
    lt_cluster_report report;
} cli_packed;
lt_status cli_packed_write(cli *cli, lt_model *model, const lt_cluster_config *config, const char *out,
                           cli_packed *packed);
/* README.md beside it. made: a sentence on how it was; facts [n], of which those without a value are left out. */
lt_status cli_packed_card(cli *cli, const lt_cluster_config *config, const char *made, const lt_pair *facts, int n,
                          const cli_packed *packed);
json_t *cli_packed_json(const cli_packed *packed);
void cli_packed_tell(const cli_packed *packed); /* on stdout */
void cli_packed_free(cli *cli, cli_packed *packed);

#endif
