/* cluster.h - weights that share a few values: k-means, trained centroids, and the packed file.
 *
 * A clustered matrix is a codebook of 2 to 256 numbers (one a tensor, or one a row) and an index a weight. Clusters are
 * found by k-means++ and Lloyd's steps, then either the centroids are trained under a fixed assignment, or the weights
 * are, through the look-up.
 *
 *     lt_cluster_config c;
 *     lt_cluster_config_init(&c);
 *     c.clusters = 16;
 *     if (lt_cluster_prepare(params, &c) != LT_OK) return lt_ctx_status(ctx);  // codebooks and indices beside the weights
 *     lt_cluster_attach(g, &c);                                                // before the model is recorded
 *     ...
 *     if (lt_cluster_apply(params, &c, NULL) != LT_OK) return lt_ctx_status(ctx); // the weights become what they stand for
 */
#ifndef LATHE_CLUSTER_H
#define LATHE_CLUSTER_H

#include "lathe/attach.h"
#include "lathe/scheme.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum lt_cluster_mode {
    LT_CLUSTER_CENTROIDS = 0, /* centroids are trained: the gradient of one is the sum of its members' */
    LT_CLUSTER_STE            /* weights are trained, straight through the look-up; a Lloyd step follows each update */
} lt_cluster_mode;

/* Where k-means begins. The first finds the smaller squared error, the second has more centroids where weights are dense. */
typedef enum lt_cluster_start {
    LT_CLUSTER_PLUS_PLUS = 0, /* k-means++, the best of a few draws */
    LT_CLUSTER_QUANTILES      /* one centroid for each equal share of the weights */
} lt_cluster_start;

typedef struct lt_cluster_config {
    size_t size;
    int64_t clusters;   /* values of a codebook, 2 to 256; 0, the default: no clustering */
    lt_granularity per; /* what shares a codebook: LT_PER_TENSOR (default) or LT_PER_CHANNEL, a row */
    lt_cluster_mode mode;
    bool preserve_zeros; /* one centroid is 0 and stays it, and so do weights that are 0 */
    const char *targets; /* glob over parameter names; NULL: every matrix but embeddings and the head. Borrowed */
    lt_cluster_start start;
    uint64_t seed; /* of k-means++ */
} lt_cluster_config;
LT_API void lt_cluster_config_init(lt_cluster_config *config);
LT_API const char *lt_cluster_mode_name(lt_cluster_mode mode); /* "centroids", "ste" */
LT_API bool lt_cluster_mode_parse(const char *name, lt_cluster_mode *mode);
LT_API const char *lt_cluster_start_name(lt_cluster_start start); /* "kmeans++", "quantiles" */
LT_API bool lt_cluster_start_parse(const char *name, lt_cluster_start *start);

/* Finds the clusters of every matrix that is meant and adds "<weight>:centroids" and "<weight>:clusters" (indices) to
 * params, where they are not there yet: LT_STATE, so that checkpoints hold them. Weights stay as they are. To be called
 * before the optimizer is made: it decides what is trainable. The same bits for any number of threads.
 * Errors: LT_EINVAL (options; nothing is meant; what is there is of other options), LT_ENONFINITE names the tensor. */
LT_API LT_MUST_USE lt_status lt_cluster_prepare(lt_params *params, const lt_cluster_config *config);
/* Registers the hook that puts centroids in place of weights; `config` is borrowed until the graph is freed. */
LT_API void lt_cluster_attach(lt_graph *graph, const lt_cluster_config *config);
/* Records what follows the updates of a step; to be called behind the optimizer's record. */
LT_API void lt_cluster_after_update(lt_graph *graph, const lt_cluster_config *config);
/* Every clustered weight becomes its centroid. `moved` (may be NULL): by how much, root mean square over root mean
 * square. */
LT_API LT_MUST_USE lt_status lt_cluster_apply(lt_params *params, const lt_cluster_config *config, double *moved);

/* ---- The packed file ---- */
typedef struct lt_cluster_report {
    int64_t tensors, weights; /* clustered ones */
    uint64_t float_bytes;     /* of these weights before */
    uint64_t codebook_bytes;  /* and now */
    uint64_t index_bytes;     /* ceil(log2 clusters) bits a weight, packed without gaps */
    uint64_t zlib_bytes;      /* codebooks and indices through zlib: what a compressed archive of them takes */
    uint64_t other_bytes;     /* all other weights, as they are */
    uint64_t file_bytes;
    char *table; /* tensor, shape, bits and bytes, a line each, cells between tabs; free with lt_string_free */
} lt_cluster_report;

/* Writes a safetensors file of all weights: a clustered one as "<name>:codebook" [codebooks, clusters] and
 * "<name>:indices" (bytes, least significant bit first) with "clusters:<name>" = "BITS:ROWSxCOLUMNS" in the metadata, the
 * others under their names. Then the file is read back and every number compared. `report` may be NULL.
 * LT_EINVAL: weights that are no centroids yet (lt_cluster_apply). */
LT_API LT_MUST_USE lt_status lt_cluster_write(const lt_params *params, const lt_cluster_config *config,
                                              const char *path, lt_cluster_report *report);
/* The weights of such a file, bit for bit as they were written. LT_EFORMAT names the tensor. Owned by the caller. */
LT_API LT_MUST_USE lt_status lt_cluster_read(lt_ctx *ctx, const char *path, lt_params **params);

#ifdef __cplusplus
}
#endif
#endif
