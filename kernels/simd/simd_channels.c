/* simd_channels.c - the passes of batch and group norm over rows of channels.
 *
 * Rows are taken in blocks that fit the first cache, and a block in strips of two vectors of channels: what belongs to
 * a channel (mean, scale, the sums) stays in registers for a whole block, also where a row is no longer than a vector
 * or two. Long rows make blocks of few rows, each read from end to end nearly as memory likes it. Sums: runs of sixteen
 * rows in R, joined in double; converting every row would take as long as reading it from the second cache. Deviations
 * and the ReLU's mask are rounded as in ref_channels.c, uncontracted, so that forward and backward and every
 * instruction set cut at the same numbers. */
#include "kernels/simd/vec.h"

#include <string.h>

enum {
    BLOCK = 4096, /* numbers a block */
    LINES = 8,    /* rows a block, at least */
    RUN = 16,     /* rows that are added in R */
    MOST = 2      /* vectors a strip */
};

/* Sums of one vector of channels, of two things each. */
typedef struct tally {
    vd low, high, low2, high2;
} tally;

/* The numbers at p, zeros past `left` of them. */
VI void get_doubles(const double *p, int64_t left, vd *low, vd *high)
{
    double some[V] = {0};
    if (left < V) memcpy(some, p, (size_t)left * sizeof *p);
    if (left < V) p = some;
    memcpy(low, p, sizeof *low);
    memcpy(high, p + V / 2, sizeof *high);
}

VI void put_doubles(double *p, int64_t left, vd low, vd high)
{
    double some[V];
    double *to = left < V ? some : p;
    memcpy(to, &low, sizeof low);
    memcpy(to + V / 2, &high, sizeof high);
    if (left < V) memcpy(p, some, (size_t)left * sizeof *p);
}

/* Sums of n channels begin at `sums`, those of the second thing n further. */
VI tally get_tally(const double *sums, int64_t n, int64_t left)
{
    tally t;
    get_doubles(sums, left, &t.low, &t.high);
    get_doubles(sums + n, left, &t.low2, &t.high2);
    return t;
}

VI void put_tally(const tally *t, double *sums, int64_t n, int64_t left)
{
    put_doubles(sums, left, t->low, t->high);
    put_doubles(sums + n, left, t->low2, t->high2);
}

VI void count_in(tally *t, vf a, vf b)
{
    t->low = v_addd(t->low, v_low(a));
    t->high = v_addd(t->high, v_high(a));
    t->low2 = v_addd(t->low2, v_low(b));
    t->high2 = v_addd(t->high2, v_high(b));
}

/* Rows a block. */
VI int64_t lines_of(int64_t n)
{
    return n > 0 && n < BLOCK / LINES ? BLOCK / n : LINES;
}

/* Runs strip(vectors, left, with) for the channels from c on, two whole vectors, or one whole or broken one, over the
 * `count` rows from `first` on. A macro, so that the strip's counts and `with` are constants where it is expanded. */
#define EACH_STRIP(rows, n, strip, with)                                                                               \
    for (int64_t first = 0, lines = lines_of(n); first < (rows); first += lines) {                                     \
        int64_t count = (rows)-first < lines ? (rows)-first : lines, c = 0;                                            \
        for (; c + MOST * V <= (n); c += MOST * V) strip(MOST, V, with);                                               \
        for (; c + V <= (n); c += V) strip(1, V, with);                                                                \
        if (c < (n)) strip(1, (n)-c, with);                                                                            \
    }

/* A row's share of two vectors of sums: a and a b. Rows alternate between two pairs, which wait for each other less. */
typedef struct run {
    vf sum[2][MOST], product[2][MOST];
} run;

VI void no_run(run *u)
{
    for (int k = 0; k < MOST; k++) u->sum[0][k] = u->sum[1][k] = u->product[0][k] = u->product[1][k] = v_zero();
}

VI void add_to_run(run *u, int parity, int k, vf a, vf b)
{
    u->sum[parity][k] = v_add(u->sum[parity][k], a);
    u->product[parity][k] = v_fma(a, b, u->product[parity][k]);
}

VI void end_run(const run *u, int vectors, tally *t)
{
    for (int k = 0; k < vectors; k++)
        count_in(&t[k], v_add(u->sum[0][k], u->sum[1][k]), v_add(u->product[0][k], u->product[1][k]));
}

VI void moments_row(run *u, int parity, int vectors, int64_t left, const R *x, const vf *pivot)
{
    for (int k = 0; k < vectors; k++) {
        vf d = v_sub(v_get(x + k * V, left), pivot[k]);
        add_to_run(u, parity, k, d, d);
    }
}

VI void moments_strip(int vectors, int64_t left, int64_t rows, int64_t n, const R *x, const R *pivot, double *sums)
{
    tally t[MOST];
    vf p[MOST];
    for (int k = 0; k < vectors; k++) {
        t[k] = get_tally(sums + k * V, n, left);
        p[k] = v_get(pivot + k * V, left);
    }
    for (int64_t r = 0; r < rows; r += RUN) {
        int64_t count = rows - r < RUN ? rows - r : RUN;
        run u;
        no_run(&u);
        for (; count >= 2; count -= 2, x += 2 * n) {
            moments_row(&u, 0, vectors, left, x, p);
            moments_row(&u, 1, vectors, left, x + n, p);
        }
        if (count) moments_row(&u, 0, vectors, left, x, p);
        end_run(&u, vectors, t);
    }
    for (int k = 0; k < vectors; k++) put_tally(&t[k], sums + k * V, n, left);
}

void LTI_FN(channel_moments)(int64_t rows, int64_t n, const R *x, const R *pivot, double *sums){
#define STRIP(vectors, left, with) moments_strip(vectors, left, count, n, x + first * n + c, pivot + c, sums + c)
    EACH_STRIP(rows, n, STRIP, 0)
#undef STRIP
}

VI void norm_strip(int vectors, int64_t left, int64_t rows, int64_t n, const R *x, const R *mean, const R *scale,
                   const R *bias, int relu, R *y)
{
    vf m[MOST], s[MOST], b[MOST];
    for (int k = 0; k < vectors; k++) {
        m[k] = v_get(mean + k * V, left);
        s[k] = v_get(scale + k * V, left);
        b[k] = v_get(bias + k * V, left);
    }
    for (int64_t r = 0; r < rows; r++, x += n, y += n)
        for (int k = 0; k < vectors; k++) {
            vf v = v_add(v_mul(v_sub(v_get(x + k * V, left), m[k]), s[k]), b[k]);
            if (relu) v = v_zero_if(v_lt(v, v_zero()), v);
            v_put(y + k * V, v, left);
        }
}

void LTI_FN(channel_norm)(int64_t rows, int64_t n, const R *x, const R *mean, const R *scale, const R *bias, int relu,
                          R *y)
{
#define STRIP(vectors, left, with)                                                                                     \
    norm_strip(vectors, left, count, n, x + first * n + c, mean + c, scale + c, bias + c, with, y + first * n + c)
    if (relu)
        EACH_STRIP(rows, n, STRIP, 1)
    else
        EACH_STRIP(rows, n, STRIP, 0)
#undef STRIP
}

/* dy where (x - mean) scale + bias > 0; d is x - mean. */
VI vf cut(vf dy, vf d, vf scale, vf bias)
{
    return v_select(v_lt(v_zero(), v_add(v_mul(d, scale), bias)), dy, v_zero());
}

typedef struct cutter {
    vf mean[MOST], scale[MOST], bias[MOST];
} cutter;

VI void sums_row(run *u, int parity, int vectors, int64_t left, const R *x, const R *dy, const cutter *c, int cuts)
{
    for (int k = 0; k < vectors; k++) {
        vf d = v_sub(v_get(x + k * V, left), c->mean[k]), g = v_get(dy + k * V, left);
        if (cuts) g = cut(g, d, c->scale[k], c->bias[k]);
        add_to_run(u, parity, k, g, d);
    }
}

VI void sums_strip(int vectors, int64_t left, int64_t rows, int64_t n, const R *x, const R *dy, const R *mean,
                   const R *scale, const R *bias, double *sums)
{
    tally t[MOST];
    cutter c;
    for (int k = 0; k < vectors; k++) {
        t[k] = get_tally(sums + k * V, n, left);
        c.mean[k] = v_get(mean + k * V, left);
        c.scale[k] = bias ? v_get(scale + k * V, left) : v_zero();
        c.bias[k] = bias ? v_get(bias + k * V, left) : v_zero();
    }
    for (int64_t r = 0; r < rows; r += RUN) {
        int64_t count = rows - r < RUN ? rows - r : RUN;
        run u;
        no_run(&u);
        for (; count >= 2; count -= 2, x += 2 * n, dy += 2 * n) {
            sums_row(&u, 0, vectors, left, x, dy, &c, bias != NULL);
            sums_row(&u, 1, vectors, left, x + n, dy + n, &c, bias != NULL);
        }
        if (count) sums_row(&u, 0, vectors, left, x, dy, &c, bias != NULL);
        end_run(&u, vectors, t);
    }
    for (int k = 0; k < vectors; k++) put_tally(&t[k], sums + k * V, n, left);
}

void LTI_FN(channel_norm_sums)(int64_t rows, int64_t n, const R *x, const R *dy, const R *mean, const R *scale,
                               const R *bias, double *sums)
{
#define STRIP(vectors, left, with)                                                                                     \
    sums_strip(vectors, left, count, n, x + first * n + c, dy + first * n + c, mean + c, scale + c, with, sums + c)
    if (bias)
        EACH_STRIP(rows, n, STRIP, bias + c)
    else
        EACH_STRIP(rows, n, STRIP, NULL)
#undef STRIP
}

VI void grad_strip(int vectors, int64_t left, int64_t rows, int64_t n, const R *x, const R *dy, const R *mean,
                   const R *scale, const R *bias, const R *slope, const R *offset, R *dx)
{
    vf m[MOST], s[MOST], b[MOST], a[MOST], o[MOST];
    for (int k = 0; k < vectors; k++) {
        m[k] = v_get(mean + k * V, left);
        s[k] = v_get(scale + k * V, left);
        b[k] = bias ? v_get(bias + k * V, left) : v_zero();
        a[k] = v_get(slope + k * V, left);
        o[k] = v_get(offset + k * V, left);
    }
    for (int64_t r = 0; r < rows; r++, x += n, dy += n, dx += n)
        for (int k = 0; k < vectors; k++) {
            vf d = v_sub(v_get(x + k * V, left), m[k]), g = v_get(dy + k * V, left);
            if (bias) g = cut(g, d, s[k], b[k]);
            v_put(dx + k * V, v_fma(g, s[k], v_fma(d, a[k], o[k])), left);
        }
}

void LTI_FN(channel_norm_grad)(int64_t rows, int64_t n, const R *x, const R *dy, const R *mean, const R *scale,
                               const R *bias, const R *slope, const R *offset, R *dx)
{
#define STRIP(vectors, left, with)                                                                                     \
    grad_strip(vectors, left, count, n, x + first * n + c, dy + first * n + c, mean + c, scale + c, with, slope + c,   \
               offset + c, dx + first * n + c)
    if (bias)
        EACH_STRIP(rows, n, STRIP, bias + c)
    else
        EACH_STRIP(rows, n, STRIP, NULL)
#undef STRIP
}

void LTI_FN(running_average)(int64_t n, R keep, R rate, const R *x, R *y)
{
    vf k = v_set(keep), r = v_set(rate);
    LTI_EACH (i, left, n) v_put(y + i, v_add(v_mul(k, v_get(y + i, left)), v_mul(r, v_get(x + i, left))), left);
}
