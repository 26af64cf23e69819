/* cluster_parts.h - between cluster.c and cluster_file.c: which weights are clustered, and where their codebooks are. */
#ifndef LTI_CLUSTER_PARTS_H
#define LTI_CLUSTER_PARTS_H

#include "base/ctx.h"
#include "lathe/cluster.h"

/* LT_EINVAL says what is wrong. NULL or 0 clusters is fine. */
lt_status lti_cluster_check(lt_ctx *ctx, const lt_cluster_config *config);

typedef struct lti_clustered {
    lt_param *centroids, *codes; /* NULL: not there */
    int64_t books, size;         /* codebooks, and weights each */
} lti_clustered;
/* Whether the parameter is meant to be clustered; what there is for it. */
bool lti_clustered_find(const lt_params *params, const lt_cluster_config *config, const lt_param *weight,
                        lti_clustered *found);
/* Whether that is there and of the config's sizes. */
bool lti_clustered_fits(const lti_clustered *c, const lt_cluster_config *config, const lt_param *weight);

#endif
