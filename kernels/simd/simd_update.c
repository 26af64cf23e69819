/* simd_update.c - optimizer steps and dropout: the operations of ref_update.c and ref_elementwise.c in the same order,
 * uncontracted, so that every set gives the same bits. */
#include "kernels/simd/vec.h"

VI vf flushed(vf x)
{
    return v_zero_if(v_lt(v_abs(x), v_set(1e-30f)), x);
}

void LTI_FN(adamw)(int64_t n, R *w, R *m, R *v, const R *g, const lti_adamw_step *c)
{
    const vf beta1 = v_set(c->beta1), beta2 = v_set(c->beta2), rest1 = v_set(1 - c->beta1), rest2 = v_set(1 - c->beta2);
    const vf clip = v_set(c->clip), bias = v_set(c->sqrt_bias2), eps = v_set(c->eps), decay = v_set(c->decay);
    const vf step = v_set(c->step_size);
    LTI_EACH (i, left, n) {
        vf grad = v_mul(clip, v_get(g + i, left));
        vf m1 = flushed(v_add(v_mul(beta1, v_get(m + i, left)), v_mul(rest1, grad)));
        vf v1 = flushed(v_add(v_mul(beta2, v_get(v + i, left)), v_mul(rest2, v_mul(grad, grad))));
        vf root = v_add(v_div(v_sqrt(v1), bias), eps);
        v_put(m + i, m1, left);
        v_put(v + i, v1, left);
        v_put(w + i, v_sub(v_mul(v_get(w + i, left), decay), v_mul(step, v_div(m1, root))), left);
    }
}

void LTI_FN(lion)(int64_t n, R *w, R *m, const R *g, const lti_lion_step *c)
{
    const vf beta1 = v_set(c->beta1), beta2 = v_set(c->beta2), rest1 = v_set(1 - c->beta1), rest2 = v_set(1 - c->beta2);
    const vf clip = v_set(c->clip), decay = v_set(c->decay), lr = v_set(c->lr), one = v_set(1);
    LTI_EACH (i, left, n) {
        vf grad = v_mul(clip, v_get(g + i, left)), old = v_get(m + i, left);
        vf mixed = v_add(v_mul(beta1, old), v_mul(rest1, grad));
        vf sign = v_select(v_or(v_eq(mixed, v_zero()), v_nan(mixed)), mixed, v_copysign(one, mixed));
        v_put(m + i, flushed(v_add(v_mul(beta2, old), v_mul(rest2, grad))), left);
        v_put(w + i, v_sub(v_mul(v_get(w + i, left), decay), v_mul(lr, sign)), left);
    }
}

void LTI_FN(sgd)(int64_t n, R *w, R *momentum, const R *g, const lti_sgd_step *c)
{
    const vf mu = v_set(c->momentum), clip = v_set(c->clip), decay = v_set(c->weight_decay), lr = v_set(c->lr);
    LTI_EACH (i, left, n) {
        vf x = v_get(w + i, left);
        vf grad = v_add(v_mul(clip, v_get(g + i, left)), v_mul(decay, x));
        if (momentum) {
            vf u = flushed(v_add(v_mul(mu, v_get(momentum + i, left)), grad));
            v_put(momentum + i, u, left);
            grad = c->nesterov ? v_add(grad, v_mul(mu, u)) : u;
        }
        v_put(w + i, v_sub(x, v_mul(lr, grad)), left);
    }
}

enum { CHUNK = 4 * V }; /* words that V Philox blocks give */

/* Words 4 first_block .. + CHUNK of the stream (base/rng.h). Lane 4g + t computes block t (V/4) + g, so that a 4 x 4
 * transposition inside each quarter of a vector leaves the words in their order. */
static void philox_words(const lti_rng *rng, uint64_t first_block, uint32_t words[CHUNK])
{
    uint32_t low[V], high[V];
    for (int lane = 0; lane < V; lane++) {
        uint64_t block = first_block + (uint64_t)(lane % 4 * (V / 4) + lane / 4);
        low[lane] = (uint32_t)block;
        high[lane] = (uint32_t)(block >> 32);
    }
    vi c0 = v_loadi(low), c1 = v_loadi(high), c2 = v_seti((int)rng->step), c3 = v_seti((int)rng->stream);
    uint32_t k0 = (uint32_t)rng->seed, k1 = (uint32_t)(rng->seed >> 32);
    for (int round = 0; round < 10; round++) {
        vi high0, low0, high1, low1;
        v_multiply(c0, 0xD2511F53u, &high0, &low0);
        v_multiply(c2, 0xCD9E8D57u, &high1, &low1);
        c0 = v_xori(v_xori(high1, c1), v_seti((int)k0));
        c2 = v_xori(v_xori(high0, c3), v_seti((int)k1));
        c1 = low1;
        c3 = low0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    vi a = v_unpack_low32(c0, c1), b = v_unpack_high32(c0, c1), c = v_unpack_low32(c2, c3), d = v_unpack_high32(c2, c3);
    v_storei(words, v_unpack_low64(a, c));
    v_storei(words + V, v_unpack_high64(a, c));
    v_storei(words + 2 * V, v_unpack_low64(b, d));
    v_storei(words + 3 * V, v_unpack_high64(b, d));
}

void LTI_FN(dropout)(int64_t n, const lti_rng *rng, uint64_t first, double p, const R *x, R *y)
{
    vf keep = v_set((R)(1.0 / (1.0 - p)));
    uint64_t threshold = (uint64_t)ceil(p * 0x1p32); /* word >= p 2^32 */
    int64_t i = 0, head = (int64_t)((4 - first % 4) % 4);
    if (threshold > UINT32_MAX || threshold == 0 || head > n) head = n; /* p of 0 or 1: not worth vectors */
    if (head > 0) lti_k_dropout_ref(head, rng, first, p, x, y);
    vi limit = v_seti((int)((uint32_t)threshold ^ 0x80000000u)), flip = v_seti((int)0x80000000u);
    uint32_t words[CHUNK];
    for (i = head; i < n; i += CHUNK) {
        int64_t count = n - i < CHUNK ? n - i : CHUNK;
        philox_words(rng, (first + (uint64_t)i) / 4, words);
        LTI_EACH (j, left, count) {
            vm dropped = v_gti(limit, v_xori(v_loadi(words + j), flip)); /* unsigned order */
            v_put(y + i + j, v_zero_if(dropped, v_mul(v_get(x + i + j, left), keep)), left);
        }
    }
}
