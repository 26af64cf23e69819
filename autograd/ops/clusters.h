/* clusters.h - weights as indices into codebooks: the two ops, and the search for the nearest centroid.
 *
 * A codebook has 2 to 256 numbers; there is one for a tensor, or one a row. An index is stored as int8, 128 less. */
#ifndef LTI_CLUSTERS_H
#define LTI_CLUSTERS_H

#include "autograd/op.h"

enum { LTI_MOST_CLUSTERS = 256 };

/* y = centroids[codes] f32 of the codes' shape. w (nil: none) is the latent weight that the cotangent of y passes
 * straight to. centroids: codebooks * clusters numbers; codes: LT_I8, one codebook for all or one for each index of the
 * first axis. keep_zeros: centroids and weights that are exactly 0 get no gradient. */
lt_t lti_cluster_lookup(lt_t centroids, lt_t codes, lt_t w, int64_t clusters, bool keep_zeros);
/* An effect: one Lloyd step on w, then each weight's nearest centroid. keep_zeros: a centroid that is 0 stays it. */
lt_t lti_cluster_refresh(lt_param *centroids, lt_param *codes, lt_t w, int64_t clusters, bool keep_zeros);

/* One codebook for all, or one for each index of the first axis; 0 where neither fits. */
int64_t lti_cluster_codebooks(int64_t centroids, int64_t clusters, int rank, const int64_t *shape);

/* Whatever byte a file had, the index is one of the codebook. */
static inline int lti_cluster_index(int8_t code, int clusters)
{
    int index = code + 128;
    return index < clusters ? index : clusters - 1;
}

static inline int8_t lti_cluster_code(int index)
{
    return (int8_t)(index - 128);
}

/* The borders between ascending centroids. */
typedef struct lti_cluster_cuts {
    double at[LTI_MOST_CLUSTERS];
    int half; /* the first stride of the search */
} lti_cluster_cuts;
void lti_cluster_cut(int clusters, const lt_real *centroids, lti_cluster_cuts *cuts);

/* Index of the nearest centroid; on a border that of the lower one, and of equal ones the first. */
static inline int lti_cluster_nearest(const lti_cluster_cuts *cuts, double x)
{
    int index = 0;
    for (int stride = cuts->half; stride; stride >>= 1) index += cuts->at[index + stride - 1] < x ? stride : 0;
    return index;
}

#endif
