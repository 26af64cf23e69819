/* test_networks.c - what models and layers compute: decoding with caches, recomputation, rotary layouts, the
 * perceptron, and layers whose parameters are missing. PyTorch's numbers are in test_goldens.c. */
#include "lathe/models.h"
#include "lathe/nn.h"
#include "tests/toys.h"

#include <math.h>

enum { VOCAB = 37, LENGTH = 11, BATCH = 2 };

static lt_transformer_config small_llama(void)
{
    lt_transformer_config c;
    lt_transformer_config_init(&c, LT_LLAMA);
    c.vocab = VOCAB, c.dim = 24, c.hidden = 40, c.layers = 2, c.heads = 4, c.kv_heads = 2, c.context = LENGTH;
    return c;
}

/* Weights large enough that every part of the network matters. */
static bool fill_llama(ts_bed *t, const lt_transformer_config *c)
{
    if (!TS_OK(t->ctx, lt_transformer_params(t->params, c, 1))) return false;
    for (int i = 0; i < lt_params_count(t->params); i++) {
        lt_param *p = lt_params_at(t->params, i);
        if (lt_param_rank(p) == 2) lt_init_normal(p, 9, 0.3);
    }
    return true;
}

static void fill_tokens(int64_t n, int32_t *tokens)
{
    for (int64_t i = 0; i < n; i++) tokens[i] = (int32_t)(i * i * 7 + i * 3) % VOCAB;
}

/* Logits [BATCH, LENGTH, VOCAB] of the whole text at once. */
static void forward(ts_bed *t, const lt_transformer_config *c, const int32_t *tokens, lt_real *logits)
{
    lt_plan *plan = NULL;
    ts_bed_again(t);
    lt_t index = lt_index_input(t->g, "tokens", 2, (int64_t[]){BATCH, LENGTH}, 0, VOCAB);
    lt_t y = lt_transformer_head(t->g, c, lt_transformer_hidden(t->g, c, &(lt_model_input){.tokens = index}));
    if (TS_OK(t->ctx, ts_compile(t->g, TS_PLANNED, 1, &y, &plan)) && TS_OK(t->ctx, lt_bind(plan, "tokens", tokens)) &&
        TS_OK(t->ctx, lt_run(plan)))
        memcpy(logits, lt_result(plan, 0), BATCH * LENGTH * VOCAB * sizeof *logits);
    lt_plan_free(plan);
}

/* ---- Llama ---- */

static void decoding_token_by_token(void)
{
    ts_bed t;
    lt_transformer_config c = small_llama();
    if (!ts_bed_make(&t) || !fill_llama(&t, &c)) return;
    int32_t tokens[BATCH * LENGTH];
    static lt_real want[BATCH * LENGTH * VOCAB], got[BATCH * LENGTH * VOCAB];
    fill_tokens(BATCH * LENGTH, tokens);
    forward(&t, &c, tokens, want);
    TS_OK(t.ctx, lt_transformer_caches(t.params, &c, BATCH, LENGTH));
    for (int length = 4, at = 0; at < LENGTH; at += length, length = 1) { /* a prompt of four, then one by one */
        lt_plan *plan = NULL;
        int32_t part[BATCH * 4];
        ts_bed_again(&t);
        for (int b = 0; b < BATCH; b++)
            for (int i = 0; i < length; i++) part[b * length + i] = tokens[b * LENGTH + at + i];
        lt_t index = lt_index_input(t.g, "tokens", 2, (int64_t[]){BATCH, length}, 0, VOCAB);
        lt_t y = lt_transformer_head(
            t.g, &c,
            lt_transformer_hidden(t.g, &c, &(lt_model_input){.tokens = index, .first = lt_scalar(t.g, "first", 0)}));
        if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 1, &y, &plan)) && TS_OK(t.ctx, lt_bind(plan, "tokens", part)) &&
            TS_OK(t.ctx, lt_set(plan, "first", at)) && TS_OK(t.ctx, lt_run(plan)))
            for (int b = 0; b < BATCH; b++)
                memcpy(got + (b * LENGTH + at) * VOCAB, (const lt_real *)lt_result(plan, 0) + b * length * VOCAB,
                       (size_t)length * VOCAB * sizeof *got);
        lt_plan_free(plan);
    }
    double d = ts_distance_real(BATCH * LENGTH * VOCAB, got, want);
    TS_CHECK(d < ts_tolerance(1e-12, 1e-5), "decoded logits differ from the forward by %g", d);
    ts_bed_drop(&t);
}

static void caches_must_be_there(void)
{
    ts_bed t;
    lt_transformer_config c = small_llama();
    if (!ts_bed_make(&t) || !fill_llama(&t, &c)) return;
    lt_t index = lt_index_input(t.g, "tokens", 2, (int64_t[]){1, 1}, 0, VOCAB);
    lt_t y = lt_transformer_hidden(t.g, &c, &(lt_model_input){.tokens = index, .first = lt_scalar(t.g, "first", 0)});
    TS_CHECK(lt_is_nil(y) && strstr(lt_graph_message(t.g), "blk.0") && strstr(lt_graph_message(t.g), "parameter"),
             "no cache: %s", lt_graph_message(t.g));
    c.heads = 0;
    TS_REFUSED(t.ctx, lt_transformer_caches(t.params, &c, 1, 4), LT_EINVAL, "heads is 0");
    c.heads = 4;
    TS_OK(t.ctx, lt_transformer_caches(t.params, &c, 1, 4));
    TS_REFUSED(t.ctx, lt_transformer_caches(t.params, &c, 1, 4), LT_EINVAL, "blk.0.cache_k");
    ts_bed_drop(&t);
}

static void wrong_llamas(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_transformer_config c = small_llama();
    c.kv_heads = 3;
    TS_REFUSED(t.ctx, lt_transformer_params(t.params, &c, 1), LT_EINVAL, "llama: heads 4 is no multiple of kv_heads 3");
    c = small_llama(), c.vocab = 0;
    TS_REFUSED(t.ctx, lt_transformer_params(t.params, &c, 1), LT_EINVAL,
               "llama: vocab is 0; it must be in 1 to 4194304");
    c = small_llama(), c.head_dim = 5;
    TS_REFUSED(t.ctx, lt_transformer_params(t.params, &c, 1), LT_EINVAL, "the head dimension is 5");
    c = small_llama(), c.dim = 26;
    TS_REFUSED(t.ctx, lt_transformer_params(t.params, &c, 1), LT_EINVAL, "dim 26 is no multiple of heads 4");
    c = small_llama(), c.rope_theta = NAN;
    TS_REFUSED(t.ctx, lt_transformer_params(t.params, &c, 1), LT_EINVAL, "rotary positions: plain: theta is nan");
    c = small_llama(), c.norm_eps = -1;
    TS_REFUSED(t.ctx, lt_transformer_params(t.params, &c, 1), LT_EINVAL, "norm_eps is -1; it must be above 0");
    c = small_llama(), c.rope_scaling.kind = LT_ROPE_LINEAR;
    TS_REFUSED(t.ctx, lt_transformer_params(t.params, &c, 1), LT_EINVAL, "linear: factor is 0; it is to be above 0");
    c = small_llama(), c.window = (int64_t)1 << 32;
    TS_REFUSED(t.ctx, lt_transformer_params(t.params, &c, 1), LT_EINVAL, "window, its first layer and pattern");
    TS_CHECK(lt_params_count(t.params) == 0, "nothing was added");
    c = small_llama();
    lt_t index = lt_index_input(t.g, "tokens", 2, (int64_t[]){1, 2}, 0, VOCAB);
    lt_t loss = lt_transformer_loss(t.g, &c, &(lt_model_input){.tokens = index}, index, lt_nil(t.g));
    TS_CHECK(lt_is_nil(loss) && strstr(lt_graph_message(t.g), "the model has no parameter 'token_embd.weight'"),
             "recorded without parameters: %s", lt_graph_message(t.g));
    TS_OK(t.ctx, lt_transformer_params(t.params, &c, 1));
    TS_REFUSED(t.ctx, lt_transformer_params(t.params, &c, 1), LT_EINVAL, "token_embd.weight");
    ts_bed_again(&t);
    c.heads = 0;
    lt_transformer_hidden(t.g, &c,
                          &(lt_model_input){.tokens = lt_index_input(t.g, "tokens", 2, (int64_t[]){1, 2}, 0, VOCAB)});
    TS_CHECK(strstr(lt_graph_message(t.g), "llama: heads is 0"), "a wrong recording: %s", lt_graph_message(t.g));
    ts_bed_drop(&t);
}

/* Gradients of all parameters, one after the other. */
static int64_t all_gradients(ts_bed *t, const lt_transformer_config *c, const int32_t *tokens, lt_real *out)
{
    lt_t wrt[32], dx[33];
    lt_plan *plan = NULL;
    int n = lt_params_count(t->params);
    int64_t total = 0;
    ts_bed_again(t);
    lt_t index = lt_index_input(t->g, "tokens", 2, (int64_t[]){BATCH, LENGTH}, 0, VOCAB);
    lt_t loss = lt_transformer_loss(t->g, c, &(lt_model_input){.tokens = index}, index, lt_nil(t->g));
    for (int i = 0; i < n; i++) wrt[i] = lt_param_value(t->g, lt_params_at(t->params, i));
    lt_grad(loss, n, wrt, dx);
    dx[n] = loss;
    if (TS_OK(t->ctx, ts_compile(t->g, TS_PLANNED, n + 1, dx, &plan)) &&
        TS_OK(t->ctx, lt_bind(plan, "tokens", tokens)) && TS_OK(t->ctx, lt_run(plan)))
        for (int i = 0; i <= n; i++) {
            int64_t count = i < n ? lt_param_count(lt_params_at(t->params, i)) : 1;
            memcpy(out + total, lt_result(plan, i), (size_t)count * sizeof *out);
            total += count;
        }
    lt_plan_free(plan);
    return total;
}

static void recomputed_activations_change_no_bit(void)
{
    ts_bed t;
    static lt_real kept[20000], again[20000];
    int32_t tokens[BATCH * LENGTH];
    lt_transformer_config c = small_llama();
    if (!ts_bed_make(&t) || !fill_llama(&t, &c)) return;
    fill_tokens(BATCH * LENGTH, tokens);
    int64_t n = all_gradients(&t, &c, tokens, kept);
    c.checkpoint = true;
    int64_t m = all_gradients(&t, &c, tokens, again);
    TS_CHECK(n > 10000 && n == m && ts_same_bytes((size_t)n * sizeof *kept, kept, again),
             "gradients with recomputed activations differ by %g", ts_distance_real(n, again, kept));
    ts_bed_drop(&t);
}

/* Rows of a head in the order of pairs (2i, 2i+1), from the order of halves (i, i + D/2). */
static void interleave(lt_param *p, int64_t D)
{
    int64_t rows = lt_param_shape(p)[0], columns = lt_param_shape(p)[1];
    lt_real *w = lt_param_data(p), *copy = malloc(lt_param_bytes(p));
    memcpy(copy, w, lt_param_bytes(p));
    for (int64_t r = 0; r < rows; r++) {
        int64_t head = r / D, i = r % D;
        int64_t from = head * D + i / 2 + (i % 2) * D / 2;
        memcpy(w + r * columns, copy + from * columns, (size_t)columns * sizeof *w);
    }
    lt_param_touch(p);
    free(copy);
}

static void rotary_layouts_agree(void)
{
    ts_bed t;
    static lt_real halves[BATCH * LENGTH * VOCAB], pairs[BATCH * LENGTH * VOCAB];
    int32_t tokens[BATCH * LENGTH];
    lt_transformer_config c = small_llama();
    if (!ts_bed_make(&t) || !fill_llama(&t, &c)) return;
    fill_tokens(BATCH * LENGTH, tokens);
    forward(&t, &c, tokens, halves);
    c.rope_interleaved = true;
    forward(&t, &c, tokens, pairs);
    double d = ts_distance_real(BATCH * LENGTH * VOCAB, pairs, halves);
    TS_CHECK(d > 1e-3, "the layout matters: %g", d);
    for (int64_t layer = 0; layer < c.layers; layer++) {
        char name[40];
        snprintf(name, sizeof name, "blk.%lld.attn_q.weight", (long long)layer);
        interleave(lt_params_find(t.params, name), c.dim / c.heads);
        snprintf(name, sizeof name, "blk.%lld.attn_k.weight", (long long)layer);
        interleave(lt_params_find(t.params, name), c.dim / c.heads);
    }
    forward(&t, &c, tokens, pairs);
    d = ts_distance_real(BATCH * LENGTH * VOCAB, pairs, halves);
    TS_CHECK(d < ts_tolerance(1e-13, 1e-6), "permuted rows give the same logits: %g", d);
    ts_bed_drop(&t);
}

static void an_untied_head_has_its_own_weight(void)
{
    ts_bed t;
    static lt_real tied[BATCH * LENGTH * VOCAB], untied[BATCH * LENGTH * VOCAB];
    int32_t tokens[BATCH * LENGTH];
    lt_transformer_config c = small_llama();
    c.tied = false;
    if (!ts_bed_make(&t) || !fill_llama(&t, &c)) return;
    fill_tokens(BATCH * LENGTH, tokens);
    forward(&t, &c, tokens, untied);
    c.tied = true;
    forward(&t, &c, tokens, tied);
    TS_CHECK(ts_distance_real(BATCH * LENGTH * VOCAB, tied, untied) > 1e-3, "two heads differ");
    lt_param *embedding = lt_params_find(t.params, "token_embd.weight");
    lt_param *head = lt_params_find(t.params, "output.weight");
    memcpy(lt_param_data(head), lt_param_read(embedding), lt_param_bytes(head));
    lt_param_touch(head);
    c.tied = false;
    forward(&t, &c, tokens, untied);
    TS_CHECK(ts_same_bytes(sizeof tied, tied, untied), "and are one when their weights are");
    ts_bed_drop(&t);
}

/* ---- The perceptron ---- */

static void perceptron(void)
{
    enum { ROWS = 5, IN = 6, H0 = 8, H1 = 7, OUT = 3 };
    ts_bed t;
    lt_mlp_config c;
    lt_mlp_config_init(&c);
    TS_CHECK(c.size == sizeof c && c.n_hidden == 0, "an empty configuration");
    c.inputs = IN, c.classes = OUT, c.n_hidden = 2, c.hidden[0] = H0, c.hidden[1] = H1;
    if (!ts_bed_make(&t) || !TS_OK(t.ctx, lt_mlp_params(t.params, &c, 3))) return;
    TS_CHECK(lt_params_count(t.params) == 6, "%d parameters", lt_params_count(t.params));
    lt_real x[ROWS * IN], got[ROWS * OUT];
    double a[ROWS][8] = {{0}}, want[ROWS * OUT];
    ts_fill_normal("x", ROWS * IN, 1, x);
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < IN; i++) a[r][i] = (double)x[r * IN + i];
    for (int layer = 1; layer <= 3; layer++) {
        char name[32];
        snprintf(name, sizeof name, "fc%d.weight", layer);
        const lt_param *w = lt_params_find(t.params, name);
        snprintf(name, sizeof name, "fc%d.bias", layer);
        const lt_real *b = lt_param_read(lt_params_find(t.params, name)), *v = lt_param_read(w);
        int64_t out = lt_param_shape(w)[0], in = lt_param_shape(w)[1];
        for (int64_t i = 0; i < lt_param_count(w); i++)
            if (!TS_CHECK(fabs((double)v[i]) <= 1 / sqrt((double)in) && v[i] != 0, "start value %g", (double)v[i]))
                break;
        for (int r = 0; r < ROWS; r++) {
            double y[8];
            for (int64_t o = 0; o < out; o++) {
                y[o] = (double)b[o];
                for (int64_t i = 0; i < in; i++) y[o] += (double)v[o * in + i] * a[r][i];
                if (layer < 3 && y[o] < 0) y[o] = 0;
            }
            memcpy(a[r], y, (size_t)out * sizeof *y);
        }
    }
    for (int r = 0; r < ROWS; r++) memcpy(want + r * OUT, a[r], OUT * sizeof *want);
    lt_plan *plan = NULL;
    lt_t y = lt_mlp_logits(t.g, &c, lt_input(t.g, "x", LT_F32, 2, (int64_t[]){ROWS, IN}));
    if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 1, &y, &plan)) && TS_OK(t.ctx, lt_bind(plan, "x", x)) &&
        TS_OK(t.ctx, lt_run(plan)))
        memcpy(got, lt_result(plan, 0), sizeof got);
    lt_plan_free(plan);
    double d = ts_distance(ROWS * OUT, got, want);
    TS_CHECK(d < ts_tolerance(1e-14, 1e-6), "logits differ by %g", d);
    ts_bed_drop(&t);
}

static void wrong_perceptrons(void)
{
    ts_bed t;
    lt_mlp_config c;
    if (!ts_bed_make(&t)) return;
    lt_mlp_config_init(&c);
    c.inputs = 4, c.classes = 2;
    c.n_hidden = 8;
    TS_REFUSED(t.ctx, lt_mlp_params(t.params, &c, 1), LT_EINVAL, "mlp: 8 hidden layers; 0 to 7 are possible");
    c.n_hidden = -1;
    TS_REFUSED(t.ctx, lt_mlp_params(t.params, &c, 1), LT_EINVAL, "mlp: -1 hidden layers");
    c.n_hidden = 1;
    TS_REFUSED(t.ctx, lt_mlp_params(t.params, &c, 1), LT_EINVAL, "mlp: layer 1 has 4 inputs and 0 outputs");
    c.n_hidden = 0, c.classes = 0;
    TS_REFUSED(t.ctx, lt_mlp_params(t.params, &c, 1), LT_EINVAL, "layer 1 has 4 inputs and 0 outputs");
    c.classes = 2;
    TS_OK(t.ctx, lt_mlp_params(t.params, &c, 1));
    TS_REFUSED(t.ctx, lt_mlp_params(t.params, &c, 1), LT_EINVAL, "fc1.weight");
    ts_bed_drop(&t);
}

/* ---- Layers ---- */

static void layers_without_parameters(void)
{
    for (int k = 0; k < 6; k++) {
        ts_bed t;
        if (!ts_bed_make(&t)) return;
        lt_t x = lt_input(t.g, "x", LT_F32, 2, (int64_t[]){4, 6}), y = x;
        lt_t i = lt_index_input(t.g, "i", 1, (int64_t[]){3}, 0, 5);
        lt_scope(t.g, "blk.%d", 1);
        for (int round = 0; round < 2; round++) { /* the second time the graph has its error already */
            switch (k) {
            case 0: y = lt_nn_linear(x, "layer"); break;
            case 1: y = lt_nn_embedding(i, "layer"); break;
            case 2: y = lt_nn_rms_norm(x, "layer", 1e-5); break;
            case 3: y = lt_nn_layer_norm(x, "layer", 1e-5); break;
            case 4: y = lt_nn_head(x, "layer", "blk.1.layer.weight"); break;
            default: y = lt_nn_head_loss(x, "layer", "blk.1.layer.weight", 0, NULL, x); break;
            }
            TS_CHECK(lt_is_nil(y) || round, "layer %d is nil", k);
        }
        lt_scope_end(t.g);
        TS_CHECK(lt_graph_status(t.g) == LT_EINVAL &&
                     strstr(lt_graph_message(t.g), "blk.1.layer: the model has no parameter 'blk.1.layer.weight'"),
                 "layer %d: %s", k, lt_graph_message(t.g));
        ts_bed_drop(&t);
    }
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_graph *g = NULL;
    if (TS_OK(ctx, lt_graph_create(ctx, NULL, &g)))
        lt_nn_linear(lt_input(g, "x", LT_F32, 2, (int64_t[]){4, 6}), "layer");
    TS_CHECK(strstr(lt_graph_message(g), "no parameter 'layer.weight'"), "no params: %s", lt_graph_message(g));
    lt_graph_free(g);
    lt_ctx_free(ctx);
}

static void biases_are_optional(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_real x[2 * 4], got[2 * 3];
    ts_fill_normal("x", 8, 1, x);
    ts_weight(&t, "fc.weight", 1, 2, (int64_t[]){3, 4});
    lt_init_constant(ts_weight(&t, "ln.weight", 1, 1, (int64_t[]){4}), 2);
    for (int bias = 0; bias < 2; bias++) {
        if (bias) lt_init_constant(ts_weight(&t, "fc.bias", 1, 1, (int64_t[]){3}), 0.5);
        if (bias) lt_init_constant(ts_weight(&t, "ln.bias", 1, 1, (int64_t[]){4}), -1);
        ts_bed_again(&t);
        lt_t in = lt_input(t.g, "x", LT_F32, 2, (int64_t[]){2, 4});
        lt_t y[2] = {lt_nn_linear(in, "fc"), lt_nn_layer_norm(in, "ln", 1e-5)};
        lt_plan *plan = NULL;
        if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 2, y, &plan)) && TS_OK(t.ctx, lt_bind(plan, "x", x)) &&
            TS_OK(t.ctx, lt_run(plan))) {
            const lt_real *linear = lt_result(plan, 0), *norm = lt_result(plan, 1);
            for (int i = 0; bias && i < 6; i++)
                TS_CHECK(fabs((double)(linear[i] - got[i]) - 0.5) < 1e-6, "a bias of 0.5 adds 0.5");
            memcpy(got, linear, sizeof got);
            double mean = 0;
            for (int i = 0; i < 4; i++) mean += (double)norm[i] / 4;
            TS_CHECK(fabs(mean - (bias ? -1 : 0)) < 1e-6, "the mean of a normed row is its bias: %g", mean);
        }
        lt_plan_free(plan);
    }
    ts_bed_drop(&t);
}

static lt_t as_it_is(lt_t x_raw, lt_t x_in, lt_t w, lt_t y, const lt_site *site, void *config)
{
    (void)x_raw, (void)x_in, (void)w, (void)site;
    ++*(int *)config;
    return y;
}

/* A head whose output somebody wants to see computes its logits as a whole, with the same loss. */
static void heads_with_hooks(void)
{
    ts_bed t;
    if (!ts_bed_make(&t)) return;
    lt_real x[5 * 8], loss[2] = {0};
    const int32_t targets[5] = {1, 0, -1, 6, 3};
    ts_fill_normal("x", 40, 1, x);
    ts_weight(&t, "output.weight", 1, 2, (int64_t[]){7, 8});
    int seen = 0;
    const lt_attachment watch = {.size = sizeof watch, .output = as_it_is, .config = &seen};
    for (int hooked = 0; hooked < 2; hooked++) {
        lt_plan *plan = NULL;
        ts_bed_again(&t);
        if (hooked) lt_attach(t.g, &watch);
        lt_t in = lt_input(t.g, "x", LT_F32, 2, (int64_t[]){5, 8});
        lt_t target = lt_index_input(t.g, "targets", 1, (int64_t[]){5}, -1, 7);
        const lt_head_term terms[2] = {{lt_head_cross_entropy(), 0.25, 1, target},
                                       {lt_head_cross_entropy(), 1, 1, target}};
        lt_t y = lt_nn_head_loss(in, "output", "output.weight", 2, terms, lt_nil(t.g));
        if (TS_OK(t.ctx, ts_compile(t.g, TS_PLANNED, 1, &y, &plan)) && TS_OK(t.ctx, lt_bind(plan, "x", x)) &&
            TS_OK(t.ctx, lt_bind(plan, "targets", targets)) && TS_OK(t.ctx, lt_run(plan)))
            loss[hooked] = *(const lt_real *)lt_result(plan, 0);
        lt_plan_free(plan);
    }
    TS_CHECK(seen == 1 && fabs((double)(loss[0] - loss[1])) < 1e-6 * (double)loss[0], "losses %g and %g",
             (double)loss[0], (double)loss[1]);
    ts_bed_again(&t);
    lt_attach(t.g, &watch);
    lt_t in = lt_input(t.g, "x", LT_F32, 2, (int64_t[]){5, 8});
    const lt_head_term kl = {lt_head_kl(), 1, 1, lt_input(t.g, "teacher", LT_F32, 2, (int64_t[]){5, 7})};
    lt_nn_head_loss(in, "output", "output.weight", 1, &kl, lt_nil(t.g));
    TS_CHECK(lt_graph_status(t.g) == LT_EUNSUPPORTED &&
                 strstr(lt_graph_message(t.g), "a head with a bias or output hooks takes cross-entropy terms only"),
             "%s", lt_graph_message(t.g));
    ts_bed_drop(&t);
}

int lti_suite_networks(void)
{
    const ts_test tests[] = {{"decoding", decoding_token_by_token},
                             {"caches must be there", caches_must_be_there},
                             {"wrong llamas", wrong_llamas},
                             {"recomputed activations", recomputed_activations_change_no_bit},
                             {"rotary layouts", rotary_layouts_agree},
                             {"an untied head", an_untied_head_has_its_own_weight},
                             {"perceptron", perceptron},
                             {"wrong perceptrons", wrong_perceptrons},
                             {"layers without parameters", layers_without_parameters},
                             {"biases are optional", biases_are_optional},
                             {"heads with hooks", heads_with_hooks}};
    return ts_suite("networks", LTI_COUNT(tests), tests) || toy_one_thread("networks");
}
