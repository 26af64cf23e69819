/* k_search.c - the searches of the K encoders for one sub-block, in plain C.
 *
 * The order of every sum and comparison is part of the format's canon; kernels/simd/simd_encode_k.c does the same to 8
 * or 16 sub-blocks at once. Whole numbers become floats where they meet floats. A better fit must be strictly better:
 * the first of equals stays. */
#include "kernels/lattice/k_types.h"

static float error_of(float e, int absolute)
{
    return absolute ? fabsf(e) : e * e;
}

/* What one trial of lti_k_fit_minimum sums up. */
typedef struct trial {
    float codes, squares, products; /* w l, w l^2, w l x */
    uint8_t code[32];
} trial;

static void try_scale(int n, int most, const float *x, const float *w, float low, float inverse, trial *t)
{
    t->codes = t->squares = t->products = 0;
    for (int i = 0; i < n; i++) {
        int l = lti_nearest_within(inverse * (x[i] - low), 0, most);
        t->code[i] = (uint8_t)l;
        t->codes += w[i] * (float)l;
        t->squares += w[i] * (float)l * (float)l;
        t->products += w[i] * (float)l * x[i];
    }
}

static float error_sum(int n, const float *x, const float *w, const uint8_t *code, float scale, float low, int absolute)
{
    float sum = 0;
    for (int i = 0; i < n; i++) sum += w[i] * error_of(scale * (float)code[i] + low - x[i], absolute);
    return sum;
}

float lti_k_fit_minimum(int n, int most, const float *x, const float *w, const lti_k_search *search, float *minimum,
                        uint8_t *codes)
{
    float low = x[0], high = x[0], sum_w = w[0], sum_x = w[0] * x[0];
    for (int i = 1; i < n; i++) {
        if (x[i] < low) low = x[i];
        if (x[i] > high) high = x[i];
        sum_w += w[i];
        sum_x += w[i] * x[i];
    }
    if (low > 0) low = 0;
    *minimum = -low;
    memset(codes, 0, (size_t)n);
    if (high == low) return 0;
    float inverse = (float)most / (high - low), scale = 1 / inverse;
    trial t;
    try_scale(n, most, x, w, low, inverse, &t);
    memcpy(codes, t.code, (size_t)n);
    float best = error_sum(n, x, w, codes, scale, low, search->absolute);
    for (int i = 0; i <= search->steps; i++) {
        inverse = (search->from + search->by * (float)i + (float)most) / (high - low); /* of the best so far */
        try_scale(n, most, x, w, low, inverse, &t);
        float det = sum_w * t.squares - t.codes * t.codes;
        if (!(det > 0)) continue;
        float this_scale = (sum_w * t.products - sum_x * t.codes) / det;
        float this_low = (t.squares * sum_x - t.codes * t.products) / det;
        if (this_low > 0) {
            this_low = 0;
            this_scale = t.products / t.squares;
        }
        float error = error_sum(n, x, w, t.code, this_scale, this_low, search->absolute);
        if (error < best) {
            memcpy(codes, t.code, (size_t)n);
            best = error;
            scale = this_scale;
            low = this_low;
        }
    }
    *minimum = -low;
    return scale;
}

/* The element of largest magnitude, the first of equals; 0 when none reaches 1e-15. */
static float extreme_of(int n, const float *x)
{
    float largest = 0, ext = 0;
    for (int i = 0; i < n; i++)
        if (fabsf(x[i]) > largest) {
            largest = fabsf(x[i]);
            ext = x[i];
        }
    return largest < 1e-15f ? 0 : ext;
}

static void sums_of(int n, int most, const float *x, const float *w, float inverse, float *products, float *squares)
{
    *products = *squares = 0;
    for (int i = 0; i < n; i++) {
        float l = (float)lti_nearest_within(inverse * x[i], -most, most - 1);
        *products += w[i] * x[i] * l;
        *squares += w[i] * l * l;
    }
}

float lti_k_fit_extreme(int n, int most, const float *x, const float *w, uint8_t *codes)
{
    float ext = extreme_of(n, x), products, squares;
    memset(codes, 0, (size_t)n);
    if (ext == 0) return 0;
    float inverse = (float)-most / ext, used = inverse;
    sums_of(n, most, x, w, inverse, &products, &squares);
    float scale = squares != 0 ? products / squares : 0, best = scale * products;
    for (int i = -9; i <= 9; i++) {
        if (i == 0) continue;
        inverse = -((float)most + 0.1f * (float)i) / ext;
        sums_of(n, most, x, w, inverse, &products, &squares);
        if (squares > 0 && products * products > best * squares) {
            used = inverse;
            scale = products / squares;
            best = scale * products;
        }
    }
    for (int i = 0; i < n; i++) codes[i] = (uint8_t)(lti_nearest_within(used * x[i], -most, most - 1) + most);
    return scale;
}

float lti_k_fit_turns(int n, int most, const float *x, uint8_t *codes)
{
    float ext = extreme_of(n, x), products, squares;
    int code[32], changes = 1;
    memset(codes, 0, (size_t)n);
    if (ext == 0) return 0;
    float inverse = (float)-most / ext, w[32];
    for (int i = 0; i < n; i++) {
        w[i] = x[i] * x[i];
        code[i] = lti_nearest_within(inverse * x[i], -most, most - 1);
    }
    sums_of(n, most, x, w, inverse, &products, &squares);
    for (int turn = 0; turn < 5 && changes; turn++) {
        changes = 0;
        for (int i = 0; i < n; i++) {
            float l = (float)code[i], p = products - w[i] * x[i] * l;
            if (!(p > 0)) continue;
            float s = squares - w[i] * l * l;
            int other = lti_nearest_within(x[i] * s / p, -most, most - 1);
            if (other == code[i]) continue;
            p += w[i] * x[i] * (float)other;
            s += w[i] * (float)other * (float)other;
            if (s > 0 && p * p * squares > products * products * s) {
                code[i] = other;
                products = p;
                squares = s;
                changes++;
            }
        }
    }
    for (int i = 0; i < n; i++) codes[i] = (uint8_t)(code[i] + most);
    return squares > 0 ? products / squares : 0;
}

/* 1 / the best of nine scales, by the weighted squared error. The first trial does not bound its codes. */
static float first_inverse(int n, int most, const float *x, const float *w, float largest)
{
    float inverse = (float)most / largest, scale = 1 / inverse, best = 0;
    for (int i = 0; i < n; i++) {
        float e = x[i] - scale * (float)(uint8_t)lti_nearest(inverse * x[i]);
        best += w[i] * e * e;
    }
    for (int i = -4; i <= 4; i++) {
        float other = (0.1f * (float)i + (float)most) / largest, sum = 0;
        if (i == 0) continue;
        scale = 1 / other;
        for (int j = 0; j < n; j++) {
            int l = lti_nearest(other * x[j]);
            float e = x[j] - scale * (float)(l < most ? l : most);
            sum += w[j] * e * e;
        }
        if (sum < best) {
            best = sum;
            inverse = other;
        }
    }
    return inverse;
}

float lti_k_fit_scales(int n, int most, const float *x, const float *w, uint8_t *codes)
{
    float largest = 0, products = 0, squares = 0;
    int changes = 1;
    for (int i = 0; i < n; i++) {
        largest = largest > x[i] ? largest : x[i];
        codes[i] = 0;
    }
    if (largest < 1e-15f) return 0;
    float inverse = first_inverse(n, most, x, w, largest);
    for (int i = 0; i < n; i++) {
        int l = lti_nearest(inverse * x[i]);
        l = l < most ? l : most;
        codes[i] = (uint8_t)l;
        products += w[i] * x[i] * (float)l;
        squares += w[i] * (float)l * (float)l;
    }
    for (int turn = 0; turn < 5 && changes; turn++) {
        changes = 0;
        for (int i = 0; i < n; i++) {
            float l = (float)codes[i], p = products - w[i] * x[i] * l, s = squares - w[i] * l * l;
            if (!(p > 0 && s > 0)) continue;
            int other = lti_nearest(x[i] * s / p);
            other = other < most ? other : most;
            if (other == codes[i]) continue;
            p += w[i] * x[i] * (float)other;
            s += w[i] * (float)other * (float)other;
            if (p * p * squares > products * products * s) {
                codes[i] = (uint8_t)other;
                products = p;
                squares = s;
                changes++;
            }
        }
    }
    return squares > 0 ? products / squares : 0;
}
