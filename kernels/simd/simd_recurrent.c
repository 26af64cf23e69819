/* simd_recurrent.c - the steps of LSTM and GRU: products of few rows with a shared matrix, and the gates.
 *
 * A product holds ROWS x LTI_PANEL sums in registers and reads a panel once for ROWS rows: 24 vectors of sums on
 * AVX-512 (12 rows of 2), 12 on AVX2 (3 rows of 4), each enough to hide the latency of a multiply-add. Rows left over
 * take smaller blocks; a sum is the same in each of them. */
#include "kernels/panels.h"
#include "kernels/simd/vec.h"

enum { VECTORS = LTI_PANEL / V, ROWS = V == 16 ? 12 : 3 };

typedef struct panel_job {
    int64_t k, lda, ldc, columns;
    const R *panel;
    int add;
} panel_job;

VI int64_t part(int64_t columns, int v)
{
    int64_t left = columns - v * V;
    return left < 0 ? 0 : left < V ? left : V;
}

/* `rows` rows of a times one panel, `rows` constant. */
VI void block(const panel_job *job, int rows, const R *a, R *c)
{
    vf sum[ROWS][VECTORS];
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) sum[r][v] = v_zero();
    const R *b = job->panel;
    for (int64_t l = 0; l < job->k; l++, b += LTI_PANEL) {
        vf w[VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) w[v] = v_load(b + v * V);
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) {
            vf x = v_set(a[r * job->lda + l]);
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++) sum[r][v] = v_fma(x, w[v], sum[r][v]);
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) {
            R *out = c + r * job->ldc + v * V;
            int64_t left = part(job->columns, v);
            vf y = job->add ? v_add(v_get(out, left), sum[r][v]) : sum[r][v];
            v_put(out, y, left);
        }
}

static void rows_12(const panel_job *job, const R *a, R *c)
{
    block(job, ROWS < 12 ? ROWS : 12, a, c);
}

static void rows_8(const panel_job *job, const R *a, R *c)
{
    block(job, ROWS < 8 ? ROWS : 8, a, c);
}

static void rows_4(const panel_job *job, const R *a, R *c)
{
    block(job, ROWS < 4 ? ROWS : 4, a, c);
}

static void rows_2(const panel_job *job, const R *a, R *c)
{
    block(job, 2, a, c);
}

static void rows_1(const panel_job *job, const R *a, R *c)
{
    block(job, 1, a, c);
}

/* The block to take when `left` rows remain; 16 rows go as 8 and 8, not as 12 and 4. */
VI int64_t next_rows(int64_t left)
{
    if (ROWS == 3) return left >= 3 ? 3 : left;
    if (left >= 12 && left != 16) return 12;
    return left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

void LTI_FN(gemm_panels)(int64_t m, int64_t n, int64_t k, const R *a, int64_t lda, const R *panels, R *c, int64_t ldc,
                         int add)
{
    for (int64_t from = 0; from < n; from += LTI_PANEL) {
        panel_job job = {k, lda, ldc, n - from < LTI_PANEL ? n - from : LTI_PANEL, panels + from * k, add};
        for (int64_t i = 0, rows; i < m; i += rows) {
            const R *x = a + i * lda;
            R *y = c + i * ldc + from;
            rows = next_rows(m - i);
            switch (rows) {
            case 12: rows_12(&job, x, y); break;
            case 8: rows_8(&job, x, y); break;
            case 4:
            case 3: rows_4(&job, x, y); break;
            case 2: rows_2(&job, x, y); break;
            default: rows_1(&job, x, y); break;
            }
        }
    }
}

/* ---- Gates ---- */

VI vf get_or_zero(const R *x, int64_t i, int64_t left)
{
    return x ? v_get(x + i, left) : v_zero();
}

/* y (1 - y) d: the cotangent before a sigmoid whose value is y. */
VI vf before_sigmoid(vf y, vf d)
{
    return v_mul(d, v_mul(y, v_sub(v_set(1), y)));
}

VI vf before_tanh(vf y, vf d)
{
    return v_mul(d, v_fnma(y, y, v_set(1)));
}

void LTI_FN(lstm_gates)(int64_t n, const R *z, const R *x, const R *b, R *gates, R *c, R *h)
{
    LTI_EACH (j, left, n) {
        vf s[4];
        for (int k = 0; k < 4; k++) {
            int64_t at = k * n + j;
            s[k] = v_add(v_add(get_or_zero(z, at, left), v_get(x + at, left)), get_or_zero(b, at, left));
        }
        vf i = v_sigmoid(s[0]), f = v_sigmoid(s[1]), g = v_tanh(s[2]), o = v_sigmoid(s[3]);
        vf state = v_fma(f, v_get(c + j, left), v_mul(i, g));
        v_put(gates + j, i, left);
        v_put(gates + n + j, f, left);
        v_put(gates + 2 * n + j, g, left);
        v_put(gates + 3 * n + j, o, left);
        v_put(c + j, state, left);
        v_put(h + j, v_mul(o, v_tanh(state)), left);
    }
}

void LTI_FN(lstm_gates_grad)(int64_t n, const R *gates, const R *c, const R *c0, const R *dh, R *dc, R *dz)
{
    LTI_EACH (j, left, n) {
        vf i = v_get(gates + j, left), f = v_get(gates + n + j, left), g = v_get(gates + 2 * n + j, left);
        vf o = v_get(gates + 3 * n + j, left), th = v_tanh(v_get(c + j, left)), d = v_get(dh + j, left);
        vf dstate = v_add(v_get(dc + j, left), before_tanh(th, v_mul(d, o)));
        v_put(dz + j, before_sigmoid(i, v_mul(dstate, g)), left);
        v_put(dz + n + j, before_sigmoid(f, v_mul(dstate, get_or_zero(c0, j, left))), left);
        v_put(dz + 2 * n + j, before_tanh(g, v_mul(dstate, i)), left);
        v_put(dz + 3 * n + j, before_sigmoid(o, v_mul(d, th)), left);
        v_put(dc + j, v_mul(dstate, f), left);
    }
}

void LTI_FN(gru_gates)(int64_t n, const R *z, const R *x, const R *bx, const R *bh, R *gates, R *h)
{
    LTI_EACH (j, left, n) {
        vf in[3], state[3];
        for (int k = 0; k < 3; k++) {
            int64_t at = k * n + j;
            in[k] = v_add(v_get(x + at, left), get_or_zero(bx, at, left));
            state[k] = v_add(get_or_zero(z, at, left), get_or_zero(bh, at, left));
        }
        vf r = v_sigmoid(v_add(in[0], state[0])), u = v_sigmoid(v_add(in[1], state[1]));
        vf c = v_tanh(v_fma(r, state[2], in[2]));
        v_put(gates + j, r, left);
        v_put(gates + n + j, u, left);
        v_put(gates + 2 * n + j, c, left);
        v_put(gates + 3 * n + j, state[2], left);
        v_put(h + j, v_fma(u, v_get(h + j, left), v_mul(v_sub(v_set(1), u), c)), left);
    }
}

void LTI_FN(gru_gates_grad)(int64_t n, const R *gates, const R *h0, R *dh, R *dx, R *dz)
{
    LTI_EACH (j, left, n) {
        vf r = v_get(gates + j, left), u = v_get(gates + n + j, left), c = v_get(gates + 2 * n + j, left);
        vf d = v_get(dh + j, left), dn = before_tanh(c, v_mul(d, v_sub(v_set(1), u)));
        vf dr = before_sigmoid(r, v_mul(dn, v_get(gates + 3 * n + j, left)));
        vf du = before_sigmoid(u, v_mul(d, v_sub(get_or_zero(h0, j, left), c)));
        v_put(dx + j, dr, left);
        v_put(dx + n + j, du, left);
        v_put(dx + 2 * n + j, dn, left);
        v_put(dz + j, dr, left);
        v_put(dz + n + j, du, left);
        v_put(dz + 2 * n + j, v_mul(dn, r), left);
        v_put(dh + j, v_mul(d, u), left);
    }
}
