/* stored_real.c - see stored_real.h. By integer arithmetic, as in kernels/half.h, which data/ may not include: folders
 * below the engine do not know it. */
#include "data/formats/stored_real.h"

#include <string.h>

static float bits_to_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t float_to_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float from_f16(uint16_t h)
{
    uint32_t sign = (uint32_t)(h >> 15) << 31, exponent = h >> 10 & 31, mantissa = h & 1023;
    if (exponent == 31) return bits_to_float(sign | 0x7F800000u | (mantissa ? 0x400000u | mantissa << 13 : 0));
    if (exponent) return bits_to_float(sign | (exponent + 112) << 23 | mantissa << 13);
    float small = (float)mantissa * 0x1p-24f;
    return sign ? -small : small;
}

static uint16_t to_bf16(float x)
{
    uint32_t u = float_to_bits(x);
    if (x != x) return (uint16_t)(u >> 16 | 64);
    return (uint16_t)((u + 0x7FFF + (u >> 16 & 1)) >> 16);
}

static uint16_t to_f16(float x)
{
    uint32_t u = float_to_bits(x), sign = u >> 31 << 15, magnitude = u & 0x7FFFFFFF;
    if (x != x) return (uint16_t)(sign | 0x7E00 | (magnitude >> 13 & 0x3FF));
    if (magnitude >= 0x477FF000) return (uint16_t)(sign | 0x7C00); /* from 65520 on */
    if (magnitude < 0x38800000) {                                  /* below 2^-14 the spacing is 2^-24 */
        /* Adding 0.5 leaves the rounded multiple of 2^-24 in the last bits of the sum: the hardware rounds to even. */
        volatile float sum = bits_to_float(magnitude) + 0.5f;
        return (uint16_t)(sign | (float_to_bits(sum) - 0x3F000000u));
    }
    uint32_t rounded = magnitude + 0xFFF + (magnitude >> 13 & 1);
    return (uint16_t)(sign | (rounded - 0x38000000u) >> 13);
}

bool lti_stored_to_real(lt_stored type, int64_t n, const void *src, lt_real *dst)
{
    const char *p = src;
    uint16_t half;
    float single;
    double wide;
    switch (type) {
    case LT_STORED_F16:
        for (int64_t i = 0; i < n; i++, p += 2) dst[i] = (memcpy(&half, p, 2), from_f16(half));
        return true;
    case LT_STORED_BF16:
        for (int64_t i = 0; i < n; i++, p += 2) dst[i] = (memcpy(&half, p, 2), bits_to_float((uint32_t)half << 16));
        return true;
    case LT_STORED_F32:
        for (int64_t i = 0; i < n; i++, p += 4) dst[i] = (memcpy(&single, p, 4), single);
        return true;
    case LT_STORED_F64:
        for (int64_t i = 0; i < n; i++, p += 8) dst[i] = (memcpy(&wide, p, 8), (lt_real)wide);
        return true;
    default: return false;
    }
}

bool lti_real_to_stored(lt_stored type, int64_t n, const lt_real *src, void *dst)
{
    char *p = dst;
    uint16_t half;
    float single;
    double wide;
    switch (type) {
    case LT_STORED_F16:
        for (int64_t i = 0; i < n; i++, p += 2) half = to_f16((float)src[i]), memcpy(p, &half, 2);
        return true;
    case LT_STORED_BF16:
        for (int64_t i = 0; i < n; i++, p += 2) half = to_bf16((float)src[i]), memcpy(p, &half, 2);
        return true;
    case LT_STORED_F32:
        for (int64_t i = 0; i < n; i++, p += 4) single = (float)src[i], memcpy(p, &single, 4);
        return true;
    case LT_STORED_F64:
        for (int64_t i = 0; i < n; i++, p += 8) wide = src[i], memcpy(p, &wide, 8);
        return true;
    default: return false;
    }
}
