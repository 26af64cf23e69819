/* fit_legacy.c - see fit_legacy.h.
 *
 * lti_fit_scale: the codes of 1/scale = -(half + 0.1 t) / ext for t = 0, then -9 .. 9, ext the first number of largest
 * magnitude; each time the scale that is best for these codes (least squares), kept where it explains more of the
 * numbers. lti_fit_range: codes of x - minimum with 1/scale = (most + r) / (max - minimum) for r = 0, then -0.9 .. 0.9
 * by 0.05; scale and minimum by least squares, a minimum above 0 set to 0, kept where the error is less. The minimum is
 * min x at first, at most 0, and then what was kept last. */
#include "kernels/lattice/fit_legacy.h"

#include "base/half.h"

#include <math.h>

enum { N = 32 };

/* To the nearest whole number, ties to even, by adding 1.5 2^23: what this makes of a NaN or of too large a number
 * (code 0 or the least one, after the caller's limits) is the format's, too. */
static int nearest(float v)
{
    return (int)(lti_float_bits(v + 12582912.0f) & 0x7FFFFF) - 0x400000;
}

static int limited(int code, int least, int most)
{
    return code < least ? least : code > most ? most : code;
}

float lti_row_mean_square(int64_t n, const lt_real *x)
{
    float sum = 0;
    for (int64_t i = 0; i < n; i++)
        if (x[i] == x[i]) sum += (float)x[i] * (float)x[i];
    return sum / (float)n;
}

void lti_weigh(const lt_real *x, const lt_real *importance, float mean_square, lti_weighted_block *b)
{
    b->nan = false;
    for (int i = 0; i < N; i++) {
        b->x[i] = (float)x[i];
        b->nan |= b->x[i] != b->x[i];
        b->weight[i] = (float)importance[i] * sqrtf(mean_square + b->x[i] * b->x[i]);
    }
}

/* Sums over the codes that 1/scale = inverse gives: of w x c and w c^2. The codes are put into b where `keep`. */
static void scale_sums(float inverse, int half, bool keep, lti_weighted_block *b, float *xc, float *cc)
{
    *xc = *cc = 0;
    for (int i = 0; i < N; i++) {
        int code = limited(nearest(inverse * b->x[i]), -half, half - 1);
        float c = (float)code, w = b->weight[i];
        if (keep) b->code[i] = (uint8_t)(code + half);
        *xc += w * b->x[i] * c;
        *cc += w * c * c;
    }
}

float lti_fit_scale(int half, lti_weighted_block *b)
{
    float ext = 0, largest = 0, xc, cc;
    for (int i = 0; i < N; i++)
        if (fabsf(b->x[i]) > largest) {
            largest = fabsf(b->x[i]);
            ext = b->x[i];
        }
    memset(b->code, 0, sizeof b->code);
    if (b->nan || largest < 1e-15f) return b->nan ? NAN : 0;
    scale_sums((float)-half / ext, half, true, b, &xc, &cc);
    float scale = cc != 0 ? xc / cc : 0, best = scale * xc;
    for (int t = -9; t <= 9; t++) {
        if (t == 0) continue;
        float inverse = -((float)half + 0.1f * (float)t) / ext;
        scale_sums(inverse, half, false, b, &xc, &cc);
        if (!(cc > 0 && xc * xc > best * cc)) continue;
        scale = xc / cc;
        best = scale * xc;
        scale_sums(inverse, half, true, b, &xc, &cc);
    }
    return scale;
}

/* One block's search of a range. */
typedef struct range_fit {
    float least, most;    /* the minimum that codes count from, and max x */
    float sum_w, sum_x;   /* sums of w and w x */
    float sum_c, cc, xc;  /* sums of w c, w c^2 and w c x over the codes tried */
    uint8_t code[N];      /* these codes */
    float scale, minimum; /* what fits them best */
} range_fit;

static void try_codes(float inverse, int most, const lti_weighted_block *b, range_fit *f)
{
    f->sum_c = f->cc = f->xc = 0;
    for (int i = 0; i < N; i++) {
        f->code[i] = (uint8_t)limited(nearest(inverse * (b->x[i] - f->least)), 0, most);
        float c = (float)f->code[i], w = b->weight[i];
        f->sum_c += w * c;
        f->cc += w * c * c;
        f->xc += w * c * b->x[i];
    }
}

/* False when the codes are all one. */
static bool least_squares(range_fit *f)
{
    float determinant = f->sum_w * f->cc - f->sum_c * f->sum_c;
    if (!(determinant > 0)) return false;
    f->scale = (f->sum_w * f->xc - f->sum_x * f->sum_c) / determinant;
    f->minimum = (f->cc * f->sum_x - f->sum_c * f->xc) / determinant;
    if (f->minimum > 0) {
        f->minimum = 0;
        f->scale = f->xc / f->cc;
    }
    return true;
}

static float weighted_error(const range_fit *f, const lti_weighted_block *b)
{
    float sum = 0;
    for (int i = 0; i < N; i++) {
        float error = f->scale * (float)f->code[i] + f->minimum - b->x[i];
        sum += b->weight[i] * (error * error);
    }
    return sum;
}

float lti_fit_range(int most, lti_weighted_block *b, float *minimum)
{
    range_fit f = {b->x[0], b->x[0], b->weight[0], b->weight[0] * b->x[0]};
    for (int i = 1; i < N; i++) {
        if (b->x[i] < f.least) f.least = b->x[i];
        if (b->x[i] > f.most) f.most = b->x[i];
        f.sum_w += b->weight[i];
        f.sum_x += b->weight[i] * b->x[i];
    }
    if (f.least > 0) f.least = 0;
    *minimum = b->nan ? NAN : f.least;
    memset(b->code, 0, sizeof b->code);
    if (b->nan || f.most <= f.least) return b->nan ? NAN : 0;
    float inverse = (float)most / (f.most - f.least), scale = 1 / inverse;
    try_codes(inverse, most, b, &f);
    f.scale = scale;
    f.minimum = f.least;
    memcpy(b->code, f.code, sizeof f.code);
    float best = weighted_error(&f, b);
    for (int t = 0; t <= 36; t++) {
        try_codes((-0.9f + 0.05f * (float)t + (float)most) / (f.most - f.least), most, b, &f);
        if (!least_squares(&f)) continue;
        float error = weighted_error(&f, b);
        if (!(error < best)) continue;
        best = error;
        scale = f.scale;
        *minimum = f.least = f.minimum; /* what is tried next starts from it */
        memcpy(b->code, f.code, sizeof f.code);
    }
    return scale;
}
