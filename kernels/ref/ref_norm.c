/* ref_norm.c - RMSNorm (Zhang and Sennrich, 2019) and LayerNorm (Ba et al., 2016) of one row, in plain C.
 *
 * With xh the normalized row, both gradients project out what normalizing removed:
 *     rms:   dx = rstd (w dy - xh <w dy, xh> / n)
 *     layer: dx = rstd (w dy - <w dy, 1> / n - xh <w dy, xh> / n) */
#include "kernels/kernels.h"

#include <math.h>

R lti_k_rms_norm_ref(int64_t n, const R *x, const R *w, R eps, R *y)
{
    double squares = lti_k_sum_squares_ref(n, x);
    R rstd = (R)(1 / sqrt(squares / (double)(n > 0 ? n : 1) + (double)eps));
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * rstd * w[i];
    return rstd;
}

void lti_k_rms_norm_grad_ref(int64_t n, const R *x, const R *w, R rstd, const R *dy, R *dx, R *dw)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += (double)dy[i] * (double)w[i] * (double)x[i];
    R mean = (R)(s * (double)rstd / (double)(n > 0 ? n : 1)); /* <w dy, xh> / n */
    for (int64_t i = 0; i < n; i++) {
        R xh = x[i] * rstd;
        dx[i] = rstd * (dy[i] * w[i] - xh * mean);
        dw[i] += dy[i] * xh;
    }
}

void lti_k_layer_norm_ref(int64_t n, const R *x, const R *w, const R *b, R eps, R *y, R *stats)
{
    double s = 0, squares = 0;
    double count = (double)(n > 0 ? n : 1);
    for (int64_t i = 0; i < n; i++) s += (double)x[i];
    R mean = (R)(s / count);
    for (int64_t i = 0; i < n; i++) squares += ((double)x[i] - (double)mean) * ((double)x[i] - (double)mean);
    R rstd = (R)(1 / sqrt(squares / count + (double)eps));
    for (int64_t i = 0; i < n; i++) y[i] = (x[i] - mean) * rstd * w[i] + b[i];
    stats[0] = mean;
    stats[1] = rstd;
}

void lti_k_layer_norm_grad_ref(int64_t n, const R *x, const R *w, const R *stats, const R *dy, R *dx, R *dw, R *db)
{
    R mean = stats[0], rstd = stats[1];
    double s = 0, sx = 0, count = (double)(n > 0 ? n : 1);
    for (int64_t i = 0; i < n; i++) {
        double g = (double)dy[i] * (double)w[i];
        s += g;
        sx += g * ((double)x[i] - (double)mean);
    }
    R gm = (R)(s / count), gx = (R)(sx * (double)rstd / count);
    for (int64_t i = 0; i < n; i++) {
        R xh = (x[i] - mean) * rstd;
        dx[i] = rstd * (dy[i] * w[i] - gm - xh * gx);
        dw[i] += dy[i] * xh;
        db[i] += dy[i];
    }
}
