/* flips.h - which share of codes has changed since it was last asked: how restless training on a grid is. */
#ifndef LTI_FLIPS_H
#define LTI_FLIPS_H

#include "qat/hooks.h"

/* Adds the LT_STATE "qat:codes" with the codes of a sample of the quantized weights as they are now; nothing where none is
 * quantized by codes. Again: takes the codes anew. */
lt_status lti_flips_start(lt_params *params, const lt_quant_policy *policy);
/* The share of the sample whose code is another than at the last call or start; NaN without a sample. */
lt_status lti_flips_share(lt_params *params, const lt_quant_policy *policy, double *share);

#endif
