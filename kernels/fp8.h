/* fp8.h - 8-bit floats, one number (Open Compute Project, OCP 8-bit Floating Point Specification 1.0).
 *
 *     E4M3: bias 7, no infinities, NaN 0x7F, largest 448, denormal steps of 2^-9
 *     E5M2: the upper byte of an f16: largest 57344, infinities, NaNs, denormal steps of 2^-16
 *
 * To narrow: to nearest, ties to even. What is too large, infinities too, becomes the largest number with its sign (the
 * specification's saturating mode, which is what weights and activations want; PyTorch's cast gives NaN or infinity
 * there). A NaN stays one. Arithmetic without tables or branches, so that compilers make vectors of it: kernels/ref and
 * kernels/simd have the same loops over it. */
#ifndef LTI_FP8_H
#define LTI_FP8_H

#include "base/half.h"

/* `bits` of mantissa, numbers below 2^least are denormal; `most`: the largest number. Added to a power of two whose last
 * place is one step of x's octave (or of the denormals), x is rounded by the hardware, and stands in the sum's last bits. */
static inline uint8_t lti_narrow8(float x, int bits, int least, float most)
{
    uint32_t u = lti_float_bits(x), sign = u >> 24 & 0x80, size = u & 0x7FFFFFFF, first = (uint32_t)(least + 127);
    uint32_t limit = lti_float_bits(most), cut = size < limit ? size : limit;
    uint32_t octave = cut >> 23 > first ? cut >> 23 : first, large = (octave + 23 - (uint32_t)bits) << 23;
    uint32_t steps = lti_float_bits(lti_bits_float(cut) + lti_bits_float(large)) - large;
    uint32_t code = steps + ((octave - first) << bits);
    return (uint8_t)(sign | (size > 0x7F800000 ? 0x7F : code));
}

/* The bits of a pattern moved to where a float has them, and the bias moved by a product: denormals come out exact. */
static inline float lti_widen8(uint8_t x, int bits, float bias, uint32_t least_odd)
{
    uint32_t sign = (uint32_t)(x & 0x80) << 24, code = x & 0x7F;
    uint32_t u = lti_float_bits(lti_bits_float(code << (23 - bits)) * bias);
    uint32_t odd = code == 0x7C ? 0x7F800000 : 0x7FC00000;
    return lti_bits_float(sign | (code >= least_odd ? odd : u));
}

static inline uint8_t lti_f32_to_e4m3(float x)
{
    return lti_narrow8(x, 3, -6, 448);
}

static inline uint8_t lti_f32_to_e5m2(float x)
{
    return lti_narrow8(x, 2, -14, 57344);
}

static inline float lti_e4m3_to_f32(uint8_t x)
{
    return lti_widen8(x, 3, 0x1p120f, 0x7F);
}

static inline float lti_e5m2_to_f32(uint8_t x)
{
    return lti_widen8(x, 2, 0x1p112f, 0x7C);
}

#endif
