/* test_int8_trained.c - LSTM, GRU and perceptron in integers against composites in double, and a CNN of the digits that
 * is trained, folded, trained on with 8 bits, and loses next to nothing. */
#include "lathe/data.h"
#include "lathe/int8.h"
#include "lathe/nn.h"
#include "lathe/optim.h"
#include "tests/data_files.h"

#include <math.h>

static void *room(int64_t count, size_t size)
{
    void *p = calloc((size_t)count + 64, size);
    if (!p) abort();
    return p;
}

static lt_quant_policy policy_of(int bits)
{
    lt_quant_policy p;
    lt_quant_policy_init(&p);
    p.weights = (lt_scheme){.kind = LT_SCHEME_INT, .bits = bits, .per = LT_PER_CHANNEL};
    p.activations = LT_ACT_INT8_STATIC;
    p.calibrate = true;
    return p;
}

/* ---- Recurrent networks ---- */

enum { STEPS = 7, TEXTS = 19, HIDDEN = 12, VOCAB = 11, INPUTS = 5, MOST_OUT = STEPS * VOCAB };

static lt_rnn_config config_of(int kind, bool gru)
{
    lt_rnn_config c;
    lt_rnn_config_init(&c);
    c.kind = gru ? LT_RNN_GRU : LT_RNN_LSTM;
    c.hidden = HIDDEN, c.layers = kind == 1 ? 1 : 2, c.context = STEPS;
    c.dim = kind == 2 ? HIDDEN : 8;
    c.vocab = kind == 1 ? 0 : VOCAB, c.inputs = kind == 1 ? INPUTS : 0;
    c.classes = kind == 2 ? 0 : 3, c.tied = kind == 2;
    return c;
}

static double real_at(const ts_bed *t, const char *name, int64_t i)
{
    const lt_param *p = lt_params_find(t->params, name);
    return p ? (double)((const lt_real *)lt_param_read(p))[i] : 0;
}

static double rounded(double x, double scale)
{
    return fmin(fmax(rint(x / scale), -127), 127) * scale;
}

/* Rows of a weight on the policy's grid, 8 bits where scales are learned. */
static void on_grid(const ts_bed *t, const lt_quant_policy *policy, const char *name, double *w)
{
    char learned[64];
    const lt_param *p = lt_params_find(t->params, name);
    lt_scheme s = lt_quant_scheme(policy, p);
    int64_t rows = lt_param_shape(p)[0], n = lt_param_count(p);
    lt_scale_rule rule = s.kind == LT_SCHEME_TYPE ? LT_SCALE_DYNAMIC : policy->scale;
    lt_real *y = room(n, sizeof *y);
    snprintf(learned, sizeof learned, "%s:scale", name);
    if (rule != LT_SCALE_LSQ) TS_OK(t->ctx, lt_scheme_apply(t->ctx, &s, rule, rows, n / rows, lt_param_read(p), y));
    for (int64_t i = 0; i < n; i++)
        w[i] = rule == LT_SCALE_LSQ ? rounded(real_at(t, name, i), real_at(t, learned, i / (n / rows))) : (double)y[i];
    free(y);
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* What a cell makes of the sums of the input, a, and of the state, z; each gate's HIDDEN numbers in turn. */
static void naive_cell(bool gru, const double *a, const double *z, double *cell, double *h)
{
    for (int i = 0; i < HIDDEN; i++) {
        double s[4];
        for (int k = 0; k < (gru ? 3 : 4); k++) s[k] = a[k * HIDDEN + i] + z[k * HIDDEN + i];
        if (gru) {
            double update = sigmoid(s[1]), n = tanh(a[2 * HIDDEN + i] + sigmoid(s[0]) * z[2 * HIDDEN + i]);
            h[i] = cell[i] = (1 - update) * n + update * cell[i];
        } else {
            cell[i] = sigmoid(s[1]) * cell[i] + sigmoid(s[0]) * tanh(s[2]);
            h[i] = tanh(cell[i]) * sigmoid(s[3]);
        }
    }
}

/* One layer of one text, x [STEPS, I] -> h [STEPS, HIDDEN], from the definition. */
static void naive_layer(const ts_bed *t, const lt_quant_policy *policy, bool gru, int layer, int64_t I, const double *x,
                        double *h)
{
    char name[64];
    int64_t rows = (gru ? 3 : 4) * HIDDEN;
    double w_ih[4 * HIDDEN * HIDDEN], w_hh[4 * HIDDEN * HIDDEN], cell[HIDDEN] = {0}, before[HIDDEN] = {0},
                                                                 a[4 * HIDDEN], z[4 * HIDDEN];
    snprintf(name, sizeof name, "rnn.%d.weight_ih", layer);
    on_grid(t, policy, name, w_ih);
    snprintf(name, sizeof name, "rnn.%d.weight_hh", layer);
    on_grid(t, policy, name, w_hh);
    snprintf(name, sizeof name, "rnn.%d.ih:act_scale", layer);
    double scale = real_at(t, name, 0);
    for (int s = 0; s < STEPS; s++) {
        for (int64_t j = 0; j < rows; j++) {
            snprintf(name, sizeof name, "rnn.%d.bias_ih", layer);
            a[j] = real_at(t, name, j);
            snprintf(name, sizeof name, "rnn.%d.bias_hh", layer);
            z[j] = real_at(t, name, j);
            for (int64_t i = 0; i < I; i++) a[j] += w_ih[j * I + i] * rounded(x[s * I + i], scale);
            for (int64_t i = 0; i < HIDDEN; i++) z[j] += w_hh[j * HIDDEN + i] * rounded(before[i], 1.0 / 127);
        }
        naive_cell(gru, a, z, cell, before);
        memcpy(h + s * HIDDEN, before, sizeof before);
    }
}

/* Logits of one text. */
static void naive_text(const ts_bed *t, const lt_rnn_config *c, const lt_quant_policy *policy, const void *x, int text,
                       int length, double *z)
{
    double at[STEPS * HIDDEN], h[STEPS * HIDDEN], w[VOCAB * HIDDEN];
    int64_t I = c->vocab ? c->dim : c->inputs, out = c->classes ? c->classes : c->vocab;
    const char *head = c->classes ? "head.weight" : "token_embd.weight";
    for (int s = 0; s < STEPS; s++)
        for (int64_t i = 0; i < I; i++)
            at[s * I + i] = c->vocab ? 0 : (double)((const lt_real *)x)[(text * STEPS + s) * I + i];
    if (c->vocab) {
        on_grid(t, policy, "token_embd.weight", w);
        for (int s = 0; s < STEPS; s++)
            for (int64_t i = 0; i < I; i++) at[s * I + i] = w[((const int32_t *)x)[text * STEPS + s] * I + i];
    }
    for (int layer = 0; layer < c->layers; layer++) {
        naive_layer(t, policy, c->kind == LT_RNN_GRU, layer, layer ? HIDDEN : I, at, h);
        memcpy(at, h, sizeof at);
    }
    on_grid(t, policy, head, w);
    double scale = real_at(t, c->classes ? "head:act_scale" : "output:act_scale", 0);
    double low = real_at(t, c->classes ? "head:act_scale" : "output:act_scale", 1);
    TS_CHECK(low == -127, "states have a sign");
    for (int s = c->classes ? length - 1 : 0; s < (c->classes ? length : STEPS); s++)
        for (int64_t o = 0; o < out; o++, z++) {
            *z = c->classes ? real_at(t, "head.bias", o) : 0;
            for (int i = 0; i < HIDDEN; i++) *z += w[o * HIDDEN + i] * rounded(h[s * HIDDEN + i], scale);
        }
}

/* Observes x by a graph that evaluates. */
static lt_status observe_rnn(ts_bed *t, const lt_rnn_config *c, const lt_quant_policy *policy, const void *x)
{
    lt_plan *plan = NULL;
    ts_bed_again(t);
    lt_training(t->g, false);
    lt_qat_attach(t->g, policy);
    lt_t in = c->vocab ? lt_index_input(t->g, "x", 2, (int64_t[]){TEXTS, STEPS}, 0, VOCAB)
                       : lt_input(t->g, "x", LT_F32, 3, (int64_t[]){TEXTS, STEPS, INPUTS});
    lt_t z = lt_rnn_head(t->g, c, lt_rnn_hidden(t->g, c, in), lt_nil(t->g));
    lt_status status = lt_compile(t->g, NULL, 1, &z, &plan);
    if (status == LT_OK) status = lt_bind(plan, "x", x);
    if (status == LT_OK) status = lt_run(plan);
    lt_plan_free(plan);
    return status;
}

/* Scales as if they had been trained: none that could be made of the weights. */
static bool learn_scales(ts_bed *t, const lt_quant_policy *policy)
{
    if (policy->scale != LT_SCALE_LSQ) return true;
    bool done = TS_OK(t->ctx, lt_qat_prepare(t->params, policy));
    for (int i = 0; i < lt_params_count(t->params); i++) {
        lt_param *p = lt_params_at(t->params, i);
        lt_real *scale = lt_param_data(p);
        if (!strstr(lt_param_name(p), ".weight") || !strstr(lt_param_name(p), ":scale")) continue;
        for (int64_t k = 0; k < lt_param_count(p); k++) scale[k] *= (lt_real)1.3;
        lt_param_touch(p);
    }
    return done;
}

/* What is refused of a network that reads tokens. */
static void refused_rows(const ts_bed *t, lt_int8 *net, int32_t *tokens, lt_real *logits)
{
    int32_t kept = tokens[5];
    tokens[5] = VOCAB;
    TS_REFUSED(t->ctx, lt_int8_run(net, TEXTS, tokens, NULL, logits), LT_EINVAL, "token 11 at 5");
    tokens[5] = kept;
    TS_REFUSED(t->ctx, lt_int8_run(net, 1, tokens, &(int32_t){STEPS + 1}, logits), LT_EINVAL, "length 8");
}

/* The file gives the same logits. */
static void same_from_file(const ts_bed *t, const lt_int8 *net, int64_t n, const void *x, const int32_t *ends,
                           const lt_real *want, const char *what)
{
    ts_place p = ts_open_place();
    lt_int8 *again = NULL;
    int64_t count = n * lt_int8_outputs(net);
    lt_real *got = room(count, sizeof *got);
    if (TS_OK(t->ctx, lt_int8_save(net, ts_at(&p, "net.safetensors"), NULL)) &&
        TS_OK(t->ctx, lt_int8_open(t->ctx, p.path, 0, &again)) && TS_OK(t->ctx, lt_int8_run(again, n, x, ends, got)))
        TS_CHECK(ts_same_bytes((size_t)count * sizeof *got, got, want), "%s: logits of the file", what);
    lt_int8_free(again);
    free(got);
    ts_close_place(&p);
}

static void rnn_as_composite(void)
{
    static int32_t tokens[TEXTS * STEPS], lengths[TEXTS];
    static lt_real series[TEXTS * STEPS * INPUTS], got[TEXTS * MOST_OUT];
    static double want[TEXTS * MOST_OUT];
    for (int i = 0; i < TEXTS * STEPS; i++) tokens[i] = i * i % VOCAB;
    for (int i = 0; i < TEXTS; i++) lengths[i] = 1 + i % STEPS;
    ts_fill_normal("series", LTI_COUNT(series), 1, series);
    for (int kind = 0; kind < 9; kind++) { /* the last with other scales of the weights */
        lt_rnn_config c = config_of(kind % 3, kind / 3 == 1);
        lt_quant_policy policy = policy_of(8);
        if (kind >= 6) policy.scale = kind == 6 ? LT_SCALE_MSE : LT_SCALE_LSQ;
        if (c.tied) policy.embedding = policy.weights;
        const void *x = c.vocab ? (const void *)tokens : series;
        const int32_t *ends = kind % 3 == 0 ? lengths : NULL;
        ts_bed t;
        lt_int8 *net = NULL;
        if (!ts_bed_make(&t)) return;
        bool ok = TS_OK(t.ctx, lt_rnn_params(t.params, &c, 4)) && learn_scales(&t, &policy) &&
                  TS_OK(t.ctx, observe_rnn(&t, &c, &policy, x)) &&
                  TS_OK(t.ctx, lt_int8_rnn(t.params, &c, &policy, STEPS, &net)) &&
                  TS_OK(t.ctx, lt_int8_run(net, TEXTS, x, ends, got));
        int64_t out = ok ? lt_int8_outputs(net) : 1;
        for (int i = 0; i < TEXTS && ok; i++) naive_text(&t, &c, &policy, x, i, ends ? ends[i] : STEPS, want + i * out);
        if (ok) {
            double off = ts_distance(TEXTS * out, got, want);
            TS_CHECK(off < 0.01, "kind %d: %g from the composite", kind, off);
            same_from_file(&t, net, TEXTS, x, ends, got, c.kind == LT_RNN_GRU ? "gru" : "lstm");
        }
        if (ok && c.vocab) refused_rows(&t, net, tokens, got);
        lt_int8_free(net);
        ts_bed_drop(&t);
    }
}

/* ---- Perceptrons ---- */

enum { VECTORS = 37, NUMBERS = 10, WIDEST = 14 };

/* y [O] = W codes(x) + b of one vector. */
static void naive_linear(const ts_bed *t, const lt_quant_policy *policy, int layer, int64_t I, int64_t O,
                         const double *x, double *y)
{
    char name[32];
    double w[WIDEST * WIDEST], at[WIDEST];
    snprintf(name, sizeof name, "fc%d.weight", layer);
    on_grid(t, policy, name, w);
    snprintf(name, sizeof name, "fc%d:act_scale", layer);
    double scale = real_at(t, name, 0), low = real_at(t, name, 1);
    for (int64_t i = 0; i < I; i++) at[i] = fmin(fmax(rint(x[i] / scale), low), low < 0 ? 127 : 255) * scale;
    snprintf(name, sizeof name, "fc%d.bias", layer);
    for (int64_t o = 0; o < O; o++) {
        y[o] = real_at(t, name, o);
        for (int64_t i = 0; i < I; i++) y[o] += w[o * I + i] * at[i];
    }
}

static void naive_mlp(const ts_bed *t, const lt_mlp_config *c, const lt_quant_policy *policy, const lt_real *x,
                      double *z)
{
    double at[WIDEST], y[WIDEST];
    for (int i = 0; i < c->inputs; i++) at[i] = (double)x[i];
    for (int layer = 0; layer <= c->n_hidden; layer++) {
        int64_t I = layer ? c->hidden[layer - 1] : c->inputs, O = layer < c->n_hidden ? c->hidden[layer] : c->classes;
        naive_linear(t, policy, layer + 1, I, O, at, y);
        for (int64_t o = 0; o < O; o++) at[o] = fmax(y[o], 0);
    }
    memcpy(z, y, (size_t)c->classes * sizeof *z);
}

/* Observes x by a graph that evaluates. */
static lt_status observe_mlp(ts_bed *t, const lt_mlp_config *c, const lt_quant_policy *policy, const lt_real *x)
{
    lt_plan *plan = NULL;
    ts_bed_again(t);
    lt_training(t->g, false);
    lt_qat_attach(t->g, policy);
    lt_t z = lt_mlp_logits(t->g, c, lt_input(t->g, "x", LT_F32, 2, (int64_t[]){VECTORS, NUMBERS}));
    lt_status status = lt_compile(t->g, NULL, 1, &z, &plan);
    if (status == LT_OK) status = lt_bind(plan, "x", x);
    if (status == LT_OK) status = lt_run(plan);
    lt_plan_free(plan);
    return status;
}

static void mlp_as_composite(void)
{
    static lt_real x[VECTORS * NUMBERS], got[VECTORS * 3];
    static double want[VECTORS * 3];
    for (int kind = 0; kind < 4; kind++) { /* signed inputs or not; hidden layers, or none */
        lt_mlp_config c;
        lt_mlp_config_init(&c);
        c.inputs = NUMBERS, c.classes = 3, c.n_hidden = kind & 2 ? 0 : 2, c.hidden[0] = WIDEST, c.hidden[1] = 7;
        lt_quant_policy policy = policy_of(kind == 1 ? 4 : 8);
        for (int i = 0; i < VECTORS * NUMBERS; i++)
            x[i] = (lt_real)(kind & 1 ? ts_normal("mlp", i) : ts_uniform("mlp", i));
        ts_bed t;
        lt_int8 *net = NULL;
        if (!ts_bed_make(&t)) return;
        bool ok = TS_OK(t.ctx, lt_mlp_params(t.params, &c, 4)) && TS_OK(t.ctx, observe_mlp(&t, &c, &policy, x)) &&
                  TS_OK(t.ctx, lt_int8_mlp(t.params, &c, &policy, kind ? 5 : 0, &net)) &&
                  TS_OK(t.ctx, lt_int8_run(net, VECTORS, x, NULL, got));
        for (int i = 0; i < VECTORS && ok; i++) naive_mlp(&t, &c, &policy, x + i * NUMBERS, want + i * 3);
        if (ok) {
            double off = ts_distance(VECTORS * 3, got, want);
            TS_CHECK(off < 0.01, "kind %d: %g from the composite", kind, off);
            same_from_file(&t, net, VECTORS, x, NULL, got, "mlp");
        }
        lt_int8_free(net);
        ts_bed_drop(&t);
    }
}

/* ---- Failing allocations ---- */

/* Sites as if they had been observed. */
static lt_status pretend_observed(lt_params *params, const lt_quant_policy *policy)
{
    lt_status status = lt_qat_prepare(params, policy);
    for (int i = 0; i < lt_params_count(params) && status == LT_OK; i++) {
        lt_param *p = lt_params_at(params, i);
        lt_real *scale = lt_param_data(p);
        if (strstr(lt_param_name(p), ":act_scale")) scale[0] = (lt_real)0.01, scale[1] = 0;
    }
    return status;
}

static lt_status run_and_save(lt_int8 *net, const void *x, const char *path)
{
    static lt_real z[3 * MOST_OUT];
    lt_status status = lt_int8_run(net, 3, x, NULL, z);
    return status == LT_OK ? lt_int8_save(net, path, NULL) : status; /* which opens it again */
}

static lt_status make_both(lt_ctx *ctx, void *arg)
{
    static const lt_real x[3 * NUMBERS];
    static const int32_t tokens[3 * STEPS];
    lt_quant_policy policy = policy_of(4);
    lt_rnn_config rnn = config_of(0, true);
    lt_mlp_config mlp;
    lt_mlp_config_init(&mlp);
    mlp.inputs = NUMBERS, mlp.classes = 3, mlp.n_hidden = 1, mlp.hidden[0] = 5;
    lt_status status = LT_OK;
    for (int kind = 0; kind < 2 && status == LT_OK; kind++) {
        lt_params *params = NULL;
        lt_int8 *net = NULL;
        status = lt_params_create(ctx, &params);
        if (status == LT_OK) status = kind ? lt_mlp_params(params, &mlp, 1) : lt_rnn_params(params, &rnn, 1);
        if (status == LT_OK) status = pretend_observed(params, &policy);
        if (status == LT_OK)
            status =
                kind ? lt_int8_mlp(params, &mlp, &policy, 2, &net) : lt_int8_rnn(params, &rnn, &policy, STEPS, &net);
        if (status == LT_OK) status = run_and_save(net, kind ? (const void *)x : tokens, arg);
        lt_int8_free(net);
        lt_params_free(params);
    }
    return status;
}

static void allocations_fail(void)
{
    ts_place p = ts_open_place();
    char path[512];
    snprintf(path, sizeof path, "%s", ts_at(&p, "net.safetensors"));
    int64_t n = ts_every_allocation_fails("a GRU and a perceptron in integers", make_both, path);
    TS_CHECK(n > 50, "%lld allocations", (long long)n);
    ts_close_place(&p);
}

/* ---- The digits ---- */

enum { DIGITS_BATCH = 64, DIGITS_EPOCHS = 8 };

static double digits_right(int64_t n, const lt_real *z, const int32_t *y)
{
    int64_t right = 0;
    for (int64_t i = 0; i < n; i++) {
        int best = 0;
        for (int k = 1; k < 10; k++) best = z[10 * i + k] > z[10 * i + best] ? k : best;
        right += best == y[i];
    }
    return 100 * (double)right / (double)n;
}

static bool train_digits(lt_ctx *ctx, lt_params *params, const lt_cnn_config *c, const lt_quant_policy *policy,
                         const lt_arrays *set, double lr, int epochs)
{
    static lt_real x[DIGITS_BATCH * 64];
    static int32_t y[DIGITS_BATCH];
    lt_optimizer *optimizer;
    lt_optimizer_config oc;
    lt_graph *g;
    lt_plan *plan = NULL;
    lt_batches *batches = NULL;
    lt_optimizer_config_init(&oc);
    if (!TS_OK(ctx, lt_optimizer_create(ctx, params, &oc, &optimizer)) || !TS_OK(ctx, lt_graph_create(ctx, params, &g)))
        return false;
    if (policy) lt_qat_attach(g, policy);
    lt_t in = lt_input(g, "x", LT_F32, 4, (int64_t[]){DIGITS_BATCH, 8, 8, 1});
    lt_t targets = lt_index_input(g, "y", 1, (int64_t[]){DIGITS_BATCH}, -1, 10);
    lt_t loss = lt_cross_entropy(lt_cnn_logits(g, c, lt_scale(in, 1.0 / 16)), targets, lt_nil(g));
    bool ok = TS_OK(ctx, lt_optimizer_fused(optimizer, g, loss)) && TS_OK(ctx, lt_compile(g, NULL, 1, &loss, &plan)) &&
              TS_OK(ctx, lt_batches_create(ctx, NULL, set, DIGITS_BATCH, 1, true, &batches));
    int64_t total = ok ? epochs * lt_batches_per_epoch(batches) : 0;
    for (int64_t step = 1; step <= total && ok; step++) {
        lt_batch batch;
        ok = TS_OK(ctx, lt_batches_next(batches, &batch)) &&
             TS_OK(ctx, lt_batches_fill_arrays(batches, DIGITS_BATCH, x, y)) && TS_OK(ctx, lt_bind(plan, "x", x)) &&
             TS_OK(ctx, lt_bind(plan, "y", y)) && TS_OK(ctx, lt_set(plan, "step", (double)step)) &&
             TS_OK(ctx, lt_set(plan, "lr", lr * (1 - (double)(step - 1) / (double)total))) && TS_OK(ctx, lt_run(plan));
    }
    lt_batches_free(batches);
    lt_plan_free(plan);
    lt_graph_free(g);
    lt_optimizer_free(optimizer);
    return ok;
}

/* Logits by a graph that evaluates n images; policy NULL: in float. */
static bool digits_graph(lt_ctx *ctx, lt_params *params, const lt_cnn_config *c, const lt_quant_policy *policy,
                         int64_t n, const lt_real *x, lt_real *z)
{
    lt_graph *g;
    lt_plan *plan = NULL;
    if (!TS_OK(ctx, lt_graph_create(ctx, params, &g))) return false;
    lt_training(g, false);
    if (policy) lt_qat_attach(g, policy);
    lt_t y = lt_cnn_logits(g, c, lt_input(g, "x", LT_F32, 4, (int64_t[]){n, 8, 8, 1}));
    bool ok =
        TS_OK(ctx, lt_compile(g, NULL, 1, &y, &plan)) && TS_OK(ctx, lt_bind(plan, "x", x)) && TS_OK(ctx, lt_run(plan));
    if (ok) memcpy(z, lt_result(plan, 0), (size_t)(n * 10) * sizeof *z);
    lt_plan_free(plan);
    lt_graph_free(g);
    return ok;
}

/* Trained, folded, trained on with 8 bits: in integers as good, and as the graph predicts. */
static void digits(void)
{
    ts_bed t;
    lt_arrays *all = NULL, *train = NULL, *valid = NULL;
    lt_int8 *net = NULL;
    if (!ts_bed_make(&t)) return;
    lt_ctx *ctx = t.ctx;
    lt_cnn_config c;
    lt_cnn_config_init(&c);
    c.height = c.width = 8, c.channels = 1, c.classes = 10, c.filters = 8, c.stages = 2;
    lt_quant_policy policy = policy_of(8);
    policy.calibrate = false;
    bool ok = TS_OK(ctx, lt_arrays_open(ctx, "examples/data/digits.csv.gz", &all)) &&
              TS_OK(ctx, lt_arrays_split(ctx, all, 0.2, 1, &train, &valid)) &&
              TS_OK(ctx, lt_cnn_params(t.params, &c, 1)) &&
              train_digits(ctx, t.params, &c, NULL, train, 5e-3, DIGITS_EPOCHS);
    int64_t n = ok ? valid->n : 1;
    lt_real *x = room(n * 64, sizeof *x), *real = room(n * 10, sizeof *x), *same = room(n * 10, sizeof *x),
            *z = room(n * 10, sizeof *x);
    for (int64_t i = 0; i < n * 64 && ok; i++) x[i] = valid->x[i] / 16;
    ok = ok && digits_graph(ctx, t.params, &c, NULL, n, x, real) && TS_OK(ctx, lt_cnn_fold(t.params, &c)) &&
         TS_OK(ctx, lt_qat_prepare(t.params, &policy)) && train_digits(ctx, t.params, &c, &policy, train, 5e-4, 2) &&
         digits_graph(ctx, t.params, &c, &policy, n, x, same) &&
         TS_OK(ctx, lt_int8_cnn(t.params, &c, &policy, 0, &net)) && TS_OK(ctx, lt_int8_run(net, n, x, NULL, z));
    if (ok) {
        double before = digits_right(n, real, valid->y), after = digits_right(n, z, valid->y), weights = 0;
        for (int i = 0; i < lt_params_count(t.params); i++) {
            const lt_param *p = lt_params_at(t.params, i);
            if (lt_param_role(p) == LT_WEIGHT && lt_param_rank(p) > 1) weights += 4.0 * (double)lt_param_count(p);
        }
        TS_CHECK(before > 90 && after > before - 1.5, "%.2f %% in float, %.2f %% in integers", before, after);
        TS_CHECK(fabs(after - digits_right(n, same, valid->y)) < 0.6, "simulated: %.2f %%, in integers %.2f %%",
                 digits_right(n, same, valid->y), after);
        TS_CHECK(ts_distance_real(n * 10, z, same) < 0.05, "%g from what was simulated",
                 ts_distance_real(n * 10, z, same));
        TS_CHECK((double)lt_int8_bytes(net) < 0.32 * weights, "%zu bytes of %g", lt_int8_bytes(net), weights);
    }
    free(x), free(real), free(same), free(z);
    lt_int8_free(net);
    lt_arrays_free(ctx, all);
    lt_arrays_free(ctx, train);
    lt_arrays_free(ctx, valid);
    ts_bed_drop(&t);
}

int lti_suite_int8_trained(void)
{
    static const ts_test tests[] = {{"LSTM and GRU as composites", rnn_as_composite},
                                    {"an MLP as a composite", mlp_as_composite},
                                    {"allocations fail", allocations_fail},
                                    {"digits", digits}};
    return ts_suite("int8_trained", LTI_COUNT(tests), tests);
}
