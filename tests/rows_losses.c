/* rows_losses.c - rows of losses beside plain cross-entropy, batch and group norm, running averages.
 *
 * Where a formula has a kink (ReLU, hinge), differences of it are a judge only away from the kink: those cases have
 * numbers that no seed changes, and test_norms.c holds the ReLU to more. */
#include "tests/op_rows.h"

#include "lathe/images.h"

BUILD_BINARY(bce)
BUILD(group_norm, lt_group_norm(x[0], x[1], x[2], c->arg[0], c->number))
BUILD(running_average, lt_running_average(lt_params_find(lt_graph_params(g), "p0"), x[1], c->number))
BUILD(hinge, lt_hinge(x[0], x[1], c->n > 2 ? x[2] : lt_nil(g), c->number))
BUILD(cross_entropy_smooth, lt_cross_entropy_smooth(x[0], x[1], c->n > 2 ? x[2] : lt_nil(g), c->number))

/* eps: number; flags 1: evaluating, 2: with ReLU. x[3], x[4]: the running averages. */
static lt_t build_batch_norm(lt_graph *g, const ts_case *c, const lt_t *x)
{
    lt_params *params = lt_graph_params(g);
    lt_batch_norm_config config;
    lt_batch_norm_config_init(&config);
    config.eps = c->number;
    config.relu = c->flags & 2;
    lt_training(g, !(c->flags & 1));
    return lt_batch_norm(x[0], x[1], x[2], lt_params_find(params, "p3"), lt_params_find(params, "p4"), &config);
}

#define VARIANCE(...)                                                                                                  \
    {                                                                                                                  \
        D(__VA_ARGS__), .fill = TS_FILL_POSITIVE, .param = true                                                        \
    }
#define ALL(v, ...)                                                                                                    \
    {                                                                                                                  \
        D(__VA_ARGS__), .fill = TS_FILL_VALUE, .value = v                                                              \
    }
#define OF_CHANNELS(n) X(n), X(n), PARAM(n), VARIANCE(n)
CASES(batch_norm) = {
    {5, {X(4, 3), OF_CHANNELS(3)}, .number = 1e-5},
    {5, {X(2, 3, 5, 16), OF_CHANNELS(16)}, .number = 1e-5},
    {5, {X(4, 3), OF_CHANNELS(3)}, .number = 1e-3, .flags = 1},
    {5, {DISTINCT(3, 2, 3), ALL(1, 3), ALL(0.6, 3), PARAM(3), VARIANCE(3)}, .number = 1e-5, .flags = 2},
    {5, {DISTINCT(5, 3), ALL(2, 3), ALL(8, 3), PARAM(3), VARIANCE(3)}, .number = 1e-5, .flags = 3},
    {5, {X(9000, 17), OF_CHANNELS(17)}, .number = 1e-5},
    {5, {X(7, 30, 31, 40), OF_CHANNELS(40)}, .number = 1e-5},
    {5, {X(9000, 16), OF_CHANNELS(16)}, .number = 1e-3, .flags = 1},
    {5, {X(300, 600), OF_CHANNELS(600)}, .number = 1e-2}};
CASES(group_norm) = {{3, {X(2, 3, 4), X(4), X(4)}, {2}, .number = 1e-5},
                     {3, {X(3, 6), X(6), X(6)}, {2}, .number = 1e-5},
                     {3, {X(2, 3, 5, 6), X(6), X(6)}, {6}, .number = 1e-5},
                     {3, {X(2, 3, 5, 6), X(6), X(6)}, {1}, .number = 1e-3},
                     {3, {X(9, 14, 15, 48), X(48), X(48)}, {4}, .number = 1e-5},
                     {3, {X(300, 7, 17), X(17), X(17)}, {17}, .number = 1e-2}};
CASES(running_average) = {{2, {PARAM(3, 4), FIXED(3, 4)}, .number = 0.1},
                          {2, {PARAM(70001), FIXED(70001)}, .number = 0.25}};
CASES(cross_entropy_smooth) = {{2, {X(6, 9), INDEX(-1, 9, 6)}, .number = 0.1},
                               {3, {X(2, 3, 9), INDEX(-1, 9, 2, 3), NUMBER(4.5)}, .number = 0.4},
                               {2, {LARGE(7, 9), INDEX(-1, 9, 7)}, .number = 0.1},
                               {2, {X(4, 1), INDEX(0, 1, 4)}, .number = 0.2},
                               {2, {X(40, 1000), INDEX(0, 1000, 40)}, .number = 0.1}};
CASES(bce) = {{2, {X(3, 5), X(3, 5)}}, {2, {LARGE(50, 7), POSITIVE(50, 7)}}, {2, {X(70001), POSITIVE(70001)}}};
/* Distinct numbers are multiples of 0.05: a margin between two of them is never nearly met. */
CASES(hinge) = {{2, {DISTINCT(6, 9), INDEX(-1, 9, 6)}, .number = 1.025},
                {3, {DISTINCT(2, 3, 9), INDEX(-1, 9, 2, 3), NUMBER(4.5)}, .number = 0.525},
                {2, {DISTINCT(40, 1000), INDEX(0, 1000, 40)}, .number = 1.025}};

const ts_row ts_rows_losses[] = {
    ROW(batch_norm, batch_norm, batch_norm),
    ROW(group_norm, group_norm, group_norm),
    ROW(running_average, running_average, running_average, .writes = true),
    ROW(cross_entropy_smooth, cross_entropy_smooth, cross_entropy_smooth, .composite = true),
    ROW(bce, bce, bce),
    ROW(hinge, hinge, hinge),
    {0},
};
