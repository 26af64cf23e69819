/* lattice_clip.h - codes of a lattice, gradients of what it has clipped, and weights drawn to their grid. Internal. */
#ifndef LTI_LATTICE_CLIP_H
#define LTI_LATTICE_CLIP_H

#include "lathe/scheme.h"

/* x as blocks of the scheme's lattice, its scales quantized themselves where the scheme says so. */
lt_t lti_quantize_type(lt_t x, const lt_scheme *scheme);

/* x as blocks with the scales of `kept`, which is of the lattice and of x's shape; straight through. */
lt_t lti_requantize(lt_t x, lt_t kept);

/* The same codes, made of x by lt_quantize; their cotangent reaches x where x is within the reach of its block
 * (LT_ROUND_CLIP_X), or not more than half a step outside (LT_ROUND_CLIP_CODE). */
lt_t lti_lattice_clip(lt_t codes, lt_t x, lt_round_gradient gradient);

/* The same value, made of x by rounding; x's gradient gets 2 number (x - y) besides: of number |x - y|^2, which is not
 * part of the loss. number: rank 0. */
lt_t lti_weight_damping(lt_t y, lt_t x, lt_t number);

#endif
