/* hooks.c - the policy at work: hooks that put weights, and the activations they meet, on their grids.
 *
 * Attached to a graph before the model is recorded. The weight hook runs once a parameter, the input hook once a site. */
#include "qat/hooks.h"

#include "lathe/ops.h"

void lt_qat_attach(lt_graph *graph, const lt_quant_policy *policy)
{
    lt_attachment a = {.size = sizeof a,
                       .kinds = LT_SITE_LINEAR | LT_SITE_EMBEDDING | LT_SITE_HEAD | LT_SITE_CONV | LT_SITE_RNN,
                       .weight = lti_qat_weight,
                       .config = (void *)(uintptr_t)policy};
    lt_attach(graph, &a);
    if (policy->integer_backward) lt_integer_backward(graph, true);
    if (policy->activations == LT_ACT_NONE) return;
    a.kinds = LT_SITE_LINEAR | LT_SITE_HEAD | LT_SITE_RNN;
    if (policy->activations == LT_ACT_INT8_STATIC) a.kinds |= LT_SITE_CONV; /* a pixel is no token */
    a.weight = NULL, a.input = lti_qat_input;
    lt_attach(graph, &a);
}
