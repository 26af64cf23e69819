/* kernel_cases_recurrent.h - cases of test_kernels.c: the products and gates of recurrent networks. Included there
 * alone, after what it defines. */
#ifndef TS_KERNEL_CASES_RECURRENT_H
#define TS_KERNEL_CASES_RECURRENT_H

#include "kernels/panels.h"

/* Rows and columns vary with the turn, so that blocks of rows and panels end raggedly. The tolerance follows the sum of
 * the magnitudes. */
static void run_gemm_panels(const lti_kernels *k, const point *p, result *o)
{
    int64_t m = p->turn % 31, n = 1 + p->turn * 7 % 75, depth = p->n / 128 + p->turn % 3, ldc = n + 3;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double size = 0;
            for (int64_t l = 0; l < depth; l++)
                size += fabs((double)p->x[0][i * (depth + 1) + l] *
                             (double)p->x[1][j / LTI_PANEL * LTI_PANEL * depth + l * LTI_PANEL + j % LTI_PANEL]);
            if (isfinite(size)) o->absolute = fmax(o->absolute, 1e-6 * size);
        }
    memcpy(o->y[0], p->x[2], (size_t)(m * ldc) * sizeof(R));
    k->gemm_panels(m, n, depth, p->x[0], depth + 1, p->x[1], o->y[0], ldc, p->turn % 2);
    o->absolute += 1e-6 * p->size;
}

static void run_lstm_gates(const lti_kernels *k, const point *p, result *o)
{
    int64_t n = p->n / 8;
    memcpy(o->y[1], p->x[3], (size_t)n * sizeof(R));
    k->lstm_gates(n, p->turn % 3 ? p->x[1] : NULL, p->x[0], p->turn % 2 ? p->x[2] : NULL, o->y[0], o->y[1], o->y[2]);
    tolerance(o, 2e-6, 2e-6 * p->size)->in_place = true;
}

static void run_lstm_gates_grad(const lti_kernels *k, const point *p, result *o)
{
    int64_t n = p->n / 8;
    memcpy(o->y[1], p->x[3], (size_t)n * sizeof(R));
    k->lstm_gates_grad(n, p->x[0], p->x[1], p->turn % 2 ? p->x[2] : NULL, p->x[2] + n, o->y[1], o->y[0]);
    tolerance(o, 4e-6, 1e-5 * p->size * p->size * p->size);
}

static void run_gru_gates(const lti_kernels *k, const point *p, result *o)
{
    int64_t n = p->n / 8;
    memcpy(o->y[1], p->x[3], (size_t)n * sizeof(R));
    k->gru_gates(n, p->turn % 3 ? p->x[1] : NULL, p->x[0], p->turn % 2 ? p->x[2] : NULL,
                 p->turn % 5 ? p->x[2] + 3 * n : NULL, o->y[0], o->y[1]);
    tolerance(o, 2e-6, 1e-5 * p->size);
}

static void run_gru_gates_grad(const lti_kernels *k, const point *p, result *o)
{
    int64_t n = p->n / 8;
    memcpy(o->y[2], p->x[3], (size_t)n * sizeof(R));
    k->gru_gates_grad(n, p->x[0], p->turn % 2 ? p->x[1] : NULL, o->y[2], o->y[0], o->y[1]);
    tolerance(o, 4e-6, 1e-5 * p->size * p->size * p->size);
}

#endif
