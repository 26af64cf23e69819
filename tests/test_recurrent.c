/* test_recurrent.c - LSTM and GRU beyond single calls (those are the sweep's, rows_recurrent.c): steps one by one, rows
 * on their own, threads, what is refused; layers with hooks; recurrent networks and their losses. */
#include "autograd/ops/recurrent_parts.h"
#include "lathe/models.h"
#include "lathe/nn.h"
#include "lathe/optim.h"
#include "tests/data_files.h"
#include "tests/testing.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define DIMS(...)                                                                                                      \
    sizeof((int64_t[]){__VA_ARGS__}) / 8, (int64_t[])                                                                  \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

static lt_t weight(ts_bed *t, const char *name, double scale, int rank, const int64_t *shape)
{
    lt_param *p = lt_params_find(t->params, name);
    return lt_param_value(t->g, p ? p : ts_weight(t, name, scale, rank, shape));
}

/* Compiles, runs, copies results of `n` values one after the other; false with a failed check when something fails. */
static bool run(ts_bed *t, int n, const lt_t *y, lt_real *out)
{
    lt_plan *plan = NULL;
    bool ok = TS_OK(t->ctx, ts_compile(t->g, TS_PLANNED, n, y, &plan)) && TS_OK(t->ctx, lt_run(plan));
    for (int i = 0; ok && i < n; i++) {
        memcpy(out, lt_result(plan, i), (size_t)lt_count(y[i]) * sizeof *out);
        out += lt_count(y[i]);
    }
    lt_plan_free(plan);
    return ok;
}

/* ---- The recurrence ---- */

typedef enum kind { LSTM, GRU } kind;

/* x [B, T, G H] is what the input's product would be. */
static lt_recurrent recur(ts_bed *t, kind k, lt_t x, int64_t H, lt_t h0, lt_t c0)
{
    lt_t w = weight(t, k == LSTM ? "w4" : "w3", 0.3, DIMS((k == LSTM ? 4 : 3) * H, H)), nil = lt_nil(t->g);
    lt_t b = weight(t, k == LSTM ? "b4" : "b3", 1, DIMS((k == LSTM ? 4 : 3) * H));
    return k == LSTM ? lti_lstm_of(x, w, b, nil, h0, c0) : lti_gru_of(x, w, nil, b, h0);
}

/* A sequence at once, and by single steps that hand on h and c. */
static void steps_one_by_one(void)
{
    enum { B = 3, T = 5, H = 10 };
    for (kind k = LSTM; k <= GRU; k++) {
        ts_bed t;
        static lt_real got[2 * B * T * H];
        if (!ts_bed_make(&t)) return;
        lt_t x = weight(&t, "x", 1, DIMS(B, T, (k == LSTM ? 4 : 3) * H)), h = lt_nil(t.g), c = h, steps[T];
        lt_t y[2] = {recur(&t, k, x, H, h, c).y};
        for (int i = 0; i < T; i++) {
            lt_recurrent r = recur(&t, k, lt_slice(x, 1, i, i + 1), H, h, c);
            h = r.h, c = r.c, steps[i] = r.y;
        }
        y[1] = lt_concat(T, steps, 1);
        if (run(&t, 2, y, got)) {
            double d = ts_distance_real(B * T * H, got + B * T * H, got);
            TS_CHECK(d < ts_tolerance(1e-14, 1e-6), "kind %d: step by step differs by %g", (int)k, d);
        }
        ts_bed_drop(&t);
    }
}

/* A text alone gives the bits that it gives among others. */
static void rows_stand_alone(void)
{
    enum { B = 21, T = 4, H = 35, ROW = T * H };
    for (kind k = LSTM; k <= GRU; k++) {
        ts_bed t;
        static lt_real all[B * ROW], one[ROW];
        if (!ts_bed_make(&t)) return;
        for (int64_t row = -1; row < B; row += 1 + B / 4) {
            ts_bed_again(&t);
            lt_t x = weight(&t, "x", 1, DIMS(B, T, (k == LSTM ? 4 : 3) * H)), nil = lt_nil(t.g);
            lt_t y = recur(&t, k, row < 0 ? x : lt_slice(x, 0, row, row + 1), H, nil, nil).y;
            if (run(&t, 1, &y, row < 0 ? all : one) && row >= 0)
                TS_CHECK(ts_same_bytes(sizeof one, one, all + row * ROW), "kind %d: row %d alone", (int)k, (int)row);
        }
        ts_bed_drop(&t);
    }
}

/* y, h and the gradients of everything, bit for bit; several tasks share the rows, and sum over them. */
static void threads_change_no_bit(void)
{
    enum { B = 50, T = 6, H = 40, MOST = 2 * B * T * H * 6 };
    int before = lt_threads();
    static lt_real got[3][MOST];
    for (kind k = LSTM; k <= GRU; k++) {
        for (int round = 0; round < 3; round++) {
            ts_bed t;
            if (!ts_bed_make(&t)) return;
            lt_set_threads(1 + round);
            int64_t G = k == LSTM ? 4 : 3;
            lt_t wrt[4] = {weight(&t, "x", 1, DIMS(B, T, G * H)), weight(&t, "h0", 1, DIMS(B, H))};
            lt_recurrent r = recur(&t, k, wrt[0], H, wrt[1], lt_nil(t.g));
            wrt[2] = weight(&t, k == LSTM ? "w4" : "w3", 1, DIMS(1)),
            wrt[3] = weight(&t, k == LSTM ? "b4" : "b3", 1, DIMS(1));
            lt_t out[6] = {r.y, r.h};
            lt_grad(lt_mean_all(lt_square(r.y)), 4, wrt, out + 2);
            run(&t, 6, out, got[round]);
            ts_bed_drop(&t);
        }
        TS_CHECK(ts_same_bytes(sizeof got[0], got[0], got[1]) && ts_same_bytes(sizeof got[0], got[0], got[2]),
                 "kind %d: 1, 2 and 3 threads differ", (int)k);
    }
    lt_set_threads(before);
}

/* Nobody reads the gates or c: they live in scratch, with the same values of y. */
static void unread_values(void)
{
    enum { B = 4, T = 7, H = 12, N = B * T * H };
    for (kind k = LSTM; k <= GRU; k++) {
        ts_bed t;
        static lt_real y[N + B * H], last[B * H], trained[N + 4 * N];
        if (!ts_bed_make(&t)) return;
        lt_t x = weight(&t, "x", 1, DIMS(B, T, (k == LSTM ? 4 : 3) * H)), nil = lt_nil(t.g);
        lt_recurrent r = recur(&t, k, x, H, nil, nil);
        bool ok = run(&t, 1, &r.y, y) && run(&t, 1, &r.h, last);
        TS_CHECK(ok && ts_same_bytes(H * sizeof *y, last + (B - 1) * H, y + N - H), "kind %d: the last step", (int)k);
        if (k == LSTM) ok = ok && run(&t, 1, &r.c, last);
        lt_t out[2] = {r.y};
        lt_grad(lt_sum_all(r.y), 1, &x, out + 1);
        if (ok && run(&t, 2, out, trained))
            TS_CHECK(ts_same_bytes(N * sizeof *y, y, trained), "kind %d: trained and only read", (int)k);
        ts_bed_drop(&t);
    }
}

static void refused(const char *words, lt_t (*record)(ts_bed *t))
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    record(&t);
    TS_CHECK(lt_graph_status(t.g) == LT_EINVAL && strstr(lt_graph_message(t.g), words), "'%s', not '%s'",
             lt_graph_message(t.g), words);
    ts_bed_drop(&t);
}

#define REFUSED(name, value)                                                                                           \
    static lt_t name(ts_bed *t)                                                                                        \
    {                                                                                                                  \
        lt_graph *g = t->g;                                                                                            \
        lt_t nil = lt_nil(g), x = lt_input(g, "x", LT_F32, DIMS(2, 3, 4)), w = lt_input(g, "w", LT_F32, DIMS(20, 4));  \
        lt_t u = lt_input(g, "u", LT_F32, DIMS(20, 5)), v = lt_input(g, "v", LT_F32, DIMS(2, 5));                      \
        (void)x, (void)u, (void)v;                                                                                     \
        return value.y;                                                                                                \
    }
#define INPUT(type, ...) lt_input(g, "i", type, DIMS(__VA_ARGS__))
REFUSED(flat, lt_lstm(INPUT(LT_F32, 6, 4), w, u, nil, nil, nil, nil))
REFUSED(other_width, lt_lstm(x, w, INPUT(LT_F32, 24, 6), nil, nil, nil, nil))
REFUSED(three_gates, lt_gru(x, w, u, nil, nil, nil))
REFUSED(long_bias, lt_lstm(x, w, u, INPUT(LT_F32, 21), nil, nil, nil))
REFUSED(wrong_state, lt_lstm(x, w, u, nil, nil, v, INPUT(LT_F32, 3, 5)))
REFUSED(whole_numbers, lt_lstm(x, w, INPUT(LT_I32, 20, 5), nil, nil, nil, nil))
REFUSED(no_steps, lt_lstm(INPUT(LT_F32, 2, 0, 4), w, u, nil, nil, nil, nil))

static void what_is_refused(void)
{
    refused("w_hh [20,5]", flat);
    refused("lstm: x W_ih^T [2,3,20] with w_hh [24,6]; they are [B,T,4H] and [4H,H]", other_width);
    refused("gru: x W_ih^T [2,3,20] with w_hh [20,5]; they are [B,T,3H] and [3H,H]", three_gates);
    refused("lstm: bias [21] with x W_ih^T [2,3,20]", long_bias);
    refused("lstm: first state [3,5] with x W_ih^T [2,3,20]; it is to be [B,H]", wrong_state);
    refused("lstm: w_hh is i32", whole_numbers);
    refused("T at least 1", no_steps);
}

/* ---- Layers ---- */

typedef struct seen {
    int weights, inputs, outputs;
} seen;

static lt_t see_weight(lt_t w, const lt_site *site, void *config)
{
    (void)site;
    ((seen *)config)->weights++;
    return lt_quantize(w, LT_Q8_0);
}

static lt_t see_input(lt_t x, const lt_site *site, void *config)
{
    ((seen *)config)->inputs += strcmp(site->name, "m.rnn.ih") == 0;
    return x;
}

static lt_t see_output(lt_t x_raw, lt_t x_in, lt_t w, lt_t y, const lt_site *site, void *config)
{
    (void)x_raw, (void)x_in, (void)w, (void)site;
    ((seen *)config)->outputs++;
    return y;
}

static void add_layer(ts_bed *t, int64_t G, bool biases)
{
    enum { I = 32, H = 32 };
    ts_weight(t, "m.rnn.weight_ih", 0.2, DIMS(G * H, I));
    ts_weight(t, "m.rnn.weight_hh", 0.2, DIMS(G * H, H));
    if (biases) ts_weight(t, "m.rnn.bias_ih", 0.5, DIMS(G * H));
    if (biases) ts_weight(t, "m.rnn.bias_hh", 0.5, DIMS(G * H));
}

static lt_t layer(ts_bed *t, kind k)
{
    lt_t x = weight(t, "x", 1, DIMS(2, 3, 32)), nil = lt_nil(t->g);
    lt_scope(t->g, "m");
    lt_t y = k == LSTM ? lt_nn_lstm(x, "rnn", nil, nil).y : lt_nn_gru(x, "rnn", nil).y;
    lt_scope_end(t->g);
    return y;
}

/* The layer is the op on its parameters; hooks meet both weights, and the input's product alone. */
static void layers_and_hooks(void)
{
    enum { N = 2 * 3 * 32 };
    lt_real got[2 * N];
    for (kind k = LSTM; k <= GRU; k++)
        for (int hooked = 0; hooked < 2; hooked++) {
            seen s = {0};
            ts_bed t;
            if (!ts_bed_make(&t)) return;
            add_layer(&t, k == LSTM ? 4 : 3, hooked == 0);
            const lt_attachment hooks[2] = {{sizeof hooks[0], "m.rnn.*", LT_SITE_RNN, see_weight, see_input, NULL, &s},
                                            {sizeof hooks[0], "m.rnn.ih", LT_SITE_RNN, NULL, NULL, see_output, &s}};
            for (int i = 0; hooked && i < 2; i++) lt_attach(t.g, &hooks[i]);
            lt_t y[2] = {layer(&t, k)}, x = weight(&t, "x", 1, DIMS(1)), nil = lt_nil(t.g), p[4];
            const char *const names[4] = {"m.rnn.weight_ih", "m.rnn.weight_hh", "m.rnn.bias_ih", "m.rnn.bias_hh"};
            for (int i = 0; i < 4; i++) {
                p[i] = i < 2 || !hooked ? lt_param_value(t.g, lt_params_find(t.params, names[i])) : nil;
                if (hooked && i < 2) p[i] = lt_quantize(p[i], LT_Q8_0);
            }
            y[1] =
                (k == LSTM ? lt_lstm(x, p[0], p[1], p[2], p[3], nil, nil) : lt_gru(x, p[0], p[1], p[2], p[3], nil)).y;
            if (run(&t, 2, y, got))
                TS_CHECK(ts_same_bytes(N * sizeof *got, got, got + N), "kind %d: the layer is the op", (int)k);
            TS_CHECK(s.weights == 2 * hooked && s.inputs == hooked && s.outputs == hooked, "%d %d %d calls", s.weights,
                     s.inputs, s.outputs);
            ts_bed_drop(&t);
        }
}

static void layers_that_fail(void)
{
    ts_bed t;
    seen s = {0};
    if (!ts_bed_make(&t)) return;
    TS_CHECK(lt_is_nil(layer(&t, LSTM)), "a layer without weights is nil");
    TS_CHECK(strstr(lt_graph_message(t.g), "m.rnn.ih: the model has no parameter 'm.rnn.weight_ih'"), "%s",
             lt_graph_message(t.g));
    add_layer(&t, 3, false);
    ts_bed_again(&t);
    lt_attach(t.g, &(lt_attachment){sizeof(lt_attachment), "*.hh", LT_SITE_RNN, NULL, NULL, see_output, &s});
    layer(&t, GRU);
    TS_CHECK(lt_graph_status(t.g) == LT_EUNSUPPORTED && strstr(lt_graph_message(t.g), "attach to 'rnn.ih'"), "%s",
             lt_graph_message(t.g));
    ts_bed_drop(&t);
}

/* ---- Networks ---- */

enum { TEXTS = 3, STEPS = 6, VOCAB = 11 };

static lt_rnn_config small(kind k, int64_t classes)
{
    lt_rnn_config c;
    lt_rnn_config_init(&c);
    c.kind = k == LSTM ? LT_RNN_LSTM : LT_RNN_GRU;
    c.vocab = VOCAB, c.dim = 12, c.hidden = 12, c.layers = 2, c.classes = classes;
    return c;
}

static lt_t tokens_of(ts_bed *t)
{
    return lt_index_input(t->g, "tokens", 2, (int64_t[]){TEXTS, STEPS}, 0, VOCAB);
}

/* Binds tokens, targets and last (those there are), runs `plan`. */
static bool feed(ts_bed *t, lt_plan *plan)
{
    static int32_t tokens[TEXTS * STEPS], targets[TEXTS * STEPS], last[TEXTS];
    for (int i = 0; i < TEXTS * STEPS; i++) {
        tokens[i] = (int32_t)(ts_uniform("tokens", i) * VOCAB);
        targets[i] = i % 4 == 3 ? -1 : (int32_t)(ts_uniform("targets", i) * 3);
    }
    for (int i = 0; i < TEXTS; i++) last[i] = i * STEPS + (STEPS - 1 - i);
    bool ok = !lt_plan_has(plan, "targets") || TS_OK(t->ctx, lt_bind(plan, "targets", targets));
    ok = ok && (!lt_plan_has(plan, "last") || TS_OK(t->ctx, lt_bind(plan, "last", last)));
    return ok && TS_OK(t->ctx, lt_bind(plan, "tokens", tokens)) && TS_OK(t->ctx, lt_run(plan));
}

static void parameters(void)
{
    for (kind k = LSTM; k <= GRU; k++) {
        ts_bed t;
        lt_rnn_config c = small(k, 0);
        if (!ts_bed_make(&t) || !TS_OK(t.ctx, lt_rnn_params(t.params, &c, 1))) return;
        const struct {
            const char *name;
            int64_t count;
        } want[] = {{"token_embd.weight", VOCAB * 12},
                    {"rnn.0.weight_ih", (k == LSTM ? 48 : 36) * 12},
                    {"rnn.1.bias_hh", k == LSTM ? 48 : 36},
                    {"output.weight", VOCAB * 12},
                    {"output.bias", VOCAB}};
        for (int i = 0; i < LTI_COUNT(want); i++) {
            lt_param *p = lt_params_find(t.params, want[i].name);
            if (!TS_CHECK(p && lt_param_count(p) == want[i].count, "%s", want[i].name)) continue;
            double top = 0;
            const lt_real *w = lt_param_read(p);
            for (int64_t j = 0; j < want[i].count; j++) top = fmax(top, fabs((double)w[j]));
            TS_CHECK(top <= 1 / sqrt(12.0) && top > 0.2, "%s: largest %g", want[i].name, top);
        }
        c.hidden = 0;
        TS_REFUSED(t.ctx, lt_rnn_params(t.params, &c, 1), LT_EINVAL, "hidden");
        ts_bed_drop(&t);
    }
}

/* The loss of a head that never makes its logits, of one that does, and by hand; recomputed layers change no bit. */
static void language_model_losses(void)
{
    for (kind k = LSTM; k <= GRU; k++) {
        double loss[4] = {0};
        lt_real gradient[2][12 * 12] = {{0}};
        for (int way = 0; way < 4; way++) {
            ts_bed t;
            lt_rnn_config c = small(k, 0);
            c.tied = way == 3, c.checkpoint = way == 1;
            if (!ts_bed_make(&t) || !TS_OK(t.ctx, lt_rnn_params(t.params, &c, 1))) return;
            lt_t targets = lt_index_input(t.g, "targets", 2, (int64_t[]){TEXTS, STEPS}, -1, VOCAB), x = tokens_of(&t);
            lt_t nil = lt_nil(t.g), y[2];
            y[0] = way == 2 ? lt_cross_entropy_smooth(lt_rnn_head(t.g, &c, lt_rnn_hidden(t.g, &c, x), nil), targets,
                                                      nil, 0.1)
                            : lt_rnn_loss(t.g, &c, x, targets, nil, nil, 0.1);
            lt_t w = lt_param_value(t.g, lt_params_find(t.params, "rnn.0.weight_hh"));
            lt_grad(y[0], 1, &w, y + 1);
            lt_plan *plan = NULL;
            if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 2, y, &plan)) && feed(&t, plan)) {
                loss[way] = (double)*(const lt_real *)lt_result(plan, 0);
                if (way < 2) memcpy(gradient[way], lt_result(plan, 1), sizeof gradient[0]);
            }
            lt_plan_free(plan);
            ts_bed_drop(&t);
        }
        TS_CHECK(loss[0] == loss[1] && ts_same_bytes(sizeof gradient[0], gradient[0], gradient[1]),
                 "recomputed layers");
        TS_CHECK(fabs(loss[0] - loss[2]) < ts_tolerance(1e-13, 1e-5), "losses %.9g and %.9g", loss[0], loss[2]);
        TS_CHECK(loss[3] > 1 && fabs(loss[3] - log(VOCAB)) < 0.5, "tied: %g", loss[3]);
    }
}

/* The logits of a classifier come from each text's own last step; and it learns. */
static void classifier(void)
{
    for (kind k = LSTM; k <= GRU; k++) {
        ts_bed t;
        lt_rnn_config c = small(k, 3);
        if (!ts_bed_make(&t) || !TS_OK(t.ctx, lt_rnn_params(t.params, &c, 1))) return;
        lt_t last = lt_index_input(t.g, "last", 1, (int64_t[]){TEXTS}, 0, TEXTS * STEPS), nil = lt_nil(t.g);
        lt_t h = lt_rnn_hidden(t.g, &c, tokens_of(&t));
        lt_t y[4] = {lt_rnn_head(t.g, &c, h, last), lt_rnn_head(t.g, &c, h, nil)};
        for (int i = 0; i < 2; i++) /* text 1 ends a step earlier */
            y[2 + i] = lt_rnn_head(t.g, &c, lt_slice(h, 1, 0, STEPS - i), nil);
        lt_plan *plan = NULL;
        if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 4, y, &plan)) && feed(&t, plan)) {
            const lt_real *z[4];
            for (int i = 0; i < 4; i++) z[i] = lt_result(plan, i);
            TS_CHECK(ts_distance_real(3, z[0], z[2]) < 1e-6 && ts_distance_real(3, z[0] + 3, z[3] + 3) < 1e-6 &&
                         ts_distance_real(9, z[1], z[2]) < 1e-6 && ts_distance_real(3, z[0] + 3, z[1] + 3) > 1e-4,
                     "kind %d: rows of `last`", (int)k);
        }
        lt_plan_free(plan);
        ts_bed_again(&t);
        lt_optimizer_config oc;
        lt_optimizer_config_init(&oc);
        lt_optimizer *optimizer = NULL;
        last = lt_index_input(t.g, "last", 1, (int64_t[]){TEXTS}, 0, TEXTS * STEPS);
        lt_t targets = lt_index_input(t.g, "targets", 1, (int64_t[]){TEXTS}, -1, 3);
        lt_t loss = lt_rnn_loss(t.g, &c, tokens_of(&t), targets, last, lt_nil(t.g), 0);
        double first = 0, now = 0;
        bool ok = TS_OK(t.ctx, lt_optimizer_create(t.ctx, t.params, &oc, &optimizer)) &&
                  TS_OK(t.ctx, lt_optimizer_fused(optimizer, t.g, loss)) &&
                  TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 1, &loss, &plan)) && TS_OK(t.ctx, lt_set(plan, "lr", 0.01));
        for (int step = 1; ok && step <= 60; step++) {
            ok = TS_OK(t.ctx, lt_set(plan, "step", step)) && feed(&t, plan);
            now = ok ? (double)*(const lt_real *)lt_result(plan, 0) : 9;
            if (step == 1) first = now;
        }
        TS_CHECK(first > 0.5 && now < 0.1, "kind %d: from %g to %g in 60 steps", (int)k, first, now);
        lt_plan_free(plan);
        lt_optimizer_free(optimizer);
        ts_bed_drop(&t);
    }
}

static lt_status attempt(lt_ctx *ctx, void *arg)
{
    lt_rnn_config c = small(*(kind *)arg, 0);
    lt_params *params = NULL;
    lt_graph *g = NULL;
    lt_plan *plan = NULL;
    lt_status status = lt_params_create(ctx, &params);
    if (status == LT_OK) status = lt_rnn_params(params, &c, 1);
    if (status == LT_OK) status = lt_graph_create(ctx, params, &g);
    if (status == LT_OK) {
        lt_t x = lt_index_input(g, "tokens", 2, (int64_t[]){2, 1}, 0, VOCAB);
        lt_t z = lt_rnn_head(g, &c, lt_rnn_hidden(g, &c, x), lt_nil(g));
        status = lt_compile(g, NULL, 1, &z, &plan);
    }
    lt_plan_free(plan);
    lt_graph_free(g);
    lt_params_free(params);
    return status;
}

static void allocations_fail(void)
{
    for (kind k = LSTM; k <= GRU; k++) ts_every_allocation_fails("a recurrent network", attempt, &k);
}

int lti_suite_recurrent(void)
{
    const ts_test tests[] = {{"steps one by one", steps_one_by_one},     {"rows stand alone", rows_stand_alone},
                             {"threads", threads_change_no_bit},         {"unread values", unread_values},
                             {"what is refused", what_is_refused},       {"layers and hooks", layers_and_hooks},
                             {"layers that fail", layers_that_fail},     {"parameters", parameters},
                             {"language models", language_model_losses}, {"classifiers", classifier},
                             {"allocations", allocations_fail}};
    return ts_suite("recurrent", LTI_COUNT(tests), tests);
}
