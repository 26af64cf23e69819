/* networks.h - networks that are no transformers: perceptrons, convolutional and recurrent ones.
 *
 * Each is a config, its parameters by name and a function that records logits; models.h opens, saves and trains them by
 * a line of text ("cnn:filters=32"). The _params functions return LT_EINVAL naming the size that is out of range, or
 * LT_ENOMEM; a shape that does not fit, and a parameter that is missing, are the graph's error (lt_graph_status).
 *
 *     lt_cnn_config c;
 *     lt_cnn_config_init(&c);
 *     c.height = c.width = 28, c.channels = 1, c.classes = 10;
 *     if (lt_cnn_params(params, &c, 1) != LT_OK) return lt_ctx_status(ctx);
 *     lt_t images = lt_input(g, "x", LT_F32, 4, (int64_t[]){64, 28, 28, 1}); // [B, H, W, C]
 *     lt_t z = lt_cnn_logits(g, &c, images);                                 // [B, 10]
 */
#ifndef LATHE_NETWORKS_H
#define LATHE_NETWORKS_H

#include "lathe/graph.h"
#include "lathe/params.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Multi-layer perceptron with ReLU ---- */
typedef struct lt_mlp_config {
    size_t size;
    int64_t inputs, classes;
    int n_hidden; /* 0 .. 7 */
    int64_t hidden[7];
} lt_mlp_config;
LT_API void lt_mlp_config_init(lt_mlp_config *config);
/* "fc1.weight", "fc1.bias", ...: uniform in +-1/sqrt(inputs of the layer), as torch.nn.Linear. */
LT_API LT_MUST_USE lt_status lt_mlp_params(lt_params *params, const lt_mlp_config *config, uint64_t seed);
/* x [R, inputs] -> logits [R, classes]. */
LT_API lt_t lt_mlp_logits(lt_graph *graph, const lt_mlp_config *config, lt_t x);

/* ---- Convolutional networks ---- */
/* A stem, stages of blocks of which each but the first halves the image and doubles the channels, a mean, a head.
 * Residual (He et al. 2015): conv3x3-bn-relu-conv3x3-bn, plus the input (through a 1x1 convolution and a norm where
 * shapes differ), relu. Depthwise (Howard et al. 2017): depthwise 3x3-bn-relu, 1x1-bn-relu. */
typedef enum lt_cnn_kind { LT_CNN_RESIDUAL = 0, LT_CNN_DEPTHWISE } lt_cnn_kind;
typedef struct lt_cnn_config {
    size_t size;
    lt_cnn_kind kind;
    int64_t height, width, channels, classes; /* of the images and the answer */
    int64_t filters;                          /* channels of the first stage, default 16 */
    int64_t stages, blocks;                   /* default 3 stages of 1 block */
    double norm_eps, norm_momentum;           /* 1e-5, 0.1 */
    bool folded; /* convolutions have biases, and norms are identities that stay: lt_model_fold. Default false */
} lt_cnn_config;
LT_API void lt_cnn_config_init(lt_cnn_config *config);
/* "stem.conv.weight", "stem.bn.weight", "stage.0.0.conv1.weight" (stage, block), .., "stage.1.0.shortcut.conv.weight",
 * .., "head.weight", "head.bias"; norms also have bias, running_mean and running_var. Convolutions are drawn from a
 * normal of variance 2 / (outputs KH KW / groups) (He et al. 2015, by fan out); the head as torch.nn.Linear; norms are
 * 1 and 0. */
LT_API LT_MUST_USE lt_status lt_cnn_params(lt_params *params, const lt_cnn_config *config, uint64_t seed);
/* x [B, H, W, channels] -> logits [B, classes]. */
LT_API lt_t lt_cnn_logits(lt_graph *graph, const lt_cnn_config *config, lt_t x);
/* Folds every batch norm into its convolution (lt_fold_batch_norm), which gets a bias, and freezes what is left of the
 * norms, now identities: before training with quantized weights. In this order the numbers that are rounded are those
 * that ship; folding while training would multiply filters by the statistics of each batch. Of a model that is to be
 * saved: lt_model_fold. */
LT_API LT_MUST_USE lt_status lt_cnn_fold(lt_params *params, const lt_cnn_config *config);
/* Features before the head [B, C]. */
LT_API lt_t lt_cnn_features(lt_graph *graph, const lt_cnn_config *config, lt_t x);

/* ---- Recurrent networks: language models and classifiers ---- */
typedef enum lt_rnn_kind { LT_RNN_LSTM = 0, LT_RNN_GRU } lt_rnn_kind;
typedef struct lt_rnn_config {
    size_t size;
    lt_rnn_kind kind;
    int64_t vocab;               /* tokens; 0: it reads rows of numbers */
    int64_t inputs;              /* numbers a step, when vocab is 0 */
    int64_t dim, hidden, layers; /* embedding, hidden state, layers. Default 64, 128, 1 */
    int64_t classes;             /* 0: a language model, whose head gives the next token */
    bool tied;                   /* language model: the head is the embedding (hidden = dim) */
    int64_t context;             /* steps it was made for, default 512 */
    bool checkpoint;             /* compute each layer again in the backward */
} lt_rnn_config;
LT_API void lt_rnn_config_init(lt_rnn_config *config);
/* "token_embd.weight", "rnn.0.weight_ih", "rnn.0.weight_hh", "rnn.0.bias_ih", "rnn.0.bias_hh", "output.weight",
 * "output.bias" (a tied head has neither; a classifier has "head.weight" and "head.bias"): uniform in
 * +-1/sqrt(hidden), as torch.nn.LSTM. */
LT_API LT_MUST_USE lt_status lt_rnn_params(lt_params *params, const lt_rnn_config *config, uint64_t seed);
/* tokens int32 [B, T], or numbers x [B, T, inputs] -> hidden states of the last layer [B, T, hidden]. */
LT_API lt_t lt_rnn_hidden(lt_graph *graph, const lt_rnn_config *config, lt_t x);
/* Language model: hidden [B, T, H] -> logits [B, T, vocab]. Classifier: logits [B, classes] from the row of hidden
 * [B T, H] that `last` (int32 [B]) names for each text; nil: the last step. */
LT_API lt_t lt_rnn_head(lt_graph *graph, const lt_rnn_config *config, lt_t hidden, lt_t last);
/* Cross entropy of it against targets, int32 [B, T] (language model; a head without bias never makes whole logits) or
 * [B] (classifier), smoothed as in lt_cross_entropy_smooth. last and norm may be nil. */
LT_API lt_t lt_rnn_loss(lt_graph *graph, const lt_rnn_config *config, lt_t x, lt_t targets, lt_t last, lt_t norm,
                        double smoothing);

#ifdef __cplusplus
}
#endif
#endif
