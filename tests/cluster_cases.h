/* cluster_cases.h - what the suites of weight clustering share. */
#ifndef TS_CLUSTER_CASES_H
#define TS_CLUSTER_CASES_H

#include "lathe/cluster.h"
#include "tests/toy_run.h"

static inline lt_cluster_config config_of(int64_t clusters, lt_granularity per, lt_cluster_mode mode, bool zeros)
{
    lt_cluster_config c;
    lt_cluster_config_init(&c);
    c.clusters = clusters, c.per = per, c.mode = mode, c.preserve_zeros = zeros;
    return c;
}

/* How many values a row, or all of it, has at most. */
static inline int distinct(const lt_param *w, int64_t books)
{
    int most = 0;
    const lt_real *x = lt_param_read(w);
    int64_t size = lt_param_count(w) / books;
    for (int64_t b = 0; b < books; b++) {
        int n = 0;
        lt_real seen[512];
        for (int64_t i = b * size; i < (b + 1) * size && n < 512; i++) {
            int k = 0;
            while (k < n && seen[k] != x[i]) k++;
            if (k == n) seen[n++] = x[i];
        }
        most = n > most ? n : most;
    }
    return most;
}

#endif
