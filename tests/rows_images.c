/* rows_images.c - rows of convolution and pooling. */
#include "lathe/images.h"
#include "tests/op_rows.h"

static lt_t build_conv2d(lt_graph *g, const ts_case *c, const lt_t *x)
{
    lt_conv_config config;
    (void)g;
    lt_conv_config_init(&config);
    for (int k = 0; k < 2; k++)
        config.stride[k] = c->arg[k], config.pad[k] = c->arg[2 + k], config.dilation[k] = c->arg[4 + k];
    config.groups = c->arg[6];
    return lt_conv2d(x[0], x[1], &config);
}

static lt_pool_config pool_config(const ts_case *c)
{
    lt_pool_config config;
    lt_pool_config_init(&config);
    for (int k = 0; k < 2; k++)
        config.kernel[k] = c->arg[k], config.stride[k] = c->arg[2 + k], config.pad[k] = c->arg[4 + k];
    config.count_pad = c->flags & 1;
    return config;
}

static lt_t build_max_pool2d(lt_graph *g, const ts_case *c, const lt_t *x)
{
    lt_pool_config config = pool_config(c);
    (void)g;
    return lt_max_pool2d(x[0], &config);
}

static lt_t build_avg_pool2d(lt_graph *g, const ts_case *c, const lt_t *x)
{
    lt_pool_config config = pool_config(c);
    (void)g;
    return lt_avg_pool2d(x[0], &config);
}

BUILD_UNARY(global_avg_pool)

#define CONV(x, w, ...)                                                                                                \
    {                                                                                                                  \
        .n = 2, .in = {x, w}, .arg = { __VA_ARGS__ }                                                                   \
    }
/* Strides, pads, dilations, groups. */
CASES(conv2d) = {
    CONV(X(2, 5, 4, 3), X(2, 3, 3, 2), 1, 1, 1, 0, 1, 1, 1),
    CONV(X(3, 7, 9, 1), X(5, 1, 3, 3), 1, 1, 1, 1, 1, 1, 1),    /* a first layer */
    CONV(X(2, 6, 6, 16), X(16, 16, 3, 3), 1, 1, 1, 1, 1, 1, 1), /* whole vectors */
    CONV(X(2, 7, 8, 17), X(33, 17, 3, 3), 2, 2, 1, 1, 1, 1, 1), /* tails, and a row no window reads */
    CONV(X(1, 9, 11, 4), X(6, 4, 3, 2), 2, 3, 2, 1, 1, 2, 1),   /* dilation */
    CONV(X(2, 8, 8, 3), X(4, 3, 3, 3), 1, 1, 4, 3, 3, 2, 1),    /* taps that miss the image */
    CONV(X(2, 5, 6, 12), X(8, 3, 3, 3), 1, 1, 1, 1, 1, 1, 4),   /* groups */
    CONV(X(2, 6, 5, 4), X(8, 1, 3, 3), 1, 2, 1, 1, 1, 1, 4),    /* depthwise, two filters a channel */
    CONV(X(2, 7, 6, 19), X(19, 1, 3, 3), 1, 1, 1, 1, 1, 1, 19), /* depthwise */
    CONV(X(2, 8, 9, 18), X(18, 1, 3, 3), 2, 2, 1, 1, 1, 1, 18), /* with steps */
    CONV(X(1, 9, 9, 5), X(5, 1, 5, 4), 3, 2, 2, 3, 2, 1, 5),    /* of other sizes, dilated */
    CONV(X(1, 6, 9, 3), X(3, 1, 3, 3), 4, 4, 3, 1, 2, 2, 3),    /* pixels no window reads; taps that share a step */
    CONV(X(3, 4, 5, 20), X(7, 20, 1, 1), 1, 1, 0, 0, 1, 1, 1),  /* 1 x 1 */
    CONV(X(3, 5, 5, 8), X(16, 8, 1, 1), 2, 2, 0, 0, 1, 1, 1),   /* 1 x 1 of a shortcut */
    CONV(X(2, 1, 4, 6), X(4, 3, 1, 1), 1, 1, 0, 0, 1, 1, 2),    /* 1 x 1 in groups */
    CONV(X(2, 1, 3, 2), X(3, 2, 3, 5), 1, 1, 1, 2, 1, 1, 1),    /* filters larger than images */
    CONV(X(33, 14, 14, 8), X(8, 8, 3, 3), 1, 1, 1, 1, 1, 1, 1), /* several chunks, the last one short */
    CONV(X(21, 28, 28, 16), X(16, 1, 3, 3), 1, 1, 1, 1, 1, 1, 16),
};

#define POOL(flag, x, ...)                                                                                             \
    {                                                                                                                  \
        .n = 1, .in = {x}, .flags = flag, .arg = { __VA_ARGS__ }                                                       \
    }
/* Kernel, strides, pads. */
CASES(max_pool2d) = {
    POOL(0, DISTINCT(2, 4, 5, 3), 2, 2, 2, 2, 0, 0),    POOL(0, DISTINCT(2, 7, 6, 17), 3, 3, 2, 2, 1, 1),
    POOL(0, DISTINCT(1, 5, 6, 16), 3, 2, 1, 1, 1, 1),   POOL(0, DISTINCT(2, 5, 5, 2), 1, 1, 2, 3, 0, 0),
    POOL(0, DISTINCT(1, 3, 4, 5), 3, 4, 3, 4, 0, 0),    POOL(0, DISTINCT(1, 8, 7, 4), 2, 3, 3, 4, 0, 0),
    POOL(0, DISTINCT(9, 16, 16, 32), 2, 2, 2, 2, 0, 0),
};
CASES(avg_pool2d) = {
    POOL(1, X(2, 4, 5, 3), 2, 2, 2, 2, 0, 0),  POOL(1, X(2, 7, 6, 17), 3, 3, 2, 2, 1, 1),
    POOL(0, X(2, 7, 6, 16), 3, 3, 2, 2, 1, 1), POOL(0, X(1, 5, 6, 3), 4, 2, 1, 1, 2, 1),
    POOL(1, X(1, 8, 7, 4), 2, 3, 3, 4, 0, 0),  POOL(1, X(9, 16, 16, 32), 3, 3, 1, 1, 1, 1),
};
CASES(global_avg_pool) = {{1, {X(3, 2, 3, 5)}}, {1, {X(2, 49, 33)}}, {1, {X(2, 5)}}, {1, {X(40, 7, 7, 64)}}};

const ts_row ts_rows_images[] = {
    ROW(conv2d, conv2d, conv2d),
    ROW(max_pool2d, max_pool2d, max_pool2d),
    ROW(avg_pool2d, avg_pool2d, avg_pool2d),
    ROW(global_avg_pool, global_avg_pool, global_avg_pool, .composite = true),
    {0},
};
