/* diversity.c - see diversity.h. n-grams are sorted, then equal ones stand together; texts that have fewer than four
 * ids take no part in the means over texts. */
#include "evals/diversity.h"

#include <stdlib.h>

enum { LONG = 4 };

typedef struct gram {
    const int32_t *ids;
    int64_t text;
} gram;

static int by_ids(const void *a, const void *b, void *arg)
{
    const gram *x = a, *y = b;
    int n = *(const int *)arg;
    for (int i = 0; i < n; i++)
        if (x->ids[i] != y->ids[i]) return x->ids[i] < y->ids[i] ? -1 : 1;
    return x->text < y->text ? -1 : x->text > y->text;
}

static bool same_ids(const gram *x, const gram *y, int n)
{
    for (int i = 0; i < n; i++)
        if (x->ids[i] != y->ids[i]) return false;
    return true;
}

static int64_t list_grams(int64_t n_texts, const lt_ids *texts, int n, gram *grams)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n_texts; i++)
        for (int64_t k = 0; k + n <= texts[i].count; k++) grams[count++] = (gram){texts[i].ids + k, i};
    qsort_r(grams, (size_t)count, sizeof *grams, by_ids, &n);
    return count;
}

static double distinct(int64_t count, const gram *grams, int n)
{
    int64_t different = count > 0;
    for (int64_t i = 1; i < count; i++) different += !same_ids(&grams[i - 1], &grams[i], n);
    return count ? (double)different / (double)count : 0;
}

/* Per text: 4-grams that differ, and 4-grams another text has, too. */
static void count_by_text(int64_t count, const gram *grams, int64_t *different, int64_t *shared)
{
    for (int64_t i = 0, end; i < count; i = end) {
        bool several = false;
        for (end = i; end < count && same_ids(&grams[i], &grams[end], LONG); end++)
            several |= grams[end].text != grams[i].text;
        for (int64_t k = i; k < end; k++) {
            different[grams[k].text] += k == i || grams[k].text != grams[k - 1].text;
            shared[grams[k].text] += several;
        }
    }
}

static void measure(int64_t n, const lt_ids *texts, gram *grams, int64_t *different, int64_t *shared, lti_diversity *d)
{
    for (int k = 1; k < LONG; k++) {
        int64_t count = list_grams(n, texts, k, grams);
        d->distinct[k - 1] = distinct(count, grams, k);
    }
    int64_t count = list_grams(n, texts, LONG, grams), counted = 0;
    count_by_text(count, grams, different, shared);
    for (int64_t i = 0; i < n; i++) {
        double all = (double)(texts[i].count - LONG + 1);
        if (all <= 0) continue;
        d->repetition += 1 - (double)different[i] / all;
        d->overlap += (double)shared[i] / all;
        counted++;
    }
    if (counted) d->repetition /= (double)counted, d->overlap /= (double)counted;
}

lt_status lti_diversity_of(lt_ctx *ctx, int64_t n, const lt_ids *texts, lti_diversity *result)
{
    *result = (lti_diversity){.repetition = 0};
    int64_t total = 0;
    for (int64_t i = 0; i < n; i++) total += texts[i].count;
    gram *grams = lti_alloc_array(ctx, (size_t)total + 1, sizeof *grams);
    int64_t *different = lti_alloc_array(ctx, (size_t)n + 1, sizeof *different);
    int64_t *shared = lti_alloc_array(ctx, (size_t)n + 1, sizeof *shared);
    bool made = grams && different && shared;
    if (made) measure(n, texts, grams, different, shared, result);
    lti_free(ctx, grams);
    lti_free(ctx, different);
    lti_free(ctx, shared);
    return made ? LT_OK : LT_ENOMEM;
}
