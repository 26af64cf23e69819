/* freeze_codes.h - weights whose code keeps flipping are held. Internal to autograd and qat. */
#ifndef LTI_FREEZE_CODES_H
#define LTI_FREEZE_CODES_H

#include "autograd/ops/grids.h"

/* An effect, to be recorded behind w's update: code (LT_I8) and flips (f32) are of w's shape and are its state. scale and
 * offset (or nil) make the grid of attr. The run-time
 * scalar "qat_freeze" (1) is 0 where steps do not count. Returns w's new value. */
lt_t lti_freeze_codes(lt_param *w, lt_param *code, lt_param *flips, lt_t scale, lt_t offset, const lti_grid_attr *attr,
                      double threshold);
/* The codes of x[begin .. end) as that state holds them: 0 is the middle of 256. */
void lti_codes_on_grids(const lti_grid_attr *attr, const lti_groups *groups, const lt_real *x, const lt_real *scale,
                        const lt_real *offset, int64_t begin, int64_t end, int8_t *codes);

#endif
