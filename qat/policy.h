/* policy.h - inside of a policy: whether it can be followed, and what it wants before a fallback. */
#ifndef LTI_POLICY_H
#define LTI_POLICY_H

#include "lathe/qat.h"

/* LT_EINVAL when a type is none that weights are deployed in. NULL is fine. */
lt_status lti_quant_check(lt_ctx *ctx, const lt_quant_policy *policy);
/* The same, and that every type the params would get has an encoder: else the tensor is named. */
lt_status lti_quant_check_params(const lt_params *params, const lt_quant_policy *policy);
/* LT_ENONFINITE names the first weight that holds a NaN or an infinity, of those the policy puts on a grid; of all of them
 * without a policy. */
lt_status lti_quant_check_finite(const lt_params *params, const lt_quant_policy *policy);
/* Whether weights are left as they are: activations may be meant alone. */
bool lti_quant_weights_stay(const lt_quant_policy *policy);
/* The type llama.cpp gives the activations that meet weights on the grid, for ternary ones those of the types they are
 * exported in; LT_F32: none. */
lt_dtype lti_quant_pair(const lt_scheme *scheme);
/* The grid the policy has for the parameter; lt_quant_scheme falls back where rows do not fit its blocks. */
lt_scheme lti_quant_wanted(const lt_quant_policy *policy, const lt_param *param);

#endif
