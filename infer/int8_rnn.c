/* int8_rnn.c - LSTM and GRU in integers.
 *
 *     codes of x at all steps -> W_ih x + b, one product -> a step: W_hh round(127 h), gates -> next layer, head
 *
 * An LSTM's state is o tanh(c), a GRU's lies between its last one and a tanh: |h| < 1, and the scale is 1/127 without
 * being observed. The scale of a layer's output towards the next one was. A GRU's reset gate multiplies what comes from
 * the state alone: there the two products stay apart, each with its own bias; an LSTM's are one sum. The embedding is a
 * table of codes on the first layer's activation grid: looking up is all that is left. Both products are 1 x 1
 * convolutions, whose matrices are packed once (kernels/conv_int8.h); the integer product of kernels/integer.h packs
 * them at each call, that is, at each step. */
#include "infer/int8_layers.h"

#include "kernels/kernels.h"
#include "qat/learned_scales.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ROWS = 16, MOST_STEPS = 1 << 16 };

/* Of a slot's memory, with N gates. X: codes [T, G, I]. Z: floats [T, G, N H]. Y: h of all steps [T, G, H].
 * OUT: logits. H0: codes of h [G, H]. HF [G, N H] and GATES: of one step. KEPT: what a step hands on in float, an
 * LSTM's cell, a GRU's state [G, H]. LAST: states that are classified [G, H]. */
enum { X, Z, Y, H0, HF, KEPT, GATES, LAST, OUT, BUFFERS };
enum { GATE_ROOM = 11 }; /* H-sized parts of GATES: gates 4, sums 2 x 3, h */

typedef struct rnn_layer {
    const lti_int8_layer *ih;
    lti_conv_int8 *input, *state;
} rnn_layer;

typedef struct rnn_program {
    lti_int8_program base;
    lt_ctx *ctx;
    const lt_rnn_config *c;
    int64_t T;
    rnn_layer *layers;
    const lti_int8_layer *table, *head_layer;
    lti_conv_int8 *head, **convs;
    size_t at[BUFFERS + 1], scratch;
} rnn_program;

static int64_t gates_of(const lt_rnn_config *c)
{
    return c->kind == LT_RNN_GRU ? 3 : 4;
}

/* ---- Layers ---- */

/* Row v of the embedding, x [dim], as a step of the training looks it up: a scale rule is of integers alone. */
static lt_status table_row(const lt_params *params, const lt_quant_policy *policy, const lt_scheme *s,
                           const lt_param *e, int64_t v, lt_real *x)
{
    lt_ctx *ctx = lt_params_ctx(params);
    int64_t dim = lt_param_shape(e)[1];
    memcpy(x, (const lt_real *)lt_param_read(e) + v * dim, (size_t)dim * sizeof *x);
    if (!lti_on_integers(s)) return lt_scheme_apply(ctx, s, LT_SCALE_DYNAMIC, 1, dim, x, x);
    lti_grid_now now;
    lt_status status = lti_grid_now_make(params, policy, s, e, v, 1, &now);
    if (status == LT_OK) lti_on_grids(&now.attr, &now.groups, x, now.scale, now.offset, x);
    lti_grid_now_free(ctx, &now);
    return status;
}

/* The embedding as activations of the first layer. */
static lt_status take_table(lt_int8 *net, const lt_params *params, const lt_quant_policy *policy)
{
    const lt_param *e = lt_params_find(params, "token_embd.weight");
    if (!e || lt_param_type(e) != LT_F32 || lt_param_rank(e) != 2)
        return lti_fail(net->ctx, LT_EINVAL, "int8: the model has no f32 'token_embd.weight'");
    lt_scheme s = lt_quant_scheme(policy, e);
    int64_t V = lt_param_shape(e)[0], dim = lt_param_shape(e)[1];
    lti_int8_layer *l = lti_int8_layer_new(&net->layers, "token_embd", V, dim, true);
    const lti_int8_layer *first = lti_int8_find(&net->layers, "rnn.0.ih");
    lt_real *row = l ? lti_alloc_array(net->ctx, (size_t)dim, sizeof *row) : NULL;
    float *x = row ? lti_alloc_array(net->ctx, (size_t)dim, sizeof *x) : NULL;
    lt_status status = x ? LT_OK : LT_ENOMEM;
    if (status == LT_OK && !lt_scheme_is_float(&s) && s.per == LT_PER_TENSOR)
        status =
            lti_fail(net->ctx, LT_EINVAL, "int8: an embedding with one scale is not supported; take int8 by channel");
    for (int64_t v = 0; v < V && status == LT_OK; v++) {
        status = table_row(params, policy, &s, e, v, row);
        for (int64_t i = 0; i < dim; i++) x[i] = (float)row[i];
        lti_int8_codes(dim, x, first->x_scale, first->x_lowest, l->codes + v * dim);
    }
    if (l) l->x_scale = first->x_scale, l->x_lowest = first->x_lowest;
    lti_free(net->ctx, x);
    lti_free(net->ctx, row);
    return status;
}

lt_status lti_int8_rnn_layers(lt_int8 *net, const lt_params *params, const lt_quant_policy *policy)
{
    const lt_rnn_config *c = &net->config.rnn;
    for (int64_t i = 0; i < c->layers; i++) {
        char name[32], ih[40], hh[40], w_ih[48], w_hh[48], b_ih[48], b_hh[48];
        snprintf(name, sizeof name, "rnn.%d", (int)i);
        snprintf(ih, sizeof ih, "%s.ih", name);
        snprintf(hh, sizeof hh, "%s.hh", name);
        snprintf(w_ih, sizeof w_ih, "%s.weight_ih", name);
        snprintf(w_hh, sizeof w_hh, "%s.weight_hh", name);
        snprintf(b_ih, sizeof b_ih, "%s.bias_ih", name);
        snprintf(b_hh, sizeof b_hh, "%s.bias_hh", name);
        bool apart = c->kind == LT_RNN_GRU;
        const char *const of_input[2] = {b_ih, apart ? NULL : b_hh}, *const of_state[2] = {apart ? b_hh : NULL, NULL};
        LTI_TRY(lti_int8_take(&net->layers, params, policy, ih, w_ih, of_input, false));
        LTI_TRY(lti_int8_take(&net->layers, params, policy, hh, w_hh, of_state, true));
    }
    if (c->vocab) LTI_TRY(take_table(net, params, policy));
    const char *head = c->classes ? "head" : "output", *weight = "head.weight";
    if (!c->classes) weight = c->tied ? "token_embd.weight" : "output.weight";
    const char *const biases[2] = {c->classes ? "head.bias" : "output.bias", NULL};
    return lti_int8_take(&net->layers, params, policy, head, weight, biases, false);
}

/* ---- At work ---- */

static float *floats(const rnn_program *p, char *memory, int buffer)
{
    return (float *)(void *)(memory + p->at[buffer]);
}

/* The first layer's codes [T, G, I]; rows beyond n are 0. */
static void take_input(const rnn_program *p, char *m, int64_t first, int64_t n, const void *x)
{
    int64_t G = p->base.group, I = p->layers[0].ih->K;
    char *codes = m + p->at[X];
    float *row = floats(p, m, OUT);
    memset(codes, 0, (size_t)(p->T * G * I));
    for (int64_t g = 0; g < n; g++)
        for (int64_t t = 0; t < p->T; t++) {
            int64_t from = (first + g) * p->T + t;
            char *to = codes + (t * G + g) * I;
            if (p->table) {
                memcpy(to, p->table->codes + ((const int32_t *)x)[from] * I, (size_t)I);
                continue;
            }
            for (int64_t i = 0; i < I; i++) row[i] = (float)((const lt_real *)x)[from * I + i];
            lti_int8_codes(I, row, p->layers[0].ih->x_scale, p->layers[0].ih->x_lowest, to);
        }
}

static void to_reals(int64_t n, const float *x, lt_real *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = (lt_real)x[i];
}

/* One row of a step: the gates from what the products gave, then h. x [N H]: of the input, in an LSTM with it the
 * state's (`state` is NULL); kept [H]: see KEPT. */
static void run_gates(int64_t H, const float *x, const float *state, lt_real *kept, lt_real *room, float *h)
{
    lt_real *sums = room + 4 * H, *of_state = sums + 3 * H, *out = room + 10 * H;
    to_reals((state ? 3 : 4) * H, x, state ? sums : room);
    if (state) {
        to_reals(3 * H, state, of_state);
        lti_k()->gru_gates(H, of_state, sums, NULL, NULL, room, kept);
    } else {
        lti_k()->lstm_gates(H, NULL, room, NULL, room, kept, out);
    }
    const lt_real *from = state ? kept : out;
    for (int64_t i = 0; i < H; i++) h[i] = (float)from[i];
}

/* Codes in X through a layer: h of all steps in Y. */
static lt_status run_layer(const rnn_program *p, const rnn_layer *l, lti_int8_slot slot)
{
    char *m = slot.memory;
    void *scratch = m + p->at[BUFFERS];
    int64_t G = p->base.group, H = p->c->hidden, N = gates_of(p->c);
    bool apart = p->c->kind == LT_RNN_GRU;
    float *z = floats(p, m, Z), *step = floats(p, m, HF);
    lt_real *kept = (lt_real *)(void *)(m + p->at[KEPT]), *room = (lt_real *)(void *)(m + p->at[GATES]);
    memset(kept, 0, (size_t)(G * H) * sizeof *kept);
    memset(m + p->at[H0], 0, (size_t)(G * H));
    LTI_TRY(lti_conv_int8_run(l->input, slot.index, m + p->at[X], NULL, z, scratch));
    for (int64_t t = 0; t < p->T; t++) {
        float *y = floats(p, m, Y) + t * G * H, *of_input = z + t * G * N * H;
        LTI_TRY(lti_conv_int8_run(l->state, slot.index, m + p->at[H0], apart ? NULL : of_input, step, scratch));
        for (int64_t g = 0; g < G; g++) {
            const float *at = step + g * N * H;
            run_gates(H, apart ? of_input + g * N * H : at, apart ? at : NULL, kept + g * H, room, y + g * H);
        }
        lti_int8_codes(G * H, y, 1.0f / 127, -127, m + p->at[H0]);
    }
    return LT_OK;
}

static lt_status run_head(const rnn_program *p, lti_int8_slot slot, int64_t first, int64_t n, const int32_t *lengths,
                          lt_real *logits)
{
    char *m = slot.memory;
    int64_t G = p->base.group, H = p->c->hidden, rows = p->T, O = p->head_layer->O;
    const float *y = floats(p, m, Y);
    if (p->c->classes) {
        float *last = floats(p, m, LAST);
        memset(last, 0, (size_t)(G * H) * sizeof *last);
        for (int64_t g = 0; g < n; g++) {
            int64_t t = (lengths ? lengths[first + g] : p->T) - 1;
            memcpy(last + g * H, y + (t * G + g) * H, (size_t)H * sizeof *last);
        }
        y = last, rows = 1;
    }
    lti_int8_codes(rows * G * H, y, p->head_layer->x_scale, p->head_layer->x_lowest, m + p->at[X]);
    float *z = floats(p, m, OUT);
    LTI_TRY(lti_conv_int8_run(p->head, slot.index, m + p->at[X], NULL, z, m + p->at[BUFFERS]));
    for (int64_t g = 0; g < n; g++)
        for (int64_t t = 0; t < rows; t++)
            for (int64_t o = 0; o < O; o++) logits[((first + g) * rows + t) * O + o] = (lt_real)z[(t * G + g) * O + o];
    return LT_OK;
}

static lt_status run_group(const lti_int8_program *base, lti_int8_slot slot, int64_t first, int64_t n, const void *x,
                           const int32_t *lengths, lt_real *logits)
{
    const rnn_program *p = (const rnn_program *)(const void *)base;
    take_input(p, slot.memory, first, n, x);
    for (int64_t i = 0; i < p->c->layers; i++) {
        const rnn_layer *l = &p->layers[i];
        int64_t count = p->T * p->base.group * p->c->hidden;
        if (i > 0)
            lti_int8_codes(count, floats(p, slot.memory, Y), l->ih->x_scale, l->ih->x_lowest, slot.memory + p->at[X]);
        LTI_TRY(run_layer(p, l, slot));
    }
    return run_head(p, slot, first, n, lengths, logits);
}

static lt_status check_rows(const lti_int8_program *base, lt_ctx *ctx, int64_t n, const void *x, const int32_t *lengths)
{
    const rnn_program *p = (const rnn_program *)(const void *)base;
    const int32_t *tokens = x;
    for (int64_t i = 0; p->table && i < n * p->T; i++)
        if (tokens[i] < 0 || tokens[i] >= p->c->vocab)
            return lti_fail(ctx, LT_EINVAL, "int8: token %d at %lld; there are %lld", (int)tokens[i], (long long)i,
                            (long long)p->c->vocab);
    for (int64_t i = 0; lengths && i < n; i++)
        if (lengths[i] < 1 || lengths[i] > p->T)
            return lti_fail(ctx, LT_EINVAL, "int8: row %lld has length %d; 1 to %lld are possible", (long long)i,
                            (int)lengths[i], (long long)p->T);
    return LT_OK;
}

/* ---- The program ---- */

static void free_program(lt_ctx *ctx, lti_int8_program *base)
{
    rnn_program *p = (rnn_program *)(void *)base;
    for (int i = 0; i < p->base.n_convs; i++) lti_conv_int8_free(ctx, p->convs[i]);
    lti_free(ctx, p->layers);
    lti_free(ctx, p->convs);
    lti_free(ctx, p);
}

static lt_status product(rnn_program *p, const lti_int8_layer *l, int64_t rows, int64_t O, int64_t K, bool adds,
                         int slots, lti_conv_int8 **conv)
{
    if (!l || l->O != O || l->K != K)
        return lti_fail(p->ctx, LT_EFORMAT, "int8: a layer of the network is missing, or not [%lld,%lld]", (long long)O,
                        (long long)K);
    LTI_TRY(lti_int8_product(p->ctx, l, rows, adds, slots, conv));
    p->convs[p->base.n_convs++] = *conv;
    if (lti_conv_int8_scratch(*conv) > p->scratch) p->scratch = lti_conv_int8_scratch(*conv);
    return LT_OK;
}

static lt_status add_layers(rnn_program *p, const lt_int8 *net)
{
    const lt_rnn_config *c = p->c;
    int64_t G = p->base.group, H = c->hidden, N = gates_of(c);
    for (int64_t i = 0; i < c->layers; i++) {
        char site[LTI_INT8_NAME];
        rnn_layer *l = &p->layers[i];
        snprintf(site, sizeof site, "rnn.%d.ih", (int)i);
        l->ih = lti_int8_find(&net->layers, site);
        int64_t I = i > 0 ? H : c->vocab ? c->dim : c->inputs;
        LTI_TRY(product(p, l->ih, p->T * G, N * H, I, false, net->slots, &l->input));
        snprintf(site, sizeof site, "rnn.%d.hh", (int)i);
        bool adds = c->kind == LT_RNN_LSTM;
        LTI_TRY(product(p, lti_int8_find(&net->layers, site), G, N * H, H, adds, net->slots, &l->state));
    }
    p->table = c->vocab ? lti_int8_find(&net->layers, "token_embd") : NULL;
    if (c->vocab && (!p->table || p->table->O != c->vocab || p->table->K != c->dim))
        return lti_fail(p->ctx, LT_EFORMAT, "int8: the embedding is missing, or not [%lld,%lld]", (long long)c->vocab,
                        (long long)c->dim);
    p->head_layer = lti_int8_find(&net->layers, c->classes ? "head" : "output");
    return product(p, p->head_layer, c->classes ? G : p->T * G, c->classes ? c->classes : c->vocab, H, false,
                   net->slots, &p->head);
}

static void place_buffers(rnn_program *p)
{
    const lt_rnn_config *c = p->c;
    size_t G = (size_t)p->base.group, T = (size_t)p->T, H = (size_t)c->hidden, I = (size_t)p->layers[0].ih->K;
    size_t N = (size_t)gates_of(c), O = (size_t)p->head_layer->O, widest = I > H ? I : H,
           out = (c->classes ? G : T * G) * O;
    const size_t bytes[BUFFERS] = {[X] = T * G * widest,
                                   [Z] = T * G * N * H * sizeof(float),
                                   [Y] = T * G * H * sizeof(float),
                                   [H0] = G * H,
                                   [HF] = G * N * H * sizeof(float),
                                   [KEPT] = G * H * sizeof(lt_real),
                                   [GATES] = GATE_ROOM * H * sizeof(lt_real),
                                   [LAST] = G * H * sizeof(float),
                                   [OUT] = (out > I ? out : I) * sizeof(float)};
    size_t at = 0;
    for (int i = 0; i < BUFFERS; i++) {
        p->at[i] = at;
        at += (bytes[i] + 127) / 64 * 64;
    }
    p->at[BUFFERS] = at;
    p->base.slot_bytes = at + p->scratch;
}

lt_status lti_int8_rnn_program(lt_int8 *net)
{
    lt_ctx *ctx = net->ctx;
    const lt_rnn_config *c = &net->config.rnn;
    if (net->size < 1 || net->size > MOST_STEPS)
        return lti_fail(ctx, LT_EINVAL, "int8: %lld steps; 1 to %d are possible", (long long)net->size,
                        (int)MOST_STEPS);
    rnn_program *p = lti_alloc(ctx, sizeof *p);
    if (!p) return LT_ENOMEM;
    net->program = &p->base;
    p->base = (lti_int8_program){.group = ROWS, .run = run_group, .check = check_rows, .free = free_program};
    p->ctx = ctx, p->c = c, p->T = net->size;
    p->layers = lti_alloc_array(ctx, (size_t)c->layers, sizeof *p->layers);
    if (p->layers) p->convs = lti_alloc_array(ctx, 2 * (size_t)c->layers + 1, sizeof *p->convs);
    if (!p->convs) return LT_ENOMEM;
    p->base.convs = p->convs;
    LTI_TRY(add_layers(p, net));
    place_buffers(p);
    return LT_OK;
}
