/* observe.h - ranges of activations, seen while training or calibrating, and the one 8-bit grid a site has from them.
 *
 * lt_observe looks at a value and writes what it has seen, and the grid that follows, to params, so that both are in
 * checkpoints; lt_fake_quant_static puts numbers on that grid. Grids have no zero point: codes are 0 .. 255 where no
 * negative number was seen (behind a ReLU), and -127 .. 127 elsewhere. So 0 is code 0, padding is free, and integer
 * products need no corrections (lathe/int8.h).
 *
 * LT_OBSERVE_LSQ and LT_OBSERVE_PACT observe only the first batches. From then on the scale is a trained number, which
 * lt_fake_quant_learned gives a gradient.
 *
 * Policies do this by themselves (LT_ACT_INT8_STATIC): "<site>:act_scale" and "<site>:act_range". Two run-time scalars
 * (lt_set) switch it: "act_observe" and "act_quant", both 1 to begin with.
 *
 *     lt_param *scale, *range;
 *     lt_observe_config c;
 *     lt_observe_config_init(&c);
 *     if (lt_observe_params(params, "conv1", &c, &scale, &range) != LT_OK) return lt_ctx_status(ctx);
 *     lt_t grid = lt_observe(x, scale, range, &c, lt_scalar(g, "act_observe", 1)); // [2]: scale, lowest code
 *     x = lt_fake_quant_static(x, grid, lt_scalar(g, "act_quant", 1));
 */
#ifndef LATHE_OBSERVE_H
#define LATHE_OBSERVE_H

#include "lathe/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What the range is, from the least and the largest number of each batch or from a histogram of 2,048 bins; or that the
 * scale is learned, from the mean range of the first batches on. */
typedef enum lt_observer {
    LT_OBSERVE_AVERAGE = 0, /* moving averages of both: range += rate (batch - range), the first batch as it is */
    LT_OBSERVE_MINMAX,      /* the least and the largest number ever seen */
    LT_OBSERVE_PERCENTILE,  /* of the histogram: as many per cent of the numbers are not above (and below) it */
    LT_OBSERVE_MSE,         /* of 80 ranges, down to a fifth of the whole: least squared error on the 255 steps */
    LT_OBSERVE_HISTOGRAM, /* both ends moved inwards as long as the squared error falls (PyTorch's HistogramObserver) */
    LT_OBSERVE_LSQ,       /* learned step size (Esser et al. 2020) */
    LT_OBSERVE_PACT       /* learned bound (Choi et al. 2018) of what is never negative; elsewhere LSQ */
} lt_observer;
/* "average", "minmax", "percentile", "mse", "histogram", "lsq", "pact" */
LT_API const char *lt_observer_name(lt_observer kind);
LT_API bool lt_observer_parse(const char *name, lt_observer *kind);

typedef struct lt_observe_config {
    size_t size;
    lt_observer kind;
    double rate;       /* AVERAGE: default 0.01, PyTorch's; 0.001 is TensorFlow's decay of 0.999 */
    double percentile; /* PERCENTILE: default 99.99 */
    bool is_signed;    /* codes are -127 .. 127 whatever is seen. Default false */
    int64_t warm_up;   /* LSQ, PACT: batches that are observed before the scale is left to training; default 16 */
} lt_observe_config;
LT_API void lt_observe_config_init(lt_observe_config *config);

/* Finds or adds "<site>:act_scale" [2], {scale, lowest code}, and "<site>:act_range" [3 or 3 + 2048], {batches seen,
 * least, largest, counts}. LT_STATE; a scale of 0 until something was seen. Not trainable, but for the scale of LSQ and
 * PACT. LT_EINVAL: it is there for another kind of observer. */
LT_API LT_MUST_USE lt_status lt_observe_params(lt_params *params, const char *site, const lt_observe_config *config,
                                               lt_param **scale, lt_param **range);
/* Where `on` (rank 0) is not 0: takes x into the range and sets the scale (LSQ, PACT: in the first warm_up batches, which
 * settle whether codes are signed, too). A batch with NaN or infinity is passed over.
 * Returns the grid [2] as it is then. A side effect: an error between lt_checkpoint_begin and _end. */
LT_API lt_t lt_observe(lt_t x, lt_param *scale, lt_param *range, const lt_observe_config *config, lt_t on);
/* clip(round(x / s), lowest, 255 or 127) s, to nearest even. x itself where `on` is 0, or the scale. The gradient is 0
 * where a code was clipped, else the identity. */
LT_API lt_t lt_fake_quant_static(lt_t x, lt_t grid, lt_t on);
/* The same value, with a gradient for the scale; that of the lowest code is 0. N: the numbers of x, Q: the largest code.
 *     LSQ:  ds = sum of dy (round(x / s) - x / s inside, the bound's code outside) / sqrt(N Q)
 *     PACT: the bound a is 255 s; da = sum of dy where x >= a, ds = da / 255: a step of s is one of a. dx is 0 from a on.
 *           Where the lowest code is not 0 it is LSQ. */
LT_API lt_t lt_fake_quant_learned(lt_t x, lt_t grid, lt_t on, lt_observer rule);

#ifdef __cplusplus
}
#endif
#endif
