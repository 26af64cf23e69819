/* bootstrap.c - see bootstrap.h. Items are documents or questions, not tokens: tokens of one document depend on each
 * other. The percentile interval is used because it needs no assumption and cannot leave the range of the statistic. */
#include "evals/bootstrap.h"

#include "base/par.h"
#include "base/rng.h"

#include <math.h>
#include <stdlib.h>

typedef struct resampling {
    int64_t n;
    const lti_ratio *ratios[2];
    lti_rng rng;
    double *values; /* one a resample */
} resampling;

static double value_of(const lti_ratio *ratio, double top, double bottom)
{
    double value = top / bottom;
    return ratio->exponential ? exp(value) : value;
}

double lti_ratio_of(int64_t n, const lti_ratio *ratio)
{
    double top = 0, bottom = 0;
    for (int64_t i = 0; i < n; i++) top += ratio->top[i], bottom += ratio->bottom ? ratio->bottom[i] : 1;
    return value_of(ratio, top, bottom);
}

static void resample(void *arg, int64_t r, int thread)
{
    (void)thread;
    const resampling *s = arg;
    double top[2] = {0, 0}, bottom[2] = {0, 0};
    uint32_t block[4];
    for (int64_t i = 0; i < s->n; i++) {
        uint64_t word = (uint64_t)r * (uint64_t)s->n + (uint64_t)i;
        if (i == 0 || word % 4 == 0) lti_philox(&s->rng, word / 4, block);
        int64_t item = (int64_t)((uint64_t)block[word % 4] * (uint64_t)s->n >> 32);
        for (int k = 0; k < 2 && s->ratios[k]; k++) {
            top[k] += s->ratios[k]->top[item];
            bottom[k] += s->ratios[k]->bottom ? s->ratios[k]->bottom[item] : 1;
        }
    }
    s->values[r] = value_of(s->ratios[0], top[0], bottom[0]);
    if (s->ratios[1]) s->values[r] -= value_of(s->ratios[1], top[1], bottom[1]);
}

static int smaller_first(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

lt_status lti_bootstrap(lt_ctx *ctx, int64_t n, const lti_ratio *one, const lti_ratio *other, int64_t resamples,
                        uint64_t seed, double interval[2])
{
    if (n < 1 || n > INT32_MAX || resamples < 1)
        return lti_fail(ctx, LT_EINVAL, "bootstrap: %lld items, %lld resamples", (long long)n, (long long)resamples);
    resampling s = {n, {one, other}, {.seed = seed, .stream = lti_rng_stream("bootstrap")}, NULL};
    s.values = lti_alloc_array(ctx, (size_t)resamples, sizeof *s.values);
    if (!s.values) return LT_ENOMEM;
    lti_par(resamples, resample, &s);
    qsort(s.values, (size_t)resamples, sizeof *s.values, smaller_first);
    interval[0] = s.values[(int64_t)ceil(0.025 * (double)resamples) - 1];
    interval[1] = s.values[(int64_t)ceil(0.975 * (double)resamples) - 1];
    lti_free(ctx, s.values);
    return LT_OK;
}
