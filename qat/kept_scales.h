/* kept_scales.h - scales of K-quants that stay for some steps: blocks beside their weight, whose codes nobody reads. */
#ifndef LTI_KEPT_SCALES_H
#define LTI_KEPT_SCALES_H

#include "lathe/qat.h"

/* The blocks "<weight>:kept" whose scales the weight is to be put on; NULL where the policy keeps none, or there are none
 * of its type (yet): then scales are made of the weight. */
lt_param *lti_kept_find(const lt_params *params, const lt_quant_policy *policy, const lt_param *weight);
/* codes (of any type, the weight's shape) = weight (f32), on the scales that are kept where there are any. */
void lti_kept_encode(const lt_params *params, const lt_quant_policy *policy, const lt_param *weight, lt_param *codes);
/* Adds what lti_kept_find finds, with scales of the weights as they are; what is there stays. LT_EINVAL: the policy keeps
 * scales and has no weight on a K-quant; what is there is of another type. */
lt_status lti_kept_prepare(lt_params *params, const lt_quant_policy *policy);
/* Scales anew, of the weights as they are. What is not there is not made. */
void lti_kept_refresh(const lt_params *params, const lt_quant_policy *policy);

#endif
