/* nn.h - layers: functions that find their parameters by name and pass every site's hooks (attach.h).
 *
 * A layer called "attn_q" inside the scope "blk.3" uses the parameters "blk.3.attn_q.weight" and, where it exists,
 * "blk.3.attn_q.bias" of the graph's params. A missing weight is the graph's error.
 *
 *     lt_t h = lt_nn_embedding(tokens, "token_embd");      // [B, T] -> [B, T, C]
 *     h = lt_nn_rms_norm(h, "output_norm", 1e-5);          // [B, T, C]
 *     lt_t z = lt_nn_linear(h, "output");                  // [B, T, V]
 */
#ifndef LATHE_NN_H
#define LATHE_NN_H

#include "lathe/attach.h"
#include "lathe/images.h"
#include "lathe/ops.h"
#include "lathe/recurrent.h"

#ifdef __cplusplus
extern "C" {
#endif

/* x W^T + b. x [.., in], weight [out, in], bias [out] -> [.., out]. */
LT_API lt_t lt_nn_linear(lt_t x, const char *name);
/* Rows of the weight [N, C] by int32 index [..] -> [.., C]. */
LT_API lt_t lt_nn_embedding(lt_t index, const char *name);
LT_API lt_t lt_nn_rms_norm(lt_t x, const char *name, double eps);
/* The same with gain 1 + weight (Gemma). */
LT_API lt_t lt_nn_rms_norm_plus_one(lt_t x, const char *name, double eps);
LT_API lt_t lt_nn_layer_norm(lt_t x, const char *name, double eps); /* bias optional */

/* x [B, H, W, I], weight [O, I/groups, KH, KW], bias [O] where it exists -> [B, OH, OW, O]. */
LT_API lt_t lt_nn_conv2d(lt_t x, const char *name, const lt_conv_config *config);
/* weight, bias, running_mean, running_var [C]; the last two are not trained. Where weight and bias are not trainable
 * (lt_param_set_trainable) the averages stay as they are, too: the layer is frozen. */
LT_API lt_t lt_nn_batch_norm(lt_t x, const char *name, const lt_batch_norm_config *config);
LT_API lt_t lt_nn_group_norm(lt_t x, const char *name, int64_t groups, double eps); /* weight, bias [C] */
/* weight_ih, weight_hh, and where they exist bias_ih, bias_hh: sites "<name>.ih" and "<name>.hh" (LT_SITE_RNN). The
 * first takes all hooks; the product of the second happens inside the recurrence, out of reach of input hooks, and an
 * output hook on it is an error. */
LT_API lt_recurrent lt_nn_lstm(lt_t x, const char *name, lt_t h0, lt_t c0);
LT_API lt_recurrent lt_nn_gru(lt_t x, const char *name, lt_t h0);

/* The output layer `name`, whose weight is the parameter `weight` ("token_embd.weight" when tied): logits
 * [.., C] -> [.., V], or the loss of its logits, which then never exist as a whole (lt_head_loss). */
LT_API lt_t lt_nn_head(lt_t x, const char *name, const char *weight);
LT_API lt_t lt_nn_head_loss(lt_t x, const char *name, const char *weight, int n, const lt_head_term *terms, lt_t norm);

/* ---- Folding ---- */
/* Multiplies the filters "<conv>.weight" [O, ..] and "<conv>.bias" [O] (made when there is none) by what the evaluating
 * batch norm "<norm>" with that eps would do, and makes the norm the identity (weight 1, bias 0, mean 0, variance
 * 1 - eps), so that it may stay in the network or be left out. LT_EINVAL names what is missing or does not fit; nothing
 * is changed then. */
LT_API LT_MUST_USE lt_status lt_fold_batch_norm(lt_params *params, const char *conv, const char *norm, double eps);

/* ---- Initial values: element i of a parameter depends on (seed, its name, i) alone. Only LT_F32 parameters that are
 * not mapped are written; others stay as they are ---- */
LT_API void lt_init_normal(lt_param *param, uint64_t seed, double std);
LT_API void lt_init_uniform(lt_param *param, uint64_t seed, double bound); /* in [-bound, bound) */
LT_API void lt_init_constant(lt_param *param, double value);

#ifdef __cplusplus
}
#endif
#endif
