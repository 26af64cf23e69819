/* test_compute.c - graphs that compute in bf16 (lt_compute): products and head losses against double loops over rounded
 * factors, whole networks against f32, threads bit by bit, what is rounded and what is kept; label smoothing and chunks
 * of head losses in both types; the choice of the machine's faster type. */
#include "autograd/ops/head_kind.h"
#include "kernels/compute_choice.h"
#include "kernels/gemm.h"
#include "lathe/models.h"
#include "tests/oracle_ops.h"
#include "tests/testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Products ---- */

/* y = op(a) op(b), with dy given; b without a batch is shared. */
typedef struct product {
    int64_t batch, m, n, k;
    bool shared;
    unsigned flags;
} product;

static double rounded(const lt_real *x, int64_t i)
{
    return ts_from_bf16(ts_to_bf16((double)x[i]));
}

/* Element (row, column) of x [rows, columns], or of its transpose's storage. */
static double at(const lt_real *x, bool transposed, int64_t rows, int64_t columns, int64_t r, int64_t c)
{
    return rounded(x, transposed ? c * rows + r : r * columns + c);
}

/* y, da and db of one batch element; db is added to. Arrays as they are stored. */
static void oracle(const product *p, const lt_real *a, const lt_real *b, const lt_real *dy, double *y, double *da,
                   double *db)
{
    bool ta = p->flags & LT_TRANSPOSE_A, tb = p->flags & LT_TRANSPOSE_B;
    for (int64_t i = 0; i < p->m; i++)
        for (int64_t j = 0; j < p->n; j++) {
            double sum = 0, g = rounded(dy, i * p->n + j);
            for (int64_t l = 0; l < p->k; l++) {
                double x = at(a, ta, p->m, p->k, i, l), w = at(b, tb, p->k, p->n, l, j);
                sum += x * w;
                da[ta ? l * p->m + i : i * p->k + l] += g * w;
                db[tb ? j * p->k + l : l * p->n + j] += g * x;
            }
            y[i * p->n + j] = sum;
        }
}

static lt_t operand(ts_bed *bed, const char *name, int64_t batch, int64_t rows, int64_t columns, bool transposed)
{
    int64_t shape[3] = {batch, transposed ? columns : rows, transposed ? rows : columns};
    return lt_param_value(bed->g, ts_weight(bed, name, 1, batch ? 3 : 2, batch ? shape : shape + 1));
}

static const lt_real *weights_of(ts_bed *bed, const char *name)
{
    return lt_param_read(lt_params_find(bed->params, name));
}

static void check_product(const product *p)
{
    ts_bed bed;
    if (!ts_bed_make(&bed)) return;
    bool ta = p->flags & LT_TRANSPOSE_A, tb = p->flags & LT_TRANSPOSE_B;
    int64_t mk = p->m * p->k, kn = p->k * p->n, mn = p->m * p->n, step_b = p->shared ? 0 : kn;
    lt_compute(bed.g, LT_BF16);
    lt_t in[2] = {operand(&bed, "a", p->batch, p->m, p->k, ta),
                  operand(&bed, "b", p->shared ? 0 : p->batch, p->k, p->n, tb)};
    lt_t dy = operand(&bed, "dy", p->batch, p->m, p->n, false), all[3], grads[2];
    all[0] = lt_matmul(in[0], in[1], p->flags);
    lt_grad_seeded(all[0], dy, 2, in, grads);
    all[1] = grads[0], all[2] = grads[1];
    double *y = calloc((size_t)(p->batch * (mn + mk + kn)), sizeof *y), *da = y + p->batch * mn;
    double *db = da + p->batch * mk;
    for (int64_t i = 0; i < p->batch; i++)
        oracle(p, weights_of(&bed, "a") + i * mk, weights_of(&bed, "b") + i * step_b, weights_of(&bed, "dy") + i * mn,
               y + i * mn, da + i * mk, db + i * step_b);
    lt_plan *plan = NULL;
    if (TS_OK(bed.ctx, ts_compile(bed.g, TS_PLANNED, 3, all, &plan)) && TS_OK(bed.ctx, lt_run(plan))) {
        double off[3] = {ts_distance(p->batch * mn, lt_result(plan, 0), y),
                         ts_distance(p->batch * mk, lt_result(plan, 1), da),
                         ts_distance((p->shared ? 1 : p->batch) * kn, lt_result(plan, 2), db)};
        for (int i = 0; i < 3; i++)
            TS_CHECK(off[i] < ts_tolerance(1e-13, 1e-6), "%lld x %lld x %lld flags %u%s: result %d is off by %g",
                     (long long)p->m, (long long)p->n, (long long)p->k, p->flags, p->shared ? " shared" : "", i,
                     off[i]);
    }
    lt_plan_free(plan);
    free(y);
    ts_bed_drop(&bed);
}

static void products(void)
{
    for (unsigned flags = 0; flags < 4; flags++) {
        check_product(&(product){.batch = 3, .m = 73, .n = 75, .k = 77, .flags = flags});
        check_product(&(product){.batch = 3, .m = 73, .n = 75, .k = 77, .flags = flags, .shared = true});
    }
    check_product(&(product){.batch = 1, .m = 300, .n = 40, .k = 100, .flags = LT_TRANSPOSE_B, .shared = true});
}

/* Three products of one x round it once, and what comes back is f32; products too small to gain stay as they are, and
 * so do lattices; bf16 values meet f32 ones in a graph that computes in f32. */
static void what_is_rounded(void)
{
    ts_bed bed;
    if (!ts_bed_make(&bed)) return;
    lt_compute(bed.g, LT_BF16);
    lt_t x = operand(&bed, "x", 0, 128, 128, false), w[3], y[4], all[7];
    const char *const names[] = {"q", "k", "v"};
    for (int i = 0; i < 3; i++) {
        w[i] = operand(&bed, names[i], 0, 128, 128, false);
        y[i] = lt_matmul(x, w[i], LT_TRANSPOSE_B);
        TS_CHECK(lt_type(y[i]) == LT_F32, "a product is f32");
    }
    y[3] = lt_sum_all(lt_square(lt_add(lt_add(y[0], y[1]), y[2])));
    lt_grad(y[3], 3, w, all);
    lt_grad(y[3], 1, &x, all + 3);
    lt_plan *plan = NULL;
    if (TS_OK(bed.ctx, ts_compile(bed.g, TS_PLANNED, 4, all, &plan)))
        TS_CHECK(ts_count_steps(&bed, plan, "cast") == 1 && ts_count_steps(&bed, plan, "derived") == 4,
                 "%d casts of one dy, %d copies of x and three weights", ts_count_steps(&bed, plan, "cast"),
                 ts_count_steps(&bed, plan, "derived"));
    lt_plan_free(plan);
    ts_bed_again(&bed);
    lt_compute(bed.g, LT_BF16);
    lt_t a = operand(&bed, "small a", 0, 31, 512, false), b = operand(&bed, "small b", 0, 512, 512, false);
    all[0] = lt_matmul(a, b, 0);
    all[1] = lt_matmul(lt_input(bed.g, "in", LT_F32, 2, (int64_t[]){512, 512}), lt_quantize(b, LT_Q8_0), 0);
    lt_compute(bed.g, LT_F32);
    lt_t c = lt_cast(b, LT_BF16), d = lt_reshape(c, 3, (int64_t[]){2, 256, 512});
    all[2] = lt_matmul(c, b, 0);
    all[3] = lt_matmul(lt_cast(d, LT_F32), d, LT_TRANSPOSE_B);
    lt_t loss = lt_sum_all(lt_matmul(d, d, LT_TRANSPOSE_B));
    lt_grad(loss, 1, &b, all + 4);
    TS_CHECK(lt_graph_status(bed.g) == LT_OK, "%s", lt_graph_message(bed.g));
    if (TS_OK(bed.ctx, ts_compile(bed.g, TS_PLANNED, 2, all, &plan)))
        TS_CHECK(ts_count_steps(&bed, plan, "cast") == 0, "small products and lattices are not rounded");
    lt_plan_free(plan);
    if (TS_OK(bed.ctx, ts_compile(bed.g, TS_PLANNED, 3, all + 2, &plan))) TS_OK(bed.ctx, lt_run(plan));
    lt_plan_free(plan);
    ts_bed_drop(&bed);
}

/* ---- Head losses ---- */

enum { ROWS = 300, V = 211, C = 40 };

typedef struct head_case {
    bool bf16, kl;
    double smoothing;
} head_case;

static double maybe_rounded(const head_case *h, const lt_real *x, int64_t i)
{
    return h->bf16 ? rounded(x, i) : (double)x[i];
}

/* loss + kl of one row of logits into *loss, d loss / dz into dz. */
static void head_row_oracle(const head_case *h, const double *z, int32_t target, const lt_real *teacher, double *loss,
                            double *dz)
{
    double lse = 0, lse2 = 0, lse3 = 0, mean = 0;
    for (int j = 0; j < V; j++) {
        lse += exp(z[j]), mean += z[j] / V;
        lse2 += exp(z[j] / 2), lse3 += exp((double)teacher[j] / 2);
    }
    *loss += log(lse) - (1 - h->smoothing) * z[target] - h->smoothing * mean;
    for (int j = 0; j < V; j++) {
        dz[j] = exp(z[j]) / lse - (j == target ? 1 - h->smoothing : 0) - h->smoothing / V;
        if (!h->kl) continue;
        double q = exp(z[j] / 2) / lse2, p = exp((double)teacher[j] / 2) / lse3;
        dz[j] += 0.5 * 2 * (q - p);
        *loss += 0.5 * 4 * p * (log(p) - log(q));
    }
}

static void head_oracle(const head_case *h, ts_bed *bed, const int32_t *target, double *loss, double *dx, double *dw)
{
    const lt_real *x = weights_of(bed, "x"), *w = weights_of(bed, "w"), *teacher = weights_of(bed, "teacher");
    int live = 0;
    for (int r = 0; r < ROWS; r++) live += target[r] >= 0;
    *loss = 0;
    for (int r = 0; r < ROWS; r++) {
        double z[V] = {0}, dz[V];
        if (target[r] < 0) continue;
        for (int j = 0; j < V; j++)
            for (int c = 0; c < C; c++) z[j] += maybe_rounded(h, x, r * C + c) * maybe_rounded(h, w, j * C + c);
        head_row_oracle(h, z, target[r], teacher + r * V, loss, dz);
        for (int j = 0; j < V; j++)
            for (int c = 0; c < C; c++) {
                dx[r * C + c] += dz[j] / live * maybe_rounded(h, w, j * C + c);
                dw[j * C + c] += dz[j] / live * maybe_rounded(h, x, r * C + c);
            }
    }
    *loss /= live;
}

static bool run_head(const head_case *h, ts_bed *bed, const int32_t *target, lt_real *out)
{
    lt_plan *plan = NULL;
    if (!ts_bed_again(bed)) return false;
    if (h->bf16) lt_compute(bed->g, LT_BF16);
    lt_t in[2] = {lt_param_value(bed->g, lt_params_find(bed->params, "x")),
                  lt_param_value(bed->g, lt_params_find(bed->params, "w"))};
    lt_t teacher = lt_param_value(bed->g, lt_params_find(bed->params, "teacher")), all[3];
    lt_head_term terms[2] = {{.kind = lt_head_cross_entropy(), .weight = 1, .smoothing = h->smoothing},
                             {.kind = lt_head_kl(), .weight = 0.5, .temperature = 2, .input = teacher}};
    terms[0].input = lt_index_input(bed->g, "target", 1, (int64_t[]){ROWS}, -1, V);
    all[0] = lt_head_loss(in[0], in[1], h->kl ? 2 : 1, terms, lt_nil(bed->g));
    lt_grad(all[0], 2, in, all + 1);
    bool ok = TS_OK(bed->ctx, ts_compile(bed->g, TS_PLANNED, 3, all, &plan)) &&
              TS_OK(bed->ctx, lt_bind(plan, "target", target)) && TS_OK(bed->ctx, lt_run(plan));
    if (ok) {
        memcpy(out, lt_result(plan, 0), sizeof *out);
        memcpy(out + 1, lt_result(plan, 1), ROWS * C * sizeof *out);
        memcpy(out + 1 + ROWS * C, lt_result(plan, 2), V * C * sizeof *out);
    }
    lt_plan_free(plan);
    return ok;
}

/* The loss alone, which is made without dz. */
static void head_without_gradient(const head_case *h, ts_bed *bed, const int32_t *target, lt_real want)
{
    lt_plan *plan = NULL;
    if (!ts_bed_again(bed)) return;
    if (h->bf16) lt_compute(bed->g, LT_BF16);
    lt_head_term term = {.kind = lt_head_cross_entropy(), .weight = 1, .smoothing = h->smoothing};
    term.input = lt_index_input(bed->g, "target", 1, (int64_t[]){ROWS}, -1, V);
    lt_t loss = lt_head_loss(lt_param_value(bed->g, lt_params_find(bed->params, "x")),
                             lt_param_value(bed->g, lt_params_find(bed->params, "w")), 1, &term, lt_nil(bed->g));
    if (TS_OK(bed->ctx, ts_compile(bed->g, TS_PLANNED, 1, &loss, &plan)) &&
        TS_OK(bed->ctx, lt_bind(plan, "target", target)) && TS_OK(bed->ctx, lt_run(plan))) {
        double got = (double)*(const lt_real *)lt_result(plan, 0);
        TS_CHECK(fabs(got - (double)want) < 1e-5, "a loss of %g without its gradient, %g with it", got, (double)want);
    }
    lt_plan_free(plan);
}

/* In one chunk, and in several of 70 rows in parts; with 1 and with 2 threads. */
static void heads(void)
{
    static const head_case cases[] = {{.bf16 = false, .smoothing = 0.1},
                                      {.bf16 = true},
                                      {.bf16 = true, .smoothing = 0.2},
                                      {.bf16 = true, .kl = true, .smoothing = 0.1},
                                      {.bf16 = false, .kl = true}};
    enum { ALL = 1 + ROWS * C + V * C };
    static lt_real got[ALL], again[ALL];
    static double dx[ROWS * C], dw[V * C];
    static int32_t target[ROWS];
    int64_t chunk = lti_head_chunk_bytes, part = lti_head_part_bytes;
    int threads = lt_threads();
    for (int r = 0; r < ROWS; r++) target[r] = r % 7 == 3 || r > 280 ? -1 : r * 31 % V;
    ts_bed bed;
    if (!ts_bed_make(&bed)) return;
    ts_weight(&bed, "x", 0.5, 2, (int64_t[]){ROWS, C});
    ts_weight(&bed, "w", 0.5, 2, (int64_t[]){V, C});
    ts_weight(&bed, "teacher", 1, 2, (int64_t[]){ROWS, V});
    for (int i = 0; i < 2 * LTI_COUNT(cases); i++) {
        const head_case *h = &cases[i / 2];
        lti_head_chunk_bytes =
            i % 2 ? 130 * V * (h->bf16 ? (int64_t)sizeof(uint16_t) : (int64_t)sizeof(lt_real)) : chunk;
        lti_head_part_bytes = i % 2 ? 70 * V * (int64_t)sizeof(lt_real) : part;
        double loss = 0, tolerance = h->bf16 ? 4e-3 : 1e-5; /* dz is rounded to 8 bits */
        memset(dx, 0, sizeof dx);
        memset(dw, 0, sizeof dw);
        head_oracle(h, &bed, target, &loss, dx, dw);
        lt_set_threads(1);
        if (!run_head(h, &bed, target, got)) break;
        double off[] = {fabs((double)got[0] - loss), ts_distance(ROWS * C, got + 1, dx),
                        ts_distance(V * C, got + 1 + ROWS * C, dw)};
        TS_CHECK(off[0] < 1e-5 * fabs(loss) && off[1] < tolerance && off[2] < tolerance,
                 "head %d: loss off by %g, dx by %g, dw by %g", i, off[0], off[1], off[2]);
        lt_set_threads(2);
        if (!run_head(h, &bed, target, again)) break;
        TS_CHECK(ts_same_bytes(sizeof got, got, again), "head %d: 1 and 2 threads give different bits", i);
        if (!h->kl) head_without_gradient(h, &bed, target, got[0]);
    }
    lti_head_chunk_bytes = chunk;
    lti_head_part_bytes = part;
    lt_set_threads(threads);
    ts_bed_drop(&bed);
}

static void head_errors(void)
{
    static const struct {
        bool kl;
        double smoothing;
        const char *words;
    } wrong[] = {{false, 1, "[0, 1)"}, {false, -0.1, "[0, 1)"}, {false, NAN, "[0, 1)"}, {true, 0.1, "no targets"}};
    for (int i = 0; i < LTI_COUNT(wrong); i++) {
        ts_bed bed;
        if (!ts_bed_make(&bed)) return;
        lt_t x = operand(&bed, "x", 0, 4, 8, false), w = operand(&bed, "w", 0, 8, 8, false);
        lt_head_term term = {.kind = wrong[i].kl ? lt_head_kl() : lt_head_cross_entropy(), .weight = 1};
        term.temperature = 1, term.smoothing = wrong[i].smoothing;
        term.input =
            wrong[i].kl ? operand(&bed, "t", 0, 4, 8, false) : lt_index_input(bed.g, "t", 1, (int64_t[]){4}, -1, 8);
        lt_head_loss(x, w, 1, &term, lt_nil(bed.g));
        TS_CHECK(lt_graph_status(bed.g) == LT_EINVAL && strstr(lt_graph_message(bed.g), wrong[i].words), "%d: %s", i,
                 lt_graph_message(bed.g));
        ts_bed_drop(&bed);
    }
}

/* ---- Whole networks ---- */

/* Records a loss over the bed's params; binds are the caller's. */
enum { MLP_ROWS = 640, T = 64, B = 4, MOST_PARAMS = 64 };

static lt_t mlp_loss(lt_graph *g, lt_params *params)
{
    lt_t y = lt_input(g, "x", LT_F32, 2, (int64_t[]){MLP_ROWS, 96});
    const char *const names[] = {"w0", "w1", "w2"};
    for (int i = 0; i < 3; i++) {
        y = lt_matmul(y, lt_param_value(g, lt_params_find(params, names[i])), LT_TRANSPOSE_B);
        if (i < 2) y = lt_silu(y);
    }
    return lt_mean_all(lt_square(y));
}

static lt_t llama_loss(lt_graph *g, const lt_model *model)
{
    int32_t vocab = (int32_t)lt_model_config(model)->vocab;
    lt_model_input in = {.tokens = lt_index_input(g, "tokens", 2, (int64_t[]){B, T}, 0, vocab)};
    lt_t targets = lt_index_input(g, "targets", 2, (int64_t[]){B, T}, -1, vocab);
    return lt_model_loss(model, g, &in, targets, lt_nil(g));
}

/* What one training graph gave: the loss, then all gradients; and its memory. */
typedef struct outcome {
    lt_real *values;
    int64_t count;
    size_t live;
} outcome;

static lt_status train_once(lt_ctx *ctx, lt_params *params, const lt_model *model, lt_dtype compute, outcome *out)
{
    static lt_real x[MLP_ROWS * 96];
    static int32_t tokens[B * T];
    lt_graph *g = NULL;
    lt_plan *plan = NULL;
    lt_t wrt[MOST_PARAMS], all[1 + MOST_PARAMS];
    int n = 0;
    LTI_TRY(lt_graph_create(ctx, params, &g));
    lt_compute(g, compute);
    all[0] = model ? llama_loss(g, model) : mlp_loss(g, params);
    for (int i = 0; i < lt_params_count(params) && n < MOST_PARAMS; i++)
        if (lt_param_trainable(lt_params_at(params, i))) wrt[n++] = lt_param_value(g, lt_params_at(params, i));
    lt_grad(all[0], n, wrt, all + 1);
    lt_status status = lt_compile(g, NULL, 1 + n, all, &plan);
    ts_fill_normal("x", MLP_ROWS * 96, 1, x);
    for (int i = 0; i < B * T; i++) tokens[i] = i * 37 % 250;
    if (status == LT_OK && !model) status = lt_bind(plan, "x", x);
    if (status == LT_OK && model) status = lt_bind(plan, "tokens", tokens);
    if (status == LT_OK && model) status = lt_bind(plan, "targets", tokens);
    if (status == LT_OK) status = lt_run(plan);
    out->count = 0;
    for (int i = 0; status == LT_OK && i <= n; i++) {
        int64_t size = lt_count(all[i]);
        if (out->values) memcpy(out->values + out->count, lt_result(plan, i), (size_t)size * sizeof(lt_real));
        out->count += size;
    }
    if (status == LT_OK) out->live = lt_plan_live_bytes(plan);
    lt_plan_free(plan);
    lt_graph_free(g);
    return status;
}

static double relative_gap(int64_t n, const lt_real *a, const lt_real *b)
{
    double gap = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        gap += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        size += (double)b[i] * (double)b[i];
    }
    return sqrt(gap / size);
}

/* bf16 beside f32 within 2 %, and the same bits with 1 and 2 threads. */
static void compare(lt_ctx *ctx, lt_params *params, const lt_model *model, const char *what)
{
    enum { MOST = 200000 };
    static lt_real a[MOST], b[MOST], c[MOST];
    outcome f32 = {.values = a}, one = {.values = b}, two = {.values = c};
    int threads = lt_threads();
    lt_set_threads(1);
    bool ok = TS_OK(ctx, train_once(ctx, params, model, LT_F32, &f32)) &&
              TS_OK(ctx, train_once(ctx, params, model, LT_BF16, &one));
    lt_set_threads(2);
    ok = ok && TS_OK(ctx, train_once(ctx, params, model, LT_BF16, &two));
    lt_set_threads(threads);
    if (!ok || !TS_CHECK(f32.count <= MOST, "%s: %lld numbers", what, (long long)f32.count)) return;
    double gap = relative_gap(f32.count, b, a);
    TS_CHECK(gap < 0.02 && fabs((double)(b[0] - a[0])) < 0.01 * fabs((double)a[0]),
             "%s: bf16 is off by %g, loss %g, %g", what, gap, (double)b[0], (double)a[0]);
    TS_CHECK(gap > 1e-6, "%s: bf16 is f32", what);
    TS_CHECK(ts_same_bytes((size_t)f32.count * sizeof *b, b, c), "%s: 1 and 2 threads give different bits", what);
    /* Where factors are decoded first, the panels for that are larger than what such small models save. */
    if (lti_gemm_native_bf16())
        TS_CHECK(one.live < f32.live, "%s: %zu bytes alive in bf16, %zu in f32", what, one.live, f32.live);
}

static void add_mlp(ts_bed *bed)
{
    ts_weight(bed, "w0", 0.1, 2, (int64_t[]){224, 96});
    ts_weight(bed, "w1", 0.1, 2, (int64_t[]){224, 224});
    ts_weight(bed, "w2", 0.1, 2, (int64_t[]){64, 224});
}

static void networks(void)
{
    ts_bed bed;
    if (!ts_bed_make(&bed)) return;
    add_mlp(&bed);
    compare(bed.ctx, bed.params, NULL, "mlp");
    ts_bed_drop(&bed);
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_model *model = NULL;
    const char *init = "llama:layers=2,dim=64,hidden=128,heads=4,kv_heads=4,context=64";
    if (TS_OK(ctx, lt_model_create(ctx, init, NULL, 3, &model))) compare(ctx, lt_model_params(model), model, "llama");
    lt_model_free(model);
    lt_ctx_free(ctx);
}

static lt_status mlp_attempt(lt_ctx *ctx, void *arg)
{
    (void)arg;
    lt_params *params = NULL;
    lt_status status = lt_params_create(ctx, &params);
    const int64_t shapes[3][2] = {{224, 96}, {224, 224}, {64, 224}};
    const char *const names[] = {"w0", "w1", "w2"};
    for (int i = 0; i < 3 && status == LT_OK; i++) {
        lt_param *w;
        status = lt_params_add(params, names[i], LT_F32, 2, shapes[i], LT_WEIGHT, &w);
    }
    outcome out = {0};
    if (status == LT_OK) status = train_once(ctx, params, NULL, LT_BF16, &out);
    lt_params_free(params);
    return status;
}

static void allocations(void)
{
    ts_every_allocation_fails("mlp in bf16", mlp_attempt, NULL);
}

/* ---- The choice ---- */

static void choice(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    double f32 = 0, bf16 = 0, again = 0;
    lt_dtype type = lti_compute_auto(ctx, &f32, &bf16);
    TS_CHECK(f32 > 0 && (bf16 > 0) == lti_gemm_native_bf16(), "%g and %g GFLOP/s", f32, bf16);
    TS_CHECK(type == (bf16 >= 1.15 * f32 ? LT_BF16 : LT_F32), "%s for %g and %g GFLOP/s", lt_dtype_name(type), f32,
             bf16);
    TS_CHECK(lti_compute_auto(ctx, &again, NULL) == type && again == f32, "it is measured once");
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

int lti_suite_compute(void)
{
    const ts_test tests[] = {{"products", products},
                             {"what is rounded", what_is_rounded},
                             {"heads", heads},
                             {"head errors", head_errors},
                             {"networks", networks},
                             {"allocations", allocations},
                             {"the machine's choice", choice}};
    return ts_suite("compute", LTI_COUNT(tests), tests);
}
