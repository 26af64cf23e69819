/* recurrent.h - recurrent networks over a sequence: LSTM and GRU.
 *
 * Rows are texts or series, [B, T, C]. The order of the gates and of the biases is PyTorch's, so weights move between
 * both as they are. w_ih and w_hh may be stored in any type that lt_matmul takes for b; the recurrence is computed in
 * f32 whatever lt_compute says. Shapes that do not fit are the graph's error (lt_graph_status), LT_EINVAL.
 *
 *     lt_t x = lt_input(g, "x", LT_F32, 3, (int64_t[]){8, 20, 32});                        // [B, T, I]
 *     lt_t w_ih = lt_param_value(g, lt_params_find(params, "rnn.weight_ih"));              // [4H, I]
 *     lt_t w_hh = lt_param_value(g, lt_params_find(params, "rnn.weight_hh"));              // [4H, H]
 *     lt_recurrent r = lt_lstm(x, w_ih, w_hh, lt_nil(g), lt_nil(g), lt_nil(g), lt_nil(g)); // r.y [B, T, H]
 */
#ifndef LATHE_RECURRENT_H
#define LATHE_RECURRENT_H

#include "lathe/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lt_recurrent {
    lt_t y; /* hidden states [B, T, H] */
    lt_t h; /* the last one [B, H] */
    lt_t c; /* the last cell state [B, H]; nil for a GRU */
} lt_recurrent;

/* torch.nn.LSTM of one layer (Hochreiter and Schmidhuber, 1997; gates in the order i, f, g, o):
 *     i, f, o = sigmoid, g = tanh of  W_i x_t + b_ih + W_h h_{t-1} + b_hh;  c_t = f c_{t-1} + i g;  h_t = o tanh(c_t)
 * x [B, T, I], w_ih [4H, I], w_hh [4H, H], b_ih and b_hh [4H] or nil, h0 and c0 [B, H] or nil (zeros). */
LT_API lt_recurrent lt_lstm(lt_t x, lt_t w_ih, lt_t w_hh, lt_t b_ih, lt_t b_hh, lt_t h0, lt_t c0);

/* torch.nn.GRU of one layer (Cho et al., 2014; gates in the order r, z, n):
 *     r, z = sigmoid(W_i x_t + b_i + W_h h_{t-1} + b_h);  n = tanh(W_in x_t + b_in + r (W_hn h_{t-1} + b_hn))
 *     h_t = (1 - z) n + z h_{t-1}
 * x [B, T, I], w_ih [3H, I], w_hh [3H, H], b_ih and b_hh [3H] or nil, h0 [B, H] or nil (zeros). */
LT_API lt_recurrent lt_gru(lt_t x, lt_t w_ih, lt_t w_hh, lt_t b_ih, lt_t b_hh, lt_t h0);

#ifdef __cplusplus
}
#endif
#endif
