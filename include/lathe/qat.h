/* qat.h - training on the grid that ships, and writing its codes.
 *
 * A policy says which grid each parameter is deployed on. Attached to a graph it quantizes weights (and, if asked, the
 * activations they meet) in the forward and passes gradients by a rule of choice; applied to params it makes the codes
 * themselves, by the same kernels.
 *
 *     lt_quant_policy policy;
 *     lt_quant_policy_init(&policy);
 *     policy.weights = lt_scheme_of(LT_Q4_0);
 *     policy.activations = LT_ACT_RUNTIME;                          // integer products, as llama.cpp will run them
 *     lt_qat_attach(g, &policy);                                    // before the model is recorded
 *     lt_t loss = lt_transformer_loss(g, &config, &(lt_model_input){.tokens = tokens}, targets, norm); // knows nothing of it
 *     ...
 *     lt_params *codes;                                             // what the file will hold
 *     if (lt_quantize_params(params, &policy, &codes) != LT_OK) return lt_ctx_status(ctx);
 */
#ifndef LATHE_QAT_H
#define LATHE_QAT_H

#include "lathe/attach.h"
#include "lathe/observe.h"
#include "lathe/scheme.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What the activations that meet a quantized weight are rounded to. */
typedef enum lt_activations {
    LT_ACT_NONE = 0,   /* they stay f32 */
    LT_ACT_RUNTIME,    /* the type and rounding llama.cpp pairs with the weight's lattice: q8_0, q8_1, q8_k */
    LT_ACT_INT8_TOKEN, /* int8, a scale a token (row), from its absmax */
    LT_ACT_INT8_STATIC /* int8, one scale a site, from observers */
} lt_activations;
LT_API const char *lt_activations_name(lt_activations activations); /* "none", "runtime", "int8_token", "int8_static" */
LT_API bool lt_activations_parse(const char *name, lt_activations *activations);

/* Tensors whose name matches are deployed on this grid, whatever the rest of the policy says. */
typedef struct lt_quant_rule {
    const char *pattern; /* glob over the parameter's name */
    lt_scheme scheme;
} lt_quant_rule;

typedef struct lt_quant_policy {
    size_t size;
    lt_scheme weights;   /* of linear layers; LT_F32: none */
    lt_scheme embedding; /* of the embedding (and the head, when tied or not); default LT_F32: as it is */
    const char *mix;     /* "q4_k_m", ...: llama-quantize's choice for each tensor, in place of the two above. NULL */
    const char *targets; /* glob over parameter names; NULL: every linear layer. Borrowed, as are mix and rules */
    int n_rules;
    const lt_quant_rule *rules; /* the first that matches counts, before everything else */
    lt_activations activations;
    lt_scale_rule scale; /* of weights on integer grids; default LT_SCALE_DYNAMIC */
    lt_round_gradient gradient;
    double damping; /* weights are drawn to their grid by damping |w - w^|^2, from 0 up to this along half a cosine */
    double
        freeze_threshold; /* integer and ternary grids: a weight whose average share of code flips passes this is held */
    lt_observer observer;  /* LT_ACT_INT8_STATIC: how ranges are observed, or learned; default LT_OBSERVE_AVERAGE */
    double observe_rate;   /* of moving averages; 0: lt_observe_config_init's */
    bool calibrate;        /* evaluating graphs observe as well */
    int64_t scale_every;   /* K-quants: steps between searches for scales and minima, which are state ("<weight>:kept");
                            * codes are made at each step. 0, 1: scales, too */
    bool integer_backward; /* what integer products pass back to x is a sum of integers, too: lt_integer_backward */
    bool on_grid;          /* the weights lie on their grids already, as codes that were read: none is rounded again */
} lt_quant_policy;
LT_API void lt_quant_policy_init(lt_quant_policy *policy);
/* Whether the policy quantizes nothing, activations included. */
LT_API bool lt_quant_policy_empty(const lt_quant_policy *policy);
/* Sets weights, or mix, or also activations by a word: what lt_scheme_parse takes, which is pure (this grid for every
 * linear layer); a mix (q2_k_s, q3_k_s, q3_k_m, q3_k_l, q4_k_s, q4_k_m, q5_k_s, q5_k_m; mix:q4_0, mix:q6_k, .. for those
 * that are called as a type is); w8a8 (int8:channel, activations int8_token); w4a16 (int4:g128). */
LT_API LT_MUST_USE lt_status lt_quant_policy_parse(lt_ctx *ctx, const char *text, lt_quant_policy *policy);
/* The word for weights and mix, into `name` (LT_SCHEME_TEXT bytes); returns it. */
LT_API const char *lt_quant_policy_name(const lt_quant_policy *policy, char *name);
/* "*.ffn_down.weight=q6_k": `text` is cut at the '=' and becomes the rule's pattern. */
LT_API LT_MUST_USE lt_status lt_quant_rule_parse(lt_ctx *ctx, char *text, lt_quant_rule *rule);
LT_API const char *lt_scale_rule_name(lt_scale_rule rule); /* "dynamic", "mse", "lsq", "lsq+", "pact", "range" */
LT_API bool lt_scale_rule_parse(const char *name, lt_scale_rule *rule);
LT_API const char *lt_round_gradient_name(lt_round_gradient gradient); /* "ste", "clip" (on x), "clip_code", "prox" */
LT_API bool lt_round_gradient_parse(const char *name, lt_round_gradient *gradient);

/* The grid the parameter is deployed on: LT_F32 when the policy does not mean it (norms, biases, other names), or what
 * llama-quantize falls back to where rows are no whole blocks; its own type where it has one already. */
LT_API lt_scheme lt_quant_scheme(const lt_quant_policy *policy, const lt_param *param);
/* The type of that grid's storage; LT_F32 for grids that are no type of base.h. */
LT_API lt_dtype lt_quant_type(const lt_quant_policy *policy, const lt_param *param);

/* Adds to params what training under the policy learns or keeps besides the weights, where it is not there yet: learned
 * scales "<weight>:scale" and ":offset" (LT_STATE, trainable), started from the weights (LSQ: the mse-searched scale); with
 * freeze_threshold ":codes" and ":flips", with scale_every ":kept", with static activations what observe.h adds. To be
 * called before the optimizer is made; a checkpoint then holds them. LT_EINVAL: rules that do not go together; what is
 * there has another shape, of another scheme. */
LT_API LT_MUST_USE lt_status lt_qat_prepare(lt_params *params, const lt_quant_policy *policy);
/* Records what the policy does after updates (freezing weights, bounds of learned scales); to be called behind the
 * optimizer's record. */
LT_API void lt_qat_after_update(lt_graph *graph, const lt_quant_policy *policy);

/* Registers hooks for the policy; `policy` is borrowed until the graph is freed. */
LT_API void lt_qat_attach(lt_graph *graph, const lt_quant_policy *policy);

/* A new params with every weight in its deployed type, or on its grid in f32 where that is no type. Other roles are not
 * copied. Owned by the caller. LT_ENONFINITE names a tensor that holds NaN or infinity. */
LT_API LT_MUST_USE lt_status lt_quantize_params(const lt_params *params, const lt_quant_policy *policy,
                                                lt_params **codes);
/* The other way: every weight as lt_real, the exact values of its codes. */
LT_API LT_MUST_USE lt_status lt_dequantize_params(const lt_params *codes, lt_params **params);

#ifdef __cplusplus
}
#endif
#endif
