/* baseline.h - inside of drift: what a sketch of data says. */
#ifndef LTI_BASELINE_H
#define LTI_BASELINE_H

#include "base/ctx.h"
#include "lathe/goldens.h"

#include <jansson.h>

#define LTI_PROFILE_TOP 256

/* KL(new || old) in nats of the frequencies of ids, estimated from two "data_profile" objects. False when one of them
 * holds no counts. LT_ENOMEM. */
lt_status lti_profile_kl(lt_ctx *ctx, const json_t *old_profile, const json_t *new_profile, bool *known, double *kl);

#endif
