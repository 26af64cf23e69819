/* policy.h - inside of a policy: whether it can be followed, and what it wants before a fallback. */
#ifndef LTI_POLICY_H
#define LTI_POLICY_H

#include "lathe/qat.h"

/* LT_EINVAL when a type is none that weights are deployed in. NULL is fine. */
lt_status lti_quant_check(lt_ctx *ctx, const lt_quant_policy *policy);
/* The type the policy has for the parameter; lt_quant_type falls back where rows do not fit its blocks. */
lt_dtype lti_quant_wanted(const lt_quant_policy *policy, const lt_param *param);

#endif
