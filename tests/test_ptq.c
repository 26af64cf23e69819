/* test_ptq.c - rounding matrices after training: GPTQ against the paper's walk with an inverse, in double; searched
 * scales against every scale; grids of lattices; the Cholesky factor; files of tensors. Whole models are in
 * test_ptq_models.c. */
#include "kernels/lattice/lattice.h"
#include "lathe/gguf.h"
#include "lathe/ptq.h"
#include "qat/rounding.h"
#include "tests/data_files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Linear algebra ---- */

/* a [n, n]: x x' summed over `rank` random x, times sizes that differ from column to column. */
static void random_gram(const char *name, int64_t n, int64_t rank, double *a)
{
    double *x = calloc((size_t)(n * rank) + 1, sizeof *x);
    for (int64_t i = 0; x && i < n * rank; i++)
        x[i] = ts_normal(name, i) * exp(ts_normal("sizes", i % n)) + 0.3 * ts_normal("shared", i / n);
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < n; k++) {
            a[i * n + k] = 0;
            for (int64_t r = 0; x && r < rank; r++) a[i * n + k] += x[r * n + i] * x[r * n + k];
        }
    free(x);
}

/* The lower triangles of l times inverse against the identity. */
static double off_identity(int64_t n, const double *l, const double *inverse)
{
    double far = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k <= i; k++) {
            double sum = 0;
            for (int64_t p = k; p <= i; p++) sum += l[i * n + p] * inverse[p * n + k];
            far = fmax(far, fabs(sum - (i == k)));
        }
    return far;
}

static void cholesky(void)
{
    static const int64_t sizes[] = {1, 2, 7, 64, 65, 150};
    for (int s = 0; s < 6; s++) {
        int64_t n = sizes[s];
        double *a = calloc((size_t)(n * n), sizeof *a), *l = calloc((size_t)(n * n), sizeof *l), far = 0;
        double *inverse = calloc((size_t)(n * n), sizeof *inverse);
        random_gram("chol", n, 2 * n + 3, a);
        memcpy(l, a, (size_t)(n * n) * sizeof *a);
        TS_CHECK(lti_cholesky(n, l), "n = %lld has a factor", (long long)n);
        for (int64_t i = 0; i < n; i++)
            for (int64_t k = 0; k <= i; k++) {
                double sum = 0;
                for (int64_t p = 0; p <= k; p++) sum += l[i * n + p] * l[k * n + p];
                far = fmax(far, fabs(sum - a[i * n + k]) / (1 + fabs(a[i * n + k])));
            }
        TS_CHECK(far < 1e-10, "n = %lld: L L' is off by %g", (long long)n, far);
        memcpy(inverse, l, (size_t)(n * n) * sizeof *l);
        TS_CHECK(lti_invert_lower(n, inverse), "n = %lld: the factor has an inverse", (long long)n);
        far = off_identity(n, l, inverse);
        TS_CHECK(far < 1e-10, "n = %lld: L times its inverse is off by %g", (long long)n, far);
        static const double bad[] = {-1, 0, NAN, INFINITY};
        for (int i = 0; i < LTI_COUNT(bad); i++) {
            memcpy(l, a, (size_t)(n * n) * sizeof *a);
            l[n * n - 1] = bad[i];
            TS_CHECK(!lti_cholesky(n, l), "n = %lld: no factor with %g on the diagonal", (long long)n, bad[i]);
        }
        free(a), free(l), free(inverse);
    }
}

/* The inverse by Gauss and Jordan with a pivot on the diagonal: positive definite matrices need no other. */
static void invert(int64_t n, double *a)
{
    for (int64_t p = 0; p < n; p++) {
        double d = 1 / a[p * n + p];
        a[p * n + p] = 1;
        for (int64_t k = 0; k < n; k++) a[p * n + k] *= d;
        for (int64_t i = 0; i < n; i++) {
            double f = a[i * n + p];
            if (i == p) continue;
            a[i * n + p] = 0;
            for (int64_t k = 0; k < n; k++) a[i * n + k] -= f * a[p * n + k];
        }
    }
}

/* ---- GPTQ, from the paper ---- */

typedef struct walk_case {
    const char *what;
    lt_scheme scheme;
    int64_t rows, columns, rank;
    bool act_order;
    int64_t dead; /* a column that nothing came through; -1 */
} walk_case;

/* Column by column in the given order; after each, the inverse of H without it (OBQ's update), which needs no factor. */
static void oracle_walk(const walk_case *c, const lt_real *w, const double *gram, double *values)
{
    int64_t K = c->columns, group = c->scheme.per == LT_PER_GROUP ? c->scheme.group : K;
    double *h = calloc((size_t)(K * K), sizeof *h), *now = calloc((size_t)(c->rows * K), sizeof *now), mean = 0;
    lti_grid_attr attr = lti_grid_attr_of(&c->scheme, LT_SCALE_MSE);
    int64_t *order = calloc((size_t)K, sizeof *order), per_row = (K - 1) / group + 1;
    lti_grid *grids = calloc((size_t)(c->rows * per_row), sizeof *grids);
    lt_real *x = calloc((size_t)K, sizeof *x), *squares = calloc((size_t)K, sizeof *squares);
    double largest = 0;
    for (int64_t i = 0; i < K; i++) largest = fmax(largest, gram[i * K + i]);
    for (int64_t i = 0; i < K; i++) squares[i] = (lt_real)fmax(gram[i * K + i] / largest, 1e-8);
    for (int64_t i = 0; i < K; i++) order[i] = i, mean += gram[i * (K + 1)] / (double)K;
    for (int64_t i = 0; c->act_order && i < K; i++) /* selection sort: the largest that is left, the first of equals */
        for (int64_t k = K - 1; k > i; k--)
            if (gram[order[k] * (K + 1)] > gram[order[k - 1] * (K + 1)]) {
                int64_t t = order[k];
                order[k] = order[k - 1], order[k - 1] = t;
            }
    memcpy(h, gram, (size_t)(K * K) * sizeof *h);
    for (int64_t i = 0; i < K; i++) h[i * (K + 1)] = (h[i * (K + 1)] == 0 ? 1 : h[i * (K + 1)]) + 0.01 * mean;
    invert(K, h);
    for (int64_t i = 0; i < c->rows * K; i++) now[i] = (double)w[i];
    bool early = c->act_order || c->scheme.per != LT_PER_GROUP;
    for (int64_t at = 0; at < K; at++) {
        int64_t p = order[at], first = p / group * group, n = K - first < group ? K - first : group;
        for (int64_t r = 0; r < c->rows; r++) {
            lti_grid *g = &grids[r * per_row + p / group];
            if (early || p == first) {
                lt_real scale, offset;
                for (int64_t k = 0; k < n; k++) x[k] = early ? w[r * K + first + k] : (lt_real)now[r * K + first + k];
                lti_search_scale(&attr, n, x, squares + first, &scale, &offset);
                *g = lti_grid_make(&attr, scale, offset);
            }
            double code = rint(now[r * K + p] * (double)g->inverse);
            code = fmin(fmax(code, (double)g->lo), (double)g->hi);
            values[r * K + p] = code * (double)g->scale;
            double error = (now[r * K + p] - values[r * K + p]) / h[p * (K + 1)];
            for (int64_t k = 0; k < K; k++) now[r * K + k] -= error * h[p * K + k];
        }
        for (int64_t i = 0; i < K; i++) /* the inverse of H without row and column p */
            for (int64_t k = 0; k < K; k++)
                if (i != p && k != p) h[i * K + k] -= h[i * K + p] * h[p * K + k] / h[p * (K + 1)];
        for (int64_t i = 0; i < K; i++)
            if (i != p) h[i * K + p] = h[p * K + i] = 0;
    }
    free(h), free(now), free(order), free(grids), free(x), free(squares);
}

/* sum d H d' */
static double loss_of(const walk_case *c, const lt_real *w, const double *gram, const double *values)
{
    int64_t K = c->columns;
    double sum = 0;
    for (int64_t r = 0; r < c->rows; r++)
        for (int64_t i = 0; i < K; i++)
            for (int64_t k = 0; k < K; k++)
                sum += (values[r * K + i] - (double)w[r * K + i]) * gram[i * K + k] *
                       (values[r * K + k] - (double)w[r * K + k]);
    return sum;
}

typedef struct walk_room {
    lt_real *w, *values, *start, *nearest;
    double *gram, *wanted, *real;
    uint8_t *codes;
    lti_inputs in;
    lti_rounding r;
} walk_room;

static walk_room open_walk(lt_ctx *ctx, const walk_case *c)
{
    size_t n = (size_t)(c->rows * c->columns), K = (size_t)c->columns;
    walk_room m = {.w = calloc(n, sizeof(lt_real)), .values = calloc(n, sizeof(lt_real))};
    m.start = calloc(n, sizeof(lt_real)), m.nearest = calloc(n, sizeof(lt_real));
    m.gram = calloc(K * K, sizeof(double)), m.wanted = calloc(n, sizeof(double)), m.real = calloc(n, sizeof(double));
    m.codes = calloc(n, 2);
    ts_fill_normal(c->what, (int64_t)n, 0.05, m.w);
    random_gram(c->what, c->columns, c->rank, m.gram);
    for (int64_t i = 0; c->dead >= 0 && i < c->columns; i++)
        m.gram[c->dead * c->columns + i] = m.gram[i * c->columns + c->dead] = 0;
    m.in = (lti_inputs){.columns = c->columns, .positions = (double)c->rank, .gram = m.gram};
    m.r = (lti_rounding){.ctx = ctx, .name = c->what, .scheme = c->scheme, .rows = c->rows, .columns = c->columns};
    m.r.w = m.w, m.r.values = m.values, m.r.codes = c->scheme.kind == LT_SCHEME_TYPE ? m.codes : NULL;
    return m;
}

static void close_walk(walk_room *m)
{
    free(m->w), free(m->values), free(m->start), free(m->nearest);
    free(m->gram), free(m->wanted), free(m->real), free(m->codes);
}

static double loss_of_real(const walk_case *c, walk_room *m, const lt_real *values)
{
    for (int64_t i = 0; i < c->rows * c->columns; i++) m->real[i] = (double)values[i];
    return loss_of(c, m->w, m->gram, m->real);
}

static void gptq_is_the_papers(void)
{
    const lt_scheme groups = {.kind = LT_SCHEME_INT, .bits = 4, .per = LT_PER_GROUP, .group = 8};
    const lt_scheme wide = {.kind = LT_SCHEME_INT, .bits = 3, .per = LT_PER_GROUP, .group = 32};
    const lt_scheme asym = {.kind = LT_SCHEME_INT, .bits = 3, .per = LT_PER_GROUP, .group = 16, .asymmetric = true};
    const lt_scheme rows = {.kind = LT_SCHEME_INT, .bits = 4, .per = LT_PER_CHANNEL};
    const walk_case cases[] = {
        {"groups", groups, 5, 24, 40, false, -1},    {"ragged", groups, 3, 29, 60, false, -1},
        {"blocks", wide, 4, 172, 200, false, -1},    {"asymmetric", asym, 3, 40, 50, false, -1},
        {"rows", rows, 4, 150, 160, false, -1},      {"ordered", wide, 4, 172, 200, true, -1},
        {"few inputs", groups, 3, 32, 4, false, -1}, {"a dead column", groups, 3, 24, 40, false, 9},
        {"one column", rows, 2, 1, 3, false, -1}};
    lt_ctx *ctx = lt_ctx_create(NULL);
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        const walk_case *c = &cases[i];
        walk_room m = open_walk(ctx, c);
        int64_t n = c->rows * c->columns, other = 0;
        oracle_walk(c, m.w, m.gram, m.wanted);
        TS_OK(ctx, lti_round_gptq(&m.r, &m.in, &(lti_gptq_options){0.01, c->act_order}, m.start));
        for (int64_t k = 0; k < n; k++) other += fabs((double)m.values[k] - m.wanted[k]) > 1e-5;
        double got = loss_of_real(c, &m, m.values), wanted = loss_of(c, m.w, m.gram, m.wanted);
        /* a tie of rounding in float may go the other way, and what follows with it */
        TS_CHECK(other <= (sizeof(lt_real) == 8 ? 0 : n / 8) && fabs(got - wanted) <= 0.05 * wanted + 1e-12,
                 "%s: %lld of %lld differ, loss %g for %g", c->what, (long long)other, (long long)n, got, wanted);
        lti_rounding plain = m.r;
        plain.values = m.nearest;
        TS_OK(ctx, lti_round_nearest(&plain));
        TS_CHECK(got <= loss_of_real(c, &m, m.nearest) * 1.0001, "%s: better than to nearest", c->what);
        close_walk(&m);
    }
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "nothing leaks");
    lt_ctx_free(ctx);
}

static void gptq_on_lattices(void)
{
    static const lt_dtype types[] = {LT_Q4_0, LT_Q4_1, LT_Q5_0, LT_Q5_1, LT_Q8_0,
                                     LT_Q2_K, LT_Q3_K, LT_Q4_K, LT_Q5_K, LT_Q6_K};
    lt_ctx *ctx = lt_ctx_create(NULL);
    for (int i = 0; i < 2 * LTI_COUNT(types); i++) {
        lt_dtype type = types[i / 2];
        walk_case c = {lt_dtype_name(type), lt_scheme_of(type), 4, 512, 80, i % 2 == 1, -1};
        walk_room m = open_walk(ctx, &c);
        TS_CHECK(lti_gptq_knows(&c.scheme), "%s is known", c.what);
        TS_OK(ctx, lti_round_gptq(&m.r, &m.in, &(lti_gptq_options){0.01, c.act_order}, NULL));
        double got = loss_of_real(&c, &m, m.values);
        lt_real *read = m.start;
        lti_dequantize(type, 4 * 512, m.codes, read);
        TS_CHECK(ts_same_bytes(4 * 512 * sizeof *read, read, m.values), "%s: the values are the codes'", c.what);
        lti_rounding plain = m.r;
        plain.values = m.nearest;
        TS_OK(ctx, lti_round_nearest(&plain));
        double nearest = loss_of_real(&c, &m, m.nearest);
        TS_CHECK(got < nearest, "%s%s: loss %g, to nearest %g", c.what, c.act_order ? ", ordered" : "", got, nearest);
        close_walk(&m);
    }
    lt_scheme others[] = {lt_scheme_of(LT_MXFP4), lt_scheme_of(LT_NF4), lt_scheme_of(LT_TQ2_0), lt_scheme_of(LT_F16)};
    for (int i = 0; i < 4; i++) TS_CHECK(!lti_gptq_knows(&others[i]), "%s is not", lt_dtype_name(others[i].type));
    lt_ctx_free(ctx);
}

static void gptq_refuses(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    walk_case c = {"bad", {.kind = LT_SCHEME_INT, .bits = 4, .per = LT_PER_CHANNEL}, 2, 8, 20, false, -1};
    walk_room m = open_walk(ctx, &c);
    m.gram[9] = NAN;
    TS_CHECK(lti_round_gptq(&m.r, &m.in, &(lti_gptq_options){0.01, false}, NULL) == LT_EINVAL &&
                 strstr(lt_ctx_message(ctx), "'bad'"),
             "inputs that are not finite: %s", lt_ctx_message(ctx));
    memset(m.gram, 0, 64 * sizeof *m.gram);
    TS_OK(ctx, lti_round_gptq(&m.r, &m.in, &(lti_gptq_options){0, false}, NULL)); /* nothing was read: all alike */
    close_walk(&m);
    lt_ctx_free(ctx);
}

/* ---- Scales ---- */

/* The error of a symmetric grid, from its formula. */
static double scale_error(int64_t n, const lt_real *x, const lt_real *h, double s, double q)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double c = rint((double)x[i] / s), d;
        c = c > q ? q : c < -q ? -q : c;
        d = c * s - (double)x[i];
        sum += (double)h[i] * d * d;
    }
    return sum;
}

static void searched_scales(void)
{
    lt_real x[64], h[64], scale, offset;
    for (int bits = 2; bits <= 8; bits += 2) {
        lt_scheme s = {.kind = LT_SCHEME_INT, .bits = bits, .per = LT_PER_CHANNEL};
        lti_grid_attr attr = lti_grid_attr_of(&s, LT_SCALE_MSE);
        double q = (double)((1 << (bits - 1)) - 1), best = INFINITY, most = 0;
        for (int i = 0; i < 64; i++) {
            x[i] = (lt_real)ts_normal("scales", 64 * bits + i);
            h[i] = (lt_real)exp(2 * ts_normal("weights", 64 * bits + i));
            most = fmax(most, fabs((double)x[i]));
        }
        for (int i = 1; i <= 4000; i++) best = fmin(best, scale_error(64, x, h, most / q * i / 3000, q));
        lti_search_scale(&attr, 64, x, h, &scale, &offset);
        double got = scale_error(64, x, h, (double)scale, q);
        TS_CHECK(got <= (bits < 8 ? 1.1 : 1.5) * best + 1e-9, "%d bits: error %g, the best of all scales has %g", bits,
                 got, best);
        TS_CHECK(got <= scale_error(64, x, h, most / q, q) * 1.000001, "%d bits: no worse than absmax", bits);
    }
    memset(x, 0, sizeof x);
    lt_scheme s = {.kind = LT_SCHEME_INT, .bits = 4, .per = LT_PER_CHANNEL, .asymmetric = true};
    lti_grid_attr attr = lti_grid_attr_of(&s, LT_SCALE_MSE);
    lti_search_scale(&attr, 64, x, h, &scale, &offset);
    lti_grid g = lti_grid_make(&attr, scale, offset);
    TS_CHECK(g.scale == 0 || g.inverse == 0, "zeros stay zeros");
}

/* Searched blocks are never worse than plain ones; with importance the columns that count are nearer. */
static void searched_weights(void)
{
    static const lt_dtype types[] = {LT_Q4_0, LT_Q4_1, LT_Q5_0, LT_Q2_K, LT_Q3_K, LT_Q4_K, LT_Q6_K, LT_NF4};
    lt_ctx *ctx = lt_ctx_create(NULL);
    for (int i = 0; i <= LTI_COUNT(types); i++) {
        bool integers = i == LTI_COUNT(types), searched;
        lt_scheme s = integers ? (lt_scheme){.kind = LT_SCHEME_INT, .bits = 3, .per = LT_PER_GROUP, .group = 32}
                               : lt_scheme_of(types[i]);
        walk_case c = {"searched", s, 8, 512, 8, false, -1};
        walk_room m = open_walk(ctx, &c);
        double importance[512], error[3] = {0}, *to = error;
        lti_inputs in = {.columns = 512, .positions = 3, .squares = importance};
        for (int k = 0; k < 512; k++) importance[k] = exp(2 * ts_normal("importance", k));
        for (int how = 0; how < 3; how++, to++) {
            if (how == 0) TS_OK(ctx, lti_round_nearest(&m.r));
            if (how > 0) TS_OK(ctx, lti_round_searched(&m.r, how == 1 ? NULL : &in, &searched));
            for (int k = 0; k < 8 * 512; k++) {
                double d = (double)m.values[k] - (double)m.w[k];
                *to += d * d * (how == 1 ? 1 : importance[k % 512]);
            }
        }
        bool knows = integers || types[i] != LT_NF4;
        TS_CHECK(searched == knows, "type %d: searched: %d", i, searched);
        double plain = 0;
        TS_OK(ctx, lti_round_nearest(&m.r));
        for (int k = 0; k < 8 * 512; k++) plain += pow((double)m.values[k] - (double)m.w[k], 2);
        TS_CHECK(error[1] <= plain, "type %d: searched %g, plain %g", i, error[1], plain);
        TS_CHECK(!knows || error[2] < error[0], "type %d: by importance %g, plain %g", i, error[2], error[0]);
        close_walk(&m);
    }
    lt_ctx_free(ctx);
}

/* Numbers that are on a block's grids become the very codes they came from. */
static void lattice_grids(void)
{
    static const lt_dtype types[] = {LT_Q4_0, LT_Q4_1, LT_Q5_0, LT_Q5_1, LT_Q8_0,
                                     LT_Q2_K, LT_Q3_K, LT_Q4_K, LT_Q5_K, LT_Q6_K};
    for (int i = 0; i < LTI_COUNT(types); i++) {
        lt_dtype type = types[i];
        int64_t n = lt_dtype_block(type), unit = lti_lattice_unit(type), off = 0;
        for (int trial = 0; trial < 50; trial++) {
            lt_real x[256], y[256], again[256];
            uint8_t block[512] = {0}, packed[512];
            lti_grid grids[16];
            ts_fill_normal(lt_dtype_name(type), n, trial == 7 ? 0 : trial == 8 ? 1e4 : 0.05, x);
            for (int k = 0; k < n && trial == 9; k++) x[k] = (lt_real)fabs((double)x[k]);
            x[trial % n] *= 3;
            lti_quantize(type, n, x, block);
            lti_dequantize(type, n, block, y);
            lti_lattice_grids(type, block, grids);
            for (int64_t k = 0; k < n; k++) {
                const lti_grid *g = &grids[k / unit];
                double code = rint((double)((y[k] - g->offset) * g->inverse));
                off += code < (double)g->lo || code > (double)g->hi;
                off += fabs(code * (double)g->scale + (double)g->base - (double)y[k]) > 1e-5 * (1 + fabs((double)y[k]));
            }
            memcpy(packed, block, sizeof packed);
            lti_lattice_pack(type, y, grids, packed);
            lti_dequantize(type, n, packed, again);
            TS_CHECK(ts_same_bytes((size_t)n * sizeof *y, y, again), "%s: trial %d packs the same", lt_dtype_name(type),
                     trial);
        }
        TS_CHECK(off == 0, "%s: %lld numbers are off their grids", lt_dtype_name(type), (long long)off);
    }
}

/* ---- Files of tensors ---- */

static void tensor_files(void)
{
    ts_place p = ts_open_place();
    lt_quant_policy policy;
    lt_real w[64 * 32], v[10];
    lt_ptq_config c;
    lt_ptq *done;
    lt_quant_policy_init(&policy);
    policy.weights = lt_scheme_of(LT_Q4_0);
    ts_fill_normal("w", 64 * 32, 1, w);
    ts_fill_normal("v", 10, 1, v);
    const lt_tensor_entry entries[] = {
        {.name = "encoder/w", .dtype = LT_STORED_F32, .rank = 2, .shape = (int64_t[]){64, 32}, .real = w},
        {.name = "v", .dtype = LT_STORED_F32, .rank = 1, .shape = (int64_t[]){10}, .real = v}};
    char in[600], out[600];
    snprintf(in, sizeof in, "%s", ts_at(&p, "in.safetensors"));
    lt_ptq_config_init(&c);
    TS_OK(p.ctx, lt_tensors_write(p.ctx, in, entries, 2, NULL, 0, NULL));
    for (int i = 0; i < 2; i++) {
        int count = 0;
        snprintf(out, sizeof out, "%s", ts_at(&p, i ? "out.safetensors" : "out.gguf"));
        c.method = i ? LT_PTQ_MSE : LT_PTQ_RTN;
        if (!TS_OK(p.ctx, lt_ptq_tensors_file(p.ctx, in, out, &policy, &c, &done))) continue;
        const lt_ptq_tensor *t = lt_ptq_tensors(done, &count);
        TS_CHECK(count == 1 && !strcmp(t->name, "encoder/w") && t->bytes == 64 * 18, "%d tensors", count);
        lt_ptq_free(done);
    }
    lt_gguf *g;
    if (TS_OK(p.ctx, lt_gguf_open(p.ctx, ts_at(&p, "out.gguf"), &g))) {
        int k = lt_gguf_find(g, "encoder/w");
        TS_CHECK(k >= 0 && lt_gguf_tensor(g, k)->type == LT_Q4_0 && lt_gguf_find(g, "v") >= 0, "both are in the file");
        lt_gguf_close(g);
    }
    c.method = LT_PTQ_GPTQ;
    TS_REFUSED(p.ctx, lt_ptq_tensors_file(p.ctx, in, out, &policy, &c, &done), LT_EINVAL, "rtn or mse");
    c.method = LT_PTQ_RTN;
    TS_REFUSED(p.ctx, lt_ptq_tensors_file(p.ctx, in, "x.h5", &policy, &c, &done), LT_EINVAL, ".gguf");
    policy.targets = "nothing";
    TS_REFUSED(p.ctx, lt_ptq_tensors_file(p.ctx, in, out, &policy, &c, &done), LT_EINVAL, "none of its 2");
    ts_close_place(&p);
}

int lti_suite_ptq(void)
{
    const ts_test tests[] = {{"cholesky", cholesky},
                             {"gptq is the paper's", gptq_is_the_papers},
                             {"gptq on lattices", gptq_on_lattices},
                             {"gptq refuses", gptq_refuses},
                             {"searched scales", searched_scales},
                             {"searched weights", searched_weights},
                             {"lattice grids", lattice_grids},
                             {"tensor files", tensor_files}};
    return ts_suite("ptq", LTI_COUNT(tests), tests);
}
