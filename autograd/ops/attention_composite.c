/* attention_composite.c - attention from plain products and softmax: a function, no op.
 *
 * It holds the probabilities [B, H, T, S], which the fused op never does, and so serves where they are wanted
 * (attention maps) and as the oracle of attention.c. Query heads that share a key/value head are stacked as rows of one
 * product, [B, G, (H/G) T, D] x [B, G, S, D]^T: nothing is repeated in memory. */
#include "autograd/ops/attention_parts.h"

#include <math.h>

lt_t lt_attention_composite(lt_t q, lt_t k, lt_t v, const lt_attention_config *config, lt_t *weights)
{
    lt_attention_config defaults;
    lt_attention_config_init(&defaults);
    if (!config) config = &defaults;
    if (weights) *weights = lt_nil(q.graph);
    if (lt_is_nil(q) || lt_is_nil(k) || lt_is_nil(v)) return lt_nil(q.graph);
    if (lti_attention_refused(q.graph, config)) return lt_nil(q.graph);
    if (lt_rank(q) != 4 || lt_rank(k) != 4 || lt_rank(v) != 4 || lt_dim(k, 2) < 1 || lt_dim(q, 2) % lt_dim(k, 2))
        return lti_graph_fail(q.graph, LT_EINVAL,
                              "attention_composite: q [B,T,H,D] with k, v [B,S,G,D] and H a multiple of G is wanted; "
                              "ranks are %d, %d, %d and heads %lld, %lld",
                              lt_rank(q), lt_rank(k), lt_rank(v), (long long)lt_dim(q, 2), (long long)lt_dim(k, 2));
    int64_t B = lt_dim(q, 0), T = lt_dim(q, 1), H = lt_dim(q, 2), D = lt_dim(q, 3);
    int64_t S = lt_dim(k, 1), G = lt_dim(k, 2), rows = H / G * T;
    const int swap[] = {0, 2, 1, 3};
    double scale = config->scale != 0 ? config->scale : 1 / sqrt((double)D);
    lt_t qh = lt_reshape(lt_permute(q, swap), 4, (int64_t[]){B, G, rows, D});
    lt_t kh = lt_permute(k, swap);                                    // [B, G, S, D]
    lt_t vh = lt_permute(v, swap);                                    // [B, G, S, D]
    lt_t scores = lt_matmul(lt_scale(qh, scale), kh, LT_TRANSPOSE_B); // [B, G, rows, S]
    scores = lt_reshape(scores, 4, (int64_t[]){B, H, T, S});
    bool spans = !lt_is_nil(config->spans);
    if (config->window || spans)
        scores = lti_attention_mask(scores, config, -1e30);
    else if (config->causal)
        scores = lti_causal_mask(scores);
    lt_t p = lt_softmax(scores); // [B, H, T, S]
    if (spans) p = lti_attention_mask(p, config, 0);
    if (weights) *weights = p;
    lt_t o = lt_matmul(lt_reshape(p, 4, (int64_t[]){B, G, rows, S}), vh, 0); // [B, G, rows, D]
    return lt_permute(lt_reshape(o, 4, (int64_t[]){B, H, T, D}), swap);
}
