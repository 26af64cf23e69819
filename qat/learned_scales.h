/* learned_scales.h - scales that training learns, as params beside their weight. */
#ifndef LTI_LEARNED_SCALES_H
#define LTI_LEARNED_SCALES_H

#include "autograd/ops/grids.h"
#include "qat/hooks.h"

/* "<weight>:<what>"; NULL where there is none. */
lt_param *lti_learned_find(const lt_params *params, const lt_param *weight, const char *what);
/* Its value in the graph; nil and an error where there is none. */
lt_t lti_learned_value(lt_graph *graph, const lt_param *weight, const char *what);

/* Scales, offsets, kept blocks and frozen codes that lt_qat_prepare has made, started again from the weights as they are now: for
 * weights that were changed by something else than training on the grid. What is not there is not made. */
lt_status lti_qat_restart(lt_params *params, const lt_quant_policy *policy);

/* Rows of a weight on their integer grid with the numbers they have now. */
typedef struct lti_grid_now {
    lti_grid_attr attr;
    lti_groups groups;
    lt_real *scale, *offset; /* learned ones are copied; offset is always there, zeros where the rule has none */
} lti_grid_now;
/* For `rows` rows from `row` on (all, where the tensor shares one scale). Free with lti_grid_now_free also when it fails.
 * For schemes of integers and ternary ones. */
lt_status lti_grid_now_make(const lt_params *params, const lt_quant_policy *policy, const lt_scheme *scheme,
                            const lt_param *weight, int64_t row, int64_t rows, lti_grid_now *now);
void lti_grid_now_free(lt_ctx *ctx, lti_grid_now *now);

/* Whether the scheme is a grid of integers: a scale rule means it. */
bool lti_on_integers(const lt_scheme *scheme);

#endif
