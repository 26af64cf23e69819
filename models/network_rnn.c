/* network_rnn.c - LSTM and GRU (rnn.c) as models: their keys, their tensors, what they read.
 *
 * With a vocabulary they read tokens: without classes they predict the next one, with classes they are classifiers of
 * texts. Without one they read series of numbers, and have classes. */
#include "autograd/op.h"
#include "lathe/nn.h"
#include "models/network.h"

#include <math.h>
#include <stdio.h>

static void lstm_defaults(lti_network_config *c)
{
    lt_rnn_config_init(&c->rnn);
    c->rnn.kind = LT_RNN_LSTM;
}

static void gru_defaults(lti_network_config *c)
{
    lt_rnn_config_init(&c->rnn);
    c->rnn.kind = LT_RNN_GRU;
}

static int keys_of(lti_network_config *config, lti_network_key keys[LTI_NETWORK_KEYS])
{
    lt_rnn_config *c = &config->rnn;
    const lti_network_key own[] = {{"vocab", .count = &c->vocab},     {"inputs", .count = &c->inputs},
                                   {"dim", .count = &c->dim},         {"hidden", .count = &c->hidden},
                                   {"layers", .count = &c->layers},   {"tied", .flag = &c->tied},
                                   {"classes", .count = &c->classes}, {"context", .count = &c->context}};
    for (int i = 0; i < LTI_COUNT(own); i++) keys[i] = own[i];
    return LTI_COUNT(own);
}

static const char *name_of(const lt_rnn_config *c)
{
    return c->kind == LT_RNN_GRU ? "gru" : "lstm";
}

/* [T, inputs]: any number of steps. */
static lt_status take_rows(lt_ctx *ctx, lti_network_config *c, int rank, const int64_t *shape)
{
    if (rank == 2) return lti_network_take(ctx, name_of(&c->rnn), "inputs", &c->rnn.inputs, shape[1]);
    return lti_fail(ctx, LT_EINVAL, "%s: rows of rank %d are no series; [steps, numbers a step] are", name_of(&c->rnn),
                    rank);
}

static lt_status check(lt_ctx *ctx, const lti_network_config *config)
{
    const lt_rnn_config *c = &config->rnn;
    const char *name = name_of(c);
    const struct {
        const char *name;
        int64_t value, limit;
        bool wanted;
    } sizes[] = {{"vocab", c->vocab, 1 << 22, c->inputs == 0},
                 {"inputs", c->inputs, 1 << 20, c->vocab == 0},
                 {"dim", c->dim, 1 << 16, true},
                 {"hidden", c->hidden, 1 << 16, true},
                 {"layers", c->layers, 64, true},
                 {"context", c->context, 1 << 24, true},
                 {"classes", c->classes, 1 << 20, c->vocab == 0}};
    if (c->size != sizeof *c) return lti_fail(ctx, LT_EINVAL, "%s: call lt_rnn_config_init first", name);
    for (int i = 0; i < LTI_COUNT(sizes); i++)
        if (sizes[i].wanted || sizes[i].value)
            LTI_TRY(lti_network_range(ctx, name, sizes[i].name, sizes[i].value, sizes[i].limit));
    if (c->vocab && c->inputs)
        return lti_fail(ctx, LT_EINVAL, "%s: vocab and inputs exclude each other: it reads tokens or numbers", name);
    if (c->tied && (c->hidden != c->dim || c->classes || !c->vocab))
        return lti_fail(
            ctx, LT_EINVAL,
            "%s: tied=1 is for language models whose hidden (%lld) is dim (%lld): the head is the embedding", name,
            (long long)c->hidden, (long long)c->dim);
    return LT_OK;
}

static lti_network_facts facts(const lti_network_config *config)
{
    const lt_rnn_config *c = &config->rnn;
    return (lti_network_facts){.reads = c->inputs    ? LT_DATA_NUMBERS
                                        : c->classes ? LT_DATA_LABELLED
                                                     : LT_DATA_TOKENS,
                               .vocab = c->vocab,
                               .context = c->inputs ? 0 : c->context,
                               .classes = c->classes,
                               .width = c->hidden};
}

/* ---- Tensors ---- */

static lt_status visit_layer(const lt_rnn_config *c, int64_t layer, lti_tensor t, lti_tensor_visitor visit, void *user)
{
    int64_t rows = c->hidden * (c->kind == LT_RNN_GRU ? 3 : 4);
    int64_t inputs = layer ? c->hidden : c->vocab ? c->dim : c->inputs;
    const struct {
        const char *name;
        int rank;
        int64_t columns;
    } parts[] = {{"weight_ih", 2, inputs}, {"weight_hh", 2, c->hidden}, {"bias_ih", 1, 0}, {"bias_hh", 1, 0}};
    for (int i = 0; i < LTI_COUNT(parts); i++) {
        char name[48];
        snprintf(name, sizeof name, "rnn.%lld.%s", (long long)layer, parts[i].name);
        LTI_TRY(lti_visit_tensor(t, name, parts[i].rank, (int64_t[]){rows, parts[i].columns}, visit, user));
    }
    return LT_OK;
}

static lt_status each(const lti_network_config *config, lti_tensor_visitor visit, void *user)
{
    const lt_rnn_config *c = &config->rnn;
    const lti_tensor t = {.bound = 1 / sqrt((double)c->hidden)};
    if (c->vocab) LTI_TRY(lti_visit_tensor(t, "token_embd.weight", 2, (int64_t[]){c->vocab, c->dim}, visit, user));
    for (int64_t layer = 0; layer < c->layers; layer++) LTI_TRY(visit_layer(c, layer, t, visit, user));
    const int64_t shape[] = {c->classes ? c->classes : c->vocab, c->hidden};
    if (c->tied) return LT_OK; /* without a bias, so that the loss needs no logits of the whole batch */
    LTI_TRY(lti_visit_tensor(t, c->classes ? "head.weight" : "output.weight", 2, shape, visit, user));
    return lti_visit_tensor(t, c->classes ? "head.bias" : "output.bias", 1, shape, visit, user);
}

static lt_status params_of(lt_params *params, const lti_network_config *c, uint64_t seed)
{
    return lt_rnn_params(params, &c->rnn, seed);
}

/* ---- Recording ---- */

static lt_t hidden(lt_graph *g, const lti_network_config *c, const lt_model_input *in)
{
    return lt_rnn_hidden(g, &c->rnn, c->rnn.vocab ? in->tokens : in->x); /* [B, T, hidden] */
}

static lt_t head(lt_graph *g, const lti_network_config *c, lt_t x, lt_t last)
{
    return lt_rnn_head(g, &c->rnn, x, last);
}

static lt_t loss(lt_graph *g, const lti_network_config *c, const lt_model_input *in, lt_t targets, lt_t norm,
                 double smoothing)
{
    return lt_rnn_loss(g, &c->rnn, c->rnn.vocab ? in->tokens : in->x, targets, in->last, norm, smoothing);
}

/* "rnn.0.state_h": the state of a layer [batch, hidden]. */
static void state_name(int64_t layer, bool cell, char name[48])
{
    snprintf(name, 48, "rnn.%lld.state_%s", (long long)layer, cell ? "c" : "h");
}

static lt_status caches(lt_params *params, const lti_network_config *config, int64_t batch)
{
    const lt_rnn_config *c = &config->rnn;
    for (int64_t layer = 0; layer < c->layers; layer++)
        for (int cell = 0; cell < (c->kind == LT_RNN_LSTM ? 2 : 1); cell++) {
            char name[48];
            state_name(layer, cell, name);
            LTI_TRY(lt_params_add(params, name, LT_F32, 2, (int64_t[]){batch, c->hidden}, LT_SCRATCH, NULL));
        }
    return LT_OK;
}

static lt_t step_layer(lt_graph *g, const lt_rnn_config *c, int64_t layer, lt_t x, lt_t keep)
{
    char name[48], h_name[48], c_name[48];
    lt_params *params = lt_graph_params(g);
    snprintf(name, sizeof name, "rnn.%lld", (long long)layer);
    state_name(layer, false, h_name);
    state_name(layer, true, c_name);
    lt_param *h = lt_params_find(params, h_name), *cell = lt_params_find(params, c_name);
    lt_t h0 = lt_mul(lt_param_value(g, h), keep); /* [B, hidden] */
    lt_recurrent r =
        c->kind == LT_RNN_GRU ? lt_nn_gru(x, name, h0) : lt_nn_lstm(x, name, h0, lt_mul(lt_param_value(g, cell), keep));
    lt_assign(h, r.h);
    if (cell) lt_assign(cell, r.c);
    return r.y;
}

static lt_t step(lt_graph *g, const lti_network_config *config, lt_t tokens, lt_t keep)
{
    lt_t x = lt_nn_embedding(tokens, "token_embd"); /* [B, T, dim] */
    for (int64_t layer = 0; layer < config->rnn.layers; layer++) x = step_layer(g, &config->rnn, layer, x, keep);
    return x;
}

static bool *recomputes(lti_network_config *c)
{
    return &c->rnn.checkpoint;
}

/* All but what they are called and which kind the defaults choose. */
#define RECURRENT(kind)                                                                                                \
    {                                                                                                                  \
        .name = #kind, .model_type = "lathe-" #kind, .defaults = kind##_defaults, .keys = keys_of,                     \
        .take_rows = take_rows, .check = check, .facts = facts, .each = each, .params = params_of, .hidden = hidden,   \
        .head = head, .loss = loss, .caches = caches, .step = step, .recomputes = recomputes,                          \
    }

const lti_network lti_network_lstm = RECURRENT(lstm);
const lti_network lti_network_gru = RECURRENT(gru);
