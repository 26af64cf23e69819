/* kmeans.c - k-means++ (Arthur & Vassilvitskii 2007) and Lloyd's steps (1982) for numbers, from few starts.
 *
 * On a line a cluster is an interval. So the numbers are sorted once (by digits of 8 bits), with the sums of the first i:
 * a Lloyd step is then a search for each border and a difference for each mean, whatever the tensor's size, and runs to the
 * end where nothing moves. k-means++ draws by squared distance; a new centroid changes distances between its neighbours
 * alone. Everything is in one thread and in one order: the same bits for any number of threads. The optimum by dynamic
 * programming would cost a pass of n log n for each cluster for gains that training levels out. */
#include "qat/kmeans.h"

#include <math.h>
#include <string.h>

enum { MOST = 256, STARTS = 4, MOST_STEPS = 10000, SMALL = 64 };

/* ---- Sorting ---- */

size_t lti_sorted_bytes(int64_t n)
{
    return (2 * (size_t)n + 1) * sizeof(double);
}

/* Bits whose order as numbers without sign is that of the doubles; -0 becomes 0. */
static uint64_t key_of(double x)
{
    uint64_t bits;
    x += 0.0;
    memcpy(&bits, &x, sizeof bits);
    return bits >> 63 ? ~bits : bits | 1ull << 63;
}

static double value_of(uint64_t key)
{
    uint64_t bits = key >> 63 ? key & ~(1ull << 63) : ~key;
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* One pass by the digit at `shift`; false when all have the same: nothing to do. */
static bool sort_digit(int64_t n, int shift, const uint64_t *from, uint64_t *to)
{
    int64_t at[256] = {0}, before = 0;
    for (int64_t i = 0; i < n; i++) at[from[i] >> shift & 255]++;
    if (n == 0 || at[from[0] >> shift & 255] == n) return false;
    for (int d = 0; d < 256; d++) {
        int64_t here = at[d];
        at[d] = before;
        before += here;
    }
    for (int64_t i = 0; i < n; i++) to[at[from[i] >> shift & 255]++] = from[i];
    return true;
}

static void insert_sorted(int64_t n, uint64_t *key)
{
    for (int64_t i = 1; i < n; i++) {
        uint64_t x = key[i];
        int64_t at = i;
        for (; at > 0 && key[at - 1] > x; at--) key[at] = key[at - 1];
        key[at] = x;
    }
}

lti_sorted lti_sorted_of(int64_t n, const lt_real *x, void *memory)
{
    uint64_t *key = memory, *other = key + n;
    lti_sorted s = {.n = n, .x = memory, .sum = (double *)memory + n};
    for (int64_t i = 0; i < n; i++) key[i] = key_of((double)x[i]);
    if (n <= SMALL) insert_sorted(n, key);
    for (int shift = 0; shift < 64 && n > SMALL; shift += 8)
        if (sort_digit(n, shift, key, other)) {
            uint64_t *swap = key;
            key = other, other = swap;
        }
    for (int64_t i = 0; i < n; i++) {
        double value = value_of(key[i]);
        memcpy((char *)memory + (size_t)i * sizeof value, &value, sizeof value); /* the place of a key that was read */
    }
    s.sum[0] = 0;
    for (int64_t i = 0; i < n; i++) s.sum[i + 1] = s.sum[i] + s.x[i];
    return s;
}

/* How many numbers belong to centroids up to the lower one of a pair. */
static int64_t border(const lti_sorted *s, double low, double high)
{
    double middle = low / 2 + high / 2;
    int64_t first = 0, n = s->n;
    while (n > 0) {
        int64_t half = n / 2;
        if (s->x[first + half] <= middle)
            first += half + 1, n -= half + 1;
        else
            n = half;
    }
    return first;
}

/* ---- Starts ---- */

typedef struct starts {
    const lti_sorted *s;
    int m;
    double c[MOST], mass[MOST]; /* ascending; sum of squared distances of the members */
} starts;

static void members(const starts *t, int j, int64_t *begin, int64_t *end)
{
    *begin = j > 0 ? border(t->s, t->c[j - 1], t->c[j]) : 0;
    *end = j + 1 < t->m ? border(t->s, t->c[j], t->c[j + 1]) : t->s->n;
}

static void weigh(starts *t, int j)
{
    int64_t begin, end;
    if (j < 0 || j >= t->m) return;
    members(t, j, &begin, &end);
    t->mass[j] = 0;
    for (int64_t i = begin; i < end; i++) t->mass[j] += (t->s->x[i] - t->c[j]) * (t->s->x[i] - t->c[j]);
}

static void add_start(starts *t, double c)
{
    int at = t->m++;
    for (; at > 0 && t->c[at - 1] > c; at--) t->c[at] = t->c[at - 1], t->mass[at] = t->mass[at - 1];
    t->c[at] = c;
    for (int j = at - 1; j <= at + 1; j++) weigh(t, j);
}

/* A number, drawn by its squared distance; false when every number is a centroid. */
static bool draw(const starts *t, double u, double *c)
{
    double total = 0, passed = 0;
    int64_t begin, end;
    int at = -1;
    for (int j = 0; j < t->m; j++) total += t->mass[j];
    if (!(total > 0)) return false;
    for (int j = 0; j < t->m; j++) {
        if (!(t->mass[j] > 0)) continue;
        at = j;
        if (passed + t->mass[j] > u * total) break;
        passed += t->mass[j];
    }
    members(t, at, &begin, &end);
    for (int64_t i = begin; i < end; i++) { /* the last one, where rounding leads past the end */
        double d = t->s->x[i] - t->c[at];
        if (d != 0) *c = t->s->x[i];
        passed += d * d;
        if (d != 0 && passed > u * total) break;
    }
    return true;
}

/* The middles of equal shares; the one that is nearest to 0 becomes it. */
static void start_by_shares(const lti_kmeans *how, const lti_sorted *s, double *c)
{
    int nearest = 0;
    for (int j = 0; j < how->clusters; j++) {
        c[j] = s->n > 0 ? s->x[(int64_t)((2 * (double)j + 1) * (double)s->n / (2 * how->clusters))] : 0;
        if (fabs(c[j]) < fabs(c[nearest])) nearest = j;
    }
    if (how->zero) c[nearest] = 0;
}

void lti_kmeans_start(const lti_kmeans *how, const lti_sorted *s, double *c)
{
    if (how->quantiles) {
        start_by_shares(how, s, c);
        return;
    }
    starts t = {.s = s};
    uint64_t word = how->first_word;
    double next = 0;
    if (!how->zero && s->n > 0) next = s->x[(int64_t)(lti_rng_uniform(&how->rng, word) * (double)s->n)];
    add_start(&t, next);
    while (t.m < how->clusters && draw(&t, lti_rng_uniform(&how->rng, ++word), &next)) add_start(&t, next);
    for (int j = 0; j < how->clusters; j++) c[j] = t.c[j < t.m ? j : t.m - 1];
}

/* ---- Steps ---- */

/* Within its members: rounding of sums may not break the order. */
static double mean_of(const lti_sorted *s, int64_t begin, int64_t end)
{
    double low = s->x[begin], high = s->x[end - 1], mean = (s->sum[end] - s->sum[begin]) / (double)(end - begin);
    return mean < low ? low : mean > high ? high : mean;
}

int lti_kmeans_lloyd(const lti_kmeans *how, const lti_sorted *s, double *c, int64_t *ends)
{
    int k = how->clusters, steps = 0;
    for (int j = 0; j < k; j++) ends[j] = -1;
    for (; steps < MOST_STEPS; steps++) {
        bool moved = false;
        for (int j = 0; j < k; j++) {
            int64_t end = j + 1 < k ? border(s, c[j], c[j + 1]) : s->n;
            moved |= end != ends[j];
            ends[j] = end;
        }
        if (!moved) break;
        for (int j = 0; j < k; j++) {
            int64_t begin = j ? ends[j - 1] : 0;
            if (begin < ends[j] && !(how->zero && c[j] == 0)) c[j] = mean_of(s, begin, ends[j]);
        }
    }
    return steps;
}

double lti_kmeans_error(const lti_kmeans *how, const lti_sorted *s, const double *c, const int64_t *ends)
{
    double error = 0;
    for (int j = 0; j < how->clusters; j++)
        for (int64_t i = j ? ends[j - 1] : 0; i < ends[j]; i++) error += (s->x[i] - c[j]) * (s->x[i] - c[j]);
    return error;
}

void lti_kmeans_fit(const lti_kmeans *how, const lti_sorted *s, lt_real *centroids)
{
    lti_kmeans one = *how;
    double c[MOST], least = 0;
    int64_t ends[MOST];
    for (int start = 0; start < (how->quantiles ? 1 : STARTS); start++) {
        one.rng.step = how->rng.step + (uint32_t)start;
        lti_kmeans_start(&one, s, c);
        lti_kmeans_lloyd(&one, s, c, ends);
        double error = lti_kmeans_error(&one, s, c, ends);
        if (start > 0 && !(error < least)) continue;
        least = error;
        for (int j = 0; j < how->clusters; j++) centroids[j] = (lt_real)c[j];
    }
}
