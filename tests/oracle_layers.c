/* oracle_layers.c - formulas of normalisation, attention, dropout and losses. */
#include "tests/oracle_ops.h"

#include "autograd/op.h"

#include <math.h>
#include <string.h>

TS_FORMULA(rms_norm)
{
    ts_make(y, x->rank, x->dim);
    int64_t n = ts_dim(x, -1);
    for (int64_t r = 0; r < x->count; r += n) {
        double squares = 0;
        for (int64_t i = 0; i < n; i++) squares += x->v[r + i] * x->v[r + i];
        for (int64_t i = 0; i < n; i++) y->v[r + i] = x->v[r + i] / sqrt(squares / (double)n + c->number) * x[1].v[i];
    }
}

TS_FORMULA(layer_norm)
{
    ts_make(y, x->rank, x->dim);
    int64_t n = ts_dim(x, -1);
    for (int64_t r = 0; r < x->count; r += n) {
        double mean = 0, variance = 0;
        for (int64_t i = 0; i < n; i++) mean += x->v[r + i] / (double)n;
        for (int64_t i = 0; i < n; i++) variance += (x->v[r + i] - mean) * (x->v[r + i] - mean) / (double)n;
        for (int64_t i = 0; i < n; i++)
            y->v[r + i] = (x->v[r + i] - mean) / sqrt(variance + c->number) * x[1].v[i] + (c->n > 2 ? x[2].v[i] : 0);
    }
}

static double log_sum_exp(int64_t n, const double *z, double temperature)
{
    double top = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) top = fmax(top, z[i] / temperature);
    for (int64_t i = 0; i < n; i++) sum += exp(z[i] / temperature - top);
    return top + log(sum);
}

TS_FORMULA(log_softmax)
{
    (void)c;
    ts_make(y, x->rank, x->dim);
    int64_t n = ts_dim(x, -1);
    for (int64_t i = 0; i < x->count; i++) y->v[i] = x->v[i] - log_sum_exp(n, x->v + i / n * n, 1);
}

TS_FORMULA(softmax)
{
    ts_formula_log_softmax(c, x, y);
    for (int64_t i = 0; i < y->count; i++) y->v[i] = exp(y->v[i]);
}

static const float stretch[] = {1, 2.5f, 8};
const lt_rope_scaling ts_rope_scaling = {.factor = 4,
                                         .low_freq_factor = 1,
                                         .high_freq_factor = 4,
                                         .beta_fast = 6,
                                         .beta_slow = 0.5,
                                         .attention_factor = 1.25,
                                         .original_context = 64,
                                         .factors = stretch};

/* Where yarn's ramp begins or ends: the dimension whose pair turns so many times. */
static double ramp_end(double turns, double theta, int64_t D)
{
    return (double)D / 2 * log(64 / (turns * 2 * acos(-1))) / log(theta);
}

static double frequency(int64_t kind, double theta, int64_t i, int64_t D)
{
    double f = pow(theta, -2.0 * (double)i / (double)D), wave = 2 * acos(-1) / f;
    double from = fmax(0, floor(ramp_end(6, theta, D))), to = fmin((double)D - 1, ceil(ramp_end(0.5, theta, D)));
    double ramp = fmax(0, fmin(1, ((double)i - from) / (to - from))), smooth = (64 / wave - 1) / (4 - 1);
    if (kind == LT_ROPE_LINEAR) return f / 4;
    if (kind == LT_ROPE_FACTORS) return f / (double)stretch[i];
    if (kind == LT_ROPE_YARN) return f / 4 * ramp + f * (1 - ramp);
    if (kind == LT_ROPE_LLAMA3 && wave > 64.0 / 1) return f / 4;
    if (kind == LT_ROPE_LLAMA3 && wave >= 64.0 / 4) return (1 - smooth) * f / 4 + smooth * f;
    return f;
}

TS_FORMULA(rope)
{
    ts_make(y, x->rank, x->dim);
    int64_t T = x->dim[1], H = x->dim[2], D = x->dim[3];
    double first = c->n > 1 ? x[1].v[0] : 0, size = c->arg[0] == LT_ROPE_YARN ? 1.25 : 1;
    for (int64_t r = 0; r < x->count / D; r++) {
        double position = first + (double)(r / H % T);
        for (int64_t i = 0; i < D / 2; i++) {
            double angle = position * frequency(c->arg[0], c->number, i, D);
            int64_t a = r * D + (c->flags & 1 ? 2 * i : i), b = c->flags & 1 ? a + 1 : a + D / 2;
            y->v[a] = size * (x->v[a] * cos(angle) - x->v[b] * sin(angle));
            y->v[b] = size * (x->v[a] * sin(angle) + x->v[b] * cos(angle));
        }
    }
}

/* Whether query t of batch row b sees key j. */
static bool sees(const ts_case *c, const ts_tensor *x, int64_t b, int64_t t, int64_t j)
{
    bool spans = c->flags & 2;
    int64_t T = x->dim[1], position = c->n - spans > 3 ? (int64_t)x[3].v[0] + t : x[1].dim[1] - T + t;
    if (c->flags & 1 && j > position) return false;
    if (c->arg[0] > 0 && j <= position - c->arg[0]) return false;
    const double *span = spans ? x[c->n - 1].v + (b * T + t) * 2 : NULL;
    return !spans || ((double)j >= span[0] && (double)j < span[1]);
}

TS_FORMULA(attention)
{
    ts_make(y, x->rank, x->dim);
    int64_t T = x->dim[1], H = x->dim[2], D = x->dim[3], S = x[1].dim[1], G = x[1].dim[2];
    double scale = c->number != 0 ? c->number : 1 / sqrt((double)D);
    for (int64_t r = 0; r < x->count / D; r++) {
        int64_t b = r / (T * H), t = r / H % T, g = r % H / (H / G);
        const double *q = x->v + r * D, *k = x[1].v + (b * S * G + g) * D, *v = x[2].v + (b * S * G + g) * D;
        double sum = 0; /* numbers are small: no maximum need be taken off */
        for (int64_t j = 0; j < S; j++) {
            double s = 0;
            for (int64_t i = 0; i < D; i++) s += scale * q[i] * k[j * G * D + i];
            double p = sees(c, x, b, t, j) ? exp(s) : 0;
            sum += p;
            for (int64_t i = 0; i < D; i++) y->v[r * D + i] += p * v[j * G * D + i];
        }
        for (int64_t i = 0; i < D && sum > 0; i++) y->v[r * D + i] /= sum;
    }
}

/* What lti_random_stream gives the first random node of the scope: asked of a graph of its own. */
static uint32_t dropout_stream(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_graph *g = NULL;
    uint32_t stream = 0;
    if (ctx && lt_graph_create(ctx, NULL, &g) == LT_OK) {
        lt_scope(g, TS_DROPOUT_SCOPE);
        stream = lti_random_stream(g);
    }
    lt_graph_free(g);
    lt_ctx_free(ctx);
    return stream;
}

TS_FORMULA(dropout)
{
    ts_make(y, x->rank, x->dim);
    lti_rng rng = {TS_DROPOUT_SEED, dropout_stream(), TS_STEP};
    for (int64_t i = 0; i < x->count; i++)
        y->v[i] = lti_rng_word(&rng, (uint64_t)i) >= c->number * 4294967296.0 ? x->v[i] / (1 - c->number) : 0;
}

TS_FORMULA(cross_entropy)
{
    ts_make(y, 0, NULL);
    int64_t n = ts_dim(x, -1), rows = 0;
    for (int64_t r = 0; r < x->count / n; r++) {
        if (x[1].v[r] < 0) continue;
        const double *z = x->v + r * n;
        rows++;
        y->v[0] += log_sum_exp(n, z, 1) - z[(int64_t)x[1].v[r]];
    }
    y->v[0] /= c->n > 2 ? x[2].v[0] : (double)rows;
}

TS_FORMULA(mse)
{
    (void)c;
    ts_make(y, 0, NULL);
    for (int64_t i = 0; i < x->count; i++) {
        double gap = x[0].v[i] - x[1].v[i];
        y->v[0] += gap * gap / (double)x->count;
    }
}

/* T^2 KL(softmax(p/T) || softmax(q/T)) of one row. */
static double kl_row(int64_t n, const double *q, const double *p, double T)
{
    double lq = log_sum_exp(n, q, T), lp = log_sum_exp(n, p, T), sum = 0;
    for (int64_t i = 0; i < n; i++) sum += exp(p[i] / T - lp) * ((p[i] / T - lp) - (q[i] / T - lq));
    return T * T * sum;
}

TS_FORMULA(kl_div)
{
    ts_make(y, 0, NULL);
    int64_t n = ts_dim(x, -1), rows = x->count / n;
    for (int64_t r = 0; r < rows; r++) y->v[0] += kl_row(n, x[0].v + r * n, x[1].v + r * n, c->number) / (double)rows;
}

TS_FORMULA(head_loss)
{
    const ts_tensor *target = c->flags & 1 ? &x[2] : NULL;
    const ts_tensor *teacher = c->flags & 2 ? &x[2 + (target != NULL)] : NULL;
    const ts_tensor *norm = c->flags & 4 ? &x[2 + (target != NULL) + (teacher != NULL)] : NULL;
    const ts_case product = {.n = 2, .flags = LT_TRANSPOSE_B};
    ts_tensor z;
    ts_formula_matmul(&product, x, &z);
    ts_make(y, 0, NULL);
    int64_t n = ts_dim(&z, -1), rows = 0;
    for (int64_t r = 0; r < z.count / n; r++) {
        const double *row = z.v + r * n;
        if (target && target->v[r] < 0) continue;
        rows++;
        if (target) y->v[0] += TS_HEAD_CE_WEIGHT * (log_sum_exp(n, row, 1) - row[(int64_t)target->v[r]]);
        if (teacher) y->v[0] += TS_HEAD_KL_WEIGHT * kl_row(n, row, teacher->v + r * n, c->number);
    }
    y->v[0] /= norm ? norm->v[0] : (double)rows;
    ts_drop(&z);
}
