/* arrays_set.h - parts of opening arrays that data sets share with lt_arrays_open. */
#ifndef LTI_ARRAYS_SET_H
#define LTI_ARRAYS_SET_H

#include "base/ctx.h"
#include "lathe/data.h"

/* The labels of an images file: the same name with labels-idx1 for images-idx3. */
lt_status lti_idx_labels(lt_ctx *ctx, const char *path, lt_array *y);
/* Whether numbers and labels are a pair: as many rows, classes from 0, nothing that is not finite. x->ints and x->real
 * may be NULL: then only the shape is looked at. */
lt_status lti_arrays_check(lt_ctx *ctx, const char *path, const lt_array *x, const lt_array *y);

#endif
