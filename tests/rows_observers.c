/* rows_observers.c - rows of observers, of the grid they make, and of products of what lies on it (their gradients:
 * test_static_learned.c). test_observers.c judges every kind. number: the scale; flags 1: codes -127 .. 127, else 0 .. 255;
 * arg[0]: the observer's kind. */
#include "tests/op_rows.h"

#include "autograd/ops/observe_range.h"
#include "tests/oracle_grids.h"

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

/* x and w on their grids, multiplied. */
static lt_t product(lt_graph *g, const ts_case *c, const lt_t *x)
{
    const lt_scheme s = {.kind = LT_SCHEME_INT, .bits = 8, .per = LT_PER_CHANNEL};
    return lt_matmul(rounded(g, c, x[0]), lt_fake_quant(x[1], &s, NULL), LT_TRANSPOSE_B);
}

BUILD(matmul_static, product(g, c, x))
BUILD(matmul_static_add, lt_add(lt_scale(x[2], 2), product(g, c, x)))
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

static lt_t build_learned_grid(lt_graph *g, const ts_case *c, const lt_t *x)
{
    lt_params *params = lt_graph_params(g);
    lt_param *range;
    (void)c, (void)x;
    if (lt_params_add(params, "range", LT_F32, 1, &(int64_t){LTI_COUNTS}, LT_STATE, &range) != LT_OK)
        return lti_graph_fail(g, LT_ENOMEM, "out of memory");
    ((lt_real *)lt_param_data(range))[LTI_SEEN] = 1;
    return lti_learned_grid(g, lt_params_find(params, "p0"), range, NULL, 16);
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

static void ts_formula_static_product(const ts_case *c, const ts_tensor *x, ts_tensor *y)
{
    ts_grid g = {.scheme = {.kind = LT_SCHEME_INT, .bits = 8, .per = LT_PER_CHANNEL}};
    int64_t N = g.rows = x[1].dim[0], K = g.columns = x[1].dim[1], dim[LT_MAX_RANK];
    ts_tensor a, w;
    ts_formula_static_values(c, x, &a);
    ts_make(&w, 2, x[1].dim);
    ts_grid_values(&g, x[1].v, w.v);
    for (int i = 0; i < a.rank; i++) dim[i] = i < a.rank - 1 ? a.dim[i] : N;
    ts_make(y, a.rank, dim);
    for (int64_t i = 0; i < y->count; i++)
        for (int64_t k = 0; k < K; k++) y->v[i] += a.v[i / N * K + k] * w.v[i % N * K + k];
    ts_drop(&a);
    ts_drop(&w);
}

static void ts_formula_static_product_add(const ts_case *c, const ts_tensor *x, ts_tensor *y)
{
    ts_formula_static_product(c, x, y);
    for (int64_t i = 0; i < y->count; i++) y->v[i] += 2 * x[2].v[i];
}

static void ts_formula_bounded(const ts_case *c, const ts_tensor *x, ts_tensor *y)
{
    (void)c;
    ts_make(y, 1, x[0].dim);
    y->v[0] = fmax(x[0].v[0], FLT_EPSILON), y->v[1] = x[0].v[1];
}

CASES(products) = {{2, {FIXED(5, 33), FIXED(7, 33)}, .number = 0.02, .flags = 1},
                   {2, {FIXED(2, 3, 17), FIXED(4, 17)}, .number = 0.01},
                   {2, {FIXED(150, 321), FIXED(110, 321)}, .number = 0.02, .flags = 1}};
CASES(sums) = {{3, {FIXED(5, 33), FIXED(7, 33), FIXED(5, 7)}, .number = 0.02, .flags = 1},
               {3, {FIXED(5, 33), FIXED(7, 33), FIXED(5, 7)}, .number = 0.01}};
CASES(bounded) = {{1, {PARAM(2)}}};
CASES(values) = {{1, {FIXED(3, 44)}, .number = 0.01, .flags = 1},
                 {1, {FIXED(3, 44)}, .number = 0.004},
                 {1, {FIXED(300, 457)}, .number = 0.01, .flags = 1}};
CASES(gradients) = {{2, {FIXED(3, 44), FIXED(3, 44)}, .number = 0.01, .flags = 1},
                    {2, {FIXED(300, 257), FIXED(300, 257)}, .number = 0.004}};
CASES(observed) = {{2, {PARAM(2), FIXED(3, 44)}, {LT_OBSERVE_AVERAGE}},
                   {2, {PARAM(2), FIXED(300, 257)}, {LT_OBSERVE_MINMAX}}};

const ts_row ts_rows_observers[] = {
    ROW(matmul_static, static_product, products),
    ROW(matmul_static_add, static_product_add, sums, .fused = true),
    ROW(learned_grid, bounded, bounded, .writes = true),
    ROW(observe, observed, observed, .writes = true),
    ROW(fake_quant_static, static_values, values),
    ROW(fake_quant_static_grad, static_gradient, gradients),
    {0},
};
