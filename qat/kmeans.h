/* kmeans.h - k-means of numbers on a line. */
#ifndef LTI_KMEANS_H
#define LTI_KMEANS_H

#include "base/rng.h"
#include "lathe/base.h"

/* Numbers in ascending order, and the sums of the first i of them. */
typedef struct lti_sorted {
    int64_t n;
    double *x;   /* [n] */
    double *sum; /* [n + 1] */
} lti_sorted;
size_t lti_sorted_bytes(int64_t n); /* of the memory it lies in */
lti_sorted lti_sorted_of(int64_t n, const lt_real *x, void *memory);

typedef struct lti_kmeans {
    int clusters;
    bool zero;      /* one centroid is 0 and stays it */
    bool quantiles; /* starts by equal shares in place of draws */
    lti_rng rng;    /* its step is changed from start to start */
    uint64_t first_word;
} lti_kmeans;

/* Ascending starts by k-means++, or quantiles, into c [clusters]; fewer distinct numbers than clusters: the last is repeated. */
void lti_kmeans_start(const lti_kmeans *how, const lti_sorted *s, double *c);
/* Lloyd's steps from ascending c until no number changes its cluster; ends [clusters]: how many numbers the clusters up
 * to j have. Empty clusters stay where they are. Returns the steps. */
int lti_kmeans_lloyd(const lti_kmeans *how, const lti_sorted *s, double *c, int64_t *ends);
/* Sum of squared distances. */
double lti_kmeans_error(const lti_kmeans *how, const lti_sorted *s, const double *c, const int64_t *ends);
/* The best of a few starts, ascending, into `centroids` [clusters]. */
void lti_kmeans_fit(const lti_kmeans *how, const lti_sorted *s, lt_real *centroids);

#endif
