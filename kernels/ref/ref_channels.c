/* ref_channels.c - rows of channels in plain C: the passes of batch and group norm.
 *
 * A channel's numbers lie n apart and every row is read whole, so these are column sums and column-wise maps: the inner
 * loop runs over channels. Deviations are taken in R, as y needs them, and summed in double. */
#include "kernels/kernels.h"

void lti_k_channel_moments_ref(int64_t rows, int64_t n, const R *x, const R *pivot, double *sums)
{
    for (int64_t r = 0; r < rows; r++, x += n)
        for (int64_t c = 0; c < n; c++) {
            double d = (double)(R)(x[c] - pivot[c]);
            sums[c] += d;
            sums[n + c] += d * d;
        }
}

void lti_k_channel_norm_ref(int64_t rows, int64_t n, const R *x, const R *mean, const R *scale, const R *bias, int relu,
                            R *y)
{
    for (int64_t r = 0; r < rows; r++, x += n, y += n)
        for (int64_t c = 0; c < n; c++) {
            R v = (x[c] - mean[c]) * scale[c] + bias[c];
            y[c] = relu && v < 0 ? 0 : v;
        }
}

void lti_k_channel_norm_sums_ref(int64_t rows, int64_t n, const R *x, const R *dy, const R *mean, const R *scale,
                                 const R *bias, double *sums)
{
    for (int64_t r = 0; r < rows; r++, x += n, dy += n)
        for (int64_t c = 0; c < n; c++) {
            R d = x[c] - mean[c];
            double g = !bias || d * scale[c] + bias[c] > 0 ? (double)dy[c] : 0;
            sums[c] += g;
            sums[n + c] += g * (double)d;
        }
}

void lti_k_channel_norm_grad_ref(int64_t rows, int64_t n, const R *x, const R *dy, const R *mean, const R *scale,
                                 const R *bias, const R *slope, const R *offset, R *dx)
{
    for (int64_t r = 0; r < rows; r++, x += n, dy += n, dx += n)
        for (int64_t c = 0; c < n; c++) {
            R d = x[c] - mean[c];
            R g = !bias || d * scale[c] + bias[c] > 0 ? dy[c] : 0;
            dx[c] = g * scale[c] + (d * slope[c] + offset[c]);
        }
}

void lti_k_running_average_ref(int64_t n, R keep, R rate, const R *x, R *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = keep * y[i] + rate * x[i];
}
