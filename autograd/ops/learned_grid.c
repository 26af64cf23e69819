/* learned_grid.c - a learned grid of activations, after each update: what an optimizer does not know of it.
 *
 *     s = max(s, FLT_EPSILON), once something was seen: the least that observers give, too
 *     of a weight average (ema_decay), which starts where no scale was known yet:
 *         average = the grid itself while the scale is observed; later its lowest code alone
 *
 * A learned scale of weights counts as the least one where it is read (grids.c). Grids of activations are read by
 * integer networks, files and codes as well, so it is put right where it is written. An average of equal codes would
 * drift from them by rounding. */
#include "autograd/ops/observe_range.h"
#include "autograd/ops/param_value.h"

#include <string.h>

extern const lti_op lti_op_learned_grid;

typedef struct learned_attr {
    lti_value param;
    int64_t warm_up;
} learned_attr;

static bool learned_shape(lti_shaper *s)
{
    s->out[0] = ((const learned_attr *)s->attr)->param;
    return true;
}

static lt_status learned_run(lti_step *step)
{
    const learned_attr *attr = step->attr;
    lt_real *grid = lt_param_data(step->param[0]);
    lt_real *average = step->n_params > 2 ? lt_param_data(step->param[2]) : NULL;
    double seen = (double)((const lt_real *)lt_param_read(step->param[1]))[LTI_SEEN];
    if (seen > 0 && grid[0] < (lt_real)LTI_LEAST_OBSERVED) grid[0] = (lt_real)LTI_LEAST_OBSERVED;
    if (average && seen < (double)attr->warm_up) average[0] = grid[0];
    if (average) average[1] = grid[1];
    return LT_OK;
}

const lti_op lti_op_learned_grid = {
    .name = "learned_grid",
    .n_out = 1,
    .flags = LTI_EFFECT,
    .shape = learned_shape,
    .run = learned_run,
};

lt_t lti_learned_grid(lt_graph *graph, lt_param *scale, lt_param *range, lt_param *average, int64_t warm_up)
{
    learned_attr attr;
    memset(&attr, 0, sizeof attr);
    lti_value v = lti_param_value(scale);
    memcpy(&attr.param, &v, sizeof v);
    attr.warm_up = warm_up;
    return lti_emit_params(graph, &lti_op_learned_grid, 0, NULL, &attr, sizeof attr, average ? 3 : 2,
                           (lt_param *[]){scale, range, average});
}
