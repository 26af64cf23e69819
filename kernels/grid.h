/* grid.h - a uniform grid as kernels take it: what symmetric, asymmetric, ternary and learned schemes all come down to.
 *
 *     code = clip(round((x - offset) inverse), lo, hi),  y = code scale + base
 *
 * Rounding is to nearest even. A zero point is not added and taken off again: it is in lo and hi. */
#ifndef LTI_GRID_H
#define LTI_GRID_H

#include "lathe/base.h"

typedef struct lti_grid {
    lt_real inverse, scale; /* inverse: 1 / scale, or 0 where that is no number: then every code is 0 */
    lt_real offset, base;
    lt_real lo, hi;      /* codes, whole numbers */
    lt_real first, last; /* the range of x that counts as inside when x is asked */
} lti_grid;

enum { LTI_BY_X = 0, LTI_BY_CODE = 1 }; /* what is asked whether it is outside: x, or its rounded, unclipped code */

#endif
