/* nested_scales.h - double quantization of the scales of NF4 and FP4 blocks (Dettmers et al., QLoRA, 2023, section 3).
 *
 *     offset = mean of all scales of a tensor;  in groups of 256 scales, in the order of the blocks:
 *     largest = max |scale - offset|;  code: the value of the map nearest to (scale - offset) / largest
 *     scale = map[code] largest + offset
 *
 * The map has 256 values from -0.993 to 1 that are denser near 0 (Dettmers, 8-bit approximations, 2015): 10^-e times the
 * middles of equal parts of [0.1, 1], twice as many parts for each greater power. In float without contraction, bytes as
 * the package bitsandbytes makes them, except for two freaks of its version for CPUs: that one takes the map's first
 * value for -1, and divides in the last group when it is not whole. The mean is summed in double. */
#ifndef LTI_NESTED_SCALES_H
#define LTI_NESTED_SCALES_H

#include <stdint.h>

enum { LTI_NESTED_GROUP = 256 };

/* What a code stands for, before it is multiplied. */
float lti_dynamic_value(uint8_t code);

/* `blocks`: n blocks of NF4 or FP4, all of one tensor. Groups: ceil(n / LTI_NESTED_GROUP). */
float lti_scales_mean(int64_t n, const void *blocks);
void lti_nest_scales(int64_t n, const void *blocks, float offset, uint8_t *codes, float *largest);
/* The reverse: sets the blocks' scales. */
void lti_unnest_scales(int64_t n, const uint8_t *codes, const float *largest, float offset, void *blocks);

/* Replaces each scale by what its code stands for: so training sees exactly what is shipped. */
void lti_double_scales(int64_t n, void *blocks);

#endif
