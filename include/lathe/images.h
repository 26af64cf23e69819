/* images.h - operators of convolutional networks: convolution, pooling, batch and group normalisation.
 *
 * Images are [B, H, W, C], channels last: a channel is a column of a row, so biases, norms and linear layers see
 * pixels as rows, and every kernel reads memory in order. Filters are [O, I/groups, KH, KW], as PyTorch stores them.
 * Shapes that do not fit, and a config without its _init, are the graph's error (lt_graph_status), LT_EINVAL.
 *
 *     lt_conv_config c;
 *     lt_conv_config_init(&c);
 *     c.stride[0] = c.stride[1] = 2, c.pad[0] = c.pad[1] = 1;
 *     y = lt_relu(lt_conv2d(x, w, &c));      // [B, H/2, W/2, O] for w [O, I, 3, 3]
 *     y = lt_global_avg_pool(y);             // [B, O]
 */
#ifndef LATHE_IMAGES_H
#define LATHE_IMAGES_H

#include "lathe/graph.h"
#include "lathe/params.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Index 0 is height, 1 is width. */
typedef struct lt_conv_config {
    size_t size;
    int64_t stride[2], pad[2], dilation[2]; /* pad: zeros on either side. Default 1, 0, 1 */
    int64_t groups;                         /* divides I and O; I: depthwise. Default 1 */
} lt_conv_config;
LT_API void lt_conv_config_init(lt_conv_config *config);
/* Cross-correlation of x [B, H, W, I] with w [O, I/groups, KH, KW] -> [B, OH, OW, O],
 * OH = (H + 2 pad - dilation (KH - 1) - 1) / stride + 1, rounded down; as torch.nn.functional.conv2d. */
LT_API lt_t lt_conv2d(lt_t x, lt_t w, const lt_conv_config *config);

typedef struct lt_pool_config {
    size_t size;
    int64_t kernel[2], stride[2], pad[2]; /* stride 0: the kernel's. pad at most half the kernel. Default 2, 0, 0 */
    bool count_pad;                       /* average: zeros of the padding count. Default true, as PyTorch */
} lt_pool_config;
LT_API void lt_pool_config_init(lt_pool_config *config);
/* x [B, H, W, C] -> [B, OH, OW, C]. The maximum's gradient goes to the first one in row order. */
LT_API lt_t lt_max_pool2d(lt_t x, const lt_pool_config *config);
LT_API lt_t lt_avg_pool2d(lt_t x, const lt_pool_config *config);
LT_API lt_t lt_global_avg_pool(lt_t x); /* [B, .., C] -> [B, C]: the mean over all axes between */

typedef struct lt_batch_norm_config {
    size_t size;
    double eps;      /* default 1e-5 */
    double momentum; /* weight of the new batch in the running averages, default 0.1 */
    bool relu;       /* max(0, y) in the same pass. Default false */
    bool frozen;     /* as in evaluation, whatever the graph records. Default false */
} lt_batch_norm_config;
LT_API void lt_batch_norm_config_init(lt_batch_norm_config *config);
/* Per channel over all rows of x [.., C] (Ioffe and Szegedy, 2015), as torch.nn.BatchNorm2d; w, b [C].
 * When the graph records training (lt_training) and the layer is not frozen: (x - mean) / sqrt(var + eps) w + b with
 * mean and biased variance of this batch, and the params `mean` and `var` [C] move towards them (the unbiased variance)
 * by `momentum`, unless what they would take is not finite; that is a side effect, and an error between
 * lt_checkpoint_begin and _end. Otherwise, and for a single row, which has no variance, mean and var are what the
 * params hold. */
LT_API lt_t lt_batch_norm(lt_t x, lt_t w, lt_t b, lt_param *mean, lt_param *var, const lt_batch_norm_config *config);
/* Per image and group of C/groups channels over all positions of x [B, .., C] (Wu and He, 2018); w, b [C], as
 * torch.nn.GroupNorm. */
LT_API lt_t lt_group_norm(lt_t x, lt_t w, lt_t b, int64_t groups, double eps);

/* param = (1 - rate) param + rate x, or as it was when x is not finite everywhere; returns the new value. A side
 * effect (graph.h): running averages, and averages of weights. x of param's shape. */
LT_API lt_t lt_running_average(lt_param *param, lt_t x, double rate);

#ifdef __cplusplus
}
#endif
#endif
