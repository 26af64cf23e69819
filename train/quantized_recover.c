/* quantized_recover.c - from numbers on a grid back to the grid: what quantization after training leaves are values, with
 * scales that the weights no longer tell.
 *
 * The largest number of a group is k scales for some k: from the largest k down, the first scale that gives every number
 * of the group, bit for bit, is taken; of 8-bit floats k is the float that the largest number is. Scales in f16 times codes
 * are exact in f32, so that the quotient is the scale; of others it may be the neighbour's, which is tried too. Another
 * scale than the one that was used gives the same numbers: those are what is deployed. */
#include "autograd/op.h"
#include "train/quantized.h"

#include <math.h>

typedef struct span {
    int least, most; /* codes counted from the zero point */
} span;

/* Whether each number is a code times the scale; the codes' range. */
static bool gives_all(int64_t n, const lt_real *v, lt_real scale, int most, span *s)
{
    *s = (span){0, 0};
    for (int64_t i = 0; i < n; i++) {
        double code = rint((double)v[i] / (double)scale);
        if (!(fabs(code) <= most) || (lt_real)code * scale != v[i]) return false;
        if (code < s->least) s->least = (int)code;
        if (code > s->most) s->most = (int)code;
    }
    return true;
}

static lt_real rounded(const lt_scheme *s, lt_real scale)
{
    uint16_t half;
    if (!s->half_scales) return scale;
    lti_k()->to_f16(1, &scale, &half);
    lti_k()->from_f16(1, &half, &scale);
    return scale;
}

static lt_real neighbour(lt_real x, int side)
{
    double to = side < 0 ? 0 : INFINITY;
    if (side == 0) return x;
    return sizeof(lt_real) == 8 ? (lt_real)nextafter((double)x, to) : (lt_real)nextafterf((float)x, (float)to);
}

/* The zero point that makes room for the codes; -1: there is none. */
static int zero_for(const lt_scheme *s, const span *codes)
{
    bool trits = s->kind == LT_SCHEME_TERNARY;
    int most = trits ? 2 : (1 << s->bits) - 1, zero = trits ? 1 : s->asymmetric ? -codes->least : 1 << (s->bits - 1);
    return zero + codes->least >= 0 && zero + codes->most <= most ? zero : -1;
}

static lt_real largest_of(int64_t n, const lt_real *v)
{
    lt_real largest = 0;
    for (int64_t i = 0; i < n; i++)
        if (fabs((double)v[i]) > (double)largest) largest = (lt_real)fabs((double)v[i]);
    return largest;
}

bool lti_recover_scale(const lt_scheme *s, int64_t n, const lt_real *v, lt_real *scale, int *zero)
{
    lt_real largest = largest_of(n, v);
    int most = s->kind == LT_SCHEME_TERNARY ? 1 : s->asymmetric ? (1 << s->bits) - 1 : 1 << (s->bits - 1);
    span codes = {0, 0};
    *scale = 0;
    *zero = zero_for(s, &codes);
    if (largest == 0) return true;
    for (int k = most; k >= 1; k--)
        for (int side = 0; side < 3; side++) {
            *scale = rounded(s, neighbour(largest / (lt_real)k, side < 2 ? side : -1));
            if (*scale > 0 && gives_all(n, v, *scale, most, &codes) && (*zero = zero_for(s, &codes)) >= 0) return true;
        }
    return false;
}

/* Whether each number is a float times the scale, by the same kernel that made it one. */
static bool floats_give_all(const lt_real floats[256], bool e5m2, int64_t n, const lt_real *v, lt_real scale,
                            uint8_t *codes)
{
    lt_real x[256];
    for (int64_t i = 0; i < n; i += 256) {
        int64_t left = n - i < 256 ? n - i : 256;
        for (int64_t k = 0; k < left; k++) x[k] = scale > 0 ? v[i + k] / scale : v[i + k];
        (e5m2 ? lti_k()->to_e5m2 : lti_k()->to_e4m3)(left, x, codes + i);
        for (int64_t k = 0; k < left; k++)
            if (!(floats[codes[i + k]] * scale == v[i + k])) return false;
    }
    return true;
}

bool lti_recover_float8(const lt_real floats[256], bool e5m2, int64_t n, const lt_real *v, lt_real *scale,
                        uint8_t *codes)
{
    lt_real largest = largest_of(n, v);
    *scale = 0;
    if (largest == 0) return floats_give_all(floats, e5m2, n, v, 0, codes);
    for (int k = 127; k >= 1; k--)
        for (int side = 0; side < 3 && isfinite((double)floats[k]); side++) {
            *scale = neighbour(largest / floats[k], side < 2 ? side : -1);
            if (*scale > 0 && floats_give_all(floats, e5m2, n, v, *scale, codes)) return true;
        }
    return false;
}

lt_status lti_recover_codes(lt_ctx *ctx, const lt_scheme *s, const char *name, const lt_real *values, lti_grid_codes *c)
{
    int64_t size = c->in / c->groups;
    for (int64_t g = 0; g < c->out * c->groups; g++) {
        const lt_real *v = values + g * size;
        if (!lti_recover_scale(s, size, v, &c->scale[g], &c->zero[g])) {
            char text[LT_SCHEME_TEXT];
            return lti_fail(ctx, LT_EUNSUPPORTED, "'%s': the numbers of group %lld are no codes of %s times a scale",
                            name, (long long)g, lt_scheme_name(s, text));
        }
        for (int64_t i = 0; i < size; i++)
            c->code[g * size + i] =
                (uint8_t)(c->zero[g] + (c->scale[g] > 0 ? (int)rint((double)v[i] / (double)c->scale[g]) : 0));
    }
    return LT_OK;
}
