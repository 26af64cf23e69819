/* qat.h - training on the grid that ships, and writing its codes.
 *
 * A policy says which type each parameter is deployed in. Attached to a graph it quantizes weights in the forward and
 * passes gradients straight through; applied to params it makes the codes themselves, by the same kernel.
 *
 *     lt_quant_policy policy;
 *     lt_quant_policy_init(&policy);
 *     policy.type = LT_Q4_0;
 *     lt_qat_attach(g, &policy);                                    // before the model is recorded
 *     lt_t loss = lt_transformer_loss(g, &config, &(lt_model_input){.tokens = tokens}, targets, norm); // knows nothing of it
 *     ...
 *     lt_params *codes;                                             // what the file will hold
 *     if (lt_quantize_params(params, &policy, &codes) != LT_OK) return lt_ctx_status(ctx);
 */
#ifndef LATHE_QAT_H
#define LATHE_QAT_H

#include "lathe/attach.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lt_quant_policy {
    size_t size;
    lt_dtype type;       /* of linear layers; LT_F32: none */
    lt_dtype embedding;  /* of the embedding (and the head, when tied or not); default LT_F32: as it is */
    const char *targets; /* glob over parameter names; NULL: every linear layer. Borrowed */
} lt_quant_policy;
LT_API void lt_quant_policy_init(lt_quant_policy *policy);

/* The type the parameter is deployed in: LT_F32 when the policy does not mean it (norms, biases, other names), the
 * policy's type, or LT_F16 where rows are no multiple of the block, as llama-quantize falls back. */
LT_API lt_dtype lt_quant_type(const lt_quant_policy *policy, const lt_param *param);

/* Registers weight hooks for the policy; `policy` is borrowed until the graph is freed. */
LT_API void lt_qat_attach(lt_graph *graph, const lt_quant_policy *policy);

/* A new params with every weight in its deployed type. Other roles are not copied. Owned by the caller.
 * LT_ENONFINITE names a tensor that holds NaN or infinity. */
LT_API LT_MUST_USE lt_status lt_quantize_params(const lt_params *params, const lt_quant_policy *policy,
                                                lt_params **codes);
/* The other way: every weight as lt_real, the exact values of its codes. */
LT_API LT_MUST_USE lt_status lt_dequantize_params(const lt_params *codes, lt_params **params);

#ifdef __cplusplus
}
#endif
#endif
