/* half.h - binary16 and bfloat16 by integer arithmetic: no hardware, no compiler type, the same bits everywhere.
 *
 * To narrow: round to nearest, ties to even; overflow gives infinity; a NaN stays a NaN (made quiet, sign kept). */
#ifndef LTI_HALF_H
#define LTI_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t lti_float_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static inline float lti_bits_float(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static inline uint16_t lti_f32_to_bf16(float x)
{
    uint32_t u = lti_float_bits(x);
    if ((u & 0x7FFFFFFFu) > 0x7F800000u) return (uint16_t)(u >> 16 | 0x40u);
    return (uint16_t)((u + 0x7FFFu + (u >> 16 & 1)) >> 16);
}

static inline float lti_bf16_to_f32(uint16_t h)
{
    return lti_bits_float((uint32_t)h << 16);
}

static inline uint16_t lti_f32_to_f16(float x)
{
    uint32_t u = lti_float_bits(x), sign = u >> 16 & 0x8000u, magnitude = u & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u) return (uint16_t)(sign | 0x7E00u | (magnitude >> 13 & 0x3FFu));
    if (magnitude >= 0x477FF000u) return (uint16_t)(sign | 0x7C00u); /* 65520 and more round to infinity */
    if (magnitude >= 0x38800000u) {                                  /* normal: move the bias from 127 to 15 */
        uint32_t odd = magnitude >> 13 & 1;
        return (uint16_t)(sign | (magnitude - 0x38000000u + 0xFFFu + odd) >> 13);
    }
    if (magnitude < 0x33000000u) return (uint16_t)sign; /* under 2^-25; exactly 2^-25 ties to even, zero, below */
    uint32_t shift = 126 - (magnitude >> 23);           /* subnormal: 14 .. 24 bits of the mantissa go */
    uint32_t mantissa = (magnitude & 0x7FFFFFu) | 0x800000u;
    uint32_t kept = mantissa >> shift, rest = mantissa & ((1u << shift) - 1), half = 1u << (shift - 1);
    if (rest > half || (rest == half && (kept & 1))) kept++;
    return (uint16_t)(sign | kept);
}

static inline float lti_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = h >> 10 & 0x1Fu, mantissa = h & 0x3FFu;
    if (exponent == 31) /* infinity, or a NaN made quiet as the hardware makes it */
        return lti_bits_float(sign | 0x7F800000u | mantissa << 13 | (mantissa ? 0x400000u : 0));
    if (exponent > 0) return lti_bits_float(sign | (exponent + 112) << 23 | mantissa << 13);
    float tiny = (float)mantissa * 0x1p-24f; /* exact */
    return sign ? -tiny : tiny;
}

#endif
