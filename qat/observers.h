/* observers.h - static activations of a policy: the params of its sites, and the hook's part. */
#ifndef LTI_OBSERVERS_H
#define LTI_OBSERVERS_H

#include "lathe/qat.h"

/* Adds the observers of every weight's site, where activations are static. */
lt_status lti_observers_prepare(lt_params *params, const lt_quant_policy *policy);
/* Records what learned scales need behind their update. */
void lti_observers_after_update(lt_graph *graph, const lt_quant_policy *policy);
/* x on the grid that was observed at the site; a training graph (and a calibrating policy's) observes it first. */
lt_t lti_observed_input(lt_t x, const lt_site *site, const lt_quant_policy *policy);

#endif
