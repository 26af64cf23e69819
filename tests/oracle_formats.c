/* oracle_formats.c - 16-bit floats and block lattices in the plainest code, for oracles.
 *
 * f16 is rounded by comparing with its two neighbours, not by bit tricks; blocks follow the table of GGUF's legacy
 * types: float arithmetic, the code from the unrounded float scale, the value from the scale rounded to f16. */
#include "tests/oracle_ops.h"

#include <math.h>
#include <string.h>

double ts_from_bf16(uint16_t bits)
{
    uint32_t word = (uint32_t)bits << 16;
    float x;
    memcpy(&x, &word, sizeof x);
    return x;
}

uint16_t ts_to_bf16(double x)
{
    float f = (float)x;
    uint32_t word;
    memcpy(&word, &f, sizeof word);
    uint16_t low = (uint16_t)(word >> 16), high = (uint16_t)(low + 1); /* the neighbours, toward and from zero */
    if (isnan(f)) return (uint16_t)(low | 0x40);
    uint32_t rest = word & 0xffff;
    if (rest < 0x8000) return low;
    if (rest > 0x8000) return high;
    return low & 1 ? high : low;
}

double ts_from_f16(uint16_t bits)
{
    int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    double x = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024 + mantissa, exponent - 25);
    if (exponent == 31) x = mantissa ? NAN : INFINITY;
    return bits >> 15 ? -x : x;
}

uint16_t ts_to_f16(float x)
{
    uint16_t sign = signbit(x) ? 0x8000 : 0;
    double a = fabs((double)x);
    if (isnan(x)) return sign | 0x7e00;
    if (a >= 65520) return sign | 0x7c00; /* half way to the first number that is not there */
    uint16_t low = 0, high = 0x7c00;      /* value(low) <= a < value(high); f16 is ordered as its bits */
    while (high - low > 1) {
        uint16_t middle = (uint16_t)((low + high) / 2);
        if (ts_from_f16(middle) <= a)
            low = middle;
        else
            high = middle;
    }
    double below = a - ts_from_f16(low), above = (high == 0x7c00 ? 65536 : ts_from_f16(high)) - a;
    if (below < above) return sign | low;
    if (above < below) return sign | high;
    return sign | (low & 1 ? high : low);
}

static void quantize_q4_0(const double *x, uint8_t *block)
{
    float extreme = 0, top = 0;
    for (int i = 0; i < 32; i++)
        if (fabsf((float)x[i]) > top) {
            top = fabsf((float)x[i]);
            extreme = (float)x[i];
        }
    float d = extreme / -8, id = d != 0 ? 1 / d : 0;
    uint16_t scale = ts_to_f16(d);
    memcpy(block, &scale, 2);
    for (int i = 0; i < 16; i++) {
        float low = (float)x[i] * id + 8.5f, high = (float)x[i + 16] * id + 8.5f;
        int a = (int)low > 15 ? 15 : (int)low, b = (int)high > 15 ? 15 : (int)high;
        block[2 + i] = (uint8_t)(a | b << 4);
    }
}

static void quantize_q8_0(const double *x, uint8_t *block)
{
    float top = 0;
    for (int i = 0; i < 32; i++)
        if (fabsf((float)x[i]) > top) top = fabsf((float)x[i]);
    float d = top / 127, id = d != 0 ? 1 / d : 0;
    uint16_t scale = ts_to_f16(d);
    memcpy(block, &scale, 2);
    for (int i = 0; i < 32; i++) block[2 + i] = (uint8_t)(int8_t)roundf((float)x[i] * id);
}

void ts_quantize(lt_dtype type, int64_t n, const double *x, void *blocks)
{
    uint8_t *block = blocks;
    for (int64_t i = 0; i < n; i += 32, block += lt_dtype_bytes(type))
        if (type == LT_Q4_0)
            quantize_q4_0(x + i, block);
        else
            quantize_q8_0(x + i, block);
}

/* A group of n that shares a scale. The code is x (127 / largest) to the nearest even in the arithmetic of the type; what
 * it stands for is code times the scale as stored. In Q8_K the largest gets -127, whatever its sign. */
static void round_group(lt_dtype type, int64_t n, double *x)
{
    double top = 0;
    for (int64_t i = 0; i < n; i++)
        if (fabs(x[i]) > fabs(top)) top = x[i];
    if (top == 0) return;
    if (type == LT_I8) {
        lt_real scale = (lt_real)fabs(top) / 127, inverse = 127 / (lt_real)fabs(top);
        for (int64_t i = 0; i < n; i++) x[i] = rint((double)((lt_real)x[i] * inverse)) * (double)scale;
        return;
    }
    float inverse = type == LT_Q8_K ? -127 / (float)top : 127 / fabsf((float)top);
    double scale = type == LT_Q8_K ? (double)(1 / inverse) : ts_from_f16(ts_to_f16(fabsf((float)top) / 127));
    for (int64_t i = 0; i < n; i++) x[i] = fmin(127, (double)rintf((float)x[i] * inverse)) * scale;
}

void ts_round_activations(lt_dtype type, int64_t columns, int64_t n, double *x)
{
    int64_t group = type == LT_I8 ? columns : lt_dtype_block(type);
    for (int64_t i = 0; i < n; i += group) round_group(type, group, x + i);
}

static double decode_lattice(lt_dtype type, const uint8_t *block, int i)
{
    uint16_t scale;
    memcpy(&scale, block, 2);
    double d = ts_from_f16(scale);
    if (type == LT_Q8_0) return (int8_t)block[2 + i] * d;
    int code = i < 16 ? block[2 + i] & 15 : block[2 + i - 16] >> 4;
    return (code - 8) * d;
}

void ts_decode(lt_dtype type, int64_t n, const void *data, double *x)
{
    for (int64_t i = 0; i < n; i++) {
        uint16_t half;
        switch (type) {
        case LT_F32: x[i] = ((const lt_real *)data)[i]; break;
        case LT_I32: x[i] = ((const int32_t *)data)[i]; break;
        case LT_I8: x[i] = ((const int8_t *)data)[i]; break;
        case LT_BF16:
        case LT_F16:
            memcpy(&half, (const char *)data + 2 * i, 2);
            x[i] = type == LT_F16 ? ts_from_f16(half) : ts_from_bf16(half);
            break;
        default: x[i] = decode_lattice(type, (const uint8_t *)data + i / 32 * (int64_t)lt_dtype_bytes(type), i % 32);
        }
    }
}
