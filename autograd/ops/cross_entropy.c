/* cross_entropy.c - negative log-likelihood of a row's target under softmax(z), its label smoothed or not.
 *
 *     row = log sum_j exp z_j - (1 - s) z_t - s mean z,   drow = softmax(z) - (1 - s) onehot(t) - s / V
 *
 * with smoothing s (Szegedy et al., 2016). The kernel gives the row of s = 0; smoothing adds s (z_t - mean z) to it and
 * s (onehot(t) - 1 / V) to its gradient, so that s = 0 costs nothing and gives the same bits. Rows: row_loss.h. */
#include "autograd/ops/row_loss.h"

extern const lti_op lti_op_cross_entropy, lti_op_cross_entropy_grad;

double lti_smooth_cross_entropy(double smoothing, int64_t V, const lt_real *z, int64_t target, lt_real scale,
                                lt_real *dz)
{
    const lti_kernels *k = lti_k();
    if (smoothing == 0) return k->cross_entropy(V, z, target, scale, dz);
    double above = (double)z[target] - (double)k->sum(V, z) / (double)V;
    double loss = k->cross_entropy(V, z, target, scale, dz) + smoothing * above;
    if (!dz) return loss;
    lt_real even = (lt_real)((double)scale * smoothing / (double)V);
    k->sub(V, dz, 1, &even, 0, dz);
    dz[target] += (lt_real)((double)scale * smoothing);
    return loss;
}

const lti_op lti_op_cross_entropy = {
    .name = "cross_entropy",
    .min_in = 2,
    .max_in = 3,
    .n_out = 1,
    .shape = lti_row_loss_shape,
    .vjp = lti_row_loss_vjp,
    .prepare = lti_row_loss_prepare,
    .run = lti_row_loss_run,
};

const lti_op lti_op_cross_entropy_grad = {
    .name = "cross_entropy_grad",
    .min_in = 3,
    .max_in = 4,
    .n_out = 1,
    .in_place = {1},
    .shape = lti_row_loss_grad_shape,
    .run = lti_row_loss_grad_run,
};

lt_t lt_cross_entropy_smooth(lt_t z, lt_t target, lt_t norm, double smoothing)
{
    lti_row_loss attr = {.row = lti_smooth_cross_entropy, .number = smoothing, .grad = &lti_op_cross_entropy_grad};
    if (!lt_is_nil(z) && !(smoothing >= 0 && smoothing < 1))
        return lti_graph_fail(z.graph, LT_EINVAL, "cross_entropy: smoothing %g; it is to be at least 0 and below 1",
                              smoothing);
    return lti_row_loss_emit(&lti_op_cross_entropy, z, target, norm, &attr);
}

lt_t lt_cross_entropy(lt_t z, lt_t target, lt_t norm)
{
    return lt_cross_entropy_smooth(z, target, norm, 0);
}
