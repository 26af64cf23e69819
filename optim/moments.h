/* moments.h - what optimizers leave in params, by name: for those who start or save a training. */
#ifndef LTI_MOMENTS_H
#define LTI_MOMENTS_H

#include "lathe/params.h"

/* Whether a param of this name is what an update keeps, of any kind of optimizer: zeros start it anew. Averages of
 * weights (":ema") are none. */
bool lti_is_moment(const char *name);
/* As if no optimizer had been at work: moments are zeros, averages are copies of their weights. */
void lti_forget_moments(lt_params *params);

#endif
