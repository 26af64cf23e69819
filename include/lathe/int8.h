/* int8.h - networks that run in integers: convolutional and recurrent ones and perceptrons, made of a training with
 * quantized weights and static activations, with the codes of its last evaluation.
 *
 * Products are sums of bytes in 32 bits; their scales, biases, ReLU, what is added and the next layer's rounding happen
 * in the same pass (oneDNN where the machine has VNNI, else plain C: the same codes). Weights are int8 or less, a scale
 * a channel; activations one byte, a scale a layer.
 *
 *     lt_cnn_config cnn;
 *     lt_cnn_config_init(&cnn);
 *     lt_quant_policy policy;
 *     lt_quant_policy_init(&policy);
 *     policy.activations = LT_ACT_INT8_STATIC;
 *     if (lt_scheme_parse(ctx, "int8", &policy.weights) != LT_OK) return lt_ctx_status(ctx);
 *     if (lt_cnn_fold(params, &cnn) != LT_OK) return lt_ctx_status(ctx); // then train with the policy attached
 *     lt_int8 *net;
 *     lt_real images[100 * 28 * 28], logits[100 * 10];
 *     if (lt_int8_cnn(params, &cnn, &policy, 0, &net) != LT_OK) return lt_ctx_status(ctx);
 *     if (lt_int8_run(net, 100, images, NULL, logits) != LT_OK) return lt_ctx_status(ctx);
 *     lt_int8_free(net);
 */
#ifndef LATHE_INT8_H
#define LATHE_INT8_H

#include "lathe/models.h"
#include "lathe/qat.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Owned by the caller; used by one thread at a time. Keeps nothing of what it was made of. */
typedef struct lt_int8 lt_int8;

/* A folded CNN (lt_cnn_fold) that was trained or calibrated under the policy. `images` are computed at a time by one
 * thread; 0: as many as stay in its cache. Each weight's codes times its scale are compared with what evaluating
 * computes with, bit for bit. Errors: LT_EINVAL (norms that are not folded, a site never observed, a layer without a
 * grid, grids of groups or with zero points), LT_EPROVIDER, LT_ENOMEM. */
LT_API LT_MUST_USE lt_status lt_int8_cnn(const lt_params *params, const lt_cnn_config *config,
                                         const lt_quant_policy *policy, int64_t images, lt_int8 **net);
/* The same for a perceptron: `rows` at a time. LT_EINVAL also: a layer of more than 65,536 inputs. */
LT_API LT_MUST_USE lt_status lt_int8_mlp(const lt_params *params, const lt_mlp_config *config,
                                         const lt_quant_policy *policy, int64_t rows, lt_int8 **net);
/* LSTM or GRU over `steps` steps. The state meets its matrix as round(127 h), for |h| < 1; gates are computed in float,
 * and a GRU's state is kept in float beside its codes. */
LT_API LT_MUST_USE lt_status lt_int8_rnn(const lt_params *params, const lt_rnn_config *config,
                                         const lt_quant_policy *policy, int64_t steps, lt_int8 **net);
/* The same for a model of these kinds; `size` is images, rows or steps. LT_EUNSUPPORTED: a transformer. */
LT_API LT_MUST_USE lt_status lt_model_int8(const lt_model *model, const lt_quant_policy *policy, int64_t size,
                                           lt_int8 **net);
LT_API void lt_int8_free(lt_int8 *net); /* NULL is fine */

/* n rows of x: images [n, H, W, C]; of perceptrons [n, inputs]; tokens int32 [n, steps], or numbers [n, steps, inputs].
 * lengths: of recurrent classifiers, int32 [n] in 1 .. steps, the step whose state is classified; NULL: the last.
 * logits [n, classes], or of language models [n, steps, vocab]. Rows do not depend on each other, nor on threads.
 * LT_EINVAL: a token or length out of range. */
LT_API LT_MUST_USE lt_status lt_int8_run(lt_int8 *net, int64_t n, const void *x, const int32_t *lengths,
                                         lt_real *logits);
LT_API int64_t lt_int8_outputs(const lt_int8 *net);      /* numbers of logits a row */
LT_API size_t lt_int8_bytes(const lt_int8 *net);         /* of codes, scales and biases, as the file has them */
LT_API const char *lt_int8_provider(const lt_int8 *net); /* "onednn", "ref", or "onednn, ref" */

/* A network in integers beside its model, on rows with classes or of tokens. */
typedef struct lt_int8_scores {
    double nll, accuracy; /* as in lt_eval_result; accuracy: NaN of language models */
    double rows_per_second;
    uint64_t bytes; /* of the weights */
} lt_int8_scores;
typedef struct lt_int8_comparison {
    int64_t rows, scored;
    lt_int8_scores real, simulated, integers; /* simulated: in float, rounded as the policy says */
} lt_int8_comparison;
/* Both are timed in turns, after a first pass; the speed is that of the median one. policy NULL: nothing is simulated
 * (NaN). The network must be of as many steps as the longest row at least. */
LT_API LT_MUST_USE lt_status lt_int8_compare(lt_model *model, const lt_quant_policy *policy, lt_int8 *net,
                                             const lt_dataset *data, lt_int8_comparison *result);

/* What lt_int8_save has read back and found equal to the network. */
typedef struct lt_int8_proof {
    int64_t tensors, codes;
    uint64_t bytes;
} lt_int8_proof;
/* A .safetensors file: codes as I8 (two in a byte where 4 bits are enough), scales and biases as F32, the config in its
 * metadata. `proof` may be NULL. */
LT_API LT_MUST_USE lt_status lt_int8_save(const lt_int8 *net, const char *path, lt_int8_proof *proof);
/* `size`: images, rows or steps; 0: as it was made, but for rows or steps that take more memory than the weights are
 * worth (64 MiB and 256 times their bytes, a thread: LT_EFORMAT). Images, and their sides whatever `size` is, are
 * believed up to 1 GiB in place of the 64 MiB. Errors: LT_EIO, LT_EFORMAT, LT_EINVAL (`size`, of steps, is out of
 * range), LT_ENOMEM. */
LT_API LT_MUST_USE lt_status lt_int8_open(lt_ctx *ctx, const char *path, int64_t size, lt_int8 **net);

#ifdef __cplusplus
}
#endif
#endif
