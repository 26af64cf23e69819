/* rows_recurrent.c - rows of LSTM and GRU. */
#include "lathe/recurrent.h"
#include "tests/op_rows.h"

/* x, w_ih, w_hh, then what the flags name, in this order: 1 b_ih, 2 b_hh, 4 h0, 8 c0. arg[0]: the value is y with the
 * last c after its last step (0), y (1), the last c (2), the last h (3). number, if any, scales w_hh: the steps of a
 * large state would amplify each other, and central differences would be worth nothing. */
static lt_t next(lt_graph *g, const ts_case *c, const lt_t *x, unsigned flag, int *at)
{
    return c->flags & flag ? x[(*at)++] : lt_nil(g);
}

static lt_t scaled(const ts_case *c, lt_t w)
{
    return c->number != 0 ? lt_scale(w, c->number) : w;
}

static lt_t build_lstm(lt_graph *g, const ts_case *c, const lt_t *x)
{
    int at = 3;
    lt_t b_ih = next(g, c, x, 1, &at), b_hh = next(g, c, x, 2, &at);
    lt_t h0 = next(g, c, x, 4, &at), c0 = next(g, c, x, 8, &at);
    lt_recurrent r = lt_lstm(x[0], x[1], scaled(c, x[2]), b_ih, b_hh, h0, c0);
    if (c->arg[0] == 1) return r.y;
    if (c->arg[0] == 2) return r.c;
    if (c->arg[0] == 3) return r.h;
    int64_t dim[3] = {lt_dim(r.c, 0), 1, lt_dim(r.c, 1)};
    return lt_concat(2, (lt_t[]){r.y, lt_reshape(r.c, 3, dim)}, 1);
}

static lt_t build_gru(lt_graph *g, const ts_case *c, const lt_t *x)
{
    int at = 3;
    lt_t b_ih = next(g, c, x, 1, &at), b_hh = next(g, c, x, 2, &at), h0 = next(g, c, x, 4, &at);
    lt_recurrent r = lt_gru(x[0], x[1], scaled(c, x[2]), b_ih, b_hh, h0);
    return c->arg[0] == 3 ? r.h : r.y;
}

/* All, small; then odd sizes with and without what may be absent; one step; many rows, so that there are several tasks;
 * weights as they are stored and on a grid. */
CASES(lstm) = {
    {6, {X(2, 3, 2), X(12, 2), X(12, 3), X(12), X(2, 3), X(2, 3)}, .flags = 1 | 4 | 8},
    {5, {X(3, 4, 5), X(28, 5), X(28, 7), X(28), X(28)}, .flags = 1 | 2},
    {4, {X(3, 5, 1), X(4, 1), X(4, 1), X(4)}, {1}, .flags = 2},
    {4, {X(5, 7, 3), X(68, 3), X(68, 17), X(5, 17)}, {2}, 0.2, 4},
    {4, {X(5, 2, 3), X(36, 3), X(36, 9), X(5, 9)}, {3}, .flags = 8},
    {3, {X(1, 9, 4), X(20, 4), X(20, 5)}},
    {6, {X(3, 1, 4), X(24, 4), X(24, 6), X(24), X(3, 6), X(3, 6)}, .flags = 2 | 4 | 8},
    {3, {X(3, 1, 4), X(24, 4), X(24, 6)}, {1}},
    {6, {X(37, 6, 3), X(132, 3), X(132, 33), X(132), X(37, 33), X(37, 33)}, {0}, 0.1, 1 | 4 | 8},
    {5, {X(19, 3, 4), X(128, 4), ROUNDED(LT_Q8_0, 128, 32), X(128), X(19, 32)}, .flags = 1 | 4},
    {4, {X(2, 1, 4), X(128, 4), ROUNDED(LT_Q4_0, 128, 32), X(2, 32)}, .flags = 4},
    {4, {X(2, 4, 3), BLOCKS(LT_BF16, 20, 3), BLOCKS(LT_BF16, 20, 5), X(2, 5)}, .flags = 4},
};
CASES(gru) = {
    {6, {X(2, 3, 2), X(9, 2), X(9, 3), X(9), X(9), X(2, 3)}, .flags = 1 | 2 | 4},
    {4, {X(3, 4, 5), X(21, 5), X(21, 7), X(21)}, .flags = 1},
    {4, {X(3, 5, 1), X(3, 1), X(3, 1), X(3)}, .flags = 2},
    {4, {X(5, 7, 3), X(51, 3), X(51, 17), X(5, 17)}, {3}, 0.2, 4},
    {3, {X(1, 9, 4), X(15, 4), X(15, 5)}},
    {6, {X(3, 1, 4), X(18, 4), X(18, 6), X(18), X(18), X(3, 6)}, .flags = 1 | 2 | 4},
    {4, {X(3, 1, 4), X(18, 4), X(18, 6), X(18)}, .flags = 2},
    {6, {X(37, 6, 3), X(99, 3), X(99, 33), X(99), X(99), X(37, 33)}, {0}, 0.1, 1 | 2 | 4},
    {5, {X(19, 3, 4), X(96, 4), ROUNDED(LT_Q8_0, 96, 32), X(96), X(19, 32)}, .flags = 2 | 4},
    {4, {X(2, 1, 4), X(96, 4), ROUNDED(LT_Q4_0, 96, 32), X(2, 32)}, .flags = 4},
    {4, {X(2, 4, 3), BLOCKS(LT_BF16, 15, 3), BLOCKS(LT_BF16, 15, 5), X(2, 5)}, .flags = 4},
};

const ts_row ts_rows_recurrent[] = {
    ROW(lstm, lstm, lstm),
    ROW(gru, gru, gru),
    {0},
};
