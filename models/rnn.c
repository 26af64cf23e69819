/* rnn.c - recurrent networks: embedding (or numbers as they are), layers of LSTM or GRU, a head.
 *
 *     language model:  logits = W h_t + b at every step; W may be the embedding
 *     classifier:      logits = W h + b of each text's last state
 *
 * Their names, sizes and limits are network_rnn.c's table; the parameters are made from it. */
#include "lathe/nn.h"
#include "models/network.h"

#include <stdio.h>

void lt_rnn_config_init(lt_rnn_config *config)
{
    *config = (lt_rnn_config){.size = sizeof *config, .dim = 64, .hidden = 128, .layers = 1, .context = 512};
}

lt_status lt_rnn_params(lt_params *params, const lt_rnn_config *config, uint64_t seed)
{
    const lti_network *network = config->kind == LT_RNN_GRU ? &lti_network_gru : &lti_network_lstm;
    const lti_network_config c = {.rnn = *config};
    LTI_TRY(network->check(lt_params_ctx(params), &c));
    return network->each(&c, lti_add_tensor, &(lti_adder){params, seed});
}

lt_t lt_rnn_hidden(lt_graph *graph, const lt_rnn_config *c, lt_t x)
{
    lt_t h = c->vocab ? lt_nn_embedding(x, "token_embd") : x; /* [B, T, dim or inputs] */
    for (int64_t layer = 0; layer < c->layers; layer++) {
        char name[32];
        snprintf(name, sizeof name, "rnn.%lld", (long long)layer);
        if (c->checkpoint) lt_checkpoint_begin(graph);
        h = c->kind == LT_RNN_GRU ? lt_nn_gru(h, name, lt_nil(graph)).y
                                  : lt_nn_lstm(h, name, lt_nil(graph), lt_nil(graph)).y; /* [B, T, hidden] */
        if (c->checkpoint) lt_checkpoint_end(graph);
    }
    return h;
}

static const char *head_weight(const lt_rnn_config *c)
{
    return c->tied ? "token_embd.weight" : "output.weight";
}

lt_t lt_rnn_head(lt_graph *graph, const lt_rnn_config *c, lt_t hidden, lt_t last)
{
    (void)graph;
    if (!c->classes) return lt_nn_head(hidden, "output", head_weight(c)); /* [B, T, vocab] */
    int64_t T = lt_dim(hidden, 1), H = lt_dim(hidden, 2);
    lt_t rows = lti_given(last) ? lt_reshape(hidden, 2, (int64_t[]){-1, H}) : lt_slice(hidden, 1, T - 1, T);
    lt_t state = lti_given(last) ? lt_gather(rows, last) : lt_reshape(rows, 2, (int64_t[]){-1, H}); /* [B, H] */
    return lt_nn_head(state, "head", "head.weight");                                                /* [B, classes] */
}

lt_t lt_rnn_loss(lt_graph *graph, const lt_rnn_config *c, lt_t x, lt_t targets, lt_t last, lt_t norm, double smoothing)
{
    lt_t h = lt_rnn_hidden(graph, c, x);
    if (!lti_given(norm)) norm = lt_nil(graph);
    if (c->classes) return lt_cross_entropy_smooth(lt_rnn_head(graph, c, h, last), targets, norm, smoothing);
    const lt_head_term term = {.kind = lt_head_cross_entropy(), .weight = 1, .input = targets, .smoothing = smoothing};
    return lt_nn_head_loss(h, "output", head_weight(c), 1, &term, norm);
}
