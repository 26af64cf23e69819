/* ref_recurrent.c - the steps of LSTM and GRU in plain C, evaluated in double and rounded once; see kernels.def. */
#include "kernels/kernels.h"
#include "kernels/panels.h"

#include <math.h>

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double at(const R *x, int64_t i)
{
    return x ? (double)x[i] : 0;
}

void lti_k_gemm_panels_ref(int64_t m, int64_t n, int64_t k, const R *a, int64_t lda, const R *panels, R *c, int64_t ldc,
                           int add)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t from = 0; from < n; from += LTI_PANEL) {
            const R *b = panels + from * k;
            int64_t columns = n - from < LTI_PANEL ? n - from : LTI_PANEL;
            R sum[LTI_PANEL] = {0}, *out = c + i * ldc + from;
            for (int64_t l = 0; l < k; l++, b += LTI_PANEL)
                for (int64_t j = 0; j < LTI_PANEL; j++) sum[j] += a[i * lda + l] * b[j];
            for (int64_t j = 0; j < columns; j++) out[j] = (add ? out[j] : 0) + sum[j];
        }
}

void lti_k_lstm_gates_ref(int64_t n, const R *z, const R *x, const R *b, R *gates, R *c, R *h)
{
    for (int64_t j = 0; j < n; j++) {
        double sum[4];
        for (int64_t k = 0; k < 4; k++) sum[k] = at(z, k * n + j) + (double)x[k * n + j] + at(b, k * n + j);
        double i = sigmoid(sum[0]), f = sigmoid(sum[1]), g = tanh(sum[2]), o = sigmoid(sum[3]);
        double state = f * (double)c[j] + i * g;
        gates[j] = (R)i, gates[n + j] = (R)f, gates[2 * n + j] = (R)g, gates[3 * n + j] = (R)o;
        c[j] = (R)state;
        h[j] = (R)(o * tanh(state));
    }
}

void lti_k_lstm_gates_grad_ref(int64_t n, const R *gates, const R *c, const R *c0, const R *dh, R *dc, R *dz)
{
    for (int64_t j = 0; j < n; j++) {
        double i = (double)gates[j], f = (double)gates[n + j], g = (double)gates[2 * n + j];
        double o = (double)gates[3 * n + j], th = tanh((double)c[j]), d = (double)dh[j];
        double dstate = (double)dc[j] + d * o * (1 - th * th);
        dz[j] = (R)(dstate * g * i * (1 - i));
        dz[n + j] = (R)(dstate * at(c0, j) * f * (1 - f));
        dz[2 * n + j] = (R)(dstate * i * (1 - g * g));
        dz[3 * n + j] = (R)(d * th * o * (1 - o));
        dc[j] = (R)(dstate * f);
    }
}

void lti_k_gru_gates_ref(int64_t n, const R *z, const R *x, const R *bx, const R *bh, R *gates, R *h)
{
    for (int64_t j = 0; j < n; j++) {
        double in[3], state[3];
        for (int64_t k = 0; k < 3; k++) {
            in[k] = (double)x[k * n + j] + at(bx, k * n + j);
            state[k] = at(z, k * n + j) + at(bh, k * n + j);
        }
        double r = sigmoid(in[0] + state[0]), u = sigmoid(in[1] + state[1]), c = tanh(in[2] + r * state[2]);
        gates[j] = (R)r, gates[n + j] = (R)u, gates[2 * n + j] = (R)c, gates[3 * n + j] = (R)state[2];
        h[j] = (R)((1 - u) * c + u * (double)h[j]);
    }
}

void lti_k_gru_gates_grad_ref(int64_t n, const R *gates, const R *h0, R *dh, R *dx, R *dz)
{
    for (int64_t j = 0; j < n; j++) {
        double r = (double)gates[j], u = (double)gates[n + j], c = (double)gates[2 * n + j], d = (double)dh[j];
        double dn = d * (1 - u) * (1 - c * c), dr = dn * (double)gates[3 * n + j] * r * (1 - r);
        double du = d * (at(h0, j) - c) * u * (1 - u);
        dx[j] = dz[j] = (R)dr;
        dx[n + j] = dz[n + j] = (R)du;
        dx[2 * n + j] = (R)dn;
        dz[2 * n + j] = (R)(dn * r);
        dh[j] = (R)(d * u);
    }
}
