/* timing.h - what all benchmarks do with the clock: times of alternating rounds, and the median of them. */
#ifndef BENCH_TIMING_H
#define BENCH_TIMING_H

#include "base/clock.h"
#include "base/order.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_ROUNDS = 99 };

/* Of n <= MOST_ROUNDS values, which stay in their order. */
static inline double median(int n, const double *values)
{
    double sorted[MOST_ROUNDS];
    memcpy(sorted, values, (size_t)n * sizeof *values);
    qsort(sorted, (size_t)n, sizeof *sorted, lti_ascending);
    return sorted[n / 2];
}

#endif
