/* auto_bits.c - which tensor deserves its bits.
 *
 * Every tensor begins with its smallest type; then, while the budget lasts, the step is taken that lowers the cost most
 * for a byte, over all tensors and all larger types. That is the greedy answer to a knapsack with choices, exact on the
 * convex hull of each tensor's (bytes, cost); the exact answer would differ in the last tensor or two. */
#include "qat/auto_bits.h"

#include "autograd/param.h"
#include "base/ctx.h"
#include "kernels/lattice/lattice.h"

void lti_bits_candidates(lti_bits_tensor *t)
{
    static const lt_dtype known[] = {LT_Q2_K, LT_Q3_K, LT_Q4_K, LT_Q4_0, LT_Q5_K, LT_Q5_0, LT_Q6_K, LT_Q8_0};
    size_t bytes;
    t->n = 0;
    for (int i = 0; i < LTI_COUNT(known); i++) {
        bool fits = lti_can_quantize(known[i]) && t->param->shape[1] % lt_dtype_block(known[i]) == 0;
        if (!fits || !lti_dtype_size(known[i], t->param->count, &bytes)) continue;
        t->types[t->n] = known[i];
        t->bytes[t->n++] = bytes;
    }
    if (t->n) return;
    t->types[0] = LT_F16;
    t->bytes[0] = 2 * (uint64_t)t->param->count;
    t->n = 1;
}

/* The smallest type; of two as small, the one that costs less. */
static int smallest(const lti_bits_tensor *t)
{
    int best = 0;
    for (int k = 1; k < t->n; k++)
        if (t->bytes[k] < t->bytes[best] || (t->bytes[k] == t->bytes[best] && t->costs[k] < t->costs[best])) best = k;
    return best;
}

/* The best step there is: *tensor takes type *type. False: none fits, or none helps. */
static bool best_step(int n, const lti_bits_tensor *tensors, uint64_t left, int *tensor, int *type)
{
    double best = 0;
    for (int i = 0; i < n; i++) {
        const lti_bits_tensor *t = &tensors[i];
        for (int k = 0; k < t->n; k++) {
            double gain = t->costs[t->chosen] - t->costs[k];
            if (t->bytes[k] < t->bytes[t->chosen] || !(gain > 0)) continue;
            uint64_t more = t->bytes[k] - t->bytes[t->chosen];
            double rate = gain / (more ? (double)more : 0.5);
            if (more <= left && rate > best) best = rate, *tensor = i, *type = k;
        }
    }
    return best > 0;
}

bool lti_bits_choose(int n, lti_bits_tensor *tensors, uint64_t budget)
{
    uint64_t used = 0;
    int i, k;
    for (i = 0; i < n; i++) {
        tensors[i].chosen = smallest(&tensors[i]);
        used += tensors[i].bytes[tensors[i].chosen];
    }
    if (used > budget) return false;
    while (best_step(n, tensors, budget - used, &i, &k)) {
        used += tensors[i].bytes[k] - tensors[i].bytes[tensors[i].chosen];
        tensors[i].chosen = k;
    }
    return true;
}
