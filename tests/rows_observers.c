/* rows_observers.c - rows of observers and of the grid they make. test_observers.c judges every kind. number: the
 * scale; flags 1: codes -127 .. 127, else 0 .. 255; arg[0]: the observer's kind. */
#include "tests/op_rows.h"

#include "autograd/op.h"
#include "lathe/observe.h"

#include <math.h>

static lt_t grid_of(lt_graph *g, const ts_case *c)
{
    lt_param *grid;
    if (lt_params_add(lt_graph_params(g), "grid", LT_F32, 1, &(int64_t){2}, LT_STATE, &grid) != LT_OK)
        return lti_graph_fail(g, LT_ENOMEM, "out of memory");
    lt_real *to = lt_param_data(grid);
    to[0] = (lt_real)c->number, to[1] = c->flags & 1 ? -127 : 0;
    return lt_param_value(g, grid);
}

static lt_t rounded(lt_graph *g, const ts_case *c, lt_t x)
{
    return lt_fake_quant_static(x, grid_of(g, c), lt_scalar(g, "on", 1));
}

static lt_t gradient(lt_t y, lt_t dy, lt_t x)
{
    lt_t dx;
    lt_grad_seeded(y, dy, 1, &x, &dx);
    return dx;
}

BUILD(fake_quant_static, rounded(g, c, x[0]))
BUILD(fake_quant_static_grad, gradient(rounded(g, c, x[0]), x[1], x[0]))

static lt_t build_observe(lt_graph *g, const ts_case *c, const lt_t *x)
{
    lt_params *params = lt_graph_params(g);
    lt_observe_config config;
    lt_observe_config_init(&config);
    config.kind = (lt_observer)c->arg[0];
    lt_param *scale, *range;
    if (lt_observe_params(params, "site", &config, &scale, &range) != LT_OK)
        return lti_graph_fail(g, LT_ENOMEM, "out of memory");
    return lt_observe(x[1], lt_params_find(params, "p0"), range, &config, lt_scalar(g, "on", 1));
}

static double code_of(const ts_case *c, double x)
{
    lt_real scale = (lt_real)c->number;
    return rint((double)((lt_real)x * (1 / scale)));
}

static bool inside(const ts_case *c, double code)
{
    return c->flags & 1 ? fabs(code) <= 127 : code >= 0 && code <= 255;
}

static void ts_formula_static_values(const ts_case *c, const ts_tensor *x, ts_tensor *y)
{
    double low = c->flags & 1 ? -127 : 0, high = c->flags & 1 ? 127 : 255;
    ts_make(y, x[0].rank, x[0].dim);
    for (int64_t i = 0; i < y->count; i++) y->v[i] = fmin(fmax(code_of(c, x[0].v[i]), low), high) * c->number;
}

static void ts_formula_static_gradient(const ts_case *c, const ts_tensor *x, ts_tensor *y)
{
    ts_make(y, x[0].rank, x[0].dim);
    for (int64_t i = 0; i < y->count; i++) y->v[i] = inside(c, code_of(c, x[0].v[i])) ? x[1].v[i] : 0;
}

/* After one batch of numbers on both sides of 0: least and largest, whose larger magnitude is code 127. */
static void ts_formula_observed(const ts_case *c, const ts_tensor *x, ts_tensor *y)
{
    double most = 0;
    (void)c;
    ts_make(y, 1, &(int64_t){2});
    for (int64_t i = 0; i < x[1].count; i++) most = fmax(most, fabs(x[1].v[i]));
    y->v[0] = most / 127, y->v[1] = -127;
}

CASES(values) = {{1, {FIXED(3, 44)}, .number = 0.01, .flags = 1},
                 {1, {FIXED(3, 44)}, .number = 0.004},
                 {1, {FIXED(300, 457)}, .number = 0.01, .flags = 1}};
CASES(gradients) = {{2, {FIXED(3, 44), FIXED(3, 44)}, .number = 0.01, .flags = 1},
                    {2, {FIXED(300, 257), FIXED(300, 257)}, .number = 0.004}};
CASES(observed) = {{2, {PARAM(2), FIXED(3, 44)}, {LT_OBSERVE_AVERAGE}},
                   {2, {PARAM(2), FIXED(300, 257)}, {LT_OBSERVE_MINMAX}}};

const ts_row ts_rows_observers[] = {
    ROW(observe, observed, observed, .writes = true),
    ROW(fake_quant_static, static_values, values),
    ROW(fake_quant_static_grad, static_gradient, gradients),
    {0},
};
