/* param_value.h - type and shape of a param, for the attr of ops that write one. */
#ifndef LTI_PARAM_VALUE_H
#define LTI_PARAM_VALUE_H

#include "autograd/op.h"

static inline lti_value lti_param_value(const lt_param *param)
{
    lti_value v;
    lti_value_set(&v, lt_param_type(param), lt_param_rank(param), lt_param_shape(param));
    return v;
}

#endif
