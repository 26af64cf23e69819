/* hinge.c - multi-class margin loss (Weston and Watkins, 1999), as torch.nn.MultiMarginLoss with p = 1.
 *
 *     row = 1/V sum over j != t of max(0, margin - z_t + z_j),
 *     drow_j = 1/V where the margin is violated, drow_t = -(how many are) / V
 *
 * Rows: row_loss.h. */
#include "autograd/ops/row_loss.h"

#include <math.h>

extern const lti_op lti_op_hinge, lti_op_hinge_grad;

static double hinge_row(double margin, int64_t V, const lt_real *z, int64_t target, lt_real scale, lt_real *dz)
{
    double sum = 0, limit = (double)z[target] - margin; /* before z[target] is overwritten in place */
    lt_real step = (lt_real)((double)scale / (double)V);
    int64_t violated = 0;
    for (int64_t j = 0; j < V; j++) {
        double over = j == target ? 0 : (double)z[j] - limit;
        bool counts = !(over <= 0); /* a NaN counts */
        violated += counts;
        sum += counts ? over : 0;
        if (dz) dz[j] = counts ? step : 0;
    }
    if (dz) dz[target] = (lt_real)(-(double)scale * (double)violated / (double)V);
    return sum / (double)V;
}

const lti_op lti_op_hinge = {
    .name = "hinge",
    .min_in = 2,
    .max_in = 3,
    .n_out = 1,
    .shape = lti_row_loss_shape,
    .vjp = lti_row_loss_vjp,
    .prepare = lti_row_loss_prepare,
    .run = lti_row_loss_run,
};

const lti_op lti_op_hinge_grad = {
    .name = "hinge_grad",
    .min_in = 3,
    .max_in = 4,
    .n_out = 1,
    .in_place = {1},
    .shape = lti_row_loss_grad_shape,
    .run = lti_row_loss_grad_run,
};

lt_t lt_hinge(lt_t z, lt_t target, lt_t norm, double margin)
{
    lti_row_loss attr = {.row = hinge_row, .number = margin, .grad = &lti_op_hinge_grad};
    if (!lt_is_nil(z) && !isfinite(margin))
        return lti_graph_fail(z.graph, LT_EINVAL, "hinge: margin %g; it is to be finite", margin);
    return lti_row_loss_emit(&lti_op_hinge, z, target, norm, &attr);
}
