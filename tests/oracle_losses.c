/* oracle_losses.c - formulas of losses, batch and group norm, running averages. */
#include "tests/oracle_ops.h"

#include <math.h>

static double plus(double x)
{
    return x > 0 ? x : 0;
}

TS_FORMULA(batch_norm)
{
    ts_make(y, x->rank, x->dim);
    int64_t n = ts_dim(x, -1), rows = x->count / n;
    for (int64_t j = 0; j < n; j++) {
        double mean = 0, variance = 0;
        for (int64_t r = 0; r < rows; r++) mean += x->v[r * n + j] / (double)rows;
        for (int64_t r = 0; r < rows; r++)
            variance += (x->v[r * n + j] - mean) * (x->v[r * n + j] - mean) / (double)rows;
        if (c->flags & 1) {
            mean = x[3].v[j];
            variance = x[4].v[j];
        }
        for (int64_t r = 0; r < rows; r++) {
            double v = (x->v[r * n + j] - mean) / sqrt(variance + c->number) * x[1].v[j] + x[2].v[j];
            y->v[r * n + j] = c->flags & 2 ? plus(v) : v;
        }
    }
}

TS_FORMULA(group_norm)
{
    ts_make(y, x->rank, x->dim);
    int64_t C = ts_dim(x, -1), D = C / c->arg[0], size = x->count / x->dim[0], positions = size / C;
    for (int64_t b = 0; b < x->dim[0]; b++)
        for (int64_t first = 0; first < C; first += D) {
            const double *at = x->v + b * size + first;
            double mean = 0, variance = 0, count = (double)(positions * D);
            for (int64_t p = 0; p < positions; p++)
                for (int64_t d = 0; d < D; d++) mean += at[p * C + d] / count;
            for (int64_t p = 0; p < positions; p++)
                for (int64_t d = 0; d < D; d++) variance += (at[p * C + d] - mean) * (at[p * C + d] - mean) / count;
            for (int64_t p = 0; p < positions; p++)
                for (int64_t d = 0; d < D; d++)
                    y->v[b * size + p * C + first + d] =
                        (at[p * C + d] - mean) / sqrt(variance + c->number) * x[1].v[first + d] + x[2].v[first + d];
        }
}

TS_FORMULA(running_average)
{
    ts_make(y, x->rank, x->dim);
    for (int64_t i = 0; i < x->count; i++) y->v[i] = (1 - c->number) * x[0].v[i] + c->number * x[1].v[i];
}

TS_FORMULA(cross_entropy_smooth)
{
    ts_make(y, 0, NULL);
    int64_t n = ts_dim(x, -1), rows = 0;
    for (int64_t r = 0; r < x->count / n; r++) {
        if (x[1].v[r] < 0) continue;
        const double *z = x->v + r * n;
        double top = -INFINITY, sum = 0;
        for (int64_t j = 0; j < n; j++) top = fmax(top, z[j]);
        for (int64_t j = 0; j < n; j++) sum += exp(z[j] - top);
        for (int64_t j = 0; j < n; j++) {
            double p = (1 - c->number) * (j == (int64_t)x[1].v[r]) + c->number / (double)n;
            y->v[0] -= p * (z[j] - top - log(sum));
        }
        rows++;
    }
    y->v[0] /= c->n > 2 ? x[2].v[0] : (double)rows;
}

/* From the definition, each logarithm of a sigmoid by itself: log s(z) = -log(1 + e^-z). */
TS_FORMULA(bce)
{
    (void)c;
    ts_make(y, 0, NULL);
    for (int64_t i = 0; i < x->count; i++) {
        double z = x[0].v[i], t = x[1].v[i];
        double log_yes = z < -700 ? z : -log1p(exp(-z)), log_no = z > 700 ? -z : -log1p(exp(z));
        y->v[0] -= (t * log_yes + (1 - t) * log_no) / (double)x->count;
    }
}

TS_FORMULA(hinge)
{
    ts_make(y, 0, NULL);
    int64_t n = ts_dim(x, -1), rows = 0;
    for (int64_t r = 0; r < x->count / n; r++) {
        int64_t t = (int64_t)x[1].v[r];
        if (t < 0) continue;
        rows++;
        for (int64_t j = 0; j < n; j++)
            if (j != t) y->v[0] += plus(c->number - x->v[r * n + t] + x->v[r * n + j]) / (double)n;
    }
    y->v[0] /= c->n > 2 ? x[2].v[0] : (double)rows;
}
