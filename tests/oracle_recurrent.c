/* oracle_recurrent.c - LSTM and GRU step by step from the formulas of lathe/recurrent.h, one number at a time. */
#include "tests/oracle_ops.h"

#include <math.h>

/* Inputs: x, w_ih, w_hh, then by flag 1 b_ih, 2 b_hh, 4 h0, 8 c0. The case's number scales w_hh. */
typedef struct inputs {
    const double *x, *w_ih, *w_hh, *b_ih, *b_hh, *h0, *c0;
    double scale; /* of w_hh */
    int64_t B, T, I, H;
} inputs;

static inputs inputs_of(const ts_case *c, const ts_tensor *x)
{
    const ts_tensor *more = x + 3;
    inputs in = {
        x[0].v, x[1].v, x[2].v, .B = ts_dim(x, 0), .T = ts_dim(x, 1), .I = ts_dim(x, 2), .H = ts_dim(x + 2, 1)};
    in.scale = c->number != 0 ? c->number : 1;
    if (c->flags & 1) in.b_ih = more++->v;
    if (c->flags & 2) in.b_hh = more++->v;
    if (c->flags & 4) in.h0 = more++->v;
    if (c->flags & 8) in.c0 = more++->v;
    return in;
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* Row `unit` of gate `gate` of W_i x + b_i, and of W_h h + b_h. */
static double from_input(const inputs *in, int64_t gate, int64_t unit, const double *x)
{
    int64_t row = gate * in->H + unit;
    double sum = in->b_ih ? in->b_ih[row] : 0;
    for (int64_t i = 0; i < in->I; i++) sum += in->w_ih[row * in->I + i] * x[i];
    return sum;
}

static double from_state(const inputs *in, int64_t gate, int64_t unit, const double *h)
{
    int64_t row = gate * in->H + unit;
    double sum = in->b_hh ? in->b_hh[row] : 0;
    for (int64_t i = 0; i < in->H; i++) sum += in->scale * in->w_hh[row * in->H + i] * h[i];
    return sum;
}

static void lstm_step(const inputs *in, const double *x, const double *h, double *c, double *next)
{
    for (int64_t u = 0; u < in->H; u++) {
        double a[4];
        for (int64_t k = 0; k < 4; k++) a[k] = from_input(in, k, u, x) + from_state(in, k, u, h);
        c[u] = sigmoid(a[1]) * c[u] + sigmoid(a[0]) * tanh(a[2]);
        next[u] = sigmoid(a[3]) * tanh(c[u]);
    }
}

static void gru_step(const inputs *in, const double *x, const double *h, double *c, double *next)
{
    (void)c;
    for (int64_t u = 0; u < in->H; u++) {
        double r = sigmoid(from_input(in, 0, u, x) + from_state(in, 0, u, h));
        double z = sigmoid(from_input(in, 1, u, x) + from_state(in, 1, u, h));
        double n = tanh(from_input(in, 2, u, x) + r * from_state(in, 2, u, h));
        next[u] = (1 - z) * n + z * h[u];
    }
}

static void walk(const ts_case *c, const ts_tensor *x, ts_tensor *y, bool lstm)
{
    inputs in = inputs_of(c, x);
    int64_t B = in.B, T = in.T, H = in.H, rows = T + (lstm && c->arg[0] == 0);
    bool one = c->arg[0] >= 2;
    ts_tensor h, state, next;
    ts_make(&h, 1, &H);
    ts_make(&state, 1, &H);
    ts_make(&next, 1, &H);
    ts_make(y, one ? 2 : 3, one ? (int64_t[]){B, H} : (int64_t[]){B, rows, H});
    for (int64_t b = 0; b < B; b++) {
        for (int64_t u = 0; u < H; u++) {
            h.v[u] = in.h0 ? in.h0[b * H + u] : 0;
            state.v[u] = in.c0 ? in.c0[b * H + u] : 0;
        }
        for (int64_t t = 0; t < T; t++) {
            (lstm ? lstm_step : gru_step)(&in, in.x + (b * T + t) * in.I, h.v, state.v, next.v);
            for (int64_t u = 0; u < H; u++) {
                h.v[u] = next.v[u];
                if (!one) y->v[(b * rows + t) * H + u] = h.v[u];
            }
        }
        const double *last = c->arg[0] == 3 ? h.v : state.v;
        for (int64_t u = 0; u < H; u++) {
            if (one) y->v[b * H + u] = last[u];
            if (rows > T) y->v[(b * rows + T) * H + u] = state.v[u];
        }
    }
    ts_drop(&h);
    ts_drop(&state);
    ts_drop(&next);
}

void ts_formula_lstm(const ts_case *c, const ts_tensor *x, ts_tensor *y)
{
    walk(c, x, y, true);
}

void ts_formula_gru(const ts_case *c, const ts_tensor *x, ts_tensor *y)
{
    walk(c, x, y, false);
}
